"""A linear autoencoder in closed form: every product predicted from all the others."""

from collections.abc import Mapping
from math import isqrt
from typing import Any, ClassVar

import numpy as np
import psutil
import scipy.sparse as sp
from scipy import linalg

from reclib.data import Prepared, extract_features, history_weights
from reclib.errors import ReclibError, Unsuitable, unknown
from reclib.models.base import Scores
from reclib.models.language import Language
from reclib.models.linear import Linear

MATRICES = 2  # of n_items², float32, that a fit holds at once
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
        not fit into memory.
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
        gram = self._gram(prepared, rng)
        gram[np.diag_indices_from(gram)] += self.regularisation
        inverse: Scores = self._inverse(gram)
        inverse /= -inverse.diagonal()
        np.fill_diagonal(inverse, 0)
        return profiles, inverse

    def _inverse(self, gram: Scores) -> Scores:
        """P, by scipy: 1.4 to 1.7 times as quick on an AMD processor as torch, built for Intel."""
        try:
            inverse: Scores = linalg.inv(gram, assume_a="pos", overwrite_a=True, check_finite=False)
        except linalg.LinAlgError as error:
            raise ReclibError(
                f"regularisation is {self.regularisation}, too little for XᵀX of these products "
                "to be inverted in single precision; take a larger one"
            ) from error
        return inverse

    def _gram(self, prepared: Prepared, rng: int) -> Scores:
        """XᵀX + α Y Yᵀ, dense, shape (n_items, n_items)."""
        had = prepared.matrix.sign()
        known = sp.csr_array(had.T)
        options = self.side_options or {}
        if self.side == "content":
            features = extract_features(prepared, **options).items
            known = sp.hstack([known, features * np.sqrt(np.float32(self.side_weight))], "csr")
        turned = sp.csr_array(known.T)
        gram = np.empty((prepared.n_items, prepared.n_items), np.float32)
        for start in range(0, prepared.n_items, ROWS):  # a sparse product of all is larger
            gram[start : start + ROWS] = (known[start : start + ROWS] @ turned).toarray()
        if self.side == "language":
            vectors = Language(**options).fit(prepared, rng=rng).item_vectors
            vectors = vectors * np.sqrt(np.float32(self.side_weight))
            gram += vectors @ vectors.T
        return gram


def _check_memory(n_items: int) -> None:
    """Refuse before the first matrix is made, rather than be killed on the way."""
    available = psutil.virtual_memory().available
    needed = 4 * MATRICES * n_items**2
    if needed > available:
        raise Unsuitable(
            f"ease needs {needed / 2**30:,.1f} GiB for {n_items:,} products; what is free, "
            f"{available / 2**30:,.1f} GiB, is enough for {isqrt(available // (4 * MATRICES)):,}; "
            "raise min_users in prepare, or take item-knn"
        )
