"""The one face of every scorer, and the one rule for ties."""

import inspect
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from numpy.typing import ArrayLike, NDArray
from tqdm.auto import tqdm

from reclib import cache
from reclib.data import Prepared
from reclib.errors import ReclibError

Scores = NDArray[np.float32]
Indices = NDArray[np.int64]

BLOCK = 32  # columns that are first compared by their highest score alone


class Scorer(ABC):
    """Scores products for users.

    Hyper-parameters are constructor arguments, kept under their names. A subclass
    implements `_fit` and `_score`; users and products are dense integers in both.
    """

    name: ClassVar[str]
    stochastic: bool = False  # whether the seed changes a fit
    prepared: Prepared | None = None
    _seconds: float = 0.0
    _rng: int | None = None

    def fit(self, prepared: Prepared, *, rng: int = 0) -> Self:
        """Learn from training data.

        Parameters
        ----------
        prepared
            Training events and catalogue.
        rng
            Seed of everything random; the same seed gives the same scores.

        Returns
        -------
        Self
            The fitted scorer.

        Raises
        ------
        ReclibError
            If there are no events to learn from.
        """
        if prepared.n_events == 0:
            raise ReclibError(f"{self.name}: there are no training events to fit on")
        started = time.perf_counter()
        self._fit(prepared, rng)
        self._seconds = time.perf_counter() - started
        self.prepared, self._rng = prepared, rng
        return self

    def fitted_on(self, prepared: Prepared, rng: int = 0) -> bool:
        """Whether the last fit was on these very data, and with this seed if that matters."""
        return self.prepared is prepared and not (self.stochastic and self._rng != rng)

    def ensure_fitted(self, prepared: Prepared, *, rng: int = 0) -> None:
        """Fit, unless `fitted_on` says that the last fit will do."""
        if not self.fitted_on(prepared, rng):
            self.fit(prepared, rng=rng)

    @property
    def costs(self) -> dict[str, float]:
        """Seconds of each step of the last fit."""
        return {"fit": self._seconds}

    def score(self, users: ArrayLike, items: ArrayLike | None = None) -> Scores:
        """Score products for users.

        Parameters
        ----------
        users
            Dense user indices, shape (n_users,).
        items
            Dense product indices, shape (n_candidates,); the whole catalogue by default.

        Returns
        -------
        ndarray
            float32, shape (n_users, n_candidates), columns in the order of `items`; NaN
            where the scorer cannot score, such as for a user without a history.

        Raises
        ------
        ReclibError
            If the scorer is not fitted, or an index is out of range.
        """
        prepared = self._fitted()
        chosen = _indices(users, prepared.n_users, "user")
        columns = slice(None) if items is None else _indices(items, prepared.n_items, "item")
        return self._score(chosen, columns)

    def rank(
        self,
        users: ArrayLike,
        k: int = 10,
        *,
        exclude_seen: bool = True,
        batch_size: int = 1024,
    ) -> tuple[Indices, Scores]:
        """Find the best k products of each user: higher score first, then smaller index.

        Parameters
        ----------
        users
            Dense user indices, shape (n_users,).
        k
            Length of a list.
        exclude_seen
            Leave out what the user had in training.
        batch_size
            Users ranked at once: memory is at most batch_size × n_items.

        Returns
        -------
        items : ndarray
            int64, shape (n_users, k): dense product indices; −1 where fewer than k products
            can be scored.
        scores : ndarray
            float32, shape (n_users, k); NaN there.

        Raises
        ------
        ReclibError
            If the scorer is not fitted, `k` or `batch_size` is below 1, or an index is out
            of range.
        """
        prepared = self._fitted()
        for name, value in {"k": k, "batch_size": batch_size}.items():
            if value < 1:
                raise ReclibError(f"{name} is {value}; allowed is 1 or more")
        chosen = _indices(users, prepared.n_users, "user")
        items = np.empty((len(chosen), k), np.int64)
        scores = np.empty((len(chosen), k), np.float32)
        for start in range(0, len(chosen), batch_size):
            batch = slice(start, start + batch_size)
            items[batch], scores[batch] = self._rank(chosen[batch], k, exclude_seen)
        return items, scores

    def recommend(
        self,
        users: Sequence[str],
        k: int = 10,
        *,
        exclude_seen: bool = True,
        batch_size: int = 1024,
        progress: bool = False,
    ) -> pd.DataFrame:
        """Rank the catalogue for each user.

        Parameters
        ----------
        users
            Outside user ids.
        k
            Length of a list; shorter where fewer products can be recommended.
        exclude_seen, batch_size
            As in `rank`.
        progress
            Show a progress bar.

        Returns
        -------
        pandas.DataFrame
            Columns user_id, item_id, score, rank (1 is best); users in the order given.
            A user for whom nothing can be scored has no row.

        Raises
        ------
        ReclibError
            As in `rank`, or if a user id is not in the data.
        """
        prepared = self._fitted()
        if batch_size < 1:
            raise ReclibError(f"batch_size is {batch_size}; allowed is 1 or more")
        if isinstance(users, str):
            raise ReclibError(f"users is the text {users!r}; give a list of user ids")
        asked = pd.Index(list(users), dtype=object)
        index = prepared.user_ids.get_indexer(asked)
        if (index < 0).any():
            stranger = asked[int(np.argmin(index))]
            raise ReclibError(f"user {stranger!r} is not in the data of {prepared.name!r}")
        frames = []
        for start in tqdm(range(0, len(index), batch_size), disable=not progress):
            batch = index[start : start + batch_size]
            items, values = self.rank(batch, k, exclude_seen=exclude_seen, batch_size=batch_size)
            row, rank = np.nonzero(items >= 0)
            frames.append(
                pd.DataFrame(
                    {
                        "user_id": prepared.user_ids[batch[row]],
                        "item_id": prepared.item_ids[items[row, rank]],
                        "score": values[row, rank],
                        "rank": rank + 1,
                    }
                )
            )
        if not frames:
            return pd.DataFrame(columns=["user_id", "item_id", "score", "rank"])
        return pd.concat(frames, ignore_index=True)

    def config(self) -> dict[str, Any]:
        """Hyper-parameters by name, as given to the constructor."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def __repr__(self) -> str:
        """Show the constructor call that makes this scorer."""
        settings = ", ".join(f"{name}={value!r}" for name, value in self.config().items())
        return f"{type(self).__name__}({settings})"

    def _fitted(self) -> Prepared:
        if self.prepared is None:
            raise ReclibError(f"{self.name} is not fitted yet; call fit(prepared) first")
        return self.prepared

    @abstractmethod
    def _fit(self, prepared: Prepared, rng: int) -> None: ...

    @abstractmethod
    def _score(self, users: Indices, items: Indices | slice) -> Scores: ...

    def _rank(self, users: Indices, k: int, exclude_seen: bool) -> tuple[Indices, Scores]:
        """One batch of `rank`, by way of whole rows of scores."""
        scores = self.score(users)
        if exclude_seen:
            mask_seen(scores, self._fitted().matrix, users)
        return top_k(scores, k)


def mask_seen(scores: Scores, seen: sp.csr_array, users: Indices) -> None:
    """Set to NaN, in place, what each user has already.

    Parameters
    ----------
    scores
        Shape (n_batch, n_items), over the whole catalogue.
    seen
        Shape (n_users, n_items); a stored entry is a seen product.
    users
        Dense user index of each row of `scores`, shape (n_batch,).
    """
    rows, columns = seen[users].nonzero()
    scores[rows, columns] = np.nan


def top_k(scores: Scores, k: int) -> tuple[Indices, Scores]:
    """Find the best k columns of each row: higher score first, then smaller index.

    Every ranking of the study comes from here, so ties are broken once, before any metric.

    Parameters
    ----------
    scores
        Shape (n_rows, n_columns); NaN, and −∞, is never chosen.
    k
        Length of a list, at least 1.

    Returns
    -------
    indices : ndarray
        int64, shape (n_rows, k); −1 where fewer than k columns have a score.
    values : ndarray
        float32, shape (n_rows, k); NaN there.

    Raises
    ------
    ReclibError
        If `k` is below 1.

    Examples
    --------
    >>> scores = np.array([[1, 3, 3, np.nan]], np.float32)
    >>> top_k(scores, 2)[0]
    array([[1, 2]])
    """
    if k < 1:
        raise ReclibError(f"k is {k}; allowed is 1 or more")
    # one more than asked for tells whether a tie crosses the end of the list
    width = min(k + 1, scores.shape[1])
    columns = _promising(scores, width)
    rivals = scores if columns is None else np.take_along_axis(scores, columns, 1)
    values, indices = _largest(rivals, width)
    if columns is not None:
        indices = np.take_along_axis(columns, indices, 1)
    if width > k:
        last, after = values[:, k - 1], values[:, k]
        for row in np.flatnonzero((last == after) & (last > -np.inf)):
            tied = np.flatnonzero(scores[row] == last[row])
            above = values[row] > last[row]
            indices[row, ~above] = tied[: (~above).sum()]
        values, indices = values[:, :k], indices[:, :k]
    # best first, then smaller index: a stable sort by index, then one by score
    by_index = np.argsort(indices, axis=1, kind="stable")
    values = np.take_along_axis(values, by_index, 1)
    indices = np.take_along_axis(indices, by_index, 1)
    by_score = np.argsort(-values, axis=1, kind="stable")
    values = np.take_along_axis(values, by_score, 1)
    indices = np.take_along_axis(indices, by_score, 1)
    nothing = np.isneginf(values)
    padding = ((0, 0), (0, k - indices.shape[1]))
    return (
        np.pad(np.where(nothing, -1, indices), padding, constant_values=-1),
        np.pad(np.where(nothing, np.nan, values), padding, constant_values=np.nan),
    )


def code_behind(module: str, *scorers: Scorer) -> tuple[str, ...]:
    """Name the files that a result may depend on, for `reclib.cache`.

    Parameters
    ----------
    module
        Which one computes it.
    *scorers
        What it is computed from, their parts among them.

    Returns
    -------
    tuple of str
        As `reclib.cache.behind`.
    """
    modules, left = {module}, list(scorers)
    while left:
        scorer = left.pop()
        modules.add(type(scorer).__module__)
        left += getattr(scorer, "parts", {}).values()
    return cache.behind(*modules)


def _largest(scores: Scores, n: int) -> tuple[Scores, Indices]:
    """Find n values of each row, highest first, and their columns; NaN counts as −∞."""
    ranked = torch.from_numpy(np.ascontiguousarray(scores))
    values, columns = ranked.nan_to_num(-np.inf, posinf=np.inf, neginf=-np.inf).topk(n)
    return values.numpy(), columns.numpy()


def _promising(scores: Scores, width: int) -> Indices | None:
    """Columns that hold the best `width` scores of each row, and few others.

    Returns
    -------
    ndarray or None
        int64, shape (n_rows, n_promising); None where looking at all columns is no slower.
        Of scores that tie for the last place some may be left out.
    """
    n_blocks, rest = divmod(scores.shape[1], BLOCK)
    if n_blocks < 8 * width:
        return None
    # neighbours lie in different blocks, so that maxima are taken along whole rows at once
    ends = len(scores), BLOCK, n_blocks
    highest = np.fmax.reduce(scores[:, : BLOCK * n_blocks].reshape(ends), axis=1)
    # the best scores lie in the blocks of the highest maxima, for each of these has one
    _, block = _largest(highest, width)
    inside = block[:, None] + n_blocks * np.arange(BLOCK)[:, None]
    last = np.broadcast_to(BLOCK * n_blocks + np.arange(rest), (len(scores), rest))
    return np.concatenate([inside.reshape(len(scores), -1), last], axis=1)


def _indices(values: ArrayLike, n: int, kind: str) -> Indices:
    """Check dense indices."""
    array = np.asarray(values)
    if array.size == 0:
        return np.zeros(0, np.int64)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise ReclibError(
            f"{kind} indices must be a list of whole numbers, got {array.dtype} "
            f"of shape {array.shape}; outside ids go to recommend()"
        )
    wrong = array[(array < 0) | (array >= n)]
    if len(wrong):
        raise ReclibError(f"{kind} index {wrong[0]} is out of range; allowed is 0 to {n - 1}")
    return array.astype(np.int64)
