"""The one rule for ties: higher score, then smaller index."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from reclib.errors import ReclibError
from reclib.models import mask_seen, top_k

# few distinct values, so that most rows tie somewhere
VALUES = st.sampled_from([np.nan, -0.0, 0.0, 1.0, 1.0, 2.5, -3.0, 1e-38, 3e38, np.inf])
SHAPES = st.tuples(st.integers(0, 4), st.integers(1, 12))


def naive(row: np.ndarray, k: int) -> tuple[list[int], list[float]]:
    scored = [(-float(value), index) for index, value in enumerate(row) if not np.isnan(value)]
    best = sorted(scored)[:k]
    missing = k - len(best)
    return [i for _, i in best] + [-1] * missing, [-s for s, _ in best] + [np.nan] * missing


@settings(max_examples=300, deadline=None)
@given(arrays(np.float32, SHAPES, elements=VALUES), st.integers(1, 15))
def test_equals_a_sort_by_score_then_index(scores: np.ndarray, k: int) -> None:
    before = scores.copy()
    indices, values = top_k(scores, k)
    assert indices.shape == values.shape == (len(scores), k)
    assert indices.dtype == np.int64 and values.dtype == np.float32
    for row, chosen, worth in zip(scores, indices, values, strict=True):
        expected, wanted = naive(row, k)
        assert chosen.tolist() == expected
        np.testing.assert_array_equal(worth, np.array(wanted, np.float32))
    np.testing.assert_array_equal(scores, before)


def test_ties_across_the_end_of_long_lists() -> None:
    scores = np.random.default_rng(0).integers(0, 4, (30, 500)).astype(np.float32)
    indices, _ = top_k(scores, 20)
    assert indices.tolist() == [naive(row, 20)[0] for row in scores]


@pytest.mark.parametrize("values", [5, 400, 10**6])
@pytest.mark.parametrize("k", [1, 10])
def test_wide_rows_are_ranked_by_the_same_rule(k: int, values: int) -> None:
    """They are looked at in blocks first; ties cross blocks, and rows may hold no score."""
    rng = np.random.default_rng(k)
    scores = rng.integers(0, values, (40, 3001)).astype(np.float32)
    scores[rng.random(scores.shape) < 0.3] = np.nan
    scores[3], scores[4, 3000:], scores[5, :2990] = np.nan, np.inf, -np.inf
    scores[6, 5:] = np.nan
    indices, found = top_k(scores, k)
    for row, chosen, worth in zip(scores, indices, found, strict=True):
        expected, wanted = naive(np.where(np.isneginf(row), np.nan, row), k)
        assert chosen.tolist() == expected
        np.testing.assert_array_equal(worth, np.array(wanted, np.float32))


def test_a_row_without_scores_has_no_list() -> None:
    indices, values = top_k(np.full((2, 3), np.nan, np.float32), 2)
    assert (indices == -1).all() and np.isnan(values).all()


def test_no_columns_give_empty_lists() -> None:
    assert top_k(np.zeros((2, 0), np.float32), 3)[0].tolist() == [[-1, -1, -1]] * 2


def test_the_layout_of_the_array_does_not_matter() -> None:
    scores = np.random.default_rng(1).integers(0, 5, (12, 9)).astype(np.float32)
    expected = top_k(scores, 4)[0]
    np.testing.assert_array_equal(top_k(np.asfortranarray(scores), 4)[0], expected)
    np.testing.assert_array_equal(top_k(scores[::-1], 4)[0], expected[::-1])


@pytest.mark.parametrize("k", [0, -1])
def test_a_list_of_nothing_is_refused(k: int) -> None:
    with pytest.raises(ReclibError, match=f"k is {k}; allowed is 1 or more"):
        top_k(np.zeros((1, 3), np.float32), k)


def test_seen_products_become_nan_in_their_own_row_only() -> None:
    seen = sp.csr_array(np.array([[1, 0, 2], [0, 0, 0], [0, 5, 0]], np.float32))
    scores = np.zeros((2, 3), np.float32)
    mask_seen(scores, seen, np.array([2, 0]))
    np.testing.assert_array_equal(np.isnan(scores), [[0, 1, 0], [1, 0, 1]])
