"""Data cards: counted by hand here, recorded whole, and drawn without a warning."""

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from reclib import paths
from reclib.data.schema import TABLES, Marketplace, Step, empty_interactions
from reclib.errors import ReclibError
from reclib.study import cards, figures
from reclib.study.cards import card, card_figure, present, record_card
from reclib.study.cli import main

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(autouse=True)
def _style() -> Iterator[None]:
    with mpl.rc_context():
        figures.use_style()
        yield
    plt.close("all")


def day(number: int) -> datetime:
    return datetime(2024, 3, number, 12, tzinfo=UTC)


@pytest.fixture
def shop() -> Marketplace:
    """Two users: ann searches, clicks twice, fills a cart and buys; bob buys a thing twice."""
    events = pl.DataFrame(
        [
            ("ann", None, 0, "search", day(1), "red tea", "v1", "phone"),
            ("ann", "tea", 1, "click", day(1), "red tea", "v1", "phone"),
            ("ann", "pot", 2, "click", day(1), "red tea", "v1", "phone"),
            ("ann", "tea", 3, "cart", day(1), None, "v1", "phone"),
            ("ann", "tea", 4, "purchase", day(2), None, "v2", "phone"),
            ("bob", "tea", 0, "purchase", day(3), None, "v3", "desktop"),
            ("bob", "tea", 1, "purchase", day(9), None, "v4", "desktop"),
        ],
        schema={
            "user_id": pl.String,
            "item_id": pl.String,
            "position": pl.Int64,
            "event": pl.String,
            "timestamp": pl.Datetime("us", "UTC"),
            "query": pl.String,
            "session_id": pl.String,
            "device": pl.String,
        },
        orient="row",
    )
    items = pl.DataFrame(
        {
            "item_id": ["cup", "pot", "tea"],
            "title": ["a cup", "", "a tea from far"],
            "brand": ["x", None, " "],
            "price": [1.0, None, 3.0],
        }
    )
    reviews = pl.DataFrame(
        {
            "user_id": ["ann", "bob"],
            "item_id": ["tea", "tea"],
            "rating": [5.0, 2.0],
            "text": ["good and red", None],
        }
    )
    steps = (Step("interactions", "read", 9, 7, "2 lines of nobody"),)
    return Marketplace("toy", events, items, reviews=reviews, steps=steps)


@pytest.fixture
def shown() -> Marketplace:
    """Impressions of anonymous visitors, as Open Bandit has them."""
    impressions = pl.DataFrame(
        {
            "item_id": ["men-0", "men-1", "men-0", "men-1"],
            "rank": [1, 2, 1, 2],
            "click": [True, False, False, False],
            "propensity": [0.5] * 4,
            "policy": ["bts", "bts", "random", "random"],
            "campaign": ["men"] * 4,
            "timestamp": [day(1), day(1), day(2), day(2)],
        }
    )
    items = pl.DataFrame({"item_id": ["men-0", "men-1"]})
    return Marketplace("shown", empty_interactions(), items, impressions=impressions)


