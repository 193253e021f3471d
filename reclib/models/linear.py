"""Scores that are a product: what a user had, times what follows from each of it.

Cosines (Eq. 4), the regrouped sum of Eq. 5, neighbours, linear autoencoders and counts of
transitions differ only in their two factors. They share the product, and, where both
factors are sparse, a way to the best k that never makes a row of the whole catalogue.
"""

from abc import abstractmethod
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from sparse_dot_topn import sp_matmul_topn

from reclib.data import Prepared
from reclib.models.base import Indices, Scorer, Scores

# a sparse matrix is turned dense where more than this share of the rows that are used is
# stored, and where that takes no more memory
DENSE_SHARE, DENSE_BYTES = 0.1, 2**30
# columns of a dense matrix that stay in the cache, and how often each of its rows has to be
# used on average for the copy of a block to pay: EASE has short profiles, and it does not
BLOCK, OFTEN = 512, 6
# times k products are found for a list at first, and times as many again where a tie goes on
# behind them: most ties end within the first, so that few rows are multiplied twice
FIRST, WIDER = 3, 4


class Linear(Scorer):
    """R(u, i) = p_u · M_i: a sparse profile p_u of the user times a matrix M.

    A subclass implements `_factors`. A user with an empty profile cannot be scored.

    Notes
    -----
    Where M is sparse and no value is below 0, `rank` multiplies only what is stored and
    keeps only the best: a batch needs far less memory than users × products, and larger
    ones are quicker.
    """

    _profiles: sp.csr_array
    _matrix: sp.csr_array | Scores
    _barred: sp.csr_array | None  # the matrix over −∞ · I; None where lists need whole rows

    @abstractmethod
    def _factors(self, prepared: Prepared, rng: int) -> tuple[sp.csr_array, sp.csr_array | Scores]:
        """Profiles, CSR (n_users, n_features), and the matrix, (n_features, n_items)."""

    def _fit(self, prepared: Prepared, rng: int) -> None:
        profiles, matrix = self._factors(prepared, rng)
        if sp.issparse(matrix):
            matrix = _dense_if_quicker(profiles, matrix)
        self._profiles, self._matrix, self._barred = profiles, matrix, None
        # with a value below 0, a product without any overlap may come before another
        if isinstance(matrix, np.ndarray) or profiles.data.min(initial=0) < 0:
            return
        if matrix.data.min(initial=0) >= 0:
            self._barred = barred(matrix)
            self._matrix = _first_rows(self._barred, matrix.shape[0])  # not stored twice

    def _score(self, users: Indices, items: Indices | slice) -> Scores:
        profiles = self._profiles[users]  # (n_batch, n_features)
        # all columns of a sparse matrix would be a copy of it
        matrix = self._matrix if isinstance(items, slice) else self._matrix[:, items]
        scores = _product(profiles, matrix)
        scores[np.diff(profiles.indptr) == 0] = np.nan
        return scores

    def _rank(self, users: Indices, k: int, exclude_seen: bool) -> tuple[Indices, Scores]:
        if self._barred is None:
            return super()._rank(users, k, exclude_seen)
        profiles = self._profiles[users]
        seen = self._fitted().matrix[users]
        if not exclude_seen:
            seen = sp.csr_array(seen.shape, dtype=np.float32)
        keys = _best_positive(profiles, seen, self._barred, k)
        _fill_with_zeros(keys, seen)
        keys[np.diff(profiles.indptr) == 0] = NOTHING
        return _unpacked(keys)


def _dense_if_quicker(left: sp.csr_array, right: sp.csr_array) -> sp.csr_array | Scores:
    """Turn the right side of a product dense where its rows that are used are rather full."""
    n_rows, n_columns = right.shape
    used = np.diff(right.indptr)[left.indices]
    if 4 * n_rows * n_columns > DENSE_BYTES or used.sum() <= DENSE_SHARE * used.size * n_columns:
        return right
    dense: Scores = right.toarray()
    return dense


def _product(left: sp.csr_array, right: sp.csr_array | Scores) -> Scores:
    """Multiply into a dense array; much of it by blocks of columns that stay in the cache.

    SciPy reads a dense right side once for each row of the left, from memory where the cache
    does not hold it, and with one thread. The sums are the same, to the last bit.
    """
    if sp.issparse(right) or left.nnz < OFTEN * right.shape[0]:
        product = left @ right
        whole: Scores = product.toarray() if sp.issparse(product) else product
        return whole
    scores = np.empty((left.shape[0], right.shape[1]), np.float32)

    def multiply(start: int) -> None:
        block = slice(start, start + BLOCK)
        scores[:, block] = left @ np.ascontiguousarray(right[:, block])

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        list(pool.map(multiply, range(0, right.shape[1], BLOCK)))
    return scores


