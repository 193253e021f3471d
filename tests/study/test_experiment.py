"""The experiment end to end on a small simulated marketplace, with a made-up encoder."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
from scipy.stats import ttest_rel

from reclib.data import Marketplace, Split, Truth, leave_one_out, prepare
from reclib.data.simulate import simulate
from reclib.evaluation import (
    best_threshold,
    diversity_features,
    evaluate,
    intra_list_diversity,
    pair_counts,
    ranking_metrics,
    sample_pairs,
)
from reclib.models import ALS, Collaborative, Content, Fusion, Popular, Scorer
from reclib.study import experiment as study
from reclib.study import results
from reclib.study.experiment import (
    Experiment,
    choose_profile,
    comparisons,
    evaluate_seeds,
    fusion_parts,
    measure_lists,
    measure_pairs,
    run_experiment,
    tuned_fusions,
)
from reclib.study.spaces import single_scorers

SINGLE = [
    *("random", "popular", "content", "collaborative", "collaborative:interactions"),
    *("language", "item-knn", "als", "transitions"),
]
FUSED = ["content-count", "traditional", "llm-fusion", "traditional:all", "llm-fusion:all"]
MODELS = [*SINGLE, *FUSED]
SEEDED = ["random", "als", "traditional:all", "llm-fusion:all"]  # ALS is part of everything
SMALL = [f"llm-fusion-vs-{name}" for name in ("traditional", "content", "language")]
SMALL += ["llm-fusion-vs-collaborative"]
OTHERS = [*SINGLE, "content-count", "traditional", "traditional:all"]
LARGE = [f"llm-fusion:all-vs-{name}" for name in OTHERS]
DIFFERENCES = SMALL + LARGE
RANKED = ["precision", "recall", "f1", "ndcg", "mrr", "map", "hit_rate", "ild", "ctr"]
OPTIONS = {"n_trials": 10, "n_resamples": 200, "negatives": 2, "n_seeds": 2, "seed": 3}


def few() -> dict[str, Scorer]:
    """Scorers of every kind, quick to fit."""
    return {**{name: single_scorers()[name] for name in SINGLE}, "als": ALS(factors=8, epochs=5)}


def some(*names: str) -> dict[str, Scorer]:
    scorers = few()
    return {name: scorers[name] for name in names}


@dataclass(frozen=True)
class Shop:
    """A split, and what the simulation knows of clicks."""

    split: Split
    truth: Truth


@pytest.fixture(scope="module")
def shop() -> Shop:
    """The first 150 users of the smoke size."""
    whole = simulate("smoke")
    events = whole.interactions.filter(pl.col("user_id") < "u000150")
    small = Marketplace(whole.name, events, whole.items, truth=whole.truth)
    return Shop(leave_one_out(prepare(small)), whole.truth)


@pytest.fixture(scope="module")
def experiment(
    shop: Shop, tmp_path_factory: pytest.TempPathFactory, made_up_encoder: None
) -> Experiment:
    with pytest.MonkeyPatch.context() as context:
        context.setattr("reclib.paths.CACHE", tmp_path_factory.mktemp("one"))
        return run_experiment(shop.split, few(), truth=shop.truth, **OPTIONS)


@pytest.fixture(scope="module")
def metrics(experiment: Experiment) -> pd.DataFrame:
    return experiment.metrics


@pytest.fixture(scope="module")
def measured(metrics: pd.DataFrame) -> pd.DataFrame:
    """The metrics without p-values and deviations between seeds, which have no interval."""
    return metrics[~metrics["metric"].str.startswith(("p_", "seed_sd_"))]


def cell(metrics: pd.DataFrame, model: str, metric: str) -> pd.Series:
    rows = metrics[(metrics["model"] == model) & (metrics["metric"] == metric)]
    assert len(rows) == 1
    return rows.iloc[0]


def test_every_model_and_difference_has_every_metric_once(metrics: pd.DataFrame) -> None:
    found = set(metrics[["protocol", "variant", "model", "metric"]].itertuples(index=False))
    lists = {(model, f"{metric}@10") for model in MODELS + DIFFERENCES for metric in RANKED}
    lists |= {(model, "seed_sd_ndcg@10") for model in SEEDED}
    lists |= {(name, f"p_{metric}@10") for name in DIFFERENCES for metric in ("ndcg", "recall")}
    pairs = {
        ("pairs", "r=2", model, metric)
        for model in [*MODELS, "always-yes", *DIFFERENCES]
        for metric in ("precision", "recall", "f1")
    }
    assert found == {("full-loo", "raw", *row) for row in lists} | pairs
    assert len(metrics) == len(found)
    assert set(metrics["data"]) == {"simulated"}


def test_every_value_is_within_its_interval(measured: pd.DataFrame) -> None:
    assert measured[["value", "low", "high"]].notna().all(axis=None)
    assert (measured["low"] <= measured["value"]).all()
    assert (measured["value"] <= measured["high"]).all()


def test_everybody_is_counted(metrics: pd.DataFrame) -> None:
    assert (metrics["users"] == 150).all()


def test_what_has_no_interval_has_none(metrics: pd.DataFrame, measured: pd.DataFrame) -> None:
    rest = metrics.drop(measured.index)
    assert rest["value"].notna().all() and rest[["low", "high"]].isna().all(axis=None)


def test_values_have_their_ranges(metrics: pd.DataFrame) -> None:
    alone = metrics[~metrics["model"].isin(DIFFERENCES)]
    assert metrics.loc[metrics["metric"].str.startswith("p_"), "value"].between(0, 1).all()
    assert alone["value"].between(0, 1).all()
    assert cell(metrics, "content", "ndcg@10").value > 0
    ctr = alone[alone["metric"] == "ctr@10"].set_index("model")["value"]
    assert ctr["popular"] > ctr["random"]


def models_of(experiment: Experiment) -> dict[str, tuple[str, str]]:
    """The two models of every difference; the collaborative part is the one that was chosen."""
    small = {name: ("llm-fusion", name.removeprefix("llm-fusion-vs-")) for name in SMALL}
    small["llm-fusion-vs-collaborative"] = ("llm-fusion", experiment.profile)
    return small | {
        name: ("llm-fusion:all", other) for name, other in zip(LARGE, OTHERS, strict=True)
    }


def test_the_differences_are_those_of_interest(experiment: Experiment) -> None:
    assert comparisons(MODELS, experiment.profile) == models_of(experiment)
    assert comparisons(["content", "llm-fusion"], "collaborative") == {
        "llm-fusion-vs-content": ("llm-fusion", "content")
    }
    assert comparisons(SINGLE, "collaborative") == {}


def test_a_paired_difference_is_the_difference_of_values(
    experiment: Experiment, measured: pd.DataFrame
) -> None:
    values = measured.set_index(["model", "metric"])["value"]
    for difference, (one, other) in models_of(experiment).items():
        expected = values[one] - values[other]
        np.testing.assert_allclose(values[difference], expected[values[difference].index])


def per_user(experiment: Experiment, shop: Shop, model: str, metric: str) -> np.ndarray:
    """The mean over the seeds."""
    relevant = shop.split.test.relevant
    tops = [outcome.top for outcome in experiment.outcomes[model]]
    return np.mean([ranking_metrics(top, relevant)[metric] for top in tops], axis=0)


@pytest.mark.parametrize("metric", ["ndcg@10", "recall@10"])
@pytest.mark.parametrize("family", [SMALL, LARGE], ids=["llm-fusion", "llm-fusion:all"])
def test_p_values_are_of_paired_t_tests_and_corrected_in_their_family(
    experiment: Experiment, shop: Shop, metric: str, family: list[str]
) -> None:
    def p_value(name: str) -> float:
        one, other = (per_user(experiment, shop, m, metric) for m in models_of(experiment)[name])
        return float(ttest_rel(one, other).pvalue) if (one != other).any() else 1.0

    raw = sorted((p_value(name), name) for name in family)
    largest = 0.0
    for place, (value, name) in enumerate(raw):
        largest = max(largest, min(1, value * (len(raw) - place)))
        assert cell(experiment.metrics, name, f"p_{metric}").value == pytest.approx(largest)


def test_models_with_a_random_fit_are_fitted_with_every_seed(
    experiment: Experiment, metrics: pd.DataFrame
) -> None:
    assert [name for name in MODELS if len(experiment.outcomes[name]) == 2] == SEEDED
    lists = metrics[metrics["protocol"] == "full-loo"]
    for name, (one, other) in models_of(experiment).items():
        expected = 2 if {one, other} & set(SEEDED) else 1
        assert set(lists.loc[lists["model"] == name, "seeds"]) == {expected}
    for name in MODELS:
        assert set(lists.loc[lists["model"] == name, "seeds"]) == {1 + (name in SEEDED)}
    assert set(metrics.loc[metrics["protocol"] == "pairs", "seeds"]) == {1}


@pytest.mark.parametrize("model", ["als", "llm-fusion:all"])
def test_the_value_is_the_mean_over_runs_with_one_seed_each(
    shop: Shop, experiment: Experiment, fresh_cache: Path, made_up_encoder: None, model: str
) -> None:
    fold = shop.split.test
    scorer = {**few(), **experiment.fusions}[model]
    outcomes = [evaluate({"it": scorer}, fold, progress=False, rng=seed)["it"] for seed in (3, 4)]
    assert not np.array_equal(outcomes[0].top, outcomes[1].top)
    found = [ranking_metrics(outcome.top, fold.relevant) for outcome in outcomes]
    for metric in found[0]:
        means = [float(values[metric].mean()) for values in found]
        assert cell(experiment.metrics, model, metric).value == pytest.approx(np.mean(means))
        if metric == "ndcg@10":
            spread = cell(experiment.metrics, model, "seed_sd_ndcg@10")
            assert spread.value == pytest.approx(np.std(means, ddof=1))


def test_one_seed_has_no_deviation(shop: Shop, made_up_encoder: None) -> None:
    scorers = {name: few()[name] for name in ("content", "als")}
    outcomes = evaluate_seeds(scorers, shop.split.test)
    assert [len(several) for several in outcomes.values()] == [1, 1]
    found = measure_lists(outcomes, shop.split.test, n_resamples=20)
    assert not found["metric"].str.startswith("seed_sd").any()
    assert set(found["seeds"]) == {1}


def test_a_paired_interval_is_narrower_than_two_apart(metrics: pd.DataFrame) -> None:
    apart = sum(
        (row := cell(metrics, model, "ndcg@10")).high - row.low
        for model in ("llm-fusion", "traditional")
    )
    row = cell(metrics, "llm-fusion-vs-traditional", "ndcg@10")
    assert 0 <= row.high - row.low < apart


def test_always_yes_has_the_share_of_positives_as_its_precision(metrics: pd.DataFrame) -> None:
    precision = cell(metrics, "always-yes", "precision")
    assert precision.value == precision.low == precision.high == pytest.approx(1 / 3)
    assert cell(metrics, "always-yes", "recall").value == 1
    assert cell(metrics, "always-yes", "f1").value == pytest.approx(0.5)


def test_random_is_at_chance(metrics: pd.DataFrame, shop: Shop) -> None:
    row = cell(metrics, "random", "hit_rate@10")
    train = shop.split.test.train
    chance = (10 / (train.n_items - np.diff(train.matrix.indptr))).mean()
    assert abs(row.value - chance) < 4 * np.sqrt(chance * (1 - chance) / 150)


def test_results_pass_the_checks_of_the_result_files(
    experiment: Experiment, tmp_path: Path
) -> None:
    results.write_results(experiment.metrics, experiment.costs, tmp_path)
    read, costs = results.read_results(tmp_path)
    assert results.compare(read, experiment.metrics).empty
    assert set(costs["model"]) == set(MODELS)
    assert {"fit", "score"} <= set(costs["step"])


def test_a_second_run_with_a_fresh_cache_gives_equal_numbers(
    shop: Shop, experiment: Experiment, fresh_cache: Path, made_up_encoder: None
) -> None:
    again = run_experiment(shop.split, few(), truth=shop.truth, **OPTIONS)
    pd.testing.assert_frame_equal(again.metrics, experiment.metrics, check_exact=True)
    for name, fusion in experiment.fusions.items():
        assert again.fusions[name].config() == fusion.config()
    assert again.thresholds == experiment.thresholds
    assert again.profile == experiment.profile
    for model, scores in experiment.pair_scores.items():
        np.testing.assert_array_equal(again.pair_scores[model], scores)


def test_without_truth_nobody_measures_clicks(shop: Shop, made_up_encoder: None) -> None:
    outcomes = evaluate_seeds({"content": Content()}, shop.split.test)
    for truth, expected in ((None, False), (shop.truth, True)):
        found = measure_lists(outcomes, shop.split.test, truth=truth, n_resamples=20)
        assert found["metric"].eq("ctr@10").any() == expected


def test_a_shop_without_brands_and_categories_has_no_diversity(
    shop: Shop, made_up_encoder: None, fresh_cache: Path
) -> None:
    """Your own tables need only titles; what cannot be measured is left empty, not made up."""
    folds = []
    for fold in (shop.split.validation, shop.split.test):
        bare = fold.train.items.assign(brand="", categories="")
        folds.append(replace(fold, train=replace(fold.train, items=bare)))
    metrics = run_experiment(
        Split(*folds), some("content", "collaborative", "language", "als"), **OPTIONS
    ).metrics
    diversity = metrics[metrics["metric"] == "ild@10"]
    assert diversity[["value", "low", "high"]].isna().all(axis=None)
    assert (diversity["users"] == 0).all()
    assert metrics.loc[metrics["metric"] == "ndcg@10", "value"].notna().all()


def test_users_who_are_not_asked_count_in_no_metric(
    shop: Shop, made_up_encoder: None, fresh_cache: Path
) -> None:
    fold, k = shop.split.test, 5
    relevant = fold.relevant.toarray()
    relevant[::3] = False
    asked = np.flatnonzero(relevant.any(axis=1))
    models = {"content": Content(), "popular": Popular()}
    outcomes = evaluate_seeds(models, fold, k=k)
    compared = {"content-vs-popular": ("content", "popular")}
    some_asked = replace(fold, relevant=sp.csr_array(relevant))
    found = measure_lists(outcomes, some_asked, truth=shop.truth, compared=compared, n_resamples=20)
    assert (found["users"] == len(asked)).all() and len(asked) == 100
    everybody = measure_lists(outcomes, fold, truth=shop.truth, n_resamples=20)
    assert (everybody["users"] == 150).all()
    top = outcomes["content"][0].top[asked]
    expected = intra_list_diversity(top, diversity_features(fold.train.items))
    assert cell(found, "content", f"ild@{k}").value == pytest.approx(expected.mean())
    clicks = [
        shop.truth.click_probability(
            [fold.train.user_ids[user]], list(fold.train.item_ids[shown])
        ).mean()
        for user, shown in zip(asked, top, strict=True)
    ]
    assert cell(found, "content", f"ctr@{k}").value == pytest.approx(np.mean(clicks))


def test_the_variant_names_the_rows(shop: Shop, made_up_encoder: None) -> None:
    fold = shop.split.test
    pairs = sample_pairs(fold, negatives=3)
    outcomes = evaluate_seeds({"content": Content()}, fold, pairs=pairs)
    scores = {"content": outcomes["content"][0].pair_scores}
    for variant, expected in (("raw", "r=3"), ("direction-blind", "direction-blind, r=3")):
        lists = measure_lists(outcomes, fold, variant=variant, n_resamples=20)
        assert set(lists["variant"]) == {variant}
        found = measure_pairs(scores, pairs, scores, pairs, variant=variant, n_resamples=20)
        assert set(found["variant"]) == {expected}


def test_without_negatives_there_are_no_pairs(
    shop: Shop, made_up_encoder: None, fresh_cache: Path
) -> None:
    found = run_experiment(
        shop.split, some("content", "collaborative"), variant="mine", **OPTIONS | {"negatives": 0}
    )
    assert set(found.metrics["protocol"]) == {"full-loo"}
    assert set(found.metrics["variant"]) == {"mine"}
    assert found.pair_scores == {} and found.thresholds == {}


def test_weights_are_on_the_simplex_and_traditional_reads_no_language(
    experiment: Experiment,
) -> None:
    counted = ["content", "item-knn", "als", "transitions"]
    expected = {
        "content-count": ["content", "transitions"],
        "traditional": ["content", "collaborative"],
        "llm-fusion": ["content", "collaborative", "language"],
        "traditional:all": ["collaborative", "popular", *counted],
        "llm-fusion:all": ["collaborative", "popular", *counted, "language"],
    }
    assert {name: list(fusion.weights) for name, fusion in experiment.fusions.items()} == expected
    for name, fusion in experiment.fusions.items():
        assert fusion.name == name and fusion.normalise == "global"
        for weights in (fusion.weights, fusion.newcomers or fusion.weights):
            assert sum(weights.values()) == pytest.approx(1)
        assert fusion.parts.get("collaborative") in (
            None,
            experiment.fusions["traditional"].parts["collaborative"],
        )


def test_the_chosen_profile_is_the_collaborative_part() -> None:
    scorers = few()
    for profile in ("collaborative", "collaborative:interactions"):
        for parts in fusion_parts(scorers, profile).values():
            assert parts.get("collaborative", scorers[profile]) is scorers[profile]
            for name in parts.keys() - {"collaborative"}:
                assert parts[name] is scorers[name]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["collaborative"], []),
        (["content", "collaborative"], ["traditional", "traditional:all"]),
        (["collaborative", "language"], ["llm-fusion:all"]),
        (
            ["content", "collaborative", "transitions"],
            ["content-count", "traditional", "traditional:all"],
        ),
        (
            ["content", "collaborative", "language"],
            ["traditional", "llm-fusion", "traditional:all", "llm-fusion:all"],
        ),
    ],
)
def test_fusions_whose_parts_are_missing_are_left_out(
    names: list[str], expected: list[str]
) -> None:
    assert list(fusion_parts(some(*names), "collaborative")) == expected


def test_fusions_that_are_compared_get_equal_trials(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[tuple[str, ...], tuple[int, bool]] = {}

    def counting(parts: dict[str, Scorer], fold: object, **options: object) -> pd.DataFrame:
        asked[tuple(parts)] = (options["n_trials"], options["by_history"])
        best = dict.fromkeys(parts, 1.0) | {"halfway": np.nan}
        return pd.DataFrame([best | {"ndcg@10": 1.0}])

    monkeypatch.setattr(study, "choose_weights", counting)
    fused = tuned_fusions(few(), "collaborative", shop.split.validation, n_trials=7)
    trials = {name: asked[tuple(fusion.parts)] for name, fusion in fused.items()}
    assert list(trials) == FUSED
    small, large = (7, False), (42, True)
    assert list(trials.values()) == [small, small, small, large, large]


@pytest.mark.parametrize("halfway", [3.5, np.nan])
def test_the_best_trial_becomes_the_fusion(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, halfway: float
) -> None:
    newcomers = {"content": 1.0, "popular": 0.0} if halfway == halfway else {}
    best = {"content": 0.25, "popular": 0.75, "halfway": halfway, "ndcg@10": 0.2}
    best |= {f"newcomers:{name}": newcomers.get(name, np.nan) for name in ("content", "popular")}
    worse = {**best, "content": 0.5, "popular": 0.5, "ndcg@10": 0.1}
    monkeypatch.setattr(study, "choose_weights", lambda *_, **__: pd.DataFrame([best, worse]))
    fusion = study.tuned_fusion(
        "mine", some("content", "popular"), shop.split.validation, by_history=True
    )
    assert fusion.name == "mine" and fusion.weights == {"content": 0.25, "popular": 0.75}
    assert fusion.newcomers == (newcomers or None)
    if newcomers:
        assert fusion.halfway == halfway


def test_the_profile_is_the_better_one_on_validation(
    shop: Shop, experiment: Experiment, fresh_cache: Path
) -> None:
    fold = shop.split.validation
    scorers: dict[str, Scorer] = {
        "content": Content(),
        "collaborative": Collaborative(),
        "collaborative:interactions": Collaborative(profile="interactions"),
    }
    found = evaluate(scorers, fold, progress=False)
    ndcg = {
        name: ranking_metrics(outcome.top, fold.relevant)["ndcg@10"].mean()
        for name, outcome in found.items()
        if name != "content"
    }
    assert choose_profile(scorers, fold, k=10) == max(ndcg, key=ndcg.get)
    assert experiment.profile == max(ndcg, key=ndcg.get)


def test_thresholds_are_chosen_on_validation_pairs(
    shop: Shop, experiment: Experiment, fresh_cache: Path
) -> None:
    fold = shop.split.validation
    pairs = sample_pairs(fold, negatives=2, rng=3)
    names = ("popular", "content", "collaborative")
    for name, outcome in evaluate(some(*names), fold, pairs=pairs, progress=False).items():
        assert experiment.thresholds[name] == best_threshold(outcome.pair_scores)


def test_values_are_those_of_a_model_fitted_by_hand(
    shop: Shop, experiment: Experiment, fresh_cache: Path
) -> None:
    fold = shop.split.test
    traditional = Fusion(
        {"content": Content(), "collaborative": few()[experiment.profile]},
        experiment.fusions["traditional"].weights,
        normalise="global",
    ).fit(fold.train)
    lists = traditional.recommend(list(fold.train.user_ids), 10)
    top = fold.train.item_ids.get_indexer(lists["item_id"]).reshape(-1, 10)
    for metric, values in ranking_metrics(top, fold.relevant).items():
        assert cell(experiment.metrics, "traditional", metric).value == pytest.approx(values.mean())


def test_pair_values_are_the_sums_of_the_counts(experiment: Experiment) -> None:
    for model, scores in experiment.pair_scores.items():
        tp, fp, fn = pair_counts(scores, experiment.thresholds[model]).sum(axis=0)
        assert cell(experiment.metrics, model, "precision").value == pytest.approx(tp / (tp + fp))
        assert cell(experiment.metrics, model, "recall").value == pytest.approx(tp / (tp + fn))
