"""The training loop: what it learns, that it repeats itself, and runs that end badly.

Started as a script, this file trains its small network: alone until it is killed, or in several
processes.
"""

import json
import math
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import TensorDataset

from reclib.errors import ReclibError
from reclib.models import training
from reclib.models.training import History, Training, seeded, train

Batch = list[Tensor]
QUICK = Training(epochs=4, learning_rate=0.02, batch_size=16)
N_EXAMPLES = 50  # batches of 16 leave two for the last


@pytest.fixture(autouse=True)
def _on_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECLIB_DEVICE", "cpu")


def examples(n: int = N_EXAMPLES) -> TensorDataset:
    with seeded(1):
        inputs = torch.randn(n, 6)
        return TensorDataset(inputs, inputs[:, 0] * inputs[:, 1] + inputs[:, 2])


def make_network(dropout: float = 0.2, hidden: int = 16) -> nn.Module:
    with seeded(2):
        return nn.Sequential(
            nn.Linear(6, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, 1)
        )


def loss(network: nn.Module, batch: Batch) -> Tensor:
    inputs, targets = batch
    return functional.mse_loss(network(inputs).squeeze(1), targets)


def fit(network: nn.Module | None = None, settings: Training = QUICK, **changes: Any) -> History:
    arguments = {"examples": examples(), "loss": loss, "progress": False, **changes}
    return train(network or make_network(), settings=settings, **arguments)


def weights(network: nn.Module) -> Tensor:
    return nn.utils.parameters_to_vector(network.parameters()).detach().clone()


def interrupted(epoch: int) -> Callable[[nn.Module, Batch], Tensor]:
    """A loss that is interrupted amid an epoch, counted from 1."""
    calls = iter(range(1, 1000))

    def broken(network: nn.Module, batch: Batch) -> Tensor:
        if next(calls) == 4 * (epoch - 1) + 2:  # four batches in an epoch
            raise KeyboardInterrupt
        return loss(network, batch)

    return broken


# What is learned


def test_ten_examples_are_learned_by_heart() -> None:
    network = make_network(dropout=0.0, hidden=64)
    settings = Training(epochs=80, learning_rate=0.03, weight_decay=0.0, batch_size=5)
    history = fit(network, settings, examples=examples(10))
    assert history.losses[-1] < 1e-4 < 0.1 < history.losses[0]
    assert not network.training


def test_losses_are_means_over_examples_also_with_a_short_last_batch() -> None:
    """With a rate too small to change anything, an epoch's mean is that of the whole data."""
    network = make_network(dropout=0.0)
    settings = replace(QUICK, epochs=1, learning_rate=1e-12)
    data = examples()
    expected = loss(network, list(data.tensors)).item()
    assert fit(network, settings).losses[0] == pytest.approx(expected, rel=1e-6)


def test_two_batches_added_up_are_one_of_twice_the_size() -> None:
    """Also at the end of an epoch: of 50 examples one step is 32, the other 16 and 2."""
    whole, parts = make_network(dropout=0.0), make_network(dropout=0.0)
    once = fit(whole, replace(QUICK, batch_size=32))
    twice = fit(parts, replace(QUICK, batch_size=16, accumulate=2))
    assert twice.losses == pytest.approx(once.losses, rel=1e-5)
    torch.testing.assert_close(weights(parts), weights(whole), rtol=1e-4, atol=1e-6)


