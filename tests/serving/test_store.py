"""The database: nothing acknowledged is lost, nothing hostile gets through, nobody reads others."""

import multiprocessing
import os
import signal
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reclib.data.schema import Impressions, validated
from reclib.errors import ReclibError
from reclib.serving import Shown, Store
from reclib.serving import store as module

FORK = multiprocessing.get_context("fork")
WRITERS, EACH = 8, 300


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


@pytest.fixture
def store(file: Path) -> Iterator[Store]:
    with Store(file) as made:
        made.enrol(["ann", "bob"], ["tea", "ink"])
        yield made


def started(*tasks: Callable[[], object]) -> list[Any]:
    """Run each task in a process of its own."""
    made = [FORK.Process(target=task) for task in tasks]
    for process in made:
        process.start()
    return made


def finished(processes: list[Any]) -> None:
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * len(processes)


def plain(file: Path, query: str) -> list[tuple[Any, ...]]:
    """What SQLite itself reads."""
    with sqlite3.connect(file) as connection:
        rows = connection.execute(query).fetchall()
    connection.close()
    return rows


@pytest.fixture
def quick_file(tmp_path: Path) -> Iterator[Path]:
    """A file in memory where there is such a place, so that nobody waits for a disk."""
    place = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=place if place.is_dir() else tmp_path) as folder:
        yield Path(folder) / "shop.db"


def test_a_new_file_may_be_opened_by_many_at_once(quick_file: Path) -> None:
    for number in range(30):
        together = threading.Barrier(8)
        file = quick_file.with_name(f"shop-{number}.db")

        def opened(_: int, file: Path = file, together: threading.Barrier = together) -> None:
            together.wait(60)
            Store(file, timeout=60).close()

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(opened, range(8)))


def test_eight_processes_write_while_others_read(quick_file: Path) -> None:
    file = quick_file
    users = [f"u{n}" for n in range(WRITERS)]
    items = [f"i{n}" for n in range(EACH)]
    # no store is open yet: all of them find a new file
    ready = FORK.Barrier(WRITERS + 2)
    done = FORK.Event()

    def write(user: str) -> None:
        ready.wait(60)
        store = Store(file, timeout=60)
        store.enrol(users, items)
        for item in items:
            store.rate(user, item, 1 + int(item[1:]) % 5)

    def read() -> None:
        ready.wait(60)
        store = Store(file, timeout=60)
        store.enrol(users, items)
        before = dict.fromkeys(users, 0)
        while not done.is_set():
            for user in users:
                found = [one.item_id for one in store.history(user)]
                assert found == items[: len(found)]  # in order, without a gap or a repeat
                assert len(found) >= before[user]
                before[user] = len(found)
            time.sleep(0.01)

    readers = started(read, read)
    finished(started(*(lambda user=user: write(user) for user in users)))  # type: ignore[misc]
    done.set()
    finished(readers)
    store = Store(file)
    for user in users:
        assert [(one.item_id, one.rating) for one in store.history(user)] == [
            (item, 1 + n % 5) for n, item in enumerate(items)
        ]
    assert store.evaluations()["id"].n_unique() == WRITERS * EACH


def test_what_was_acknowledged_survives_kill_9(store: Store, file: Path) -> None:
    reading, writing = os.pipe()

    def work() -> None:
        os.close(reading)
        while True:
            number = store.comment("ann", "tea", "good")
            os.write(writing, number.to_bytes(8, "little"))

    (process,) = started(work)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        acknowledged = [pipe.read(8) for _ in range(60)]
        os.kill(process.pid, signal.SIGKILL)
        acknowledged += [pipe.read(8) for _ in iter(lambda: pipe.peek(1), b"")]
    process.join(60)
    saved = [one.id for one in Store(file).history("ann")]
    told = [int.from_bytes(number, "little") for number in acknowledged]
    assert len(told) >= 60
    assert saved[: len(told)] == told
    assert len(saved) <= len(told) + 1  # the last one may have been saved and not yet told
    assert plain(file, "PRAGMA integrity_check") == [("ok",)]


