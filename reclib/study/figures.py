"""Figures in one style: one font, two widths, one colour a model across the whole book."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.dates import date2num
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, MaxNLocator, NullFormatter, ScalarFormatter
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve

COLUMN = 6.8  # inches: the text column of the book
GREY = "#6b7280"
# Okabe and Ito's palette, safe for colour-blind readers
COLOURS: Mapping[str, str] = {
    "random": "#b0b7c3",
    "popular": "#6b7280",
    **dict.fromkeys(("content", "content:tuned"), "#0072b2"),
    "collaborative": "#009e73",
    "collaborative:interactions": "#56b4e9",
    **dict.fromkeys(("language", "language:tuned"), "#cc79a7"),
    **dict.fromkeys(("item-knn", "user-knn", "ease", "als", "bpr"), "#56b4e9"),
    "ease:content": "#0072b2",
    "ease:language": "#cc79a7",
    **dict.fromkeys(("markov", "seqrules", "pctm", "transitions", "sasrec"), "#7a9a01"),
    "content-count": "#e69f00",
    "traditional": "#e69f00",
    "traditional:all": "#e69f00",
    "llm-fusion": "#d55e00",
    "llm-fusion:all": "#d55e00",
    **dict.fromkeys(("hybrid", "hybrid:no-vectors", "hybrid:no-trad", "hybrid:no-llm"), "#882255"),
    "mmr": "#0072b2",
    "dpp": "#009e73",
    "always-yes": "#b0b7c3",
}


def use_style() -> None:
    """Set the book's style for every figure that follows."""
    mpl.rcParams.update(
        {
            "figure.figsize": (COLUMN, 3.4),
            "figure.constrained_layout.use": True,
            "font.family": "sans-serif",
            "font.size": 10,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.edgecolor": GREY,
            "axes.titlesize": 11,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "xtick.color": GREY,
            "ytick.color": GREY,
            "xtick.labelcolor": "black",
            "ytick.labelcolor": "black",
            "legend.frameon": False,
            "svg.fonttype": "none",
            # one salt, so that the same figure is the same file
            "svg.hashsalt": "reclib",
            "image.cmap": "cividis",
        }
    )
    try:
        from IPython.core.getipython import get_ipython
        from matplotlib_inline.backend_inline import set_matplotlib_formats
    except ImportError:
        return
    if get_ipython() is not None:
        set_matplotlib_formats("svg")  # type: ignore[no-untyped-call]


def interval_plot(metrics: pd.DataFrame, metric: str, *, ax: Axes | None = None) -> Axes:
    """Draw each model's value of a metric with its 95 % interval.

    Parameters
    ----------
    metrics
        Rows of ``metrics.csv`` of one protocol, in the order to be shown.
    metric
        Which metric, e.g. ``"ndcg@10"``.
    ax
        Where; a new figure by default.

    Returns
    -------
    Axes
        From zero, one row a model.
    """
    rows = metrics[metrics["metric"] == metric].iloc[::-1]
    if ax is None:
        _, ax = plt.subplots(figsize=(COLUMN, 0.5 + 0.36 * len(rows)))
    numbers = rows[["value", "low", "high"]].to_numpy(float)
    for place, (model, (value, low, high)) in enumerate(zip(rows["model"], numbers, strict=True)):
        ax.barh(place, value, color=COLOURS.get(model, GREY), height=0.62, alpha=0.85)
        ax.plot([low, high], [place, place], color="black", linewidth=1.2)
        ax.annotate(
            f"{value:.3f}",
            (max(high, 0.0), place),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
        )
    ax.set_yticks(range(len(rows)), rows["model"])
    ax.tick_params(axis="y", length=0)
    ax.set_xlim(left=0)
    ax.margins(x=0.12)
    ax.set_xlabel(f"{metric}, mean over users; line: 95 % interval")
    return ax


