"""What a network is trained for: the losses of Eq. 9, and sums over several tasks."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from reclib.errors import ReclibError, unknown

KINDS = ("bce", "mse", "softmax")


def main_loss(scores: Tensor, relevant: Tensor, *, kind: str = "softmax") -> Tensor:
    """L_main of Eq. 9: how far the scores of slates are from what was relevant.

    Parameters
    ----------
    scores
        Float, shape (n_batch, n_candidates); −∞ marks padding, which counts nothing.
    relevant
        Bool or float, same shape: what each score should say, 0 to 1.
    kind
        ``bce``: binary cross-entropy of σ(score), mean over candidates. ``mse``: squared
        distance of the score, mean over candidates. ``softmax``: cross-entropy over the
        slate, where the relevant products share the target, evenly if `relevant` is bool;
        mean over the slates with a relevant product, the others count nothing.

    Returns
    -------
    Tensor
        Shape (); 0 with gradient 0 where nothing counts. NaN in the scores stays visible.

    Raises
    ------
    ReclibError
        For an unknown kind, or shapes that differ.

    Examples
    --------
    >>> main_loss(torch.tensor([[0.0, 0.0, -torch.inf]]), torch.tensor([[True, False, False]]))
    tensor(0.6931)
    """
    if kind not in KINDS:
        raise unknown("main loss", kind, KINDS)
    if scores.ndim != 2 or relevant.shape != scores.shape:
        raise ReclibError(
            f"scores of shape {tuple(scores.shape)} and relevant of shape "
            f"{tuple(relevant.shape)}; both must be (n_batch, n_candidates)"
        )
    padded = scores.isneginf()
    target = relevant.to(scores.dtype).masked_fill(padded, 0)
    if kind == "softmax":
        total = target.sum(1, keepdim=True)
        share = target / total.where(total > 0, 1)
        losses = functional.cross_entropy(_finite(scores, padded), share, reduction="none")
        return _mean(losses, total[:, 0] > 0)
    scores = scores.masked_fill(padded, 0)
    if kind == "bce":
        losses = functional.binary_cross_entropy_with_logits(scores, target, reduction="none")
    else:
        losses = functional.mse_loss(scores, target, reduction="none")
    return _mean(losses, ~padded)


def diversity_loss(scores: Tensor, vectors: Tensor, *, temperature: float = 1.0) -> Tensor:
    """L_diversity of Eq. 9: expected similarity of two products drawn from a slate.

    Σ_{i≠j} p_i p_j cos(y_i, y_j), with p the softmax of scores / temperature. It equals
    |Σ p_i y_i|² − Σ p_i² |y_i|² for unit y, so no pair is ever formed.

    Parameters
    ----------
    scores
        Float, shape (n_batch, n_candidates); −∞ marks padding, which counts nothing.
    vectors
        Float, shape (n_batch, n_candidates, n_dimensions), of any length; a vector of zeros
        is unlike all others.
    temperature
        Above 0; a low one looks at the head of the slate alone.

    Returns
    -------
    Tensor
        Shape (): mean over the slates that hold a product, at most 1 (all alike), 0 where
        all are orthogonal.

    Raises
    ------
    ReclibError
        For a temperature of 0 or less, or shapes that do not fit.

    Notes
    -----
    The term also falls where p peaks at one product: a network can lower it by being sure
    instead of diverse. Only lists, as `intra_list_diversity` measures them, tell which.
    """
    if not temperature > 0:
        raise ReclibError(f"temperature is {temperature}; allowed is above 0")
    if scores.ndim != 2 or vectors.shape[:-1] != scores.shape:
        raise ReclibError(
            f"scores of shape {tuple(scores.shape)} and vectors of shape "
            f"{tuple(vectors.shape)}; they must be (n_batch, n_candidates) and "
            "(n_batch, n_candidates, n_dimensions)"
        )
    padded = scores.isneginf()
    chance = _finite(scores / temperature, padded).softmax(1)
    unit = functional.normalize(vectors.masked_fill(padded[..., None], 0), dim=2)
    weighed = chance[..., None] * unit  # (n_batch, n_candidates, n_dimensions)
    similarity = weighed.sum(1).square().sum(1) - weighed.square().sum((1, 2))
    return _mean(similarity, ~padded.all(1))


def sampled_softmax(
    states: Tensor, own: Tensor, *, negatives: Tensor, log_weight: Tensor, hits: Tensor
) -> Tensor:
    """Cross-entropy of one product each against drawn ones, which stand for the catalogue.

    Of n draws, a product that came up c times and has the chance q in each stands for
    c / (n · q) products of the catalogue: the logarithm of that is added to its score (logQ),
    so that the softmax over the sample estimates the one over the catalogue without a bias in
    its denominator. Y. Bengio and J.-S. Senécal, *Adaptive Importance Sampling to Accelerate
    Training of a Neural Probabilistic Language Model* (IEEE Transactions on Neural Networks
    2008); X. Yi et al., *Sampling-Bias-Corrected Neural Modeling for Large Corpus Item
    Recommendations* (RecSys 2019). The own product is no draw, and so not corrected.

    Parameters
    ----------
    states
        Float, shape (n_batch, n_dimensions): users, or steps of their histories.
    own
        Same shape: the product each should name.
    negatives
        Shape (n_negatives, n_dimensions), drawn with replacement and shared in the batch;
        for in-batch negatives, `own` itself. One that came up several times may stand here
        as often, or once.
    log_weight
        Logarithm of how many products each stands for, shape (n_negatives,).
    hits
        Bool, shape (n_batch, n_negatives): drawn products that are the row's own by
        accident; they count nothing.

    Returns
    -------
    Tensor
        Shape (): mean over the rows.
    """
    logits = states @ negatives.T + log_weight.expand_as(hits).masked_fill(hits, -torch.inf)
    logits = torch.cat([(states * own).sum(1, keepdim=True), logits], dim=1)
    return functional.cross_entropy(logits, logits.new_zeros(len(logits), dtype=torch.long))


class Uncertainty(nn.Module):
    """Sum of the losses of tasks, weighed by how uncertain each task is.

    L = Σ_t exp(−s_t) L_t + s_t / 2, with s_t = log σ_t² learned: A. Kendall, Y. Gal and R.
    Cipolla, *Multi-Task Learning Using Uncertainty to Weigh Losses for Scene Geometry and
    Semantics* (CVPR 2018), Eq. 10, their form for cross-entropies. Every task starts at
    weight 1; for constant losses the minimum lies at s_t = log(2 L_t).

    Parameters
    ----------
    tasks
        Names, of which every batch brings some or all.

    Attributes
    ----------
    log_variance
        s_t by task, shape () each. Weight decay would draw them to 0: leave it off.

    Raises
    ------
    ReclibError
        If there are no tasks, or one is named twice; from `forward`, for an unknown task,
        or no loss at all.
    """

    def __init__(self, tasks: Iterable[str]) -> None:
        super().__init__()
        names = list(tasks)
        if not names or len(set(names)) < len(names):
            raise ReclibError(f"tasks are {names}; name one or more, each once")
        self.log_variance = nn.ParameterDict(
            {name: nn.Parameter(torch.zeros(())) for name in names}
        )

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Weigh and add the losses of a batch, shape () each; a missing task counts nothing."""
        _check_tasks(losses, self.log_variance.keys())
        terms = []
        for task, loss in losses.items():
            s = self.log_variance[task]
            terms.append(torch.exp(-s) * loss + s / 2)
        return torch.stack(terms).sum()


