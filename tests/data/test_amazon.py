"""The three releases in their official form, nasty lines and all, and the real reviews."""

import gzip
import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from reclib.data import Marketplace, load, prepare
from reclib.data.sources import amazon
from reclib.errors import ReclibError

Row = dict[str, Any]
SCRIPT = "var aPageStart = (new Date()).getTime();\nvar ue_t0=ue_t0||+new Date();"
STYLE = ".a-box-inner{background-color:#fff}#alohaBuyBoxWidget .selected{width:13px}"


def pack(file: Path, lines: Iterable[str]) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(gzip.compress("".join(line + "\n" for line in lines).encode()))


def review_2014(**changes: Any) -> Row:
    """The sample of the release's page, with changes."""
    return {
        "reviewerID": "A2SUAM1J3GNN3B",
        "asin": "0000013714",
        "reviewerName": "J. McDonald",
        "helpful": [2, 3],
        "reviewText": "I bought this for my husband who plays the piano.",
        "overall": 5.0,
        "summary": "Heavenly Highway Hymns",
        "unixReviewTime": 1252800000,
        "reviewTime": "09 13, 2009",
    } | changes


def product_2014(**changes: Any) -> Row:
    return {
        "asin": "0000013714",
        "title": "Girls' Ballet Tutu 12\" &amp; Zebra",
        "price": 3.17,
        "imUrl": "http://ecx.images-amazon.com/images/I/51fAmVkTbyL._SY300_.jpg",
        "related": {"also_bought": ["B00JHONN1S"], "bought_together": ["B002BZX8Z6"]},
        "salesRank": {"Toys & Games": 211836},
        "brand": "Coxlures",
        "categories": [["Sports & Outdoors", "Other Sports", "Dance"], ["Toys & Games"]],
        "description": "It's \u201cgreat\u201d\n<b>for</b> caf\xe9s \\ more",
    } | changes


def review_2018(**changes: Any) -> Row:
    return {
        "overall": 4.0,
        "vote": "1,234",
        "verified": True,
        "reviewTime": "09 1, 2016",
        "reviewerID": "AUI6WTTT0QZYS",
        "asin": "5120053084",
        "style": {"Size:": "Large", "Color:": "Charcoal"},
        "reviewerName": "Abbey",
        "reviewText": "I now have 4 of the 5 \u201cshades\u201d \\ 100% \U0001f600",
        "summary": "Comfy, flattering!\u0000",
        "image": ["https://images-na.ssl-images-amazon.com/images/I/71eG75FTJJL._SY88.jpg"],
        "unixReviewTime": 1472688000,
    } | changes


def product_2018(**changes: Any) -> Row:
    return {
        "category": ["Pet Supplies", "Dogs &amp; Cats", 'Books "A\\B"'],
        "tech1": "",
        "description": ['Say "hello"', "", "C:\\new\\table <br>"],
        "fit": "",
        "title": "Pet Qwerks <span>Treat</span> Cookbook",
        "also_buy": [],
        "tech2": "",
        "brand": "Pet Qwerks",
        "feature": ['Recipe\tbook 12"', "Cookie cutters"],
        "rank": "190,234 in Pet Supplies (",
        "also_view": ["B075DYQ1PH"],
        "details": {"ASIN:": "5120053084"},
        "main_cat": "Pet Supplies",
        "similar_item": "",
        "date": "",
        "price": "$7.86",
        "asin": "5120053084",
        "imageURL": [],
    } | changes


def review_2023(**changes: Any) -> Row:
    return {
        "rating": 3.0,
        "title": "Such a lovely scent but not overpowering.",
        "text": "This spray is really nice.<br />It smells &#34;good&#34;",
        "images": [{"small_image_url": "https://m.media-amazon.com/images/I/81F.jpg"}],
        "asin": "B088SZDGXG",
        "parent_asin": "B08BBQ29N5",
        "user_id": "AGKHLEW2SOWHNMFQIJGBECAF7INQ",
        "timestamp": 1588687728923,
        "helpful_vote": 0,
        "verified_purchase": True,
    } | changes


def product_2023(**changes: Any) -> Row:
    return {
        "main_category": "All Beauty",
        "title": "Lurrose 100Pcs Full Cover Fake Toenails",
        "average_rating": 3.7,
        "rating_number": 35,
        "features": ["durable", "easy \\ quick"],
        "description": ["Description", "No smell"],
        "price": 6.99,
        "images": [{"hi_res": None, "thumb": "https://m.media-amazon.com/images/I/31d.jpg"}],
        "videos": [],
        "store": "Lurrose",
        "categories": [],
        "details": {"Color": "As Shown", "Brand": "Lurrose", "UPC": "799768026253"},
        "parent_asin": "B08BBQ29N5",
        "bought_together": None,
    } | changes


