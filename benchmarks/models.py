"""What each model takes by itself: seconds, memory and energy of encoding, fit and lists.

Run: ``RECLIB_DATA=… .venv/bin/python benchmarks/models.py [--data amazon-beauty]``. Every
model of the study that is no mixture, with the values before any search, learns from the
training data of the test and ranks all users. Each has a process of its own, which finds the
embeddings of the products encoded; so its peak memory is what the model needs, beside the data
and the libraries, which have a row of their own. A mixture needs what its parts need.
"""

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch

from reclib import paths
from reclib.data import Fold, leave_one_out, load, prepare
from reclib.errors import ReclibError
from reclib.evaluation.protocols import peak_mb
from reclib.models.encoder import encode
from reclib.study.energy import counted
from reclib.study.spaces import single_scorers
from reclib.study.speed import MODELS_FILE, write_table

K, BATCH = 10, 512
NOTHING = "nothing"  # the data and the libraries alone


@contextmanager
def measured(model: str, step: str, rows: list[dict[str, Any]]) -> Iterator[None]:
    """Add a row of ``models.csv``; its peak memory is the block's own on Linux, else until now."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", "ascii")  # forgets the peak until now
    started = time.perf_counter()
    with counted() as joules:
        yield
        taken = joules()
    seconds = time.perf_counter() - started
    found = {"seconds": seconds, "peak_mb": peak_mb(), "joules": taken}
    rows.append({"model": model, "step": step, **found})


def work(folder: Path, model: str) -> list[dict[str, Any]]:
    """Do what one model has to; return its rows."""
    paths.CACHE = folder / "cache"
    fold: Fold = joblib.load(folder / "fold.joblib")
    rows: list[dict[str, Any]] = []
    if model == NOTHING:
        with measured(model, "load", rows):
            joblib.load(folder / "fold.joblib")
        with measured("language", "encode", rows):
            encode(list(fold.train.text), progress=False)
        return rows
    scorer = single_scorers()[model]
    with measured(model, "fit", rows):
        scorer.fit(fold.train)
    users = np.flatnonzero(np.diff(fold.relevant.indptr))
    with measured(model, "score", rows):
        scorer.rank(users, K, batch_size=BATCH)
    return rows


def main() -> None:
    """Measure every model, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="amazon-beauty")
    parser.add_argument("--size", default="full")
    parser.add_argument("--folder", type=Path, help="where models.csv goes (default: nowhere)")
    options = parser.parse_args()
    load_before = os.getloadavg()[0]
    print(f"{torch.get_num_threads()} threads, load {load_before:.1f} at the start", flush=True)
    try:
        fold = leave_one_out(prepare(load(options.data, size=options.size))).test
    except ReclibError as error:  # as a rule the data are not there
        sys.exit(f"error: {error}")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["reclib.study.spaces", "reclib.study.speed"])
    known = {"data": options.data, "users": fold.train.n_users, "items": fold.train.n_items}
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        joblib.dump(fold, folder / "fold.joblib")
        for model in (NOTHING, *single_scorers()):
            with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as pool:
                found = pool.submit(work, folder, model).result()
            for row in found:
                what = f"{row['model']} {row['step']}"
                print(f"{what:<34}{row['seconds']:9.2f} s{row['peak_mb']:10,.0f} MB", flush=True)
            rows += [known | row for row in found]
            if options.folder:  # what is measured is kept, whatever comes next
                write_table(MODELS_FILE, rows, options.folder, load_before)


if __name__ == "__main__":
    main()
