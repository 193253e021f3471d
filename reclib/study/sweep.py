"""Running a sweep: many papermill runs of one notebook, in parallel, resumed where they stopped.

Each run has a folder of its own under ``results/sweeps/<sweep>``, with the executed notebook and
the result files that it wrote; ``table.parquet`` beside them has every value of every run. A run
is done again only if the notebook, the library, the data, the lock file, its parameters or one of
its files changed. Dask spreads the runs over processes of this machine, or over a cluster.
"""

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache as cached_in_memory
from functools import partial
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

import joblib
import pandas as pd
from papermill.exceptions import PapermillExecutionError
from tqdm import tqdm

from reclib import cache, paths
from reclib.errors import ReclibError, unknown
from reclib.locks import locked
from reclib.study import cluster, results
from reclib.study.provenance import Run, fresh_mark
from reclib.study.runner import (
    Interrupted,
    NotebookFailed,
    execute,
    kernel_environment,
)
from reclib.study.sweep_plan import MOST, Plan, PlannedRun, read_plan, settings_hash

if TYPE_CHECKING:
    from distributed import Client, Future

TABLE_FILE = "table.parquet"
PREFIX = "params."  # of a parameter's column: a notebook has a `data` and a `protocol` of its own
DONE, FAILED, WAITING = "done", "failed", "waiting"
# each numeric library has its own
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")
FULL = (errno.ENOSPC, errno.EDQUOT)
VALUES = (*results.KEY, "value", "low", "high", "users", "seeds")
# of columns that may hold nothing, which has no type of its own
TYPES = {
    **dict.fromkeys((*results.KEY, "notebook", "error"), "string"),
    **dict.fromkeys(("value", "low", "high", "seconds", "peak_mb"), "Float64"),
    **dict.fromkeys(("users", "seeds"), "Int64"),
}

# kernels inherit the environment of their process, so a process runs one notebook at a time
_one_at_a_time = threading.Lock()


@dataclass(frozen=True)
class Task:
    """One run, with all that a worker needs to know."""

    source: Path
    parameters: Mapping[str, Any]
    folder: Path
    stamp: str
    library: tuple[str, ...]  # the files of the library that the notebook depends on
    code: tuple[str, str]  # hashes of those and of the notebook
    threads: int | None  # None: as the worker's own environment says
    timeout: int

    @property
    def notebook(self) -> Path:
        """Where the executed form goes."""
        return self.folder / f"{self.source.stem}.ipynb"


@dataclass(frozen=True)
class Outcome:
    """How a run ended, and the rows that it measured."""

    status: str
    notebook: Path | None = None
    seconds: float | None = None
    peak_mb: float | None = None
    error: str | None = None
    values: pd.DataFrame = field(default_factory=pd.DataFrame)


def run_sweep(
    file: Path,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    yes: bool = False,
    timeout: int = 4 * 3600,
) -> pd.DataFrame:
    """Run what a sweep file asks for and is not there yet.

    Parameters
    ----------
    file
        As `reclib.study.sweep_plan` describes it.
    workers
        Processes on this machine, one run each at a time, that share its cores; by default
        as many as there are cores.
    scheduler
        Address of a Dask scheduler whose workers do the runs instead. They need the same
        checkout, on a file system that all share.
    yes
        Allow more than 10,000 runs.
    timeout
        Seconds that one cell may take.

    Returns
    -------
    pandas.DataFrame
        What is in the file ``table.parquet``; see `make_table`.

    Raises
    ------
    ReclibError
        Before anything starts, for whatever `read_plan` refuses, for a folder that another
        sweep writes to, and for a scheduler that does not answer; later, for workers with
        other code.
    OSError
        The disk is full.
    Interrupted
        The user stopped it.
    """
    plan = read_plan(file, most=None if yes else MOST)
    folder = sweep_folder(plan.name)
    share = _share(workers, len(plan.runs)) if scheduler is None else None
    tasks = _tasks(plan, threads=share and share[1], timeout=timeout)
    with locked(folder, "sweep", "wait for its end, or give this one's file another name"):
        outcomes = _finished(tasks)
        print(f"{plan.name}: {_state(outcomes, tasks)}", flush=True)
        try:
            return _complete(plan, tasks, outcomes, scheduler, share and share[0])
        except KeyboardInterrupt:
            state = _state(outcomes, tasks)
            raise Interrupted(f"stopped; {state}, and the same command does the rest") from None


def sweep_folder(name: str) -> Path:
    """Return the folder of a sweep's runs and of its table."""
    return paths.SWEEPS / name


