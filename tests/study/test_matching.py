"""The same models under many protocols."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from reclib.data import Prepared, Split, leave_one_out
from reclib.errors import ReclibError
from reclib.evaluation import Outcome, Pairs, evaluate, sample_pairs
from reclib.models import Content, Popular, Random
from reclib.study import matching
from reclib.study.paper import TABLE_II

MODELS = ("popular", "content")


@pytest.fixture(scope="module")
def split(tiny: Prepared) -> Split:
    return leave_one_out(tiny)


@pytest.fixture(scope="module")
def table(split: Split) -> pd.DataFrame:
    models = {"popular": Popular(), "content": Content()}
    return matching.measure_everywhere(split, models, negatives=(1, 4), depths=(1, 5), rng=3)


def value(table: pd.DataFrame, *place: object) -> float:
    found = table.set_index(["protocol", "variant", "size", "model", "metric"])["value"]
    return float(found[place])


def test_yes_to_everything_has_the_precision_of_the_draw(table: pd.DataFrame) -> None:
    for r in (1, 4):
        for weighting in ("uniform", "popularity"):
            place = ("pairs", f"{weighting}, best threshold", r, "always-yes")
            assert value(table, *place, "precision") == pytest.approx(1 / (1 + r))
            assert value(table, *place, "recall") == 1


def test_fewer_negatives_are_the_first_of_the_draw(split: Split, table: pd.DataFrame) -> None:
    pairs = sample_pairs(split.test, negatives=4, rng=4)
    first = Pairs(pairs.user, pairs.item[:, :2])
    scores = evaluate({"content": Content()}, split.test, pairs=first, rng=3)["content"].pair_scores
    assert scores is not None
    recall = float((scores[:, 0] >= 0.5).mean())
    assert value(table, "pairs", "uniform, half", 1, "content", "recall") == pytest.approx(recall)


def test_lists_are_cut_from_one_ranking(split: Split, table: pd.DataFrame) -> None:
    for k in (1, 5):
        top = evaluate({"content": Content()}, split.test, k=k, rng=3)["content"].top
        user, item = split.test.relevant.nonzero()
        recall = float((top[user] == item[:, None]).any(axis=1).mean())
        place = ("full-loo", "whole catalogue", k, "content")
        assert value(table, *place, "recall") == pytest.approx(recall)
        assert value(table, *place, "precision") == pytest.approx(recall / k)


def test_among_sampled_products_ties_go_to_the_smaller_index() -> None:
    item = np.array([[5, *range(6, 105)], [50, *range(1, 50), *range(51, 101)]])
    scores = np.full(item.shape, 0.5, np.float32)
    scores[1, 1] = 0.9  # one rival is better, 48 more are equal with a smaller index
    rows = list(matching._sampled("m", scores, Pairs(np.arange(2), item), (1, 50)))
    found = {(size, metric): value for *_, size, _, metric, value in rows}
    assert found[1, "recall"] == 0.5 and found[50, "recall"] == 1.0
    assert found[50, "precision"] == 1 / 50


def test_numbers_of_negatives_that_a_small_shop_lacks_are_left_out(
    tiny: Prepared, make_prepared: Callable[..., Prepared]
) -> None:
    # of 30 products each had at most 8: 19 others are there for all, 49 for nobody
    table = matching.measure_everywhere(leave_one_out(tiny), {"popular": Popular()}, depths=(1, 50))
    assert sorted(set(table.loc[table["protocol"] == "pairs", "size"])) == [1, 2, 4, 9, 19]
    assert "sampled-99" not in set(table["protocol"])
    # nine in ten are enough: the tester who had everything decides nothing
    histories = {f"u{user}": [f"p{(user + n) % 12}" for n in range(3)] for user in range(12)}
    shop = make_prepared({**histories, "tester": [f"p{n}" for n in range(12)]})
    assert matching._possible(leave_one_out(shop), matching.NEGATIVES) == [1, 2, 4, 9]


def test_a_shop_too_small_for_any_number_of_negatives_says_so(
    make_prepared: Callable[..., Prepared],
) -> None:
    split = leave_one_out(make_prepared({"anna": "ABC", "bert": "BCA"}))
    with pytest.raises(ReclibError, match="nobody has a product left"):
        matching.measure_everywhere(split, {"popular": Popular()})


def test_the_nearest_protocol_comes_first_and_says_whether_it_is_near() -> None:
    def rows(variant: str, off: float) -> list[tuple[Any, ...]]:
        return [
            ("pairs", variant, 1, model, metric, TABLE_II[metric][column] - off * (metric == "f1"))
            for metric in matching.METRICS
            for column, model in enumerate(MODELS)
        ]

    made = rows("far", 0.2) + rows("near", 0.02) + rows("edge", 0.05)
    found = matching.distances(pd.DataFrame(made, columns=matching.COLUMNS), MODELS)
    assert found["variant"].tolist() == ["near", "edge", "far"]
    assert found["within"].tolist() == [True, False, False]
    np.testing.assert_allclose(found["farthest"], [0.02, 0.05, 0.2])
    assert found["f1: content"].iloc[2] == pytest.approx(TABLE_II["f1"][1] - 0.2)


def test_diversity_depends_on_the_space(split: Split, fake_encode: Callable[..., Any]) -> None:
    train = split.test.train
    random = evaluate({"random": Random()}, split.test, k=5, rng=0)["random"]
    same = np.zeros((train.n_users, 5), np.int64)  # a list of one product, five times
    outcomes = {"random": random, "alike": Outcome(same, None, {}, 0.0)}
    found = matching.diversity_by_space(outcomes, train, k=5)
    assert list(found.index) == ["brand and category", "words", "embeddings", "buyers"]
    assert (found["random"] > 0.1).all() and found["random"].nunique() == 4