def at(content: Any, path: str) -> Any:
    for key in path.split("."):
        content = content[key]
    return content


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("simulated", False),
        ("tables.interactions", 7),
        ("tables.users", None),
        ("users", 2),
        ("items", 3),
        ("items_met", 2),
        ("events", 7),
        ("density", 3 / 6),  # ann tea, ann pot, bob tea, of two users and three products
        ("events_by_kind.purchase", 3),
        ("events_by_kind.interaction", None),
        ("events_per_user.median", 3.5),
        ("events_per_user.mean", 3.5),
        ("products_per_user.mean", 1.5),
        ("popularity.gini", 1 / 6),  # users 1 and 2
        ("popularity.top_share", 2 / 3),
        ("repeats", 3 / 6),
        ("purchases.per_user.mean", 1.5),
        ("purchases.repeats", 1 / 3),
        ("visits.count", 4),
        ("visits.median", 1),
        ("visits.mean", 7 / 4),
        ("funnel.clicks_per_search", 2),
        ("funnel.carts_per_click", 0.5),
        ("funnel.purchases_per_cart", 3),
        ("shown.click_rate", None),
        ("ratings.count", 2),
        ("ratings.mean", 3.5),
        ("ratings.shares.5", 0.5),
        ("ratings.shares.1", 0),
        ("words.title.median", 3),
        ("words.description.median", None),
        ("words.review.mean", 3),
        ("words.query.mean", 2),
        ("vocabulary.items", 5),  # a, cup, tea, from, far
        ("vocabulary.reviews", 3),
        ("random_click_rate", None),
        ("known.title", 2 / 3),
        ("known.brand", 1 / 3),
        ("known.price", 2 / 3),
        ("known.description", 0),
        ("dates.first", "2024-03-01"),
        ("dates.last", "2024-03-09"),
        ("context.device.phone", 5 / 7),
        ("context.channel", None),
    ],
)
def test_counted_by_hand(shop: Marketplace, path: str, expected: Any) -> None:
    wanted = pytest.approx(expected, rel=1e-5) if isinstance(expected, float) else expected
    assert at(card(shop), path) == wanted


def test_clicks_of_what_was_shown(shown: Marketplace) -> None:
    content = card(shown)
    assert content["events"] is None and content["users"] is None
    assert content["shown"]["rows"] == 4
    assert content["shown"]["click_rate"] == 0.25
    assert content["shown"]["by_rank"]["1"] == {"rows": 2, "clicks": 1, "click_rate": 0.5}
    assert content["shown"]["by_policy"]["men-random"]["clicks"] == 0
    assert content["random_click_rate"] == 0
    assert content["dates"] == {"first": "2024-03-01", "last": "2024-03-02"}


class Halves:
    """A truth in which the place alone decides."""

    def click_probability(
        self, user_ids: Sequence[str], item_ids: Sequence[str], *, rank: int = 1, **_: Any
    ) -> NDArray[np.float32]:
        return np.full((len(user_ids), len(item_ids)), 0.3 / rank, np.float32)


def test_simulated_click_rate_comes_from_the_truth(shop: Marketplace) -> None:
    content = card(replace(shop, truth=Halves()))
    assert content["simulated"] is True
    assert content["random_click_rate"] == pytest.approx((0.3 + 0.15 + 0.1) / 3, rel=1e-5)


def leaves(content: Any, path: str = "") -> set[str]:
    """Paths of everything that a page can cite; names of levels, places and policies vary."""
    if isinstance(content, dict) and path.split(".")[-1] not in ("by_rank", "by_policy", *"abc"):
        return {leaf for key in content for leaf in leaves(content[key], f"{path}.{key}")}
    return {path}


def test_every_card_has_the_same_entries(shop: Marketplace, shown: Marketplace) -> None:
    """So that a page never breaks because a data set has something less."""
    first, second = card(shop), card(shown)
    for content in (first, second):
        del content["context"]
    assert leaves(first) == leaves(second)
    assert set(first["tables"]) == set(TABLES)


def test_popularity_is_even_where_all_are_equal() -> None:
    rows = pl.DataFrame({"user_id": list("xyxyyx"), "item_id": list("aabbcc")})
    assert cards._popularity(rows) == {"gini": 0.0, "top_share": pytest.approx(1 / 3, rel=1e-5)}


def test_events_without_a_kind_are_counted_apart(shop: Marketplace) -> None:
    events = shop.interactions.filter(pl.col("item_id").is_not_null()).drop("event", "session_id")
    content = card(replace(shop, interactions=events))
    assert content["events_by_kind"]["interaction"] == 6
    assert content["purchases"]["repeats"] is None
    assert content["visits"]["count"] is None


def test_ratings_of_events_count_where_there_are_no_reviews(shop: Marketplace) -> None:
    rated = shop.interactions.with_columns(rating=pl.lit(4.0))
    content = card(replace(shop, interactions=rated, reviews=None))
    assert content["ratings"]["shares"]["4"] == 1


