"""Seconds for 231 weightings of Eq. 7: the parts are scored once and combined many times.

Run: ``RECLIB_DATA=… .venv/bin/python benchmarks/weightings.py [--data amazon-beauty]``. The
parts are CBF, CF and LLM as the study has them, the weightings the simplex in steps of 1/20, the
users all that are asked on validation. What `choose_weights` does is timed in two steps, scoring
and combining. Then some weightings are ranked in full, whole catalogue and all, and compared.
"""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reclib.data import leave_one_out, load, prepare
from reclib.errors import ReclibError
from reclib.evaluation import ranking_metrics
from reclib.evaluation.weighing import _try_all, pools
from reclib.models import Fusion
from reclib.study.spaces import single_scorers
from reclib.study.speed import WEIGHTINGS_FILE, write_table

K = 10
CHECKED = 3  # weightings that are also ranked in full


def measure(data: str, size: str, n_weightings: int) -> dict[str, Any]:
    """Time both steps, and check the outcome; a row of ``weightings.csv``."""
    fold = leave_one_out(prepare(load(data, size=size))).validation
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
    return {
        "data": data,
        "users": len(asked),
        "items": fold.train.n_items,
        "weightings": len(tried),
        "score_seconds": scored - started,
        "combine_seconds": ended - scored,
    }


def main() -> None:
    """Measure one data set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="amazon-beauty")
    parser.add_argument("--size", default="full")
    parser.add_argument("--folder", type=Path, help="where weightings.csv goes (default: nowhere)")
    options = parser.parse_args()
    load_before = os.getloadavg()[0]
    print(f"{torch.get_num_threads()} threads, load {load_before:.1f} at the start")
    try:
        row = measure(options.data, options.size, 231)
    except ReclibError as error:  # as a rule the data are not there
        sys.exit(f"error: {error}")
    if options.folder:
        write_table(WEIGHTINGS_FILE, [row], options.folder, load_before)


if __name__ == "__main__":
    main()
