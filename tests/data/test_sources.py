"""Loading by name or from a folder; how bad files are refused is in `test_bad_inputs`."""

import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from reclib.data import SIZES, SOURCES, load, prepare, sources
from reclib.data.sources import data_files, short_names
from reclib.errors import ReclibError

EVENTS = pl.DataFrame(
    {
        "user_id": ["007", "007", "007", "true", "true", "true"],
        "item_id": ["true", "01", "1e3", "01", "1e3", "true"],
        "position": [0, 1, 2, 0, 1, 2],
    }
)
ITEMS = pl.DataFrame(
    {
        "item_id": ["true", "01", "1e3"],
        "title": ["NA", "007", "nan"],
        "brand": ["None", None, "null"],
        "price": [1.5, None, 2.0],
    }
)
REVIEWS = pl.DataFrame(
    {
        "user_id": ["007", "true"],
        "item_id": ["01", "true"],
        "rating": [4.0, 5.0],
        "summary": ["N/A", "010"],
        "text": ["true", None],
        "timestamp": [200, 100],
    }
)
USERS = pl.DataFrame({"user_id": ["007", "true"], "country": ["NA", None]})
IMPRESSIONS = pl.DataFrame(
    {
        "item_id": ["01", "02"],
        "rank": [1, 2],
        "click": [True, False],
        "propensity": [0.5, 0.25],
        "policy": ["random", "random"],
    }
)
SHOP = {
    "interactions": EVENTS,
    "items": ITEMS,
    "reviews": REVIEWS,
    "users": USERS,
    "impressions": IMPRESSIONS,
}


def write(folder: Path, table: str, frame: pl.DataFrame, suffix: str = ".csv") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{table}{suffix}"
    if suffix == ".parquet":
        frame.write_parquet(file)
    else:
        text = frame.write_csv().encode()
        file.write_bytes(gzip.compress(text) if suffix == ".csv.gz" else text)
    return file


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    write(tmp_path / "shop", "interactions", EVENTS)
    write(tmp_path / "shop", "items", ITEMS)
    return tmp_path / "shop"


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_a_folder_is_read_in_every_format_with_ids_and_texts_as_text(
    tmp_path: Path, suffix: str
) -> None:
    for table, frame in SHOP.items():
        write(tmp_path / "shop", table, frame, suffix)
    found = load(tmp_path / "shop", size="full")
    assert found.name == "shop" and not found.simulated and found.steps == ()
    for table, frame in SHOP.items():
        read = getattr(found, table)
        assert_frame_equal(
            read.select(pl.exclude("timestamp")), frame.drop("timestamp", strict=False)
        )
    assert found.reviews is not None
    assert found.reviews["timestamp"].dt.epoch("s").to_list() == [200, 100]
    assert set(prepare(found).item_ids) == {"01", "1e3", "true"}


def test_ids_of_digits_are_text_in_parquet_too(tmp_path: Path) -> None:
    table = pl.DataFrame({"user_id": [7, 7], "item_id": [1, 2], "position": [0, 1]})
    write(tmp_path / "shop", "interactions", table, ".parquet")
    assert load(tmp_path / "shop").interactions["user_id"].to_list() == ["7", "7"]


def test_a_path_as_text_is_as_good_as_a_path(shop: Path) -> None:
    assert_frame_equal(load(str(shop)).interactions, load(shop).interactions)


def test_without_a_table_of_items_the_catalogue_is_what_is_named(tmp_path: Path) -> None:
    write(tmp_path / "shop", "interactions", EVENTS)
    found = load(tmp_path / "shop")
    assert found.items["item_id"].to_list() == ["01", "1e3", "true"]
    assert found.reviews is None
    write(tmp_path / "shop", "impressions", IMPRESSIONS)
    assert load(tmp_path / "shop").items["item_id"].to_list() == ["01", "02", "1e3", "true"]


