"""The experiment of section V: the paper's two models and their parts, measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.sparse as sp
import scipy.stats
from numpy.typing import NDArray

from reclib.data import Fold, Split, Truth
from reclib.evaluation import (
    Outcome,
    Pairs,
    Space,
    best_threshold,
    bootstrap_sums,
    choose_weights,
    diversity_features,
    evaluate,
    expected_ctr,
    holm,
    interval,
    intra_list_diversity,
    pair_counts,
    pair_metrics,
    ranking_metrics,
    resampled_counts,
    sample_pairs,
    tune,
)
from reclib.models import Fusion, Scorer

Floats = NDArray[np.float64]
TRADITIONAL, LLM, ALL = "traditional", "llm-fusion", ":all"
# what enters the fusions of everything, beside the collaborative scorer that is chosen: of
# models that are special cases of another only the more general one
EVERYTHING = (
    *("popular", "content", "content:tuned", "item-knn", "user-knn", "ease:content", "als"),
    *("bpr", "transitions", "sasrec"),
)
# what the model with the LLM has beyond it
TUNED, CONTROL = "language:tuned", "content:tuned"
LLM_PARTS = ("language", TUNED, "ease:language")
NO_COMPARISONS: Mapping[str, tuple[str, str]] = {}


@dataclass(frozen=True)
class Experiment:
    """Results of one run.

    Attributes
    ----------
    metrics
        Tidy: data protocol variant model metric value low high users seeds.
    costs
        Tidy: model step seconds peak_mb.
    fusions
        The fusions by name, with the weights that were chosen on validation.
    profile
        What x_u is in Eq. 5, chosen on validation.
    outcomes
        Model → what it did on the test, for each seed.
    pair_scores
        Model → scores of the test pairs, shape (n_positives, 1 + r), for Fig. 5.
    thresholds
        Model → threshold for "yes", chosen on validation.
    """

    metrics: pd.DataFrame
    costs: pd.DataFrame
    fusions: Mapping[str, Fusion]
    profile: str
    outcomes: Mapping[str, Sequence[Outcome]]
    pair_scores: Mapping[str, NDArray[np.float32]]
    thresholds: Mapping[str, float]


@dataclass(frozen=True)
class Tuned:
    """Everything that is chosen on validation, not fitted yet.

    Attributes
    ----------
    scorers
        Models that are no fusion, by name.
    profile
        Which of them is the CF part, from `choose_profile`.
    fusions
        From `tuned_fusions`.
    """

    scorers: Mapping[str, Scorer]
    profile: str
    fusions: Mapping[str, Fusion]


def tuned_models(
    spaces: Mapping[str, Space],
    fold: Fold,
    *,
    n_trials: int = 50,
    n_weightings: int = 66,
    normalise: str = "global",
    k: int = 10,
    rng: int = 0,
) -> Tuned:
    """Tune every model, choose the CF part, and weigh the fusions.

    Parameters
    ----------
    spaces, fold
        As in `reclib.evaluation.tune`.
    n_trials
        Of every model that is no fusion.
    n_weightings, normalise
        As `n_trials` and `normalise` of `tuned_fusions`.
    k, rng
        As in both.

    Returns
    -------
    Tuned
        What was tried before comes from the cache.
    """
    scorers = tune(spaces, fold, n_trials=n_trials, k=k, rng=rng).scorers
    profile = choose_profile(scorers, fold, k=k, rng=rng)
    fusions = tuned_fusions(
        scorers, profile, fold, n_trials=n_weightings, normalise=normalise, k=k, rng=rng
    )
    return Tuned(scorers, profile, fusions)


def choose_profile(scorers: Mapping[str, Scorer], fold: Fold, *, k: int = 10, rng: int = 0) -> str:
    """Name the collaborative scorer whose profile does better on validation (Eq. 5)."""
    names = [name for name in scorers if name.startswith("collaborative")]
    outcomes = evaluate({name: scorers[name] for name in names}, fold, k=k, rng=rng)
    ndcg = {
        name: float(np.nanmean(ranking_metrics(outcome.top, fold.relevant)[f"ndcg@{k}"]))
        for name, outcome in outcomes.items()
    }
    return max(ndcg, key=lambda name: ndcg[name])


def fusion_parts(scorers: Mapping[str, Scorer], profile: str) -> dict[str, dict[str, Scorer]]:
    """Say what each fusion of the study mixes.

    Parameters
    ----------
    scorers
        Models that are no fusion, by name.
    profile
        Which of them is the CF part, from `choose_profile`.

    Returns
    -------
    dict
        Fusion → part → scorer. ``traditional`` is α·CBF + β·CF, and ``llm-fusion`` adds
        γ·LLM: the two models of Table II. ``content-count`` adds counts of transitions to
        the content, without a language model. ``…:all`` mix all that is there. A fusion
        whose parts are not all among the scorers is left out.
    """
    chosen = {**scorers, "collaborative": scorers[profile]}
    everything = [name for name in ("collaborative", *EVERYTHING) if name in chosen]
    llm = [name for name in LLM_PARTS if name in chosen] or ["language"]  # else left out below
    names = {
        "content-count": ["content", "transitions"],
        TRADITIONAL: ["content", "collaborative"],
        LLM: ["content", "collaborative", "language"],
        TRADITIONAL + ALL: everything,
        LLM + ALL: [*everything, *llm],
    }
    return {
        fusion: {part: chosen[part] for part in parts}
        for fusion, parts in names.items()
        if set(parts) <= set(chosen) and len(parts) > 1
    }


def tuned_fusion(
    name: str,
    parts: Mapping[str, Scorer],
    fold: Fold,
    *,
    n_trials: int = 66,
    by_history: bool = False,
    normalise: str = "global",
    k: int = 10,
    rng: int = 0,
) -> Fusion:
    """Fuse `parts` with the weights that do best on validation.

    Parameters
    ----------
    name
        What to call it in results.
    parts, fold, n_trials, by_history, normalise, k, rng
        As in `reclib.evaluation.choose_weights`.

    Returns
    -------
    Fusion
        Not fitted yet.
    """
    trials = choose_weights(
        parts, fold, n_trials=n_trials, by_history=by_history, normalise=normalise, k=k, rng=rng
    )
    best = trials.iloc[0]
    weights = {part: float(best[part]) for part in parts}
    if not by_history or np.isnan(best["halfway"]):
        return Fusion(parts, weights, normalise=normalise, name=name)
    newcomers = {part: float(best[f"newcomers:{part}"]) for part in parts}
    halfway = float(best["halfway"])
    return Fusion(
        parts, weights, newcomers=newcomers, halfway=halfway, normalise=normalise, name=name
    )


def tuned_fusions(
    scorers: Mapping[str, Scorer],
    profile: str,
    fold: Fold,
    *,
    n_trials: int = 66,
    normalise: str = "global",
    k: int = 10,
    rng: int = 0,
) -> dict[str, Fusion]:
    """Tune every fusion of the study; those that are compared get the same effort.

    Parameters
    ----------
    scorers, profile
        As in `fusion_parts`.
    fold
        The validation fold.
    n_trials
        Weightings of the fusions of two or three parts. Those of everything get six times
        as many, and as many again for weights that depend on the history.
    normalise, k, rng
        As in `reclib.evaluation.choose_weights`.

    Returns
    -------
    dict
        By name, not fitted yet.
    """
    found = {}
    for name, parts in fusion_parts(scorers, profile).items():
        whole = name.endswith(ALL)
        trials = 6 * n_trials if whole else n_trials
        found[name] = tuned_fusion(
            name, parts, fold, n_trials=trials, by_history=whole, normalise=normalise, k=k, rng=rng
        )
    return found


def run_experiment(
    split: Split,
    scorers: Mapping[str, Scorer],
    *,
    variant: str = "raw",
    truth: Truth | None = None,
    k: int = 10,
    n_trials: int = 66,
    normalise: str = "global",
    negatives: int = 1,
    n_seeds: int = 1,
    n_resamples: int = 2000,
    seed: int = 0,
) -> Experiment:
    """Choose on validation, refit on all but the last product, measure on the test.

    Parameters
    ----------
    split
        From a split of `reclib.data`, such as `leave_one_out`.
    scorers
        Models that are no fusion, by name, with the hyper-parameters chosen on validation.
    variant
        Name of the variant in the results.
    truth
        Of a simulated marketplace; without it ``ctr`` is not measured.
    k
        Length of the lists.
    n_trials, normalise
        As in `tuned_fusions`.
    negatives
        Sampled for each positive of the protocol ``pairs``; 0 leaves it out.
    n_seeds
        How often models with a random fit are fitted on the test's training data; their
        values are means over the seeds. Those of ``pairs`` are of the first seed.
    n_resamples
        Of the bootstrap over users.
    seed
        Of the negatives, the resamples and the random scorer; the first seed of the fits.

    Returns
    -------
    Experiment
        Every value with its 95 % interval. Rows named ``a-vs-b`` hold paired differences
        (see `comparisons`).
    """
    chosen = choose_profile(scorers, split.validation, k=k, rng=seed)
    fused = tuned_fusions(
        scorers, chosen, split.validation, n_trials=n_trials, normalise=normalise, k=k, rng=seed
    )
    models: dict[str, Scorer] = {**scorers, **fused}
    compared = comparisons(list(models), chosen)
    pairs = asked = None
    if negatives:
        pairs = sample_pairs(split.test, negatives=negatives, rng=seed + 1)
        asked = sample_pairs(split.validation, negatives=negatives, rng=seed)
        before = evaluate(models, split.validation, k=k, pairs=asked, rng=seed)
    outcomes = evaluate_seeds(models, split.test, k=k, pairs=pairs, n_seeds=n_seeds, rng=seed)
    metrics = measure_lists(
        outcomes,
        split.test,
        variant=variant,
        truth=truth,
        compared=compared,
        n_resamples=n_resamples,
        rng=seed,
    )
    pair_scores: dict[str, NDArray[np.float32]] = {}
    thresholds: dict[str, float] = {}
    if asked is not None and pairs is not None:
        chosen_on = _scores_of_pairs(before, asked)
        pair_scores = _scores_of_pairs({name: found[0] for name, found in outcomes.items()}, pairs)
        thresholds = {name: best_threshold(scores) for name, scores in chosen_on.items()}
        verdicts = measure_pairs(
            chosen_on,
            asked,
            pair_scores,
            pairs,
            variant=variant,
            compared=compared,
            n_resamples=n_resamples,
            rng=seed,
        )
        metrics = pd.concat([metrics, verdicts], ignore_index=True)
    metrics.insert(0, "data", split.test.train.name)
    return Experiment(
        metrics=metrics,
        costs=_costs(outcomes),
        fusions=fused,
        profile=chosen,
        outcomes=outcomes,
        pair_scores=pair_scores,
        thresholds=thresholds,
    )


def evaluate_seeds(
    models: Mapping[str, Scorer],
    fold: Fold,
    *,
    k: int = 10,
    pairs: Pairs | None = None,
    n_seeds: int = 1,
    rng: int = 0,
) -> dict[str, list[Outcome]]:
    """Evaluate models, those with a random fit once for each seed.

    Parameters
    ----------
    models, fold, k
        As in `reclib.evaluation.evaluate`.
    pairs
        Scored with the first seed.
    n_seeds
        The seeds are `rng`, `rng` + 1, ….
    rng
        The first seed.

    Returns
    -------
    dict
        Model → outcomes: `n_seeds` of a model with a random fit, one of any other.
    """
    first = evaluate(models, fold, k=k, pairs=pairs, rng=rng)
    outcomes = {name: [outcome] for name, outcome in first.items()}
    chance = {name: model for name, model in models.items() if model.stochastic}
    for other in range(rng + 1, rng + n_seeds):
        for name, outcome in evaluate(chance, fold, k=k, rng=other).items():
            outcomes[name].append(outcome)
    return outcomes


def comparisons(models: Sequence[str], profile: str) -> dict[str, tuple[str, str]]:
    """Name the paired differences that are of interest: name → (first, second) model.

    The model with the LLM of Table II is compared with the traditional one and its own
    parts; the fusion of everything with the same without the LLM, and with every other model
    but that of Table II; and the tuned encoder, alone, with counted words, with the same
    training over these, and with the frozen encoder.
    """
    parts = (TRADITIONAL, "content", profile, "language")
    found = {f"{LLM}-vs-{name}": (LLM, name) for name in parts}
    found |= {f"{TUNED}-vs-{name}": (TUNED, name) for name in ("content", CONTROL, "language")}
    best = LLM + ALL
    others = [name for name in models if name not in (best, LLM)]
    found |= {f"{best}-vs-{name}": (best, name) for name in others}
    return {name: pair for name, pair in found.items() if set(pair) <= set(models)}


def scores_of_pairs(outcome: Outcome) -> NDArray[np.float32]:
    """Scores of an outcome that was evaluated with pairs, shape (n_positives, 1 + r)."""
    if outcome.pair_scores is None:
        raise AssertionError("evaluated without pairs")
    return outcome.pair_scores


def _scores_of_pairs(
    outcomes: Mapping[str, Outcome], pairs: Pairs
) -> dict[str, NDArray[np.float32]]:
    """Scores of every model, and of the constant that says yes to all."""
    found = {name: scores_of_pairs(outcome) for name, outcome in outcomes.items()}
    return found | {"always-yes": np.ones(pairs.item.shape, np.float32)}


def measure_lists(
    outcomes: Mapping[str, Sequence[Outcome]],
    fold: Fold,
    *,
    variant: str = "raw",
    truth: Truth | None = None,
    compared: Mapping[str, tuple[str, str]] = NO_COMPARISONS,
    n_resamples: int = 2000,
    rng: int = 0,
) -> pd.DataFrame:
    """Measure the lists of each model under the protocol of the fold, with intervals.

    Parameters
    ----------
    outcomes
        From `evaluate_seeds` of `fold`. A user's value is the mean over the seeds.
    fold
        Its relevant products.
    variant
        Name of the variant in the results.
    truth
        Of a simulated marketplace, for ``ctr``.
    compared
        Name of a difference → the two models, the second taken off the first.
    n_resamples, rng
        Of the bootstrap over users.

    Returns
    -------
    pandas.DataFrame
        Columns protocol, variant, model, metric, value, low, high, users, seeds. `users`
        counts those with a value: users who are not asked have none, a list of one product
        has no diversity, and no list has one in a shop without brands and categories. Of a
        model with several seeds ``seed_sd_ndcg@k`` is the standard deviation of the mean
        between them, and of a difference ``p_ndcg@k`` and ``p_recall@k`` are p-values of the
        paired t-test, after Holm's correction over all differences of the same first model.
    """
    values = values_of_users(outcomes, fold, truth=truth)
    return summarise(
        values, fold.protocol, variant, compared=compared, n_resamples=n_resamples, rng=rng
    )


def values_of_users(
    outcomes: Mapping[str, Sequence[Outcome]], fold: Fold, *, truth: Truth | None = None
) -> dict[tuple[str, str], Floats]:
    """Measure the list of every user who is asked.

    Parameters
    ----------
    outcomes, fold, truth
        As in `measure_lists`.

    Returns
    -------
    dict
        (model, metric) → float64, shape (n_seeds, n_asked).
    """
    features = diversity_space(fold.train.items)
    asked = np.diff(fold.relevant.indptr) > 0

    def one_seed(outcome: Outcome) -> dict[str, Floats]:
        k = outcome.top.shape[1]
        found = ranking_metrics(outcome.top, fold.relevant)
        found[f"ild@{k}"] = np.full(fold.train.n_users, np.nan)
        if features is not None:  # else diversity is not measurable
            found[f"ild@{k}"] = intra_list_diversity(outcome.top, features)
        if truth is not None:
            found[f"ctr@{k}"] = expected_ctr(outcome.top, fold.train, truth)
        return {metric: values[asked] for metric, values in found.items()}

    values: dict[tuple[str, str], Floats] = {}
    for model, several in outcomes.items():
        found = [one_seed(outcome) for outcome in several]
        values |= {(model, metric): np.stack([one[metric] for one in found]) for metric in found[0]}
    return values


def diversity_space(items: pd.DataFrame) -> sp.csr_array | None:
    """Make the features of ``ild``; None for a catalogue without brands and categories."""
    described = (items[["brand", "categories"]] != "").any(axis=None)
    return diversity_features(items) if described else None


def summarise(
    values: Mapping[tuple[str, str], Floats],
    protocol: str,
    variant: str,
    *,
    compared: Mapping[str, tuple[str, str]] = NO_COMPARISONS,
    n_resamples: int = 2000,
    rng: int = 0,
) -> pd.DataFrame:
    """Take means over users, with intervals, and compare models.

    Parameters
    ----------
    values
        From `values_of_users`: (model, metric) → shape (n_seeds, n_users).
    protocol, variant
        Names in the results.
    compared, n_resamples, rng
        As in `measure_lists`.

    Returns
    -------
    pandas.DataFrame
        As in `measure_lists`.
    """
    columns = {place: by_seed.mean(axis=0) for place, by_seed in values.items()}
    seeds = {model: len(by_seed) for (model, _), by_seed in values.items()}
    rows: list[tuple[object, ...]] = []
    for (model, metric), by_seed in values.items():
        if len(by_seed) > 1 and metric.startswith("ndcg"):
            spread = np.nanmean(by_seed, axis=1).std(ddof=1)
            users = np.count_nonzero(~np.isnan(by_seed[0]))
            rows.append((model, f"seed_sd_{metric}", spread, np.nan, np.nan, users))
    for name, (one, other) in compared.items():
        mine = {metric: column for (model, metric), column in columns.items() if model == one}
        columns |= {(name, m): column - columns[other, m] for m, column in mine.items()}
        seeds[name] = max(seeds[one], seeds[other])

    table = np.column_stack(list(columns.values()))  # (n_users, n_columns)
    known = ~np.isnan(table)
    filled = np.nan_to_num(table)
    sums = bootstrap_sums(np.hstack([filled, known]), n_resamples=n_resamples, rng=rng)
    with np.errstate(invalid="ignore"):
        mean = filled.sum(axis=0) / known.sum(axis=0)
        means = sums[:, : len(mean)] / sums[:, len(mean) :]
    rows += [
        (model, metric, mean[i], *interval(means[:, i]), known[:, i].sum())
        for i, (model, metric) in enumerate(columns)
    ]
    rows += _p_values(columns, compared)
    return _tidy(rows, protocol, variant, seeds)


def _p_values(
    columns: Mapping[tuple[str, str], Floats], compared: Mapping[str, tuple[str, str]]
) -> list[tuple[object, ...]]:
    """Rows with p-values, corrected within each family: one metric, one first model."""
    rows: list[tuple[object, ...]] = []
    metrics = sorted({m for _, m in columns if m.startswith(("ndcg", "recall"))})
    for metric in metrics:
        for first in sorted({one for one, _ in compared.values()}):
            family = [name for name, (one, _) in compared.items() if one == first]
            differences = [columns[name, metric] for name in family]
            differences = [values[~np.isnan(values)] for values in differences]
            # without any spread the test is not defined: no difference, or nothing to tell from
            raw = [
                scipy.stats.ttest_1samp(values, 0).pvalue if np.ptp(values) > 0 else 1.0
                for values in differences
            ]
            rows += [
                (name, f"p_{metric}", p, np.nan, np.nan, len(values))
                for name, p, values in zip(family, holm(raw), differences, strict=True)
            ]
    return rows


def measure_pairs(
    chosen_on: Mapping[str, NDArray[np.float32]],
    asked: Pairs,
    scores: Mapping[str, NDArray[np.float32]],
    pairs: Pairs,
    *,
    variant: str = "raw",
    compared: Mapping[str, tuple[str, str]] = NO_COMPARISONS,
    n_resamples: int = 2000,
    rng: int = 0,
) -> pd.DataFrame:
    """Measure precision, recall and F1 over all pairs, with intervals.

    Parameters
    ----------
    chosen_on, asked
        Model → scores of the validation pairs, on which its threshold is chosen, and they.
    scores, pairs
        The same of the test, on which it is judged. The intervals draw users again, with all
        pairs of theirs of both folds, so the threshold moves as well.
    variant, compared, n_resamples, rng
        As in `measure_lists`; the number of negatives joins the variant.

    Returns
    -------
    pandas.DataFrame
        Columns as in `measure_lists`.
    """
    drawn = resampled_counts(chosen_on, asked, scores, pairs, n_resamples=n_resamples, rng=rng)
    found = {}
    for model, counts in drawn.items():
        total = pair_counts(scores[model], best_threshold(chosen_on[model])).sum(axis=0)
        # the observed value in front, then its resamples: one array for both
        found[model] = pair_metrics(np.vstack([total, counts]))
    for name, (one, other) in compared.items():
        found[name] = {m: found[one][m] - found[other][m] for m in found[one]}
    n_users = len(np.unique(pairs.user))
    rows = [
        (model, metric, values[0], *interval(values[1:]), n_users)
        for model, metrics in found.items()
        for metric, values in metrics.items()
    ]
    kind = f"r={pairs.item.shape[1] - 1}"
    return _tidy(rows, "pairs", kind if variant == "raw" else f"{variant}, {kind}", {})


def _tidy(
    rows: Sequence[tuple[object, ...]], protocol: str, variant: str, seeds: Mapping[str, int]
) -> pd.DataFrame:
    columns = ["model", "metric", "value", "low", "high", "users"]
    frame = pd.DataFrame(rows, columns=columns)
    frame["seeds"] = [seeds.get(model, 1) for model in frame["model"]]
    frame.insert(0, "protocol", protocol)
    frame.insert(1, "variant", variant)
    return frame


def _costs(outcomes: Mapping[str, Sequence[Outcome]]) -> pd.DataFrame:
    """Seconds of each model and step with the first seed, and the memory of the process."""
    rows = [
        (name, step, seconds, found[0].peak_mb)
        for name, found in outcomes.items()
        for step, seconds in found[0].seconds.items()
    ]
    return pd.DataFrame(rows, columns=["model", "step", "seconds", "peak_mb"])
