"""What accuracy costs, as a figure."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reclib.study.figures import COLOURS, COLUMN, GREY

NEAR = 0.028  # share of the height that a name takes
LETTER = 5.2  # points that a letter of it takes


def cost_plot(models: pd.DataFrame, metric: str) -> Figure:
    """Draw accuracy against seconds, with the models that no other one beats in both.

    Parameters
    ----------
    models
        From `reclib.study.costs.recorded_costs`.
    metric
        Name of the accuracy.

    Returns
    -------
    Figure
        A dot a model, seconds on a logarithmic scale; a line of steps joins the front, whose
        models are named in bold.
    """
    figure, ax = plt.subplots(figsize=(COLUMN, 5.2))
    front = models[models["front"]].sort_values("seconds")
    ax.step(front["seconds"], front["value"], where="post", color=GREY, linewidth=1, zorder=1)
    ax.set_xscale("log")
    ax.set_xlim(models["seconds"].min() / 1.6, models["seconds"].max() * 6)
    ax.set_ylim(0, models["value"].max() * 1.08)
    for model, seconds, value in zip(models.index, models["seconds"], models["value"], strict=True):
        ax.plot(seconds, value, "o", color=COLOURS.get(str(model), GREY), markersize=6)
    _name(ax, models)
    ax.set_xlabel("seconds to fit, encode and score")
    ax.set_ylabel(metric)
    return figure


def _name(ax: Axes, models: pd.DataFrame) -> None:
    """Write names right of the dots, and those that would meet others above or below them."""
    low, high = np.log(ax.get_xlim())
    wide, gap = 72 * COLUMN / (high - low), NEAR * ax.get_ylim()[1]  # points, unit of the axis
    dots = models[["seconds", "value"]].to_numpy(float)
    taken = [(wide * np.log(x) - 4, wide * np.log(x) + 4, y) for x, y in dots]  # from, to, height
    rows = zip(map(str, models.index), dots.tolist(), models["front"].to_numpy(bool), strict=True)
    for model, (seconds, value), front in rows:
        start = wide * np.log(seconds) + 6
        end = start + LETTER * len(model)
        level = value + 0.7 * gap if front else value  # above the line
        heights = (level + sign * gap * step / 4 for step in range(40) for sign in (1, -1))
        height = next(
            tried
            for tried in heights
            if not any(f < end and start < t and abs(tried - h) < gap for f, t, h in taken)
        )
        taken.append((start, end, height))
        ax.annotate(
            model,
            (seconds, value),
            xytext=(np.exp(start / wide), height),
            va="center",
            fontsize=8,
            fontweight="bold" if front else "normal",
        )
