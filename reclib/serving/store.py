"""The shop's database: one SQLite file for customers, evaluations, searches and impressions."""

import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import polars as pl

from reclib.errors import ReclibError

LONGEST_NAME = 200  # characters of an id or a name
LONGEST_COMMENT = 10_000  # characters
LONGEST_QUERY = 200  # characters
STARS = (1, 2, 3, 4, 5)
OURS = 0x5EC11B  # SQLite's application_id: tells our files from those of other programs

# One entry a version, never changed once it was published; a new version is a new entry.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE customers (user_id TEXT PRIMARY KEY, name TEXT NOT NULL) STRICT",
        "CREATE TABLE products (item_id TEXT PRIMARY KEY) STRICT",
        """CREATE TABLE impressions (
            id INTEGER PRIMARY KEY,
            time INTEGER NOT NULL,  -- microseconds since 1970, UTC
            user_id TEXT REFERENCES customers,  -- NULL for a visitor
            item_id TEXT NOT NULL REFERENCES products,
            rank INTEGER NOT NULL CHECK (rank >= 1),
            propensity REAL NOT NULL CHECK (propensity > 0 AND propensity <= 1),
            policy TEXT NOT NULL
        ) STRICT""",
        """CREATE TABLE evaluations (
            id INTEGER PRIMARY KEY,
            time INTEGER NOT NULL,  -- microseconds since 1970, UTC
            user_id TEXT REFERENCES customers,  -- NULL for a visitor
            item_id TEXT NOT NULL REFERENCES products,
            kind TEXT NOT NULL CHECK (kind IN ('click', 'purchase', 'rating', 'comment')),
            rating INTEGER CHECK (rating BETWEEN 1 AND 5),
            comment TEXT CHECK (length(comment) <= 10000),
            impression INTEGER REFERENCES impressions,
            CHECK (kind = 'click' OR user_id IS NOT NULL),
            CHECK ((kind = 'rating') = (rating IS NOT NULL)),
            CHECK ((kind = 'comment') = (comment IS NOT NULL))
        ) STRICT""",
        "CREATE INDEX evaluations_of_a_customer ON evaluations (user_id, id)",
        "CREATE INDEX evaluations_of_an_impression ON evaluations (impression)",
    ),
    (
        """CREATE TABLE searches (
            id INTEGER PRIMARY KEY,
            time INTEGER NOT NULL,  -- microseconds since 1970, UTC
            user_id TEXT REFERENCES customers,  -- NULL for a visitor
            query TEXT NOT NULL CHECK (length(query) BETWEEN 1 AND 200)
        ) STRICT""",
        "CREATE INDEX searches_of_a_customer ON searches (user_id, id)",
        # NULL for a list that nobody searched for
        "ALTER TABLE impressions ADD COLUMN search INTEGER REFERENCES searches",
    ),
)

_HINTS = {
    sqlite3.SQLITE_BUSY: "another program keeps it locked; end that program, or raise timeout",
    sqlite3.SQLITE_LOCKED: "another program keeps it locked; end that program, or raise timeout",
    sqlite3.SQLITE_CORRUPT: "the file is damaged; put a copy of it back, or take a new file",
    sqlite3.SQLITE_NOTADB: "the file is damaged or no database; put a copy back, or take a new one",
    sqlite3.SQLITE_READONLY: "the file cannot be written; allow it, or copy it to another place",
    sqlite3.SQLITE_PERM: "the file may not be read or written; allow it",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened; its folder must be there and writable",
    sqlite3.SQLITE_FULL: "the disk is full; make room and try again",
    sqlite3.SQLITE_IOERR: "the disk cannot be read or written; check it and the room left on it",
}

_INHERITED: list[sqlite3.Connection | None] = []


@dataclass(frozen=True)
class Evaluation:
    """What a customer did with a product.

    Attributes
    ----------
    id
        In the order in which evaluations were saved.
    item_id
        Of which product.
    kind
        ``click``, ``purchase``, ``rating`` or ``comment``.
    rating, comment
        Stars, 1 to 5, of a rating; text of a comment; None for the other kinds.
    time
        Microseconds since 1970, UTC.
    """

    id: int
    item_id: str
    kind: str
    rating: int | None
    comment: str | None
    time: int


