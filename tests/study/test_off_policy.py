"""A simulated A/B test with known answers, and Open Bandit's two policies."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from reclib.data import Marketplace, Prepared, load, prepare
from reclib.errors import ReclibError
from reclib.evaluation import diagnose, off_policy
from reclib.models import Collaborative, Popular, Scorer
from reclib.study import off_policy as study
from reclib.study import results, tables
from reclib.study.off_policy import (
    PLACES,
    PUBLISHED,
    Campaign,
    Visits,
    by_pair,
    compare_policies,
    coverage,
    estimate_campaign,
    learn_clicks,
    log_visits,
    logged,
    make_campaign,
)

ESTIMATORS = ["ips", "snips", "dm", "dr"]


@pytest.fixture(scope="module")
def shop() -> Marketplace:
    return load("simulated", size="smoke")


@pytest.fixture(scope="module")
def ready(shop: Marketplace) -> Prepared:
    return prepare(shop)


@pytest.fixture(scope="module")
def campaign(shop: Marketplace, ready: Prepared) -> Campaign:
    scorers: dict[str, Scorer] = {
        "popular": Popular().fit(ready),
        "personal": Collaborative(profile="interactions").fit(ready),
    }
    assert shop.truth is not None
    return make_campaign(ready, shop.truth, scorers, n_items=12)


def lively(n_users: int = 30, n_items: int = 5, rng: int = 0) -> Campaign:
    """A campaign with so many clicks that short logs tell much."""
    generator = np.random.default_rng(rng)
    taste = generator.uniform(0.05, 0.6, (n_users, 1, n_items))
    chance = taste * np.array([1.0, 0.8, 0.6])[None, :, None]
    likely = np.exp(2 * taste[:, 0] / taste.max())
    policies = {
        "random": np.full((n_users, n_items), 1 / n_items),
        "personal": likely / likely.sum(axis=1, keepdims=True),
    }
    items = pd.DataFrame({"item_id": [f"i{item}" for item in range(n_items)]})
    return Campaign(items, generator.integers(1, 9, n_users), chance, policies)


def by_name(table: pd.DataFrame, value: str = "value") -> dict[str, float]:
    return dict(zip(table["metric"], table[value], strict=True))


# --- the simulated test ------------------------------------------------------------------------


def test_a_campaign_shows_the_popular_products_by_known_chances(
    shop: Marketplace, ready: Prepared, campaign: Campaign
) -> None:
    counts = np.bincount(ready.matrix.indices, minlength=ready.n_items)
    chosen = ready.item_ids.get_indexer(pd.Index(campaign.items["item_id"]))
    assert counts[chosen].min() >= np.sort(counts)[-12]
    for policy in campaign.policies.values():
        np.testing.assert_allclose(policy.sum(axis=1), 1)
        ratio = policy.max(axis=1) / policy.min(axis=1)
        assert policy.min() > 0 and ratio.max() < np.exp(study.SHARPNESS) * (1 + 1e-9)
    assert (campaign.policies["random"] == 1 / 12).all()
    best = campaign.policies["popular"].argmax(axis=1)
    assert (counts[chosen][best] == counts.max()).all()
    assert shop.truth is not None
    ids = [ready.user_ids[7]], list(campaign.items["item_id"])
    for place in range(PLACES):
        chance = shop.truth.click_probability(*ids, rank=place + 1)[0]
        np.testing.assert_allclose(campaign.chance[7, place], chance, rtol=1e-5)


def test_the_rate_of_a_policy_equals_a_loop(campaign: Campaign) -> None:
    n_users, _, n_items = campaign.chance.shape
    total = [
        sum(
            campaign.policies["personal"][user, item] * campaign.chance[user, place, item]
            for place in range(PLACES)
            for item in range(n_items)
        )
        / PLACES
        for user in range(n_users)
    ]
    np.testing.assert_allclose(campaign.ctr("personal"), total)


@pytest.mark.parametrize("n_runs", [None, 4])
def test_logs_show_and_are_clicked_as_often_as_they_should(n_runs: int | None) -> None:
    campaign = lively(n_users=3)
    visits = log_visits(campaign, "personal", n_pages=8000, n_runs=n_runs)
    assert visits.item.shape == (8000 * PLACES,) + (() if n_runs is None else (n_runs,))
    assert (visits.user[0::3] == visits.user[2::3]).all()  # a page has one visitor
    for user in range(3):
        mine = visits.user == user
        share = np.bincount(visits.item[mine], minlength=5) / mine.sum()
        np.testing.assert_allclose(share, campaign.policies["personal"][user], atol=0.02)
        for place in range(PLACES):
            here = mine & (visits.place == place) & (visits.item == 2)
            assert visits.click[here].mean() == pytest.approx(
                campaign.chance[user, place, 2], abs=4 * np.sqrt(0.25 / here.sum())
            )


def test_a_log_is_set_beside_the_target_row_by_row() -> None:
    campaign = lively()
    model = np.random.default_rng(2).random(campaign.chance.shape)
    visits = log_visits(campaign, "random", n_pages=20)
    log = logged(campaign, visits, "personal", model)
    policy = campaign.policies["personal"]
    for row in range(60):
        user, item, place = visits.user[row], visits.item[row], row % PLACES
        assert log.logging[row] == 1 / 5 and log.target[row] == policy[user, item]
        assert log.predicted[row] == model[user, place, item]
        assert log.expected[row] == pytest.approx(policy[user] @ model[user, place])
        assert log.unit is not None and log.unit[row] == row // PLACES


def test_a_thousand_logs_show_no_bias_and_intervals_that_keep_their_word() -> None:
    campaign = lively()
    model = np.full(campaign.chance.shape, 0.2)
    found = coverage(
        campaign, "random", "personal", model, n_pages=400, n_runs=1000, n_resamples=400
    )
    value, low, high = (by_name(found, column) for column in ("value", "low", "high"))
    for name in ("ips", "snips", "dr"):
        assert abs(value[f"bias_{name}"]) <= 0.02
        assert low[f"bias_{name}"] <= 0.002 and high[f"bias_{name}"] >= -0.002
        assert 0.93 <= value[f"coverage_{name}"] <= 0.97
    truth = campaign.ctr("personal").mean()
    assert value["bias_dm"] == pytest.approx(0.2 / truth - 1)
    assert value["coverage_dm"] == 0 == low["coverage_dm"]


def test_a_planted_error_in_the_propensities_shows() -> None:
    """The log is another policy's than the one that it says."""
    campaign = lively()
    visits = log_visits(campaign, "personal", n_pages=3000)
    model = np.zeros(campaign.chance.shape)
    honest = diagnose(logged(campaign, visits, "random", model))
    assert honest["doubt"] == ""
    log = logged(campaign, replace(visits, logger="random"), "personal", model)
    assert "are the propensities right?" in str(diagnose(log)["doubt"])
    assert off_policy(log).set_index("metric").loc["mean_weight", "low"] > 1


