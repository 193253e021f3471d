"""The language model as a scorer, tuned on behaviour: Eq. 6 with towers that were trained."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from reclib import cache
from reclib.data import Prepared, history_weights, item_texts
from reclib.errors import ReclibError, unknown
from reclib.models.base import Indices, Scores
from reclib.models.encoder import DEFAULT_ENCODER, choose_device, load_encoder
from reclib.models.language import Language
from reclib.models.objectives import sampled_softmax
from reclib.models.training import History, Training, as_it_is, seeded, train

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TUNINGS = ("frozen", "adapter", "last-k", "lora", "full")
READ = 128  # texts that are padded to one length: few, so that little is padded
BLOCK = 1024  # products whose vectors are made at once, after training


class TunedLanguage(Language):
    """Eq. 6 with a language model that has learned from behaviour.

    Two towers over the texts alone. A product's is y_i = unit(v_i + A v_i), with v_i the
    whitened embedding of its text; a user's is x_u = unit(m_u + B m_u), with m_u the
    recency-weighted mean of the user's y_i. The score is their cosine. A and B start at 0,
    where the model is `Language`, and weight decay draws them back there. The encoder itself
    can be tuned with them.

    Every product that a user met, but the first, is predicted from those before it, by a
    softmax over the catalogue without these. What is predicted in a batch, and products drawn
    evenly, stand for the catalogue: see `reclib.models.objectives.sampled_softmax`.

    Of a product the model knows the text alone: one that nobody had yet is scored, too.

    Parameters
    ----------
    encoder, pooling, max_length, whitening, ridge, decay, history
        As in `Language`.
    tuning
        What is trained: ``"frozen"``, nothing; ``"adapter"``, A and B, on embeddings that are
        computed once; ``"last-k"``, the encoder's last layers too; ``"lora"``, matrices of
        low rank beside each of its linear layers (Hu et al., *LoRA*, ICLR 2022); ``"full"``,
        all of it.
    layers
        Of ``"last-k"``.
    lora_rank
        Of the matrices of ``"lora"``.
    temperature
        Cosines are divided by it before the softmax, in training.
    dropout
        Of what A and B multiply, in [0, 1).
    epochs, learning_rate, weight_decay, batch_size
        As in `reclib.models.training.Training`; rate and decay are those of A and B. An
        example is a product to predict.
    encoder_rate
        Learning rate of what is trained of the encoder; it has no decay.
    negatives
        Products drawn for a batch, evenly, beside those that are predicted in it.

    Attributes
    ----------
    embeddings, item_vectors, user_vectors
        As in `Language`; the first before tuning, the others after.
    training
        What happened in it; None where nothing is trained.

    Notes
    -----
    Where the encoder is tuned, a batch reads each of its distinct texts, some 3,000 with the
    defaults, and keeps all states for the gradient: on a CPU choose `batch_size` and
    `negatives` far smaller. After each epoch the state goes to the cache, as with
    `reclib.models.SASRec`.

    Raises
    ------
    ReclibError
        For an unknown or impossible value; from `fit`, if no product has a text, or no user
        two with one.
    """

    name: ClassVar[str] = "language:tuned"
    stochastic = True
    training: History | None = None

    def __init__(
        self,
        *,
        encoder: str = DEFAULT_ENCODER,
        pooling: str = "mean",
        max_length: int = 128,
        whitening: str = "whiten",
        ridge: float = 0.1,
        decay: float = 0.7,
        history: int = 20,
        tuning: str = "adapter",
        layers: int = 2,
        lora_rank: int = 8,
        temperature: float = 0.1,
        dropout: float = 0.0,
        epochs: int = 3,
        learning_rate: float = 1e-3,
        encoder_rate: float = 5e-5,
        weight_decay: float = 0.1,
        batch_size: int = 512,
        negatives: int = 1024,
    ) -> None:
        super().__init__(
            encoder=encoder,
            pooling=pooling,
            max_length=max_length,
            whitening=whitening,
            ridge=ridge,
            decay=decay,
            history=history,
        )
        if tuning not in TUNINGS:
            raise unknown("tuning", tuning, TUNINGS)
        for name, value in {
            "layers": layers,
            "lora_rank": lora_rank,
            "negatives": negatives,
        }.items():
            if value < 1:
                raise ReclibError(f"{name} is {value}; allowed is 1 or more")
        for name, number in {"temperature": temperature, "encoder_rate": encoder_rate}.items():
            if not 0 < number < np.inf:
                raise ReclibError(f"{name} is {number}; allowed is a number above 0")
        if not 0 <= dropout < 1:
            raise ReclibError(f"dropout is {dropout}; allowed is 0 <= dropout < 1")
        self._settings = Training(
            epochs=epochs,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            batch_size=batch_size,
            precision="float32" if tuning == "adapter" else "bfloat16",
        )
        self.tuning = tuning
        self.layers = layers
        self.lora_rank = lora_rank
        self.temperature = temperature
        self.dropout = dropout
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.encoder_rate = encoder_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.negatives = negatives

    def _fit(self, prepared: Prepared, rng: int) -> None:
        super()._fit(prepared, rng)
        self.training = None
        if self.tuning == "frozen":
            return
        # the frozen vectors, too: their last digits depend on the hardware that encoded them
        key = (self.config(), prepared.fingerprint, rng, choose_device(), self.item_vectors)
        code = cache.behind(__name__)
        place = cache.entry("tuned", key=key, code=code)
        tune = partial(self._tune, prepared, rng, place.with_suffix(".pt"))
        items, users, self.training, seconds = cache.cached("tuned", tune, key=key, code=code)
        self.item_vectors, self.user_vectors = items, users
        self._encode_seconds["encode tuned"] = seconds

    @property
    def costs(self) -> dict[str, float]:
        """Seconds of each step, also where training and encoding were done in an earlier fit."""
        if self.training is None:
            return super().costs
        return {"fit": self.training.seconds, **self._encode_seconds}

    def _tune(
        self, prepared: Prepared, rng: int, checkpoint: Path
    ) -> tuple[Scores, Scores, History, float]:
        """Train; make vectors of products and users, and tell how long making them took."""
        steps = _Steps.of(self, prepared, self._told)
        if len(steps) == 0:
            raise ReclibError(
                f"{self.name}: no user of {prepared.name} has two different products with a "
                "text, so nothing follows anything; bring longer histories"
            )
        with seeded(rng, 0):
            towers = _Towers(self._reader(prepared), self.item_vectors.shape[1], self.dropout)
        groups: list[dict[str, Any]] = [
            {"params": [towers.item.weight, towers.user.weight]},
            {
                "params": [one for one in towers.text.parameters() if one.requires_grad],
                "lr": self.encoder_rate,
                "weight_decay": 0.0,
            },
        ]
        history = train(
            towers,
            steps,
            self._loss,
            settings=self._settings,
            collate=as_it_is,
            checkpoint=checkpoint,
            parameters=[group for group in groups if group["params"]],
            rng=rng,
            description=self.name,
        )
        started = time.perf_counter()
        weights = history_weights(prepared, decay=self.decay, history=self.history)
        device = towers.item.weight.device
        with torch.inference_mode():
            asked = torch.split(torch.arange(prepared.n_items, device=device), BLOCK)
            made = torch.cat([towers.items(part) for part in asked]).cpu().numpy()
            items = np.where(self._told[:, None], made, np.float32(0))
            means = torch.from_numpy(weights @ items).to(device)
            users = towers.users(means).cpu().numpy()
        users[np.isnan(self.user_vectors)] = np.nan
        return items, users, history, time.perf_counter() - started

    def _reader(self, prepared: Prepared) -> nn.Module:
        """Make what turns products into the whitened embeddings of their texts."""
        if self.tuning == "adapter":
            return _Table(self.item_vectors)
        tokenizer, model = load_encoder(self.encoder, "cpu", torch.float32)
        read = tokenizer(item_texts(prepared), truncation=True, max_length=self.max_length)
        whitening = self._whitening(self.embeddings.vectors[self._told])
        return _Reader(self._unfrozen(model), read["input_ids"], self.pooling, *whitening)

    def _unfrozen(self, model: "PreTrainedModel") -> nn.Module:
        """Let the chosen part of the encoder be trained."""
        if self.tuning == "full":
            return model
        if self.tuning == "lora":
            from peft import LoraConfig, get_peft_model

            every = LoraConfig(
                r=self.lora_rank, lora_alpha=2 * self.lora_rank, target_modules="all-linear"
            )
            return cast(nn.Module, get_peft_model(model, every))
        n_layers = model.config.num_hidden_layers
        if self.layers > n_layers:
            raise ReclibError(
                f"layers is {self.layers}; the encoder {self.encoder!r} has {n_layers}"
            )
        stacks = (part for part in model.modules() if isinstance(part, nn.ModuleList))
        stack = next(stack for stack in stacks if len(stack) == n_layers)
        model.requires_grad_(False)
        stack[-self.layers :].requires_grad_(True)
        return model

    def _loss(self, network: nn.Module, batch: "_Batch") -> Tensor:
        """Mean cross-entropy of the products to predict, against the rivals of the batch."""
        towers = cast(_Towers, network)
        vectors = towers.items(batch.items)
        means = functional.embedding_bag(
            batch.before, vectors, batch.start, per_sample_weights=batch.weight, mode="sum"
        )
        own = batch.rivals[: len(batch.start)]
        # what the user had is not recommended, so it is no rival either
        had = torch.zeros(len(own), len(vectors), dtype=torch.bool, device=vectors.device)
        had[batch.owner, batch.before] = True
        had[torch.arange(len(own), device=vectors.device), own] = True
        return sampled_softmax(
            towers.users(means) / self.temperature,
            vectors[own],
            negatives=vectors[batch.rivals],
            log_chance=batch.log_chance,
            hits=had[:, batch.rivals],
        )


class _Towers(nn.Module):
    """From texts to unit vectors of products, and from their means to those of users."""

    def __init__(self, text: nn.Module, n_dimensions: int, dropout: float) -> None:
        super().__init__()
        self.text = text
        self.dropout = nn.Dropout(dropout)
        self.item = nn.Linear(n_dimensions, n_dimensions, bias=False)
        self.user = nn.Linear(n_dimensions, n_dimensions, bias=False)
        nn.init.zeros_(self.item.weight)
        nn.init.zeros_(self.user.weight)

    def items(self, items: Tensor) -> Tensor:
        """Vectors of products, shape (n, n_dimensions)."""
        vectors = self.text(items)
        return functional.normalize(vectors + self.item(self.dropout(vectors)), dim=1)

    def users(self, means: Tensor) -> Tensor:
        """Vectors of users, from the means of their products', shape (n, n_dimensions)."""
        return functional.normalize(means + self.user(self.dropout(means)), dim=1)


