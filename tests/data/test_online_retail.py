"""Online Retail in every form it is published in, each exclusion, and the real invoices."""

import csv
import gzip
import io
import zipfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import polars as pl
import pytest

from reclib.data import Marketplace, load
from reclib.data.sources import online_retail
from reclib.errors import ReclibError

Line = dict[str, Any]


def line(**changes: Any) -> Line:
    """The first line of the official file, with changes."""
    return {
        "InvoiceNo": 536365,
        "StockCode": "85123A",
        "Description": "WHITE HANGING HEART T-LIGHT HOLDER",
        "Quantity": 6,
        "InvoiceDate": datetime(2010, 12, 1, 8, 26),
        "UnitPrice": 2.55,
        "CustomerID": 17850,
        "Country": "United Kingdom",
    } | changes


LINES = [
    line(),
    # the workbook holds codes of digits, and some descriptions, as numbers
    line(StockCode=71053, Description=20713, UnitPrice=3.39),
    line(StockCode="84406B", Description=' "CREAM", CUPID & <HEARTS>\u00a0', Quantity=8),
    line(InvoiceNo=536370, InvoiceDate=datetime(2011, 7, 1, 12, 5), CustomerID=12583),
]


def cell(value: object) -> str:
    if value is None:
        return "<c/>"
    if isinstance(value, datetime):
        days = value - datetime(1899, 12, 30)
        return f'<c s="1"><v>{days.days + days.seconds / 86_400!r}</v></c>'
    if isinstance(value, int | float):
        return f"<c><v>{value}</v></c>"
    text = escape(str(value))
    return f'<c t="inlineStr"><is><t xml:space="preserve">{text}</t></is></c>'


def workbook(lines: Sequence[Line]) -> bytes:
    """Write a workbook as spreadsheet programs do: dates are numbers with a format."""
    ns = "http://schemas.openxmlformats.org"
    main, documents = f"{ns}/spreadsheetml/2006/main", f"{ns}/officeDocument/2006/relationships"
    kinds = "application/vnd.openxmlformats"
    rows = "".join(
        f"<row>{''.join(map(cell, row))}</row>"
        for row in [list(lines[0]), *(list(line.values()) for line in lines)]
    )
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{ns}/package/2006/content-types">'
        f'<Default Extension="rels" ContentType="{kinds}-package.relationships+xml"/>'
        '<Default Extension="xml" ContentType="application/xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{ns}/package/2006/relationships"><Relationship '
        f'Id="a" Type="{documents}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{ns}/package/2006/relationships">'
        f'<Relationship Id="a" Type="{documents}/worksheet" Target="worksheets/sheet1.xml"/>'
        f'<Relationship Id="b" Type="{documents}/styles" Target="styles.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{documents}"><sheets>'
        '<sheet name="Online Retail" sheetId="1" r:id="a"/></sheets></workbook>',
        "xl/styles.xml": f'<styleSheet xmlns="{main}"><cellXfs count="2"><xf numFmtId="0"/>'
        '<xf numFmtId="22" applyNumberFormat="1"/></cellXfs></styleSheet>',
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{main}"><sheetData>{rows}</sheetData>'
        "</worksheet>",
    }
    return archive({name: f'<?xml version="1.0"?>{part}'.encode() for name, part in parts.items()})


def archive(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return packed.getvalue()


def table(lines: Sequence[Line]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]))
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue().encode()


def american(lines: Sequence[Line]) -> bytes:
    """Write the table as copies of it do: 12/1/2010 8:26 and 17850.0."""
    return table(
        [
            row
            | {"CustomerID": f"{row['CustomerID']}.0"}
            | {"InvoiceDate": f"{day.month}/{day.day}/{day.year} {day.hour}:{day.minute:02}"}
            for row in lines
            for day in [row["InvoiceDate"]]
        ]
    )


FORMS: dict[str, Callable[[Sequence[Line]], bytes]] = {
    "online_retail.csv": table,
    "online_retail.csv.gz": lambda lines: gzip.compress(american(lines)),
    "Online Retail.xlsx": workbook,
    "online+retail.zip": lambda lines: archive({"Online Retail.xlsx": workbook(lines)}),
    "online_retail.zip": lambda lines: archive(
        {"../../evil.txt": b"x", "__MACOSX/._Online Retail.xlsx": b"y"}
        | {"Online Retail.xlsx": workbook(lines)}
    ),
}


