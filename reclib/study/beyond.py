"""Beyond accuracy, by group of users, with intervals."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reclib.data import Fold
from reclib.evaluation import Outcome
from reclib.evaluation.beyond import exposure_metrics, list_metrics
from reclib.study.experiment import NO_COMPARISONS, summarise

GROUPS = ("light", "medium", "heavy")


def user_groups(fold: Fold) -> dict[str, NDArray[np.bool_]]:
    """Split the users who are asked into thirds by the number of products in training.

    Returns
    -------
    dict
        Name → bool, shape (n_asked,). Users with equally many are in one group, so groups
        may differ in size, and one that would be empty is left out.
    """
    asked = np.diff(fold.relevant.indptr) > 0
    products = np.diff(fold.train.matrix.indptr)[asked]
    ends = np.quantile(products, [1 / 3, 2 / 3])
    group = np.searchsorted(ends, products, side="left")
    found = {name: group == place for place, name in enumerate(GROUPS)}
    return {name: inside for name, inside in found.items() if inside.any()}


def measure_beyond(
    outcomes: Mapping[str, Sequence[Outcome]],
    fold: Fold,
    *,
    compared: Mapping[str, tuple[str, str]] = NO_COMPARISONS,
    n_resamples: int = 2000,
    rng: int = 0,
) -> pd.DataFrame:
    """Measure what lists do beside being right, for all users and by group.

    Parameters
    ----------
    outcomes, fold, compared, n_resamples, rng
        As in `reclib.study.experiment.measure_lists`.

    Returns
    -------
    pandas.DataFrame
        Columns as in `measure_lists`, metrics of `reclib.evaluation.beyond`; the variant
        of a group is ``raw, light users``. Coverage and Gini are of all lists together and
        depend on how many there are, so they have no interval: compare models, not groups.
    """
    asked = np.diff(fold.relevant.indptr) > 0
    values = {}
    for model, several in outcomes.items():
        found = [list_metrics(outcome.top, fold.train) for outcome in several]
        for metric in found[0]:
            values[model, metric] = np.stack([one[metric][asked] for one in found])
    groups = {"raw": np.ones(int(asked.sum()), bool)}
    groups |= {f"raw, {name} users": inside for name, inside in user_groups(fold).items()}
    tables = []
    for variant, inside in groups.items():
        part = summarise(
            {place: by_seed[:, inside] for place, by_seed in values.items()},
            fold.protocol,
            variant,
            compared=compared,
            n_resamples=n_resamples,
            rng=rng,
        )
        lists = {
            model: [outcome.top[asked][inside] for outcome in several]
            for model, several in outcomes.items()
        }
        tables += [part, _exposure(lists, fold, variant)]
    return pd.concat(tables, ignore_index=True)


def _exposure(
    lists: Mapping[str, Sequence[NDArray[np.int64]]], fold: Fold, variant: str
) -> pd.DataFrame:
    """Coverage and Gini of each model, means over its seeds."""
    rows = []
    for model, several in lists.items():
        counts = np.stack(
            [np.bincount(top[top >= 0], minlength=fold.train.n_items) for top in several]
        )
        users, k = several[0].shape
        rows += [
            (fold.protocol, variant, model, f"{metric}@{k}", values.mean(), users, len(several))
            for metric, values in exposure_metrics(counts.astype(float)).items()
        ]
    names = ["protocol", "variant", "model", "metric", "value", "users", "seeds"]
    return pd.DataFrame(rows, columns=names).assign(low=np.nan, high=np.nan)