class _Table(nn.Module):
    """Embeddings that are not trained: looked up."""

    vectors: Tensor

    def __init__(self, vectors: Scores) -> None:
        super().__init__()
        self.register_buffer("vectors", torch.from_numpy(vectors), persistent=False)

    def forward(self, items: Tensor) -> Tensor:
        """Embeddings of products, shape (n, n_dimensions)."""
        return self.vectors[items]


class _Reader(nn.Module):
    """Embeddings by a transformer that reads the texts each time, whitened as at the start."""

    centre: Tensor
    turn: Tensor

    def __init__(
        self,
        model: nn.Module,
        tokens: Sequence[Sequence[int]],
        pooling: str,
        centre: Scores,
        turn: Scores,
    ) -> None:
        super().__init__()
        self.model = model
        self.tokens = [torch.tensor(text) for text in tokens]
        self.pooling = pooling
        self.register_buffer("centre", torch.from_numpy(centre), persistent=False)
        self.register_buffer("turn", torch.from_numpy(turn), persistent=False)

    def forward(self, items: Tensor) -> Tensor:
        """Embeddings of products, shape (n, n_dimensions)."""
        texts = [self.tokens[item] for item in items.tolist()]
        length = torch.tensor([len(text) for text in texts])
        order = length.argsort(stable=True)
        parts = [
            self._pooled([texts[row] for row in rows], length[rows])
            for rows in torch.split(order, READ)
        ]
        vectors = torch.cat(parts)[order.argsort().to(items.device)]
        with torch.autocast(items.device.type, enabled=False):  # small differences count
            return functional.normalize((vectors - self.centre) @ self.turn, dim=1)

    def _pooled(self, texts: list[Tensor], length: Tensor) -> Tensor:
        tokens = pad_sequence(texts, batch_first=True)
        real = (torch.arange(tokens.shape[1]) < length[:, None]).to(self.centre.device)
        seen = self.model(input_ids=tokens.to(self.centre.device), attention_mask=real.long())
        hidden: Tensor = seen.last_hidden_state.float()  # (n, tokens, n_dimensions)
        if self.pooling == "cls":
            return hidden[:, 0]
        return (hidden * real[:, :, None]).sum(1) / length[:, None].to(hidden.device)


