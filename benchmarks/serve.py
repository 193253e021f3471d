"""How long a customer waits for a list, at the paper's size: 50,000 products.

Run: ``.venv/bin/python benchmarks/serve.py [--seconds 20] [--rate 100] [--folder FOLDER]``.
The fusion of Table II serves the simulated shop of 500,000 events from one database file. Its
lists are chosen, explained and logged. Callers are processes forked from the one that has
loaded the model. Measured are one caller alone, all callers as fast as they can, and all
callers with logins at random moments, as many a second as asked for: then the wait counts
from the login, so that a queue is part of it. Once for customers with candidates collected
ahead, once for customers who have just clicked, whom every part has to score anew, once for
both in one crowd; and once for customers who search.

Scores take the same time whatever the vectors hold, so texts are not encoded: they get random
vectors of the encoder's size.
"""

import argparse
import multiprocessing
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from reclib.data import load, prepare
from reclib.models import Collaborative, Content, Fusion, Language
from reclib.models.encoder import Embeddings
from reclib.serving import Shop, Store
from reclib.study.speed import SERVE_FILE, write_table

DIMENSIONS = 384  # of the default encoder
CROWD = 4  # one customer in so many has just clicked


def random_vectors(texts: Sequence[str], **_: object) -> Embeddings:
    """Stand in for the encoder."""
    vectors = np.random.default_rng(0).normal(size=(len(texts), DIMENSIONS)).astype(np.float32)
    return Embeddings(vectors, len(set(texts)), 0.0, "cpu", "float32")


def call(
    shop: Shop,
    users: Sequence[str],
    queries: Sequence[str],
    seed: int,
    seconds: float,
    rate: float,
) -> list[tuple[float, float, float]]:
    """Let customers come, `rate` a second; when each came, waited, and the processor worked.

    An infinite rate: the next comes when the last one is served. All are in seconds. Where
    there are queries they search, else they log in.
    """
    rng = np.random.default_rng(seed)
    spent = []
    with threadpool_limits(1):
        due = time.perf_counter()
        end = due + seconds
        while True:
            due = time.perf_counter() if np.isinf(rate) else due + rng.exponential(1 / rate)
            if due > end:
                return spent
            time.sleep(max(0.0, due - time.perf_counter()))
            worked = time.process_time()
            user = users[rng.integers(len(users))]
            if queries:
                shop.search(queries[rng.integers(len(queries))], user_id=user)
            else:
                shop.recommend(user)
            spent.append((due, time.perf_counter() - due, time.process_time() - worked))


def measure(
    customers: str,
    shop: Shop,
    users: Sequence[str],
    queries: Sequence[str],
    callers: int,
    seconds: float,
    rate: float,
) -> dict[str, Any]:
    """Fork the callers, and print how long customers waited; a row of ``serve.csv``."""
    fork = multiprocessing.get_context("fork")
    queue = fork.SimpleQueue()
    made = [
        fork.Process(
            target=lambda seed: queue.put(
                call(shop, users, queries, seed, seconds, rate / callers)
            ),
            args=(seed,),
        )
        for seed in range(callers)
    ]
    for process in made:
        process.start()
    came, waits, worked = np.concatenate([queue.get() for _ in made]).T
    for process in made:
        process.join()
    # the last may leave long after the last one came: a queue takes its time
    lasted = (came + waits).max() - came.min()
    median, late = np.percentile(1000 * waits, [50, 99])
    row = {
        "customers": customers,
        "callers": callers,
        "rate": 0.0 if np.isinf(rate) else rate,
        "served": len(waits) / lasted,
        "median_ms": median,
        "p99_ms": late,
        "processor_ms": 1000 * np.median(worked),
    }
    print(*(f"{v:.1f}" if isinstance(v, float) else v for v in row.values()), sep=" | ", flush=True)
    return row


def main() -> None:
    """Load, fit, and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="paper", help="of the simulated shop")
    parser.add_argument("--seconds", type=float, default=20, help="for each measurement")
    parser.add_argument("--rate", type=float, default=100, help="logins a second")
    parser.add_argument("--callers", type=int, default=8)
    parser.add_argument("--customers", type=int, default=1000, help="who log in, of each kind")
    parser.add_argument("--folder", type=Path, help="where serve.csv goes (default: nowhere)")
    options = parser.parse_args()
    load_before = os.getloadavg()[0]
    torch.set_num_threads(1)  # a request is too short to be shared, and callers are forked
    print(f"{os.cpu_count()} processors, load {load_before:.1f} at the start", flush=True)
    prepared = prepare(load("simulated", size=options.size))
    parts = {"content": Content(), "collaborative": Collaborative(), "language": Language()}
    with patch("reclib.models.language.encode", random_vectors), threadpool_limits(1):
        weights = dict.fromkeys(parts, 1.0)
        fusion = Fusion(parts, weights, normalise="global", name="llm-fusion").fit(prepared)
    users = list(prepared.user_ids)[: 2 * options.customers]
    quiet, eager = users[::2], users[1::2]
    crowd = [*quiet, *eager[: len(quiet) // (CROWD - 1)]]
    words = sorted({word for text in prepared.text[:200] for word in text.split()[:3]})
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "shop.db") as store:
        started = time.perf_counter()
        shop = Shop(store, fusion)
        opened = time.perf_counter()
        shop.warm(quiet)
        warmed = time.perf_counter()
        for user in eager:
            store.click(user, prepared.item_ids[0])
        print(
            f"{prepared.n_users:,} users, {prepared.n_items:,} products, {prepared.n_events:,} "
            f"events; opened in {opened - started:.1f} s, candidates of "
            f"{len(quiet):,} customers in {warmed - opened:.1f} s",
            flush=True,
        )
        print("customers | callers | rate | served a second | median, p99, processor in ms")
        rows = [
            measure(name, shop, some, queries, callers, options.seconds, rate)
            for name, some, queries in (
                ("nothing new", quiet, ()),
                (f"one in {CROWD} clicked since", crowd, ()),
                ("all clicked since", eager, ()),
                ("searching", quiet, words),
            )
            for callers, rate in (
                (1, np.inf),
                (options.callers, np.inf),
                (options.callers, options.rate),
            )
        ]
    if options.folder:
        known = {"users": prepared.n_users, "items": prepared.n_items}
        write_table(SERVE_FILE, [known | row for row in rows], options.folder, load_before)


if __name__ == "__main__":
    main()
