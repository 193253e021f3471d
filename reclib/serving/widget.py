"""The shop of Fig. 1 on a page in JupyterLab, made of ipywidgets."""

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from html import escape
from textwrap import shorten
from typing import Any

import ipywidgets as widgets  # type: ignore[import-untyped]

from reclib.errors import ReclibError
from reclib.serving.shop import POPULAR, SEARCH, Recommendation, Shop
from reclib.serving.store import STARS, Evaluation

# of the parts of Eq. 7, as in the figures of the book; the other parts share one
COLOURS: Mapping[str, str] = {
    "content": "#0072b2",
    "collaborative": "#009e73",
    "language": "#cc79a7",
    POPULAR: "#6b7280",
    SEARCH: "#e69f00",
}
OTHER = "#56b4e9"
GOLD = "#c77700"  # of stars; to be seen on light and dark pages
RECENT = 6  # evaluations that are shown
BRIEF, LONG = 60, 300  # characters of a comment in a line, and of a description
HIDDEN, SHOWN = "none", ""

STYLE = """<style>
.rs { --ink: var(--jp-ui-font-color1, var(--pst-color-text-base, #1f2328));
  --soft: var(--jp-ui-font-color2, var(--study-muted, #55626d));
  --rule: var(--jp-border-color2, var(--study-rule, #d5dbe0));
  --fill: var(--jp-layout-color2, var(--study-soft, #f5f7f9));
  color: var(--ink); font-size: 14px; line-height: 1.4; white-space: normal;
  overflow-wrap: anywhere; }
.rs p { margin: 0; }
.rs-head { display: flex; align-items: baseline; gap: .6em; flex-wrap: wrap; font-size: 18px;
  font-weight: 600; }
.rs-head small { font-size: 13px; font-weight: 400; color: var(--soft); }
.rs-card { display: grid; grid-template-columns: 1.6em minmax(0, 1fr) 3em; gap: 0 .5em;
  padding: .55em 0; border-top: 1px solid var(--rule); }
.rs-rank, .rs-score { color: var(--soft); font-variant-numeric: tabular-nums; }
.rs-score { text-align: right; font-size: 13px; }
.rs-title { font-weight: 600; }
.rs-new { font-size: 11px; font-weight: 600; color: #fff; background: #00694c; border-radius: 4px;
  padding: 1px 5px; margin-left: .5em; white-space: nowrap; }
.rs-reason, .rs-fine { color: var(--soft); font-size: 13px; }
.rs-bar { display: flex; gap: 1px; height: 7px; margin-top: .35em; border-radius: 4px;
  overflow: hidden; background: var(--fill); }
.rs-legend { display: flex; flex-wrap: wrap; gap: .2em 1em; margin-top: .5em; font-size: 13px; }
.rs-dot { display: inline-block; width: .7em; height: .7em; border-radius: 50%;
  margin-right: .35em; }
.rs-panel { background: var(--fill); border-radius: 8px; padding: .7em .9em; margin-bottom: .6em; }
.rs-two { display: flex; flex-wrap: wrap; gap: .6em 1.5em; margin-top: .6em; }
.rs-two > :first-child { flex: 3 1 22em; min-width: 0; }
.rs-two > :last-child { flex: 2 1 13em; min-width: 0; }
.rs-panel ul { margin: .3em 0 0; padding-left: 1.1em; font-size: 13px; }
.rs-still { background: var(--jp-layout-color1, var(--pst-color-background, #fff));
  border: 1px solid var(--rule); border-radius: 12px; padding: 1em 1.2em; }
</style>"""


@dataclass(frozen=True)
class _Card:
    """A product in a list: as chosen, or without parts, as it stands in the catalogue."""

    item_id: str
    title: str
    said: str
    parts: Mapping[str, float]
    impression: int | None = None


