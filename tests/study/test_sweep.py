"""Sweeps are resumed, survive what goes wrong, and come back as one table.

Papermill is played by a function, and Dask by one thread, but for the last test.
"""

import errno
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import papermill
import pytest
import yaml
from distributed import KilledWorker, LocalCluster
from distributed.client import FutureCancelledError
from filelock import FileLock
from papermill.exceptions import PapermillExecutionError

from reclib import paths
from reclib.errors import ReclibError
from reclib.study import cli, cluster, provenance, results, sweep
from reclib.study.sweep_plan import read_plan

NOTEBOOK = """# %% tags=["parameters"]
data = "simulated"
size = "smoke"
seed = 0
divisor = 1.0
scales = [0.0, 1.0]
protocol = "full-loo"
kill = False

# %%
import os, signal
from pathlib import Path

share = 1 / divisor
folder = Path(os.environ["RECLIB_RUN_FOLDER"])
if kill and not (folder / "killed").exists():
    (folder / "killed").touch()
    os.kill(os.getppid(), signal.SIGKILL)

# %%
head = "data,protocol,variant,model,metric,value,low,high,users,seeds"
row = f"simulated,{protocol},raw,random,ndcg@10,{share},0,1,10,1"
(folder / "metrics.csv").write_text(f"{head}\\n{row}\\n");
"""
Sweep = Callable[..., int]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Lay out a project with one notebook."""
    for name in ("NOTEBOOKS", "PARAMS", "SWEEPS"):
        monkeypatch.setattr(paths, name, tmp_path / name.lower())
    for folder in (paths.NOTEBOOKS, paths.PARAMS):
        folder.mkdir()
    (paths.NOTEBOOKS / "01_tiny.py").write_text(NOTEBOOK)
    return tmp_path


@pytest.fixture(scope="module")
def one_thread() -> Iterator[LocalCluster]:
    """Dask in this process, so that a worker sees what a test replaces."""
    with LocalCluster(
        processes=False,
        n_workers=1,
        threads_per_worker=1,
        dashboard_address="127.0.0.1:0",
        protocol="tcp",
        host="127.0.0.1",
    ) as cluster:
        yield cluster


@pytest.fixture
def played(
    project: Path, one_thread: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> list[dict[str, Any]]:
    """Play papermill; return the parameters of each notebook that it was given."""
    given: list[dict[str, Any]] = []

    def play(notebook: Any, output: Path, *, parameters: dict[str, Any], **options: Any) -> Any:
        given.append(parameters)
        nbformat.write(notebook, output)
        try:
            share = 1 / parameters["divisor"]
        except ZeroDivisionError as error:
            name = type(error).__name__
            raise PapermillExecutionError(1, 1, "share", name, str(error), []) from error
        row = ["simulated", parameters["protocol"], "raw", "random", "ndcg@10", share, 0, 1, 10, 1]
        table = pd.DataFrame([row], columns=list(sweep.VALUES))
        table.to_csv(Path(os.environ["RECLIB_RUN_FOLDER"], "metrics.csv"), index=False)
        notebook.metadata["papermill"] = nbformat.NotebookNode()
        return notebook

    monkeypatch.setattr(cluster, "local_cluster", lambda workers: nullcontext(one_thread))
    monkeypatch.setattr(papermill, "execute_notebook", play)
    return given


@pytest.fixture
def start(project: Path) -> Sweep:
    """Write a sweep file and give the command; return its exit status."""

    def run(*options: str, **parts: Any) -> int:
        file = project / "mine.yaml"
        file.write_text(yaml.safe_dump({"notebook": "01_tiny"} | parts, sort_keys=False))
        return cli.main(["sweep", str(file), *options])

    return run


def test_each_run_has_its_notebook_and_the_table_every_value(
    project: Path, played: list[dict[str, Any]], start: Sweep
) -> None:
    fixed = {"protocol": "full-time"}
    assert start(fixed=fixed, grid={"divisor": [1, 4], "seed": [0, 1]}) == 0
    table = sweep.read_table("mine")
    asked = [(divisor, seed) for divisor in (1, 4) for seed in (0, 1)]
    assert list(zip(table["params.divisor"], table["params.seed"], strict=True)) == asked
    assert sorted((one["divisor"], one["seed"]) for one in played) == asked
    assert table["value"].tolist() == [1, 1, 0.25, 0.25]
    assert table[["low", "high", "users"]].drop_duplicates().to_numpy().tolist() == [[0, 1, 10]]
    # a parameter and a column of the metrics may have one name
    assert set(table["params.protocol"]) == set(table["protocol"]) == {"full-time"}
    assert set(table["status"]) == {"done"} and table["run"].is_unique
    assert (table["seconds"] >= 0).all() and (table["peak_mb"] >= 0).all()
    assert table["error"].isna().all()
    for notebook, divisor in zip(table["notebook"], table["params.divisor"], strict=True):
        opened = nbformat.read(paths.SWEEPS / "mine" / notebook, as_version=4)
        assert opened.metadata.reclib.parameters["divisor"] == divisor
    assert table["command"][3].startswith("reclib run --only 01 --data simulated --size smoke ")
    assert "--set divisor=4" in table["command"][3] and "--seed 1" in table["command"][3]


def test_a_list_may_be_fixed_as_one_value_and_varied_as_several(
    played: list[dict[str, Any]], start: Sweep
) -> None:
    assert start(fixed={"scales": [0, 3]}, grid={"divisor": [1]}) == 0
    [fixed] = sweep.read_table("mine")["params.scales"]
    assert played[0]["scales"] == list(fixed) == [0.0, 3.0]
    assert start(grid={"scales": [[0], [0, 3]]}) == 0
    assert [list(one) for one in sweep.read_table("mine")["params.scales"]] == [[0.0], [0.0, 3.0]]


def test_what_could_not_be_recorded_does_not_start(
    played: list[dict[str, Any]],
    start: Sweep,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(provenance, "git_state", lambda: {"commit": "abc", "dirty": True})
    assert start("--record", grid={"divisor": [1]}) == 2
    assert "no commit holds the code of the sweep mine" in capsys.readouterr().err
    assert not played and not paths.SWEEPS.exists()


def test_a_second_sweep_has_nothing_to_do(
    played: list[dict[str, Any]], start: Sweep, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert start(grid={"divisor": [1, 2]}) == 0
    assert len(played) == 2
    assert "2 of 2 runs are finished and kept" in capsys.readouterr().out
    assert len(sweep.read_table("mine")) == 2


def add_a_value(project: Path) -> dict[str, Any]:
    return {"grid": {"divisor": [3, 1, 2]}}


def change_what_is_fixed(project: Path) -> dict[str, Any]:
    return {"fixed": {"seed": 5}}


def change_the_notebook(project: Path) -> dict[str, Any]:
    (paths.NOTEBOOKS / "01_tiny.py").write_text(NOTEBOOK + "# changed\n")
    return {}


def lose_a_result(project: Path) -> dict[str, Any]:
    next(paths.SWEEPS.glob("mine/divisor=2.0-*/metrics.csv")).unlink()
    return {}


def damage_a_notebook(project: Path) -> dict[str, Any]:
    next(paths.SWEEPS.glob("mine/divisor=2*/01_tiny.ipynb")).write_text("{")
    return {}


@pytest.mark.parametrize(
    ("change", "again"),
    [
        (add_a_value, [3]),
        (change_what_is_fixed, [1, 2]),
        (change_the_notebook, [1, 2]),
        (lose_a_result, [2]),
        (damage_a_notebook, [2]),
    ],
)
def test_only_what_is_missing_or_changed_is_done_again(
    project: Path,
    played: list[dict[str, Any]],
    start: Sweep,
    change: Callable[[Path], dict[str, Any]],
    again: list[int],
) -> None:
    parts = {"grid": {"divisor": [1, 2]}}
    assert start(**parts) == 0
    played.clear()
    assert start(**parts | change(project)) == 0
    assert sorted(one["divisor"] for one in played) == again


def test_changed_data_and_only_their_runs_are_done_again(
    tmp_path: Path, played: list[dict[str, Any]], start: Sweep
) -> None:
    shop = tmp_path / "shop"
    shop.mkdir()
    for text in ("a", "b"):
        (shop / "interactions.csv").write_text(text)
        (shop / "SOURCE.md").write_text(text)
        assert start(list=[{"data": str(shop), "size": "full"}, {"data": "simulated"}]) == 0
    assert [one["data"] for one in played] == [str(shop), "simulated", str(shop)]


def test_a_failed_run_is_reported_with_its_notebook_and_stops_no_other(
    played: list[dict[str, Any]], start: Sweep, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = {"grid": {"divisor": [0, 1, 2]}}
    assert start(**parts) == 1
    printed = capsys.readouterr().out
    assert "failed: ZeroDivisionError: float division by zero" in printed
    assert "2 of 3 runs done" in printed
    failed, *others = sweep.read_table("mine").to_dict("records")
    assert failed["status"] == "failed"
    assert failed["error"] == "ZeroDivisionError: float division by zero"
    kept = paths.SWEEPS / "mine" / failed["notebook"]
    assert kept.is_file() and str(kept) in printed
    assert [row["status"] for row in others] == ["done", "done"]
    played.clear()
    assert start(**parts) == 1
    assert [one["divisor"] for one in played] == [0]


def test_a_result_file_without_the_right_columns_fails_its_run_alone(
    played: list[dict[str, Any]], start: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    play = papermill.execute_notebook

    def wrong(notebook: Any, output: Path, *, parameters: dict[str, Any], **options: Any) -> Any:
        done = play(notebook, output, parameters=parameters, **options)
        if parameters["divisor"] == 2:
            Path(os.environ["RECLIB_RUN_FOLDER"], "metrics.csv").write_text("a,b\n1,2\n")
        return done

    monkeypatch.setattr(papermill, "execute_notebook", wrong)
    assert start(grid={"divisor": [1, 2]}) == 1
    table = sweep.read_table("mine")
    assert table["status"].tolist() == ["done", "failed"]
    assert "column 'a' has no place" in table["error"][1]
    monkeypatch.setattr(papermill, "execute_notebook", play)
    assert start(grid={"divisor": [1, 2]}) == 0


def test_a_run_that_measures_nothing_has_one_row(
    played: list[dict[str, Any]], start: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "read_values", lambda folder, names: pd.DataFrame())
    assert start(grid={"divisor": [1, 2]}) == 0
    table = sweep.read_table("mine")
    assert table["status"].tolist() == ["done", "done"]
    assert table["value"].isna().all() and table["value"].dtype == "Float64"


def fill_the_disk(notebook: Any, output: Path, **options: Any) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device", str(output))


def fill_the_disk_with_a_table(table: pd.DataFrame, file: Path) -> None:
    file.write_bytes(b"half a table")
    raise OSError(errno.ENOSPC, "No space left on device", str(file))


def fill_the_disk_in_a_cell(notebook: Any, output: Path, **options: Any) -> Any:
    nbformat.write(notebook, output)
    text = "[Errno 28] No space left on device"
    raise PapermillExecutionError(1, 1, "write()", "OSError", text, [])


@pytest.mark.parametrize("full", [fill_the_disk, fill_the_disk_in_a_cell])
def test_a_full_disk_stops_the_sweep_and_loses_nothing(
    played: list[dict[str, Any]],
    start: Sweep,
    full: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    play = papermill.execute_notebook
    monkeypatch.setattr(
        papermill,
        "execute_notebook",
        lambda *given, parameters, **options: (full if parameters["divisor"] == 2 else play)(
            *given, parameters=parameters, **options
        ),
    )
    assert start(grid={"divisor": [1, 2]}) == 2
    message = capsys.readouterr().err
    assert "No space left on device" in message and "the same command goes on" in message
    assert message.count("\n") == 1
    assert sweep.read_table("mine")["status"].tolist() == ["done", "waiting"]
    monkeypatch.setattr(papermill, "execute_notebook", play)
    played.clear()
    assert start(grid={"divisor": [1, 2]}) == 0
    assert [one["divisor"] for one in played] == [2]


def test_a_full_disk_is_reported_even_where_the_table_finds_no_room_either(
    played: list[dict[str, Any]],
    start: Sweep,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert start(grid={"divisor": [1]}) == 0
    table = paths.SWEEPS / "mine" / sweep.TABLE_FILE
    before = table.read_bytes()
    monkeypatch.setattr(pd.DataFrame, "to_parquet", fill_the_disk_with_a_table)
    assert start(grid={"divisor": [1, 2]}) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert table.read_bytes() == before


def test_two_sweeps_do_not_write_into_one_folder(
    played: list[dict[str, Any]], start: Sweep, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = paths.SWEEPS / "mine"
    folder.mkdir(parents=True)
    with FileLock(folder / ".lock"):
        assert start(grid={"divisor": [1]}) == 2
    assert "another sweep writes to" in capsys.readouterr().err
    assert not played
    assert start(grid={"divisor": [1]}) == 0


def test_ctrl_c_leaves_finished_runs_and_the_same_command_goes_on(
    played: list[dict[str, Any]],
    start: Sweep,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    @contextmanager
    def stop(*_: object) -> Iterator[Callable[..., None]]:
        def tell(name: str, outcome: sweep.Outcome) -> None:
            raise KeyboardInterrupt

        yield tell

    with monkeypatch.context() as patch:
        patch.setattr(sweep, "_progress", stop)
        assert start(grid={"divisor": [1]}) == 130
    assert "stopped; 1 of 1 runs are finished and kept" in capsys.readouterr().err
    played.clear()
    assert start(grid={"divisor": [1, 2]}) == 0
    assert [one["divisor"] for one in played] == [2]


@pytest.mark.parametrize(
    ("options", "parts", "message"),
    [
        ([], {"grid": {"diviser": [1]}}, "did you mean 'divisor'"),
        ([], {"grid": {"divisor": ["a"]}}, "as in 1.0e-3; got 'a'"),
        ([], {"grid": {}}, "grid is empty"),
        ([], {"grid": {"protocol": ["full-lo"]}}, "did you mean 'full-loo'"),
        ([], {"grid": {"seed": list(range(10_001))}}, "more than 10,000 need --yes"),
        (["--workers", "0"], {"grid": {"seed": [0]}}, "--workers 0: allowed is 1 or more"),
    ],
)
def test_wrong_input_is_refused_before_anything_starts(
    played: list[dict[str, Any]],
    start: Sweep,
    options: list[str],
    parts: dict[str, Any],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert start(*options, **parts) == 2
    printed = capsys.readouterr()
    assert message in printed.err and printed.err.count("\n") == 1
    assert not played and not printed.out and not paths.SWEEPS.exists()


def test_very_many_runs_start_once_they_are_confirmed(
    played: list[dict[str, Any]], start: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "MOST", 1)
    assert start(grid={"seed": [0, 1]}) == 2 and not played
    assert start("--yes", grid={"seed": [0, 1]}) == 0 and len(played) == 2


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense"])
def test_a_scheduler_that_does_not_answer_is_named(
    project: Path,
    start: Sweep,
    address: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(cluster, "PATIENCE", 0.2)
    assert start("--scheduler", address, grid={"divisor": [1]}) == 2
    assert f"no Dask scheduler answers at '{address}'" in capsys.readouterr().err


def test_runs_may_be_done_by_the_workers_of_any_scheduler(
    played: list[dict[str, Any]],
    start: Sweep,
    one_thread: LocalCluster,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cluster, "local_cluster", None)
    address = one_thread.scheduler_address
    assert address.startswith("tcp://")
    assert start("--scheduler", address, grid={"divisor": [1, 2, 4]}) == 0
    assert sweep.read_table("mine")["value"].tolist() == [1, 0.5, 0.25]


class WorkerState:
    address = "tcp://127.0.0.1:1"


class Lost:
    """A future whose result does not come."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def result(self) -> None:
        raise self.error


