"""Every kind of bad input ends in an error that names it, or is left out and counted.

And what is on the disk survives a run that is killed.
"""

import csv
import gzip
import io
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from reclib import cache
from reclib.data import load
from reclib.data.schema import TABLES, Interactions, Items, Model, Users, validated
from reclib.data.sources import data_files
from reclib.data.tables import read_json_lines, read_table
from reclib.errors import ReclibError

SHOP: Mapping[str, str] = {
    "interactions": """user_id,item_id,position,event,timestamp,query,rating,quantity,price
anna,tea,0,click,2024-05-31 10:00:00,green tea,,,
anna,tea,1,purchase,2024-05-31 10:05:00,green tea,5,2,3.50
anna,,2,search,2024-06-01,lamp,,,
bert,lamp,0,cart,1717300000,,,1,20
""",
    "items": """item_id,title,categories,brand,price,currency
tea,Green tea,Food > Drinks,None,3.95,GBP
lamp,A lamp,Home,,20,GBP
""",
    "reviews": """user_id,item_id,rating,summary,text,timestamp
anna,tea,5,Good,I like it.,1717150000
bert,lamp,1,Bad,,1717300000
""",
    "users": "user_id,country\nanna,GB\nbert,\n",
    "impressions": """item_id,rank,click,propensity,policy,campaign,timestamp
tea,1,1,0.5,random,all,2024-05-31
lamp,2,0,0.25,random,all,2024-05-31
""",
}


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    for table, text in SHOP.items():
        (folder / f"{table}.csv").write_text(text, encoding="utf-8")
    return folder


def test_the_shop_is_good_before_it_is_spoilt(shop: Path) -> None:
    found = load(shop, size="full")
    assert len(found.interactions) == 4 and found.impressions is not None


# A cell, in row 1 of a table: column, its new value, and what the message says of it.
CELLS: tuple[tuple[str, str, str, str], ...] = (
    ("interactions", "user_id", "", r"missing.*rows 1"),
    ("interactions", "user_id", "   ", r"more than white space.*'   ' \(row 1;"),
    ("interactions", "user_id", "bert ", r"'bert ' \(row 1;.*0 more.*; cut the white space off"),
    ("interactions", "user_id", "NULL", r"'NULL' \(row 1;.*0 more.*; this stands for no id: take"),
    (
        "interactions",
        "item_id",
        r"\N",
        r"'\\\\N' \(row 1;.*events of unknown users and of no product",
    ),
    ("interactions", "item_id", "", r"missing for a search and only there; row 1.*take out events"),
    ("interactions", "event", "search", r"'item_id' must be missing for a search.*row 1"),
    ("interactions", "event", "buy", r"'buy' \(rows 1;"),
    ("interactions", "event", "", r"missing.*rows 1"),
    ("interactions", "position", "0", r"'anna' has 0 twice in column 'position'"),
    ("interactions", "position", "1.5", r"whole number, found '1.5' \(row 1;"),
    ("interactions", "position", "-1", r"'?-1'? \(rows 1;"),
    ("interactions", "position", "9" * 30, r"whole number, found '9{30}' \(row 1;"),
    ("interactions", "position", "first", r"whole number, found 'first' \(row 1;"),
    ("interactions", "position", "", r"missing.*rows 1"),
    ("interactions", "timestamp", "2300-01-01", r"from 1970 to 2200.*'2300-01-01' \(row 1;"),
    ("interactions", "timestamp", "1717150000000", r"1717150000000.*row 1.*milliseconds"),
    ("interactions", "timestamp", "20240531", r"'20240531' \(row 1;.*Write it as 2024-05-31"),
    ("interactions", "timestamp", "2024-02-31", r"'2024-02-31' \(row 1;"),
    ("interactions", "timestamp", "yesterday", r"'yesterday' \(row 1;"),
    ("interactions", "timestamp", "-5", r"'-5' \(row 1;"),
    ("interactions", "rating", "0", r"'?0.0'? \(rows 1;"),
    ("interactions", "rating", "6", r"'?6.0'? \(rows 1;"),
    ("interactions", "rating", "five", r"a number, found 'five' \(row 1;"),
    ("interactions", "quantity", "-2", r"'?-2.0'? \(rows 1;"),
    ("interactions", "quantity", "0", r"'?0.0'? \(rows 1;"),
    ("interactions", "price", "inf", r"'?inf'? \(rows 1;"),
    ("items", "price", "inf", r"'?inf'? \(rows 1;"),
    ("items", "price", "-inf", r"'?-inf'? \(rows 1;"),
    ("items", "price", "NaN", r"a number, found 'NaN' \(row 1;"),
    ("items", "price", "-1", r"'?-1.0'? \(rows 1;"),
    ("items", "price", "0", r"'?0.0'? \(rows 1;"),
    ("items", "price", "dear", r"a number, found 'dear' \(row 1;"),
    ("items", "price", "1,50", r"a number, found '1,50' \(row 1;"),
    ("items", "price", "1e999", r"'?inf'? \(rows 1;"),
    ("items", "item_id", "nan", r"'nan' \(row 1;.*stands for no id"),
    ("reviews", "user_id", "N/A", r"'N/A' \(row 1;.*stands for no id"),
    ("items", "item_id", "tea", r"unique values, found 'tea'"),
    ("items", "item_id", "", r"missing.*rows 1"),
    ("reviews", "rating", "", r"missing.*rows 1"),
    ("reviews", "rating", "5.5", r"'?5.5'? \(rows 1;"),
    ("reviews", "timestamp", "2999-12-31", r"'2999-12-31' \(row 1;"),
    ("users", "user_id", "anna", r"unique values, found 'anna'"),
    ("impressions", "rank", "0", r"'?0'? \(rows 1;"),
    ("impressions", "click", "perhaps", r"true or false, found 'perhaps' \(row 1;"),
    ("impressions", "propensity", "0", r"'?0.0'? \(rows 1;"),
    ("impressions", "propensity", "1.5", r"'?1.5'? \(rows 1;"),
    ("impressions", "policy", "", r"missing.*rows 1"),
)


