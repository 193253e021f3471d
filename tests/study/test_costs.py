"""Costs are those that were recorded, counted once; gains for each second are arithmetic."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reclib import paths
from reclib.errors import ReclibError
from reclib.study import energy, results
from reclib.study.costs import costs_said, on_front, recorded_costs

VALUES = {
    "popular": 0.01,
    "content": 0.05,
    "language": 0.04,
    "ease:language": 0.06,
    "traditional": 0.06,
    "llm-fusion": 0.07,
    "traditional:all": 0.08,
    "llm-fusion:all": 0.09,
}
COSTS = [
    ("popular", "score", 1.0),
    ("content", "fit", 2.0),
    ("content", "score", 2.0),
    ("language", "fit", 1.0),
    ("language", "encode", 30.0),
    ("language", "encode users", 5.0),
    ("language", "score", 4.0),
    ("ease:language", "fit", 10.0),
    ("traditional", "fit", 3.0),
    ("llm-fusion", "fit", 4.0),
    ("llm-fusion", "encode", 30.0),
    ("llm-fusion", "encode users", 5.0),
    ("traditional:all", "fit", 50.0),
    ("llm-fusion:all", "fit", 60.0),
    ("llm-fusion:all", "encode", 60.0),  # two parts, one file
]


def record(folder: Path, notebooks: dict[str, dict[str, float]]) -> None:
    """Write a recorded run."""
    rows = [("full-loo", model, value, value - 0.01) for model, value in VALUES.items()]
    for without, llm in (("traditional", "llm-fusion"), ("traditional:all", "llm-fusion:all")):
        rows.append(("full-loo", f"{llm}-vs-{without}", VALUES[llm] - VALUES[without], -0.001))
    metrics = pd.DataFrame(rows, columns=["protocol", "model", "value", "low"]).assign(
        data="toy", variant="raw", metric="ndcg@10", high=0.2, users=9, seeds=1
    )
    costs = pd.DataFrame(COSTS, columns=["model", "step", "seconds"]).assign(peak_mb=2048.0)
    results.write_results(metrics, costs, folder)
    results.write_json({"notebooks": notebooks}, folder / results.PROVENANCE_FILE)


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(paths, "REFERENCE", tmp_path)
    record(tmp_path / "toy", {"08": {"seconds": 1.0}})
    return tmp_path / "toy"


def test_embeddings_are_counted_once_by_whoever_reads_them(recorded: Path) -> None:
    models = recorded_costs("toy").models
    encode = models["encode"].to_dict()
    assert encode["language"] == encode["llm-fusion"] == 35
    assert encode["ease:language"] == encode["llm-fusion:all"] == 30
    assert encode["content"] == encode["traditional"] == encode["traditional:all"] == 0
    assert models["seconds"].to_dict()["ease:language"] == 40


def test_gains_for_each_second_are_arithmetic(recorded: Path) -> None:
    costs = recorded_costs("toy")
    np.testing.assert_allclose(costs.models.loc["content", "per_second"], 0.04 / 4)
    pairs = costs.pairs.set_index("pair")
    np.testing.assert_allclose(pairs["seconds"].to_dict()["Table II"], 39 - 3)
    np.testing.assert_allclose(pairs.loc["all models", "per_second"], 0.01 / (90 - 50))
    front = costs.models.index[costs.models["front"]]
    assert list(front) == ["popular", "traditional", "llm-fusion", *list(VALUES)[-2:]]
    said = costs_said(costs)
    assert "`traditional` gains most over `popular`" in said
    assert "2.0 GB" in said and "no counter was read" in said


def test_energy_is_the_sum_over_notebooks_or_not_readable(recorded: Path) -> None:
    record(recorded, {"07": {"joules": 1.8e6}, "08": {"joules": 1.8e6}})
    assert recorded_costs("toy").energy == 3.6e6
    assert "1.00 kWh" in costs_said(recorded_costs("toy"))
    record(recorded, {"07": {"joules": 1.8e6}, "08": {}})
    assert recorded_costs("toy").energy is None


@pytest.mark.parametrize("name", ["metrics.csv", "costs.csv", "provenance.json"])
def test_a_missing_file_is_named(recorded: Path, name: str) -> None:
    (recorded / name).unlink()
    with pytest.raises(ReclibError, match=f"toy/{name} is not there"):
        recorded_costs("toy")


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=12))
def test_the_front_holds_what_nothing_beats(dots: list[tuple[int, int]]) -> None:
    """Against the definition, pair by pair."""
    seconds, value = np.array(dots, float).T
    for place, (s, v) in enumerate(dots):
        beaten = any(t <= s and w >= v and (t, w) != (s, v) for t, w in dots)
        assert on_front(seconds, value)[place] == (not beaten)


def counter(folder: Path, microjoules: int, span: int = 1000) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    (folder / "max_energy_range_uj").write_text(f"{span}\n")


def test_processor_counters_are_summed_and_may_start_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts of a package are in its counter already."""
    monkeypatch.setattr(energy, "POWERCAP", tmp_path)
    monkeypatch.setattr(energy, "_gpus", dict)
    for name, start in (("intel-rapl:0", 100), ("intel-rapl:1", 900), ("intel-rapl:0:0", 50)):
        counter(tmp_path / name, start)
    with energy.counted() as joules:
        for name, end in (("intel-rapl:0", 300), ("intel-rapl:1", 50), ("intel-rapl:0:0", 90)):
            counter(tmp_path / name, end)
        assert joules() == pytest.approx((200 + 150) / 1e6)


def test_no_counter_is_not_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None says that it cannot be read, where 0 would say that it took no energy."""
    monkeypatch.setattr(energy, "POWERCAP", tmp_path)
    monkeypatch.setattr(energy, "_gpus", dict)
    with energy.counted() as joules:
        assert joules() is None
    counter(tmp_path / "intel-rapl:0", 5)
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("")  # as where only root may read
    with energy.counted() as joules:
        assert joules() is None
