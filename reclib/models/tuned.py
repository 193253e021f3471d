"""The language model as a scorer, tuned on behaviour: Eq. 6 with towers that were trained."""

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, ClassVar, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.nn import functional

from reclib import cache
from reclib.data import Prepared, history_weights, item_texts
from reclib.data.labels import POLARITIES, category_classes, polarity
from reclib.errors import ReclibError, Unsuitable, unknown
from reclib.models.base import Scores
from reclib.models.device import choose_device
from reclib.models.encoder import DEFAULT_ENCODER, load_encoder
from reclib.models.language import Language, unit_rows
from reclib.models.objectives import sampled_softmax
from reclib.models.steps import Examples, Mixed, StepBatch, Steps
from reclib.models.tasks import Heads, check_tasks
from reclib.models.towers import Reader, Table, Towers
from reclib.models.training import History, Training, as_it_is, seeded, train

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TUNINGS = ("frozen", "adapter", "last-k", "lora", "full")


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

    Other tasks (IV-B) may share A, B and the encoder: ``"intent"``, the class of the product
    to predict, by a layer on x_u; and ``"sentiment"``, how a review is meant, by one on the
    vector of its text, made like that of a product. Every example of each task counts once
    an epoch.

    Parameters
    ----------
    encoder, pooling, max_length, review_text, whitening, ridge, decay, history
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
    tasks
        Some of `reclib.models.tasks.TASKS`; without ``"recommendation"`` the ranking is
        what the others make of the vectors.
    task_weights
        Of their losses, each above 0; by default learned, where there are several
        (`reclib.models.objectives.Uncertainty`).

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
        For an unknown or impossible value; from `fit`, if no product has a text, or there is
        nothing that a task can learn from.
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
        review_text: bool = False,
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
        tasks: Sequence[str] = ("recommendation",),
        task_weights: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(
            encoder=encoder,
            pooling=pooling,
            max_length=max_length,
            review_text=review_text,
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
        check_tasks(tasks, task_weights)
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
        self.tasks = tuple(tasks)
        self.task_weights = task_weights

    def _fit(self, prepared: Prepared, rng: int) -> None:
        super()._fit(prepared, rng)
        self.training = None
        if self.tuning == "frozen":
            return
        # the frozen vectors, too: their last digits depend on the hardware that encoded them
        key = (self.config(), prepared.fingerprint, rng, choose_device(), self.item_vectors)
        code = cache.behind(__name__)
        self._checkpoint = cache.entry("tuned", key=key, code=code).with_suffix(".pt")
        tune = partial(self._tune, prepared, rng)
        items, users, self.training, seconds = cache.cached("tuned", tune, key=key, code=code)
        self.item_vectors, self.user_vectors = items, users
        self._encode_seconds["encode tuned"] = seconds

    @property
    def costs(self) -> dict[str, float]:
        """Seconds of each step, also where training and encoding were done in an earlier fit."""
        if self.training is None:
            return super().costs
        return {"fit": self.training.seconds, **self._encode_seconds}

    @property
    def intents(self) -> tuple[str, ...]:
        """Names of the classes of intent, of `reclib.data.labels.category_classes`."""
        return category_classes(self._fitted())[1]

    def predict_intent(self, users: ArrayLike) -> Scores:
        """Predict the class of each user's next product.

        Parameters
        ----------
        users
            Dense user indices, shape (n_users,).

        Returns
        -------
        ndarray
            float32, shape (n_users, n_intents): chances of `intents`; NaN for a user without
            a history.

        Raises
        ------
        ReclibError
            If the model is not fitted, or has not learned this task.
        """
        towers = self._taught("intent")
        vectors = torch.from_numpy(self.user_vectors[np.asarray(users, int)])
        with torch.inference_mode():
            return towers.chances("intent", vectors.to(towers.device) / self.temperature)

    def predict_sentiment(self, texts: Sequence[str]) -> Scores:
        """Predict how reviews are meant.

        Parameters
        ----------
        texts
            Shape (n_texts,).

        Returns
        -------
        ndarray
            float32, shape (n_texts, 2): chances of `reclib.data.labels.POLARITIES`.

        Raises
        ------
        ReclibError
            If the model is not fitted, or has not learned this task.
        """
        towers = self._taught("sentiment")
        towers.text = self._reader([texts], towers.text).to(towers.device)
        with torch.inference_mode():
            return towers.chances("sentiment", towers.all(len(texts)) / self.temperature)

    def _taught(self, task: str) -> Towers:
        """Towers with all heads, as the last fit left them in its checkpoint."""
        prepared = self._fitted()
        if self.training is None or task not in self.tasks:
            learned = "nothing" if self.training is None else ", ".join(self.tasks)
            raise ReclibError(
                f"{self.name} has learned {learned}, not {task}; name it in tasks, with a tuning "
                "that trains something, and fit again"
            )
        return self._train(prepared, self._rng or 0)[0]

    def _tune(self, prepared: Prepared, rng: int) -> tuple[Scores, Scores, History, float]:
        """Train; make vectors of products and users, and tell how long making them took."""
        towers, history = self._train(prepared, rng)
        started = time.perf_counter()
        weights = history_weights(prepared, decay=self.decay, history=self.history)
        with torch.inference_mode():
            made = towers.all(prepared.n_items).cpu().numpy()
            items = np.where(self._told[:, None], made, np.float32(0))
            means = torch.from_numpy(weights @ items).to(towers.device)
            users = towers.users(means).cpu().numpy()
        users[np.isnan(self.user_vectors)] = np.nan
        return items, users, history, time.perf_counter() - started

    def _train(self, prepared: Prepared, rng: int) -> tuple[Towers, History]:
        """Train, or go on from the checkpoint; with a finished one nothing is left to do."""
        steps = self._steps(prepared)
        classes, reviews, meant = self._labels(prepared, len(steps))
        wanted = len(steps) if {"recommendation", "intent"} & set(self.tasks) else 0
        n_dimensions = self.item_vectors.shape[1]
        with seeded(rng, 0):
            texts = item_texts(prepared, reviews=self.review_text)
            reader = self._reader([texts, reviews])
            towers = Towers(reader, n_dimensions, self.dropout)
            towers.heads = Heads(
                self.tasks,
                self.task_weights,
                n_dimensions=n_dimensions,
                classes=classes,
                polarities=meant,
            )
        history = train(
            towers,
            Examples(steps, wanted, meant, prepared.n_items),
            self._loss,
            settings=self._settings,
            collate=as_it_is,
            checkpoint=self._checkpoint,
            parameters=towers.groups(self.encoder_rate),
            rng=rng,
            description=self.name,
        )
        return towers, history

    def _steps(self, prepared: Prepared) -> Steps:
        return Steps.of(
            prepared,
            self._told,
            decay=self.decay,
            history=self.history,
            negatives=self.negatives,
        )

    def _labels(
        self, prepared: Prepared, n_steps: int
    ) -> tuple[NDArray[np.int64], list[str], NDArray[np.int64]]:
        """Collect the products' classes, the reviews, and how these are meant, as asked for."""
        classes, meant = np.zeros(0, np.int64), np.zeros(0, np.int64)
        reviews: list[str] = []
        if {"recommendation", "intent"} & set(self.tasks) and n_steps == 0:
            raise Unsuitable(
                f"{self.name}: no user of {prepared.name} has two different products with a "
                "text, so nothing follows anything; bring longer histories"
            )
        if "intent" in self.tasks:
            classes, _ = category_classes(prepared)
        if "sentiment" in self.tasks:
            meant = polarity(prepared.reviews["rating"])
            says = (meant >= 0) & (prepared.reviews["text"] != "").to_numpy()
            reviews, meant = prepared.reviews["text"][says].tolist(), meant[says]
            if len(set(meant.tolist())) < len(POLARITIES):
                raise ReclibError(
                    f"{self.name}: {prepared.name} has no reviews of both kinds, of more and of "
                    "fewer than three stars, to learn sentiment from; leave this task out"
                )
        return classes, reviews, meant

    def _reader(self, parts: Sequence[Sequence[str]], like: nn.Module | None = None) -> nn.Module:
        """Make what turns texts into their whitened embeddings; `like` lends its encoder."""
        whitening = self._whitening(self.embeddings.vectors[self._told])
        told = [list(texts) for texts in parts if texts]
        if self.tuning == "adapter":
            made = [self._embedded(texts).vectors for texts in told]
            return Table(unit_rows(np.dot(np.concatenate(made) - whitening[0], whitening[1])))
        tokenizer, model = load_encoder(self.encoder, "cpu", torch.float32, self.max_length)
        read = tokenizer(sum(told, []), truncation=True, max_length=self.max_length)
        tuned = like.model if isinstance(like, Reader) else self._unfrozen(model)
        return Reader(tuned, read["input_ids"], self.pooling, *whitening)

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

    def _loss(self, network: nn.Module, batch: Mixed) -> Tensor:
        """Weighted sum of the losses of the tasks that the batch has examples of."""
        towers = cast(Towers, network)
        losses = {} if batch.steps is None else self._step_losses(towers, batch.steps)
        if batch.reviews is not None and batch.polarity is not None:
            vectors = towers.items(batch.reviews) / self.temperature
            losses["sentiment"] = towers.heads.sentiment_loss(vectors, batch.polarity)
        return towers.heads.total(losses)

    def _step_losses(self, towers: Towers, batch: StepBatch) -> dict[str, Tensor]:
        """Cross-entropy of the products to predict, against the rivals, and of their classes."""
        vectors = towers.items(batch.items)
        means = functional.embedding_bag(
            batch.before, vectors, batch.start, per_sample_weights=batch.weight, mode="sum"
        )
        users = towers.users(means) / self.temperature
        losses = {}
        if "recommendation" in self.tasks:
            # what the user had is not recommended, so it is no rival either
            had = torch.zeros(len(users), len(vectors), dtype=torch.bool, device=vectors.device)
            had[batch.owner, batch.before] = True
            had[torch.arange(len(users), device=vectors.device), batch.own] = True
            n_rivals = len(batch.log_weight)
            losses["recommendation"] = sampled_softmax(
                users,
                vectors[batch.own],
                negatives=vectors[:n_rivals],
                log_weight=batch.log_weight,
                hits=had[:, :n_rivals],
            )
        if "intent" in self.tasks:
            losses["intent"] = towers.heads.intent_loss(users, batch.items[batch.own])
        return losses
