"""What the steps of the study cost as a shop grows: seconds and memory, in one run.

Run: ``.venv/bin/python benchmarks/scale.py [--quick] [--series NAME] [--folder FOLDER]``. Four
series: more and more events, more and more products, one and two workers of a cluster, and one
large claim (five million events, 500,000 products, lists of 10,000 users). Each size is read from
parquet files, cleaned and split; then the paper's three parts and item-kNN are fitted, and rank
some users.

Every step is a process of its own, so that its peak memory is known; that of a fit holds the
data too. Scores take the same time whatever the vectors hold, so texts get random vectors of the
encoder's size; only the series of the workers encodes some.
"""

import argparse
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import joblib
import numpy as np
import torch
from load_and_split import write_market

from reclib import paths
from reclib.data import leave_one_out, load, prepare
from reclib.evaluation import ranking_metrics
from reclib.evaluation.protocols import peak_mb
from reclib.models import Collaborative, Content, ItemKNN, Language, Scorer
from reclib.models.encoder import PART, Embeddings, encode
from reclib.study.cluster import connect
from reclib.study.shards import encode_sharded, rank_sharded
from reclib.study.speed import SCALE_FILE, SERIES, write_table

DIMENSIONS = 384  # of the default encoder
BATCH = 256  # users at once: a million products then take a gigabyte of scores
MODELS: dict[str, Callable[[], Scorer]] = {
    "content": Content,
    "collaborative": Collaborative,
    "language": Language,
    "item-knn": ItemKNN,
}


@dataclass(frozen=True)
class Size:
    """One point of a series."""

    series: str
    events: int
    items: int
    ranked: int  # users whose lists are made
    models: Sequence[str] = tuple(MODELS)
    texts: int = 2 * PART  # encoded by workers


def sizes(quick: bool) -> list[Size]:
    """Name the points; the quick ones only show that everything works."""
    if quick:
        return [
            *(Size("events", n, 200, 50) for n in (2_000, 8_000)),
            *(Size("items", 8_000, n, 50) for n in (100, 400)),
            Size("workers", 8_000, 400, 100, texts=64),
            Size("claim", 8_000, 800, 100, ["language"]),
        ]
    return [
        *(Size("events", 10**n, 10_000, 2_000) for n in (4, 5, 6, 7)),
        *(Size("items", 1_000_000, 10**n, 2_000) for n in (3, 4, 5, 6)),
        Size("workers", 1_000_000, 100_000, 10_000),
        Size("claim", 5_000_000, 500_000, 10_000, ["language"]),
    ]


def row(step: str, model: str, users: int, started: float, **known: Any) -> dict[str, Any]:
    """Fill a row of ``scale.csv``, but for what the size says."""
    seconds = time.perf_counter() - started
    measured = {"step": step, "model": model, "users": users, "seconds": seconds}
    threads = torch.get_num_threads()
    return measured | {"workers": 0, "threads": threads, "peak_mb": peak_mb()} | known


def random_vectors(folder: Path, texts: Sequence[str], **_: object) -> Embeddings:
    """Stand in for the encoder, with a mapped file as it has."""
    file = folder / "vectors.npy"
    shape = len(texts), DIMENSIONS
    vectors = np.lib.format.open_memmap(file, "w+", np.float32, shape)
    rng = np.random.default_rng(0)
    for start in range(0, len(texts), 4096):
        part = vectors[start : start + 4096]
        part[:] = rng.standard_normal(part.shape, np.float32)
    vectors.flush()
    return Embeddings(np.load(file, mmap_mode="r"), len(texts), 0.0, "cpu", "float32")


def read_tables(folder: Path, size: Size) -> list[dict[str, Any]]:
    """From parquet files to a split, which is kept for the other steps."""
    started = time.perf_counter()
    fold = leave_one_out(prepare(load(folder, size="full"))).test
    found = [row("load", "", fold.train.n_users, started)]
    joblib.dump(fold, folder / "fold.joblib")
    return found