@dataclass(frozen=True)
class Shown:
    """A product on its way to a customer's screen, to be logged.

    Attributes
    ----------
    item_id
        Which product.
    rank
        Its place in the list, 1 is the first.
    propensity
        Probability with which the policy shows it there, above 0.
    """

    item_id: str
    rank: int
    propensity: float


class Store:
    """Customers, their evaluations and searches, and what was shown to them, in one SQLite file.

    Any number of threads and processes may use one file at once, each through a `Store` of
    its own or a shared one: in WAL mode readers never wait, and writers take turns. An
    evaluation is on the disk when its call returns (``synchronous=FULL``), so it survives
    ``kill -9`` and a power failure. Searches and impressions are logged without waiting for the
    disk (``NORMAL``): the process may be killed, but a power failure can take the last ones.

    Texts go in and come out as they are, through placeholders; whoever shows them on a page
    escapes them there.

    Parameters
    ----------
    path
        The file; made if it is not there, in a folder that is.
    timeout
        Seconds to wait for another writer, above 0.

    Raises
    ------
    ReclibError
        If the file cannot be opened, is damaged, belongs to another program, or was written
        by a newer version; and from every method where the file is locked, damaged or cannot
        be written, or the disk is full. What was acknowledged before stays, and of a call
        that fails nothing is kept.
    """

    def __init__(self, path: str | Path, *, timeout: float = 10.0) -> None:
        if not 0 < timeout < float("inf"):
            raise ReclibError(f"timeout is {timeout}; allowed is a number of seconds above 0")
        self.path = Path(path)
        self.timeout = timeout
        self._own = threading.local()
        self._migrate()

    def __enter__(self) -> Self:
        """Use the store in a with statement, which closes it."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the calling thread's connection."""
        self.close()

    def close(self) -> None:
        """Close the calling thread's connection; the next call opens another."""
        if getattr(self._own, "process", None) == os.getpid():
            self._own.connection.close()
            self._own.process = None

    def enrol(self, user_ids: Iterable[str], item_ids: Iterable[str]) -> None:
        """Make customers and products known that are not yet; the others stay as they are."""
        with self._writing() as connection:
            customers = ((_text("user id", user), "") for user in user_ids)
            connection.executemany("INSERT OR IGNORE INTO customers VALUES (?, ?)", customers)
            products = ((_text("item id", item),) for item in item_ids)
            connection.executemany("INSERT OR IGNORE INTO products VALUES (?)", products)

    def register(self, user_id: str, name: str = "") -> None:
        """Make a new customer known.

        Raises
        ------
        ReclibError
            If the id is taken; or id or name is no text, too long, or the id is empty.
        """
        row = (_text("user id", user_id), _text("name", name, least=0))
        with self._writing() as connection:
            if _found(connection, "customers", "user_id", user_id):
                raise ReclibError(f"user id {user_id!r} is taken; choose another")
            connection.execute("INSERT INTO customers VALUES (?, ?)", row)

    def name(self, user_id: str) -> str:
        """Tell the name of a customer; "" where none was given."""
        with self._reading() as connection:
            _check_customer(connection, user_id)
            query = "SELECT name FROM customers WHERE user_id = ?"
            return str(connection.execute(query, (user_id,)).fetchone()[0])

    def click(self, user_id: str | None, item_id: str, *, impression: int | None = None) -> int:
        """Save that somebody opened the page of a product.

        Parameters
        ----------
        user_id
            A known customer; None for a visitor.
        item_id
            A known product.
        impression
            Which of their impressions of this product led there, if any.

        Returns
        -------
        int
            The id of the evaluation. When it is returned, the evaluation is safe.

        Raises
        ------
        ReclibError
            If customer or product is unknown, or there is no such impression of theirs.
        """
        return self._save(user_id, item_id, "click", impression=impression)

    def purchase(self, user_id: str, item_id: str, *, impression: int | None = None) -> int:
        """Save that a customer bought a product; as `click`."""
        return self._save(user_id, item_id, "purchase", impression=impression)

    def rate(self, user_id: str, item_id: str, stars: float) -> int:
        """Save a rating, a whole number of stars from 1 to 5; otherwise as `click`."""
        if not isinstance(stars, Real) or isinstance(stars, bool) or stars not in STARS:
            raise ReclibError(f"rating is {stars!r}; allowed are 1, 2, 3, 4 and 5")
        return self._save(user_id, item_id, "rating", rating=int(stars))

    def comment(self, user_id: str, item_id: str, text: str) -> int:
        """Save a comment of 1 to `LONGEST_COMMENT` characters; otherwise as `click`."""
        said = _text("comment", text, most=LONGEST_COMMENT)
        return self._save(user_id, item_id, "comment", comment=said)

    def history(self, user_id: str, *, after: int = 0) -> list[Evaluation]:
        """Read the evaluations of one customer, and of nobody else, oldest first.

        Those with an id up to `after` are left out.
        """
        query = (
            "SELECT id, item_id, kind, rating, comment, time FROM evaluations "
            "WHERE user_id = ? AND id > ? ORDER BY id"
        )
        with self._reading() as connection:
            _check_customer(connection, user_id)
            rows = connection.execute(query, (user_id, after)).fetchall()
        return [Evaluation(*row) for row in rows]

    def ratings(self, user_id: str) -> dict[str, int]:
        """Read the last rating that one customer gave to each product."""
        query = (
            "SELECT item_id, rating FROM evaluations "
            "WHERE user_id = ? AND kind = 'rating' ORDER BY id"
        )
        with self._reading() as connection:
            _check_customer(connection, user_id)
            return dict(connection.execute(query, (user_id,)).fetchall())

    def searches(self, user_id: str) -> list[str]:
        """Read what one customer searched for, and nobody else, oldest first."""
        query = "SELECT query FROM searches WHERE user_id = ? ORDER BY id"
        with self._reading() as connection:
            _check_customer(connection, user_id)
            return [row[0] for row in connection.execute(query, (user_id,))]

    def log(
        self,
        shown: Sequence[Shown],
        *,
        policy: str,
        user_id: str | None = None,
        query: str | None = None,
    ) -> list[int]:
        """Log a list that is shown.

        Parameters
        ----------
        shown
            Its products.
        policy
            What chose them.
        user_id
            To whom; None for a visitor.
        query
            What they searched for, 1 to `LONGEST_QUERY` characters; it is saved also where
            nothing was found. None for a list that nobody searched for.

        Returns
        -------
        list of int
            The id of each impression, for `click`.

        Raises
        ------
        ReclibError
            If customer or product is unknown, or a place, a propensity or the length of the
            query is out of range.
        """
        for one in shown:
            if not (one.rank >= 1 and 0 < one.propensity <= 1):
                raise ReclibError(f"{one}: rank must be 1 or more, 0 < propensity <= 1")
        typed = None if query is None else _text("query", query, most=LONGEST_QUERY)
        now = _now()
        searched = "INSERT INTO searches (time, user_id, query) VALUES (?, ?, ?)"
        seen = (
            "INSERT INTO impressions (time, user_id, item_id, rank, propensity, policy, search) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)"
        )
        ids = []
        with self._writing(wait_for_disk=False) as connection:
            if user_id is not None:
                _check_customer(connection, user_id)
            search = None
            if typed is not None:
                search = connection.execute(searched, (now, user_id, typed)).lastrowid
            for one in shown:
                _check_product(connection, one.item_id)
                row = (now, user_id, one.item_id, one.rank, one.propensity, policy, search)
                ids.append(int(connection.execute(seen, row).lastrowid or 0))
        return ids

    def evaluations(self) -> pl.DataFrame:
        """Read the evaluations of all customers, for a fit and never for a customer's page.

        Returns
        -------
        polars.DataFrame
            id, user_id, item_id, kind, rating, comment, query (of the search that led there),
            timestamp (UTC); in the order of id. Clicks of visitors are left out.
        """
        query = (
            "SELECT e.id, e.user_id, e.item_id, kind, rating, comment, query, e.time "
            "FROM evaluations AS e LEFT JOIN impressions AS i ON i.id = e.impression "
            "LEFT JOIN searches AS s ON s.id = i.search "
            "WHERE e.user_id IS NOT NULL ORDER BY e.id"
        )
        schema = {
            "id": pl.Int64,
            **dict.fromkeys(("user_id", "item_id", "kind"), pl.String),
            "rating": pl.Int64,
            **dict.fromkeys(("comment", "query"), pl.String),
            "timestamp": pl.Int64,
        }
        return self._table(query, schema)

    def impressions(self) -> pl.DataFrame:
        """Read everything that was shown, for the estimation of click rates.

        Returns
        -------
        polars.DataFrame
            As `reclib.data.schema.Impressions`, one row a shown product, in the order in which
            it was logged: user_id (missing for a visitor), item_id, rank, click, propensity,
            policy, timestamp.
        """
        query = (
            "SELECT user_id, item_id, rank, EXISTS (SELECT 1 FROM evaluations WHERE "
            "impression = impressions.id AND kind = 'click') AS click, propensity, policy, "
            "time AS timestamp FROM impressions ORDER BY id"
        )
        schema = {
            "user_id": pl.String,
            "item_id": pl.String,
            "rank": pl.Int64,
            "click": pl.Int64,
            "propensity": pl.Float64,
            "policy": pl.String,
            "timestamp": pl.Int64,
        }
        return self._table(query, schema).with_columns(pl.col("click").cast(pl.Boolean))

    def _table(self, query: str, schema: dict[str, Any]) -> pl.DataFrame:
        """Read rows as a frame whose last column, ``timestamp``, is in microseconds."""
        with self._reading() as connection:
            rows = connection.execute(query).fetchall()
        frame = pl.DataFrame(rows, schema=schema, orient="row")
        return frame.with_columns(pl.col("timestamp").cast(pl.Datetime("us", "UTC")))

    def _save(
        self,
        user_id: str | None,
        item_id: str,
        kind: str,
        *,
        rating: int | None = None,
        comment: str | None = None,
        impression: int | None = None,
    ) -> int:
        query = (
            "INSERT INTO evaluations (time, user_id, item_id, kind, rating, comment, impression) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)"
        )
        row = (_now(), user_id, item_id, kind, rating, comment, impression)
        with self._writing() as connection:
            if user_id is not None or kind != "click":  # visitors only look around
                _check_customer(connection, user_id)
            _check_product(connection, item_id)
            if impression is not None:
                _check_impression(connection, impression, user_id, item_id)
            return int(connection.execute(query, row).lastrowid or 0)

    def _connection(self) -> sqlite3.Connection:
        """Open or find the connection of this thread; none is carried into a forked process."""
        if getattr(self._own, "process", None) != os.getpid():
            # what a fork brought is kept, for SQLite forbids even to close it here
            _INHERITED.append(getattr(self._own, "connection", None))
            made = sqlite3.connect(self.path, timeout=self.timeout, isolation_level=None)
            made.execute("PRAGMA foreign_keys = ON")
            made.execute("PRAGMA synchronous = FULL")
            self._own.connection, self._own.process = made, os.getpid()
        connection: sqlite3.Connection = self._own.connection
        return connection

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """Lend the connection; what SQLite complains of becomes a `ReclibError`."""
        try:
            yield self._connection()
        except sqlite3.Error as error:
            hint = _HINTS.get(_code(error), "nothing of this call was kept")
            raise ReclibError(f"{self.path}: {error}: {hint}") from error

    @contextmanager
    def _writing(self, *, wait_for_disk: bool = True) -> Iterator[sqlite3.Connection]:
        """Open a transaction: all of it is kept, or nothing."""
        with self._reading() as connection:
            if not wait_for_disk:
                connection.execute("PRAGMA synchronous = NORMAL")
            try:
                # the lock at once: a transaction that turns from reading to writing may fail
                # however long it would wait
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield connection
                    connection.execute("COMMIT")
                except BaseException:
                    if connection.in_transaction:  # a full disk has ended it already
                        connection.execute("ROLLBACK")
                    raise
            finally:
                if not wait_for_disk:
                    connection.execute("PRAGMA synchronous = FULL")

    def _migrate(self) -> None:
        """Bring the file to the newest version, whichever process comes first."""
        with self._reading() as connection:
            if self._version(connection) < len(MIGRATIONS):
                self._use_wal(connection)
                with self._writing():
                    # another process may have done it in the meantime
                    for number in range(self._version(connection), len(MIGRATIONS)):
                        for statement in MIGRATIONS[number]:
                            connection.execute(statement)
                        connection.execute(f"PRAGMA user_version = {number + 1}")
                    connection.execute(f"PRAGMA application_id = {OURS}")

    def _use_wal(self, connection: sqlite3.Connection) -> None:
        """Switch the file to WAL mode, for which alone SQLite does not wait by itself."""
        deadline = time.monotonic() + self.timeout
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.005)

    def _version(self, connection: sqlite3.Connection) -> int:
        alone = not connection.in_transaction
        if alone:  # all three of one moment: another process may be making the file
            connection.execute("BEGIN")
        try:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            (program,) = connection.execute("PRAGMA application_id").fetchone()
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        finally:
            if alone:
                connection.execute("COMMIT")
        if program != OURS and (tables or version):
            raise ReclibError(f"{self.path} is a database of another program; name another file")
        if version > len(MIGRATIONS):
            raise ReclibError(
                f"{self.path} has version {version} and this library knows {len(MIGRATIONS)}; "
                "update the library"
            )
        return int(version)


