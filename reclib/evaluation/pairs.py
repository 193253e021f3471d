"""The protocol ``pairs``: products that were bought against sampled ones, yes above a threshold."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from reclib.data import Fold
from reclib.errors import ReclibError, unknown
from reclib.evaluation.significance import Floats, resamples
from reclib.models.base import Indices, Scores

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


def n_drawable(fold: Fold, *, weighting: str = "uniform") -> Indices:
    """Count the products that can be drawn beside each positive.

    Parameters
    ----------
    fold, weighting
        As in `sample_pairs`.

    Returns
    -------
    ndarray
        int64, shape (n_positives,): the most negatives that its user can have.

    Raises
    ------
    ReclibError
        If the weighting is unknown.
    """
    return _free(fold, *_drawn_from(fold, weighting))


def sample_pairs(
    fold: Fold, *, negatives: int = 1, weighting: str = "uniform", rng: int = 0
) -> Pairs:
    """Draw negatives for the protocol ``pairs``.

    Parameters
    ----------
    fold
        Each stored entry of its `relevant` is a positive, but for those of users who have
        fewer products left to draw from than `negatives`: they are left out.
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
        If `negatives` is below 1, the weighting is unknown, or nobody has enough products
        left to draw from.
    """
    chance, known = _drawn_from(fold, weighting)
    n_items = len(chance)
    free = _free(fold, chance, known)
    most = int(free.max(initial=0))
    if not 1 <= negatives <= most:
        raise _impossible(negatives, most)
    enough = free >= negatives
    positive = fold.relevant.tocoo()
    user, item = (each[enough].astype(np.int64) for each in (positive.row, positive.col))
    taken = np.append(np.sort(_keys(known)), -1)  # the sentinel stands behind the last key
    upto = np.cumsum(chance) / chance.sum()
    generator = np.random.default_rng(rng)
    drawn = np.empty((len(user), negatives), np.int64)
    for column in range(negatives):
        redo = np.arange(len(drawn))
        while len(redo):  # one product after the other, again where it is known or repeated
            new = np.searchsorted(upto, generator.random(len(redo)), side="right")
            drawn[redo, column] = new
            key = user[redo] * n_items + new
            repeated = (drawn[redo, :column] == new[:, None]).any(axis=1)
            redo = redo[(taken[np.searchsorted(taken[:-1], key)] == key) | repeated]
    return Pairs(user, np.column_stack([item, drawn]))


def _drawn_from(fold: Fold, weighting: str) -> tuple[Floats, sp.csr_array]:
    """Weigh each product for the draw, and say which ones no user may be given."""
    if weighting not in WEIGHTINGS:
        raise unknown("weighting", weighting, WEIGHTINGS)
    n_items = fold.train.n_items
    counts = np.bincount(fold.train.matrix.indices, minlength=n_items).astype(float)
    chance = counts if weighting == "popularity" else np.ones(n_items)
    return chance, sp.csr_array(fold.train.matrix.astype(bool) + fold.relevant.astype(bool))


def _free(fold: Fold, chance: Floats, known: sp.csr_array) -> Indices:
    """Count what is left to draw beside each positive."""
    free = np.count_nonzero(chance) - known.astype(np.int64) @ (chance > 0)
    counts: Indices = free[fold.relevant.tocoo().row]
    return counts


def _impossible(negatives: int, most: int) -> ReclibError:
    """Say how many negatives these data allow."""
    if most:
        return ReclibError(
            f"negatives is {negatives}; allowed is 1 to {most} with this data, and more with more "
            "products"
        )
    return ReclibError(
        f"negatives is {negatives}, but nobody has a product left that could be drawn; bring more "
        "products, or leave pairs out: run_experiment(…, negatives=0)"
    )


@dataclass(frozen=True)
class _Ranked:
    """Scored pairs, the highest first: what a threshold accepts are all pairs until there.

    Attributes
    ----------
    score
        Distinct scores, descending, shape (n_distinct,).
    end
        Place of the last pair that has each.
    owner, positive
        Of each pair: row in the counts of users, and whether it was bought.
    """

    score: Scores
    end: Indices
    owner: Indices
    positive: NDArray[np.bool_]

    @classmethod
    def of(cls, pair_scores: Scores, owner: Indices) -> "_Ranked":
        """Sort the pairs; `owner` is that of each positive and its negatives."""
        order = np.argsort(-pair_scores.ravel(), kind="stable")
        ranked = pair_scores.ravel()[order]
        row, column = np.divmod(order, pair_scores.shape[1])
        end = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
        return cls(ranked[end], end, owner[row], column == 0)

    def accepted(self, drawn: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Count the true positives and all pairs until each place.

        `drawn` says how often each user counts, shape (n_resamples, n_users); the counts have
        the shape (n_resamples, n_pairs).
        """
        times = drawn[:, self.owner]
        yes = np.cumsum(times, axis=1, dtype=np.int32)
        times *= self.positive
        return np.cumsum(times, axis=1, dtype=np.int32), yes

    def best(self, drawn: NDArray[np.int32]) -> Scores:
        """Find the score with the highest F1 in each resample; of equally good ones the highest."""
        hits, yes = self.accepted(drawn)
        with np.errstate(invalid="ignore"):  # nobody drawn: every threshold is as good
            f1 = 2 * hits / (yes + hits[:, -1:])
        best: Scores = self.score[f1[:, self.end].argmax(axis=1)]
        return best

    def counts(self, drawn: NDArray[np.int32], threshold: Scores) -> Floats:
        """Count tp, fp and fn above each resample's threshold, shape (n_resamples, 3)."""
        hits, yes = self.accepted(drawn)
        some = threshold <= self.score[0]
        place = self.end[np.searchsorted(-self.score, -threshold, side="right") - some]
        row = np.arange(len(drawn))
        tp = hits[row, place] * some
        return np.column_stack([tp, yes[row, place] * some - tp, hits[:, -1] - tp]).astype(float)


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
    ranked = _Ranked.of(pair_scores, np.zeros(len(pair_scores), np.int64))
    return float(ranked.best(np.ones((1, 1), np.int32))[0])


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


