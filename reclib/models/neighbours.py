"""Item-based neighbours: what is near to what the user had."""

from typing import ClassVar

import numpy as np
import scipy.sparse as sp
from sklearn.preprocessing import normalize

from reclib.data import Prepared, history_weights
from reclib.errors import ReclibError, unknown
from reclib.models.base import Scores
from reclib.models.linear import Linear, barred, largest_products

SIMILARITIES = ("cosine", "tfidf")


class ItemKNN(Linear):
    """R(u, i) = Σ_j p_uj · s(j, i), over the products j of the history and their neighbours i.

    s(j, i) = r_j · r_i / (|r_j| |r_i| + shrink), where r_i is what the users did with product
    i: its column of R, as a rule weighted. Of each row s(j, ·) only the largest stay, and
    s(j, j) goes (Deshpande and Karypis 2004; the shrink term as in Ferrari Dacrema,
    Cremonesi and Jannach 2019).

    Parameters
    ----------
    similarity
        ``"cosine"``: r_ui is R_ui. ``"tfidf"``: √R_ui · (log n_items − log(1 + n_u)), where
        n_u is the number of products of user u, so that users who had much count less.
    neighbours
        Number of neighbours that every product keeps, at least 1.
    shrink
        At least 0: lowers the similarities that rest on few users.
    decay, history
        Of the profile p_u, as in `reclib.data.history_weights`; with 1 and a history longer
        than any, p_u is the user's row of R, the classic form.

    Notes
    -----
    BM25 weights change counts by a factor of the product, which a cosine takes back, and
    otherwise only dampen repetitions, as the root does; so they are no third similarity.

    Raises
    ------
    ReclibError
        If the similarity is unknown or a number is out of range.
    """

    name: ClassVar[str] = "item-knn"

    def __init__(
        self,
        *,
        similarity: str = "cosine",
        neighbours: int = 100,
        shrink: float = 20.0,
        decay: float = 0.7,
        history: int = 20,
    ) -> None:
        if similarity not in SIMILARITIES:
            raise unknown("similarity", similarity, SIMILARITIES)
        if neighbours < 1:
            raise ReclibError(f"neighbours is {neighbours}; allowed is 1 or more")
        if not 0 <= shrink < np.inf:
            raise ReclibError(f"shrink is {shrink}; allowed is a number from 0 on")
        self.similarity = similarity
        self.neighbours = neighbours
        self.shrink = shrink
        self.decay = decay
        self.history = history

    def _factors(self, prepared: Prepared, rng: int) -> tuple[sp.csr_array, sp.csr_array | Scores]:
        profiles = history_weights(prepared, decay=self.decay, history=self.history)
        ratings = prepared.matrix
        if self.similarity == "tfidf":
            ratings = _tfidf(ratings)
        return profiles, _neighbours(ratings, self.neighbours, self.shrink)


def _tfidf(ratings: sp.csr_array) -> sp.csr_array:
    """√R_ui · (log n_items − log(1 + n_u)), shape (n_users, n_items)."""
    had = np.diff(ratings.indptr)
    # a user who had the whole catalogue does not tell what is near to what
    weight = np.maximum(np.log(ratings.shape[1]) - np.log1p(had), 0)
    values = np.sqrt(ratings.data) * np.repeat(weight.astype(np.float32), had)
    return sp.csr_array((values, ratings.indices, ratings.indptr), shape=ratings.shape)


def _neighbours(ratings: sp.csr_array, n: int, shrink: float) -> sp.csr_array:
    """Keep the n largest s(j, i) of each j, shape (n_items, n_items)."""
    products = sp.csr_array(ratings.T)  # r_j, (n_items, n_users)
    itself = sp.eye_array(products.shape[0], dtype=np.float32, format="csr")
    if shrink == 0:
        unit = sp.csr_array(normalize(products))
        return largest_products(unit, itself, barred(sp.csr_array(unit.T)), n)
    # no product of two factors any more: all pairs first, then the largest
    dots = sp.csr_array(products @ ratings)
    length = np.sqrt(dots.diagonal())
    row = np.repeat(length, np.diff(dots.indptr))
    dots.data /= row * length[dots.indices] + np.float32(shrink)
    return largest_products(dots, itself, barred(itself), n)
