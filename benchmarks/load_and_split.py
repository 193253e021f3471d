"""Seconds and memory from parquet files to a split, beside plain pandas doing the same.

Run: ``.venv/bin/python benchmarks/load_and_split.py [events …]``; the default is the cost
curve 100,000, 1,000,000 and 10,000,000 events. There are a tenth as many products, half of
them with HTML in their titles, and a twentieth as many users; product popularity is
Zipf-like. Both ways validate, drop impossible dates, repeats, machines and short histories,
clean texts, rank prices, number the ids, tell the situation of every event, and hold out the
last two new products, with the matrix R of each fold; up to 1,000,000 events the results are
compared and must be equal.
Every measurement is a process of its own, so that its peak memory is known.
"""

import html
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import scipy.sparse as sp

from reclib.data import leave_one_out, load, prepare

LARGEST_FOR_PANDAS = 1_000_000
RUNS = 3  # the best of them counts; the first reads the files from the disk
MARKUP, SPACE = re.compile(r"<[/!]?[A-Za-z][^<>]{0,200}>"), re.compile(r"\s+")


def write_market(
    folder: Path, n_events: int, *, n_items: int | None = None, n_words: int = 10
) -> None:
    """Make up two parquet tables; by default there are a tenth as many products as events."""
    rng = np.random.default_rng(0)
    n_items, n_users = n_items or n_events // 10, n_events // 20
    chance = np.arange(1, n_items + 1) ** -0.8
    events = pl.DataFrame(
        {
            "user_id": rng.integers(n_users, size=n_events),
            "item_id": rng.permutation(n_items)[
                np.searchsorted(np.cumsum(chance / chance.sum()), rng.random(n_events)).clip(
                    max=n_items - 1
                )
            ],
            "event": rng.choice(["click", "cart", "purchase"], n_events, p=[0.8, 0.1, 0.1]),
            "timestamp": rng.integers(1_500_000_000, 1_700_000_000, n_events),
        }
    )
    twice = events.head(n_events // 100)  # repeats, and dates that cannot be
    events = pl.concat(
        [
            events[: n_events - len(twice) - 10],
            twice,
            events.tail(10).with_columns(timestamp=pl.lit(0, pl.Int64)),
        ]
    )
    events.with_columns(
        pl.format("u{}", "user_id").alias("user_id"),
        pl.format("i{}", "item_id").alias("item_id"),
        pl.from_epoch("timestamp").dt.cast_time_unit("us").dt.replace_time_zone("UTC"),
    ).write_parquet(folder / "interactions.parquet")
    words = np.array("red blue small large steel wooden cotton garden kitchen travel".split())
    words = np.array([f"{word}{n or ''}" for n in range(n_words // len(words)) for word in words])
    number = pl.Series("number", np.arange(n_items))
    odd = "<b>Fish &amp;amp; chips</b> "
    titles = [
        (odd if row % 2 else "") + " ".join(chosen)
        for row, chosen in enumerate(words[rng.integers(len(words), size=(n_items, 6))])
    ]
    pl.DataFrame(
        {
            "item_id": pl.select(pl.format("i{}", number)).to_series(),
            "title": titles,
            "categories": rng.choice(["Home > Kitchen", "Home > Garden", "Toys > Dolls"], n_items),
            "brand": [f"maker {maker}" for maker in rng.integers(500, size=n_items)],
            "price": rng.lognormal(3, 1, n_items).round(2) + 0.01,
        }
    ).write_parquet(folder / "items.parquet")


def with_reclib(folder: Path) -> dict[str, np.ndarray]:
    """Load, clean, number and split as the study does."""
    split = leave_one_out(prepare(load(folder, size="full")))
    items = split.test.train.items
    found = {"title": items["title"], "price_level": items["price_level"]}
    for fold in (split.validation, split.test):
        train = fold.train
        found |= {
            f"{fold.name}_matrix": train.matrix.data,
            f"{fold.name}_asked": fold.relevant.indices,
            f"{fold.name}_time": train.time,
            **{f"{fold.name}_{name}": column for name, column in train.context.items()},
        }
    return found


def with_pandas(folder: Path) -> dict[str, np.ndarray]:
    """Do the same with pandas alone, as it is usually written."""
    events = pd.read_parquet(folder / "interactions.parquet")
    items = pd.read_parquet(folder / "items.parquet")
    events = events.sort_values("timestamp", kind="stable")
    events["position"] = events.groupby("user_id").cumcount()
    check(events, items)
    latest = pd.Timestamp.now(tz="UTC") + pd.Timedelta(days=1)
    events = events[events["timestamp"].between(pd.Timestamp("1990-01-01", tz="UTC"), latest)]
    events = events.drop_duplicates(["user_id", "item_id", "event", "timestamp"])
    per_day = events.groupby(["user_id", events["timestamp"].dt.date]).size()
    machines = per_day[per_day > 1000].index.get_level_values("user_id")
    events = events[~events["user_id"].isin(machines)]
    events = events[events.groupby("user_id")["item_id"].transform("nunique") >= 3]

    for name in ("title", "categories", "brand"):
        items[name] = items[name].fillna("").map(clean)
    items["price_level"] = items["price"].rank() / items["price"].count()
    user_ids = pd.Index(events["user_id"].unique()).sort_values()
    item_ids = pd.Index(pd.concat([items["item_id"], events["item_id"]]).unique()).sort_values()
    items = items.set_index("item_id").reindex(item_ids)
    events["user"] = user_ids.get_indexer(events["user_id"])
    events["item"] = item_ids.get_indexer(events["item_id"])
    events = events.sort_values(["user", "position"])

    moment = events["timestamp"].dt
    season = ["winter", "spring", "summer", "autumn"]
    hour = ["night", "morning", "afternoon", "evening"]
    events["hour"] = pd.Categorical.from_codes(moment.hour // 6, hour)
    day = (moment.day_of_week > 4).astype(int)
    events["weekday"] = pd.Categorical.from_codes(day, ["workday", "weekend"])
    events["season"] = pd.Categorical.from_codes(moment.month % 12 // 3, season)
    events["weight"] = events["event"].map({"click": 1.0, "cart": 2.0, "purchase": 3.0})
    new = ~events.duplicated(["user", "item"])
    met = new.groupby(events["user"]).cumsum()
    age = met.groupby(events["user"]).transform("max") - met
    found = {"title": items["title"], "price_level": items["price_level"]}
    for name, place in {"validation": 1, "test": 0}.items():
        train, asked = events[age > place], events[new & (age == place)]
        cells = (train["user"], train["item"])
        shape = (len(user_ids), len(item_ids))
        found |= {
            f"{name}_matrix": sp.csr_array((train["weight"], cells), shape, np.float32).data,
            f"{name}_asked": asked["item"].to_numpy(),
            f"{name}_time": train["timestamp"].astype("int64"),
            **{f"{name}_{part}": train[part] for part in ("hour", "weekday", "season")},
        }
    return found


def check(events: pd.DataFrame, items: pd.DataFrame) -> None:
    """Check the rules of the tables that the study checks."""
    for table, names in ((events, ["user_id", "item_id"]), (items, ["item_id"])):
        for name in names:
            assert table[name].notna().all() and (table[name].str.len() > 0).all()
    assert events["event"].isin(["search", "click", "cart", "purchase"]).all()
    assert not events.duplicated(["user_id", "position"]).any()
    assert items["item_id"].is_unique
    price = items["price"].dropna()
    assert ((price > 0) & np.isfinite(price)).all()


def clean(text: str) -> str:
    """Undo HTML entities, drop markup, squeeze space."""
    if "&" in text:
        text = html.unescape(html.unescape(text))
    return SPACE.sub(" ", MARKUP.sub(" ", text)).strip()


def measure(way: str, folder: Path) -> None:
    """Print seconds and gigabytes of one way, and keep what came out."""
    run = {"reclib": with_reclib, "pandas": with_pandas}[way]
    seconds = []
    for _ in range(RUNS):
        started = time.perf_counter()
        result = run(folder)
        seconds.append(time.perf_counter() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # from KiB
    np.savez(folder / way, **{name: np.asarray(found) for name, found in result.items()})
    print(min(seconds), peak)


def compare(n_events: int, ways: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Measure each way in a process of its own: seconds and GB; what came out must be equal."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_market(folder, n_events)
        figures = {}
        for way in ways:
            command = [sys.executable, __file__, "--measure", way, str(folder)]
            printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            seconds, peak = map(float, printed.split())
            figures[way] = seconds, peak
        first, *others = [np.load(folder / f"{way}.npz", allow_pickle=True) for way in ways]
        for other in others:
            assert all(np.array_equal(first[name], other[name]) for name in first.files)
    return figures


def main(sizes: list[int]) -> None:
    """Measure every size."""
    print(
        f"{'events':>12}{'products':>12}{'reclib':>10}{'GB':>7}{'pandas':>10}{'GB':>7}{'ratio':>8}"
    )
    for n_events in sizes:
        ways = ["reclib", "pandas"] if n_events <= LARGEST_FOR_PANDAS else ["reclib"]
        figures = compare(n_events, ways)
        line = f"{n_events:>12,}{n_events // 10:>12,}"
        line += "".join(f"{seconds:>8.2f} s{peak:>7.2f}" for seconds, peak in figures.values())
        if len(ways) == 2:
            line += f"{figures['pandas'][0] / figures['reclib'][0]:>7.1f}x"
        print(line, flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(sys.argv[2], Path(sys.argv[3]))
    else:
        main([int(float(text)) for text in sys.argv[1:]] or [100_000, 1_000_000, 10_000_000])
