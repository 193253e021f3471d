"""The shop on a page: driven as a reader would, without a browser."""

import re
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reclib.data import Marketplace, prepare
from reclib.errors import ReclibError
from reclib.models import Content, Fusion, ItemKNN
from reclib.serving import Shop, ShopPage, Store
from reclib.serving.widget import COLOURS
from reclib.study import figures

SCRIPT = "<script>alert(1)</script>"
TRICK = "<img src=x onerror=alert(1)>'\"&amp;"
TITLES = {f"i{n:02d}": f"{('tea', 'ink')[n % 2]} number{n}" for n in range(24)}
# what a catalogue's cleaning leaves: a tag that never ends
TITLES |= {"i03": "<script src=//evil ink", "i05": "<svg/onload=alert(1) 'ink' \"5\" & 3 < 5"}


@pytest.fixture(scope="module")
def fusion(make_market: Callable[..., Marketplace]) -> Fusion:
    rng = np.random.default_rng(1)
    items = pd.DataFrame({"item_id": TITLES.keys(), "title": TITLES.values(), "price": 2.5})
    names = list(TITLES)
    histories = {
        f"u{user:02d}": [*rng.choice(names[user % 2 :: 2], 5, replace=False)] for user in range(20)
    }
    parts = {"content": Content(context_weight=0), "item-knn": ItemKNN(shrink=1)}
    fusion = Fusion(parts, {"content": 1, "item-knn": 1}, normalise="global")
    return fusion.fit(prepare(make_market(histories, items)))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "shop.db") as made:
        yield made


@pytest.fixture
def page(store: Store, fusion: Fusion) -> ShopPage:
    return ShopPage(Shop(store, fusion), customers=["u00", "u01"], k=5)


def cards(page: ShopPage) -> list[str]:
    """What a reader reads of each product in the list."""
    shown = [told.value for told, _ in page.rows if told.value]
    return [unescape(re.sub("<[^<>]*>", " ", told)) for told in shown]


def titles(page: ShopPage) -> list[str]:
    return [found for card in cards(page) for found in TITLES.values() if f" {found} " in card]


def values(page: ShopPage) -> str:
    """All that is on the page as HTML."""
    return "".join(one.value for one in everything(page.box) if type(one).__name__ == "HTML")


def everything(widget: object) -> list[object]:
    return [
        widget,
        *(one for child in getattr(widget, "children", ()) for one in everything(child)),
    ]


def visible(page: ShopPage, widget: object) -> bool:
    """Whether a widget is on the page, and in no box that is hidden."""

    def look(one: object) -> bool:
        if one.layout.display == "none":
            return False
        return one is widget or any(look(child) for child in getattr(one, "children", ()))

    return look(page.box)


def search(page: ShopPage, query: str) -> None:
    page.query.value = query  # as Enter does, or leaving the field


def register(page: ShopPage, name: str) -> str:
    page.name.value = name
    page.register.click()
    return str(page.customer.value)


def test_a_visitor_sees_popular_products_and_pages_through_the_catalogue(
    page: ShopPage, store: Store
) -> None:
    assert len(titles(page)) == 5
    assert all("Popular" in card for card in cards(page))
    assert "popular 100%" in page.legend.value
    assert not visible(page, page.later)
    seen = []
    page.catalogue.click()
    for number in range(1, 6):
        assert f"page {number} of 5" in page.title.value
        assert (page.earlier.disabled, page.later.disabled) == (number == 1, number == 5)
        seen += titles(page)
        page.later.click()
    assert seen == list(TITLES.values())
    assert "2.50" in cards(page)[0]
    page.earlier.click()
    page.rows[0][1].click()  # may look
    assert "Log in to rate" in page.product.value
    assert not visible(page, page.buy)
    page.buy.click()
    page.stars[4].click()
    assert len(store.evaluations()) == 0
    assert page.yours.value == ""


def test_a_newcomer_registers_and_each_act_changes_the_list(page: ShopPage, store: Store) -> None:
    user = register(page, "Ann")
    assert store.name(user) == "Ann"
    assert "Ann" in page.head.value and "Welcome, Ann" in page.message.value
    acts = [
        page.rows[0][1].click,
        page.rows[0][1].click,
        page.buy.click,
        page.stars[3].click,
    ]
    for act in acts[:2]:
        before = titles(page)
        act()
        assert titles(page) != before and before[0] not in titles(page)
        assert page.rows[4][0].value.count("rs-new") == ("new" in cards(page)[4])
        assert sum("rs-new" in told.value for told, _ in page.rows) >= 1
    shares = dict(re.findall(r"([\w-]+) (\d+)%", re.sub("<[^<>]*>", "", page.legend.value)))
    assert 0 < int(shares["popular"]) < 100
    acts[2]()
    acts[3]()
    page.comment.value = "so good"
    page.send.click()
    done = [(one.kind, one.rating, one.comment) for one in store.history(user)]
    assert done == [
        ("click", None, None),
        ("click", None, None),
        ("purchase", None, None),
        ("rating", 4, None),
        ("comment", None, "so good"),
    ]
    assert [button.description for button in page.stars] == ["★"] * 4 + ["☆"]
    assert "★★★★" in page.yours.value and "so good" in page.yours.value
    assert page.comment.value == ""
    log = store.impressions()
    assert log["click"].sum() == 2  # each with the impression that led there