def heatmap(
    table: pd.DataFrame,
    *,
    label: str = "",
    limits: tuple[float, float] = (0, 1),
    style: str = ".2f",
) -> Figure:
    """Draw a table of values as in Fig. 4: darker is less.

    Parameters
    ----------
    table
        Rows and columns as to be shown; NaN is drawn as "not measurable".
    label
        Of the colour bar.
    limits
        Values of the darkest and the lightest colour.
    style
        Format of a value.

    Returns
    -------
    Figure
        With every value written in its cell.
    """
    figure, ax = plt.subplots(figsize=(COLUMN, 0.9 + 0.42 * len(table)))
    values = table.to_numpy(float)
    low, high = limits
    image = ax.imshow(np.ma.masked_invalid(values), vmin=low, vmax=high, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        missing = np.isnan(value)
        ax.text(
            column,
            row,
            "not\nmeasurable" if missing else format(value, style),
            ha="center",
            va="center",
            fontsize=7 if missing else 9,
            color="white" if value <= (low + high) / 2 else "black",
        )
    ax.set_xticks(range(table.shape[1]), table.columns)
    ax.set_yticks(range(len(table)), table.index)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    figure.colorbar(image, ax=ax, label=label, shrink=0.9)
    return figure


def precision_recall_plot(
    pair_scores: Mapping[str, NDArray[np.float32]],
    thresholds: Mapping[str, float],
    points: Mapping[str, tuple[float, float]],
) -> Figure:
    """Draw precision against recall over the test pairs, as in Fig. 5.

    Parameters
    ----------
    pair_scores
        Model → shape (n_positives, 1 + r), positives in the first column.
    thresholds
        Model → the threshold chosen on validation, marked by a dot.
    points
        Label → (recall, precision) of single points to show, such as the paper's.

    Returns
    -------
    Figure
        With the share of positives, the precision of "always yes", as a dashed line.
    """
    figure, ax = plt.subplots(figsize=(COLUMN, 4.2))
    for model, scores in pair_scores.items():
        truth = np.zeros(scores.shape, bool)
        truth[:, 0] = True
        precision, recall, _ = precision_recall_curve(truth.ravel(), scores.ravel())
        colour = COLOURS.get(model, GREY)
        # the curve's first points rest on a handful of pairs
        steady = recall > 0.02
        ax.plot(recall[steady], precision[steady], color=colour, label=model, linewidth=1.8)
        yes = scores >= thresholds[model]
        ax.plot(
            yes[:, 0].mean(), yes[:, 0].sum() / max(yes.sum(), 1), "o", color=colour, markersize=6
        )
    ax.axhline(1 / scores.shape[1], color=GREY, linewidth=1, linestyle="--")
    ax.annotate("always yes", (0.02, 1 / scores.shape[1]), xytext=(0, 4),
                textcoords="offset points", color=GREY, fontsize=9)  # fmt: skip
    for label, (x, y) in points.items():
        ax.plot(x, y, "x", color="black", markersize=7)
        ax.annotate(label, (x, y), xytext=(6, 4), textcoords="offset points", fontsize=9)
    ax.set(xlim=(0, 1.01), ylim=(0, 1.01), xlabel="recall", ylabel="precision")
    ax.legend(loc="lower left", ncols=2)
    return figure


def distribution_plot(values: NDArray[Any], *, label: str, ax: Axes, log: bool = True) -> Axes:
    """Draw how often each value occurs, counts on a logarithmic scale where they are skewed.

    Parameters
    ----------
    values
        Counts, at least 1 where `log`.
    label
        Of the horizontal axis.
    ax
        Where.
    log
        Logarithmic scales.

    Returns
    -------
    Axes
        The same.
    """
    if log:
        bins = np.unique(np.geomspace(1, max(values.max(), 2) + 1, 24).astype(int))
        ax.set_xscale("log")
        ax.set_yscale("log")
    else:
        bins = np.linspace(values.min(), values.max(), 30)
    ax.hist(values, bins=bins.tolist(), color="#0072b2", alpha=0.85)
    ax.set_xlabel(label)
    return ax


def small_multiples(panels: Sequence[tuple[str, Callable[[Axes], None]]]) -> Figure:
    """Draw several small plots, two a row, so that they can be read on a phone.

    Parameters
    ----------
    panels
        Title, and what draws the plot into its axes.

    Returns
    -------
    Figure
        As wide as the book's text.
    """
    rows = -(-len(panels) // 2)
    figure, grid = plt.subplots(rows, 2, figsize=(COLUMN, 0.3 + 2.1 * rows), squeeze=False)
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.1)  # type: ignore[union-attr,call-arg]
    for ax, (title, draw) in zip(grid.flat, panels, strict=False):
        draw(ax)
        ax.set_title(title)
        for axis in (ax.xaxis, ax.yaxis):
            if isinstance(axis.get_major_formatter(), LogFormatter | ScalarFormatter):
                axis.set_major_formatter(lambda value, _: f"{value:,g}")
                axis.set_minor_formatter(NullFormatter())
    for ax in grid.flat[len(panels) :]:
        ax.set_axis_off()
    return figure


def time_plot(ax: Axes, *, counts: NDArray[np.int64], edges: Sequence[datetime]) -> None:
    """Draw counts over time; `edges` has one time more than there are counts."""
    ax.stairs(
        counts,
        date2num(edges),  # type: ignore[no-untyped-call]
        fill=True,
        color=COLOURS["content"],
        alpha=0.85,
    )
    ax.set_ylim(bottom=0)
    days = (edges[-1] - edges[0]).days < 100
    shown = edges[: len(counts) : -(-len(counts) // 3)]  # three dates at most, to be short
    ax.set_xticks(
        date2num(shown),  # type: ignore[no-untyped-call]
        [f"{when.day} {when:%b}" if days else f"{when:%b %Y}" for when in shown],
    )


def bar_plot(ax: Axes, *, values: Mapping[str, float]) -> None:
    """Draw one bar a name."""
    ax.bar(list(values), list(values.values()), color=COLOURS["content"], alpha=0.85)


def rate_plot(ax: Axes, *, counts: Mapping[str, tuple[int, int]]) -> None:
    """Draw rates, each from the number of hits and of trials, with 95 % intervals (Wilson)."""
    for place, (hits, trials) in enumerate(counts.values()):
        low, high = proportion_interval(hits, trials)
        ax.bar(place, hits / trials, color=COLOURS["content"], alpha=0.85)
        ax.plot([place, place], [low, high], color="black", linewidth=1.2)
    ax.set_xticks(range(len(counts)), [name.replace("-", "\n") for name in counts])
    ax.set_ylim(bottom=0)


def proportion_interval(hits: int, trials: int) -> tuple[float, float]:
    """Give Wilson's 95 % interval of a proportion.

    Examples
    --------
    >>> "{:.4f} {:.4f}".format(*proportion_interval(46, 10_000))
    '0.0035 0.0061'
    """
    z = 1.959964
    middle = (hits + z**2 / 2) / (trials + z**2)
    half = z / (trials + z**2) * np.sqrt(hits * (trials - hits) / trials + z**2 / 4)
    return max(middle - half, 0.0), min(middle + half, 1.0)


def simplex_plot(trials: pd.DataFrame, metric: str) -> Axes:
    """Draw every weighting of three parts as a dot in a triangle.

    Parameters
    ----------
    trials
        From `reclib.evaluation.choose_weights`, best first: three columns of weights, and
        the metric.
    metric
        Column of the colour.

    Returns
    -------
    Axes
        A corner is one part alone; the nearer to it, the more that part weighs.
    """
    parts = [column for column in trials.columns if column != metric]
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(0.75)]])
    place = trials[parts].to_numpy() @ corners  # (n_trials, 2)
    figure, ax = plt.subplots(figsize=(COLUMN, 4.4))
    dots = ax.scatter(place[:, 0], place[:, 1], c=trials[metric], s=190, linewidths=0)
    ax.plot(*place[0], "o", markersize=19, fillstyle="none", color="#d55e00", markeredgewidth=2.2)
    for part, corner, shift in zip(parts, corners, ((0, -22), (0, -22), (0, 14)), strict=True):
        ax.annotate(
            f"{part} alone",
            corner,
            xytext=shift,
            textcoords="offset points",
            ha="center",
            fontweight="bold",
        )
    ax.set_aspect("equal")
    ax.set_axis_off()
    ax.margins(0.12)
    figure.colorbar(dots, ax=ax, label=f"{metric} on validation", shrink=0.8)
    return ax


