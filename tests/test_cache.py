"""The cache: whole files or none, nothing stale, nothing broken."""

import errno
import gzip
import pickle
import subprocess
import sys
import zlib
from pathlib import Path

import joblib
import numpy as np
import pytest

from reclib import cache

KEY = {"k": 1}
CODE = ("errors.py",)


def remember(value: object = "old", key: object = KEY, code: tuple[str, ...] = CODE) -> object:
    return cache.cached("step", lambda: value, key=key, code=code)


def fail() -> object:
    pytest.fail("computed again")


def test_the_second_time_nothing_is_computed(fresh_cache: Path) -> None:
    value = {"a": np.arange(3), "b": ("x", None)}
    remember(value)
    found = cache.cached("step", fail, key=KEY, code=CODE)
    np.testing.assert_array_equal(found["a"], value["a"])
    assert found["b"] == value["b"]


@pytest.mark.parametrize(
    ("key", "step"), [({"k": 2}, "step"), ({"k": 1.5}, "step"), (KEY, "other step"), ([], "step")]
)
def test_another_key_or_step_is_another_entry(fresh_cache: Path, key: object, step: str) -> None:
    remember("old")
    assert cache.cached(step, lambda: "new", key=key, code=CODE) == "new"
    assert remember("newer") == "old"


def test_a_key_of_arrays_is_their_content(fresh_cache: Path) -> None:
    remember("old", key=np.arange(4))
    assert remember("new", key=np.arange(4).copy()) == "old"
    assert remember("new", key=np.arange(4)[::-1]) == "new"


def test_changed_code_is_another_entry(
    fresh_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "package"
    (package / "inner").mkdir(parents=True)
    (package / "inner" / "one.py").write_text("x = 1\n")
    (package / "two.py").write_text("y = 1\n")
    monkeypatch.setattr(cache, "PACKAGE", package)
    hashes = [(cache.source_hash(), cache.source_hash(["inner"]), cache.source_hash(["two.py"]))]
    remember("old", code=("inner",))
    (package / "two.py").write_text("y = 2\n")
    hashes.append(
        (cache.source_hash(), cache.source_hash(["inner"]), cache.source_hash(["two.py"]))
    )
    assert remember("new", code=("inner",)) == "old"
    (package / "inner" / "one.py").write_text("x = 2\n")
    assert remember("new", code=("inner",)) == "new"
    assert hashes[0][0] != hashes[1][0]
    assert hashes[0][1] == hashes[1][1]
    assert hashes[0][2] != hashes[1][2]
    before = cache.source_hash()
    (package / "inner" / "one.py").rename(package / "inner" / "three.py")
    assert cache.source_hash() != before


def test_another_version_of_a_library_is_another_entry(
    fresh_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remember("old")
    newer = tuple(f"{number}.post1" for number in cache.versions())
    monkeypatch.setattr(cache, "versions", lambda: newer)
    assert remember("new") == "new"


def test_a_part_of_the_code_that_is_not_there_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        cache.source_hash(["no_such_module.py"])


def test_the_file_of_an_entry_is_the_same_in_every_process(fresh_cache: Path) -> None:
    key = ("Content", {"decay": 0.7, "b": 1, "a": [1, 2]}, "f00", 10, None)
    command = (
        "from reclib import cache; print(cache.entry('step', key=('Content', "
        "{'a': [1, 2], 'b': 1, 'decay': 0.7}, 'f00', 10, None), code=('errors.py',)).name)"
    )
    root = cache.PACKAGE.parent
    shown = subprocess.run(
        [sys.executable, "-c", command], cwd=root, capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == cache.entry("step", key=key, code=CODE).name


def garbage(seed: int) -> bytes:
    return np.random.default_rng(seed).bytes(300)


BROKEN = {
    "empty": b"",
    "half a pickle": pickle.dumps(list(range(100)))[:90],
    "text": b"no pickle at all",
    "zlib": zlib.compress(b"something else"),
    "half zlib": zlib.compress(pickle.dumps(list(range(1000))))[:60],
    "half gzip": gzip.compress(pickle.dumps(list(range(1000))))[:60],
    "gzip of noise": gzip.compress(b"")[:4] + bytes(range(200)),
    "bz2 of noise": b"BZh9" + bytes(range(200)),
    "unknown module": b"cno_such_module\nName\n.",
    "unknown name": b"cos\nno_such_name\n.",
    **{f"noise {seed}": garbage(seed) for seed in range(12)},
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_broken_entry_is_computed_again_and_mended(fresh_cache: Path, content: bytes) -> None:
    file = cache.entry("step", key=KEY, code=CODE)
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    assert remember("new") == "new"
    assert joblib.load(file) == "new"


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_broken_entry_is_read_as_nothing_and_stays(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "entry.joblib"
    file.write_bytes(content)
    assert cache.read(file) is None
    assert file.read_bytes() == content


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EMFILE, "Too many open files"),
        OSError(errno.EIO, "Input/output error"),
        PermissionError(errno.EACCES, "Permission denied"),
        MemoryError(),
    ],
    ids=repr,
)
def test_an_error_that_passes_is_raised_and_the_entry_stays(
    fresh_cache: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    remember("old")

    def raises(path: Path) -> object:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(joblib, "load", raises)
        with pytest.raises(type(error)):
            remember("new")
    assert cache.cached("step", fail, key=KEY, code=CODE) == "old"


def test_no_entry_is_read_as_nothing(fresh_cache: Path) -> None:
    assert cache.read(fresh_cache / "step" / "absent.joblib") is None


def test_a_writer_that_fails_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    file = tmp_path / "there" / "result.txt"
    cache.atomic_write(file, lambda temporary: temporary.write_text("old"))

    def half(temporary: Path) -> None:
        temporary.write_text("ne")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.atomic_write(file, half)
    assert file.read_text() == "old"
    assert [found.name for found in file.parent.iterdir()] == ["result.txt"]


def test_a_new_file_takes_the_place_of_the_old_one_and_all_may_read_it(tmp_path: Path) -> None:
    file = tmp_path / "result.txt"
    for text in ("old", "new"):
        cache.atomic_write(file, lambda temporary, text=text: temporary.write_text(text))
    assert file.read_text() == "new"
    assert file.stat().st_mode & 0o777 == 0o644


def test_an_error_of_the_computation_is_not_remembered(fresh_cache: Path) -> None:
    def raises() -> object:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cache.cached("step", raises, key=KEY, code=CODE)
    assert remember("new") == "new"


def test_code_behind_a_module_is_all_that_it_imports_and_nothing_else() -> None:
    """So another model's code may change, and its results stay."""
    popular = cache.behind("reclib.models.baselines")
    assert {"models/baselines.py", "models/base.py", "data/prepare.py", "errors.py"} <= {*popular}
    assert not {"models/content.py", "models/__init__.py", "evaluation/metrics.py"} & {*popular}
    content = cache.behind("reclib.models.content")
    assert {"models/linear.py", "data/features.py"} <= {*content}
    assert cache.behind("reclib.models.baselines", "reclib.models.content") == tuple(
        sorted({*popular, *content})
    )


def test_code_behind_a_module_exists_and_others_have_none() -> None:
    found = cache.behind("reclib.evaluation.tuning", "json")
    assert all((cache.PACKAGE / name).is_file() for name in found)
    assert "evaluation/tuning.py" in found and "cache.py" in found
    assert cache.behind("json", "numpy") == ()