def test_an_evaluation_is_forced_to_the_disk_and_an_impression_is_not(store: Store) -> None:
    statements: list[str] = []
    store._connection().set_trace_callback(statements.append)
    store.click("ann", "tea")
    assert not [one for one in statements if "synchronous" in one]
    assert store._connection().execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    statements.clear()
    store.log([Shown("tea", 1, 1.0)], policy="p")
    assert statements[0] == "PRAGMA synchronous = NORMAL"
    with pytest.raises(ReclibError):
        store.log([Shown("cup", 1, 1.0)], policy="p")
    assert store._connection().execute("PRAGMA synchronous").fetchone() == (2,)
    assert store._connection().execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_threads_and_forked_processes_share_a_store(store: Store) -> None:
    parents = store._connection()

    def work() -> None:
        assert store._connection() is not parents
        for _ in range(5):
            store.click("ann", "tea")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    finished(started(work, work))
    assert len(store.history("ann")) == 30


def test_a_history_tells_what_was_done_in_order(store: Store) -> None:
    store.click("ann", "tea")
    store.purchase("ann", "tea")
    third = store.rate("ann", "tea", 2.0)
    store.comment("ann", "tea", "weak")
    store.rate("ann", "tea", np.int64(4))  # type: ignore[arg-type]
    told = [(one.kind, one.rating, one.comment) for one in store.history("ann")]
    assert told == [
        ("click", None, None),
        ("purchase", None, None),
        ("rating", 2, None),
        ("comment", None, "weak"),
        ("rating", 4, None),
    ]
    times = [one.time for one in store.history("ann")]
    assert times == sorted(times)
    assert [one.id for one in store.history("ann", after=third)] == [third + 1, third + 2]
    assert store.ratings("ann") == {"tea": 4}


# ---- customers see only their own


def test_a_customer_reads_only_their_own_rows(store: Store) -> None:
    store.comment("bob", "tea", "bob's secret")
    store.rate("bob", "ink", 1)
    assert store.history("ann") == []
    assert store.ratings("ann") == {}
    for trick in (
        "' OR 1=1 --",
        "%",
        "*",
        "bo_",
        "BOB",
        "bob ",
        "bob\0",
        "\udcff",
        "",
        None,
        1,
        b"bob",
    ):
        with pytest.raises(ReclibError, match="unknown customer") as caught:
            store.history(trick)  # type: ignore[arg-type]
        assert "ann" not in str(caught.value)
        assert "secret" not in str(caught.value)


def test_an_impression_belongs_to_whom_it_was_shown(store: Store) -> None:
    mine, other = store.log([Shown("tea", 1, 1.0), Shown("ink", 2, 0.5)], policy="p", user_id="ann")
    (visitors,) = store.log([Shown("tea", 1, 1.0)], policy="p")
    for user, item, impression in (
        ("bob", "tea", mine),
        ("ann", "ink", mine),
        (None, "tea", mine),
        ("ann", "tea", visitors),
        ("ann", "tea", 99),
        ("ann", "tea", -(2**70)),
        ("ann", "tea", "1 OR 1=1"),
    ):
        with pytest.raises(ReclibError, match="none of theirs"):
            store.click(user, item, impression=impression)  # type: ignore[arg-type]
    store.click("ann", "tea", impression=mine)
    store.purchase("ann", "ink", impression=other)
    store.click(None, "tea", impression=visitors)
    log = validated(store.impressions(), Impressions, "the log")
    assert log["click"].to_list() == [True, False, True]  # to buy is not to click
    assert log["user_id"].to_list() == ["ann", "ann", None]
    assert log["propensity"].to_list() == [1.0, 0.5, 1.0]
    assert store.evaluations()["user_id"].to_list() == ["ann", "ann"]  # visitors have no history


# ---- hostile input


