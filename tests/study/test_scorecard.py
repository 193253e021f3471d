"""The scorecard: the same rules for every claim and every data set."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reclib import paths
from reclib.study import results
from reclib.study.paper import TABLE_II
from reclib.study.scorecard import VERDICTS, judge, scorecard
from reclib.study.tables import ROWS

NAN = np.nan


@pytest.mark.parametrize(
    ("change", "low", "high", "said"),
    [
        (0.1, 0.05, 0.15, "confirmed"),
        (0.2, 0.15, 0.25, "confirmed"),  # more than the paper's
        (0.09, 0.05, 0.13, "weaker"),  # wide intervals do not confirm
        (0.05, 0.0, 0.2, "not found"),
        (-0.01, -0.02, 0.0, "not found"),
        (-0.05, -0.1, -0.001, "reversed"),
        (NAN, NAN, NAN, "not measurable"),
        (0.1, NAN, NAN, "not measurable"),
    ],
)
def test_a_verdict_follows_the_rules(change: float, low: float, high: float, said: str) -> None:
    assert judge(change, low, high, 0.1) == said
    assert said in VERDICTS


def row(
    protocol: str, variant: str, model: str, metric: str, *numbers: float
) -> tuple[object, ...]:
    return ("toy", protocol, variant, model, metric, *numbers, 50, 1)


@pytest.fixture
def recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> pd.DataFrame:
    """A recorded run of which only precision and diversity can be judged."""
    yes = getattr(request, "param", 2 / 3)  # F1 of saying yes to every pair
    rows = [
        row("pairs", "r=1", "traditional", "precision", 0.5, 0.4, 0.6),
        row("pairs", "r=1", "llm-fusion-vs-traditional", "precision", 0.05, 0.04, 0.06),
        row("pairs", "r=9", "llm-fusion-vs-traditional", "precision", -0.5, -0.6, -0.4),
        row("full-time", "raw", "traditional", "ild@10", 0.8, 0.7, 0.9),
        row("full-time", "raw", "llm-fusion-vs-traditional", "ild@10", -0.08, -0.12, -0.04),
        row("pairs", "r=1", "traditional", "f1", 0.7, 0.68, 0.72),
        row("pairs", "r=1", "always-yes", "f1", yes, yes, yes),
    ]
    columns = ["data", "protocol", "variant", "model", "metric", "value", "low", "high"]
    table = pd.DataFrame(rows, columns=[*columns, "users", "seeds"])
    costs = pd.DataFrame({"model": ["a"], "step": ["fit"], "seconds": [1.0], "peak_mb": [1.0]})
    results.write_results(table, costs, tmp_path / "toy")
    monkeypatch.setattr(paths, "REFERENCE", tmp_path)
    return scorecard().set_index("claim")


def test_changes_are_shares_of_the_traditional_value(recorded: pd.DataFrame) -> None:
    found = recorded.loc["precision"]
    np.testing.assert_allclose(found[["change", "low", "high"]].tolist(), [0.1, 0.08, 0.12])
    assert found["verdict"] == "confirmed"
    assert recorded.loc["diversity", "verdict"] == "reversed"
    before, after = TABLE_II["precision"]
    assert found["claimed"] == after / before - 1


def test_what_no_run_measured_is_not_measurable(recorded: pd.DataFrame) -> None:
    assert set(recorded.index) == set(ROWS) == set(TABLE_II)
    for claim in ("recall", "ctr", "f1"):
        assert recorded.loc[claim, "verdict"] == "not measurable"


@pytest.mark.parametrize("recorded", [0.69], indirect=True)
def test_pairs_that_a_constant_yes_judges_as_well_give_no_verdict(recorded: pd.DataFrame) -> None:
    assert recorded.loc["precision", "verdict"] == "not measurable"
    assert recorded.loc["precision", "change"] == pytest.approx(0.1)
    assert recorded.loc["diversity", "verdict"] == "reversed"
