"""One training loop for neural models: what to learn from and the loss are arguments.

The same script trains on one processor, and on several or on several machines, when it is
started by a launcher: ``accelerate launch script.py``.
"""

import math
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NoReturn, Protocol, cast

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import broadcast, broadcast_object_list, reduce, send_to_device
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm

from reclib.cache import atomic_write
from reclib.errors import Diverged, ReclibError, unknown
from reclib.models.device import choose_device, computes_bfloat16

Loss = Callable[[nn.Module, Any], Tensor]
Groups = Iterable[nn.Parameter] | Iterable[dict[str, Any]]
Rows = NDArray[np.int64]

PRECISIONS = ("float32", "bfloat16")
SCHEDULES = ("cosine", "constant")
KEPT = ("identity", "losses", "validation", "best_epoch", "best", "seconds")  # in checkpoints
MEMORY_ERRORS = (MemoryError, torch.OutOfMemoryError)
MEMORY_SAYS = ("DefaultCPUAllocator", "out of memory", "ALLOC_FAILED")  # in other RuntimeErrors


class Examples(Protocol):
    """What is learned from: a list, a `torch.utils.data.Dataset`, or anything like them.

    One with a method ``__getitems__(rows)`` is asked for a whole batch at once.
    """

    def __len__(self) -> int:
        """Return the number of examples."""

    def __getitem__(self, row: int, /) -> Any:
        """Return one example."""


@dataclass(frozen=True)
class Training:
    """How to train.

    Parameters
    ----------
    epochs
        Passes over all examples.
    learning_rate, weight_decay
        Of AdamW. Only matrices decay: biases and norms are left alone.
    batch_size
        Examples at once, over all processes together.
    accumulate
        Batches whose gradients are added up for one step, where memory is short.
    clip
        Largest norm of the gradient; ``math.inf`` for any.
    warmup
        Share of all steps in which the learning rate rises, in [0, 1).
    schedule
        What it does then: ``"cosine"`` falls to 0 with the last step, ``"constant"`` stays.
    patience
        Epochs without a better validation value after which training stops; None never does.
    precision
        ``"bfloat16"``: multiply in it where the hardware can, weights stay float32. That pays
        for large matrices only: on a CPU with bfloat16 units a step of MiniLM took 0.6 of its
        time in float32, one of a network with 64 hidden units 1.3.

    Raises
    ------
    ReclibError
        For a value out of range.
    """

    epochs: int = 10
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    batch_size: int = 256
    accumulate: int = 1
    clip: float = 1.0
    warmup: float = 0.05
    schedule: str = "cosine"
    patience: int | None = None
    precision: str = "float32"

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        fits = {
            "epochs": (self.epochs >= 1, "1 or more"),
            "learning_rate": (0 < self.learning_rate < math.inf, "above 0"),
            "weight_decay": (0 <= self.weight_decay < math.inf, "0 or more"),
            "batch_size": (self.batch_size >= 1, "1 or more"),
            "accumulate": (self.accumulate >= 1, "1 or more"),
            "clip": (self.clip > 0, "above 0"),
            "warmup": (0 <= self.warmup < 1, "0 <= warmup < 1"),
            "patience": (self.patience is None or self.patience >= 1, "None, or 1 or more"),
        }
        for name, (fit, allowed) in fits.items():
            if not fit:
                raise ReclibError(f"{name} is {getattr(self, name)}; allowed is {allowed}")
        if self.schedule not in SCHEDULES:
            raise unknown("schedule", self.schedule, SCHEDULES)
        if self.precision not in PRECISIONS:
            raise unknown("precision", self.precision, PRECISIONS)


DEFAULTS = Training()


