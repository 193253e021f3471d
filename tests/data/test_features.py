"""Eq. 2 and Eq. 3: one space, unit length, the newest product first, prices near and far."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.feature_extraction.text import TfidfVectorizer

from reclib.data import Prepared, extract_features, history_weights
from reclib.errors import ReclibError


def lengths(matrix: sp.csr_array) -> np.ndarray:
    return np.sqrt(matrix.power(2).sum(axis=1))


def priced(make_prepared: Callable[..., Prepared], prices: list[float]) -> Prepared:
    """Products with one and the same text and the given prices."""
    ids = [f"i{place}" for place in range(len(prices))]
    items = pd.DataFrame({"item_id": ids, "title": "same words", "price": prices})
    return make_prepared({"anna": ids}, items)


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


@pytest.mark.parametrize("titles", [[None, None, None], ["one", "two", "three"]])
def test_texts_without_a_common_word_are_refused(
    make_prepared: Callable[..., Prepared], titles: list[str | None]
) -> None:
    items = pd.DataFrame({"item_id": list("ABC"), "title": titles})
    with pytest.raises(ReclibError, match="tiny: no word occurs in two products.*title"):
        extract_features(make_prepared({"anna": "ABC"}, items))