@pytest.mark.parametrize(
    "times",
    [
        [300, 100, 200, 30, 30, 10],
        ["2024-01-03", "2024-01-01", "2024-01-02", "2023-01-02", "2023-01-02", "2023-01-01"],
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_position_follows_from_time_and_ties_keep_the_order_of_the_file(
    tmp_path: Path, times: list[object], suffix: str
) -> None:
    table = EVENTS.drop("position").with_columns(timestamp=pl.Series(times))
    write(tmp_path / "shop", "interactions", table, suffix)
    found = load(tmp_path / "shop", size="full").interactions
    assert found["position"].to_list() == [2, 0, 1, 1, 2, 0]
    assert found["item_id"].to_list() == EVENTS["item_id"].to_list()
    assert found.schema["timestamp"] == pl.Datetime("us", "UTC")


def test_reviews_alone_become_the_interactions(tmp_path: Path) -> None:
    write(tmp_path / "shop", "reviews", REVIEWS)
    found = load(tmp_path / "shop")
    events = found.interactions
    assert events.select("user_id", "item_id", "position", "rating").rows() == [
        ("007", "01", 0, 4.0),
        ("true", "true", 0, 5.0),
    ]
    assert found.items["item_id"].to_list() == ["01", "true"]
    assert found.reviews is not None and len(found.reviews) == 2


def test_reviews_alone_may_have_a_position_in_place_of_a_time(tmp_path: Path) -> None:
    table = REVIEWS.drop("timestamp").with_columns(
        user_id=pl.lit("007"), position=pl.Series([1, 0])
    )
    write(tmp_path / "shop", "reviews", table)
    events = load(tmp_path / "shop").interactions
    assert events.columns == ["user_id", "item_id", "position", "rating"]
    assert events["position"].to_list() == [1, 0]


@pytest.mark.parametrize(
    ("position", "message"),
    [([0, 0], "user '007' has 0 twice in column 'position'"), ([0, -1], "'position' expects")],
)
def test_a_bad_position_of_a_review_is_refused(
    tmp_path: Path, position: list[int], message: str
) -> None:
    table = REVIEWS.with_columns(user_id=pl.lit("007"), position=pl.Series(position))
    write(tmp_path / "shop", "reviews", table)
    with pytest.raises(ReclibError, match=rf"reviews\.csv: .*{message}"):
        load(tmp_path / "shop")


@pytest.mark.parametrize("size", ["smoke", "full"])
@pytest.mark.parametrize("ids", [["True", "01"], ["none", "1"]])
def test_items_of_which_users_met_none_are_refused_in_every_size(
    crowd: Path, ids: list[str], size: str
) -> None:
    # a draw of users keeps the products they met, so it must not come first
    write(crowd, "items", pl.DataFrame({"item_id": ids}))
    message = (
        rf"crowd/interactions\.csv: .*such as 'of u0000'.*such as '{ids[0]}'; write them alike"
    )
    with pytest.raises(ReclibError, match=message):
        load(crowd, size=size)


@pytest.mark.parametrize("size", ["smoke", "full"])
def test_impressions_alone_follow_nobody_and_come_whole(tmp_path: Path, size: str) -> None:
    many = pl.concat([IMPRESSIONS] * 1000)
    write(tmp_path / "shop", "impressions", many)
    found = load(tmp_path / "shop", size=size)
    assert len(found.interactions) == 0
    assert found.impressions is not None and len(found.impressions) == 2000
    assert found.items["item_id"].to_list() == ["01", "02"]


def test_an_unknown_data_set_gets_the_nearest_name() -> None:
    with pytest.raises(ReclibError, match="unknown data set 'amazon-beuty'.*'amazon-beauty'"):
        load("amazon-beuty")


@pytest.mark.parametrize("name", ["simulated", "amazon-beauty"])
def test_an_unknown_size_gets_the_nearest_name(name: str) -> None:
    with pytest.raises(ReclibError, match="unknown size 'smal'.*did you mean 'small'"):
        load(name, size="smal")


def test_paper_size_is_for_simulated_data_only(shop: Path) -> None:
    for name in ("amazon-beauty", shop):
        with pytest.raises(ReclibError, match="size 'paper'.*Allowed: smoke, small, full for data"):
            load(name, size="paper")


def test_simulated_data_come_in_no_full_size() -> None:
    assert "full" in SIZES
    with pytest.raises(ReclibError, match="'full'"):
        load("simulated", size="full")


def test_an_absent_public_set_says_where_it_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECLIB_DATA", str(tmp_path))
    with pytest.raises(ReclibError, match=r"'amazon-office' is not in .*RECLIB_DATA.*README"):
        load("amazon-office")


@pytest.mark.parametrize("name", ["amazon-2014/Beauty", "amazon-2023/All_Beauty", "online-retail"])
def test_an_absent_public_set_that_can_be_fetched_says_how(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("RECLIB_DATA", str(tmp_path))
    with pytest.raises(ReclibError, match=f"'{name}' is not in .*`reclib fetch {name}`"):
        load(name)


def test_a_public_set_of_which_half_is_missing_says_which_file_and_how_to_fetch_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECLIB_DATA", str(tmp_path))
    (tmp_path / "amazon-2014").mkdir()
    (tmp_path / "amazon-2014" / "reviews_Beauty_5.json.gz").touch()
    with pytest.raises(ReclibError, match=r"amazon-2014/meta_Beauty\.json\.gz.*reclib fetch"):
        load("amazon-2014/Beauty")


def test_an_unknown_category_gets_the_nearest_one() -> None:
    with pytest.raises(ReclibError, match="category of amazon-2014 'Beuty': did you mean 'Beauty'"):
        load("amazon-2014/Beuty")
    with pytest.raises(ReclibError, match="unknown data set 'amazon-2014'.*amazon-2014/CATEGORY"):
        load("amazon-2014")


def test_every_source_says_what_it_is_and_whose() -> None:
    for name, source in SOURCES.items():
        assert source.name == name and source.title and source.licence
        made = name == "simulated"
        assert (source.read is None) == (source.files == ()) == (source.homepage == "") == made
        assert source.category == name.partition("/")[2]
    assert len(short_names()) < 10


def test_a_family_is_loaded_by_category_under_its_full_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECLIB_DATA", str(tmp_path))
    write(tmp_path / "amazon-2014", "interactions", EVENTS)
    seen: list[Path] = []

    def read(folder: Path) -> sources.Marketplace:
        seen.append(folder)
        return sources.folder.read(folder)

    source = SOURCES["amazon-2014/Beauty"]
    known = {source.name: replace(source, read=read, files=(("interactions.csv",),))}
    monkeypatch.setattr(sources, "SOURCES", known)
    assert load("amazon-2014/Beauty").name == "amazon-2014/Beauty"
    assert seen == [tmp_path / "amazon-2014"]


def test_the_files_of_a_set_are_those_that_may_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shop: Path
) -> None:
    monkeypatch.setenv("RECLIB_DATA", str(tmp_path))
    for name in (
        "open-bandit/bts/men/men.csv.gz",
        "open-bandit/bts/men/item_context.csv",
        "open-bandit/SOURCE.md",
        "amazon-2014/reviews_Beauty_5.json.gz",
        "amazon-2014/meta_Beauty.json.gz",
        "amazon-2014/meta_Beauty.json.gz.sha256",
        "amazon-2014/meta_Baby.json.gz",
        "shop/notes.csv",
        "shop/.items-half.csv",
        *(f"{folder}/.lock" for folder in ("open-bandit", "amazon-2014", "shop")),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert list(data_files("open-bandit")) == ["bts/men/item_context.csv", "bts/men/men.csv.gz"]
    beauty = data_files("amazon-2014/Beauty")
    assert list(beauty) == ["meta_Beauty.json.gz", "reviews_Beauty_5.json.gz"]
    assert all(file == tmp_path / "amazon-2014" / name for name, file in beauty.items())
    assert list(data_files(str(shop))) == ["interactions.csv", "items.csv"]
    assert data_files("simulated") == {}


def test_files_and_columns_that_nothing_reads_are_named_in_the_steps(shop: Path) -> None:
    # none of these is an event, a country, a price or a timestamp that went by another name
    others = ["timestamp_utc", "Price", "colour", "invoice", "event_id", "place", "segment"]
    events = EVENTS.with_columns(
        *(pl.lit("x").alias(name) for name in others), timestamp=pl.lit(10**9), price=pl.lit(1.0)
    )
    write(shop, "interactions", events)
    write(shop, "items", ITEMS.with_columns(name=pl.lit("x"), old_price=pl.lit(3)))
    write(shop, "orders", EVENTS)
    for name in ("items_2023.XLSX", "SOURCE.md", ".lock", ".users-half.csv"):
        (shop / name).touch()
    (shop / "photos").mkdir()
    (shop / "items").mkdir()
    found = load(shop, size="full")
    assert [(step.table, step.rows_in, step.rows_out) for step in found.steps] == [
        *((name, 0, 0) for name in ("items", "items_2023.XLSX", "orders.csv")),
        *(("interactions", 6, 6), ("items", 3, 3)),
    ]
    assert found.steps[0].why.endswith("and end in .csv.gz, .csv, .parquet")
    assert [step.why for step in found.steps[3:]] == [
        f"not used: {', '.join(others)}",
        "not used: name, old_price",
    ]
    assert list(prepare(found).steps["table"][:4]) == [
        "items",
        "items_2023.XLSX",
        "orders.csv",
        "interactions",
    ]
    assert list(found.interactions.columns[3:-2]) == others, "they are kept"


def test_a_file_in_place_of_a_folder_is_named(shop: Path) -> None:
    with pytest.raises(ReclibError, match=r"interactions\.csv is a file; give the folder"):
        load(shop / "interactions.csv")


@pytest.fixture
def crowd(tmp_path: Path) -> Path:
    """Seven hundred users, each with three products of their own."""
    users = pl.Series("user_id", [f"u{user:03d}" for user in range(700)])
    table = pl.DataFrame({"user_id": np.repeat(users.to_numpy(), 3), "position": [0, 1, 2] * 700})
    table = table.with_columns(
        item_id="of " + pl.col("user_id") + pl.col("position").cast(pl.String)
    )
    write(tmp_path / "crowd", "interactions", table)
    write(tmp_path / "crowd", "users", users.to_frame())
    reviews = table.select("user_id", "item_id", rating=pl.lit(3))
    write(tmp_path / "crowd", "reviews", reviews)
    return tmp_path / "crowd"


def test_a_small_size_draws_whole_users_with_their_products_by_seed(crowd: Path) -> None:
    one, same, other = load(crowd), load(crowd), load(crowd, seed=1)
    assert one.reviews is not None and one.users is not None
    users = set(one.interactions["user_id"])
    assert len(users) == 600
    assert (one.interactions.group_by("user_id").len()["len"] == 3).all()
    assert set(one.items["item_id"]) == set(one.interactions["item_id"])
    assert set(one.reviews["user_id"]) == set(one.users["user_id"]) == users
    assert_frame_equal(one.interactions, same.interactions)
    assert set(other.interactions["user_id"]) != users
    assert load(crowd, size="small").interactions["user_id"].n_unique() == 700


def test_the_draw_is_the_one_of_the_recorded_runs(crowd: Path) -> None:
    # recorded results depend on it: of the users in the order of their ids, by NumPy's generator
    users = np.unique([f"u{user:03d}" for user in range(700)])
    drawn = np.random.default_rng(5).choice(users, 600, replace=False)
    assert set(load(crowd, seed=5).interactions["user_id"]) == set(drawn)


def test_a_draw_of_own_data_is_of_users_that_a_split_can_use(
    crowd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = pl.read_csv(crowd / "interactions.csv")
    once = pl.DataFrame({"user_id": [f"once{n}" for n in range(5000)], "position": 0})
    once = once.with_columns(item_id=pl.lit("of u0000")).cast(events.schema).select(events.columns)
    write(crowd, "interactions", pl.concat([events, once]))
    users = load(crowd).interactions["user_id"].unique()
    assert len(users) == 600 and not users.str.starts_with("once").any()
    assert load(crowd, size="small").interactions["user_id"].n_unique() == 700
    write(crowd, "interactions", once)
    (crowd / "reviews.csv").unlink()
    assert load(crowd).interactions["user_id"].n_unique() == 600, "where nobody has enough"


def test_texts_of_own_data_come_without_scripts(shop: Path) -> None:
    write(shop, "items", ITEMS.with_columns(description=pl.lit("<style>p {}</style>A pen")))
    write(shop, "reviews", REVIEWS.with_columns(text=pl.lit("Fine<!-- x -->")))
    found = load(shop, size="full")
    assert set(found.items["description"]) == {" A pen"}
    assert found.reviews is not None and set(found.reviews["text"]) == {"Fine "}


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "counts", "titles"),
    [
        ("amazon-beauty", (22_363, 12_101, 198_502), 12_094),
        ("amazon-office", (4_905, 2_420, 53_258), 2_417),
    ],
)
def test_real_data_have_the_counts_of_their_source(
    real_data: Callable[[str], Path], name: str, counts: tuple[int, ...], titles: int
) -> None:
    real_data(name)
    found = load(name, size="full")
    events = found.interactions
    assert (events["user_id"].n_unique(), len(found.items), len(events)) == counts
    assert found.items["title"].count() == titles
    assert not found.simulated and found.steps == ()
    ready = prepare(found)
    assert (ready.n_users, ready.n_items, ready.n_events) == counts
    assert sum(map(bool, ready.text)) == counts[1]


@pytest.mark.real_data
def test_smoke_size_of_real_data_is_a_seeded_draw(real_data: Callable[[str], Path]) -> None:
    real_data("amazon-office")
    one, same, other = (load("amazon-office", seed=seed) for seed in (0, 0, 1))
    assert one.interactions["user_id"].n_unique() == 600
    assert set(one.items["item_id"]) == set(one.interactions["item_id"])
    assert_frame_equal(one.interactions, same.interactions)
    assert not one.interactions.equals(other.interactions)
