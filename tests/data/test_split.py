"""Splits: disjoint, complete, nothing of the future where that is promised, no way around it."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from reclib.data import (
    Fold,
    Marketplace,
    Prepared,
    Split,
    cold_items,
    cold_users,
    describe_split,
    global_time,
    last_out,
    leave_one_out,
    prepare,
    random_split,
    split_by,
)
from reclib.errors import ReclibError

Make = Callable[..., Prepared]
LONG = st.text("ABCDEFG", min_size=3, max_size=12).filter(lambda text: len(set(text)) >= 3)
HISTORIES = st.lists(LONG, min_size=1, max_size=6)
SEEDS = st.integers(0, 5)
EASY = settings(max_examples=30, deadline=None)


def with_times(ready: Prepared, seed: int, *, moments: int = 1000) -> Prepared:
    """Give events random times, in the order of each user's history."""
    time = np.random.default_rng(seed).integers(0, moments, ready.n_events)
    return replace(ready, time=time[np.lexsort((time, ready.user))])


def with_reviews(ready: Prepared, **columns: list[object]) -> Prepared:
    """Give reviews; user and item by their letters."""
    reviews = pd.DataFrame({"time": -1, "rating": np.float32(5), **columns})
    for name, ids in (("user", ready.user_ids), ("item", ready.item_ids)):
        reviews[name] = ids.get_indexer(reviews[name]).astype(np.int32)
    return replace(ready, reviews=reviews)


def built(make_prepared: Make, histories: list[str], *, seed: int = 0) -> Prepared:
    """Prepare the histories of users u0, u1, …, with times."""
    users = {f"u{number}": text for number, text in enumerate(histories)}
    return with_times(make_prepared(users), seed)


def pairs(fold_part: object) -> set[tuple[int, int]]:
    """(user, item) of the stored entries of a matrix."""
    return set(zip(*(part.tolist() for part in fold_part.nonzero()), strict=True))


def users(some: set[tuple[int, int]]) -> set[int]:
    """Users of pairs."""
    return {user for user, _ in some}


def shown(fold: Fold) -> list[tuple[str, str]]:
    """Training history and held-out products of each user, as letters."""
    train = fold.train
    return [
        (
            "".join(train.item_ids[train.item[train.user == user]]),
            "".join(train.item_ids[np.sort(fold.relevant[[user]].indices)]),
        )
        for user in range(train.n_users)
    ]


# --- what holds for every split

EVERY: dict[str, Callable[[Prepared, int], Split]] = {
    "full-loo": lambda ready, _: leave_one_out(ready),
    "full-time": lambda ready, _: global_time(ready, validation=0.2, test=0.2),
    "random": lambda ready, rng: random_split(ready, rng=rng),
    "cold-users": lambda ready, rng: cold_users(ready, share=0.3, rng=rng),
    "cold-users, given 2": lambda ready, rng: cold_users(ready, share=0.3, given=2, rng=rng),
    "cold-items": lambda ready, rng: cold_items(ready, share=0.2, rng=rng),
}


def made(name: str, ready: Prepared, seed: int) -> Split:
    """Split, or give up the example where these few data cannot be split so."""
    try:
        return EVERY[name](ready, seed)
    except ReclibError:
        assume(False)
        raise


@pytest.mark.parametrize("name", EVERY)
@EASY
@given(HISTORIES, SEEDS)
def test_the_algebra_of_every_split(
    make_prepared: Make, name: str, histories: list[str], seed: int
) -> None:
    ready = built(make_prepared, histories, seed=seed)
    split = made(name, ready, seed)
    for fold in (split.validation, split.test):
        train, asked = pairs(fold.train.matrix), pairs(fold.relevant)
        assert train and asked and not asked & train
        assert asked | train <= pairs(ready.matrix)
        assert name == "cold-users" or users(asked) <= users(train)
        assert fold.protocol == name.split(",")[0]
        assert fold.relevant.dtype == bool and fold.relevant.shape == ready.shape
    # what is asked in validation is there to train on for the test, and nothing gets lost
    first, last = split.validation, split.test
    trained = pairs(last.train.matrix)
    assert pairs(first.train.matrix) | pairs(first.relevant) <= trained
    lost = pairs(ready.matrix) - trained - pairs(last.relevant)
    assert len(users(lost)) == last.strangers


