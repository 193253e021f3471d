"""Cleaning, dense ids, and the two notions of time: `new` and `age`."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reclib.data import Marketplace, Prepared, prepare
from reclib.data.prepare import EVENT_WEIGHTS
from reclib.data.schema import (
    EVENTS,
    Interactions,
    Items,
    Reviews,
    empty_interactions,
    validated,
)
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


def test_nobody_with_the_products_of_a_split_is_not_told_to_ask_for_fewer(
    make_market: Callable[..., Marketplace],
) -> None:
    with pytest.raises(ReclibError, match="no user has 3 .*; bring longer histories$"):
        prepare(make_market({"anna": "AB"}))


def test_nobody_left_is_told_what_cleaning_dropped(
    make_market: Callable[..., Marketplace],
) -> None:
    with pytest.raises(ReclibError, match=r"cleaning \(4 users with fewer than 5 [^;]*\);"):
        prepare(make_market(HISTORIES), min_events=5)


@pytest.mark.parametrize(
    ("seconds", "read"),
    [
        (45_443, r" \(one was read as 1970-01-01 12:37\)"),  # a day of a spreadsheet
        (28_619_280, r" \(one was read as 1970-11-28 05:48\)"),  # minutes since 1970
        (2024, r" \(one was read as 1970-01-01 00:33\)"),
        (None, ""),
    ],
)
def test_events_of_which_most_have_an_impossible_time_are_refused_with_one(
    make_market: Callable[..., Marketplace], seconds: int | None, read: str
) -> None:
    good = 1_717_150_000
    market = make_market({"anna": "ABC"}, timestamp=[seconds, good, seconds])
    with pytest.raises(
        ReclibError, match=f"tiny: 2 of 3 events .*in the future{read}; write times"
    ):
        prepare(market)
    prepare(make_market({"anna": "ABCD"}, timestamp=[good, seconds, good + 1, good + 2]))


def test_impressions_alone_are_sent_to_the_page_that_reads_some() -> None:
    shown = Marketplace("log", empty_interactions(), pl.DataFrame({"item_id": ["A"]}))
    with pytest.raises(ReclibError, match="log follows no user.*Only notebook 13.*--only 13"):
        prepare(shown)


def test_dense_ids_do_not_depend_on_the_order_of_rows(
    make_market: Callable[..., Marketplace],
) -> None:
    found = make_market(HISTORIES)
    mixed = Marketplace(
        "tiny",
        found.interactions.sample(fraction=1, shuffle=True, seed=1),
        found.items.reverse(),
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


def test_positions_may_be_as_large_as_milliseconds_since_1970(
    make_market: Callable[..., Marketplace],
) -> None:
    found = make_market({f"u{user}": "CABD" for user in range(9)})
    # as times that lie far apart, and with the largest number of all
    places = {0: 1_000_000_000_000, 1: 1_700_000_000_000, 2: 2**62, 3: 2**63 - 1}
    position = pl.col("position").replace_strict(places)
    events = found.interactions.with_columns(position).sample(fraction=1, shuffle=True, seed=1)
    events = validated(events, Interactions, "here")
    ready = prepare(Marketplace("late", events, found.items))
    assert ready.user.tolist() == sorted([*range(9)] * 4)
    assert "".join(ready.item_ids[ready.item]) == "CABD" * 9
    assert ready.fingerprint == prepare(replace(found, name="late")).fingerprint


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
    with pytest.raises(ReclibError, match="no weight for cart, purchase"):
        prepare(found, event_weights={"click": 1.0})
    with pytest.raises(ReclibError, match="unknown event 'buy'.*purchase"):
        prepare(found, event_weights={"buy": 1.0})


@pytest.mark.parametrize("weight", [0, -1.0, float("nan")])
def test_an_event_weight_that_is_not_above_0_is_refused(
    make_market: Callable[..., Marketplace], weight: float
) -> None:
    # with a weight of 0, what the user had would not count as seen
    with pytest.raises(ReclibError, match=f"'click'.*{weight}"):
        prepare(
            make_market({"anna": "ABC"}, event="click"),
            event_weights=EVENT_WEIGHTS | {"click": weight},
        )


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


@pytest.mark.parametrize("strange", [["001", "002"], [" A", "B "], ["a", "b"]])
def test_a_catalogue_of_other_ids_is_refused_with_one_of_each_side(
    make_market: Callable[..., Marketplace], strange: list[str]
) -> None:
    found = make_market({"anna": "ABC"}, pd.DataFrame({"item_id": strange}))
    message = f"tiny, interactions: column 'item_id' has 3 .*as 'A'.*as '{strange[0]}'; write"
    with pytest.raises(ReclibError, match=message):
        prepare(found)


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


def shop(events: str, **tables: Any) -> Marketplace:
    """A marketplace from lines of `user item event day-hour[ query]`, in the order of time."""
    rows = []
    for line in events.strip().splitlines():
        user, item, event, moment, *words = line.split()
        day, _, hour = moment.partition("-")
        rows.append(
            {
                "user_id": user,
                "item_id": None if item == "-" else item,
                "event": event,
                "timestamp": datetime(2024, 1, int(day), int(hour or 0), tzinfo=UTC),
                "query": " ".join(words) or None,
                "device": "phone" if user < "b" else "desktop",
            }
        )
    frame = pl.DataFrame(rows).with_columns(position=pl.int_range(pl.len()).over("user_id"))
    listed = frame["item_id"].drop_nulls().unique().sort().to_frame()
    return Marketplace(
        "shop",
        validated(frame, Interactions, "interactions"),
        validated(tables.pop("items", listed), Items, "items"),
        **tables,
    )


VISITS = """
anna - search 1-8 Red &amp; blue
anna A click 1-9 Red &amp; blue
anna A cart 1-10
anna B click 6-11
bert B click 2-12
bert C purchase 2-23
bert A click 3-0 tea
"""


def test_searches_are_set_apart_and_their_words_stay_with_what_they_led_to() -> None:
    ready = prepare(shop(VISITS), min_events=1)
    step = ready.steps.set_index("step").loc["set searches apart"]
    assert (step.rows_in, step.rows_out) == (7, 6)
    assert [EVENTS[code] for code in ready.event] == "click cart click click purchase click".split()
    assert ready.weight.tolist() == [1, 2, 1, 1, 3, 1]
    assert ready.queries == ("Red & blue", "tea")
    assert ready.query.tolist() == [0, -1, -1, -1, -1, 1]


def test_every_event_knows_its_time_and_context() -> None:
    ready = prepare(shop(VISITS), min_events=1)
    assert ready.time is not None
    moments = pd.to_datetime(ready.time, unit="us", utc=True)
    assert [(m.day, m.hour) for m in moments] == [
        (1, 9),
        (1, 10),
        (6, 11),
        (2, 12),
        (2, 23),
        (3, 0),
    ]
    context = ready.context
    assert list(context) == ["device", "hour", "weekday", "season"]
    assert list(context["device"]) == ["phone"] * 3 + ["desktop"] * 3
    assert list(context["hour"]) == "morning morning morning afternoon evening night".split()
    # 6 January 2024 was a Saturday
    assert list(context["weekday"]) == ["workday"] * 2 + ["weekend"] + ["workday"] * 3
    assert set(context["season"]) == {"winter"}


def test_dates_alone_have_no_hour(make_market: Callable[..., Marketplace]) -> None:
    days = pd.to_datetime(["2024-04-01", "2024-07-02", "2024-10-03"], utc=True)
    ready = prepare(make_market({"anna": "ABC"}, timestamp=days))
    assert list(ready.context) == ["weekday", "season"]
    assert list(ready.context["season"]) == ["spring", "summer", "autumn"]


def test_a_source_without_times_or_context_has_neither(
    make_prepared: Callable[..., Prepared],
) -> None:
    ready = make_prepared(HISTORIES)
    assert ready.time is None
    assert ready.context.shape == (ready.n_events, 0)
    assert ready.queries == ()
    assert set(ready.query) == {-1}
    assert ready.reviews.empty


def test_impossible_dates_repeats_and_machines_are_left_out_and_counted(
    make_market: Callable[..., Marketplace],
) -> None:
    names = [f"i{number:02d}" for number in range(30)]
    found = make_market({"anna": [*"ABC", "C", "D", "E"], "bot": names, "carl": [*"ABCDE"]})
    days = pd.date_range("2024-01-01", periods=6, tz="UTC").to_list()
    times = [*days[:3], days[2], pd.Timestamp("1970-01-01", tz="UTC"), days[5]]
    times += [days[0] + pd.Timedelta(minutes=number) for number in range(30)]
    times += [*days[:4], pd.Timestamp("2200-01-01", tz="UTC")]
    events = found.interactions.with_columns(
        timestamp=pl.Series(times).cast(pl.Datetime("us", "UTC"))
    )
    ready = prepare(
        Marketplace("odd", validated(events, Interactions, "odd"), found.items), max_per_day=29
    )
    steps = ready.steps.set_index("step")
    dropped = steps["rows_in"] - steps["rows_out"]
    assert dropped["drop impossible dates"] == 2
    assert dropped["drop duplicates"] == 1
    assert dropped["drop machines"] == 30
    assert list(ready.user_ids) == ["anna", "carl"]
    assert "".join(ready.item_ids[ready.item]) == "ABCE" + "ABCD"
    within = prepare(
        Marketplace("odd", validated(events, Interactions, "odd"), found.items), max_per_day=30
    )
    assert "bot" in within.user_ids


@pytest.mark.parametrize("name", ["min_events", "min_users", "max_per_day"])
def test_a_limit_below_1_is_refused(make_market: Callable[..., Marketplace], name: str) -> None:
    with pytest.raises(ReclibError, match=f"{name} is 0; allowed is 1 or more"):
        prepare(make_market(HISTORIES), **{name: 0})


def naive_core(histories: dict[str, str], k: int) -> set[tuple[str, str]]:
    """The k-core by the book: drop what has too few partners, until nothing changes."""
    pairs = {(user, item) for user, history in histories.items() for item in history}
    while True:
        users = Counter(user for user, _ in pairs)
        items = Counter(item for _, item in pairs)
        left = {(u, i) for u, i in pairs if users[u] >= k and items[i] >= k}
        if left == pairs:
            return pairs
        pairs = left


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.text("ABCDEF", min_size=1, max_size=6), min_size=2, max_size=8), st.integers(2, 3)
)
def test_the_core_is_the_largest_in_which_all_have_enough_partners(
    make_market: Callable[..., Marketplace], texts: list[str], k: int
) -> None:
    histories = {f"u{number}": text for number, text in enumerate(texts)}
    expected = naive_core(histories, k)
    try:
        ready = prepare(make_market(histories), min_events=k, min_users=k)
    except ReclibError:
        assert not expected
        return
    users, items = ready.user_ids[ready.user], ready.item_ids[ready.item]
    assert set(zip(users, items, strict=True)) == expected
    assert set(ready.item_ids) == {item for _, item in expected}


def test_prices_are_compared_within_their_currency(
    make_market: Callable[..., Marketplace],
) -> None:
    items = pd.DataFrame(
        {
            "item_id": list("ABCDE"),
            "price": [1.0, 3.0, 100.0, 900.0, np.nan],
            "currency": ["USD", "USD", "JPY", "JPY", "USD"],
        }
    )
    ready = prepare(make_market({"anna": "ABCDE"}, items))
    np.testing.assert_array_equal(ready.items["price_level"], [0.5, 1, 0.5, 1, np.nan])
    alone = prepare(make_market({"anna": "ABCDE"}, items.drop(columns="currency")))
    np.testing.assert_array_equal(alone.items["price_level"], [0.25, 0.5, 0.75, 1, np.nan])


def with_reviews() -> Prepared:
    reviews = pl.DataFrame(
        {
            "user_id": ["anna", "anna", "bert", "bert", "zoe"],
            "item_id": ["A", "B", "C", "B", "A"],
            "rating": [5.0, 1.0, 3.0, 4.0, 2.0],
            "summary": ["Good", None, "So", "Old", "?"],
            "text": ["<b>very</b>", "bad", None, "friend", "?"],
            "timestamp": [datetime(2024, 2, day, tzinfo=UTC) for day in (1, 2, 3, 4, 5)],
        }
    )
    events = "\n".join(line for line in VISITS.splitlines() if line != "bert B click 2-12")
    return prepare(shop(events, reviews=validated(reviews, Reviews, "reviews")), min_events=1)


def test_reviews_come_with_dense_ids_and_clean_text() -> None:
    reviews = with_reviews().reviews
    assert reviews["user"].tolist() == [0, 0, 1, 1]
    assert reviews["item"].tolist() == [0, 1, 2, 1]
    assert reviews["text"].tolist() == ["Good. very", "bad", "So", "Old. friend"]


def test_reviews_of_unknown_users_or_products_are_counted() -> None:
    step = with_reviews().steps.set_index("step").loc["drop reviews of others"]
    assert (step.table, step.rows_in, step.rows_out) == ("reviews", 5, 4)
    assert step.why.startswith("1 by users or of products that are unknown")


def test_a_review_goes_with_the_last_event_it_belongs_to() -> None:
    ready = with_reviews()  # events: anna A A B, bert C A; bert's review of B has no event
    kept = {
        tuple(mask): ready.select(np.array(mask, bool)).reviews["text"].str[:3].tolist()
        for mask in ([0, 1, 1, 1, 1], [0, 0, 1, 1, 1], [1, 1, 0, 0, 0])
    }
    assert kept[0, 1, 1, 1, 1] == ["Goo", "bad", "So", "Old"]  # anna's cart of A is left
    assert kept[0, 0, 1, 1, 1] == ["bad", "So", "Old"]
    assert kept[1, 1, 0, 0, 0] == ["Goo", "Old"]
    cut = int(datetime(2024, 2, 3, tzinfo=UTC).timestamp() * 1e6)
    earlier = ready.select(np.ones(5, bool), before=cut)
    assert earlier.reviews["text"].tolist() == ["Good. very", "bad"]


def test_a_selection_keeps_every_column_of_an_event_together() -> None:
    ready = with_reviews()
    keep = np.array([0, 1, 0, 1, 1], bool)
    left = ready.select(keep)
    assert ready.time is not None and left.time is not None
    for name in ("user", "item", "weight", "event", "time", "query"):
        np.testing.assert_array_equal(getattr(left, name), getattr(ready, name)[keep])
    pd.testing.assert_frame_equal(left.context, ready.context[keep].reset_index(drop=True))


def test_a_fingerprint_covers_what_only_rich_sources_have() -> None:
    lines = VISITS.strip().splitlines()
    variants = [VISITS, VISITS.replace(" tea", " cup"), VISITS.replace("2-23", "2-22")]
    variants.append("\n".join([*lines[:-1], lines[-1].replace("bert", "aert")]))
    ready = [prepare(shop(text), min_events=1) for text in variants] + [with_reviews()]
    assert len({one.fingerprint for one in ready}) == len(ready)
