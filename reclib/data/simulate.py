r"""A made-up shop whose true click probabilities are known.

The data are simulated: they show what a method does with a known truth, not what a real
shop looks like.

**Items.** A product has a category (department > category > kind), a brand of its
department, a log-normal price and hidden binary aspects ("quiet", "handmade", …). Title,
category, brand and price are the structure. The description says each aspect in one of five
paraphrases without a content word in common, between sentences that say nothing. Aspects
are drawn apart from all else, so structure and description tell different things.

**Taste.** Each source of taste s has vectors :math:`a_u^s` and :math:`b_i^s`, centred over
users and over items, and scaled so that :math:`a_u^s \cdot b_i^s` has variance 1 over all
pairs. With t = ``text_signal``,

.. math::

    U_{ui} = \sqrt{1-t}\,\bigl(\sqrt{.6}\,a_u^{category} \cdot b_i^{category}
           + \sqrt{.25}\,a_u^{brand} \cdot b_i^{brand}
           + \sqrt{.15}\,a_u^{price} \cdot b_i^{price}\bigr)
           + \sqrt{t}\,a_u^{aspects} \cdot b_i^{aspects}

so t moves taste from the structure into the words and leaves Var U = 1 as it is. At t = 0
the aspects have no weight: descriptions carry nothing. What all users agree on is left to
the quality q_i, which no column shows.

**Clicks.**

.. math::

    P(click_{ui} \mid looked) = \sigma(-4.5 + 1.5\,U_{ui} + 0.7\,q_i)

Users see pages of ten products. Half of the pages are drawn from the whole catalogue by
popularity (Zipf-like, noisy, correlated with quality), half from one kind of product,
chosen by popularity and by the category's part in U. Rank r is looked at with probability
:math:`r^{-1/2}`. Every user browses until a heavy-tailed quota of different products is
clicked. A fixed number of clicks become purchases; which ones depends on the same utility,
as do the stars of a review, up to noise. (The paper's 100,000 comments on 500,000
behaviours force a share of purchases far above that of a real shop.)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.special import expit

from reclib.data._vocabulary import BRANDS, KINDS, comment, describe, entitle
from reclib.data.schema import Interactions, Items, Marketplace, Reviews, validated
from reclib.errors import ReclibError, unknown

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class MarketSize:
    """Exact numbers of rows; `events` counts clicks and purchases together."""

    users: int
    items: int
    events: int
    purchases: int
    reviews: int


MARKET_SIZES: Mapping[str, MarketSize] = {
    "smoke": MarketSize(500, 400, events=6_000, purchases=1_500, reviews=1_200),
    "small": MarketSize(3_000, 2_000, events=60_000, purchases=15_000, reviews=12_000),
    "paper": MarketSize(25_000, 50_000, events=500_000, purchases=125_000, reviews=100_000),
}

# an independent random stream for each part: append only, so that no part shifts another
STREAMS = "catalogue descriptions tastes quotas browsing purchases times reviews".split()

BIAS, TASTE, QUALITY = -4.5, 1.5, 0.7  # logit of a click: a few per cent on average
STRUCTURE = {"category": 0.60, "brand": 0.25, "price": 0.15}  # shares of its variance
ASPECT_SHARES = (0.1, 0.3)  # how common the rarest and the commonest aspect may be
WANTED_SHARE = 0.25  # how many of the aspects a user cares about
PAGE = 10  # products shown at once
LOOKED_AT = np.arange(1, PAGE + 1) ** -0.5  # P(a user looks at rank 1, 2, … of a page)
BLOCK = 20_000  # pages simulated at once: bounds memory; changing it changes the data
LEAST_CLICKS = 5  # of every user
SAME_VISIT = 0.6  # P(the next click comes in the same visit)
RATING_SHARES = (0.05, 0.04, 0.08, 0.20, 0.63)  # 1 to 5 stars, J-shaped as in real shops
OPENING, DAY = 1_672_531_200, 86_400  # 2023-01-01 in Unix seconds; seconds

DEPARTMENT = np.unique([path[0] for path in KINDS], return_inverse=True)[1]  # of each kind


@dataclass(frozen=True, eq=False)
class SimulatedTruth:
    """The click probabilities of a simulated marketplace, in factors of d columns."""

    user_ids: pd.Index
    item_ids: pd.Index
    users: Floats  # (n_users, d), taste
    items: Floats  # (n_items, d), attributes
    appeal: Floats  # (n_items,), the part of the logit on which all users agree

    def click_probability(
        self, user_ids: Sequence[str], item_ids: Sequence[str]
    ) -> NDArray[np.float32]:
        """P(click | the item is looked at), shape (n_users, n_items); ids must be known."""
        users = self.users[_rows("user", user_ids, self.user_ids)].astype(np.float32)
        rows = _rows("item", item_ids, self.item_ids)
        logit = users @ self.items[rows].T.astype(np.float32)  # (n_users, n_items)
        logit += self.appeal[rows].astype(np.float32)
        probability: NDArray[np.float32] = expit(logit, out=logit)
        return probability

    def logit(self, user: Ints, item: Ints) -> Floats:
        """Logit of single pairs by row number, shape of `item`: (n,) or (n, PAGE)."""
        taste: Floats = np.einsum("nd,n...d->n...", self.users[user], self.items[item])
        return taste + self.appeal[item]


def simulate(size: str = "smoke", *, seed: int = 0, text_signal: float = 0.5) -> Marketplace:
    """Make up a marketplace; the module's docstring has the model.

    Parameters
    ----------
    size
        A name in `MARKET_SIZES`.
    seed
        Same seed, same tables. Products, users' tastes and descriptions do not depend on
        `text_signal`, so that two markets of a seed can be compared.
    text_signal
        Share of taste, in [0, 1], that can be seen only in descriptions.

    Returns
    -------
    Marketplace
        Validated tables, and the truth behind them.

    Raises
    ------
    ReclibError
        Unknown size; `text_signal` outside [0, 1]; negative `seed`.
    """
    if size not in MARKET_SIZES:
        raise unknown("size of the simulated marketplace", size, MARKET_SIZES)
    if not 0 <= text_signal <= 1:
        raise ReclibError(f"text_signal is {text_signal}; give a share from 0 to 1")
    if seed < 0:
        raise ReclibError(f"seed is {seed}; give a whole number from 0 up")
    market = MARKET_SIZES[size]
    seeds = np.random.SeedSequence(seed).spawn(len(STREAMS))
    rng = {name: Generator(np.random.PCG64(seeds[row])) for row, name in enumerate(STREAMS)}
    catalogue = _catalogue(market.items, rng["catalogue"])
    aspects, descriptions = describe(market.items, ASPECT_SHARES, rng["descriptions"])
    truth, interest = _tastes(catalogue, aspects, market.users, text_signal, rng["tastes"])
    shop = _Shop(catalogue, interest)
    user, item = _browse(truth, shop, _quotas(market, rng["quotas"]), rng["browsing"])
    utility = truth.logit(user, item)
    bought = _bought(utility, market.purchases, rng["purchases"])
    interactions = _log(truth, user, item, bought, rng["times"])
    purchases = interactions[interactions["event"] == "purchase"]
    reviews = _reviews(purchases, utility[bought], market.reviews, rng["reviews"])
    items = catalogue.table.assign(description=descriptions)
    return Marketplace(
        name="simulated",
        interactions=validated(interactions, Interactions, "simulated interactions"),
        items=validated(items, Items, "simulated items"),
        reviews=validated(reviews, Reviews, "simulated reviews"),
        truth=truth,
    )


@dataclass(frozen=True, eq=False)
class _Catalogue:
    """Products: the table that the world sees, and what lies behind it."""

    table: pd.DataFrame
    kind: Ints  # (n_items,), row of KINDS
    brand: Ints  # (n_items,)
    dearness: Floats  # (n_items,), log price over the level of the kind
    quality: Floats  # (n_items,)
    popularity: Floats  # (n_items,), how often it is shown


def _catalogue(n_items: int, rng: Generator) -> _Catalogue:
    """Draw products; their order, and so their ids, says nothing."""
    kind = rng.choice(len(KINDS), n_items, p=rng.dirichlet(np.full(len(KINDS), 5.0)))
    each = round(np.sqrt(n_items) / 5)  # brands of a department, the first ones the largest
    zipf = 1 / np.arange(1, each + 1)
    brand = DEPARTMENT[kind] * each + rng.choice(each, n_items, p=zipf / zipf.sum())
    name = rng.permutation(np.array(BRANDS, dtype=object))[brand]
    dearness = rng.normal(0, 0.25, len(BRANDS))[brand] + rng.normal(0, 0.35, n_items)
    price = np.exp(rng.normal(3.2, 0.7, len(KINDS))[kind] + dearness)
    quality = rng.normal(size=n_items)
    fame = np.argsort(np.argsort(-quality - rng.normal(size=n_items)))  # 0 = most popular
    table = pd.DataFrame(
        {
            "item_id": _ids("i", n_items),
            "title": entitle(name, kind, rng),
            "categories": [" > ".join(KINDS[row]) + "s" for row in kind],
            "brand": name,
            "price": np.maximum(price.round(2), 0.5),
        }
    )
    popularity = np.power(fame + np.sqrt(n_items) / 2, -0.6)
    return _Catalogue(table, kind, brand, dearness, quality, popularity)


def _tastes(
    catalogue: _Catalogue, aspects: Bools, n_users: int, text_signal: float, rng: Generator
) -> tuple[SimulatedTruth, Floats]:
    """Draw what users like; also return their interest in kinds, (n_users, n_kinds)."""
    departments = rng.normal(size=(DEPARTMENT.max() + 1, 8))
    kinds = departments[DEPARTMENT] + rng.normal(size=(len(KINDS), 8))
    brands = rng.normal(size=(len(BRANDS), 4))
    likes = {
        "category": (rng.normal(size=(n_users, 8)), kinds[catalogue.kind]),
        "brand": (rng.normal(size=(n_users, 4)), brands[catalogue.brand]),
        "price": (-rng.gamma(2.0, size=(n_users, 1)), catalogue.dearness[:, None]),
        "aspects": (rng.random((n_users, aspects.shape[1])) < WANTED_SHARE, aspects),
    }
    shares = {name: (1 - text_signal) * share for name, share in STRUCTURE.items()}
    shares["aspects"] = text_signal
    users, items = zip(
        *(_unit_variance(*likes[s], TASTE * np.sqrt(share)) for s, share in shares.items()),
        strict=True,
    )
    truth = SimulatedTruth(
        user_ids=pd.Index(_ids("u", n_users)),
        item_ids=pd.Index(catalogue.table["item_id"]),
        users=np.hstack(users),
        items=np.hstack(items),
        appeal=BIAS + QUALITY * catalogue.quality,
    )
    return truth, users[0] @ kinds.T  # the first source is the category


def _unit_variance(users: NDArray[Any], items: NDArray[Any], scale: float) -> tuple[Floats, Floats]:
    """Centre both over their rows, and give their products the deviation `scale`."""
    users, items = users - users.mean(axis=0), items - items.mean(axis=0)
    # with both means 0, the variance over all pairs is the trace of the two covariances
    variance = ((users.T @ users / len(users)) * (items.T @ items / len(items))).sum()
    return users * (scale / np.sqrt(variance)), items


def _quotas(market: MarketSize, rng: Generator) -> Ints:
    """Clicks of every user, shape (n_users,): heavy-tailed, exact in sum."""
    activity = np.minimum(rng.lognormal(sigma=1.2, size=market.users), 20)
    spare = market.events - market.purchases - LEAST_CLICKS * market.users
    return LEAST_CLICKS + rng.multinomial(spare, activity / activity.sum())


class _Shop:
    """What the shop shows: whole-catalogue pages and pages of one kind, half each."""

    def __init__(self, catalogue: _Catalogue, interest: Floats) -> None:
        """Lay products of a kind side by side, each as wide as it is popular."""
        self.order = np.argsort(catalogue.kind, kind="stable")  # (n_items,)
        self.ends = np.cumsum(catalogue.popularity[self.order])  # (n_items,)
        sizes = np.bincount(catalogue.kind, minlength=len(KINDS))
        self.edges = np.append(0, self.ends)[np.append(0, np.cumsum(sizes))]  # (n_kinds + 1,)
        chance = np.cumsum(np.exp(interest) * np.diff(self.edges), axis=1)
        self.chance = chance / chance[:, -1:]  # (n_users, n_kinds), cumulative

    def pages(self, owner: Ints, rng: Generator) -> Ints:
        """Products shown to the user of each page, shape (n_pages, PAGE)."""
        drawn = rng.random((len(owner), 1))
        kind = (self.chance[owner] <= drawn).sum(axis=1)
        whole = rng.random(len(owner)) < 0.5
        low = np.where(whole, 0, self.edges[kind])[:, None]
        high = np.where(whole, self.ends[-1], self.edges[kind + 1])[:, None]
        place = low + (high - low) * rng.random((len(owner), PAGE))
        row = np.searchsorted(self.ends, place, side="right")
        shown: Ints = self.order[np.minimum(row, len(self.order) - 1)]
        return shown


def _browse(truth: SimulatedTruth, shop: _Shop, quota: Ints, rng: Generator) -> tuple[Ints, Ints]:
    """Show pages until every quota of different products is clicked.

    The clicks come as user and item rows, sorted by user, oldest first.
    """
    n_items = len(truth.items)
    pairs = np.empty(0, np.int64)  # user · n_items + item
    missing = quota
    while missing.any():
        owners = np.repeat(np.arange(len(quota)), 3 * missing)  # a page brings some 0.3 clicks
        new = [pairs]
        for start in range(0, len(owners), BLOCK):
            owner = owners[start : start + BLOCK]
            shown = shop.pages(owner, rng)
            pair = owner[:, None] * n_items + shown  # (n_pages, PAGE)
            new.append(pair[_clicks(truth, owner, shown, rng)])
        pairs = np.concatenate(new)
        pairs = pairs[np.sort(np.unique(pairs, return_index=True)[1])]  # first clicks only
        pairs = pairs[np.argsort(pairs // n_items, kind="stable")]
        user = pairs // n_items
        count = np.bincount(user, minlength=len(quota))
        nth = np.arange(len(user)) - (np.cumsum(count) - count)[user]
        pairs = pairs[nth < quota[user]]
        missing = np.maximum(quota - count, 0)
    return pairs // n_items, pairs % n_items


def _clicks(truth: SimulatedTruth, owner: Ints, shown: Ints, rng: Generator) -> Bools:
    """Which products of each page are looked at and clicked, shape of `shown`."""
    chance: Floats = LOOKED_AT * expit(truth.logit(owner, shown))
    return rng.random(shown.shape) < chance


def _bought(utility: Floats, n_purchases: int, rng: Generator) -> Bools:
    """Mark exactly `n_purchases` clicks, each with a weight of exp(utility)."""
    score = utility + rng.gumbel(size=len(utility))  # the largest are a weighted draw
    bought = np.zeros(len(utility), bool)
    bought[np.argsort(-score, kind="stable")[:n_purchases]] = True
    return bought


def _log(
    truth: SimulatedTruth, user: Ints, item: Ints, bought: Bools, rng: Generator
) -> pd.DataFrame:
    """Write the table of events; a purchase comes right after its click."""
    click = np.repeat(np.arange(len(user)), 1 + bought)
    purchase = np.append(False, click[1:] == click[:-1])
    user, item = user[click], item[click]
    count = np.bincount(user)
    first = np.cumsum(count) - count  # each user's oldest event
    soon = rng.integers(10, 300, len(user))
    later = rng.exponential(180 * DAY / count[user])
    stays = purchase | (rng.random(len(user)) < SAME_VISIT)
    gap = np.where(stays, soon, soon + later.astype(np.int64))
    gap[first] = rng.integers(0, 180 * DAY, len(first))
    passed = np.cumsum(gap)
    seconds = OPENING + passed - (passed - gap)[first][user]
    columns = {
        "user_id": truth.user_ids[user],
        "item_id": truth.item_ids[item],
        "position": np.arange(len(user)) - first[user],
        "event": np.where(purchase, "purchase", "click"),
        "timestamp": pd.to_datetime(seconds, unit="s", utc=True),
    }
    return pd.DataFrame(columns)


def _reviews(
    purchases: pd.DataFrame, utility: Floats, n_reviews: int, rng: Generator
) -> pd.DataFrame:
    """Let some buyers write: stars from utility and noise, words from the stars."""
    chosen = np.sort(rng.choice(len(purchases), n_reviews, replace=False))
    joy = utility[chosen] / utility.std() + rng.normal(size=n_reviews)
    share = (np.argsort(np.argsort(joy)) + 0.5) / n_reviews
    stars = 1 + np.searchsorted(np.cumsum(RATING_SHARES)[:-1], share)
    summaries, texts = comment(stars, rng)
    table = purchases.iloc[chosen][["user_id", "item_id", "timestamp"]]
    waited = pd.to_timedelta(rng.integers(2 * DAY, 30 * DAY, n_reviews), unit="s")
    table = table.assign(timestamp=table["timestamp"] + waited, rating=stars.astype(float))
    return table.assign(summary=summaries, text=texts).reset_index(drop=True)


def _ids(letter: str, n: int) -> list[str]:
    """Ids as text, of one length so that they sort as numbers do."""
    return [f"{letter}{row:06d}" for row in range(n)]


def _rows(kind: str, ids: Sequence[str], known: pd.Index) -> NDArray[np.intp]:
    """Row numbers of `ids`; an id that is not there is an error."""
    rows: NDArray[np.intp] = known.get_indexer(pd.Index(ids))
    if (rows < 0).any():
        raise unknown(kind, ids[int(np.argmax(rows < 0))], known)
    return rows