@dataclass(frozen=True)
class History:
    """What happened in training.

    Attributes
    ----------
    losses
        Mean over the examples, of each epoch.
    validation
        Value after each epoch; empty without validation.
    best_epoch
        The one whose weights the network has, from 1; without validation the last.
    seconds, examples_per_second
        Of training alone, without validation and checkpoints, over all runs that it took.
    device, precision, processes
        Where, in which number format, and on how many processes together.
    """

    losses: tuple[float, ...]
    validation: tuple[float, ...]
    best_epoch: int
    seconds: float
    examples_per_second: float
    device: str
    precision: str
    processes: int


def train(
    network: nn.Module,
    examples: Examples,
    loss: Loss,
    *,
    settings: Training = DEFAULTS,
    collate: Callable[[list[Any]], Any] | None = None,
    validate: Callable[[nn.Module], float] | None = None,
    checkpoint: Path | None = None,
    device: str | None = None,
    rng: int = 0,
    parameters: Groups | None = None,
    description: str = "train",
    progress: bool = True,
) -> History:
    """Train a network in place; it is left in evaluation mode, with its best weights.

    An epoch takes the examples in an order that depends on `rng` and its number only, and
    draws from torch's generator, which is seeded for it and left as it was. So a resumed run
    has the losses of an uninterrupted one: on a CPU and one number of threads to the last
    digit, on a GPU as far as its operations repeat themselves.

    Parameters
    ----------
    network
        To be made under `seeded`, if it is to start from the same weights each time.
    examples
        At least one.
    loss
        ``loss(network, batch)``: the mean over the examples of a batch, a scalar. If that is
        what it is, `accumulate` and the number of processes change rounding only. Where
        examples of a batch meet, as negatives of each other do, they meet in smaller groups.
    settings
        How to train.
    collate
        Makes a batch from a list of examples; default: torch's, which stacks.
    validate
        ``validate(network)``: how good it is after an epoch, higher is better. Called in
        evaluation mode and without gradients, on one process only.
    checkpoint
        File for the state after each epoch, in a folder that all machines see. If it is
        there, training goes on from it; if training was finished, nothing is left to do.
    device
        ``cuda``, ``mps`` or ``cpu``; default: ``$RECLIB_DEVICE``, else the best there is.
    rng
        Seed of order and chance.
    parameters
        Parameters of `network` to train, or groups of them with rates of their own, as AdamW
        takes them; default: all that require a gradient.
    description
        Stands before the progress bar and in errors.
    progress
        Show a bar with examples per second, time to go and the epoch's mean loss.

    Returns
    -------
    History
        Losses, validation values and costs.

    Raises
    ------
    ReclibError
        If there is nothing to learn, or to learn from; for a loss, gradient or validation
        value that is not finite; for a batch that does not fit into memory; for a checkpoint
        that is damaged or of another run.
    """
    if len(examples) == 0:
        raise ReclibError(f"{description}: there are no examples to learn from; give at least one")
    if settings.patience is not None and validate is None:
        raise ReclibError(
            f"{description}: patience is {settings.patience}, but nothing tells which epoch is "
            "better; give `validate`, or leave patience None"
        )
    chosen = choose_device(device)
    team = PartialState(cpu=chosen == "cpu")
    # a launcher gives each process its own device; a process alone may choose at each call
    place = team.device if team.num_processes > 1 else torch.device(chosen)
    run = _Run(
        network=network.to(place),
        examples=examples,
        loss=loss,
        settings=settings,
        collate=collate,
        validate=validate,
        checkpoint=checkpoint,
        place=place,
        rng=rng,
        parameters=parameters,
        name=description,
        team=team,
    )
    if checkpoint is not None and checkpoint.exists():
        run.restore(checkpoint)
    with tqdm(
        total=settings.epochs * len(examples),
        initial=len(run.losses) * len(examples),
        desc=description,
        unit=" examples",
        unit_scale=True,
        disable=not (progress and team.is_main_process),
    ) as bar:
        while not run.finished:
            epoch = len(run.losses) + 1
            with seeded(rng, epoch, team.process_index):
                run.learn(epoch, bar)
                run.judge(epoch)
            if checkpoint is not None:
                run.save(checkpoint)
    network.load_state_dict(run.best)
    network.eval()
    return History(
        losses=tuple(run.losses),
        validation=tuple(run.validation),
        best_epoch=run.best_epoch,
        seconds=run.seconds,
        examples_per_second=len(run.losses) * len(examples) / run.seconds,
        device=place.type,
        precision=run.precision,
        processes=team.num_processes,
    )


