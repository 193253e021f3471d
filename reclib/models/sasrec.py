"""The next product from the order of those before it: a transformer over the history."""

import math
import time
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel
from tqdm.auto import tqdm

from reclib import cache
from reclib.data import Prepared
from reclib.errors import Diverged, ReclibError, Unsuitable, unknown
from reclib.models.base import Indices, Scorer, Scores
from reclib.models.device import choose_device
from reclib.models.objectives import sampled_softmax
from reclib.models.training import seeded

Tensors = tuple[Tensor, ...] | list[Tensor]

LOSSES = ("softmax", "sampled")
SPREAD = 0.02  # standard deviation of embeddings at the start
AVERAGE = 0.003  # share of the newest step in the averaged weights
POOL = 16  # batches that are sorted by length together


class SASRec(Scorer):
    """Self-attention over a user's newest products, trained to name the next one.

    W.-C. Kang and J. McAuley, *Self-Attentive Sequential Recommendation* (ICDM 2018), with
    the cross-entropy over the catalogue in place of one sampled negative a step: A.
    Klenitskiy and A. Vasilev, *Turning Dross Into Gold Loss* (RecSys 2023), show that the
    loss decides, not the architecture. R(u, i) = h_u · e_i, with h_u the last state of the
    transformer and e_i the embedding that is its input as well.

    A history holds each product once, where the user first met it: only such products are
    ever asked for. Every step of every history is learned from; long ones are cut.

    Parameters
    ----------
    embedding_size
        Dimensions of products and states; a multiple of `heads`.
    layers, heads
        Of the transformer.
    history
        Number of newest products that count, at least 1.
    dropout
        Of the input and of each layer's two additions, in [0, 1).
    learning_rate, weight_decay
        Of AdamW. The rate rises during the first epoch and then stays; scores come from the
        mean of the weights of some 300 recent steps, which settles them as a falling rate
        would. So the scores after an epoch are those of a fit with that many `epochs`.
    epochs
        Passes over all histories; to be chosen on validation data, see `on_epoch`.
    batch_size
        Histories at once.
    loss
        ``softmax``: over the whole catalogue. ``sampled``: over the next product and
        `negatives` drawn ones, shared in a batch, which stand for all others.
    negatives
        Of the sampled loss; unused by the other.
    directed
        Whether order counts. If not, every history is learned from forwards or backwards, by
        chance: the model cannot see which of two neighbours came first, as `Transitions`
        cannot with C + Cᵀ. It still sees which is the newest when it scores.

    Attributes
    ----------
    on_epoch
        Called as ``on_epoch(scorer, epoch)`` after each epoch that is trained, when the
        scorer can score: one fit shows validation metrics for every number of epochs.
    losses
        Mean loss of each epoch.

    Notes
    -----
    After each epoch the state goes to the cache: an interrupted fit goes on from there,
    with the same result, and a finished one is found there, without a call of `on_epoch`.
    All is computed in float32: with so small matrices bfloat16 takes longer, not less.
    Seeds give the same scores on one kind of device and number of threads only.

    Raises
    ------
    ReclibError
        For a parameter out of range; from `fit`, if no user has two products, or the loss
        is no longer finite.
    """

    name: ClassVar[str] = "sasrec"
    stochastic = True
    on_epoch: Callable[["SASRec", int], object] | None = None
    losses: tuple[float, ...] = ()

    def __init__(
        self,
        *,
        embedding_size: int = 64,
        layers: int = 2,
        heads: int = 1,
        history: int = 20,
        dropout: float = 0.3,
        learning_rate: float = 4e-3,
        epochs: int = 30,
        batch_size: int = 128,
        weight_decay: float = 0.3,
        loss: str = "sampled",
        negatives: int = 512,
        directed: bool = True,
    ) -> None:
        self.embedding_size = embedding_size
        self.layers = layers
        self.heads = heads
        self.history = history
        self.dropout = dropout
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.batch_size = batch_size
        self.weight_decay = weight_decay
        self.loss = loss
        self.negatives = negatives
        self.directed = directed
        self._check()

    def _check(self) -> None:
        if self.loss not in LOSSES:
            raise unknown("loss", self.loss, LOSSES)
        counts = ("embedding_size", "layers", "heads", "history", "epochs", "batch_size")
        for name in (*counts, "negatives"):
            if getattr(self, name) < 1:
                raise ReclibError(f"{name} is {getattr(self, name)}; allowed is 1 or more")
        if self.embedding_size % self.heads:
            raise ReclibError(
                f"embedding_size is {self.embedding_size}, which {self.heads} heads cannot "
                "share; choose a multiple of heads"
            )
        if not 0 <= self.dropout < 1:
            raise ReclibError(f"dropout is {self.dropout}; allowed is 0 <= dropout < 1")
        if not (self.learning_rate > 0 and self.weight_decay >= 0):
            raise ReclibError(
                f"learning_rate is {self.learning_rate} and weight_decay is "
                f"{self.weight_decay}; allowed is a rate above 0 and a decay of 0 or more"
            )

    @property
    def costs(self) -> dict[str, float]:
        """Seconds of training, also where it was done in an earlier fit."""
        return {"fit": self._trained}

    def _fit(self, prepared: Prepared, rng: int) -> None:
        device = choose_device()
        self._items, self._start = _histories(prepared)
        first, length = _windows(self._start, self.history)
        if len(first) == 0:
            raise Unsuitable(
                f"{self.name}: no user of {prepared.name} has two different products, so "
                "nothing follows anything; bring longer histories"
            )
        # products by how many users met them, and once more each: what negatives are drawn from
        self._urn = torch.cat([self._items, torch.arange(prepared.n_items)])
        self._log_chance = torch.log(self._urn.bincount() / len(self._urn)).to(device)
        key = (self.config(), prepared.fingerprint, rng, device)
        place = cache.entry("sasrec", key=key, code=cache.behind(__name__))
        with seeded(rng, 0):
            training = _Training(_Network(self, prepared.n_items).to(device), self.weight_decay)
        self._network = training.averaged
        self.losses, self._trained = (), 0.0
        kept = cache.read(place)
        if kept is not None:
            self.losses, self._trained = kept["losses"], kept["seconds"]
            training.restore(kept["parts"])
        # `on_epoch` may score, but only a whole fit counts as one
        self.prepared, self._rng = prepared, None
        for epoch in self._remaining():
            started = time.perf_counter()
            with seeded(rng, epoch):
                loss = self._epoch(first, length, training, epoch)
            self.losses += (loss,)
            self._trained += time.perf_counter() - started
            if self.on_epoch is not None:
                self.on_epoch(self, epoch)
            parts = training.state(finished=epoch == self.epochs)
            kept = {"losses": self.losses, "seconds": self._trained, "parts": parts}
            cache.write(place, kept)

    def _remaining(self) -> Iterator[int]:
        """Epochs still to train, from 1; a bar shows the loss of the one before."""
        done = len(self.losses)
        if done == self.epochs:
            return
        with tqdm(total=self.epochs, initial=done, desc=self.name, unit="epoch") as bar:
            for epoch in range(done + 1, self.epochs + 1):
                yield epoch
                bar.set_postfix(loss=f"{self.losses[-1]:.3f}", refresh=False)
                bar.update()

    def _epoch(self, first: Tensor, length: Tensor, training: "_Training", epoch: int) -> float:
        """Pass over all windows once; the mean loss of a step."""
        network = training.network
        device = network.products.device
        batches = _batches(length, self.batch_size)
        total = torch.zeros((), device=device)
        network.train()
        for number, rows in enumerate(batches):
            start, step = first[rows], torch.ones_like(rows)
            if not self.directed:
                back = torch.rand(len(rows)) < 0.5
                start, step = start + back * length[rows], step - 2 * back.long()
            inputs, real = _padded(self._items, start, length[rows], step)
            follows, _ = _padded(self._items, start + step, length[rows], step)
            targets = follows[real].to(device)
            loss = self._loss(network, inputs.to(device), targets, real.to(device))
            warm = min(1, epoch - 1 + (number + 1) / len(batches))
            training.step(loss, self.learning_rate * warm)
            total += loss.detach() * len(targets)
        mean = float(total) / int(length.sum())
        if not math.isfinite(mean):
            raise Diverged(
                f"{self.name}: the loss of epoch {epoch} is {mean} with learning_rate "
                f"{self.learning_rate}; choose a smaller one"
            )
        return mean

    def _loss(self, network: "_Network", inputs: Tensor, targets: Tensor, real: Tensor) -> Tensor:
        """Mean cross-entropy of the next product.

        Parameters
        ----------
        inputs, real
            int64 and bool, shape (n_batch, longest): products, and which are no padding.
        targets
            int64, shape (n_real,): what follows each real one.
        """
        weight = network.products
        if self.loss == "softmax":
            states = network(functional.embedding(inputs, weight))[real]  # (n_real, size)
            return functional.cross_entropy(states @ weight.T, targets)
        drawn = self._urn[torch.randint(len(self._urn), (self.negatives,))].to(weight.device)
        # one look-up, and so one dense gradient, for all three
        ids = torch.cat([inputs.ravel(), targets, drawn])
        sizes = [inputs.numel(), len(targets), len(drawn)]
        parts = torch.split(functional.embedding(ids, weight), sizes)
        states = network(parts[0].view(*inputs.shape, -1))[real]
        return sampled_softmax(
            states,
            parts[1],
            negatives=parts[2],
            log_weight=-self._log_chance[drawn] - math.log(len(drawn)),
            hits=drawn == targets[:, None],
        )

    def _score(self, users: Indices, items: Indices | slice) -> Scores:
        network, weight = self._network, self._network.products
        start, end = self._start[users], self._start[users + 1]
        length = (end - start).clamp(max=self.history)
        inputs, _ = _padded(self._items, end - length, length)
        with torch.inference_mode():
            states = network(functional.embedding(inputs.to(weight.device), weight))
            newest = states[torch.arange(len(users)), (length - 1).clamp(min=0)]  # (n_batch, size)
            scores: Scores = (newest @ weight[items].T).cpu().numpy()
        scores[(length == 0).numpy()] = np.nan
        return scores


