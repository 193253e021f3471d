"""Downloads from a server that misbehaves in every way that real ones do."""

import errno
import gzip
import hashlib
import http.server
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from reclib import paths
from reclib.data import _download, fetch
from reclib.data._download import DownloadFailed, Patience, RemoteFile, download
from reclib.errors import ReclibError
from reclib.study.cli import main

BODY = gzip.compress(os.urandom(600_000), mtime=0)  # does not shrink, so its size is about that
SHA = hashlib.sha256(BODY).hexdigest()
HALF = len(BODY) // 2
HASTY = Patience(timeout=0.4, attempts=3, pause=0.01)
Answer = Callable[["Handler"], None]


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers with the first of the server's answers; the last one stays."""

    server: "Server"

    def do_GET(self) -> None:
        answers = self.server.answers
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        self.server.asked.append((self.path, self.headers.get("Range")))
        try:
            answer(self)
        except ConnectionError:
            pass  # the client has left

    def log_message(self, *_: Any) -> None:
        pass

    def head(self, status: int, **headers: object) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[Answer] = [whole()]
        self.asked: list[tuple[str, str | None]] = []
        self.over = threading.Event()

    def address(self, name: str = "a.json.gz") -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{name}"

    def file(self, name: str = "a.json.gz", **known: Any) -> RemoteFile:
        return RemoteFile(name, self.address(name), **known)


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield made
    made.over.set()
    made.shutdown()
    made.server_close()


def whole(body: bytes = BODY, *, ranges: bool = True, tag: str = '"one"', sent: int | None = None,
          announced: int | None = None, then: Answer | None = None) -> Answer:  # fmt: skip
    """Answer with `body`, or the first `sent` bytes of what was asked for; `then` goes on."""

    def answer(handler: Handler) -> None:
        asked = handler.headers.get("Range")
        same = handler.headers.get("If-Range") in (None, tag)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and ranges and same else 0
        length = (len(body) if announced is None else announced) - start
        headers: dict[str, object] = {"Content-Length": length, "ETag": tag}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        handler.head(206 if start else 200, **headers)
        handler.wfile.write(body[start:][:sent])
        handler.wfile.flush()
        if then:
            then(handler)

    return answer


def status(code: int) -> Answer:
    return lambda handler: handler.head(code, Content_Length=0)


def stall(handler: Handler) -> None:
    handler.server.over.wait(20)


def reset(handler: Handler) -> None:
    handler.connection.close()


def wait_for_bytes(part: Path, writer: subprocess.Popen[bytes] | None = None) -> None:
    deadline = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size):
        assert time.monotonic() < deadline
        assert writer is None or writer.poll() is None, "it stopped by itself"
        time.sleep(0.01)


def left(folder: Path) -> list[str]:
    """Names of all files but the lock, which stays behind."""
    names = (file.name for file in folder.rglob("*") if file.is_file())
    return sorted(name for name in names if name != ".lock")


def test_whole_file_arrives_under_its_name_alone(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "deep" / "a.json.gz"
    download(server.file(sha256=SHA, size=len(BODY)), target, patience=HASTY, progress=False)
    assert target.read_bytes() == BODY
    assert left(tmp_path) == ["a.json.gz"]
    assert server.asked == [("/a.json.gz", None)]


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(whole(sent=HALF), id="truncated"),
        pytest.param(whole(sent=HALF, then=stall), id="stalled"),
        pytest.param(whole(sent=HALF, then=reset), id="reset"),
    ],
)
def test_what_was_cut_off_is_taken_up_again(server: Server, tmp_path: Path, broken: Answer) -> None:
    server.answers = [broken, whole()]
    download(server.file(), tmp_path / "a.json.gz", patience=HASTY, progress=False)
    assert (tmp_path / "a.json.gz").read_bytes() == BODY
    first, second = server.asked
    assert first[1] is None
    start = int(str(second[1]).removeprefix("bytes=").rstrip("-"))
    assert HALF - _download.CHUNK <= start <= HALF, "only the missing bytes are asked for"