def trials_plot(trials: pd.DataFrame) -> Axes:
    """Draw every trial of the tuning, one row a model.

    Parameters
    ----------
    trials
        From `reclib.evaluation.tune`.

    Returns
    -------
    Axes
        Models in the order tuned, from the top. A ring is the trial before any search, dots
        are the others, and the number is the best value.
    """
    models = list(dict.fromkeys(trials["model"]))
    _, ax = plt.subplots(figsize=(COLUMN, 0.6 + 0.3 * len(models)))
    for place, model in enumerate(models):
        values = trials.loc[trials["model"] == model, "value"].to_numpy()
        colour = COLOURS.get(model, GREY)
        rows = np.full(len(values), len(models) - 1 - place)
        ax.scatter(values[1:], rows[1:], s=14, color=colour, alpha=0.5, linewidth=0)
        ax.scatter(values[:1], rows[:1], s=44, facecolor="none", edgecolor=colour, linewidth=1.4)
        ax.annotate(
            f"{values.max():.4f}",
            (values.max(), rows[0]),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
        )
    ax.set_yticks(range(len(models)), models[::-1])
    ax.tick_params(axis="y", length=0)
    ax.margins(x=0.14)
    ax.set_xlim(left=0)  # after the margins, which a fixed limit would switch off
    ax.set_ylim(-0.6, len(models) - 0.4)
    ax.set_xlabel(f"{trials['metric'].iloc[0]} on validation")
    return ax


