"""Tables: what is refused, and whether the message names place, column and value."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from reclib.data import Marketplace
from reclib.data.schema import (
    TABLES,
    Impressions,
    Interactions,
    Items,
    Model,
    Reviews,
    Users,
    check_alike,
    empty_interactions,
    validated,
)
from reclib.errors import ReclibError, unknown


def table(columns: dict[str, list[Any]], change: dict[str, object]) -> pl.DataFrame:
    rows = len(next(iter(columns.values())))
    changed = {
        name: [value] * rows for name, value in change.items() if not isinstance(value, list)
    }
    return pl.DataFrame({**columns, **change, **changed}, strict=False)


def interactions(**change: object) -> pl.DataFrame:
    columns: dict[str, list[Any]] = {
        "user_id": ["a", "a", "b", "b"],
        "item_id": ["x", "y", "x", None],
        "position": [0, 1, 0, 1],
        "event": ["click", "purchase", "cart", "search"],
        "query": ["tea", None, None, "red tea"],
        "rating": [5.0, None, 1.0, None],
        "quantity": [1.0, 2.0, None, None],
        "price": [0.5, None, 3.0, None],
    }
    return table(columns, change)


def items(**change: object) -> pl.DataFrame:
    return table({"item_id": ["x", "y"], "title": ["tea", None], "price": [1.0, None]}, change)


def reviews(**change: object) -> pl.DataFrame:
    columns: dict[str, list[Any]] = {"user_id": ["a"], "item_id": ["x"], "rating": [4.0]}
    return table({**columns, "text": ["fine"]}, change)


def impressions(**change: object) -> pl.DataFrame:
    columns: dict[str, list[Any]] = {
        "item_id": ["x", "y"],
        "rank": [1, 2],
        "click": [True, False],
        "propensity": [0.5, 1.0],
        "policy": ["random", "random"],
    }
    return table(columns, change)


def users(**change: object) -> pl.DataFrame:
    return table({"user_id": ["a", "b"], "country": ["GB", None]}, change)


GOOD = {
    Interactions: interactions,
    Items: items,
    Reviews: reviews,
    Impressions: impressions,
    Users: users,
}


def test_every_table_is_tested() -> None:
    assert set(GOOD) == set(TABLES.values())


@pytest.mark.parametrize("model", GOOD, ids=lambda model: model.__name__)
def test_a_good_table_passes_unchanged(model: Model) -> None:
    good = GOOD[model]()
    assert_frame_equal(validated(good, model, "here"), good)


@pytest.mark.parametrize("model", GOOD, ids=lambda model: model.__name__)
def test_a_pandas_table_is_as_good(model: Model) -> None:
    good = GOOD[model]()
    assert_frame_equal(validated(good.to_pandas(), model, "here"), good)


@pytest.mark.parametrize(
    ("change", "column", "value"),
    [
        ({"user_id": [None, "a", "b", "b"]}, "user_id", "missing.*rows 0"),
        ({"user_id": ["", "a", "b", "b"]}, "user_id", "''.*rows 0"),
        ({"user_id": ["a", " \t", "b", "b"]}, "user_id", r"' \\t' \(row 1;"),
        ({"user_id": [1.0, 2.0, 3.0, 4.0]}, "user_id", r"whole numbers, found 1\.0"),
        ({"item_id": ["x", None, "x", None]}, "item_id", "search.*row 1"),
        ({"item_id": ["x", "y", "x", "y"]}, "item_id", "search.*row 3"),
        ({"item_id": ["x", "", "x", None]}, "item_id", "''.*rows 1"),
        ({"position": [0, -1, 0, 1]}, "position", "-1.*rows 1"),
        ({"position": [0, None, 0, 1]}, "position", "missing.*rows 1"),
        ({"position": ["first", "1", "0", "1"]}, "position", r"'first' \(row 0;"),
        ({"position": [0.5, 1.0, 0.0, 1.0]}, "position", r"whole number, found 0\.5"),
        (
            {"event": ["click", "buy", "cart", "search"]},
            "event",
            "one of search, click, cart, purchase, found 'buy'.*rows 1.*; rename the others",
        ),
        ({"event": ["click", None, "cart", "search"]}, "event", "missing"),
        ({"rating": [5.0, 11.0, 1.0, None]}, "rating", "11"),
        ({"rating": [5.0, 0.5, 1.0, None]}, "rating", "0.5"),
        ({"rating": ["five", "1", "2", "3"]}, "rating", "'five'"),
        ({"quantity": [0.0, 1.0, 1.0, None]}, "quantity", "0.0"),
        ({"price": [-1.0, 1.0, 1.0, None]}, "price", "-1.0"),
        ({"price": [np.inf, 1.0, 1.0, None]}, "price", "inf"),
        ({"timestamp": ["soon", None, None, None]}, "timestamp", "'soon'"),
    ],
)
def test_a_bad_event_is_refused_by_place_column_and_value(
    change: dict[str, object], column: str, value: str
) -> None:
    with pytest.raises(ReclibError, match=rf"^shop/interactions: column '{column}'.*{value}"):
        validated(interactions(**change), Interactions, "shop/interactions")


@pytest.mark.parametrize(
    ("change", "column", "value"),
    [
        ({"item_id": ["x", "x"]}, "item_id", "unique.*'x'"),
        ({"item_id": ["x", None]}, "item_id", "missing"),
        ({"item_id": [["x"], ["y"]]}, "item_id", r"found \['x'\] \(row 0;"),
        ({"price": [1.0, -2.0]}, "price", "-2.0"),
        ({"price": [1.0, 0.0]}, "price", "more than 0, found '0.0'.*; leave the cell empty where"),
        ({"price": ["1", "€12.99"]}, "price", "as 12.99, and the currency into a column 'curr"),
        ({"price": ["1", "1.299,00"]}, "price", "alone, with a point"),
        ({"categories": [["Home"], ["Home", "Lamp"]]}, "categories", "as one text, A > B > C"),
        ({"price": ["1", "dear"]}, "price", "dear"),
    ],
)
def test_a_bad_product_is_refused_by_place_column_and_value(
    change: dict[str, object], column: str, value: str
) -> None:
    with pytest.raises(ReclibError, match=rf"^items.csv: column '{column}'.*{value}"):
        validated(items(**change), Items, "items.csv")


@pytest.mark.parametrize(
    ("change", "column"),
    [({"rating": 11}, "rating"), ({"rating": None}, "rating"), ({"user_id": ""}, "user_id")],
)
def test_a_bad_review_is_refused_by_column(change: dict[str, object], column: str) -> None:
    with pytest.raises(ReclibError, match=rf"^reviews: column '{column}'"):
        validated(reviews(**change), Reviews, "reviews")


@pytest.mark.parametrize(
    ("change", "column", "value"),
    [
        ({"rank": 0}, "rank", "0"),
        ({"rank": 1.5}, "rank", "1.5"),
        ({"click": 2}, "click", "true or false, found 2"),
        ({"click": "perhaps"}, "click", "perhaps"),
        ({"propensity": 0.0}, "propensity", "0.0"),
        ({"propensity": 1.5}, "propensity", "1.5"),
        ({"propensity": np.nan}, "propensity", "missing"),
        ({"policy": None}, "policy", "missing"),
    ],
)
def test_a_bad_impression_is_refused_by_column_and_value(
    change: dict[str, object], column: str, value: str
) -> None:
    with pytest.raises(ReclibError, match=rf"^shown: column '{column}'.*{value}"):
        validated(impressions(**change), Impressions, "shown")


def test_one_user_twice_is_refused() -> None:
    with pytest.raises(ReclibError, match="column 'user_id' expects unique values, found 'a'"):
        validated(users(user_id="a"), Users, "here")


@pytest.mark.parametrize("column", ["user_id", "item_id", "position"])
def test_a_missing_column_is_named_beside_those_found(column: str) -> None:
    with pytest.raises(ReclibError, match=f"missing column '{column}'; found: .*event"):
        validated(interactions().drop(column), Interactions, "here")


def test_one_position_twice_is_refused_by_user_and_position() -> None:
    message = "here: user 'a' has 7 twice in column 'position'; .* can be left out"
    with pytest.raises(ReclibError, match=message):
        validated(interactions(position=7), Interactions, "here")


@pytest.mark.parametrize(
    ("ids", "known", "shown"),
    [
        (["5", "12"], ["05", "12"], "'5'; there .*'05'"),
        (["05", "12"], ["5", "12"], "'05'; there .*'5'"),
        (["5", "5.0"], ["5"], "'5.0'; there .*'5'"),
        (["a", "b "], ["a", "b"], "'b '; there .*'b'"),
        (["x", "y", None], ["a"], "'x'; there .*'a'"),
    ],
)
def test_ids_written_otherwise_in_another_table_are_refused_with_both(
    ids: list[str | None], known: list[str], shown: str
) -> None:
    with pytest.raises(
        ReclibError, match=f"here: column 'item_id' has .*in items, .*{shown}; write"
    ):
        check_alike(pl.Series("item_id", ids), pl.Series(known), "here", "items")


@pytest.mark.parametrize(
    ("ids", "known"),
    [
        (["7"], ["007", "7"]),  # two products, one of which nobody met
        (["a", "old"], ["a", "new"]),
        (["v1.0", "0a", "a"], ["v1", "a"]),
        ([None], ["a"]),
        (["a"], []),
    ],
)
def test_ids_that_only_one_table_has_are_no_mistake(
    ids: list[str | None], known: list[str]
) -> None:
    known_ids = pl.Series(known, dtype=pl.String)
    check_alike(pl.Series("item_id", ids, dtype=pl.String), known_ids, "here", "items")


@pytest.mark.parametrize("model", GOOD, ids=lambda model: model.__name__)
def test_a_table_without_rows_is_refused(model: Model) -> None:
    with pytest.raises(ReclibError, match="^here: the table is empty"):
        validated(GOOD[model]().clear(), model, "here")


def test_a_source_that_follows_nobody_has_interactions_without_rows() -> None:
    nobody = empty_interactions()
    assert len(nobody) == 0
    assert_frame_equal(Interactions.validate(nobody), nobody)


def test_columns_beyond_the_declared_ones_are_kept() -> None:
    checked = validated(interactions(weather="rain"), Interactions, "here")
    assert checked["weather"].to_list() == ["rain"] * 4


def test_some_users_come_with_what_they_did_and_wrote() -> None:
    everything = Marketplace(
        "own", interactions(), items(), users(), reviews(), impressions=impressions()
    )
    found = everything.only_users(["b"])
    assert found.interactions["item_id"].to_list() == ["x", None]
    assert found.items["item_id"].to_list() == ["x"]
    assert found.users is not None and found.users["user_id"].to_list() == ["b"]
    assert found.reviews is not None and len(found.reviews) == 0
    assert found.impressions is everything.impressions


def test_only_a_marketplace_with_truth_is_simulated() -> None:
    assert not Marketplace("own", interactions(), items()).simulated
    known: Any = object()
    assert Marketplace("own", interactions(), items(), truth=known).simulated


def test_an_unknown_name_gets_the_nearest_and_all_allowed_ones() -> None:
    text = str(unknown("size", "smal", ["smoke", "small"]))
    assert "'smal'" in text and "did you mean 'small'" in text and "smoke, small" in text
    assert "did you mean" not in str(unknown("size", "zzz", ["smoke"]))
    assert "(30 in all)" in str(unknown("user", "zzz", [f"u{n}" for n in range(30)]))
