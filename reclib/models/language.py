"""The language model as a scorer, Eq. 6."""

import time
from typing import ClassVar

import numpy as np
import pandas as pd

from reclib.data import Prepared, history_weights, item_texts
from reclib.data.features import profile_texts
from reclib.errors import ReclibError, unknown
from reclib.models.base import Indices, Scorer, Scores
from reclib.models.encoder import DEFAULT_ENCODER, POOLINGS, Embeddings, encode

WHITENINGS = ("none", "centre", "whiten")
PROFILES = ("items", "text")


class Language(Scorer):
    """Eq. 6: LLMScore(x_u, y_i), with a frozen pretrained encoder.

    y_i is the whitened embedding of the product's text, x_u that of the user, both of unit
    length; the score is their cosine. A product without a text cannot be scored.

    Parameters
    ----------
    encoder, pooling, max_length
        As in `reclib.models.encoder.encode`.
    review_text
        Whether a product's text ends with its training reviews, as in
        `reclib.data.item_texts`; the encoder reads the first `max_length` tokens.
    whitening
        What is done to embeddings, learned on those of the catalogue: ``"none"``;
        ``"centre"``, their mean is taken off, because sentence vectors share a large common
        part that says nothing about preference; or ``"whiten"``, they are also turned and
        scaled by (C + ridge · c̄ · I)^(−½), with their covariance C and the mean c̄ of their
        variances, so that no direction counts for much more than another (Su et al. 2021,
        "Whitening Sentence Representations", where there is no ridge).
    ridge
        Above 0; the larger, the nearer is ``"whiten"`` to ``"centre"``, which has none. It
        keeps directions without variance, of which small catalogues have many, from counting.
    profile
        What x_u is: ``"items"``, the recency-weighted mean of the user's y_i, or ``"text"``,
        what the encoder makes of `reclib.data.features.profile_texts`.
    decay, history
        As in `reclib.data.history_weights`; of them ``"text"`` uses the history alone.

    Attributes
    ----------
    embeddings
        Of the products' texts, as encoded.
    item_vectors
        The y_i, float32, shape (n_items, n_dimensions); 0 for a product without a text.
    user_vectors
        The x_u, float32, shape (n_users, n_dimensions); NaN for a user without a profile.

    Raises
    ------
    ReclibError
        If the pooling, whitening or profile is unknown, or `ridge` is out of range.
    """

    name: ClassVar[str] = "language"
    embeddings: Embeddings
    item_vectors: Scores
    user_vectors: Scores

    def __init__(
        self,
        *,
        encoder: str = DEFAULT_ENCODER,
        pooling: str = "mean",
        max_length: int = 128,
        review_text: bool = False,
        whitening: str = "centre",
        ridge: float = 0.1,
        profile: str = "items",
        decay: float = 0.7,
        history: int = 20,
    ) -> None:
        if pooling not in POOLINGS:
            raise unknown("pooling", pooling, POOLINGS)
        if whitening not in WHITENINGS:
            raise unknown("whitening", whitening, WHITENINGS)
        if profile not in PROFILES:
            raise unknown("profile", profile, PROFILES)
        if not 0 < ridge < np.inf:
            raise ReclibError(f"ridge is {ridge}; allowed is a number above 0")
        self.encoder = encoder
        self.pooling = pooling
        self.max_length = max_length
        self.review_text = review_text
        self.whitening = whitening
        self.ridge = ridge
        self.profile = profile
        self.decay = decay
        self.history = history

    def _fit(self, prepared: Prepared, rng: int) -> None:
        weights = history_weights(prepared, decay=self.decay, history=self.history)
        texts = item_texts(prepared, reviews=self.review_text)
        if not any(texts):
            raise ReclibError(f"{prepared.name}: no product has a text for the encoder to read")
        self._encode_seconds: dict[str, float] = {}
        self._waited = 0.0
        self.embeddings = self._encode("encode", texts)
        self._told = np.array([text != "" for text in texts])
        rows = [vector.tobytes() for vector in self.embeddings.vectors]
        self._reading = pd.factorize(np.array(rows, dtype=object))[0]
        self._repeats = repeats(self._reading)
        centre, turn = self._whitening(self.embeddings.vectors[self._told])
        products = unit_rows(np.dot(self.embeddings.vectors - centre, turn))
        self.item_vectors = np.where(self._told[:, None], products, np.float32(0))
        if self.profile == "items":
            profiles = weights @ self.item_vectors
        else:
            texts = profile_texts(prepared, history=self.history, words=self.max_length)
            told = np.array([text != "" for text in texts])
            vectors = self._encode("encode users", texts).vectors
            profiles = np.where(told[:, None], np.dot(vectors - centre, turn), 0)
        self.user_vectors = unit_rows(profiles)

    @property
    def costs(self) -> dict[str, float]:
        """Seconds of each step; of both encodings those when the texts were first encoded."""
        return {"fit": self._seconds - self._waited, **self._encode_seconds}

    def _encode(self, step: str, texts: list[str]) -> Embeddings:
        started = time.perf_counter()
        made = self._embedded(texts)
        self._waited += time.perf_counter() - started
        self._encode_seconds[step] = made.seconds
        return made

    def _embedded(self, texts: list[str]) -> Embeddings:
        return encode(texts, encoder=self.encoder, pooling=self.pooling, max_length=self.max_length)

    def _whitening(self, vectors: Scores) -> tuple[Scores, Scores]:
        """Learn what to take off a vector, and the matrix to multiply it with then."""
        n_dimensions = vectors.shape[1]
        if self.whitening == "none":
            return np.zeros(n_dimensions, np.float32), np.eye(n_dimensions, dtype=np.float32)
        centre = vectors.mean(axis=0)
        if self.whitening == "centre":
            return centre, np.eye(n_dimensions, dtype=np.float32)
        variance, axes = np.linalg.eigh(np.cov(vectors, rowvar=False, bias=True))
        turn = axes / np.sqrt(variance + self.ridge * variance.mean())
        return centre, turn.astype(np.float32)

    def _score(self, users: Indices, items: Indices | slice) -> Scores:
        scores: Scores = self.user_vectors[users] @ self.item_vectors[items].T
        scores[:, ~self._told[items]] = np.nan
        # a matrix product may differ in the last digit from column to column, and then the
        # rule of ties would not hold for products that read alike
        whole = isinstance(items, slice)
        later, first = self._repeats if whole else repeats(self._reading[items])
        scores[:, later] = scores[:, first]
        return scores


def repeats(values: Indices) -> tuple[Indices, Indices]:
    """Find the positions of values that stood before, and the first position of each."""
    _, start, number = np.unique(values, return_index=True, return_inverse=True)
    first = start[number]
    later = np.flatnonzero(first != np.arange(len(values)))
    return later, first[later]


def unit_rows(matrix: Scores) -> Scores:
    """Scale rows to unit length; a row of zeros becomes NaN, for it has no direction."""
    length = np.linalg.norm(matrix, axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        unit: Scores = np.divide(matrix, length, where=length > 0, out=np.full_like(matrix, np.nan))
    return unit
