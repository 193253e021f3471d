"""Metrics of ranked lists, one value a user; means and intervals are a second step."""

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer

from reclib.errors import ReclibError

Floats = NDArray[np.float64]


def ranking_metrics(top: NDArray[np.int64], relevant: sp.csr_array) -> dict[str, Floats]:
    """Accuracy of the lists shown, as ranx and ir_measures define it.

    With h_j = 1 if place j holds a relevant product and n relevant products for the user:
    precision = Σ h / k; recall = Σ h / n; f1 is their harmonic mean; ndcg =
    Σ h_j / log₂(j + 1) over its largest possible value; mrr = 1 / first hit's place; map =
    Σ h_j · precision@j / n; hit_rate = 1 if there is any hit.

    Parameters
    ----------
    top
        Shape (n_users, k), best first; −1 where a list is shorter. Ties are broken already.
    relevant
        Shape (n_users, n_items); a stored entry is relevant.

    Returns
    -------
    dict
        Metric (``"ndcg@10"``) → float64, shape (n_users,); NaN for a user without relevant
        products, so that such users are left out of a mean, never counted as 0.

    Raises
    ------
    ReclibError
        If the two do not describe the same users.

    Examples
    --------
    >>> relevant = sp.csr_array(np.array([[0, 1, 0, 0]]))
    >>> metrics = ranking_metrics(np.array([[2, 1]]), relevant)
    >>> {name: round(float(value[0]), 3) for name, value in metrics.items()}
    ... # doctest: +NORMALIZE_WHITESPACE
    {'precision@2': 0.5, 'recall@2': 1.0, 'f1@2': 0.667, 'ndcg@2': 0.631,
     'mrr@2': 0.5, 'map@2': 0.5, 'hit_rate@2': 1.0}
    """
    n_users, k = top.shape
    if relevant.shape[0] != n_users:
        raise ReclibError(f"{n_users} lists for {relevant.shape[0]} users; they must be the same")
    hit = _hits(top, relevant)  # (n_users, k)
    counts = np.diff(relevant.indptr)  # (n_users,)
    # few places hold a hit, and they decide everything: only they are looked at
    user, place = np.divmod(np.flatnonzero(hit), k)  # by user, best place first
    row, first, hits = np.unique(user, return_index=True, return_counts=True)
    nth = np.arange(1, len(user) + 1) - np.repeat(first, hits)  # 1 for the list's first hit
    n_relevant = counts[row]
    gain = 1 / np.log2(np.arange(2, k + 2))
    ideal = np.concatenate([[0], np.cumsum(gain)])[np.minimum(n_relevant, k)]
    found = {
        "precision": hits / k,
        "recall": hits / n_relevant,
        "f1": 2 * hits / (k + n_relevant),
        "ndcg": np.add.reduceat(gain[place], first) / ideal,
        "mrr": 1 / (place[first] + 1),
        "map": np.add.reduceat(nth / (place + 1), first) / n_relevant,
        "hit_rate": np.ones(len(row)),
    }
    nothing = np.where(counts > 0, 0.0, np.nan)
    metrics = {}
    for name, values in found.items():
        metrics[f"{name}@{k}"] = column = nothing.copy()
        column[row] = values
    return metrics


def diversity_features(items: pd.DataFrame) -> sp.csr_array:
    """Brand and category features for `intra_list_diversity`; no scorer is trained on them.

    Parameters
    ----------
    items
        Catalogue of a `Prepared`, with the columns brand and categories.

    Returns
    -------
    scipy.sparse.csr_array
        TF-IDF of the brand and of each step of the category path (A, A > B, …), shape
        (n_items, n_features), unit rows; an empty row where a product has neither.

    Raises
    ------
    ReclibError
        If no product has a brand or a category.
    """

    def terms(row: tuple[str, str]) -> list[str]:
        brand, categories = row
        steps = [step.strip() for step in categories.split(">") if step.strip()]
        found = [" > ".join(steps[: depth + 1]) for depth in range(len(steps))]
        return [*found, f"brand: {brand}"] if brand else found

    rows = list(zip(items["brand"], items["categories"], strict=True))
    try:
        return sp.csr_array(TfidfVectorizer(analyzer=terms).fit_transform(rows))
    except ValueError:
        raise ReclibError(
            "no product has a brand or a category, so diversity cannot be measured"
        ) from None


def intra_list_diversity(top: NDArray[np.int64], features: sp.csr_array) -> Floats:
    """ILD: 1 − mean pairwise cosine of the products in a list.

    Parameters
    ----------
    top
        Shape (n_users, k); −1 where a list is shorter.
    features
        Shape (n_items, n_features), unit rows; two products without features count as
        unlike.

    Returns
    -------
    ndarray
        float64, shape (n_users,), 0 (all alike) to 1; NaN for lists of fewer than two.
    """
    row, place = np.nonzero(top >= 0)
    shown = sp.csr_array(
        (np.ones(len(row)), (row, top[row, place])), shape=(len(top), features.shape[0])
    )
    # Σ_{i≠j} y_i·y_j = |Σ y_i|² − Σ |y_i|²: no pair is ever formed
    total = (shown @ features).power(2).sum(axis=1)
    own = shown @ features.power(2).sum(axis=1)
    length = (top >= 0).sum(axis=1)
    pairs = np.where(length > 1, length * (length - 1), np.nan)
    diversity: Floats = 1 - (total - own) / pairs
    return diversity


def _hits(top: NDArray[np.int64], relevant: sp.csr_array) -> NDArray[np.bool_]:
    """Which places hold a relevant product, shape (n_users, k)."""
    counts = np.diff(relevant.indptr)
    if (counts == 1).all():  # one held-out product each: nothing to gather
        only: NDArray[np.bool_] = top == relevant.indices[:, None]
        return only
    hit = np.zeros(top.shape, bool)
    left = np.flatnonzero(counts)  # users with another relevant product
    nth = 0
    while len(left):  # one relevant product of each user after the other
        product = relevant.indices[relevant.indptr[left] + nth]
        rows = left if len(left) < len(top) else slice(None)  # a slice is not copied
        hit[rows] |= top[rows] == product[:, None]
        nth += 1
        left = left[relevant.indptr[left] + nth < relevant.indptr[left + 1]]
    return hit
