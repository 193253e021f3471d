"""What the language model adds is arithmetic of recorded values, and the files name themselves."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from reclib import paths
from reclib.errors import ReclibError
from reclib.study import gains as study
from reclib.study import results
from reclib.study.gains import (
    along,
    gains,
    gains_said,
    history_gains,
    record_file,
    record_sweep,
    sweep_gains,
)
from reclib.study.readme import PAIRS
from reclib.study.sweep import DONE, FAILED, TYPES

SWEPT = "params.history"
PLAN = {"notebook": "01_tiny", "grid": {"history": [1, 20], "seed": [0, 1]}}


def table(**changes: object) -> pd.DataFrame:
    """A sweep over two lengths and two seeds, in which the gain is history %, plus the seed's."""
    rows = []
    for history in (1, 20):
        for seed in (0, 1):
            for level, (without, llm) in zip((0.1, 0.2), PAIRS.values(), strict=True):
                pair = f"{llm}-vs-{without}"
                gain = level * (history + seed) / 100
                rows += [
                    (history, seed, without, "raw", level, level - 0.02, level + 0.02),
                    (history, seed, pair, "raw", gain, gain - 0.001, gain + 0.001),
                    (history, seed, pair, "raw, history 3–5", 9.0, 9.0, 9.0),
                ]
    names = [SWEPT, "params.seed", "model", "variant", "value", "low", "high"]
    made = pd.DataFrame(rows, columns=names)
    made = made.assign(
        run=made[SWEPT].astype(str) + made["params.seed"].astype(str),
        status=DONE,
        data="simulated",
        protocol="full-loo",
        metric="ndcg@10",
        users=50,
        seeds=1,
    )
    made = made.assign(**changes)
    return made.astype({name: kind for name, kind in TYPES.items() if name in made})


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Lay out a project with one notebook and one sweep; return the sweep's file."""
    for name in ("NOTEBOOKS", "PARAMS", "REFERENCE"):
        monkeypatch.setattr(paths, name, tmp_path / name.lower())
    monkeypatch.setattr(study, "git_state", lambda: {"commit": "abc", "dirty": False})
    for folder in (paths.NOTEBOOKS, paths.PARAMS):
        folder.mkdir()
    cell = '# %% tags=["parameters"]\ndata = "simulated"\nsize = "smoke"\nhistory = 5\nseed = 0\n'
    (paths.NOTEBOOKS / "01_tiny.py").write_text(cell, encoding="utf-8")
    file = paths.PARAMS / "history.yaml"
    file.write_text(yaml.safe_dump(PLAN), encoding="utf-8")
    return file


def test_a_gain_is_the_paired_difference_over_the_rival() -> None:
    rows = table()
    found = gains(rows[rows["variant"] == "raw"], [SWEPT, "params.seed"])
    assert len(found) == 8 and set(found["pair"]) == {"Table II", "all models"}
    expected = (found[SWEPT] + found["params.seed"]) / 100
    np.testing.assert_allclose(found["gain"].astype(float), expected)
    half = np.where(found["pair"] == "Table II", 0.01, 0.005)
    np.testing.assert_allclose((found["high"] - found["gain"]).astype(float), half)


def test_runs_of_one_value_are_averaged_and_told_in_words() -> None:
    rows = table()
    found = gains(rows[rows["variant"] == "raw"], [SWEPT, "params.seed"])
    mean = along(found, SWEPT).set_index(["pair", SWEPT]).loc[("Table II", 1)]
    # two runs at each of two values, each .005 from their mean: two degrees of freedom
    half = 4.302653 * np.sqrt(4 * 0.005**2 / 2 / 2)
    np.testing.assert_allclose(mean, [0.015, 0.015 - half, 0.015 + half], rtol=1e-6)
    alone = found[found["params.seed"] == 0]
    np.testing.assert_array_equal(along(alone, SWEPT)["low"], alone["low"].astype(float))
    said = gains_said(found.rename(columns={SWEPT: "history"}), "history")
    assert "`llm-fusion` gains +1.5% [−0.7%, +3.7%] at history 1" in said
    assert "above 0 at 1 of 2 values" in said
    # ranks 1, 1, 2, 2 against 1, 2, 3, 4
    assert "Over its 4 runs the gain has a rank correlation with history of +0.89 (p = 0.11" in said
    alone = found[found["params.seed"] == 0]
    fallen = alone.assign(gain=-0.1, low=-0.2, high=-0.05).rename(columns={SWEPT: "history"})
    assert "gains −10.0% [−20.0%, −5.0%]" in gains_said(fallen, "history")
    assert "below it at 2" in gains_said(fallen, "history")


