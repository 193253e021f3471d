"""Two tiny notebooks, run for real: freshness, failures and provenance."""

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import papermill
import pytest
from filelock import FileLock

from reclib import cache, paths
from reclib.study import cli, doctor, provenance, results, runner
from reclib.study.parameters import load_parameters

FIRST = """# %% tags=["parameters"]
data = "simulated"
size = "smoke"
seed = 0

# %%
import os, sys
print(sys.executable, os.environ["TQDM_DISABLE"], os.getcwd())
"""
SECOND = """# %% tags=["parameters"]
size = "smoke"
divisor = 1.0

# %%
share = 1 / divisor  # the cell that fails

# %%
from pathlib import Path
folder = Path("..", "results", "runs", f"simulated-{size}")
folder.mkdir(parents=True, exist_ok=True)
head = "data,protocol,variant,model,metric,value,low,high,users,seeds"
row = f"simulated,full-loo,raw,random,ndcg@10,{share},0,1,10,1"
(folder / "metrics.csv").write_text(f"{head}\\n{row}\\n")
(folder / "costs.csv").write_text("model,step,seconds,peak_mb\\nrandom,fit,1,\\n");
"""
MACHINE = {"CPU": "a test"}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Lay out a project with two notebooks and run it once, for every test of this module."""
    root = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("NOTEBOOKS", "PARAMS", "EXECUTED", "RUNS", "REFERENCE"):
            patch.setattr(paths, name, root / getattr(paths, name).relative_to(paths.ROOT))
        patch.setattr(paths, "CACHE", root / "cache")
        patch.setattr(paths, "ROOT", root)
        patch.setattr(cache, "PACKAGE", root / "reclib")
        patch.setattr(doctor, "machine", lambda: MACHINE)
        for folder in (paths.NOTEBOOKS, paths.PARAMS, cache.PACKAGE):
            folder.mkdir()
        (paths.NOTEBOOKS / "01_first.py").write_text(FIRST)
        (paths.NOTEBOOKS / "02_second.py").write_text(SECOND)
        (root / "requirements.lock").write_text("numpy==2.0\n")
        # a kernel of the same name that belongs to no Python at all must not be taken
        spec = root / "jupyter" / "kernels" / "python3" / "kernel.json"
        spec.parent.mkdir(parents=True)
        spec.write_text('{"argv": ["/nonexistent"], "display_name": "x", "language": "python"}')
        patch.setenv("JUPYTER_PATH", str(root / "jupyter"))
        patch.setenv("PYTHONWARNINGS", "error")
        assert cli.main(["run"]) == 0
        assert os.environ["PYTHONWARNINGS"] == "error"
        yield root


def fresh() -> list[str]:
    this = provenance.Run(load_parameters("simulated", "smoke"))
    return [source.stem for source in runner.notebooks() if this.fresh(source)]


def test_notebooks_run_with_this_python_and_their_own_parameters(project: Path) -> None:
    first = nbformat.read(paths.EXECUTED / "01_first.ipynb", as_version=4)
    assert first.cells[-1].outputs[0].text.split() == [sys.executable, "1", str(paths.NOTEBOOKS)]
    assert first.metadata.reclib.parameters == {"data": "simulated", "size": "smoke", "seed": 0}
    second = nbformat.read(paths.EXECUTED / "02_second.ipynb", as_version=4)
    assert second.metadata.reclib.parameters == {"size": "smoke"}
    assert first.metadata.reclib.peak_mb > 10
    assert sorted(second.metadata.reclib.results) == ["costs.csv", "metrics.csv"]
    outside_outputs = json.dumps([first.metadata, second.metadata])
    assert str(project) not in outside_outputs
    assert not list((paths.RUNS / "simulated-smoke" / "failed").iterdir())


def test_provenance_says_what_made_the_results(project: Path) -> None:
    folder = paths.RUNS / "simulated-smoke"
    made = json.loads((folder / "provenance.json").read_text())
    assert made["parameters"] == {"data": "simulated", "size": "smoke", "seed": 0}
    assert made["machine"] == MACHINE and made["git"] is None and made["data_files"] == {}
    assert made["started"].endswith("+00:00")
    assert made["lock"] == results.file_hash(project / "requirements.lock")
    assert made["results"]["metrics.csv"] == results.file_hash(folder / "metrics.csv")
    assert list(made["notebooks"]) == ["01_first", "02_second"]
    second = made["notebooks"]["02_second"]
    assert second["sha256"] == results.file_hash(paths.NOTEBOOKS / "02_second.py")
    assert second["seconds"] > 0
    latest = json.loads((paths.RUNS / "latest.json").read_text())
    assert latest == {"data": "simulated", "size": "smoke", "path": "simulated-smoke"}


def recorded_results() -> list[str]:
    this = provenance.Run(load_parameters("simulated", "smoke"))
    return list(results.read_provenance(this.folder)["results"])


def test_results_are_those_of_notebooks_with_the_same_settings(project: Path) -> None:
    """What another run left in the folder is not claimed, until its settings are back."""
    assert cli.main(["run", "--set", "divisor=2", "--only", "1"]) == 0
    assert recorded_results() == []
    assert cli.main(["run", "--only", "1", "2"]) == 0  # 2 is fresh, what the folder says is not
    assert recorded_results() == ["costs.csv", "metrics.csv"]


def test_a_run_in_parts_is_one_run_though_another_takes_a_page_between(project: Path) -> None:
    page = paths.EXECUTED / "02_second.ipynb"
    safe = shutil.copy2(page, project / "safe.ipynb")
    page.write_text("of another run")
    try:
        assert cli.main(["run", "--only", "1", "--force"]) == 0
        made = results.read_provenance(paths.RUNS / "simulated-smoke")
        assert list(made["notebooks"]) == ["01_first", "02_second"]
        assert list(made["results"]) == ["costs.csv", "metrics.csv"]
    finally:
        shutil.copy2(safe, page)


def test_two_runs_do_not_write_the_same_pages(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(papermill, "execute_notebook", None)
    with FileLock(paths.EXECUTED / ".lock"):
        assert cli.main(["run", "--force"]) == 2
    assert f"another run writes to {paths.EXECUTED}; wait for its end" in capsys.readouterr().err


def test_two_folders_of_one_name_do_not_share_their_results(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(papermill, "execute_notebook", None)
    one, other = project / "a" / "shop", project / "b" / "shop"
    for folder in (one, other):
        folder.mkdir(parents=True)
        (folder / "interactions.csv").touch()
    made = paths.RUNS / "shop-full" / "provenance.json"
    results.write_json({"parameters": {"data": str(one)}}, made)
    assert cli.main(["run", "--data", str(other), "--size", "full"]) == 2
    printed = capsys.readouterr().err
    assert f"holds the results of {one}" in printed and "rename one of the two" in printed


def test_a_second_run_skips_what_is_fresh(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = provenance.times(paths.EXECUTED) | provenance.times(paths.RUNS / "simulated-smoke")
    assert cli.main(["run"]) == 0
    after = provenance.times(paths.EXECUTED) | provenance.times(paths.RUNS / "simulated-smoke")
    assert before == after
    assert capsys.readouterr().out.count("fresh, skipped") == 2


def test_a_failing_notebook_stops_the_run_and_stays_out_of_the_book(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (paths.EXECUTED / "02_second.ipynb").read_bytes()
    assert cli.main(["run", "--set", "divisor=0"]) == 1  # the first one does not declare it
    printed = capsys.readouterr()
    assert "01_first … fresh, skipped" in printed.out
    assert "02_second failed in this cell" in printed.err
    assert "share = 1 / divisor" in printed.err and "ZeroDivisionError" in printed.err
    assert "\x1b" not in printed.err
    assert (paths.EXECUTED / "02_second.ipynb").read_bytes() == before
    kept = paths.RUNS / "simulated-smoke" / "failed" / "02_second.ipynb"
    assert str(kept) in printed.err and "ZeroDivisionError" in kept.read_text()
    kept.unlink()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "diviser=2"], "did you mean 'divisor'"),
        (["--set", "divisor=a"], "must be a number"),
        (["--seed", "-1"], "a whole number from 0"),
        (["--set", "divisor"], "expected name=value"),
        (["--set", "divisor=1", "--set", "divisor=2"], "there twice"),
        (["--set", "divisor=[1"], "not YAML"),
        (["--data", "simulatd"], "did you mean 'simulated'"),
        (["--size", "smal"], "did you mean 'small'"),
        (["--only", "9"], "unknown notebook '9'"),
    ],
)
def test_wrong_input_is_refused_before_anything_starts(
    project: Path,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(papermill, "execute_notebook", None)
    assert cli.main(["run", "--force", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ") and message in printed.err
    assert printed.err.count("\n") == 1 and not printed.out


@pytest.mark.parametrize(
    "file",
    ["requirements.lock", "reclib/new.py", "notebooks/01_first.py", "notebooks/02_second.py"],
)
def test_a_changed_source_is_not_fresh(project: Path, file: str) -> None:
    assert fresh() == ["01_first", "02_second"]
    changed = project / file
    before = changed.read_text() if changed.exists() else None
    changed.write_text((before or "") + "\n# changed\n")
    try:
        others = [name for name in ("01_first", "02_second") if "notebooks" in file]
        assert fresh() == [name for name in others if name not in file]
    finally:
        changed.unlink() if before is None else changed.write_text(before)
    assert fresh() == ["01_first", "02_second"]


@pytest.mark.parametrize("damage", [Path.unlink, lambda file: file.write_text("")])
def test_a_lost_or_changed_result_is_made_again(project: Path, damage: Any) -> None:
    file = paths.RUNS / "simulated-smoke" / "metrics.csv"
    safe = shutil.copy2(file, project / "safe.csv")
    damage(file)
    try:
        assert fresh() == ["01_first"]
    finally:
        shutil.copy2(safe, file)


def test_data_files_are_part_of_the_stamp(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, source = tmp_path / "interactions.csv", paths.NOTEBOOKS / "02_second.py"
    stamps = set()
    for text in ("a", "b"):
        table.write_text(text)
        (tmp_path / "SOURCE.md").write_text(text)
        this = provenance.Run(load_parameters(str(tmp_path), "full"))
        assert list(this.data_files) == ["interactions.csv"]
        stamps.add(this.stamp(source))
    assert len(stamps) == 2


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (KeyboardInterrupt(), 130, "stopped in 02_second; finished notebooks are kept"),
        (RuntimeError("Kernel died"), 1, "most often the memory ran out"),
        (TimeoutError("A cell timed out"), 1, "A cell timed out"),
    ],
)
def test_an_interrupted_run_says_how_to_go_on(
    project: Path,
    error: BaseException,
    code: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stop(notebook: Any, output: Path, **options: Any) -> None:
        nbformat.write(notebook, output)
        raise error

    monkeypatch.setattr(papermill, "execute_notebook", stop)
    before = (paths.RUNS / "simulated-smoke" / "provenance.json").read_bytes()
    assert cli.main(["run", "--only", "2", "--force"]) == code
    assert message in capsys.readouterr().err
    assert fresh() == ["01_first", "02_second"]
    assert (paths.RUNS / "simulated-smoke" / "provenance.json").read_bytes() == before


def test_the_memory_of_processes_started_since_is_seen() -> None:
    """Not that of older ones, such as the kernel of another notebook."""
    hold = [sys.executable, "-c", "import time; held = b'x' * (120 << 20); time.sleep(9)"]
    with subprocess.Popen(hold) as older, runner._memory() as seen:
        with subprocess.Popen(hold) as younger:
            deadline = time.monotonic() + 8
            while max(seen) < 120 and time.monotonic() < deadline:
                time.sleep(0.1)
            younger.kill()
        older.kill()
    assert 120 <= max(seen) < 200


def test_params_shows_defaults_and_values(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["params", "--set", "divisor=4"]) == 0
    [line] = [line for line in capsys.readouterr().out.splitlines() if "divisor" in line]
    assert line.split() == ["divisor", "1.0", "4.0", "command", "line", "02"]


def test_params_says_where_a_value_comes_from(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = paths.PARAMS / "smoke.yaml"
    file.write_text("divisor: 4\n")
    try:
        assert cli.main(["params"]) == 0
    finally:
        file.unlink()
    lines = {line.split()[0]: line.split()[3:] for line in capsys.readouterr().out.splitlines()[2:]}
    assert lines["divisor"] == ["smoke.yaml", "02"]
    assert lines["size"] == ["--data,", "--size", "01", "02"] and lines["seed"] == ["default", "01"]


def test_an_edit_of_the_library_meanwhile_is_seen_before_the_page_is_kept(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel ran the edited library, but the page would be stamped with the one before."""
    edited, page = cache.PACKAGE / "new.py", paths.EXECUTED / "01_first.ipynb"

    def edit(notebook: Any, output: Path, **options: Any) -> Any:
        edited.touch()
        nbformat.write(notebook, output)
        notebook.metadata["papermill"] = nbformat.NotebookNode()
        return notebook

    monkeypatch.setattr(papermill, "execute_notebook", edit)
    before = page.read_bytes()
    try:
        assert cli.main(["run", "--only", "1", "--force"]) == 2
    finally:
        edited.unlink()
    assert "the library changed while the notebooks ran; run again" in capsys.readouterr().err
    assert page.read_bytes() == before


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), PermissionError(13, "No", "/x/y")]
)
def test_a_disk_that_cannot_be_written_is_explained(
    project: Path,
    error: OSError,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(papermill, "execute_notebook", fail)
    assert cli.main(["run", "--only", "1", "--force"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {error}; ") and "the same command goes on" in said
    assert said.count("\n") == 1


def test_of_widgets_only_pictures_stay() -> None:
    """In the book nothing answers them, and their scripts would come from the network."""
    widget = {"application/vnd.jupyter.widget-view+json": {"model_id": "a"}}
    made = [
        {**widget, "text/plain": "tune: 0%"},
        {**widget, "text/plain": "ShopPage", "text/html": "<p>picture</p>"},
        {"text/plain": "1"},
    ]
    outputs = [nbformat.v4.new_output("display_data", data=data) for data in made]
    outputs.append(nbformat.v4.new_output("stream", text="said"))
    cells = [nbformat.v4.new_code_cell(outputs=outputs), nbformat.v4.new_markdown_cell("prose")]
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"widgets": {"state": {}}})
    runner._leave_pictures(notebook)
    assert "widget" not in json.dumps(notebook)
    picture, number, said = notebook.cells[0].outputs
    assert picture.data["text/html"] == "<p>picture</p>"
    assert (number.data["text/plain"], said.text) == ("1", "said")
