"""What any recommender must beat: chance, and the same best-sellers for everybody."""

from typing import ClassVar

import numpy as np

from reclib.data import Prepared
from reclib.models.base import Indices, Scorer, Scores


class Random(Scorer):
    """Uniform scores, the same for a user whatever the batch it comes in."""

    name: ClassVar[str] = "random"
    stochastic = True

    def _fit(self, prepared: Prepared, rng: int) -> None:
        self._seed = rng
        self._n_items = prepared.n_items

    def _score(self, users: Indices, items: Indices | slice) -> Scores:
        scores = np.empty((len(users), self._n_items), np.float32)
        for row, user in enumerate(users):
            generator = np.random.default_rng([self._seed, int(user)])
            generator.random(dtype=np.float32, out=scores[row])
        return scores[:, items]


class Popular(Scorer):
    """The number of users who had a product in training, for everybody alike."""

    name: ClassVar[str] = "popular"

    def _fit(self, prepared: Prepared, rng: int) -> None:
        self._counts = np.bincount(prepared.matrix.indices, minlength=prepared.n_items)

    def _score(self, users: Indices, items: Indices | slice) -> Scores:
        counts = self._counts[items].astype(np.float32)
        return np.repeat(counts[None, :], len(users), axis=0)
