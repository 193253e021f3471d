"""Eq. 4 against the naive double loop."""

from collections.abc import Callable

import numpy as np
import pytest

from reclib.data import Prepared, extract_features
from reclib.models import Content


def cosine(one: np.ndarray, two: np.ndarray) -> float:
    return float(one @ two / (np.sqrt(one @ one) * np.sqrt(two @ two)))


@pytest.mark.parametrize("seed", range(3))
def test_equals_the_cosine_of_every_pair(make_random: Callable[..., Prepared], seed: int) -> None:
    ready = make_random(seed)
    features = extract_features(ready, decay=0.6, history=4, price_weight=0.1)
    users, items = (f.toarray().astype(float) for f in (features.users, features.items))
    naive = [[cosine(x, y) for y in items] for x in users]
    scorer = Content(decay=0.6, history=4, price_weight=0.1).fit(ready)
    np.testing.assert_allclose(scorer.score(np.arange(ready.n_users)), naive, atol=1e-6)


def test_a_cosine_of_features_is_from_0_to_1(tiny: Prepared) -> None:
    scores = Content().fit(tiny).score(np.arange(tiny.n_users))
    assert scores.min() >= 0 and scores.max() <= 1 + 1e-6


def test_a_history_of_one_product_likes_that_product_most(
    make_random: Callable[..., Prepared],
) -> None:
    ready = make_random(0)
    once = ready.select(np.append(True, ready.user[1:] != ready.user[:-1]))
    scores = Content(price_weight=0.1).fit(once).score(np.arange(once.n_users))
    own = scores[np.arange(once.n_users), once.item]
    np.testing.assert_allclose(own, 1, atol=1e-5)
    np.testing.assert_allclose(own, scores.max(axis=1), atol=1e-5)
