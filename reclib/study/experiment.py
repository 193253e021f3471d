"""The experiment of section V: the paper's two models and their parts, measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reclib.data import Fold, Split, Truth
from reclib.evaluation import (
    Outcome,
    Pairs,
    best_threshold,
    bootstrap_sums,
    choose_weights,
    diversity_features,
    evaluate,
    expected_ctr,
    interval,
    intra_list_diversity,
    pair_counts,
    pair_metrics,
    ranking_metrics,
    sample_pairs,
)
from reclib.models import (
    DEFAULT_ENCODER,
    Collaborative,
    Content,
    Fusion,
    Language,
    Popular,
    Random,
    Scorer,
)

Floats = NDArray[np.float64]
TRADITIONAL, LLM = "traditional", "llm-fusion"
NOTHING: Mapping[str, str] = {}
COMPARED = (TRADITIONAL, "content", "collaborative", "language")


@dataclass(frozen=True)
class Experiment:
    """Results of one run.

    Attributes
    ----------
    metrics
        Tidy: data protocol variant model metric value low high users seeds.
    costs
        Tidy: model step seconds peak_mb.
    weights
        Model → part → weight of Eq. 7, chosen on validation.
    profile
        What x_u is in Eq. 5, chosen on validation.
    pair_scores
        Model → scores of the test pairs, shape (n_positives, 1 + r), for Fig. 5.
    thresholds
        Model → threshold for "yes", chosen on validation.
    """

    metrics: pd.DataFrame
    costs: pd.DataFrame
    weights: Mapping[str, Mapping[str, float]]
    profile: str
    pair_scores: Mapping[str, NDArray[np.float32]]
    thresholds: Mapping[str, float]


def single_scorers(
    *,
    decay: float = 0.7,
    history: int = 20,
    encoder: str = DEFAULT_ENCODER,
    **features: Any,
) -> dict[str, Scorer]:
    """Make every scorer that is no fusion, by its name in results.

    Parameters
    ----------
    decay, history
        As in `reclib.data.history_weights`, for all that have a profile.
    encoder
        Of the language model.
    **features
        What else `reclib.data.extract_features` may be told.

    Returns
    -------
    dict
        Scorers that are not fitted yet.
    """
    return {
        "random": Random(),
        "popular": Popular(),
        "content": Content(decay=decay, history=history, **features),
        "collaborative": Collaborative(decay=decay, history=history, **features),
        "collaborative:interactions": Collaborative(profile="interactions"),
        "language": Language(encoder=encoder, decay=decay, history=history),
    }


def choose_profile(
    scorers: Mapping[str, Scorer], fold: Fold, *, pairs: Pairs, k: int, rng: int = 0
) -> str:
    """Name the collaborative scorer whose profile does better on validation (Eq. 5)."""
    names = [name for name in scorers if name.startswith("collaborative")]
    outcomes = evaluate({name: scorers[name] for name in names}, fold, k=k, pairs=pairs, rng=rng)
    ndcg = {
        name: float(np.nanmean(ranking_metrics(outcome.top, fold.relevant)[f"ndcg@{k}"]))
        for name, outcome in outcomes.items()
    }
    return max(ndcg, key=lambda name: ndcg[name])


def fusions(
    scorers: Mapping[str, Scorer],
    collaborative: str,
    fold: Fold,
    *,
    n_trials: int,
    normalise: str,
    k: int,
    rng: int = 0,
) -> dict[str, Fusion]:
    """Tune both models of Table II with the same number of trials (Eq. 7).

    Parameters
    ----------
    scorers
        From `single_scorers`.
    collaborative
        Which of them is the CF part, from `choose_profile`.
    fold
        The validation fold.
    n_trials, normalise, k, rng
        As in `reclib.evaluation.choose_weights`.

    Returns
    -------
    dict
        ``traditional``, α·CBF + β·CF, and ``llm-fusion``, which adds γ·LLM.
    """
    parts = {"content": scorers["content"], "collaborative": scorers[collaborative]}
    models = {TRADITIONAL: parts, LLM: parts | {"language": scorers["language"]}}
    return {
        name: tuned_fusion(name, chosen, fold, n_trials=n_trials, normalise=normalise, k=k, rng=rng)
        for name, chosen in models.items()
    }


def tuned_fusion(
    name: str,
    parts: Mapping[str, Scorer],
    fold: Fold,
    *,
    n_trials: int = 66,
    normalise: str = "minmax",
    k: int = 10,
    rng: int = 0,
) -> Fusion:
    """Fuse `parts` with the weights that do best on validation.

    Parameters
    ----------
    name
        What to call it in results.
    parts, fold, n_trials, normalise, k, rng
        As in `reclib.evaluation.choose_weights`.

    Returns
    -------
    Fusion
        Not fitted yet.
    """
    trials = choose_weights(parts, fold, n_trials=n_trials, normalise=normalise, k=k, rng=rng)
    weights = {part: float(trials[part].iloc[0]) for part in parts}
    return Fusion(parts, weights, normalise=normalise, name=name)


def run_experiment(
    split: Split,
    scorers: Mapping[str, Scorer],
    *,
    truth: Truth | None = None,
    k: int = 10,
    n_trials: int = 66,
    normalise: str = "minmax",
    negatives: int = 1,
    n_resamples: int = 2000,
    seed: int = 0,
) -> Experiment:
    """Choose on validation, refit on all but the last product, measure on the test.

    Parameters
    ----------
    split
        From `reclib.data.leave_one_out`.
    scorers
        From `single_scorers`.
    truth
        Of a simulated marketplace; without it ``ctr`` is not measured.
    k
        Length of the lists.
    n_trials, normalise
        Of both fusions, as in `fusions`.
    negatives
        Sampled for each positive of the protocol ``pairs``.
    n_resamples
        Of the bootstrap over users.
    seed
        Of the negatives, the resamples and the random scorer.

    Returns
    -------
    Experiment
        Every value with its 95 % interval; the paired differences between ``llm-fusion``
        and each model in `COMPARED` are rows named ``llm-fusion-vs-…``.
    """
    validation_pairs = sample_pairs(split.validation, negatives=negatives, rng=seed)
    test_pairs = sample_pairs(split.test, negatives=negatives, rng=seed + 1)
    chosen = choose_profile(scorers, split.validation, pairs=validation_pairs, k=k, rng=seed)
    fused = fusions(
        scorers, chosen, split.validation, n_trials=n_trials, normalise=normalise, k=k, rng=seed
    )
    models: dict[str, Scorer] = {**scorers, **fused}
    before = evaluate(models, split.validation, k=k, pairs=validation_pairs, rng=seed)
    outcomes = evaluate(models, split.test, k=k, pairs=test_pairs, rng=seed)

    pair_scores = {name: _scores(outcome) for name, outcome in outcomes.items()}
    pair_scores["always-yes"] = np.ones_like(pair_scores[LLM])
    thresholds = {name: best_threshold(_scores(outcome)) for name, outcome in before.items()}
    thresholds["always-yes"] = 1.0

    compared = {f"{LLM}-vs-{name}": name for name in COMPARED}
    compared[f"{LLM}-vs-collaborative"] = chosen
    counts = {name: pair_counts(scores, thresholds[name]) for name, scores in pair_scores.items()}
    options = {"n_resamples": n_resamples, "rng": seed}
    lists = measure_lists(outcomes, split.test, truth=truth, compared=compared, **options)
    verdicts = measure_pairs(counts, test_pairs, compared=compared, **options)
    metrics = pd.concat([lists, verdicts], ignore_index=True)
    metrics.insert(0, "data", split.test.train.name)
    return Experiment(
        metrics=metrics,
        costs=_costs(outcomes),
        weights={name: fusion.weights for name, fusion in fused.items()},
        profile=chosen,
        pair_scores=pair_scores,
        thresholds=thresholds,
    )


def _scores(outcome: Outcome) -> NDArray[np.float32]:
    if outcome.pair_scores is None:
        raise AssertionError("evaluated without pairs")
    return outcome.pair_scores


def measure_lists(
    outcomes: Mapping[str, Outcome],
    fold: Fold,
    *,
    truth: Truth | None = None,
    compared: Mapping[str, str] = NOTHING,
    n_resamples: int = 2000,
    rng: int = 0,
) -> pd.DataFrame:
    """Measure the lists of each model under the protocol of the fold, with intervals.

    Parameters
    ----------
    outcomes
        From `reclib.evaluation.evaluate` of `fold`.
    fold
        Its relevant products.
    truth
        Of a simulated marketplace, for ``ctr``.
    compared
        Name of a difference → the model that is taken off ``llm-fusion``.
    n_resamples, rng
        Of the bootstrap over users.

    Returns
    -------
    pandas.DataFrame
        Columns protocol, variant, model, metric, value, low, high, users, seeds. `users`
        counts those with a value: a list of one product, say, has no diversity, and no
        list has one in a shop without brands and categories.
    """
    items = fold.train.items
    described = (items[["brand", "categories"]] != "").any(axis=None)
    features = diversity_features(items) if described else None
    columns: dict[tuple[str, str], Floats] = {}
    for model, outcome in outcomes.items():
        k = outcome.top.shape[1]
        found = ranking_metrics(outcome.top, fold.relevant)
        found[f"ild@{k}"] = np.full(fold.train.n_users, np.nan)
        if features is not None:  # else diversity is not measurable
            found[f"ild@{k}"] = intra_list_diversity(outcome.top, features)
        if truth is not None:
            found[f"ctr@{k}"] = expected_ctr(outcome.top, fold.train, truth)
        columns |= {(model, metric): values for metric, values in found.items()}
    for name, other in compared.items():
        mine = {metric: values for (model, metric), values in columns.items() if model == LLM}
        columns |= {(name, m): values - columns[other, m] for m, values in mine.items()}

    values = np.column_stack(list(columns.values()))  # (n_users, n_columns)
    known = ~np.isnan(values)
    filled = np.nan_to_num(values)
    sums = bootstrap_sums(np.hstack([filled, known]), n_resamples=n_resamples, rng=rng)
    with np.errstate(invalid="ignore"):
        mean = filled.sum(axis=0) / known.sum(axis=0)
        means = sums[:, : len(mean)] / sums[:, len(mean) :]
    rows = [
        (model, metric, mean[i], *interval(means[:, i]), known[:, i].sum())
        for i, (model, metric) in enumerate(columns)
    ]
    return _tidy(rows, fold.protocol, "raw")


def measure_pairs(
    counts: Mapping[str, Floats],
    pairs: Pairs,
    *,
    compared: Mapping[str, str] = NOTHING,
    n_resamples: int = 2000,
    rng: int = 0,
) -> pd.DataFrame:
    """Measure precision, recall and F1 over all pairs, with intervals.

    Parameters
    ----------
    counts
        Model → tp, fp, fn of each positive, from `reclib.evaluation.pair_counts`.
    pairs
        What they were counted on; a user is resampled with all pairs of theirs.
    compared, n_resamples, rng
        As in `measure_lists`.

    Returns
    -------
    pandas.DataFrame
        Columns as in `measure_lists`.
    """
    users, owner = np.unique(pairs.user, return_inverse=True)
    by_user = np.zeros((len(users), 3 * len(counts)))
    np.add.at(by_user, owner, np.hstack(list(counts.values())))
    sums = bootstrap_sums(by_user, n_resamples=n_resamples, rng=rng)
    total = by_user.sum(axis=0)
    # the observed value in front, then its resamples: one array for both
    found = {
        model: pair_metrics(np.vstack([total, sums])[:, 3 * i : 3 * i + 3])
        for i, model in enumerate(counts)
    }
    for name, other in compared.items():
        found[name] = {m: found[LLM][m] - found[other][m] for m in found[LLM]}
    rows = [
        (model, metric, values[0], *interval(values[1:]), len(users))
        for model, metrics in found.items()
        for metric, values in metrics.items()
    ]
    return _tidy(rows, "pairs", f"r={pairs.item.shape[1] - 1}")


def _tidy(rows: Sequence[tuple[object, ...]], protocol: str, variant: str) -> pd.DataFrame:
    columns = ["model", "metric", "value", "low", "high", "users"]
    frame = pd.DataFrame(rows, columns=columns).assign(seeds=1)
    frame.insert(0, "protocol", protocol)
    frame.insert(1, "variant", variant)
    return frame


def _costs(outcomes: Mapping[str, Outcome]) -> pd.DataFrame:
    """Seconds of each model and step, and the memory that the process needed."""
    rows = [
        (name, step, seconds, outcome.peak_mb)
        for name, outcome in outcomes.items()
        for step, seconds in outcome.seconds.items()
    ]
    return pd.DataFrame(rows, columns=["model", "step", "seconds", "peak_mb"])
