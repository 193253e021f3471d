"""Online Retail of the UCI repository (id 352): invoices of a British shop, 2010 to 2011.

D. Chen, UCI Machine Learning Repository, CC BY 4.0.
"""

import io
import zipfile
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import polars as pl
from python_calamine import CalamineError

from reclib.data.clean import Cleaning
from reclib.data.schema import Interactions, Items, Marketplace, Users, validated
from reclib.data.sources.folder import placed
from reclib.data.tables import read_table
from reclib.errors import ReclibError

WORKBOOK = "Online Retail.xlsx"
FILES = (  # the quickest to read first
    "online_retail.csv.gz",
    "online_retail.csv",
    WORKBOOK,
    "online+retail.zip",
    "online_retail.zip",
)
COLUMNS: Mapping[str, str] = {
    "InvoiceNo": "session_id",
    "StockCode": "item_id",
    "Description": "title",
    "Quantity": "quantity",
    "InvoiceDate": "timestamp",
    "UnitPrice": "price",
    "CustomerID": "user_id",
    "Country": "country",
}
# The official workbook writes no zone; a British shop's clock shows British time.
ZONE = "Europe/London"
# the period of the official file
BEGIN, END = datetime(2010, 12, 1, tzinfo=UTC), datetime(2011, 12, 10, tzinfo=UTC)
FORMS = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%m/%d/%Y %H:%M")
PRODUCT = r"^(\d{5}|DCGS|gift_)"  # other stock codes are postage, fees, discounts, corrections


def read(folder: Path) -> Marketplace:
    """Read the invoices.

    Parameters
    ----------
    folder
        With one of `FILES`: the table as CSV, the official workbook, or the official
        archive with the workbook in it. Of several the first of `FILES` is read.

    Returns
    -------
    Marketplace
        `interactions`: one purchase an invoice line, with quantity, price, country and the
        invoice as session; times are taken for British ones and given in UTC. Lines of one
        invoice keep their order. `items`: of a stock code the commonest description and
        the median price, in GBP. `users`: the commonest country of a customer.

        Cancelled invoices, lines without a customer and returns are left out, each counted
        in `steps`. Stock codes that are no products, such as postage, are counted and kept.

    Raises
    ------
    ReclibError
        If no such file is there, or it is damaged or lacks a column.
    """
    file = _find(folder)
    lines = _read_lines(file)
    missing = [name for name in COLUMNS if name not in lines.columns]
    if missing:
        names = ", ".join(map(repr, missing))
        raise ReclibError(f"{file}: missing column {names}; found: {', '.join(lines.columns)}")
    cleaning = Cleaning("interactions")
    lines = _clean(lines.select(*COLUMNS).rename(dict(COLUMNS)), cleaning)
    events = placed(lines.drop("title").with_columns(event=pl.lit("purchase")), str(file))
    items = _commonest(lines, "item_id", "title").join(
        lines.group_by("item_id").agg(pl.col("price").median()), on="item_id"
    )
    items = items.with_columns(currency=pl.lit("GBP")).sort("item_id")
    users = _commonest(lines, "user_id", "country").sort("user_id")
    return Marketplace(
        name="online-retail",
        interactions=validated(events, Interactions, f"{file}, interactions"),
        items=validated(items, Items, f"{file}, items"),
        users=validated(users, Users, f"{file}, users"),
        steps=tuple(cleaning.steps),
    )


def _find(folder: Path) -> Path:
    for name in FILES:
        if (folder / name).is_file():
            return folder / name
    raise ReclibError(
        f"{folder}: none of {', '.join(FILES)} is there; fetch one or set RECLIB_DATA"
    )


def _read_lines(file: Path) -> pl.DataFrame:
    """Read every cell as text."""
    if file.suffix not in (".xlsx", ".zip"):
        return read_table(file)
    try:
        source = file if file.suffix == ".xlsx" else _unpack(file)
        cells = pd.read_excel(
            source, engine="calamine", dtype=str, keep_default_na=False, na_values=[""]
        )
    except (OSError, zipfile.BadZipFile, zlib.error, CalamineError) as error:
        raise ReclibError(f"{file}: cannot be read ({error}); fetch it again") from None
    return pl.from_pandas(cells).cast(pl.String)


def _unpack(file: Path) -> io.BytesIO:
    """Read the workbook out of the archive; nothing is written, and nothing else is read."""
    with zipfile.ZipFile(file) as archive:
        if WORKBOOK not in archive.namelist():
            found = ", ".join(archive.namelist()[:5])
            raise ReclibError(f"{file}: no {WORKBOOK!r} in this archive; found: {found}")
        return io.BytesIO(archive.read(WORKBOOK))


def _clean(lines: pl.DataFrame, cleaning: Cleaning) -> pl.DataFrame:
    """Leave out what is no purchase; numbers and times from text."""
    cleaning.note(lines, "read", "invoice lines")
    # the workbook keeps customers as numbers, which some copies write as 17850.0
    lines = lines.with_columns(pl.col("user_id").str.replace(r"\.0$", ""))
    known = pl.all_horizontal(pl.col("user_id", "item_id").is_not_null())
    why = "{n} lines without customer or product"
    lines = cleaning.keep(lines, "drop rows without ids", known, why)
    kept = ~pl.col("session_id").str.contains("^[Cc]")
    lines = cleaning.keep(lines, "drop cancelled invoices", kept, "{n} lines of cancelled invoices")
    quantity = pl.col("quantity").cast(pl.Float64, strict=False)
    why = "{n} lines with no quantity above 0"
    lines = cleaning.keep(lines, "drop returns", quantity > 0, why)
    local = pl.coalesce(pl.col("timestamp").str.to_datetime(form, strict=False) for form in FORMS)
    local = local.dt.replace_time_zone(ZONE, ambiguous="earliest", non_existent="null")
    lines = lines.with_columns(timestamp=local.dt.convert_time_zone("UTC"))
    cleaning.note(lines, "set times to UTC", f"times without a zone are taken for {ZONE}")
    inside = pl.col("timestamp").is_between(BEGIN, END, closed="left")
    why = f"{{n}} lines outside {BEGIN:%Y-%m} to {END:%Y-%m}, or undated"
    lines = cleaning.keep(lines, "drop impossible dates", inside, why)
    price = pl.col("price").cast(pl.Float64, strict=False)
    paid = pl.when((price > 0) & price.is_finite()).then(pl.col("price"))
    why = "{n} prices of 0 set to missing: gifts, samples and corrections"
    lines = cleaning.mend(lines, "drop prices of 0", "price", paid, why)
    other = lines.filter(~pl.col("item_id").str.contains(PRODUCT))
    codes = ", ".join(other["item_id"].unique().sort())
    cleaning.note(lines, "count other codes", f"{len(other)} lines of no product, kept: {codes}")
    return lines.with_columns(quantity=quantity, price=price)


def _commonest(lines: pl.DataFrame, key: str, value: str) -> pl.DataFrame:
    """Find the commonest `value` of every `key`; of equally common ones the first in order."""
    counts = lines.group_by(key, value).len().sort("len", value, descending=[True, False])
    known = counts.filter(pl.col(value).is_not_null()).unique(
        key, keep="first", maintain_order=True
    )
    return lines.select(pl.col(key).unique()).join(known.drop("len"), on=key, how="left")
