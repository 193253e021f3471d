"""Beyond accuracy: what lists do to products, to the long tail, and to a user's own taste."""

import numpy as np
from numpy.typing import NDArray

from reclib.data import Prepared
from reclib.data.labels import category_classes
from reclib.errors import ReclibError

Floats = NDArray[np.float64]
Lists = NDArray[np.int64]
HEAD = 0.2  # share of the products that counts as popular; the others are the long tail
SMOOTHING = 0.01  # of the calibration: a class that a list lacks would cost infinitely much


def list_metrics(top: Lists, train: Prepared) -> dict[str, Floats]:
    """Describe each user's list beside the training data.

    Parameters
    ----------
    top
        Shape (n_users, k); −1 where a list is shorter.
    train
        What the models were fitted on.

    Returns
    -------
    dict
        Metric → float64, shape (n_users,); NaN for an empty list.

        ``novelty@k``: mean of −log₂ of the share of the users who had the product, of whom
        there is taken to be one more (Zhou et al., PNAS 2010).
        ``popularity_lift@k``: mean popularity of the list over that of the user's history,
        less 1 (Abdollahpouri et al., *The Unfairness of Popularity Bias in Recommendation*,
        2019); NaN without a history.
        ``tail@k``: share of products outside the `HEAD` most popular fifth.
        ``miscalibration@k``: Kullback–Leibler divergence in nats of the classes of the list,
        smoothed, from those of the history (Steck, *Calibrated Recommendations*, RecSys
        2018); 0 is the user's own mix. NaN without a history, or without categories.
        ``category_entropy@k``: in bits, of the classes of the list; NaN without categories.
    """
    k = top.shape[1]
    shown = top >= 0
    length = np.where(shown.any(axis=1), shown.sum(axis=1), np.nan)
    item = np.maximum(top, 0)
    counts = np.bincount(train.matrix.indices, minlength=train.n_items).astype(float)

    def mean(values: Floats) -> Floats:
        found: Floats = np.where(shown, values[item], 0).sum(axis=1) / length
        return found

    had = train.matrix.astype(bool).astype(float)
    n_had = np.diff(train.matrix.indptr)
    with np.errstate(invalid="ignore", divide="ignore"):
        usual = (had @ counts) / n_had
        lift = mean(counts) / usual - 1
    tail = np.ones(train.n_items)
    head = np.argsort(-counts, kind="stable")[: round(HEAD * train.n_items)]
    tail[head] = 0
    metrics = {
        "novelty": mean(-np.log2((counts + 1) / (train.n_users + 1))),
        "popularity_lift": lift,
        "tail": mean(tail),
        **_class_metrics(item, shown, train),
    }
    return {f"{name}@{k}": values for name, values in metrics.items()}


def _class_metrics(item: Lists, shown: NDArray[np.bool_], train: Prepared) -> dict[str, Floats]:
    """Mix of classes of each list, by itself and beside the history's."""
    nothing = np.full(len(item), np.nan)
    try:
        classes, names = category_classes(train)
    except ReclibError:
        return {"miscalibration": nothing, "category_entropy": nothing.copy()}
    member = np.zeros((train.n_items, len(names)))
    known = np.flatnonzero(classes >= 0)
    member[known, classes[known]] = 1
    listed = np.stack(
        [np.where(shown, member[item, one], 0).sum(axis=1) for one in range(len(names))], axis=1
    )
    own = train.matrix.astype(bool).astype(float) @ member
    with np.errstate(invalid="ignore", divide="ignore"):
        p = own / own.sum(axis=1, keepdims=True)  # (n_users, n_classes), NaN without any
        q = listed / listed.sum(axis=1, keepdims=True)
        smooth = (1 - SMOOTHING) * q + SMOOTHING * p
        divergence = np.where(p > 0, p * np.log(p / smooth), 0).sum(axis=1)
        entropy = -np.where(q > 0, q * np.log2(q), 0).sum(axis=1)
    empty = listed.sum(axis=1) == 0
    divergence[empty | (own.sum(axis=1) == 0)] = np.nan
    entropy[empty] = np.nan
    return {"miscalibration": divergence, "category_entropy": entropy}


def exposure_metrics(counts: Floats) -> dict[str, Floats]:
    """Describe how evenly lists show the catalogue.

    Parameters
    ----------
    counts
        How often each product is shown, shape (..., n_items).

    Returns
    -------
    dict
        ``coverage``: share of the products shown at all; ``gini``: Gini coefficient of the
        counts, 0 where all are shown alike, near 1 where one product is all that is shown.

    Examples
    --------
    >>> found = exposure_metrics(np.array([[2.0, 2.0, 2.0, 2.0], [8.0, 0.0, 0.0, 0.0]]))
    >>> {name: values.tolist() for name, values in found.items()}
    {'coverage': [1.0, 0.25], 'gini': [0.0, 0.75]}
    """
    n = counts.shape[-1]
    ordered = np.sort(counts, axis=-1)
    place = np.arange(1, n + 1)
    with np.errstate(invalid="ignore"):
        gini = ((2 * place - n - 1) * ordered).sum(axis=-1) / (n * counts.sum(axis=-1))
    return {"coverage": (counts > 0).mean(axis=-1), "gini": gini}