def history_plot(weights: pd.DataFrame) -> Axes:
    """Draw how the weights of a fusion change with the length of the history.

    Parameters
    ----------
    weights
        Index: different products in the history; one column a part, rows sum to 1.

    Returns
    -------
    Axes
        Areas on each other, the first part at the bottom.
    """
    shown = weights.loc[:, weights.max() >= 0.005]  # thinner areas cannot be seen
    _, ax = plt.subplots(figsize=(COLUMN, 3.2))
    colours = mpl.colormaps["cividis"](np.linspace(0.05, 0.95, shown.shape[1]))
    ax.stackplot(shown.index, shown.to_numpy().T, colors=colours, linewidth=0.6, edgecolor="white")
    heights = shown.iloc[-1].cumsum() - shown.iloc[-1] / 2
    gap = 0.05  # names stay apart where areas are thin
    places = heights.to_numpy().copy()
    for row in range(1, len(places)):
        places[row] = max(places[row], places[row - 1] + gap)
    places -= max(0.0, places[-1] - 1)
    for name, place in zip(shown.columns, places, strict=True):
        ax.annotate(
            name,
            (shown.index[-1], place),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
        )
    ax.set_xlim(shown.index[0], shown.index[-1])
    ax.set_ylim(0, 1)
    ax.set_xlabel("different products in the history")
    ax.set_ylabel("weight")
    return ax


