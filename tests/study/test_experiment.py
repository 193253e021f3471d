"""The experiment end to end on a small simulated marketplace, with a made-up encoder."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from reclib.data import Marketplace, Split, Truth, leave_one_out, prepare
from reclib.data.simulate import simulate
from reclib.evaluation import (
    best_threshold,
    evaluate,
    pair_counts,
    ranking_metrics,
    sample_pairs,
)
from reclib.models import Collaborative, Content, Fusion, Scorer
from reclib.study import results
from reclib.study.experiment import (
    COMPARED,
    Experiment,
    choose_profile,
    measure_lists,
    run_experiment,
    single_scorers,
)

SINGLE = ["random", "popular", "content", "collaborative", "collaborative:interactions", "language"]
MODELS = [*SINGLE, "traditional", "llm-fusion"]
DIFFERENCES = [f"llm-fusion-vs-{name}" for name in COMPARED]
RANKED = ["precision", "recall", "f1", "ndcg", "mrr", "map", "hit_rate", "ild", "ctr"]
OPTIONS = {"n_trials": 10, "n_resamples": 200, "negatives": 2, "seed": 3}


@dataclass(frozen=True)
class Shop:
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
        return run_experiment(shop.split, single_scorers(), truth=shop.truth, **OPTIONS)


@pytest.fixture(scope="module")
def metrics(experiment: Experiment) -> pd.DataFrame:
    return experiment.metrics


def cell(metrics: pd.DataFrame, model: str, metric: str) -> pd.Series:
    rows = metrics[(metrics["model"] == model) & (metrics["metric"] == metric)]
    assert len(rows) == 1
    return rows.iloc[0]


def test_every_model_and_difference_has_every_metric_once(metrics: pd.DataFrame) -> None:
    found = set(metrics[["protocol", "variant", "model", "metric"]].itertuples(index=False))
    lists = {
        ("full-loo", "raw", model, f"{metric}@10")
        for model in MODELS + DIFFERENCES
        for metric in RANKED
    }
    pairs = {
        ("pairs", "r=2", model, metric)
        for model in [*MODELS, "always-yes", *DIFFERENCES]
        for metric in ("precision", "recall", "f1")
    }
    assert found == lists | pairs
    assert len(metrics) == len(found)
    assert set(metrics["data"]) == {"simulated"} and set(metrics["seeds"]) == {1}


def test_every_value_is_within_its_interval(metrics: pd.DataFrame) -> None:
    assert metrics[["value", "low", "high"]].notna().all(axis=None)
    assert (metrics["low"] <= metrics["value"]).all()
    assert (metrics["value"] <= metrics["high"]).all()
    assert (metrics["users"] == 150).all()


def test_values_have_their_ranges(metrics: pd.DataFrame) -> None:
    alone = metrics[~metrics["model"].isin(DIFFERENCES)]
    assert alone["value"].between(0, 1).all()
    assert cell(metrics, "content", "ndcg@10").value > 0
    ctr = alone[alone["metric"] == "ctr@10"].set_index("model")["value"]
    assert ctr["popular"] > ctr["random"]


def test_a_paired_difference_is_the_difference_of_values(
    experiment: Experiment, metrics: pd.DataFrame
) -> None:
    for difference, other in zip(DIFFERENCES, COMPARED, strict=True):
        other = experiment.profile if other == "collaborative" else other
        rows = metrics[metrics["model"] == difference].set_index("metric")["value"]
        for metric, value in rows.items():
            mine, theirs = (cell(metrics, m, metric).value for m in ("llm-fusion", other))
            assert value == pytest.approx(mine - theirs, abs=1e-12)


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
    again = run_experiment(shop.split, single_scorers(), truth=shop.truth, **OPTIONS)
    pd.testing.assert_frame_equal(again.metrics, experiment.metrics, check_exact=True)
    assert again.weights == experiment.weights
    assert again.thresholds == experiment.thresholds
    assert again.profile == experiment.profile
    for model, scores in experiment.pair_scores.items():
        np.testing.assert_array_equal(again.pair_scores[model], scores)


def test_without_truth_nobody_measures_clicks(shop: Shop, made_up_encoder: None) -> None:
    scorers = single_scorers()
    outcomes = evaluate({"content": scorers["content"]}, shop.split.test, progress=False)
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
    metrics = run_experiment(Split(*folds), single_scorers(), **OPTIONS).metrics
    diversity = metrics[metrics["metric"] == "ild@10"]
    assert diversity[["value", "low", "high"]].isna().all(axis=None)
    assert (diversity["users"] == 0).all()
    assert metrics.loc[metrics["metric"] == "ndcg@10", "value"].notna().all()


def test_weights_are_on_the_simplex_and_traditional_reads_no_language(
    experiment: Experiment,
) -> None:
    assert list(experiment.weights) == ["traditional", "llm-fusion"]
    assert list(experiment.weights["traditional"]) == ["content", "collaborative"]
    assert list(experiment.weights["llm-fusion"]) == ["content", "collaborative", "language"]
    for weights in experiment.weights.values():
        assert sum(weights.values()) == pytest.approx(1)


def test_the_profile_is_the_better_one_on_validation(
    shop: Shop, experiment: Experiment, fresh_cache: Path
) -> None:
    fold = shop.split.validation
    scorers: dict[str, Scorer] = {
        "content": Content(),
        "collaborative": Collaborative(),
        "collaborative:interactions": Collaborative(profile="interactions"),
    }
    pairs = sample_pairs(fold, negatives=2, rng=3)
    found = evaluate(scorers, fold, progress=False)
    ndcg = {
        name: ranking_metrics(outcome.top, fold.relevant)["ndcg@10"].mean()
        for name, outcome in found.items()
        if name != "content"
    }
    assert choose_profile(scorers, fold, pairs=pairs, k=10) == max(ndcg, key=ndcg.get)
    assert experiment.profile == max(ndcg, key=ndcg.get)


def test_thresholds_are_chosen_on_validation_pairs(
    shop: Shop, experiment: Experiment, fresh_cache: Path
) -> None:
    fold = shop.split.validation
    pairs = sample_pairs(fold, negatives=2, rng=3)
    names = ("popular", "content", "collaborative")
    chosen = {name: single_scorers()[name] for name in names}
    for name, outcome in evaluate(chosen, fold, pairs=pairs, progress=False).items():
        assert experiment.thresholds[name] == best_threshold(outcome.pair_scores)


def test_values_are_those_of_a_model_fitted_by_hand(
    shop: Shop, experiment: Experiment, fresh_cache: Path
) -> None:
    fold = shop.split.test
    collaborative = single_scorers()[experiment.profile]
    traditional = Fusion(
        {"content": Content(), "collaborative": collaborative}, experiment.weights["traditional"]
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


def test_settings_reach_the_scorers() -> None:
    made = single_scorers(decay=0.5, history=7, price_weight=0.1, encoder="mine@1")
    assert list(made) == SINGLE
    told = {"decay": 0.5, "history": 7, "price_weight": 0.1}
    assert told.items() <= made["content"].config().items()
    assert made["collaborative"].config()["decay"] == 0.5
    assert made["collaborative:interactions"].config()["profile"] == "interactions"
    assert made["language"].config()["encoder"] == "mine@1"
