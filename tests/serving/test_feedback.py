"""Evaluations become events and reviews, in the right order and none of them twice."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from reclib.data import Marketplace, prepare
from reclib.data.schema import Reviews, validated
from reclib.serving import Store, with_evaluations

HISTORIES = {"ann": ["tea", "ink", "cup"], "bob": ["ink", "cup", "tea"]}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "shop.db")
    made.enrol(["ann", "bob", "eve"], ["tea", "ink", "cup", "pot"])
    return made


def rows(market: Marketplace, user: str) -> list[tuple[str, str]]:
    own = market.interactions.filter(user_id=user).sort("position")
    return list(zip(own["item_id"], own["event"], strict=True))


@pytest.mark.parametrize("dated", [True, False])
def test_evaluations_come_behind_the_history(
    make_market: Callable[..., Marketplace], store: Store, dated: bool
) -> None:
    columns = {"timestamp": 1_600_000_000} if dated else {}
    market = make_market(HISTORIES, event="click", **columns)
    store.purchase("ann", "pot")
    store.click("eve", "tea")
    store.comment("ann", "tea", "well")
    for stars, item in ((3, "tea"), (4, "pot"), (5, "cup")):
        store.rate("eve", item, stars)
    grown = with_evaluations(market, store.evaluations())
    before = [(item, "click") for item in HISTORIES["ann"]]
    assert rows(grown, "ann") == [*before, ("pot", "purchase"), ("tea", "click")]
    assert rows(grown, "bob") == [(item, "click") for item in HISTORIES["bob"]]
    assert rows(grown, "eve") == [
        ("tea", "click"), ("tea", "click"), ("pot", "cart"), ("cup", "purchase")
    ]  # fmt: skip
    assert ("timestamp" in grown.interactions.columns) == dated
    assert prepare(grown, min_events=1).n_events == 12


def test_the_last_rating_counts(make_market: Callable[..., Marketplace], store: Store) -> None:
    market = make_market(HISTORIES)
    store.rate("ann", "tea", 5)
    store.rate("ann", "tea", 1)  # leaves, with what the data had
    store.rate("ann", "ink", 1)
    store.rate("ann", "ink", 4)  # stays after all
    grown = with_evaluations(market, store.evaluations())
    assert rows(grown, "ann") == [("ink", "purchase"), ("cup", "purchase"), ("ink", "cart")]
    assert rows(grown, "bob") == [(item, "purchase") for item in HISTORIES["bob"]]


def test_ratings_and_comments_become_reviews(
    make_market: Callable[..., Marketplace], store: Store
) -> None:
    market = make_market(HISTORIES)
    store.comment("ann", "tea", "<b>weak</b>")
    store.rate("ann", "tea", 1)
    store.comment("ann", "tea", "and cold")
    store.comment("bob", "tea", "no stars, no review")
    store.rate("bob", "cup", 4)
    reviews = with_evaluations(market, store.evaluations()).reviews
    assert reviews is not None
    told = sorted(reviews.select("user_id", "item_id", "rating", "text").rows())
    assert told == [
        ("ann", "tea", 1.0, "<b>weak</b>\nand cold"),
        ("bob", "cup", 4.0, ""),
    ]


def test_reviews_that_were_there_stay(
    make_market: Callable[..., Marketplace], store: Store
) -> None:
    table = pd.DataFrame({"user_id": ["bob"], "item_id": ["tea"], "rating": [3], "text": ["old"]})
    market = replace(make_market(HISTORIES), reviews=validated(table, Reviews, "reviews"))
    store.rate("ann", "tea", 4)
    reviews = with_evaluations(market, store.evaluations()).reviews
    assert reviews is not None
    assert sorted(reviews["user_id"]) == ["ann", "bob"]


def test_clicks_alone_make_no_reviews(
    make_market: Callable[..., Marketplace], store: Store
) -> None:
    market = make_market(HISTORIES)
    assert with_evaluations(market, store.evaluations()) is market
    store.click("ann", "pot")
    assert with_evaluations(market, store.evaluations()).reviews is None
