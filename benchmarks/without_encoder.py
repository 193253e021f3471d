"""Seconds for the part of Table II that needs no language model, nothing cached.

Run: ``RECLIB_DATA=… .venv/bin/python benchmarks/without_encoder.py [amazon-beauty]``.
Loading, cleaning, splitting, the choice of profile and weights on validation, and the test
of every model up to ``traditional``; first without any text at all, then with TF-IDF.
"""

import sys
import tempfile
import time
from pathlib import Path

from reclib import paths
from reclib.data import leave_one_out, load, prepare
from reclib.evaluation import evaluate, sample_pairs
from reclib.study.experiment import choose_profile, evaluate_seeds, measure_lists, tuned_fusion
from reclib.study.spaces import single_scorers


def main(data: str) -> None:
    """Time both parts on all users of a data set."""
    with tempfile.TemporaryDirectory() as empty:
        paths.CACHE = Path(empty)
        started = time.perf_counter()
        split = leave_one_out(prepare(load(data, size="full")))
        scorers = single_scorers()
        pairs = sample_pairs(split.test, rng=1)
        textless = ("random", "popular", "collaborative:interactions")
        chosen = {name: scorers[name] for name in textless}
        measure_lists(evaluate_seeds(chosen, split.test, pairs=pairs), split.test)
        print(f"{data}: without any text {time.perf_counter() - started:.1f} s")

        before = sample_pairs(split.validation)
        profile = choose_profile(scorers, split.validation)
        parts = {"content": scorers["content"], "collaborative": scorers[profile]}
        traditional = tuned_fusion("traditional", parts, split.validation)
        models = {"traditional": traditional, **parts}
        evaluate(models, split.validation, pairs=before, progress=False)
        measure_lists(evaluate_seeds(models, split.test, pairs=pairs), split.test)
        print(f"{data}: and with TF-IDF, tuned {time.perf_counter() - started:.1f} s")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "amazon-beauty")
