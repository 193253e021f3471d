"""Speed of the hot paths beside the libraries that a user would pick, in one run.

Run: ``.venv/bin/python benchmarks/speed.py [--data amazon-beauty] [--seconds 5]``. Each pair
does the same work on the same data, the results are compared, and the fastest of several
interleaved repeats counts. ``--data`` adds a real set (``$RECLIB_DATA``) to the made-up ones.

Two peers are not part of the study's environment, because they pin older packages or are
needed nowhere else; without them their rows are left out:
``pip install --no-deps --target peers rectools==0.19.0 faiss-cpu==1.15.1``, and then
``PYTHONPATH=peers`` before the command.
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import scipy.sparse as sp
import torch
from load_and_split import compare

from reclib.data import Marketplace, Prepared, leave_one_out, load, prepare
from reclib.evaluation import ranking_metrics
from reclib.evaluation.protocols import peak_mb
from reclib.models import Collaborative, ItemKNN, top_k
from reclib.study.speed import PEERS_FILE, write_table

K = 10
rows: list[dict[str, object]] = []


def paired(
    task: str, ours: Callable[[], object], peer: str, theirs: Callable[[], object], seconds: float
) -> tuple[object, object]:
    """Time both, turn by turn, and note the fastest of each; returns what they computed."""
    results = ours(), theirs()  # warm
    best = [np.inf, np.inf]
    spent = 0.0
    while spent < seconds or not np.isfinite(best).all():
        for place, run in enumerate((ours, theirs)):
            started = time.perf_counter()
            run()
            took = time.perf_counter() - started
            best[place] = min(best[place], took)
            spent += took
    note(task, best[0], peer, best[1])
    return results


def note(task: str, seconds: float, peer: str, peer_seconds: float) -> None:
    """Keep a row and print it."""
    rows.append({"task": task, "seconds": seconds, "peer": peer, "peer_seconds": peer_seconds})
    ratio = f"{peer_seconds / seconds:.1f}x"
    print(
        f"{task:<44} reclib {seconds:9.4f} s   {peer} {peer_seconds:9.4f} s   {ratio}", flush=True
    )


def made_up(n_users: int, n_items: int, n_events: int, *, seed: int = 0) -> Prepared:
    """Make up a shop whose products are as unequal in popularity as real ones (Zipf's law)."""
    rng = np.random.default_rng(seed)
    chance = 1 / np.arange(1, n_items + 1) ** 0.8
    item = rng.choice(n_items, n_events, p=chance / chance.sum())
    user = rng.integers(0, n_users, n_events)
    events = pl.DataFrame({"user": user, "item": item}).unique(maintain_order=True)
    events = events.select(
        user_id=pl.format("u{}", pl.col("user")),
        item_id=pl.format("i{}", pl.col("item")),
        position=pl.int_range(pl.len()).over("user"),
    )
    items = pl.DataFrame({"item_id": [f"i{item}" for item in range(n_items)]})
    words = rng.integers(0, 2000, (n_items, 6))
    titles = [" ".join(f"word{word}" for word in row) for row in words]
    items = items.with_columns(title=pl.Series(titles))
    return prepare(Marketplace("made up", events, items), min_events=1)


def item_knn(name: str, prepared: Prepared, seconds: float) -> None:
    """Fit, and rank every user with what they had left out, beside implicit."""
    from implicit.nearest_neighbours import CosineRecommender

    n_threads = torch.get_num_threads()
    matrix = sp.csr_matrix((prepared.matrix > 0).astype(np.float32))
    ours = ItemKNN(neighbours=20, shrink=0, decay=1, history=10_000)
    theirs = CosineRecommender(K=21, num_threads=n_threads)  # a product is its own neighbour
    paired(
        f"item-kNN fit, {name}",
        lambda: ours.fit(prepared),
        "implicit",
        lambda: theirs.fit(matrix, show_progress=False),
        seconds,
    )
    users = np.arange(prepared.n_users)
    found, expected = paired(
        f"item-kNN top {K} of all users, filtered, {name}",
        lambda: ours.rank(users, K, batch_size=8192),
        "implicit",
        lambda: theirs.recommend(users, matrix, N=K, filter_already_liked_items=True),
        seconds,
    )
    # ours is a mean over the history and theirs a sum, and the two fill short lists otherwise
    mine, other = found[1], expected[1] / np.diff(matrix.indptr)[:, None]
    full = mine[:, -1] > 0
    equal = np.isclose(mine, other, rtol=1e-4)[full].all(axis=1).mean()
    print(f"  the same scores for {equal:.0%} of the full lists; elsewhere neighbours tie for the")
    print("  last place, and the two keep different ones")


def eq5() -> None:
    """Compute Eq. 5 up to the paper's size, ten events a user: how its cost grows with them."""
    for profile in ("features", "interactions"):
        for n_events in (62_500, 125_000, 250_000, 500_000):
            prepared = made_up(n_events // 10, 50_000, n_events)
            scorer = Collaborative(profile=profile)
            started = time.perf_counter()
            scorer.fit(prepared)
            fitted = time.perf_counter()
            scorer.rank(np.arange(prepared.n_users), K, batch_size=1024)
            ended = time.perf_counter()
            print(
                f"Eq. 5, {profile}, {prepared.n_users:,} users × {prepared.n_items:,} products, "
                f"{prepared.n_events:,} events: fit {fitted - started:.2f} s, rank "
                f"{ended - fitted:.2f} s, {1e6 * (ended - started) / prepared.n_events:.1f} µs an "
                f"event, peak {peak_mb() / 1024:.1f} GB so far",
                flush=True,
            )


def exact_search(seconds: float) -> None:
    """Find the best k of a product of dense vectors, beside faiss."""
    try:
        import faiss
    except ImportError:
        print("faiss is not installed; its row is left out")
        return
    rng = np.random.default_rng(0)
    items = rng.normal(size=(54_542, 384)).astype(np.float32)
    queries = rng.normal(size=(2048, 384)).astype(np.float32)
    faiss.omp_set_num_threads(torch.get_num_threads())
    index = faiss.IndexFlatIP(items.shape[1])
    index.add(items)

    def ours() -> np.ndarray:
        parts = [top_k(queries[s : s + 512] @ items.T, K)[0] for s in range(0, len(queries), 512)]
        return np.concatenate(parts)

    found, expected = paired(
        "exact top 10, 2,048 × 54,542 × 384",
        ours,
        "faiss",
        lambda: index.search(queries, K)[1],
        seconds,
    )
    print(f"  the same lists for {(found == expected).all(axis=1).mean():.2%} of the queries")


def metrics(seconds: float) -> None:
    """All seven ranking metrics of 40,000 users, beside rectools and ranx."""
    rng = np.random.default_rng(0)
    n_users, n_items = 40_226, 54_542
    top = (rng.integers(0, n_items, (n_users, 1)) + np.arange(K) * 7) % n_items
    target = np.where(rng.random(n_users) < 0.3, top[:, 3], rng.integers(0, n_items, n_users))
    cells = (np.ones(n_users, bool), (np.arange(n_users), target))
    relevant = sp.csr_array(cells, shape=(n_users, n_items))
    ours = lambda: ranking_metrics(top, relevant)  # noqa: E731
    mine = {name: values.mean() for name, values in ours().items()}
    try:
        from rectools import metrics as peer
    except ImportError:
        print("rectools is not installed; its row is left out")
    else:
        reco = pd.DataFrame(
            {
                "user_id": np.repeat(np.arange(n_users), K),
                "item_id": top.ravel(),
                "rank": np.tile(np.arange(1, K + 1), n_users),
            }
        )
        truth = pd.DataFrame({"user_id": np.arange(n_users), "item_id": target})
        asked = {
            "precision@10": peer.Precision(K),
            "recall@10": peer.Recall(K),
            "f1@10": peer.F1Beta(K),
            "ndcg@10": peer.NDCG(K, divide_by_achievable=True),
            "mrr@10": peer.MRR(K),
            "map@10": peer.MAP(K),
            "hit_rate@10": peer.HitRate(K),
        }
        _, expected = paired(
            "seven metrics of 40,226 users",
            ours,
            "rectools",
            lambda: peer.calc_metrics(asked, reco=reco, interactions=truth),
            seconds,
        )
        worst = max(abs(mine[name] - value) for name, value in expected.items())
        print(f"  largest difference: {worst:.1e}")
    from ranx import Qrels, Run, evaluate

    names = [f"i{item}" for item in range(n_items)]
    qrels = Qrels({f"u{u}": {names[item]: 1} for u, item in enumerate(target)})
    run = Run(
        {
            f"u{u}": {names[item]: float(K - place) for place, item in enumerate(items)}
            for u, items in enumerate(top)
        }
    )
    _, expected = paired(
        "seven metrics of 40,226 users",
        ours,
        "ranx",
        lambda: evaluate(qrels, run, list(mine)),
        seconds,
    )
    print(f"  largest difference: {max(abs(mine[n] - v) for n, v in expected.items()):.1e}")


def encoding(n_texts: int) -> None:
    """Encode texts of a shop, beside sentence-transformers with its own defaults."""
    import tempfile

    from sentence_transformers import SentenceTransformer

    from reclib import paths
    from reclib.data.simulate import simulate
    from reclib.models.encoder import _packaged_weights, encode

    texts = prepare(simulate("paper"), min_events=1).text[:n_texts]
    peer = SentenceTransformer(str(_packaged_weights()), device="cpu")
    peer.max_seq_length = 128  # as ours
    with tempfile.TemporaryDirectory() as empty:
        kept, paths.CACHE = paths.CACHE, Path(empty)
        encode(["a text that is not among them"], progress=False)  # loads what is loaded once
        started = time.perf_counter()
        made = encode(texts, progress=False)
        ours = time.perf_counter() - started
        paths.CACHE = kept
    started = time.perf_counter()
    expected = peer.encode(texts, show_progress_bar=False, normalize_embeddings=True)
    took = time.perf_counter() - started
    note(f"encode {n_texts:,} texts", ours, "sentence-transformers", took)
    unit = made.vectors / np.linalg.norm(made.vectors, axis=1, keepdims=True)
    cosine = (unit * expected).sum(axis=1)
    print(f"  smallest cosine between the two: {cosine.min():.5f} ({made.precision})")


def reading(n_events: int) -> None:
    """From parquet files to a split, beside plain pandas; what comes out is equal."""
    figures = compare(n_events, ["reclib", "pandas"])
    (ours, _), (theirs, _) = figures["reclib"], figures["pandas"]
    note(f"parquet files to a split, {n_events:,} events", ours, "pandas", theirs)


def main() -> None:
    """Run every comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="a real data set for the neighbours")
    parser.add_argument("--seconds", type=float, default=5, help="for each pair")
    parser.add_argument("--texts", type=int, default=10_000, help="to encode")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it works")
    parser.add_argument("--folder", type=Path, help="where peers.csv goes (default: nowhere)")
    options = parser.parse_args()
    quick, load_before = options.quick, os.getloadavg()[0]
    seconds = 0.0 if quick else options.seconds
    print(f"{torch.get_num_threads()} threads, load {load_before:.1f} at the start")
    if options.data:
        train = leave_one_out(prepare(load(options.data, size="full"))).test.train
        item_knn(options.data, train, seconds)
    users, items, events = (2_000, 2_700, 18_000) if quick else (40_000, 54_000, 354_000)
    item_knn(f"{users:,} × {items:,}", made_up(users, items, events), seconds)
    metrics(seconds)
    exact_search(seconds)
    reading(5_000 if quick else 1_000_000)
    if not quick:
        eq5()
    encoding(64 if quick else options.texts)
    if options.folder:
        write_table(PEERS_FILE, rows, options.folder, load_before)


if __name__ == "__main__":
    main()