def _code(error: sqlite3.Error) -> int:
    """Return SQLite's code of an error, without the details."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _now() -> int:
    """Microseconds since 1970, UTC."""
    return time.time_ns() // 1000


def _text(what: str, text: object, *, least: int = 1, most: int = LONGEST_NAME) -> str:
    """Check a text that will be stored."""
    if not isinstance(text, str):
        raise ReclibError(f"{what} is {_brief(text)}; allowed is a text")
    if not least <= len(text) <= most:
        raise ReclibError(f"{what} has {len(text):,} characters; allowed are {least} to {most:,}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ReclibError(f"{what} {_brief(text)} holds half a character; send UTF-8") from None
    if "\0" in text:
        raise ReclibError(f"{what} {_brief(text)} holds a null character; leave it out")
    return text


def _brief(value: object) -> str:
    """Show a value that may be long, or hostile."""
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _found(connection: sqlite3.Connection, table: str, key: str, value: object) -> bool:
    """Whether a table has a row; its name and that of its key are the library's own."""
    if not isinstance(value, str):
        return False
    try:
        query = f"SELECT 1 FROM {table} WHERE {key} = ?"
        return connection.execute(query, (value,)).fetchone() is not None
    except UnicodeEncodeError:  # half a character is in no id
        return False


def _check_customer(connection: sqlite3.Connection, user_id: object) -> None:
    """Refuse who is unknown, without a word about those who are known."""
    if not _found(connection, "customers", "user_id", user_id):
        raise ReclibError(f"unknown customer {_brief(user_id)}; register them first")


def _check_product(connection: sqlite3.Connection, item_id: object) -> None:
    if not _found(connection, "products", "item_id", item_id):
        raise ReclibError(f"unknown product {_brief(item_id)}; enrol the catalogue first")


def _check_impression(
    connection: sqlite3.Connection, impression: int, user_id: str | None, item_id: str
) -> None:
    """Refuse an impression of somebody else, or of another product."""
    query = "SELECT 1 FROM impressions WHERE id = ? AND user_id IS ? AND item_id = ?"
    known = isinstance(impression, int) and abs(impression) < 2**63
    if not known or connection.execute(query, (impression, user_id, item_id)).fetchone() is None:
        raise ReclibError(
            f"impression {_brief(impression)} is none of theirs with this product; give the "
            "one that came with the list, or none"
        )
