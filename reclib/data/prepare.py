"""Cleaning and dense ids: from a marketplace's tables to what a scorer is fitted on."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from functools import cached_property

import numpy as np
import pandas as pd
import polars as pl
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray

from reclib.data.clean import Cleaning, clean_texts
from reclib.data.schema import CONTEXT, EVENTS, SHORTEST, Marketplace, Step, check_alike
from reclib.errors import ReclibError, unknown

EVENT_WEIGHTS: Mapping[str, float] = {"click": 1.0, "cart": 2.0, "purchase": 3.0}
TEXTS = ("title", "categories", "brand", "description")
EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)  # no shop on the web is older

# parts of the situation that follow from the time: names of the levels, and which one it is
HOURS = ("night", "morning", "afternoon", "evening")
WEEKDAYS = ("workday", "weekend")
SEASONS = ("winter", "spring", "summer", "autumn")  # of the northern half of the world
_TIME = pl.col("timestamp").dt
CLOCK: Mapping[str, tuple[pl.Series, pl.Expr]] = {
    "hour": (pl.Series(HOURS), _TIME.hour() // 6),
    "weekday": (pl.Series(WEEKDAYS), (_TIME.weekday() > 5).cast(pl.Int8)),
    "season": (pl.Series(SEASONS), _TIME.month() % 12 // 3),
}


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
    event
        int8, shape (n_events,): row of `reclib.data.schema.EVENTS`.
    time
        int64, shape (n_events,): microseconds since 1970, UTC; None without timestamps.
    query
        int32, shape (n_events,): row of `queries`, −1 where no search led to the event.
    queries
        Every search text that led to an event.
    context
        One categorical column for each part of the situation that the source knows, of
        n_events rows: device, channel, country; hour, weekday, season.
    reviews
        user, item (dense), time (−1 where unknown), rating, text (headline and body).
    items
        Catalogue in dense order: title, categories, brand, description ('' where
        missing), price (NaN where missing) and price_level, its percentile among the
        prices of its currency, in (0, 1].
    steps
        What cleaning did: table, step, rows_in, rows_out, why.
    """

    name: str
    user_ids: pd.Index
    item_ids: pd.Index
    user: NDArray[np.int32]
    item: NDArray[np.int32]
    weight: NDArray[np.float32]
    event: NDArray[np.int8]
    time: NDArray[np.int64] | None
    query: NDArray[np.int32]
    queries: tuple[str, ...]
    context: pd.DataFrame
    reviews: pd.DataFrame
    items: pd.DataFrame
    steps: pd.DataFrame

    def __repr__(self) -> str:
        """Name the marketplace and count what is there, whose rows would fill pages."""
        return (
            f"<Prepared {self.name}: {self.n_users:,} users, {self.n_items:,} items, "
            f"{self.n_events:,} events, {len(self.reviews):,} reviews>"
        )

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

    @property
    def pair(self) -> NDArray[np.int64]:
        """Shape (n_events,): one number for the user and the product of an event."""
        return _pairs(self.user, self.item, self.n_items)

    @cached_property
    def new(self) -> NDArray[np.bool_]:
        """Shape (n_events,): whether the user meets the product for the first time."""
        pair = self.pair
        order = np.argsort(pair, kind="stable")  # quick, for users are in order already
        new = np.empty(self.n_events, bool)
        new[order] = np.diff(pair[order], prepend=-1) > 0
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
        arrays = [self.user, self.item, self.weight, self.event, self.query]
        for array in arrays if self.time is None else [*arrays, self.time]:
            digest.update(np.ascontiguousarray(array).tobytes())
        texts: list[Iterable[str]] = [self.user_ids, self.item_ids, self.queries]
        for table in (self.context, self.reviews, self.items):
            for name, column in table.items():
                digest.update(str(name).encode())
                if isinstance(column.dtype, pd.CategoricalDtype):
                    texts.append(column.cat.categories)
                    digest.update(column.cat.codes.to_numpy().tobytes())
                elif pd.api.types.is_numeric_dtype(column):
                    digest.update(column.to_numpy().tobytes())
                else:
                    texts.append(column)
        for text in texts:
            digest.update("\x1f".join(text).encode())
        return digest.hexdigest()

    def select(self, keep: NDArray[np.bool_], *, before: int | None = None) -> "Prepared":
        """Keep some events; users, products and their ids stay as they are.

        Parameters
        ----------
        keep
            Shape (n_events,).
        before
            Microseconds since 1970: reviews written then or later leave, and undated ones.

        Returns
        -------
        Prepared
            Where a user's last event with a product goes, the review of it goes too.
        """
        reviews = self.reviews
        if len(reviews):
            pair = pl.Series(self.pair)
            written = pl.Series(_pairs(reviews["user"], reviews["item"], self.n_items))
            left = _is_in(written, pair.filter(pl.Series(keep)))
            stays = (left | ~_is_in(written, pair)).to_numpy()
            if before is not None:
                stays &= reviews["time"].between(0, before, inclusive="left").to_numpy()
            reviews = reviews[stays].reset_index(drop=True)
        return replace(
            self,
            user=self.user[keep],
            item=self.item[keep],
            weight=self.weight[keep],
            event=self.event[keep],
            time=None if self.time is None else self.time[keep],
            query=self.query[keep],
            context=self.context[keep].reset_index(drop=True),
            reviews=reviews,
        )