@pytest.mark.parametrize("days", [1, 60, 400, 4000])
def test_time_is_drawn_in_a_readable_number_of_bars(days: int) -> None:
    times = pl.Series([day(1), day(1).replace(year=2024 + days // 366)])
    times = pl.datetime_range(day(1), day(1) + (times[1] - times[0]), "1d", eager=True)
    name, counts, edges = cards._over_time(times)
    assert name in ("day", "week", "month")
    assert counts.sum() == len(times) or (name == "week" and len(times) - counts.sum() <= 7)
    assert len(edges) == len(counts) + 1 <= 200


def test_figures_are_drawn(shop: Marketplace, shown: Marketplace, tmp_path: Path) -> None:
    for market, titles in (
        (shop, ["events per user", "events per product", "events per day", "share of ratings"]),
        (shown, ["impressions per product", "impressions per day", "clicks per impression"]),
    ):
        figure = card_figure(market)
        figure.savefig(tmp_path / "card.svg")
        drawn = [ax.get_title(loc="left") for ax in figure.axes]
        for title in titles:
            assert any(title in text for text in drawn), drawn
        assert len(drawn) == 4


def test_recorded_card_is_whole_and_the_same_twice(
    shop: Marketplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "REFERENCE", tmp_path / "reference")
    folder = tmp_path / "my shop"
    folder.mkdir()
    shop.interactions.write_csv(folder / "interactions.csv")
    shop.items.write_csv(folder / "items.csv")
    place = record_card(str(folder))
    assert place == tmp_path / "reference" / "my-shop"
    content = json.loads((place / "card.json").read_text(encoding="utf-8"))
    assert content["users"] == 2
    assert content["licence"] is None
    assert set(content["made"]["data_files"]) == {"interactions.csv", "items.csv"}
    assert content["made"]["size"] == "full"
    assert str(tmp_path) not in (place / "card.json").read_text(encoding="utf-8")
    ET.parse(place / "card.svg")
    before = [(place / name).read_bytes() for name in ("card.json", "card.svg")]
    record_card(str(folder))
    assert before == [(place / name).read_bytes() for name in ("card.json", "card.svg")]


def test_command_records_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded: list[tuple[str, str | None]] = []

    def record(name: str, *, size: str | None = None) -> Path:
        recorded.append((name, size))
        return tmp_path / name

    monkeypatch.setattr(cards, "record_card", record)
    monkeypatch.setenv("RECLIB_DATA", str(tmp_path))
    assert present() == ["simulated"]
    assert main(["card"]) == 0
    assert main(["card", "simulated", "--size", "smoke"]) == 0
    assert recorded == [("simulated", None), ("simulated", "smoke")]
    assert str(tmp_path / "simulated") in capsys.readouterr().out


def test_unknown_data_set_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECLIB_DATA", str(tmp_path))
    with pytest.raises(ReclibError, match="unknown data set 'online-retial'"):
        record_card("online-retial", folder=tmp_path / "card")
    assert not (tmp_path / "card").exists()


@pytest.mark.real_data
@pytest.mark.parametrize(
    "name",
    ["amazon-beauty", "amazon-office", "online-retail", "musical-instruments", "open-bandit"],
)
def test_recorded_cards_are_those_of_the_data(
    name: str, real_data: Callable[[str], Path], tmp_path: Path
) -> None:
    """A card that is typed over, or left behind by a new loader, is found out."""
    real_data(name)
    record_card(name, folder=tmp_path)
    new, old = (
        json.loads((folder / "card.json").read_text(encoding="utf-8"))
        for folder in (tmp_path, paths.REFERENCE / name)
    )
    for content in (new, old):
        for changing in ("library", "git"):
            content["made"].pop(changing)
    assert new == old


def test_interval_of_a_proportion() -> None:
    """Against the normal approximation where that is good, and inside [0, 1] where it is not."""
    low, high = figures.proportion_interval(500, 1000)
    assert (high - low) / 2 == pytest.approx(1.96 * np.sqrt(0.25 / 1000), rel=0.01)
    assert figures.proportion_interval(0, 10)[0] == pytest.approx(0)
