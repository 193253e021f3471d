"""What is drawn of a sweep is what its runs measured, without a warning."""

from collections.abc import Iterator
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from reclib.errors import ReclibError
from reclib.study.figures import use_style
from reclib.study.sweep import TYPES
from reclib.study.sweep_figures import best_run, gain_plot, line_plot, map_plot, pick

pytestmark = pytest.mark.filterwarnings("error")

GAINS = (("Table II", 0.1), ("all models", 0.05))


@pytest.fixture(autouse=True)
def _drawn() -> Iterator[None]:
    """In the book's style; every figure is rendered, for only then does it complain."""
    with mpl.rc_context():
        use_style()
        yield
        for number in plt.get_fignums():
            plt.figure(number).canvas.draw()
        plt.close("all")


def table(**changes: Any) -> pd.DataFrame:
    """Two models over two parameters and two seeds; a run that failed and one that waits."""
    rows = []
    for decay in (0.5, 0.9):
        for scale in ("minmax", "global"):
            for seed in (0, 1):
                for model, value in (("content", decay / 10), ("ease", 0.2)):
                    value += 0.01 * seed + (0.002 if scale == "global" else 0)
                    rows.append((decay, scale, seed, "done", model, "ndcg@10", value))
                rows.append((decay, scale, seed, "done", "ease", "ild@10", 0.5))
    rows.append((0.7, "minmax", 0, "failed", None, None, np.nan))
    rows.append((0.7, "global", 0, "waiting", None, None, np.nan))
    names = ["params.decay", "params.scale", "params.seed", "status", "model", "metric", "value"]
    made = pd.DataFrame(rows, columns=names)
    made = made.assign(low=made["value"] - 0.02, high=made["value"] + 0.03, users=9, seeds=1)
    made = made.assign(**{"data": "simulated", "protocol": "full-loo", "variant": "raw"} | changes)
    made["run"] = made[names[:3]].astype(str).agg("-".join, axis=1)
    made["command"] = [f"reclib run --set row={row}" for row in range(len(made))]
    known = {name: kind for name, kind in TYPES.items() if name in made}
    return made.astype(known)


def test_only_finished_runs_are_picked() -> None:
    rows = pick(table(), "ndcg@10")
    assert len(rows) == 16 and set(rows["params.decay"]) == {0.5, 0.9}
    assert set(pick(table(), "ndcg@10", models=["ease"])["model"]) == {"ease"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"metric": "ndgc@10"}, "did you mean 'ndcg@10'"),
        ({"metric": "ndcg@10", "models": ["eese"]}, "did you mean 'ease'"),
    ],
)
def test_unknown_names_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ReclibError, match=message):
        pick(table(), **arguments)
    with pytest.raises(ReclibError, match="did you mean 'decay'"):
        line_plot(pick(table(), "ndcg@10"), "decey")


@pytest.mark.parametrize("column", ["data", "protocol", "variant"])
def test_a_run_with_two_values_of_a_model_is_refused(column: str) -> None:
    both = pd.concat([table(), table(**{column: "other"})], ignore_index=True)
    with pytest.raises(ReclibError, match=f"several values of '{column}'.*table\\[table"):
        pick(both, "ndcg@10")
    assert len(pick(both[both[column] == "other"], "ndcg@10")) == 16
    apart = both.assign(run=both["run"] + both[column])  # as where the sweep varies it
    assert len(pick(apart, "ndcg@10")) == 32


def test_what_the_sweep_varies_is_not_blamed_for_what_a_run_does() -> None:
    """A sweep over protocols, under each of which two variants are measured."""
    cases = [(how, form) for how in ("full-loo", "full-time") for form in ("raw", "r=1")]
    rows = pd.concat([table(protocol=how, variant=form) for how, form in cases], ignore_index=True)
    rows["run"] = rows["run"] + rows["protocol"]
    with pytest.raises(ReclibError, match=r"several values of 'variant' \(raw, r=1\)"):
        pick(rows, "ndcg@10")


