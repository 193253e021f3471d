"""Result files: their columns, equal bytes on every run, recording, and comparing."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from reclib import paths
from reclib.errors import ReclibError
from reclib.study import cli, provenance, readme, results, runner

COLUMNS = [*results.KEY, "value", "low", "high", "users", "seeds"]


def metrics_table() -> pd.DataFrame:
    rows = [
        ("llm-fusion-vs-traditional", "ndcg@10", 0.0001, -0.002, 0.0022),
        ("traditional", "ndcg@10", 0.05, 0.048, 0.052),
        ("traditional", "recall@10", 0.1, 0.09, 0.11),
        ("traditional", "ctr@10", np.nan, np.nan, np.nan),
        ("brand-new", "ndcg@10", 0.04, 0.03, 0.05),
        ("random", "ndcg@10", 0.0003, 0.0, 0.009),
    ]
    return pd.DataFrame(
        [("simulated", "full-loo", "raw", *row, 600, 1) for row in rows], columns=COLUMNS
    )


def costs_table() -> pd.DataFrame:
    rows = [("traditional", "fit", 1 / 3, 120.0), ("random", "fit", 0.5, np.nan)]
    return pd.DataFrame(rows, columns=["model", "step", "seconds", "peak_mb"])


def test_tables_are_written_in_one_order_and_read_back(tmp_path: Path) -> None:
    metrics, costs = metrics_table(), costs_table()
    results.write_results(metrics, costs, tmp_path)
    first = [(tmp_path / name).read_bytes() for name in ("metrics.csv", "costs.csv")]
    results.write_results(metrics.sample(frac=1, random_state=3), costs[::-1], tmp_path)
    assert first == [(tmp_path / name).read_bytes() for name in ("metrics.csv", "costs.csv")]
    read, read_costs = results.read_results(tmp_path)
    assert read["model"].tolist() == [
        "random",
        *["traditional"] * 3,
        "brand-new",
        "llm-fusion-vs-traditional",
    ]
    assert read["metric"].tolist()[1:4] == ["recall@10", "ndcg@10", "ctr@10"]
    assert read_costs["seconds"].tolist() == [0.5, 0.3333333333]
    assert results.compare(read, metrics).empty


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"value": np.inf}, "column 'value'"),
        ({"value": "many"}, "column 'value'"),
        ({"low": 0.9}, "column 'low' is 0.9, above 'high'"),
        ({"protocol": "full"}, "column 'protocol' .*found 'full'"),
        ({"metric": "NDCG@10"}, "column 'metric'"),
        ({"model": " random"}, "column 'model'"),
        ({"seeds": 0}, "column 'seeds'"),
        ({"users": None}, "column 'users'"),
        ({"p": 0.05}, "column 'p' has no place"),
        ({"model": "random", "metric": "ndcg@10"}, "two rows for simulated · full-loo"),
    ],
)
def test_a_wrong_table_is_refused_with_file_and_column(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    with pytest.raises(ReclibError, match=f"metrics.csv: {message}"):
        results.write_results(metrics_table().assign(**change), costs_table(), tmp_path)
    assert not list(tmp_path.iterdir())


def cold_metrics() -> pd.DataFrame:
    """Of products before users, and of the last model first."""
    rows = [("cold-items", "raw"), ("cold-users", "given=2"), ("cold-users", "given=0")]
    return pd.DataFrame(
        [
            ("simulated", *row, model, "ndcg@10", 1 / 3, 0.1, 0.5, 10, 1)
            for row in rows
            for model in ("traditional", "popular")
        ],
        columns=COLUMNS,
    )


def trials_of_tuning() -> pd.DataFrame:
    """Written in the order of the names in results, whatever the order they are given in."""
    rows = [
        ("ease", 1, "ndcg@10", 1 / 3, 2.0, '{"regularisation": 500.0, "history": 7}'),
        ("ease", 0, "ndcg@10", 0.25, 1 / 3, "{}"),
        ("popular", 0, "ndcg@10", 0.1, 0.0, "{}"),
    ]
    columns = ["model", "trial", "metric", "value", "seconds", "parameters"]
    return pd.DataFrame(rows, columns=columns)


def test_cold_rows_are_written_in_one_order_and_ten_digits(tmp_path: Path) -> None:
    results.write_measured(cold_metrics(), tmp_path, results.COLD_FILE)
    first = (tmp_path / "cold.csv").read_bytes()
    results.write_measured(
        cold_metrics().sample(frac=1, random_state=3), tmp_path, results.COLD_FILE
    )
    assert (tmp_path / "cold.csv").read_bytes() == first
    lines = first.decode().splitlines()
    assert [line.rsplit(",", 6)[0] for line in lines[1:]] == [
        f"simulated,{place},{model}"
        for place in ("cold-users,given=0", "cold-users,given=2", "cold-items,raw")
        for model in ("popular", "traditional")
    ]
    assert lines[1].split(",")[5] == "0.3333333333"


def test_trials_are_written_in_one_order_and_ten_digits(tmp_path: Path) -> None:
    results.write_trials(trials_of_tuning(), tmp_path)
    first = (tmp_path / "trials.csv").read_bytes()
    results.write_trials(trials_of_tuning()[::-1], tmp_path)
    assert (tmp_path / "trials.csv").read_bytes() == first
    read = pd.read_csv(tmp_path / "trials.csv")
    assert read[["model", "trial"]].to_numpy().tolist() == [
        ["popular", 0],
        ["ease", 0],
        ["ease", 1],
    ]
    assert read["value"].tolist() == [0.1, 0.25, 0.3333333333]
    assert json.loads(read["parameters"].iloc[-1]) == {"regularisation": 500.0, "history": 7}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"value": 1.1}, "column 'value'"),
        ({"value": np.nan}, "column 'value'"),
        ({"trial": -1}, "column 'trial'"),
        ({"seconds": -0.1}, "column 'seconds'"),
        ({"metric": "ndcg"}, "column 'metric'"),
        ({"model": "ease "}, "column 'model'"),
        ({"parameters": None}, "column 'parameters'"),
        ({"gain": 0.1}, "column 'gain' has no place"),
        ({"model": "ease", "trial": 0}, "two rows for ease · ndcg@10 · 0"),
    ],
)
def test_wrong_trials_are_refused_with_their_column(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    with pytest.raises(ReclibError, match=rf"trials\.csv: {message}"):
        results.write_trials(trials_of_tuning().assign(**change), tmp_path)
    with pytest.raises(ReclibError, match=r"trials\.csv: missing column 'seconds'"):
        results.write_trials(trials_of_tuning().drop(columns="seconds"), tmp_path)
    assert not list(tmp_path.iterdir())


def test_wrong_cold_rows_are_refused_with_file_and_column(tmp_path: Path) -> None:
    with pytest.raises(ReclibError, match=r"cold\.csv: column 'protocol' .*found 'cold'"):
        results.write_measured(cold_metrics().assign(protocol="cold"), tmp_path, results.COLD_FILE)
    with pytest.raises(ReclibError, match=r"cold\.csv: missing column 'users'"):
        results.write_measured(cold_metrics().drop(columns="users"), tmp_path, results.COLD_FILE)
    with pytest.raises(ReclibError, match=r"cold\.csv: two rows for simulated · cold-users"):
        results.write_measured(
            cold_metrics().assign(protocol="cold-users", variant="raw"), tmp_path, results.COLD_FILE
        )
    assert not list(tmp_path.iterdir())


def test_a_missing_column_row_or_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReclibError, match=r"metrics\.csv: missing column 'low'"):
        results.write_results(metrics_table().drop(columns="low"), costs_table(), tmp_path)
    with pytest.raises(ReclibError, match=r"metrics\.csv: the table is empty"):
        results.write_results(metrics_table()[:0], costs_table(), tmp_path)
    with pytest.raises(ReclibError, match=r"costs\.csv: missing column 'seconds'"):
        results.write_results(metrics_table(), costs_table().drop(columns="seconds"), tmp_path)
    with pytest.raises(ReclibError, match=r"metrics\.csv is not there"):
        results.read_results(tmp_path)


def change(index: int, **values: float) -> pd.DataFrame:
    table = metrics_table()
    for name, value in values.items():
        table.loc[index, name] = value
    return table


@pytest.mark.parametrize(
    ("index", "values"),
    [
        (1, {"value": 0.0502}),  # a tenth of the half-width
        (0, {"value": -0.0001}),  # a difference that was not one
        (3, {"low": 0.0, "high": 1.0}),  # intervals do not decide
    ],
)
def test_rounding_of_other_hardware_passes(index: int, values: dict[str, float]) -> None:
    assert results.compare(change(index, **values), metrics_table()).empty


@pytest.mark.parametrize(
    ("index", "values", "problem"),
    [
        (1, {"value": 0.0503}, "out of band"),
        (5, {"value": 0.0}, "out of band"),  # a wide interval must not hide a collapse
        (3, {"value": 0.1}, "out of band"),
        (1, {"value": np.nan}, "out of band"),
        (1, {"users": 599}, "other users or seeds"),
    ],
)
def test_a_planted_difference_is_caught(index: int, values: dict[str, float], problem: str) -> None:
    report = results.compare(change(index, **values), metrics_table())
    assert report["problem"].tolist() == [problem]
    assert report["model"].tolist() == [metrics_table().loc[index, "model"]]


def with_seeds(change: float = 0.0, seeds: int = 5) -> pd.DataFrame:
    """A model and its difference from another, both with a deviation between seeds."""
    rows = [
        ("sasrec", "ndcg@10", 0.05 + change, 0.049, 0.051),
        ("sasrec", "seed_sd_ndcg@10", 0.001, np.nan, np.nan),
        ("sasrec", "recall@10", 0.1 + 2 * change, 0.098, 0.102),
        ("sasrec", "coverage@10", 0.5 + change, 0.499, 0.501),
        ("bpr", "ndcg@10", 0.04, 0.039, 0.041),
        ("bpr", "seed_sd_ndcg@10", 0.001, np.nan, np.nan),
        ("sasrec-vs-bpr", "ndcg@10", 0.01 + change, 0.0099, 0.0101),
    ]
    return pd.DataFrame(
        [("simulated", "full-loo", "raw", *row, 600, seeds) for row in rows], columns=COLUMNS
    )


def test_a_trained_model_may_differ_as_with_other_seeds() -> None:
    """t of four degrees of freedom, 4.604, times √(2/5) deviations; of two models √2 of that."""
    assert results.compare(with_seeds(), with_seeds()).empty

    def out(change: float, seeds: int = 5) -> list[str]:
        report = results.compare(with_seeds(change, seeds), with_seeds(seeds=seeds))
        return (report["model"] + " " + report["metric"]).tolist()

    assert out(0.00290) == ["sasrec coverage@10"]  # no accuracy: its own interval decides
    assert {*out(0.00292)} == {"sasrec coverage@10", "sasrec ndcg@10", "sasrec recall@10"}
    assert "sasrec-vs-bpr ndcg@10" not in out(0.00411) and "sasrec-vs-bpr ndcg@10" in out(0.00413)
    assert len(out(0.0003, seeds=1)) == 4  # one seed tells nothing of others


def test_missing_and_new_rows_are_caught() -> None:
    table = metrics_table()
    assert results.compare(table[1:], table)["problem"].tolist() == ["missing"]
    assert results.compare(table, table[1:])["problem"].tolist() == ["not in the reference"]


def test_the_band_never_reaches_zero() -> None:
    recorded = metrics_table()
    collapsed = recorded.assign(value=recorded["value"] * 0)
    undecided = (recorded["low"] < 0) & (recorded["high"] > 0)
    assert (
        len(results.compare(collapsed, recorded)) == (recorded["value"].notna() & ~undecided).sum()
    )


DERIVED = [("llm-fusion-vs-traditional", "p_ndcg@10", 0.04), ("als", "seed_sd_ndcg@10", 0.001)]


def with_derived(scale: float = 1.0) -> pd.DataFrame:
    """The usual rows with a p-value and a deviation between seeds, which have no interval."""
    rows = [
        ("simulated", "full-loo", "raw", model, metric, value * scale, np.nan, np.nan, 600, 1)
        for model, metric, value in DERIVED
    ]
    return pd.concat([metrics_table(), pd.DataFrame(rows, columns=COLUMNS)], ignore_index=True)


def test_derived_values_may_differ_but_must_be_there() -> None:
    recorded, n = with_derived(), len(metrics_table())
    assert results.compare(with_derived(9.0), recorded).empty
    assert results.compare(metrics_table(), recorded)["problem"].tolist() == ["missing"] * 2
    report = results.compare(recorded, metrics_table())
    assert report["problem"].tolist() == ["not in the reference"] * 2
    for index in (n, n + 1):
        lost, fewer = with_derived(), with_derived()
        lost.loc[index, "value"] = np.nan
        assert results.compare(lost, recorded)["problem"].tolist() == ["out of band"]
        fewer.loc[index, "users"] = 599
        report = results.compare(fewer, recorded)
        assert report["problem"].tolist() == ["other users or seeds"]


@pytest.fixture
def finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a finished run of committed code."""
    monkeypatch.setattr(paths, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(paths, "REFERENCE", tmp_path / "reference")
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    (tmp_path / "README.md").write_text(f"{readme.BEGIN}\n{readme.END}", encoding="utf-8")
    folder = results.run_folder("simulated", "smoke")
    results.write_results(metrics_table(), costs_table(), folder)
    (folder / "headline.svg").write_text("<svg/>")
    names = ("metrics.csv", "costs.csv", "headline.svg")
    mark(folder, results={name: results.file_hash(folder / name) for name in names})
    return folder


def mark(folder: Path, **values: object) -> None:
    start = {
        "parameters": {"data": "simulated", "seed": 0},
        "data_files": {},
        "git": {"commit": "c0ffee", "dirty": False},
        "notebooks": {"08_run_experiment": {}},
        "results": {},
    }
    file = folder / "provenance.json"
    before = json.loads(file.read_text()) if file.exists() else start
    results.write_json(before | values, file)


def test_a_recorded_run_verifies(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = results.record("simulated", "smoke")
    assert target == paths.REFERENCE / "simulated-smoke"
    optional = {*results.MEASURED, "trials.csv"}  # a run of some of the notebooks has none
    assert {file.name for file in target.iterdir()} == set(results.RECORDED) - optional
    assert (target / "metrics.csv").read_bytes() == (finished / "metrics.csv").read_bytes()
    assert cli.main(["verify", "--no-run"]) == 0
    results.write_results(change(1, value=0.06), costs_table(), finished)
    assert cli.main(["verify", "--no-run"]) == 1
    printed = capsys.readouterr().out
    assert "out of band" in printed and "0.06" in printed
    assert "another machine" not in printed
    mark(finished, machine={"bfloat16": False, "device": "cpu"})
    mark(target, machine={"bfloat16": True, "device": "cpu"})
    assert cli.main(["verify", "--no-run"]) == 1
    printed = capsys.readouterr().out
    assert "bfloat16: False here, True where it was recorded" in printed and "device" not in printed


@pytest.mark.parametrize(
    ("data", "size", "name"),
    [
        ("simulated", "small", "simulated"),
        ("simulated", "paper", "simulated-paper"),
        ("amazon-beauty", "full", "amazon-beauty"),
        ("amazon-beauty", "smoke", "amazon-beauty-smoke"),
    ],
)
def test_a_run_of_another_size_does_not_replace_the_usual_one(
    data: str, size: str, name: str
) -> None:
    assert results.reference_folder(data, size).name == name
    assert results.reference_folder(data) != results.reference_folder(data, "odd")


def test_what_notebooks_measure_beside_is_recorded_and_leaves_with_its_run(finished: Path) -> None:
    """Those of an older run must not stand beside the numbers of a newer one."""
    made = results.read_provenance(finished)["results"]
    for name in results.MEASURED:
        results.write_measured(cold_metrics(), finished, name)
    results.write_trials(trials_of_tuning(), finished)
    more = (*results.MEASURED, "trials.csv")
    mark(finished, results=made | {name: results.file_hash(finished / name) for name in more})
    target = results.record("simulated", "smoke")
    assert {file.name for file in target.iterdir()} == set(results.RECORDED)
    for name in more:
        assert (target / name).read_bytes() == (finished / name).read_bytes()
        (finished / name).unlink()
    mark(finished, results=made)
    results.record("simulated", "smoke")
    assert not any((target / name).exists() for name in more)


def test_a_file_of_another_run_in_the_folder_is_not_recorded(finished: Path) -> None:
    """As after a run of one notebook with another seed."""
    results.write_measured(cold_metrics(), finished, results.COLD_FILE)
    with pytest.raises(ReclibError, match=r"cold\.csv is not of this run.*or delete the file"):
        results.record("simulated", "smoke")
    assert not paths.REFERENCE.exists()


def test_a_run_of_a_sweep_is_told_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Notebooks ask for their folder as ever, and two runs on the same data do not meet."""
    usual = results.run_folder("simulated", "smoke")
    monkeypatch.setenv(results.RUN_FOLDER, str(tmp_path))
    assert results.run_folder("simulated", "smoke") == tmp_path != usual


def test_values_are_gathered_from_all_files_that_have_their_columns(tmp_path: Path) -> None:
    rows = metrics_table().assign(protocol="cold-users")
    results.write_results(metrics_table(), costs_table(), tmp_path)
    results.write_measured(rows, tmp_path, results.COLD_FILE)
    found = results.read_values(tmp_path, ["cold.csv", "costs.csv", "metrics.csv", "a.svg"])
    assert len(found) == len(metrics_table()) + len(rows)
    assert len(results.read_values(tmp_path, ["metrics.csv"])) == len(metrics_table())
    nothing = results.read_values(tmp_path, ["a.svg"])
    assert nothing.empty and list(nothing) == list(found)


def test_a_file_that_no_notebook_measures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReclibError, match=r"unknown result file 'warm.csv'.*cold\.csv"):
        results.write_measured(cold_metrics(), tmp_path, "warm.csv")


def test_only_committed_unchanged_results_are_recorded(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for git in (None, {"commit": "c0ffee", "dirty": True}):
        mark(finished, git=git)
        assert cli.main(["reference", "--no-run"]) == 2
        assert "--allow-dirty" in capsys.readouterr().err
    assert not paths.REFERENCE.exists()
    assert cli.main(["reference", "--no-run", "--allow-dirty"]) == 0
    assert "| data |" in (paths.ROOT / "README.md").read_text(encoding="utf-8")
    (finished / "costs.csv").write_text("model,step,seconds,peak_mb\nrandom,fit,1,1\n")
    with pytest.raises(ReclibError, match=r"costs\.csv is not as its run left it"):
        results.record("simulated", "smoke", allow_dirty=True)


def test_lists_that_the_readme_does_not_show_are_not_recorded(finished: Path) -> None:
    """As of a run with another k."""
    longer = metrics_table().assign(metric=lambda t: t["metric"].str.replace("@10", "@5"))
    results.write_results(longer, costs_table(), finished)
    made = results.read_provenance(finished)["results"]
    mark(finished, results={name: results.file_hash(finished / name) for name in made})
    with pytest.raises(ReclibError, match=r"metrics\.csv has no ndcg@10.*run again without"):
        results.record("simulated", "smoke")
    assert not paths.REFERENCE.exists()


def test_a_run_that_could_not_be_recorded_does_not_start(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runner, "run", None)
    monkeypatch.setattr(provenance, "git_state", lambda: {"commit": "c0ffee", "dirty": True})
    assert cli.main(["reference"]) == 2
    assert "no commit holds the code of the run on simulated" in capsys.readouterr().err


def test_other_settings_are_refused_before_the_notebooks_run(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runner, "run", None)
    assert cli.main(["verify"]) == 2  # nothing recorded yet
    results.record("simulated", "smoke")
    assert cli.main(["verify", "--seed", "1"]) == 2
    assert "parameter 'seed' is 1 here, but 0 in" in capsys.readouterr().err


def test_a_parameter_with_its_default_is_as_if_not_given(finished: Path) -> None:
    results.record("simulated", "smoke")
    mark(finished, parameters={"data": "simulated", "seed": 0, "n_seeds": 1})
    assert results.verify("simulated", "smoke").empty
    mark(finished, parameters={"data": "simulated", "seed": 0, "n_seeds": 2})
    with pytest.raises(ReclibError, match="parameter 'n_seeds' is 2 here, but 1 in"):
        results.verify("simulated", "smoke")


def test_a_verification_has_a_cache_of_its_own_until_it_has_compared(
    finished: Path, fresh_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the machine that recorded would find the recorded results in its cache."""
    results.record("simulated", "smoke")
    given: list[dict[str, Any]] = []

    def run(**how: Any) -> Path:
        given.append(how)
        (Path(how["variables"]["RECLIB_CACHE"]) / "scores").mkdir(parents=True, exist_ok=True)
        if len(given) == 1:
            raise KeyboardInterrupt
        return finished

    monkeypatch.setattr(runner, "run", run)
    own = fresh_cache / "verify"
    assert cli.main(["verify"]) == 130 and own.is_dir()  # so the next call goes on
    assert cli.main(["verify", "--no-run"]) == 0 and own.is_dir()
    assert cli.main(["verify"]) == 0 and not own.exists()
    assert given[1]["variables"] == {"RECLIB_CACHE": str(own)} and given[1]["force"]
    assert given[1]["only"] == ["08_run_experiment"]


def test_kernels_have_the_cache_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the root of the project, wherever they start."""
    show = [sys.executable, "-c", "from reclib import paths; print(paths.CACHE, paths.ROOT)"]
    for name, expected in (("elsewhere", "elsewhere"), ("", "data/cache")):
        with runner.kernel_environment(RECLIB_CACHE=name):
            said = subprocess.run(show, capture_output=True, text=True, check=True).stdout
        cache, root = map(Path, said.split())
        assert cache == root / expected


def test_runs_with_other_settings_are_not_compared(finished: Path) -> None:
    with pytest.raises(ReclibError, match="reference"):
        results.verify("simulated", "smoke")  # nothing recorded yet
    results.record("simulated", "smoke")
    mark(finished, parameters={"data": "simulated", "seed": 1})
    with pytest.raises(ReclibError, match="parameter 'seed' is 1 here, but 0 in"):
        results.verify("simulated", "smoke")
    mark(finished, parameters={"data": "simulated", "seed": 0}, data_files={"items.csv": "abc"})
    with pytest.raises(ReclibError, match="data file 'items.csv'"):
        results.verify("simulated", "smoke")