class Shelf:
    """Writes the files of one release, and reads them."""

    def __init__(self, year: int, folder: Path) -> None:
        self.folder = folder
        self.read: Callable[[Path, str], Marketplace] = getattr(amazon, f"read_{year}")
        self.review: Callable[..., Row] = globals()[f"review_{year}"]
        self.product: Callable[..., Row] = globals()[f"product_{year}"]
        self.release: amazon.Release = getattr(amazon, f"RELEASE_{year}")
        self.user, self.item, self.rating, self.time = list(self.release.review_fields)[:4]
        self.product_id = next(iter(self.release.product_fields))
        self.dump = repr if self.release.literal else json.dumps

    def __call__(self, reviews: list[Row], products: list[Row]) -> Marketplace:
        file = self.folder / (self.release.files[0].format("Beauty") + ".gz")
        pack(file, map(json.dumps, reviews))
        file = self.folder / (self.release.products.format("Beauty") + ".gz")
        pack(file, map(self.dump, products))
        return self.read(self.folder, "Beauty")

    def seconds(self, moment: datetime) -> int:
        return round(moment.timestamp() / self.release.seconds)


@pytest.fixture(params=[2014, 2018, 2023])
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Shelf:
    return Shelf(request.param, tmp_path)


def steps(marketplace: Marketplace, table: str) -> dict[str, int]:
    """What every step of a table left out."""
    return {s.step: s.rows_in - s.rows_out for s in marketplace.steps if s.table == table}


def said(marketplace: Marketplace, step: str) -> str:
    return next(s.why for s in marketplace.steps if s.step == step)


def test_a_line_of_2014_is_read_as_it_stands(tmp_path: Path) -> None:
    found = Shelf(2014, tmp_path)([review_2014()], [product_2014()])
    assert found.name == "amazon-2014/Beauty" and not found.simulated
    assert found.items.to_dicts() == [
        {
            "item_id": "0000013714",
            "title": "Girls' Ballet Tutu 12\" &amp; Zebra",
            "brand": "Coxlures",
            "categories": "Sports & Outdoors > Other Sports > Dance",
            "description": "It's \u201cgreat\u201d\n<b>for</b> caf\xe9s \\ more",
            "price": 3.17,
            "currency": "USD",
        }
    ]
    same = {"user_id": "A2SUAM1J3GNN3B", "item_id": "0000013714", "rating": 5.0}
    same["timestamp"] = datetime(2009, 9, 13, tzinfo=UTC)
    assert found.interactions.to_dicts() == [same | {"position": 0}]
    texts = {
        "summary": "Heavenly Highway Hymns",
        "text": "I bought this for my husband who plays the piano.",
    }
    assert found.reviews is not None and found.reviews.to_dicts() == [same | texts]


def test_a_line_of_2018_is_read_as_it_stands(tmp_path: Path) -> None:
    found = Shelf(2018, tmp_path)([review_2018()], [product_2018()])
    item = found.items.row(0, named=True)
    assert item["title"] == "Pet Qwerks <span>Treat</span> Cookbook"
    assert item["categories"] == 'Pet Supplies > Dogs &amp; Cats > Books "A\\B"'
    assert item["description"] == (
        'Recipe\tbook 12" Cookie cutters Say "hello" C:\\new\\table <br>'
    )
    assert (item["brand"], item["price"], item["currency"]) == ("Pet Qwerks", 7.86, "USD")
    assert found.reviews is not None
    review = found.reviews.row(0, named=True)
    assert review["text"] == "I now have 4 of the 5 \u201cshades\u201d \\ 100% \U0001f600"
    assert review["summary"] == "Comfy, flattering!\u0000"
    assert review["timestamp"] == datetime(2016, 9, 1, tzinfo=UTC)


def test_a_line_of_2023_is_read_as_it_stands(tmp_path: Path) -> None:
    found = Shelf(2023, tmp_path)([review_2023()], [product_2023()])
    event = found.interactions.row(0, named=True)
    assert event["item_id"] == "B08BBQ29N5", "a product is a parent_asin"
    assert event["timestamp"] == datetime(2020, 5, 5, 14, 8, 48, 923000, tzinfo=UTC)
    assert found.items.to_dicts() == [
        {
            "item_id": "B08BBQ29N5",
            "title": "Lurrose 100Pcs Full Cover Fake Toenails",
            "brand": "Lurrose",
            "categories": "All Beauty",
            "description": "durable easy \\ quick Description No smell",
            "price": 6.99,
            "currency": "USD",
        }
    ]
    assert found.reviews is not None
    review = found.reviews.row(0, named=True)
    assert review["summary"] == "Such a lovely scent but not overpowering."
    assert review["text"] == "This spray is really nice.<br />It smells &#34;good&#34;"


