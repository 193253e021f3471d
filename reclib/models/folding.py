"""Fold-in: what a fitted fusion says of histories that have grown since its fit.

A shop cannot fit anew after every click, and need not: most of what a part has learned is
about products, and a user is only a history put through it. So the history is replaced and
all else kept: the scores are those of a fit in which this user alone had changed and nothing
had been learned from it.
"""

import copy
from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import cache, partial, singledispatch
from typing import Any, ClassVar, TypeVar

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import ArrayLike

from reclib.data import Features, Prepared, extract_features, history_weights
from reclib.models.autoencoder import EASE
from reclib.models.base import Indices, Scorer, Scores
from reclib.models.baselines import Popular
from reclib.models.collaborative import Collaborative
from reclib.models.content import Content
from reclib.models.fusion import Fusion, _spread
from reclib.models.language import Language, unit_rows
from reclib.models.linear import Linear
from reclib.models.neighbours import ItemKNN
from reclib.models.sasrec import SASRec, _histories
from reclib.models.sequential import Transitions
from reclib.models.tuned import TunedLanguage

S = TypeVar("S", bound=Scorer)
Weigh = Callable[..., sp.csr_array]  # `history_weights` of some data
NOISE = 1e-6  # what rounding leaves where two features should cancel
ONE, NOTHING = pd.Index(["customer"]), pd.DataFrame()


class FoldIn:
    """Take histories that have grown since the fit into a fusion.

    Parts whose scores follow from a history alone take all of it in: content, item-kNN,
    EASE, transitions, SASRec, Eq. 5 over all users, and the language model with profiles of
    products. What users typed and the situations they act in, which the features of content
    and of Eq. 5 hold, stay as they were at the fit. Other parts (factors, nearest users,
    tuned encoders) say what they said then, and nothing of strangers.

    Parameters
    ----------
    fusion
        Fitted. What its parts need is prepared here, once.
    also
        More parts by name, fitted here if need be; of weight 0, and left out where the fusion
        has a part of that name.

    Attributes
    ----------
    fusion
        As given, with these parts.
    prepared
        What it was fitted on.

    Raises
    ------
    ReclibError
        If the fusion is not fitted.
    """

    def __init__(self, fusion: Fusion, *, also: Mapping[str, Scorer] | None = None) -> None:
        self.prepared = prepared = fusion._fitted()
        more = {name: part for name, part in (also or {}).items() if name not in fusion.parts}
        nothing = dict.fromkeys(more, 0.0)
        spreads = []
        for part in more.values():
            part.ensure_fitted(prepared)
            spreads.append(_spread(part, prepared) if fusion.normalise == "global" else 1.0)
        self.fusion = _copy(
            fusion,
            prepared,
            parts=fusion.parts | more,
            weights=fusion.weights | nothing,
            newcomers=fusion.newcomers and fusion.newcomers | nothing,
            _spreads=fusion._spreads + spreads,
        )
        self._folds = {name: _fold(part) for name, part in self.fusion.parts.items()}

    def __call__(
        self, grown: Prepared, users: Indices, *, parts: Collection[str] | None = None
    ) -> Fusion:
        """Make the fusion score other histories.

        Parameters
        ----------
        grown
            Whole histories, the events of the fit among them, over the catalogue of the fit;
            see `one_history`.
        users
            int64, shape (n_users of `grown`,): their numbers in the fit; −1 for a stranger.
        parts
            Names of those wanted; all by default.

        Returns
        -------
        Fusion
            Fitted, with the weights and the scales of the fit.
        """
        names = [name for name in self._folds if parts is None or name in parts]
        # parts with the same decay and history share their weights
        weigh = cache(partial(history_weights, grown))
        spreads = dict(zip(self.fusion.parts, self.fusion._spreads, strict=True))
        newcomers = self.fusion.newcomers
        return _copy(
            self.fusion,
            grown,
            parts={name: self._folds[name].scorer(grown, users, weigh) for name in names},
            weights={name: self.fusion.weights[name] for name in names},
            newcomers=newcomers and {name: newcomers[name] for name in names},
            _spreads=[spreads[name] for name in names],
            _seen=grown.matrix,
        )

    def pull(self, fusion: Fusion, part: str, items: Indices) -> tuple[Indices, Scores]:
        """Tell what each product of a history adds to a part's scores of others.

        Parameters
        ----------
        fusion
            Made for a single user.
        part
            Name of one of its parts.
        items
            The others, shape (n,).

        Returns
        -------
        had : ndarray
            Products of the history that count, shape (n_had,); empty where a part does not
            score product by product.
        pull : ndarray
            float32, shape (n_had, n). Summed over the history it is the score, up to a factor
            above 0 and to what a profile holds beside products.
        """
        return self._folds[part].pull(fusion.parts[part], items)


