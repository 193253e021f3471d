"""What diversity costs, and whether anything reaches the paper's gain in it (Eq. 9)."""

import numpy as np
import pandas as pd

from reclib.errors import ReclibError
from reclib.study import results
from reclib.study.gains import minus_signs
from reclib.study.paper import TABLE_II

PLAIN = "hybrid:λ=0"  # the network without the second term


def recorded_prices(data: str) -> pd.DataFrame:
    """Read the recorded ``diversity.csv`` of a data set, each method's settings in order.

    Raises
    ------
    ReclibError
        It is not there; the error names the file.
    """
    rows = results.read_values(results.reference_folder(data), [results.DIVERSITY_FILE])
    setting = rows["model"].str.extract(r"([\d.]+)$")[0].astype(float)
    return rows.loc[setting.sort_values(kind="stable").index]


def paper_goal(measured: pd.DataFrame, *, k: int = 10) -> float:
    """Compute the diversity that the paper's gain would be here.

    Parameters
    ----------
    measured
        Rows of ``diversity.csv``.
    k
        Length of the lists.

    Returns
    -------
    float
        ``ild@k`` of the network without the second term of the loss, and as much on top as
        Table II has; 1 or more where no list can have it, NaN where diversity is not measurable.

    Raises
    ------
    ReclibError
        If that network, λ = 0, was not measured.
    """
    before, after = TABLE_II["diversity"]
    return float(_wide(measured)[f"ild@{k}"][PLAIN]) * after / before


def price_said(measured: pd.DataFrame, *, k: int = 10) -> str:
    """Say in Markdown what the paper's gain in diversity costs, and how much costs nothing.

    Parameters
    ----------
    measured, k
        As in `paper_goal`.

    Returns
    -------
    str
        A line.

    Raises
    ------
    ReclibError
        As in `paper_goal`.
    """
    goal, wide = paper_goal(measured, k=k), _wide(measured)
    diversity, accuracy = wide[f"ild@{k}"], wide[f"ndcg@{k}"]
    if np.isnan(goal):
        return "Nothing is known of brands and categories, so diversity is not measurable."
    before, after = TABLE_II["diversity"]
    more, better = diversity / diversity[PLAIN] - 1, accuracy / accuracy[PLAIN] - 1

    def gained(name: str) -> str:
        return f"`{name}` has {more[name]:+.1%} of diversity and {better[name]:+.1%} of `ndcg@{k}`"

    enough = accuracy[diversity >= goal]
    if goal >= 1:
        said = "No list can have that: all products unlike each other is 1."
    elif enough.empty:
        farthest = gained(str(more.idxmax()))
        said = f"No setting tried comes that far; the farthest, {farthest}."
    else:
        best = gained(str(enough.idxmax()))
        said = f"Of the settings that come that far, the most accurate, {best}."
    free = str(more[accuracy >= accuracy[PLAIN]].idxmax())
    if more[free] > 0:
        cheap = f"Of those no less accurate than `{PLAIN}`, the most diverse, {gained(free)}."
    else:
        cheap = f"None is more diverse than `{PLAIN}` and no less accurate."
    return minus_signs(
        f"The paper's {after / before - 1:+.1%} would be an `ild@{k}` of {goal:.3f} here, "
        f"from {diversity[PLAIN]:.3f} of `{PLAIN}`. {said} {cheap}"
    )


def _wide(measured: pd.DataFrame) -> pd.DataFrame:
    """Make a row for each setting and a column for each metric."""
    wide = measured.pivot(index="model", columns="metric", values="value").astype(float)
    if PLAIN not in wide.index:
        raise ReclibError(
            f"{PLAIN}, the network that the others are held against, was not measured; "
            "run notebook 12 again"
        )
    return wide
