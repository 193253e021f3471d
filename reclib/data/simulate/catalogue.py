"""Products and users of the simulated marketplace, and what users like."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
from numpy.random import Generator
from numpy.typing import NDArray

from reclib.data.simulate.situation import COUNTRIES, DEVICES, arrivals
from reclib.data.simulate.truth import SimulatedTruth
from reclib.data.simulate.vocabulary import BRANDS, DEPARTMENTS, KINDS
from reclib.data.simulate.writing import describe, entitle

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Texts = NDArray[np.object_]

BIAS, TASTE, QUALITY = -6.3, 1.5, 0.7  # logit of a click; BIAS from Open Bandit's click rates
STRUCTURE = {"category": 0.60, "brand": 0.25, "price": 0.15}  # shares of taste's variance
ASPECT_SHARES = (0.15, 0.45)  # how common the rarest and the commonest aspect may be
WANTED_SHARE = 0.25  # how many of the aspects a user cares about
# log price: deviation .91 in all on Amazon Beauty, parted among kind, brand and product
PRICE_LEVEL, PRICE_OF_KIND, PRICE_OF_BRAND, PRICE_OF_ITEM = 2.6, 0.75, 0.3, 0.4
# missing cells: brand and price of Amazon Beauty, description of Amazon Office
MISSING = {"brand": 0.17, "price": 0.05, "description": 0.27}
CURRENCY = "GBP"

DEPARTMENT = np.array([DEPARTMENTS.index(path[0]) for path in KINDS])  # of each kind


@dataclass(frozen=True, eq=False)
class Catalogue:
    """Products: the table that the world sees, and what lies behind it."""

    table: pl.DataFrame
    kind: Ints  # (n_items,), row of KINDS
    brand: Ints  # (n_items,), brands of a department side by side
    brands: Texts  # (n_brands,), names
    price: Floats  # (n_items,), also where the table has none
    dearness: Floats  # (n_items,), log price over the level of the kind
    quality: Floats  # (n_items,)
    fame: Ints  # (n_items,), 0 = most popular
    aspects: Bools  # (n_items, n_aspects)


@dataclass(frozen=True, eq=False)
class Users:
    """Users: what they like, and how they come."""

    table: pl.DataFrame
    kinds: Floats  # (n_users, n_kinds), interest
    brands: Floats  # (n_users, d), factors of the interest in brands
    brand_factors: Floats  # (n_departments, brands of each, d)
    wanted: Bools  # (n_users, n_aspects)
    device: Ints  # (n_users,), the usual one
    arrival: Floats  # (n_users,), share of the log that passed before


def make_catalogue(n_items: int, rng: Generator, writing: Generator) -> Catalogue:
    """Draw products; their order, and so their ids, says nothing."""
    kind = rng.choice(len(KINDS), n_items, p=rng.dirichlet(np.full(len(KINDS), 5.0)))
    each = round(np.sqrt(n_items) / 5)  # brands of a department, the first ones the largest
    zipf = 1 / np.arange(1, each + 1)
    brand = DEPARTMENT[kind] * each + rng.choice(each, n_items, p=zipf / zipf.sum())
    brands = rng.permutation(np.array(BRANDS, dtype=object))[: each * len(DEPARTMENTS)]
    dearness = rng.normal(0, PRICE_OF_BRAND, len(brands))[brand]
    dearness += rng.normal(0, PRICE_OF_ITEM, n_items)
    price = np.exp(rng.normal(PRICE_LEVEL, PRICE_OF_KIND, len(KINDS))[kind] + dearness)
    price = np.maximum(price.round(2), 0.5)
    quality = rng.normal(size=n_items)
    fame = np.empty(n_items, np.int64)
    fame[np.argsort(-quality - rng.normal(size=n_items), kind="stable")] = np.arange(n_items)
    titles = entitle(brands[brand], kind, writing)
    aspects, descriptions = describe(n_items, ASPECT_SHARES, writing)
    missing = {name: pl.Series(rng.random(n_items) < share) for name, share in MISSING.items()}
    table = pl.DataFrame(
        {
            "item_id": ids("i", n_items),
            "title": titles,
            "description": descriptions,
            "categories": [" > ".join(KINDS[row]) + "s" for row in kind],
            "brand": brands[brand].tolist(),
            "price": price,
        }
    )
    table = table.with_columns(
        pl.when(~gaps).then(pl.col(name)).alias(name) for name, gaps in missing.items()
    ).with_columns(currency=pl.when(pl.col("price").is_not_null()).then(pl.lit(CURRENCY)))
    return Catalogue(table, kind, brand, brands, price, dearness, quality, fame, aspects)


def make_users(
    catalogue: Catalogue, n_users: int, text_signal: float, rng: Generator
) -> tuple[Users, SimulatedTruth]:
    """Draw what users like; with `text_signal` it moves from the structure to the aspects."""
    departments = rng.normal(size=(len(DEPARTMENTS), 8))
    kinds = departments[DEPARTMENT] + rng.normal(size=(len(KINDS), 8))
    brands = rng.normal(size=(len(catalogue.brands), 4))
    wanted = rng.random((n_users, catalogue.aspects.shape[1])) < WANTED_SHARE
    likes = {
        "category": (rng.normal(size=(n_users, 8)), kinds[catalogue.kind]),
        "brand": (rng.normal(size=(n_users, 4)), brands[catalogue.brand]),
        "price": (-rng.gamma(2.0, size=(n_users, 1)), catalogue.dearness[:, None]),
        "aspects": (wanted, catalogue.aspects),
    }
    shares = {name: (1 - text_signal) * share for name, share in STRUCTURE.items()}
    shares["aspects"] = text_signal
    factors = {
        name: _unit_variance(*likes[name], TASTE * np.sqrt(share)) for name, share in shares.items()
    }
    user_ids = ids("u", n_users)
    truth = SimulatedTruth(
        user_ids=pd.Index(user_ids),
        item_ids=pd.Index(catalogue.table["item_id"].to_list()),
        users=np.hstack([factor[0] for factor in factors.values()]),
        items=np.hstack([factor[1] for factor in factors.values()]),
        appeal=BIAS + QUALITY * catalogue.quality,
        department=DEPARTMENT[catalogue.kind],
        price=kinds.shape[1] + brands.shape[1],  # after category and brand
    )
    country = rng.choice(list(COUNTRIES), n_users, p=list(COUNTRIES.values()))
    users = Users(
        table=pl.DataFrame({"user_id": user_ids, "country": country.tolist()}),
        kinds=factors["category"][0] @ kinds.T,
        brands=factors["brand"][0],
        brand_factors=brands.reshape(len(DEPARTMENTS), -1, brands.shape[1]),
        wanted=wanted,
        device=rng.choice(len(DEVICES), n_users, p=list(DEVICES.values())),
        arrival=arrivals(rng.random(n_users)),
    )
    return users, truth


def _unit_variance(users: NDArray[Any], items: NDArray[Any], scale: float) -> tuple[Floats, Floats]:
    """Centre both over their rows, and give their products the deviation `scale`."""
    users, items = users - users.mean(axis=0), items - items.mean(axis=0)
    # with both means 0, the variance over all pairs is the trace of the two covariances
    variance = ((users.T @ users / len(users)) * (items.T @ items / len(items))).sum()
    return users * (scale / np.sqrt(variance)), items


def ids(letter: str, n: int) -> list[str]:
    """Ids as text, of one length so that they sort as numbers do."""
    return [f"{letter}{row:06d}" for row in range(n)]
