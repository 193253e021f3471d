"""Choosing weights: weighing the pool must equal the plain way, for every weighting."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from reclib.data import Fold, Prepared, leave_one_out
from reclib.errors import ReclibError
from reclib.evaluation import choose_weights, evaluate, ranking_metrics, weighing
from reclib.models import Collaborative, Content, Fusion, Scorer
from reclib.models.base import Indices, Scores
from reclib.models.fusion import NORMALISERS


class Coarse(Scorer):
    """Few distinct scores, so that ties are everywhere, and some holes.

    Not whole numbers, but for 0 and 1: sums of those tie but for rounding, which the search and
    a fusion do in different orders.
    """

    name = "coarse"

    def __init__(self, *, levels: int = 3, holes: float = 0.0, salt: int = 0) -> None:
        self.levels = levels
        self.holes = holes
        self.salt = salt

    def _fit(self, prepared: Prepared, rng: int) -> None:
        generator = np.random.default_rng(self.salt)
        drawn = generator.integers(0, self.levels, prepared.shape)
        scores = (drawn ** (1 + self.salt / 50)).astype(np.float32)
        scores[generator.random(prepared.shape) < self.holes] = np.nan
        if self.holes:
            scores[::5] = np.nan
        self._scores = scores

    def _score(self, users: Indices, items: Indices | slice) -> Scores:
        return self._scores[users][:, items].copy()


def plain(
    parts: Mapping[str, Scorer], fold: Fold, trials: pd.DataFrame, normalise: str, k: int
) -> list[float]:
    """Mean ndcg of each trial by way of `Fusion`, `evaluate` and `ranking_metrics`."""
    names = list(parts)
    models = {
        str(row): Fusion(parts, dict(zip(names, weights, strict=True)), normalise=normalise)
        for row, weights in enumerate(trials[names].to_numpy())
    }
    outcomes = evaluate(models, fold, k=k, progress=False)
    return [
        float(np.nanmean(ranking_metrics(outcome.top, fold.relevant)[f"ndcg@{k}"]))
        for outcome in outcomes.values()
    ]


PARTS: dict[str, Callable[[], dict[str, Scorer]]] = {
    "two": lambda: {"a": Coarse(salt=1), "b": Coarse(levels=4, salt=2)},
    "three": lambda: {"a": Coarse(salt=3), "b": Coarse(levels=7, salt=4), "c": Coarse(salt=5)},
    "holes": lambda: {"a": Coarse(salt=6, holes=0.4), "b": Coarse(salt=7), "c": Coarse(salt=8)},
    "four": lambda: {str(n): Coarse(levels=n, salt=n, holes=0.2) for n in (2, 3, 4, 5)},
    "all holes": lambda: {"a": Coarse(salt=9, holes=0.6), "b": Coarse(salt=10, holes=0.6)},
}


@pytest.mark.parametrize("normalise", NORMALISERS)
@pytest.mark.parametrize("parts", PARTS)
def test_every_trial_equals_a_fusion_that_is_evaluated(
    make_random: Callable[..., Prepared], fresh_cache: Path, parts: str, normalise: str
) -> None:
    fold = leave_one_out(make_random(11, n_users=60, n_items=40)).validation
    made = PARTS[parts]()
    trials = choose_weights(
        made, fold, n_trials=15, normalise=normalise, k=5, batch_size=23, progress=False
    )
    assert len(trials) == 15 and list(trials) == [*made, "ndcg@5"]
    np.testing.assert_allclose(trials["ndcg@5"], plain(made, fold, trials, normalise, 5), atol=1e-9)
    assert trials["ndcg@5"].nunique() > 5


def test_every_trial_equals_a_fusion_with_several_relevant_products_or_none(
    tiny: Prepared, fresh_cache: Path
) -> None:
    rng = np.random.default_rng(2)
    relevant = (rng.random(tiny.shape) < 0.2) & (tiny.matrix.toarray() == 0)
    relevant[::4] = False
    fold = Fold("validation", tiny, sp.csr_array(relevant))
    parts = PARTS["three"]()
    trials = choose_weights(parts, fold, n_trials=15, k=4, progress=False)
    np.testing.assert_allclose(trials["ndcg@4"], plain(parts, fold, trials, "minmax", 4), atol=1e-9)


def test_a_pool_of_the_best_products_gives_nearly_what_the_whole_catalogue_gives(
    make_random: Callable[..., Prepared], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fold = leave_one_out(make_random(3, n_users=80, n_items=120)).validation
    parts: dict[str, Scorer] = {"a": Content(), "b": Collaborative(profile="interactions")}
    found = {}
    for depth in (15, 10_000):
        monkeypatch.setattr("reclib.paths.CACHE", tmp_path / str(depth))
        monkeypatch.setattr(weighing, "DEPTH", depth)
        trials = choose_weights(parts, fold, n_trials=15, k=5, progress=False)
        found[depth] = trials.sort_values("a")["ndcg@5"].to_numpy()
    assert (found[15] >= found[10_000] - 1e-12).all()
    np.testing.assert_allclose(found[15], found[10_000], atol=0.01)


@pytest.mark.parametrize("parts", ["two", "four"])
def test_weights_by_history_equal_a_fusion_with_newcomers(
    make_random: Callable[..., Prepared], fresh_cache: Path, parts: str
) -> None:
    fold = leave_one_out(make_random(12, n_users=60, n_items=40)).validation
    made = PARTS[parts]()
    trials = choose_weights(made, fold, n_trials=12, by_history=True, k=5, progress=False)
    mixed = trials[trials["halfway"].notna()]
    assert len(mixed) == 12 and len(trials) == 24
    for _, row in mixed.iterrows():
        fusion = Fusion(
            made,
            {name: row[name] for name in made},
            newcomers={name: row[f"newcomers:{name}"] for name in made},
            halfway=row["halfway"],
        )
        top = evaluate({"fusion": fusion}, fold, k=5, progress=False)["fusion"].top
        gain = np.nanmean(ranking_metrics(top, fold.relevant)["ndcg@5"])
        assert row["ndcg@5"] == pytest.approx(gain, abs=1e-9)


class Against(Coarse):
    """Likes everything but what is asked for."""

    def _fit(self, prepared: Prepared, rng: int) -> None:
        super()._fit(prepared, rng)
        self._scores += 10 * (1 - prepared.targets)


class Knowing(Coarse):
    """Knows what is asked for, though not very loudly."""

    def _fit(self, prepared: Prepared, rng: int) -> None:
        super()._fit(prepared, rng)
        self._scores = self._scores + 4 * prepared.targets


def test_a_good_part_does_not_drown_among_many_bad_ones(tiny: Prepared, fresh_cache: Path) -> None:
    """From equal weights no single step helps; the search must not end there, at 0."""
    fold = leave_one_out(tiny).validation
    object.__setattr__(fold.train, "targets", fold.relevant.toarray().astype(np.float32))
    parts: dict[str, Scorer] = {f"bad {n}": Against(salt=n) for n in range(6)}
    parts["good"] = Knowing(salt=9)
    trials = choose_weights(parts, fold, n_trials=60, k=3, progress=False)
    equal = trials[(trials[list(parts)].round(6).nunique(axis=1) == 1)]
    assert equal["ndcg@3"].max() == 0
    assert trials["ndcg@3"][0] == 1
    assert len(trials) <= 60


def test_a_search_climbs_to_the_top_of_a_hill_and_never_asks_too_often() -> None:
    top = np.array([0.5, 0.0, 2.0, 1.0])

    def hill(numbers: np.ndarray, near: np.ndarray) -> float:
        assert (numbers != near).sum() <= 1
        return -float(((numbers - top) ** 2).sum())

    tried = weighing.climb(hill, np.full(4, 0.25), 300)
    best = max(tried, key=lambda trial: trial[1])
    np.testing.assert_allclose(best[0], top, atol=0.06)
    assert all(gain == hill(numbers, numbers) for numbers, gain in tried)
    assert len(weighing.climb(hill, np.full(4, 0.25), 7)) == 7
    assert len(tried) <= 300


def test_best_first_and_of_ties_the_first_on_the_grid(tiny: Prepared, fresh_cache: Path) -> None:
    fold = leave_one_out(tiny).validation
    trials = choose_weights(PARTS["two"](), fold, n_trials=30, progress=False)
    assert trials["ndcg@10"].is_monotonic_decreasing
    for _, tied in trials.groupby("ndcg@10"):
        assert tied["a"].is_monotonic_increasing
    # a part beside itself: every weighting is the same, so the first of the grid wins
    same = {"a": Coarse(), "b": Coarse()}
    alike = choose_weights(same, fold, n_trials=5, progress=False)
    assert alike["a"].tolist() == [0, 0.25, 0.5, 0.75, 1]


def test_the_test_fold_is_refused(tiny: Prepared) -> None:
    with pytest.raises(ReclibError, match="never on the test fold"):
        choose_weights(PARTS["two"](), leave_one_out(tiny).test)


@pytest.mark.parametrize(("number", "n_trials"), [(1, 10), (4, 3)])
def test_one_part_or_too_few_trials_are_refused(tiny: Prepared, number: int, n_trials: int) -> None:
    parts = {str(salt): Coarse(salt=salt) for salt in range(number)}
    with pytest.raises(ReclibError, match=f"{number} parts with {n_trials} trials"):
        choose_weights(parts, leave_one_out(tiny).validation, n_trials=n_trials)


def test_the_same_question_has_the_same_answer(tiny: Prepared, tmp_path: Path) -> None:
    fold = leave_one_out(tiny).validation
    found = []
    for run in range(2):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("reclib.paths.CACHE", tmp_path / str(run))
            found.append(choose_weights(PARTS["three"](), fold, n_trials=10, progress=False))
    pd.testing.assert_frame_equal(*found, check_exact=True)


def test_the_second_time_comes_from_the_disk_and_any_change_does_not(
    tiny: Prepared, fresh_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    whole = weighing._try_all

    def counting(*arguments: object) -> list[tuple[np.ndarray, float]]:
        calls.append(1)
        return whole(*arguments)

    monkeypatch.setattr(weighing, "_try_all", counting)
    split = leave_one_out(tiny)
    fold = split.validation
    options = {"n_trials": 5, "progress": False}
    choose_weights(PARTS["two"](), fold, **options)
    choose_weights(PARTS["two"](), fold, **options)
    assert len(calls) == 1
    choose_weights(PARTS["two"](), fold, **options, k=3)
    choose_weights(PARTS["two"](), fold, **options, normalise="zscore")
    choose_weights(PARTS["two"](), Fold("validation", fold.train, split.test.relevant), **options)
    choose_weights({"a": Coarse(salt=1), "b": Coarse(levels=9, salt=2)}, fold, **options)
    assert len(calls) == 5
