"""Visits to the simulated shop: what is shown, and what is clicked."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.special import expit

from reclib.data.simulate.catalogue import DEPARTMENT, Catalogue, Users
from reclib.data.simulate.situation import Columns, situations
from reclib.data.simulate.truth import SimulatedTruth
from reclib.data.simulate.vocabulary import KINDS

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# mode of a visit -> (share of visits, P(it starts with a search)); no set at hand has them
MODES: Mapping[str, tuple[float, float]] = {
    "browsing": (0.4, 0.0),  # without an intent
    "looking": (0.4, 0.6),
    "buying": (0.2, 0.7),
}
BROWSING, BUYING = list(MODES).index("browsing"), list(MODES).index("buying")
BRAND_ASKED = 0.25  # P(a search names a brand)
ASPECT_ASKED = 0.6  # P(a search names an aspect that the user wants), times text_signal
FOCUS = 0.6  # P(a later page of a visit still follows its intent)
PAGE = 10  # products shown at once
EXAMINED = np.append(0.0, np.arange(1, PAGE + 1) ** -0.5)  # P(looked at) by rank; 0 = not shown
# pages of a visit, log-normal: the mean gives a user as many visits as Online Retail has
# invoices of a customer (4.3); the spread goes towards its lines of an invoice (deviation / mean
# 1.16), which visits of so few clicks do not reach
MEAN_PAGES, PAGES_SPREAD, MOST_PAGES = 40.0, 1.3, 200
CLICKS_PER_VISIT = 4  # roughly, to know how many visits to draw
BLOCK = 4_000  # pages simulated at once: bounds memory; changing it changes the data


class Shop:
    """What the shop shows: pages of popular products, or results of a kind and brand."""

    def __init__(self, catalogue: Catalogue, users: Users) -> None:
        """Make lists of products: the whole catalogue, of each kind, of each kind and brand."""
        self.users = users
        self.by_fame = np.argsort(catalogue.fame, kind="stable")  # (n_items,)
        self.n_brands = len(catalogue.brands)
        kind = catalogue.kind[self.by_fame]
        cell = kind * self.n_brands + catalogue.brand[self.by_fame]
        # products by fame, list after list: all, then one for each kind, then for each cell
        self.lists = np.concatenate(
            [np.arange(len(kind)), np.argsort(kind, kind="stable"), np.argsort(cell, kind="stable")]
        )
        of_kind = np.bincount(kind, minlength=len(KINDS))
        of_cell = np.bincount(cell, minlength=len(KINDS) * self.n_brands)
        self.lengths = np.concatenate([[len(kind)], of_kind, of_cell])
        self.starts = np.cumsum(self.lengths) - self.lengths
        chance = np.cumsum(np.exp(users.kinds) * of_kind, axis=1)
        self.chance = chance / chance[:, -1:]  # (n_users, n_kinds), cumulative

    def draw_visits(self, owner: Ints, text_signal: float, rng: Generator) -> Columns:
        """Draw one visit of each `owner`: its situation, mode and intent.

        Returns
        -------
        dict of int64, shape (n,)
            The columns of `situations`, and ``owner``; ``mode``; ``kind``, ``brand`` and
            ``aspect`` wanted, -1 for none; ``search``, 1 where the visit starts with one.
        """
        n = len(owner)
        visits = situations(self.users.arrival[owner], self.users.device[owner], rng)
        shares, searches = np.array(list(MODES.values())).T
        mode = rng.choice(len(MODES), n, p=shares)
        kind = self.draw_kinds(owner, rng)
        search = rng.random(n) < searches[mode]
        branded = search & (rng.random(n) < BRAND_ASKED)
        brand = np.full(n, -1)
        brand[branded] = self._brands(owner[branded], kind[branded], rng)
        asks = search & (rng.random(n) < ASPECT_ASKED * text_signal)
        asks &= self.users.wanted[owner].any(axis=1)
        drawn = rng.random((n, self.users.wanted.shape[1])) * self.users.wanted[owner]
        return visits | {
            "owner": owner,
            "mode": mode,
            "kind": np.where(mode == BROWSING, -1, kind),
            "brand": brand,
            "aspect": np.where(asks, drawn.argmax(axis=1), -1),
            "search": search.astype(np.int64),
        }

    def draw_kinds(self, owner: Ints, rng: Generator) -> Ints:
        """Draw the kind of product that interests each `owner`."""
        kind: Ints = (self.chance[owner] <= rng.random((len(owner), 1))).sum(axis=1)
        return kind

    def _brands(self, owner: Ints, kind: Ints, rng: Generator) -> Ints:
        """Draw the brand of a kind's department that each user asks for."""
        factors = self.users.brand_factors[DEPARTMENT[kind]]  # (n, brands of each, d)
        each = factors.shape[1]
        liking = np.exp(np.einsum("nd,nbd->nb", self.users.brands[owner], factors))
        chance = np.cumsum(liking / np.arange(1, each + 1), axis=1)  # the first are the largest
        drawn = chance[:, -1:] * rng.random((len(owner), 1))
        brand: Ints = DEPARTMENT[kind] * each + (chance <= drawn).sum(axis=1)
        return brand

    def pages(self, kind: Ints, brand: Ints, rng: Generator) -> tuple[Ints, Ints]:
        """Fill pages, the more popular products first.

        Parameters
        ----------
        kind, brand
            What each page is about, -1 for anything, shape (n,). Half of the places of a
            page about a brand show its products, where it has any of the kind.
        rng
            Where the draws come from.

        Returns
        -------
        item, rank
            Shape (n, PAGE). A product that was drawn twice is shown once; rank 0 marks the
            places that stay empty.
        """
        cell = 1 + len(KINDS) + kind * self.n_brands + brand
        about = np.repeat((1 + kind)[:, None], PAGE, axis=1)  # row of the lists
        branded = np.flatnonzero((brand >= 0) & (self.lengths[cell] > 0))
        own = rng.random((len(branded), PAGE)) < 0.5
        about[branded] = np.where(own, cell[branded, None], about[branded])
        place = _places(self.lengths[about], rng)
        fame = np.sort(self.lists[self.starts[about] + place], axis=1)
        new = np.diff(fame, axis=1, prepend=-1) > 0
        return self.by_fame[fame], np.where(new, np.cumsum(new, axis=1), 0)


