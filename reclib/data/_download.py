"""Fetch one file over HTTP: taken up again after a break, and whole or not there at all."""

import errno
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import pooch
import requests
import urllib3
from tqdm.auto import tqdm

from reclib import cache
from reclib.errors import ReclibError

CHUNK = 1 << 16
BUSY = (408, 425, 429)  # like 5xx: worth another attempt
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
MAGIC = {".gz": b"\x1f\x8b", ".zip": b"PK\x03\x04", ".xlsx": b"PK\x03\x04"}
WEB_PAGE = (b"<!doctype html", b"<html")


@dataclass(frozen=True)
class RemoteFile:
    """One published file.

    Attributes
    ----------
    path
        Where it goes, below the folder of its source.
    address
        Where it is published.
    sha256, size
        Its hash and its bytes; None where the publisher does not say.
    """

    path: str
    address: str
    sha256: str | None = None
    size: int | None = None


@dataclass(frozen=True)
class Patience:
    """How long to bear with a server.

    Attributes
    ----------
    timeout
        Seconds without a byte, after which a connection counts as stalled.
    attempts
        Failures in a row, none of which brought the file forward.
    pause
        Seconds before the second attempt; doubled before each further one, up to a minute.
    """

    timeout: float = 60.0
    attempts: int = 5
    pause: float = 2.0


class DownloadFailed(Exception):
    """An address does not give the file; the message says what it gives instead."""


class _Broken(Exception):
    """The attempt failed in a way that another one may mend."""


@dataclass(frozen=True)
class _Origin:
    """What a partial file is a part of: the server's mark of that version, and its bytes."""

    validator: str | None = None
    size: int | None = None


def download(
    file: RemoteFile,
    target: Path,
    *,
    part: Path | None = None,
    patience: Patience | None = None,
    progress: bool | None = None,
) -> None:
    """Download `file` to `target`, which appears in one step when it is whole and checked.

    Parameters
    ----------
    file
        What to download. Where it has a hash, pooch compares it.
    target
        Must not be there yet.
    part
        Holds what has arrived so far, so that a later call goes on from there; by default
        beside `target`, with the suffix ``.part``.
    patience
        Time-outs and repetitions.
    progress
        Show a bar; by default as ``TQDM_DISABLE`` says, which is set while notebooks run.

    Raises
    ------
    DownloadFailed
        The address gives no such file, another one, or not all of it.
    ReclibError
        It cannot be stored here.
    """
    part = part or target.with_name(f"{target.name}.part")
    downloader = _Resumable(file, part, patience or Patience(), progress)
    pooch.get_logger().setLevel("WARNING")
    try:
        pooch.retrieve(
            file.address,
            known_hash=f"sha256:{file.sha256}" if file.sha256 else None,
            fname=target.name,
            path=target.parent,
            downloader=downloader,
        )
    except ReclibError:
        raise
    except ValueError as error:  # pooch's word for another hash
        forget(part)
        raise DownloadFailed(f"{error} It was thrown away.") from None
    except OSError as error:
        raise ReclibError(f"cannot write {target}: {error}") from error
    forget(part)


def forget(part: Path) -> None:
    """Remove a partial file."""
    part.unlink(missing_ok=True)
    _origin_file(part).unlink(missing_ok=True)


def unlike(path: str, head: bytes) -> str | None:
    """Say what is wrong with the first bytes of a file of this name; None if nothing is."""
    if not head:
        return "an empty file"
    magic = MAGIC.get(Path(path).suffix)
    if magic and head.startswith(magic):
        return None
    if head.lstrip()[:20].lower().startswith(WEB_PAGE):
        return "a web page instead of the file"
    return f"no {Path(path).suffix} file: it begins with {head[:12]!r}" if magic else None


