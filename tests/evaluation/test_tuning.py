"""Equal tuning: as many trials for every model, each logged, none lost, none from the test."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from reclib.data import Prepared, leave_one_out
from reclib.errors import Diverged, ReclibError, Unsuitable
from reclib.evaluation import Space, evaluate, ranking_metrics, tune
from reclib.models import EASE, Content, Scorer
from reclib.models.base import Indices, Scores
from reclib.study.tables import left_out_note


class Noisy(Scorer):
    """The truth with as much noise as `level` is far from 0.3; remembers what was tried."""

    name = "noisy"
    fits: ClassVar[list[tuple[float, int]]] = []
    stop_at: ClassVar[int | None] = None
    runs_away_above: ClassVar[float] = 1.0

    def __init__(self, *, level: float = 0.9, size: int = 5) -> None:
        self.level = level
        self.size = size

    def _fit(self, prepared: Prepared, rng: int) -> None:
        if len(self.fits) == self.stop_at:
            raise KeyboardInterrupt
        self.fits.append((self.level, self.size))
        if self.level > self.runs_away_above:
            raise Diverged("choose a smaller level")
        noise = np.random.default_rng(rng).random(prepared.shape)
        self._scores = (prepared.truth + abs(self.level - 0.3) * 4 * noise).astype(np.float32)

    def _score(self, users: Indices, items: Indices | slice) -> Scores:
        return self._scores[users][:, items].copy()


SPACE = Space(Noisy, {"level": FloatDistribution(0, 1), "size": IntDistribution(1, 9)})


@pytest.fixture
def fold(tiny: Prepared, fresh_cache: Path, monkeypatch: pytest.MonkeyPatch):
    made = leave_one_out(tiny).validation
    object.__setattr__(made.train, "truth", made.relevant.toarray().astype(float))
    monkeypatch.setattr(Noisy, "fits", [])
    monkeypatch.setattr(Noisy, "stop_at", None)
    return made


def test_the_defaults_come_first_and_the_best_is_made(fold) -> None:
    tuning = tune({"noisy": SPACE}, fold, n_trials=12, progress=False)
    trials = tuning.trials
    assert list(trials) == ["model", "trial", "metric", "value", "seconds", "parameters"]
    assert json.loads(trials["parameters"][0]) == {"level": 0.9, "size": 5}
    best = json.loads(trials.loc[trials["value"].idxmax(), "parameters"])
    assert tuning.scorers["noisy"].config() == best
    assert tuning.scorers["noisy"].prepared is None
    assert trials["value"].max() > trials["value"][0]
    assert (trials["seconds"] > 0).all()


def test_a_trial_that_diverges_is_worth_nothing_and_the_search_goes_on(
    fold, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Noisy, "runs_away_above", 0.8)  # the defaults, too
    tuning = tune({"noisy": SPACE}, fold, n_trials=12, progress=False)
    level = tuning.trials["parameters"].map(lambda text: json.loads(text)["level"])
    away = level > 0.8
    assert len(away) == 12 and away[0] and not away.all()
    np.testing.assert_array_equal(tuning.trials["value"] == 0, away)
    assert tuning.scorers["noisy"].config()["level"] <= 0.8


def test_a_model_that_is_not_for_the_data_is_left_out_and_named(
    fold, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = type("Memory", (), {"available": 1000})
    monkeypatch.setattr("psutil.virtual_memory", lambda: free)
    tuning = tune({"noisy": SPACE, "ease": Space(EASE, {})}, fold, n_trials=2, progress=False)
    assert list(tuning.scorers) == ["noisy"] and set(tuning.trials["model"]) == {"noisy"}
    assert "GiB for 30 products" in tuning.left_out["ease"]
    assert "**ease** is left out: ease needs" in left_out_note(tuning.left_out)
    with pytest.raises(Unsuitable, match="GiB for 30 products"):
        tune({"ease": Space(EASE, {})}, fold, n_trials=2, progress=False)


def test_every_model_gets_the_same_number_of_trials_unless_its_space_says_fewer(fold) -> None:
    spaces = {
        "noisy": SPACE,
        "content": Space(Content, {"decay": FloatDistribution(0.3, 1)}),
        "slow": Space(Noisy, {"level": FloatDistribution(0, 1)}, max_trials=2),
    }
    counts = tune(spaces, fold, n_trials=4, progress=False).trials.groupby("model").size()
    assert counts.to_dict() == {"noisy": 4, "content": 4, "slow": 2}


def test_of_two_that_tune_the_same_one_waits_and_finds_the_trials(
    fold, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs of a sweep share logs; side by side they would try other values than alone."""
    inside = threading.Semaphore(1)
    fit = Noisy._fit

    def alone(self: Noisy, prepared: Prepared, rng: int) -> None:
        assert inside.acquire(blocking=False), "two trials at once"
        time.sleep(0.02)
        fit(self, prepared, rng)
        inside.release()

    monkeypatch.setattr(Noisy, "_fit", alone)
    with ThreadPoolExecutor(2) as pool:
        both = [
            pool.submit(tune, {"noisy": SPACE}, fold, n_trials=5, progress=False) for _ in range(2)
        ]
        first, second = (it.result().trials for it in both)
    pd.testing.assert_frame_equal(first, second)
    assert len(Noisy.fits) == first["parameters"].nunique() == 5