def read_table(name: str) -> pd.DataFrame:
    """Read the table of a sweep that was run here.

    Raises
    ------
    ReclibError
        There is none of that name.
    """
    file = sweep_folder(name) / TABLE_FILE
    if not file.is_file():
        there = sorted(table.parent.name for table in paths.SWEEPS.glob(f"*/{TABLE_FILE}"))
        raise ReclibError(
            f"{unknown('sweep', name, there)}; `make sweep SWEEP=params/sweeps/{name}.yaml` runs it"
        )
    return pd.read_parquet(file)


def make_table(plan: Plan, outcomes: Mapping[str, Outcome]) -> pd.DataFrame:
    """Put together what all runs measured.

    Parameters
    ----------
    plan
        The runs, in their order.
    outcomes
        How they ended, by name; runs that are missing have not come to an end.

    Returns
    -------
    pandas.DataFrame
        A row for each value that a run measured, and one for a run that measured nothing:
        ``run`` and ``status`` (done, failed, waiting); every parameter of the notebook as
        ``params.<name>``; the columns of ``metrics.csv``; ``seconds`` and ``peak_mb`` of the
        run; ``notebook``, the executed form, seen from the sweep's folder; the ``error`` of a
        failed run; and the ``command`` that repeats the run in the book.
    """
    folder = sweep_folder(plan.name)
    parts = []
    for run in plan.runs:
        outcome = outcomes.get(run.name, Outcome(WAITING))
        n_rows = len(outcome.values) or 1
        rows = pd.DataFrame({"run": run.name, "status": outcome.status}, range(n_rows))
        for name, value in run.parameters.items():
            rows[PREFIX + name] = [value] * n_rows
        rows = rows.join(outcome.values.reindex(columns=VALUES))
        rows["seconds"], rows["peak_mb"] = outcome.seconds, outcome.peak_mb
        notebook = outcome.notebook
        rows["notebook"] = notebook.relative_to(folder).as_posix() if notebook else None
        rows["error"], rows["command"] = outcome.error, plan.command(run)
        parts.append(rows.astype(TYPES))
    return pd.concat(parts, ignore_index=True)


def run_task(task: Task) -> Outcome:
    """Do one run; what goes wrong in the notebook is an outcome, not an error.

    Raises
    ------
    ReclibError
        This process has another library or notebook than the sweep, or other folders.
    OSError
        The disk is full.
    """
    if not task.folder.parent.is_dir():
        raise ReclibError(
            f"a worker does not see {task.folder.parent}; the checkout must lie on a file system "
            "that all workers share"
        )
    _check_code(task)
    threads = dict.fromkeys(THREADS if task.threads else (), str(task.threads))
    also = {results.RUN_FOLDER: str(task.folder), **threads}
    try:
        with _one_at_a_time, kernel_environment(**also):
            clock = time.monotonic()
            mark = execute(
                task.source,
                task.parameters,
                stamp=task.stamp,
                folder=task.folder,
                target=task.notebook,
                timeout=task.timeout,
                check=partial(_check_code, task),
            )
    except NotebookFailed as failed:
        cause = failed.__cause__
        if not isinstance(cause, PapermillExecutionError):
            error = str(cause).strip().partition("\n")[0]
        elif any(f"[Errno {number}]" in cause.evalue for number in FULL):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(task.folder)) from None
        else:
            error = f"{cause.ename}: {cause.evalue}".partition("\n")[0]
        kept = task.folder / "failed" / task.notebook.name
        return Outcome(FAILED, kept, round(time.monotonic() - clock, 1), error=error)
    return _ended(task, mark)


def _check_code(task: Task) -> None:
    """Refuse to run, or to keep, what was made with other code than the sweep's."""
    if (cache.source_hash(task.library), results.file_hash(task.source)) != task.code:
        raise ReclibError(
            f"a worker has another {task.source.name} or library than this sweep, or they were "
            "changed while it ran; start the sweep, and its workers, again"
        )


def _ended(task: Task, mark: Mapping[str, Any]) -> Outcome:
    """Read what a run measured; files without the right columns make it a failed one."""
    try:
        values = results.read_values(task.folder, mark["results"])
    except ReclibError as error:
        return Outcome(FAILED, task.notebook, error=str(error))
    return Outcome(DONE, task.notebook, mark["seconds"], mark["peak_mb"], values=values)


