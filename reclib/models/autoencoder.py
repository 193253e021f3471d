"""A linear autoencoder in closed form: every product predicted from all the others."""

from collections.abc import Mapping
from math import isqrt
from typing import Any, ClassVar

import numpy as np
import psutil
import scipy.sparse as sp
from scipy.linalg import lapack

from reclib.data import Prepared, extract_features, history_weights
from reclib.errors import Diverged, ReclibError, Unsuitable, unknown
from reclib.models.base import Scores
from reclib.models.language import Language
from reclib.models.linear import Linear

ROWS = 512  # of XᵀX at once
SIDES = ("none", "content", "language")


class EASE(Linear):
    """R(u, i) = Σ_j p_uj · B_ji, with the B that reconstructs the histories best.

    With X the binary R, B minimises |X − X B|² + λ |B|² under a zero diagonal; with
    P = (XᵀX + λI)⁻¹, B_ij = −P_ij / P_jj (Steck, Embarrassingly shallow autoencoders for
    sparse data, WWW 2019, eq. 8).

    With side information B has to reconstruct what is known of the products, too: each
    feature stands under X as one more user, who had the products to the degree to which they
    have it, so that XᵀX + α Y Yᵀ takes the place of XᵀX (Jeunen, Van Balen and Goethals,
    Closed-form models for collaborative filtering with side-information, RecSys 2020). So a
    product that nobody had yet can be scored.

    Parameters
    ----------
    regularisation
        λ, above 0.
    decay, history
        Of the profile p_u, as in `reclib.data.history_weights`; with 1 and a history longer
        than any, p_u is the user's row of R, the published form. B does not depend on them.
    side
        What the rows of Y are: ``"content"``, the features y_i of Eq. 3, or ``"language"``,
        the whitened embeddings of Eq. 6, both of unit length; ``"none"`` leaves Y out.
    side_weight
        α, from 0 on; unused without side information.
    side_options
        For `reclib.data.extract_features`, or for `Language`.

    Raises
    ------
    ReclibError
        If a parameter is out of range; from `fit`, as `Unsuitable`, if B of the catalogue does
        not fit into memory, and as `Diverged`, if λ is too small beside XᵀX to be told from
        rounding.
    """

    name: ClassVar[str] = "ease"

    def __init__(
        self,
        *,
        regularisation: float = 100.0,
        decay: float = 0.7,
        history: int = 20,
        side: str = "none",
        side_weight: float = 10.0,
        side_options: Mapping[str, Any] | None = None,
    ) -> None:
        if not 0 < regularisation < np.inf:
            raise ReclibError(f"regularisation is {regularisation}; allowed is a number above 0")
        if not 0 <= side_weight < np.inf:
            raise ReclibError(f"side_weight is {side_weight}; allowed is a number from 0 on")
        if side not in SIDES:
            raise unknown("side", side, SIDES)
        self.regularisation = regularisation
        self.decay = decay
        self.history = history
        self.side = side
        self.side_weight = side_weight
        self.side_options = side_options

    def _factors(self, prepared: Prepared, rng: int) -> tuple[sp.csr_array, sp.csr_array | Scores]:
        _check_memory(prepared.n_items)
        profiles = history_weights(prepared, decay=self.decay, history=self.history)
        weights = self._gram(prepared, rng)
        weights[np.diag_indices_from(weights)] += self.regularisation
        if _invert(weights) < np.finfo(weights.dtype).eps:
            raise Diverged(
                f"regularisation is {self.regularisation}, too little for XᵀX of these products "
                "to be inverted in single precision; take a larger one"
            )
        weights /= -weights.diagonal()
        np.fill_diagonal(weights, 0)
        return profiles, weights

    def _gram(self, prepared: Prepared, rng: int) -> Scores:
        """XᵀX + α Y Yᵀ, dense, shape (n_items, n_items)."""
        had = prepared.matrix.sign()
        known = sp.csr_array(had.T)
        options = self.side_options or {}
        if self.side == "content":
            features = extract_features(prepared, **options).items
            known = sp.hstack([known, features * np.sqrt(np.float32(self.side_weight))], "csr")
        vectors = np.empty((prepared.n_items, 0), np.float32)
        if self.side == "language":
            vectors = Language(**options).fit(prepared, rng=rng).item_vectors
            vectors = vectors * np.sqrt(np.float32(self.side_weight))
        turned = sp.csr_array(known.T)
        gram = np.empty((prepared.n_items, prepared.n_items), np.float32)
        for start in range(0, prepared.n_items, ROWS):  # or there would be two of its size
            rows = slice(start, start + ROWS)
            gram[rows] = (known[rows] @ turned).toarray() + vectors[rows] @ vectors.T
        return gram


def _invert(matrix: Scores) -> float:
    """Replace a positive definite matrix by its inverse; LAPACK's, without a second matrix.

    Returns the reciprocal of its condition number, below the precision if all is rounding.
    """
    columns = matrix.T  # LAPACK goes by columns; of a symmetric matrix, they are the rows
    norm = lapack.slange("1", columns)
    _, failed = lapack.spotrf(columns, overwrite_a=1)
    if failed:
        return 0.0
    condition, _ = lapack.spocon(columns, norm)
    lapack.spotri(columns, overwrite_c=1)  # one triangle; the other is 0
    matrix[np.diag_indices_from(matrix)] /= 2  # added to itself below
    for start in range(0, len(matrix), ROWS):
        rows = slice(start, start + ROWS)
        matrix[rows, start:] += matrix[start:, rows].T
    return float(condition)


def _check_memory(n_items: int) -> None:
    """Refuse before the first matrix is made, rather than be killed on the way."""
    available = psutil.virtual_memory().available
    needed = 4 * n_items**2
    if needed > available:
        raise Unsuitable(
            f"ease needs {needed / 2**30:,.1f} GiB for {n_items:,} products; what is free, "
            f"{available / 2**30:,.1f} GiB, is enough for {isqrt(available // 4):,}; "
            "raise min_users in prepare, or take item-knn"
        )
