"""The protocol ``pairs``: sampled negatives, thresholds, and intervals that move them."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import precision_recall_fscore_support

from reclib.data import Fold, Prepared, leave_one_out
from reclib.errors import ReclibError
from reclib.evaluation import (
    Pairs,
    best_threshold,
    pair_counts,
    pair_metrics,
    resampled_counts,
    sample_pairs,
)
from reclib.evaluation.pairs import n_drawable
from reclib.evaluation.significance import resamples
from reclib.models import Collaborative, Content, Popular
from reclib.study.experiment import run_experiment

SCORES = st.tuples(st.integers(1, 6), st.integers(2, 4)).flatmap(
    lambda shape: arrays(
        np.float32, shape, elements=st.sampled_from([0.0, 0.25, 0.5, 0.5, 0.75, 1.0])
    )
)


@pytest.fixture(scope="module")
def fold(tiny: Prepared) -> Fold:
    return leave_one_out(tiny).test


@pytest.mark.parametrize("weighting", ["uniform", "popularity"])
@pytest.mark.parametrize("negatives", [1, 4])
def test_pairs_are_a_positive_and_strangers(fold: Fold, negatives: int, weighting: str) -> None:
    pairs = sample_pairs(fold, negatives=negatives, weighting=weighting)
    relevant = fold.relevant.toarray()
    known = (fold.train.matrix.toarray() > 0) | relevant
    assert pairs.item.shape == (fold.train.n_users, 1 + negatives)
    assert (np.diff(pairs.user) > 0).all()
    assert relevant[pairs.user, pairs.item[:, 0]].all()
    assert not known[pairs.user[:, None], pairs.item[:, 1:]].any()
    assert all(len(set(row)) == 1 + negatives for row in pairs.item)


def test_every_relevant_product_is_a_positive_once(tiny: Prepared) -> None:
    relevant = np.zeros(tiny.shape, bool)
    unseen = tiny.matrix.toarray() == 0
    for user, number in ((0, 3), (4, 1), (7, 2)):
        relevant[user, np.flatnonzero(unseen[user])[:number]] = True
    pairs = sample_pairs(Fold("test", tiny, sp.csr_array(relevant)), negatives=2)
    found = set(zip(pairs.user, pairs.item[:, 0], strict=True))
    assert pairs.user.tolist() == [0, 0, 0, 4, 7, 7]
    assert found == set(zip(*np.nonzero(relevant), strict=True))
    assert not relevant[pairs.user[:, None], pairs.item[:, 1:]].any()


def test_the_same_seed_draws_the_same_pairs(fold: Fold) -> None:
    one, same, other = (sample_pairs(fold, negatives=3, rng=seed).item for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("weighting", ["uniform", "popularity"])
def test_negatives_are_drawn_as_often_as_their_weight_says(
    make_prepared: Callable[..., Prepared], weighting: str
) -> None:
    # 3,000 users who had A and want B, and others who make C, D and E popular as 1, 2 and 5
    histories = {f"u{user:04d}": "A" for user in range(3000)}
    histories |= {f"v{user}": "C" for user in range(100)}
    histories |= {f"w{user}": "D" for user in range(200)}
    histories |= {f"x{user}": "E" for user in range(500)}
    train = make_prepared({**histories, "y": "B"})
    relevant = sp.lil_array(train.shape, dtype=bool)
    relevant[:3000, 1] = True
    pairs = sample_pairs(Fold("test", train, sp.csr_array(relevant)), weighting=weighting)
    share = np.bincount(pairs.item[:, 1], minlength=5) / 3000
    wanted = [1 / 3, 1 / 3, 1 / 3] if weighting == "uniform" else [1 / 8, 2 / 8, 5 / 8]
    # four standard deviations of a share of 3,000 draws
    np.testing.assert_allclose(share, [0, 0, *wanted], atol=0.035)


@pytest.mark.parametrize("negatives", [0, -1, 30])
def test_too_few_or_too_many_negatives_are_refused(fold: Fold, negatives: int) -> None:
    with pytest.raises(ReclibError, match=f"negatives is {negatives}; allowed is 1 to [0-9]+"):
        sample_pairs(fold, negatives=negatives)


@pytest.fixture
def five_seconds() -> Iterator[None]:
    """Fail what would go on for ever."""
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("not done in five seconds"))
    signal.alarm(5)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("weighting", ["uniform", "popularity"])
def test_all_that_is_left_can_be_drawn(fold: Fold, weighting: str, five_seconds: None) -> None:
    known = np.diff(fold.train.matrix.indptr).max() + 1
    drawable = fold.train.n_items if weighting == "uniform" else len(np.unique(fold.train.item))
    pairs = sample_pairs(fold, negatives=int(drawable - known), weighting=weighting)
    assert all(len(set(row)) == len(row) for row in pairs.item)


@pytest.mark.parametrize("weighting", ["uniform", "popularity"])
def test_who_has_too_few_products_left_is_left_out_and_all_others_stay(
    make_prepared: Callable[..., Prepared], weighting: str, five_seconds: None
) -> None:
    fold = leave_one_out(
        make_prepared({"anna": "ABC", "bert": "BCD", "carl": "DEA", "tester": "EDCBA"})
    ).test
    pairs = sample_pairs(fold, negatives=2, weighting=weighting)
    assert list(fold.train.user_ids[pairs.user]) == ["anna", "bert", "carl"]
    assert pairs.item.shape == (3, 3)
    assert fold.relevant.toarray()[pairs.user, pairs.item[:, 0]].all()
    known = (fold.train.matrix.toarray() > 0) | fold.relevant.toarray()
    assert not known[pairs.user[:, None], pairs.item[:, 1:]].any()
    assert n_drawable(fold, weighting=weighting).tolist() == [2, 2, 2, 0]


def test_an_experiment_goes_on_without_the_pairs_of_who_had_everything(
    make_prepared: Callable[..., Prepared], fresh_cache: Path
) -> None:
    histories = {f"u{user}": [f"p{(user + n) % 8}" for n in range(4)] for user in range(8)}
    ready = make_prepared({**histories, "tester": [f"p{n}" for n in range(8)]})
    scorers = {"popular": Popular(), "content": Content(), "collaborative": Collaborative()}
    found = run_experiment(leave_one_out(ready), scorers, n_trials=2, n_resamples=20).metrics
    pairs, lists = (found[found["protocol"] == name] for name in ("pairs", "full-loo"))
    # in validation the last product is still there to be drawn, so the tester takes part
    assert set(pairs["users"]) == {8} and pairs[["value", "low", "high"]].notna().all(axis=None)
    assert set(lists.loc[lists["metric"] == "recall@10", "users"]) == {9}


def test_where_nobody_has_a_product_left_pairs_are_refused_with_a_way_out(
    make_prepared: Callable[..., Prepared],
) -> None:
    fold = leave_one_out(make_prepared({"anna": "ABC", "bert": "BCA"})).test
    with pytest.raises(ReclibError, match=r"nobody has a product left.*bring more.*negatives=0"):
        sample_pairs(fold)


def test_an_unknown_weighting_gets_the_nearest_name(fold: Fold) -> None:
    with pytest.raises(ReclibError, match="unknown weighting 'popular'.*'popularity'"):
        sample_pairs(fold, weighting="popular")


def f1_of(scores: np.ndarray, threshold: float) -> float:
    yes = scores >= threshold
    return 2 * yes[:, 0].sum() / (yes.sum() + len(scores))


@settings(max_examples=200, deadline=None)
@given(SCORES)
def test_the_threshold_is_the_best_of_all_and_of_ties_the_highest(scores: np.ndarray) -> None:
    tried = sorted(set(scores.ravel().tolist()), reverse=True)
    quality = [f1_of(scores, threshold) for threshold in tried]
    assert best_threshold(scores) == tried[int(np.argmax(quality))]


@settings(max_examples=100, deadline=None)
@given(SCORES, st.floats(-0.5, 1.5))
def test_pairs_are_judged_as_sklearn_judges(scores: np.ndarray, threshold: float) -> None:
    truth = np.zeros(scores.shape, bool)
    truth[:, 0] = True
    theirs = precision_recall_fscore_support(
        truth.ravel(), scores.ravel() >= threshold, average="binary", zero_division=0
    )
    counts = pair_counts(scores, threshold)
    ours = pair_metrics(counts.sum(axis=0))
    assert [float(ours[name]) for name in ("precision", "recall", "f1")] == pytest.approx(
        theirs[:3]
    )


def test_pairs_by_hand() -> None:
    scores = np.array([[0.9, 0.8, 0.1], [0.2, 0.1, 0.7], [0.5, 0.4, 0.3]], np.float32)
    counts = pair_counts(scores, 0.5)
    np.testing.assert_array_equal(counts, [[1, 1, 0], [0, 1, 1], [1, 0, 0]])
    found = pair_metrics(counts.sum(axis=0))
    assert found == pytest.approx({"precision": 0.5, "recall": 2 / 3, "f1": 4 / 7})
    nothing = pair_metrics(np.zeros((2, 3)))
    assert {name: values.tolist() for name, values in nothing.items()} == {
        "precision": [0, 0],
        "recall": [0, 0],
        "f1": [0, 0],
    }


def made_up(users: np.ndarray, n_values: int, rng: int) -> tuple[Pairs, np.ndarray]:
    """Pairs of these users, and scores that are a little higher for what was bought."""
    generator = np.random.default_rng(rng)
    scores = generator.integers(n_values, size=(len(users), 3)) / n_values
    scores[:, 0] = np.minimum(scores[:, 0] + 0.2, 1)
    return Pairs(users, generator.integers(9, size=scores.shape)), scores.astype(np.float32)


@pytest.mark.parametrize("n_values", [2, 7, 1000])
def test_each_resample_is_as_if_its_users_were_all(n_values: int) -> None:
    asked, before = made_up(np.array([0, 0, 1, 3, 4, 4, 4, 6]), n_values, 1)
    pairs, after = made_up(np.array([1, 2, 2, 3, 4, 6, 7]), n_values, 2)
    yes = np.ones_like
    found = resampled_counts(
        {"a": before, "yes": yes(before)}, asked, {"a": after, "yes": yes(after)}, pairs,
        n_resamples=40, rng=5,
    )  # fmt: skip
    users = np.array([0, 1, 2, 3, 4, 6, 7])
    [drawn] = resamples(len(users), 40, 5)
    for row, times in enumerate(drawn):
        of_user = dict(zip(users, times, strict=True))
        chosen_on = np.repeat(before, [of_user[user] for user in asked.user], axis=0)
        judged = np.repeat(after, [of_user[user] for user in pairs.user], axis=0)
        if len(chosen_on):
            expected = pair_counts(judged, best_threshold(chosen_on)).sum(axis=0)
            np.testing.assert_array_equal(found["a"][row], expected)
            all_yes = [len(judged), 2 * len(judged), 0]
            np.testing.assert_array_equal(found["yes"][row], all_yes)


def test_resamples_do_not_depend_on_how_many_are_made_at_a_time() -> None:
    [whole] = resamples(50, 30, 3)
    parts = [*resamples(50, 30, 3, cells=200)]
    assert len(parts) > 1
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_an_interval_knows_that_the_threshold_could_be_another() -> None:
    users = np.arange(400)
    asked, before = made_up(users, 1000, 1)
    pairs, after = made_up(users, 1000, 2)
    moving = pair_metrics(resampled_counts({"a": before}, asked, {"a": after}, pairs)["a"])
    kept = pair_counts(after, best_threshold(before))
    still = pair_metrics(np.concatenate([drawn @ kept for drawn in resamples(400, 2000, 0)]))
    assert moving["recall"].std() > 1.5 * still["recall"].std()