def test_what_is_searched_for_is_found_and_saved_once(page: ShopPage, store: Store) -> None:
    user = register(page, "Ann")
    search(page, "tea")
    page.find.click()  # after Enter: not a second search
    assert store.searches(user) == ["tea"]
    assert len(titles(page)) == 5 and all("tea" in title for title in titles(page))
    found = titles(page)
    page.rows[1][1].click()
    assert titles(page) == found  # a page of results stays where it is
    assert store.evaluations()["query"].to_list() == ["tea"]
    assert "“tea”" in page.yours.value
    page.home.click()
    assert found[1] not in titles(page)


@pytest.mark.parametrize(
    "query", ["DROP TABLE customers;", "<b>zebra</b>", "zebra", "  ", "x" * 10**6]
)
def test_what_matches_nothing_or_is_refused_is_told_as_text(page: ShopPage, query: str) -> None:
    before = titles(page)
    search(page, query)
    assert "No product has any" in page.message.value or "characters" in page.message.value
    assert titles(page) in ([], before)
    assert "<b>" not in values(page) and len(page.message.value) < 300
    page.home.click()
    assert titles(page) == before and page.message.value == ""


def test_tags_are_shown_and_never_run(page: ShopPage, store: Store) -> None:
    user = register(page, SCRIPT + TRICK)
    search(page, "number7 script svg ink")
    for place in range(5):
        page.rows[place][1].click()
        page.comment.value = SCRIPT + TRICK
        page.send.click()
    search(page, "script svg " + SCRIPT + TRICK)
    html = values(page) + page.picture()
    for planted in (SCRIPT, "<script", "<img", "<svg", "onerror=alert(1)>"):
        assert planted not in html
    for shown in (SCRIPT + TRICK, "<script src=//evil ink", TITLES["i05"]):
        assert shown in unescape(html)
    tags = set(re.findall(r"<(/?\w+)", html))
    assert tags <= {
        f"{end}{tag}"
        for tag in ("div", "span", "small", "p", "ul", "li", "style")
        for end in ("", "/")
    }
    assert store.history(user)[-1].comment == SCRIPT + TRICK
    # in attributes, too
    assert all(re.fullmatch(r"[^'<>]*", one) for one in re.findall(r"aria-label='([^']*)'", html))


def test_a_customer_sees_nothing_of_another(page: ShopPage, store: Store) -> None:
    page.customer.value = "u00"
    search(page, "ink")
    page.rows[0][1].click()
    page.stars[0].click()
    page.comment.value = "between us"
    page.send.click()
    page.comment.value = "not yet sent"
    page.name.value = "not yet registered"
    secret = page.product.value
    for other in ("u01", None):
        page.customer.value = other
        shown = values(page) + page.picture()
        assert "between us" not in shown and "“ink”" not in shown and "★" not in shown
        assert secret not in shown and page.product.value == ""
        assert page.comment.value == page.query.value == page.name.value == ""
        page.stars[4].click()  # nothing is open any more
        page.buy.click()
        page.send.click()
    assert store.history("u01") == []
    page.customer.value = "u00"
    assert "between us" in page.yours.value


def test_each_is_logged_what_they_saw_and_nothing_else(page: ShopPage, store: Store) -> None:
    page.customer.value = "u00"
    register(page, "Ann")
    assert store.impressions()["user_id"].n_unique() == 3
    assert len(store.impressions()) == 3 * 5


@pytest.mark.parametrize("name", ["", "   ", "x" * 201])
def test_a_name_that_is_none_is_refused_on_the_page(page: ShopPage, name: str) -> None:
    page.name.value = name
    page.register.click()
    assert "name" in page.message.value
    assert page.customer.value is None


def test_two_customers_may_have_one_name(page: ShopPage) -> None:
    one, two = register(page, "Ann"), register(page, "Ann")
    assert one != two == page.customer.value
    page.customer.value = one
    assert page.customer.index == len(page.customer.options) - 2


def test_without_a_kernel_the_page_is_a_picture(page: ShopPage) -> None:
    page.customer.value = "u00"
    shown = page._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in shown
    still = shown["text/html"]
    assert still == page.picture()
    assert all(title in unescape(still) for title in titles(page))
    assert not re.search(r"http|//[a-z]|<script|<img|url\(|<button|<input", still)


def test_bars_show_the_parts(page: ShopPage) -> None:
    page.customer.value = "u00"
    for told, _ in page.rows:
        (label,) = re.findall(r"aria-label='([^']*)'", told.value)
        parts = [float(value) for value in re.findall(r"\d\.\d\d", label)]
        (total,) = re.findall(r"rs-score'>(\d\.\d\d)", told.value)
        assert float(total) == pytest.approx(sum(parts), abs=0.011)
        width = sum(float(value) for value in re.findall(r"width:([\d.]+)%", told.value))
        assert width <= 100.2
    assert width > 10
    assert all(
        figures.COLOURS[name] == colour
        for name, colour in COLOURS.items()
        if name in figures.COLOURS
    )


def test_customers_who_are_unknown_cannot_be_chosen(store: Store, fusion: Fusion) -> None:
    with pytest.raises(ReclibError, match="unknown customer"):
        ShopPage(Shop(store, fusion), customers=["eve"])


def test_a_failing_store_is_told_on_the_page(page: ShopPage, store: Store) -> None:
    page.customer.value = "u00"
    store._connection().execute("PRAGMA query_only = 1")
    page.rows[0][1].click()
    assert "cannot be written" in page.message.value
    assert page.product.value == ""