def as_it_is(batch: Any) -> Any:
    """Leave a batch as it came: the `collate` of examples with ``__getitems__``."""
    return batch


@contextmanager
def seeded(*seed: int) -> Iterator[None]:
    """Seed torch for a while; its state outside stays as it was."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(int(np.random.default_rng(seed).integers(2**63)))
        yield


@dataclass(eq=False, kw_only=True)
class _Run:
    """Arguments of `train`, and what changes in training."""

    network: nn.Module
    examples: Examples
    loss: Loss
    settings: Training
    collate: Callable[[list[Any]], Any] | None
    validate: Callable[[nn.Module], float] | None
    checkpoint: Path | None
    place: torch.device
    team: PartialState
    rng: int
    parameters: Groups | None
    name: str
    losses: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    best_epoch: int = 0
    best: dict[str, Tensor] = field(default_factory=dict)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        settings, device = self.settings, self.place.type
        groups: Any = _groups(self.network) if self.parameters is None else self.parameters
        self.optimizer = torch.optim.AdamW(
            groups,
            lr=float(settings.learning_rate),  # a checkpoint takes no number of NumPy's
            weight_decay=float(settings.weight_decay),
            fused=device != "mps",
        )
        given = [one for group in self.optimizer.param_groups for one in group["params"]]
        self.trained = [parameter for parameter in given if parameter.requires_grad]
        if not self.trained:
            raise ReclibError(
                f"{self.name}: no parameter of the network requires a gradient, so there is "
                "nothing to train; unfreeze some"
            )
        if not set(self.trained) <= set(self.network.parameters()):
            raise ReclibError(
                f"{self.name}: a parameter to train is not part of the network, and would be "
                "missing in its checkpoints; make it one of the network's"
            )
        self.step_size = settings.batch_size * settings.accumulate
        self.identity = self._identity()
        steps = settings.epochs * math.ceil(len(self.examples) / self.step_size)
        self.schedule = LambdaLR(self.optimizer, lambda step: _rate(step, steps, settings))
        fast = settings.precision == "bfloat16" and computes_bfloat16(device)
        self.precision = "bfloat16" if fast else "float32"
        self._align()

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or enough of them without a better one."""
        epoch, patience = len(self.losses), self.settings.patience
        waited = patience is not None and epoch - self.best_epoch >= patience
        return waited or epoch == self.settings.epochs

    def learn(self, epoch: int, bar: "tqdm[NoReturn]") -> None:
        """Pass over all examples once."""
        started = time.perf_counter()
        order = np.random.default_rng((self.rng, epoch)).permutation(len(self.examples))
        total, done = 0.0, 0
        loader = self._loader(order)
        self.network.train()
        for step, start in enumerate(range(0, len(order), self.step_size), 1):
            rows = order[start : start + self.step_size]
            with _advice(self.settings, self.name, self.place.type):
                mean, norm = self._gradient(rows, loader)
                if not math.isfinite(mean + norm):
                    raise Diverged(
                        f"{self.name}: in epoch {epoch}, step {step}, the loss is {mean} and the "
                        f"norm of its gradient {norm}; look for bad values in the examples, or "
                        f"choose a learning_rate below {self.settings.learning_rate}. "
                        + self._last_good()
                    )
                self.optimizer.step()
            self.schedule.step()
            total, done = total + mean * len(rows), done + len(rows)
            shown = f"epoch {epoch}/{self.settings.epochs}, loss {total / done:.4f}"
            bar.set_postfix_str(shown, refresh=False)
            bar.update(len(rows))
        self._align()
        self.losses.append(total / done)
        self.seconds += time.perf_counter() - started

    def _loader(self, order: Rows) -> Iterator[Any]:
        """Fetch the batches of an epoch, of each the share of this process."""
        shares = (self._mine(batch).tolist() for batch in self._batches(order))
        loader: DataLoader[Any] = DataLoader(
            cast(Dataset[Any], self.examples),
            batch_sampler=filter(None, shares),
            collate_fn=self.collate,
            pin_memory=self.place.type == "cuda",
        )
        return iter(loader)

    def _batches(self, rows: Rows) -> list[Rows]:
        size = self.settings.batch_size
        return [rows[start : start + size] for start in range(0, len(rows), size)]

    def _mine(self, batch: Rows) -> Rows:
        """Rows of this process: all together have each row once, also of a short batch."""
        return batch[self.team.process_index :: self.team.num_processes]

    def _gradient(self, rows: Rows, loader: Iterator[Any]) -> tuple[float, float]:
        """Compute the gradient of the mean loss over `rows`, and clip it.

        Returns
        -------
        mean, norm : float
            That loss, and the norm of the gradient before it was clipped.
        """
        self.network.zero_grad()
        mean = torch.zeros((), device=self.place)
        for batch in self._batches(rows):
            share = len(self._mine(batch)) / len(rows)
            if share == 0:  # a last batch with fewer examples than there are processes
                continue
            data = send_to_device(next(loader), self.place, non_blocking=True)
            fast = self.precision == "bfloat16"
            with torch.autocast(self.place.type, torch.bfloat16, enabled=fast):
                part = self.loss(self.network, data) * share
            torch.autograd.backward(part)
            mean += part.detach()
        self._add_up(mean)
        norm = nn.utils.clip_grad_norm_(self.trained, self.settings.clip)
        # the only time in a step that the processor waits for the device
        value, length = torch.stack([mean, norm]).tolist()
        return value, length

    def _add_up(self, mean: Tensor) -> None:
        """Add up loss and gradients over all processes, in place.

        Once a step and by hand: the usual wrapper, `DistributedDataParallel`, weights processes
        equally, however few examples a last batch leaves them, and forbids a loss to call
        anything of the network but ``forward``, or to leave out a part of it.
        """
        for parameter in self.trained:
            # what no example needed: 0 in one process, where another may have a gradient
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        if self.team.num_processes > 1:
            parts = [mean, *(parameter.grad for parameter in self.trained)]
            vector_to_parameters(reduce(parameters_to_vector(parts), "sum"), parts)

    def _align(self) -> None:
        """Give all processes the weights and buffers of the first."""
        broadcast(list(self.network.state_dict().values()))

    def judge(self, epoch: int) -> None:
        """Validate, and keep the weights if none were better; without `validate`, always."""
        self.network.eval()
        better = True
        if self.validate is not None:
            value = [0.0]
            if self.team.is_main_process:
                with torch.no_grad():
                    value = [float(self.validate(self.network))]
            (now,) = broadcast_object_list(value)
            if not math.isfinite(now):
                raise ReclibError(
                    f"{self.name}: the validation value of epoch {epoch} is {now}; mend what "
                    f"`validate` computes. {self._last_good()}"
                )
            better = not self.validation or now > max(self.validation)
            self.validation.append(now)
        if better:
            self.best_epoch, self.best = epoch, _copy(self.network)

    def save(self, path: Path) -> None:
        """Write all that training needs to go on, or, if finished, all that is asked for."""
        kept: dict[str, Any] = {name: getattr(self, name) for name in KEPT}
        if not self.finished:
            newest = self.best_epoch == len(self.losses)  # then stored only once
            kept["weights"] = self.best if newest else _copy(self.network)
            kept["optimizer"] = self.optimizer.state_dict()
            kept["schedule"] = self.schedule.state_dict()
        if self.team.is_main_process:
            atomic_write(path, lambda temporary: torch.save(kept, temporary))
        self.team.wait_for_everyone()

    def restore(self, path: Path) -> None:
        """Go back to what `save` wrote."""
        kept = _read(path)
        ours, theirs = self.identity, kept["identity"]
        for name in {**ours, **theirs}:
            mine, other = ours.get(name, "absent"), theirs.get(name, "absent")
            if mine != other:
                raise ReclibError(
                    f"{self.name}: checkpoint {path} is of another run: there, {name} is {other}, "
                    f"here {mine}; train as it was trained, or name another file"
                )
        for name in KEPT:
            setattr(self, name, kept[name])
        if not self.finished:
            self.network.load_state_dict(kept["weights"])
            self.optimizer.load_state_dict(kept["optimizer"])
            self.schedule.load_state_dict(kept["schedule"])

    def _identity(self) -> dict[str, str]:
        """Name everything that a run must share with one that it goes on from.

        Not the batch size, if as many examples make a step: a run out of memory can go on.
        """
        groups = self.optimizer.param_groups
        parts = {
            **asdict(self.settings),
            "batch_size · accumulate": self.step_size,
            "rng": self.rng,
            "number of examples": len(self.examples),
            "rate, decay and number of parameters": [
                (group["lr"], group["weight_decay"], len(group["params"])) for group in groups
            ],
            **{f"shape of {name}": [*one.shape] for name, one in self.network.state_dict().items()},
        }
        del parts["batch_size"], parts["accumulate"]
        return {name: str(value) for name, value in parts.items()}

    def _last_good(self) -> str:
        if self.checkpoint is None or not self.checkpoint.exists():
            return "There is no checkpoint to go back to"
        return f"The last good checkpoint is {self.checkpoint}"


