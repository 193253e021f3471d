"""Content-based filtering, Eq. 4: how near a product is to what the user had."""

from typing import ClassVar

import scipy.sparse as sp

from reclib.data import Prepared, extract_features
from reclib.models.base import Scores
from reclib.models.linear import Linear


class Content(Linear):
    """Eq. 4: CBF(x_u, y_i) = cos(x_u, y_i), in the space of `extract_features`.

    Parameters
    ----------
    decay, history, text, weighting, review_text, price_weight, context_weight, query_weight
        As in `reclib.data.extract_features`.
    """

    name: ClassVar[str] = "content"

    def __init__(
        self,
        *,
        decay: float = 0.7,
        history: int = 20,
        text: bool = True,
        weighting: str = "tfidf",
        review_text: bool = False,
        price_weight: float = 0.02,
        context_weight: float = 1.0,
        query_weight: float = 2.0,
    ) -> None:
        self.decay = decay
        self.history = history
        self.text = text
        self.weighting = weighting
        self.review_text = review_text
        self.price_weight = price_weight
        self.context_weight = context_weight
        self.query_weight = query_weight

    def _factors(self, prepared: Prepared, rng: int) -> tuple[sp.csr_array, sp.csr_array | Scores]:
        self.features = extract_features(prepared, **self.config())
        return self.features.users, sp.csr_array(self.features.items.T)