def with_cell(table: str, column: str, value: str) -> str:
    rows = list(csv.DictReader(io.StringIO(SHOP[table])))
    rows[1][column] = value
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


@pytest.mark.parametrize(
    ("table", "column", "value", "message"), CELLS, ids=[" ".join(case[:3])[:60] for case in CELLS]
)
def test_a_bad_cell_is_refused_by_file_column_row_and_value(
    shop: Path, table: str, column: str, value: str, message: str
) -> None:
    (shop / f"{table}.csv").write_text(with_cell(table, column, value), encoding="utf-8")
    with pytest.raises(ReclibError, match=rf"shop/{table}\.csv: .*{message}") as error:
        load(shop)
    assert f"'{column}'" in str(error.value) or column == "event"


# Whole files: the name of the file, what is in it, and what the message says.
TEXT = SHOP["interactions"].encode()
WHOLE = gzip.compress(b"".join([TEXT[: TEXT.index(b"\n") + 1], *[TEXT[75:] for _ in range(99)]]))
EVENTS = pl.DataFrame({"user_id": ["a"], "item_id": ["x"], "position": [0]})


def parquet(frame: pl.DataFrame) -> bytes:
    content = io.BytesIO()
    frame.write_parquet(content)
    return content.getvalue()


def flipped(content: bytes, place: int) -> bytes:
    changed = bytearray(content)
    changed[place] ^= 255
    return bytes(changed)


