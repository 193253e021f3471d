"""Content-based filtering, Eq. 4: how near a product is to what the user had."""

from typing import ClassVar

import numpy as np
import scipy.sparse as sp

from reclib.data import Prepared, extract_features
from reclib.models.base import Indices, Scorer, Scores

DENSE_BYTES = 2**30


class Content(Scorer):
    """Eq. 4: CBF(x_u, y_i) = cos(x_u, y_i), in the space of `extract_features`.

    Parameters
    ----------
    decay, history, text, review_text, price_weight, context_weight, query_weight
        As in `reclib.data.extract_features`.
    """

    name: ClassVar[str] = "content"

    def __init__(
        self,
        *,
        decay: float = 0.7,
        history: int = 20,
        text: bool = True,
        review_text: bool = False,
        price_weight: float = 0.02,
        context_weight: float = 1.0,
        query_weight: float = 2.0,
    ) -> None:
        self.decay = decay
        self.history = history
        self.text = text
        self.review_text = review_text
        self.price_weight = price_weight
        self.context_weight = context_weight
        self.query_weight = query_weight

    def _fit(self, prepared: Prepared, rng: int) -> None:
        self.features = extract_features(prepared, **self.config())
        self._products = dense_if_small(
            sp.csr_array(self.features.items.T)
        )  # (n_features, n_items)

    def _score(self, users: Indices, items: Indices | slice) -> Scores:
        profiles = self.features.users[users]  # (n_batch, n_features), unit rows
        return cosine_product(profiles, self._products, items)


def dense_if_small(matrix: sp.csr_array) -> sp.csr_array | Scores:
    """Turn the right side of a product dense where that takes up to 1 GiB.

    A product with a dense right side is two to five times as fast as with a sparse one.
    """
    n_rows, n_columns = matrix.shape
    dense: Scores = matrix.toarray() if 4 * n_rows * n_columns <= DENSE_BYTES else matrix
    return dense


def cosine_product(
    profiles: sp.csr_array, right: sp.csr_array | Scores, items: Indices | slice
) -> Scores:
    """Multiply profiles, (n_batch, n_features), with columns of a matrix (n_features, n_items).

    Returns
    -------
    ndarray
        float32, shape (n_batch, n_candidates); NaN for a user without a profile, because a
        cosine with nothing is undefined.
    """
    if not isinstance(items, slice):  # all columns of a sparse matrix would be a copy of it
        right = right[:, items]
    product = profiles @ right
    scores: Scores = product.toarray() if sp.issparse(product) else product
    scores[np.diff(profiles.indptr) == 0] = np.nan
    return scores
