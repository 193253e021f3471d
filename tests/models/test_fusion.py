"""Eq. 7: its algebra, against naive loops, and every weighting that must be refused."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from reclib.data import Prepared
from reclib.errors import ReclibError
from reclib.models import (
    Collaborative,
    Content,
    Fusion,
    Language,
    Popular,
    Random,
    normalised,
    simplex,
    weighted_sum,
)

HOW = ("minmax", "zscore", "percentile")
VALUES = st.sampled_from([np.nan, 0.0, 0.25, 1.0, 1.0, -2.0, 7.0])
CASES = st.tuples(st.integers(1, 4), st.integers(1, 8)).flatmap(
    lambda shape: st.tuples(arrays(np.float32, shape, elements=VALUES), arrays(bool, shape))
)


def naive(scores: np.ndarray, seen: np.ndarray, how: str) -> np.ndarray:
    """Cell by cell, in double precision."""
    out = np.full(scores.shape, np.nan)
    for user, row in enumerate(scores.astype(float)):
        candidates = [v for v, had in zip(row, seen[user], strict=True) if not (had or np.isnan(v))]
        for item, value in enumerate(row):
            if np.isnan(value):
                continue
            if how == "percentile":
                below = sum(v < value for v in candidates) + sum(v == value for v in candidates) / 2
                out[user, item] = below / len(candidates) if candidates else 0
            elif candidates:
                origin, spread = min(candidates), max(candidates) - min(candidates)
                if how == "zscore":
                    origin, spread = np.mean(candidates), np.std(candidates)
                out[user, item] = (value - origin) / spread if spread else 0
    return out


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("how", HOW)
@settings(max_examples=150, deadline=None)
@given(case=CASES)
def test_each_user_is_scaled_over_unseen_candidates(
    how: str, case: tuple[np.ndarray, np.ndarray]
) -> None:
    scores, seen = case
    before = scores.copy()
    found = normalised(scores, seen, how)
    assert found.dtype == np.float32
    some = (~seen & ~np.isnan(scores)).any(axis=1)  # else there is nothing to rank
    np.testing.assert_allclose(found[some], naive(scores, seen, how)[some], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(np.isfinite(found), np.isfinite(scores))
    np.testing.assert_array_equal(scores, before)


@pytest.mark.parametrize("how", HOW)
def test_scaling_keeps_the_order_and_ignores_shift_and_scale(how: str) -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(6, 20)).astype(np.float32)
    seen = rng.random((6, 20)) < 0.3
    found = normalised(scores, seen, how)
    masked = np.where(seen, np.inf, scores)
    np.testing.assert_array_equal(
        np.argsort(masked, axis=1), np.argsort(np.where(seen, np.inf, found), axis=1)
    )
    np.testing.assert_allclose(normalised(scores * 8 + 3, seen, how), found, atol=1e-4)


@pytest.mark.parametrize("how", ["minmax", "zscore"])
@pytest.mark.parametrize("constant", [0.0, 0.1, 1e-30, 3e8, -1 / 3])
def test_a_part_that_says_the_same_of_all_says_0(how: str, constant: float) -> None:
    scores = np.full((2, 7), constant, np.float32)
    seen = np.zeros((2, 7), bool)
    assert (normalised(scores, seen, how) == 0).all()


def test_minmax_reaches_from_0_to_1_over_what_is_unseen() -> None:
    scores = np.array([[5, 1, 3, 9, np.nan]], np.float32)
    seen = np.array([[False, False, False, True, False]])
    expected = [[1, 0, 0.5, 2, np.nan]]
    np.testing.assert_array_equal(normalised(scores, seen, "minmax"), np.float32(expected))


def test_nan_adds_nothing_and_nan_alone_stays_nan() -> None:
    one = np.array([[1, np.nan, np.nan, 0.5]], np.float32)
    two = np.array([[2, 2, np.nan, np.nan]], np.float32)
    total = weighted_sum([one, two], [0.25, 0.75])
    np.testing.assert_allclose(total, [[1.75, 1.5, np.nan, 0.125]])
    # a part without a weight can neither score nor spoil a score
    np.testing.assert_array_equal(weighted_sum([one, two], [1.0, 0.0]), one)


@pytest.mark.parametrize("how", HOW)
def test_equals_the_weighted_sum_of_scaled_parts(
    make_random: Callable[..., Prepared], fake_encode: object, how: str
) -> None:
    ready = make_random(5)
    parts = {"content": Content(), "collaborative": Collaborative(), "language": Language()}
    fusion = Fusion(parts, {"content": 2, "collaborative": 3, "language": 5}, normalise=how)
    found = fusion.fit(ready).score(np.arange(ready.n_users))
    seen = ready.matrix.toarray() > 0
    expected = np.zeros(ready.shape)
    for part, weight in zip(parts.values(), (0.2, 0.3, 0.5), strict=True):
        scaled = naive(part.score(np.arange(ready.n_users)), seen, how)
        for user in range(ready.n_users):
            for item in range(ready.n_items):
                expected[user, item] += weight * scaled[user, item]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_one_part_alone_ranks_as_that_part(tiny: Prepared, fake_encode: object) -> None:
    parts = {"content": Content(), "language": Language()}
    fusion = Fusion(parts, {"content": 1}).fit(tiny)
    assert fusion.weights == {"content": 1.0, "language": 0.0}
    users = list(tiny.user_ids)
    columns = ["user_id", "item_id", "rank"]
    alone = Content().fit(tiny).recommend(users, 5)
    assert fusion.recommend(users, 5)[columns].equals(alone[columns])


def test_a_user_unknown_to_one_part_is_scored_by_the_other(tiny: Prepared) -> None:
    parts = {"content": Content(), "popular": Popular()}
    known = tiny.select(tiny.user != 0)
    both = Fusion(parts, {"content": 1, "popular": 1}).fit(known).score([0])
    popular = normalised(parts["popular"].score([0]), np.zeros((1, tiny.n_items), bool))
    np.testing.assert_allclose(both, popular / 2, atol=1e-6)
    assert np.isnan(Fusion(parts, {"content": 1}).fit(known).score([0])).all()


@given(
    st.dictionaries(st.sampled_from("abc"), st.floats(0, 1e6), min_size=1).filter(
        lambda weights: sum(weights.values()) > 0
    )
)
def test_weights_are_scaled_to_the_simplex(weights: Mapping[str, float]) -> None:
    parts = {name: Popular() for name in "abc"}
    found = Fusion(parts, weights).weights
    assert list(found) == list("abc")
    assert sum(found.values()) == pytest.approx(1)
    total = sum(weights.values())
    for name in "abc":
        assert found[name] == pytest.approx(weights.get(name, 0) / total)


def test_the_scale_of_the_weights_does_not_matter(tiny: Prepared) -> None:
    parts = {"content": Content(), "popular": Popular()}
    one, two = (
        Fusion(parts, {"content": 3 * scale, "popular": scale}).fit(tiny).score(np.arange(9))
        for scale in (1, 0.25)
    )
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"content": -0.1, "popular": 1}, "weight of 'content' is -0.1; allowed"),
        ({"content": float("nan"), "popular": 1}, "weight of 'content' is nan"),
        ({"content": float("inf"), "popular": 1}, "weight of 'content' is inf"),
        ({"content": 0, "popular": 0.0}, "are all zero; one must be above 0"),
        ({}, "are all zero"),
        ({"contents": 1}, "unknown part 'contents': did you mean 'content'"),
    ],
)
def test_weights_that_are_no_weights_are_refused(
    weights: Mapping[str, float], message: str
) -> None:
    with pytest.raises(ReclibError, match=message):
        Fusion({"content": Content(), "popular": Popular()}, weights)


def test_an_unknown_normaliser_gets_the_nearest_name() -> None:
    with pytest.raises(ReclibError, match="unknown normaliser 'min-max'.*'minmax'"):
        Fusion({"popular": Popular()}, {"popular": 1}, normalise="min-max")
    with pytest.raises(ReclibError, match="unknown normaliser 'rank'"):
        normalised(np.zeros((1, 2), np.float32), np.zeros((1, 2), bool), "rank")


def test_a_part_fitted_elsewhere_since_is_not_used_as_if_it_were_not(
    make_random: Callable[..., Prepared],
) -> None:
    first, second = make_random(1), make_random(2)
    part = Content()
    fusion = Fusion({"content": part, "popular": Popular()}, {"content": 1, "popular": 1})
    before = fusion.fit(first).score([0, 1])
    part.fit(second)
    try:
        after = fusion.score([0, 1])
    except ReclibError as error:
        assert "content" in str(error)
    else:
        np.testing.assert_array_equal(after, before)


def test_parts_shared_by_two_fusions_are_fitted_once(
    tiny: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    fits: list[Prepared] = []
    whole = Content._fit

    def counting(self: Content, prepared: Prepared, rng: int) -> None:
        fits.append(prepared)
        whole(self, prepared, rng)

    monkeypatch.setattr(Content, "_fit", counting)
    parts = {"content": Content(), "popular": Popular()}
    for weight in (1, 2):
        Fusion(parts, {"content": weight, "popular": 1}).fit(tiny)
    assert len(fits) == 1


def test_the_cost_of_a_fusion_is_that_of_its_parts(tiny: Prepared, fake_encode: object) -> None:
    parts = {"content": Content(), "language": Language()}
    costs = Fusion(parts, {"content": 1, "language": 1}).fit(tiny).costs
    assert costs["fit"] == sum(part.costs["fit"] for part in parts.values())
    assert costs["encode"] == 1.5


def test_the_configuration_tells_fusions_apart() -> None:
    parts = {"random": Random(), "popular": Popular()}
    base = Fusion(parts, {"random": 1, "popular": 1}).config()
    others = [
        Fusion(parts, {"random": 1, "popular": 2}),
        Fusion(parts, {"random": 1, "popular": 1}, normalise="zscore"),
        Fusion({"random": Content(), "popular": Popular()}, {"random": 1, "popular": 1}),
        Fusion({"random": Content(decay=0.1), "popular": Popular()}, {"random": 1, "popular": 1}),
    ]
    configs = [base, *(fusion.config() for fusion in others)]
    assert all(one != two for n, one in enumerate(configs) for two in configs[:n])


@pytest.mark.parametrize("n_parts", [2, 3])
@pytest.mark.parametrize("n_trials", [3, 10, 66, 70, 231])
def test_the_grid_covers_the_simplex_evenly(n_parts: int, n_trials: int) -> None:
    grid = simplex(n_parts, n_trials)
    assert n_parts <= len(grid) <= n_trials
    np.testing.assert_allclose(grid.sum(axis=1), 1, atol=1e-12)
    assert (grid >= 0).all()
    assert len({tuple(row) for row in grid.round(9)}) == len(grid)
    # each part alone is among them, and all steps are equal
    assert {tuple(row) for row in np.eye(n_parts)} <= {tuple(row) for row in grid}
    steps = np.diff(np.unique(grid.round(9)))
    np.testing.assert_allclose(steps, steps[0], atol=1e-8)
    finer = round(1 / steps[0]) + 1
    assert (finer + 1 if n_parts == 2 else (finer + 1) * (finer + 2) / 2) > n_trials


def test_two_and_three_parts_get_the_same_effort() -> None:
    assert len(simplex(2, 66)) == len(simplex(3, 66)) == 66


@pytest.mark.parametrize(("n_parts", "n_trials"), [(1, 66), (4, 66), (3, 2), (2, 1), (2, 0)])
def test_a_grid_that_cannot_be_is_refused(n_parts: int, n_trials: int) -> None:
    with pytest.raises(ReclibError, match=f"{n_parts} parts with {n_trials} trials"):
        simplex(n_parts, n_trials)
