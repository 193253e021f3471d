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
    blended,
    normalised,
    simplex,
    weighted_sum,
)
from reclib.models.base import Indices, Scores
from reclib.models.fusion import NORMALISERS

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


@pytest.mark.parametrize("how", ["minmax", "zscore", "global"])
@pytest.mark.parametrize("constant", [0.0, 0.1, 1e-30, 3e8, -1 / 3])
def test_a_part_that_says_the_same_of_all_says_0(how: str, constant: float) -> None:
    scores = np.full((2, 7), constant, np.float32)
    seen = np.zeros((2, 7), bool)
    assert (normalised(scores, seen, how) == 0).all()


@settings(max_examples=150, deadline=None)
@given(case=CASES, spread=st.sampled_from([0.5, 1.0, 8.0]))
@pytest.mark.filterwarnings("error")
def test_one_scale_for_all_users_counts_from_the_users_worst_candidate(
    case: tuple[np.ndarray, np.ndarray], spread: float
) -> None:
    scores, seen = case
    found = normalised(scores, seen, "global", spread=spread)
    for user, row in enumerate(scores.astype(float)):
        candidates = row[~seen[user] & ~np.isnan(row)]
        if not len(candidates):
            continue  # nothing to rank
        flat = candidates.min() == candidates.max()
        expected = 0 * row if flat else (row - candidates.min()) / spread
        np.testing.assert_allclose(found[user], expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(np.isfinite(found), np.isfinite(scores))


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
    # nor where it has one for another user only
    both = weighted_sum([np.vstack([one, one]), np.vstack([two, two])], [[1, 0], [0, 1]])
    np.testing.assert_array_equal(both, np.vstack([one, two]))


@given(
    case=st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 5)).flatmap(
        lambda shape: st.tuples(
            arrays(np.float32, shape, elements=VALUES),
            arrays(float, (shape[1], shape[0]), elements=st.sampled_from([0.0, 0.25, 1.0])),
        )
    ),
    shared=st.booleans(),
)
def test_the_weighted_sum_equals_a_loop_over_cells(
    case: tuple[np.ndarray, np.ndarray], shared: bool
) -> None:
    """With weights of each user's own, as with the same for all."""
    parts, weights = case  # (n_parts, n_users, n_items), (n_users, n_parts)
    weights[:, 0] += 0.5  # as on the simplex, one is above 0
    if shared:
        weights[:] = weights[0]
    found = weighted_sum(list(parts), weights[0] if shared else weights)
    assert found.dtype == np.float32
    expected = np.full(found.shape, np.nan)
    for user, item in np.ndindex(found.shape):
        known = [
            weight * part[user, item]
            for part, weight in zip(parts, weights[user], strict=True)
            if weight > 0 and not np.isnan(part[user, item])
        ]
        if known:
            expected[user, item] = sum(known)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


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