def test_always_truncated_is_never_taken_for_whole(server: Server, tmp_path: Path) -> None:
    server.answers = [whole(ranges=False, sent=HALF)]
    with pytest.raises(DownloadFailed, match=rf"bytes are kept|{len(BODY):,}"):
        download(server.file(), tmp_path / "a.json.gz", patience=HASTY, progress=False)
    assert not (tmp_path / "a.json.gz").exists()
    assert (tmp_path / "a.json.gz.part").stat().st_size > 0
    assert len(server.asked) == 1 + HASTY.attempts


def test_slow_but_steady_progress_outlasts_the_attempts(server: Server, tmp_path: Path) -> None:
    step = len(BODY) // 6
    server.answers = [whole(sent=step + _download.CHUNK)]
    download(server.file(sha256=SHA), tmp_path / "a.json.gz", patience=HASTY, progress=False)
    assert len(server.asked) > HASTY.attempts


def test_500_twice_then_the_file(server: Server, tmp_path: Path) -> None:
    server.answers = [status(500), status(503), whole()]
    download(server.file(), tmp_path / "a.json.gz", patience=HASTY, progress=False)
    assert (tmp_path / "a.json.gz").read_bytes() == BODY


@pytest.mark.parametrize(("code", "times"), [(500, 3), (429, 3), (404, 1), (403, 1)])
def test_errors_are_named_and_only_some_are_tried_again(
    server: Server, tmp_path: Path, code: int, times: int
) -> None:
    server.answers = [status(code)]
    with pytest.raises(DownloadFailed, match=f"answers {code}"):
        download(server.file(), tmp_path / "a.json.gz", patience=HASTY, progress=False)
    assert len(server.asked) == times
    assert left(tmp_path) == []


def test_nobody_there(tmp_path: Path) -> None:
    file = RemoteFile("a.json.gz", "http://127.0.0.1:1/a.json.gz")
    with pytest.raises(DownloadFailed, match="no answer .*refused.*3 times"):
        download(file, tmp_path / "a.json.gz", patience=HASTY, progress=False)


def test_wrong_bytes_are_thrown_away(server: Server, tmp_path: Path) -> None:
    server.answers = [whole(gzip.compress(b"other"))]
    with pytest.raises(DownloadFailed, match=f"(?s){SHA}.*thrown away"):
        download(server.file(sha256=SHA), tmp_path / "a.json.gz", patience=HASTY, progress=False)
    assert left(tmp_path) == []


def test_wrong_length_is_refused_before_anything_is_stored(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match=f"has {len(BODY):,} bytes, not 7"):
        download(server.file(size=7), tmp_path / "a.json.gz", patience=HASTY, progress=False)
    assert left(tmp_path) == []


def test_server_that_ignores_ranges_starts_anew(server: Server, tmp_path: Path) -> None:
    server.answers = [whole(sent=HALF, ranges=False), whole(ranges=False)]
    download(server.file(sha256=SHA), tmp_path / "a.json.gz", patience=HASTY, progress=False)
    assert (tmp_path / "a.json.gz").read_bytes() == BODY


def test_file_that_changed_meanwhile_starts_anew(server: Server, tmp_path: Path) -> None:
    new = gzip.compress(os.urandom(len(BODY)))
    server.answers = [whole(sent=HALF), whole(new, tag='"two"')]
    download(server.file(), tmp_path / "a.json.gz", patience=HASTY, progress=False)
    assert (tmp_path / "a.json.gz").read_bytes() == new


def test_file_that_changed_without_a_mark_starts_anew(server: Server, tmp_path: Path) -> None:
    new = gzip.compress(os.urandom(len(BODY) + 100))
    server.answers = [whole(sent=HALF, tag='W/"weak"'), whole(new, tag='W/"weak"')]
    download(server.file(), tmp_path / "a.json.gz", patience=HASTY, progress=False)
    assert (tmp_path / "a.json.gz").read_bytes() == new


def test_web_page_in_the_middle_does_not_cost_what_arrived(server: Server, tmp_path: Path) -> None:
    server.answers = [whole(sent=HALF), whole(b"<html>soon</html>", ranges=False), whole()]
    with pytest.raises(DownloadFailed, match="a web page"):
        download(server.file(), tmp_path / "a.json.gz", patience=HASTY, progress=False)
    download(server.file(sha256=SHA), tmp_path / "a.json.gz", patience=HASTY, progress=False)
    assert server.asked[-1][1] == server.asked[-2][1] != None  # noqa: E711


