"""The tables of a marketplace (III-B), and the checks that every source must pass."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Protocol

import numpy as np
import pandas as pd
import pandera.polars as pa
import polars as pl
from numpy.typing import NDArray

from reclib.data.conversion import ROWS
from reclib.data.tables import typed
from reclib.errors import ReclibError

EVENTS = ("search", "click", "cart", "purchase")
CONTEXT = ("device", "channel", "country")  # columns of interactions that tell the situation
SHORTEST = 3  # different products that a split needs of a user: to train, validate and test
UTC = Annotated[pl.Datetime, "us", "UTC"]
_RULES = {  # what a check asks for, in words, and how to mend what breaks it
    "field_uniqueness": ("unique values", "keep one row of each"),
    "not_nullable": ("no missing value", "fill the cell, or take the row out"),
    "str_length": ("text that is not empty", "fill the cell, or take the row out"),
    "isin": ("one of {}", "rename the others to one of these, or take their rows out"),
    "greater_than": ("more than {}", ""),
    "greater_than_or_equal_to": ("{} or more", ""),
    "less_than": ("less than {}", ""),
    "less_than_or_equal_to": ("{} or less", ""),
}


class _Table(pa.DataFrameModel):
    """Ids are text outside the library; columns beyond the declared ones are kept."""

    class Config:
        strict = False


class Interactions(_Table):
    """What users did, one row an event."""

    user_id: str = pa.Field(str_length={"min_value": 1}, description="who")
    item_id: str = pa.Field(
        str_length={"min_value": 1},
        nullable=True,
        description="with which product; missing for a search, and only there",
    )
    position: int = pa.Field(
        ge=0, description="order in the user's history, 0 = oldest; unique for each user"
    )
    event: str | None = pa.Field(isin=EVENTS, description="kind of behaviour")
    timestamp: UTC | None = pa.Field(
        nullable=True, description="when; Unix seconds or a date and time, in UTC"
    )
    query: str | None = pa.Field(
        nullable=True, description="search text: of a search, or of the search that led here"
    )
    rating: float | None = pa.Field(ge=1, le=5, nullable=True, description="stars, 1 to 5")
    quantity: float | None = pa.Field(
        gt=0, lt=np.inf, nullable=True, description="pieces, more than 0"
    )
    price: float | None = pa.Field(
        gt=0, lt=np.inf, nullable=True, description="price paid for a piece, more than 0"
    )
    session_id: str | None = pa.Field(nullable=True, description="visit or invoice")
    device: str | None = pa.Field(nullable=True, description="context: phone, desktop, …")
    channel: str | None = pa.Field(nullable=True, description="context: what brought the user")
    country: str | None = pa.Field(nullable=True, description="context: where the user was")


class Items(_Table):
    """The catalogue, one row a product."""

    item_id: str = pa.Field(unique=True, str_length={"min_value": 1}, description="product")
    title: str | None = pa.Field(nullable=True, description="name in the shop")
    description: str | None = pa.Field(nullable=True, description="text of the product page")
    categories: str | None = pa.Field(nullable=True, description="path, as A > B > C")
    brand: str | None = pa.Field(nullable=True, description="maker")
    price: float | None = pa.Field(
        gt=0, lt=np.inf, nullable=True, description="list price, more than 0"
    )
    currency: str | None = pa.Field(
        nullable=True, description="of the list price, as USD; prices are compared within one"
    )


class Users(_Table):
    """Who they are, one row a user; most public sets say nothing."""

    user_id: str = pa.Field(unique=True, str_length={"min_value": 1}, description="who")
    country: str | None = pa.Field(nullable=True, description="where the user lives")


class Reviews(_Table):
    """What users wrote afterwards; never an input for the event it belongs to."""

    user_id: str = pa.Field(str_length={"min_value": 1}, description="who")
    item_id: str = pa.Field(str_length={"min_value": 1}, description="about which product")
    rating: float = pa.Field(ge=1, le=5, description="stars, 1 to 5")
    summary: str | None = pa.Field(nullable=True, description="headline")
    text: str | None = pa.Field(nullable=True, description="body")
    timestamp: UTC | None = pa.Field(
        nullable=True, description="when; Unix seconds or a date and time, in UTC"
    )


class Impressions(_Table):
    """What a policy showed and whether it was clicked, one row a shown product."""

    item_id: str = pa.Field(str_length={"min_value": 1}, description="shown product")
    rank: int = pa.Field(ge=1, description="place on the page, 1 = first")
    click: bool = pa.Field(description="whether it was clicked")
    propensity: float = pa.Field(
        gt=0, le=1, description="probability with which the policy showed it there"
    )
    policy: str = pa.Field(description="which policy chose")
    campaign: str | None = pa.Field(description="part of the shop with a catalogue of its own")
    user_id: str | None = pa.Field(nullable=True, description="to whom, where it is known")
    timestamp: UTC | None = pa.Field(description="when, UTC")


Model = type[pa.DataFrameModel]
TABLES: Mapping[str, Model] = {
    "interactions": Interactions,
    "items": Items,
    "users": Users,
    "reviews": Reviews,
    "impressions": Impressions,
}


class Truth(Protocol):
    """What only a simulated marketplace knows."""

    def click_probability(
        self,
        user_ids: Sequence[str],
        item_ids: Sequence[str],
        *,
        rank: int | None = None,
        context: Mapping[str, str] | None = None,
    ) -> NDArray[np.float32]:
        """P(click), shape (n_users, n_items).

        Without a `rank` the item is taken as looked at; without a `context` the situation
        is an average one.
        """
        ...


@dataclass(frozen=True)
class Step:
    """What one step of cleaning did to one table."""

    table: str
    step: str
    rows_in: int
    rows_out: int
    why: str


@dataclass(frozen=True)
class Marketplace:
    """Validated tables of one source, as polars frames; see `TABLES` for their columns.

    Attributes
    ----------
    name
        Of the source.
    interactions, items
        Every source has them; `interactions` has no rows where nobody is followed over
        time (logged impressions of anonymous visitors).
    users, reviews, impressions
        None where the source has no such table.
    truth
        Of a simulated marketplace.
    steps
        What was left out or mended while reading.
    """

    name: str
    interactions: pl.DataFrame
    items: pl.DataFrame
    users: pl.DataFrame | None = None
    reviews: pl.DataFrame | None = None
    impressions: pl.DataFrame | None = None
    truth: Truth | None = None
    steps: tuple[Step, ...] = ()

    @property
    def simulated(self) -> bool:
        """Whether the data are made up; every page that shows them must say so."""
        return self.truth is not None

    def __repr__(self) -> str:
        """Name the source and count its tables, whose rows would fill pages."""
        tables = {name: getattr(self, name) for name in TABLES}
        counts = [f"{len(rows):,} {name}" for name, rows in tables.items() if rows is not None]
        return f"<Marketplace {self.name}: {', '.join(counts)}>"

    def only_users(self, user_ids: Sequence[str]) -> "Marketplace":
        """Keep some users, what they did and wrote, and the products that they touched."""

        def theirs(frame: pl.DataFrame | None) -> pl.DataFrame | None:
            if frame is None or "user_id" not in frame.columns:
                return frame
            return frame.filter(pl.col("user_id").is_in(list(user_ids)))

        events = self.interactions.filter(pl.col("user_id").is_in(list(user_ids)))
        touched = events["item_id"].drop_nulls().unique()
        return replace(
            self,
            interactions=events,
            items=self.items.filter(pl.col("item_id").is_in(touched.implode())),
            users=theirs(self.users),
            reviews=theirs(self.reviews),
        )


def empty_interactions() -> pl.DataFrame:
    """Make a table of interactions without rows, for a source that follows nobody."""
    return pl.DataFrame(schema={"user_id": pl.String, "item_id": pl.String, "position": pl.Int64})


def validated(frame: pl.DataFrame | pd.DataFrame, model: Model, where: str) -> pl.DataFrame:
    """Check `frame` against a table `model`.

    Parameters
    ----------
    frame
        The table as read; a pandas frame is converted.
    model
        One of `TABLES`.
    where
        What to call the table in an error, usually its file.

    Returns
    -------
    polars.DataFrame
        The table, its declared columns in the declared types.

    Raises
    ------
    ReclibError
        Naming the place, the column, up to three values with their rows (the first row
        is 0), and what was expected.
    """
    if len(frame) == 0:
        raise ReclibError(f"{where}: the table is empty; it needs at least one row")
    table = typed(frame, model, where)
    try:
        checked = model.validate(table, lazy=True)
    except pa.errors.SchemaErrors as error:
        raise ReclibError(f"{where}: {_first_failure(error.failure_cases, table, model)}") from None
    assert isinstance(checked, pl.DataFrame)
    if model is Interactions:
        _check_events(checked, where)
    return checked


def check_alike(ids: pl.Series, known: pl.Series, where: str, whose: str) -> None:
    """Refuse ids that another table should know, and knows under another writing only.

    Parameters
    ----------
    ids
        A column of ids; missing ones do not count.
    known
        The same column of the other table; where either is empty, there is nothing to compare.
    where
        What to call the table of `ids` in an error, usually its file.
    whose
        What to call the other one.

    Raises
    ------
    ReclibError
        If none of the ids is known, or one that is not is known with other zeros or spaces;
        showing an id of either side.
    """
    ids = ids.drop_nulls()
    is_known = ids.is_in(known.implode())
    if is_known.all():
        return
    strange = ids.filter(~is_known).unique(maintain_order=True)
    known = known.drop_nulls().unique(maintain_order=True)
    left = pl.DataFrame({"bare": _bare(strange), "one": strange})
    right = pl.DataFrame({"bare": _bare(known), "other": known})
    alike = left.join(right, on="bare", maintain_order="left_right").drop("bare")
    if len(alike) or (len(known) and not is_known.any()):
        one, other = alike.row(0) if len(alike) else (strange[0], known[0])
        raise ReclibError(
            f"{where}: column {ids.name!r} has {len(strange):,} ids that are not in {whose}, such "
            f"as {one!r}; there they are such as {other!r}; write them alike, leading zeros and "
            "spaces included"
        )


def _bare(ids: pl.Series) -> pl.Series:
    """Take off what spreadsheets and databases add to an id, or cut off."""
    return ids.str.strip_chars().str.replace(r"^0*(\d+?)(\.0)?$", "$1")


def _check_events(events: pl.DataFrame, where: str) -> None:
    """Check what concerns two columns: a product for every event, one event a position."""
    search = pl.col("event") == "search" if "event" in events.columns else pl.lit(False)
    odd = events.select(row=(pl.col("item_id").is_null() != search).arg_true())["row"]
    if len(odd):
        raise ReclibError(
            f"{where}: column 'item_id' must be missing for a search and only there; row "
            f"{odd[0]} ({ROWS}) is {dict(events.row(odd[0], named=True))}; take out events of no "
            "product, and empty the cell of a search"
        )
    # one number for every user and position: quicker than a comparison of text
    user = pl.col("user_id").cast(pl.Categorical).to_physical().cast(pl.Int64)
    if events.select((user * (1 << 32) + pl.col("position")).n_unique()).item() == len(events):
        return
    again = events.filter(~pl.struct("user_id", "position").is_first_distinct())
    if again.is_empty():  # positions so large that two numbers met
        return
    user, position = again.row(0, named=True)["user_id"], again.row(0, named=True)["position"]
    raise ReclibError(
        f"{where}: user {user!r} has {position} twice in column 'position'; "
        "every position of a user must be unique; the column can be left out where there is a "
        "column 'timestamp', from which the order then follows"
    )


def _first_failure(cases: Any, frame: pl.DataFrame, model: Model) -> str:
    """Say the first broken rule in words, with up to three of the values that broke it."""
    missing = cases.filter(pl.col("check") == "column_in_dataframe")
    if len(missing):
        names = ", ".join(map(repr, missing["failure_case"]))
        return f"missing column {names}; found: {', '.join(frame.columns)}"
    rule, column = cases.row(0, named=True)["check"], cases.row(0, named=True)["column"]
    broken = cases.filter((pl.col("check") == rule) & (pl.col("column") == column))
    values = ", ".join(map(repr, broken["failure_case"].unique(maintain_order=True)[:3]))
    rows = ", ".join(map(str, broken["index"].drop_nulls().unique(maintain_order=True)[:3]))
    place = f" (rows {rows}; {ROWS})" if rows else ""
    kind, _, limit = re.sub(r"[\[\]')]", "", str(rule)).partition("(")
    wanted, mend = _RULES.get(kind, (str(rule), ""))
    wanted = wanted.format(limit.lstrip("("))
    if not mend and model.to_schema().columns[column].nullable:
        mend = "leave the cell empty where it is unknown"
    return f"column {column!r} expects {wanted}, found {values}{place}{mend and '; '}{mend}"
