"""Cells into the types that a table declares, or the value that cannot be converted."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import polars as pl

from reclib.errors import ReclibError

ROWS = "the first below the header is 0"  # follows the number of a row in an error
EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


def typed(frame: pl.DataFrame | pd.DataFrame, model: Any, where: str) -> pl.DataFrame:
    """Convert the columns that a table declares into their types.

    Text becomes a number, a truth value or a moment only where it is one; whole numbers
    become ids. A moment is a date, a date with a time (UTC where it names no zone), or Unix
    seconds; a number such as 20240531 is refused, for it is a date. NaN becomes missing.

    Parameters
    ----------
    frame
        As read; a pandas frame is converted, its index left out.
    model
        A table of `reclib.data.schema`; columns that it does not declare stay as they are.
    where
        What to call the table in an error.

    Returns
    -------
    polars.DataFrame
        The same rows and columns.

    Raises
    ------
    ReclibError
        Naming the place, the column, the value and its row (the first row is 0), and what
        was expected.
    """
    table = _from_pandas(frame, where) if isinstance(frame, pd.DataFrame) else frame
    for name, column in model.to_schema().columns.items():
        if name in table.columns:
            table = table.with_columns(_converted(table[name], column.dtype.type, where))
    return table


def _from_pandas(frame: pd.DataFrame, where: str) -> pl.DataFrame:
    """Convert; a column of several types is refused before it becomes text somehow."""
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise ReclibError(f"{where}: column {twice!r} is there twice; keep one of them")
    for name in frame.columns[[pd.api.types.is_object_dtype(kind) for kind in frame.dtypes]]:
        kinds = {type(value).__name__ for value in frame[name].dropna()}
        if len(kinds) > 1:
            raise ReclibError(
                f"{where}: column {name!r} mixes {' and '.join(sorted(kinds))}; make it one "
                "type, and ids text"
            )
    try:
        return pl.from_pandas(frame.rename(columns=str))
    except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
        raise ReclibError(f"{where}: cannot be converted to polars ({error})") from None


def _converted(column: pl.Series, target: pl.DataType, where: str) -> pl.Series:
    """Convert one column, or say which value cannot be converted."""
    if column.dtype.is_float():
        column = column.fill_nan(None)
    if column.null_count() == len(column):
        return column.cast(pl.Null).cast(target)
    convert, expected = _CONVERSIONS[target.base_type()]
    result = convert(column)
    if column.name.endswith("_id"):
        expected = "text that is more than white space, or whole numbers"
        result = result.set(result.str.contains(r"^\s+$"), None)
    failed = (result.is_null() & column.is_not_null()).arg_true()
    if len(failed):
        [value] = column.slice(failed[0], 1).to_list()
        raise ReclibError(
            f"{where}: column {column.name!r} expects {expected}, "
            f"found {value!r} (row {failed[0]}; {ROWS}){_hint(column.name, value, target)}"
        )
    return result


def _hint(name: str, value: object, target: pl.DataType) -> str:
    """Say how to write what was meant, most likely."""
    if target == pl.Datetime:
        return _hint_of_moment(str(value).strip())
    if target == pl.Float64 and isinstance(value, str) and re.search(r"\d", value):
        currency = ", and the currency into a column 'currency' of items" if name == "price" else ""
        return f"; write the number alone, with a point, as 12.99{currency}"
    if name == "categories":
        return "; write the path as one text, A > B > C"
    return ""


def _hint_of_moment(text: str) -> str:
    if re.match(r"\d{1,2}[./-]\d{1,2}[./-]\d\d|\d{4}[./]\d", text):
        return "; write the year first and with dashes, as 2024-05-31"
    number = re.fullmatch(r"(\d{8}|\d{11,20})(\.0*)?", text)
    if number is None:
        return ""
    digits = number[1]
    date = f"{digits[:4]}-{digits[4:6]}-{digits[6:8]}"
    if len(digits) == 8:
        return f"; is it a date? Write it as {date}"
    if len(digits) == 14 and digits[:2] in ("19", "20"):
        clock = f"{digits[8:10]}:{digits[10:12]}:{digits[12:]}"
        return f"; is it a date and a time? Write it as {date} {clock}"
    unit, factor = next((name, size) for length, name, size in _FINER if len(digits) <= length)
    return f"; is it in {unit}? Divide it by {factor:,}"


def _to_text(column: pl.Series) -> pl.Series:
    kind = column.dtype
    if kind.is_integer() or kind in (pl.String, pl.Categorical, pl.Enum):
        return column.cast(pl.String)
    return _nothing(column, pl.String)


def _to_whole(column: pl.Series) -> pl.Series:
    if column.dtype == pl.String:
        column = column.str.strip_chars().str.replace(r"\.0*$", "")
    elif column.dtype.is_float():
        column = column.set(column != column.floor(), None)
    elif not column.dtype.is_integer():
        return _nothing(column, pl.Int64)
    return column.cast(pl.Int64, strict=False)


def _to_number(column: pl.Series) -> pl.Series:
    if column.dtype == pl.String:
        column = column.str.strip_chars()
    elif not column.dtype.is_numeric():
        return _nothing(column, pl.Float64)
    return column.cast(pl.Float64, strict=False).fill_nan(None)


def _to_truth(column: pl.Series) -> pl.Series:
    if column.dtype == pl.Boolean:
        return column
    if column.dtype != pl.String and not column.dtype.is_numeric():
        return _nothing(column, pl.Boolean)
    words = column.cast(pl.String).str.strip_chars().str.to_lowercase().str.replace(r"\.0*$", "")
    truths = {"true": True, "false": False, "1": True, "0": False}
    return words.replace_strict(truths, default=None, return_dtype=pl.Boolean)


def _to_moment(column: pl.Series) -> pl.Series:
    if isinstance(column.dtype, pl.Datetime | pl.Date):
        moments = _in_utc(column.cast(pl.Datetime("us", getattr(column.dtype, "time_zone", None))))
    elif column.dtype == pl.String:
        moments = _parse_moments(column.str.strip_chars())
    elif column.dtype.is_numeric():
        moments = _from_seconds(column)
    else:
        return _nothing(column, _MOMENT)
    return moments.set(~moments.is_between(EARLIEST, LATEST), None)


def _from_seconds(seconds: pl.Series) -> pl.Series:
    inside = seconds.is_between(EARLIEST.timestamp(), LATEST.timestamp())
    seconds = seconds.set(~inside | _looks_like_date(seconds), None)
    if seconds.dtype.is_integer():
        return (seconds.cast(pl.Int64) * 1_000_000).cast(_MOMENT)
    return (seconds.cast(pl.Float64) * 1e6).round().cast(pl.Int64).cast(_MOMENT)


def _looks_like_date(seconds: pl.Series) -> pl.Series:
    """Whether a number is a date without its dashes; as seconds it would be in August 1970."""
    numbers = seconds.cast(pl.Float64)
    month, day = numbers // 100 % 100, numbers % 100
    whole = numbers.is_between(1900_01_01, 2099_12_31) & (numbers % 1 == 0)
    return whole & month.is_between(1, 12) & day.is_between(1, 31)


def _parse_moments(text: pl.Series) -> pl.Series:
    """Read Unix seconds and the usual forms of ISO 8601, several of them in one column."""
    found = _from_seconds(text.cast(pl.Float64, strict=False))
    for zone in ("Z", " UTC"):
        text = text.str.strip_suffix(zone)
    text = text.str.replace("T", " ", literal=True)
    for form in _MOMENT_FORMS:
        if found.null_count() == text.null_count():
            break
        read = text.str.to_datetime(form, strict=False, time_unit="us")
        found = found.zip_with(found.is_not_null(), _in_utc(read))
    return found


def _in_utc(moments: pl.Series) -> pl.Series:
    """Convert to UTC; a moment that names no zone is taken to be in it."""
    assert isinstance(moments.dtype, pl.Datetime)
    return (
        moments.dt.convert_time_zone("UTC")
        if moments.dtype.time_zone
        else (moments.dt.replace_time_zone("UTC"))
    )


def _nothing(column: pl.Series, kind: pl.DataType | type[pl.DataType]) -> pl.Series:
    """Say that none of the values can be converted."""
    return pl.Series(column.name, [None], dtype=kind).new_from_index(0, len(column))


_MOMENT = pl.Datetime("us", "UTC")
_MOMENT_FORMS = (
    "%Y-%m-%d %H:%M:%S%.f%#z",
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%d",
    "%Y-%m-%d %H:%M%#z",
    "%Y-%m-%d %H:%M",
)
# units finer than a second, by how many digits a moment of our days has in them at most
_FINER = ((13, "milliseconds", 10**3), (16, "microseconds", 10**6), (20, "nanoseconds", 10**9))
_CONVERSIONS: Mapping[Any, tuple[Callable[[pl.Series], pl.Series], str]] = {
    pl.String: (_to_text, "text"),
    pl.Int64: (_to_whole, "a whole number"),
    pl.Float64: (_to_number, "a number"),
    pl.Boolean: (_to_truth, "true or false"),
    pl.Datetime: (
        _to_moment,
        f"a moment from {EARLIEST:%Y} to {LATEST:%Y}, in Unix seconds or in ISO 8601, as "
        "2024-05-31 or 2024-05-31 12:30:00",
    ),
}
