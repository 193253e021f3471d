"""Candidates: the union of the best products of several scorers, with what each says of them."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from reclib.errors import ReclibError
from reclib.models.base import Indices, Scores, top_k
from reclib.models.fusion import Fusion


@dataclass(frozen=True)
class Candidates:
    """Products that could be in the lists of some users, in the order of their index.

    Attributes
    ----------
    items
        int64, shape (n_users, n_candidates): dense product indices; −1 where a user has fewer.
    scores
        float32, shape (n_parts, n_users, n_candidates): normalised; NaN where a part cannot
        score, −∞ where there is no product.
    products
        int64, shape (n_users,): different products in the history.
    """

    items: Indices
    scores: Scores
    products: Indices

    @property
    def real(self) -> NDArray[np.bool_]:
        """Where there is a product, shape (n_users, n_candidates)."""
        return self.items >= 0

    def of(self, relevant: sp.csr_array) -> NDArray[np.bool_]:
        """Which candidates are relevant, shape (n_users, n_candidates).

        `relevant` has the shape (n_users, n_items), its rows those of the candidates.
        """
        row = np.arange(len(self.items))[:, None]
        found: NDArray[np.bool_] = relevant.toarray().astype(bool)[row, self.items] & self.real
        return found


def candidates(
    fusion: Fusion, users: Indices, *, depth: int = 100, also: sp.csr_array | None = None
) -> Candidates:
    """Collect the `depth` best new products of each part, for each user.

    Parameters
    ----------
    fusion
        Fitted; its parts are asked, and its normaliser brings them to a common scale. Its
        weights play no role.
    users
        Dense user indices, shape (n_users,); memory is n_parts × n_users × n_items.
    depth
        Number of products of each part.
    also
        Products that are candidates in any case, a stored entry each, shape (n_users, n_items).

    Returns
    -------
    Candidates
        Of these users, in order.

    Raises
    ------
    ReclibError
        If the fusion is not fitted, or `depth` is below 1.
    """
    if fusion.prepared is None:
        raise ReclibError(f"{fusion.name} is not fitted yet; call fit(prepared) first")
    seen = fusion.prepared.matrix[users].toarray() > 0
    scaled = fusion.normalised([part.score(users) for part in fusion.parts.values()], seen)
    wanted = np.zeros(seen.shape, bool) if also is None else also.toarray().astype(bool)
    for scores in scaled:
        scores[seen] = np.nan
        best, _ = top_k(scores, depth)
        row, place = np.nonzero(best >= 0)
        wanted[row, best[row, place]] = True
    row, item = np.nonzero(wanted)
    count = np.bincount(row, minlength=len(users))
    place = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    items = np.full((len(users), count.max(initial=0)), -1, np.int64)
    items[row, place] = item
    found = np.full((len(scaled), *items.shape), -np.inf, np.float32)
    for part, scores in zip(found, scaled, strict=True):
        part[row, place] = scores[row, item]
    return Candidates(items, found, np.diff(fusion.prepared.matrix.indptr)[users])