def weighted(losses: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Sum of the losses of tasks with fixed weights.

    Parameters
    ----------
    losses
        By task, shape () each; a task missing in a batch counts nothing.
    weights
        Of every task, 0 or more.

    Returns
    -------
    Tensor
        Shape (): Σ_t w_t L_t.

    Raises
    ------
    ReclibError
        For a task without a weight, a weight below 0, or no loss at all.

    Examples
    --------
    >>> losses = {"recommendation": torch.tensor(2.0), "sentiment": torch.tensor(1.0)}
    >>> weighted(losses, {"recommendation": 1.0, "intent": 0.3, "sentiment": 0.5})
    tensor(2.5000)
    """
    _check_tasks(losses, weights)
    for task, weight in weights.items():
        if not weight >= 0:
            raise ReclibError(f"the weight of {task!r} is {weight}; allowed is 0 or more")
    return torch.stack([weights[task] * loss for task, loss in losses.items()]).sum()


def _check_tasks(losses: Mapping[str, Tensor], allowed: Iterable[str]) -> None:
    if not losses:
        raise ReclibError(f"there is no loss to add; give one of: {', '.join(allowed)}")
    for task in losses:
        if task not in allowed:
            raise unknown("task", task, allowed)


def _finite(scores: Tensor, padded: Tensor) -> Tensor:
    """Scores whose softmax is 0 at padding, with gradients that are never NaN, as −∞ has."""
    return scores.masked_fill(padded, torch.finfo(scores.dtype).min)


def _mean(losses: Tensor, counted: Tensor) -> Tensor:
    """Mean over what counts; 0 where nothing does."""
    return (losses * counted).sum() / counted.sum().clamp(min=1)
