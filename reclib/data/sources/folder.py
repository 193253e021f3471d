"""A folder with tables: the user's own, or a public set in the same form."""

from pathlib import Path

import polars as pl

from reclib.data.schema import (
    TABLES,
    Interactions,
    Marketplace,
    check_catalogue,
    empty_interactions,
    validated,
)
from reclib.data.tables import SUFFIXES, read_table, typed
from reclib.errors import ReclibError

FILES = tuple(table + suffix for table in TABLES for suffix in SUFFIXES)


def read(folder: Path) -> Marketplace:
    """Read the tables of a folder.

    Parameters
    ----------
    folder
        Holds ``interactions``, or else ``reviews`` or ``impressions``; and whichever other
        `TABLES` there are, each as ``.csv``, ``.csv.gz`` or ``.parquet``.

    Returns
    -------
    Marketplace
        Named as the folder. Where interactions have no position, it follows from their
        time; events of one moment keep the order of the file. Without interactions each
        review is one, by the same rule. Without items, the catalogue is every product
        that is named, in the order of its id.

    Raises
    ------
    ReclibError
        A table that cannot be read, breaks the schema or is there in two formats; none
        that tells what users did or saw; items of which users met none.
    """
    files = {table: file for table in TABLES if (file := _find(folder, table))}
    tables = {
        table: validated(read_table(file), TABLES[table], str(file))
        for table, file in files.items()
        if table != "interactions"
    }
    if "interactions" in files:
        events = _read_events(files["interactions"])
    elif "reviews" in files:
        events = _reviewed(tables["reviews"], str(files["reviews"]))
    elif "impressions" in files:
        events = empty_interactions()
    else:
        raise ReclibError(
            f"{folder / 'interactions'}: no such table; expected one of {', '.join(SUFFIXES)}"
        )
    if "items" in tables:
        check_catalogue(tables["items"], events, str(files["items"]))
    return Marketplace(
        name=folder.name,
        interactions=events,
        items=tables["items"] if "items" in tables else _named([events, *tables.values()]),
        users=tables.get("users"),
        reviews=tables.get("reviews"),
        impressions=tables.get("impressions"),
    )


def placed(events: pl.DataFrame, where: str) -> pl.DataFrame:
    """Add the position of each event in its user's history, from its time.

    Raises
    ------
    ReclibError
        If there is no time, or an event without one.
    """
    if "timestamp" not in events.columns:
        raise ReclibError(
            f"{where}: missing column 'position', or 'timestamp', from which it follows; "
            f"found: {', '.join(events.columns)}"
        )
    unknown_time = events["timestamp"].is_null().arg_true()
    if len(unknown_time):
        raise ReclibError(
            f"{where}: column 'timestamp' is missing in row {unknown_time[0]}; the position of "
            "an event follows from its time, so give either to every event"
        )
    # ranks among equals follow the rows, so events of one moment keep the order of the file
    return events.with_columns(
        position=pl.col("timestamp").rank("ordinal").over("user_id").cast(pl.Int64) - 1
    )


def _find(folder: Path, table: str) -> Path | None:
    """Find a table in whichever format is there."""
    found = [file for suffix in SUFFIXES if (file := folder / (table + suffix)).exists()]
    if len(found) > 1:
        names = " and ".join(file.name for file in found)
        raise ReclibError(f"{folder}: {names} are both there; keep one of them")
    return found[0] if found else None


def _read_events(file: Path) -> pl.DataFrame:
    table = read_table(file)
    if "position" not in table.columns and "user_id" in table.columns:
        table = placed(typed(table, Interactions, str(file)), str(file))
    return validated(table, Interactions, str(file))


def _reviewed(reviews: pl.DataFrame, where: str) -> pl.DataFrame:
    """Take each review for an event."""
    if "position" not in reviews.columns:
        reviews = placed(reviews, where)
    columns = ("user_id", "item_id", "position", "rating", "timestamp")
    events = reviews.select(name for name in columns if name in reviews.columns)
    return validated(events, Interactions, where)


def _named(tables: list[pl.DataFrame]) -> pl.DataFrame:
    """List every product that some table names."""
    ids = [table["item_id"] for table in tables if "item_id" in table.columns]
    return pl.concat(ids).drop_nulls().unique().sort().to_frame()
