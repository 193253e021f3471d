"""What a run depends on, what it was made of, and whether its notebooks are still fresh."""

import hashlib
import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import nbformat

from reclib import cache, paths
from reclib.data.sources import data_files
from reclib.study import doctor, results
from reclib.study.parameters import data_name, declared_parameters, notebooks

LOCK = "requirements.lock"
CODE = ("reclib", "notebooks", "params", LOCK)  # what a commit must hold for a run to be repeatable


@dataclass(frozen=True)
class Run:
    """What all notebooks of one run have in common."""

    parameters: dict[str, Any]

    @property
    def name(self) -> str:
        """As in ``results/runs/<name>``."""
        return f"{data_name(self.parameters['data'])}-{self.parameters['size']}"

    @property
    def folder(self) -> Path:
        """Where the result files go."""
        return results.run_folder(self.parameters["data"], self.parameters["size"])

    @cached_property
    def data_files(self) -> dict[str, str]:
        """Hash of every file of a real data set; nothing for the simulated one."""
        files = data_files(self.parameters["data"])
        return {name: results.file_hash(file) for name, file in files.items()}

    @cached_property
    def library(self) -> str:
        """Hash of the library's source."""
        return cache.source_hash()

    @cached_property
    def lock(self) -> str | None:
        """Hash of the lock file."""
        file = paths.ROOT / LOCK
        return results.file_hash(file) if file.is_file() else None

    def passed(self, source: Path) -> dict[str, Any]:
        """Return the parameters that a notebook declares, of those that are set."""
        declared = declared_parameters(source)
        return {name: value for name, value in self.parameters.items() if name in declared}

    def stamp(self, source: Path) -> str:
        """Hash everything that the notebook's output depends on."""
        text = source.read_text(encoding="utf-8")
        made_of = [text, self.passed(source), self.library, self.lock, self.data_files]
        return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()

    def earlier(self) -> dict[str, Any]:
        """Read what the last run of this name left in the folder about itself, if it did."""
        there = (self.folder / results.PROVENANCE_FILE).is_file()
        return results.read_provenance(self.folder) if there else {}

    def fresh(self, source: Path) -> Mapping[str, Any] | None:
        """Return the executed notebook's mark if nothing that it depends on has changed."""
        return fresh_mark(executed(source), self.stamp(source), self.folder)


def fresh_mark(notebook: Path, stamp: str, folder: Path) -> Mapping[str, Any] | None:
    """Return an executed notebook's mark, if its stamp is `stamp` and its results are whole.

    Parameters
    ----------
    notebook
        The executed form; it need not exist.
    stamp
        Hash of everything that the output depends on.
    folder
        Of the result files.
    """
    try:
        read = nbformat.read(notebook, as_version=4)  # type: ignore[no-untyped-call]
    except (OSError, ValueError):
        return None
    mark: Mapping[str, Any] = read.metadata.get("reclib", {})
    return mark if _holds(mark, stamp, folder) else None


def _holds(mark: Mapping[str, Any], stamp: str, folder: Path) -> bool:
    """Say whether a mark has this stamp, and its result files are as they were written."""
    if mark.get("stamp") != stamp:
        return False
    now = hashes(folder)
    return all(now.get(name) == sha for name, sha in mark["results"].items())


def executed(source: Path) -> Path:
    """Return where the executed form of a notebook lies, the one that the book shows."""
    return paths.EXECUTED / f"{source.stem}.ipynb"


def provenance(this: Run, started: str) -> dict[str, Any]:
    """Gather what a reader needs to repeat the run, and to see that nothing was changed.

    The result files are those that its notebooks wrote with these parameters and this code; the
    folder may hold others.
    """
    marks = _marks(this)
    return {
        "data": data_name(this.parameters["data"]),
        "size": this.parameters["size"],
        "seed": this.parameters["seed"],
        "parameters": this.parameters,
        "started": started,
        "git": git_state(),
        "library": this.library,
        "lock": this.lock,
        "data_files": this.data_files,
        "notebooks": {
            source.stem: {
                "sha256": results.file_hash(source),
                "stamp": mark["stamp"],
                "seconds": mark["seconds"],
                "joules": mark.get("joules"),
                "results": dict(mark["results"]),
            }
            for source, mark in marks.items()
        },
        "results": dict(
            sorted(file for mark in marks.values() for file in mark["results"].items())
        ),
        "machine": doctor.machine(),
    }


def _marks(this: Run) -> dict[Path, Mapping[str, Any]]:
    """Find the mark of every notebook whose results are this run's.

    All runs share the pages of the book, so a page may be another run's by now; what the folder
    says of the notebook then stands in for it.
    """
    before = this.earlier().get("notebooks", {})
    marks = {}
    for source in notebooks():
        earlier = before.get(source.stem, {})
        if mark := this.fresh(source):
            marks[source] = mark
        elif _holds(earlier, this.stamp(source), this.folder):
            marks[source] = earlier
    return marks


def git_state(code: Sequence[str] = CODE) -> dict[str, Any] | None:
    """Return the commit and whether `code` differs from it; None outside a repository."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(paths.ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != paths.ROOT.resolve():
            return None
        dirty = bool(git("status", "--porcelain", "--", *code))
        return {"commit": git("rev-parse", "--verify", "HEAD"), "dirty": dirty}
    except (OSError, subprocess.CalledProcessError):
        return None


def hashes(folder: Path) -> dict[str, str]:
    """Return the hash of every file that lies in a folder."""
    return {name: results.file_hash(folder / name) for name in times(folder)}


def times(folder: Path) -> dict[str, int]:
    """Return the files of a folder and when each was written; hidden ones are half-written."""
    files = sorted(folder.glob("[!.]*")) if folder.is_dir() else []
    return {file.name: file.stat().st_mtime_ns for file in files if file.is_file()}
