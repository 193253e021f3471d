"""Sampled pairs, thresholds, and ranking a fold with and without the cache."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import percentileofscore

from reclib.data import Fold, Prepared, leave_one_out
from reclib.evaluation import (
    Outcome,
    Pairs,
    evaluate,
    protocols,
    sample_pairs,
)
from reclib.models import Collaborative, Content, Fusion, Popular, Random, Scorer


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


def test_a_large_catalogue_goes_through_in_smaller_batches(
    fold: Fold, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    # what is kept is of three scorers that are no fusion, for so many users at once
    for at_once in (fold.train.n_users, 7, 0):
        monkeypatch.setattr(protocols, "CELLS", at_once * 3 * fold.train.n_items)
        monkeypatch.setattr("reclib.paths.CACHE", tmp_path / str(at_once))
        counting, content, popular = Counting(), Content(), Popular()
        inner = Fusion({"content": content, "popular": popular}, {"content": 1, "popular": 1})
        models = {
            "counting": counting,
            "popular": popular,
            "fusion": Fusion({"counting": counting, "inner": inner}, {"counting": 1, "inner": 2}),
        }
        found.append(evaluate(models, fold, pairs=sample_pairs(fold), progress=False))
        assert counting.batches == -(-fold.train.n_users // max(at_once, 1))
    for name in found[0]:
        assert_same(found[0][name], found[1][name])
        assert_same(found[0][name], found[2][name])


def test_pairs_of_some_users_are_scored_as_among_those_of_all(
    fold: Fold, fresh_cache: Path
) -> None:
    pairs = sample_pairs(fold, negatives=2)
    some = pairs.user % 3 > 0
    few = Pairs(pairs.user[some], pairs.item[some])
    for name, outcome in evaluate(scorers(), fold, pairs=pairs, progress=False).items():
        part = evaluate({name: scorers()[name]}, fold, pairs=few, batch_size=4, progress=False)
        np.testing.assert_allclose(part[name].pair_scores, outcome.pair_scores[some], atol=1e-6)


def test_the_second_time_comes_from_the_disk(fold: Fold, fresh_cache: Path) -> None:
    pairs = sample_pairs(fold)
    first, again = Counting(), Counting()
    one = evaluate({"a": first}, fold, pairs=pairs, progress=False)["a"]
    two = evaluate({"b": again}, fold, pairs=pairs, progress=False)["b"]
    assert (first.fits, again.fits, again.batches) == (1, 0, 0)
    assert_same(one, two)
    assert one.seconds == two.seconds and one.peak_mb == two.peak_mb


@pytest.mark.parametrize("change", ["setting", "data", "k", "pairs", "no pairs", "seed", "device"])
def test_any_change_is_computed_anew(
    fold: Fold, tiny: Prepared, fresh_cache: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    pairs = sample_pairs(fold)
    chance = change == "seed"  # a seed is a change only for a fit with chance in it
    first, changed = Counting(), Counting(label=int(change == "setting"))
    first.stochastic = changed.stochastic = chance
    evaluate({"a": first}, fold, pairs=pairs, progress=False)
    other = {"pairs": sample_pairs(fold, rng=9), "no pairs": None}.get(change, pairs)
    if change == "device":
        monkeypatch.setattr(protocols, "choose_device", lambda: "another")
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
