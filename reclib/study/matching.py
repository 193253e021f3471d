"""Which protocol gives the paper's numbers? The same two models under many."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.preprocessing import normalize

from reclib.data import Prepared, Split, extract_features
from reclib.evaluation import (
    Outcome,
    Pairs,
    best_threshold,
    evaluate,
    intra_list_diversity,
    pair_counts,
    pair_metrics,
    ranking_metrics,
    sample_pairs,
)
from reclib.evaluation.pairs import WEIGHTINGS, n_drawable
from reclib.models import DEFAULT_ENCODER, Language, Scorer
from reclib.study.experiment import diversity_space, scores_of_pairs
from reclib.study.paper import TABLE_II

NEGATIVES = (1, 2, 4, 9, 19, 49, 99)
DEPTHS = (1, 2, 3, 5, 10, 20, 50)
TOLERANCE = 0.03
SPARED = 0.1  # of the positives, whose users may have had too many products to be asked
METRICS = ("precision", "recall", "f1")
YES = "always-yes"
Row = tuple[str, str, int, str, str, float]
COLUMNS = ["protocol", "variant", "size", "model", "metric", "value"]


def measure_everywhere(
    split: Split,
    models: Mapping[str, Scorer],
    *,
    negatives: Sequence[int] = NEGATIVES,
    depths: Sequence[int] = DEPTHS,
    rng: int = 0,
) -> pd.DataFrame:
    """Measure precision, recall and F1 of the same models under every protocol we know of.

    Parameters
    ----------
    split
        Thresholds are chosen on its validation, values are those of its test.
    models
        By name.
    negatives
        r of the protocol ``pairs``: sampled products for each one that was met. Left out are
        those that fewer than nine in ten positives can have in a small shop; the others are
        all measured over the same pairs, those that can have the most.
    depths
        k of lists, of the whole catalogue and of the product among 99 sampled ones
        (``sampled-99``, where `negatives` reaches so far).
    rng
        Seed of the fits and of the draws.

    Returns
    -------
    pandas.DataFrame
        Columns protocol, variant (how negatives are drawn and the threshold is set), size
        (r or k), model, metric, value. ``always-yes`` is among the models of ``pairs``.
    """
    negatives = _possible(split, negatives)
    rows: list[Row] = []
    for weighting in WEIGHTINGS:
        asked, tested = (
            sample_pairs(fold, negatives=max(negatives), weighting=weighting, rng=seed)
            for fold, seed in ((split.validation, rng), (split.test, rng + 1))
        )
        before = evaluate(models, split.validation, pairs=asked, rng=rng)
        after = evaluate(models, split.test, pairs=tested, k=max(depths), rng=rng)
        for model in models:
            judged = scores_of_pairs(after[model])
            rows += _pairs(model, weighting, scores_of_pairs(before[model]), judged, negatives)
            if weighting == WEIGHTINGS[0]:
                rows += _lists(model, after[model], split, depths)
                if max(negatives) >= 99:
                    rows += _sampled(model, judged, tested, depths)
        ones = np.ones(tested.item.shape, np.float32)
        rows += [
            row for row in _pairs(YES, weighting, ones, ones, negatives) if "half" not in row[1]
        ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _possible(split: Split, negatives: Sequence[int]) -> list[int]:
    """Choose the numbers of negatives that the catalogue is large enough for, at least one."""
    most = min(
        np.quantile(n_drawable(fold, weighting=weighting), SPARED, method="lower")
        for fold in (split.validation, split.test)
        for weighting in WEIGHTINGS
    )
    return [r for r in negatives if r <= most] or [min(negatives)]


def _pairs(
    model: str,
    weighting: str,
    before: NDArray[np.float32],
    after: NDArray[np.float32],
    negatives: Sequence[int],
) -> Iterator[Row]:
    """Values of ``pairs``, with the threshold of the best F1 on validation and at one half."""
    for r in negatives:
        thresholds = {"best threshold": best_threshold(before[:, : 1 + r]), "half": 0.5}
        for how, threshold in thresholds.items():
            total = pair_counts(after[:, : 1 + r], threshold).sum(axis=0)
            for metric, value in pair_metrics(total).items():
                yield "pairs", f"{weighting}, {how}", r, model, metric, float(value)


def _lists(model: str, outcome: Outcome, split: Split, depths: Sequence[int]) -> Iterator[Row]:
    """Values of lists from the whole catalogue."""
    for k in depths:
        found = ranking_metrics(outcome.top[:, :k], split.test.relevant)
        for metric in METRICS:
            value = float(np.nanmean(found[f"{metric}@{k}"]))
            yield split.test.protocol, "whole catalogue", k, model, metric, value


def _sampled(
    model: str, scores: NDArray[np.float32], pairs: Pairs, depths: Sequence[int]
) -> Iterator[Row]:
    """Values of lists of each product among 99 sampled ones; ties by the smaller index."""
    own, rivals = scores[:, :1], scores[:, 1:100]
    smaller = pairs.item[:, 1:100] < pairs.item[:, :1]
    place = ((rivals > own) | ((rivals == own) & smaller)).sum(axis=1)  # from 0
    for k in depths:
        hit = float((place < k).mean())
        for metric, value in zip(METRICS, (hit / k, hit, 2 * hit / (k + 1)), strict=True):
            yield "sampled-99", "uniform", k, model, metric, value


def distances(table: pd.DataFrame, models: tuple[str, str]) -> pd.DataFrame:
    """Say how far each protocol is from the paper's Table II.

    Parameters
    ----------
    table
        From `measure_everywhere`.
    models
        The traditional one, and the one with the LLM.

    Returns
    -------
    pandas.DataFrame
        Columns protocol, variant, size, the six values as ``metric: model``, ``farthest``,
        the largest distance from the paper's of the six, and ``within``, whether it is at
        most `TOLERANCE`; nearest first.
    """
    wanted = {
        f"{metric}: {model}": TABLE_II[metric][column]
        for metric in METRICS
        for column, model in enumerate(models)
    }
    own = table[table["model"].isin(models)]
    cells = own.assign(cell=own["metric"] + ": " + own["model"])
    wide = cells.pivot(index=["protocol", "variant", "size"], columns="cell", values="value")
    wide = wide[list(wanted)]
    farthest = (wide - pd.Series(wanted)).abs().max(axis=1)
    found = wide.assign(farthest=farthest, within=farthest <= TOLERANCE)
    return found.sort_values("farthest", kind="stable").rename_axis(columns=None).reset_index()


def diversity_by_space(
    outcomes: Mapping[str, Outcome], train: Prepared, *, encoder: str = DEFAULT_ENCODER, k: int = 10
) -> pd.DataFrame:
    """Measure the diversity of the same lists in four feature spaces.

    Parameters
    ----------
    outcomes
        Model → its lists.
    train
        Training data.
    encoder
        Of the embeddings.
    k
        Length of a list.

    Returns
    -------
    pandas.DataFrame
        Spaces in rows, models in columns: 1 − mean cosine of two products in a list. Of
        ``brand and category`` (ours), the ``words`` of Eq. 3, the encoder's ``embeddings``,
        and the ``buyers`` that products share; NaN where the data lack one.
    """
    vectors = Language(encoder=encoder).fit(train).item_vectors
    spaces = {
        "words": extract_features(train).items,
        "embeddings": sp.csr_array(np.nan_to_num(vectors)),
        "buyers": sp.csr_array(normalize(train.matrix.T.tocsr())),
    }
    if (described := diversity_space(train.items)) is not None:
        spaces = {"brand and category": described, **spaces}
    return pd.DataFrame(
        {
            model: {
                space: float(np.nanmean(intra_list_diversity(outcome.top[:, :k], features)))
                for space, features in spaces.items()
            }
            for model, outcome in outcomes.items()
        }
    )
