"""Cleaning, dense ids, and the two notions of time: `new` and `age`."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reclib.data import Marketplace, Prepared, prepare
from reclib.data.prepare import clean_text
from reclib.errors import ReclibError

HISTORIES = {"anna": "ABACAD", "bert": "CB", "carl": "DDDCA", "dora": "AAAAA"}


def naive_age(history: str) -> list[int]:
    """How many products new to the user came after each event."""
    first = [product not in history[:place] for place, product in enumerate(history)]
    return [sum(first[place + 1 :]) for place in range(len(history))]


def test_short_histories_are_left_out_and_counted(make_market: Callable[..., Marketplace]) -> None:
    ready = prepare(make_market(HISTORIES))
    assert list(ready.user_ids) == ["anna", "carl"]
    assert ready.n_events == 11
    step = ready.steps.set_index("step").loc["drop short histories"]
    assert (step.rows_in, step.rows_out) == (18, 11)
    assert step.why.startswith("2 users with fewer than 3 different products")


def test_different_products_count_not_events(make_market: Callable[..., Marketplace]) -> None:
    found = make_market(HISTORIES)
    assert list(prepare(found, min_events=2).user_ids) == ["anna", "bert", "carl"]
    assert list(prepare(found, min_events=1).user_ids) == ["anna", "bert", "carl", "dora"]
    assert list(prepare(found, min_events=4).user_ids) == ["anna"]


def test_nobody_left_is_refused_with_the_way_out(make_market: Callable[..., Marketplace]) -> None:
    with pytest.raises(ReclibError, match="tiny: no user has 5 different products.*min_events"):
        prepare(make_market(HISTORIES), min_events=5)


def test_dense_ids_do_not_depend_on_the_order_of_rows(
    make_market: Callable[..., Marketplace],
) -> None:
    found = make_market(HISTORIES)
    mixed = Marketplace(
        "tiny",
        found.interactions.sample(frac=1, random_state=1).reset_index(drop=True),
        found.items[::-1],
    )
    one, two = prepare(found), prepare(mixed)
    assert list(one.item_ids) == sorted(one.item_ids)
    for name in ("user", "item", "weight"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    pd.testing.assert_frame_equal(one.items, two.items)
    assert one.fingerprint == two.fingerprint


def test_events_come_oldest_first_by_position(make_prepared: Callable[..., Prepared]) -> None:
    ready = make_prepared({"b": "CAB", "a": "BAC"})
    assert ["".join(ready.item_ids[ready.item[ready.user == u]]) for u in (0, 1)] == ["BAC", "CAB"]


def test_repeats_are_summed_in_the_matrix(make_prepared: Callable[..., Prepared]) -> None:
    ready = make_prepared(HISTORIES)
    expected = [[3, 1, 1, 1], [0, 1, 1, 0], [1, 0, 1, 3], [5, 0, 0, 0]]
    np.testing.assert_array_equal(ready.matrix.toarray(), expected)
    assert ready.matrix.nnz == np.count_nonzero(expected)
    assert ready.matrix.dtype == np.float32


def test_events_weigh_as_their_kind_says(make_market: Callable[..., Marketplace]) -> None:
    found = make_market({"anna": "ABAC"}, event=["click", "cart", "purchase", "click"])
    np.testing.assert_array_equal(prepare(found).matrix.toarray(), [[4, 2, 1]])
    plain = prepare(found, event_weights={"click": 1, "cart": 1, "purchase": 1})
    np.testing.assert_array_equal(plain.matrix.toarray(), [[2, 1, 1]])


def test_an_event_without_a_weight_is_refused(make_market: Callable[..., Marketplace]) -> None:
    found = make_market({"anna": "ABC"}, event=["click", "cart", "click"])
    with pytest.raises(ReclibError, match="unknown event 'cart'.*click"):
        prepare(found, event_weights={"click": 1.0})


@pytest.mark.parametrize("weight", [0, -1.0, float("nan")])
def test_an_event_weight_that_is_not_above_0_is_refused(
    make_market: Callable[..., Marketplace], weight: float
) -> None:
    # with a weight of 0, what the user had would not count as seen
    with pytest.raises(ReclibError, match=f"'click'.*{weight}"):
        prepare(make_market({"anna": "ABC"}, event="click"), event_weights={"click": weight})


def test_new_and_age_by_hand(make_prepared: Callable[..., Prepared]) -> None:
    ready = make_prepared({"anna": "ABACAD", "carl": "DDDCA"})
    assert ready.new.tolist() == [1, 1, 0, 1, 0, 1] + [1, 0, 0, 1, 1]
    assert ready.age.tolist() == [3, 2, 2, 1, 1, 0] + [2, 2, 2, 1, 0]


def test_what_is_done_again_with_the_newest_product_has_age_0(
    make_prepared: Callable[..., Prepared],
) -> None:
    assert make_prepared({"anna": "ABCCAC"}).age.tolist() == [2, 1, 0, 0, 0, 0]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text("ABCDE", min_size=1, max_size=9), min_size=1, max_size=5))
def test_age_counts_new_products_that_came_later(
    make_prepared: Callable[..., Prepared], histories: list[str]
) -> None:
    ready = make_prepared({f"u{number}": history for number, history in enumerate(histories)})
    assert ready.age.tolist() == [age for history in histories for age in naive_age(history)]


def test_age_after_a_selection_is_that_of_what_is_left(
    make_prepared: Callable[..., Prepared],
) -> None:
    ready = make_prepared({"anna": "ABC", "bert": "CAB"})
    left = ready.select(ready.age > 0)
    assert left.age.tolist() == [1, 0, 1, 0]
    assert left.shape == ready.shape
    only_last = ready.select(ready.user == 1)
    assert only_last.age.tolist() == [2, 1, 0]


def test_a_selection_of_nothing_has_no_ages(make_prepared: Callable[..., Prepared]) -> None:
    ready = make_prepared({"anna": "ABC"})
    nothing = ready.select(np.zeros(3, bool))
    assert nothing.n_events == nothing.matrix.nnz == 0
    assert nothing.age.tolist() == []


def test_products_nobody_touched_and_products_nobody_listed_are_both_kept(
    make_market: Callable[..., Marketplace],
) -> None:
    items = pd.DataFrame({"item_id": ["Z", "B"], "title": ["zed", "bee"], "price": [2.0, np.nan]})
    ready = prepare(make_market({"anna": "ABC"}, items))
    assert list(ready.item_ids) == ["A", "B", "C", "Z"]
    assert ready.text == ["", "bee", "", "zed"]
    assert ready.items["price"].fillna(-1).tolist() == [-1, -1, -1, 2]
    assert ready.steps["why"].iloc[-1].startswith("2 products without a row")
    assert ready.matrix.toarray().tolist() == [[1, 1, 1, 0]]


def test_a_text_is_what_is_there_in_one_order(make_market: Callable[..., Marketplace]) -> None:
    items = pd.DataFrame(
        {
            "item_id": list("ABC"),
            "description": ["good", None, ""],
            "title": ["Pen", "Cup", None],
            "brand": ["Bic", None, None],
            "categories": ["Office > Pens", None, None],
        }
    )
    ready = prepare(make_market({"anna": "ABC"}, items))
    assert ready.text == ["Pen. Office > Pens. Bic. good", "Cup", ""]


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("AT&amp;amp;T &quot;x&quot;", 'AT&T "x"'),
        ("<b>bold</b><br/>next", "bold next"),
        ("  a \t\n b  ", "a b"),
        ("3 < 5 and 7 > 2", "3 < 5 and 7 > 2"),
        ("A > B > C", "A > B > C"),
        ("café & naïve", "café & naïve"),
        ("", ""),
    ],
)
def test_texts_lose_entities_markup_and_space(raw: str, clean: str) -> None:
    assert clean_text(raw) == clean


@given(st.text(max_size=80))
def test_clean_text_has_single_spaces_and_no_ends(text: str) -> None:
    clean = clean_text(text)
    assert clean == " ".join(clean.split())


def test_a_fingerprint_tells_any_change_apart(make_prepared: Callable[..., Prepared]) -> None:
    items = pd.DataFrame({"item_id": list("ABC"), "title": ["one", "two", "three"]})
    events = {"anna": "ABC", "bert": "BAC"}
    variants = [
        make_prepared(events, items),
        make_prepared({"anna": "ABC", "bert": "BCA"}, items),
        make_prepared({"anna": "ABC", "bort": "BAC"}, items),
        make_prepared(events, items.assign(title=["one", "two", "four"])),
        make_prepared(events, items, event="cart"),
        make_prepared(events, items.assign(price=1.0)),
    ]
    assert len({ready.fingerprint for ready in variants}) == len(variants)
    assert make_prepared(events, items).fingerprint == variants[0].fingerprint