def test_names_of_people_and_numbers_from_the_future_are_not_read(shelf: Shelf) -> None:
    found = shelf([shelf.review()], [shelf.product()])
    assert found.reviews is not None
    assert set(found.items.columns) == {
        "item_id", "title", "brand", "categories", "description", "price", "currency"
    }  # fmt: skip
    assert set(found.interactions.columns) == {
        "user_id", "item_id", "rating", "timestamp", "position"
    }  # fmt: skip
    for table in (found.interactions, found.reviews, found.items):
        written = table.write_csv()
        assert not any(word in written for word in ("McDonald", "Abbey", "3.7", "35"))


@pytest.mark.parametrize("missing", [None, "", "   \n"])
def test_a_text_of_nothing_is_missing(shelf: Shelf, missing: str | None) -> None:
    fields = {file: column for file, column in shelf.release.review_fields.items()}
    texts = [file for file, column in fields.items() if column in ("summary", "text")]
    product = dict.fromkeys(("title", "store", "brand", "price", "description"), missing)
    found = shelf([shelf.review(**dict.fromkeys(texts, missing))], [shelf.product(**product)])
    assert found.reviews is not None
    assert found.reviews["summary", "text"].row(0) == (None, None)
    assert found.items["title", "brand", "price", "currency"].row(0) == (None,) * 4
    assert said(found, "drop unreadable prices").startswith("0 ")


def test_a_line_without_any_other_field_is_read(shelf: Shelf) -> None:
    bare = {name: shelf.review()[name] for name in (shelf.user, shelf.item, shelf.rating)}
    bare[shelf.time] = shelf.review()[shelf.time]
    found = shelf([bare], [{shelf.product_id: shelf.product()[shelf.product_id]}])
    assert found.items.drop("item_id").row(0) == (None,) * 6
    assert len(found.interactions) == 1


def planted(shelf: Shelf) -> dict[str, list[Row]]:
    """Rows that cannot be, by the step that has to find them."""
    early, late = datetime(1995, 7, 15, tzinfo=UTC), shelf.release.end
    times: list[Any] = [shelf.seconds(early), shelf.seconds(late), -9999, None, "soon", 1e30, 0]
    return {
        "drop rows without ids": [
            shelf.review(**{name: value})
            for name in (shelf.user, shelf.item)
            for value in (None, "", "  ")
        ],
        "drop impossible ratings": [
            shelf.review(**{shelf.rating: value}) for value in (0.0, 5.5, -1, None, "five", "")
        ],
        "drop impossible dates": [shelf.review(**{shelf.time: value}) for value in times],
        "drop duplicates": [shelf.review(), shelf.review(**{shelf.rating: 1.0})],
    }


def test_every_impossible_review_is_left_out_and_counted(shelf: Shelf) -> None:
    rows = planted(shelf)
    last = [row for row in rows.pop("drop duplicates")]
    found = shelf([*sum(rows.values(), []), shelf.review(), *last], [shelf.product()])
    assert found.interactions["rating"].to_list() == [shelf.review()[shelf.rating]]
    assert steps(found, "reviews") == {
        "read": 0,
        **{step: len(wrong) for step, wrong in rows.items()},
        "drop duplicates": len(last),
        "order by time": 0,
    }


@pytest.mark.parametrize("step", ["drop rows without ids", "drop impossible dates"])
def test_nothing_left_is_an_error_that_names_the_source(shelf: Shelf, step: str) -> None:
    with pytest.raises(ReclibError, match="Beauty.*empty"):
        shelf(planted(shelf)[step], [shelf.product()])


def test_a_review_of_the_first_and_of_the_last_day_stays(shelf: Shelf) -> None:
    last = shelf.release.end.timestamp() - 1
    times = [amazon.OPENED.timestamp() / shelf.release.seconds, last / shelf.release.seconds]
    rows = [shelf.review(**{shelf.time: round(time)}) for time in times]
    assert len(shelf(rows, [shelf.product()]).interactions) == 2