def one_history(prepared: Prepared, item: ArrayLike, weight: ArrayLike) -> Prepared:
    """Make data of one user over a catalogue.

    Parameters
    ----------
    prepared
        Has the catalogue.
    item
        Dense product index of each event, oldest first, shape (n_events,).
    weight
        Strength of each event, shape (n_events,).

    Returns
    -------
    Prepared
        With user 0 alone; without times, searches, context and reviews.
    """
    items = np.asarray(item, np.int32)
    return replace(
        prepared,
        user_ids=ONE,
        user=np.zeros(len(items), np.int32),
        item=items,
        weight=np.asarray(weight, np.float32),
        event=np.zeros(len(items), np.int8),
        time=None,
        query=np.full(len(items), -1, np.int32),
        queries=(),
        context=NOTHING,
        reviews=NOTHING,
    )


def _copy(scorer: S, grown: Prepared, **state: Any) -> S:
    """Copy a fitted scorer, as if fitted on other users, with some of its state replaced."""
    made = copy.copy(scorer)
    vars(made).update(prepared=grown, **state)
    return made


class _AsFitted(Scorer):
    """What a part said of users at its fit."""

    name: ClassVar[str] = "as fitted"

    def __init__(self, part: Scorer, users: Indices) -> None:
        self.part = part
        self.users = users

    def _fit(self, prepared: Prepared, rng: int) -> None:
        self.part.fit(prepared, rng=rng)

    def _score(self, users: Indices, items: Indices | slice) -> Scores:
        number = self.users[users]
        scores = np.full((len(users), self._fitted().n_items), np.nan, np.float32)
        scores[number >= 0] = self.part._score(number[number >= 0], slice(None))
        return scores[:, items]


class _Fold:
    """How a part takes in other histories; this way, for those without another, not at all."""

    def __init__(self, part: Scorer) -> None:
        self.part = part

    def scorer(self, grown: Prepared, users: Indices, weigh: Weigh) -> Scorer:
        """Make the part score the users of `grown`, as in `FoldIn`."""
        return _copy(_AsFitted(self.part, users), grown)

    def pull(self, made: Scorer, items: Indices) -> tuple[Indices, Scores]:
        """As in `FoldIn`, of what `scorer` made."""
        return np.zeros(0, np.int64), np.zeros((0, len(items)), np.float32)


class _ForAll(_Fold):
    """A part that says the same to everybody."""

    def scorer(self, grown: Prepared, users: Indices, weigh: Weigh) -> Scorer:
        return _copy(self.part, grown)


class _Sequence(_Fold):
    """A network that reads the history."""

    def scorer(self, grown: Prepared, users: Indices, weigh: Weigh) -> Scorer:
        items, start = _histories(grown)
        return _copy(self.part, grown, _items=items, _start=start)


class _Weighing(_Fold):
    """A part whose profile comes from a weight for each product of a history."""

    def scorer(self, grown: Prepared, users: Indices, weigh: Weigh) -> Scorer:
        weights = self.weights(grown, weigh)
        return _copy(self.part, grown, _weights=weights, **self.profile(weights, users))

    def weights(self, grown: Prepared, weigh: Weigh) -> sp.csr_array:
        """Shape (n_users, n_items)."""
        part: Any = self.part
        return weigh(decay=part.decay, history=part.history)

    @abstractmethod
    def profile(self, weights: sp.csr_array, users: Indices) -> dict[str, Any]:
        """Make what the part knows of users, under the part's names."""

    @abstractmethod
    def affinity(self, had: Indices, items: Indices) -> Scores:
        """Tell what each product in `had` adds at a weight of 1, shape (n_had, n)."""

    def pull(self, made: Scorer, items: Indices) -> tuple[Indices, Scores]:
        weights: sp.csr_array = vars(made)["_weights"]
        had = weights.indices.astype(np.int64)
        return had, weights.data[:, None] * self.affinity(had, items)


class _Products(_Weighing):
    """The weights are the profile."""

    part: Linear

    def profile(self, weights: sp.csr_array, users: Indices) -> dict[str, Any]:
        return {"_profiles": weights}

    def affinity(self, had: Indices, items: Indices) -> Scores:
        return _block(self.part._matrix, had, items)


class _Steps(_Products):
    """`Transitions`, with the weights of its histories."""

    part: Transitions

    def weights(self, grown: Prepared, weigh: Weigh) -> sp.csr_array:
        first = grown.new & (grown.age < self.part.history)
        weight = self.part.weights_of(grown.age[first])
        cells = grown.user[first], grown.item[first]
        return _scaled(sp.csr_array((weight, cells), shape=grown.shape), power=1)


