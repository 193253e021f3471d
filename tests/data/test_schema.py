"""Tables: what is refused, and whether the message names place, column and value."""

import numpy as np
import pandas as pd
import pytest

from reclib.data import Marketplace
from reclib.data.schema import Interactions, Items, Reviews, validated
from reclib.errors import ReclibError, unknown


def interactions(**change: object) -> pd.DataFrame:
    table = pd.DataFrame(
        {
            "user_id": ["a", "a", "b"],
            "item_id": ["x", "y", "x"],
            "position": [0, 1, 0],
            "event": ["click", "purchase", "cart"],
            "rating": [5.0, np.nan, 1.0],
            "quantity": [1.0, 2.0, np.nan],
            "price": [0.5, np.nan, 3.0],
        }
    )
    return table.assign(**change)


def items(**change: object) -> pd.DataFrame:
    table = pd.DataFrame({"item_id": ["x", "y"], "title": ["tea", None], "price": [1.0, np.nan]})
    return table.assign(**change)


def reviews(**change: object) -> pd.DataFrame:
    table = pd.DataFrame({"user_id": ["a"], "item_id": ["x"], "rating": [4], "text": ["fine"]})
    return table.assign(**change)


@pytest.mark.parametrize(
    ("table", "model"), [(interactions(), Interactions), (items(), Items), (reviews(), Reviews)]
)
def test_a_good_table_passes_unchanged(table: pd.DataFrame, model: type) -> None:
    checked = validated(table, model, "here")
    pd.testing.assert_frame_equal(checked, table, check_dtype=False)


@pytest.mark.parametrize(
    ("change", "column", "value"),
    [
        ({"user_id": [None, "a", "b"]}, "user_id", "row"),
        ({"user_id": ["", "a", "b"]}, "user_id", "''"),
        ({"item_id": ["x", np.nan, "x"]}, "item_id", "row"),
        ({"item_id": ["x", "", "x"]}, "item_id", "''"),
        ({"position": [0, -1, 0]}, "position", "-1"),
        ({"position": [0, None, 0]}, "position", "nan"),
        ({"position": ["first", "1", "0"]}, "position", "first"),
        ({"event": ["click", "buy", "cart"]}, "event", "'buy'"),
        ({"rating": [5.0, 11.0, 1.0]}, "rating", "11"),
        ({"rating": [5.0, 0.5, 1.0]}, "rating", "0.5"),
        ({"rating": ["five", "1", "2"]}, "rating", "five"),
        ({"quantity": [0.0, 1.0, 1.0]}, "quantity", "0.0"),
        ({"price": [-1.0, 1.0, 1.0]}, "price", "-1.0"),
    ],
)
def test_a_bad_event_is_refused_by_place_column_and_value(
    change: dict[str, object], column: str, value: str
) -> None:
    with pytest.raises(ReclibError, match=rf"^shop/interactions: column '{column}'.*{value}"):
        validated(interactions(**change), Interactions, "shop/interactions")


def test_a_fraction_is_no_position() -> None:
    with pytest.raises(ReclibError, match=r"column 'position'.*0\.5"):
        validated(interactions(position=[0.5, 1.0, 0.0]), Interactions, "here")


@pytest.mark.parametrize(
    ("change", "column", "value"),
    [
        ({"item_id": ["x", "x"]}, "item_id", "unique.*'x'"),
        ({"item_id": ["x", None]}, "item_id", "missing"),
        ({"price": [1.0, -2.0]}, "price", "-2.0"),
        ({"price": [1.0, 0.0]}, "price", "0.0"),
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


@pytest.mark.parametrize("column", ["user_id", "item_id", "position"])
def test_a_missing_column_is_named_beside_those_found(column: str) -> None:
    table = interactions().drop(columns=column)
    with pytest.raises(ReclibError, match=f"missing column '{column}'; found: .*event"):
        validated(table, Interactions, "here")


def test_one_position_twice_is_refused_by_user_and_position() -> None:
    table = interactions(user_id=["a", "a", "b"], position=[7, 7, 7])
    with pytest.raises(ReclibError, match="here: user 'a' has 7 twice in column 'position'"):
        validated(table, Interactions, "here")


@pytest.mark.parametrize("model", [Interactions, Items, Reviews])
def test_a_table_without_rows_is_refused(model: type) -> None:
    with pytest.raises(ReclibError, match="^here: the table is empty"):
        validated(interactions()[:0], model, "here")


def test_columns_beyond_the_declared_ones_are_kept() -> None:
    checked = validated(interactions(weather="rain"), Interactions, "here")
    assert checked["weather"].tolist() == ["rain"] * 3


def test_only_a_marketplace_with_truth_is_simulated() -> None:
    assert not Marketplace("own", interactions(), items()).simulated
    assert Marketplace("own", interactions(), items(), truth=object()).simulated


def test_an_unknown_name_gets_the_nearest_and_all_allowed_ones() -> None:
    text = str(unknown("size", "smal", ["smoke", "small"]))
    assert "'smal'" in text and "did you mean 'small'" in text and "smoke, small" in text
    assert "did you mean" not in str(unknown("size", "zzz", ["smoke"]))
    assert "(30 in all)" in str(unknown("user", "zzz", [f"u{n}" for n in range(30)]))