def test_products_become_one_row_for_every_reviewed_one(shelf: Shelf) -> None:
    number, product = shelf.product_id, shelf.product
    here = shelf.review()[shelf.item]
    catalogue = [
        product(title="the first"),
        product(title="the second"),
        product(**{number: "nobody's"}),
        product(**{number: None}),
        product(**{number: " "}),
    ]
    reviews = [shelf.review(), shelf.review(**{shelf.item: "unlisted"})]
    found = shelf(reviews, catalogue)
    titles = dict(found.items.select("item_id", "title").iter_rows())
    assert titles == {here: "the first", "unlisted": None}
    left_out = steps(found, "items")
    assert left_out["drop rows without ids"] == 2
    assert left_out["drop duplicates"] == 1
    assert left_out["drop unreviewed products"] == 1
    assert left_out["match reviews"] == -1
    assert said(found, "match reviews").startswith("1 reviewed")


@pytest.mark.parametrize(
    ("written", "price"),
    [
        (12.99, 12.99),
        ("$1,299.00", 1299.0),
        ("$5.00 - $9.00", 5.0),
        ("from 12.99", 12.99),
        (STYLE, None),
        ("\u2014", None),
        ("nan", None),
        ("NaN", None),
        ("Infinity", None),
        (0, None),
        (-3.5, None),
    ],
)
def test_prices_are_read_or_set_to_missing_and_counted(
    shelf: Shelf, written: object, price: float | None
) -> None:
    found = shelf([shelf.review()], [shelf.product(price=written)])
    item = found.items.row(0, named=True)
    assert (item["price"], item["currency"]) == (price, "USD" if price else None)
    assert said(found, "drop unreadable prices").startswith("0 " if price else "1 ")


def test_a_piece_of_script_is_no_title(shelf: Shelf) -> None:
    found = shelf([shelf.review()], [shelf.product(title=SCRIPT)])
    assert found.items["title"].to_list() == [None]
    assert said(found, "drop broken titles").startswith("1 ")


@pytest.mark.parametrize(
    ("category", "department", "path"),
    [
        ([], "Digital Music", "Digital Music"),
        ([], '<img src="https://x.png" alt="Digital Music"/>', None),
        (["", "Music", None], "Digital Music", "Music"),
        ("Music", None, "Music"),
        ("2013", None, "2013"),
        (None, "", None),
    ],
)
def test_the_path_of_categories_falls_back_to_the_department(
    tmp_path: Path, category: object, department: str | None, path: str | None
) -> None:
    product = product_2018(category=category, main_cat=department)
    found = Shelf(2018, tmp_path)([review_2018()], [product])
    assert found.items["categories"].to_list() == [path]


@pytest.mark.parametrize("categories", [[[]], [], None])
def test_a_product_of_2014_may_have_no_category(tmp_path: Path, categories: object) -> None:
    found = Shelf(2014, tmp_path)([review_2014()], [product_2014(categories=categories)])
    assert found.items["categories"].to_list() == [None]


def test_position_follows_time_and_ties_keep_the_order_of_the_file(shelf: Shelf) -> None:
    day = shelf.review()[shelf.time]
    second = round(1 / shelf.release.seconds)
    rows = [
        shelf.review(**{shelf.item: item, shelf.time: time})
        for item, time in (("c", day), ("b", day), ("z", day - second), ("a", day))
    ]
    found = shelf([*rows, shelf.review(**{shelf.user: "other"})], [shelf.product()])
    mine = found.interactions.filter(pl.col("user_id") != "other").sort("position")
    assert mine["item_id"].to_list() == ["z", "c", "b", "a"]
    assert mine["position"].to_list() == [0, 1, 2, 3]
    assert said(found, "order by time").startswith("3 share")


def test_reviews_are_events_and_nothing_is_lost_in_prepare(shelf: Shelf) -> None:
    rows = [shelf.review(**{shelf.item: item}) for item in "abc"]
    ready = prepare(shelf(rows, [shelf.product()]))
    assert (ready.n_users, ready.n_items, ready.n_events) == (1, 3, 3)
    assert set(ready.weight) == {1.0}
    assert {"drop impossible dates", "match reviews"} <= set(ready.steps["step"])


@pytest.mark.parametrize("year", [2014, 2018])
def test_the_5_core_is_preferred_to_all_reviews(tmp_path: Path, year: int) -> None:
    shelf = Shelf(year, tmp_path)
    whole = shelf.folder / (shelf.release.files[1].format("Beauty") + ".gz")
    pack(whole, [json.dumps(shelf.review(**{shelf.item: item})) for item in "ab"])
    assert len(shelf([shelf.review()], [shelf.product()]).interactions) == 1
    (shelf.folder / (shelf.release.files[0].format("Beauty") + ".gz")).unlink()
    assert len(shelf.read(shelf.folder, "Beauty").interactions) == 2