def read(folder: Path, lines: Sequence[Line], form: str = "online_retail.csv") -> Marketplace:
    (folder / form).write_bytes(FORMS[form](lines))
    return online_retail.read(folder)


def left_out(marketplace: Marketplace) -> dict[str, int]:
    return {s.step: s.rows_in - s.rows_out for s in marketplace.steps}


def said(marketplace: Marketplace, step: str) -> str:
    return next(s.why for s in marketplace.steps if s.step == step)


@pytest.mark.parametrize("form", FORMS)
def test_every_published_form_gives_the_same_tables(tmp_path: Path, form: str) -> None:
    found = read(tmp_path, LINES, form)
    assert (found.name, found.simulated) == ("online-retail", False)
    events = found.interactions.sort("user_id", "position")
    expected = {
        "user_id": ["12583", "17850", "17850", "17850"],
        "item_id": ["85123A", "85123A", "71053", "84406B"],
        "position": [0, 0, 1, 2],
        "event": ["purchase"] * 4,
        "timestamp": [
            datetime(2011, 7, 1, 11, 5, tzinfo=UTC),  # summer time
            *[datetime(2010, 12, 1, 8, 26, tzinfo=UTC)] * 3,
        ],
        "quantity": [6.0, 6.0, 6.0, 8.0],
        "price": [2.55, 2.55, 3.39, 2.55],
        "session_id": ["536370", "536365", "536365", "536365"],
        "country": ["United Kingdom"] * 4,
    }
    assert events.select(*expected).to_dict(as_series=False) == expected
    assert found.items.to_dicts() == [
        {"item_id": code, "title": title, "price": price, "currency": "GBP"}
        for code, title, price in (
            ("71053", "20713", 3.39),
            ("84406B", ' "CREAM", CUPID & <HEARTS>\u00a0', 2.55),
            ("85123A", "WHITE HANGING HEART T-LIGHT HOLDER", 2.55),
        )
    ]
    assert found.users is not None
    assert found.users.to_dicts() == [
        {"user_id": user, "country": "United Kingdom"} for user in ("12583", "17850")
    ]
    assert not (tmp_path.parent.parent / "evil.txt").exists()


@pytest.mark.parametrize(
    ("step", "wrong"),
    [
        ("drop rows without ids", [line(CustomerID=None), line(StockCode=None)]),
        ("drop cancelled invoices", [line(InvoiceNo="C536379", Quantity=-1), line(InvoiceNo="c1")]),
        ("drop returns", [line(Quantity=q) for q in (0, -6, None, "six")]),
        (
            "drop impossible dates",
            [
                line(InvoiceDate=d)
                for d in (datetime(2010, 11, 30), datetime(2011, 12, 10), None, "soon")
            ]
            # an hour that the change to summer time leaves out
            + [line(InvoiceDate=datetime(2011, 3, 27, 1, 30))],
        ),
    ],
)
def test_every_line_that_is_no_purchase_is_left_out_and_counted(
    tmp_path: Path, step: str, wrong: list[Line]
) -> None:
    found = read(tmp_path, [wrong[0], *LINES, *wrong[1:]])
    assert len(found.interactions) == len(LINES)
    counts = left_out(found)
    assert counts.pop(step) == len(wrong)
    assert not any(counts.values())
    assert said(found, step).startswith(f"{len(wrong)} ")


def test_a_price_of_0_is_missing_and_its_line_stays(tmp_path: Path) -> None:
    free = [line(UnitPrice=price, StockCode="22423") for price in (0, -11062.06, None, "inf")]
    found = read(tmp_path, [*LINES, *free])
    assert found.interactions["price"].null_count() == len(free)
    assert said(found, "drop prices of 0").startswith("3 "), "a missing price is not changed"
    item = found.items.filter(pl.col("item_id") == "22423")
    assert item["price"].to_list() == [None]


def test_codes_that_are_no_products_are_counted_and_kept(tmp_path: Path) -> None:
    codes = ["POST", "M", "BANK CHARGES", "DCGS0003", "gift_0001_20", "22423"]
    found = read(tmp_path, [line(StockCode=code) for code in codes])
    assert set(found.items["item_id"]) == set(codes)
    assert said(found, "count other codes") == "3 lines of no product, kept: BANK CHARGES, M, POST"