def _tasks(plan: Plan, *, threads: int | None, timeout: int) -> dict[str, Task]:
    """Give each run its folder, and the stamp of everything that its output depends on."""
    # a sweep takes long, so a change elsewhere in the library must not undo it
    library = cache.behind(*cache.imported(plan.source.read_text(encoding="utf-8")))
    code = cache.source_hash(library), results.file_hash(plan.source)
    of_data = cached_in_memory(lambda data: Run({"data": data}))  # reads every file of the set

    def task(run: PlannedRun) -> Task:
        given, folder = run.parameters, sweep_folder(plan.name) / run.name
        common = of_data(given.get("data", "simulated"))
        stamp = settings_hash(
            {"code": code, "lock": common.lock, "data": common.data_files, "parameters": given}
        )
        return Task(plan.source, given, folder, stamp, library, code, threads, timeout)

    return {run.name: task(run) for run in plan.runs}


def _finished(tasks: Mapping[str, Task]) -> dict[str, Outcome]:
    """Find the runs that need not be done again."""
    marks = {
        name: fresh_mark(task.notebook, task.stamp, task.folder) for name, task in tasks.items()
    }
    found = {name: _ended(tasks[name], mark) for name, mark in marks.items() if mark}
    return {name: outcome for name, outcome in found.items() if outcome.status == DONE}


def _complete(
    plan: Plan,
    tasks: Mapping[str, Task],
    outcomes: dict[str, Outcome],
    scheduler: str | None,
    workers: int | None,
) -> pd.DataFrame:
    """Do what has no outcome yet; write the table, also if that is not all."""
    left = {name: task for name, task in tasks.items() if name not in outcomes}
    try:
        if left:
            with cluster.connect(scheduler, workers=workers or 1) as client:
                _work(client, left, outcomes)
    finally:
        table = make_table(plan, outcomes)
        cache.atomic_write(sweep_folder(plan.name) / TABLE_FILE, table.to_parquet)
    return table


def _work(client: "Client", tasks: Mapping[str, Task], outcomes: dict[str, Outcome]) -> None:
    """Let the workers do all tasks; note each outcome when it comes."""
    from distributed import as_completed

    if not client.nthreads():
        print("the scheduler has no workers yet; the runs start when they come", flush=True)
    names = {client.submit(run_task, task, pure=False): name for name, task in tasks.items()}
    with _progress(len(tasks), lambda: len(client.nthreads())) as tell:
        for future in as_completed(names):
            name = names.pop(future)
            outcomes[name] = _outcome(future)
            tell(name, outcomes[name])


def _outcome(future: "Future[Outcome]") -> Outcome:
    """Return how a run ended; what would end every other run alike is raised."""
    from distributed.client import FutureCancelledError

    try:
        return future.result()
    except FutureCancelledError as error:
        raise ReclibError(
            f"the connection with the scheduler was lost ({error}); finished runs are kept, and "
            "the same command does the rest"
        ) from error
    except Exception as error:  # a worker that died, or whatever else went wrong around a run
        if isinstance(error, ReclibError) or getattr(error, "errno", None) in FULL:
            raise
        return Outcome(FAILED, error=f"{type(error).__name__}: {error}".partition("\n")[0])


def _share(workers: int | None, n_runs: int) -> tuple[int, int]:
    """Return the number of worker processes and of the threads that each may use."""
    cores = joblib.cpu_count()
    if workers is not None and workers < 1:
        raise ReclibError(f"--workers {workers}: allowed is 1 or more")
    n_workers = min(workers or cores, n_runs)
    return n_workers, max(1, cores // n_workers)


@contextmanager
def _progress(total: int, workers: Callable[[], int]) -> Iterator[Callable[[str, Outcome], None]]:
    """Print a line for each run that ended, and how long the others will take."""
    bar = tqdm(total=total, disable=None, leave=False, unit="run")
    took: list[float] = []
    ended = 0

    def tell(name: str, outcome: Outcome) -> None:
        nonlocal ended
        ended += 1
        bar.update()
        took.extend(filter(None, [outcome.seconds]))
        if outcome.status == DONE:
            line = f"{name} … {outcome.seconds:.1f} s"
        else:
            kept = f"; as far as it came: {outcome.notebook}" if outcome.notebook else ""
            line = f"{name} … failed: {outcome.error}{kept}"
        if took and ended < total:
            left = mean(took) * (total - ended) / max(1, workers())
            line += f" (about {tqdm.format_interval(left)} left)"
        tqdm.write(f"[{ended}/{total}] {line}")

    try:
        yield tell
    finally:
        bar.close()


def _state(outcomes: Mapping[str, Outcome], tasks: Mapping[str, Task]) -> str:
    done = sum(outcome.status == DONE for outcome in outcomes.values())
    return f"{done} of {len(tasks)} runs are finished and kept"
