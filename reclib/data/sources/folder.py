"""A folder with tables: the user's own, or a public set in the same form."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

import polars as pl
import polars.selectors as cs

from reclib.data.clean import Cleaning, drop_hidden
from reclib.data.conversion import ROWS
from reclib.data.schema import (
    TABLES,
    Interactions,
    Marketplace,
    Step,
    check_alike,
    empty_interactions,
    validated,
)
from reclib.data.tables import SUFFIXES, read_table, typed
from reclib.errors import ReclibError

FILES = tuple(table + suffix for table in TABLES for suffix in SUFFIXES)
TABLE_LIKE = re.compile(
    rf"^({'|'.join(TABLES)})(\.|$)|\.(csv|tsv|parquet|xlsx?|jsonl?)(\.gz)?$", re.IGNORECASE
)
# ids that are none, or that no other table may write alike, and how to mend them
ODD_IDS = {
    r"^(NULL|null|nan|NaN|None|\\N|N/A|NA|<NA>)$": "this stands for no id: take out events of "
    "unknown users and of no product, empty the cell of a search, or rename what is a true id",
    r"^\s+\S|\S\s+$": "cut the white space off its ends, in all tables",
}
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
        users did or saw; ids that are none, have spaces at their ends or are written otherwise
        than in the other tables; positions against the times; categories in another notation.
    """
    files = {table: file for table in TABLES if (file := _find(folder, table))}
    steps = _other_files(folder, files)
    found = {table: read_table(file) for table, file in files.items()}
    for table, file in files.items():
        steps += _other_columns(found[table], table, str(file))
        _check_ids(found[table], str(file))
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
    known = [events["item_id"]]
    if "items" in tables:
        _check_categories(tables["items"], str(files["items"]))
        known.append(tables["items"]["item_id"])
        where = files.get("interactions", files.get("reviews", folder))
        check_alike(events["item_id"], known[1], str(where), "items")
    if "reviews" in tables:
        reviews, where = tables["reviews"], files["reviews"]
        check_alike(reviews["user_id"], events["user_id"], str(where), "interactions")
        check_alike(reviews["item_id"], pl.concat(known), str(where), "interactions or items")
    return Marketplace(
        name=folder.name,
        interactions=events,
        items=tables["items"] if "items" in tables else _named([events, *tables.values()]),
        users=tables.get("users"),
        reviews=tables.get("reviews"),
        impressions=tables.get("impressions"),
        steps=tuple(steps),
    )


def read_own(folder: Path) -> Marketplace:
    """Read a folder of the user's own: as `read`, without what no browser shows of its texts.

    The public sets in the same form keep all their texts, for recorded results depend on them.
    """
    found = read(folder)
    texts = cs.by_name("title", "description", "summary", "text", require_all=False)
    return replace(
        found,
        items=found.items.with_columns(drop_hidden(texts)),
        reviews=None if found.reviews is None else found.reviews.with_columns(drop_hidden(texts)),
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
            f"{where}: column 'timestamp' is missing in row {unknown_time[0]} ({ROWS}); the "
            "position of an event follows from its time, so give either to every event"
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
        if file.name.startswith(".") or not TABLE_LIKE.search(file.name) or not file.exists():
            continue
        if any(file.samefile(known) for known in files.values()):  # on a Mac, as Items.csv too
            continue
        if meant := _meant(file.name.partition(".")[0], absent):
            forms = " or ".join(meant + suffix for suffix in SUFFIXES)
            raise ReclibError(
                f"{file}: nothing reads a file or a folder of this name, and there is no table "
                f"{meant!r}; save it as {forms}, or move it elsewhere if it is something else"
            )
        why = f"not read; tables are called {', '.join(TABLES)}, and end in {', '.join(SUFFIXES)}"
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
        return validated(placed(typed(table, Interactions, where), where), Interactions, where)
    return _in_order(validated(table, Interactions, where), where)


def _reviewed(reviews: pl.DataFrame, where: str) -> pl.DataFrame:
    """Take each review for an event."""
    if "position" not in reviews.columns:
        reviews = placed(reviews, where)
    columns = ("user_id", "item_id", "position", "rating", "timestamp")
    events = reviews.select(name for name in columns if name in reviews.columns)
    return _in_order(validated(events, Interactions, where), where)


def _in_order(events: pl.DataFrame, where: str) -> pl.DataFrame:
    """Refuse positions of which most run against the times, as where the newest is 0."""
    columns = ("user_id", "position", "timestamp")
    if "timestamp" not in events.columns:
        return events
    told = events.select(columns).drop_nulls().sort("user_id", "position")
    pairs = pl.concat([told[:-1], told[1:].rename("next_{}".format)], how="horizontal")
    moved = pairs.filter(
        pl.col("user_id") == pl.col("next_user_id"),
        pl.col("timestamp") != pl.col("next_timestamp"),
    )
    back = moved.filter(pl.col("timestamp") > pl.col("next_timestamp"))
    if 2 * len(back) > len(moved):
        row = back.row(0, named=True)
        raise ReclibError(
            f"{where}: column 'position' contradicts 'timestamp': user {row['user_id']!r} has "
            f"position {row['position']} on {row['timestamp']:%Y-%m-%d %H:%M:%S}, but "
            f"{row['next_position']} before that, on {row['next_timestamp']:%Y-%m-%d %H:%M:%S}; 0 "
            "is the oldest. The column 'position' can be left out: the order follows from the times"
        )
    return events


def _check_ids(frame: pl.DataFrame, where: str) -> None:
    """Refuse ids that mean that there is none, and those that white space sets apart."""
    texts = cs.by_name("user_id", "item_id", require_all=False) & cs.string(
        include_categorical=True
    )
    for ids in frame.select(texts.cast(pl.String)):
        for pattern, mend in ODD_IDS.items():
            rows = ids.str.contains(pattern).arg_true()
            if len(rows):
                raise ReclibError(
                    f"{where}: column {ids.name!r} has {ids[rows[0]]!r} (row {rows[0]}; {ROWS}) "
                    f"and {len(rows) - 1:,} more like it; {mend}"
                )


def _check_categories(items: pl.DataFrame, where: str) -> None:
    """Refuse paths in another notation, each of which would be one long name."""
    if "categories" not in items.columns:
        return
    paths = items["categories"].drop_nulls()
    other = paths.filter(paths.str.contains(r"^\s*\[|\|"))
    if 2 * len(other) > len(paths) and not paths.str.contains(" > ", literal=True).any():
        raise ReclibError(
            f"{where}: column 'categories' has {other[0]!r}; write the path of a product's "
            "categories as A > B > C"
        )


def _named(tables: list[pl.DataFrame]) -> pl.DataFrame:
    """List every product that some table names."""
    ids = [table["item_id"] for table in tables if "item_id" in table.columns]
    return pl.concat(ids).drop_nulls().unique().sort().to_frame()
