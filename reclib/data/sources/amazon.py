"""Amazon reviews as their collectors publish them: the releases of 2014, 2018 and 2023.

All three were collected by J. McAuley's group at UCSD for research. A release has two files
a category: reviews and products. Names of reviewers, and the mean rating and number of
ratings on a product's page, which were taken long after most of its reviews, are never read.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from reclib.data.clean import Cleaning, parse_prices
from reclib.data.schema import Interactions, Items, Marketplace, Reviews, Step, validated
from reclib.data.sources.folder import placed
from reclib.data.tables import read_json_lines, read_table
from reclib.errors import ReclibError, unknown

OPENED = datetime(1995, 7, 16, tzinfo=UTC)  # when the shop opened
SCRIPT = "getTime()"  # in a title: a piece of the page's script, not the product's name


@dataclass(frozen=True)
class Release:
    """What tells one release from the others.

    Attributes
    ----------
    year
        Of the release.
    files
        Names of the file of reviews, the preferred one first, without ``.gz``.
    products
        Name of the file of products, without ``.gz``.
    review_fields, product_fields
        Field in the file → column.
    seconds
        In one unit of the reviews' time.
    end
        When the collection had ended; a later review is an error.
    literal
        Whether lines of products are Python literals.
    """

    year: int
    files: tuple[str, ...]
    products: str
    review_fields: Mapping[str, str]
    product_fields: Mapping[str, str]
    end: datetime
    seconds: float = 1.0
    literal: bool = False


_REVIEW_FIELDS = {
    "reviewerID": "user_id",
    "asin": "item_id",
    "overall": "rating",
    "unixReviewTime": "timestamp",
    "summary": "summary",
    "reviewText": "text",
}
_PRODUCT_FIELDS = {"title": "title", "description": "description", "price": "price"}
RELEASE_2014 = Release(
    year=2014,
    files=("reviews_{}_5.json", "reviews_{}.json"),
    products="meta_{}.json",
    review_fields=_REVIEW_FIELDS,
    product_fields={
        "asin": "item_id",
        **_PRODUCT_FIELDS,
        "brand": "brand",
        "categories": "categories",
    },
    end=datetime(2014, 8, 1, tzinfo=UTC),
    literal=True,
)
RELEASE_2018 = Release(
    year=2018,
    files=("{}_5.json", "{}.json"),
    products="meta_{}.json",
    review_fields=_REVIEW_FIELDS,
    product_fields={
        "asin": "item_id",
        **_PRODUCT_FIELDS,
        "brand": "brand",
        "category": "categories",
        "main_cat": "department",
        "feature": "features",
    },
    end=datetime(2018, 11, 1, tzinfo=UTC),
)
RELEASE_2023 = Release(
    year=2023,
    files=("{}.jsonl",),
    products="meta_{}.jsonl",
    review_fields={
        "user_id": "user_id",
        "parent_asin": "item_id",
        "rating": "rating",
        "timestamp": "timestamp",
        "title": "summary",
        "text": "text",
    },
    product_fields={
        "parent_asin": "item_id",
        **_PRODUCT_FIELDS,
        "store": "brand",
        "categories": "categories",
        "main_category": "department",
        "features": "features",
    },
    end=datetime(2023, 10, 1, tzinfo=UTC),
    seconds=0.001,
)


def read_2014(folder: Path, category: str) -> Marketplace:
    """Read a category of the release of 2014.

    Parameters
    ----------
    folder
        With ``reviews_<category>_5.json.gz`` (or, where that is missing,
        ``reviews_<category>.json.gz``) and ``meta_<category>.json.gz``; unpacked files
        do as well.
    category
        As in the names of the files: ``Beauty``, ``Office_Products``.

    Returns
    -------
    Marketplace
        `interactions`: a review stands for a purchase. There is no column ``event``,
        because a review may be written without one; all weigh the same. `items`: the
        reviewed products; prices in USD. `reviews`: with their texts as published.
        `steps` counts what was left out.

    Raises
    ------
    ReclibError
        Unknown category, a missing or damaged file, a line that cannot be parsed, or
        nothing left after cleaning.
    """
    return _read(folder, category, RELEASE_2014)


def read_2018(folder: Path, category: str) -> Marketplace:
    """Read a category of the release of 2018.

    As `read_2014`, from ``<category>_5.json.gz`` (or ``<category>.json.gz``) and
    ``meta_<category>.json.gz``. A description is the page's list of features and its
    description. A title that is a piece of the page's script is taken for missing, as the
    release's own notes advise.
    """
    return _read(folder, category, RELEASE_2018)


def read_2023(folder: Path, category: str) -> Marketplace:
    """Read a category of the release of 2023.

    As `read_2014`, from ``<category>.jsonl.gz`` and ``meta_<category>.jsonl.gz``. A product
    is a ``parent_asin``: its sizes and colours are one. The brand is the store's name; a
    description is the page's list of features and its description.
    """
    return _read(folder, category, RELEASE_2023)


def read_reviews(folder: Path) -> Marketplace:
    """Read a table of reviews of 2014 that comes without products.

    Parameters
    ----------
    folder
        With ``reviews.csv.gz``: user_id, item_id, rating, summary, text, timestamp (Unix
        seconds).

    Returns
    -------
    Marketplace
        As `read_2014`; of a product only its id is known.

    Raises
    ------
    ReclibError
        If the file is missing, damaged or lacks a column.
    """
    file = folder / "reviews.csv.gz"
    table = read_table(file, columns=list(_REVIEW_FIELDS.values()))
    cleaning = Cleaning("reviews")
    reviews = _clean_reviews(table, cleaning, RELEASE_2014)
    items = reviews.select(pl.col("item_id").unique().sort())
    return _marketplace(folder.name, reviews, items, cleaning.steps)


def _read(folder: Path, category: str, release: Release) -> Marketplace:
    reviews_file, products_file = _find(folder, category, release)
    cleaning = Cleaning("reviews")
    reviews = read_json_lines(reviews_file, release.review_fields)
    reviews = _clean_reviews(reviews, cleaning, release)
    products = read_json_lines(products_file, release.product_fields, literal=release.literal)
    account = Cleaning("items")
    items = _clean_products(products, account, reviews["item_id"].unique().sort())
    steps = [*cleaning.steps, *account.steps]
    return _marketplace(f"amazon-{release.year}/{category}", reviews, items, steps)


def _find(folder: Path, category: str, release: Release) -> tuple[Path, Path]:
    """Find the two files of a category."""
    start, end = release.products.split("{}")
    there = {file.name.removesuffix(".gz") for file in folder.glob("*")}
    known = [
        name.removeprefix(start).removesuffix(end)
        for name in sorted(there)
        if name.startswith(start) and name.endswith(end)
    ]
    if not known:
        wanted = release.products.format(category)
        raise ReclibError(f"{folder}: no {wanted}.gz is there; fetch it or set RECLIB_DATA")
    if category not in known:
        raise unknown("category", category, known)
    reviews = [name.format(category) for name in release.files if name.format(category) in there]
    if reviews:
        return _packed(folder, reviews[0]), _packed(folder, release.products.format(category))
    wanted = " or ".join(f"{name.format(category)}.gz" for name in release.files)
    raise ReclibError(f"{folder}: no {wanted} is there, only the products; fetch the reviews")


def _packed(folder: Path, name: str) -> Path:
    file = folder / f"{name}.gz"
    return file if file.exists() else folder / name


def _clean_reviews(reviews: pl.DataFrame, cleaning: Cleaning, release: Release) -> pl.DataFrame:
    """Leave out what cannot be; numbers and times from text."""
    cleaning.note(reviews, "read", "lines of the file of reviews")
    known = pl.all_horizontal(_filled("user_id", "item_id").is_not_null())
    reviews = cleaning.keep(reviews, "drop rows without ids", known, "{n} without user or product")
    rating = pl.col("rating").cast(pl.Float64, strict=False)
    why = "{n} with a rating outside 1 to 5, or none"
    reviews = cleaning.keep(reviews, "drop impossible ratings", rating.is_between(1, 5), why)
    seconds = pl.col("timestamp").cast(pl.Float64, strict=False) * release.seconds
    possible = seconds.is_between(OPENED.timestamp(), release.end.timestamp(), closed="left")
    why = (
        f"{{n}} from before the shop opened ({OPENED:%Y-%m}), after {release.end:%Y-%m}, or undated"
    )
    reviews = cleaning.keep(reviews, "drop impossible dates", possible, why)
    reviews = reviews.with_columns(
        _filled("summary", "text"),
        rating=rating,
        timestamp=(seconds * 1e6).round().cast(pl.Int64).cast(pl.Datetime("us", "UTC")),
    )
    first = pl.struct("user_id", "item_id", "timestamp").is_first_distinct()
    why = "{n} repeats of the same user, product and moment"
    reviews = cleaning.keep(reviews, "drop duplicates", first, why)
    tied = reviews.select(pl.struct("user_id", "timestamp").is_duplicated().sum()).item()
    # where times are days and files are sorted by product, their order is an artefact
    why = f"{tied} share their moment with another of the same user; they keep the file's order"
    cleaning.note(reviews, "order by time", why)
    return reviews


def _clean_products(
    products: pl.DataFrame, cleaning: Cleaning, reviewed: pl.Series
) -> pl.DataFrame:
    """Make one row for every reviewed product, in the order of `reviewed`."""
    cleaning.note(products, "read", "lines of the file of products")
    named = _filled("item_id").is_not_null()
    products = cleaning.keep(products, "drop rows without ids", named, "{n} without a product")
    first = pl.col("item_id").is_first_distinct()
    why = "{n} repeats of a product; the first is kept"
    products = cleaning.keep(products, "drop duplicates", first, why)
    touched = pl.col("item_id").is_in(reviewed.implode())
    why = "{n} products that nobody reviewed"
    products = cleaning.keep(products, "drop unreviewed products", touched, why)
    products = products.with_columns(_filled(*products.columns))
    name = pl.when(~pl.col("title").str.contains(SCRIPT, literal=True)).then(pl.col("title"))
    why = "{n} titles that are a piece of the page's script set to missing"
    products = cleaning.mend(products, "drop broken titles", "title", name, why)
    price, currency = parse_prices("price")
    readable = pl.when(price.is_not_null()).then(pl.col("price"))
    why = "{n} prices that are none set to missing"
    products = cleaning.mend(products, "drop unreadable prices", "price", readable, why)
    catalogue = products.select(
        "item_id",
        "title",
        "brand",
        categories=_path(products),
        description=_description(products),
        price=price,
        currency=pl.when(price.is_not_null()).then(currency.fill_null("USD")),
    )
    items = reviewed.to_frame().join(catalogue, on="item_id", how="left", maintain_order="left")
    why = f"{len(items) - len(products)} reviewed products without a row, known by their id only"
    cleaning.steps.append(Step("items", "match reviews", len(products), len(items), why))
    return items


def _path(products: pl.DataFrame) -> pl.Expr:
    """Write the product's first path of categories as A > B > C; or else its department."""
    path = _joined("categories", " > ")
    if "department" not in products.columns:
        return path
    # some departments of 2018 are the address of a picture
    department = pl.when(~pl.col("department").str.contains("<", literal=True))
    return pl.coalesce(path, department.then(pl.col("department")))


