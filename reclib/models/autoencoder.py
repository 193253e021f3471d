"""A linear autoencoder in closed form: every product predicted from all the others."""

from math import isqrt
from typing import ClassVar

import numpy as np
import psutil
import scipy.sparse as sp
import torch

from reclib.data import Prepared, history_weights
from reclib.errors import ReclibError
from reclib.models.base import Scores
from reclib.models.linear import Linear

MATRICES = 3  # of n_items², float32, that a fit holds at once


class EASE(Linear):
    """R(u, i) = Σ_j p_uj · B_ji, with the B that reconstructs the histories best.

    With X the binary R, B minimises |X − X B|² + λ |B|² under a zero diagonal; with
    P = (XᵀX + λI)⁻¹, B_ij = −P_ij / P_jj (Steck, Embarrassingly shallow autoencoders for
    sparse data, WWW 2019, eq. 8).

    Parameters
    ----------
    regularisation
        λ, above 0.
    decay, history
        Of the profile p_u, as in `reclib.data.history_weights`; with 1 and a history longer
        than any, p_u is the user's row of R, the published form. B does not depend on them.

    Raises
    ------
    ReclibError
        If λ is not above 0, and by `fit` if B of the catalogue does not fit into memory.
    """

    name: ClassVar[str] = "ease"

    def __init__(
        self, *, regularisation: float = 100.0, decay: float = 0.7, history: int = 20
    ) -> None:
        if not 0 < regularisation < np.inf:
            raise ReclibError(f"regularisation is {regularisation}; allowed is a number above 0")
        self.regularisation = regularisation
        self.decay = decay
        self.history = history

    def _factors(self, prepared: Prepared, rng: int) -> tuple[sp.csr_array, sp.csr_array | Scores]:
        _check_memory(prepared.n_items)
        profiles = history_weights(prepared, decay=self.decay, history=self.history)
        had = prepared.matrix.sign()
        gram = torch.from_numpy(sp.csr_array(had.T @ had).toarray())
        gram.diagonal().add_(self.regularisation)
        lower = torch.linalg.cholesky(gram)
        del gram
        # P, by rows: LAPACK works by columns, and a product with a sparse profile would copy
        inverse = torch.cholesky_inverse(lower).mT.contiguous()
        del lower
        inverse /= -inverse.diagonal().clone()
        inverse.fill_diagonal_(0)
        matrix: Scores = inverse.numpy()
        return profiles, matrix


def _check_memory(n_items: int) -> None:
    """Refuse before the first matrix is made, rather than be killed on the way."""
    available = psutil.virtual_memory().available
    needed = 4 * MATRICES * n_items**2
    if needed > available:
        raise ReclibError(
            f"ease needs {needed / 2**30:,.1f} GiB for {n_items:,} products; what is free, "
            f"{available / 2**30:,.1f} GiB, is enough for {isqrt(available // (4 * MATRICES)):,}; "
            "raise min_users in prepare, or take item-knn"
        )
