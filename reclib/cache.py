"""Disk cache for expensive steps, under a key of inputs, parameters and code.

An entry is found again only while its key, the source of the packages it names, and the
versions of the libraries that calculate are unchanged, so any notebook runs alone, in any
order, and no stale value survives a change.
"""

import ast
import hashlib
import importlib
import importlib.util
import os
import tempfile
from collections.abc import Callable, Iterable
from functools import cache as cache_in_memory
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import joblib

from reclib import paths

T = TypeVar("T")
PACKAGE = Path(__file__).resolve().parent
# other versions of these may give other numbers
CALCULATING = (
    "implicit", "numpy", "optuna", "polars", "scikit-learn", "scipy", "sparse-dot-topn", "torch",
    "transformers",
)  # fmt: skip


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


def behind(*modules: str) -> tuple[str, ...]:
    """Name the files that modules of the library may depend on, their own among them.

    So a result is computed anew when something changed that it could come from, and not when
    another model did.

    Parameters
    ----------
    *modules
        Imported modules, e.g. ``"reclib.models.content"``; those of other packages are left
        out.

    Returns
    -------
    tuple of str
        Paths below ``reclib``, sorted, as `source_hash` takes them. What is imported by way of
        a package counts where it is defined.
    """
    found: set[str] = set()
    left = [name for name in modules if name.split(".")[0] == PACKAGE.name]
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += _imported(name)
    files = (Path(importlib.import_module(name).__file__ or "").resolve() for name in found)
    return tuple(sorted(str(file.relative_to(PACKAGE)) for file in files))


@cache_in_memory
def _imported(module: str) -> tuple[str, ...]:
    source = Path(importlib.import_module(module).__file__ or "").read_text(encoding="utf-8")
    return imported(source)


def imported(source: str) -> tuple[str, ...]:
    """Name the modules of the library that a Python text imports, anywhere in it."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == PACKAGE.name:
            found += [_home(node.module or "", alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [a.name for a in node.names if a.name.split(".")[0] == PACKAGE.name]
    return tuple(found)


def _home(module: str, name: str) -> str:
    """Find the module that ``from module import name`` brings, or that defines the name."""
    inner = f"{module}.{name}"
    package = importlib.import_module(module)
    if hasattr(package, "__path__") and importlib.util.find_spec(inner) is not None:
        return importlib.import_module(inner).__name__
    defined = str(getattr(getattr(package, name), "__module__", module))
    return defined if defined.split(".")[0] == PACKAGE.name else module


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
    made_of = (key, source_hash(code), versions())
    return paths.CACHE / step / f"{joblib.hash(made_of)}.joblib"


@cache_in_memory
def versions() -> tuple[str, ...]:
    """Name the installed versions of `CALCULATING`, in its order."""
    return tuple(version(name) for name in CALCULATING)


def read(path: Path) -> Any:
    """Read an entry; None where there is none, or a damaged one, which `write` replaces.

    Raises
    ------
    OSError, MemoryError
        If the machine cannot read it now, for want of memory or of a right to it. The entry
        stays, for it may be whole.
    """
    try:
        return joblib.load(path)
    except FileNotFoundError:
        return None
    except MemoryError:
        raise
    except Exception as error:  # a damaged pickle may raise anything; it is computed anew
        if isinstance(error, OSError) and error.errno is not None:  # of the system, not of gzip
            raise
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
