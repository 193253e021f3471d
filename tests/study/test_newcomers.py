"""Newcomers begin with what is popular, and end near the customer whom they follow."""

from collections.abc import Callable

import pytest

from reclib.data import Prepared
from reclib.errors import ReclibError
from reclib.models import Fusion, ItemKNN, Popular
from reclib.study.newcomers import OWN, follow_newcomers


@pytest.fixture(scope="module")
def prepared(make_random: Callable[..., Prepared]) -> Prepared:
    return make_random(3, n_users=60, n_items=60)


def fused(prepared: Prepared, **parts: float) -> Fusion:
    made = {"item-knn": ItemKNN(shrink=1, decay=1.0), "popular": Popular()}
    return Fusion(made, parts, normalise="global").fit(prepared)


def test_a_list_leaves_what_is_popular_and_becomes_their_own(prepared: Prepared) -> None:
    rows = follow_newcomers(
        fused(prepared, **{"item-knn": 1}), n_customers=20, n_clicks=8, k=5, n_resamples=50
    )
    values = rows.set_index(["metric", "model", "clicks"]).sort_index()["value"]
    assert values["common", "popular", 0] == 1
    assert values["personal", OWN, 0] == 0
    assert values["personal", OWN, 8] == pytest.approx(1)
    assert values["personal", OWN].is_monotonic_increasing
    assert values["common", "popular", 8] < values["common", "popular", 2] < 1
    # all eight products of those who have eight: the same history, so the same list
    assert values["common", OWN, 8] > 0.99
    assert values["common", OWN, 8] > values["common", OWN, 3]
    assert (rows["low"] <= rows["value"]).all() and (rows["value"] <= rows["high"]).all()


def test_where_only_popularity_counts_nothing_is_personal(prepared: Prepared) -> None:
    rows = follow_newcomers(fused(prepared, popular=1), n_clicks=4, k=5, n_resamples=50)
    # what either has already takes part in the choice of diverse lists, so not quite 1
    assert (rows.loc[rows["metric"] == "common", "value"] > 0.95).all()
    assert rows.loc[rows["metric"] == "personal", "value"].abs().max() < 1e-6


def test_more_clicks_than_anybody_has_are_refused(prepared: Prepared) -> None:
    refusal = "n_clicks is 99; no customer has more than 8 products, so choose no more clicks"
    with pytest.raises(ReclibError, match=refusal):
        follow_newcomers(fused(prepared, popular=1), n_clicks=99)
