"""Running the notebooks with papermill, and saying afterwards what made the results.

A notebook is run again only if something that it depends on has changed: its source, the
library, its parameters, the lock file, the data, or a result file that it wrote. A notebook
that fails stops the run, and the last good one stays in the book.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
import papermill
import psutil
import zmq
from ipykernel.kernelspec import write_kernel_spec
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError, strip_color
from tqdm import tqdm
from traitlets.config import Config

from reclib import cache, paths
from reclib.errors import ReclibError
from reclib.locks import locked
from reclib.study import results
from reclib.study.energy import counted
from reclib.study.parameters import (
    data_name,
    find_notebooks,
    load_parameters,
    notebooks,
    read_notebook,
)
from reclib.study.provenance import Run, executed, provenance, times

SHOWN = 15  # last lines of a traceback that are printed; the kept notebook has them all


class NotebookFailed(ReclibError):
    """A notebook stopped with an error; the message names the cell and where to look."""

    exit_code = 1


class Interrupted(KeyboardInterrupt):
    """The user stopped the run; the message says how to go on."""


def run(
    data: str,
    size: str,
    *,
    seed: int | None = None,
    overrides: Mapping[str, Any] | None = None,
    only: Sequence[str] | None = None,
    force: bool = False,
    timeout: int = 4 * 3600,
    variables: Mapping[str, str] | None = None,
) -> Path:
    """Run the notebooks on a data set, those whose output is out of date.

    Parameters
    ----------
    data, size
        As for ``reclib.data.sources.load``.
    seed, overrides
        As for `load_parameters`.
    only
        Numbers or names of notebooks, e.g. ``["03", "08_run_experiment"]``; default: all.
    force
        Run also what is fresh.
    timeout
        Seconds that one cell may take.
    variables
        Of the notebooks' environment, besides the usual ones.

    Returns
    -------
    Path
        The folder of the result files.

    Raises
    ------
    ReclibError
        Before anything starts, if a parameter, a notebook or the data are not right, if
        another run is going on, or if the folder holds results of other data; later, if the
        library is changed meanwhile.
    NotebookFailed
        If a cell raised, took too long, or its kernel died.
    """
    this = Run(load_parameters(data, size, seed=seed, overrides=overrides))
    todo = find_notebooks(only) if only else notebooks()
    started = datetime.now(UTC).isoformat(timespec="seconds")
    with locked(paths.EXECUTED, "run", "wait for its end"):
        earlier = _earlier(this)
        with kernel_environment(**(variables or {})):
            executed_any = _execute_all(this, todo, force=force, timeout=timeout)
        if executed_any or earlier.get("parameters") != this.parameters:
            results.write_json(provenance(this, started), this.folder / results.PROVENANCE_FILE)
        if only and (stale := [other.stem for other in notebooks() if not this.fresh(other)]):
            print(f"The book shows other settings or older code in: {', '.join(stale)}")
        if (this.folder / results.METRICS_FILE).is_file():
            where = {"data": data_name(data), "size": size, "path": this.name}
            results.write_json(where, paths.RUNS / "latest.json")
    return this.folder


def _earlier(this: Run) -> dict[str, Any]:
    """Read what made the results that are there; refuse those of other data of the same name."""
    earlier, data = this.earlier(), this.parameters["data"]
    if earlier and (other := earlier["parameters"]["data"]) != data:
        raise ReclibError(
            f"{this.folder} holds the results of {other}, which has the same name as {data}; "
            "rename one of the two, or delete these results"
        )
    return earlier


def _execute_all(this: Run, todo: Sequence[Path], *, force: bool, timeout: int) -> bool:
    """Run the notebooks that are out of date; say whether there were any."""
    executed_any = False
    with _progress(len(todo)) as (begin, end):
        for source in todo:
            begin(source.stem)
            if not force and this.fresh(source):
                end(source.stem, "fresh, skipped")
                continue
            try:
                mark = execute(
                    source,
                    this.passed(source),
                    stamp=this.stamp(source),
                    folder=this.folder,
                    target=executed(source),
                    timeout=timeout,
                    check=partial(_require_library, this),
                )
            except KeyboardInterrupt:
                raise Interrupted(
                    f"stopped in {source.stem}; finished notebooks are kept, and the same command "
                    "goes on from here"
                ) from None
            executed_any = True
            end(source.stem, f"{mark['seconds']:.1f} s")
    return executed_any


def _require_library(this: Run) -> None:
    """Refuse what was made with another library than the mark says: each kernel imports it anew."""
    if cache.source_hash() != this.library:
        raise ReclibError("the library changed while the notebooks ran; run again")


@contextmanager
def kernel_environment(**also: str) -> Iterator[None]:
    """Set what every kernel inherits, and `also` by name, and put it back at the end."""
    before = dict(os.environ)
    with TemporaryDirectory(prefix="reclib-kernel-") as folder:
        # a "python3" kernel installed for the user may belong to another Python: ours goes first
        write_kernel_spec(Path(folder) / "kernels" / "python3")
        for name in ("MPLBACKEND", "PYTHONWARNINGS"):  # would hide figures, or add to the pages
            os.environ.pop(name, None)
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        os.environ |= {
            "JUPYTER_PATH": os.pathsep.join(filter(None, [folder, before.get("JUPYTER_PATH")])),
            "JUPYTER_PLATFORM_DIRS": "1",
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",
            # kernels start in notebooks/, and must import the library that is being stamped
            "PYTHONPATH": os.pathsep.join(
                filter(None, [str(cache.PACKAGE.parent), before.get("PYTHONPATH")])
            ),
            "RECLIB_DATA": str(paths.data_dir()),
            "TOKENIZERS_PARALLELISM": "false",
            "TQDM_DISABLE": "1",  # a progress bar in a page fails the strict build
            **also,
        }
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


def execute(
    source: Path,
    parameters: Mapping[str, Any],
    *,
    stamp: str,
    folder: Path,
    target: Path,
    timeout: int,
    check: Callable[[], None],
) -> dict[str, Any]:
    """Run one notebook; move it to `target` only if it came to its end.

    Parameters
    ----------
    source
        The percent file.
    parameters
        Passed to it; it must declare them.
    stamp
        Hash of everything that its output depends on.
    folder
        Where it writes its result files.
    target
        Of the executed form.
    timeout
        Seconds that one cell may take.
    check
        Called at the end, before anything is moved; it raises if the code is another by now.

    Returns
    -------
    dict
        The mark that the executed notebook bears: ``stamp``, ``seconds``, ``peak_mb`` (the
        most memory that its kernel was seen to hold), ``joules`` (of the whole machine; None
        where no counter can be read), ``parameters``, and the hash of every file that it
        wrote, in ``results``.

    Raises
    ------
    NotebookFailed
        If a cell raised, took too long, or its kernel died; the notebook is kept in `folder`.
    """
    notebook = read_notebook(source)
    notebook.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    kept = folder / "failed" / target.name
    kept.parent.mkdir(parents=True, exist_ok=True)
    before, clock = times(folder), time.monotonic()
    try:
        with _memory() as peak_mb, counted() as joules:
            done = papermill.execute_notebook(
                notebook,
                kept,
                parameters=dict(parameters),
                kernel_name="python3",
                cwd=source.parent,
                progress_bar=False,
                log_output=False,
                request_save_on_cell_execute=True,
                execution_timeout=timeout,
                config=_encrypted(),
            )
    except (PapermillExecutionError, TimeoutError, RuntimeError) as error:  # cell, slow, kernel
        raise NotebookFailed(_explained(source, kept, error)) from error
    check()
    _leave_pictures(done)
    # papermill notes the folders of this machine, and the whole input once more
    done.metadata.papermill.update(input_path=source.name, output_path=target.name)
    written = [name for name, at in times(folder).items() if before.get(name) != at]
    mark = {
        "stamp": stamp,
        "seconds": round(time.monotonic() - clock, 1),
        "peak_mb": round(max(peak_mb)),
        "joules": joules(),
        "parameters": dict(parameters),
        "results": {name: results.file_hash(folder / name) for name in written},
    }
    done.metadata["reclib"] = mark
    cache.atomic_write(target, partial(nbformat.write, done))
    kept.unlink()
    return mark


def _leave_pictures(done: NotebookNode) -> None:
    """Take out widgets, which are nothing without a kernel; a picture beside one stays."""
    widget = "application/vnd.jupyter.widget-view+json"
    done.metadata.pop("widgets", None)
    for cell in done.cells:
        if cell.cell_type == "code":
            cell.outputs = [
                one
                for one in cell.outputs
                if widget not in one.get("data", {}) or "text/html" in one.data
            ]
            for one in cell.outputs:
                one.get("data", {}).pop(widget, None)


@contextmanager
def _memory() -> Iterator[list[float]]:
    """Collect, four times a second, the resident memory of processes started since, in MiB."""
    this = psutil.Process()
    older = set(this.children(recursive=True))
    found, ended = [0.0], threading.Event()

    def look() -> None:
        while not ended.wait(0.25):
            held = 0
            for process in set(this.children(recursive=True)) - older:
                with suppress(psutil.Error):  # it may have ended meanwhile
                    held += process.memory_info().rss
            found.append(held / 2**20)

    watch = threading.Thread(target=look, daemon=True)
    watch.start()
    try:
        yield found
    finally:
        ended.set()
        watch.join()


def _explained(source: Path, kept: Path, error: Exception) -> str:
    """Say which cell failed and why, and where the notebook lies."""
    notebook = nbformat.read(kept, as_version=4)  # type: ignore[no-untyped-call]
    if isinstance(error, PapermillExecutionError):
        cell, lines = error.source, strip_color("\n".join(error.traceback)).splitlines()
    else:
        cell, lines = _last_started(notebook), str(error).strip().splitlines()[:1]
    if isinstance(error, RuntimeError):
        lines.append("The kernel died; most often the memory ran out. Try a smaller size.")
    shown = ["", *(f"    {line}" for line in cell.splitlines()), "", *lines[-SHOWN:], ""]
    return "\n".join(
        [f"{source.stem} failed in this cell:", *shown, f"As far as it came, it is kept in {kept}"]
    )


def _last_started(notebook: NotebookNode) -> str:
    started = [c for c in notebook.cells if c.metadata.get("papermill", {}).get("start_time")]
    return str(started[-1].source) if started else "(before the first cell)"


def _encrypted() -> Config:
    """Let nobody else on the machine read a kernel's traffic (and spare the warning about it)."""
    policy = "auto" if zmq.has("curve") else "disabled"
    return Config({"KernelManager": {"transport_encryption": policy}})


@contextmanager
def _progress(total: int) -> Iterator[tuple[Any, Any]]:
    """Show one line over all notebooks, or plain lines where there is no terminal."""
    bar = tqdm(total=total, disable=None, leave=False, bar_format="{n}/{total} {desc} {elapsed}")
    ended = threading.Event()

    def tick() -> None:
        while not ended.wait(1):
            bar.refresh()

    def begin(name: str) -> None:
        bar.set_description_str(name)
        if bar.disable:
            print(f"{name} … ", end="", flush=True)

    def end(name: str, outcome: str) -> None:
        bar.update()
        if bar.disable:
            print(outcome, flush=True)
        else:
            bar.write(f"{name} … {outcome}", file=sys.stdout)

    threading.Thread(target=tick, daemon=True).start()
    try:
        yield begin, end
    finally:
        ended.set()
        bar.close()
