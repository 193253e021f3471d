"""Diverse lists out of scored candidates: what a practitioner uses in place of Eq. 9."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.preprocessing import normalize

from reclib.errors import ReclibError
from reclib.models.base import Indices, Scores

Floats = NDArray[np.floating]
Vectors: TypeAlias = Floats | sp.csr_array

FLOOR = 1e-6  # variance left to a product that adds nothing; above the rounding of float32


def mmr(
    scores: Scores,
    items: Indices,
    *,
    vectors: Vectors,
    k: int = 10,
    trade_off: float = 0.5,
    batch_size: int = 256,
) -> Indices:
    """Choose lists by maximal marginal relevance.

    The next product is the one with the highest λ · score − (1 − λ) · max cos(y_i, y_j) over
    the j chosen before. J. Carbonell and J. Goldstein, *The Use of MMR, Diversity-Based
    Reranking for Reordering Documents and Producing Summaries* (SIGIR 1998).

    Parameters
    ----------
    scores
        Shape (n_users, n_candidates), such as `Scorer.rank` returns; NaN, and −∞, is never
        chosen. λ weighs them against cosines, so bring them to 0 … 1, as
        `fusion.normalised` does.
    items
        int64, same shape: which product each candidate is; any number where the score is NaN.
    vectors
        Of all products, shape (n_items, n_dimensions), dense or sparse, of any length; a
        vector of zeros is unlike all others.
    k
        Length of a list.
    trade_off
        λ, 0 (only diversity) to 1 (the order of the scores).
    batch_size
        Users at once: memory is batch_size × n_candidates × n_dimensions, or only the stored
        entries of sparse vectors.

    Returns
    -------
    ndarray
        int64, shape (n_users, k): columns of `scores`, in the order chosen; −1 where there
        are fewer candidates. Of equals the earlier candidate is chosen: give the best first.

    Raises
    ------
    ReclibError
        For a value out of range, or shapes that do not fit.

    Examples
    --------
    >>> items = np.array([[4, 0, 2]])
    >>> scores = np.array([[1.0, 0.9, 0.5]], np.float32)
    >>> vectors = np.array([[1.0, 0], [1, 0], [0, 1], [1, 0], [1, 0]])  # 0 and 4 are alike
    >>> places = mmr(scores, items, vectors=vectors, k=2)
    >>> np.where(places < 0, -1, np.take_along_axis(items, places, axis=1))
    array([[4, 2]])
    """
    return _rerank(_Nearest, scores, items, vectors, k, trade_off, batch_size)


def dpp(
    scores: Scores,
    items: Indices,
    *,
    vectors: Vectors,
    k: int = 10,
    trade_off: float = 0.5,
    batch_size: int = 256,
) -> Indices:
    """Choose lists by a determinantal point process, greedily.

    The next product makes det L of the list largest, L = Diag(q) S Diag(q), S_ij = cos(y_i,
    y_j), q_i = exp(α · score), α = θ / (2 (1 − θ)). L. Chen, G. Zhang and H. Zhou, *Fast
    Greedy MAP Inference for Determinantal Point Process to Improve Recommendation Diversity*
    (NeurIPS 2018): a step of a Cholesky factorisation a product, no determinant.

    Parameters
    ----------
    scores, items, vectors, k, batch_size
        As in `mmr`; scores are weighed against log-variances here.
    trade_off
        θ, 0 (only diversity) to 1 (the order of the scores).

    Returns
    -------
    ndarray
        As in `mmr`.

    Raises
    ------
    ReclibError
        As in `mmr`.

    Notes
    -----
    log det L grows by 2 α · score + log d², with d² the variance of y_i left by the products
    chosen before, which no q changes. So θ · score + (1 − θ) · log d² chooses the same, and
    nothing overflows, at θ = 1 neither.

    The determinant is 0 once a list holds more products than S has ranks, where the authors
    stop. Here d² is 1e-6 at least, so that lists are full: what adds nothing comes last, by
    its score.
    """
    return _rerank(_Volume, scores, items, vectors, k, trade_off, batch_size)


class _Nearest:
    """MMR: novelty is minus the highest cosine with a chosen product."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.novelty = np.full(shape, np.inf)

    def add(self, cosines: Floats, chosen: Indices) -> Floats:
        """Novelty of all candidates, shape (n_batch, n_candidates), beside one more product."""
        np.minimum(self.novelty, -cosines, out=self.novelty)
        return self.novelty


