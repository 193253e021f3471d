"""A folder with tables: the user's own, or a public set in the same form."""

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path

import polars as pl

from reclib.data.clean import Cleaning
from reclib.data.schema import (
    TABLES,
    Interactions,
    Marketplace,
    Step,
    check_catalogue,
    empty_interactions,
    validated,
)
from reclib.data.tables import SUFFIXES, read_table, typed
from reclib.errors import ReclibError

FILES = tuple(table + suffix for table in TABLES for suffix in SUFFIXES)
TABLE_LIKE = re.compile(r"\.(csv|tsv|parquet|xlsx?|jsonl?)(\.gz)?$", re.IGNORECASE)
ALIKE = 0.75  # difflib's ratio, at which category is categories, and invoice is not device


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
        that is named, in the order of its id. `steps` names files and columns that are
        not used.

    Raises
    ------
    ReclibError
        A table that cannot be read, breaks the schema or is there in two formats; a file or
        a column whose name is nearly that of one that is missing; no table that tells what
        users did or saw; items of which users met none.
    """
    files = {table: file for table in TABLES if (file := _find(folder, table))}
    steps = _other_files(folder, files)
    found = {table: read_table(file) for table, file in files.items()}
    for table, file in files.items():
        steps += _other_columns(found[table], table, str(file))
    tables = {
        table: validated(found[table], TABLES[table], str(file))
        for table, file in files.items()
        if table != "interactions"
    }
    if "interactions" in files:
        events = _events(found["interactions"], str(files["interactions"]))
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
        steps=tuple(steps),
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


def _other_files(folder: Path, files: Mapping[str, Path]) -> list[Step]:
    """Name the files that hold a table and are not read; refuse one that is misnamed."""
    absent = [table for table in TABLES if table not in files]
    steps = []
    for file in sorted(folder.iterdir()):
        if file.name.startswith(".") or not TABLE_LIKE.search(file.name) or not file.is_file():
            continue
        if any(file.samefile(known) for known in files.values()):  # on a Mac, as Items.csv too
            continue
        if meant := _meant(file.name.partition(".")[0], absent):
            forms = " or ".join(meant + suffix for suffix in SUFFIXES)
            raise ReclibError(
                f"{file}: nothing reads a file of this name, and there is no table {meant!r}; "
                f"save it as {forms}, or move it elsewhere if it is something else"
            )
        why = f"not read; tables are called {', '.join(TABLES)}"
        steps.append(Step(file.name, "set other files apart", 0, 0, why))
    return steps


def _other_columns(frame: pl.DataFrame, table: str, where: str) -> list[Step]:
    """Name the columns that are not used; refuse one that is misnamed."""
    declared = dict(TABLES[table].to_schema().columns)
    if table == "reviews":  # that stand for interactions may have their order
        declared["position"] = Interactions.to_schema().columns["position"]
    absent = [name for name in declared if name not in frame.columns]
    others = [name for name in frame.columns if name not in declared]
    for name in others:
        if meant := _meant(name, absent):
            raise ReclibError(
                f"{where}: nothing reads a column {name!r}, and {meant!r} is missing "
                f"({declared[meant].description}); rename it to {meant!r}, or take it out if it "
                "is something else"
            )
    cleaning = Cleaning(table)
    if others:
        cleaning.note(frame, "set other columns apart", f"not used: {', '.join(others)}")
    return cleaning.steps


def _meant(name: str, absent: Iterable[str]) -> str | None:
    """Guess which of the names that are absent is meant by another one."""
    written = re.sub(r"(?<=[a-z])(?=[A-Z])|[ -]", "_", name).casefold()
    # what ends so is an id: event_id is no event
    possible = [each for each in absent if each.endswith("_id") or not written.endswith("_id")]
    near = [each for each in possible if each in written.split("_")]
    near += get_close_matches(written, possible, n=1, cutoff=ALIKE)
    return near[0] if near else None


def _events(table: pl.DataFrame, where: str) -> pl.DataFrame:
    if "position" not in table.columns and "user_id" in table.columns:
        table = placed(typed(table, Interactions, where), where)
    return validated(table, Interactions, where)


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
