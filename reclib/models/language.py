"""The language model as a scorer, Eq. 6."""

import time
from typing import ClassVar

import numpy as np

from reclib.data import Prepared, history_weights, item_texts
from reclib.errors import ReclibError
from reclib.models.base import Indices, Scorer, Scores
from reclib.models.encoder import DEFAULT_ENCODER, encode


class Language(Scorer):
    """Eq. 6: LLMScore(x_u, y_i), with a frozen pretrained encoder.

    y_i is the embedding of the product's text, less the mean embedding of the catalogue
    and of unit length; x_u is the recency-weighted mean of the user's y_i; the score is
    their cosine. The mean is taken off because sentence vectors share a large common part
    that says nothing about preference. A product without a text cannot be scored; where
    the whole catalogue has none, the training reviews of a product are its text.

    Parameters
    ----------
    encoder, max_length
        As in `reclib.models.encoder.encode`.
    decay, history
        As in `reclib.data.history_weights`.
    """

    name: ClassVar[str] = "language"

    def __init__(
        self,
        *,
        encoder: str = DEFAULT_ENCODER,
        max_length: int = 128,
        decay: float = 0.7,
        history: int = 20,
    ) -> None:
        self.encoder = encoder
        self.max_length = max_length
        self.decay = decay
        self.history = history

    def _fit(self, prepared: Prepared, rng: int) -> None:
        self._weights = history_weights(prepared, decay=self.decay, history=self.history)
        texts = item_texts(prepared)
        told = np.array([text != "" for text in texts])
        if not told.any():
            raise ReclibError(f"{prepared.name}: no product has a text for the encoder to read")
        started = time.perf_counter()
        self.embeddings = encode(texts, encoder=self.encoder, max_length=self.max_length)
        self._waited = time.perf_counter() - started
        vectors = self.embeddings.vectors
        products = _unit_rows(vectors - vectors[told].mean(axis=0))
        self._products = np.where(told[:, None], products, 0)  # (n_items, n_dimensions)
        self._told = told

    @property
    def costs(self) -> dict[str, float]:
        """Seconds of each step; of ``encode`` those when the texts were first encoded."""
        return {"fit": self._seconds - self._waited, "encode": self.embeddings.seconds}

    def _score(self, users: Indices, items: Indices | slice) -> Scores:
        profiles = _unit_rows(self._weights[users] @ self._products)  # (n_batch, n_dimensions)
        scores: Scores = profiles @ self._products[items].T
        scores[:, ~self._told[items]] = np.nan
        return scores


def _unit_rows(matrix: Scores) -> Scores:
    """Scale rows to unit length; a row of zeros becomes NaN, for it has no direction."""
    length = np.linalg.norm(matrix, axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        unit: Scores = np.divide(matrix, length, where=length > 0, out=np.full_like(matrix, np.nan))
    return unit
