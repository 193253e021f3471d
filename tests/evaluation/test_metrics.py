"""Metrics against two libraries, by hand, and against naive loops."""

from collections.abc import Iterator
from types import ModuleType

import ir_measures
import numba
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from reclib.data import Prepared, prepare
from reclib.data.simulate import simulate
from reclib.errors import ReclibError
from reclib.evaluation import (
    diversity_features,
    expected_ctr,
    intra_list_diversity,
    ranking_metrics,
)

N_CASES, N_ITEMS = 400, 30
NAMES = ("precision", "recall", "f1", "ndcg", "mrr", "map", "hit_rate")


def cases(k: int) -> tuple[np.ndarray, sp.csr_array]:
    """Lists of 1 to k products, and 1 to 14 relevant ones, of 400 users."""
    rng = np.random.default_rng(k)
    top = np.argsort(rng.random((N_CASES, N_ITEMS)), axis=1)[:, :k]
    length = rng.integers(1, k + 1, N_CASES)
    top[np.arange(k)[None, :] >= length[:, None]] = -1
    relevant = np.zeros((N_CASES, N_ITEMS))
    for user, number in enumerate(rng.integers(1, 15, N_CASES)):
        relevant[user, rng.choice(N_ITEMS, number, replace=False)] = 1
    return top, sp.csr_array(relevant)


def judged(relevant: sp.csr_array) -> dict[str, dict[str, int]]:
    return {
        f"q{user:03d}": {f"d{item:03d}": 1 for item in relevant[[user]].indices}
        for user in range(relevant.shape[0])
    }


def ranked(top: np.ndarray) -> dict[str, dict[str, float]]:
    """Ties are broken already: the libraries get strictly falling scores."""
    return {
        f"q{user:03d}": {
            f"d{item:03d}": 99.0 - place for place, item in enumerate(row) if item >= 0
        }
        for user, row in enumerate(top)
    }