def _groups(network: nn.Module) -> list[dict[str, Any]]:
    """Parameters that require a gradient, matrices apart from what must not decay."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in trained if parameter.dim() >= 2]
    others = [parameter for parameter in trained if parameter.dim() < 2]
    return [{"params": matrices}, {"params": others, "weight_decay": 0.0}]


def _rate(step: int, steps: int, settings: Training) -> float:
    """Share of the learning rate at a step, counted from 0."""
    rising = round(settings.warmup * steps)
    if step < rising:
        return (step + 1) / (rising + 1)
    if settings.schedule == "constant":
        return 1.0
    return 0.5 + 0.5 * math.cos(math.pi * (step - rising) / (steps - rising))


def _copy(network: nn.Module) -> dict[str, Tensor]:
    """Weights and buffers as they are now, in main memory."""
    return {name: one.detach().to("cpu", copy=True) for name, one in network.state_dict().items()}


def _read(path: Path) -> dict[str, Any]:
    """Read a checkpoint whose every byte is as it was written."""
    try:
        with zipfile.ZipFile(path) as parts:  # `torch.load` does not compare checksums
            if (damaged := parts.testzip()) is not None:
                raise ValueError(f"wrong checksum of {damaged}")
        kept: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        missing = {*KEPT} - kept.keys()
        if missing:
            raise ValueError(f"no {', '.join(sorted(missing))}")
    except Exception as error:  # a damaged file may raise anything
        raise ReclibError(
            f"checkpoint {path} cannot be read ({error}); delete it to train from the start"
        ) from error
    return kept


@contextmanager
def _advice(settings: Training, name: str, device: str) -> Iterator[None]:
    """Turn a lack of memory into a batch size to try, whose steps are the same."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        said = any(words in str(error) for words in MEMORY_SAYS)
        if not (said or isinstance(error, MEMORY_ERRORS)):
            raise
        size, step = settings.batch_size, settings.batch_size * settings.accumulate
        if size == 1:
            advice = "one example alone does not fit; make examples or network smaller"
        else:
            smaller = next(part for part in range(size // 2, 0, -1) if step % part == 0)
            advice = f"try batch_size={smaller} with accumulate={step // smaller}: the same steps"
        raise ReclibError(
            f"{name}: batch_size {size} is too large for the memory of {device!r}; {advice}"
        ) from error
