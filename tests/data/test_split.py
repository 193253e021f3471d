"""Leave-one-out: disjoint, one product a user, nothing of the future, and no way around it."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reclib.data import Fold, Prepared, extract_features, leave_one_out
from reclib.errors import ReclibError
from reclib.models import Collaborative, Content, Popular

LONG = st.text("ABCDEFG", min_size=3, max_size=12).filter(lambda text: len(set(text)) >= 3)


def shown(fold: Fold) -> list[tuple[str, str]]:
    """Training history and held-out products of each user, as letters."""
    train = fold.train
    return [
        (
            "".join(train.item_ids[train.item[train.user == user]]),
            "".join(train.item_ids[fold.relevant[[user]].indices]),
        )
        for user in range(train.n_users)
    ]


def test_the_last_two_new_products_are_held_out(make_prepared: Callable[..., Prepared]) -> None:
    split = leave_one_out(make_prepared({"anna": "ABACADAD", "bert": "DCB"}))
    assert shown(split.validation) == [("ABA", "C"), ("D", "C")]
    assert shown(split.test) == [("ABACA", "D"), ("DC", "B")]
    assert (split.validation.name, split.test.name) == ("validation", "test")


@settings(max_examples=80, deadline=None)
@given(st.lists(LONG, min_size=1, max_size=5))
def test_no_fold_trains_on_what_comes_after_its_question(
    make_prepared: Callable[..., Prepared], histories: list[str]
) -> None:
    ready = make_prepared({f"u{number}": text for number, text in enumerate(histories)})
    split = leave_one_out(ready)
    for fold in (split.validation, split.test):
        assert (np.diff(fold.relevant.indptr) == 1).all()
        for history, (train, asked) in zip(histories, shown(fold), strict=True):
            assert train and asked not in train
            assert train == history[: history.index(asked)]
    for (early, first), (late, second) in zip(
        shown(split.validation), shown(split.test), strict=True
    ):
        assert late.startswith(early) and first in late and first != second


def test_folds_share_users_products_and_catalogue(tiny: Prepared) -> None:
    split = leave_one_out(tiny)
    for fold in (split.validation, split.test):
        assert fold.train.user_ids is tiny.user_ids
        assert fold.train.items is tiny.items
        assert fold.relevant.shape == tiny.shape
    assert split.test.train.n_events == tiny.n_events - tiny.n_users
    assert split.validation.train.n_events == tiny.n_events - 2 * tiny.n_users


def test_a_user_with_two_products_is_refused_by_name(
    make_prepared: Callable[..., Prepared],
) -> None:
    with pytest.raises(ReclibError, match="user 'bert' has 2 different products.*min_events=3"):
        leave_one_out(make_prepared({"anna": "ABC", "bert": "ABAB"}))


@pytest.mark.parametrize("held_out", ["test", "validation"])
def test_poisoned_held_out_events_change_nothing_that_is_fitted(
    make_prepared: Callable[..., Prepared], held_out: str
) -> None:
    rng = np.random.default_rng(3)
    letters = [f"{number:02d}" for number in range(20)]
    clean = {f"u{u:02d}": list(rng.choice(letters[:16], 7, replace=False)) for u in range(12)}
    first = -1 if held_out == "test" else -2
    poisoned = {}
    for user, history in clean.items():
        unmet = [letter for letter in letters if letter not in history]
        poisoned[user] = history[:first] + list(rng.choice(unmet, -first, replace=False))
    # a rare user names every product, so that both catalogues are the same
    both = [
        leave_one_out(make_prepared({**histories, "all": letters}))
        for histories in (clean, poisoned)
    ]
    one, two = (getattr(split, held_out) for split in both)
    assert (one.relevant != two.relevant).nnz > 0
    np.testing.assert_array_equal(one.train.matrix.toarray(), two.train.matrix.toarray())
    assert one.train.fingerprint == two.train.fingerprint
    before, after = extract_features(one.train), extract_features(two.train)
    np.testing.assert_array_equal(before.users.toarray(), after.users.toarray())
    np.testing.assert_array_equal(before.items.toarray(), after.items.toarray())
    everyone = np.arange(one.train.n_users)
    for make in (Popular, Content, Collaborative, lambda: Collaborative(profile="interactions")):
        scores = [make().fit(fold.train).score(everyone) for fold in (one, two)]
        np.testing.assert_array_equal(*scores)
