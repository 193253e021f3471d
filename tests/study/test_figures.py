"""Figures draw the data that they are given, without a warning."""

from collections.abc import Iterator

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from sklearn.metrics import precision_recall_curve

from reclib.study import results
from reclib.study.figures import (
    COLOURS,
    distribution_plot,
    group_plot,
    heatmap,
    history_plot,
    interval_plot,
    precision_recall_plot,
    protocol_plot,
    simplex_plot,
    trials_plot,
    use_style,
)

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(autouse=True)
def _drawn() -> Iterator[None]:
    """In the book's style; every figure is rendered, for only then does it complain."""
    with mpl.rc_context():
        use_style()
        yield
        for number in plt.get_fignums():
            plt.figure(number).canvas.draw()
        plt.close("all")


def metrics() -> pd.DataFrame:
    rows = [
        ("random", "ndcg@10", 0.01, 0.005, 0.015),
        ("content", "ndcg@10", 0.2, 0.15, 0.25),
        ("llm-fusion", "ndcg@10", 0.3, 0.28, 0.33),
        ("content", "mrr@10", 0.9, 0.8, 1.0),
    ]
    return pd.DataFrame(rows, columns=["model", "metric", "value", "low", "high"])


def texts(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.texts]


def test_intervals_show_each_model_with_value_and_ends() -> None:
    ax = interval_plot(metrics(), "ndcg@10")
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        "llm-fusion",
        "content",
        "random",
    ]
    assert [bar.get_width() for bar in ax.patches] == [0.3, 0.2, 0.01]
    assert [list(line.get_xdata()) for line in ax.lines] == [
        [0.28, 0.33],
        [0.15, 0.25],
        [0.005, 0.015],
    ]
    assert texts(ax) == ["0.300", "0.200", "0.010"]
    assert ax.get_xlim()[0] == 0 and ax.get_xlim()[1] > 0.33
    assert "ndcg@10" in ax.get_xlabel() and "95 %" in ax.get_xlabel()


def test_intervals_go_where_they_are_told() -> None:
    _, axes = plt.subplots(1, 2)
    assert interval_plot(metrics(), "mrr@10", ax=axes[1]) is axes[1]
    assert len(axes[1].patches) == 1 and not axes[0].patches


def test_every_model_has_one_colour_everywhere() -> None:
    assert set(results.MODELS) <= set(COLOURS)
    bars = interval_plot(metrics(), "ndcg@10").patches
    assert mpl.colors.to_hex(bars[0].get_facecolor()) == COLOURS["llm-fusion"]
    assert mpl.colors.to_hex(bars[2].get_facecolor()) == COLOURS["random"]


