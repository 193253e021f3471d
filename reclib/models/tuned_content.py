"""The control of the tuned language model: the same towers over counted words."""

import time
from typing import ClassVar

import numpy as np
import scipy.sparse as sp
from sklearn.decomposition import TruncatedSVD

from reclib import cache
from reclib.data import Prepared
from reclib.data.features import item_words
from reclib.errors import ReclibError
from reclib.models.encoder import Embeddings
from reclib.models.tuned import TunedLanguage


class TunedContent(TunedLanguage):
    """Towers as in `TunedLanguage`, over the words of a text in place of its embedding.

    v_i is the whitened TF-IDF vector of the product's text in its main directions (Deerwester
    et al., *Indexing by Latent Semantic Analysis*, JASIS 1990), of the whole text. The training
    is the same, so what `TunedLanguage` is better by does not come from that alone.

    Parameters
    ----------
    dimensions
        Main directions of the words; by default as many as the default encoder's vectors have.
    review_text, whitening, ridge, decay, history
        As in `reclib.models.Language`.
    temperature, dropout, epochs, learning_rate, weight_decay, batch_size, negatives
        As in `TunedLanguage`.

    Raises
    ------
    ReclibError
        For an impossible value; from `fit`, if no word occurs in two products, or no user had
        two different ones.
    """

    name: ClassVar[str] = "content:tuned"

    def __init__(
        self,
        *,
        dimensions: int = 384,
        review_text: bool = False,
        whitening: str = "whiten",
        ridge: float = 0.1,
        decay: float = 0.7,
        history: int = 20,
        temperature: float = 0.1,
        dropout: float = 0.0,
        epochs: int = 3,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.1,
        batch_size: int = 512,
        negatives: int = 1024,
    ) -> None:
        super().__init__(
            review_text=review_text,
            whitening=whitening,
            ridge=ridge,
            decay=decay,
            history=history,
            temperature=temperature,
            dropout=dropout,
            epochs=epochs,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            batch_size=batch_size,
            negatives=negatives,
        )
        if dimensions < 1:
            raise ReclibError(f"dimensions is {dimensions}; allowed is 1 or more")
        self.dimensions = dimensions

    @property
    def costs(self) -> dict[str, float]:
        """Seconds of the fit, with the reduction of the words: no language model reads them."""
        return {"fit": sum(super().costs.values())}

    def _fit(self, prepared: Prepared, rng: int) -> None:
        self._words = item_words(prepared, reviews=self.review_text)[0]
        super()._fit(prepared, rng)

    def _embedded(self, texts: list[str]) -> Embeddings:
        """Reduce the words of the products, which are the only texts that this model reads."""
        key = (self._words, self.dimensions)
        return cache.cached("words", self._reduced, key=key, code=cache.behind(__name__))

    def _reduced(self) -> Embeddings:
        started = time.perf_counter()
        words: sp.csr_array = self._words
        n = min(self.dimensions, *words.shape)
        vectors = TruncatedSVD(n, random_state=0).fit_transform(words).astype(np.float32)
        seconds = time.perf_counter() - started
        return Embeddings(vectors, words.shape[0], seconds, "cpu", "float32")