def test_a_line_is_the_mean_of_its_runs_each_of_which_is_a_dot() -> None:
    ax = line_plot(pick(table(), "ndcg@10"), "decay")
    lines = {line.get_label(): line for line in ax.lines}
    np.testing.assert_allclose(lines["content"].get_xdata(), [0.5, 0.9])
    np.testing.assert_allclose(lines["content"].get_ydata(), [0.056, 0.096])
    np.testing.assert_allclose(lines["ease"].get_ydata(), [0.206, 0.206])
    bands, dots = ax.collections[0::2], ax.collections[1::2]
    for band, low in zip(bands, (0.036, 0.186), strict=True):
        ends = band.get_paths()[0].vertices
        assert ends[:, 1].min() == pytest.approx(low)
    assert [len(points.get_offsets()) for points in dots] == [8, 8]
    assert ax.get_xlabel() == "decay" and "ndcg@10" in ax.get_ylabel()


def test_single_runs_have_no_dots_of_their_own() -> None:
    rows = pick(table(), "ndcg@10", models=["ease"])
    rows = rows[(rows["params.seed"] == 0) & (rows["params.scale"] == "minmax")]
    _, ax = plt.subplots()
    assert line_plot(rows, "decay", ax=ax) is ax
    assert len(ax.collections) == 1  # the band


@pytest.mark.parametrize(
    ("parameter", "shown"), [("scale", ["minmax", "global"]), ("text", ["True", "False"])]
)
def test_values_that_are_no_numbers_stand_side_by_side(parameter: str, shown: list[str]) -> None:
    rows = pick(table(), "ndcg@10", models=["ease"])
    rows = rows.assign(**{"params.text": rows["params.scale"] == "minmax"})
    ax = line_plot(rows, parameter)
    assert [label.get_text() for label in ax.get_xticklabels()] == shown
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [0.205, 0.207])


def test_gains_are_lines_with_the_looks_of_their_pairs() -> None:
    rows = [(n, pair, g, g - 0.1, g + 0.1) for n in (1, 5) for pair, g in GAINS for _ in range(2)]
    gains = pd.DataFrame(rows, columns=["history", "pair", "gain", "low", "high"])
    [ax] = gain_plot(gains, "history").axes
    assert (ax.get_xticks() % 1 == 0).all()  # there is no half product
    solid = {line.get_label(): line for line in ax.lines}
    for pair, gain in GAINS:
        np.testing.assert_allclose(solid[pair].get_xydata(), [[1, gain], [5, gain]])
    assert [solid[pair].get_marker() for pair, _ in GAINS] == ["o", "s"]
    assert [len(dots.get_offsets()) for dots in ax.collections[1::2]] == [4, 4]
    ax = gain_plot(gains.assign(history=gains["history"].map({1: "few", 5: "many"})), "history")
    assert [label.get_text() for label in ax.axes[0].get_xticklabels()] == ["few", "many"]


def test_a_map_has_the_mean_of_the_runs_in_each_cell() -> None:
    figure = map_plot(pick(table(), "ndcg@10", models=["content"]), "decay", "scale")
    ax = figure.axes[0]
    np.testing.assert_allclose(ax.images[0].get_array(), [[0.055, 0.095], [0.057, 0.097]])
    assert ax.images[0].get_clim() == pytest.approx((0.055, 0.097))
    assert [text.get_text() for text in ax.texts] == ["0.0550", "0.0950", "0.0570", "0.0970"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0.5", "0.9"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["minmax", "global"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("decay", "scale")
    with pytest.raises(ReclibError, match="one model, not content, ease"):
        map_plot(pick(table(), "ndcg@10"), "decay", "scale")


def test_the_best_run_comes_with_its_command() -> None:
    rows = table()
    rows.loc[0, "value"] = pd.NA  # not measurable
    best = best_run(pick(rows, "ndcg@10", models=["content"]))
    where = ["params.decay", "params.scale", "params.seed"]
    assert best[where].tolist() == [0.9, "global", 1]
    assert best["command"] == f"reclib run --set row={best.name}"