def test_unpacked_files_do_as_well_and_leftovers_of_a_download_do_not(shelf: Shelf) -> None:
    shelf([shelf.review()], [shelf.product()])
    for file in list(shelf.folder.glob("*.gz")):
        file.with_suffix("").write_bytes(gzip.decompress(file.read_bytes()))
        file.rename(f"{file}.part")
        Path(f"{file}.sha256").write_text("0")
    (shelf.folder / "meta_Other.json.gz.part").write_text("")
    (shelf.folder / "meta_Other.jsonl.gz.sha256").write_text("")
    assert len(shelf.read(shelf.folder, "Beauty").interactions) == 1
    with pytest.raises(ReclibError, match="Allowed: Beauty$|did you mean"):
        shelf.read(shelf.folder, "Other")


def test_an_unknown_category_gets_the_nearest_name(shelf: Shelf) -> None:
    shelf([shelf.review()], [shelf.product()])
    for category in ("Beuaty", "../Beauty", ""):
        with pytest.raises(ReclibError, match="unknown category.*Beauty"):
            shelf.read(shelf.folder, category)


def test_missing_files_are_named(shelf: Shelf) -> None:
    with pytest.raises(ReclibError, match=r"no meta_Beauty\.jsonl?\.gz is there"):
        shelf.read(shelf.folder, "Beauty")
    shelf([shelf.review()], [shelf.product()])
    (shelf.folder / (shelf.release.files[0].format("Beauty") + ".gz")).unlink()
    with pytest.raises(ReclibError, match="no .*Beauty.*only the products"):
        shelf.read(shelf.folder, "Beauty")


@pytest.mark.parametrize("place", ["files", "products"])
def test_a_truncated_download_is_refused_by_name(shelf: Shelf, place: str) -> None:
    shelf([shelf.review()] * 50, [shelf.product()] * 50)
    names = {"files": shelf.release.files[0], "products": shelf.release.products}
    file = shelf.folder / (names[place].format("Beauty") + ".gz")
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(ReclibError, match=file.name):
        shelf.read(shelf.folder, "Beauty")


def test_a_product_line_of_2014_is_never_run(tmp_path: Path) -> None:
    shelf = Shelf(2014, tmp_path)
    shelf.dump = str
    trap = tmp_path / "trap"
    with pytest.raises(ReclibError, match=r"meta_Beauty\.json\.gz: line 1"):
        shelf([review_2014()], [f"__import__('pathlib').Path({str(trap)!r}).touch()"])  # type: ignore[list-item]
    assert not trap.exists()


def test_load_finds_a_category_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECLIB_DATA", str(tmp_path))
    folder = tmp_path / "amazon-2023"
    pack(folder / "Gift_Cards.jsonl.gz", [json.dumps(review_2023())])
    pack(folder / "meta_Gift_Cards.jsonl.gz", [json.dumps(product_2023())])
    found = load("amazon-2023/Gift_Cards", size="full")
    assert found.name == "amazon-2023/Gift_Cards"
    assert len(found.interactions) == len(found.items) == 1


@pytest.mark.real_data
def test_the_real_reviews_have_the_counts_of_their_source(
    real_data: Callable[[str], Path],
) -> None:
    found = amazon.read_reviews(real_data("musical-instruments"))
    events, reviews = found.interactions, found.reviews
    assert found.name == "musical-instruments"
    assert reviews is not None and len(events) == len(reviews) == 10_261
    assert events["user_id"].n_unique() == 1_429
    assert found.items.columns == ["item_id"] and len(found.items) == 900
    stars = reviews["rating"].value_counts().sort("rating")["count"].to_list()
    assert stars == [217, 250, 772, 2_084, 6_938]
    assert (reviews["text"].null_count(), reviews["summary"].null_count()) == (7, 0)
    words = reviews["text"].drop_nulls().str.split(" ").list.len().mean()
    assert isinstance(words, float) and 85 < words < 95
    times = events["timestamp"]
    assert times.min() == datetime(2004, 9, 18, tzinfo=UTC)
    assert times.max() == datetime(2014, 7, 22, tzinfo=UTC)
    assert sum(steps(found, "reviews").values()) == 0
    ordered = events.sort("user_id", "position")
    later = ordered.select(pl.col("timestamp").diff().over("user_id").drop_nulls() >= pl.duration())
    assert later["timestamp"].all()
