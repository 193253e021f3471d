"""Collaborative filtering, Eq. 5: what users like this one had."""

from typing import ClassVar

import scipy.sparse as sp
from sklearn.preprocessing import normalize

from reclib.data import Prepared, extract_features
from reclib.errors import unknown
from reclib.models.base import Scores
from reclib.models.linear import Linear, dense_if_small

PROFILES = ("features", "interactions")


class Collaborative(Linear):
    """Eq. 5: CF(x_u, i) = Σ_v cos(x_u, x_v) · R_vi, over all users v.

    With the unit rows x_u in X, the sum for all users and products is S = (X Xᵀ) R. It is
    computed as X (Xᵀ R): the same numbers, but never a matrix of users × users, so the
    cost grows with the number of events.

    Parameters
    ----------
    profile
        What x_u is: ``"features"``, the paper's features of Eq. 2, or
        ``"interactions"``, the user's row of R, as in classic user-based filtering.
    decay, history, text, review_text, price_weight, context_weight, query_weight
        Of the features, as in `reclib.data.extract_features`; unused by interactions.

    Notes
    -----
    The user is among the v, with cosine 1; that raises only what the user has already.
    """

    name: ClassVar[str] = "collaborative"

    def __init__(
        self,
        *,
        profile: str = "features",
        decay: float = 0.7,
        history: int = 20,
        text: bool = True,
        review_text: bool = False,
        price_weight: float = 0.02,
        context_weight: float = 1.0,
        query_weight: float = 2.0,
    ) -> None:
        if profile not in PROFILES:
            raise unknown("profile", profile, PROFILES)
        self.profile = profile
        self.decay = decay
        self.history = history
        self.text = text
        self.review_text = review_text
        self.price_weight = price_weight
        self.context_weight = context_weight
        self.query_weight = query_weight

    def _factors(self, prepared: Prepared, rng: int) -> tuple[sp.csr_array, sp.csr_array | Scores]:
        ratings = prepared.matrix  # R, (n_users, n_items)
        if self.profile == "features":
            config = self.config()
            del config["profile"]
            profiles = extract_features(prepared, **config).users
            pooled = sp.csr_array(profiles.T @ ratings)  # XᵀR, (n_features, n_items)
            return profiles, dense_if_small(pooled)
        profiles = sp.csr_array(normalize(ratings))
        # XᵀR counts what was had together: few pairs, best left sparse
        return profiles, sp.csr_array(profiles.T @ ratings)
