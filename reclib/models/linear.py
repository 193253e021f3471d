"""Scores that are a product: what a user had, times what follows from each of it.

Cosines (Eq. 4), the regrouped sum of Eq. 5, neighbours, linear autoencoders and counts of
transitions differ only in their two factors. They share the product, and, where both
factors are sparse, a way to the best k that never makes a row of the whole catalogue.
"""

from abc import abstractmethod

import numpy as np
import scipy.sparse as sp

from reclib.data import Prepared
from reclib.models.base import Indices, Scorer, Scores

DENSE_BYTES = 2**30


class Linear(Scorer):
    """R(u, i) = p_u · M_i: a sparse profile p_u of the user times a matrix M.

    A subclass implements `_factors`. A user with an empty profile cannot be scored.
    """

    _profiles: sp.csr_array
    _matrix: sp.csr_array | Scores

    @abstractmethod
    def _factors(self, prepared: Prepared, rng: int) -> tuple[sp.csr_array, sp.csr_array | Scores]:
        """Profiles, CSR (n_users, n_features), and the matrix, (n_features, n_items)."""

    def _fit(self, prepared: Prepared, rng: int) -> None:
        self._profiles, self._matrix = self._factors(prepared, rng)

    def _score(self, users: Indices, items: Indices | slice) -> Scores:
        profiles = self._profiles[users]  # (n_batch, n_features)
        # all columns of a sparse matrix would be a copy of it
        matrix = self._matrix if isinstance(items, slice) else self._matrix[:, items]
        product = profiles @ matrix
        scores: Scores = product.toarray() if sp.issparse(product) else product
        scores[np.diff(profiles.indptr) == 0] = np.nan
        return scores


def dense_if_small(matrix: sp.csr_array) -> sp.csr_array | Scores:
    """Turn the right side of a product dense where that takes up to 1 GiB.

    A product with a dense right side is two to five times as fast as with a sparse one.
    """
    n_rows, n_columns = matrix.shape
    dense: Scores = matrix.toarray() if 4 * n_rows * n_columns <= DENSE_BYTES else matrix
    return dense
