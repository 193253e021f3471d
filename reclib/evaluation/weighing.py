"""Choosing the weights of Eq. 7 on the validation fold.

Every part is scored once. What is kept of it is a pool: for each user the products that
could be in a list, with the score that each part gives them. A trial only weighs the pool
anew, and a search, which changes one number at a time, only moves kept sums by one part. So
hundreds of weightings can be compared.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm.auto import tqdm

from reclib import cache
from reclib.data import Fold
from reclib.errors import ReclibError
from reclib.models import Fusion, Scorer, blended, simplex
from reclib.models.base import Indices, Scores, code_behind
from reclib.models.candidates import candidates
from reclib.models.device import choose_device

DEPTH = 100  # best products of each part that enter the pool
FACTORS = (3.0, 1.7, 1.25, 1.1)  # by which a search changes a weight, coarse to fine
NOWHERE = np.float32(-1e30)  # below every sum; −∞ times a weight of 0 would be no number

Floats = NDArray[np.float64]


def choose_weights(
    parts: Mapping[str, Scorer],
    fold: Fold,
    *,
    n_trials: int = 66,
    by_history: bool = False,
    normalise: str = "minmax",
    k: int = 10,
    rng: int = 0,
    batch_size: int = 512,
    progress: bool = True,
) -> pd.DataFrame:
    """Try weights and rank them by ``ndcg@k``.

    For two or three parts the trials are a regular grid of the simplex. For more they are
    each part alone and two searches, one from equal weights and one from the best part. A
    search changes one number at a time, in ever smaller steps, keeping what is better;
    weights that depend on the history are searched in the same way.

    Parameters
    ----------
    parts
        Two or more scorers by name; fitted on the fold's `train` if they are not.
    fold
        The validation fold; the test fold is refused.
    n_trials
        Upper bound on the number of weightings; equal for models that are compared.
    by_history
        Whether to go on from the best weights, with as many trials again, to those for
        newcomers and the number of products half way between them.
    normalise
        As in `reclib.models.Fusion`.
    k, rng, batch_size, progress
        As in `reclib.evaluation.evaluate`.

    Returns
    -------
    pandas.DataFrame
        One row a trial: a column of weights for each part, with `by_history` also
        ``newcomers:<part>`` and ``halfway`` (NaN where not used), and ``ndcg@k``, best
        first; of equally good trials the first one tried.

    Raises
    ------
    ReclibError
        If given the test fold, fewer than two parts, or fewer trials than parts.

    Notes
    -----
    A product that is not among the `DEPTH` best of any part is no rival of a target. That
    can raise the value of a trial by a hair, of all trials alike.
    Sums are added in another order than by `Fusion`: scores that tie but for rounding may tie
    here and not there.
    """
    if fold.name == "test":
        raise ReclibError("weights are chosen on the validation fold, never on the test fold")
    if len(parts) < 2 or n_trials < len(parts):
        raise ReclibError(
            f"{len(parts)} parts with {n_trials} trials; need 2 parts or more, trials ≥ parts"
        )
    configs = [(name, type(part).__name__, part.config()) for name, part in parts.items()]
    relevant = (fold.relevant.indptr, fold.relevant.indices)
    asked = (n_trials, by_history, normalise, k, rng)
    tried: list[tuple[Floats, float]] = cache.cached(
        "choose_weights",
        lambda: _try_all(
            list(pools(parts, fold, normalise, rng, batch_size, progress)),
            len(parts), n_trials, by_history, k,
        ),
        key=(configs, fold.train.fingerprint, relevant, asked, choose_device()),
        code=code_behind(__name__, *parts.values()),
    )  # fmt: skip
    columns = [*parts]
    if by_history:
        columns += [*(f"newcomers:{part}" for part in parts), "halfway"]
    rows = np.full((len(tried), len(columns)), np.nan)
    for row, (weights, _) in zip(rows, tried, strict=True):
        row[: len(weights)] = _scaled(weights, len(parts))
    trials = pd.DataFrame(rows, columns=columns).assign(**{f"ndcg@{k}": [g for _, g in tried]})
    return trials.sort_values(f"ndcg@{k}", ascending=False, kind="stable", ignore_index=True)


def _try_all(
    pool: "Sequence[Pool]", n_parts: int, n_trials: int, by_history: bool, k: int
) -> list[tuple[Floats, float]]:
    """Numbers and ``ndcg@k`` of every trial, in the order tried."""
    gain = Weigher(pool, n_parts, k)
    if n_parts <= 3:
        tried = [(weights, gain(weights, weights)) for weights in simplex(n_parts, n_trials)]
    else:
        # two ways up: together a strong part may drown among weak ones, where no single step
        # from equal weights helps; so one climb starts from the best part, nearly alone
        tried = [(alone, gain(alone, alone)) for alone in np.eye(n_parts)]
        best = max(tried, key=lambda trial: trial[1])[0]
        equal = np.ones(n_parts)
        for start, share in ((equal, 0.5), (best + 0.05 * equal, 1.0)):
            left = round(share * (n_trials - len(tried)))
            tried += climb(gain, start, left)
    if by_history:
        best = max(tried, key=lambda trial: trial[1])[0]
        start = np.concatenate([best, best, [5.0]])
        # a weight of 0 cannot be multiplied, so every part starts with a little
        tried += climb(gain, np.maximum(start, 0.01), n_trials, zeros=False)
    return tried


def _scaled(numbers: Floats, n_parts: int) -> Floats:
    """Bring weights, and those of newcomers where there are any, to sum 1 each."""
    groups = np.split(numbers, [n_parts, 2 * n_parts])
    return np.concatenate([*(group / group.sum() for group in groups[:2] if len(group)), groups[2]])


def climb(
    gain: Callable[[Floats, Floats], float], start: Floats, n_trials: int, *, zeros: bool = True
) -> list[tuple[Floats, float]]:
    """Search numbers ≥ 0 for a high gain, one number at a time.

    Parameters
    ----------
    gain
        What to raise: of numbers, and of the best until now, from which they differ in one.
    start
        Shape (n,), where to begin.
    n_trials
        How often `gain` is asked, at most.
    zeros
        Whether a number may become 0; never all of them.

    Returns
    -------
    list
        Numbers and gain of every trial, in order. A round multiplies and divides each
        number by a factor, and the first of each factor sets it to 0; after a round without
        success the factor becomes smaller, and after the smallest the search ends.
    """
    if n_trials < 1:
        return []
    best, height = start, gain(start, start)
    tried = [(start, height)]
    for factor in FACTORS:
        for round_ in count():
            before = height
            for place in range(len(start)):
                changes = [factor, 1 / factor, *([0.0] if zeros and round_ == 0 else [])]
                for change in changes:
                    if len(tried) == n_trials:
                        return tried
                    numbers = best.copy()
                    numbers[place] *= change
                    if not numbers.any() or (numbers == best).all():
                        continue
                    found = gain(numbers, best)
                    tried.append((numbers, found))
                    if found > height:
                        best, height = numbers, found
                        break
            if height <= before:
                break
    return tried


class Weigher:
    """``ndcg@k`` of weights, quick for those that differ in one place from others.

    Lists stay the same when all weights are multiplied, so they are taken as they are.

    Parameters
    ----------
    pool
        Of all users who are asked.
    n_parts
        How many of the numbers are weights of the parts. As many more may follow for
        newcomers, and the number of products half way between them.
    k
        Length of the lists.
    """

    def __init__(self, pool: "Sequence[Pool]", n_parts: int, k: int) -> None:
        self.pool, self.n_parts, self.k = pool, n_parts, k
        self.users = sum(len(block.products) for block in pool)
        self._near = np.empty(0)
        self._sums: list[list[Scores]] = []

    def __call__(self, numbers: Floats, near: Floats) -> float:
        """Weigh with `numbers`; the sums of those that are `near` are kept until others are."""
        if not np.array_equal(near, self._near):
            self._sums = [[block.sum(group) for group in self._groups(near)] for block in self.pool]
            self._near = near.copy()
        used = np.any([group > 0 for group in self._groups(numbers)], axis=0)
        gains = [
            block.gains(self._total(block, sums, numbers), used, self.k).sum()
            for block, sums in zip(self.pool, self._sums, strict=True)
        ]
        return float(np.sum(gains)) / self.users

    def _groups(self, numbers: Floats) -> list[Floats]:
        """Weights, and those of newcomers where there are any."""
        split = np.split(numbers, [self.n_parts, 2 * self.n_parts])
        return [group for group in split[:2] if len(group)]

    def _total(self, block: "Pool", sums: list[Scores], numbers: Floats) -> Scores:
        """Move the kept sums of a block to `numbers`, and blend them by the history."""
        groups = self._groups(numbers)
        totals = [
            block.moved(total, group - near)
            for total, group, near in zip(sums, groups, self._groups(self._near), strict=True)
        ]
        if len(groups) == 1:
            return totals[0]
        settled = blended(np.zeros(1), np.ones(1), float(numbers[-1]), block.products)
        shares = (settled / groups[0].sum(), (1 - settled) / groups[1].sum())
        by_group = [total * share.astype("f4") for total, share in zip(totals, shares, strict=True)]
        blend: Scores = by_group[0] + by_group[1]
        return blend


class Pool:
    """Products that could be in the lists of some users, in the order of their index.

    Parameters
    ----------
    scores
        float32, shape (n_parts, n_users, n_pool): normalised; NaN where a part cannot
        score. Changed in place.
    real
        bool, shape (n_users, n_pool): False where a user's pool is smaller.
    relevant
        bool, shape (n_users, n_pool); every relevant product is in the pool.
    products
        int64, shape (n_users,): different products in the history.
    """

    def __init__(
        self,
        scores: Scores,
        real: NDArray[np.bool_],
        relevant: NDArray[np.bool_],
        products: Indices,
    ) -> None:
        unknown = np.isnan(scores)
        self.holes = np.nonzero(unknown.any(axis=0))  # few as a rule
        row, place = self.holes
        self.known = ~unknown[:, row, place]
        scores[unknown] = 0
        scores[:, ~real] = 0
        self.scores, self.products = scores, products
        self.start = np.where(real, np.float32(0), NOWHERE)
        self.user, self.place = np.nonzero(relevant)
        self.one_each = np.array_equal(self.user, np.arange(len(products)))
        self.earlier = np.arange(real.shape[1]) < self.place[:, None]  # and so of a smaller index

    def sum(self, weights: Floats) -> Scores:
        """Σ_p w_p · part_p, float32, shape (n_users, n_pool); 0 for what a part cannot score."""
        return self.moved(self.start, weights)

    def moved(self, total: Scores, steps: Floats) -> Scores:
        """Add `steps`, shape (n_parts,), to the weights of a sum; without any, it is the same."""
        for place in np.flatnonzero(steps):
            total = total + self.scores[place] * np.float32(steps[place])
        return total

    def gains(self, total: Scores, used: NDArray[np.bool_], k: int) -> Floats:
        """``ndcg@k`` of each user, float64, shape (n_users,).

        `total` is a sum of this pool; what no part scores that is `used`, shape (n_parts,),
        is in no list.
        """
        silent = ~self.known[used].any(axis=0)
        if silent.any():
            total = total.copy()
            total[self.holes[0][silent], self.holes[1][silent]] = np.nan
        rivals = total if self.one_each else total[self.user]
        own = total[self.user, self.place][:, None]
        rank = (rivals > own).sum(axis=1, dtype=np.uint32)
        close = np.flatnonzero(rank < k)  # for others it makes no difference who ties
        ties = (rivals[close] == own[close]) & self.earlier[close]
        rank[close] += ties.sum(axis=1, dtype=np.uint32)
        gain = np.append(1 / np.log2(np.arange(2, k + 2)), 0.0)
        found = np.where(np.isnan(own[:, 0]), 0, gain[np.minimum(rank, k)])
        ideal = np.cumsum(gain)[np.minimum(np.bincount(self.user, minlength=len(total)), k) - 1]
        gains: Floats = np.bincount(self.user, weights=found, minlength=len(total)) / ideal
        return gains


def pools(
    parts: Mapping[str, Scorer],
    fold: Fold,
    normalise: str,
    rng: int,
    batch_size: int,
    progress: bool,
) -> Iterator[Pool]:
    """Score every part and keep the pools of the users who are asked, batch by batch."""
    fusion = Fusion(parts, dict.fromkeys(parts, 1.0), normalise=normalise)
    fusion.fit(fold.train, rng=rng)
    asked = np.flatnonzero(np.diff(fold.relevant.indptr))
    batches = range(0, len(asked), batch_size)
    for start in tqdm(batches, desc=f"pool ({fold.name})") if progress else batches:
        users = asked[start : start + batch_size]
        relevant = fold.relevant[users]
        found = candidates(fusion, users, depth=DEPTH, also=relevant)
        yield Pool(found.scores, found.real, found.of(relevant), found.products)