def fit_and_rank(folder: Path, size: Size, name: str) -> list[dict[str, Any]]:
    """One model, up to the metrics of its lists."""
    fold = joblib.load(folder / "fold.joblib")
    users = np.arange(min(size.ranked, fold.train.n_users))
    with patch("reclib.models.language.encode", partial(random_vectors, folder)):
        started = time.perf_counter()
        scorer = MODELS[name]().fit(fold.train)
        found = [row("fit", name, fold.train.n_users, started)]
    started = time.perf_counter()
    top, _ = scorer.rank(users, batch_size=BATCH)
    found.append(row("rank", name, len(users), started))
    if name == "language":
        started = time.perf_counter()
        ranking_metrics(top, fold.relevant[users])
        found.append(row("metrics", "", len(users), started))
    return found


def share_out(folder: Path, size: Size, workers: int) -> list[dict[str, Any]]:
    """Rank users and encode texts on worker processes of one thread each."""
    fold = joblib.load(folder / "fold.joblib")
    users = np.arange(min(size.ranked, fold.train.n_users))
    texts = list(fold.train.text)[: size.texts]
    with patch("reclib.models.language.encode", partial(random_vectors, folder)):
        scorer = Language().fit(fold.train)
    how = {"workers": workers, "threads": workers, "peak_mb": None}
    with connect(workers=workers) as client:
        client.wait_for_workers(workers)
        paths.CACHE = folder / f"cache-{workers}"
        client.run(setattr, paths, "CACHE", paths.CACHE)
        client.run(encode, ["all is loaded once"], progress=False)
        started = time.perf_counter()
        rank_sharded(scorer, fold, client, users=users, batch_size=BATCH, progress=False)
        found = [row("rank", "language", len(users), started, **how)]
        started = time.perf_counter()
        made = encode_sharded(texts, client, progress=False)
        found.append(row("encode", "language", 0, started, **how, items=made.texts))
    return found


def apart(
    step: Callable[..., list[dict[str, Any]]], folder: Path, size: Size, *more: object
) -> list[dict[str, Any]]:
    """Do a step in a process of its own; return its rows."""
    # forked from a server that has imported everything and done nothing else
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["load_and_split", "reclib.study.shards", "reclib.study.speed"])
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as pool:
        rows = pool.submit(step, folder, size, *more).result()
    known = {"series": size.series, "events": size.events, "items": size.items}
    rows = [known | found for found in rows]
    for found in rows:
        peak = "" if found["peak_mb"] is None else f"{found['peak_mb']:10,.0f} MB"
        what = f"{found['step']} {found['model']}"
        print(
            f"{size.series:<8}{found['events']:>12,} events{found['items']:>10,} products  "
            f"{what:<20}{found['users']:>9,} users  {found['workers']} workers"
            f"{found['seconds']:9.2f} s{peak}",
            flush=True,
        )
    return rows


def measure(size: Size) -> list[dict[str, Any]]:
    """Measure one size, step after step."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_market(folder, size.events, n_items=size.items, n_words=2000)
        rows = apart(read_tables, folder, size)
        if size.series == "workers":
            return [found for n in (1, 2) for found in apart(share_out, folder, size, n)]
        for name in size.models:
            rows += apart(fit_and_rank, folder, size, name)
    return rows


def main() -> None:
    """Measure every size, each step in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it works")
    parser.add_argument("--series", choices=SERIES, help="only this one")
    parser.add_argument("--folder", type=Path, help="where scale.csv goes (default: nowhere)")
    options = parser.parse_args()
    load_before = os.getloadavg()[0]
    print(f"{torch.get_num_threads()} threads, load {load_before:.1f} at the start", flush=True)
    rows: list[dict[str, Any]] = []
    for size in sizes(options.quick):
        if options.series in (None, size.series):
            rows += measure(size)
        if options.folder:  # what is measured is kept, whatever comes next
            write_table(SCALE_FILE, rows, options.folder, load_before)


if __name__ == "__main__":
    main()