def _places(lengths: Ints, rng: Generator) -> Ints:
    """Draw a place of each list, place k of n with a weight of (k + √n / 4)^(-1/2)."""
    offset = np.sqrt(lengths) / 4
    low, high = np.sqrt(offset), np.sqrt(lengths + offset)
    place = (low + (high - low) * rng.random(lengths.shape)) ** 2 - offset
    return np.clip(place.astype(np.int64), 0, lengths - 1)


@dataclass(frozen=True, eq=False)
class Shown:
    """A block of pages that were shown."""

    visit: Ints  # (n,), row of the visits
    focused: Bools  # (n,), whether the page follows the visit's intent
    item: Ints  # (n, PAGE)
    rank: Ints  # (n, PAGE), 0 = empty place
    clicked: Bools  # (n, PAGE)


def show(truth: SimulatedTruth, shop: Shop, visits: Columns, rng: Generator) -> Iterator[Shown]:
    """Show the pages of some visits, block after block."""
    n_visits = len(visits["owner"])
    wished = MEAN_PAGES * np.exp(rng.normal(-(PAGES_SPREAD**2) / 2, PAGES_SPREAD, n_visits))
    pages = np.clip(np.ceil(wished), 1, MOST_PAGES).astype(np.int64)
    all_visits = np.repeat(np.arange(n_visits), pages)
    first = np.cumsum(pages) - pages
    for start in range(0, len(all_visits), BLOCK):
        visit = all_visits[start : start + BLOCK]
        focused = np.arange(start, start + len(visit)) == first[visit]
        focused |= rng.random(len(visit)) < FOCUS
        focused &= visits["kind"][visit] >= 0
        kind = np.where(focused, visits["kind"][visit], -1)
        item, rank = shop.pages(kind, np.where(focused, visits["brand"][visit], -1), rng)
        yield Shown(
            visit, focused, item, rank, _clicked(truth, taken(visits, visit), item, rank, rng)
        )


