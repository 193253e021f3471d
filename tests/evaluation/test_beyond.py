"""What lists do beside being right, against naive loops."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from reclib.data import Prepared, leave_one_out
from reclib.data.labels import category_classes
from reclib.evaluation import evaluate
from reclib.evaluation.beyond import HEAD, SMOOTHING, exposure_metrics, list_metrics
from reclib.models import Popular, Random
from reclib.study.beyond import measure_beyond, user_groups


@pytest.fixture(scope="module")
def lists(tiny: Prepared) -> np.ndarray:
    rng = np.random.default_rng(0)
    top = np.stack([rng.choice(tiny.n_items, 5, replace=False) for _ in range(tiny.n_users)])
    top[3, 2:] = -1
    top[4] = -1
    return top


def test_every_metric_equals_a_naive_loop(tiny: Prepared, lists: np.ndarray) -> None:
    found = list_metrics(lists, tiny)
    classes, names = category_classes(tiny)
    had = tiny.matrix.toarray() > 0
    counts = had.sum(axis=0)
    popular = sorted(range(tiny.n_items), key=lambda i: (-counts[i], i))
    head = set(popular[: round(HEAD * tiny.n_items)])
    for user, row in enumerate(lists):
        shown = [item for item in row if item >= 0]
        values = {name.partition("@")[0]: values[user] for name, values in found.items()}
        if not shown:
            assert all(np.isnan(value) for value in values.values())
            continue
        own = np.flatnonzero(had[user])
        chance = [(counts[item] + 1) / (tiny.n_users + 1) for item in shown]
        p, q = (
            np.array([np.mean([classes[i] == c for i in part]) for c in range(len(names))])
            for part in (own, shown)
        )
        smooth = (1 - SMOOTHING) * q + SMOOTHING * p
        expected = {
            "novelty": np.mean([-np.log2(c) for c in chance]),
            "popularity_lift": np.mean(counts[shown]) / np.mean(counts[own]) - 1,
            "tail": np.mean([item not in head for item in shown]),
            "miscalibration": sum(a * np.log(a / b) for a, b in zip(p, smooth, strict=True) if a),
            "category_entropy": -sum(a * np.log2(a) for a in q if a),
        }
        assert values.keys() == expected.keys()
        for name, value in expected.items():
            assert values[name] == pytest.approx(value, abs=1e-12), name


def test_a_list_like_the_history_is_calibrated_and_lifts_nothing(tiny: Prepared) -> None:
    histories = [np.flatnonzero(row) for row in tiny.matrix.toarray()]
    longest = max(map(len, histories))
    top = np.array([[*own, *[-1] * (longest - len(own))] for own in histories])
    found = list_metrics(top, tiny)
    np.testing.assert_allclose(found[f"miscalibration@{longest}"], 0, atol=1e-12)
    np.testing.assert_allclose(found[f"popularity_lift@{longest}"], 0, atol=1e-12)


def test_without_categories_only_their_metrics_are_missing(
    make_prepared: Callable[..., Prepared],
) -> None:
    items = pd.DataFrame({"item_id": list("ABC"), "title": ["a", "b", "c"]})
    ready = make_prepared({"anna": "AB", "bert": "BC"}, items)
    found = list_metrics(np.array([[2, 0], [0, -1]]), ready)
    missing = {name for name, values in found.items() if np.isnan(values).all()}
    assert missing == {"miscalibration@2", "category_entropy@2"}


def test_gini_equals_the_mean_difference() -> None:
    rng = np.random.default_rng(1)
    counts = rng.poisson(3, size=(4, 20)).astype(float)
    gini = exposure_metrics(counts)["gini"]
    for row, value in zip(counts, gini, strict=True):
        naive = np.abs(row[:, None] - row[None]).sum() / (2 * len(row) * row.sum())
        assert value == pytest.approx(naive, abs=1e-12)


def test_groups_hold_every_user_once_and_order_them(tiny: Prepared) -> None:
    fold = leave_one_out(tiny).test
    groups = user_groups(fold)
    assert np.sum(list(groups.values()), axis=0).tolist() == [1] * tiny.n_users
    products = np.diff(fold.train.matrix.indptr)
    assert products[groups["light"]].max() < products[groups["heavy"]].min()


def test_popular_lists_are_known_to_everybody(tiny: Prepared) -> None:
    fold = leave_one_out(tiny).test
    models = {"popular": Popular(), "random": Random()}
    outcomes = {name: [found] for name, found in evaluate(models, fold, k=5).items()}
    outcomes["random"] *= 2  # two seeds
    pair = {"popular-vs-random": ("popular", "random")}
    table = measure_beyond(outcomes, fold, compared=pair, n_resamples=100)
    values = table[table["variant"] == "raw"].set_index(["model", "metric"])
    assert values.loc[("popular-vs-random", "novelty@5"), "high"] < 0
    assert values.loc[("popular-vs-random", "popularity_lift@5"), "low"] > 0
    value = values["value"]
    assert value["popular", "coverage@5"] < value["random", "coverage@5"]
    assert value["popular", "gini@5"] > value["random", "gini@5"]
    assert values.loc[("random", "gini@5"), "seeds"] == 2
    assert set(table["variant"]) == {"raw", *(f"raw, {g} users" for g in user_groups(fold))}
