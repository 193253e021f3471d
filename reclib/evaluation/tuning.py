"""Choosing the weights of Eq. 7 on the validation fold."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm.auto import tqdm

from reclib import cache
from reclib.data import Fold
from reclib.errors import ReclibError
from reclib.evaluation.protocols import CODE
from reclib.models import Scorer, normalised, simplex, top_k, weighted_sum
from reclib.models.base import Indices, Scores

PROBE = 100


def choose_weights(
    parts: Mapping[str, Scorer],
    fold: Fold,
    *,
    n_trials: int = 66,
    normalise: str = "minmax",
    k: int = 10,
    rng: int = 0,
    batch_size: int = 512,
    progress: bool = True,
) -> pd.DataFrame:
    """Try weights on a regular grid of the simplex, and rank them by ``ndcg@k``.

    Every part is scored and normalised once; each trial only adds them up anew.

    Parameters
    ----------
    parts
        Two or three scorers by name; fitted on the fold's `train` if they are not.
    fold
        The validation fold; the test fold is refused.
    n_trials
        Upper bound on the number of weightings; equal for models that are compared.
    normalise
        As in `reclib.models.Fusion`.
    k, rng, batch_size, progress
        As in `reclib.evaluation.evaluate`.

    Returns
    -------
    pandas.DataFrame
        One row a trial: a column of weights for each part and ``ndcg@k``, best first; of
        equally good trials the first on the grid.

    Raises
    ------
    ReclibError
        If given the test fold.
    """
    if fold.name == "test":
        raise ReclibError("weights are chosen on the validation fold, never on the test fold")
    grid = simplex(len(parts), n_trials)
    configs = [(name, type(part).__name__, part.config()) for name, part in parts.items()]
    relevant = (fold.relevant.indptr, fold.relevant.indices)
    gains: NDArray[np.float64] = cache.cached(
        "choose_weights",
        lambda: _ndcg(parts, fold, grid, normalise, k, rng, batch_size, progress),
        key=(configs, fold.train.fingerprint, relevant, n_trials, normalise, k, rng),
        code=CODE,
    )
    trials = pd.DataFrame(grid, columns=list(parts)).assign(**{f"ndcg@{k}": gains})
    return trials.sort_values(f"ndcg@{k}", ascending=False, kind="stable", ignore_index=True)


def _ndcg(
    parts: Mapping[str, Scorer],
    fold: Fold,
    grid: NDArray[np.float64],
    normalise: str,
    k: int,
    rng: int,
    batch_size: int,
    progress: bool,
) -> NDArray[np.float64]:
    """Mean ndcg@k of every weighting, shape (n_trials,)."""
    train = fold.train
    for part in parts.values():
        part.ensure_fitted(train, rng=rng)
    gain = 1 / np.log2(np.arange(2, k + 2))
    ideal = np.concatenate([[np.nan], np.cumsum(gain)])
    sums = np.zeros(len(grid))
    starts = range(0, train.n_users, batch_size)
    for start in tqdm(starts, desc=f"weigh ({fold.name})") if progress else starts:
        users = np.arange(start, min(start + batch_size, train.n_users))
        seen = train.matrix[users].toarray() > 0
        scaled = [normalised(part.score(users), seen, normalise) for part in parts.values()]
        for scores in scaled:
            scores[seen] = -np.inf  # never before a target, and cheaper to add up than NaN
        relevant = fold.relevant[users].tocoo()
        best = ideal[np.minimum(np.bincount(relevant.row, minlength=len(users)), k)]
        gains = np.append(gain, 0.0)
        for trial, rank in enumerate(_ranks(scaled, relevant.row, relevant.col, grid, k)):
            sums[trial] += (gains[rank] / best[relevant.row]).sum()
    return sums / np.count_nonzero(np.diff(fold.relevant.indptr))


def _ranks(
    parts: list[Scores], row: Indices, target: Indices, grid: NDArray[np.float64], k: int
) -> list[Indices]:
    """Rank of each target under each weighting, 0 = best; k for anything below the list.

    Most targets are far down whatever the weights. If k of the 100 products that are best
    under equal weights beat a target, it is not in the list, and the rest of the catalogue
    need not be looked at: the ranks are exact, at a fraction of the work.
    """
    probe, _ = top_k(weighted_sum(parts, [1.0] * len(parts)), max(PROBE, k))
    probe = probe[row]  # (n_targets, n_probes), −1 where there are fewer candidates
    n_items = parts[0].shape[1]
    at_probe = [np.where(probe >= 0, part[row[:, None], probe], np.nan) for part in parts]
    at_target = [part[row, target][:, None] for part in parts]
    ranks = []
    for weights in grid:
        own = weighted_sum(at_target, weights)  # (n_targets, 1)
        rank = _beaten_by(weighted_sum(at_probe, weights), own, probe, target)
        open_ = np.flatnonzero((rank < k) & ~np.isnan(own[:, 0]))
        rank[np.isnan(own[:, 0])] = k
        if len(open_):
            rivals = weighted_sum([part[row[open_]] for part in parts], weights)
            every = np.arange(n_items)[None, :]
            rank[open_] = _beaten_by(rivals, own[open_], every, target[open_])
        ranks.append(np.minimum(rank, k))
    return ranks


def _beaten_by(rivals: Scores, own: Scores, index: Indices, target: Indices) -> Indices:
    """How many rivals stand before the target: higher score, or as high and smaller index."""
    before = (rivals > own) | ((rivals == own) & (index < target[:, None]))
    count: Indices = before.sum(axis=1)
    return count
