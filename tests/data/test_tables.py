"""Reading files and converting cells; what is refused is in `test_bad_inputs`."""

import gzip
import json
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import pandera.polars as pa
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from reclib.data import tables
from reclib.data.tables import read_json_lines, read_table, typed
from reclib.errors import ReclibError

ROWS = [("007", "tea, green", "None"), ("1e3", 'a "lamp"\nfor two', None), ("NA", "Ω", "nan")]
TABLE = pl.DataFrame(ROWS, schema=["item_id", "title", "brand"], orient="row")


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_every_format_keeps_every_text(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"items{suffix}"
    if suffix == ".parquet":
        TABLE.write_parquet(file)
    else:
        text = TABLE.write_csv().encode()
        file.write_bytes(gzip.compress(text) if suffix == ".csv.gz" else text)
    assert_frame_equal(read_table(file), TABLE)
    assert_frame_equal(
        read_table(file, columns=["brand", "item_id"]), TABLE.select("brand", "item_id")
    )


@pytest.mark.parametrize(
    "content",
    [
        b"a,b\n1,x\n2,\n",
        b"\xef\xbb\xbfa,b\n1,x\n2,\n",  # a byte-order mark
        b"a,b\r\n1,x\r\n2,",
        b"a,b\n1,x\n\n2,\n\n",  # blank lines
        b'"a","b"\n"1","x"\n"2",""\n',
    ],
    ids=["plain", "bom", "crlf", "blank lines", "quoted"],
)
def test_the_usual_dialects_of_csv_are_read_alike(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "a.csv"
    file.write_bytes(content)
    assert read_table(file).rows(named=True) == [{"a": "1", "b": "x"}, {"a": "2", "b": None}]


def test_an_inch_mark_in_a_cell_is_no_quotation_mark(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text('a,b\n1,5" nail\n2,x\n')
    assert read_table(file)["b"].to_list() == ['5" nail', "x"]


def test_a_column_without_a_name_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text(",b\n0,x\n")
    assert read_table(file).rows(named=True) == [{"": "0", "b": "x"}]


def test_an_archive_in_several_parts_is_read_to_its_end(tmp_path: Path) -> None:
    file = tmp_path / "a.csv.gz"
    file.write_bytes(gzip.compress(b"a\n1\n") + gzip.compress(b"2\n"))
    assert read_table(file)["a"].to_list() == ["1", "2"]


# JSON lines

FIELDS = {"asin": "item_id", "price": "price", "tags": "tags"}
PRODUCTS = [
    {"asin": "1", "price": 4.99, "tags": ["red", 'a "b"', "Ω\n"], "other": 1},
    {"asin": "2", "price": "$5", "tags": [["x", "y"], ["z"]]},
    {"asin": "3", "price": None},
    {"asin": "4", "price": True, "tags": {"k": [1, 2]}},
    {"asin": "it's", "price": 12},
    {"asin": "[\\", "price": "\\\n\t\b", "tags": ["a \\ b", '\\"', "\t", "\x7f", "[{"]},
    {"asin": "6", "price": "😀", "tags": {'k"\\': [{"k": 'a"'}, None, 1.5]}},
]


def check_products(found: pl.DataFrame) -> None:
    assert found.schema == dict.fromkeys(FIELDS.values(), pl.String)
    assert found["item_id"].to_list() == [row["asin"] for row in PRODUCTS]
    assert found["price"].to_list() == ["4.99", "$5", None, "true", "12", "\\\n\t\b", "😀"]
    tags = [None if text is None else json.loads(text) for text in found["tags"]]
    assert tags == [row.get("tags") for row in PRODUCTS]


@pytest.mark.parametrize("block", [1 << 20, 64])
@pytest.mark.parametrize("suffix", [".json", ".jsonl.gz"])
@pytest.mark.parametrize("literal", [False, True])
def test_lines_become_text_columns_whatever_their_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, literal: bool, suffix: str, block: int
) -> None:
    monkeypatch.setattr(tables, "BLOCK", block)  # lines lie across blocks
    lines = "\n".join((repr if literal else json.dumps)(row) for row in PRODUCTS).encode()
    file = tmp_path / f"meta{suffix}"
    for end in (b"", b"\n", b"\n\n"):
        file.write_bytes(gzip.compress(lines + end) if suffix.endswith(".gz") else lines + end)
        check_products(read_json_lines(file, FIELDS, literal=literal))


def test_a_list_can_be_had_back(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text(json.dumps({"tags": ["red", "blue"]}))
    found = read_json_lines(file, {"tags": "tags"})
    assert found["tags"].str.json_decode(pl.List(pl.String)).to_list() == [["red", "blue"]]


def test_backslashes_of_all_kinds_pass_in_literals(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    file = tmp_path / "a.json"
    file.write_text(r"{'title': 'C:\dir \x41'}")
    assert read_json_lines(file, {"title": "title"}, literal=True)["title"].to_list() == [
        r"C:\dir A"
    ]
    assert not recwarn.list


def test_memory_holds_a_block_and_what_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "BLOCK", 10_000)
    file = tmp_path / "a.json"
    file.write_text("".join(f'{{"id": "{n}", "text": "{"x" * 900}"}}\n' for n in range(1000)))
    longest = 0

    class Watched(tables._Stream):
        def read(self, size: int = -1) -> bytes:
            nonlocal longest
            longest = max(longest, size)
            return super().read(size)

    monkeypatch.setattr(tables, "_Stream", Watched)
    found = read_json_lines(file, {"id": "id"})
    assert found["id"].to_list() == [str(n) for n in range(1000)]
    assert longest == 10_000


# Types


class Typed(pa.DataFrameModel):
    """One column of each kind."""

    user_id: str | None = pa.Field(nullable=True)
    text: str | None = pa.Field(nullable=True)
    whole: int | None = pa.Field(nullable=True)
    number: float | None = pa.Field(nullable=True)
    truth: bool | None = pa.Field(nullable=True)
    moment: Annotated[pl.Datetime, "us", "UTC"] | None = pa.Field(nullable=True)


NOON = datetime(2024, 5, 31, 12, tzinfo=UTC)
SECONDS = int(NOON.timestamp())
APRIL = datetime(1970, 4, 26, 17, 46, 40, tzinfo=UTC)  # second 10,000,000
BERLIN = timezone(timedelta(hours=2))


@pytest.mark.parametrize(
    ("column", "given", "expected"),
    [
        ("user_id", ["007", " a", None], ["007", " a", None]),
        ("user_id", [1, 2], ["1", "2"]),
        ("user_id", [np.uint64(2**63)], [str(2**63)]),
        ("user_id", pd.Categorical(["a", None, "b"]), ["a", None, "b"]),
        ("text", ["", "nan", None], ["", "nan", None]),
        ("text", [np.nan, np.nan], [None, None]),
        ("text", [None], [None]),
        ("whole", ["1", " 2 ", "3.0", "-4", None], [1, 2, 3, -4, None]),
        ("whole", [1.0, np.nan], [1, None]),
        ("whole", [np.int8(5)], [5]),
        ("number", ["1", " 2.5", "1e3", None], [1.0, 2.5, 1000.0, None]),
        ("number", [1, 2], [1.0, 2.0]),
        ("number", [1.5, np.nan], [1.5, None]),
        ("truth", ["1", "0", "True", "false", None], [True, False, True, False, None]),
        ("truth", [1, 0], [True, False]),
        ("truth", [1.0, np.nan], [True, None]),
        ("truth", [True, False], [True, False]),
        ("moment", [SECONDS, SECONDS + 1], [NOON, NOON + timedelta(seconds=1)]),
        ("moment", [SECONDS + 0.5, np.nan], [NOON + timedelta(seconds=0.5), None]),
        ("moment", [str(SECONDS), f"{SECONDS}.25"], [NOON, NOON + timedelta(seconds=0.25)]),
        ("moment", [10_000_000, 20_241_331], [APRIL, datetime(1970, 8, 23, 6, 35, 31, tzinfo=UTC)]),
        ("moment", [np.int8(5)], [datetime(1970, 1, 1, 0, 0, 5, tzinfo=UTC)]),
        ("moment", ["20240531.5"], [datetime(1970, 8, 23, 6, 22, 11, 500_000, tzinfo=UTC)]),
        ("moment", ["2024-05-31", None], [datetime(2024, 5, 31, tzinfo=UTC), None]),
        ("moment", [date(2024, 5, 31)], [datetime(2024, 5, 31, tzinfo=UTC)]),
        ("moment", pd.to_datetime(["2024-05-31 12:00", None]), [NOON, None]),
        ("moment", pd.to_datetime(["2024-05-31 14:00"]).tz_localize("Europe/Berlin"), [NOON]),
        ("moment", [NOON.replace(tzinfo=BERLIN)], [NOON - timedelta(hours=2)]),
        ("moment", [NOON.replace(tzinfo=None)], [NOON]),
    ],
)
def test_cells_become_what_the_table_declares(
    column: str, given: Any, expected: list[object]
) -> None:
    found = typed(pd.DataFrame({column: given}), Typed, "here")
    assert found[column].to_list() == expected
    assert found.schema[column] == Typed.to_schema().columns[column].dtype.type


def test_one_column_may_write_moments_in_several_ways() -> None:
    forms = [
        "2024-05-31 12:00",
        "2024-05-31 12:00:00",
        "2024-05-31T12:00:00.000",
        "2024-05-31T12:00:00Z",
        "2024-05-31 12:00:00 UTC",
        "2024-05-31 14:00:00+02:00",
        "2024-05-31T14:00+02",
        "2024-05-31T12:00:00.000000+0000",
        str(SECONDS),
    ]
    found = typed(pl.DataFrame({"moment": forms}), Typed, "here")
    assert found["moment"].to_list() == [NOON] * len(forms)


def test_columns_that_are_not_declared_stay_as_they_are() -> None:
    frame = pl.DataFrame({"whole": ["1"], "other": ["1"], "list": [[1, 2]]})
    assert typed(frame, Typed, "here").rows() == [(1, "1", [1, 2])]


@pytest.mark.parametrize(
    ("column", "given", "message"),
    [
        ("user_id", [1.0], "text .*or whole numbers, found 1.0"),
        ("user_id", ["a", "\u3000"], r"more than white space.*row 1"),
        ("user_id", ["a", 1], "mixes int and str"),
        ("user_id", [["a"]], r"found \['a'\]"),
        ("text", [True], "text, found True"),
        ("whole", ["1.5"], "a whole number, found '1.5'"),
        ("whole", ["1e3"], "a whole number"),
        ("whole", [""], "a whole number, found ''"),
        ("whole", ["9" * 30], "a whole number, found '999"),
        ("whole", [1.5], "a whole number, found 1.5"),
        ("whole", [1e300], "a whole number"),
        ("whole", [True], "a whole number, found True"),
        ("number", ["nan"], "a number, found 'nan'"),
        ("number", ["1,5"], "a number, found '1,5'.*number alone, with a point, as 12.99$"),
        ("number", [False], "a number, found False"),
        ("truth", ["yes"], "true or false, found 'yes'"),
        ("truth", [2], "true or false, found 2"),
        ("truth", [date(2024, 5, 31)], "true or false"),
        ("moment", ["31.5.2024"], "a moment from 1970 to 2200.*year first .*as 2024-05-31$"),
        ("moment", ["05/31/2024 10:00"], "ISO 8601.*write the year first"),
        ("moment", ["2024/05/31"], "with dashes"),
        ("moment", ["2024-02-31"], "found '2024-02-31'"),
        ("moment", ["2300-01-01"], "from 1970 to 2200"),
        ("moment", [-1], "from 1970 to 2200"),
        ("moment", [SECONDS * 1000], "found 1717156800000 .*milliseconds.* Divide"),
        ("moment", [f"{SECONDS * 1000}"], "milliseconds.* Divide it by 1,000$"),
        ("moment", [SECONDS * 10**6], "microseconds. Divide it by 1,000,000$"),
        ("moment", [SECONDS * 10**9], "nanoseconds. Divide it by 1,000,000,000$"),
        ("moment", ["20240531123000"], "a date and a time. Write it as 2024-05-31 12:30:00$"),
        ("moment", [20240531], "found 20240531 .*row 0.*is it a date. Write it as 2024-05-31"),
        ("moment", [SECONDS, 19991231.0, None], "found 19991231.0 .*row 1.*as 1999-12-31"),
        ("moment", ["2024-05-31", " 20240601 "], "found ' 20240601 ' .*row 1.*as 2024-06-01"),
        ("moment", [True], "a moment"),
    ],
)
def test_a_cell_that_cannot_be_converted_is_named(
    column: str, given: list[object], message: str
) -> None:
    with pytest.raises(ReclibError, match=rf"^here: column '{column}' .*{message}"):
        typed(pd.DataFrame({column: given}), Typed, "here")


def test_two_pandas_columns_of_one_name_are_refused() -> None:
    frame = pd.DataFrame([[1, 2]], columns=["whole", "whole"])
    with pytest.raises(ReclibError, match="here: column 'whole' is there twice"):
        typed(frame, Typed, "here")
