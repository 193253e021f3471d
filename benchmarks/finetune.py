"""What a GPU is good for: tuning all of an encoder, and what that brings over a small adapter.

Run: ``RECLIB_DATA=… .venv/bin/python benchmarks/finetune.py [--folder FOLDER]``. First, all
weights of an encoder of BERT-base's size learn to predict the next product of the simulated
shop of the paper's size: tokens a second on each device that is there, beside what its largest
matrix products reach. Speed does not depend on what the weights hold, so they are random.
Then, on data with real texts, the packaged encoder is tuned to different depths, and ranks
for the validation; one that is tuned as a whole enters a mixture of the strongest models, for
the test; and it learns several tasks at once, on data with reviews. Without a GPU the first
part tells the processor's speed, and the others are left out: they would take days.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from reclib.data import Prepared, item_texts, leave_one_out, load, prepare
from reclib.errors import ReclibError
from reclib.evaluation import Outcome
from reclib.evaluation.protocols import peak_mb
from reclib.models import Scorer, TunedLanguage
from reclib.models.encoder import DEFAULT_ENCODER, load_encoder
from reclib.models.steps import Examples, Steps
from reclib.models.tasks import Heads
from reclib.models.towers import Reader, Towers
from reclib.models.training import History, Training, as_it_is, seeded, train
from reclib.paths import REFERENCE
from reclib.study.doctor import machine
from reclib.study.experiment import CONTROL, TUNED, evaluate_seeds, measure_lists, tuned_fusion
from reclib.study.results import TRIALS_FILE
from reclib.study.spaces import spaces
from reclib.study.speed import (
    DEPTHS_FILE,
    FINETUNE_FILE,
    MIXTURES_FILE,
    SEVERAL_FILE,
    write_table,
)
from reclib.study.tasks import MULTI, SINGLE, answers, ask, measure_answers, models_of_tasks

SIDE = {"cuda": 8192, "cpu": 2048}  # of the square matrices that are multiplied
STEPS = {"cuda": 256, "cpu": 3}
BATCH = {"cuda": 128, "cpu": 8}  # products to predict; twice as many are drawn
# what is trained, and how; the rest as by default
DEPTHS: dict[str, dict[str, Any]] = {
    "frozen": {},
    "adapter": {"epochs": 3},
    "full": {"encoder_rate": 1e-4, "epochs": 3},
    "lora": {"encoder_rate": 1e-3, "epochs": 3},
    "last-k": {"encoder_rate": 1e-4, "epochs": 3},
}
WHOLE = {"tuning": "full", **DEPTHS["full"]}
MIXED = ("content", CONTROL, "item-knn", "ease:content", "transitions", "sasrec")
SEEDS = 5
PARTS = ("speed", "depths", "mixtures", "tasks")

Rows = list[dict[str, Any]]


class Counter:
    """Texts and tokens that went through an encoder, with and without padding."""

    def __init__(self, encoder: nn.Module, device: str) -> None:
        self.texts = self.padded = 0
        # on the device: to ask for them in training would make the processor wait
        self.tokens, self.squares = torch.zeros(2, dtype=torch.float64, device=device)
        encoder.register_forward_pre_hook(self._count, with_kwargs=True)

    def _count(self, _: nn.Module, __: tuple[Any, ...], given: dict[str, Any]) -> None:
        mask: Tensor = given["attention_mask"]
        length = mask.sum(dim=1)
        self.texts += len(mask)
        self.padded += mask.numel()
        self.tokens += length.sum()
        self.squares += length.square().sum()


def wait(device: str) -> float:
    """Tell the time when the device has done all that it was told."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def matrix_tflops(device: str, precision: str) -> float:
    """Measure what large matrix products reach, in 10¹² operations a second."""
    side = SIDE[device]
    one, other = torch.randn(2, side, side, device=device).to(getattr(torch, precision))
    seconds = []
    for _ in range(10):
        started = wait(device)
        one @ other
        seconds.append(wait(device) - started)
    return 2 * side**3 / statistics.median(seconds[3:]) / 1e12


