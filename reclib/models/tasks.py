"""Tasks that share the parameters of the language model (IV-B), and how they are weighed."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from reclib.data.labels import POLARITIES
from reclib.errors import ReclibError, unknown
from reclib.models.objectives import Uncertainty, weighted

TASKS = ("recommendation", "intent", "sentiment")


def check_tasks(tasks: Sequence[str], weights: Mapping[str, float] | None) -> None:
    """Refuse unknown tasks, none, one twice, and weights that do not fit them.

    Raises
    ------
    ReclibError
        That says which.
    """
    for task in (*tasks, *(weights or ())):
        if task not in TASKS:
            raise unknown("task", task, TASKS)
    if not tasks or len(set(tasks)) < len(tasks):
        raise ReclibError(f"tasks are {list(tasks)}; name one or more, each once")
    for task in tasks if weights is not None else ():
        weight = weights.get(task, 0.0) if weights else 0.0
        if not 0 < weight < np.inf:
            raise ReclibError(
                f"the weight of {task!r} is {weight}; allowed is a number above 0, or leave the "
                "task out"
            )


class Heads(nn.Module):
    """A linear layer for each task beside the ranking, on vectors that all tasks share.

    Parameters
    ----------
    tasks
        Some of `TASKS`.
    weights
        Of the tasks; None learns them (see `reclib.models.objectives.Uncertainty`).
    n_dimensions
        Of the vectors.
    classes
        Intent of each product, shape (n_items,), −1 where unknown; empty without that task.
    polarities
        Of the reviews that are learned from, for the balance of the two classes; empty
        without that task.
    """

    classes: Tensor
    balance: Tensor

    def __init__(
        self,
        tasks: Sequence[str],
        weights: Mapping[str, float] | None,
        *,
        n_dimensions: int,
        classes: NDArray[np.int64],
        polarities: NDArray[np.int64],
    ) -> None:
        super().__init__()
        self.weights = weights
        self.register_buffer("classes", torch.from_numpy(classes), persistent=False)
        if "intent" in tasks:
            self.intent = nn.Linear(n_dimensions, int(classes.max()) + 1)
        if "sentiment" in tasks:
            self.sentiment = nn.Linear(n_dimensions, len(POLARITIES))
            counts = np.bincount(polarities, minlength=len(POLARITIES))
            # both classes together weigh the same, however few complain
            balance = (len(polarities) / (len(counts) * counts)).astype(np.float32)
            self.register_buffer("balance", torch.from_numpy(balance), persistent=False)
        if weights is None and len(tasks) > 1:
            self.uncertainty = Uncertainty(tasks)

    def intent_loss(self, users: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy of the class of the next product, mean over those that have one."""
        classes = self.classes[targets]
        total = functional.cross_entropy(
            self.intent(users), classes, ignore_index=-1, reduction="sum"
        )
        return total / (classes >= 0).sum().clamp(min=1)

    def sentiment_loss(self, reviews: Tensor, polarities: Tensor) -> Tensor:
        """Cross-entropy of the polarity, both classes balanced over all reviews."""
        losses = functional.cross_entropy(
            self.sentiment(reviews), polarities, weight=self.balance, reduction="none"
        )
        return losses.mean()

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Weigh and add the losses of a batch, which may lack some tasks."""
        if hasattr(self, "uncertainty"):
            total: Tensor = self.uncertainty(losses)
            return total
        return weighted(losses, self.weights or dict.fromkeys(losses, 1.0))
