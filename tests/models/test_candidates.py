"""The union of the parts' best products, and what each part says of them."""

import numpy as np
import pytest
import scipy.sparse as sp

from reclib.data import Prepared
from reclib.errors import ReclibError
from reclib.models import Content, Fusion, ItemKNN, Popular
from reclib.models.candidates import candidates

USERS = np.array([5, 0, 33])


@pytest.fixture(scope="module")
def fusion(tiny: Prepared) -> Fusion:
    parts = {"popular": Popular(), "content": Content(), "item-knn": ItemKNN()}
    return Fusion(parts, dict.fromkeys(parts, 1.0), normalise="global").fit(tiny)


def test_they_are_the_union_of_the_best_new_products_of_each_part(fusion: Fusion) -> None:
    found = candidates(fusion, USERS, depth=3)
    for row, user in enumerate(USERS):
        best = [part.rank([user], 3)[0][0] for part in fusion.parts.values()]
        expected = np.unique(best)
        assert found.items[row][found.real[row]].tolist() == expected[expected >= 0].tolist()
        assert (found.items[row][~found.real[row]] == -1).all()


def test_their_scores_are_those_of_the_parts_on_one_scale(fusion: Fusion, tiny: Prepared) -> None:
    found = candidates(fusion, USERS, depth=4)
    seen = tiny.matrix[USERS].toarray() > 0
    whole = fusion.normalised([part.score(USERS) for part in fusion.parts.values()], seen)
    row, place = np.nonzero(found.real)
    for part, scores in zip(found.scores, whole, strict=True):
        np.testing.assert_array_equal(part[row, place], scores[row, found.items[row, place]])
        assert np.isneginf(part[~found.real]).all()
    np.testing.assert_array_equal(found.products, seen.sum(axis=1))


def test_named_products_are_candidates_in_any_case(fusion: Fusion, tiny: Prepared) -> None:
    last = np.zeros((3, tiny.n_items), bool)
    last[0, [0, 29]] = True
    last[0] &= tiny.matrix[[5]].toarray()[0] == 0
    found = candidates(fusion, USERS, depth=1, also=sp.csr_array(last))
    assert found.of(sp.csr_array(last)).sum() == last.sum() > 0
    assert set(np.flatnonzero(last[0])) <= set(found.items[0])


def test_relevant_ones_are_marked_and_padding_is_not(fusion: Fusion, tiny: Prepared) -> None:
    """Padding has the index −1, which is not the last product."""
    found = candidates(fusion, USERS, depth=2)
    everything = sp.csr_array(np.ones((3, tiny.n_items), bool))
    np.testing.assert_array_equal(found.of(everything), found.real)


def test_nobody_has_candidates_of_no_width(fusion: Fusion) -> None:
    assert candidates(fusion, np.zeros(0, np.int64)).items.shape == (0, 0)


def test_what_is_not_fitted_is_named() -> None:
    raw = Fusion({"a": Popular(), "b": Content()}, {"a": 1}, name="mine")
    with pytest.raises(ReclibError, match="mine is not fitted yet"):
        candidates(raw, USERS)