@pytest.mark.parametrize(
    "text",
    ["'; DROP TABLE evaluations; --", "<script>alert(1)</script>", "\"&<>'", "ψ🫖\n\ttab", "%s ?"],
)
def test_texts_come_out_as_they_went_in(store: Store, text: str) -> None:
    store.comment("ann", "tea", text)
    assert store.history("ann")[0].comment == text
    store.register(text, text)
    assert store.name(text) == text
    store.click(text, "tea")
    assert [one.item_id for one in store.history(text)] == ["tea"]
    assert store.evaluations()["comment"].to_list() == [text, None]


@pytest.mark.parametrize(
    "act",
    [
        lambda s: s.click("eve", "tea"),
        lambda s: s.click("ann", "cup"),
        lambda s: s.click("ann", None),
        lambda s: s.click("ann", ["tea"]),
        lambda s: s.purchase(None, "tea"),
        lambda s: s.purchase("ann", "x" * 10**6),
        *(
            lambda s, stars=stars: s.rate("ann", "tea", stars)
            for stars in (0, 6, 11, -1, 4.5, float("nan"), float("inf"), "5", None, True, [5], 5j)
        ),
        lambda s: s.comment("ann", "tea", "x" * 10**6),
        lambda s: s.comment("ann", "tea", "x" * 10_001),
        lambda s: s.comment("ann", "tea", ""),
        lambda s: s.comment("ann", "tea", None),
        lambda s: s.comment("ann", "tea", b"bytes"),
        lambda s: s.comment("ann", "tea", "half \udcff"),
        lambda s: s.comment("ann", "tea", "null \0"),
        lambda s: s.register("ann"),
        lambda s: s.register(""),
        lambda s: s.register("x" * 201),
        lambda s: s.register("eve", "x" * 201),
        lambda s: s.register(7),
        lambda s: s.enrol(["fine", ""], []),
        lambda s: s.log([Shown("cup", 1, 1.0)], policy="p"),
        lambda s: s.log([Shown("tea", 1, 1.0)], policy="p", user_id="eve"),
        *(
            lambda s, rank=rank, chance=chance: s.log(
                [Shown("tea", 1, 1.0), Shown("tea", rank, chance)], policy="p"
            )
            for rank, chance in ((0, 1.0), (1, 0.0), (1, 1.1), (1, float("nan")))
        ),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_no_trace(
    store: Store, act: Callable[[Store], object], file: Path
) -> None:
    with pytest.raises(ReclibError) as caught:
        act(store)
    assert len(str(caught.value)) < 300
    for table in ("evaluations", "impressions"):
        assert plain(file, f"SELECT count(*) FROM {table}") == [(0,)]
    assert plain(file, "SELECT user_id FROM customers") == [("ann",), ("bob",)]
    store.click("ann", "tea")  # and the store goes on


def test_the_longest_comment_fits(store: Store) -> None:
    store.comment("ann", "tea", "ψ" * 10_000)
    assert store.history("ann")[0].comment == "ψ" * 10_000


def test_the_tables_themselves_refuse_what_cannot_be(store: Store, file: Path) -> None:
    """Another program that writes to the file is held to the same rules."""
    connection = store._connection()
    for row in (
        "'ann', 'tea', 'rating', 11, NULL",
        "'ann', 'tea', 'rating', NULL, NULL",
        "'ann', 'tea', 'look', NULL, NULL",
        "'eve', 'tea', 'click', NULL, NULL",
        "'ann', 'cup', 'click', NULL, NULL",
        "NULL, 'tea', 'purchase', NULL, NULL",
        "'ann', 'tea', 'comment', NULL, NULL",
    ):
        with pytest.raises(sqlite3.IntegrityError):
            connection.execute(
                "INSERT INTO evaluations (time, user_id, item_id, kind, rating, comment) "
                f"VALUES (0, {row})"
            )


# ---- files that cannot be used


def test_a_locked_file_is_reported_and_nothing_is_kept(store: Store, file: Path) -> None:
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    impatient = Store(file, timeout=0.05)
    with pytest.raises(ReclibError, match="locked.*raise timeout"):
        impatient.click("ann", "tea")
    assert impatient.history("ann") == []  # to read is possible
    other.execute("ROLLBACK")
    impatient.click("ann", "tea")
    assert len(store.history("ann")) == 1


def test_a_full_disk_is_reported_and_the_rest_stays(store: Store) -> None:
    connection = store._connection()
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    saved = []
    with pytest.raises(ReclibError, match="disk is full; make room"):
        while len(saved) < 1000:
            saved.append(store.comment("ann", "tea", "x" * 5000))
    assert [one.id for one in store.history("ann")] == saved
    connection.execute(f"PRAGMA max_page_count = {pages + 1000}")
    saved.append(store.comment("ann", "tea", "room again"))
    assert [one.id for one in store.history("ann")] == saved


def test_a_file_that_cannot_be_written_is_reported(store: Store) -> None:
    store._connection().execute("PRAGMA query_only = 1")
    with pytest.raises(ReclibError, match="cannot be written"):
        store.click("ann", "tea")
    assert store.history("ann") == []


def test_a_damaged_file_is_reported(store: Store, file: Path) -> None:
    for n in range(200):
        store.register(f"u{n}")
    store.close()  # the last connection: everything is in the file now
    assert not file.with_name("shop.db-wal").exists()
    content = bytearray(file.read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)
    file.write_bytes(content)
    with pytest.raises(ReclibError, match="damaged"):
        Store(file).click("ann", "tea")


@pytest.mark.parametrize("name", ["folder", "missing/shop.db", "text", "other"])
def test_a_file_that_is_no_database_of_a_shop_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_text("user_id,item_id\n" * 100)
    with sqlite3.connect(tmp_path / "other") as other:
        other.execute("CREATE TABLE customers (id)")
    other.close()
    before = (tmp_path / "text").read_bytes(), (tmp_path / "other").read_bytes()
    with pytest.raises(ReclibError, match="cannot be opened|no database|another program"):
        Store(tmp_path / name)
    assert ((tmp_path / "text").read_bytes(), (tmp_path / "other").read_bytes()) == before


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf")])
def test_a_timeout_is_a_time(file: Path, timeout: float) -> None:
    with pytest.raises(ReclibError, match="timeout"):
        Store(file, timeout=timeout)


# ---- migrations


def test_a_migration_keeps_what_is_there(
    store: Store, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.click("ann", "tea")
    step = ("ALTER TABLE customers ADD COLUMN city TEXT", "UPDATE customers SET city = 'Ulm'")
    monkeypatch.setattr(module, "MIGRATIONS", (*module.MIGRATIONS, step))
    newer = Store(file)
    assert plain(file, "PRAGMA user_version") == [(len(module.MIGRATIONS),)]
    assert plain(file, "SELECT city FROM customers") == [("Ulm",), ("Ulm",)]
    assert len(newer.history("ann")) == 1
    Store(file)  # nothing left to do


def test_a_migration_that_fails_changes_nothing(
    store: Store, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = ("ALTER TABLE customers ADD COLUMN city TEXT", "UPDATE nowhere SET city = 'Ulm'")
    with monkeypatch.context() as patch:
        patch.setattr(module, "MIGRATIONS", (*module.MIGRATIONS, step))
        with pytest.raises(ReclibError, match="no such table"):
            Store(file)
    assert plain(file, "PRAGMA user_version") == [(len(module.MIGRATIONS),)]
    assert "city" not in [row[1] for row in plain(file, "PRAGMA table_info(customers)")]
    store.click("ann", "tea")


def test_a_file_of_a_newer_version_is_refused(store: Store, file: Path) -> None:
    store._connection().execute("PRAGMA user_version = 7")
    with pytest.raises(ReclibError, match="version 7.*update"):
        Store(file)
