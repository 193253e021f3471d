"""Click-through rates: loops over the truth, closed forms, unbiasedness, and doubts."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from reclib.data import prepare
from reclib.data.simulate import simulate
from reclib.errors import ReclibError
from reclib.evaluation import (
    ClickModel,
    Logged,
    bootstrap_sums,
    click_probabilities,
    cross_fitted,
    diagnose,
    interval,
    off_policy,
    resampled,
)
from reclib.evaluation.ctr import ESTIMATORS

N_ITEMS = 6
RATES = np.linspace(0.05, 0.4, N_ITEMS)  # true probability of a click on each product
LOGGER = np.array([0.3, 0.25, 0.2, 0.1, 0.1, 0.05])
TARGET = LOGGER[::-1].copy()
TRUTH = float(TARGET @ RATES)
NAMES = list(ESTIMATORS)
COLUMNS = ("reward", "logging", "target", "predicted", "expected")


def draw(
    *shape: int,
    rng: int = 0,
    logging: np.ndarray = LOGGER,
    model: np.ndarray | None = None,
    **changes: Any,
) -> Logged:
    """Logs of LOGGER in which `logging` is what was noted of it, to judge TARGET by."""
    generator = np.random.default_rng(rng)
    shown = generator.choice(N_ITEMS, shape, p=LOGGER)
    model = np.zeros(N_ITEMS) if model is None else model
    columns = {
        "reward": (generator.random(shape) < RATES[shown]).astype(float),
        "logging": logging[shown],
        "target": TARGET[shown],
        "predicted": model[shown],
        "expected": np.full(shape, TARGET @ model),
    }
    return Logged(**columns | changes)


def values(log: Logged) -> dict[str, float]:
    return dict(off_policy(log, n_resamples=2)[["metric", "value"]].itertuples(index=False))


# --- known truth -------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1024, 7])
def test_chances_of_places_equal_a_loop_over_the_truth(batch_size: int) -> None:
    market = simulate("smoke")
    ready = prepare(market)
    top = np.argsort(np.random.default_rng(0).random((20, ready.n_items)), axis=1)[:, :4]
    top[3] = -1
    top[4, 2:] = -1
    assert market.truth is not None
    found = click_probabilities(top, ready, market.truth, batch_size=batch_size)
    for (user, place), chance in np.ndenumerate(found):
        item = top[user, place]
        if item < 0:
            assert np.isnan(chance)
            continue
        ids = [ready.user_ids[user]], [ready.item_ids[item]]
        expected = market.truth.click_probability(*ids, rank=place + 1)[0, 0]
        assert chance == pytest.approx(expected, rel=1e-5)


# --- estimators --------------------------------------------------------------------------------


def test_a_log_of_four_gives_the_values_of_a_hand() -> None:
    log = Logged(
        reward=np.array([1.0, 0.0, 1.0, 0.0]),
        logging=np.array([0.5, 0.5, 0.25, 0.25]),
        target=np.array([0.25, 0.5, 0.5, 0.25]),
        predicted=np.array([0.5, 0.0, 0.5, 0.0]),
        expected=np.full(4, 0.5),
    )  # weights ½, 1, 2, 1
    found = values(log)
    assert [found[name] for name in NAMES] == pytest.approx([2.5 / 4, 2.5 / 4.5, 0.5, 0.8125])
    assert found["mean_weight"] == pytest.approx(4.5 / 4)
    assert found["effective_share"] == pytest.approx(4.5**2 / 6.25 / 4)


def test_estimates_equal_loops() -> None:
    log = draw(300, model=np.random.default_rng(1).random(N_ITEMS))
    rows = list(zip(log.reward, log.logging, log.target, log.predicted, log.expected, strict=True))
    loops = {
        "ips": sum(r * t / p for r, p, t, _, _ in rows) / len(rows),
        "snips": sum(r * t / p for r, p, t, _, _ in rows) / sum(t / p for _, p, t, _, _ in rows),
        "dm": sum(e for *_, e in rows) / len(rows),
        "dr": sum(e + t / p * (r - q) for r, p, t, q, e in rows) / len(rows),
    }
    found = values(log)
    assert {name: found[name] for name in NAMES} == pytest.approx(loops)


def test_the_logging_policy_gives_back_the_mean() -> None:
    log = draw(500)
    same = draw(500, target=log.logging)
    found = off_policy(same, n_resamples=400).set_index("metric")
    for name in ("ips", "snips", "dr"):
        assert found.loc[name, "value"] == pytest.approx(same.reward.mean())
    samples = bootstrap_sums(same.reward[:, None], n_resamples=400)[:, 0] / 500
    assert tuple(found.loc["ips", ["low", "high"]]) == pytest.approx(interval(samples))
    assert found.loc["mean_weight"].tolist() == [1, 1, 1]
    assert diagnose(same)["effective"] == pytest.approx(500)


def test_doubly_robust_without_a_model_is_ips() -> None:
    found = resampled(draw(200), n_resamples=50)
    np.testing.assert_allclose(found["dr"], found["ips"])


def test_logs_side_by_side_are_estimated_as_each_alone() -> None:
    model = np.full(N_ITEMS, 0.2)
    unit = np.arange(200) // 4
    both = draw(200, 3, model=model, unit=unit)
    together = resampled(both, n_resamples=30)
    for run in range(3):
        columns = {name: getattr(both, name)[:, run] for name in COLUMNS}
        alone = resampled(Logged(**columns, unit=unit), n_resamples=30)
        for name, samples in alone.items():
            np.testing.assert_allclose(together[name][:, run], samples)


def test_units_are_resampled_whole() -> None:
    """Copies of an impression add no knowledge if they belong together."""
    log = draw(150)
    copies = {name: np.repeat(getattr(log, name), 4) for name in COLUMNS}
    plain = off_policy(log, n_resamples=300).set_index("metric")
    whole = off_policy(Logged(**copies, unit=np.repeat(np.arange(150), 4)), n_resamples=300)
    pd.testing.assert_frame_equal(whole.set_index("metric"), plain)
    apart = off_policy(Logged(**copies), n_resamples=300).set_index("metric")
    width = (apart["high"] - apart["low"]) / (plain["high"] - plain["low"])
    assert width["ips"] == pytest.approx(0.5, abs=0.1)


# --- a thousand logs ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def thousand() -> dict[str, np.ndarray]:
    """Estimates from 1,000 logs of 400 impressions, with a model that is wrong, and resamples."""
    log = draw(400, 1000, model=np.full(N_ITEMS, 0.35))
    return resampled(log, n_resamples=400)


def test_ips_snips_and_dr_are_right_on_average_and_dm_is_as_wrong_as_its_model(
    thousand: dict[str, np.ndarray],
) -> None:
    for name in ("ips", "snips", "dr"):
        error = thousand[name][0] / TRUTH - 1
        assert abs(error.mean()) < 4 * error.std() / np.sqrt(1000) + 0.003, name
        assert abs(error.mean()) < 0.02
    assert thousand["dm"][0] == pytest.approx(0.35)
    assert abs(0.35 / TRUTH - 1) > 0.2


@pytest.mark.parametrize("name", ["ips", "snips", "dr"])
def test_intervals_hold_the_truth_as_often_as_they_say(
    thousand: dict[str, np.ndarray], name: str
) -> None:
    held = [low <= TRUTH <= high for low, high in map(interval, thousand[name][1:].T)]
    assert 0.93 <= np.mean(held) <= 0.97


def test_doubly_robust_needs_only_one_of_the_two() -> None:
    """Wrong probabilities and a right model, or the reverse; IPS cannot do the first."""
    wrong = np.full(N_ITEMS, 1 / N_ITEMS)
    found = resampled(draw(400, 1000, logging=wrong, model=RATES), n_resamples=1)
    assert found["dr"][0].mean() == pytest.approx(TRUTH, rel=0.01)
    assert abs(found["ips"][0].mean() / TRUTH - 1) > 0.2


# --- doubts ------------------------------------------------------------------------------------


def test_a_wrong_propensity_is_noticed_and_a_right_one_is_not() -> None:
    right = [diagnose(draw(2000, rng=rng))["doubt"] for rng in range(40)]
    assert right == [""] * 40
    for factor in (0.8, 0.5):
        log = draw(2000, logging=LOGGER * factor)
        assert f"mean weight is {log.weight.mean():.3g}, not 1" in str(diagnose(log)["doubt"])
    found = off_policy(draw(2000, logging=LOGGER * 0.8)).set_index("metric")
    assert found.loc["mean_weight", "low"] > 1


def test_an_impression_with_most_of_the_weight_is_noticed() -> None:
    """As in the log of Open Bandit that holds a probability of one in a million."""
    log = draw(2000)
    log.logging[7] = 1e-6
    found = diagnose(log)
    assert "one of 2,000 units has" in str(found["doubt"])
    assert float(found["effective"]) < 2
    assert found["largest_weight"] == pytest.approx(log.target[7] / 1e-6)
    assert float(found["tail_share"]) >= float(found["largest_share"]) > 0.9


def test_diagnostics_count_by_hand() -> None:
    log = draw(200)
    weight = np.sort(log.weight)[::-1]
    found = diagnose(log)
    assert found["effective"] == pytest.approx(weight.sum() ** 2 / (weight**2).sum())
    assert found["tail_share"] == pytest.approx(weight[:2].sum() / weight.sum())
    assert found["largest_share"] == pytest.approx(weight[0] / weight.sum())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"logging": np.array([0.5, 0.0])}, "logging holds 0.0; a probability is above 0 to 1"),
        ({"logging": np.array([0.5, 1.5])}, "logging holds 1.5"),
        ({"target": np.array([0.5, -0.1])}, "target holds -0.1; a probability is from 0 to 1"),
        ({"reward": np.array([1.0, np.nan])}, "reward holds nan"),
        ({"expected": np.array([1.0])}, r"need one shape and a row, found .*'expected': \(1,\)"),
        ({"target": np.zeros(2)}, "the target policy would have shown nothing"),
    ],
)
def test_arrays_that_cannot_be_a_log_are_refused(
    changes: dict[str, np.ndarray], message: str
) -> None:
    usual = {name: np.full(2, 0.5) for name in COLUMNS}
    Logged(**usual)
    with pytest.raises(ReclibError, match=message):
        Logged(**usual | changes)


# --- the model of the clicks -------------------------------------------------------------------


def impressions(n: int, rng: int = 0) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray, np.ndarray]:
    """A log of products whose clicks depend on the product and halve at the second place."""
    generator = np.random.default_rng(rng)
    shown = generator.choice(N_ITEMS, n, p=LOGGER)
    place = generator.integers(2, size=n)
    reward = (generator.random(n) < RATES[shown] / (1 + place)).astype(float)
    context = pd.DataFrame({"place": place.astype(str), "age": generator.normal(40, 10, n)})
    items = pd.DataFrame({"item_id": [f"i{item}" for item in range(N_ITEMS)]})
    return context, items, shown, reward


def test_the_model_finds_the_rates_of_products_and_places() -> None:
    context, items, shown, reward = impressions(40_000)
    model = ClickModel().fit(context, items, shown, reward)
    asked = pd.DataFrame({"place": ["0", "1"], "age": [40.0, 40.0]})
    np.testing.assert_allclose(model.predict(asked)[0], RATES, atol=0.03)
    np.testing.assert_allclose(model.predict(asked)[1], RATES / 2, atol=0.03)


def test_no_click_predicts_itself() -> None:
    """A column that names every impression says all of it in hindsight, and nothing before."""
    context, items, shown, reward = impressions(300)
    context["row"] = [f"row {n}" for n in range(300)]
    hindsight = ClickModel().fit(context, items, shown, reward).predict(context)
    before = cross_fitted(context, items, shown, reward)
    row = np.arange(300)

    def gap(model: np.ndarray) -> float:
        own = model[row, shown]
        return float(own[reward == 1].mean() - own[reward == 0].mean())

    assert gap(hindsight) > 0.2
    assert gap(before) < 0.1


def test_what_cannot_be_learned_from_is_refused() -> None:
    context, items, shown, reward = impressions(50)
    for fit in (ClickModel().fit, cross_fitted):
        learn: Callable[..., object] = fit
        with pytest.raises(ReclibError, match="impressions have the reward 0; a model needs"):
            learn(context, items, shown, 0 * reward)
