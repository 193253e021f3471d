"""What the runs of a sweep show: a metric along a parameter or over two, and the best run."""

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from pandas.api.types import is_bool_dtype, is_integer_dtype, is_numeric_dtype

from reclib.errors import ReclibError, unknown
from reclib.study.figures import COLOURS, COLUMN, GREY, heatmap
from reclib.study.gains import along
from reclib.study.sweep import DONE, PREFIX


def pick(table: pd.DataFrame, metric: str, *, models: list[str] | None = None) -> pd.DataFrame:
    """Choose the rows of one metric.

    Parameters
    ----------
    table
        From `reclib.study.sweep.read_table`.
    metric
        E.g. ``"ndcg@10"``.
    models
        Whose; default all.

    Returns
    -------
    pandas.DataFrame
        Rows of finished runs, each with one value a model.

    Raises
    ------
    ReclibError
        An unknown metric or model, or a run with several values of a model, because it was
        measured under several protocols, variants or data sets.
    """
    done = table[table["status"] == DONE].dropna(subset=["metric"])
    if metric not in set(done["metric"]):
        raise unknown("metric", metric, done["metric"].unique())
    rows = done[done["metric"] == metric]
    for model in models or []:
        if model not in set(rows["model"]):
            raise unknown("model", model, rows["model"].unique())
    rows = rows[rows["model"].isin(models)] if models else rows
    for column in ("protocol", "variant", "data"):
        # the sweep itself may vary it: only several values within a run are too many
        if rows.groupby(["run", "model"])[column].nunique().max() > 1:
            found = rows[column].unique()
            raise ReclibError(
                f"a run has {metric} under several values of {column!r} ({', '.join(found)}); "
                f"take one of them, as in table[table[{column!r}] == {found[0]!r}]"
            )
    return rows


def line_plot(rows: pd.DataFrame, across: str, *, ax: Axes | None = None) -> Axes:
    """Draw a metric along a parameter, one line a model.

    Parameters
    ----------
    rows
        From `pick`.
    across
        The parameter; values that are not numbers are set side by side.
    ax
        Where; a new figure by default.

    Returns
    -------
    Axes
        The line is the mean of the runs with the same value, such as those of several seeds,
        each of which is a dot where there is more than one; the band goes from the mean lower
        to the mean upper end of their 95 % intervals over users.
    """
    column = _column(rows, across)
    if ax is None:
        _, ax = plt.subplots(figsize=(COLUMN, 3.6))
    looks = {
        model: {"color": COLOURS.get(model, GREY), "marker": "o", "markersize": 3}
        for model in rows["model"].unique()
    }
    numbers = rows[["model", column]].assign(**rows[["value", "low", "high"]].astype(float))
    mean = numbers.groupby(["model", column], sort=False).mean().reset_index()
    _draw_lines(ax, rows, mean, x=column, y="value", of="model", looks=looks)
    ax.set_xlabel(across)
    ax.set_ylabel(f"{rows['metric'].iloc[0]}; band: 95 % interval")
    ax.legend(fontsize=8)
    return ax


def map_plot(rows: pd.DataFrame, across: str, up: str) -> Figure:
    """Draw a metric over two parameters, as a heatmap.

    Parameters
    ----------
    rows
        From `pick`, of one model.
    across, up
        The two parameters.

    Returns
    -------
    Figure
        In each cell the mean over the runs with these values.

    Raises
    ------
    ReclibError
        Rows of several models.
    """
    if len(models := rows["model"].unique()) > 1:
        raise ReclibError(f"a heatmap shows one model, not {', '.join(models)}; pick one")
    grid = (
        rows.assign(value=rows["value"].astype(float))
        .pivot_table(
            index=_column(rows, up), columns=_column(rows, across), values="value", dropna=False
        )
        .iloc[::-1]
    )
    low, high = float(np.nanmin(grid)), float(np.nanmax(grid))
    figure = heatmap(
        grid, label=f"{rows['metric'].iloc[0]} of {models[0]}", limits=(low, high), style=".4f"
    )
    figure.axes[0].set(xlabel=across, ylabel=up)
    return figure


def gain_plot(table: pd.DataFrame, across: str) -> Figure:
    """Draw what the language model adds along a parameter or a class of users.

    Parameters
    ----------
    table
        From `reclib.study.gains`: `across`, pair, gain, low and high.
    across
        Which column; texts are set side by side.

    Returns
    -------
    Figure
        A line for each pair of models, with the band of its 95 % interval; where there are
        several runs of one value, as in `reclib.study.gains.along`, and each run a dot.
    """
    figure, ax = plt.subplots(figsize=(COLUMN, 3.4))
    looks = {
        "Table II": {"color": COLOURS["traditional"], "marker": "o", "markersize": 4},
        "all models": {"color": COLOURS["language"], "marker": "s", "markersize": 4},
        "trained alone": {"color": COLOURS["content"], "marker": "^", "markersize": 4},
    }
    _draw_lines(ax, table, along(table, across), x=across, y="gain", of="pair", looks=looks)
    ax.axhline(0, color="black", linewidth=0.8)
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    ax.set_xlabel(across)
    ax.set_ylabel("gain in ndcg@10; band: 95 % interval")
    ax.legend()
    return figure


def best_run(rows: pd.DataFrame) -> "pd.Series[Any]":
    """Return the row with the highest value; its ``command`` repeats the run.

    Choose on validation, or the best of many runs flatters.
    """
    return rows.iloc[int(rows["value"].to_numpy(float, na_value=-np.inf).argmax())]


def _draw_lines(
    ax: Axes,
    rows: pd.DataFrame,
    mean: pd.DataFrame,
    *,
    x: str,
    y: str,
    of: str,
    looks: Mapping[str, Any],
) -> None:
    """Draw the `mean` of `y` along `x` with its band, a line for each value of `of`.

    Where several of the `rows` have one `x`, each is a dot; texts and truth values stand side
    by side.
    """
    numeric = is_numeric_dtype(rows[x]) and not is_bool_dtype(rows[x])
    marks = {value: value if numeric else at for at, value in enumerate(rows[x].unique())}
    rows, mean = (each.assign(at=each[x].map(marks).astype(float)) for each in (rows, mean))
    for name, line in mean.sort_values("at").groupby(of, sort=False):
        look, own = looks[str(name)], rows[rows[of] == name]
        ax.plot(line["at"], line[y], label=name, **look)
        band = {"color": look["color"], "linewidth": 0}
        ax.fill_between(line["at"], line["low"], line["high"], alpha=0.15, **band)
        if len(line) < len(own):
            ax.scatter(own["at"], own[y].astype(float), s=12, alpha=0.6, **band)
    if not numeric:
        ax.set_xticks(list(marks.values()), [str(value) for value in marks])
    elif is_integer_dtype(rows[x]):
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))


def _column(rows: pd.DataFrame, parameter: str) -> str:
    names = [name.removeprefix(PREFIX) for name in map(str, rows) if name.startswith(PREFIX)]
    if parameter not in names:
        raise unknown("parameter", parameter, names)
    return PREFIX + parameter