def resampled_counts(
    chosen_on: Mapping[str, Scores],
    asked: Pairs,
    scores: Mapping[str, Scores],
    pairs: Pairs,
    *,
    n_resamples: int = 2000,
    rng: int = 0,
) -> dict[str, Floats]:
    """Draw users again, choose each model's threshold again on theirs, and count the test.

    A threshold is itself a result: F1 hardly changes over a wide range of thresholds, so with
    other customers another one would be best, and precision and recall would be others.
    Resamples that kept it would call that certain.

    Parameters
    ----------
    chosen_on
        Model → scores of the validation pairs, shape (n_positives, 1 + r).
    asked
        The validation pairs.
    scores
        Model → scores of the test pairs.
    pairs
        The test pairs. A user is drawn with all pairs of theirs, of both folds.
    n_resamples, rng
        As in `reclib.evaluation.bootstrap_sums`; every model is judged on the same users.

    Returns
    -------
    dict
        Model → tp, fp and fn of the test pairs, shape (n_resamples, 3).
    """
    users = np.union1d(asked.user, pairs.user)
    before, after = (np.searchsorted(users, each.user) for each in (asked, pairs))
    ranked = {
        model: (_Ranked.of(chosen_on[model], before), _Ranked.of(scores[model], after))
        for model in scores
    }
    found: dict[str, list[Floats]] = {model: [] for model in scores}
    cells = 400_000 // pairs.item.shape[1]  # what is made of so many stays in fast memory
    for drawn in resamples(len(users), n_resamples, rng, cells=cells):
        for model, (validation, test) in ranked.items():
            found[model].append(test.counts(drawn, validation.best(drawn)))
    return {model: np.concatenate(counts) for model, counts in found.items()}


def _keys(matrix: sp.csr_array) -> NDArray[np.int64]:
    """One number for each stored (user, item)."""
    coo = matrix.tocoo()
    keys: NDArray[np.int64] = coo.row.astype(np.int64) * matrix.shape[1] + coo.col
    return keys