def barred(matrix: sp.csr_array) -> sp.csr_array:
    """Put −∞ · I under a matrix, the right side of `largest_products`."""
    n_columns = matrix.shape[1]
    bar = sp.diags_array(np.full(n_columns, -np.inf, np.float32), format="csr")
    return sp.vstack([matrix, bar], format="csr", dtype=np.float32)


def _first_rows(matrix: sp.csr_array, n_rows: int) -> sp.csr_array:
    """Share the memory of the first rows."""
    indptr = matrix.indptr[: n_rows + 1]
    parts = matrix.data[: indptr[-1]], matrix.indices[: indptr[-1]], indptr
    return sp.csr_array(parts, shape=(n_rows, matrix.shape[1]))


def largest_products(
    left: sp.csr_array, out: sp.csr_array, right: sp.csr_array, n: int
) -> sp.csr_array:
    """Find the n largest products above 0 in each row of left @ matrix.

    Parameters
    ----------
    left
        Float32, shape (n_rows, n_features).
    out
        Shape (n_rows, n_columns), no value below 0; columns above 0 are left out of a row.
        They stand beside `left`, so that the product itself makes them −∞.
    right
        `barred` of the matrix of shape (n_features, n_columns).
    n
        At least 1; of columns that tie for the last places any may be left out.

    Returns
    -------
    scipy.sparse.csr_array
        Float32, shape (n_rows, n_columns), up to n values a row, in no order. A value is
        summed over the features in the order of the row of `left`, as SciPy does.
    """
    both = sp.hstack([left, out], format="csr", dtype=np.float32)
    found = sp_matmul_topn(
        sp.csr_matrix(both),
        sp.csr_matrix(right),
        top_n=n,
        threshold=0,
        n_threads=torch.get_num_threads(),
        idx_dtype=right.indices.dtype,
    )
    return sp.csr_array(found)


# A product and its score in one number: numbers in order are products in the order of a
# list, for the bits of floats from 0 on are ordered as the floats are.
ZERO = np.int64(2**31 - 1) << 32  # score 0, product 0
ITEM = np.int64(2**32 - 1)
NOTHING = ZERO | ITEM


def _keys(items: NDArray[np.int32], scores: Scores) -> Indices:
    """Pack products and scores, so that the best comes first."""
    keys: Indices = ZERO - (scores.view(np.int32).astype(np.int64) << 32) | items
    return keys


def _unpacked(keys: Indices) -> tuple[Indices, Scores]:
    """Products and scores again; −1 and NaN where there is nothing."""
    nothing = keys == NOTHING
    scores = ((ZERO - (keys & ~ITEM)) >> 32).astype(np.int32).view(np.float32)
    return np.where(nothing, -1, keys & ITEM), np.where(nothing, np.float32(np.nan), scores)


def _best_positive(
    profiles: sp.csr_array, seen: sp.csr_array, right: sp.csr_array, k: int
) -> Indices:
    """Keys of the best k products with a score above 0, shape (n_batch, k), in order."""
    n_users, n_items = seen.shape
    best = np.full((n_users, k), NOTHING)
    rows, width = np.arange(n_users), FIRST * k
    while len(rows):
        found = largest_products(profiles[rows], seen[rows], right, width)
        count = np.diff(found.indptr)
        keys = np.full((len(rows), width), NOTHING)
        keys[np.arange(width) < count[:, None]] = _keys(found.indices, found.data)
        keys.sort(axis=1)
        best[rows] = keys[:, :k]
        # a tie that goes on to the end of what was found may go on behind it
        tied = (count == width) & (keys[:, k - 1] >> 32 == keys[:, -1] >> 32)
        rows, width = rows[tied & (width < n_items)], min(WIDER * width, n_items)
    return best


def _fill_with_zeros(keys: Indices, seen: sp.csr_array) -> None:
    """Fill lists that are too short, in place, with the first products of score 0."""
    k, n_items = keys.shape[1], seen.shape[1]
    count = (keys != NOTHING).sum(axis=1)
    short = np.flatnonzero(count < k)
    taken = seen[short]
    width = min(n_items, k + np.diff(taken.indptr).max(initial=0))  # holds all that is needed
    free = np.ones((len(short), width), bool)
    row, place = np.nonzero(keys[short] != NOTHING)
    known = taken.nonzero(), (row, keys[short[row], place] & ITEM)
    for row, item in known:
        near = item < width
        free[row[near], item[near]] = False
    place = count[short, None] + np.cumsum(free, axis=1) - 1
    row, item = np.nonzero(free & (place < k))
    keys[short[row], place[row, item]] = ZERO | item
