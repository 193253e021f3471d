"""MMR and DPP, against naive loops of one user each."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from reclib.errors import ReclibError
from reclib.evaluation.metrics import intra_list_diversity
from reclib.models import top_k
from reclib.models.reranking import dpp, mmr

Rerank = Callable[..., np.ndarray]
Problem = tuple[np.ndarray, np.ndarray, np.ndarray]

BOTH = pytest.mark.parametrize("rerank", [mmr, dpp])
TRADE_OFFS = [0.0, 0.2, 0.5, 0.8, 1.0]


def problem(seed: int, *, n_users: int = 7, n_candidates: int = 9, d: int = 12) -> Problem:
    """Scores in 0 … 1 with gaps, candidates of 40 products, and vectors of any length."""
    rng = np.random.default_rng(seed)
    scores = rng.random((n_users, n_candidates)).astype(np.float32)
    scores[rng.random(scores.shape) < 0.2] = np.nan
    items = np.stack([rng.permutation(40)[:n_candidates] for _ in scores])
    vectors = rng.normal(size=(40, d)) * rng.lognormal(size=(40, 1))
    return scores, items, vectors


def naive(worth: Callable[[list[int], int], float], scores: np.ndarray, k: int) -> list[int]:
    """Add, k times, the first candidate of the highest worth beside those chosen."""
    chosen: list[int] = []
    for _ in range(k):
        left = [i for i in range(len(scores)) if i not in chosen and not np.isnan(scores[i])]
        chosen.append(max(left, key=lambda i: worth(chosen, i)) if left else -1)
    return chosen


def cosine(x: np.ndarray, y: np.ndarray) -> float:
    return float(x @ y / (np.linalg.norm(x) * np.linalg.norm(y)))


def naive_mmr(scores: np.ndarray, ys: np.ndarray, k: int, trade_off: float) -> list[int]:
    def worth(chosen: list[int], i: int) -> float:
        nearest = max((cosine(ys[i], ys[j]) for j in chosen), default=0.0)
        return trade_off * float(scores[i]) - (1 - trade_off) * nearest

    return naive(worth, scores, k)


def naive_dpp(scores: np.ndarray, ys: np.ndarray, k: int, trade_off: float) -> list[int]:
    """The determinant of every longer list, by the definition of L."""
    alpha = trade_off / (2 * (1 - trade_off))
    q = np.exp(alpha * np.nan_to_num(scores.astype(float)))
    similarity = np.array([[cosine(x, y) for y in ys] for x in ys])
    kernel = q[:, None] * similarity * q

    def worth(chosen: list[int], i: int) -> float:
        those = [j for j in [*chosen, i] if j >= 0]
        return float(np.linalg.slogdet(kernel[np.ix_(those, those)])[1])

    return naive(worth, scores, k)


@pytest.mark.parametrize("trade_off", TRADE_OFFS)
@pytest.mark.parametrize("seed", [0, 1])
def test_mmr_equals_the_naive_loop(seed: int, trade_off: float) -> None:
    scores, items, vectors = problem(seed)
    found = mmr(scores, items, vectors=vectors, k=6, trade_off=trade_off)
    assert found.dtype == np.int64
    for row, candidates, places in zip(scores, items, found, strict=True):
        assert places.tolist() == naive_mmr(row, vectors[candidates], 6, trade_off)


@pytest.mark.parametrize("trade_off", [0.2, 0.5, 0.8, 0.99])
@pytest.mark.parametrize("seed", [0, 1])
def test_dpp_equals_greedy_steps_by_determinants(seed: int, trade_off: float) -> None:
    scores, items, vectors = problem(seed)
    found = dpp(scores, items, vectors=vectors, k=6, trade_off=trade_off)
    assert found.dtype == np.int64
    for row, candidates, places in zip(scores, items, found, strict=True):
        assert places.tolist() == naive_dpp(row, vectors[candidates], 6, trade_off)


def test_dpp_without_scores_is_about_the_volume_alone() -> None:
    """Ties of the first step leave only the one with the earliest candidate."""
    scores, items, vectors = problem(2)
    scores[:, 0] = 0.5
    found = dpp(scores, items, vectors=vectors, k=5, trade_off=0)
    assert (found[:, 0] == 0).all()
    np.testing.assert_array_equal(found, dpp(1 - scores, items, vectors=vectors, k=5, trade_off=0))
    for row, candidates, places in zip(scores, items, found, strict=True):
        flat = np.where(np.isnan(row), np.nan, 0)
        flat[0] = 1e-9  # so that determinants do not choose the first by their rounding
        assert places.tolist() == naive_dpp(flat, vectors[candidates], 5, 0.5)


@BOTH
@pytest.mark.parametrize("trade_off", [0.3, 0.7])
def test_sparse_vectors_and_small_batches_change_nothing(rerank: Rerank, trade_off: float) -> None:
    scores, items, vectors = problem(3, n_users=11)
    vectors[np.random.default_rng(0).random(vectors.shape) < 0.6] = 0
    expected = rerank(scores, items, vectors=vectors, k=6, trade_off=trade_off)
    for matrix in (sp.csr_array(vectors), sp.csr_matrix(vectors)):
        found = rerank(scores, items, vectors=matrix, k=6, trade_off=trade_off, batch_size=4)
        np.testing.assert_array_equal(found, expected)


@BOTH
def test_the_trade_off_1_is_the_order_of_the_scores(rerank: Rerank) -> None:
    scores, items, vectors = problem(4, n_users=50)
    scores = np.round(4 * scores) * 1e30  # with ties, and of any size
    found = rerank(scores.astype(np.float32), items, vectors=vectors, k=12, trade_off=1)
    np.testing.assert_array_equal(found, top_k(scores.astype(np.float32), 12)[0])


@BOTH
def test_lists_get_more_diverse_as_the_trade_off_falls(rerank: Rerank) -> None:
    scores, items, vectors = problem(5, n_users=300, n_candidates=20, d=4)
    vectors = np.abs(vectors)  # as brands and categories are: no cosine below 0
    unit = sp.csr_array(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    diversity, relevance = [], []
    for trade_off in TRADE_OFFS:
        places = rerank(scores, items, vectors=vectors, k=5, trade_off=trade_off)
        shown = np.take_along_axis(items, places, axis=1)
        diversity.append(intra_list_diversity(shown, unit).mean())
        relevance.append(np.take_along_axis(scores, places, axis=1).mean())
    assert (np.diff(diversity) < 0).all() and (np.diff(relevance) > 0).all()


@BOTH
def test_what_has_no_score_is_never_chosen(rerank: Rerank) -> None:
    scores = np.array([[np.nan, 1, -np.inf, 2], [np.nan] * 4, [3, 2, 1, 0]], np.float32)
    items = np.array([[-1, 0, 99, 1], [-1, -1, -1, -1], [0, 1, 2, 3]])
    found = rerank(scores, items, vectors=np.eye(4), k=5)
    assert found.tolist() == [[3, 1, -1, -1, -1], [-1] * 5, [0, 1, 2, 3, -1]]


@BOTH
def test_of_equals_the_earlier_candidate_is_chosen(rerank: Rerank) -> None:
    scores = np.full((1, 6), 0.5, np.float32)
    items = np.array([[5, 4, 3, 2, 1, 0]])
    vectors = np.repeat(np.eye(3), 2, axis=0)  # three pairs of copies
    found = rerank(scores, items, vectors=vectors, k=6)
    assert found.tolist() == [[0, 2, 4, 1, 3, 5]]


@BOTH
@pytest.mark.parametrize("sparse", [False, True])
def test_copies_come_last_in_the_order_of_their_scores(rerank: Rerank, sparse: bool) -> None:
    """The determinant of copies is 0, yet the list is full; rounding decides nothing."""
    rng = np.random.default_rng(0)
    copied, other = rng.normal(size=(2, 300)).astype(np.float32)
    lengths = rng.lognormal(size=(30, 1)).astype(np.float32)
    vectors = np.vstack([lengths * copied, other])
    scores = np.append(rng.permutation(30) / 30 + 0.1, 0.05).astype(np.float32)
    given = sp.csr_array(vectors) if sparse else vectors
    found = rerank(scores[None], np.arange(31)[None], vectors=given, k=31, trade_off=0.4)
    first, *others = np.argsort(-scores[:30])
    assert found.tolist() == [[first, 30, *others]]


def test_dpp_tells_what_is_almost_a_copy_from_a_copy() -> None:
    vectors = np.array([[1, 0], [1, 0], [1, 0.01]], np.float32)
    scores = np.array([[0.9, 0.8, 0.1]], np.float32)
    found = dpp(scores, np.arange(3)[None], vectors=vectors, k=3, trade_off=0.4)
    assert found.tolist() == [[0, 2, 1]]


@BOTH
def test_products_without_features_are_unlike_all_others(rerank: Rerank) -> None:
    scores = np.array([[0.9, 0.8, 0.3, 0.2]], np.float32)
    vectors = np.array([[1.0, 0], [1, 0], [0, 0], [0, 0]])
    found = rerank(scores, np.arange(4)[None], vectors=vectors, k=4, trade_off=0.4)
    assert found.tolist() == [[0, 2, 3, 1]]


@BOTH
def test_nothing_to_choose_from_gives_empty_lists(rerank: Rerank) -> None:
    for n_users in (0, 2):
        nobody = np.zeros((n_users, 0), np.float32), np.zeros((n_users, 0), np.int64)
        for vectors in (np.eye(3), sp.csr_array(np.eye(3))):
            assert rerank(*nobody, vectors=vectors, k=2).tolist() == [[-1, -1]] * n_users


@BOTH
def test_what_is_given_stays_as_it_was(rerank: Rerank) -> None:
    scores, items, vectors = problem(6)
    copies = scores.copy(), items.copy(), vectors.copy()
    rerank(scores, items, vectors=vectors)
    for given, copy in zip((scores, items, vectors), copies, strict=True):
        np.testing.assert_array_equal(given, copy)


@BOTH
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 0}, "k is 0; allowed is 1 or more"),
        ({"batch_size": 0}, "batch_size is 0; allowed is 1 or more"),
        ({"trade_off": 1.5}, "trade_off is 1.5; allowed is 0"),
        ({"trade_off": np.nan}, "trade_off is nan"),
        ({"items": np.zeros((1, 2), int)}, r"\(1, 3\).*\(1, 2\)"),
        ({"items": np.array([[0, 1, 4]])}, "item 4 has a score but no vector; allowed is 0 to 3"),
        ({"items": np.array([[0, -1, 2]])}, "item -1 has a score"),
        ({"scores": np.array([[0, np.inf, 0]])}, r"scores hold \+inf"),
        ({"vectors": np.full((4, 2), np.nan)}, "vectors hold NaN"),
        ({"vectors": sp.csr_array(np.full((4, 2), np.inf))}, "vectors hold NaN or infinite"),
    ],
)
def test_errors_name_the_value(rerank: Rerank, change: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {
        "scores": np.zeros((1, 3), np.float32),
        "items": np.array([[0, 1, 2]]),
        "vectors": np.eye(4),
    }
    with pytest.raises(ReclibError, match=message):
        rerank(**(given | change))