def test_one_step_is_adamws_with_a_clipped_gradient() -> None:
    ours, theirs = make_network(dropout=0.0), make_network(dropout=0.0)
    settings = Training(epochs=1, learning_rate=0.1, weight_decay=0.5, clip=0.01, warmup=0.0)
    fit(ours, settings)
    matrices = [theirs[0].weight, theirs[3].weight]
    biases = [theirs[0].bias, theirs[3].bias]
    groups = [{"params": matrices}, {"params": biases, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=0.1, weight_decay=0.5)
    loss(theirs, list(examples().tensors)).backward()
    nn.utils.clip_grad_norm_(theirs.parameters(), 0.01)
    optimizer.step()
    torch.testing.assert_close(weights(ours), weights(theirs))


def test_the_rate_rises_and_then_falls_or_stays() -> None:
    falls = [training._rate(step, 100, Training(warmup=0.1)) for step in range(100)]
    assert falls[:10] == pytest.approx([(step + 1) / 11 for step in range(10)])
    assert falls[10] == 1 and falls[55] == pytest.approx(0.5) and 0 < falls[99] < 1e-3
    stays = [training._rate(step, 100, Training(schedule="constant")) for step in range(100)]
    assert stays[:5] == sorted(stays[:5]) and set(stays[5:]) == {1.0}
    assert math.isfinite(training._rate(1, 1, Training(epochs=1)))  # asked for after the last step


def test_frozen_parameters_and_those_left_out_stay_as_they_were() -> None:
    network = make_network()
    network[0].weight.requires_grad_(False)
    before = {name: one.clone() for name, one in network.state_dict().items()}
    some = [network[0].weight, network[3].weight]  # AdamW itself leaves frozen ones alone
    fit(network, parameters=[{"params": some, "lr": 0.05}])
    changed = {name for name, one in network.state_dict().items() if not one.equal(before[name])}
    assert changed == {"3.weight"}
    fit(network)
    assert network[0].weight.equal(before["0.weight"])


def test_bfloat16_is_used_where_the_hardware_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def watched(network: nn.Module, batch: Batch) -> Tensor:
        seen.append(network(batch[0]).dtype)
        return loss(network, batch)

    for has in (True, False):
        monkeypatch.setattr(training, "computes_bfloat16", lambda _, has=has: has)
        history = fit(settings=replace(QUICK, epochs=1, precision="bfloat16"), loss=watched)
        assert getattr(torch, history.precision) == seen[-1]
    assert {*seen} == {torch.bfloat16, torch.float32}


def test_examples_are_fetched_by_batch_and_collated_where_they_can() -> None:
    class Rows:
        def __len__(self) -> int:
            return N_EXAMPLES

        def __getitem__(self, row: int) -> Any:
            raise AssertionError("a batch was to be asked for at once")

        def __getitems__(self, rows: list[int]) -> Batch:
            return [column[rows] for column in data.tensors]

    data = examples()
    assert fit(examples=Rows(), collate=lambda batch: batch).losses == fit().losses


# Repeated and resumed


def test_a_seed_gives_the_same_losses_and_leaves_the_generator_alone() -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = fit()
    assert torch.get_rng_state().equal(state)
    torch.manual_seed(6)
    assert fit().losses == first.losses
    assert fit(rng=1).losses != first.losses


def test_every_epoch_has_its_own_order_of_all_examples() -> None:
    orders: list[list[float]] = []

    def watched(network: nn.Module, batch: Batch) -> Tensor:
        orders[-1].extend(batch[1].tolist())
        return loss(network, batch)

    for settings in (QUICK, replace(QUICK, epochs=8, learning_rate=1e-4, batch_size=7)):
        orders.append([])
        fit(settings=settings, loss=watched)
    epochs = [orders[0][start : start + N_EXAMPLES] for start in range(0, 200, N_EXAMPLES)]
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert len({tuple(sorted(epoch)) for epoch in epochs}) == 1
    assert orders[1][:200] == orders[0]


def test_an_interrupted_run_goes_on_to_the_same_end(tmp_path: Path) -> None:
    """The interrupt passes through; the checkpoint is that of the epoch before."""
    file = tmp_path / "deep" / "run.pt"
    whole, parted = make_network(), make_network()
    expected = fit(whole)
    with pytest.raises(KeyboardInterrupt):
        fit(loss=interrupted(3), checkpoint=file)
    assert len(torch.load(file)["losses"]) == 2
    assert fit(parted, checkpoint=file).losses == expected.losses
    assert weights(parted).equal(weights(whole))


def test_an_interrupt_amid_writing_leaves_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(_: object, file: Path) -> None:
        file.write_bytes(b"half of it")
        raise KeyboardInterrupt

    file = tmp_path / "run.pt"
    with pytest.raises(KeyboardInterrupt):
        fit(loss=interrupted(2), checkpoint=file)
    good = file.read_bytes()
    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(KeyboardInterrupt):
        fit(checkpoint=file)
    assert file.read_bytes() == good
    assert [*tmp_path.iterdir()] == [file]


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    network, again = make_network(), make_network()
    history = fit(network, checkpoint=tmp_path / "run.pt")
    assert "optimizer" not in torch.load(tmp_path / "run.pt")

    def never(*_: object) -> Tensor:
        raise AssertionError("there was nothing left to train")

    assert fit(again, loss=never, checkpoint=tmp_path / "run.pt") == history
    assert weights(again).equal(weights(network))


def test_a_killed_run_resumes(tmp_path: Path) -> None:
    file = tmp_path / "run.pt"
    done = subprocess.run([sys.executable, __file__, "killed", file], capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert len(torch.load(file)["losses"]) == 2
    network, whole = make_network(), make_network()
    assert fit(network, checkpoint=file).losses == fit(whole).losses
    assert weights(network).equal(weights(whole))


def test_two_processes_have_the_losses_of_one(tmp_path: Path) -> None:
    """On loopback, by Accelerate's launcher. Of 49 examples the last batch has but one."""
    launch = ["accelerate.commands.launch", "--num_processes=2", "--main_process_port=0"]
    rest = ["--multi_gpu", "--num_machines=1", "--mixed_precision=no", "--dynamo_backend=no"]
    command = [sys.executable, "-m", *launch, *rest, __file__, "together", tmp_path]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    reports = [json.loads(file.read_text()) for file in sorted(tmp_path.glob("*.json"))]
    alone = together(tmp_path / "alone.pt")
    assert alone["processes"] == 1
    for report in reports:
        assert report["processes"] == 2
        for name in ("losses", "validation", "weights"):
            assert report[name] == pytest.approx(alone[name], abs=1e-5)
    assert len(reports) == 2 and reports[0]["weights"] == reports[1]["weights"]


# Validation


def test_patience_ends_training_with_the_best_weights() -> None:
    seen = []

    def validate(network: nn.Module) -> float:
        assert not network.training and not torch.is_grad_enabled()
        seen.append(weights(network))
        return [1.0, 3.0, 2.0, 3.0, 9.0][len(seen) - 1]

    network = make_network()
    history = fit(network, replace(QUICK, epochs=9, patience=2), validate=validate)
    assert history.validation == (1.0, 3.0, 2.0, 3.0)  # as good is not better
    assert history.best_epoch == 2 and len(history.losses) == 4
    assert weights(network).equal(seen[1])


def test_the_best_weights_come_back_from_a_checkpoint(tmp_path: Path) -> None:
    values = {1: 1.0, 2: 5.0, 3: 2.0, 4: 4.0}
    seen: dict[int, Tensor] = {}

    def validate(network: nn.Module) -> float:
        epoch = len(seen) + 1
        seen[epoch] = weights(network)
        return values[epoch]

    file, network = tmp_path / "run.pt", make_network()
    with pytest.raises(KeyboardInterrupt):
        fit(validate=validate, loss=interrupted(4), checkpoint=file)
    history = fit(network, validate=validate, checkpoint=file)
    assert history.validation == tuple(values.values()) and history.best_epoch == 2
    assert weights(network).equal(seen[2])


# Runs that end badly


def throw(error: Exception) -> Tensor:
    raise error


def test_a_poisoned_batch_is_named_with_the_last_good_checkpoint(tmp_path: Path) -> None:
    poison = examples()[20][1]

    def poisoned(network: nn.Module, batch: Batch) -> Tensor:
        return loss(network, batch) + torch.where(batch[1] == poison, torch.nan, 0.0).sum()

    file, network = tmp_path / "run.pt", make_network()
    with pytest.raises(ReclibError, match=r"epoch 1, step [1-4], the loss is nan.* no checkpoint"):
        fit(network, loss=poisoned, checkpoint=file)
    assert weights(network).isfinite().all() and not file.exists()
    with pytest.raises(KeyboardInterrupt):
        fit(loss=interrupted(2), checkpoint=file)
    good = file.read_bytes()
    with pytest.raises(ReclibError, match=f"epoch 2, step .* checkpoint is {re.escape(str(file))}"):
        fit(loss=poisoned, checkpoint=file)
    assert file.read_bytes() == good


def test_a_gradient_that_is_not_finite_stops_training() -> None:
    def steep(network: nn.Module, batch: Batch) -> Tensor:
        return (network(batch[0]) * 0).abs().sqrt().mean()  # 0, and its slope is infinite

    with pytest.raises(ReclibError, match="step 1, the loss is 0.0 and the norm .* nan"):
        fit(loss=steep)


def test_a_validation_value_that_is_not_finite_stops_training() -> None:
    with pytest.raises(ReclibError, match="validation value of epoch 1 is nan"):
        fit(validate=lambda _: math.nan)


@pytest.mark.parametrize(
    ("fail", "batch_size", "accumulate", "advice"),
    [
        (lambda: torch.empty(2**60), 64, 1, "batch_size=32 with accumulate=2"),
        (lambda: throw(torch.OutOfMemoryError("full")), 75, 2, "batch_size=30 with accumulate=5"),
        (lambda: throw(MemoryError()), 7, 1, "batch_size=1 with accumulate=7"),
        (lambda: throw(RuntimeError("MPS backend out of memory")), 1, 8, "one example alone"),
    ],
)
def test_out_of_memory_names_the_batch_size_to_try(
    fail: Callable[[], object], batch_size: int, accumulate: int, advice: str
) -> None:
    def large(network: nn.Module, batch: Batch) -> Tensor:
        fail()
        return loss(network, batch)

    settings = replace(QUICK, batch_size=batch_size, accumulate=accumulate)
    with pytest.raises(ReclibError, match=f"batch_size {batch_size} is too large.*{advice}"):
        fit(settings=settings, loss=large)


def test_other_errors_of_a_loss_are_passed_on() -> None:
    with pytest.raises(RuntimeError, match="mine"):
        fit(loss=lambda *_: throw(RuntimeError("mine")))


def test_smaller_batches_with_the_same_steps_go_on_from_a_checkpoint(tmp_path: Path) -> None:
    whole = fit(make_network(dropout=0.0))
    with pytest.raises(KeyboardInterrupt):
        fit(make_network(dropout=0.0), loss=interrupted(2), checkpoint=tmp_path / "run.pt")
    settings = replace(QUICK, batch_size=8, accumulate=2)
    parted = fit(make_network(dropout=0.0), settings, checkpoint=tmp_path / "run.pt")
    assert parted.losses == pytest.approx(whole.losses, rel=1e-5)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"network": make_network(hidden=8)}, r"shape of 0.weight is \[16, 6\], here \[8, 6\]"),
        ({"network": nn.Linear(6, 1)}, "here .*"),
        ({"settings": replace(QUICK, learning_rate=0.5)}, "learning_rate is 0.02, here 0.5"),
        ({"settings": replace(QUICK, batch_size=8)}, "accumulate is 16, here 8"),
        ({"examples": examples(49)}, "number of examples is 50, here 49"),
        ({"rng": 3}, "rng is 0, here 3"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(
    tmp_path: Path, changes: dict[str, Any], named: str
) -> None:
    fit(checkpoint=tmp_path / "run.pt")
    with pytest.raises(ReclibError, match=f"of another run: there, .*{named}"):
        fit(**changes, checkpoint=tmp_path / "run.pt")


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    file, network = tmp_path / "run.pt", make_network()
    fit(network, checkpoint=file)
    whole = file.read_bytes()
    number = network[0].weight.detach().numpy().tobytes()[40:44]
    assert number in whole
    flipped = whole.replace(number, bytes([number[0] ^ 1]) + number[1:])  # one bit of a weight
    torch.save({"losses": [1.0]}, tmp_path / "other.pt")
    other = (tmp_path / "other.pt").read_bytes()
    for damaged in (flipped, whole[: len(whole) // 2], b"", other):
        file.write_bytes(damaged)
        with pytest.raises(ReclibError, match="cannot be read .*delete it"):
            fit(checkpoint=file)
        assert file.read_bytes() == damaged


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("learning_rate", 0.0),
        ("learning_rate", math.nan),
        ("weight_decay", -0.1),
        ("batch_size", 0),
        ("accumulate", 0),
        ("clip", 0.0),
        ("warmup", 1.0),
        ("patience", 0),
        ("schedule", "cosin"),
        ("precision", "float16"),
    ],
)
def test_settings_out_of_range_are_refused(name: str, value: object) -> None:
    with pytest.raises(ReclibError, match=name):
        replace(QUICK, **{name: value})


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"examples": []}, "no examples"),
        ({"settings": replace(QUICK, patience=2)}, "patience is 2"),
        ({"device": "gpu"}, "unknown device 'gpu'"),
        ({"network": nn.Linear(6, 1).requires_grad_(False)}, "nothing to train"),
        ({"parameters": [nn.Parameter(torch.zeros(2))]}, "not part of the network"),
    ],
)
def test_what_cannot_be_trained_is_refused(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(ReclibError, match=named):
        fit(**arguments)


# What is shown


def test_the_bar_shows_throughput_time_to_go_and_loss(capsys: pytest.CaptureFixture[str]) -> None:
    history = fit(progress=True, description="tower")
    shown = capsys.readouterr().err
    assert re.search(r"tower: 100%.* 200/200 \[\d\d:\d\d<00:00, .* examples/s", shown)
    assert f"epoch 4/4, loss {history.losses[-1]:.4f}" in shown
    assert history.examples_per_second == pytest.approx(200 / history.seconds)
    assert (history.device, history.precision, history.processes) == ("cpu", "float32", 1)


# What the tests start as a script


def killed(file: Path) -> None:
    """Train until the operating system ends it, amid the third epoch."""
    calls = iter(range(1, 1000))

    def deadly(network: nn.Module, batch: Batch) -> Tensor:
        if next(calls) == 10:
            os.kill(os.getpid(), signal.SIGKILL)
        return loss(network, batch)

    fit(loss=deadly, checkpoint=file)


def together(file: Path) -> dict[str, Any]:
    """Train in as many processes as there are, broken off after two epochs and gone on with."""

    def broken(network: nn.Module, batch: Batch) -> Tensor:
        if file.exists() and len(torch.load(file)["losses"]) == 2:
            raise KeyboardInterrupt
        return loss(network, batch)

    def validate(network: nn.Module) -> float:
        return -loss(network, list(data.tensors)).item()

    data, settings = examples(49), replace(QUICK, accumulate=2)
    shared: dict[str, Any] = {"examples": data, "validate": validate, "checkpoint": file}
    with pytest.raises(KeyboardInterrupt):
        fit(make_network(dropout=0.0), settings, loss=broken, **shared)
    network = make_network(dropout=0.0)
    history = fit(network, settings, **shared)
    return {
        "losses": history.losses,
        "validation": history.validation,
        "processes": history.processes,
        "weights": weights(network).tolist(),
    }


if __name__ == "__main__":
    task, place = sys.argv[1], Path(sys.argv[2])
    os.environ["RECLIB_DEVICE"] = "cpu"
    if task == "killed":
        killed(place)
    else:
        report = together(place / "together.pt")
        (place / f"{os.environ['RANK']}.json").write_text(json.dumps(report))