class _Rows(_Products):
    """Eq. 5 with the users' rows of R as profiles."""

    def weights(self, grown: Prepared, weigh: Weigh) -> sp.csr_array:
        return _scaled(grown.matrix)


class _Features(_Weighing):
    """Profiles in the space of Eq. 3: the mean of products, and what stands beside it.

    The x_u of the fit is c · m_u + r_u, with m_u the unit mean of the products that the user
    had, and r_u, orthogonal to it, what searches and situations brought. A grown history
    changes m_u; c and r_u stay, and are 1 and 0 for a stranger.
    """

    part: Linear

    def __init__(self, part: Linear, features: Features) -> None:
        super().__init__(part)
        self._items = features.items
        prepared = part._fitted()
        products = self._means(self.weights(prepared, partial(history_weights, prepared)))
        share = (features.users * products).sum(axis=1)
        share[np.diff(products.indptr) == 0] = 1
        rest = sp.csr_array(features.users - products * share[:, None])
        rest.data[np.abs(rest.data) < NOISE] = 0
        rest.eliminate_zeros()
        # a last row for strangers, who have the number −1
        self._share = np.append(share, np.float32(1))
        self._rest = sp.vstack([rest, sp.csr_array((1, rest.shape[1]))], "csr", np.float32)

    def _means(self, weights: sp.csr_array) -> sp.csr_array:
        return _scaled(weights @ self._items)

    def profile(self, weights: sp.csr_array, users: Indices) -> dict[str, Any]:
        means = self._means(weights)
        if self._rest.nnz:
            means = _scaled(means * self._share[users][:, None] + self._rest[users])
        return {"_profiles": means}

    def affinity(self, had: Indices, items: Indices) -> Scores:
        own = self._items[had]
        used = np.unique(own.indices).astype(np.int64)
        found: Scores = own[:, used] @ _block(self.part._matrix, used, items)
        return found


class _Vectors(_Weighing):
    """A language model whose profile is the mean of the products' vectors."""

    part: Language

    def profile(self, weights: sp.csr_array, users: Indices) -> dict[str, Any]:
        return {"user_vectors": unit_rows(weights @ self.part.item_vectors)}

    def affinity(self, had: Indices, items: Indices) -> Scores:
        found: Scores = self.part.item_vectors[had] @ self.part.item_vectors[items].T
        return found


def _scaled(matrix: sp.csr_array, power: int = 2) -> sp.csr_array:
    """Scale rows to (Σ |x|^power)^(1/power) = 1; sklearn's checks take longer than a request."""
    made = sp.csr_array(matrix)
    row = np.repeat(np.arange(made.shape[0]), np.diff(made.indptr))
    length = np.bincount(row, np.abs(made.data) ** power, made.shape[0]) ** (1 / power)
    data = (made.data / length[row]).astype(np.float32)
    return sp.csr_array((data, made.indices, made.indptr), shape=made.shape)


def _block(matrix: sp.csr_array | Scores, rows: Indices, columns: Indices) -> Scores:
    """Read some rows and columns, shape (n_rows, n_columns), without a copy of whole columns."""
    if isinstance(matrix, np.ndarray):
        return matrix[np.ix_(rows, columns)]
    found: Scores = matrix[rows][:, columns].toarray()
    return found


@singledispatch
def _fold(part: Scorer) -> _Fold:
    """Choose the way of a part."""
    return _Fold(part)


@_fold.register
def _(part: Popular) -> _Fold:
    return _ForAll(part)


@_fold.register
def _(part: SASRec) -> _Fold:
    return _Sequence(part)


@_fold.register(ItemKNN)
@_fold.register(EASE)
def _(part: Linear) -> _Fold:
    return _Products(part)


@_fold.register
def _(part: Transitions) -> _Fold:
    return _Steps(part)


@_fold.register
def _(part: Content) -> _Fold:
    return _Features(part, part.features)


@_fold.register
def _(part: Collaborative) -> _Fold:
    if part.neighbours is not None:
        return _Fold(part)
    if part.profile == "interactions":
        return _Rows(part)
    options = part.config()
    del options["profile"], options["neighbours"]
    return _Features(part, extract_features(part._fitted(), **options))


@_fold.register
def _(part: Language) -> _Fold:
    return _Vectors(part) if part.profile == "items" else _Fold(part)


@_fold.register
def _(part: TunedLanguage) -> _Fold:
    return _Vectors(part) if part.training is None else _Fold(part)
