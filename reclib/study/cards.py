"""Data cards: what a data set holds, counted once and recorded for the book's pages."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from reclib import cache
from reclib.data.schema import CONTEXT, EVENTS, TABLES, Marketplace
from reclib.data.sources import SOURCES, data_files, find_folder, load
from reclib.errors import ReclibError
from reclib.study import figures
from reclib.study.parameters import data_name
from reclib.study.provenance import git_state
from reclib.study.results import file_hash, reference_folder, write_json

CARD_FILE, FIGURE_FILE = "card.json", "card.svg"
SEED = 0  # of the simulated marketplace, or of the draw of users
PLACES = (1, 2, 3)  # as many as Open Bandit has
UNTYPED = "interaction"  # an event whose source does not say of which kind it is
PRODUCT_FIELDS = ("title", "description", "categories", "brand", "price")
Card = dict[str, Any]


def card(marketplace: Marketplace) -> Card:
    """Count what a marketplace holds.

    Parameters
    ----------
    marketplace
        As loaded: cleaned by its source, before short histories are left out.

    Returns
    -------
    dict
        Ready for JSON. None stands for what the data cannot give: no visit lengths without
        visits, no rating shares without ratings. Shares are of 1. The ``popularity`` of a
        product is its number of users, over the products that have any; ``repeats`` is the
        share of events whose product the user had met before; clicks per search are those
        that came out of one. ``random_click_rate`` is that of products shown at random in
        the first three places: counted where a policy of that name did so, computed from
        the truth of a simulated marketplace.
    """
    events, items = marketplace.interactions, marketplace.items
    with_item = events.filter(pl.col("item_id").is_not_null())
    purchases = _of_kind(events, "purchase")
    return {
        "name": marketplace.name,
        "simulated": marketplace.simulated,
        "tables": {name: _rows(getattr(marketplace, name)) for name in TABLES},
        "users": events["user_id"].n_unique() or None,
        "items": len(items),
        "items_met": with_item["item_id"].n_unique() or None,
        "events": len(events) or None,
        "density": _density(with_item, len(items)),
        "events_by_kind": _kinds(events),
        "events_per_user": _spread(_counts(events, "user_id")),
        "products_per_user": _spread(_counts(with_item.unique(["user_id", "item_id"]), "user_id")),
        "popularity": _popularity(with_item),
        "repeats": _repeats(with_item),
        "purchases": {
            "per_user": _spread(_counts(purchases, "user_id")),
            "popularity": _popularity(purchases),
            "repeats": _repeats(purchases),
        },
        "visits": _visits(events),
        "funnel": _funnel(events),
        "shown": _shown(marketplace.impressions),
        "random_click_rate": _random_click_rate(marketplace),
        "ratings": _ratings(marketplace),
        "words": _words(marketplace),
        "vocabulary": _vocabulary(marketplace),
        "known": {name: _known(items, name) for name in PRODUCT_FIELDS},
        "dates": _dates(marketplace),
        "context": {name: _levels(events, name) for name in CONTEXT},
        "steps": [
            {"table": step.table, "step": step.step, "rows_in": step.rows_in,
             "rows_out": step.rows_out, "why": step.why}
            for step in marketplace.steps
        ],
    }  # fmt: skip


def record_card(data: str, *, size: str | None = None, folder: Path | None = None) -> Path:
    """Write the card of a data set and its figure where the book finds them.

    Parameters
    ----------
    data
        A name or a folder, as `load` takes it.
    size
        By default everything: ``paper`` for the simulated marketplace, ``full`` for the
        others.
    folder
        By default ``results/reference/<data>``.

    Returns
    -------
    Path
        The folder, with ``card.json`` and ``card.svg``.

    Raises
    ------
    ReclibError
        The data cannot be loaded.
    """
    size = size or ("paper" if data == "simulated" else "full")
    folder = folder or reference_folder(data)
    marketplace = load(data, size=size, seed=SEED)
    source = SOURCES.get(data)
    about = {
        "title": source.title if source else data_name(data),
        "licence": source.licence if source else None,
        "homepage": source.homepage if source else None,
    }
    made = {
        "size": size,
        "seed": SEED,
        "data_files": {name: file_hash(file) for name, file in data_files(data).items()},
        "library": cache.source_hash(("data",)),
        "git": git_state(),
    }
    with mpl.rc_context():
        figures.use_style()
        figure = card_figure(marketplace)
        cache.atomic_write(
            folder / FIGURE_FILE,
            lambda file: figure.savefig(file, format="svg", metadata={"Date": None}),
        )
        plt.close(figure)
    write_json(about | card(marketplace) | {"made": made}, folder / CARD_FILE)
    return folder


def present() -> list[str]:
    """Name every data set that can be loaded here."""
    found = []
    for name in SOURCES:
        try:
            find_folder(name)
        except ReclibError:
            continue
        found.append(name)
    return found


# --- counts ------------------------------------------------------------------------------------


def _rows(table: pl.DataFrame | None) -> int | None:
    return len(table) if table is not None and len(table) else None


def _digits(value: float) -> float:
    """Keep six digits: more would differ between machines and mean nothing."""
    return float(f"{value:.6g}")


def _share(part: float, whole: float) -> float | None:
    return _digits(part / whole) if whole else None


def _counts(rows: pl.DataFrame, column: str) -> NDArray[np.int64]:
    """Count the rows of every value, those without one left out."""
    counted = rows.filter(pl.col(column).is_not_null()).group_by(column).len()
    return counted["len"].cast(pl.Int64).sort().to_numpy()


def _spread(values: NDArray[Any]) -> dict[str, float | None]:
    """Describe how many there are: median, mean and the value that nine of ten do not exceed."""
    if not len(values):
        return dict.fromkeys(("median", "mean", "p90"))
    return {
        "median": _digits(float(np.median(values))),
        "mean": _digits(float(np.mean(values))),
        "p90": _digits(float(np.quantile(values, 0.9))),
    }


def _of_kind(events: pl.DataFrame, kind: str) -> pl.DataFrame:
    return events.filter(pl.col("event") == kind) if "event" in events.columns else events.head(0)


def _kinds(events: pl.DataFrame) -> dict[str, int | None]:
    if "event" not in events.columns:
        return {**dict.fromkeys(EVENTS), UNTYPED: len(events) or None}
    counted = dict(events.group_by("event").len().iter_rows())
    return {kind: counted.get(kind) for kind in EVENTS} | {UNTYPED: counted.get(None)}


def _density(with_item: pl.DataFrame, n_items: int) -> float | None:
    """Give the share of all pairs of a user and a product that have an event."""
    pairs = with_item.select("user_id", "item_id").n_unique() if len(with_item) else 0
    return _share(pairs, with_item["user_id"].n_unique() * n_items)


def _popularity(rows: pl.DataFrame) -> dict[str, float | None]:
    """Measure how unequally users fall on the products that have any; repeats count once."""
    counts = _counts(rows.unique(["user_id", "item_id"]), "item_id")
    if not len(counts):
        return dict.fromkeys(("gini", "top_share"))
    ranks = np.arange(1, len(counts) + 1)
    gini = (2 * ranks - len(counts) - 1) @ counts / (len(counts) * counts.sum())
    top = int(np.ceil(len(counts) / 100))
    return {"gini": _digits(float(gini)), "top_share": _share(counts[-top:].sum(), counts.sum())}


def _repeats(rows: pl.DataFrame) -> float | None:
    pairs = rows.select("user_id", "item_id").n_unique() if len(rows) else 0
    return _share(len(rows) - pairs, len(rows))


def _visits(events: pl.DataFrame) -> dict[str, float | None]:
    """Count the events of each visit or invoice."""
    known = "session_id" in events.columns
    lengths = _counts(events, "session_id") if known else np.empty(0, np.int64)
    return {"count": len(lengths) or None, **_spread(lengths)}


def _funnel(events: pl.DataFrame) -> dict[str, float | None]:
    searches, clicks, carts, purchases = (_of_kind(events, kind) for kind in EVENTS)
    found = clicks.drop_nulls("query") if "query" in clicks.columns else clicks.head(0)
    both = {
        "clicks_per_search": (found, searches),
        "carts_per_click": (carts, clicks),
        "purchases_per_cart": (purchases, carts),
    }
    return {
        name: _share(len(part), len(whole)) if len(part) else None
        for name, (part, whole) in both.items()
    }


def _shown(impressions: pl.DataFrame | None) -> dict[str, Any]:
    """Count clicks among the products that were shown, by place and by who chose them."""
    if impressions is None or not len(impressions):
        return dict.fromkeys(("rows", "clicks", "click_rate", "by_rank", "by_policy"))
    parts = [name for name in ("campaign", "policy") if name in impressions.columns]
    return {
        **_clicks(impressions),
        "by_rank": _clicks_by(impressions, ["rank"]),
        "by_policy": _clicks_by(impressions, parts),
    }


def _clicks(impressions: pl.DataFrame) -> dict[str, float | None]:
    clicks = int(impressions["click"].sum())
    rows = len(impressions)
    return {"rows": rows, "clicks": clicks, "click_rate": _share(clicks, rows)}


def _clicks_by(impressions: pl.DataFrame, columns: Sequence[str]) -> dict[str, Any]:
    parts = impressions.sort(columns).partition_by(columns, as_dict=True, maintain_order=True)
    return {"-".join(map(str, names)): _clicks(part) for names, part in parts.items()}


def _random_click_rate(marketplace: Marketplace) -> float | None:
    truth, shown = marketplace.truth, marketplace.impressions
    if truth is not None:
        rng = np.random.default_rng(SEED)
        users = marketplace.interactions["user_id"].unique().sort().to_list()
        items = marketplace.items["item_id"].to_list()
        drawn = [
            list(rng.choice(ids, min(len(ids), most), replace=False))
            for ids, most in ((users, 500), (items, 1_000))
        ]
        rates = [truth.click_probability(*drawn, rank=rank) for rank in PLACES]
        return _digits(float(np.mean(rates, dtype=np.float64)))
    if shown is None or "policy" not in shown.columns:
        return None
    chance = shown.filter((pl.col("policy") == "random") & pl.col("rank").is_in(PLACES))
    return _share(int(chance["click"].sum()), len(chance))


def _all_ratings(marketplace: Marketplace) -> pl.Series:
    """Collect the stars of the reviews, else of the events."""
    reviews, events = marketplace.reviews, marketplace.interactions
    if reviews is not None:
        return reviews["rating"]
    return (
        events["rating"].drop_nulls()
        if "rating" in events.columns
        else pl.Series([], dtype=pl.Float64)
    )


def _ratings(marketplace: Marketplace) -> dict[str, Any]:
    stars = _all_ratings(marketplace)
    counts = {star: int((stars.round() == star).sum()) for star in range(1, 6)}
    return {
        "count": len(stars) or None,
        "mean": _digits(float(stars.to_numpy().mean())) if len(stars) else None,
        "shares": {str(star): _share(count, len(stars)) for star, count in counts.items()},
    }


def _lengths(table: pl.DataFrame | None, column: str) -> NDArray[np.int64]:
    """Count the words of every text; missing and empty ones are left out."""
    if table is None or column not in table.columns:
        return np.empty(0, np.int64)
    words = table[column].drop_nulls().str.count_matches(r"\S+").cast(pl.Int64)
    return words.filter(words > 0).to_numpy()


def _words(marketplace: Marketplace) -> dict[str, Any]:
    items, reviews = marketplace.items, marketplace.reviews
    texts = {
        "title": (items, "title"),
        "description": (items, "description"),
        "review": (reviews, "text"),
        "review_summary": (reviews, "summary"),
        "query": (_of_kind(marketplace.interactions, "search"), "query"),
    }
    return {name: _spread(_lengths(*place)) for name, place in texts.items()}


def _vocabulary(marketplace: Marketplace) -> dict[str, int | None]:
    """Count the different words of all products, and of all reviews."""

    def count(table: pl.DataFrame | None, *columns: str) -> int | None:
        known = [name for name in columns if table is not None and name in table.columns]
        if table is None or not known:
            return None
        texts = pl.concat_str(known, separator=" ", ignore_nulls=True).str.to_lowercase()
        words = texts.str.extract_all(r"\p{L}+").explode().drop_nulls()
        return int(table.select(words.n_unique()).item())

    return {
        "items": count(marketplace.items, "title", "description"),
        "reviews": count(marketplace.reviews, "summary", "text"),
    }


def _known(items: pl.DataFrame, column: str) -> float | None:
    """Give the share of products of which a field is known."""
    if column not in items.columns:
        return 0.0
    values = items[column].drop_nulls()
    return _share(len(values.filter(values.cast(pl.String).str.strip_chars() != "")), len(items))


def _times(marketplace: Marketplace) -> pl.Series:
    """Collect the times of the events, else of the impressions."""
    for table in (marketplace.interactions, marketplace.impressions):
        if table is not None and "timestamp" in table.columns and len(table):
            return table["timestamp"].drop_nulls()
    return pl.Series([], dtype=pl.Datetime("us", "UTC"))


def _dates(marketplace: Marketplace) -> dict[str, str | None]:
    days = _times(marketplace).dt.date()
    if not len(days):
        return dict.fromkeys(("first", "last"))
    return {"first": str(days.min()), "last": str(days.max())}


def _levels(events: pl.DataFrame, column: str) -> dict[str, float | None] | None:
    """Give the share of events at every level of a kind of context, the commonest first."""
    if column not in events.columns:
        return None
    known = events.filter(pl.col(column).is_not_null())
    counted = known.group_by(column).len().sort("len", column, descending=[True, False])
    return {level: _share(rows, len(known)) for level, rows in counted.iter_rows()} or None


# --- figure ------------------------------------------------------------------------------------


def card_figure(marketplace: Marketplace) -> Figure:
    """Draw up to four distributions that tell one data set from another.

    Parameters
    ----------
    marketplace
        As for `card`.

    Returns
    -------
    Figure
        Of these, the first four that the data can give: events per user, events (or
        impressions) per product, events over time, stars, click rate by place and by
        policy, words of a description, prices, words of a title.
    """
    return figures.small_multiples(list(_panels(marketplace))[:4])


def _panels(marketplace: Marketplace) -> Iterator[tuple[str, Callable[[Axes], None]]]:
    events, items, impressions = (
        marketplace.interactions, marketplace.items, marketplace.impressions
    )  # fmt: skip
    what, rows = ("events", events) if len(events) else ("impressions", impressions)
    if len(per_user := _counts(events, "user_id")):
        yield "events per user", partial(_draw_counts, values=per_user, unit="users")
    if rows is not None and len(per_item := _counts(rows, "item_id")):
        yield f"{what} per product", partial(_draw_counts, values=per_item, unit="products")
    if len(times := _times(marketplace)):
        unit, counted, edges = _over_time(times)
        yield f"{what} per {unit}", partial(figures.time_plot, counts=counted, edges=edges)
    if len(_all_ratings(marketplace)):
        yield (
            "share of ratings, by stars",
            partial(figures.bar_plot, values=_ratings(marketplace)["shares"]),
        )
    if impressions is not None and len(impressions):
        clicked = _shown(impressions)
        for by, title in (("by_rank", "by place"), ("by_policy", "by policy")):
            rates = {name: (part["clicks"], part["rows"]) for name, part in clicked[by].items()}
            yield f"clicks per impression, {title}", partial(figures.rate_plot, counts=rates)
    if len(words := _lengths(items, "description")):
        yield "words of a description", partial(_draw_values, values=words)
    if "price" in items.columns and len(prices := items["price"].drop_nulls().to_numpy()):
        yield "price", partial(_draw_values, values=prices)
    if len(words := _lengths(items, "title")):
        yield "words of a title", partial(_draw_words, values=words)


def _draw_counts(ax: Axes, values: NDArray[Any], unit: str) -> None:
    figures.distribution_plot(values, label="", ax=ax)
    ax.set_ylabel(unit)


def _draw_values(ax: Axes, values: NDArray[Any]) -> None:
    """Draw values over a logarithmic axis, without the hundredth at either end."""
    low, high = np.quantile(values[values > 0], (0.01, 0.99))
    bins = np.geomspace(low, max(high, low * 2), 25)
    ax.hist(values, bins=bins.tolist(), color=figures.COLOURS["content"], alpha=0.85)
    ax.set(xscale="log", ylabel="products")


def _draw_words(ax: Axes, values: NDArray[np.int64]) -> None:
    """Draw short counts one by one, without the highest hundredth."""
    most = int(np.quantile(values, 0.99))
    counted = np.bincount(values[values <= most], minlength=most + 1)
    ax.bar(np.arange(len(counted)), counted, width=1, color=figures.COLOURS["content"], alpha=0.85)
    ax.set_ylabel("products")


def _over_time(times: pl.Series) -> tuple[str, NDArray[np.int64], list[datetime]]:
    """Count by day, week or month, whichever gives a readable number of bars."""
    first, last = times.min(), times.max()
    assert isinstance(first, datetime) and isinstance(last, datetime)
    units = (("1d", "day", 90), ("1w", "week", 700), ("1mo", "month", 36500))
    step, name = next((s, n) for s, n, most in units if (last - first).days <= most)
    start = pl.Series([first]).dt.truncate("1mo" if step == "1mo" else "1d").item()
    # the last bar needs an end; a last week of a few days would only look like a fall
    end = last if step == "1w" else pl.lit(last).dt.offset_by(step)
    edges = pl.datetime_range(start, end, step, eager=True)
    seconds = edges.dt.epoch("us").to_numpy()
    counts, _ = np.histogram(times.dt.epoch("us").to_numpy(), bins=seconds)
    return name, counts.astype(np.int64), edges.to_list()
