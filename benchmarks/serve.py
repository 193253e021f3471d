"""How long a customer waits for a list, at the paper's size: 50,000 products.

Run: ``.venv/bin/python benchmarks/serve.py [--seconds 20] [--rate 100] [--callers 8]``.
The fusion of Table II serves the simulated shop of 500,000 events from one database file. Its
lists are chosen, explained and logged. Callers are processes forked from the one that has
loaded the model. Measured are one caller alone, all callers as fast as they can, and all
callers with logins at random moments, as many a second as asked for: then the wait counts
from the login, so that a queue is part of it. Once for customers with candidates collected
ahead, and once for customers who have just clicked, whom every part has to score anew.

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
from unittest.mock import patch

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from reclib.data import load, prepare
from reclib.models import Collaborative, Content, Fusion, Language
from reclib.models.encoder import Embeddings
from reclib.serving import Shop, Store

DIMENSIONS = 384  # of the default encoder


def random_vectors(texts: Sequence[str], **_: object) -> Embeddings:
    """Stand in for the encoder."""
    vectors = np.random.default_rng(0).normal(size=(len(texts), DIMENSIONS)).astype(np.float32)
    return Embeddings(vectors, len(set(texts)), 0.0, "cpu", "float32")


def call(
    shop: Shop, users: Sequence[str], seed: int, seconds: float, rate: float
) -> list[tuple[float, float]]:
    """Log customers in, `rate` a second; how long each of them waited, and the processor worked.

    An infinite rate: the next comes when the last one is served. Both are in seconds.
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
            shop.recommend(users[rng.integers(len(users))])
            spent.append((time.perf_counter() - due, time.process_time() - worked))


def measure(
    name: str, shop: Shop, users: Sequence[str], callers: int, seconds: float, rate: float
) -> None:
    """Fork the callers, and print how long customers waited."""
    fork = multiprocessing.get_context("fork")
    queue = fork.SimpleQueue()
    made = [
        fork.Process(
            target=lambda seed: queue.put(call(shop, users, seed, seconds, rate / callers)),
            args=(seed,),
        )
        for seed in range(callers)
    ]
    for process in made:
        process.start()
    spent = 1000 * np.concatenate([queue.get() for _ in made])
    for process in made:
        process.join()
    waits, worked = spent.T
    median, late = np.percentile(waits, [50, 99])
    print(
        f"{name:<42} {len(waits) / seconds:7.1f} a second   median {median:7.1f} ms   99th "
        f"percentile {late:7.1f} ms   processor {np.median(worked):5.1f} ms",
        flush=True,
    )


def main() -> None:
    """Load, fit, and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="paper", help="of the simulated shop")
    parser.add_argument("--seconds", type=float, default=20, help="for each measurement")
    parser.add_argument("--rate", type=float, default=100, help="logins a second")
    parser.add_argument("--callers", type=int, default=8)
    parser.add_argument("--customers", type=int, default=1000, help="who log in, of each kind")
    options = parser.parse_args()
    torch.set_num_threads(1)  # a request is too short to be shared, and callers are forked
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f} at the start", flush=True)
    prepared = prepare(load("simulated", size=options.size))
    parts = {"content": Content(), "collaborative": Collaborative(), "language": Language()}
    with patch("reclib.models.language.encode", random_vectors), threadpool_limits(1):
        weights = dict.fromkeys(parts, 1.0)
        fusion = Fusion(parts, weights, normalise="global", name="llm-fusion").fit(prepared)
    users = list(prepared.user_ids)[: 2 * options.customers]
    kinds = {"nothing new": users[::2], "clicked since": users[1::2]}
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "shop.db") as store:
        started = time.perf_counter()
        shop = Shop(store, fusion)
        opened = time.perf_counter()
        shop.warm(kinds["nothing new"])
        warmed = time.perf_counter()
        for user in kinds["clicked since"]:
            store.click(user, prepared.item_ids[0])
        print(
            f"{prepared.n_users:,} users, {prepared.n_items:,} products, {prepared.n_events:,} "
            f"events; opened in {opened - started:.1f} s, candidates of "
            f"{len(kinds['nothing new']):,} customers in {warmed - opened:.1f} s",
            flush=True,
        )
        n, rate = options.callers, options.rate
        for kind, some in kinds.items():
            measure(f"{kind}, one caller", shop, some, 1, options.seconds, np.inf)
            measure(f"{kind}, {n} callers", shop, some, n, options.seconds, np.inf)
            name = f"{kind}, {n} callers, {rate:g} logins a second"
            measure(name, shop, some, n, options.seconds, rate)


if __name__ == "__main__":
    main()