def prepare(
    marketplace: Marketplace,
    *,
    min_events: int = 3,
    min_users: int = 1,
    max_per_day: int = 1000,
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
    min_users
        Products that fewer users touched are left out; with both numbers at k, what stays
        is the k-core of the literature. Without effect at 1.
    max_per_day
        Users with more events on one day are taken for machines and left out.
    event_weights
        R_ui of each kind of event; where there is no column ``event`` all weigh 1.

    Returns
    -------
    Prepared
        Ids are sorted as text, so that dense ids do not depend on the order of rows.

    Raises
    ------
    ReclibError
        If an event has no weight above 0, if a number is out of range, if the catalogue
        writes the products of the events otherwise, if most events have no possible time, or
        if no user is left.
    """
    limits = {"min_events": min_events, "min_users": min_users, "max_per_day": max_per_day}
    for name, value in limits.items():
        if value < 1:
            raise ReclibError(f"{name} is {value}; allowed is 1 or more")
    if marketplace.interactions.is_empty():
        raise ReclibError(
            f"{marketplace.name} follows no user over time, so there is no history to recommend "
            "from; bring a table of interactions. Only notebook 13 reads impressions, and only "
            "those of open-bandit: `reclib run --data open-bandit --size full --only 13`"
        )
    told = "event" in marketplace.interactions.columns
    weights = _weights(event_weights) if told else np.ones(len(EVENTS), np.float32)
    cleaning = Cleaning("interactions")
    events = _with_products(marketplace.interactions, cleaning)
    listed = marketplace.items["item_id"]
    check_alike(events["item_id"], listed, f"{marketplace.name}, interactions", "items")
    # dense numbers early: every later step is quicker on them than on text
    user_ids, user = _dense(events["user_id"])
    item_ids, item = _dense(pl.concat([listed, events["item_id"]]))
    known = item[: len(listed)]
    events = events.drop("user_id", "item_id").with_columns(
        user=pl.Series(user), item=pl.Series(item[len(listed) :])
    )
    events = _drop_impossible(events, cleaning, max_per_day, marketplace.name)
    core = _core(events, cleaning, min_events, min_users)
    if core.is_empty():
        way_out = "bring longer histories" + ", or lower min_events" * (min_events > SHORTEST)
        lost = "; ".join(step.why for step in cleaning.steps if step.rows_out < step.rows_in)
        raise ReclibError(
            f"{marketplace.name}: no user has {min_events} different products or more after "
            f"cleaning ({lost}); {way_out}"
        )

    acted = np.bincount(core["user"], minlength=len(user_ids)) > 0
    touched = np.bincount(core["item"], minlength=len(item_ids)) > 0
    if min_users == 1:  # products that nobody touched can still be recommended
        added = touched.sum() - touched[known].sum()
        why = f"{added:,} products without a row in the table of items added"
        cleaning.note(core, "match catalogue", why)
        touched[known] = True
    user_ids, users = _renumbered(user_ids, acted, core["user"])
    item_ids, items = _renumbered(item_ids, touched, core["item"])
    core = core.with_columns(user=users, item=items)
    # one after the other, which is quicker than by both at once
    core = core.sort("position").sort("user", maintain_order=True)

    account = Cleaning("reviews")
    reviews = _reviews(marketplace.reviews, user_ids, item_ids, account)
    query, queries = _queries(core)
    time = core["timestamp"].to_physical().to_numpy() if "timestamp" in core else None
    event = core["event"].to_numpy()
    return Prepared(
        name=marketplace.name,
        user_ids=pd.Index(user_ids.to_pandas()),
        item_ids=pd.Index(item_ids.to_pandas()),
        user=core["user"].to_numpy(),
        item=core["item"].to_numpy(),
        weight=weights[event],
        event=event,
        time=time,
        query=query,
        queries=queries,
        context=_context(core),
        reviews=reviews,
        items=_catalogue(marketplace.items, item_ids),
        steps=pd.DataFrame([*marketplace.steps, *cleaning.steps, *account.steps]),
    )


def _weights(event_weights: Mapping[str, float]) -> NDArray[np.float32]:
    """R_ui of every kind of event, in the order of `EVENTS`; NaN for a search."""
    for event, weight in event_weights.items():
        if event not in EVENTS[1:]:
            raise unknown("event", event, EVENTS[1:])
        if not (np.isfinite(weight) and weight > 0):
            raise ReclibError(f"weight of event {event!r} is {weight}; allowed is a number above 0")
    missing = [event for event in EVENTS[1:] if event not in event_weights]
    if missing:
        raise ReclibError(f"event_weights has no weight for {', '.join(missing)}; add one")
    return np.array([event_weights.get(event, np.nan) for event in EVENTS], np.float32)


def _with_products(events: pl.DataFrame, cleaning: Cleaning) -> pl.DataFrame:
    """Take the columns that matter and the events with a product; number the kinds of event."""
    columns = ("user_id", "item_id", "position", "event", "timestamp", "query", *CONTEXT)
    events = events.select(name for name in columns if name in events.columns)
    cleaning.note(events, "read", "rows of the table of interactions")
    if "event" not in events.columns:
        return events.with_columns(event=pl.lit(EVENTS.index("purchase"), pl.Int8))
    why = "{n} searches, which have no product; their words stay with what they led to"
    events = cleaning.keep(events, "set searches apart", pl.col("event") != "search", why)
    return events.with_columns(_codes(events["event"], pl.Series(EVENTS)).cast(pl.Int8))


def _drop_impossible(
    events: pl.DataFrame, cleaning: Cleaning, max_per_day: int, name: str
) -> pl.DataFrame:
    """Drop what no customer did: events out of time, events twice, too many in a day."""
    if "timestamp" not in events.columns:
        return events
    latest = datetime.now(UTC) + timedelta(days=1)  # clocks differ between time zones
    possible = pl.col("timestamp").is_between(EARLIEST, latest)
    why = f"{{n}} events without a time, before {EARLIEST.year} or in the future"
    odd = events.filter(~possible)["timestamp"]
    told, events = len(events), cleaning.keep(events, "drop impossible dates", possible, why)
    if 2 * len(events) < told:
        such = f" (one was read as {odd[0]:%Y-%m-%d %H:%M})" if len(odd) else ""
        raise ReclibError(
            f"{name}: {told - len(events):,} of {told:,} events have no time, or one before "
            f"{EARLIEST.year} or in the future{such}; write times as 2024-05-31 12:30:00 or in "
            "Unix seconds, or leave the column 'timestamp' out and give 'position'"
        )
    first = pl.struct("user", "item", "event", "timestamp").is_first_distinct()
    why = "{n} repeats of the same user, product, kind of event and moment"
    events = cleaning.keep(events, "drop duplicates", first, why)
    many = np.flatnonzero(np.bincount(events["user"]) > max_per_day)  # few, if any
    suspects = events.filter(pl.col("user").is_in(pl.Series(many).implode()))
    per_day = suspects.group_by("user", pl.col("timestamp").dt.date()).len()
    machines = per_day.filter(pl.col("len") > max_per_day)["user"].unique()
    why = f"{{n}} events of {len(machines):,} users with more than {max_per_day:,} on one day"
    return cleaning.keep(events, "drop machines", ~pl.col("user").is_in(machines.implode()), why)


def _core(
    events: pl.DataFrame, cleaning: Cleaning, min_events: int, min_users: int
) -> pl.DataFrame:
    """Drop short histories and rare products, until none is left of either."""
    rare = pl.col("user").n_unique().over("item") < min_users
    short = pl.col("item").n_unique().over("user") < min_events
    core = events
    while True:
        before = len(core)
        if min_users > 1:
            core = core.filter(~rare)
        core = core.filter(~short)
        if min_users == 1 or len(core) == before:
            break
    left_out = events["user"].n_unique() - core["user"].n_unique()
    why = f"{left_out:,} users with fewer than {min_events} different products left out"
    if min_users > 1:
        products = events["item"].n_unique() - core["item"].n_unique()
        why += f", and {products:,} products of fewer than {min_users} users"
    cleaning.steps.append(Step(cleaning.table, "drop short histories", len(events), len(core), why))
    return core


def _dense(texts: pl.Series) -> tuple[pl.Series, NDArray[np.int32]]:
    """Sort the different texts, and tell for each text its place among them."""
    encoded = texts.to_arrow().dictionary_encode()  # a single pass over the texts
    ids = pl.Series(encoded.dictionary)
    order = ids.arg_sort()
    place = np.empty(len(ids), np.int32)
    place[order] = np.arange(len(ids), dtype=np.int32)
    return ids.gather(order), place[encoded.indices]


def _codes(values: pl.Series, levels: pl.Series) -> pl.Series:
    """Place of every value among the levels."""
    return values.cast(pl.Enum(levels)).to_physical()


def _renumbered(
    ids: pl.Series, keep: NDArray[np.bool_], codes: pl.Series
) -> tuple[pl.Series, pl.Series]:
    """Leave ids out, and count the places of the others anew; `keep` is as long as `ids`."""
    place = (np.cumsum(keep) - 1).astype(np.int32)
    return ids.filter(pl.Series(keep)), pl.Series(place[codes.to_numpy()])


def _is_in(values: pl.Series, others: pl.Series) -> pl.Series:
    return values.is_in(others.unique().implode())


def _pairs(user: ArrayLike, item: ArrayLike, n_items: int) -> NDArray[np.int64]:
    """One number for every (user, item)."""
    return np.asarray(user, np.int64) * n_items + np.asarray(item, np.int64)


def _queries(events: pl.DataFrame) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """Clean the search texts; say which of them led to every event (−1: none)."""
    if "query" not in events.columns:
        return np.full(len(events), -1, np.int32), ()
    texts = events.select(clean_texts(pl.col("query")).alias("query"))["query"]
    texts = texts.set(texts == "", None)
    queries = texts.drop_nulls().unique().sort()
    codes = _codes(texts, queries).cast(pl.Int32).fill_null(-1)
    return codes.to_numpy(), tuple(queries)


def _context(events: pl.DataFrame) -> pd.DataFrame:
    """Tell the situation of every event, one categorical column for each part of it."""
    parts = []
    for name in CONTEXT:
        if name in events.columns and events[name].n_unique() > 1:
            levels = events[name].drop_nulls().unique().sort()
            parts.append(events[name].cast(pl.Enum(levels)))
    if "timestamp" in events.columns:
        midnight = (events["timestamp"].dt.time() == time()).all()
        for name, (levels, level) in CLOCK.items():
            if name != "hour" or not midnight:  # a date alone has no hour
                parts.append(events.select(level.cat.to(pl.Enum(levels)).alias(name))[name])
    if not parts:
        return pd.DataFrame(index=pd.RangeIndex(len(events)))
    return pl.DataFrame(parts).to_pandas()


def _reviews(
    reviews: pl.DataFrame | None, user_ids: pl.Series, item_ids: pl.Series, cleaning: Cleaning
) -> pd.DataFrame:
    """Reviews by users and of products that are there, on dense ids."""
    columns = ["user", "item", "time", "rating", "text"]
    if reviews is None:
        return pd.DataFrame({name: [] for name in columns})
    there = pl.col("user_id").is_in(user_ids.implode())
    there &= pl.col("item_id").is_in(item_ids.implode())
    why = "{n} by users or of products that are unknown or left out"
    known = cleaning.keep(reviews, "drop reviews of others", there, why)
    texts = [
        clean_texts(pl.col(name)).replace("", None)
        for name in ("summary", "text")
        if name in known.columns
    ]
    time = pl.col("timestamp").to_physical() if "timestamp" in known.columns else pl.lit(-1)
    table = known.select(
        user=_codes(known["user_id"], user_ids).cast(pl.Int32),
        item=_codes(known["item_id"], item_ids).cast(pl.Int32),
        time=time.fill_null(-1).cast(pl.Int64),
        rating=pl.col("rating").cast(pl.Float32),
        text=pl.concat_str(texts, separator=". ", ignore_nulls=True) if texts else pl.lit(""),
    )
    return table.select(columns).to_pandas()


def _catalogue(items: pl.DataFrame, item_ids: pl.Series) -> pd.DataFrame:
    """Products in dense order, with every column that a scorer may ask for."""
    table = item_ids.to_frame("item_id").join(
        items, on="item_id", how="left", maintain_order="left"
    )
    nothing = {name: pl.lit(None, pl.String) for name in (*TEXTS, "currency")}
    nothing["price"] = pl.lit(None, pl.Float64)
    table = table.with_columns(**{n: e for n, e in nothing.items() if n not in table.columns})
    within = pl.col("currency").fill_null("")
    catalogue = table.select(
        *(clean_texts(pl.col(name)).alias(name) for name in TEXTS),
        pl.col("price").fill_null(np.nan),
        price_level=pl.col("price").rank("average").over(within).fill_null(np.nan),
        priced=pl.col("price").count().over(within),
    ).to_pandas()
    priced = catalogue.pop("priced").clip(lower=1)
    return catalogue.assign(price_level=catalogue["price_level"] / priced)