@pytest.mark.parametrize("name", EVERY)
def test_folds_share_users_products_and_catalogue(make_random: Make, name: str) -> None:
    ready = with_times(make_random(2), 2)
    split = EVERY[name](ready, 0)
    assert (split.validation.name, split.test.name) == ("validation", "test")
    for fold in (split.validation, split.test):
        assert fold.train.user_ids is ready.user_ids
        assert fold.train.items is ready.items
        np.testing.assert_array_equal(fold.train.item, ready.item[fold.kept])


@pytest.mark.parametrize("name", EVERY)
def test_a_seed_decides_a_split(make_random: Make, name: str) -> None:
    ready = with_times(make_random(2), 2)
    one, two, other = (EVERY[name](ready, seed).test for seed in (0, 0, 1))
    assert pairs(one.relevant) == pairs(two.relevant)
    assert one.train.fingerprint == two.train.fingerprint
    drawn = name not in ("full-loo", "full-time")
    assert (pairs(one.relevant) != pairs(other.relevant)) == drawn


# --- leave-one-out


def test_the_last_two_new_products_are_held_out(make_prepared: Make) -> None:
    split = leave_one_out(make_prepared({"anna": "ABACADAD", "bert": "DCB"}))
    assert shown(split.validation) == [("ABA", "C"), ("D", "C")]
    assert shown(split.test) == [("ABACA", "D"), ("DC", "B")]


@EASY
@given(HISTORIES)
def test_leave_one_out_trains_on_nothing_after_its_question(
    make_prepared: Make, histories: list[str]
) -> None:
    split = leave_one_out(built(make_prepared, histories))
    for fold in (split.validation, split.test):
        assert (np.diff(fold.relevant.indptr) == 1).all()
        for history, (train, asked) in zip(histories, shown(fold), strict=True):
            assert train == history[: history.index(asked)]


def test_leave_one_out_keeps_all_other_events(tiny: Prepared) -> None:
    split = leave_one_out(tiny)
    assert split.test.train.n_events == tiny.n_events - tiny.n_users
    assert split.validation.train.n_events == tiny.n_events - 2 * tiny.n_users


def test_what_users_write_after_the_question_is_left_out(make_prepared: Make) -> None:
    ready = replace(make_prepared({"anna": "ABC", "bert": "ABC"}), time=np.arange(6) * 10)
    ready = with_reviews(
        ready,
        user=["anna", "anna", "anna", "anna", "bert", "bert"],
        item=["A", "A", "B", "C", "A", "B"],
        time=[5, 21, 20, 5, -1, 5],
        text=["in time", "too late", "at the moment", "of the question", "undated", "in time"],
    )
    split = leave_one_out(ready)
    # anna is asked for C at 20 and for B at 10, bert for B at 40
    assert list(split.test.train.reviews["text"]) == [
        *("in time", "at the moment"),
        *("undated", "in time"),
    ]
    assert list(split.validation.train.reviews["text"]) == ["in time", "undated"]


@pytest.mark.parametrize(
    ("split", "words"), [(leave_one_out, "leave-one-out"), (random_split, "a random split")]
)
def test_a_user_with_two_products_is_refused_by_name(
    make_prepared: Make, split: Callable[..., Split], words: str
) -> None:
    ready = make_prepared({"anna": "ABC", "bert": "ABAB"})
    options = {"rng": 0} if split is random_split else {}
    with pytest.raises(
        ReclibError, match=f"user 'bert' has 2 different products, {words} needs 3.*min_events=3"
    ):
        split(ready, **options)


# --- global time


def test_the_last_new_product_is_held_out_of_those_who_have_another(make_prepared: Make) -> None:
    """And all that they did from then on leaves with it."""
    ready = make_prepared({"anna": "ABCAC", "bert": "AA", "carl": "BD"})
    fold = last_out(ready)
    known = ready.user_ids.get_indexer(["anna", "bert", "carl"])
    asked = {
        (int(known[0]), int(ready.item_ids.get_loc("C"))),
        (int(known[2]), int(ready.item_ids.get_loc("D"))),
    }
    assert pairs(fold.relevant) == asked
    left = [len(fold.train.user[fold.train.user == user]) for user in known]
    assert left == [2, 2, 1]  # A and B; both of A; B