class _Volume:
    """DPP: novelty is the logarithm of the variance that the chosen products leave.

    `rows` are those of the Cholesky factor: e_j = (S_j − Σ_t e_tj e_t) / d_j.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        # 1 for vectors of zeros as well: they are unlike others, not unlike themselves
        self.variance = np.ones(shape)
        self.rows: list[Floats] = []

    def add(self, cosines: Floats, chosen: Indices) -> Floats:
        """Novelty of all candidates, shape (n_batch, n_candidates), beside one more product."""
        own = np.arange(len(chosen)), chosen
        rest = cosines.astype(np.float64)
        for row in self.rows:
            rest -= row[own][:, None] * row
        rest /= np.sqrt(self.variance[own])[:, None]
        self.rows.append(rest)
        self.variance = np.maximum(self.variance - rest**2, FLOOR)
        return np.log(self.variance)


def _rerank(
    method: type[_Nearest] | type[_Volume],
    scores: Scores,
    items: Indices,
    vectors: Vectors,
    k: int,
    trade_off: float,
    batch_size: int,
) -> Indices:
    """Check, and choose the lists of one batch of users after the other."""
    for name, value in {"k": k, "batch_size": batch_size}.items():
        if value < 1:
            raise ReclibError(f"{name} is {value}; allowed is 1 or more")
    if not 0 <= trade_off <= 1:
        raise ReclibError(f"trade_off is {trade_off}; allowed is 0 (diversity) to 1 (scores)")
    _check_arrays(scores, items, vectors)
    unit = normalize(vectors)
    places = np.full((len(scores), k), -1, np.int64)
    for start in range(0, len(scores), batch_size):
        batch = slice(start, start + batch_size)
        shown = min(k, scores.shape[1])
        places[batch, :shown] = _greedy(method, scores[batch], items[batch], unit, shown, trade_off)
    return places


def _check_arrays(scores: Scores, items: Indices, vectors: Vectors) -> None:
    if scores.ndim != 2 or items.shape != scores.shape:
        raise ReclibError(
            f"scores of shape {scores.shape} and items of shape {items.shape}; both must be "
            "(n_users, n_candidates)"
        )
    if np.isposinf(scores).any():
        raise ReclibError("scores hold +inf, which no diversity can outweigh; make them finite")
    wrong = items[_choosable(scores) & ((items < 0) | (items >= vectors.shape[0]))]
    if len(wrong):
        raise ReclibError(
            f"item {wrong[0]} has a score but no vector; allowed is 0 to {vectors.shape[0] - 1}"
        )
    if not np.isfinite(vectors if isinstance(vectors, np.ndarray) else vectors.data).all():
        raise ReclibError("vectors hold NaN or infinite values; give 0 where nothing is known")


def _choosable(scores: Scores) -> NDArray[np.bool_]:
    return ~(np.isnan(scores) | np.isneginf(scores))


def _greedy(
    method: type[_Nearest] | type[_Volume],
    scores: Scores,
    items: Indices,
    unit: Vectors,
    k: int,
    trade_off: float,
) -> Indices:
    """Add the product of highest θ · score + (1 − θ) · novelty to each list, k times."""
    choosable = _choosable(scores)
    # in float64, so that no tie comes from rounding
    relevance = trade_off * np.where(choosable, scores, 0).astype(np.float64)
    relevance[~choosable] = -np.inf
    cosines = _cosines(unit, np.where(choosable, items, 0))
    state = method(scores.shape)
    user = np.arange(len(scores))
    places = np.empty((len(scores), k), np.int64)
    worth = relevance
    for place in range(k):
        best = worth.argmax(axis=1)
        places[:, place] = np.where(relevance[user, best] > -np.inf, best, -1)
        relevance[user, best] = -np.inf
        if place + 1 < k:
            worth = relevance + (1 - trade_off) * state.add(cosines(best), best)
    return places


def _cosines(unit: Vectors, items: Indices) -> Callable[[Indices], Floats]:
    """Prepare the cosines of each user's candidates with one of them.

    Parameters
    ----------
    unit
        Vectors of all products, shape (n_items, n_dimensions), unit rows or zeros.
    items
        Shape (n_batch, n_candidates).

    Returns
    -------
    callable
        Columns of `items`, shape (n_batch,), to cosines, shape (n_batch, n_candidates).
    """
    user = np.arange(len(items))
    if isinstance(unit, np.ndarray):
        dense = unit[items]  # (n_batch, n_candidates, n_dimensions)
        return lambda column: np.vecdot(dense, dense[user, column][:, None])
    # a block of columns for each user: one product of the whole with all that were chosen
    n_dimensions = unit.shape[1]
    rows = unit[items.ravel()]
    owner = np.repeat(np.repeat(user, items.shape[1]), np.diff(rows.indptr))
    blocks = sp.csr_array(
        (rows.data, rows.indices + owner * n_dimensions, rows.indptr),
        shape=(items.size, len(items) * n_dimensions),
    )
    return lambda column: (blocks @ unit[items[user, column]].toarray().ravel()).reshape(
        items.shape
    )
