"""Rounds in the simulated shop: lists, clicks, feedback, and what is measured of them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from reclib.data import Marketplace, Prepared, load, prepare, split_by
from reclib.errors import ReclibError
from reclib.models import Collaborative, Popular, Random, Scorer
from reclib.study import figures, results
from reclib.study.online import (
    YARDSTICKS,
    Round,
    measure_rounds,
    serve_rounds,
    shop_policies,
)
from reclib.study.spaces import PARTS, single_scorers

K = 5


class Watched(Popular):
    """Popularity that remembers what it was fitted on."""

    def __init__(self) -> None:
        self.fits: list[Prepared] = []

    def _fit(self, prepared: Prepared, rng: int) -> None:
        super()._fit(prepared, rng)
        self.fits.append(prepared)


class Certain:
    """A truth in which everybody clicks the products of a set, and nobody any other."""

    def __init__(self, loved: set[str]) -> None:
        self.loved = loved

    def click_probability(
        self,
        user_ids: Sequence[str],
        item_ids: Sequence[str],
        *,
        rank: int | None = None,
        context: Mapping[str, str] | None = None,
    ) -> np.ndarray:
        liked = np.array([item in self.loved for item in item_ids], np.float32)
        return np.tile(liked, (len(user_ids), 1))


@pytest.fixture(scope="module")
def shop() -> Marketplace:
    return load("simulated", size="smoke")


@pytest.fixture(scope="module")
def served(shop: Marketplace) -> dict[str, list[Round]]:
    policies = {"random": Random(), "popular": Popular(), "collaborative": neighbours()}
    return serve_rounds(shop, policies, n_rounds=3, k=K, rng=4)


def neighbours() -> Scorer:
    return Collaborative(profile="interactions")


def pairs(top: np.ndarray, shown: np.ndarray) -> set[tuple[int, int]]:
    row, place = np.nonzero(shown)
    return set(zip(row.tolist(), top[row, place].tolist(), strict=True))


def test_nobody_is_shown_what_they_had_or_clicked(
    shop: Marketplace, served: dict[str, list[Round]]
) -> None:
    prepared = prepare(shop)
    had = set(zip(*(index.tolist() for index in prepared.matrix.nonzero()), strict=True))
    for rounds in served.values():
        known = set(had)
        for found in rounds:
            assert all(len(set(row)) == K for row in found.top)
            assert not pairs(found.top, found.top >= 0) & known
            known |= pairs(found.top, found.clicked)


def test_the_same_holds_for_a_policy_that_does_not_learn(shop: Marketplace) -> None:
    counts = shop.interactions["item_id"].drop_nulls().value_counts()
    truth = Certain(set(counts.sort("count", descending=True)["item_id"][1:40:2]))
    policy = Watched()
    [rounds] = serve_rounds(
        replace(shop, truth=truth), {"popular": policy}, n_rounds=3, k=K, learn=False
    ).values()
    assert len(policy.fits) == 1
    known: set[tuple[int, int]] = set()
    for found in rounds:
        assert found.clicked.any() and not pairs(found.top, found.top >= 0) & known
        known |= pairs(found.top, found.clicked)
    # the next of the first ranking move up
    ranked, _ = policy.rank(np.arange(len(rounds[0].top)), 3 * K)
    clicked = rounds[0].clicked
    for user in range(20):
        rest = [i for i in ranked[user] if i not in rounds[0].top[user][clicked[user]]]
        assert rounds[1].top[user].tolist() == rest[:K]


def test_chances_are_the_truths_and_clicks_are_drawn_from_them(
    shop: Marketplace, served: dict[str, list[Round]]
) -> None:
    prepared = prepare(shop)
    assert shop.truth is not None
    for rounds in served.values():
        found = rounds[1]
        for user, place in ((0, 0), (17, 2), (499, 4)):
            ids = [prepared.user_ids[user]], [prepared.item_ids[found.top[user, place]]]
            chance = shop.truth.click_probability(*ids, rank=place + 1)[0, 0]
            assert found.chance[user, place] == pytest.approx(chance, rel=1e-5)
        total = sum(one.chance.sum() for one in rounds)
        clicks = sum(one.clicked.sum() for one in rounds)
        assert abs(clicks - total) < 4 * np.sqrt(total)


def test_each_policy_learns_from_its_own_clicks_only(shop: Marketplace) -> None:
    alone, beside = Watched(), Watched()
    one = serve_rounds(shop, {"popular": alone}, n_rounds=3, k=K)["popular"]
    policies = {"random": Random(), "popular": beside}
    other = serve_rounds(shop, policies, n_rounds=3, k=K)["popular"]
    for mine, theirs in zip(one, other, strict=True):
        np.testing.assert_array_equal(mine.top, theirs.top)
        np.testing.assert_array_equal(mine.clicked, theirs.clicked)
    for number in (1, 2):
        before, after = alone.fits[number - 1 : number + 1]
        assert after.n_events - before.n_events == one[number - 1].clicked.sum() > 0
        added = (after.matrix - before.matrix).tocoo()
        added.eliminate_zeros()
        new = set(zip(added.row.tolist(), added.col.tolist(), strict=True))
        assert new == pairs(one[number - 1].top, one[number - 1].clicked)
        assert added.data.max() == 1  # the weight of a click
        # the newest of a user's history
        ages = after.age[np.isin(after.pair, [u * after.n_items + i for u, i in new])]
        assert ages.max() < one[number - 1].clicked.sum(axis=1).max()


def test_what_is_clicked_becomes_popular(shop: Marketplace) -> None:
    """Products that nobody had, loved by everybody: chance finds them, and the log shows it."""
    counts = shop.interactions["item_id"].drop_nulls().value_counts()
    loved = set(counts.sort("count", "item_id")["item_id"][:8])
    truth = Certain(loved)
    prepared = prepare(shop)
    mark = np.isin(prepared.item_ids, sorted(loved))
    rounds = serve_rounds(replace(shop, truth=truth), {"random": Random()}, n_rounds=9, k=20)
    heads = [found.head[mark].mean() for found in rounds["random"]]
    assert heads[0] < 0.5 and heads[-1] == 1
    assert all(found.head.sum() == round(0.1 * prepared.n_items) for found in rounds["random"])


def test_rounds_are_measured_as_by_hand(served: dict[str, list[Round]], tmp_path: Path) -> None:
    difference = {"collaborative-vs-popular": ("collaborative", "popular")}
    table = measure_rounds(served, compared=difference, n_resamples=200)
    found = table.set_index(["variant", "model", "metric"])["value"]
    for number, rounds in enumerate(zip(*served.values(), strict=True), start=1):
        for name, one in zip(served, rounds, strict=True):
            place = f"round={number}", name
            assert found[(*place, f"ctr@{K}")] == pytest.approx(one.chance.mean())
            assert found[(*place, "place_ctr@2")] == pytest.approx(one.chance[:, 1].mean())
            assert found[(*place, f"head_share@{K}")] == pytest.approx(one.head[one.top].mean())
        expected = served["collaborative"][number - 1].chance - served["popular"][number - 1].chance
        pair = f"round={number}", "collaborative-vs-popular", f"ctr@{K}"
        assert found[pair] == pytest.approx(expected.mean())
    assert set(table["protocol"]) == {"online"} and set(table["users"]) == {500}
    assert (table["low"] <= table["value"]).all() and (table["value"] <= table["high"]).all()
    first = table[table["variant"] == "round=1"].set_index(["model", "metric"])["value"]
    assert first["random", f"ctr@{K}"] < first["popular", f"ctr@{K}"]
    assert first["popular", f"head_share@{K}"] == 1
    results.write_measured(table.assign(data="simulated"), tmp_path, results.CTR_FILE)


def test_short_lists_count_what_is_shown() -> None:
    top = np.array([[0, 2, -1], [-1, -1, -1], [1, 0, 2]])
    chance = np.array([[0.2, 0.4, np.nan], [np.nan] * 3, [0.3, 0.3, 0.3]])
    one = Round(top, chance, chance > 1, np.array([True, False, False]))
    found = measure_rounds({"a": [one]}, n_resamples=10).set_index("metric")
    assert found.loc["ctr@3", "value"] == pytest.approx(0.3)
    assert found.loc["head_share@3", "value"] == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert found["users"].to_dict() == {
        "ctr@3": 2, "head_share@3": 2, "place_ctr@1": 2, "place_ctr@2": 2, "place_ctr@3": 1
    }  # fmt: skip


def test_only_a_simulated_shop_can_be_served(shop: Marketplace) -> None:
    with pytest.raises(ReclibError, match="is not simulated: nobody knows what would have been"):
        serve_rounds(replace(shop, truth=None), {"popular": Popular()})
    with pytest.raises(ReclibError, match="n_rounds is 0; allowed is 1 or more"):
        serve_rounds(shop, {"popular": Popular()}, n_rounds=0)


@pytest.mark.usefixtures("fake_encode")
def test_the_policies_are_those_of_table_two(tiny: Prepared) -> None:
    everything = single_scorers()
    scorers = {name: everything[name] for name in (*YARDSTICKS, *PARTS)}
    made = shop_policies(scorers, split_by(tiny, "full-loo").validation, n_trials=6, k=K)
    assert list(made) == ["random", "popular", "traditional", "llm-fusion"]
    parts = {name: set(getattr(made[name], "parts", {})) for name in made}
    assert parts["traditional"] == {"content", "collaborative"}
    assert parts["llm-fusion"] == {"content", "collaborative", "language"}


def test_lines_of_rounds_show_values_and_intervals() -> None:
    rows = pd.DataFrame(
        {
            "model": ["popular", "popular", "popular:once"],
            "round": [2, 1, 1],
            "value": [0.3, 0.2, 0.1],
            "low": [0.2, 0.1, 0.05],
            "high": [0.4, 0.3, 0.15],
        }
    )
    axes = figures.series_plot(rows, "round", label="rate")
    learning, once = axes.lines
    np.testing.assert_allclose(learning.get_xydata(), [[1, 0.2], [2, 0.3]])
    assert (learning.get_linestyle(), once.get_linestyle()) == ("-", "--")
    assert learning.get_color() == once.get_color() == figures.COLOURS["popular"]
    assert axes.collections[0].get_paths()[0].get_extents().y1 == pytest.approx(0.4)
    plt.close("all")