def test_the_inner_fold_of_a_validation_is_the_product_before(tiny: Prepared) -> None:
    """So a model that learns from it sees neither the validation nor the test."""
    split = leave_one_out(tiny)
    inner = last_out(split.validation.train)
    seen = pairs(inner.relevant) | pairs(inner.train.matrix)
    assert seen == pairs(split.validation.train.matrix)
    assert not seen & (pairs(split.validation.relevant) | pairs(split.test.relevant))
    assert pairs(last_out(tiny).relevant) == pairs(split.test.relevant)


def test_what_users_write_after_the_inner_question_is_left_out(make_prepared: Make) -> None:
    """Those who are not asked keep what they wrote."""
    ready = built(make_prepared, ["ABC", "AA"])
    end = int(ready.time.max()) + 1
    ready = with_reviews(ready, user=["u0", "u0", "u1"], item=["A", "B", "A"], time=[0, end, end])
    left = last_out(ready).train.reviews
    assert list(zip(left["user"], left["time"], strict=True)) == [(0, 0), (1, end)]


def test_nobody_with_two_products_leaves_nothing_to_ask(make_prepared: Make) -> None:
    with pytest.raises(ReclibError, match="inner fold of full-loo asks for nothing"):
        last_out(make_prepared({"anna": "AA", "bert": "B"}))


def test_one_moment_cuts_all_users(make_prepared: Make) -> None:
    ready = make_prepared({"anna": "ABCD", "bert": "ABC", "carl": "DEB"})
    time = np.array([0, 3, 6, 9, 1, 4, 7, 8, 8, 8])
    ready = with_reviews(
        replace(ready, time=time),
        user=["anna", "anna", "bert", "anna"],
        item=["A", "B", "B", "C"],
        time=[2, 8, 6, 5],
        text=["early", "too late", "between", "of what is asked first"],
    )
    split = global_time(ready, validation=0.2, test=0.4)
    # of ten events four lie before 6, where validation cuts, and six before 8
    assert shown(split.validation) == [("AB", "C"), ("AB", "C"), ("", "")]
    assert shown(split.test) == [("ABC", "D"), ("ABC", ""), ("", "")]
    assert (split.validation.strangers, split.test.strangers) == (0, 1)
    assert list(split.validation.train.reviews["text"]) == ["early"]
    assert list(split.test.train.reviews["text"]) == [
        *("early", "between", "of what is asked first"),
    ]


@EASY
@given(HISTORIES, SEEDS, st.floats(0.05, 0.4), st.floats(0.05, 0.4))
def test_global_time_knows_nothing_of_the_future(
    make_prepared: Make, histories: list[str], seed: int, validation: float, test: float
) -> None:
    ready = built(make_prepared, histories, seed=seed)
    try:
        split = global_time(ready, validation=validation, test=test)
    except ReclibError:
        assume(False)
    moments = []
    for fold in (split.validation, split.test):
        latest = fold.train.time.max()
        met: dict[tuple[int, int], int] = {}
        for user, item, time in zip(ready.user, ready.item, ready.time, strict=True):
            met.setdefault((int(user), int(item)), time)
        assert all(met[pair] > latest for pair in pairs(fold.relevant))
        moments.append(latest)
    assert moments[0] < moments[1]
    assert not pairs(split.validation.relevant) & pairs(split.test.relevant)
    # the test asks for at least its share of the events, and for all of its last moment
    assert (ready.time > moments[1]).mean() >= test - 1 / ready.n_events


def test_a_split_by_time_needs_times(tiny: Prepared) -> None:
    remedy = r"use leave_one_out \(on the command line --set protocol=full-loo\)"
    with pytest.raises(ReclibError, match=f"tiny has no timestamps.*{remedy}"):
        global_time(tiny)


@pytest.mark.parametrize(("validation", "test"), [(0, 0.1), (0.1, -1), (0.5, 0.5), (np.nan, 0.1)])
def test_shares_out_of_range_are_refused(tiny: Prepared, validation: float, test: float) -> None:
    with pytest.raises(ReclibError, match=f"validation is {validation} and test is {test}"):
        global_time(with_times(tiny, 0), validation=validation, test=test)


def test_a_shop_of_two_moments_cannot_be_cut_three_ways(tiny: Prepared) -> None:
    refusal = "too many events happen at one moment.*leave_one_out .*--set protocol=full-loo"
    with pytest.raises(ReclibError, match=refusal):
        global_time(with_times(tiny, 0, moments=2))


def test_a_fold_that_asks_for_nothing_is_refused(make_prepared: Make) -> None:
    ready = replace(make_prepared({"anna": "ABCABCABCA"}), time=np.arange(10))
    refusal = "the validation fold of full-time asks for nothing.*choose another protocol"
    with pytest.raises(ReclibError, match=refusal):
        global_time(ready)