def tune_all(prepared: Prepared, device: str) -> dict[str, Any]:
    """Tune an encoder of BERT-base's size for a while; a row of ``finetune.csv``."""
    texts = item_texts(prepared)
    tokenizer, _ = load_encoder(DEFAULT_ENCODER, "cpu", torch.float32, 128)
    read = tokenizer(texts, truncation=True, max_length=128)["input_ids"]
    told = np.array([text != "" for text in texts])
    batch_size, config = BATCH[device], BertConfig()
    size = config.hidden_size
    steps = Steps.of(prepared, told, decay=0.7, history=20, negatives=2 * batch_size)
    with seeded(0):
        encoder = BertModel(config, add_pooling_layer=False)
        nothing = np.zeros(size, np.float32), np.eye(size, dtype=np.float32)
        towers = Towers(Reader(encoder, read, "mean", *nothing), size, dropout=0.0)
    none = np.zeros(0, np.int64)
    towers.heads = Heads(
        ("recommendation",), None, n_dimensions=size, classes=none, polarities=none
    )
    settings = Training(epochs=1, learning_rate=5e-5, batch_size=batch_size, precision="bfloat16")

    def learn(n_steps: int) -> History:
        # any steps: the first ones are of few users, who would share texts
        chosen = np.random.default_rng(0).permutation(len(steps))[: n_steps * batch_size]
        some = replace(
            steps,
            begin=steps.begin[chosen],
            end=steps.end[chosen],
            target=steps.target[chosen],
            count=steps.count[chosen],
        )
        return train(
            towers,
            Examples(some, len(some), none, len(texts)),
            TunedLanguage()._loss,
            settings=settings,
            collate=as_it_is,
            device=device,
            description=f"BERT-base on {device}",
        )

    learn(1)  # what is compiled and allotted at the first step is no training
    counter = Counter(encoder, device)
    history = learn(STEPS[device])
    tokens = float(counter.tokens)
    weights = sum(one.weight.numel() for one in encoder.modules() if isinstance(one, nn.Linear))
    # a product and a sum for each weight or pair of tokens, forward once and backward twice
    pairs = 2 * config.num_hidden_layers * size * float(counter.squares)
    tflops = 6 * (weights * tokens + pairs) / history.seconds / 1e12
    gpu = device == "cuda"
    return {
        "encoder": "BERT-base's size, random weights",
        "parameters": sum(one.numel() for one in encoder.parameters()),
        "data": prepared.name,
        "items": prepared.n_items,
        "device": machine()["GPU" if gpu else "CPU"],
        "threads": torch.get_num_threads(),
        "precision": history.precision,
        "batch_size": batch_size,
        "examples": min(len(steps), STEPS[device] * batch_size),
        "seconds": history.seconds,
        "texts": counter.texts,
        "tokens": int(tokens),
        "padding": 1 - tokens / counter.padded,
        "tflops": tflops,
        "matrix_tflops": matrix_tflops(device, history.precision),
        "peak_gb": torch.cuda.max_memory_allocated() / 2**30 if gpu else peak_mb() / 1024,
        "epoch_examples": len(steps),
    }


def speed(size: str, devices: Iterable[str]) -> Iterator[Rows]:
    """Tune an encoder of BERT-base's size on each device; rows of ``finetune.csv``."""
    shop = prepare(load("simulated", size=size))
    for device in devices:
        yield [tune_all(shop, device)]


def depths(data: str) -> Iterator[Rows]:
    """Tune the packaged encoder to each depth and rank; rows of ``depths.csv``."""
    fold = leave_one_out(prepare(load(data, size="full"))).validation
    outcomes: dict[str, list[Outcome]] = {}
    for depth, options in DEPTHS.items():
        outcomes |= evaluate_seeds({depth: TunedLanguage(tuning=depth, **options)}, fold)
        compared = {} if depth in ("frozen", "adapter") else {"gain": (depth, "adapter")}
        measured = measure_lists(outcomes, fold, compared=compared)
        found = measured[measured["metric"] == "ndcg@10"].set_index("model")
        gain = found.reindex(["gain"]).iloc[0]
        row = {
            "data": fold.train.name,
            "depth": depth,
            "encoder_rate": options.get("encoder_rate"),
            "epochs": options.get("epochs", 0),
            "device": machine()["GPU"],
            "seconds": outcomes[depth][0].seconds["fit"],
            "ndcg@10": found["value"][depth],
            "gain": gain["value"],
            "low": gain["low"],
            "high": gain["high"],
        }
        yield [row]