class _Network(nn.Module):
    """Embeddings of products, shape (n_items, size), and the transformer over them."""

    def __init__(self, settings: SASRec, n_items: int) -> None:
        super().__init__()
        size = settings.embedding_size
        self.products = nn.Parameter(torch.randn(n_items, size) * SPREAD)
        self.places = nn.Parameter(torch.randn(settings.history, size) * SPREAD)
        self.dropout = _Dropout(settings.dropout)
        self.blocks = nn.Sequential(*(_Block(settings) for _ in range(settings.layers)))
        self.norm = nn.LayerNorm(size)

    def forward(self, embedded: Tensor) -> Tensor:
        """Turn embedded histories into states, both of shape (n_batch, longest, size)."""
        states: Tensor = self.dropout(embedded + self.places[: embedded.shape[1]])
        states = self.norm(self.blocks(states))
        return states


class _Block(nn.Module):
    """Attention to the products up to each one, then a network at each: pre-norm, causal."""

    def __init__(self, settings: SASRec) -> None:
        super().__init__()
        size = settings.embedding_size
        self.heads = settings.heads
        self.look = nn.Sequential(nn.LayerNorm(size), nn.Linear(size, 3 * size))
        self.gather = nn.Linear(size, size)
        self.think = nn.Sequential(
            nn.LayerNorm(size), nn.Linear(size, size), nn.GELU(), nn.Linear(size, size)
        )
        self.dropout = _Dropout(settings.dropout)

    def forward(self, states: Tensor) -> Tensor:
        """States of the next layer, shape (n_batch, longest, size)."""
        asked = self.look(states).unflatten(2, (3, self.heads, -1))
        query, key, value = asked.permute(2, 0, 3, 1, 4)  # (n_batch, heads, longest, size / heads)
        seen = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        states = states + self.dropout(self.gather(seen.transpose(1, 2).flatten(2)))
        states = states + self.dropout(self.think(states))
        return states