class _Batch(NamedTuple):
    """Some steps, and what stands for the rest of the catalogue.

    Attributes
    ----------
    items
        Shape (n_distinct,): every product that is met, once.
    before, weight, owner
        Shape (n_before,): places in `items` of what comes before, its weight, and its step.
    start
        Shape (n_batch,): where in `before` each step begins.
    rivals, log_chance
        Shape (n_batch + n_negatives,): places in `items` of the product to predict of each
        step and of drawn ones, and the logarithm of the chance that a rival is that product.
    """

    items: Tensor
    before: Tensor
    weight: Tensor
    owner: Tensor
    start: Tensor
    rivals: Tensor
    log_chance: Tensor


@dataclass(frozen=True)
class _Steps:
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
    def of(cls, model: TunedLanguage, prepared: Prepared, told: NDArray[np.bool_]) -> Self:
        """Cut histories, so that a step sees what `history_weights` would, had it been then."""
        item = prepared.item.astype(np.int64)
        met = np.cumsum(prepared.new, dtype=np.int64)
        row = np.flatnonzero(prepared.new & told[item])
        own = np.searchsorted(prepared.user, prepared.user[row])  # the user's first event
        begin = np.maximum(own, np.searchsorted(met, met[row] - model.history))
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
            decay=model.decay,
            negatives=model.negatives,
        )

    def __len__(self) -> int:
        """Return the number of steps."""
        return len(self.target)

    def __getitem__(self, row: int) -> _Batch:
        """Return one step."""
        return self.__getitems__([row])

    def __getitems__(self, rows: list[int]) -> _Batch:
        """Return some steps; the drawn products come from torch's generator."""
        begin, length = self.begin[rows], self.end[rows] - self.begin[rows]
        start = np.cumsum(length) - length
        owner = np.repeat(np.arange(len(rows)), length)
        event = np.arange(len(owner)) + (begin - start)[owner]
        age = self.count[rows][owner] - self.met[event]
        weight = self.strength[event] * np.float32(self.decay) ** age
        drawn = self.told[torch.randint(len(self.told), (self.negatives,)).numpy()]
        rivals = np.concatenate([self.target[rows], drawn])
        expected = len(rows) * self.share[rivals] + self.negatives / len(self.told)
        met = np.concatenate([self.item[event], rivals])
        items, place = np.unique(met, return_inverse=True)
        parts = {
            "items": items,
            "before": place[: len(event)],
            "weight": weight.astype(np.float32),
            "owner": owner,
            "start": start,
            "rivals": place[len(event) :],
            "log_chance": np.log(expected / len(rivals)).astype(np.float32),
        }
        return _Batch(**{name: torch.from_numpy(part) for name, part in parts.items()})
