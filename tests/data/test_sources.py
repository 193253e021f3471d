"""Loading: every format, ids as text, and every bad input with a message that helps."""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reclib.data import SIZES, load, prepare
from reclib.errors import ReclibError

EVENTS = pd.DataFrame(
    {
        "user_id": ["007", "007", "007", "NA", "NA", "NA"],
        "item_id": ["None", "01", "1e3", "01", "1e3", "None"],
        "position": [0, 1, 2, 0, 1, 2],
    }
)
ITEMS = pd.DataFrame(
    {
        "item_id": ["None", "01", "1e3"],
        "title": ["NA", "007", "nan"],
        "brand": ["None", None, "null"],
        "price": [1.5, np.nan, 2.0],
    }
)
REVIEWS = pd.DataFrame(
    {"user_id": ["007"], "item_id": ["01"], "rating": [4.0], "summary": ["N/A"], "text": ["true"]}
)


def write(folder: Path, table: str, frame: pd.DataFrame, suffix: str = ".csv") -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / f"{table}{suffix}"
    frame.to_parquet(file) if suffix == ".parquet" else frame.to_csv(file, index=False)
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
    for table, frame in (("interactions", EVENTS), ("items", ITEMS), ("reviews", REVIEWS)):
        write(tmp_path / "shop", table, frame, suffix)
    found = load(tmp_path / "shop", size="full")
    assert found.name == "shop" and not found.simulated
    assert found.interactions["user_id"].tolist() == EVENTS["user_id"].tolist()
    assert found.interactions["item_id"].tolist() == EVENTS["item_id"].tolist()
    assert found.items["title"].tolist() == ["NA", "007", "nan"]
    assert found.items["brand"].fillna("nothing").tolist() == ["None", "nothing", "null"]
    assert found.items["price"].fillna(-1).tolist() == [1.5, -1, 2]
    assert found.reviews[["summary", "text"]].iloc[0].tolist() == ["N/A", "true"]
    assert set(prepare(found).item_ids) == {"None", "01", "1e3"}


def test_queries_and_summaries_of_digits_stay_text(shop: Path) -> None:
    write(shop, "interactions", EVENTS.assign(query="007"))
    write(shop, "reviews", REVIEWS.assign(summary="010"))
    found = load(shop, size="full")
    assert found.interactions["query"].unique().tolist() == ["007"]
    assert found.reviews["summary"].tolist() == ["010"]


def test_a_path_as_text_is_as_good_as_a_path(shop: Path) -> None:
    pd.testing.assert_frame_equal(load(str(shop)).interactions, load(shop).interactions)


def test_without_a_table_of_items_the_catalogue_is_what_was_touched(tmp_path: Path) -> None:
    write(tmp_path / "shop", "interactions", EVENTS)
    found = load(tmp_path / "shop")
    assert found.items["item_id"].tolist() == ["01", "1e3", "None"]
    assert found.reviews is None


@pytest.mark.parametrize(
    "times",
    [
        [300, 100, 200, 30, 30, 10],
        ["2024-01-03", "2024-01-01", "2024-01-02", "2023-01-02", "2023-01-02", "2023-01-01"],
    ],
)
def test_position_follows_from_time_and_ties_keep_the_order_of_the_file(
    tmp_path: Path, times: list[object]
) -> None:
    table = EVENTS.drop(columns="position").assign(timestamp=times)
    write(tmp_path / "shop", "interactions", table)
    found = load(tmp_path / "shop", size="full").interactions
    placed = found.sort_values(["user_id", "position"]).groupby("user_id")["item_id"].agg(list)
    assert placed["007"] == ["01", "1e3", "None"]
    assert placed["NA"] == ["None", "01", "1e3"]
    assert str(found["timestamp"].dt.tz) == "UTC"


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
    with pytest.raises(ReclibError, match="'amazon-office' is not in .*RECLIB_DATA"):
        load("amazon-office")


def test_a_file_in_place_of_a_folder_is_named(shop: Path) -> None:
    with pytest.raises(ReclibError, match=r"interactions\.csv is a file; give the folder"):
        load(shop / "interactions.csv")


def test_a_folder_without_interactions_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ReclibError, match=r"interactions: no such table.*\.csv\.gz"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("table", "frame", "message"),
    [
        ("interactions", EVENTS.drop(columns="item_id"), "missing column 'item_id'"),
        ("interactions", EVENTS.drop(columns="position"), "missing column 'position'"),
        ("interactions", EVENTS[:0], "the table is empty"),
        ("interactions", EVENTS.assign(user_id=["", *"abcde"]), "column 'user_id'"),
        ("interactions", EVENTS.assign(position=0), "user '007' has 0 twice"),
        ("interactions", EVENTS.assign(rating=11), "column 'rating'.*11"),
        ("interactions", EVENTS.assign(event="buy"), "column 'event'.*'buy'"),
        ("interactions", EVENTS.assign(timestamp="soon"), "column 'timestamp'.*soon"),
        ("items", pd.concat([ITEMS, ITEMS[:1]]), "column 'item_id' expects unique.*'None'"),
        ("items", ITEMS.assign(price=-1), "column 'price'.*-1"),
        ("items", ITEMS.drop(columns="item_id"), "missing column 'item_id'"),
        ("items", ITEMS[:0], "the table is empty"),
        ("reviews", REVIEWS.assign(rating=0), "column 'rating'.*0"),
        ("reviews", REVIEWS.assign(timestamp="soon"), "column 'timestamp'.*soon"),
    ],
)
def test_a_bad_table_is_refused_by_folder_table_and_column(
    shop: Path, table: str, frame: pd.DataFrame, message: str
) -> None:
    write(shop, table, frame)
    with pytest.raises(ReclibError, match=f"shop/{table}.*{message}"):
        load(shop)