def test_a_recorded_sweep_gives_the_gains_of_its_table(project: Path) -> None:
    """And says what made it; values of some users only are left out."""
    target = record_sweep(project, table())
    assert target == record_file("history")
    kept = pd.read_csv(target)
    assert len(kept) == 16 and not kept["variant"].str.contains("history").any()
    found = sweep_gains("history", "history", protocol="full-loo")
    rows = table()
    direct = gains(rows[rows["variant"] == "raw"], [SWEPT, "params.seed"])
    np.testing.assert_allclose(found["gain"], direct["gain"].astype(float))
    made = json.loads(target.with_suffix(".json").read_text(encoding="utf-8"))
    assert made["results"] == {"history.csv": results.file_hash(target)}
    assert made["git"]["commit"] == "abc" and made["runs"] == 4
    assert yaml.safe_load(made["sweep"]) == PLAN


def test_every_parameter_that_some_run_sets_is_kept(project: Path) -> None:
    """Those of the first run are not all."""
    runs = [{"history": 1}, {"history": 20, "seed": 1}]
    project.write_text(yaml.safe_dump({"notebook": "01_tiny", "list": runs}), encoding="utf-8")
    assert {SWEPT, "params.seed"} < set(pd.read_csv(record_sweep(project, table())))


def test_a_sweep_of_very_many_runs_is_recorded(project: Path) -> None:
    """Once it was confirmed and ran, nobody is asked again."""
    many = PLAN | {"grid": {"history": [1], "seed": list(range(10_001))}}
    project.write_text(yaml.safe_dump(many), encoding="utf-8")
    assert record_sweep(project, table()).is_file()


def test_half_a_sweep_is_not_recorded(project: Path) -> None:
    rows = table()
    rows.loc[rows["run"] == "201", "status"] = FAILED
    with pytest.raises(ReclibError, match="201 is not done"):
        record_sweep(project, rows)
    assert not record_file("history").exists()


def test_code_that_no_commit_holds_is_not_recorded(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "git_state", lambda: {"commit": "abc", "dirty": True})
    with pytest.raises(ReclibError, match="--allow-dirty"):
        record_sweep(project, table())
    assert record_sweep(project, table(), allow_dirty=True).is_file()


def test_missing_files_and_values_are_named(project: Path) -> None:
    with pytest.raises(ReclibError, match=r"sweeps/history\.csv is not there"):
        sweep_gains("history", "history", protocol="full-loo")
    record_sweep(project, table())
    with pytest.raises(ReclibError, match="along decay"):
        sweep_gains("history", "decay", protocol="full-loo")
    with pytest.raises(ReclibError, match="cold-items"):
        sweep_gains("history", "history", protocol="cold-items")
    with pytest.raises(ReclibError, match=r"amazon-beauty/metrics\.csv is not there"):
        history_gains("amazon-beauty")


def test_every_sweep_of_the_page_varies_what_its_figure_shows() -> None:
    page = (paths.ROOT / "book" / "when_text_helps.md").read_text(encoding="utf-8")
    shown = re.findall(r"\{sweep-gain\} (\S+) (\S+)", page)
    assert len(shown) >= 5
    for name, parameter in shown:
        plan = yaml.safe_load((paths.ROOT / "params" / "sweeps" / f"{name}.yaml").read_text())
        assert parameter in plan["grid"], name