def training_plot(histories: Mapping[str, Any]) -> Figure:
    """Draw what happened in training, epoch by epoch.

    Parameters
    ----------
    histories
        `reclib.models.training.History` by name of the model.

    Returns
    -------
    Figure
        Left the mean loss of the examples learned from, right that of those held out; a dot
        is the epoch whose weights were kept.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(COLUMN, 2.8), sharex=True)
    styles = ("-", "--", ":")
    for place, (name, history) in enumerate(histories.items()):
        epochs = np.arange(1, len(history.losses) + 1)
        look = {"color": COLOURS.get(name, GREY), "linestyle": styles[place % 3], "label": name}
        left.plot(epochs, history.losses, **look)
        held_out = -np.array(history.validation)
        right.plot(epochs, held_out, **look)
        best = history.best_epoch
        right.plot(best, held_out[best - 1], "o", color=look["color"], markersize=5)
    for ax, title in ((left, "learned from"), (right, "held out")):
        ax.set_title(title, fontsize=10)
        ax.set_xlabel("epoch")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    left.set_ylabel("mean loss")
    right.legend(fontsize=8)
    return figure


def pareto_plot(metrics: pd.DataFrame, *, across: str, up: str, goal: float = np.inf) -> Axes:
    """Draw what one metric costs in another, one line a method.

    Parameters
    ----------
    metrics
        Rows of ``metrics.csv``; models are named method:setting, and a line joins the
        settings of a method in the order of the rows.
    across, up
        The two metrics.
    goal
        Of the first: a dashed line, where it is below 1.

    Returns
    -------
    Axes
        Each setting a dot with its 95 % interval upwards, named beside it.
    """
    wide = metrics.pivot(index="model", columns="metric", values=["value", "low", "high"])
    wide = wide.loc[list(dict.fromkeys(metrics["model"]))]
    _, ax = plt.subplots(figsize=(COLUMN, 4))
    method = wide.index.str.split(":").str[0]
    for nth, name in enumerate(dict.fromkeys(method)):
        part = wide[method == name]
        above = 8 if nth == 0 else -8 - 10 * nth  # settings of two methods can be neighbours
        x, y = part["value", across], part["value", up]
        beyond = np.abs(part[[("low", up), ("high", up)]].to_numpy().T - y.to_numpy())
        colour = COLOURS.get(name, GREY)
        ax.errorbar(x, y, yerr=beyond, color=colour, marker="o", markersize=4, label=name)
        for model, place in zip(part.index, zip(x, y, strict=True), strict=True):
            ax.annotate(
                str(model).partition(":")[2],
                place,
                xytext=(3, above),
                textcoords="offset points",
                fontsize=8,
                color=colour,
            )
    if goal < 1:
        ax.axvline(goal, color=GREY, linestyle="--", linewidth=1)
    ax.set_ylim(bottom=0)
    ax.set_xlabel(across)
    ax.set_ylabel(f"{up}; line: 95 % interval")
    ax.legend()
    return ax


def protocol_plot(table: pd.DataFrame, wanted: Mapping[str, Mapping[str, float]]) -> Figure:
    """Draw precision, recall and F1 against the size of a protocol, beside the paper's.

    Parameters
    ----------
    table
        Rows of one protocol and variant of `reclib.study.matching.measure_everywhere`.
    wanted
        Metric → model → the paper's value: a dashed line in the model's colour.

    Returns
    -------
    Figure
        A panel for each metric.
    """

    def panel(metric: str) -> Callable[[Axes], None]:
        def draw(ax: Axes) -> None:
            part = table[table["metric"] == metric]
            for model, line in part.groupby("model", sort=False):
                colour = COLOURS.get(str(model), GREY)
                ax.plot(line["size"], line["value"], "o-", color=colour, markersize=3, label=model)
            for model, value in wanted[metric].items():
                ax.axhline(value, color=COLOURS.get(model, GREY), linestyle="--", linewidth=1)
            ax.set_xscale("log")
            ax.set_ylim(0, 1.02)

        return draw

    figure = small_multiples([(metric, panel(metric)) for metric in wanted])
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.axes[-1].legend(handles, labels, loc="center")
    return figure


def group_plot(metrics: pd.DataFrame, metric: str, *, models: Sequence[str]) -> Axes:
    """Draw a metric by group of users, models beside each other.

    Parameters
    ----------
    metrics
        From `reclib.study.beyond.measure_beyond`.
    metric
        Which metric.
    models
        Which models, in order.

    Returns
    -------
    Axes
        A place for each group, a dot with its 95 % interval for each model.
    """
    groups = metrics["variant"].str.extract(r", (\w+) users$")[0]
    names = list(dict.fromkeys(groups.dropna()))
    _, ax = plt.subplots(figsize=(COLUMN, 3))
    marks = "osD^vPX*"
    for nth, model in enumerate(models):
        rows = metrics[(metrics["model"] == model) & (metrics["metric"] == metric)]
        rows = rows.assign(group=groups).set_index("group").loc[names]
        place = np.arange(len(names)) + 0.8 * ((nth + 0.5) / len(models) - 0.5)
        value = rows["value"].to_numpy(float)
        beyond = np.abs(rows[["low", "high"]].to_numpy(float).T - value)
        look: dict[str, Any] = {
            "color": COLOURS.get(model, GREY),
            "fmt": marks[nth % len(marks)],
            "markersize": 5,
        }
        ax.errorbar(place, value, yerr=beyond, label=model, **look)
    ax.axhline(0, color="black", linewidth=0.8)
    ax.set_xticks(range(len(names)), names)
    ax.set_ylabel(f"{metric}; line: 95 % interval")
    ax.legend(fontsize=8, ncols=2)
    return ax


def series_plot(rows: pd.DataFrame, x: str, *, label: str, ax: Axes | None = None) -> Axes:
    """Draw a value with its 95 % interval along whole numbers, one line a model.

    Parameters
    ----------
    rows
        Columns model, value, low, high, and `x`.
    x
        Which column goes across; it is the name of the axis.
    label
        Of the values.
    ax
        Where; a new figure by default.

    Returns
    -------
    Axes
        From zero. A variant of a model, such as ``popular:once``, has the model's colour and
        is dashed.
    """
    if ax is None:
        _, ax = plt.subplots(figsize=(COLUMN, 3.6))
    for model, part in rows.groupby("model", sort=False):
        plain = str(model).partition(":")[0]
        part = part.sort_values(x)
        across, value, low, high = part[[x, "value", "low", "high"]].to_numpy(float).T
        colour, line = COLOURS.get(plain, GREY), "-" if plain == model else "--"
        ax.fill_between(across, low, high, color=colour, alpha=0.15, linewidth=0)
        ax.plot(across, value, line, color=colour, marker="o", markersize=4, label=str(model))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_ylim(bottom=0)
    ax.set_xlabel(x)
    ax.set_ylabel(label)
    ax.legend(fontsize=8, ncols=2, handlelength=3.5)  # long enough for dashes
    return ax


def order_plot(effect: pd.DataFrame, metric: str = "ndcg@10") -> Figure:
    """Draw what models lose when they cannot see which of two products came first.

    Parameters
    ----------
    effect
        From `reclib.study.literature.order_effect`.
    metric
        Its name.

    Returns
    -------
    Figure
        One row a model: a dot in the raw order, a ring without the direction, each with its
        95 % interval, and the share that is lost.
    """
    figure, ax = plt.subplots(figsize=(COLUMN, 0.8 + 0.4 * len(effect)))
    columns = ["value", "low", "high", "blind", "blind_low", "blind_high", "lost"]
    numbers = effect[columns].to_numpy(float)[::-1]
    models = list(map(str, effect["model"]))[::-1]
    for place, (model, row) in enumerate(zip(models, numbers, strict=True)):
        value, low, high, blind, blind_low, blind_high, lost = row.tolist()
        colour = COLOURS.get(model, GREY)
        ax.plot([blind, value], [place, place], color=colour, linewidth=3, alpha=0.35)
        ax.plot([low, high], [place + 0.14] * 2, color=colour, linewidth=1)
        ax.plot([blind_low, blind_high], [place - 0.14] * 2, color=colour, linewidth=1)
        ax.plot(value, place, "o", color=colour, markersize=7)
        ax.plot(blind, place, "o", color=colour, markerfacecolor="white", markersize=7)
        ax.annotate(
            f"{-lost:+.1%}".replace("-", "\N{MINUS SIGN}"),
            (max(high, blind_high), place),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
        )
    ax.set_yticks(range(len(models)), models)
    ax.tick_params(axis="y", length=0)
    ax.set_xlim(left=0)
    ax.set_ylim(-0.6, len(effect) - 0.4)
    ax.margins(x=0.12)
    ax.set_xlabel(f"{metric}; dot: raw order, ring: blind to it, lines: 95 % intervals")
    return figure
