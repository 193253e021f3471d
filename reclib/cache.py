"""Disk cache for expensive steps, under a key of inputs, parameters and code.

An entry is found again only while its key and the source of the packages it names are
unchanged, so any notebook runs alone, in any order, and no stale value survives a change.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import joblib

from reclib import paths

T = TypeVar("T")
PACKAGE = Path(__file__).resolve().parent


def source_hash(parts: Iterable[str] = ("",)) -> str:
    """Hash the library's own source.

    Parameters
    ----------
    parts
        Packages or modules below ``reclib``, e.g. ``("data", "models/encoder.py")``;
        the default is the whole library.

    Returns
    -------
    str
        SHA-256, hexadecimal, of every ``.py`` file in `parts`, names included.
    """
    digest = hashlib.sha256()
    for part in parts:
        place = PACKAGE / part
        for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            digest.update(str(file.relative_to(PACKAGE)).encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()


def atomic_write(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file, then move it to `path` in one step.

    A run that is killed half-way leaves the old file or none, never half a file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        temporary.chmod(0o644)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def entry(step: str, *, key: object, code: Iterable[str]) -> Path:
    """Name the file of a cached result.

    Parameters
    ----------
    step
        Folder of the entry below the cache, e.g. ``"evaluate"``.
    key
        Everything that the result depends on: input hashes and parameters.
    code
        Packages whose source the result depends on, as in `source_hash`.

    Returns
    -------
    Path
        Whether or not there is such a file yet.
    """
    return paths.CACHE / step / f"{joblib.hash((key, source_hash(code)))}.joblib"


def read(path: Path) -> Any:
    """Read an entry; None where there is none, or none that can be read."""
    try:
        return joblib.load(path)
    except FileNotFoundError:
        return None
    except Exception:  # a damaged pickle may raise anything; the result is computed anew
        path.unlink(missing_ok=True)
        return None


def write(path: Path, value: object) -> None:
    """Keep a result, whole or not at all."""
    atomic_write(path, lambda temporary: joblib.dump(value, temporary))


def cached(step: str, compute: Callable[[], T], *, key: object, code: Iterable[str]) -> T:
    """Return ``compute()``, from the disk if it was computed before; see `entry`."""
    path = entry(step, key=key, code=code)
    value: T | None = read(path)
    if value is None:
        value = compute()
        write(path, value)
    return value