class ShopPage:
    """A shop to look around in: lists with reasons, a search, pages of products, and a login.

    What somebody does is saved at once, and their list is chosen again; products that were
    not in it before are marked. A bar under each product has a piece for what each part of
    Eq. 7 adds, and the legend the share of each part in the whole list.

    All texts are shown as they are: tags in a title, a name or a comment are no tags here.
    Whoever is chosen as customer sees their own evaluations and searches and nobody else's. The
    choice stands for a login, which a shop on the web has to check.

    Where no kernel answers, in a book or on paper, the page is a still `picture`.

    Parameters
    ----------
    shop
        Open.
    customers
        Who may be chosen, ids that the shop's store knows; more can register on the page.
    k
        Products in a list, up to the shop's depth.

    Attributes
    ----------
    k
        As given.
    box
        All of it.
    customer, name, register
        Who is there, and how to become a customer.
    query, find, home, catalogue, earlier, later
        The ways to a list, and to other pages of the catalogue.
    rows
        For each place of the list its text and the button that opens the product.
    stars, buy, comment, send
        What can be done with the open product.
    head, message, title, legend, product, yours
        What is told.

    Raises
    ------
    ReclibError
        If a customer is unknown, or `k` is out of range.
    """

    def __init__(self, shop: Shop, *, customers: Sequence[str] = (), k: int = 6) -> None:
        self._shop, self.k = shop, k
        self.known: list[tuple[str, str | None]] = [("Visitor, not logged in", None)]
        self.known += [(shop.store.name(user) or user, user) for user in customers]
        self._cards: list[_Card] = []
        self._where = ""
        self._page = 1
        self._opened: _Card | None = None
        self._make()
        self.box = self._arranged()
        self._go_home()

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        """Show the widgets, and the picture where there are none."""
        bundle: dict[str, Any] = self.box._repr_mimebundle_(**options)
        return bundle | {"text/html": self.picture()}

    def picture(self) -> str:
        """Draw the page as it is now, as HTML without scripts, buttons and network."""
        cards = [told for told, _ in self.rows[: len(self._cards)]]
        top, left, right = (
            "".join(one.value for one in those)
            for those in (
                (self.head, self.message),
                (self.title, *cards, self.legend),
                (self.product, self.yours),
            )
        )
        two = f"<div class='rs-two'><div>{left}</div><div>{right}</div></div>"
        return f"{STYLE}<div class='rs rs-still'>{top}{two}</div>"

    # ---- widgets

    def _make(self) -> None:
        self.head, self.message, self.title, self.legend, self.product, self.yours = (
            widgets.HTML() for _ in range(6)
        )
        self.customer = widgets.Dropdown(options=self.known, layout=_wide("14em"))
        self.name = widgets.Text(placeholder="New here? Your name", layout=_wide("14em"))
        self.register = self._button("Register", self._register)
        self.query = widgets.Text(
            placeholder="Search the shop", continuous_update=False, layout=_wide("14em", grow=1)
        )
        self.find = self._button("Search", self._search, icon="search")
        self.home = self._button("For you", self._go_home)
        self.catalogue = self._button("Catalogue", lambda: self._turn(1))
        self.earlier = self._button("Previous page", lambda: self._turn(self._page - 1))
        self.later = self._button("Next page", lambda: self._turn(self._page + 1))
        self.rows = [
            (
                widgets.HTML(layout=_wide("0", grow=1)),
                self._button("Open", partial(self._open, place)),
            )
            for place in range(self.k)
        ]
        self.stars = [self._button("☆", partial(self._rate, stars)) for stars in STARS]
        for button in self.stars:
            button.layout = widgets.Layout(width="1.6em", padding="0", margin="0")
            button.style = {"button_color": "transparent", "text_color": GOLD, "font_size": "22px"}
        self.buy = self._button("Buy", self._buy, icon="shopping-cart")
        self.comment = widgets.Textarea(placeholder="What do you think of it?", rows=2)
        self.comment.layout = widgets.Layout(width="97%")
        self.send = self._button("Comment", self._comment)
        self.customer.observe(self._log_in, "value")
        self.query.observe(lambda _: self._search(), "value")

    def _button(self, text: str, act: Callable[[], None], icon: str = "") -> widgets.Button:
        made = widgets.Button(description=text, icon=icon, layout=_wide("auto"))
        made.on_click(lambda _: act())
        return made

    def _arranged(self) -> widgets.VBox:
        self._pages = widgets.HBox([self.earlier, self.later])
        self.message.layout.min_height = "1.8em"  # so that the list stays in its place
        self._act = widgets.VBox(
            [widgets.HBox(self.stars), self.comment, _line(self.send, self.buy)],
            layout=widgets.Layout(margin="0 0 .6em"),
        )
        self._lines = [
            widgets.HBox(row, layout=widgets.Layout(align_items="center")) for row in self.rows
        ]
        listed = widgets.VBox([self.title, *self._lines, self._pages, self.legend])
        listed.layout = _wide("24em", grow=3)
        beside = widgets.VBox([self.product, self._act, self.yours])
        beside.layout = _wide("16em", grow=2)
        made = widgets.VBox(
            [
                widgets.HTML(STYLE),
                self.head,
                _line(self.customer, self.name, self.register),
                _line(self.query, self.find, self.home, self.catalogue),
                self.message,
                _line(listed, beside, gap="1.5em"),
            ]
        )
        made.layout = widgets.Layout(max_width="64em", padding="4px", overflow="hidden")
        return made

    # ---- who is there

    @property
    def _user(self) -> str | None:
        user: str | None = self.customer.value
        return user

    def _log_in(self, _: object) -> None:
        """Begin anew: nothing of whoever was there before stays on the page."""
        self._opened = None
        self.name.value = self.comment.value = self.query.value = ""
        self._go_home()

    def _register(self) -> None:
        with self._told():
            name = self.name.value.strip()
            if not name:
                raise ReclibError("Type a name first.")
            user = f"customer-{secrets.token_hex(4)}"
            self._shop.store.register(user, name)
            self.known = [*self.known, (name, user)]
            self.customer.unobserve(self._log_in, "value")  # new options choose the first
            self.customer.options = self.known
            self.customer.observe(self._log_in, "value")
            self.customer.value = user
            self._say(f"Welcome, {name}. These are the products that most customers had.")

    # ---- lists

    def _go_home(self) -> None:
        with self._told():
            here = f"home of {self._user}"
            shown = self._shop.recommend(self._user, self.k)
            self._show(here, "Popular products" if self._user is None else "For you", shown)

    def _search(self) -> None:
        query = self.query.value
        here = f"search for {query}"
        if here == self._where or not query:  # Enter and the button as well, or a new customer
            return
        with self._told():
            shown = self._shop.search(query, self.k, user_id=self._user)
            self._show(here, f"Found for “{query}”", shown)
            if not shown:
                self._say("No product has any of these words.")

    def _turn(self, page: int) -> None:
        with self._told():
            found = self._shop.catalogue(page, self.k)
            self._page = page
            last = -(-self._shop.n_products // self.k)
            self.earlier.disabled, self.later.disabled = page == 1, page == last
            cards = [
                _Card(item, title or item, _told_of(brand, price), {})
                for item, title, brand, price in zip(
                    *(found[name] for name in ("item_id", "title", "brand", "price")), strict=True
                )
            ]
            self._show("catalogue", f"Catalogue, page {page:,} of {last:,}", cards)

    def _show(self, where: str, title: str, shown: Sequence[Recommendation | _Card]) -> None:
        """Put a list on the page."""
        cards = [one if isinstance(one, _Card) else _card(one) for one in shown]
        again = where == self._where and where != "catalogue"
        before = {card.item_id for card in self._cards} if again else None
        self._where, self._cards = where, cards
        self.title.value = _html(f"<p class='rs-title'>{escape(title)}</p>")
        largest = max((sum(_positive(card).values()) for card in cards), default=0)
        for place, (line, (told, button)) in enumerate(zip(self._lines, self.rows, strict=True)):
            line.layout.display = SHOWN if place < len(cards) else HIDDEN
            card = cards[place] if place < len(cards) else None
            fresh = card is not None and before is not None and card.item_id not in before
            told.value = "" if card is None else _html(_drawn(card, place + 1, largest, fresh))
            button.tooltip = "" if card is None else f"Open {card.title}"
        self._pages.layout.display = SHOWN if where == "catalogue" else HIDDEN
        self.legend.value = _html(_legend(cards))
        self._say("")
        self._tell()

    # ---- the open product

    def _open(self, place: int) -> None:
        card = self._cards[place]
        with self._told():
            self._shop.store.click(self._user, card.item_id, impression=card.impression)
            self._opened = card
            self.comment.value = ""
            self._acted("Opened", card)

    def _rate(self, stars: int) -> None:
        if (card := self._opened) and self._user is not None:
            with self._told():
                self._shop.store.rate(self._user, card.item_id, stars)
                self._acted("Rated", card)

    def _buy(self) -> None:
        if (card := self._opened) and self._user is not None:
            with self._told():
                self._shop.store.purchase(self._user, card.item_id, impression=card.impression)
                self._acted("Bought", card)

    def _comment(self) -> None:
        if (card := self._opened) and self._user is not None:
            with self._told():
                self._shop.store.comment(self._user, card.item_id, self.comment.value)
                self.comment.value = ""
                self._acted("Commented on", card)

    def _acted(self, what: str, card: _Card) -> None:
        """Choose the list again; what was searched for, or the catalogue, stays."""
        if self._where.startswith("home"):
            self._go_home()
        else:
            self._tell()
        self._say(f"{what} “{card.title}”" + ("." if self._user is None else ": saved."))

    # ---- what is told

    def _tell(self) -> None:
        """Write what is about the customer and about the open product."""
        store, user = self._shop.store, self._user
        who = "not logged in" if user is None else store.name(user) or user
        self.head.value = _html(f"<div class='rs-head'>The shop <small>{escape(who)}</small></div>")
        self._act.layout.display = HIDDEN if self._opened is None or user is None else SHOWN
        self.product.value = "" if self._opened is None else _html(self._page_of(self._opened))
        self.yours.value = "" if user is None else _html(self._own(user))
        rated = 0
        if user is not None and self._opened is not None:
            rated = store.ratings(user).get(self._opened.item_id, 0)
        for stars, button in zip(STARS, self.stars, strict=True):
            button.description = "★" if stars <= rated else "☆"
            button.tooltip = f"{stars} of {STARS[-1]} stars"

    def _page_of(self, card: _Card) -> str:
        said = self._shop.product(card.item_id)
        lines = [_told_of(said["brand"], said["price"]), said["categories"]]
        lines.append(shorten(said["description"], LONG, placeholder=" …"))
        if self._user is None:
            lines.append("Log in to rate, comment on or buy it.")
        told = "".join(f"<p class='rs-fine'>{escape(line)}</p>" for line in lines if line)
        return f"<div class='rs-panel'><p class='rs-title'>{escape(card.title)}</p>{told}</div>"

    def _own(self, user: str) -> str:
        """Say what the shop has of a customer, the newest first."""
        store = self._shop.store
        did = [self._did(one) for one in store.history(user)[::-1][:RECENT]]
        sought = store.searches(user)[::-1][:RECENT]
        if sought:
            did.append("Searched for " + ", ".join(f"“{query}”" for query in sought))
        told = "".join(f"<li>{escape(line)}</li>" for line in did)
        nothing = "<p class='rs-fine'>Nothing yet: open, rate or buy a product.</p>"
        return (
            "<div class='rs-panel'><p class='rs-title'>What you did here</p>"
            f"{f'<ul>{told}</ul>' if told else nothing}</div>"
        )

    def _did(self, one: Evaluation) -> str:
        try:
            title = self._shop.product(one.item_id)["title"]
        except ReclibError:  # no longer in the catalogue
            title = one.item_id
        if one.rating is not None:
            return f"{'★' * one.rating} {title}"
        if one.comment is not None:
            return f"“{shorten(one.comment, BRIEF, placeholder=' …')}” on {title}"
        return f"{'Bought' if one.kind == 'purchase' else 'Opened'} {title}"

    def _say(self, text: str) -> None:
        self.message.value = _html(f"<p role='status'>{escape(text)}</p>") if text else ""

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Tell on the page what was refused."""
        try:
            yield
        except ReclibError as error:
            self._say(str(error))


def _card(one: Recommendation) -> _Card:
    return _Card(one.item_id, one.title, str(one.reason), one.parts, one.impression)


def _positive(card: _Card) -> dict[str, float]:
    """Keep what the parts add; z-scores may also take away, which no bar can show."""
    return {name: max(0.0, added) for name, added in card.parts.items()}


def _drawn(card: _Card, rank: int, largest: float, fresh: bool) -> str:
    """Write a product of a list as HTML."""
    new = "<span class='rs-new'>new</span>" if fresh else ""
    bar = score = ""
    if largest > 0:
        pieces = "".join(
            f"<span style='width:{100 * added / largest:.1f}%;background:{_colour(name)}'></span>"
            for name, added in _positive(card).items()
        )
        told = ", ".join(f"{name} {added:.2f}" for name, added in card.parts.items())
        bar = (
            f"<div class='rs-bar' role='img' aria-label='{escape(told)}' title='{escape(told)}'>"
            f"{pieces}</div>"
        )
        score = f"{sum(card.parts.values()):.2f}"
    return (
        f"<div class='rs-card'><span class='rs-rank'>{rank}</span><div>"
        f"<p><span class='rs-title'>{escape(card.title)}</span>{new}</p>"
        f"<p class='rs-reason'>{escape(card.said)}</p>{bar}</div>"
        f"<span class='rs-score'>{score}</span></div>"
    )


def _legend(cards: Sequence[_Card]) -> str:
    """Write the share of each part in a whole list as HTML."""
    total: dict[str, float] = {}
    for card in cards:
        for name, added in _positive(card).items():
            total[name] = total.get(name, 0.0) + added
    whole = sum(total.values())
    return (
        "<div class='rs-legend'>"
        + "".join(
            f"<span><span class='rs-dot' style='background:{_colour(name)}'></span>{escape(name)} "
            f"{added / whole:.0%}</span>"
            for name, added in total.items()
            if whole > 0
        )
        + "</div>"
    )


def _colour(part: str) -> str:
    return COLOURS.get(part, OTHER)


def _told_of(brand: str, price: float) -> str:
    """Join brand and price, where they are known."""
    return " · ".join(filter(None, [brand, "" if price != price else f"{price:,.2f}"]))


def _html(inside: str) -> str:
    return f"<div class='rs'>{inside}</div>"


def _wide(basis: str, *, grow: int = 0) -> widgets.Layout:
    """Lay out with a width that may grow."""
    if not grow:
        return widgets.Layout(width=basis)
    return widgets.Layout(flex=f"{grow} 1 {basis}", width="auto", min_width="0")


def _line(*those: widgets.Widget, gap: str = "4px") -> widgets.HBox:
    """Set widgets side by side, or under one another where the page is narrow."""
    layout = widgets.Layout(flex_flow="row wrap", align_items="flex-start", grid_gap=gap)
    return widgets.HBox(list(those), layout=layout)