class _Dropout(nn.Dropout):
    """Dropout from `torch.rand`: on CPUs the library's own draws a quarter as fast."""

    def forward(self, states: Tensor) -> Tensor:
        """Drop a share p of the entries in training, and scale up the others."""
        if not self.training or self.p == 0:
            return states
        keep = torch.rand(states.shape, device=states.device) >= self.p
        return states * keep.to(states.dtype).mul_(1 / (1 - self.p))


class _Training:
    """A network, the mean of its weights over recent steps, and the optimizer."""

    def __init__(self, network: _Network, weight_decay: float) -> None:
        self.network = network
        self.average = AveragedModel(network, multi_avg_fn=_recent_mean)
        fused = network.products.device.type != "mps"
        self.optimizer = torch.optim.AdamW(
            network.parameters(), weight_decay=weight_decay, fused=fused
        )

    @property
    def averaged(self) -> _Network:
        """The network with averaged weights, for scoring."""
        return cast(_Network, self.average.module.eval())

    def step(self, loss: Tensor, rate: float) -> None:
        """Go down the gradient once."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        self.optimizer.step()
        self.average.update_parameters(self.network)

    def state(self, *, finished: bool) -> dict[str, Any]:
        """Take down all that training needs to go on, or, if finished, all that scores need."""
        names = ("average",) if finished else ("average", "network", "optimizer")
        return {name: getattr(self, name).state_dict() for name in names}

    def restore(self, state: dict[str, Any]) -> None:
        """Return to what `state` took down."""
        for name, part in state.items():
            getattr(self, name).load_state_dict(part)


@torch.no_grad()
def _recent_mean(mean: Tensors, new: Tensors, count: Tensor | int) -> None:
    """Move averaged weights towards the new ones, further while few were averaged."""
    share = max(AVERAGE, 10 / (int(count) + 10))
    for parameter, value in zip(mean, new, strict=True):
        parameter.lerp_(value, share)


def _histories(prepared: Prepared) -> tuple[Tensor, Tensor]:
    """Products by user, oldest first, int64 (n,), and where each user starts, (n_users + 1,)."""
    user, item = prepared.user[prepared.new], prepared.item[prepared.new]
    start = np.searchsorted(user, np.arange(prepared.n_users + 1))
    return torch.from_numpy(item.astype(np.int64)), torch.from_numpy(start)


def _windows(start: Tensor, history: int) -> tuple[Tensor, Tensor]:
    """Cut histories into inputs of at most `history` products, each with one after it.

    Every product but a user's first is asked for once. Cuts are counted from the end, so
    that the newest products have the longest past.

    Returns
    -------
    first, length : Tensor
        int64, shape (n_windows,): where inputs start, and how many there are.
    """
    steps = (start.diff() - 1).clamp(min=0)
    count = (steps + history - 1) // history
    owner = torch.arange(len(steps)).repeat_interleave(count)
    number = torch.arange(len(owner)) - (count.cumsum(0) - count)[owner]
    last = start[owner + 1] - 1 - number * history
    first = torch.maximum(last - history, start[owner])
    return first, last - first


def _batches(length: Tensor, batch_size: int) -> list[Tensor]:
    """Rows in random batches; similar lengths share one, so that little is padded."""
    pools = torch.split(torch.randperm(len(length)), POOL * batch_size)
    ordered = [pool[length[pool].argsort()] for pool in pools]
    batches = [batch for pool in ordered for batch in torch.split(pool, batch_size)]
    return [batches[place] for place in torch.randperm(len(batches))]


def _padded(
    items: Tensor, first: Tensor, length: Tensor, step: Tensor | int = 1
) -> tuple[Tensor, Tensor]:
    """Slices of `items` as rows, int64 (n_rows, longest), and which entries are no padding.

    A `step` of −1 reads a slice backwards. Padding stands behind, where causal attention never
    looks, so any product will do.
    """
    # a column even where nobody has a product, so that there is a last state to look at
    place = torch.arange(max(1, int(length.max()) if len(length) else 0))
    where = first[:, None] + place * torch.as_tensor(step).reshape(-1, 1)
    return items[where.clamp(0, len(items) - 1)], place < length[:, None]
