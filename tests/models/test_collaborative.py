"""Eq. 5 against the naive double loop, for both profiles."""

from collections.abc import Callable

import numpy as np
import pytest

from reclib.data import Prepared, extract_features
from reclib.errors import ReclibError
from reclib.models import Collaborative


def naive(profiles: np.ndarray, ratings: np.ndarray) -> np.ndarray:
    """Σ_v cos(x_u, x_v) · R_vi, term by term."""
    n_users, n_items = ratings.shape
    scores = np.zeros((n_users, n_items))
    for u in range(n_users):
        for v in range(n_users):
            lengths = np.sqrt(profiles[u] @ profiles[u]) * np.sqrt(profiles[v] @ profiles[v])
            if lengths > 0:
                scores[u] += profiles[u] @ profiles[v] / lengths * ratings[v]
    return scores


@pytest.mark.parametrize("size", [{}, {"n_users": 60, "n_items": 150}])
@pytest.mark.parametrize("profile", ["features", "interactions"])
def test_equals_the_sum_over_all_users(
    make_random: Callable[..., Prepared], profile: str, size: dict[str, int]
) -> None:
    ready = make_random(1, **size)
    ratings = ready.matrix.toarray().astype(float)
    settings = {"decay": 0.8, "history": 3, "price_weight": 0.1}
    profiles = ratings
    if profile == "features":
        profiles = extract_features(ready, **settings).users.toarray().astype(float)
    scorer = Collaborative(profile=profile, **settings).fit(ready)
    np.testing.assert_allclose(
        scorer.score(np.arange(ready.n_users)), naive(profiles, ratings), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("profile", ["features", "interactions"])
def test_strengths_of_events_enter_the_sum(
    make_prepared: Callable[..., Prepared], profile: str
) -> None:
    kinds = ["click", "purchase", "cart", "click", "click", "purchase"]
    ready = make_prepared({"anna": "ABA", "bert": "BCC"}, event=kinds)
    ratings = ready.matrix.toarray().astype(float)
    assert sorted(ratings[ratings > 0]) == [1, 3, 3, 4]
    profiles = ratings
    if profile == "features":
        profiles = extract_features(ready).users.toarray().astype(float)
    scores = Collaborative(profile=profile).fit(ready).score([0, 1])
    np.testing.assert_allclose(scores, naive(profiles, ratings), rtol=1e-5, atol=1e-6)


def test_users_without_a_common_product_lend_each_other_nothing(
    make_prepared: Callable[..., Prepared],
) -> None:
    ready = make_prepared({"anna": "AB", "bert": "CD", "carl": "BE"})
    scores = Collaborative(profile="interactions").fit(ready).score([0])[0]
    assert (scores[[2, 3]] == 0).all()
    assert scores[4] == pytest.approx(0.5)


def test_an_unknown_profile_gets_the_nearest_name() -> None:
    with pytest.raises(ReclibError, match="unknown profile 'feature'.*did you mean 'features'"):
        Collaborative(profile="feature")


@pytest.mark.parametrize("profile", ["features", "interactions"])
def test_as_many_neighbours_as_users_give_the_sum_over_all(
    make_random: Callable[..., Prepared], profile: str
) -> None:
    ready = make_random(1)
    settings = {"profile": profile, "price_weight": 0.0}  # so no cosine is below 0
    one = Collaborative(**settings).fit(ready)
    two = Collaborative(**settings, neighbours=ready.n_users).fit(ready)
    everyone = np.arange(ready.n_users)
    np.testing.assert_allclose(one.score(everyone), two.score(everyone), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("profile", ["features", "interactions"])
def test_neighbours_are_the_nearest_others_and_the_user(
    make_random: Callable[..., Prepared], profile: str
) -> None:
    ready = make_random(1, n_users=60)
    profiles = ready.matrix.toarray().astype(float)
    if profile == "features":
        profiles = extract_features(ready).users.toarray().astype(float)
    profiles /= np.linalg.norm(profiles, axis=1, keepdims=True)
    cosines = profiles @ profiles.T
    scorer = Collaborative(profile=profile, neighbours=5).fit(ready)
    kept = scorer._profiles.toarray()
    np.testing.assert_allclose(kept.diagonal(), 1)
    others = cosines - 2 * np.eye(60)
    np.testing.assert_allclose(
        np.sort(kept - 2 * np.eye(60))[:, -5:], np.sort(others)[:, -5:], atol=1e-5
    )
    expected = kept @ ready.matrix.toarray()
    np.testing.assert_allclose(scorer.score(np.arange(60)), expected, rtol=1e-5)


def test_a_user_without_neighbours_is_still_scored(
    make_prepared: Callable[..., Prepared],
) -> None:
    ready = make_prepared({"anna": "AB", "bert": "CD", "carl": "DE"})
    scores = Collaborative(profile="interactions", neighbours=2).fit(ready).score([0])[0]
    np.testing.assert_array_equal(scores, [1, 1, 0, 0, 0])


def test_no_neighbours_are_refused() -> None:
    with pytest.raises(ReclibError, match="neighbours is 0; allowed is 1 or more, or None"):
        Collaborative(neighbours=0)
