"""Files into polars frames; what is wrong with a file is said with its place in it.

Cells come as text, and `typed` makes of them what a table of `reclib.data.schema` declares, so
that an id such as ``007`` or a brand called ``None`` stays what it is.
"""

import ast
import codecs
import csv
import gzip
import io
import json
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import compress, islice
from pathlib import Path
from typing import IO, Any

import polars as pl
import pyarrow
import pyarrow.csv
from tqdm.auto import tqdm

from reclib.data.conversion import ROWS, typed
from reclib.errors import ReclibError

__all__ = ["SUFFIXES", "read_json_lines", "read_table", "typed"]

SUFFIXES = (".csv.gz", ".csv", ".parquet")
CELL = 1_000_000  # bytes; a longer cell is a broken file, not a text
ROW = 16_000_000  # bytes of a whole line
BLOCK = 32_000_000  # bytes of lines that are parsed at once
PATIENCE = 3.0  # seconds until a progress bar shows
SEPARATORS = {";": "';'", "\t": "tabs", "|": "'|'"}  # what is not a comma, and its name
_UNESCAPED = r"(?s)^(\{|\[.*[\\{\x00-\x1f])"  # a list or an object that polars may write wrongly


def read_table(file: Path, *, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """Read a ``.csv``, ``.csv.gz`` or ``.parquet`` file.

    Parameters
    ----------
    file
        A CSV file is UTF-8, with or without a byte-order mark, and starts with its header.
    columns
        Read only these; default: all.

    Returns
    -------
    polars.DataFrame
        Cells of a CSV file as text; only an empty cell is missing. A parquet file keeps
        its types.

    Raises
    ------
    ReclibError
        Naming the file and, where it can be known, the row or byte at fault: a file that
        is missing, a folder, empty, damaged or not UTF-8; an empty line before the
        header; rows of different lengths; two columns of one name; no rows; a cell of
        more than `CELL` bytes.
    """
    if not file.name.endswith(SUFFIXES):
        raise ReclibError(f"{file}: not one of the known formats {', '.join(SUFFIXES)}")
    with _explained(file):
        if file.suffix == ".parquet":
            with file.open("rb"):  # polars would take a folder for a data set in parts
                _require(file, pl.read_parquet_schema(file), columns)
            table = pl.read_parquet(file, columns=list(columns) if columns else None)
        else:
            table = _read_csv(file, columns)
    if len(table) == 0:
        raise ReclibError(f"{file}: the table is empty; it needs at least one row")
    _check_cells(file, table, f"row {{}}; {ROWS}".format)
    return table


def read_json_lines(
    file: Path, fields: Mapping[str, str], *, literal: bool = False
) -> pl.DataFrame:
    """Read some fields of a file with one object a line, plain or gzipped.

    Memory holds the kept fields and one block of lines, however long the file.

    Parameters
    ----------
    file
        ``.json``, ``.jsonl``, ``.json.gz`` or ``.jsonl.gz``; UTF-8.
    fields
        Name in the file → name of the column.
    literal
        Lines are Python literals with single quotes, as in the product files of 2014. They
        are parsed as literals and never executed.

    Returns
    -------
    polars.DataFrame
        Every column as text, as from a CSV file: a number as JSON writes it, a list
        or an object as its JSON text (``.str.json_decode(pl.List(pl.String))`` gives the
        list back). Missing where a line has no such field, or null.

    Raises
    ------
    ReclibError
        Naming file, line and the start of the line that cannot be parsed; and for a file
        as in `read_table`.
    """
    parse = _parse_literals if literal else _parse_json
    parts: list[pl.DataFrame] = []
    with _explained(file), _opened(file) as stream:
        first = 1
        for content in _blocks(file, stream):
            lines = _Lines(file, content, first)
            parts.append(parse(lines, fields))
            _check_cells(file, parts[-1], lines.place)
            first += content.count(b"\n")
    if not sum(map(len, parts)):
        raise ReclibError(f"{file}: the file is empty; it needs one object a line")
    return pl.concat(parts).rename(dict(fields))


# Opening and checking bytes


@contextmanager
def _explained(file: Path) -> Iterator[None]:
    """Turn what a reader may raise into an error that says how to mend the file."""
    try:
        yield
    except FileNotFoundError:
        raise ReclibError(f"{file}: no such file") from None
    except IsADirectoryError:
        raise ReclibError(f"{file}: this is a folder; a file is expected") from None
    except PermissionError:
        raise ReclibError(f"{file}: permission denied; make the file readable") from None
    except gzip.BadGzipFile as error:
        raise ReclibError(
            f"{file}: cannot be read as a gzip archive ({error}); if it is damaged, fetch it "
            "again; if it is plain text, drop .gz from its name"
        ) from None
    except (EOFError, zlib.error) as error:
        raise ReclibError(
            f"{file}: cannot be read to its end, the archive is cut off or damaged ({error}); "
            "fetch or pack it again"
        ) from None
    except (OSError, pyarrow.ArrowException, pl.exceptions.PolarsError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ReclibError(f"{file}: cannot be read as a table ({reason})") from None
    except pl.exceptions.PanicException:  # a damaged parquet file can upset polars' reader
        raise ReclibError(f"{file}: cannot be read as a table; it is damaged") from None


class _Stream(io.RawIOBase):
    """The text bytes of a file, checked on their way: UTF-8, and no NUL."""

    def __init__(self, file: Path, raw: IO[bytes], size: int) -> None:
        self.file, self.raw, self.size = file, raw, size
        self.inner: Any = gzip.GzipFile(fileobj=raw) if file.suffix == ".gz" else raw
        self.decoder = codecs.getincrementaldecoder("utf-8")()
        self.bytes, self.lines, self.quotes = 0, 0, 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        block: bytes = self.inner.read(size)
        pending = len(self.decoder.getstate()[0])
        try:
            self.decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            self._refuse(block, error.start - pending, "is not UTF-8; save the file as UTF-8")
        if (nul := block.find(b"\0")) >= 0:
            self._refuse(block, nul, "is NUL, which no text holds; the file is damaged")
        self.bytes += len(block)
        self.lines += block.count(b"\n")
        self.quotes += block.count(b'"')
        return block

    def readinto(self, buffer: Any) -> int:
        block = self.read(len(buffer))
        buffer[: len(block)] = block
        return len(block)

    def _refuse(self, block: bytes, place: int, why: str) -> None:
        line = self.lines + block[: max(place, 0)].count(b"\n") + 1
        raise ReclibError(f"{self.file}: byte {self.bytes + place} (line {line}) {why}")


@contextmanager
def _opened(file: Path) -> Iterator[_Stream]:
    with file.open("rb") as raw:
        yield _Stream(file, raw, file.stat().st_size)


def _require(file: Path, found: Sequence[str] | Mapping[str, Any], wanted: Any) -> None:
    """Refuse a file without a column that is asked for."""
    missing = [name for name in wanted or () if name not in found]
    if missing:
        names = ", ".join(map(repr, missing))
        raise ReclibError(f"{file}: missing column {names}; found: {', '.join(found)}")


def _check_cells(file: Path, table: pl.DataFrame, place: Callable[[int], str]) -> None:
    """Refuse a cell that is too long: most often a quotation mark that is never closed."""
    for text in table.select(pl.col(pl.String)):
        lengths = text.str.len_bytes()
        row = lengths.arg_max()
        if row is not None and lengths[row] > CELL:
            raise ReclibError(
                f"{file}: column {text.name!r} has a cell of {lengths[row]:,} bytes "
                f"({text[row][:40]!r}…, {place(row)}); allowed are {CELL:,}"
            )


# CSV


def _read_csv(file: Path, columns: Sequence[str] | None) -> pl.DataFrame:
    with _opened(file) as stream:
        header = _header(file, stream.read(CELL))
    _require(file, header, columns)
    names = list(columns or header)
    with _opened(file) as stream:
        try:
            table = pyarrow.csv.read_csv(
                stream,
                read_options=pyarrow.csv.ReadOptions(block_size=ROW),
                parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
                convert_options=pyarrow.csv.ConvertOptions(
                    column_types=dict.fromkeys(names, pyarrow.string()),
                    include_columns=names,
                    null_values=[""],
                    strings_can_be_null=True,
                ),
            )
        except pyarrow.ArrowInvalid:
            _check_rows(file, len(header))
            raise
    if stream.quotes % 2:
        _check_rows(file, len(header))
    return pl.DataFrame({name: pl.from_arrow(table[name]) for name in names})


def _header(file: Path, start: bytes) -> list[str]:
    text = start.decode("utf-8-sig", "ignore")
    if not text.strip():
        raise ReclibError(f"{file}: the file is empty; it needs a header and rows")
    first = text.splitlines()[0]
    if not first.strip():
        raise ReclibError(f"{file}: the file starts with an empty line; remove it")
    if first.startswith("sep="):
        raise ReclibError(
            f"{file}: the file starts with {first!r}, which only Excel reads; remove the line, and "
            "save the file with commas"
        )
    names = next(csv.reader(io.StringIO(text, newline="")))
    other = [name for mark, name in SEPARATORS.items() if len(names) == 1 and mark in names[0]]
    if other:
        raise ReclibError(f"{file}: the cells are separated by {other[0]}; save it with commas")
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ReclibError(f"{file}: column {min(twice)!r} is there twice; keep one of them")
    return names


def _check_rows(file: Path, n_columns: int) -> None:
    """Look, slowly, for the row that has too many cells or a quotation mark left open."""
    line = 1
    usual = csv.field_size_limit(CELL)
    try:
        with _opened(file) as stream:
            text = io.TextIOWrapper(io.BufferedReader(stream), encoding="utf-8-sig", newline="")
            rows = csv.reader(text, strict=True)
            for cells in rows:
                if cells and len(cells) != n_columns:
                    raise ReclibError(
                        f"{file}: line {line} has {len(cells)} cells, the header {n_columns}: "
                        f"{str(cells)[:80]}; put cells that hold a comma between quotation marks"
                    )
                line = rows.line_num + 1  # a row may take several lines
    except csv.Error as error:
        raise ReclibError(f"{file}: line {line}: {error}; check its quotation marks") from None
    finally:
        csv.field_size_limit(usual)


# JSON lines


class _Lines:
    """A block of whole lines and the number of its first one."""

    def __init__(self, file: Path, content: bytes, first: int) -> None:
        self.file, self.content, self.first = file, content, first

    def __iter__(self) -> Iterator[tuple[int, str]]:
        for number, line in enumerate(self.content.split(b"\n"), self.first):
            if line.strip():
                yield number, line.decode()

    def place(self, row: int) -> str:
        """Say in which line the `row`-th object is."""
        number, _ = next(islice(self, row, None))
        return f"line {number}"

    def refuse(self, number: int, line: str, why: object) -> ReclibError:
        start = line[:60] + ("…" if len(line) > 60 else "")
        cut_off = (
            "; the last line is cut off: the file is not whole, fetch it again"
            if self.content.endswith(line.encode())
            else ""
        )
        return ReclibError(f"{self.file}: line {number} cannot be read ({why}): {start}{cut_off}")


def _blocks(file: Path, stream: _Stream) -> Iterator[bytes]:
    """Cut a file into blocks of whole lines."""
    rest = b""
    with tqdm(total=stream.size, desc=file.name, unit="B", unit_scale=True, delay=PATIENCE) as bar:
        while block := stream.read(BLOCK):
            lines, newline, rest = (rest + block).rpartition(b"\n")
            if len(rest) > ROW:
                raise ReclibError(
                    f"{file}: line {stream.lines + 1} has more than {ROW:,} bytes; expected is "
                    "one object a line"
                )
            yield lines + newline
            bar.update(stream.raw.tell() - bar.n)
    if rest:
        yield rest


def _parse_json(lines: _Lines, fields: Mapping[str, str]) -> pl.DataFrame:
    schema = dict.fromkeys(fields, pl.String)
    if not lines.content.strip():
        return pl.DataFrame(schema=schema)
    try:
        table = pl.read_ndjson(io.BytesIO(lines.content), schema=schema)
    except pl.exceptions.PolarsError as error:
        for number, line in lines:
            try:
                read = json.loads(line, parse_constant=_no_constant)
            except (ValueError, RecursionError) as reason:
                raise lines.refuse(number, line, reason) from None
            if not isinstance(read, dict):
                raise lines.refuse(number, line, "not an object") from None
        raise ReclibError(f"{lines.file}: after line {lines.first}: {error}") from None
    return _mend_nested(table, lines)


def _mend_nested(table: pl.DataFrame, lines: _Lines) -> pl.DataFrame:
    """Write lists and objects anew where polars does not escape what is in them.

    See https://github.com/pola-rs/polars/issues/26574.
    """
    doubtful = table.select(pl.any_horizontal(pl.all().str.contains(_UNESCAPED))).to_series()
    rows = doubtful.fill_null(False).arg_true()
    if not len(rows):
        return table
    chosen = compress((line for _, line in lines), doubtful.fill_null(False))
    objects = [json.loads(line) for line in chosen]
    return table.with_columns(
        table[name].scatter(rows, [_as_text(read.get(name)) for read in objects])
        for name in table.columns
    )


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _parse_literals(lines: _Lines, fields: Mapping[str, str]) -> pl.DataFrame:
    columns: dict[str, list[str | None]] = {name: [] for name in fields}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of backslashes that start no known escape
        for number, line in lines:
            if len(line) > CELL:
                raise lines.refuse(number, line, f"more than {CELL:,} characters")
            try:
                read = ast.literal_eval(line)
            except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as reason:
                raise lines.refuse(number, line, str(reason).split(" on line")[0]) from None
            if not isinstance(read, dict):
                raise lines.refuse(number, line, "not a dict")
            for name, cells in columns.items():
                cells.append(_as_text(read.get(name)))
    return pl.DataFrame(columns, schema=dict.fromkeys(fields, pl.String))


def _as_text(value: object) -> str | None:
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    # a letter may be written as two halves; one without the other becomes a question mark
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
