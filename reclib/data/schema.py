"""The tables of a marketplace (III-B), and the checks that every source must pass."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd
import pandera.pandas as pa
from numpy.typing import NDArray

from reclib.errors import ReclibError

EVENTS = ("click", "cart", "purchase")


class _Table(pa.DataFrameModel):
    """Ids are text outside the library; columns beyond the declared ones are kept."""

    class Config:
        coerce = True
        strict = False


class Interactions(_Table):
    """What users did, one row an event."""

    user_id: str = pa.Field(description="who", str_length={"min_value": 1})
    item_id: str = pa.Field(description="with which product", str_length={"min_value": 1})
    position: int = pa.Field(ge=0, description="order in the user's history, 0 = oldest")
    event: str | None = pa.Field(isin=EVENTS, description="kind of behaviour")
    timestamp: pd.DatetimeTZDtype | None = pa.Field(
        dtype_kwargs={"unit": "ns", "tz": "UTC"}, description="when, UTC"
    )
    rating: float | None = pa.Field(ge=1, le=5, nullable=True, description="stars, 1 to 5")
    quantity: float | None = pa.Field(gt=0, nullable=True, description="pieces")
    price: float | None = pa.Field(gt=0, nullable=True, description="price paid for a piece")
    query: str | None = pa.Field(nullable=True, description="search text that led here")


class Items(_Table):
    """The catalogue, one row a product."""

    item_id: str = pa.Field(unique=True, str_length={"min_value": 1}, description="product")
    title: str | None = pa.Field(nullable=True, description="name in the shop")
    description: str | None = pa.Field(nullable=True, description="text of the product page")
    categories: str | None = pa.Field(nullable=True, description="path, as A > B > C")
    brand: str | None = pa.Field(nullable=True, description="maker")
    price: float | None = pa.Field(gt=0, nullable=True, description="list price")


class Reviews(_Table):
    """What users wrote afterwards; never an input for the event it belongs to."""

    user_id: str = pa.Field(description="who", str_length={"min_value": 1})
    item_id: str = pa.Field(description="about which product", str_length={"min_value": 1})
    rating: float = pa.Field(ge=1, le=5, description="stars, 1 to 5")
    summary: str | None = pa.Field(nullable=True, description="headline")
    text: str | None = pa.Field(nullable=True, description="body")
    timestamp: pd.DatetimeTZDtype | None = pa.Field(
        dtype_kwargs={"unit": "ns", "tz": "UTC"}, description="when, UTC"
    )


class Truth(Protocol):
    """What only a simulated marketplace knows."""

    def click_probability(
        self, user_ids: Sequence[str], item_ids: Sequence[str]
    ) -> NDArray[np.float32]:
        """P(click | the item is looked at), shape (n_users, n_items)."""
        ...


@dataclass(frozen=True)
class Marketplace:
    """Validated tables of one source; see `Interactions`, `Items` and `Reviews`."""

    name: str
    interactions: pd.DataFrame
    items: pd.DataFrame
    reviews: pd.DataFrame | None = None
    truth: Truth | None = None

    @property
    def simulated(self) -> bool:
        """Whether the data are made up; every page that shows them must say so."""
        return self.truth is not None


def validated(frame: pd.DataFrame, model: type[pa.DataFrameModel], where: str) -> pd.DataFrame:
    """Check `frame` against a table `model`.

    Parameters
    ----------
    frame
        The table as read.
    model
        `Interactions`, `Items` or `Reviews`.
    where
        What to call the table in an error, usually its file.

    Returns
    -------
    pandas.DataFrame
        The table with the declared types.

    Raises
    ------
    ReclibError
        Naming the place, the column, up to three values and what was expected.
    """
    if frame.empty:
        raise ReclibError(f"{where}: the table is empty; it needs at least one row")
    if "position" in frame and pd.api.types.is_float_dtype(frame["position"]):
        # coercion would cut a fraction off without a word
        cut = frame["position"].dropna() % 1 != 0
        if cut.any():
            value = frame["position"].dropna()[cut].iloc[0]
            raise ReclibError(f"{where}: column 'position' expects whole numbers, found {value}")
    try:
        checked: pd.DataFrame = model.validate(frame, lazy=True)
    except pa.errors.SchemaErrors as error:
        raise ReclibError(f"{where}: {_first_failure(error.failure_cases, frame)}") from None
    if model is Interactions:
        twice = checked.duplicated(["user_id", "position"])
        if twice.any():
            row = checked[twice].iloc[0]
            raise ReclibError(
                f"{where}: user {row.user_id!r} has {row.position} twice in column 'position'; "
                "every position of a user must be unique"
            )
    return checked


def _first_failure(cases: pd.DataFrame, frame: pd.DataFrame) -> str:
    """Say the first broken rule in words, with up to three of the values that broke it."""
    missing = cases[cases["check"] == "column_in_dataframe"]
    if len(missing):
        names = ", ".join(map(repr, missing["failure_case"]))
        return f"missing column {names}; found: {', '.join(map(str, frame.columns))}"
    rule, column = cases.iloc[0][["check", "column"]]
    broken = cases[(cases["check"] == rule) & (cases["column"] == column)]
    values = ", ".join(repr(value) for value in broken["failure_case"].unique()[:3])
    rows = ", ".join(str(row) for row in broken["index"].dropna().unique()[:3])
    place = f" (rows {rows})" if rows else ""
    wanted = {"field_uniqueness": "unique values", "not_nullable": "no missing value"}
    return f"column {column!r} expects {wanted.get(str(rule), rule)}, found {values}{place}"