def test_the_model_of_clicks_knows_places_and_products(campaign: Campaign) -> None:
    model = learn_clicks(campaign, log_visits(campaign, "random", n_pages=20_000))
    assert model.shape == campaign.chance.shape
    means = model.mean(axis=0), campaign.chance.mean(axis=0)  # (n_places, n_items)
    assert np.corrcoef(means[0].ravel(), means[1].ravel())[0, 1] > 0.8


def test_a_campaign_is_estimated_with_its_truth_and_its_doubts(
    campaign: Campaign, tmp_path: Path
) -> None:
    logs = [("random", "personal"), ("personal", "random")]
    found = estimate_campaign(campaign, logs, n_pages=400, n_runs=60, n_resamples=100)
    assert list(found.diagnosed["policy"]) == ["personal", "random"]
    assert set(found.metrics["variant"]) == {
        "campaign, truth",
        *(f"campaign, from {logger}" for logger, _ in logs),
        *(f"campaign, from {logger}, 60 runs" for logger, _ in logs),
    }
    results.write_measured(found.metrics.assign(data="simulated"), tmp_path, results.CTR_FILE)
    pairs = by_pair(found.metrics).set_index(["model", "metric"])["value"]
    personal = "personal from random, campaign"
    assert pairs[personal, "ctr"] == pytest.approx(campaign.ctr("personal").mean())
    rows = found.metrics.set_index(["variant", "model", "metric"])["value"]
    assert pairs[personal, "dr"] == rows["campaign, from random", "personal", "dr"]
    assert "coverage_dr" in pairs["personal from random, 60 runs, campaign"]
    shown = tables.doubts_table(found.diagnosed).to_html()
    assert "effective sample size" in shown and "none" in shown


def test_wrong_names_and_sizes_are_refused(
    shop: Marketplace, ready: Prepared, campaign: Campaign
) -> None:
    with pytest.raises(ReclibError, match="unknown policy 'popullar': did you mean 'popular'"):
        log_visits(campaign, "popullar", n_pages=3)
    assert shop.truth is not None
    with pytest.raises(ReclibError, match="n_items is 401; allowed is 2 to 400"):
        make_campaign(ready, shop.truth, {}, n_items=401)