def test_a_heatmap_writes_every_value_and_names_what_is_not_measurable() -> None:
    table = pd.DataFrame({"f1": [0.71, 0.2], "ctr": [0.56, np.nan]}, index=["paper", "ours"])
    figure = heatmap(table, label="value")
    ax = figure.axes[0]
    shown = ax.images[0].get_array()
    np.testing.assert_array_equal(shown.filled(-1), [[0.71, 0.56], [0.2, -1]])
    assert ax.images[0].get_clim() == (0, 1)
    assert texts(ax) == ["0.71", "0.56", "0.20", "not\nmeasurable"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["f1", "ctr"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["paper", "ours"]


def test_a_precision_recall_curve_is_sklearns_and_marks_the_threshold() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random((80, 3)).astype(np.float32)
    scores[:, 0] += 0.3
    figure = precision_recall_plot({"content": scores}, {"content": 0.6}, {"paper": (0.77, 0.82)})
    ax = figure.axes[0]
    drawn = [(np.asarray(line.get_xdata()), np.asarray(line.get_ydata())) for line in ax.lines]
    truth = np.zeros(scores.shape, bool)
    truth[:, 0] = True
    precision, recall, _ = precision_recall_curve(truth.ravel(), scores.ravel())
    curve = max(drawn, key=lambda line: len(line[0]))
    assert len(curve[0]) > 50
    known = set(zip(recall.tolist(), precision.tolist(), strict=True))
    assert set(zip(curve[0].tolist(), curve[1].tolist(), strict=True)) <= known
    yes = scores >= 0.6
    dot = (yes[:, 0].mean(), yes[:, 0].sum() / yes.sum())
    assert any(len(x) == 1 and (x[0], y[0]) == pytest.approx(dot) for x, y in drawn)
    assert any(len(x) == 1 and (x[0], y[0]) == (0.77, 0.82) for x, y in drawn)
    assert any(set(y) == {1 / 3} for _, y in drawn)  # always yes
    assert "paper" in texts(ax)


def test_a_threshold_that_no_pair_reaches_is_drawn_too() -> None:
    scores = np.random.default_rng(0).random((20, 2)).astype(np.float32)
    figure = precision_recall_plot({"content": scores}, {"content": 2.0}, {})
    assert len(figure.axes[0].lines) >= 2


@pytest.mark.parametrize("log", [True, False])
def test_a_distribution_counts_every_value(log: bool) -> None:
    values = np.random.default_rng(0).geometric(0.05, 500)
    _, ax = plt.subplots()
    assert distribution_plot(values, label="events of a user", ax=ax, log=log) is ax
    assert sum(bar.get_height() for bar in ax.patches) == 500
    assert ax.get_xlabel() == "events of a user"
    assert ax.get_xscale() == ax.get_yscale() == ("log" if log else "linear")


def test_a_distribution_of_one_value_is_one_bar() -> None:
    _, ax = plt.subplots()
    distribution_plot(np.ones(7, int), label="events", ax=ax)
    assert sum(bar.get_height() for bar in ax.patches) == 7


def test_a_simplex_has_a_dot_for_every_trial_and_a_ring_around_the_best() -> None:
    trials = pd.DataFrame(
        {
            "content": [0.5, 1.0, 0.0, 0.0],
            "collaborative": [0.5, 0.0, 1.0, 0.0],
            "language": [0.0, 0.0, 0.0, 1.0],
            "ndcg@10": [0.4, 0.3, 0.2, 0.1],
        }
    )
    ax = simplex_plot(trials, "ndcg@10")
    place = np.asarray(ax.collections[0].get_offsets())
    np.testing.assert_allclose(place[0], (place[1] + place[2]) / 2)
    corners = place[1:]
    sides = [np.linalg.norm(corners[a] - corners[b]) for a, b in ((0, 1), (1, 2), (0, 2))]
    np.testing.assert_allclose(sides, sides[0])
    np.testing.assert_array_equal(ax.collections[0].get_array(), trials["ndcg@10"])
    ring = ax.lines[0]
    np.testing.assert_allclose((ring.get_xdata()[0], ring.get_ydata()[0]), place[0])
    assert texts(ax) == ["content alone", "collaborative alone", "language alone"]


def test_every_trial_is_a_dot_and_the_one_before_the_search_a_ring() -> None:
    rows = [("ease", 0.02), ("ease", 0.04), ("ease", 0.03), ("popular", 0.01)]
    trials = pd.DataFrame(rows, columns=["model", "value"]).assign(metric="ndcg@10")
    ax = trials_plot(trials)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["popular", "ease"]  # upwards
    drawn = [np.asarray(points.get_offsets()).tolist() for points in ax.collections]
    assert drawn == [[[0.04, 1], [0.03, 1]], [[0.02, 1]], [], [[0.01, 0]]]
    hollow = [len(points.get_facecolor()) == 0 for points in ax.collections]
    assert hollow == [False, True, False, True]
    assert texts(ax) == ["0.0400", "0.0100"]
    assert [text.xy for text in ax.texts] == [(0.04, 1), (0.01, 0)]
    assert "ndcg@10" in ax.get_xlabel()
    for end, outermost in ((ax.get_xlim()[1], 0.044), (ax.get_ylim()[1], 1.4)):
        assert end > outermost  # room for the numbers and the rings
    assert ax.get_xlim()[0] == 0 and ax.get_ylim()[0] < -0.4


def by_length(weights: dict[str, list[float]]) -> pd.DataFrame:
    return pd.DataFrame(weights, index=[0, 1, 5, 50])


def test_weights_lie_on_each_other_by_length_of_the_history() -> None:
    weights = by_length(
        {"popular": [0.7, 0.5, 0.2, 0.1], "content": [0.3, 0.499, 0.797, 0.898], "als": [0.0] * 4}
    )
    weights["als"] = 1 - weights.sum(axis=1)  # up to 0.003: too thin to be seen
    ax = history_plot(weights)
    assert texts(ax) == ["popular", "content"]
    bottom, top = ([path.vertices for path in area.get_paths()] for area in ax.collections)
    assert {tuple(point) for point in np.round(bottom[0], 9).tolist()} == {
        *((0, 0), (1, 0), (5, 0), (50, 0)),
        *((0, 0.7), (1, 0.5), (5, 0.2), (50, 0.1)),
    }
    assert {(0, 1.0), (50, 0.998)} <= {tuple(point) for point in np.round(top[0], 9).tolist()}
    assert ax.get_xlim() == (0, 50) and ax.get_ylim() == (0, 1)
    assert [text.xy[1] for text in ax.texts] == pytest.approx([0.05, 0.1 + 0.898 / 2])


def test_names_of_thin_areas_do_not_touch() -> None:
    parts = {f"part {n}": [0.01] * 4 for n in range(6)}
    for weights in ({"big": [0.94] * 4, **parts}, {**parts, "big": [0.94] * 4}):
        ax = history_plot(by_length(weights))
        heights = [text.xy[1] for text in ax.texts]
        assert texts(ax) == list(weights)
        assert np.diff(heights).min() >= 0.05 - 1e-9
        assert 0 <= min(heights) and max(heights) <= 1


def test_protocols_are_drawn_beside_the_papers_values() -> None:
    rows = [
        ("pairs", "uniform", r, model, metric, 1 / (1 + r))
        for r in (1, 9)
        for model in ("traditional", "llm-fusion")
        for metric in ("precision", "recall", "f1")
    ]
    columns = ["protocol", "variant", "size", "model", "metric", "value"]
    wanted = {name: {"traditional": 0.75} for name in ("precision", "recall", "f1")}
    figure = protocol_plot(pd.DataFrame(rows, columns=columns), wanted)
    for ax, name in zip(figure.axes, wanted, strict=False):
        assert ax.get_title(loc="left") == name
        line, _, dashed = ax.get_lines()
        np.testing.assert_allclose(line.get_xydata(), [[1, 0.5], [9, 0.1]])
        assert dashed.get_linestyle() == "--" and set(dashed.get_ydata()) == {0.75}


def test_groups_of_users_stand_beside_each_other() -> None:
    rows = [
        (f"raw, {group} users", model, "tail@10", value, value - 0.1, value + 0.2)
        for model, values in {"content": (0.5, 0.6), "language": (0.4, 0.3)}.items()
        for group, value in zip(("light", "heavy"), values, strict=True)
    ]
    rows.append(("raw", "content", "tail@10", 9.0, 8.0, 9.0))
    columns = ["variant", "model", "metric", "value", "low", "high"]
    axes = group_plot(
        pd.DataFrame(rows, columns=columns), "tail@10", models=["content", "language"]
    )
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["light", "heavy"]
    drawn = {bar.get_label(): bar.lines[0].get_ydata().tolist() for bar in axes.containers}
    assert drawn == {"content": [0.5, 0.6], "language": [0.4, 0.3]}
