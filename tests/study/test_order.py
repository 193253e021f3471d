"""The order probe finds sorted ties where there are some, and nothing where ids are dealt anew."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reclib.data import Fold, Marketplace, leave_one_out, prepare
from reclib.data.schema import Interactions, Items, validated
from reclib.errors import ReclibError
from reclib.models import PCTM, Popular
from reclib.study.order import (
    DIRECTED,
    LaterIds,
    in_order,
    in_order_of_others,
    newest_items,
    probe_order,
    raised_said,
    shares_said,
)

N_USERS, N_ITEMS = 300, 60


def sorted_days(names: list[str]) -> Fold:
    """Random purchases in two days of four, each day sorted by the place in `names`."""
    rng = np.random.default_rng(5)
    rows = []
    for user in range(N_USERS):
        days = np.sort(rng.choice(N_ITEMS, (2, 4), replace=False), axis=1).ravel()
        rows += [(f"u{user:03d}", names[item], place) for place, item in enumerate(days)]
    events = pd.DataFrame(rows, columns=["user_id", "item_id", "position"])
    items = pd.DataFrame({"item_id": names, "title": "thing"})
    market = Marketplace(
        "days", validated(events, Interactions, "days"), validated(items, Items, "days")
    )
    return leave_one_out(prepare(market)).test


ORDERED = [f"i{item:02d}" for item in range(N_ITEMS)]
DEALT = [str(name) for name in np.random.default_rng(6).permutation(ORDERED)]


def test_the_newest_product_and_the_order_of_ids_are_read_off() -> None:
    events = pd.DataFrame(
        [("u1", "b", 0), ("u1", "a", 1), ("u1", "c", 2), ("u2", "c", 0), ("u2", "b", 1)],
        columns=["user_id", "item_id", "position"],
    )
    extra = pd.DataFrame([("u2", "a", 2)], columns=events.columns)
    items = pd.DataFrame({"item_id": ["a", "b", "c"], "title": "thing"})
    events = pd.concat([events, extra], ignore_index=True)
    market = Marketplace("two", validated(events, Interactions, "x"), validated(items, Items, "x"))
    fold = leave_one_out(prepare(market)).test
    assert newest_items(fold.train).tolist() == [0, 1]  # a, b
    assert in_order(fold).tolist() == [True, False]  # a → c, b → a


def test_only_later_ids_are_raised() -> None:
    fold = sorted_days(ORDERED)
    users = np.arange(20)
    plain = PCTM().fit(fold.train)
    raised = LaterIds(scorer=PCTM(), boost=3).fit(fold.train)
    before, after = plain.score(users), raised.score(users)
    later = np.arange(N_ITEMS) > newest_items(fold.train)[users][:, None]
    np.testing.assert_array_equal(after[~later], before[~later])
    np.testing.assert_allclose(after[later], (before + 2 * abs(before))[later], rtol=1e-6)
    some = np.array([3, 50])
    np.testing.assert_array_equal(raised.score(users, some), after[:, some])
    none = LaterIds(scorer=PCTM(), boost=1).fit(fold.train).score(users)
    np.testing.assert_array_equal(none, before)
    with pytest.raises(ReclibError, match=r"boost is 0\.5"):
        LaterIds(scorer=Popular(), boost=0.5)


def test_sorted_ties_are_found_and_dealt_ids_are_not(fresh_cache: Path) -> None:
    """The planted artefact: all purchases are random, only the days are sorted."""
    gains = {}
    for label, names in (("sorted", ORDERED), ("dealt", DEALT)):
        table = probe_order(sorted_days(names), n_resamples=200)
        raw = table[(table["variant"] == "raw") & (table["metric"] == "ndcg@10")]
        ndcg = raw.set_index("model")["value"]
        gains[label] = np.mean([ndcg[f"{name}:later-ids-vs-{name}"] for name in DIRECTED])
        assert all(ndcg[f"{name}:blind"] < ndcg[name] for name in DIRECTED), "ties are sorted"
    assert in_order(sorted_days(ORDERED)).all()
    assert 0.3 < in_order(sorted_days(DEALT)).mean() < 0.7
    assert gains["sorted"] > 0.02
    assert abs(gains["dealt"]) < gains["sorted"] / 2


def test_users_are_parted_by_the_order_of_their_ids(fresh_cache: Path) -> None:
    fold = sorted_days(DEALT)
    table = probe_order(fold, n_resamples=200)
    ndcg = table[table["metric"] == "ndcg@10"].set_index(["variant", "model"])
    ascending = in_order(fold).sum()
    for model in ("pctm", "pctm:later-ids"):
        assert ndcg.loc[("raw, ascending users", model), "users"] == ascending
        assert ndcg.loc[("raw, descending users", model), "users"] == N_USERS - ascending
    up = ndcg.loc[("raw, ascending users", "pctm:later-ids-vs-pctm"), "value"]
    down = ndcg.loc[("raw, descending users", "pctm:later-ids-vs-pctm"), "value"]
    assert up > 0 > down


def test_an_order_is_found_though_the_products_have_other_ids_since() -> None:
    """And none where every user's products come in an order of their own."""
    dealt = in_order_of_others(sorted_days(DEALT))
    assert np.isfinite(dealt).mean() > 0.9 and np.nanmean(dealt) > 0.7
    rng = np.random.default_rng(7)
    rows = [
        (f"u{user:03d}", ORDERED[item], place)
        for user in range(N_USERS)
        for place, item in enumerate(rng.choice(N_ITEMS, 8, replace=False))
    ]
    events = pd.DataFrame(rows, columns=["user_id", "item_id", "position"])
    items = pd.DataFrame({"item_id": ORDERED, "title": "thing"})
    market = Marketplace("x", validated(events, Interactions, "x"), validated(items, Items, "x"))
    nothing = in_order_of_others(leave_one_out(prepare(market)).test)
    assert 0.4 < np.nanmean(nothing) < 0.6
    table = probe_order(sorted_days(DEALT), n_resamples=100)
    share = table[table["metric"] == "in_order"].set_index("model")
    assert share.loc["order-of-others", "value"] == pytest.approx(np.nanmean(dealt))
    assert share.loc["ids", "value"] == pytest.approx(in_order(sorted_days(DEALT)).mean())
    asked = len(dealt)
    ids, _ = shares_said(table)
    assert f"of {asked:,} users' last" in ids and f"**{share.loc['ids', 'value']:.1%}**" in ids


def test_what_raising_later_ids_does_is_said_of_every_model(fresh_cache: Path) -> None:
    def said(names: list[str]) -> str:
        return "\n".join(raised_said(probe_order(sorted_days(names), n_resamples=200)))

    assert said(ORDERED).count("**better than**") == len(DIRECTED)
    assert "**better than**" not in said(DEALT)
