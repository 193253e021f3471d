"""What the tuned language model learns from: steps of histories, and reviews."""

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reclib.data import Prepared
from reclib.models.base import Indices, Scores


class StepBatch(NamedTuple):
    """Some steps, and what stands for the rest of the catalogue.

    Attributes
    ----------
    items
        Shape (n_distinct,): every product that is met, once, the rivals first.
    before, weight, owner
        Shape (n_before,): places in `items` of what comes before, its weight, and its step.
    start
        Shape (n_batch,): where in `before` each step begins.
    own
        Shape (n_batch,): places in `items` of the products to predict, all of them rivals.
    log_weight
        Shape (n_rivals,): for how many products of the catalogue each rival stands, as a
        logarithm. Rivals are the products to predict and drawn ones.
    """

    items: Tensor
    before: Tensor
    weight: Tensor
    owner: Tensor
    start: Tensor
    own: Tensor
    log_weight: Tensor


@dataclass(frozen=True)
class Steps:
    """Every product with a text that a user met after another one with a text.

    Attributes
    ----------
    item, strength, met
        Shape (n_events,): product of each event with a text, its R_ui, and how many products
        were new to their users up to there.
    begin, end, target, count
        Shape (n_steps,): the events before the step, the product to predict, and `met` of the
        newest before.
    told, share
        Products with a text; share of the steps that ask for a product, shape (n_items,).
    """

    item: Indices
    strength: Scores
    met: Indices
    begin: Indices
    end: Indices
    target: Indices
    count: Indices
    told: Indices
    share: NDArray[np.float64]
    decay: float
    negatives: int

    @classmethod
    def of(
        cls,
        prepared: Prepared,
        told: NDArray[np.bool_],
        *,
        decay: float,
        history: int,
        negatives: int,
    ) -> Self:
        """Cut histories, so that a step sees what `history_weights` would, had it been then."""
        item = prepared.item.astype(np.int64)
        met = np.cumsum(prepared.new, dtype=np.int64)
        row = np.flatnonzero(prepared.new & told[item])
        own = np.searchsorted(prepared.user, prepared.user[row])  # the user's first event
        begin = np.maximum(own, np.searchsorted(met, met[row] - history))
        # events whose product has no text leave, but have counted as steps back in time
        place = np.concatenate([[0], np.cumsum(told[item])])
        begin, end = place[begin], place[row]
        row, begin, end = (part[begin < end] for part in (row, begin, end))
        target, kept = item[row], told[item]
        share = np.bincount(target, minlength=prepared.n_items) / max(1, len(target))
        return cls(
            item=item[kept],
            strength=prepared.weight[kept],
            met=met[kept],
            begin=begin,
            end=end,
            target=target,
            count=met[row] - 1,
            told=np.flatnonzero(told),
            share=share,
            decay=decay,
            negatives=negatives,
        )

    def __len__(self) -> int:
        """Return the number of steps."""
        return len(self.target)

    def __getitem__(self, row: int) -> StepBatch:
        """Return one step."""
        return self.__getitems__([row])

    def __getitems__(self, rows: list[int]) -> StepBatch:
        """Return some steps; the drawn products come from torch's generator."""
        begin, length = self.begin[rows], self.end[rows] - self.begin[rows]
        start = np.cumsum(length) - length
        owner = np.repeat(np.arange(len(rows)), length)
        event = np.arange(len(owner)) + (begin - start)[owner]
        age = self.count[rows][owner] - self.met[event]
        weight = self.strength[event] * np.float32(self.decay) ** age
        drawn = self.told[torch.randint(len(self.told), (self.negatives,)).numpy()]
        # a product that comes several times is scored once, and counts as often
        asked = np.concatenate([self.target[rows], drawn])
        rivals, times = np.unique(asked, return_counts=True)
        expected = len(rows) * self.share[rivals] + self.negatives / len(self.told)
        items = np.concatenate([rivals, np.setdiff1d(self.item[event], rivals)])
        place = np.zeros(len(self.share), np.int64)
        place[items] = np.arange(len(items))
        parts = {
            "items": items,
            "before": place[self.item[event]],
            "weight": weight.astype(np.float32),
            "owner": owner,
            "start": start,
            "own": place[self.target[rows]],
            "log_weight": np.log(times / expected).astype(np.float32),
        }
        return StepBatch(**{name: torch.from_numpy(part) for name, part in parts.items()})


class Mixed(NamedTuple):
    """A batch of several tasks; None where it has no example of one.

    Attributes
    ----------
    steps
        For the ranking and the intent.
    reviews, polarity
        Shape (n_reviews,): their places among the texts, and how they are meant.
    """

    steps: StepBatch | None
    reviews: Tensor | None
    polarity: Tensor | None


@dataclass(frozen=True)
class Examples:
    """Steps, and reviews behind them; `n_before` texts stand before those of the reviews."""

    steps: Steps
    n_steps: int
    polarity: NDArray[np.int64]
    n_before: int

    def __len__(self) -> int:
        """Return the number of examples of all tasks."""
        return self.n_steps + len(self.polarity)

    def __getitem__(self, row: int) -> Mixed:
        """Return one example."""
        return self.__getitems__([row])

    def __getitems__(self, rows: list[int]) -> Mixed:
        """Return some examples."""
        steps = [row for row in rows if row < self.n_steps]
        review = np.array([row - self.n_steps for row in rows if row >= self.n_steps], int)
        some = len(review) > 0
        return Mixed(
            self.steps.__getitems__(steps) if steps else None,
            torch.from_numpy(review + self.n_before) if some else None,
            torch.from_numpy(self.polarity[review]) if some else None,
        )