def test_what_ends_a_run_does_not_end_the_sweep_and_what_ends_all_runs_does() -> None:
    killed = sweep._outcome(Lost(KilledWorker("task", WorkerState(), 3)))
    assert killed.status == sweep.FAILED and "KilledWorker" in killed.error
    assert sweep._outcome(Lost(ValueError("odd\nmore"))).error == "ValueError: odd"
    with pytest.raises(ReclibError, match="connection with the scheduler was lost"):
        sweep._outcome(Lost(FutureCancelledError("task", "scheduler-connection-lost")))
    with pytest.raises(ReclibError, match="other code"):
        sweep._outcome(Lost(ReclibError("other code")))


def test_a_worker_with_other_code_or_other_folders_is_refused(
    project: Path,
    played: list[dict[str, Any]],
    start: Sweep,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert start(grid={"divisor": [1]}) == 0
    plan = read_plan(project / "mine.yaml")
    [task] = sweep._tasks(plan, threads=None, timeout=9).values()
    assert sweep.run_task(task).status == sweep.DONE
    for code in (("other", task.code[1]), (task.code[0], "other")):
        with pytest.raises(ReclibError, match="start the sweep, and its workers, again"):
            sweep.run_task(replace(task, code=code))
    monkeypatch.setattr(
        sweep, "execute", lambda *_, check, **__: change_the_notebook(project) or check()
    )
    with pytest.raises(ReclibError, match="changed while it ran"):
        sweep.run_task(task)
    with pytest.raises(ReclibError, match="a file system that all workers share"):
        sweep.run_task(replace(task, folder=project / "nowhere" / "run"))


def test_the_remaining_time_is_that_of_the_runs_so_far_shared_by_the_workers(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with sweep._progress(6, lambda: 2) as tell:
        tell("a", sweep.Outcome(sweep.FAILED, error="KilledWorker"))
        for seconds in (40.0, 20.0):
            tell("b", sweep.Outcome(sweep.DONE, Path("b.ipynb"), seconds, 1.0))
    first, _, third = capsys.readouterr().out.splitlines()
    assert first == "[1/6] a … failed: KilledWorker"
    assert third == "[3/6] b … 20.0 s (about 00:45 left)"


def test_numeric_libraries_of_all_workers_together_use_the_cores_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("joblib.cpu_count", lambda: 8)
    assert sweep._share(None, 100) == (8, 1)
    assert sweep._share(None, 2) == (2, 4)
    assert sweep._share(3, 100) == (3, 2)
    assert sweep._share(20, 100) == (20, 1)


def test_a_table_that_is_not_there_is_asked_for_by_its_nearest_name(
    played: list[dict[str, Any]], start: Sweep
) -> None:
    assert start(grid={"divisor": [1]}) == 0
    with pytest.raises(ReclibError, match="did you mean 'mine'"):
        sweep.read_table("mime")


@pytest.mark.slow
def test_processes_run_real_notebooks_and_a_killed_worker_loses_nothing(
    project: Path, start: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The notebook kills the worker that runs it, once; Dask starts another."""
    monkeypatch.setenv("RECLIB_RUN_FOLDER", str(project / "not this one"))
    runs = [{"divisor": 4}, {"divisor": 2, "kill": True}, {"divisor": 0}]
    assert start("--workers", "2", list=runs) == 1
    table = sweep.read_table("mine")
    assert table["status"].tolist() == ["done", "done", "failed"]
    assert table["value"].tolist()[:2] == [0.25, 0.5]
    assert "ZeroDivisionError" in table["error"][2]
    assert (table["peak_mb"][:2] > 1).all()
    opened = json.loads((paths.SWEEPS / "mine" / table["notebook"][0]).read_text())
    assert "divisor = 4" in "".join(sum((cell["source"] for cell in opened["cells"]), []))