def mixtures(data: str) -> Iterator[Rows]:
    """Mix models with an adapter, with a tuned encoder and without; rows of ``mixtures.csv``.

    Hyper-parameters are those that the recorded run chose, those of the adapter also serve
    the whole encoder; weights are chosen on the validation, values are of the test.
    """
    split = leave_one_out(prepare(load(data, size="full")))
    trials = pd.read_csv(REFERENCE / data / TRIALS_FILE)
    best = trials.loc[trials.groupby("model")["value"].idxmax()].set_index("model")["parameters"]
    chosen = {name: json.loads(best[name]) for name in (*MIXED, TUNED)}
    known = spaces()
    scorers = {name: known[name].make(values) for name, values in chosen.items()}
    adapter, whole = scorers.pop(TUNED), known[TUNED].make(chosen[TUNED] | WHOLE)
    models: dict[str, Scorer] = {"adapter": adapter, "encoder": whole}
    for name, more in {"": {}, "adapter": {TUNED: adapter}, "encoder": {TUNED: whole}}.items():
        mixture = " with ".join(filter(None, ("mixture", name)))
        models[mixture] = tuned_fusion(mixture, scorers | more, split.validation, n_trials=200)
    compared = against("encoder", "adapter") | against("mixture with adapter", "mixture")
    compared |= against("mixture with encoder", "mixture", "mixture with adapter")
    outcomes = evaluate_seeds(models, split.test)
    yield told(data, measure_lists(outcomes, split.test, compared=compared))


def several_tasks(data: str) -> Iterator[Rows]:
    """Tune a whole encoder for all tasks and for each; rows of ``several_tasks.csv``."""
    prepared = prepare(load(data, size="full"))
    fold = leave_one_out(prepared).test
    questions, _ = ask(prepared, fold)
    tasks = ["recommendation", *questions]
    models = models_of_tasks(tasks, **WHOLE)
    models["multi-task:adapter"] = models_of_tasks(tasks, epochs=6)[MULTI]
    compared = against(MULTI, SINGLE, "multi-task:adapter")
    for asked in questions.values():
        said = answers(models, asked, n_seeds=SEEDS)
        rivals = [name for name in said if name.startswith("logistic")]
        pairs = compared | against(MULTI, *rivals)
        yield told(data, measure_answers(said, asked, compared=pairs))
    rankers = {name: by_task["recommendation"] for name, by_task in models.items()}
    outcomes = evaluate_seeds(rankers, fold, n_seeds=SEEDS)
    yield told(data, measure_lists(outcomes, fold, compared=compared))


def against(one: str, *others: str) -> dict[str, tuple[str, str]]:
    """Name the differences of a model to others."""
    return {f"{one} \N{MINUS SIGN} {other}": (one, other) for other in others}


def told(data: str, measured: pd.DataFrame) -> Rows:
    """Say of which data and which device values are."""
    known = measured.dropna(subset="value")  # without columns of products, no diversity of lists
    return known.assign(data=data, device=machine()["GPU"]).to_dict("records")


def main() -> None:
    """Measure on each device that is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="paper", help="of the simulated shop")
    parser.add_argument("--data", default="amazon-beauty", help="on which depths are compared")
    parser.add_argument("--reviews", default="musical-instruments", help="where tasks are learned")
    parser.add_argument("--only", choices=PARTS, nargs="+", default=PARTS, help="of the parts")
    parser.add_argument("--folder", type=Path, help="where the tables go (default: nowhere)")
    options = parser.parse_args()
    load_before = os.getloadavg()[0]
    gpu = torch.cuda.is_available()
    if options.folder and not gpu:
        sys.exit("no GPU is there: what one did elsewhere stays recorded as it is")
    parts: dict[str, tuple[str, Iterator[Rows]]] = {  # nothing is measured before it is asked for
        "speed": (FINETUNE_FILE, speed(options.size, ("cuda", "cpu") if gpu else ("cpu",))),
        "depths": (DEPTHS_FILE, depths(options.data)),
        "mixtures": (MIXTURES_FILE, mixtures(options.data)),
        "tasks": (SEVERAL_FILE, several_tasks(options.reviews)),
    }
    for part in options.only if gpu else ("speed",):
        name, measured = parts[part]
        rows: Rows = []
        try:
            for more in measured:
                print(pd.DataFrame(more).to_string(), flush=True)
                rows += more
                if options.folder:  # what is measured is kept, whatever comes next
                    write_table(name, rows, options.folder, load_before)
        except ReclibError as error:  # as a rule the data are not there
            sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