def _clicked(
    truth: SimulatedTruth, visits: Columns, item: Ints, rank: Ints, rng: Generator
) -> Bools:
    """Draw which products of each visit's page are looked at and clicked, (n, PAGE)."""
    drawn = rng.random(item.shape)
    clicked = drawn < EXAMINED[rank]  # looked at: a click needs no less
    page, place = np.nonzero(clicked)
    owners = taken(visits, page)
    chance = expit(truth.logit(owners["owner"], item[page, place], owners))
    clicked[page, place] = drawn[page, place] < EXAMINED[rank[page, place]] * chance
    return clicked


def browse(
    truth: SimulatedTruth, shop: Shop, quota: Ints, text_signal: float, rng: Generator
) -> tuple[Columns, Columns]:
    """Draw visits until every user has clicked a quota of different products.

    Returns
    -------
    visits
        See `Shop.draw_visits`; only those with a click.
    clicks
        ``visit``, ``item``, and ``led``, 1 where a search led there; in no special order.
    """
    n_items = len(truth.items)
    rounds: list[tuple[Columns, Columns]] = []
    pairs = np.empty(0, np.int64)  # user · n_items + item
    missing, n_visits = quota, 0
    while missing.any():
        many = np.ceil(missing / CLICKS_PER_VISIT).astype(np.int64)
        owner = np.repeat(np.arange(len(quota)), many)
        visits = shop.draw_visits(owner, text_signal, rng)
        clicks = _clicks(truth, shop, visits, rng)
        clicks["visit"] += n_visits
        n_visits += len(owner)
        rounds.append((visits, clicks))
        pairs = np.concatenate(
            [pairs, owner[clicks["visit"] - n_visits] * n_items + clicks["item"]]
        )
        count = np.bincount(np.unique(pairs) // n_items, minlength=len(quota))
        missing = np.maximum(quota - count, 0)
    all_visits, all_clicks = (joined(parts) for parts in zip(*rounds, strict=True))
    kept = _within(pairs // n_items, pairs, quota)
    all_clicks = taken(all_clicks, kept)
    used, all_clicks["visit"] = np.unique(all_clicks["visit"], return_inverse=True)
    return taken(all_visits, used), all_clicks


def _clicks(truth: SimulatedTruth, shop: Shop, visits: Columns, rng: Generator) -> Columns:
    """Collect the clicks of some visits."""
    found = []
    for shown in show(truth, shop, visits, rng):
        page, place = np.nonzero(shown.clicked)
        visit = shown.visit[page]
        led = visits["search"][visit] * shown.focused[page]
        found.append({"visit": visit, "item": shown.item[page, place], "led": led})
    return joined(found)


def _within(user: Ints, pairs: Ints, quota: Ints) -> Ints:
    """Rows of the first `quota` different pairs of each user."""
    first = np.sort(np.unique(pairs, return_index=True)[1])
    rows = first[np.argsort(user[first], kind="stable")]
    count = np.bincount(user[rows], minlength=len(quota))
    nth = np.arange(len(rows)) - (np.cumsum(count) - count)[user[rows]]
    kept: Ints = np.sort(rows[nth < quota[user[rows]]])
    return kept


def taken(columns: Columns, rows: Ints | Bools) -> Columns:
    """Take some rows of every column."""
    return {name: values[rows] for name, values in columns.items()}


def joined(parts: "list[Columns] | tuple[Columns, ...]") -> Columns:
    """Put columns one below the other."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
