"""Eq. 2 and Eq. 3: one space, unit length, the newest product first, prices near and far."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.feature_extraction.text import TfidfVectorizer

from reclib.data import Prepared, extract_features, history_weights
from reclib.data.features import (
    MOST_LEVELS,
    PRIOR_EVENTS,
    PRODUCT_WORDS,
    check_texts,
    item_texts,
    profile_texts,
)
from reclib.errors import ReclibError

PLAIN: dict[str, Any] = {"price_weight": 0, "context_weight": 0, "query_weight": 0}


def lengths(matrix: sp.csr_array) -> np.ndarray:
    return np.sqrt(matrix.power(2).sum(axis=1))


def priced(make_prepared: Callable[..., Prepared], prices: list[float]) -> Prepared:
    """Products with one and the same text and the given prices."""
    ids = [f"i{place}" for place in range(len(prices))]
    items = pd.DataFrame({"item_id": ids, "title": "same words", "price": prices})
    return make_prepared({"anna": ids}, items)


def situated(ready: Prepared, **levels: str) -> Prepared:
    """Put the events into situations, one letter an event; "." is unknown."""
    columns = {
        kind: pd.Categorical([None if letter == "." else letter for letter in letters])
        for kind, letters in levels.items()
    }
    return replace(ready, context=pd.DataFrame(columns))


def searched(ready: Prepared, *queries: str) -> Prepared:
    """Say which search led to each event; "" is none."""
    texts = sorted(set(queries) - {""})
    rows = [texts.index(query) if query else -1 for query in queries]
    return replace(ready, query=np.array(rows, np.int32), queries=tuple(texts))


def reviewed(ready: Prepared, *reviews: tuple[int, str]) -> Prepared:
    """Let the first user write about products."""
    items, texts = zip(*reviews, strict=True)
    table = pd.DataFrame({"user": 0, "item": items, "time": -1, "rating": 5, "text": texts})
    return replace(ready, reviews=table)


def columns(features: Any, of: str, part: str = "") -> pd.DataFrame:
    """Features as a table of the columns of one part, such as ``season:``."""
    frame = pd.DataFrame(getattr(features, of).toarray(), columns=features.names)
    return frame[[name for name in features.names if name.startswith(part)]]


def test_rows_have_unit_length_in_one_space(tiny: Prepared) -> None:
    features = extract_features(tiny)
    np.testing.assert_allclose(lengths(features.items), 1, atol=1e-6)
    np.testing.assert_allclose(lengths(features.users), 1, atol=1e-6)
    width = len(features.names)
    assert features.items.shape == (tiny.n_items, width)
    assert features.users.shape == (tiny.n_users, width)
    assert features.items.dtype == features.users.dtype == np.float32
    assert list(features.names[-2:]) == ["price:low", "price:high"]


def test_features_are_finite_where_price_or_text_is_missing(
    make_prepared: Callable[..., Prepared],
) -> None:
    items = pd.DataFrame(
        {
            "item_id": list("ABCD"),
            "title": ["red pen", "red cup", None, None],
            "price": [np.nan, 3.0, 2.0, np.nan],
        }
    )
    features = extract_features(make_prepared({"anna": "ABCD", "bert": "D"}, items))
    assert np.isfinite(features.items.toarray()).all()
    assert np.isfinite(features.users.toarray()).all()
    np.testing.assert_allclose(lengths(features.items), [1, 1, 1, 0], atol=1e-6)
    np.testing.assert_allclose(lengths(features.users), [1, 0], atol=1e-6)


def test_item_features_are_tfidf_with_damped_counts(tiny: Prepared) -> None:
    vectorizer = TfidfVectorizer(sublinear_tf=True, min_df=2)
    words = vectorizer.fit_transform(tiny.text).toarray()
    features = extract_features(tiny, price_weight=0)
    assert list(features.names) == list(vectorizer.get_feature_names_out())
    np.testing.assert_allclose(features.items.toarray(), words, atol=1e-6)


def test_bm25_equals_a_loop_over_texts_and_words(
    make_prepared: Callable[..., Prepared],
) -> None:
    titles = ["red red red pen", "red cup", "a blue cup of blue tea", "pen pen", "tea", "unique"]
    items = pd.DataFrame({"item_id": list("ABCDEF"), "title": titles})
    ready = make_prepared({"anna": "ABCDEF"}, items)
    features = extract_features(ready, weighting="bm25", price_weight=0)
    words = ["cup", "pen", "red", "tea"]  # the others are in one product alone
    assert list(features.names) == words
    counts = [Counter(re.findall(r"\w{2,}", title)) for title in titles]
    lengths_ = [sum(count[word] for word in words) for count in counts]
    naive = np.zeros((len(titles), len(words)))
    for i, count in enumerate(counts):
        for j, word in enumerate(words):
            n = sum(word in other for other in counts)
            idf = np.log(1 + (len(titles) - n + 0.5) / (n + 0.5))
            relative = lengths_[i] / np.mean(lengths_)
            naive[i, j] = count[word] / (count[word] + 1.2 * (0.25 + 0.75 * relative)) * idf
        naive[i] /= np.linalg.norm(naive[i]) or 1
    np.testing.assert_allclose(features.items.toarray(), naive, atol=1e-6)


def test_queries_are_weighed_like_the_texts_of_products(
    make_prepared: Callable[..., Prepared],
) -> None:
    titles = {"A": "red", "B": "blue blue", "C": "red", "D": "blue"}
    items = pd.DataFrame({"item_id": list(titles), "title": list(titles.values())})
    ready = searched(make_prepared({"anna": "A"}, items), "blue blue")
    options = PLAIN | {"query_weight": 1, "weighting": "bm25"}
    users = columns(extract_features(ready, **options), "users")
    np.testing.assert_allclose(users.loc[0, ["red", "blue"]], [np.sqrt(0.5)] * 2, rtol=1e-6)


def test_an_unknown_weighting_is_refused(tiny: Prepared) -> None:
    with pytest.raises(ReclibError, match="unknown weighting 'bm52'.*bm25"):
        extract_features(tiny, weighting="bm52", text=False)


def test_a_user_is_the_recency_weighted_mean_of_the_history(
    make_prepared: Callable[..., Prepared],
) -> None:
    # each word is in two products, so all have the same idf, and A, B, C are at right angles
    titles = {"A": "red", "B": "blue", "C": "green", "D": "red", "E": "blue", "F": "green"}
    items = pd.DataFrame({"item_id": list(titles), "title": list(titles.values())})
    ready = make_prepared({"anna": "ABC"}, items)
    features = extract_features(ready, decay=0.5, history=20, price_weight=0)
    by_name = dict(zip(features.names, features.users.toarray()[0], strict=True))
    length = np.sqrt(0.25**2 + 0.5**2 + 1)
    assert by_name["red"] == pytest.approx(0.25 / length, abs=1e-6)
    assert by_name["blue"] == pytest.approx(0.5 / length, abs=1e-6)
    assert by_name["green"] == pytest.approx(1 / length, abs=1e-6)


def test_a_history_of_n_forgets_what_is_older(make_prepared: Callable[..., Prepared]) -> None:
    ready = make_prepared({"anna": "ABCA"})
    # ages: A 2, B 1, C 0, and A again 0
    weights = history_weights(ready, decay=0.5, history=20).toarray()[0]
    np.testing.assert_allclose(weights, np.array([1.25, 0.5, 1]) / 2.75, rtol=1e-6)
    weights = history_weights(ready, decay=0.5, history=2).toarray()[0]
    np.testing.assert_allclose(weights, np.array([1, 0.5, 1]) / 2.5, rtol=1e-6)
    weights = history_weights(ready, decay=1.0, history=20).toarray()[0]
    np.testing.assert_allclose(weights, [0.5, 0.25, 0.25], rtol=1e-6)


def test_stronger_events_weigh_more_in_a_profile(make_prepared: Callable[..., Prepared]) -> None:
    ready = make_prepared({"anna": "AB"}, event=["purchase", "click"])
    weights = history_weights(ready, decay=0.5, history=20).toarray()[0]
    np.testing.assert_allclose(weights, [0.6, 0.4], rtol=1e-6)


def test_every_profile_with_a_history_sums_to_one(tiny: Prepared) -> None:
    some = tiny.select(tiny.user > 0)
    sums = history_weights(some, decay=0.9, history=3).sum(axis=1)
    np.testing.assert_allclose(sums, [0] + [1] * (tiny.n_users - 1), rtol=1e-6)


def test_likeness_falls_with_the_distance_of_prices(
    make_prepared: Callable[..., Prepared],
) -> None:
    ready = priced(make_prepared, [30.0, 1.0, 500.0, 7.0, 100.0])
    items = extract_features(ready, price_weight=0.5).items
    cosine = (items @ items.T).toarray()
    by_price = [1, 3, 0, 4, 2]
    from_cheapest = cosine[1, by_price]
    assert (np.diff(from_cheapest) < -0.01).all()
    from_dearest = cosine[2, by_price]
    assert (np.diff(from_dearest) > 0.01).all()


def test_a_missing_price_is_neither_near_nor_far(make_prepared: Callable[..., Prepared]) -> None:
    ready = priced(make_prepared, [1.0, 7.0, np.nan, 30.0, np.nan])
    items = extract_features(ready, price_weight=0.3).items
    cosine = (items @ items.T).toarray()
    np.testing.assert_allclose(cosine[2, [0, 1, 3]], cosine[2, 0], rtol=1e-5)
    assert cosine[2, 4] == pytest.approx(1, abs=1e-5)


def test_price_takes_its_share_of_the_squared_length(
    make_prepared: Callable[..., Prepared],
) -> None:
    features = extract_features(priced(make_prepared, [1.0, 2.0, 3.0]), price_weight=0.3)
    squared = features.items.toarray() ** 2
    np.testing.assert_allclose(squared[:, -2:].sum(axis=1), 0.3, rtol=1e-5)


def test_without_price_or_weight_there_are_words_only(
    make_prepared: Callable[..., Prepared],
) -> None:
    for ready, weight in (
        (priced(make_prepared, [1.0, 2.0]), 0.0),
        (priced(make_prepared, [np.nan, np.nan]), 0.5),
    ):
        features = extract_features(ready, price_weight=weight)
        assert list(features.names) == ["same", "words"]
        np.testing.assert_allclose(lengths(features.items), 1, atol=1e-6)


@pytest.mark.parametrize("value", [-0.1, 1.0, 1.5, float("nan")])
def test_price_weight_out_of_range_is_refused(tiny: Prepared, value: float) -> None:
    with pytest.raises(ReclibError, match=f"price_weight is {value}"):
        extract_features(tiny, price_weight=value)


@pytest.mark.parametrize("value", [0, -0.5, 1.01, float("nan")])
def test_decay_out_of_range_is_refused(tiny: Prepared, value: float) -> None:
    with pytest.raises(ReclibError, match=f"decay is {value}"):
        history_weights(tiny, decay=value, history=5)


@pytest.mark.parametrize("value", [0, -3])
def test_history_out_of_range_is_refused(tiny: Prepared, value: int) -> None:
    with pytest.raises(ReclibError, match=f"history is {value}"):
        extract_features(tiny, history=value)


def test_scripts_without_spaces_are_read_as_pairs_of_characters(
    make_prepared: Callable[..., Prepared],
) -> None:
    titles = ["红色台灯", "红色水杯A5", "青いランプ", "青いコップ Lamp A5", "ein Lamp"]
    items = pd.DataFrame({"item_id": list("ABCDE"), "title": titles})
    features = extract_features(make_prepared({"anna": "ABCDE"}, items), price_weight=0)
    assert list(features.names) == ["a5", "lamp", "红色", "青い"]


@pytest.mark.parametrize("titles", [[None, None, None], ["one", "two", "three"]])
def test_texts_without_a_common_word_are_refused(
    make_prepared: Callable[..., Prepared], titles: list[str | None]
) -> None:
    items = pd.DataFrame({"item_id": list("ABC"), "title": titles})
    with pytest.raises(ReclibError, match="tiny: no word occurs in two products.*title"):
        extract_features(make_prepared({"anna": "ABC"}, items))


def test_data_without_any_text_are_refused_with_the_columns_that_lack(
    make_prepared: Callable[..., Prepared],
) -> None:
    ready = make_prepared({"anna": "ABC"}, pd.DataFrame({"item_id": list("ABC"), "price": 1.0}))
    message = "tiny: no product has a text.*title, categories, brand or description.*summary or"
    with pytest.raises(ReclibError, match=message):
        check_texts(ready)
    check_texts(reviewed(ready, (0, "good")))
    check_texts(replace(ready, items=ready.items.assign(brand=["", "Acme", ""])))


# --- parts and how to switch them off


@pytest.fixture(scope="module")
def full(make_random: Callable[..., Prepared]) -> Prepared:
    """Data with every part: texts, prices, situations, queries, reviews."""
    ready = make_random(8)
    rng = np.random.default_rng(8)
    ready = situated(
        ready,
        device="".join(rng.choice(list("dp."), ready.n_events)),
        season="".join(rng.choice(list("awss"), ready.n_events)),
    )
    ready = searched(ready, *rng.choice(["", "tea1 tea2", "lamp0 light"], ready.n_events))
    return reviewed(ready, (0, "splendid tea0"), (1, "splendid rope1"))


@pytest.mark.parametrize(
    ("switched_off", "prefix"),
    [({"price_weight": 0}, "price:"), ({"context_weight": 0}, ("device:", "season:"))],
)
def test_a_part_that_is_switched_off_leaves_no_column(
    full: Prepared, switched_off: dict[str, Any], prefix: str | tuple[str, ...]
) -> None:
    whole = extract_features(full, query_weight=1)
    rest = extract_features(full, query_weight=1, **switched_off)
    assert list(rest.names) == [name for name in whole.names if not name.startswith(prefix)]
    for features in (whole, rest):
        np.testing.assert_allclose(lengths(features.items), 1, atol=1e-6)
        np.testing.assert_allclose(lengths(features.users), 1, atol=1e-6)
        assert features.items.dtype == features.users.dtype == np.float32


def test_without_text_price_and_context_are_left(full: Prepared) -> None:
    rest = extract_features(full, text=False, query_weight=1)
    kinds = ["price:low", "price:high", "device:d", "device:p", "season:a", "season:s", "season:w"]
    assert list(rest.names) == kinds
    assert rest.items.nnz and rest.users.nnz


def test_queries_change_users_only(full: Prepared) -> None:
    without, with_them = (extract_features(full, query_weight=weight) for weight in (0, 1))
    assert (without.items != with_them.items).nnz == 0
    assert (without.users != with_them.users).nnz > 0


def test_weights_of_parts_that_the_data_lack_change_no_bit(tiny: Prepared) -> None:
    plain = extract_features(tiny, context_weight=0, query_weight=0)
    weighed = extract_features(tiny, context_weight=3, query_weight=3)
    assert list(plain.names) == list(weighed.names)
    for one, two in ((plain.items, weighed.items), (plain.users, weighed.users)):
        np.testing.assert_array_equal(one.toarray(), two.toarray())


def test_switching_everything_off_is_refused(full: Prepared, tiny: Prepared) -> None:
    with pytest.raises(ReclibError, match="text, price_weight and context_weight are all"):
        extract_features(full, text=False, price_weight=0, context_weight=0)
    nothing = replace(tiny, items=tiny.items.assign(price_level=np.nan))
    with pytest.raises(ReclibError, match="no product has a price and no event has a context"):
        extract_features(nothing, text=False)


@pytest.mark.parametrize("name", ["context_weight", "query_weight"])
@pytest.mark.parametrize("value", [-0.1, float("inf"), float("nan")])
def test_weights_out_of_range_are_refused(tiny: Prepared, name: str, value: float) -> None:
    with pytest.raises(ReclibError, match=f"{name} is {value}"):
        extract_features(tiny, **{name: value})


# --- prices of several currencies


def test_prices_are_compared_within_their_currency(
    make_prepared: Callable[..., Prepared],
) -> None:
    items = pd.DataFrame(
        {
            "item_id": list("ABCD"),
            "title": "same words",
            "price": [5.0, 50.0, 700.0, 7000.0],
            "currency": ["EUR", "EUR", "JPY", "JPY"],
        }
    )
    features = extract_features(make_prepared({"anna": "ABCD"}, items), price_weight=0.5)
    rows = features.items.toarray()
    np.testing.assert_array_equal(rows[[0, 1]], rows[[2, 3]])
    assert not np.allclose(rows[0], rows[1])


# --- context


def test_the_context_of_a_product_is_how_it_differs_from_all(
    make_prepared: Callable[..., Prepared],
) -> None:
    ready = situated(make_prepared({"anna": "AABB", "bert": "AABB"}), season="wwswwwss")
    features = extract_features(ready, text=False, price_weight=0)
    shown = columns(features, "items", "season:")
    average = np.array([3, 5]) / 8  # summer, winter
    for row, counts in enumerate(([0, 4], [3, 1])):
        shares = (counts + PRIOR_EVENTS * average) / (sum(counts) + PRIOR_EVENTS)
        expected = np.sqrt(shares) - np.sqrt(average)
        expected /= np.linalg.norm(expected)
        np.testing.assert_allclose(shown.loc[row, ["season:s", "season:w"]], expected, rtol=1e-4)


def test_an_average_product_has_no_context(make_prepared: Callable[..., Prepared]) -> None:
    ready = situated(make_prepared({"anna": "AABBC", "bert": "AABBD"}), device="dpdpddpdpp")
    shown = columns(extract_features(ready), "items", "device:")
    np.testing.assert_allclose(shown.loc[:1], 0, atol=1e-7)
    assert (shown.loc[2:].abs().max(axis=1) > 1e-3).all()


def test_one_event_says_less_than_many(make_prepared: Callable[..., Prepared]) -> None:
    ready = situated(make_prepared({"anna": "A" * 9 + "BCC"}), device="d" * 10 + "pp")
    shown = columns(extract_features(ready), "items", "device:d")
    assert 0 < shown.loc[1].item() < shown.loc[0].item()


def test_what_nobody_met_or_no_one_knows_has_no_context(
    make_prepared: Callable[..., Prepared],
) -> None:
    items = pd.DataFrame({"item_id": list("ABCD"), "title": "same words"})
    ready = situated(make_prepared({"anna": "ABC"}, items), device="dp.")
    shown = columns(extract_features(ready), "items", "device:")
    assert (shown.loc[:1] != 0).all(axis=None)
    assert (shown.loc[2:] == 0).all(axis=None)


def test_levels_outside_training_have_no_column(make_prepared: Callable[..., Prepared]) -> None:
    ready = situated(make_prepared({"anna": "ABCD"}), device="dptt")
    train = ready.select(np.array([True, True, False, False]))
    assert list(columns(extract_features(train), "items", "device:")) == ["device:d", "device:p"]


def test_rare_levels_count_as_unknown(make_prepared: Callable[..., Prepared]) -> None:
    letters = "".join(chr(256 + n) * 2 for n in range(MOST_LEVELS)) + "r"
    ready = situated(make_prepared({"anna": "AABB" * (MOST_LEVELS // 2) + "C"}), channel=letters)
    shown = columns(extract_features(ready), "items", "channel:")
    assert shown.shape[1] == MOST_LEVELS and "channel:r" not in shown
    assert (shown.loc[2] == 0).all()


def test_a_user_adds_the_situations_of_the_visits_to_the_mean_of_products(
    make_prepared: Callable[..., Prepared],
) -> None:
    ready = situated(make_prepared({"anna": "ABCABA", "bert": "CCD"}), device="dddppdppp")
    features = extract_features(ready, text=False, price_weight=0, decay=1)
    # anna came three times (d, p, d), bert once (p)
    average = np.array([2, 2]) / 4
    shares = np.stack(
        [
            (visits + PRIOR_EVENTS * average) / (sum(visits) + PRIOR_EVENTS)
            for visits in ([2, 1], [0, 1])
        ]
    )
    own = np.sqrt(shares) - np.sqrt(average)
    expected = history_weights(ready, decay=1, history=20) @ features.items.toarray() + own
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(features.users.toarray(), expected, atol=1e-6)


def test_users_are_near_products_that_are_met_in_their_situation(
    make_prepared: Callable[..., Prepared],
) -> None:
    items = pd.DataFrame({"item_id": list("ABCDE"), "title": "same words"})
    histories = {"winter": "AABB", "xmas": "EE", "yule": "CCDD"}
    ready = situated(make_prepared(histories, items), season="wwwwwwssss")
    features = extract_features(ready, context_weight=10)
    cosine = (features.users @ features.items.T).toarray()
    assert (cosine[1, [0, 1]] > cosine[1, [2, 3]] + 0.01).all()
    assert (cosine[2, [0, 1]] < cosine[2, [2, 3]] - 0.01).all()


# --- queries


def test_queries_count_beside_the_products_they_led_to(
    make_prepared: Callable[..., Prepared],
) -> None:
    titles = {"A": "red", "B": "blue", "C": "red", "D": "blue"}
    items = pd.DataFrame({"item_id": list(titles), "title": list(titles.values())})
    ready = searched(make_prepared({"anna": "AC", "bert": "AC"}, items), "blue", "", "", "")
    features = extract_features(ready, decay=0.5, **PLAIN | {"query_weight": 2})
    users = columns(features, "users")
    # anna's events have the weights 1/3 and 2/3; the search led to the older one
    length = np.sqrt(1 + (2 / 3) ** 2)
    np.testing.assert_allclose(users.loc[0, ["red", "blue"]], [1 / length, 2 / 3 / length], 1e-5)
    np.testing.assert_allclose(users.loc[1, ["red", "blue"]], [1, 0], atol=1e-6)


def test_words_of_no_product_and_forgotten_queries_say_nothing(
    make_prepared: Callable[..., Prepared],
) -> None:
    items = pd.DataFrame({"item_id": list("ABC"), "title": ["red", "red blue", "blue"]})
    ready = make_prepared({"anna": "ABC"}, items)
    plain = extract_features(ready, history=2, **PLAIN).users.toarray()
    for queries in (("", "green", "purple"), ("blue", "", "")):
        asked = searched(ready, *queries)
        found = extract_features(asked, history=2, **PLAIN | {"query_weight": 1}).users.toarray()
        np.testing.assert_allclose(found, plain, atol=1e-7)


# --- reviews


def test_words_of_reviews_are_added_when_asked_for(
    make_prepared: Callable[..., Prepared],
) -> None:
    items = pd.DataFrame({"item_id": list("AB"), "title": ["red pen", "red cup"]})
    ready = reviewed(make_prepared({"anna": "AB"}, items), (0, "fine gift"), (1, "a fine thing"))
    assert item_texts(ready) == ["red pen", "red cup"]
    assert item_texts(ready, reviews=True) == ["red pen. fine gift", "red cup. a fine thing"]
    assert list(extract_features(ready, **PLAIN).names) == ["red"]
    assert list(extract_features(ready, review_text=True, **PLAIN).names) == ["fine", "red"]


def test_reviews_are_read_where_the_catalogue_has_no_text(
    make_prepared: Callable[..., Prepared],
) -> None:
    items = pd.DataFrame({"item_id": list("ABC")})
    ready = reviewed(
        make_prepared({"anna": "ABC"}, items), (0, "fine gift"), (0, ""), (1, "fine"), (1, "sound")
    )
    assert item_texts(ready) == ["fine gift", "fine. sound", ""]
    assert list(extract_features(ready, **PLAIN).names) == ["fine"]
    # a review that left training with its event is not read
    train = ready.select(ready.item != 1)
    assert item_texts(train) == ["fine gift", "", ""]


# --- users as texts


def test_the_text_of_a_user_is_what_they_had_newest_first(
    make_prepared: Callable[..., Prepared],
) -> None:
    titles = {"A": "red pen", "B": "", "C": "blue cup", "D": "green tea"}
    items = pd.DataFrame({"item_id": list(titles), "title": list(titles.values())})
    ready = make_prepared({"anna": "ABCAD", "bert": "DC", "carl": "B"}, items)
    asked = searched(ready, "pens", "", "", "pens", "tea", "", "", "")
    assert profile_texts(asked, history=20, words=99) == [
        "green tea. tea. red pen. pens. blue cup",
        "blue cup. green tea",
        "",
    ]
    assert profile_texts(asked, history=1, words=99)[:2] == ["green tea. tea", "blue cup"]
    assert profile_texts(asked, history=20, words=4)[0] == "green tea. tea. red"
    # what is held out is not told
    train = asked.select(asked.item != 3)
    assert profile_texts(train, history=20, words=99)[:2] == ["red pen. pens. blue cup", "blue cup"]
    with pytest.raises(ReclibError, match="history is 0"):
        profile_texts(ready, history=0, words=9)


def test_a_long_description_leaves_room_for_other_products(
    make_prepared: Callable[..., Prepared],
) -> None:
    items = pd.DataFrame({"item_id": ["A", "B"], "title": ["pen", "cup"], "description": "x " * 99})
    [text] = profile_texts(make_prepared({"anna": "AB"}, items), history=20, words=999)
    assert len(text.split()) == 2 * PRODUCT_WORDS
    assert text.startswith("cup. x") and "pen. x" in text
