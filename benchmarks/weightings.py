"""Seconds for 231 weightings of Eq. 7: the parts are scored once and combined many times.

Run: ``RECLIB_DATA=… .venv/bin/python benchmarks/weightings.py [amazon-beauty]``. The parts are
CBF, CF and LLM as the study has them, the weightings the simplex in steps of 1/20, the users all
that are asked on validation. `choose_weights` is timed in two steps, scoring and combining. Then
some weightings are ranked in full, whole catalogue and all, and the values compared.
"""

import os
import sys
import time

import numpy as np
import torch

from reclib.data import leave_one_out, load, prepare
from reclib.evaluation import ranking_metrics
from reclib.evaluation.weighing import _try_all, pools
from reclib.models import Fusion
from reclib.study.spaces import single_scorers

K = 10
CHECKED = 5  # weightings that are also ranked in full


def main(data: str, n_weightings: int = 231) -> None:
    """Time both steps, and check the outcome."""
    print(f"{torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f} at the start")
    fold = leave_one_out(prepare(load(data, size="full"))).validation
    scorers = single_scorers()
    parts = {name: scorers[name] for name in ("content", "collaborative", "language")}
    for part in parts.values():
        part.fit(fold.train)
    started = time.perf_counter()
    pool = list(pools(parts, fold, "minmax", 0, 512, progress=False))
    scored = time.perf_counter()
    tried = _try_all(pool, len(parts), n_weightings, by_history=False, k=K)
    ended = time.perf_counter()
    asked = np.flatnonzero(np.diff(fold.relevant.indptr))
    print(
        f"{data}: {len(asked):,} users, {fold.train.n_items:,} products: scoring "
        f"{scored - started:.1f} s, then {len(tried)} weightings {ended - scored:.1f} s",
        flush=True,
    )
    for place in np.linspace(0, len(tried) - 1, CHECKED).astype(int):
        weights, gain = tried[place]
        fusion = Fusion(parts, dict(zip(parts, weights, strict=True))).fit(fold.train)
        top, _ = fusion.rank(asked, K, batch_size=512)
        full = ranking_metrics(top, fold.relevant[asked])[f"ndcg@{K}"].mean()
        print(f"  weights {weights.round(2)}: {gain:.6f}, ranked in full {full:.6f}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:2] or ["amazon-beauty"])
