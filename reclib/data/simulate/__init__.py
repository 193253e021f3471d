r"""A made-up shop whose true click probabilities are known.

The data are simulated: they show what a method does with a known truth, not what a real
shop looks like. Constants come from real sets where one has them, and each says from which;
constants that no set at hand can give (devices and channels, the funnel from click to
purchase, sizes of effects) are our choice and say so.

**Products.** A product has a category (department > category > kind), a brand of its
department, a log-normal price and hidden binary aspects ("quiet", "handmade", …). Title,
category, brand and price are the structure. The description says each aspect in one of two
ways (a long one in both) of the register or language that the seller writes in, seven in all,
without a content word in common, between sentences that say nothing; the shop adds its own
lines. Aspects are drawn apart from all else, so structure and description tell different
things. Some brands, prices and descriptions are missing.

**Taste.** Each source of taste s has vectors :math:`a_u^s` and :math:`b_i^s`, centred over
users and over items, and scaled so that :math:`a_u^s \cdot b_i^s` has variance 1 over all
pairs. With t = ``text_signal``,

.. math::

    U_{ui} = \sqrt{1-t}\,\bigl(\sqrt{.6}\,a_u^{category} \cdot b_i^{category}
           + \sqrt{.25}\,a_u^{brand} \cdot b_i^{brand}
           + \sqrt{.15}\,a_u^{price} \cdot b_i^{price}\bigr)
           + \sqrt{t}\,a_u^{aspects} \cdot b_i^{aspects}

so t moves taste from the structure into the words and leaves Var U = 1 as it is. At t = 0
the aspects have no weight: no text tells more than the structure. What all users agree on is
left to the quality q_i, which no column of the products shows.

**Clicks.** In the situation c (device, channel, hour, weekday, season) and at rank r,

.. math::

    P(click_{ui} \mid looked, c) = \sigma(-6.3 + 1.5\,U_{ui} + 0.7\,q_i + g_{uic}), \qquad
    P(looked) = r^{-1/2}

    g_{uic} = h_c^{channel} + h_c^{hour} + h_c^{weekday} + h_{c,i}^{season}
            + 1.5\,h_c^{device} \sqrt{.15\,(1-t)}\,a_u^{price} \cdot b_i^{price}

Every h is 0 on average over the shop's situations, for each department where it depends on
it. So :math:`g = 0` stands for the average situation.

**Visits.** A visit is for browsing, looking for a kind of product, or buying one. Kinds are
chosen by the category's part in U. It starts directly or with a query: the kind, sometimes a
brand that the user likes, and, with a probability in proportion to t, an aspect that the user
wants. Pages show up to ten products with the more popular ones first, drawn from the whole
catalogue, or for the intent from its kind and brand; popularity falls with the root of the
place, and goes with quality. The number of pages is log-normal. Users visit until a
heavy-tailed quota of different products is clicked; then they come back to some of them,
those of higher utility first. Some searches lead to nothing.

**Funnel.** Fixed shares of the clicks end in the cart and of these in a purchase: a weighted
draw without replacement, with weights of :math:`e^{1.5 U + 0.7 q}`, higher in visits for
buying. With believable shares a log of this size holds fewer purchases than the paper has
comments. Most reviews are therefore about purchases before the log begins: the best by
utility and Gumbel noise of three pages, never a pair of the log.

**Reviews.** Stars are the quantiles of utility plus noise of the moment and of the user. A
text opens with a verdict in the tone of its stars. It speaks of some of the product's
aspects, with praise where this user wants them and a shrug or a complaint where not. With a
probability of :math:`\sqrt t` that is what the user thinks, else it is said at random: at
t = 0, when nobody cares for aspects, opinions on them tell nothing of their authors.

**Same bytes.** Every part has its own random stream. Draws are compared in double precision,
where the last digits, in which processors differ, do not matter; sorts are stable.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from reclib.data.schema import Interactions, Items, Marketplace, Reviews, Users, validated
from reclib.data.simulate.catalogue import make_catalogue, make_users
from reclib.data.simulate.history import (
    MarketSize,
    in_order,
    with_funnel,
    with_returns,
    with_vain_searches,
    write_events,
    write_reviews,
)
from reclib.data.simulate.truth import SimulatedTruth
from reclib.data.simulate.visits import Shop, browse
from reclib.errors import ReclibError, unknown

__all__ = ["MARKET_SIZES", "SimulatedTruth", "simulate"]

MARKET_SIZES: Mapping[str, MarketSize] = {
    "smoke": MarketSize(500, 400, events=6_000, reviews=1_200),
    "small": MarketSize(3_000, 2_000, events=60_000, reviews=12_000),
    "paper": MarketSize(25_000, 50_000, events=500_000, reviews=100_000),
}

# an independent random stream for each part: append only, so that no part shifts another
STREAMS = "catalogue texts users quotas browsing returns funnel searches events reviews".split()

LEAST_CLICKS = 5  # different products of every user, as in the Amazon sets
# clicked products above the least, log-normal: Gini .31 to .36 over users of the Amazon sets
ACTIVITY_SPREAD, MOST_ACTIVE = 1.3, 20.0
CHOICE = 2  # fewest products for each that the busiest user clicks, or browsing never ends
REVIEWED_PAIRS = 0.25  # most of all pairs of user and product, or drawing new ones never ends


def simulate(
    size: str = "smoke",
    *,
    seed: int = 0,
    text_signal: float = 0.5,
    items_factor: float = 1.0,
    reviews_factor: float = 1.0,
) -> Marketplace:
    """Make up a marketplace; the module's docstring has the model.

    Parameters
    ----------
    size
        A name in `MARKET_SIZES`.
    seed
        Same seed, same tables. Products, descriptions and users' wishes do not depend on
        `text_signal`, so that two markets of a seed can be compared.
    text_signal
        Share of taste, in [0, 1], that can be seen only in texts.
    items_factor, reviews_factor
        How many times the products, or the reviews, of the size; events and users stay.

    Returns
    -------
    Marketplace
        Validated tables, and the truth behind them.

    Raises
    ------
    ReclibError
        Unknown size; `text_signal` outside [0, 1]; negative `seed`; fewer products than
        users could choose among; fewer reviews than the log's own purchases get, or reviews
        of more than a quarter of all pairs of a user and a product.
    """
    if size not in MARKET_SIZES:
        raise unknown("size of the simulated marketplace", size, MARKET_SIZES)
    if not 0 <= text_signal <= 1:
        raise ReclibError(f"text_signal is {text_signal}; give a share from 0 to 1")
    if seed < 0:
        raise ReclibError(f"seed is {seed}; give a whole number from 0 up")
    market = _scaled(MARKET_SIZES[size], items_factor, reviews_factor)
    seeds = np.random.SeedSequence(seed).spawn(len(STREAMS))
    rng = {name: Generator(np.random.PCG64(seeds[row])) for row, name in enumerate(STREAMS)}
    quotas = _quotas(market, rng["quotas"])
    if market.items < (least := CHOICE * quotas.max()):
        raise ReclibError(
            f"items_factor is {items_factor}, {market.items} products; {size} needs {least} or more"
        )
    if market.reviews > (most := int(REVIEWED_PAIRS * market.users * market.items)):
        raise ReclibError(
            f"reviews_factor gives {market.reviews:g} reviews; {most} is the most here"
        )
    catalogue = make_catalogue(market.items, rng["catalogue"], rng["texts"])
    users, truth = make_users(catalogue, market.users, text_signal, rng["users"])
    shop = Shop(catalogue, users)
    visits, clicks = in_order(*browse(truth, shop, quotas, text_signal, rng["browsing"]))
    touched = visits["owner"][clicks["visit"]] * market.items + clicks["item"]
    clicks = with_returns(truth, visits, clicks, market.returns, rng["returns"])
    clicks = with_funnel(truth, visits, clicks, market, rng["funnel"])
    visits = with_vain_searches(shop, visits, market.searches, text_signal, rng["searches"])
    visits, clicks = in_order(visits, clicks)
    interactions, bought = write_events(visits, clicks, catalogue, users, rng["events"])
    reviews = write_reviews(
        truth, shop, catalogue, bought, touched, market, text_signal, rng["reviews"]
    )
    return Marketplace(
        name="simulated",
        interactions=validated(interactions, Interactions, "simulated interactions"),
        items=validated(catalogue.table, Items, "simulated items"),
        users=validated(users.table, Users, "simulated users"),
        reviews=validated(reviews, Reviews, "simulated reviews"),
        truth=truth,
    )


def _scaled(market: MarketSize, items_factor: float, reviews_factor: float) -> MarketSize:
    """Multiply the numbers of products and of reviews."""
    numbers = {"items": items_factor * market.items, "reviews": reviews_factor * market.reviews}
    least = {"items": 1, "reviews": market.purchases}
    for name, number in numbers.items():
        if not least[name] <= number < np.inf:
            raise ReclibError(
                f"{name}_factor gives {number:g} {name}; {least[name]} is the least here"
            )
    return replace(market, **{name: round(number) for name, number in numbers.items()})


def _quotas(market: MarketSize, rng: Generator) -> NDArray[np.int64]:
    """Different products that every user clicks, (n_users,): heavy-tailed, exact in sum."""
    activity = np.minimum(rng.lognormal(sigma=ACTIVITY_SPREAD, size=market.users), MOST_ACTIVE)
    spare = market.clicks - market.returns - LEAST_CLICKS * market.users
    return LEAST_CLICKS + rng.multinomial(spare, activity / activity.sum())
