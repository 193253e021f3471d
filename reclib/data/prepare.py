"""Cleaning and dense ids: from a marketplace's tables to what a scorer is fitted on."""

import hashlib
import html
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray

from reclib.data.schema import Marketplace
from reclib.errors import ReclibError, unknown

EVENT_WEIGHTS: Mapping[str, float] = {"click": 1.0, "cart": 2.0, "purchase": 3.0}
TEXTS = ("title", "categories", "brand", "description")
_MARKUP = re.compile(r"<[/!]?[A-Za-z][^<>]{0,200}>")  # a tag, not "3 < 5 and 7 > 2"
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True)
class Prepared:
    """Events on dense ids, oldest first within a user, with the whole catalogue.

    Attributes
    ----------
    name
        Of the marketplace.
    user_ids, item_ids
        Dense index → outside id; lengths n_users and n_items.
    user, item
        int32, shape (n_events,), sorted by user, then oldest first.
    weight
        float32, shape (n_events,): the strength R_ui of an event.
    items
        Catalogue in dense order: title, categories, brand, description ('' where
        missing) and price (NaN where missing).
    steps
        What cleaning did: step, rows_in, rows_out, why.
    """

    name: str
    user_ids: pd.Index
    item_ids: pd.Index
    user: NDArray[np.int32]
    item: NDArray[np.int32]
    weight: NDArray[np.float32]
    items: pd.DataFrame
    steps: pd.DataFrame

    @property
    def n_users(self) -> int:
        """Number of users, those without an event included."""
        return len(self.user_ids)

    @property
    def n_items(self) -> int:
        """Number of products in the catalogue, those never touched included."""
        return len(self.item_ids)

    @property
    def n_events(self) -> int:
        """Number of events; the same user and product may meet in several."""
        return len(self.user)

    @cached_property
    def matrix(self) -> sp.csr_array:
        """R, float32, shape (n_users, n_items): the summed weight of a pair's events."""
        return sp.csr_array((self.weight, (self.user, self.item)), shape=self.shape)

    @property
    def shape(self) -> tuple[int, int]:
        """(n_users, n_items)."""
        return self.n_users, self.n_items

    @cached_property
    def new(self) -> NDArray[np.bool_]:
        """Shape (n_events,): whether the user meets the product for the first time."""
        pair = self.user.astype(np.int64) * self.n_items + self.item
        new = np.zeros(self.n_events, bool)
        new[np.unique(pair, return_index=True)[1]] = True
        return new

    @cached_property
    def age(self) -> NDArray[np.int64]:
        """Shape (n_events,): how many products new to the user came after the event.

        So the newest product has age 0, and so has what the user does with it later.
        """
        if self.n_events == 0:
            return np.zeros(0, np.int64)
        met = np.cumsum(self.new)
        last = np.searchsorted(self.user, np.arange(self.n_users), side="right") - 1
        age: NDArray[np.int64] = met[last][self.user] - met
        return age

    @cached_property
    def text(self) -> list[str]:
        """One text a product: title. categories. brand. description (what is there)."""
        columns = [self.items[name] for name in TEXTS]
        return [". ".join(filter(None, parts)) for parts in zip(*columns, strict=True)]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of everything in it: the data part of every cache key."""
        digest = hashlib.sha256(self.name.encode())
        for array in (self.user, self.item, self.weight):
            digest.update(np.ascontiguousarray(array).tobytes())
        for ids in (self.user_ids, self.item_ids):
            digest.update("\n".join(ids).encode())
        digest.update(self.items.to_csv(index=False).encode())
        return digest.hexdigest()

    def select(self, keep: NDArray[np.bool_]) -> "Prepared":
        """Keep some events; users, products and their ids stay as they are."""
        return replace(self, user=self.user[keep], item=self.item[keep], weight=self.weight[keep])


def prepare(
    marketplace: Marketplace,
    *,
    min_events: int = 3,
    event_weights: Mapping[str, float] = EVENT_WEIGHTS,
) -> Prepared:
    """Clean the tables, and map ids to dense integers.

    Parameters
    ----------
    marketplace
        Validated tables.
    min_events
        Users with fewer different products are left out, and counted: a user needs one
        product to learn from, one for validation and one for the test.
    event_weights
        R_ui of each kind of event; where there is no column ``event`` all weigh 1.

    Returns
    -------
    Prepared
        Ids are sorted as text, so that dense ids do not depend on the order of rows.

    Raises
    ------
    ReclibError
        If an event has no weight above 0, or if no user is left.
    """
    events = marketplace.interactions.sort_values(["user_id", "position"], kind="stable")
    events = events[[c for c in ("user_id", "item_id", "event") if c in events]]
    events = events.assign(weight=_weights(events, event_weights))
    steps = [("read", len(events), len(events), "rows of the table of interactions")]

    long_enough = events.groupby("user_id")["item_id"].transform("nunique") >= min_events
    kept = events[long_enough]
    dropped = events.loc[~long_enough, "user_id"].nunique()
    why = f"{dropped} users with fewer than {min_events} different products left out"
    steps.append(("drop short histories", len(events), len(kept), why))
    if kept.empty:
        raise ReclibError(
            f"{marketplace.name}: no user has {min_events} different products or more; "
            "lower min_events or bring longer histories"
        )

    user_ids = pd.Index(np.unique(kept["user_id"].to_numpy(dtype=object)))
    listed = marketplace.items["item_id"].to_numpy(dtype=object)
    item_ids = pd.Index(np.unique(np.concatenate([listed, kept["item_id"].to_numpy(object)])))
    unlisted = len(item_ids) - len(listed)
    why = f"{unlisted} products without a row in the table of items kept, with empty text"
    steps.append(("match catalogue", len(kept), len(kept), why))
    return Prepared(
        name=marketplace.name,
        user_ids=user_ids,
        item_ids=item_ids,
        user=user_ids.get_indexer(kept["user_id"]).astype(np.int32),
        item=item_ids.get_indexer(kept["item_id"]).astype(np.int32),
        weight=kept["weight"].to_numpy(np.float32),
        items=_catalogue(marketplace.items, item_ids),
        steps=pd.DataFrame(steps, columns=["step", "rows_in", "rows_out", "why"]),
    )


def clean_text(text: str) -> str:
    r"""Undo HTML entities (twice: shops escape them twice), drop markup, squeeze space.

    Examples
    --------
    >>> clean_text("AT&amp;amp;T <b>phone</b>\n black")
    'AT&T phone black'
    """
    if "&" in text:
        text = html.unescape(html.unescape(text))
    return _SPACE.sub(" ", _MARKUP.sub(" ", text)).strip()


def _weights(events: pd.DataFrame, event_weights: Mapping[str, float]) -> NDArray[np.float32]:
    """R_ui of every row."""
    for event, weight in event_weights.items():
        if not (np.isfinite(weight) and weight > 0):
            raise ReclibError(f"weight of event {event!r} is {weight}; allowed is a number above 0")
    if "event" not in events:
        return np.ones(len(events), np.float32)
    weights = events["event"].map(dict(event_weights))
    if weights.isna().any():
        raise unknown("event", events.loc[weights.isna(), "event"].iloc[0], event_weights)
    return weights.to_numpy(np.float32)


def _catalogue(items: pd.DataFrame, item_ids: pd.Index) -> pd.DataFrame:
    """Products in dense order, with every column that a scorer may ask for."""
    items = items.set_index("item_id").reindex(item_ids)
    columns: dict[str, object] = {}
    for name in TEXTS:
        texts = items[name].fillna("") if name in items else [""] * len(item_ids)
        columns[name] = [clean_text(text) for text in texts]
    columns["price"] = items["price"].to_numpy(float) if "price" in items else np.nan
    return pd.DataFrame(columns, index=pd.RangeIndex(len(item_ids)))