def test_range_beyond_the_end_starts_anew(server: Server, tmp_path: Path) -> None:
    server.answers = [whole(sent=HALF), status(416), whole()]
    download(server.file(), tmp_path / "a.json.gz", patience=HASTY, progress=False)
    assert (tmp_path / "a.json.gz").read_bytes() == BODY


def zipped() -> bytes:
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a.csv", "x")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "body", "said"),
    [
        ("a.json.gz", b"\n<!DOCTYPE html><html>login</html>", "a web page"),
        ("a.zip", b"<html><body>moved</body></html>", "a web page"),
        ("men.csv", b"<!doctype html>", "a web page"),
        ("a.json.gz", b'{"reviewerID": "A1"}', "no .gz file: it begins with"),
        ("a.xlsx", BODY, "no .xlsx file"),
        ("a.json.gz", b"", "an empty file"),
        ("a.csv", b"", "an empty file"),
    ],
)
def test_status_200_with_something_else(
    server: Server, tmp_path: Path, name: str, body: bytes, said: str
) -> None:
    server.answers = [whole(body)]
    with pytest.raises(DownloadFailed, match=said):
        download(server.file(name), tmp_path / name, patience=HASTY, progress=False)
    assert not (tmp_path / name).exists()
    assert len(server.asked) == 1


def test_zip_is_recognised(server: Server, tmp_path: Path) -> None:
    server.answers = [whole(zipped())]
    download(server.file("a.zip"), tmp_path / "a.zip", patience=HASTY, progress=False)
    assert zipfile.is_zipfile(tmp_path / "a.zip")


def test_too_many_bytes_are_refused(server: Server, tmp_path: Path) -> None:
    def twice_in_chunks(handler: Handler) -> None:
        handler.head(200, Content_Length=len(BODY), Transfer_Encoding="chunked")
        for _ in range(2):
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(BODY), BODY))
        handler.wfile.write(b"0\r\n\r\n")

    server.answers = [twice_in_chunks]
    with pytest.raises(DownloadFailed, match=f"bytes arrived, {len(BODY):,} were announced"):
        download(server.file(), tmp_path / "a.json.gz", patience=HASTY, progress=False)
    assert left(tmp_path) == []


def test_killed_in_the_middle_then_resumed(server: Server, tmp_path: Path) -> None:
    server.answers = [whole(sent=HALF, then=stall), whole()]
    target, part = tmp_path / "a.json.gz", tmp_path / "a.json.gz.part"
    code = (
        "import sys; from pathlib import Path; from reclib.data._download import *; "
        "download(RemoteFile('a.json.gz', sys.argv[1]), Path(sys.argv[2]), progress=False)"
    )
    child = subprocess.Popen([sys.executable, "-c", code, server.address(), str(target)])
    wait_for_bytes(part, child)
    child.send_signal(signal.SIGKILL)
    child.wait()
    arrived = part.stat().st_size
    assert not target.exists()
    download(server.file(sha256=SHA), target, patience=HASTY, progress=False)
    assert server.asked[-1][1] == f"bytes={arrived}-"
    assert target.read_bytes() == BODY


