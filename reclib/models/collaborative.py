"""Collaborative filtering, Eq. 5: what users like this one had."""

from typing import ClassVar

import numpy as np
import scipy.sparse as sp
from sklearn.preprocessing import normalize

from reclib.data import Prepared, extract_features
from reclib.errors import ReclibError, unknown
from reclib.models.base import Scores
from reclib.models.linear import Linear, barred, largest_products

PROFILES = ("features", "interactions")


class Collaborative(Linear):
    """Eq. 5: CF(x_u, i) = Σ_v cos(x_u, x_v) · R_vi, over all users v, or the nearest.

    With the unit rows x_u in X, the sum for all users and products is S = (X Xᵀ) R. It is
    computed as X (Xᵀ R): the same numbers, but never a matrix of users × users, so the
    cost grows with the number of events. With `neighbours`, the sum goes over the user and
    the N nearest others alone, kept as a sparse matrix of n_users × N cosines; with
    ``profile="interactions"`` that is the classic user-kNN (Herlocker et al. 1999).

    Parameters
    ----------
    profile
        What x_u is: ``"features"``, the paper's features of Eq. 2, or
        ``"interactions"``, the user's row of R, as in classic user-based filtering.
    neighbours
        N, at least 1: only the N other users with the largest cosines, all above 0, count;
        of users who tie for the last place, any. None takes all users, exactly as written.
    decay, history, text, weighting, review_text, price_weight, context_weight, query_weight
        Of the features, as in `reclib.data.extract_features`; unused by interactions.

    Notes
    -----
    The user is always among the v, with cosine 1, and not one of the N; that raises only
    what the user has already.

    Raises
    ------
    ReclibError
        If the profile is unknown or `neighbours` is below 1.
    """

    name: ClassVar[str] = "collaborative"

    def __init__(
        self,
        *,
        profile: str = "features",
        neighbours: int | None = None,
        decay: float = 0.7,
        history: int = 20,
        text: bool = True,
        weighting: str = "tfidf",
        review_text: bool = False,
        price_weight: float = 0.02,
        context_weight: float = 1.0,
        query_weight: float = 2.0,
    ) -> None:
        if profile not in PROFILES:
            raise unknown("profile", profile, PROFILES)
        if neighbours is not None and neighbours < 1:
            raise ReclibError(f"neighbours is {neighbours}; allowed is 1 or more, or None for all")
        self.profile = profile
        self.neighbours = neighbours
        self.decay = decay
        self.history = history
        self.text = text
        self.weighting = weighting
        self.review_text = review_text
        self.price_weight = price_weight
        self.context_weight = context_weight
        self.query_weight = query_weight

    def _factors(self, prepared: Prepared, rng: int) -> tuple[sp.csr_array, sp.csr_array | Scores]:
        ratings = prepared.matrix  # R, (n_users, n_items)
        if self.profile == "features":
            config = self.config()
            del config["profile"], config["neighbours"]
            profiles = extract_features(prepared, **config).users
        else:
            profiles = sp.csr_array(normalize(ratings))
        if self.neighbours is not None:
            return _nearest(profiles, self.neighbours), ratings
        return profiles, sp.csr_array(profiles.T @ ratings)  # XᵀR, (n_features, n_items)


def _nearest(profiles: sp.csr_array, n: int) -> sp.csr_array:
    """Cosines of every user with the n nearest others, and 1 with themselves."""
    n_users = profiles.shape[0]
    itself = sp.eye_array(n_users, dtype=np.float32, format="csr")
    cosines = largest_products(profiles, itself, barred(sp.csr_array(profiles.T)), n)
    known = (np.diff(profiles.indptr) > 0).astype(np.float32)
    return sp.csr_array(cosines + sp.diags_array(known, format="csr"))