def test_a_value_is_the_ndcg_of_the_protocol(fold) -> None:
    space = Space(Content, {"decay": FloatDistribution(0.3, 1)}, fixed={"history": 3})
    tuning = tune({"content": space}, fold, n_trials=3, progress=False)
    for _, row in tuning.trials.iterrows():
        scorer = Content(history=3, **json.loads(row["parameters"]))
        top = evaluate({"content": scorer}, fold, progress=False)["content"].top
        gain = np.nanmean(ranking_metrics(top, fold.relevant)["ndcg@10"])
        assert row["value"] == pytest.approx(gain, abs=1e-12)


def test_an_interrupted_search_goes_on_to_the_same_choices(
    fold, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tune({"noisy": SPACE}, fold, n_trials=15, progress=False).trials
    n_whole = len(Noisy.fits)
    monkeypatch.setattr("reclib.paths.CACHE", tmp_path / "another")
    monkeypatch.setattr(Noisy, "fits", [])
    for stop_at in (0, 1, 6, 13):
        monkeypatch.setattr(Noisy, "stop_at", stop_at)
        with pytest.raises(KeyboardInterrupt):
            tune({"noisy": SPACE}, fold, n_trials=15, progress=False)
    monkeypatch.setattr(Noisy, "stop_at", None)
    resumed = tune({"noisy": SPACE}, fold, n_trials=15, progress=False).trials
    columns = ["model", "trial", "metric", "value", "parameters"]
    pd.testing.assert_frame_equal(resumed[columns], whole[columns], check_exact=True)
    assert len(Noisy.fits) == n_whole  # nothing was fitted twice


def test_a_log_that_was_cut_off_is_made_again(fold, fresh_cache: Path) -> None:
    whole = tune({"noisy": SPACE}, fold, n_trials=3, progress=False).trials
    [log] = (fresh_cache / "tuning").glob("*.joblib")
    log.write_bytes(log.read_bytes()[:-20])
    again = tune({"noisy": SPACE}, fold, n_trials=3, progress=False).trials
    columns = ["model", "trial", "metric", "value", "parameters"]
    pd.testing.assert_frame_equal(again[columns], whole[columns], check_exact=True)


def test_more_trials_are_added_and_fewer_are_the_first_of_them(fold) -> None:
    few = tune({"noisy": SPACE}, fold, n_trials=3, progress=False).trials
    more = tune({"noisy": SPACE}, fold, n_trials=8, progress=False).trials
    again = tune({"noisy": SPACE}, fold, n_trials=3, progress=False).trials
    pd.testing.assert_frame_equal(more[:3], few)
    pd.testing.assert_frame_equal(again, few)
    assert len(Noisy.fits) == 8


def test_a_small_space_is_not_fitted_again_and_again(fold) -> None:
    space = Space(Noisy, {"size": CategoricalDistribution([1, 2])})
    trials = tune({"noisy": space}, fold, n_trials=9, progress=False).trials
    assert len(trials) == 9 and len(Noisy.fits) <= 3
    assert json.loads(trials["parameters"][0])["size"] in (1, 2)  # the default, 5, is not there


def test_another_space_fold_or_seed_starts_anew(fold) -> None:
    def fits(space: Space, **options: int) -> int:
        before = len(Noisy.fits)
        tune({"noisy": space}, fold, n_trials=2, progress=False, **options)
        return len(Noisy.fits) - before

    assert fits(SPACE) == 2 and fits(SPACE) == 0
    assert fits(SPACE, rng=1) == 2 and fits(SPACE, k=5) == 2
    assert fits(Space(Noisy, {"level": FloatDistribution(0, 2)})) == 2
    assert fits(Space(Noisy, SPACE.ranges, fixed={"size": 5})) == 2


def test_the_test_fold_and_no_trials_are_refused(tiny: Prepared) -> None:
    split = leave_one_out(tiny)
    with pytest.raises(ReclibError, match="never on the test fold"):
        tune({"noisy": SPACE}, split.test)
    with pytest.raises(ReclibError, match="n_trials is 0"):
        tune({"noisy": SPACE}, split.validation, n_trials=0)
