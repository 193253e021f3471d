"""From visits and clicks to the tables of events and of reviews."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.random import Generator
from numpy.typing import NDArray

from reclib.data.schema import EVENTS
from reclib.data.simulate.catalogue import Catalogue, Users
from reclib.data.simulate.situation import DAY, LEVELS, OPENING, Columns
from reclib.data.simulate.truth import SimulatedTruth
from reclib.data.simulate.visits import BUYING, Shop, joined, taken
from reclib.data.simulate.writing import ask, comment

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# no set at hand follows customers from click to purchase: shares of the funnel are our choice
SEARCHES, CARTS, PURCHASES = 0.15, 0.075, 0.03  # of all events; the rest are clicks
RETURNS = 0.31  # share of clicks on a product clicked in an earlier visit: Online Retail's lines
READY = 1.5  # how much likelier, in log weight, a visit made for buying ends with it
QUANTITIES = (0.85, 0.11, 0.04)  # P(1, 2, 3 pieces)
DISCOUNTED, DISCOUNT = 0.15, 0.8  # share of purchases below the list price, and their price
REVIEWED = 0.2  # share of the log's purchases that are reviewed
PAGES_BEFORE = 3  # a purchase before the log is the best of as many pages
YEARS_BEFORE = 3  # how long before the log the shop opened
RATING_SHARES = (0.021, 0.024, 0.075, 0.203, 0.677)  # 1 to 5 stars on Musical Instruments
NOISE, LENIENCY = 0.9, 0.4  # deviations of experience and of users, beside 1 of utility
BLOCK = 4_000  # purchases drawn at once: bounds memory; changing it changes the data


@dataclass(frozen=True)
class MarketSize:
    """Exact numbers of rows; `events` counts searches, clicks, carts and purchases."""

    users: int
    items: int
    events: int
    reviews: int

    @property
    def searches(self) -> int:
        """How many events are searches."""
        return round(SEARCHES * self.events)

    @property
    def carts(self) -> int:
        """How many events put a product into the cart."""
        return round(CARTS * self.events)

    @property
    def purchases(self) -> int:
        """How many events are purchases."""
        return round(PURCHASES * self.events)

    @property
    def clicks(self) -> int:
        """How many events are clicks."""
        return self.events - self.searches - self.carts - self.purchases

    @property
    def returns(self) -> int:
        """How many clicks are on a product that the user clicked in an earlier visit."""
        return round(RETURNS * self.clicks)


def in_order(visits: Columns, clicks: Columns) -> tuple[Columns, Columns]:
    """Sort visits by user and time; clicks keep pointing at theirs."""
    order = np.lexsort((visits["seconds"], visits["owner"]))
    turn = np.empty_like(order)
    turn[order] = np.arange(len(order))
    return taken(visits, order), clicks | {"visit": turn[clicks["visit"]]}


def with_returns(
    truth: SimulatedTruth, visits: Columns, clicks: Columns, n_returns: int, rng: Generator
) -> Columns:
    """Add clicks in later visits on products that were clicked before; visits are in order."""
    owner = visits["owner"][clicks["visit"]]
    last = np.cumsum(np.bincount(visits["owner"])) - 1  # every user's last visit
    later = last[owner] - clicks["visit"]
    again = np.flatnonzero(later)
    score = truth.logit(owner[again], clicks["item"][again]) + rng.gumbel(size=len(again))
    again = again[np.argsort(-score, kind="stable")[:n_returns]]
    ahead = 1 + (rng.random(n_returns) * later[again]).astype(np.int64)
    back = {
        "visit": clicks["visit"][again] + ahead,
        "item": clicks["item"][again],
        "led": np.zeros(n_returns, np.int64),
    }
    return joined([clicks, back])


def with_funnel(
    truth: SimulatedTruth, visits: Columns, clicks: Columns, market: MarketSize, rng: Generator
) -> Columns:
    """Mark the clicks that end in the cart, and those of them that end in a purchase."""
    weight = truth.logit(visits["owner"][clicks["visit"]], clicks["item"])
    weight += READY * (visits["mode"][clicks["visit"]] == BUYING)
    carts = _drawn(weight, np.arange(len(weight)), market.carts, rng)
    stage = np.zeros(len(weight), np.int64)
    stage[carts] = 1
    stage[_drawn(weight, carts, market.purchases, rng)] = 2
    return clicks | {"stage": stage}


def _drawn(weight: Floats, rows: Ints, n: int, rng: Generator) -> Ints:
    """Draw `n` of some rows without replacement, with weights of exp(weight)."""
    score = weight[rows] + rng.gumbel(size=len(rows))  # the largest are such a draw
    return rows[np.argsort(-score, kind="stable")[:n]]


def with_vain_searches(
    shop: Shop, visits: Columns, n_searches: int, text_signal: float, rng: Generator
) -> Columns:
    """Add visits that ended with the search, up to `n_searches` in all."""
    vain = n_searches - int(visits["search"].sum())
    owner = rng.choice(visits["owner"], size=6 * vain)  # one visit in three starts with a search
    more = shop.draw_visits(owner, text_signal, rng)
    return joined([visits, taken(more, np.flatnonzero(more["search"])[:vain])])


def write_events(
    visits: Columns, clicks: Columns, catalogue: Catalogue, users: Users, rng: Generator
) -> tuple[pl.DataFrame, Columns]:
    """Write the table of events, sorted by user, oldest first.

    A cart follows its click at once, and a purchase its cart; visits of a user never overlap.

    Returns
    -------
    interactions
        See `reclib.data.schema.Interactions`.
    purchases
        ``user``, ``item`` and ``seconds`` since the opening of every purchase.
    """
    click = np.repeat(np.arange(len(clicks["visit"])), 1 + clicks["stage"])
    stage = np.arange(len(click)) - np.searchsorted(click, click)
    searching = np.flatnonzero(visits["search"])
    visit = np.concatenate([searching, clicks["visit"][click]])
    # the search comes first, then clicks in any order
    turn = np.concatenate([np.full(len(searching), -1.0), rng.random(len(clicks["visit"]))[click]])
    event = np.concatenate([np.zeros(len(searching), np.int64), 1 + stage])
    item = np.concatenate([np.full(len(searching), -1), clicks["item"][click]])
    led = np.concatenate([np.ones(len(searching), np.int64), clicks["led"][click]])
    order = np.lexsort((event, turn, visit))
    visit, event, item, led = visit[order], event[order], item[order], led[order]
    owner = visits["owner"][visit]
    seconds = _clock(visits, visit, rng)
    bought = event == EVENTS.index("purchase")
    paid = catalogue.price[item] * np.where(rng.random(len(item)) < DISCOUNTED, DISCOUNT, 1)
    pieces = 1 + rng.choice(len(QUANTITIES), len(item), p=QUANTITIES)
    text = np.full(len(visits["owner"]), -1)
    text[searching] = np.arange(len(searching))
    table = pl.DataFrame(
        {
            "user_id": _named(users.table["user_id"], owner),
            "item_id": _named(catalogue.table["item_id"], item),
            "position": np.arange(len(owner)) - np.searchsorted(owner, owner),
            "event": _named(pl.Series(EVENTS), event),
            "timestamp": _time(seconds),
            "query": _named(_queries(visits, catalogue, rng), np.where(led > 0, text[visit], -1)),
            "session_id": _named(_visit_ids(len(visits["owner"])), visit),
            "device": _named(pl.Series(LEVELS["device"]), visits["device"][visit]),
            "channel": _named(pl.Series(LEVELS["channel"]), visits["channel"][visit]),
            "price": pl.Series(np.where(bought, np.maximum(paid.round(2), 0.01), np.nan)),
            "quantity": pl.Series(np.where(bought, pieces, np.nan)),
        }
    ).with_columns(pl.col("price", "quantity").fill_nan(None))
    return table, {"user": owner[bought], "item": item[bought], "seconds": seconds[bought]}


def _clock(visits: Columns, visit: Ints, rng: Generator) -> Ints:
    """Seconds since the opening of each event, strictly rising for each user.

    A visit that would begin before the one before has ended waits for it.
    """
    gap = rng.integers(5, 120, len(visit))
    first = np.searchsorted(visit, visit)  # each event's first one of the visit
    passed = np.cumsum(gap)
    passed -= passed[first]
    lasts = np.bincount(visit, gap, len(visits["owner"])).astype(np.int64)
    before = np.cumsum(lasts) - lasts  # time spent in all visits before, of all users
    apart = visits["owner"] << 32  # more than any time: nobody waits for another user
    start = np.maximum.accumulate(visits["seconds"] - before + apart) + before - apart
    clock: Ints = start[visit] + passed
    return clock


def _queries(visits: Columns, catalogue: Catalogue, rng: Generator) -> pl.Series:
    """Write the query of each visit that starts with a search."""
    asked = taken(visits, visits["search"] > 0)
    brand = catalogue.brands[asked["brand"]]
    brand[asked["brand"] < 0] = None
    return pl.Series(ask(asked["kind"], brand, asked["aspect"], rng), dtype=pl.String)


def _visit_ids(n: int) -> pl.Series:
    return pl.Series([f"v{row:07d}" for row in range(n)])


def _named(names: pl.Series, rows: Ints) -> pl.Series:
    """Names by row; row -1 has none."""
    known = pl.Series(rows)
    return names.gather(known.set(known < 0, None))


def _time(seconds: Ints) -> pl.Series:
    return pl.Series((OPENING + seconds) * 1_000_000).cast(pl.Datetime("us", "UTC"))


def write_reviews(
    truth: SimulatedTruth,
    shop: Shop,
    catalogue: Catalogue,
    bought: Columns,
    touched: Ints,
    market: MarketSize,
    text_signal: float,
    rng: Generator,
) -> pl.DataFrame:
    """Let buyers write: stars from utility and noise, words from stars, aspects and wishes.

    Parameters
    ----------
    truth, shop, catalogue
        The marketplace.
    bought
        Purchases of the log: ``user``, ``item``, ``seconds``.
    touched
        user · n_items + item of the log; purchases before the log are of other pairs.
    market
        How many reviews in all.
    text_signal
        Its root is the share of opinions on aspects that come from the user's wishes.
    rng
        Where the draws come from.
    """
    n_items, n_reviews = market.items, market.reviews
    pair = bought["user"] * n_items + bought["item"]
    once = np.unique(pair, return_index=True)[1]
    few = np.sort(rng.permutation(once)[: round(REVIEWED * len(pair))])
    earlier = _earlier(truth, shop, touched, n_reviews - len(few), rng)
    when = -rng.integers(1, YEARS_BEFORE * 365 * DAY, len(earlier))
    pair = np.concatenate([pair[few], earlier])
    seconds = np.concatenate([bought["seconds"][few], when])
    seconds += rng.integers(2 * DAY, 30 * DAY, n_reviews)
    order = np.lexsort((seconds, pair // n_items))
    user, item, seconds = pair[order] // n_items, pair[order] % n_items, seconds[order]
    utility = truth.logit(user, item)
    joy = utility / utility.std() + rng.normal(0, NOISE, n_reviews)
    joy += rng.normal(0, LENIENCY, len(truth.users))[user]
    share = (np.argsort(np.argsort(joy, kind="stable"), kind="stable") + 0.5) / n_reviews
    stars = 1 + np.searchsorted(np.cumsum(RATING_SHARES)[:-1], share)
    aspects, wanted = catalogue.aspects[item], shop.users.wanted[user]
    summaries, texts = comment(stars, aspects, wanted, rng, sincere=text_signal**0.5)
    return pl.DataFrame(
        {
            "user_id": _named(shop.users.table["user_id"], user),
            "item_id": _named(catalogue.table["item_id"], item),
            "rating": stars.astype(float),
            "summary": summaries,
            "text": texts,
            "timestamp": _time(seconds),
        }
    )


def _earlier(truth: SimulatedTruth, shop: Shop, touched: Ints, n: int, rng: Generator) -> Ints:
    """Draw purchases before the log, as `n` different pairs user · n_items + item.

    Only users who are there from the start have made some, as many as they are active.
    """
    n_items = len(truth.items)
    active = np.bincount(touched // n_items, minlength=len(truth.users))
    active[shop.users.arrival > 0] = 0
    pairs = np.empty(0, np.int64)
    while len(pairs) < n:
        owner = rng.choice(len(active), BLOCK, p=active / active.sum())
        user = np.repeat(owner, PAGES_BEFORE)
        kind = np.where(rng.random(len(user)) < 0.5, shop.draw_kinds(user, rng), -1)
        item, rank = shop.pages(kind, np.full_like(kind, -1), rng)
        item, rank = item.reshape(BLOCK, -1), rank.reshape(BLOCK, -1)
        score = truth.logit(np.repeat(owner, item.shape[1]), item.ravel()).reshape(item.shape)
        score = np.where(rank > 0, score + rng.gumbel(size=item.shape), -np.inf)
        chosen = owner * n_items + item[np.arange(BLOCK), score.argmax(axis=1)]
        pairs = np.concatenate([pairs, chosen[~np.isin(chosen, touched)]])
        pairs = pairs[np.sort(np.unique(pairs, return_index=True)[1])]
    return pairs[:n]
