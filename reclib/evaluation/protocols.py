"""Ranking the whole catalogue for every user of a fold, as the protocols of lists ask."""

import resource
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import joblib
import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from reclib import cache
from reclib.data import Fold
from reclib.evaluation.pairs import Pairs
from reclib.models import Fusion, Scorer, mask_seen, top_k
from reclib.models.base import Indices, Scores, code_behind
from reclib.models.device import choose_device

CELLS = 10**9  # scores of a batch that are kept, 4 GB; only large catalogues have more


@dataclass(frozen=True)
class Outcome:
    """What a scorer did in a fold.

    Attributes
    ----------
    top
        int64, shape (n_users, k): its list for each user; −1 where it is shorter.
    pair_scores
        float32, shape (n_positives, 1 + r): share of the user's candidates with a smaller
        score, ties half; 0 where the scorer cannot score. None without `Pairs`.
    seconds
        Wall time of each step, when it was computed; a fusion's includes its parts'.
    peak_mb
        Highest memory of the process until then.
    """

    top: Indices
    pair_scores: Scores | None
    seconds: Mapping[str, float]
    peak_mb: float


def evaluate(
    scorers: Mapping[str, Scorer],
    fold: Fold,
    *,
    k: int = 10,
    pairs: Pairs | None = None,
    rng: int = 0,
    batch_size: int = 512,
    progress: bool = True,
) -> dict[str, Outcome]:
    """Fit scorers on a fold and rank, for every user, all products not had in training.

    Users go through in batches. The parts of several fusions are scored once a batch, so
    batch_size × n_items scores are kept of each scorer that is no fusion; where that would be
    more than `CELLS`, batches are smaller. The parts of the fusion at work are there a second
    time, beside a few more. What was computed before comes from the cache.

    Parameters
    ----------
    scorers
        By name.
    fold
        Scorers are fitted on its `train`.
    k
        Length of the lists.
    pairs
        From `sample_pairs` of the same fold, to be scored in the same pass.
    rng
        Seed of the fits.
    batch_size
        Users at once, at most.
    progress
        Show a progress bar.

    Returns
    -------
    dict
        Outcome of each scorer, in the order given.
    """
    where = fold.train.fingerprint, choose_device()
    drawn = None if pairs is None else joblib.hash((pairs.user, pairs.item))
    places = {
        name: cache.entry(
            "evaluate",
            key=(type(scorer).__name__, scorer.config(), *where, k, drawn, seed),
            code=code_behind(__name__, scorer),
        )
        for name, scorer in scorers.items()
        for seed in [rng if scorer.stochastic else None]
    }
    found: dict[str, Outcome | None] = {name: cache.read(place) for name, place in places.items()}
    missing = {name: scorers[name] for name, outcome in found.items() if outcome is None}
    if missing:
        computed = _evaluate(missing, fold, k, pairs, rng, batch_size, progress)
        for name, outcome in computed.items():
            cache.write(places[name], outcome)
            found[name] = outcome
    return {name: outcome for name, outcome in found.items() if outcome is not None}


def _evaluate(
    scorers: Mapping[str, Scorer],
    fold: Fold,
    k: int,
    pairs: Pairs | None,
    rng: int,
    batch_size: int,
    progress: bool,
) -> dict[str, Outcome]:
    train = fold.train
    for scorer in scorers.values():
        scorer.ensure_fitted(train, rng=rng)
    tops: dict[str, list[Indices]] = {name: [] for name in scorers}
    shares: dict[str, list[Scores]] = {name: [] for name in scorers}
    score_seconds = dict.fromkeys(scorers, 0.0)
    kept = len(_parts(scorers.values())) * train.n_items  # scores of one user
    batch_size = max(1, min(batch_size, CELLS // kept))
    starts = range(0, train.n_users, batch_size)
    for start in tqdm(starts, desc=f"rank ({fold.name})") if progress else starts:
        users = np.arange(start, min(start + batch_size, train.n_users))
        seen = train.matrix[users].toarray() > 0
        raw: dict[int, tuple[Scores, float]] = {}
        for name, scorer in scorers.items():
            scores, seconds = _score(scorer, users, seen, raw)
            started = time.perf_counter()
            mask_seen(scores, train.matrix, users)
            tops[name].append(top_k(scores, k)[0])
            score_seconds[name] += seconds + time.perf_counter() - started
            if pairs is not None:
                shares[name].append(_shares(scores, pairs, start))
    return {
        name: Outcome(
            np.concatenate(tops[name]),
            np.concatenate(shares[name]) if pairs is not None else None,
            {**scorers[name].costs, "score": score_seconds[name]},
            peak_mb(),
        )
        for name in scorers
    }


def peak_mb() -> float:
    """Highest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)  # macOS counts bytes, Linux KiB


def _parts(scorers: Iterable[Scorer]) -> set[int]:
    """Find, by identity, the scorers that are no fusion: the keys of what is kept of a batch."""
    found: set[int] = set()
    for scorer in scorers:
        found |= _parts(scorer.parts.values()) if isinstance(scorer, Fusion) else {id(scorer)}
    return found


def _score(
    scorer: Scorer, users: Indices, seen: NDArray[np.bool_], raw: dict[int, tuple[Scores, float]]
) -> tuple[Scores, float]:
    """Score a batch, parts shared through `raw`; a fusion's time includes its parts'."""
    if isinstance(scorer, Fusion):
        parts = [_score(part, users, seen, raw) for part in scorer.parts.values()]
        started = time.perf_counter()
        fused = scorer.fuse([scores for scores, _ in parts], seen)
        return fused, sum(seconds for _, seconds in parts) + time.perf_counter() - started
    if id(scorer) not in raw:
        started = time.perf_counter()
        scores = scorer.score(users)
        raw[id(scorer)] = scores, time.perf_counter() - started
    scores, seconds = raw[id(scorer)]
    return scores.copy(), seconds


def _shares(scores: Scores, pairs: Pairs, start: int) -> Scores:
    """Share of each user's candidates below a pair's product, ties half."""
    first, last = np.searchsorted(pairs.user, [start, start + len(scores)])
    row = pairs.user[first:last] - start
    share = np.zeros((last - first, pairs.item.shape[1]), np.float32)
    n_scored = np.maximum((~np.isnan(scores)).sum(axis=1), 1)[row]
    for column in range(share.shape[1]):
        own = scores[row, pairs.item[first:last, column]][:, None]
        rivals = scores[row]
        below = (rivals < own).sum(axis=1) + 0.5 * (rivals == own).sum(axis=1)
        share[:, column] = below / n_scored
    return share
