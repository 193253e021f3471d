"""Newcomers of the shop: how their lists leave what is popular and become their own."""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from reclib.errors import ReclibError
from reclib.models import Fusion
from reclib.serving import Recommendation, Shop, Store
from reclib.serving.shop import POPULAR
from reclib.study.experiment import summarise

OWN = "llm-fusion"  # the list of a customer whom the fit knows


def follow_newcomers(
    fusion: Fusion,
    *,
    n_customers: int = 40,
    n_clicks: int = 8,
    k: int = 10,
    n_resamples: int = 2000,
    rng: int = 0,
) -> pd.DataFrame:
    """Let newcomers click what customers of the fit had, one product after the other.

    Each follows one customer, in a store of their own, and clicks their oldest products. After
    every click the list is compared with what a visitor gets, and with the list of the one who
    is followed; products that either of the two has already count in neither.

    Parameters
    ----------
    fusion
        Fitted.
    n_customers
        Who are followed, at most; drawn evenly from those with `n_clicks` products or more.
    n_clicks
        Different products that each newcomer clicks.
    k
        Length of a list.
    n_resamples
        Of the customers, for intervals.
    rng
        Seed of the draw and of the intervals.

    Returns
    -------
    pandas.DataFrame
        clicks, from 0 on; model, metric, value, low, high. Metric ``personal`` is the share of
        the scores of a list that is not popularity; ``common`` the share of a list that is
        also in that of the `model`: ``popular``, or `OWN`.

    Raises
    ------
    ReclibError
        If no customer has so many products.
    """
    prepared = fusion._fitted()
    products = np.diff(prepared.matrix.indptr)
    users = np.flatnonzero(products >= n_clicks)
    if not len(users):
        raise ReclibError(
            f"n_clicks is {n_clicks}; no customer has more than {products.max()} products, so "
            "choose no more clicks than that, or bring longer histories"
        )
    chosen = np.random.default_rng(rng).permutation(users)[:n_customers]
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "shop.db") as store:
        shop = Shop(store, fusion)
        found = np.array([_path(shop, fusion, int(user), n_clicks, k) for user in chosen])
    tables = [
        summarise(
            {
                (OWN, "personal"): found[None, :, clicks, 0],
                (POPULAR, "common"): found[None, :, clicks, 1],
                (OWN, "common"): found[None, :, clicks, 2],
            },
            "online",
            f"clicks={clicks}",
            n_resamples=n_resamples,
            rng=rng,
        ).assign(clicks=clicks)
        for clicks in range(n_clicks + 1)
    ]
    return pd.concat(tables, ignore_index=True)


def personal_share(shown: list[Recommendation]) -> float:
    """Share of the scores of a list that is not popularity."""
    total = sum(sum(one.parts.values()) for one in shown)
    popular = sum(one.parts.get(POPULAR, 0.0) for one in shown)
    return 1 - popular / total if total > 0 else 0.0


def _path(shop: Shop, fusion: Fusion, user: int, n_clicks: int, k: int) -> list[list[float]]:
    """Follow one customer: personal, common with popular, common with theirs, by clicks."""
    prepared = fusion._fitted()
    rows = np.flatnonzero((prepared.user == user) & prepared.new)
    had = list(prepared.item_ids[prepared.item[rows]])
    name = f"follows {prepared.user_ids[user]}"
    shop.store.register(name)
    deep = min(k + len(had), shop.depth)
    popular, own = (
        [one.item_id for one in shop.recommend(who, deep)]
        for who in (None, prepared.user_ids[user])
    )
    path = []
    for clicks in range(n_clicks + 1):
        shown = shop.recommend(name, deep)
        ids = [one.item_id for one in shown]
        lists = ([item for item in one if item not in had][:k] for one in (ids, popular, own))
        mine, theirs, yours = map(set, lists)
        common = [len(mine & other) / max(len(mine), 1) for other in (theirs, yours)]
        path.append([personal_share(shown[:k]), *common])
        if clicks < n_clicks:
            shop.store.click(name, had[clicks])
    return path
