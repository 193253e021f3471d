"""Item-kNN against its formula, and against implicit's."""

from collections.abc import Callable

import numpy as np
import pytest
import scipy.sparse as sp
from implicit.nearest_neighbours import CosineRecommender, TFIDFRecommender

from reclib.data import Prepared, history_weights, leave_one_out, load, prepare
from reclib.errors import ReclibError
from reclib.models import mask_seen, top_k
from reclib.models.neighbours import ItemKNN

CLASSIC = {"decay": 1.0, "history": 10_000}


def naive(ready: Prepared, similarity: str, shrink: float) -> np.ndarray:
    """s(j, i), pair by pair, shape (n_items, n_items)."""
    ratings = ready.matrix.toarray().astype(float)
    if similarity == "tfidf":
        for user in range(ready.n_users):
            had = (ratings[user] > 0).sum()
            ratings[user] = np.sqrt(ratings[user]) * (np.log(ready.n_items) - np.log(1 + had))
    result = np.zeros((ready.n_items, ready.n_items))
    for j in range(ready.n_items):
        for i in range(ready.n_items):
            lengths = np.linalg.norm(ratings[:, i]) * np.linalg.norm(ratings[:, j]) + shrink
            if i != j and lengths > 0:
                result[j, i] = ratings[:, j] @ ratings[:, i] / lengths
    return result


@pytest.mark.parametrize("shrink", [0.0, 2.5])
@pytest.mark.parametrize("similarity", ["cosine", "tfidf"])
def test_equals_the_sum_over_the_history(
    make_random: Callable[..., Prepared], similarity: str, shrink: float
) -> None:
    ready = make_random(1)
    profile = {"decay": 0.6, "history": 3}
    scorer = ItemKNN(similarity=similarity, neighbours=ready.n_items, shrink=shrink, **profile)
    expected = history_weights(ready, **profile).toarray() @ naive(ready, similarity, shrink)
    scores = scorer.fit(ready).score(np.arange(ready.n_users))
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("shrink", [0.0, 1.0])
def test_a_product_keeps_its_nearest_neighbours_alone(
    make_random: Callable[..., Prepared], shrink: float
) -> None:
    ready = make_random(4, n_users=200)
    kept = sp.csr_array(ItemKNN(neighbours=4, shrink=shrink).fit(ready)._matrix).toarray()
    every = naive(ready, "cosine", shrink)
    assert (kept.diagonal() == 0).all()
    assert ((kept > 0).sum(axis=1) == 4).all()
    np.testing.assert_allclose(np.sort(kept)[:, -4:], np.sort(every)[:, -4:], rtol=1e-5)
    np.testing.assert_allclose(kept[kept > 0], every[kept > 0], rtol=1e-5)


def test_strengths_of_events_count(make_prepared: Callable[..., Prepared]) -> None:
    kinds = ["click", "purchase", "purchase", "click", "click"]
    ready = make_prepared({"anna": "AB", "bert": "AC", "carl": "B"}, event=kinds)
    scores = ItemKNN(shrink=0, **CLASSIC).fit(ready).score([2])[0]
    # r_A = (1, 3, 0), r_B = (3, 0, 1), r_C = (0, 1, 0)
    assert scores[0] == pytest.approx(3 / 10)
    assert scores[2] == 0


def test_shrinking_puts_evidence_of_many_users_first(
    make_prepared: Callable[..., Prepared],
) -> None:
    """C met A in the only basket it was in; B met A in three of four."""
    ready = make_prepared({"u1": "AB", "u2": "AB", "u3": "AB", "u4": "AC", "u5": "B", "u6": "A"})
    user = [5]
    assert ItemKNN(shrink=0).fit(ready).rank(user, 1)[0] == 1
    plain, shrunk = (ItemKNN(shrink=s).fit(ready).score(user)[0, 1:] for s in (0, 10))
    assert shrunk[0] / shrunk[1] > plain[0] / plain[1]


@pytest.mark.parametrize(
    ("similarity", "peer"), [("cosine", CosineRecommender), ("tfidf", TFIDFRecommender)]
)
@pytest.mark.real_data
@pytest.mark.filterwarnings("ignore::implicit.utils.ParameterWarning")
def test_similarities_are_those_of_implicit(
    real_data: Callable[[str], object], similarity: str, peer: type
) -> None:
    real_data("amazon-beauty")
    ready = leave_one_out(prepare(load("amazon-beauty"))).test.train
    theirs = peer(K=ready.n_items, num_threads=1)
    theirs.fit(sp.csr_matrix(ready.matrix, dtype=np.float64), show_progress=False)
    expected = sp.csr_array(theirs.similarity)
    expected.setdiag(0)
    ours = ItemKNN(similarity=similarity, neighbours=ready.n_items, shrink=0).fit(ready)._matrix
    assert ours.nnz > ready.n_items
    assert abs(ours - expected).max() < 1e-5


@pytest.mark.real_data
def test_quick_lists_have_the_scores_of_those_over_whole_rows(
    real_data: Callable[[str], object],
) -> None:
    real_data("amazon-beauty")
    ready = leave_one_out(prepare(load("amazon-beauty"))).test.train
    scorer = ItemKNN(neighbours=5).fit(ready)
    users = np.arange(ready.n_users)
    items, scores = scorer.rank(users)
    rows = scorer.score(users)
    np.testing.assert_allclose(rows[users[:, None], items], scores, rtol=1e-6)
    mask_seen(rows, ready.matrix, users)
    best = top_k(rows, 10)[1]
    np.testing.assert_allclose(best, scores, rtol=1e-6)
    assert (best[:, -1] == 0).any()  # some lists have a tail without any overlap


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"similarity": "cosin"}, "unknown similarity 'cosin'.*did you mean 'cosine'"),
        ({"neighbours": 0}, "neighbours is 0; allowed is 1 or more"),
        ({"shrink": -1.0}, "shrink is -1.0; allowed is a number from 0 on"),
        ({"shrink": float("nan")}, "shrink is nan"),
    ],
)
def test_a_bad_parameter_is_refused_by_value(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ReclibError, match=message):
        ItemKNN(**arguments)