@pytest.mark.parametrize("value", ["2024-99-01", "1e300"])
def test_a_time_out_of_range_is_refused(shop: Path, value: str) -> None:
    write(shop, "interactions", EVENTS.assign(timestamp=value))
    with pytest.raises(ReclibError, match="column 'timestamp'"):
        load(shop)


def test_an_event_without_a_time_is_refused(shop: Path) -> None:
    times = ["2024-01-01", None, *["2024-01-02"] * 4]
    write(shop, "interactions", EVENTS.drop(columns="position").assign(timestamp=times))
    with pytest.raises(ReclibError, match="column 'timestamp'"):
        load(shop)


def test_an_empty_file_is_refused_by_name(shop: Path) -> None:
    (shop / "interactions.csv").write_text("")
    with pytest.raises(ReclibError, match=r"interactions\.csv: the file is empty"):
        load(shop)


def test_one_table_in_two_formats_is_refused_by_both_names(shop: Path) -> None:
    write(shop, "items", ITEMS, ".csv.gz")
    with pytest.raises(ReclibError, match=r"items\.csv\.gz and items\.csv are both there"):
        load(shop)


def broken(content: bytes, how: str) -> bytes:
    half = len(content) // 2
    if how == "truncated":
        return content[:half]
    if how == "overwritten":
        return content[:half] + bytes(255 - byte for byte in content[half:])
    return b"these are no tables"


@pytest.mark.parametrize("how", ["truncated", "overwritten", "no archive"])
def test_a_broken_archive_is_refused_by_name(shop: Path, how: str) -> None:
    whole = gzip.compress((shop / "interactions.csv").read_bytes() * 50)
    (shop / "interactions.csv").unlink()
    (shop / "interactions.csv.gz").write_bytes(broken(whole, how))
    with pytest.raises(ReclibError, match=r"interactions\.csv\.gz: cannot be read"):
        load(shop)


@pytest.mark.parametrize("how", ["truncated", "overwritten", "no archive"])
def test_a_broken_parquet_file_is_refused_by_name(shop: Path, how: str) -> None:
    (shop / "interactions.csv").unlink()
    file = write(shop, "interactions", EVENTS, ".parquet")
    file.write_bytes(broken(file.read_bytes(), how))
    with pytest.raises(ReclibError, match=r"interactions\.parquet: cannot be read"):
        load(shop)


@pytest.mark.parametrize("content", [b"user_id,item_id\n\xff\xfe,x\n", b"a,b\n1,2,3,4\n1,2,3\n"])
def test_a_file_that_is_no_table_is_refused_by_name(shop: Path, content: bytes) -> None:
    (shop / "interactions.csv").write_bytes(content)
    with pytest.raises(ReclibError, match="shop/interactions"):
        load(shop)


@pytest.fixture
def crowd(tmp_path: Path) -> Path:
    """Seven hundred users, each with three products of their own."""
    users = [f"u{user:03d}" for user in range(700)]
    table = pd.DataFrame({"user_id": np.repeat(users, 3), "position": [0, 1, 2] * 700})
    table["item_id"] = "of " + table["user_id"] + table["position"].astype(str)
    write(tmp_path / "crowd", "interactions", table)
    reviews = pd.DataFrame({"user_id": users, "item_id": "x", "rating": 3})
    write(tmp_path / "crowd", "reviews", reviews)
    return tmp_path / "crowd"


def test_a_small_size_draws_whole_users_with_their_products_by_seed(crowd: Path) -> None:
    one, same, other = load(crowd), load(crowd), load(crowd, seed=1)
    users = set(one.interactions["user_id"])
    assert len(users) == 600
    assert (one.interactions.groupby("user_id").size() == 3).all()
    assert set(one.items["item_id"]) == set(one.interactions["item_id"])
    assert set(one.reviews["user_id"]) == users
    pd.testing.assert_frame_equal(one.interactions, same.interactions)
    assert set(other.interactions["user_id"]) != users
    assert load(crowd, size="small").interactions["user_id"].nunique() == 700


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
    assert (events["user_id"].nunique(), len(found.items), len(events)) == counts
    assert found.items["title"].notna().sum() == titles
    assert not found.simulated
    ready = prepare(found)
    assert (ready.n_users, ready.n_items, ready.n_events) == counts
    assert sum(map(bool, ready.text)) == counts[1]


@pytest.mark.real_data
def test_smoke_size_of_real_data_is_a_seeded_draw(real_data: Callable[[str], Path]) -> None:
    real_data("amazon-office")
    one, same, other = (load("amazon-office", seed=seed) for seed in (0, 0, 1))
    assert one.interactions["user_id"].nunique() == 600
    assert set(one.items["item_id"]) == set(one.interactions["item_id"])
    pd.testing.assert_frame_equal(one.interactions, same.interactions)
    assert not one.interactions.equals(other.interactions)