FILES: Mapping[str, tuple[str, bytes, str]] = {
    "truncated gzip": (".csv.gz", WHOLE[: len(WHOLE) // 2], "cut off or damaged"),
    "gzip without its end": (".csv.gz", WHOLE[:-8], "cut off or damaged"),
    "gzip with a wrong checksum": (".csv.gz", flipped(WHOLE, -6), "CRC check failed"),
    "gzip damaged inside": (".csv.gz", flipped(WHOLE, 40), "damaged"),
    "text called gzip": (".csv.gz", TEXT, "Not a gzipped file.*drop .gz from its name"),
    "gzip followed by something": (".csv.gz", gzip.compress(TEXT) + b"more", "gzip archive"),
    "gzip called text": (".csv", gzip.compress(TEXT), r"byte 1 \(line 1\) is not UTF-8"),
    "empty file": (".csv", b"", "the file is empty"),
    "empty gzip": (".csv.gz", gzip.compress(b""), "the file is empty"),
    "blank file": (".csv", b"\n \n", "the file is empty"),
    "blank first line": (".csv", b"\r\n" + TEXT, "starts with an empty line; remove it"),
    "white first line": (".csv", b"\xef\xbb\xbf \n" + TEXT, "starts with an empty line"),
    "header only": (".csv", TEXT[: TEXT.index(b"\n") + 1], "the table is empty"),
    "Latin-1": (".csv", TEXT + b"caf\xe9,x,0,click,,,,,\n", r"byte \d+ \(line 6\) is not UTF-8"),
    "UTF-16": (".csv", TEXT.decode().encode("utf-16"), r"byte 0 \(line 1\) is not UTF-8"),
    "cut off within a letter": (".csv", TEXT + b"carl,caf\xc3", r"line 6\) is not UTF-8"),
    "NUL byte": (".csv", TEXT.replace(b"lamp,0", b"la\0mp,0"), r"byte \d+ \(line 5\) is NUL"),
    "row too long": (".csv", TEXT + b"carl,tea,0,click,,,,,,\n", "line 6 has 10 cells.* 9: .*carl"),
    "row too short": (".csv", TEXT + b"carl,tea,0\n", "line 6 has 3 cells, the header 9: .*carl"),
    "quotation mark left open": (
        ".csv",
        TEXT + b'carl,tea,0,click,,"a,,,\n',
        "line 6: .*quotation",
    ),
    "duplicate column": (".csv", b"user_id,item_id,item_id\na,b,c\n", "'item_id' is there twice"),
    "missing column": (".csv", b"user_id,position\na,0\n", "missing column 'item_id'; found: user"),
    "other separator": (".csv", b"user_id;item_id;position\na;x;0\n", "separated by ';'; save"),
    "tabs": (".csv", b"user_id\titem_id\na\tx,1\n", "separated by tabs; save it with commas"),
    "bars": (".csv", b"user_id|item_id\na|x\n", r"separated by '\|'; save it with commas"),
    "line for Excel": (".csv", b"sep=;\nuser_id;item_id\na;x\n", "starts with 'sep=;'.*remove"),
    "no order": (".csv", b"user_id,item_id\na,x\n", "missing column 'position', or 'timestamp'"),
    "event without time or place": (
        ".csv",
        b"user_id,item_id,timestamp\na,x,2024-05-31\na,y,\n",
        "'timestamp' is missing in row 1",
    ),
    "10 MB field": (
        ".csv",
        TEXT + b"carl,tea,0,click,," + b"x" * 10_000_000 + b",,,\n",
        r"column 'query' has a cell of 10,000,000 bytes \('xxx.*, row 4; .*allowed are 1,000,000",
    ),
    "field longer than a block": (
        ".csv",
        TEXT + b"carl,tea,0,click,," + b"x" * 33_000_000 + b",,,\n",
        "line 6: field larger than field limit",
    ),
    "parquet that is text": (".parquet", TEXT, "cannot be read as a table"),
    "empty parquet": (".parquet", b"", "cannot be read as a table"),
    "truncated parquet": (".parquet", parquet(EVENTS)[:-100], "cannot be read as a table"),
    "parquet without rows": (".parquet", parquet(EVENTS.clear()), "the table is empty"),
    "parquet with nested ids": (
        ".parquet",
        parquet(EVENTS.with_columns(item_id=pl.lit(pl.Series([["x"]])))),
        r"column 'item_id' expects text.*found \['x'\] \(row 0;",
    ),
    "parquet with decimal ids": (
        ".parquet",
        parquet(EVENTS.with_columns(user_id=pl.lit(17850.0))),
        r"column 'user_id' expects text.*found 17850.0 \(row 0;",
    ),
    "parquet with true as position": (
        ".parquet",
        parquet(EVENTS.with_columns(position=pl.lit(True))),
        r"column 'position' expects a whole number, found True \(row 0;",
    ),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_bad_file_is_refused_by_name_and_place(shop: Path, kind: str) -> None:
    suffix, content, message = FILES[kind]
    (shop / "interactions.csv").unlink()
    (shop / f"interactions{suffix}").write_bytes(content)
    with pytest.raises(ReclibError, match=rf"(?s)shop/interactions{suffix}: .*{message}"):
        load(shop)


def test_ids_of_several_types_are_refused_by_their_types() -> None:
    frame = pd.DataFrame({"user_id": ["a", 7], "item_id": ["x", "y"], "position": [0, 0]})
    with pytest.raises(ReclibError, match="here: column 'user_id' mixes int and str"):
        validated(frame, Interactions, "here")


# Places


def remove_interactions(shop: Path) -> Path:
    for table in ("interactions", "reviews", "impressions"):
        (shop / f"{table}.csv").unlink()
    return shop


def make_folder_of_table(shop: Path) -> Path:
    (shop / "items.csv").unlink()
    (shop / "items.csv").mkdir()
    return shop


def make_second_format(shop: Path) -> Path:
    (shop / "items.csv.gz").write_bytes(gzip.compress(SHOP["items"].encode()))
    return shop


def forbid(shop: Path) -> Path:
    (shop / "items.csv").chmod(0)
    if os.access(shop / "items.csv", os.R_OK):
        pytest.skip("this user may read everything")
    return shop


PLACES: Mapping[str, tuple[Callable[[Path], Path], str]] = {
    "no such folder": (lambda shop: shop / "nowhere", "unknown data set '.*nowhere'"),
    "file instead of a folder": (lambda shop: shop / "items.csv", r"items\.csv is a file; give"),
    "folder without tables": (remove_interactions, r"interactions: no such table.*\.csv\.gz"),
    "folder instead of a file": (make_folder_of_table, r"items\.csv: this is a folder"),
    "two formats": (make_second_format, r"items\.csv\.gz and items\.csv are both there"),
    "unreadable file": (forbid, r"items\.csv: permission denied"),
}


@pytest.mark.parametrize("kind", PLACES)
def test_a_bad_place_is_refused_by_name(shop: Path, kind: str) -> None:
    spoil, message = PLACES[kind]
    with pytest.raises(ReclibError, match=message):
        load(spoil(shop))


# Names: what a table calls a column, and what the column is called; the same of files

MISNAMED: tuple[tuple[str, str, str], ...] = (
    ("interactions", "event_type", "event"),
    ("interactions", "eventType", "event"),
    ("interactions", "Position", "position"),
    ("interactions", "UserID", "user_id"),
    ("interactions", "unit price", "price"),
    ("interactions", "timestamp_utc", "timestamp"),
    ("items", "category", "categories"),
    ("items", "TITLE", "title"),
    ("reviews", "Rating", "rating"),
    ("reviews", "reviewText", "text"),
)


@pytest.mark.parametrize(("table", "name", "meant"), MISNAMED)
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_a_misnamed_column_is_refused_with_its_right_name(
    shop: Path, table: str, name: str, meant: str, suffix: str
) -> None:
    frame = pl.read_csv(shop / f"{table}.csv", infer_schema=False).rename({meant: name})
    (shop / f"{table}.csv").unlink()
    if suffix == ".parquet":
        frame.write_parquet(shop / f"{table}{suffix}")
    else:
        text = frame.write_csv().encode()
        packed = gzip.compress(text) if suffix == ".csv.gz" else text
        (shop / f"{table}{suffix}").write_bytes(packed)
    message = f"nothing reads a column '{name}', and '{meant}' is missing .*rename it to '{meant}'"
    with pytest.raises(ReclibError, match=rf"shop/{table}{suffix}: {message}"):
        load(shop)


@pytest.mark.parametrize(
    ("table", "name"),
    [
        ("items", "Items.csv"),
        ("items", "items.CSV"),
        ("items", "items.xlsx"),
        ("items", "my-items.csv"),
        ("reviews", "review.csv"),
        ("users", "User.parquet"),
        ("interactions", "interaction.csv.gz"),
        ("items", "items.csv.zip"),
        ("items", "items.txt"),
        ("items", "items.feather"),
        ("users", "users.csv.bz2"),
        ("reviews", "reviews.pq"),
        ("interactions", "interactions"),
    ],
)
def test_a_misnamed_file_is_refused_with_its_right_name(shop: Path, table: str, name: str) -> None:
    (shop / f"{table}.csv").rename(shop / name)
    if (shop / f"{table}.csv").exists():
        pytest.skip("to this file system the names are one")
    message = rf"shop/{name}: .*no table '{table}'; save it as .*{table}\.csv .*move it elsewhere"
    with pytest.raises(ReclibError, match=message):
        load(shop)


def test_a_folder_in_place_of_a_table_is_refused_beside_good_ones(shop: Path) -> None:
    (shop / "items").mkdir()
    (shop / "items.csv").rename(shop / "items" / "part-0.csv")
    with pytest.raises(ReclibError, match=r"shop/items: .*save it as items\.csv\.gz or items\.csv"):
        load(shop)


# What two tables, or two columns, say of each other

CLASHES: tuple[tuple[str, dict[str, str], str], ...] = (
    (
        "items",
        {"tea,Green": "01,Green", "lamp,A": "02,A"},
        "interactions.csv: .*'tea'.*'01'; write",
    ),
    ("reviews", {"anna": "1", "bert": "2"}, "reviews.csv: column 'user_id' .*'1'.*'anna'; write"),
    ("reviews", {"tea": "B1", "lamp": "B2"}, "reviews.csv: column 'item_id' .*'B1'.*'tea'; write"),
    (
        "interactions",
        {"tea,0": "tea,9", "tea,1": "tea,8", "anna,,2": "anna,,7"},
        "contradicts 'timestamp': user 'anna' has position 7 on 2024-06-01 00:00:00, but 8 before "
        "that, on 2024-05-31 10:05:00; .*'position' can be left out",
    ),
    (
        "items",
        {"Food > Drinks": "Food|Drinks", ",Home,": ",Home|Lamps,"},
        r"'Food\|Drinks'; .*A > B",
    ),
    (
        "items",
        {"Food > Drinks": "\"['Food', 'Tea']\"", ",Home,": ",['Home'],"},
        r"\['Food', 'Tea'\].*A > B > C",
    ),
)


@pytest.mark.parametrize(("table", "changes", "message"), CLASHES)
def test_what_cannot_go_together_is_refused_with_both_sides(
    shop: Path, table: str, changes: dict[str, str], message: str
) -> None:
    text = SHOP[table]
    for old, new in changes.items():
        text = text.replace(old, new, 1)
    (shop / f"{table}.csv").write_text(text)
    with pytest.raises(ReclibError, match=message):
        load(shop)


def test_a_few_positions_against_the_times_pass(shop: Path) -> None:
    rows = [f"anna,tea,{place},{1_717_000_000 + place}" for place in range(5)]
    rows[2] = "anna,tea,2,1717000009"
    text = "\n".join(["user_id,item_id,position,timestamp", *rows])
    (shop / "interactions.csv").write_text(text)
    assert len(load(shop, size="full").interactions) == 5


# Lines of the official files

LINE = b'{"asin": "B01", "title": "tea"}\n'
LITERAL = b"{'asin': 'B01', 'title': \"Anna's tea\"}\n"
LINES: Mapping[str, tuple[bool, bytes, str]] = {
    "truncated line": (False, LINE + LINE[:20], "line 2 .*last line is cut off.*fetch it again"),
    "no JSON": (False, LINE + b"<html>\n" + LINE, "line 2 .*: <html>"),
    "no object": (False, LINE + b"[1]\n", r"line 2 .*not an object.*: \[1\]"),
    "JSON in one array": (False, b"[\n" + LINE + b"]\n", "line 1 "),
    "NaN in JSON": (False, b'{"asin": NaN}\n', "line 1 .*NaN"),
    "wrong encoding of JSON": (False, LINE + b'{"asin": "\xe9"}\n', r"byte \d+ \(line 2\)"),
    "10 MB field in JSON": (
        False,
        LINE + b'{"title": "' + b"x" * 10_000_000 + b'"}\n',
        "column 'title' has a cell of 10,000,000 bytes.*line 2",
    ),
    "JSON without lines": (False, LINE[:-2] + b" " * 40_000_000, "line 1 has more than"),
    "no lines": (False, b"", "the file is empty"),
    "literal with a call": (
        True,
        LITERAL + b"{'asin': __import__('pathlib').Path('called').touch()}\n",
        "line 2 .*malformed.*__import__",
    ),
    "literal with a name": (True, b"{'asin': nan}\n", "line 1 .*malformed"),
    "truncated literal": (True, LITERAL + LITERAL[:20], "line 2 .*fetch it again"),
    "literal that is no dict": (True, LITERAL + b"{'a', 'b'}\n", "line 2 .*not a dict"),
    "literal nested without end": (True, b"[" * 100_000 + b"\n", "line 1 "),
    "literal of 2 MB": (True, b"{'asin': '" + b"x" * 2_000_000 + b"'}\n", "line 1 .*more than"),
}


@pytest.mark.parametrize("kind", LINES)
def test_a_bad_line_is_refused_by_file_and_line_and_never_executed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    literal, content, message = LINES[kind]
    file = tmp_path / "meta.json.gz"
    file.write_bytes(gzip.compress(content, compresslevel=1))
    with pytest.raises(ReclibError, match=rf"meta\.json\.gz: .*{message}"):
        read_json_lines(file, {"asin": "item_id", "title": "title"}, literal=literal)
    assert not (tmp_path / "called").exists()


def test_there_are_forty_kinds_and_more() -> None:
    assert len(CELLS) + len(FILES) + len(PLACES) + len(LINES) >= 40


# What a reader of an official file cannot mend is left out and counted
OFFICIAL = """user_id,item_id,rating,summary,text,timestamp
anna,tea,5,Good,,1365000000
anna,tea,0,rating of 0,,1365000001
anna,tea,6,rating of 6,,1365000001
anna,tea,good,rating of text,,1365000001
anna,tea,5,milliseconds,,1365000000000
anna,tea,5,before the shop,,1
anna,tea,5,no number,,2013-04-31
,tea,5,nobody,,1365000001
   ,tea,5,blank,,1365000001
anna,,5,nothing,,1365000001
anna,tea,5,twice,,1365000000
"""


def test_bad_rows_of_an_official_file_are_left_out_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECLIB_DATA", str(tmp_path))
    (tmp_path / "musical-instruments").mkdir()
    file = tmp_path / "musical-instruments" / "reviews.csv.gz"
    file.write_bytes(gzip.compress(OFFICIAL.encode()))
    found = load("musical-instruments", size="full")
    assert found.reviews is not None and found.reviews["summary"].to_list() == ["Good"]
    lost = [step.rows_in - step.rows_out for step in found.steps]
    assert sum(lost) == 10 and sorted(filter(None, lost)) == [1, 3, 3, 3]
    assert all(str(n) in step.why for n, step in zip(lost, found.steps, strict=True) if n)


# Any table


def limits(column: Any) -> dict[str, Any]:
    """The bounds that a column's checks set, in the words of hypothesis."""
    words = {
        "greater_than_or_equal_to": ("min_value", False),
        "greater_than": ("min_value", True),
        "less_than_or_equal_to": ("max_value", False),
        "less_than": ("max_value", True),
    }
    found: dict[str, Any] = {}
    for check in column.checks:
        if check.name in words:
            bound, is_open = words[check.name]
            found[bound] = check.statistics[bound]
            found[f"exclude_{bound[:3]}"] = is_open
    return found


def cells(name: str, column: Any) -> st.SearchStrategy[Any]:
    """Any value that a column allows; an empty text is left out, as it is read as missing."""
    kind, bounds = column.dtype.type, limits(column)
    chosen: st.SearchStrategy[Any]
    allowed = [c.statistics["allowed_values"] for c in column.checks if c.name == "isin"]
    if allowed:
        chosen = st.sampled_from(sorted(allowed[0]))
    elif kind == pl.String:
        letters = st.characters(codec="utf-8", exclude_characters="\0")
        chosen = st.text(letters, min_size=1, max_size=12)
        chosen = chosen.filter(str.strip) if name.endswith("_id") else chosen
    elif kind == pl.Int64:
        chosen = st.integers(bounds.get("min_value"), 2**63 - 1)
    elif kind == pl.Float64:
        chosen = st.floats(**bounds, allow_nan=False, allow_infinity=False)
    elif kind == pl.Boolean:
        chosen = st.booleans()
    else:
        chosen = st.datetimes(datetime(1970, 1, 1), datetime(2199, 12, 31), timezones=st.just(UTC))
    return st.none() | chosen if column.nullable else chosen


@st.composite
def any_table(draw: st.DrawFn, model: Model) -> pl.DataFrame:
    """Any valid table, with any of the columns that need not be there."""
    columns = {
        name: column
        for name, column in model.to_schema().columns.items()
        if column.required or draw(st.booleans())
    }
    row = st.fixed_dictionaries({name: cells(name, column) for name, column in columns.items()})
    if model is Interactions:
        row = row.filter(lambda r: (r["item_id"] is None) == (r.get("event") == "search"))
    keys = {Interactions: ("user_id", "position"), Items: ("item_id",), Users: ("user_id",)}
    key = keys.get(model)
    unique = (lambda r: tuple(r[name] for name in key)) if key else None
    rows = draw(st.lists(row, min_size=1, max_size=6, unique_by=unique))
    return pl.DataFrame(rows, schema={name: c.dtype.type for name, c in columns.items()})


WRITERS: Mapping[str, Callable[[pl.DataFrame, Path], object]] = {
    ".csv": lambda frame, file: frame.write_csv(file),
    ".csv.gz": lambda frame, file: file.write_bytes(gzip.compress(frame.write_csv().encode())),
    ".parquet": lambda frame, file: frame.write_parquet(file),
}
UNHURRIED = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@pytest.mark.parametrize("table", TABLES)
@UNHURRIED
@given(st.data())
def test_any_valid_table_is_accepted_and_comes_back_equal(table: str, data: st.DataObject) -> None:
    model = TABLES[table]
    frame = data.draw(any_table(model))
    with tempfile.TemporaryDirectory() as folder:
        for suffix, write in WRITERS.items():
            file = Path(folder) / f"{table}{suffix}"
            write(frame, file)
            assert_frame_equal(validated(read_table(file), model, str(file)), frame)


def spoilt(name: str, column: Any, row: Mapping[str, Any]) -> list[str]:
    """Cells that a column must refuse in a row; none for a text that may be anything."""
    kind = column.dtype.type
    missing = [] if column.nullable else [""]
    if name == "item_id" and column.nullable:
        return ["x"] if row["item_id"] is None else ["", "  "]
    if name.endswith("_id"):
        return ["  ", *missing]
    if kind == pl.String:
        return ["buy"] if name == "event" else missing
    if kind == pl.Boolean:
        return ["2", "perhaps", *missing]
    if kind == pl.Int64:
        return ["0.5", "-1", "9" * 20, "one", *missing]
    if kind == pl.Float64:
        return ["inf", "-1", "nan", "1,5", "dear", *missing]
    return ["2300-01-01", "2024-02-31", "1717150000000", "soon", *missing]


@pytest.mark.parametrize("table", TABLES)
@UNHURRIED
@given(st.data())
def test_any_single_bad_cell_is_refused_by_column_and_row(table: str, data: st.DataObject) -> None:
    model = TABLES[table]
    frame = data.draw(any_table(model))
    row = data.draw(st.integers(0, len(frame) - 1))
    columns = model.to_schema().columns
    choices = [
        (name, value)
        for name in frame.columns
        for value in spoilt(name, columns[name], frame.row(row, named=True))
    ]
    name, value = data.draw(st.sampled_from(choices))
    texts = frame.with_columns(pl.col(pl.Datetime).dt.to_string("iso:strict")).cast(pl.String)
    changed = texts[name].to_list()
    changed[row] = value
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{table}.csv"
        texts.with_columns(pl.Series(name, changed)).write_csv(file)
        with pytest.raises(ReclibError) as error:
            validated(read_table(file), model, str(file))
    message = str(error.value)
    assert message.startswith(f"{file}: column '{name}' ")
    assert f"rows {row};" in message or f"row {row}" in message


# A run that is killed

WRITER = """
import sys
from pathlib import Path
from reclib import cache

path, start = Path(sys.argv[1]), int(sys.argv[2])

def write(file, version):
    with file.open("w") as stream:
        stream.write("user_id,item_id,position\\n")
        for row in range(2000):
            stream.write(f"u{version},i{row},{row}\\n")
            stream.flush()

for version in range(start, 10**9):
    cache.atomic_write(path, lambda file: write(file, version))
    print(version, flush=True)
"""


def killed(code: str, *arguments: object, wait: float) -> int:
    """Run `code`, kill it `wait` seconds after its first line; return its last whole line."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        first = child.stdout.readline()
        time.sleep(wait)
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read()
        assert child.wait() == -signal.SIGKILL
    return int((first + rest).split("\n")[-2])


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL on this system")
def test_a_killed_writer_leaves_the_old_table_or_the_new_one_never_half(tmp_path: Path) -> None:
    file = tmp_path / "shop" / "interactions.csv"
    moments = random.Random(0)
    left, version = 0, 0
    for _ in range(6):
        version = killed(WRITER, file, version, wait=moments.uniform(0, 0.03))
        table = load(file.parent, size="full").interactions
        assert len(table) == 2000
        # the version that was being written may have come to its place before the kill
        assert table["user_id"].unique().to_list() in ([f"u{version}"], [f"u{version + 1}"])
        left = sum(1 for other in file.parent.iterdir() if other != file)
        assert list(data_files(str(file.parent))) == ["interactions.csv"]
    assert left  # else no kill came in the middle, and nothing was tested


KEEPER = """
import sys
from pathlib import Path
import numpy as np
from reclib import cache

path = Path(sys.argv[1])
for version in range(int(sys.argv[2]), 10**9):
    cache.write(path, {"version": version, "values": np.full(500_000, version)})
    print(version, flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL on this system")
def test_a_killed_run_leaves_a_whole_entry_in_the_cache(tmp_path: Path) -> None:
    entry = tmp_path / "step" / "entry.joblib"
    moments = random.Random(1)
    version = 0
    for _ in range(4):
        version = killed(KEEPER, entry, version, wait=moments.uniform(0, 0.03))
        kept = cache.read(entry)
        assert kept["version"] in (version, version + 1)
        np.testing.assert_array_equal(kept["values"], np.full(500_000, kept["version"]))
