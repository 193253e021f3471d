"""Matrix factorisation: a vector for every user and every product, from implicit."""

from abc import abstractmethod
from typing import ClassVar

import numpy as np
import scipy.sparse as sp
import torch
from implicit.cpu.als import AlternatingLeastSquares
from implicit.cpu.bpr import BayesianPersonalizedRanking
from implicit.cpu.matrix_factorization_base import MatrixFactorizationBase
from implicit.recommender_base import ModelFitError
from threadpoolctl import threadpool_limits

from reclib.data import Prepared
from reclib.errors import Diverged, ReclibError
from reclib.models.base import Indices, Scorer, Scores


class _Factors(Scorer):
    """R(u, i) = a_u · b_i; a user without a history cannot be scored."""

    stochastic = True

    @abstractmethod
    def _model(self, rng: int) -> MatrixFactorizationBase: ...

    def _fit(self, prepared: Prepared, rng: int) -> None:
        # implicit has threads of its own, which those of BLAS hinder; it warns of them. It
        # sorts in place, so it gets a copy
        with threadpool_limits(1, "blas"):
            model = self._model(rng)
            try:
                model.fit(sp.csr_matrix(prepared.matrix, copy=True), show_progress=False)
            except ModelFitError as error:
                raise Diverged(
                    f"{self.name}: the vectors ran away ({error}) with {self}; choose a smaller "
                    "learning_rate, fewer epochs or another regularisation"
                ) from error
        self._users: Scores = model.user_factors  # (n_users, factors)
        self._items: Scores = model.item_factors  # (n_items, factors)
        self._users[np.diff(prepared.matrix.indptr) == 0] = np.nan

    def _score(self, users: Indices, items: Indices | slice) -> Scores:
        scores: Scores = self._users[users] @ self._items[items].T
        return scores


class ALS(_Factors):
    """Implicit-feedback factors by alternating least squares (Hu, Koren and Volinsky 2008).

    Minimises Σ_ui c_ui (p_ui − a_u · b_i)² + λ (Σ_u |a_u|² + Σ_i |b_i|²) over all pairs, with
    p_ui = 1 and c_ui = α · R_ui for what the user had, and p_ui = 0 and c_ui = 1 for the rest.

    Parameters
    ----------
    factors
        Length of the vectors, at least 1.
    regularisation
        λ, at least 0.
    alpha
        α, confidence in what was had, at least 0.
    epochs
        Passes over users and products, at least 1.

    Raises
    ------
    ReclibError
        If a number is out of range.
    """

    name: ClassVar[str] = "als"

    def __init__(
        self,
        *,
        factors: int = 128,
        regularisation: float = 0.01,
        alpha: float = 1.0,
        epochs: int = 15,
    ) -> None:
        _check(factors=factors, regularisation=regularisation, alpha=alpha, epochs=epochs)
        self.factors = factors
        self.regularisation = regularisation
        self.alpha = alpha
        self.epochs = epochs

    def _model(self, rng: int) -> MatrixFactorizationBase:
        # a vector is solved for by one thread alone: any number of them gives the same
        return AlternatingLeastSquares(
            factors=self.factors,
            regularization=self.regularisation,
            alpha=self.alpha,
            iterations=self.epochs,
            num_threads=torch.get_num_threads(),
            random_state=rng,
        )


class BPR(_Factors):
    """Factors by Bayesian personalised ranking (Rendle et al. 2009).

    Raises log σ(R(u, i) − R(u, j)) by stochastic gradient steps, for an i that the user had
    and a j drawn from the events of others, with a bias for every product. R's values do
    not count, only what was had.

    Parameters
    ----------
    factors
        Length of the vectors, at least 1.
    learning_rate
        Of the steps, at least 0.
    regularisation
        Decay of the vectors in every step, at least 0.
    epochs
        Passes over as many draws as there are pairs, at least 1.

    Raises
    ------
    ReclibError
        If a number is out of range.
    """

    name: ClassVar[str] = "bpr"

    def __init__(
        self,
        *,
        factors: int = 128,
        learning_rate: float = 0.01,
        regularisation: float = 0.01,
        epochs: int = 100,
    ) -> None:
        _check(
            factors=factors,
            learning_rate=learning_rate,
            regularisation=regularisation,
            epochs=epochs,
        )
        self.factors = factors
        self.learning_rate = learning_rate
        self.regularisation = regularisation
        self.epochs = epochs

    def _model(self, rng: int) -> MatrixFactorizationBase:
        # threads would write into each other's vectors: another result in every run
        return BayesianPersonalizedRanking(
            factors=self.factors,
            learning_rate=self.learning_rate,
            regularization=self.regularisation,
            iterations=self.epochs,
            num_threads=1,
            random_state=rng,
        )


def _check(**numbers: float) -> None:
    """Refuse what implicit would take without a word."""
    for name, value in numbers.items():
        least = 1 if name in ("factors", "epochs") else 0
        if not least <= value < np.inf:
            raise ReclibError(f"{name} is {value}; allowed is a number from {least} on")