# --- random


@EASY
@given(HISTORIES, SEEDS)
def test_a_random_split_holds_out_all_events_with_a_product(
    make_prepared: Make, histories: list[str], seed: int
) -> None:
    split = random_split(built(make_prepared, histories), rng=seed)
    for history, first, last in zip(
        histories, shown(split.validation), shown(split.test), strict=True
    ):
        assert len(first[1]) == len(last[1]) == 1 and first[1] != last[1]
        assert last[0] == history.replace(last[1], "")
        assert first[0] == last[0].replace(first[1], "")


def test_every_product_of_a_user_may_be_drawn(make_prepared: Make) -> None:
    ready = make_prepared({f"u{number:03d}": "ABCD" for number in range(400)})
    drawn = random_split(ready, rng=0).test.relevant.sum(axis=0)
    assert (np.abs(drawn - 100) < 4 * np.sqrt(400 * 0.25 * 0.75)).all()


# --- cold users and cold items


@EASY
@given(HISTORIES, SEEDS, st.integers(0, 3))
def test_of_cold_users_only_the_given_products_are_known(
    make_prepared: Make, histories: list[str], seed: int, given: int
) -> None:
    ready = built(make_prepared, histories)
    try:
        split = cold_users(ready, share=0.3, given=given, rng=seed)
    except ReclibError:
        assume(False)
    first, last = (users(pairs(fold.relevant)) for fold in (split.validation, split.test))
    assert len(first) == len(last) and not first & last
    assert not last & set(split.validation.train.user.tolist())
    for fold, cold in ((split.validation, first), (split.test, last)):
        for user in cold:
            train, asked = shown(fold)[user]
            met = list(dict.fromkeys(histories[user]))
            assert set(train) == set(met[:given]) and set(asked) == set(met[given:])
            assert histories[user].startswith(train)
        warm = ~np.isin(ready.user, list(first | last))
        assert fold.kept[warm].all()


@EASY
@given(HISTORIES, SEEDS)
def test_cold_products_have_no_training_event(
    make_prepared: Make, histories: list[str], seed: int
) -> None:
    ready = built(make_prepared, histories)
    split = made("cold-items", ready, seed)
    first, last = ({item for _, item in pairs(f.relevant)} for f in (split.validation, split.test))
    assert not first & last
    assert not (first | last) & set(split.validation.train.item.tolist())
    assert not last & set(split.test.train.item.tolist())
    assert first <= set(split.test.train.item.tolist())


def test_cold_splits_hold_out_their_share(make_random: Make) -> None:
    ready = make_random(1, n_users=100, n_items=50)
    by_user, by_item = cold_users(ready, rng=0), cold_items(ready, rng=0)
    for fold in (by_user.validation, by_user.test):
        assert len(users(pairs(fold.relevant))) == 10
    for fold in (by_item.validation, by_item.test):
        assert len(np.unique(fold.relevant.indices)) == 5


def test_nothing_that_was_written_by_or_of_the_cold_is_known(make_random: Make) -> None:
    ready = make_random(1, n_users=100, n_items=50)
    everyone, everything = np.indices(ready.shape).reshape(2, -1)
    written = pd.DataFrame({"user": everyone, "item": everything, "time": -1, "text": "fine"})
    ready = replace(ready, reviews=written)
    for split, kind in (
        (cold_users(ready, rng=0), "user"),
        (cold_users(ready, given=1, rng=0), "user"),
        (cold_items(ready, rng=0), "item"),
    ):
        asked = [pairs(fold.relevant) for fold in (split.validation, split.test)]
        first, last = ({pair[kind == "item"] for pair in some} for some in asked)
        everybody = set(written[kind])
        assert set(split.validation.train.reviews[kind]) == everybody - first - last
        assert set(split.test.train.reviews[kind]) == everybody - last


@pytest.mark.parametrize("split", [cold_users, cold_items])
@pytest.mark.parametrize("share", [0, 0.5, -0.1, np.nan])
def test_a_cold_share_out_of_range_is_refused(
    tiny: Prepared, split: Callable[..., Split], share: float
) -> None:
    with pytest.raises(ReclibError, match=f"share is {share}; allowed is 0 < share < 0.5"):
        split(tiny, share=share, rng=0)