@pytest.fixture(scope="module")
def ranx() -> Iterator[ModuleType]:
    """As plain Python: to compile it takes a minute, to run it a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numba.config, "DISABLE_JIT", True)
        import ranx

        yield ranx


@pytest.mark.parametrize("k", [1, 3, 10])
def test_accuracy_equals_ranx(ranx: ModuleType, k: int) -> None:
    top, relevant = cases(k)
    found = ranking_metrics(top, relevant)
    assert list(found) == [f"{name}@{k}" for name in NAMES]
    theirs = ranx.evaluate(
        ranx.Qrels(judged(relevant)), ranx.Run(ranked(top)), list(found), return_mean=False
    )
    for name, values in found.items():
        np.testing.assert_allclose(values, theirs[name], rtol=0, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("k", [1, 3, 10])
def test_accuracy_equals_ir_measures(k: int) -> None:
    top, relevant = cases(k)
    found = ranking_metrics(top, relevant)
    words = {"precision": "P", "recall": "R", "ndcg": "nDCG", "map": "AP", "hit_rate": "Success"}
    words |= {"mrr": "RR"}
    measures = {ir_measures.parse_measure(f"{theirs}@{k}"): name for name, theirs in words.items()}
    seen = 0
    for metric in ir_measures.iter_calc(list(measures), judged(relevant), ranked(top)):
        ours = found[f"{measures[metric.measure]}@{k}"][int(metric.query_id[1:])]
        assert ours == pytest.approx(metric.value, rel=0, abs=1e-12), metric
        seen += 1
    assert seen == N_CASES * len(measures)


def metrics_of(shown: list[int], wanted: list[int]) -> dict[str, float]:
    relevant = np.zeros((1, 9))
    relevant[0, wanted] = 1
    found = ranking_metrics(np.array([shown]), sp.csr_array(relevant))
    return {name.split("@")[0]: float(values[0]) for name, values in found.items()}


LOG3 = 1 / np.log2(3)


@pytest.mark.parametrize(
    ("shown", "wanted", "expected"),
    [
        ([-1, -1, -1], [0], (0, 0, 0, 0, 0, 0, 0)),  # an empty list
        ([1, 2, 3], [0], (0, 0, 0, 0, 0, 0, 0)),  # no match
        ([0, 1, 2], [0, 1, 2], (1, 1, 1, 1, 1, 1, 1)),  # perfect
        ([4, 3, -1], [3, 4], (2 / 3, 1, 0.8, 1, 1, 1, 1)),  # perfect but short
        # five relevant, three places: map and recall are divided by five
        ([0, 1, 2], [0, 1, 2, 3, 4], (1, 0.6, 0.75, 1, 1, 0.6, 1)),
        ([7, 0, 8], [0], (1 / 3, 1, 0.5, LOG3, 0.5, 0.5, 1)),
        ([7, 8, 0], [0, 1], (1 / 3, 0.5, 0.4, 0.5 / (1 + LOG3), 1 / 3, 1 / 6, 1)),
    ],
)
def test_accuracy_by_hand(shown: list[int], wanted: list[int], expected: tuple[float, ...]) -> None:
    found = metrics_of(shown, wanted)
    assert found == pytest.approx(dict(zip(NAMES, expected, strict=True)))


def test_a_user_without_relevant_products_has_no_value() -> None:
    relevant = sp.csr_array(np.array([[0, 0, 0], [1, 0, 0]]))
    for name, values in ranking_metrics(np.array([[0, 1], [0, 1]]), relevant).items():
        assert np.isnan(values[0]) and values[1] > 0, name


def test_a_padded_place_hits_nobodys_product() -> None:
    # user 1 has no list; its −1 must not be taken for the last product of user 0
    relevant = sp.csr_array(np.array([[0, 0, 1], [0, 0, 1]]))
    found = ranking_metrics(np.array([[2], [-1]]), relevant)
    assert found["hit_rate@1"].tolist() == [1, 0]


def test_lists_of_other_users_are_refused() -> None:
    with pytest.raises(ReclibError, match="2 lists for 3 users"):
        ranking_metrics(np.zeros((2, 4), np.int64), sp.csr_array((3, 5)))


def catalogue(rows: list[tuple[str, str]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["brand", "categories"])


def test_likeness_counts_brand_and_every_step_of_the_path() -> None:
    rows = [("Bic", "A > B > C"), ("Bic", "A > B > C"), ("", "A > X > C"), ("Bic", "Z"), ("", "")]
    features = diversity_features(catalogue(rows))
    likeness = (features @ features.T).toarray()
    assert likeness[0, 1] == pytest.approx(1)
    assert 0 < likeness[0, 2] < likeness[0, 1]
    assert likeness[0, 3] > 0  # the brand
    assert likeness[2, 3] == 0  # a step of another path is not the same step
    assert features[[4]].nnz == 0
    np.testing.assert_allclose(features.power(2).sum(axis=1), [1, 1, 1, 1, 0])


def test_diversity_without_brands_and_categories_is_refused() -> None:
    with pytest.raises(ReclibError, match="no product has a brand or a category"):
        diversity_features(catalogue([("", ""), ("", " > ")]))


def test_diversity_equals_the_mean_over_all_pairs() -> None:
    top, _ = cases(6)
    rng = np.random.default_rng(0)
    dense = rng.random((N_ITEMS, 8)) * (rng.random((N_ITEMS, 8)) < 0.4)
    dense[:3] = 0
    length = np.linalg.norm(dense, axis=1, keepdims=True)
    unit = np.divide(dense, length, where=length > 0, out=np.zeros_like(dense))
    found = intra_list_diversity(top, sp.csr_array(unit))
    for row, value in zip(top, found, strict=True):
        shown = [item for item in row if item >= 0]
        pairs = [(i, j) for i in shown for j in shown if i != j]
        if not pairs:
            assert np.isnan(value)
            continue
        assert value == pytest.approx(1 - np.mean([unit[i] @ unit[j] for i, j in pairs]))


def test_diversity_is_0_of_copies_and_1_of_strangers() -> None:
    features = sp.csr_array(np.array([[1, 0], [1, 0], [0, 1], [0, 0], [0, 0]]))
    lists = np.array([[0, 1, -1], [0, 2, -1], [3, 4, -1], [0, -1, -1], [-1, -1, -1]])
    np.testing.assert_array_equal(intra_list_diversity(lists, features), [0, 1, 1, np.nan, np.nan])


@pytest.mark.parametrize("batch_size", [1024, 7])
def test_expected_clicks_equal_a_loop_over_the_truth(batch_size: int) -> None:
    market = simulate("smoke")
    ready = prepare(market)
    rng = np.random.default_rng(0)
    top = np.argsort(rng.random((40, ready.n_items)), axis=1)[:, :5]
    top[3] = -1
    top[4, 2:] = -1
    found = expected_ctr(top, ready, market.truth, batch_size=batch_size)
    for user, (row, value) in enumerate(zip(top, found, strict=True)):
        chances = [
            market.truth.click_probability([ready.user_ids[user]], [ready.item_ids[item]])[0, 0]
            for item in row
            if item >= 0
        ]
        if chances:
            assert value == pytest.approx(np.mean(chances), rel=1e-5)
        else:
            assert np.isnan(value)


def test_no_lists_have_no_expected_clicks(tiny: Prepared) -> None:
    class Truth:
        def click_probability(self, user_ids: list[str], item_ids: list[str]) -> np.ndarray:
            return np.zeros((len(user_ids), len(item_ids)), np.float32)

    assert np.isnan(expected_ctr(np.full((6, 3), -1), tiny, Truth())).all()