# --- Open Bandit -------------------------------------------------------------------------------


def impressions(visits: Visits, campaign: Campaign, name: str) -> pl.DataFrame:
    """Write a log in the form of Open Bandit, with the average probabilities as propensities."""
    shown = campaign.policies[visits.logger][visits.user, visits.item]
    return pl.DataFrame(
        {
            "item_id": [f"{name}-{item}" for item in visits.item],
            "rank": visits.place + 1,
            "click": visits.click,
            "propensity": shown,
            "policy": visits.logger,
            "campaign": name,
            "user_feature_0": pl.Series([f"age {user % 2}" for user in visits.user]),
        }
    )


def test_each_policy_is_estimated_from_the_log_of_the_other() -> None:
    """Policies that do not look at the visitor, as Open Bandit's do not."""
    campaign = lively()
    alike = np.tile(campaign.policies["personal"].mean(axis=0), (30, 1))
    campaign = replace(campaign, policies=campaign.policies | {"personal": alike})
    logs = {
        policy: impressions(log_visits(campaign, policy, n_pages=3000, rng=1), campaign, "men")
        for policy in ("random", "personal")
    }
    items = campaign.items.assign(item_id=[f"men-{item}" for item in range(5)])
    found = compare_policies(pl.concat(logs.values()), pl.from_pandas(items), n_resamples=300)
    rows = found.metrics.set_index(["variant", "model", "metric"])
    for target, logger in (("personal", "random"), ("random", "personal")):
        own = logs[target]["click"].mean()
        place = f"men, from {logger}", target
        assert rows.loc[("men, own log", target, "ctr"), "value"] == pytest.approx(own)
        for name in ESTIMATORS:
            estimate = rows.loc[(*place, name)]
            assert estimate.value == pytest.approx(campaign.ctr(target).mean(), rel=0.05)
            error = rows.loc[(*place, f"error_{name}")]
            assert error.value == pytest.approx(abs(estimate.value / own - 1))
            assert error.low <= rows.loc[(*place, f"mean_error_{name}"), "value"] <= error.high
    # what is known of a policy is the share of each product among its impressions at a place
    log, other = logs["random"], logs["personal"]
    share = {
        key: n / other.filter(pl.col("rank") == key[1]).height
        for *key_, n in other.group_by("item_id", "rank").len().iter_rows()
        for key in [tuple(key_)]
    }
    loop = [
        5 * share[item, rank] * click
        for item, rank, click in log.select("item_id", "rank", "click").iter_rows()
    ]
    ips = rows.loc[("men, from random", "personal", "ips"), "value"]
    assert ips == pytest.approx(np.mean(loop))
    assert list(found.diagnosed["doubt"]) == ["", ""]


@pytest.mark.real_data
def test_the_policies_of_open_bandit(real_data: Callable[[str], Path], tmp_path: Path) -> None:
    """Errors of the size that the data's authors report, and the one log not to be trusted."""
    real_data("open-bandit")
    market = load("open-bandit", size="full")
    assert market.impressions is not None
    found = compare_policies(market.impressions, market.items, n_resamples=500)
    rows = by_pair(found.metrics).set_index(["model", "metric"])
    for campaign, own in (("men", 0.0069), ("women", 0.0046)):
        pair = f"bts from random, {campaign}"
        assert rows.loc[(pair, "ctr"), "value"] == pytest.approx(own)
        for name in ESTIMATORS:
            error = rows.loc[(pair, f"mean_error_{name}"), "value"]
            assert 0.3 < error / PUBLISHED[name] < 2
        for name in ("ips", "snips", "dr"):  # the interval holds what was measured
            estimate = rows.loc[(pair, name)]
            assert estimate.low < own < estimate.high
    # uniform from bts, with the logged probabilities, in a loop over the file
    log = market.impressions.filter((pl.col("policy") == "bts") & (pl.col("campaign") == "men"))
    weighted = [c / (34 * p) for c, p in log.select("click", "propensity").iter_rows()]
    ips = rows.loc[("random from bts, men", "ips"), "value"]
    assert ips == pytest.approx(np.mean(weighted))
    doubts = found.diagnosed.set_index(["policy", "log"])["doubt"]
    assert list(doubts[doubts != ""].index) == [("random", "bts, women")]
    results.write_measured(found.metrics.assign(data="open-bandit"), tmp_path, results.CTR_FILE)