def _description(products: pl.DataFrame) -> pl.Expr:
    """Join the page's list of features and its description."""
    parts = [name for name in ("features", "description") if name in products.columns]
    text = pl.concat_str([_joined(name, " ") for name in parts], separator=" ", ignore_nulls=True)
    return pl.when(text != "").then(text)


def _joined(column: str, separator: str) -> pl.Expr:
    """Join the parts of a list that comes as JSON text; missing where it is empty."""

    def join(text: str) -> str | None:
        return separator.join(_parts(text)) or None

    return pl.col(column).map_elements(join, return_dtype=pl.String)


def _parts(text: str) -> list[str]:
    """Read a list of texts; of a list of lists the first; a plain text is its own part."""
    try:
        parts = json.loads(text)
    except ValueError:
        return [text]
    while isinstance(parts, list) and parts and isinstance(parts[0], list):
        parts = parts[0]
    if not isinstance(parts, list):
        return [text]
    return [part.strip() for part in parts if isinstance(part, str) and part.strip()]


def _filled(*columns: str) -> pl.Expr:
    """Set texts of nothing but white space to missing."""
    texts = pl.col(*columns)
    return pl.when(texts.str.strip_chars() != "").then(texts)


def _marketplace(
    name: str, reviews: pl.DataFrame, items: pl.DataFrame, steps: list[Step]
) -> Marketplace:
    events = placed(reviews.select("user_id", "item_id", "rating", "timestamp"), name)
    return Marketplace(
        name=name,
        interactions=validated(events, Interactions, f"{name}, interactions"),
        items=validated(items, Items, f"{name}, items"),
        reviews=validated(reviews, Reviews, f"{name}, reviews"),
        steps=tuple(steps),
    )