def global_scale(scores: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """By the definition: from a user's worst candidate, in units of the mean over users."""
    masked = np.where(seen, np.nan, scores.astype(float))
    low, high = (f(masked, axis=1, keepdims=True) for f in (np.nanmin, np.nanmax))
    return np.where(high > low, scores - low, 0) / np.mean(high - low)


def test_a_global_scale_keeps_sure_parts_sure(tiny: Prepared, fake_encode: object) -> None:
    parts = {"content": Content(), "collaborative": Collaborative(), "language": Language()}
    weights = {"content": 2, "collaborative": 3, "language": 5}
    users, seen = np.arange(tiny.n_users), tiny.matrix.toarray() > 0
    fusion = Fusion(parts, weights, normalise="global").fit(tiny)
    scaled = [global_scale(part.score(users), seen) for part in parts.values()]
    expected = 0.2 * scaled[0] + 0.3 * scaled[1] + 0.5 * scaled[2]
    np.testing.assert_allclose(fusion.score(users), expected, rtol=1e-4, atol=1e-4)
    # users differ in how far apart their candidates are; on a scale of their own they do not
    spread = np.ptp(np.where(seen, 0, scaled[0]), axis=1)
    assert spread.max() > 1.2 * spread.min()


def test_users_without_history_do_not_set_the_global_scale(tiny: Prepared) -> None:
    without = tiny.select(tiny.user >= 10)
    part = Content().fit(without)
    users, seen = np.arange(10, tiny.n_users), without.matrix.toarray()[10:] > 0
    found = Fusion({"content": part}, {"content": 1}, normalise="global").fit(without)
    expected = global_scale(part.score(users), seen)
    np.testing.assert_allclose(found.score(users), expected, rtol=1e-4, atol=1e-4)


class Choosy(Popular):
    """Cannot score some users, though they have a history."""

    name = "choosy"

    def _score(self, users: Indices, items: Indices | slice) -> Scores:
        scores = super()._score(users, items)
        scores[users < 10] = np.nan
        return scores


def test_users_whom_a_part_cannot_score_do_not_set_its_global_scale(tiny: Prepared) -> None:
    part = Choosy()
    fusion = Fusion({"choosy": part}, {"choosy": 1}, normalise="global").fit(tiny)
    users, seen = np.arange(10, tiny.n_users), tiny.matrix.toarray()[10:] > 0
    np.testing.assert_allclose(
        fusion.score(users), global_scale(part.score(users), seen), rtol=1e-5, atol=1e-5
    )


def test_a_part_that_is_constant_has_no_global_scale(
    make_prepared: Callable[..., Prepared],
) -> None:
    ready = make_prepared({"u0": ["a", "b"], "u1": ["c", "d"]})
    parts = {"popular": Popular(), "content": Content()}
    fusion = Fusion(parts, {"popular": 1}, normalise="global").fit(ready)
    assert (fusion.score([0, 1]) == 0).all()


def test_weights_go_from_those_of_newcomers_to_the_others_as_the_history_grows() -> None:
    newcomers, weights = np.array([0.2, 0.8, 0.0]), np.array([0.5, 0.0, 0.5])
    products = np.array([0, 1, 4, 12, 10**9])
    found = blended(newcomers, weights, 4.0, products)
    np.testing.assert_array_equal(found[0], newcomers)
    np.testing.assert_allclose(found[2], (newcomers + weights) / 2)
    np.testing.assert_allclose(found[-1], weights, atol=1e-8)
    for row, n in zip(found, products.tolist(), strict=True):
        t = n / (n + 4)
        np.testing.assert_allclose(row, (1 - t) * newcomers + t * weights)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert (np.diff(found[:, 0]) > 0).all() and (np.diff(found[:, 1]) < 0).all()


@pytest.mark.parametrize("normalise", NORMALISERS)
def test_newcomers_weigh_by_the_number_of_different_products(
    make_prepared: Callable[..., Prepared], normalise: str
) -> None:
    ids = [f"i{n:02d}" for n in range(20)]
    histories = {f"u{n:02d}": [ids[(3 * n + step) % 20] for step in range(n + 1)] for n in range(9)}
    histories["u01"] = histories["u01"] * 5  # ten events, two products
    ready = make_prepared(histories)
    parts = {"content": Content(), "popular": Popular()}
    weights, newcomers = {"content": 3, "popular": 1}, {"popular": 1}
    found = Fusion(parts, weights, newcomers=newcomers, halfway=2.0, normalise=normalise)
    scores = found.fit(ready).score(np.arange(ready.n_users))
    for user in range(ready.n_users):
        t = (user + 1) / (user + 1 + 2.0)
        mixed = {"content": t * 0.75, "popular": (1 - t) + t * 0.25}
        alone = Fusion(parts, mixed, normalise=normalise).fit(ready).score([user])
        np.testing.assert_allclose(scores[[user]], alone, rtol=1e-4, atol=1e-5)


def test_a_user_without_history_has_the_weights_of_newcomers(tiny: Prepared) -> None:
    parts = {"content": Content(), "popular": Popular(), "random": Random()}
    known = tiny.select(tiny.user != 0)
    fusion = Fusion(parts, {"random": 1}, newcomers={"content": 1, "popular": 3}).fit(known)
    popular = normalised(parts["popular"].score([0]), np.zeros((1, tiny.n_items), bool))
    np.testing.assert_allclose(fusion.score([0]), 0.75 * popular, atol=1e-6)


def test_newcomers_with_the_same_weights_change_nothing(tiny: Prepared) -> None:
    parts = {"content": Content(), "popular": Popular()}
    weights, users = {"content": 3, "popular": 1}, np.arange(tiny.n_users)
    plain, same = (
        Fusion(parts, weights, newcomers=newcomers).fit(tiny).score(users)
        for newcomers in (None, weights)
    )
    np.testing.assert_allclose(plain, same, atol=1e-6)


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
    parts = {"content": Content(), "popular": Popular()}
    with pytest.raises(ReclibError, match=message):
        Fusion(parts, weights)
    with pytest.raises(ReclibError, match=message):
        Fusion(parts, {"content": 1}, newcomers=weights)


@pytest.mark.parametrize("halfway", [0, -1.0, float("nan"), float("inf")])
def test_a_halfway_that_is_no_number_of_products_is_refused(halfway: float) -> None:
    with pytest.raises(ReclibError, match=f"halfway is {halfway}; allowed is a number of products"):
        Fusion({"popular": Popular()}, {"popular": 1}, halfway=halfway)


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


def test_a_part_fitted_with_another_seed_since_is_not_used_as_if_it_were_not(
    tiny: Prepared,
) -> None:
    part = Random()
    fusion = Fusion({"random": part, "popular": Popular()}, {"random": 1, "popular": 1})
    fusion.fit(tiny, rng=0)
    part.fit(tiny, rng=1)
    assert not fusion.fitted_on(tiny, 0)
    with pytest.raises(ReclibError, match="part 'random' was fitted .* since"):
        fusion.score([0, 1])


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
    parts = {"content": Content(), "language": Language(), "other": Language(whitening="none")}
    costs = Fusion(parts, dict.fromkeys(parts, 1)).fit(tiny).costs
    assert costs["fit"] == sum(part.costs["fit"] for part in parts.values())
    assert costs["encode"] == 1.5  # one file, two readers


def test_the_configuration_tells_fusions_apart() -> None:
    parts = {"random": Random(), "popular": Popular()}
    base = Fusion(parts, {"random": 1, "popular": 1}).config()
    others = [
        Fusion(parts, {"random": 1, "popular": 2}),
        Fusion(parts, {"random": 1, "popular": 1}, normalise="zscore"),
        Fusion(parts, {"random": 1, "popular": 1}, newcomers={"random": 1}),
        Fusion(parts, {"random": 1, "popular": 1}, newcomers={"popular": 1}),
        Fusion(parts, {"random": 1, "popular": 1}, newcomers={"popular": 1}, halfway=9),
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