def test_cold_splits_of_too_few_say_so(make_prepared: Make, tiny: Prepared) -> None:
    few = make_prepared({"anna": "ABC", "bert": "ABCD"})
    with pytest.raises(ReclibError, match="0.1 of 2 users with more than 0 products"):
        cold_users(few, rng=0)
    with pytest.raises(ReclibError, match="0.1 of 4 products with an event"):
        cold_items(few, rng=0)
    with pytest.raises(ReclibError, match="given is -1; allowed is 0 or more"):
        cold_users(tiny, given=-1, rng=0)
    with pytest.raises(ReclibError, match="0.1 of 0 users with more than 99 products"):
        cold_users(tiny, given=99, rng=0)


# --- their description


def test_a_split_is_described_with_its_leaks(make_prepared: Make) -> None:
    ready = replace(make_prepared({"anna": "ABCD", "bert": "CABE"}), time=np.arange(8))
    table = describe_split(leave_one_out(ready), ready)
    assert list(table["protocol"]) == ["full-loo", "full-loo"]
    assert list(table["fold"]) == ["validation", "test"]
    assert list(table["training_events"]) == [4, 6]
    assert list(table["users_asked"]) == list(table["pairs_asked"]) == [2, 2]
    assert list(table["products_asked"]) == [2, 2]
    assert list(table["before_own"]) == [0, 0]
    # bert's training events lie after what anna is asked for
    assert list(table["before_any"]) == [0.5, 0.5]
    # in validation C is known from bert and B from anna; D and E are new to the shop
    assert list(table["unseen"]) == [0, 1]


def test_the_leak_of_a_random_split_is_shown(make_random: Make) -> None:
    ready = with_times(make_random(3), 3)
    leaky = describe_split(random_split(ready, rng=0), ready)
    assert (leaky["before_own"] > 0.5).all()
    assert (leaky["before_any"] > 0.5).all()
    honest = describe_split(global_time(ready), ready)
    assert (honest[["before_own", "before_any"]] == 0).all(axis=None)
    assert (honest["strangers"] >= 0).all()


def test_without_times_there_is_no_before_anybody(tiny: Prepared) -> None:
    table = describe_split(cold_users(tiny, rng=0), tiny)
    assert table["before_any"].isna().all()
    assert (table["users_asked"] == 4).all()
    assert (table[["strangers", "before_own"]] == 0).all(axis=None)
    cold = describe_split(cold_items(tiny, rng=0), tiny)
    assert (cold["unseen"] == 1).all()


def test_a_split_of_other_data_cannot_be_described(tiny: Prepared) -> None:
    split = leave_one_out(tiny)
    with pytest.raises(ReclibError, match="validation fold was not made of these data"):
        describe_split(split, split.test.train)


@pytest.mark.parametrize(
    ("protocol", "function"), [("full-loo", leave_one_out), ("full-time", global_time)]
)
def test_a_protocol_names_its_split(
    make_random: Make, protocol: str, function: Callable[[Prepared], Split]
) -> None:
    ready = with_times(make_random(3), 3)
    found, expected = split_by(ready, protocol), function(ready)
    for name in ("validation", "test"):
        ours, theirs = getattr(found, name), getattr(expected, name)
        assert (ours.name, ours.protocol) == (name, protocol)
        np.testing.assert_array_equal(ours.kept, theirs.kept)
        assert pairs(ours.relevant) == pairs(theirs.relevant)


@pytest.mark.parametrize(("wrong", "near"), [("full-lo", "full-loo"), ("fulltime", "full-time")])
def test_an_unknown_protocol_is_refused_with_the_nearest_name(
    tiny: Prepared, wrong: str, near: str
) -> None:
    message = rf"unknown protocol '{wrong}': did you mean '{near}'.*Allowed: full-loo, full-time"
    with pytest.raises(ReclibError, match=message):
        split_by(tiny, wrong)


def test_what_a_notebook_shows_of_data_is_one_line(make_market: Callable[..., Marketplace]) -> None:
    market = make_market({"anna": "ABCA", "ben": "BCD"})
    ready = prepare(market, min_events=1)
    assert repr(market) == "<Marketplace tiny: 7 interactions, 4 items>"
    assert repr(ready) == "<Prepared tiny: 2 users, 4 items, 7 events, 0 reviews>"
    assert repr(leave_one_out(ready).test) == (
        "<Fold test, full-loo: 2 products of 2 users held out, 4 events to train on>"
    )
