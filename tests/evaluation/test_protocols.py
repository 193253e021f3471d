"""Sampled pairs, thresholds, and ranking a fold with and without the cache."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import percentileofscore
from sklearn.metrics import precision_recall_fscore_support

from reclib.data import Fold, Prepared, leave_one_out
from reclib.errors import ReclibError
from reclib.evaluation import (
    Outcome,
    best_threshold,
    evaluate,
    pair_counts,
    pair_metrics,
    sample_pairs,
)
from reclib.models import Collaborative, Content, Fusion, Popular, Random, Scorer

SCORES = st.tuples(st.integers(1, 6), st.integers(2, 4)).flatmap(
    lambda shape: arrays(
        np.float32, shape, elements=st.sampled_from([0.0, 0.25, 0.5, 0.5, 0.75, 1.0])
    )
)


@pytest.fixture(scope="module")
def fold(tiny: Prepared) -> Fold:
    return leave_one_out(tiny).test


def scorers() -> dict[str, Scorer]:
    content, collaborative = Content(), Collaborative()
    parts = {"content": content, "collaborative": collaborative}
    return {
        "random": Random(),
        "popular": Popular(),
        "content": content,
        "collaborative": collaborative,
        "one": Fusion(parts, {"content": 1, "collaborative": 3}),
        "two": Fusion(parts, {"content": 3, "collaborative": 1}, normalise="percentile"),
    }


def assert_same(one: Outcome, two: Outcome) -> None:
    np.testing.assert_array_equal(one.top, two.top)
    np.testing.assert_allclose(one.pair_scores, two.pair_scores, atol=1e-6)


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


@pytest.mark.parametrize("name", ["popular", "content", "one"])
def test_pair_scores_are_shares_of_the_users_candidates(
    fold: Fold, fresh_cache: Path, name: str
) -> None:
    scorer = scorers()[name]
    pairs = sample_pairs(fold, negatives=3)
    found = evaluate({name: scorer}, fold, pairs=pairs, batch_size=7, progress=False)[name]
    scores = scorer.score(np.arange(fold.train.n_users))
    for user, items, shares in zip(pairs.user, pairs.item, found.pair_scores, strict=True):
        candidates = scores[user][fold.train.matrix.toarray()[user] == 0]
        for item, share in zip(items, shares, strict=True):
            expected = percentileofscore(candidates, scores[user, item], kind="mean") / 100
            assert share == pytest.approx(expected, abs=1e-6)


def test_a_pair_that_cannot_be_scored_is_at_the_bottom(fold: Fold, fresh_cache: Path) -> None:
    train = fold.train.select(fold.train.user != 0)
    alone = Fold("test", train, fold.relevant)
    found = evaluate({"content": Content()}, alone, pairs=sample_pairs(alone), progress=False)[
        "content"
    ]
    assert (found.pair_scores[0] == 0).all()
    assert (found.top[0] == -1).all()
    assert found.pair_scores[1:].mean() > 0.3


def test_lists_are_those_of_recommend(fold: Fold, fresh_cache: Path) -> None:
    for name, outcome in evaluate(scorers(), fold, k=6, progress=False).items():
        scorer = scorers()[name].fit(fold.train)
        lists = scorer.recommend(list(fold.train.user_ids), 6)
        shown = fold.train.item_ids.get_indexer(lists["item_id"]).reshape(-1, 6)
        np.testing.assert_array_equal(outcome.top, shown)
        assert outcome.pair_scores is None


def test_nothing_seen_is_in_a_list(fold: Fold, fresh_cache: Path) -> None:
    seen = fold.train.matrix.toarray() > 0
    for outcome in evaluate(scorers(), fold, k=25, progress=False).values():
        user, place = np.nonzero(outcome.top >= 0)
        assert not seen[user, outcome.top[user, place]].any()
        # all else is in it, and the end is padded
        length = np.minimum(25, (~seen).sum(axis=1))
        np.testing.assert_array_equal((outcome.top >= 0).sum(axis=1), length)
        assert (np.diff((outcome.top >= 0).astype(int), axis=1) <= 0).all()


def test_results_do_not_depend_on_the_size_of_a_batch(
    fold: Fold, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = sample_pairs(fold, negatives=2)
    found = []
    for batch_size in (1, 7, 512):
        monkeypatch.setattr("reclib.paths.CACHE", tmp_path / str(batch_size))
        found.append(evaluate(scorers(), fold, pairs=pairs, batch_size=batch_size, progress=False))
    for name in scorers():
        assert_same(found[0][name], found[2][name])
        assert_same(found[1][name], found[2][name])


class Counting(Popular):
    """Counts its fits and the batches that it scores."""

    name = "counting"

    def __init__(self, *, label: int = 0) -> None:
        self.label = label
        self.fits = self.batches = 0

    def _fit(self, prepared: Prepared, rng: int) -> None:
        self.fits += 1
        super()._fit(prepared, rng)

    def _score(self, users: np.ndarray, items: np.ndarray | slice) -> np.ndarray:
        self.batches += 1
        return super()._score(users, items)


def test_parts_of_fusions_are_scored_once_a_batch(fold: Fold, fresh_cache: Path) -> None:
    part = Counting()
    parts = {"counting": part, "content": Content()}
    models = {
        "alone": part,
        "one": Fusion(parts, {"counting": 1, "content": 1}),
        "two": Fusion(parts, {"counting": 1, "content": 3}),
    }
    evaluate(models, fold, batch_size=15, progress=False)
    assert part.fits == 1
    assert part.batches == -(-fold.train.n_users // 15)


def test_the_second_time_comes_from_the_disk(fold: Fold, fresh_cache: Path) -> None:
    pairs = sample_pairs(fold)
    first, again = Counting(), Counting()
    one = evaluate({"a": first}, fold, pairs=pairs, progress=False)["a"]
    two = evaluate({"b": again}, fold, pairs=pairs, progress=False)["b"]
    assert (first.fits, again.fits, again.batches) == (1, 0, 0)
    assert_same(one, two)
    assert one.seconds == two.seconds and one.peak_mb == two.peak_mb


@pytest.mark.parametrize("change", ["setting", "data", "k", "pairs", "no pairs", "seed"])
def test_any_change_is_computed_anew(
    fold: Fold, tiny: Prepared, fresh_cache: Path, change: str
) -> None:
    pairs = sample_pairs(fold)
    chance = change == "seed"  # a seed is a change only for a fit with chance in it
    first, changed = Counting(), Counting(label=int(change == "setting"))
    first.stochastic = changed.stochastic = chance
    evaluate({"a": first}, fold, pairs=pairs, progress=False)
    other = {"pairs": sample_pairs(fold, rng=9), "no pairs": None}.get(change, pairs)
    evaluate(
        {"a": changed},
        leave_one_out(tiny).validation if change == "data" else fold,
        pairs=other,
        k=9 if change == "k" else 10,
        rng=int(chance),
        progress=False,
    )
    assert changed.fits == 1


def test_another_seed_is_no_change_for_a_fit_without_chance(fold: Fold, fresh_cache: Path) -> None:
    again = Counting()
    one = evaluate({"a": Counting()}, fold, rng=0, progress=False)["a"]
    two = evaluate({"a": again}, fold, rng=1, progress=False)["a"]
    np.testing.assert_array_equal(one.top, two.top)
    assert again.fits == 0


def test_only_what_is_missing_is_computed(fold: Fold, fresh_cache: Path) -> None:
    old, new = Counting(label=1), Counting(label=2)
    evaluate({"old": Counting(label=1)}, fold, progress=False)
    found = evaluate({"new": new, "old": old}, fold, progress=False)
    assert list(found) == ["new", "old"]
    assert (new.fits, old.fits) == (1, 0)


def test_the_seed_reaches_a_scorer_that_was_fitted_with_another(
    fold: Fold, fresh_cache: Path
) -> None:
    scorer = Random()
    evaluate({"random": scorer}, fold, rng=0, progress=False)
    second = evaluate({"random": scorer}, fold, rng=1, progress=False)["random"]
    fresh = Random().fit(fold.train, rng=1).recommend(list(fold.train.user_ids), 10)
    shown = fold.train.item_ids.get_indexer(fresh["item_id"]).reshape(-1, 10)
    np.testing.assert_array_equal(second.top, shown)


def test_a_fusion_whose_parts_moved_on_is_fitted_again(tiny: Prepared, fresh_cache: Path) -> None:
    split = leave_one_out(tiny)
    parts = {"content": Content(), "popular": Popular()}
    weights = {"content": 1, "popular": 1}
    fusion = Fusion(parts, weights)
    evaluate({"fusion": fusion}, split.validation, k=3, progress=False)
    evaluate(parts, split.test, progress=False)  # the parts now know the validation products
    found = evaluate({"fusion": fusion}, split.validation, k=5, progress=False)["fusion"]
    fresh = Fusion({"content": Content(), "popular": Popular()}, weights)
    lists = fresh.fit(split.validation.train).recommend(list(tiny.user_ids), 5)
    shown = tiny.item_ids.get_indexer(lists["item_id"]).reshape(-1, 5)
    np.testing.assert_array_equal(found.top, shown)


def test_an_outcome_knows_its_costs(fold: Fold, fresh_cache: Path) -> None:
    found = evaluate(scorers(), fold, progress=False)
    for outcome in found.values():
        assert {"fit", "score"} <= set(outcome.seconds)
        assert all(seconds >= 0 for seconds in outcome.seconds.values())
        assert 10 < outcome.peak_mb < 100_000
    # a fusion's time includes that of its parts
    parts = found["content"].seconds["fit"] + found["collaborative"].seconds["fit"]
    assert found["one"].seconds["fit"] == pytest.approx(parts)