def test_killed_between_the_last_byte_and_the_check(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "a.json.gz"
    with monkeypatch.context() as patch:
        patch.setattr("pooch.core.shutil.move", _raise(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            download(server.file(), target, patience=HASTY, progress=False)
    assert not target.exists()
    download(server.file(sha256=SHA), target, patience=HASTY, progress=False)
    assert len(server.asked) == 1, "nothing is sent twice"
    assert left(tmp_path) == ["a.json.gz"]


def test_stopped_by_hand_keeps_what_arrived(server: Server, tmp_path: Path) -> None:
    target, part = tmp_path / "a.json.gz", tmp_path / "a.json.gz.part"

    def interrupted(handler: Handler) -> None:
        wait_for_bytes(part)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        stall(handler)

    server.answers = [whole(sent=HALF, then=interrupted), whole()]
    with pytest.raises(KeyboardInterrupt):
        download(server.file(), target, patience=Patience(timeout=5), progress=False)
    arrived = part.stat().st_size
    download(server.file(sha256=SHA), target, patience=HASTY, progress=False)
    assert server.asked[-1][1] == f"bytes={arrived}-"


def _raise(error: BaseException) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def test_disk_that_is_too_small_is_noticed_first(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(_download.shutil, "disk_usage", lambda _: small)
    with pytest.raises(ReclibError, match=f"needs {len(BODY):,} more bytes.*1,000 free"):
        download(server.file(), tmp_path / "a.json.gz", patience=HASTY, progress=False)
    assert left(tmp_path) == []


def test_disk_that_fills_up_keeps_what_arrived(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    with monkeypatch.context() as patch:
        patch.setattr(_download.os, "fsync", _raise(full))
        with pytest.raises(ReclibError, match="no space left .* goes on from there"):
            download(server.file(), tmp_path / "a.json.gz", patience=HASTY, progress=False)
    assert not (tmp_path / "a.json.gz").exists()
    download(server.file(sha256=SHA), tmp_path / "a.json.gz", patience=HASTY, progress=False)
    assert len(server.asked) == 1


def test_folder_that_cannot_be_made(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ReclibError, match="cannot write"):
        download(server.file(), tmp_path / "file" / "a.json.gz", patience=HASTY, progress=False)


# --- by name ---------------------------------------------------------------------------------


@pytest.fixture
def published(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Server:
    """One data set of two files, the second of which two places offer."""

    def files(_: str) -> tuple[fetch.Alternatives, ...]:
        second = (server.file("b.json.gz"), RemoteFile("b.json.gz", server.address("mirror")))
        return (server.file(sha256=SHA),), second

    toy = fetch.Publication("2 files", "CC0", "https://example.org/toy", files)
    monkeypatch.setattr(fetch, "PUBLICATIONS", {"toy": toy})
    monkeypatch.setenv("RECLIB_DATA", str(tmp_path))
    return server


def test_fetch_says_the_terms_and_keeps_an_unknown_hash(
    published: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fetch.fetch("toy", progress=False, patience=HASTY) == paths.data_dir() / "toy"
    printed = capsys.readouterr().out
    assert printed.index("CC0") < printed.index("a.json.gz")
    assert left(tmp_path / "toy") == ["a.json.gz", "b.json.gz", "b.json.gz.sha256"]
    kept = (tmp_path / "toy" / "b.json.gz.sha256").read_text()
    assert kept == f"{SHA}  b.json.gz\n"


def test_fetch_again_fetches_nothing(
    published: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch.fetch("toy", progress=False)
    before = len(published.asked)
    fetch.fetch("toy", progress=False)
    assert len(published.asked) == before
    assert capsys.readouterr().out.count("is there and whole") == 2


def test_two_fetches_do_not_fill_one_folder(
    published: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "toy").mkdir()
    with FileLock(tmp_path / "toy" / ".lock"):
        assert main(["fetch", "toy"]) == 2
        message = f"another fetch writes to {tmp_path / 'toy'}; wait for its end, and fetch again"
        assert message in capsys.readouterr().err
        assert published.asked == [] and left(tmp_path) == []
    fetch.fetch("toy", progress=False)
    with FileLock(tmp_path / "toy" / ".lock"):
        fetch.fetch("toy", progress=False)  # writes nothing, so it need not wait


def test_fetch_into_what_is_no_folder(published: Server, tmp_path: Path) -> None:
    (tmp_path / "toy").touch()
    with pytest.raises(ReclibError, match=f"cannot write to {tmp_path / 'toy'}.*another folder"):
        fetch.fetch("toy", progress=False)


def test_fetch_accepts_a_file_put_there_by_hand(
    published: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = gzip.compress(b"by hand")
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "b.json.gz").write_bytes(own)
    fetch.fetch("toy", progress=False)
    assert "no SHA-256 to compare with" in capsys.readouterr().out
    assert (tmp_path / "toy" / "b.json.gz").read_bytes() == own


@pytest.mark.parametrize("name", ["a.json.gz", "b.json.gz"])
def test_fetch_refuses_a_changed_file_and_keeps_it(
    published: Server, tmp_path: Path, name: str
) -> None:
    fetch.fetch("toy", progress=False)
    (tmp_path / "toy" / name).write_bytes(gzip.compress(b"changed"))
    with pytest.raises(ReclibError, match=f"{name} is another file.*{SHA}.*move it away"):
        fetch.fetch("toy", progress=False)
    assert gzip.decompress((tmp_path / "toy" / name).read_bytes()) == b"changed"


def test_fetch_takes_the_next_place(published: Server, tmp_path: Path) -> None:
    published.answers = [whole(), status(404), whole()]
    fetch.fetch("toy", progress=False, patience=HASTY)
    assert [path for path, _ in published.asked] == ["/a.json.gz", "/b.json.gz", "/mirror"]
    assert left(tmp_path / "toy") == ["a.json.gz", "b.json.gz", "b.json.gz.sha256"]


def test_fetch_keeps_the_first_places_part_when_all_fail(published: Server, tmp_path: Path) -> None:
    published.answers = [whole(), whole(sent=HALF), status(404), status(404)]
    with pytest.raises(ReclibError) as caught:
        fetch.fetch("toy", progress=False, patience=HASTY)
    said = str(caught.value)
    for needed in (
        *("b.json.gz could not be fetched", published.address("b.json.gz"), "answers 404"),
        *(published.address("mirror"), "By hand", str(tmp_path / "toy" / "b.json.gz")),
    ):
        assert needed in said, needed
    assert (tmp_path / "toy" / "b.json.gz.part").stat().st_size > 0
    published.answers = [whole()]
    fetch.fetch("toy", progress=False)
    assert str(published.asked[-1][1]).startswith("bytes=")
    assert left(tmp_path / "toy") == ["a.json.gz", "b.json.gz", "b.json.gz.sha256"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("online-retial", "did you mean 'online-retail'"),
        ("amazon-2018/Al_Beauty", "did you mean 'All_Beauty'"),
        ("amazon-2014/All_Beauty", "unknown category of amazon-2014"),
        ("amazon-2023", "amazon-2023/All_Beauty; there are: All_Beauty, Amazon_Fashion"),
        ("open-bandit/men", "has no categories"),
        ("amazon-beauty", "'amazon-2014/Beauty'"),
        ("simulated", "unknown data set to fetch 'simulated'"),
    ],
)
def test_names_that_cannot_be_fetched(name: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ReclibError, match=said):
        fetch.fetch(name, folder=tmp_path)
    assert left(tmp_path) == []


def test_every_publication_is_well_formed() -> None:
    sizes = {"amazon-2014": 24, "amazon-2018": 29, "amazon-2023": 34}
    for name, published in fetch.PUBLICATIONS.items():
        assert len(published.categories) == sizes.get(name, 0)
        assert len(set(published.categories)) == len(published.categories)
        for category in published.categories or ("",):
            for alternatives in published.files(category):
                for file in alternatives:
                    assert file.address.startswith(("https://", "http://snap.stanford.edu/"))
                    assert " " not in file.address
                    assert file.sha256 is None or len(file.sha256) == 64
    assert len(fetch.PUBLICATIONS["open-bandit"].files("")) == 8


@pytest.mark.real_data
def test_hashes_are_those_of_our_copy(real_data: Callable[[str], Path]) -> None:
    folder = real_data("open-bandit")
    for (file,) in fetch.PUBLICATIONS["open-bandit"].files(""):
        here = folder / file.path
        packed = here.with_name(f"{here.name}.gz")
        content = here.read_bytes() if here.exists() else gzip.decompress(packed.read_bytes())
        assert len(content) == file.size
        assert hashlib.sha256(content).hexdigest() == file.sha256


def test_command(published: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fetch"]) == 0
    listed = capsys.readouterr().out
    for needed in ("toy", "2 files", "CC0", "https://example.org/toy"):
        assert needed in listed
    assert main(["fetch", "toy", "--folder", str(tmp_path / "here")]) == 0
    assert (tmp_path / "here" / "a.json.gz").read_bytes() == BODY
    assert main(["fetch", "tay"]) == 2
    assert "did you mean 'toy'" in capsys.readouterr().err
