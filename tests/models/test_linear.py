"""The quick way to the best k against the one over whole rows."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from reclib.data import Prepared
from reclib.models import linear, mask_seen, top_k
from reclib.models.base import Indices, Scores
from reclib.models.linear import BLOCK, OFTEN, Linear, barred, largest_products

Ranked = tuple[Indices, Scores]


@pytest.fixture(autouse=True, scope="module")
def nothing_is_turned_dense() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linear, "DENSE_SHARE", 1)
        yield


class Planted(Linear):
    """A product of two given factors."""

    name = "planted"

    def __init__(self, *, profiles: sp.csr_array, matrix: sp.csr_array | Scores) -> None:
        self.profiles = profiles
        self.matrix = matrix

    def _factors(self, prepared: Prepared, rng: int) -> tuple[sp.csr_array, sp.csr_array | Scores]:
        return self.profiles, self.matrix


def over_whole_rows(scorer: Linear, users: Indices, k: int, exclude_seen: bool) -> Ranked:
    scores = scorer.score(users)
    if exclude_seen:
        assert scorer.prepared is not None
        mask_seen(scores, scorer.prepared.matrix, users)
    return top_k(scores, k)


def sparse(
    rng: np.random.Generator, shape: tuple[int, int], density: float, top: int
) -> sp.csr_array:
    """Whole numbers from 1 to `top`: their sums are exact, and ties are common."""
    values = rng.integers(1, top + 1, shape) * (rng.random(shape) < density)
    return sp.csr_array(values.astype(np.float32))


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    density=st.sampled_from([0.02, 0.1, 0.5]),
    top=st.sampled_from([1, 3, 1000]),
    k=st.sampled_from([1, 2, 10, 29, 30, 45]),
    exclude_seen=st.booleans(),
)
def test_quick_lists_are_those_over_whole_rows_ties_and_tails_included(
    tiny: Prepared, seed: int, density: float, top: int, k: int, exclude_seen: bool
) -> None:
    rng = np.random.default_rng(seed)
    n_features = int(rng.integers(1, 40))
    profiles = sparse(rng, (tiny.n_users, n_features), density, top)
    matrix = sparse(rng, (n_features, tiny.n_items), density, top)
    scorer = Planted(profiles=profiles, matrix=matrix).fit(tiny)
    users = rng.permutation(tiny.n_users)
    quick = scorer.rank(users, k, exclude_seen=exclude_seen, batch_size=17)
    slow = over_whole_rows(scorer, users, k, exclude_seen)
    assert scorer._barred is not None
    np.testing.assert_array_equal(quick[0], slow[0])
    np.testing.assert_array_equal(quick[1], slow[1])
    assert quick[0].dtype == np.int64 and quick[1].dtype == np.float32


def test_a_tie_wider_than_the_widest_guess_is_broken_by_index(
    make_random: Callable[..., Prepared],
) -> None:
    ready = make_random(1, n_items=400)
    everything = sp.csr_array(np.ones((1, 400), np.float32))
    profiles = sp.csr_array(np.ones((ready.n_users, 1), np.float32))
    scorer = Planted(profiles=profiles, matrix=everything).fit(ready)
    items, scores = scorer.rank(np.arange(ready.n_users), 5)
    for user in range(ready.n_users):
        had = set(ready.item[ready.user == user])
        assert items[user].tolist() == [item for item in range(400) if item not in had][:5]
    assert (scores == 1).all()


def test_real_numbers_give_the_same_score_at_every_rank(
    make_random: Callable[..., Prepared],
) -> None:
    """Sums may differ in the last bit, so that near-ties may swap; their scores may not."""
    rng = np.random.default_rng(3)
    ready = make_random(2, n_users=80, n_items=200)
    profiles, matrix = (
        sp.csr_array(sparse(rng, shape, 0.2, 1) * rng.random(shape, np.float32))
        for shape in ((80, 50), (50, 200))
    )
    scorer = Planted(profiles=profiles, matrix=matrix).fit(ready)
    quick = scorer.rank(np.arange(80), 20)
    slow = over_whole_rows(scorer, np.arange(80), 20, True)
    np.testing.assert_allclose(quick[1], slow[1], rtol=1e-6)
    own = scorer.score(np.arange(80))[np.arange(80)[:, None], quick[0]]
    np.testing.assert_allclose(own, quick[1], rtol=1e-6)


@pytest.mark.parametrize("where", ["profiles", "matrix"])
def test_a_value_below_zero_is_ranked_behind_no_overlap(tiny: Prepared, where: str) -> None:
    rng = np.random.default_rng(0)
    factors = {
        "profiles": sparse(rng, (tiny.n_users, 6), 0.5, 3),
        "matrix": sparse(rng, (6, tiny.n_items), 0.2, 3),
    }
    factors[where].data[::3] *= -1
    scorer = Planted(**factors).fit(tiny)
    users = np.arange(tiny.n_users)
    items, scores = scorer.rank(users, tiny.n_items)
    expected = over_whole_rows(scorer, users, tiny.n_items, True)
    assert (scores < 0).any() and (scores == 0).any()
    np.testing.assert_array_equal(items, expected[0])


def test_ranking_makes_no_whole_rows_where_both_factors_are_sparse(
    tiny: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    matrix = sparse(rng, (6, tiny.n_items), 0.3, 3)
    scorer = Planted(profiles=sparse(rng, (tiny.n_users, 6), 0.5, 3), matrix=matrix).fit(tiny)
    monkeypatch.setattr(Planted, "_score", lambda *_: pytest.fail("whole rows were made"))
    assert (scorer.rank(np.arange(9), 3)[0] >= 0).all()


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_full_matrix_is_turned_dense_and_ranks_the_same(
    make_random: Callable[..., Prepared], monkeypatch: pytest.MonkeyPatch, sign: int
) -> None:
    rng = np.random.default_rng(8)
    ready = make_random(4, n_users=BLOCK + 1, n_items=2 * BLOCK + 3)
    profiles = sparse(rng, (ready.n_users, 30), 0.3, 3)
    matrix = sign * sparse(rng, (30, ready.n_items), 0.6, 3) * np.float32(0.1)
    users = np.arange(ready.n_users)

    def fitted(share: float) -> Linear:
        monkeypatch.setattr(linear, "DENSE_SHARE", share)
        return Planted(profiles=profiles, matrix=sp.csr_array(matrix)).fit(ready)

    stored, full = fitted(0.7), fitted(0.5)
    assert sp.issparse(stored._matrix) and isinstance(full._matrix, np.ndarray)
    np.testing.assert_array_equal(full.score(users), stored.score(users))
    for one, other in zip(full.rank(users, 20), stored.rank(users, 20), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("often", [0, OFTEN])
@pytest.mark.parametrize("n_rows", [1, 10, 64, 500])
@pytest.mark.parametrize("n_columns", [1, BLOCK, 2 * BLOCK + 3])
def test_a_product_by_blocks_is_scipys_to_the_last_bit(
    n_rows: int, n_columns: int, often: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linear, "OFTEN", often)
    rng = np.random.default_rng(n_rows)
    left = sp.csr_array(sparse(rng, (n_rows, 40), 0.3, 1) * rng.random((n_rows, 40), np.float32))
    right = rng.standard_normal((40, n_columns), np.float32)
    found = linear._product(left, right)
    np.testing.assert_array_equal(found, left @ right)
    assert found.dtype == np.float32


def test_an_empty_profile_gets_an_empty_list(tiny: Prepared) -> None:
    profiles = np.ones((tiny.n_users, 1), np.float32)
    profiles[4] = 0
    matrix = sp.csr_array(np.ones((1, tiny.n_items), np.float32))
    items, scores = (
        Planted(profiles=sp.csr_array(profiles), matrix=matrix).fit(tiny).rank([4, 5], 3)
    )
    assert (items[0] == -1).all() and np.isnan(scores[0]).all()
    assert (items[1] >= 0).all()


def test_the_largest_products_of_a_row_leave_out_what_is_barred() -> None:
    rng = np.random.default_rng(5)
    left, matrix = sparse(rng, (20, 15), 0.4, 9), sparse(rng, (15, 40), 0.4, 9)
    out = sparse(rng, (20, 40), 0.2, 5)
    found = largest_products(left, out, barred(matrix), 6).toarray()
    dense = np.where(out.toarray() > 0, 0, (left @ matrix).toarray())
    np.testing.assert_array_equal(-np.sort(-found)[:, :6], -np.sort(-dense)[:, :6])
    assert ((found == 0) | (found == dense)).all()


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_number_of_threads_does_not_matter(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(6)
    left, matrix = sparse(rng, (50, 15), 0.4, 2), barred(sparse(rng, (15, 40), 0.4, 2))
    nothing = sp.csr_array((50, 40), dtype=np.float32)
    expected = largest_products(left, nothing, matrix, 4).toarray()
    monkeypatch.setattr("torch.get_num_threads", lambda: threads)
    np.testing.assert_array_equal(largest_products(left, nothing, matrix, 4).toarray(), expected)
