"""Protocols: full-loo ranks the whole catalogue, pairs classifies sampled pairs."""

import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass

import joblib
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from tqdm.auto import tqdm

from reclib import cache
from reclib.data import Fold
from reclib.errors import ReclibError, unknown
from reclib.models import Fusion, Scorer, mask_seen, top_k
from reclib.models.base import Indices, Scores, code_behind

WEIGHTINGS = ("uniform", "popularity")


@dataclass(frozen=True)
class Pairs:
    """Positives, each with its sampled negatives.

    Attributes
    ----------
    user
        int64, shape (n_positives,), sorted.
    item
        int64, shape (n_positives, 1 + r): the held-out product, then r sampled ones.
    """

    user: Indices
    item: Indices


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


def sample_pairs(
    fold: Fold, *, negatives: int = 1, weighting: str = "uniform", rng: int = 0
) -> Pairs:
    """Draw negatives for the protocol ``pairs``.

    Parameters
    ----------
    fold
        Each stored entry of its `relevant` is a positive.
    negatives
        r, negatives for each positive: different products that the user neither had in
        training nor is asked for.
    weighting
        ``uniform`` over the catalogue, or by ``popularity`` in training.
    rng
        Seed of the draw.

    Returns
    -------
    Pairs
        The same for every scorer.

    Raises
    ------
    ReclibError
        If `negatives` is below 1, the weighting is unknown, or a user has too few products
        left to draw from.
    """
    if weighting not in WEIGHTINGS:
        raise unknown("weighting", weighting, WEIGHTINGS)
    n_items = fold.train.n_items
    counts = np.bincount(fold.train.matrix.indices, minlength=n_items).astype(float)
    chance = counts if weighting == "popularity" else np.ones(n_items)
    positive = fold.relevant.tocoo()
    known = sp.csr_array(fold.train.matrix.astype(bool) + fold.relevant.astype(bool))
    free = np.count_nonzero(chance) - np.diff(known.indptr).max(initial=0)
    if not 1 <= negatives <= free:
        raise ReclibError(f"negatives is {negatives}; allowed is 1 to {free} with this data")
    taken = np.append(np.sort(_keys(known)), -1)  # the sentinel stands behind the last key
    upto = np.cumsum(chance) / chance.sum()
    generator = np.random.default_rng(rng)
    drawn = np.empty((len(positive.row), negatives), np.int64)
    for column in range(negatives):
        redo = np.arange(len(drawn))
        while len(redo):  # one product after the other, again where it is known or repeated
            new = np.searchsorted(upto, generator.random(len(redo)), side="right")
            drawn[redo, column] = new
            key = positive.row[redo].astype(np.int64) * n_items + new
            repeated = (drawn[redo, :column] == new[:, None]).any(axis=1)
            redo = redo[(taken[np.searchsorted(taken[:-1], key)] == key) | repeated]
    item = np.column_stack([positive.col.astype(np.int64), drawn])
    return Pairs(positive.row.astype(np.int64), item)


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

    Users go through in batches, so memory is batch_size × n_items. The parts of several
    fusions are scored once a batch. What was computed before comes from the cache.

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
        Users at once.
    progress
        Show a progress bar.

    Returns
    -------
    dict
        Outcome of each scorer, in the order given.
    """
    drawn = None if pairs is None else joblib.hash((pairs.user, pairs.item))
    places = {
        name: cache.entry(
            "evaluate",
            key=(type(scorer).__name__, scorer.config(), fold.train.fingerprint, k, drawn, seed),
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
            _peak_mb(),
        )
        for name in scorers
    }


def _peak_mb() -> float:
    """Highest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)  # macOS counts bytes, Linux KiB


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


def best_threshold(pair_scores: Scores) -> float:
    """Choose the threshold with the highest F1; to be called on validation pairs only.

    Parameters
    ----------
    pair_scores
        Shape (n_positives, 1 + r), positives in the first column.

    Returns
    -------
    float
        "Yes" is a score of at least this; of equally good thresholds the highest.
    """
    scores = pair_scores.ravel()
    positive = np.zeros(pair_scores.shape, bool)
    positive[:, 0] = True
    order = np.argsort(-scores, kind="stable")
    ranked, hit = scores[order], positive.ravel()[order]
    true_positives = np.cumsum(hit)
    f1 = 2 * true_positives / (np.arange(1, len(hit) + 1) + len(pair_scores))
    last_of_tie = np.append(ranked[1:] != ranked[:-1], True)
    return float(ranked[np.argmax(np.where(last_of_tie, f1, -1))])


def pair_counts(pair_scores: Scores, threshold: float) -> NDArray[np.float64]:
    """Count true positives, false positives and false negatives of each positive's group.

    Returns
    -------
    ndarray
        float64, shape (n_positives, 3): tp, fp, fn.
    """
    yes = pair_scores >= threshold
    hit = yes[:, 0].astype(float)
    return np.column_stack([hit, yes[:, 1:].sum(axis=1), 1 - hit])


def pair_metrics(counts: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Precision, recall and F1 from summed counts, shape (..., 3); 0/0 is 0."""
    tp, fp, fn = np.moveaxis(counts, -1, 0)
    with np.errstate(invalid="ignore"):
        return {
            "precision": np.nan_to_num(tp / (tp + fp)),
            "recall": np.nan_to_num(tp / (tp + fn)),
            "f1": np.nan_to_num(2 * tp / (2 * tp + fp + fn)),
        }


def _keys(matrix: sp.csr_array) -> NDArray[np.int64]:
    """One number for each stored (user, item)."""
    coo = matrix.tocoo()
    keys: NDArray[np.int64] = coo.row.astype(np.int64) * matrix.shape[1] + coo.col
    return keys