def test_an_item_has_its_commonest_description_and_its_median_price(tmp_path: Path) -> None:
    names = ["b", "a", "c", "c", None, None, None, "z", "z"]
    prices = [1, 2, 3, 4, 100, 0, 5, 6, 7]
    lines = [line(Description=n, UnitPrice=p) for n, p in zip(names, prices, strict=True)]
    item = read(tmp_path, [*lines, line(StockCode=71053, Description=None)]).items.to_dicts()
    assert [i["title"] for i in item] == [None, "c"], "of equally common ones the first in order"
    assert item[1]["price"] == 4.5


def test_a_user_has_the_commonest_country(tmp_path: Path) -> None:
    lines = [line(Country=country) for country in ("Spain", "Japan", "Spain", "Japan", "EIRE")]
    users = read(tmp_path, lines).users
    assert users is not None and users["country"].to_list() == ["Japan"]


def test_lines_of_one_moment_keep_the_order_of_the_file(tmp_path: Path) -> None:
    codes = ["30000", "10000", "20000"]
    late = line(StockCode="90000", InvoiceDate=datetime(2010, 12, 2))
    found = read(tmp_path, [late, *(line(StockCode=code) for code in codes)])
    assert found.interactions.sort("position")["item_id"].to_list() == [*codes, "90000"]


def test_the_quickest_form_is_read_where_there_are_several(tmp_path: Path) -> None:
    read(tmp_path, LINES, "online+retail.zip")
    assert len(read(tmp_path, LINES[:1]).interactions) == 1


def test_no_file_a_missing_column_and_a_strange_archive_are_said(tmp_path: Path) -> None:
    with pytest.raises(ReclibError, match=r"none of .*online\+retail\.zip.*is there"):
        online_retail.read(tmp_path)
    other = archive({"Online Retail II.xlsx": b"", "Folder/Online Retail.xlsx": b""})
    (tmp_path / "online+retail.zip").write_bytes(other)
    with pytest.raises(ReclibError, match=r"no 'Online Retail\.xlsx' in this archive; found: Onl"):
        online_retail.read(tmp_path)
    (tmp_path / "Online Retail.xlsx").write_bytes(workbook([{"InvoiceNo": 1, "Quantity": 2}]))
    with pytest.raises(ReclibError, match="missing column 'StockCode'.*found: InvoiceNo, Quantity"):
        online_retail.read(tmp_path)


@pytest.mark.parametrize("form", ["Online Retail.xlsx", "online+retail.zip"])
@pytest.mark.parametrize("how", ["cut off", "overwritten", "no archive", "empty"])
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, form: str, how: str) -> None:
    whole = FORMS[form](LINES * 200)
    middle = len(whole) // 2
    damaged = {
        "cut off": whole[:middle],
        "overwritten": whole[:middle] + bytes(255 - b for b in whole[middle : middle + 99])
        + whole[middle + 99 :],
        "no archive": b"InvoiceNo,StockCode\n",
        "empty": b"",
    }  # fmt: skip
    (tmp_path / form).write_bytes(damaged[how])
    with pytest.raises(ReclibError, match=r"[Oo]nline.[Rr]etail\.(xlsx|zip): cannot be read"):
        online_retail.read(tmp_path)


@pytest.mark.real_data
def test_the_real_invoices_have_the_counts_of_their_source(
    real_data: Callable[[str], Path],
) -> None:
    real_data("online-retail")
    found = load("online-retail", size="full")
    events = found.interactions
    assert len(events) == 397_924
    assert events["user_id"].n_unique() == 4_339
    assert events["item_id"].n_unique() == len(found.items) == 3_665
    assert found.users is not None and len(found.users) == 4_339
    assert events["user_id"].str.contains(r"^\d{5}$").all()
    first = found.steps[0]
    assert first.rows_in == 541_909
    counts = left_out(found)
    assert counts["drop rows without ids"] == 135_080
    assert counts["drop cancelled invoices"] == 8_905
    assert sum(counts.values()) == 541_909 - 397_924
    assert events["price"].null_count() == 40
    assert found.items["title"].null_count() == 0
    assert found.items["price"].null_count() < 10
    times = events["timestamp"]
    assert times.min() == datetime(2010, 12, 1, 8, 26, tzinfo=UTC)
    assert times.max() == datetime(2011, 12, 9, 12, 50, tzinfo=UTC)
    repeats = len(events) - events.select("user_id", "item_id").n_unique()
    assert 0.30 < repeats / len(events) < 0.36
