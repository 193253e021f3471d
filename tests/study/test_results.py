"""Result files: their columns, equal bytes on every run, recording, and comparing."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reclib import paths
from reclib.errors import ReclibError
from reclib.study import cli, readme, results

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
        "results": {},
    }
    file = folder / "provenance.json"
    before = json.loads(file.read_text()) if file.exists() else start
    results.write_json(before | values, file)


def test_a_recorded_run_verifies(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = results.record("simulated", "smoke")
    assert target == paths.REFERENCE / "simulated"
    assert sorted(file.name for file in target.iterdir()) == sorted(results.RECORDED)
    assert (target / "metrics.csv").read_bytes() == (finished / "metrics.csv").read_bytes()
    assert cli.main(["verify", "--no-run"]) == 0
    results.write_results(change(1, value=0.06), costs_table(), finished)
    assert cli.main(["verify", "--no-run"]) == 1
    printed = capsys.readouterr().out
    assert "out of band" in printed and "0.06" in printed


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


def test_runs_with_other_settings_are_not_compared(finished: Path) -> None:
    with pytest.raises(ReclibError, match="reference"):
        results.verify("simulated", "smoke")  # nothing recorded yet
    results.record("simulated", "smoke")
    mark(finished, parameters={"data": "simulated", "seed": 1})
    with pytest.raises(ReclibError, match="parameter 'seed' is 1 in"):
        results.verify("simulated", "smoke")
    mark(finished, parameters={"data": "simulated", "seed": 0}, data_files={"items.csv": "abc"})
    with pytest.raises(ReclibError, match="data file 'items.csv'"):
        results.verify("simulated", "smoke")