class _Resumable:
    """A downloader for pooch that keeps what has arrived and asks only for the rest."""

    def __init__(
        self, file: RemoteFile, part: Path, patience: Patience, progress: bool | None
    ) -> None:
        self.file, self.part, self.patience = file, part, patience
        self.shown: dict[str, Any] = {} if progress is None else {"disable": not progress}

    def __call__(self, url: str, output_file: str, _: object) -> None:
        """Fill `output_file`, the temporary file that pooch then checks and moves."""
        with tqdm(desc=Path(self.file.path).name, unit="B", unit_scale=True, **self.shown) as bar:
            self._until_whole(url, bar)
        _second_name(self.part, Path(output_file))

    @property
    def arrived(self) -> int:
        """Bytes on the disk."""
        return self.part.stat().st_size if self.part.is_file() else 0

    def _until_whole(self, url: str, bar: "tqdm[Any]") -> None:
        failures, furthest = 0, self.arrived
        while True:
            try:
                return self._attempt(url, bar)
            except _Broken as error:
                failures = failures + 1 if self.arrived <= furthest else 0
                furthest = max(furthest, self.arrived)
                if failures >= self.patience.attempts:
                    kept = f"; the first {self.arrived:,} bytes are kept" if self.arrived else ""
                    raise DownloadFailed(f"{error}, {failures} times in a row{kept}") from None
                bar.set_postfix_str(f"{error}; trying again")
                time.sleep(min(self.patience.pause * 2 ** max(failures - 1, 0), 60.0))

    def _attempt(self, url: str, bar: "tqdm[Any]") -> None:
        """Ask for what is missing and append it."""
        origin = self._origin()
        offset = self.arrived if origin else 0
        if origin and offset and origin.size == offset:
            return  # a former call was stopped between the last byte and the check
        response = self._ask(url, offset, origin.validator if origin else None)
        with response:
            if response.status_code != requests.codes.partial_content:
                offset = 0
            whole = self._announced(response, offset, origin)
            body = _body(response)
            first = next(body, b"")
            if not offset:
                if wrong := unlike(self.file.path, first):
                    raise DownloadFailed(f"it gives {wrong}")
                forget(self.part)
                self._remember(_Origin(_validator(response), whole))
            bar.total, bar.n = whole, offset
            bar.refresh()
            self._append(chain((first,), body), offset, bar)
        if whole is not None and self.arrived != whole:
            self._complain(whole)

    def _ask(self, url: str, offset: int, validator: str | None) -> requests.Response:
        # identity: a length and a range must be those of the file as it is published
        headers = {"Accept-Encoding": "identity", "User-Agent": "reclib"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
            if validator:
                headers["If-Range"] = validator
        try:
            response = requests.get(
                url, headers=headers, stream=True, timeout=self.patience.timeout
            )
        except requests.RequestException as error:
            raise _Broken(f"no answer ({_plain(error)})") from None
        status = f"the server answers {response.status_code} {response.reason}"
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            forget(self.part)
            raise _Broken(status)
        if response.status_code >= 500 or response.status_code in BUSY:
            raise _Broken(status)
        if response.status_code not in (requests.codes.ok, requests.codes.partial_content):
            raise DownloadFailed(status)
        return response

    def _announced(
        self, response: requests.Response, offset: int, origin: _Origin | None
    ) -> int | None:
        """Return the bytes of the whole file; make sure that the rest belongs to the part."""
        length = response.headers.get("Content-Length")
        whole = offset + int(length) if length else None
        if offset:
            start = response.headers.get("Content-Range", "").removeprefix("bytes ")
            if not start.startswith(f"{offset}-") or (origin and origin.size != whole):
                forget(self.part)
                raise _Broken("the file there has changed")
        if None not in (whole, self.file.size) and whole != self.file.size:
            raise DownloadFailed(f"the file there has {whole:,} bytes, not {self.file.size:,}")
        free = shutil.disk_usage(self.part.parent).free
        if whole and whole - offset > free:
            raise ReclibError(
                f"{self.file.path} needs {whole - offset:,} more bytes, and {self.part.parent} "
                f"has {free:,} free: make room, or choose another folder; then fetch again"
            )
        return whole

    def _append(self, chunks: Iterable[bytes], offset: int, bar: "tqdm[Any]") -> None:
        try:
            with self.part.open("ab" if offset else "wb") as stream:
                for chunk in chunks:
                    stream.write(chunk)
                    bar.update(len(chunk))
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
            raise ReclibError(
                f"no space left in {self.part.parent} after {self.arrived:,} bytes of "
                f"{self.file.path}: make room and fetch again; it goes on from there"
            ) from error

    def _complain(self, whole: int) -> None:
        if self.arrived > whole:  # the server's mistake
            found = self.arrived
            forget(self.part)
            raise DownloadFailed(f"{found:,} bytes arrived, {whole:,} were announced")
        raise _Broken(f"{self.arrived:,} of {whole:,} bytes arrived")

    def _origin(self) -> _Origin | None:
        """Read what the partial file is a part of; None where there is none to go on from."""
        try:
            return _Origin(**json.loads(_origin_file(self.part).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def _remember(self, origin: _Origin) -> None:
        text = json.dumps(asdict(origin))
        cache.atomic_write(
            _origin_file(self.part), lambda new: new.write_text(text, encoding="utf-8")
        )


def _origin_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _body(response: requests.Response) -> Iterator[bytes]:
    """Yield the bytes as they are sent; every fault of the network is a broken attempt."""
    try:
        yield from response.raw.stream(CHUNK, decode_content=False)
    except urllib3.exceptions.ReadTimeoutError:
        raise _Broken("the connection stalled") from None
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise _Broken(f"the connection broke ({_plain(error)})") from None


def _validator(response: requests.Response) -> str | None:
    """Return the server's mark of this version, if it is one that can be trusted."""
    tag = response.headers.get("ETag")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified")


def _plain(error: BaseException) -> str:
    """Return the innermost reason, without the objects around it."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return f"{type(error).__name__}: {error}"


def _second_name(part: Path, output: Path) -> None:
    """Let pooch check the part under its own name: a kill meanwhile leaves the part."""
    output.unlink(missing_ok=True)
    try:
        os.link(part, output)
    except OSError:  # a file system without hard links
        os.replace(part, output)
