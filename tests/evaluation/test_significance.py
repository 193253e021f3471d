"""The bootstrap over users, against scipy, by seed and paired; Holm's correction."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.stats import bootstrap

from reclib.errors import ReclibError
from reclib.evaluation import bootstrap_sums, holm, interval


def skewed(n_users: int = 120, n_columns: int = 3) -> np.ndarray:
    return np.random.default_rng(0).exponential(size=(n_users, n_columns)) ** 2


def test_the_interval_of_a_mean_equals_scipys() -> None:
    values = skewed()[:, :1]
    ours = interval(bootstrap_sums(values, n_resamples=20_000)[:, 0] / len(values))
    theirs = bootstrap(
        (values[:, 0],), np.mean, n_resamples=20_000, method="percentile", rng=1
    ).confidence_interval
    # the standard error of a 2.5 % quantile of 20,000 draws is about 2 % of the deviation
    deviation = values.std() / np.sqrt(len(values))
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.1 * deviation)


def test_the_interval_of_a_ratio_of_sums_equals_scipys() -> None:
    top, bottom = skewed(n_columns=2).T
    sums = bootstrap_sums(np.column_stack([top, bottom]), n_resamples=20_000)
    ours = interval(sums[:, 0] / sums[:, 1])
    theirs = bootstrap(
        (top, bottom),
        lambda a, b, axis: a.sum(axis) / b.sum(axis),
        paired=True,
        vectorized=True,
        n_resamples=20_000,
        method="percentile",
        rng=1,
    )
    low, high = theirs.confidence_interval
    assert ours == pytest.approx((low, high), abs=0.1 * theirs.standard_error)


def test_every_resample_draws_as_many_users_as_there_are() -> None:
    sums = bootstrap_sums(np.column_stack([np.ones(50), np.arange(50.0)]), n_resamples=300)
    assert (sums[:, 0] == 50).all()
    assert len(np.unique(sums[:, 1])) > 100


def test_the_same_seed_draws_the_same_users_whatever_the_columns() -> None:
    values = skewed()
    one, other = (bootstrap_sums(values, n_resamples=50, rng=seed) for seed in (4, 5))
    np.testing.assert_allclose(bootstrap_sums(values[:, 1:2], n_resamples=50, rng=4), one[:, 1:2])
    assert not np.allclose(one, other)
    # more resamples go on where fewer stopped
    np.testing.assert_allclose(bootstrap_sums(values, n_resamples=20, rng=4), one[:20])


def test_paired_differences_follow_from_the_sums() -> None:
    one, two = skewed(n_columns=2).T
    sums = bootstrap_sums(np.column_stack([one, two, one - two]), n_resamples=500)
    np.testing.assert_allclose(sums[:, 0] - sums[:, 1], sums[:, 2], atol=1e-9)


def test_pairing_shrinks_the_interval_of_models_that_agree() -> None:
    rng = np.random.default_rng(1)
    one = rng.random(200)
    two = one - 0.01 * rng.random(200)
    sums = bootstrap_sums(np.column_stack([one, two]), n_resamples=1000) / 200
    low, high = interval(sums[:, 0] - sums[:, 1])
    alone = interval(sums[:, 0])
    assert low > 0 and high - low < (alone[1] - alone[0]) / 10


def test_large_inputs_are_resampled_in_blocks() -> None:
    sums = bootstrap_sums(np.ones((1_500_000, 1)), n_resamples=5)
    assert (sums == 1_500_000).all()


def test_the_interval_covers_as_much_as_it_says() -> None:
    samples = np.arange(1001.0)
    assert interval(samples) == pytest.approx((25, 975))
    assert interval(samples, level=0.5) == pytest.approx((250, 750))


@pytest.mark.parametrize("values", [np.array([[1.0], [np.nan]]), np.empty((0, 2))])
def test_nan_and_nobody_are_refused(values: np.ndarray) -> None:
    with pytest.raises(ReclibError, match=f"cannot resample {len(values)} users with"):
        bootstrap_sums(values)


P_VALUES = st.lists(st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.01, 0.05, 1.0])), max_size=8)


def rejected(p_values: list[float], level: float) -> set[int]:
    """Holm's procedure as published: step down from the smallest until one is too large."""
    found: set[int] = set()
    for place, test in enumerate(sorted(range(len(p_values)), key=lambda test: p_values[test])):
        if p_values[test] * (len(p_values) - place) > level:
            break
        found.add(test)
    return found


@given(P_VALUES, st.floats(0, 0.999))
@example([0.01, 0.04, 0.03], 0.05)
@example([0.02, 0.02, 0.06], 0.06)
def test_corrected_values_below_a_level_are_what_holm_rejects_at_it(
    p_values: list[float], level: float
) -> None:
    assert set(np.flatnonzero(holm(p_values) <= level)) == rejected(p_values, level)


@given(P_VALUES)
def test_correction_raises_values_up_to_1_and_keeps_their_order(p_values: list[float]) -> None:
    raw, found = np.array(p_values), holm(p_values)
    assert found.shape == raw.shape and found.dtype == np.float64
    assert (found >= raw).all() and (found <= 1).all()
    assert (np.diff(found[np.argsort(raw)]) >= 0).all()
    np.testing.assert_array_equal(holm(p_values[::-1])[::-1], found)
    for value in set(p_values):  # equal ones stay equal
        assert len(set(found[raw == value])) == 1


def test_one_test_alone_is_not_corrected() -> None:
    assert holm([0.03]).tolist() == [0.03]


def test_the_smallest_of_many_is_corrected_as_bonferroni_does() -> None:
    p_values = [0.9, 0.001, 0.5, 0.2]
    assert holm(p_values)[1] == pytest.approx(0.004)
    assert holm(p_values)[0] == 1  # 0.2 · 3 and 0.5 · 2 come before it
