"""The click probabilities behind the simulated marketplace."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from reclib.data.simulate.situation import GENERAL, LEVELS, PRICE_MATTERS, SEASONAL, Columns
from reclib.errors import ReclibError, unknown

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SimulatedTruth:
    """The click probabilities of a simulated marketplace, in factors of d columns."""

    user_ids: pd.Index
    item_ids: pd.Index
    users: Floats  # (n_users, d), taste
    items: Floats  # (n_items, d), attributes
    appeal: Floats  # (n_items,), the part of the logit on which all users agree
    department: Ints  # (n_items,)
    price: int  # the column of the factors that is about the price

    def click_probability(
        self,
        user_ids: Sequence[str],
        item_ids: Sequence[str],
        *,
        rank: int | None = None,
        context: Mapping[str, str] | None = None,
    ) -> NDArray[np.float32]:
        """P(click), shape (n_users, n_items).

        Parameters
        ----------
        user_ids, item_ids
            Known ids, in any order.
        rank
            Place on the page, 1 = first. Without it the product is taken as looked at.
        context
            Some of ``device``, ``channel``, ``hour``, ``weekday`` and ``season``, each with
            one of its levels. What is left out is as on average.

        Raises
        ------
        ReclibError
            An unknown id, kind or level of context, or a `rank` below 1.
        """
        if rank is not None and rank < 1:
            raise ReclibError(f"rank is {rank}; places on a page count from 1")
        situation = _situation(context or {})
        rows = _rows("item", item_ids, self.item_ids)
        users = self.users[_rows("user", user_ids, self.user_ids)].astype(np.float32)
        if "device" in situation:
            users[:, self.price] *= 1 + PRICE_MATTERS[situation["device"]]
        logit = users @ self.items[rows].T.astype(np.float32)  # (n_users, n_items)
        shift = self.appeal[rows] + sum(
            effect[situation[kind]] for kind, effect in GENERAL.items() if kind in situation
        )
        if "season" in situation:
            shift += SEASONAL[self.department[rows], situation["season"]]
        logit += shift.astype(np.float32)
        probability: NDArray[np.float32] = expit(logit, out=logit)
        return probability if rank is None else probability * np.float32(rank**-0.5)

    def logit(self, user: Ints, item: Ints, situation: Columns | None = None) -> Floats:
        """Logit of pairs by row numbers, in their situations or on average; all (n,)."""
        taste = self.users.take(user, axis=0)  # (n, d); quicker than indexing
        shift = self.appeal[item]
        if situation is not None:
            taste[:, self.price] *= 1 + PRICE_MATTERS[situation["device"]]
            shift += SEASONAL[self.department[item], situation["season"]]
            for kind, effect in GENERAL.items():
                shift += effect[situation[kind]]
        logit: Floats = np.einsum("nd,nd->n", taste, self.items.take(item, axis=0)) + shift
        return logit


def _situation(context: Mapping[str, str]) -> dict[str, int]:
    """Turn names of levels into rows of `LEVELS`."""
    for kind, level in context.items():
        if kind not in LEVELS:
            raise unknown("kind of context", kind, LEVELS)
        if level not in LEVELS[kind]:
            raise unknown(kind, level, LEVELS[kind])
    return {kind: LEVELS[kind].index(level) for kind, level in context.items()}


def _rows(kind: str, ids: Sequence[str], known: pd.Index) -> NDArray[np.intp]:
    """Row numbers of `ids`; an id that is not there is an error."""
    rows: NDArray[np.intp] = known.get_indexer(pd.Index(ids))
    if (rows < 0).any():
        raise unknown(kind, ids[int(np.argmax(rows < 0))], known)
    return rows
