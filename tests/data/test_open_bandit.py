"""Open Bandit in its official form, with planted impossible rows, and the real logs."""

import csv
import gzip
import io
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from reclib.data import Marketplace, load
from reclib.data.sources import open_bandit
from reclib.errors import ReclibError

Row = dict[str, Any]
HASHES = ("cef3390ed299c09874189c387777674a", "03a5648a76832f83c859d46bc06cb64a")


def impression(affinity: Sequence[float] = (0, 2, 0), **changes: Any) -> Row:
    """The first row of the official file, with fewer items."""
    return (
        {
            "": 0,
            "timestamp": "2019-11-24 00:03:13.442536+00:00",
            "item_id": 1,
            "position": 3,
            "click": 0,
            "propensity_score": 0.029411764705882353,
        }
        | {f"user_feature_{number}": HASHES[number % 2] for number in range(4)}
        | {f"user-item_affinity_{number}": float(value) for number, value in enumerate(affinity)}
        | changes
    )


def table(rows: Sequence[Row]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def write(folder: Path, rows: Sequence[Row], part: str = "random/men", suffix: str = "") -> Path:
    """Write one log and its items."""
    place = folder / part
    place.mkdir(parents=True, exist_ok=True)
    file = place / f"{place.name}.csv{suffix}"
    file.write_bytes(gzip.compress(table(rows)) if suffix else table(rows))
    items = [
        {"": n, "item_id": n, "item_feature_0": -0.6771831139635117 + n}
        | {f"item_feature_{k}": f"{part}-{n}-{k}" for k in (1, 2, 3)}
        for n in range(3)
    ]
    (place / "item_context.csv").write_bytes(table(items))
    return file


def left_out(marketplace: Marketplace, table: str) -> dict[str, int]:
    return {s.step: s.rows_in - s.rows_out for s in marketplace.steps if s.table == table}


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_log_is_read_as_it_stands(tmp_path: Path, suffix: str) -> None:
    rows = [impression(), impression(item_id=2, position=1, click=1, affinity=(0, 2, 1))]
    write(tmp_path, rows, suffix=suffix)
    found = open_bandit.read(tmp_path)
    assert found.impressions is not None
    assert (found.name, found.simulated) == ("open-bandit", False)
    expected = {
        "item_id": ["men-1", "men-2"],
        "rank": [3, 1],
        "click": [False, True],
        "propensity": [0.029411764705882353] * 2,
        "policy": ["random"] * 2,
        "campaign": ["men"] * 2,
        "timestamp": [datetime(2019, 11, 24, 0, 3, 13, 442536, tzinfo=UTC)] * 2,
        **{f"user_feature_{number}": [HASHES[number % 2]] * 2 for number in range(4)},
        "affinity": [2.0, 1.0],
    }
    assert found.impressions.select(*expected).to_dict(as_series=False) == expected
    assert set(found.impressions.columns) == set(expected)
    assert found.impressions["affinity"].dtype == pl.Float32
    assert found.impressions["user_feature_0"].dtype == pl.Categorical
    assert found.items.row(1) == (
        "men-1", -0.6771831139635117 + 1, "random/men-1-1", "random/men-1-2", "random/men-1-3"
    )  # fmt: skip
    assert found.interactions.is_empty() and "user_id" in found.interactions.columns


def test_every_policy_and_campaign_is_read_and_an_item_is_there_once(tmp_path: Path) -> None:
    parts = ["bts/women", "random/women", "random/all", "bts/men"]
    for number, part in enumerate(parts):
        write(tmp_path, [impression(affinity=[0.0] * (number + 2))] * (number + 1), part)
    found = open_bandit.read(tmp_path)
    assert found.impressions is not None
    counts = found.impressions.group_by("policy", "campaign").len().rows()
    assert {f"{policy}/{campaign}": count for policy, campaign, count in counts} == {
        part: number + 1 for number, part in enumerate(parts)
    }
    names = [f"{campaign}-{number}" for campaign in ("all", "men", "women") for number in range(3)]
    assert found.items["item_id"].to_list() == names
    # the hashes of the two policies differ; those of the first stay
    features = dict(found.items.select("item_id", "item_feature_1").iter_rows())
    assert features["women-2"] == "random/women-2-1"
    assert features["men-2"] == "bts/men-2-1"
    assert left_out(found, "items") == {"read": 0, "keep one row an item": 3}


def test_the_same_item_at_the_same_moment_is_kept(tmp_path: Path) -> None:
    write(tmp_path, [impression(position=place) for place in (1, 2, 2, 3)])
    found = open_bandit.read(tmp_path).impressions
    assert found is not None and found["rank"].to_list() == [1, 2, 2, 3]


@pytest.mark.parametrize(
    ("step", "wrong"),
    [
        (
            "drop incomplete rows",
            [
                {"item_id": ""},
                {"timestamp": ""},
                {"timestamp": "soon"},
                {"position": 0},
                {"position": ""},
                {"click": 2},
                {"click": ""},
            ],
        ),
        (
            "drop impossible propensities",
            [{"propensity_score": value} for value in (0, -0.1, 1.5, "", "NaN", "inf")],
        ),
    ],
)
def test_what_no_log_can_hold_is_left_out_and_counted(
    tmp_path: Path, step: str, wrong: list[Row]
) -> None:
    write(tmp_path, [impression(), *(impression(**change) for change in wrong), impression()])
    found = open_bandit.read(tmp_path)
    assert found.impressions is not None and len(found.impressions) == 2
    counts = left_out(found, "impressions")
    assert counts.pop(step) == len(wrong)
    assert not any(counts.values())


def test_a_time_without_fraction_is_read(tmp_path: Path) -> None:
    write(tmp_path, [impression(timestamp="2019-11-24 00:03:13+00:00")])
    found = open_bandit.read(tmp_path).impressions
    assert found is not None
    assert found["timestamp"].to_list() == [datetime(2019, 11, 24, 0, 3, 13, tzinfo=UTC)]


def test_a_log_without_affinities_has_none(tmp_path: Path) -> None:
    write(tmp_path, [impression(affinity=())])
    found = open_bandit.read(tmp_path).impressions
    assert found is not None and found["affinity"].to_list() == [None]


def test_an_empty_place_is_an_error_that_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(ReclibError, match="no folder <policy>/<campaign>.*random or bts"):
        open_bandit.read(tmp_path)


@pytest.mark.parametrize("name", ["men.csv", "item_context.csv"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    write(tmp_path, [impression()])
    (tmp_path / "random" / "men" / name).unlink()
    with pytest.raises(ReclibError, match=name.replace(".", r"\.")):
        open_bandit.read(tmp_path)


def test_a_missing_column_and_a_wrong_value_are_named(tmp_path: Path) -> None:
    rows = [impression()]
    del rows[0]["propensity_score"]
    write(tmp_path, rows)
    with pytest.raises(ReclibError, match=r"men\.csv: missing column 'propensity_score'"):
        open_bandit.read(tmp_path)
    write(tmp_path, [impression(), impression(click="yes")])
    with pytest.raises(ReclibError, match=r"men\.csv: .*`yes`.*'click'"):
        open_bandit.read(tmp_path)


@pytest.mark.parametrize("how", ["cut off", "no archive", "empty"])
def test_a_damaged_log_is_refused_by_name(tmp_path: Path, how: str) -> None:
    file = write(tmp_path, [impression(click=n % 2) for n in range(999)], suffix=".gz")
    whole = file.read_bytes()
    file.write_bytes({"cut off": whole[:-9], "no archive": b"\0\1\2", "empty": b""}[how])
    with pytest.raises(ReclibError, match=r"men\.csv\.gz: "):
        open_bandit.read(tmp_path)


@pytest.mark.real_data
def test_the_real_logs_have_the_counts_of_their_source(
    real_data: Callable[[str], Path],
) -> None:
    real_data("open-bandit")
    found = load("open-bandit", size="full")
    assert found.impressions is not None and len(found.interactions) == 0
    parts = found.impressions.group_by("policy", "campaign").agg(
        pl.len(), items=pl.col("item_id").n_unique(), rate=pl.col("click").mean()
    )
    assert parts.height == 4
    assert parts["len"].to_list() == [10_000] * 4
    assert dict(parts.select("campaign", "items").iter_rows()) == {"men": 34, "women": 46}
    assert (parts["rate"].min(), parts["rate"].max()) == (0.0046, 0.0069)
    assert len(found.items) == 34 + 46
    ids = set(found.impressions["item_id"])
    assert ids == set(found.items["item_id"])
    assert not any(left_out(found, "impressions").values())
    assert found.impressions["rank"].unique().sort().to_list() == [1, 2, 3]
    assert found.impressions["affinity"].null_count() == 0


@pytest.mark.real_data
def test_the_hashes_of_the_two_policies_tell_items_apart_alike(
    real_data: Callable[[str], Path],
) -> None:
    folder = real_data("open-bandit")
    for campaign in ("men", "women"):
        one, other = (
            pl.read_csv(folder / policy / campaign / "item_context.csv")
            for policy in open_bandit.POLICIES
        )
        assert one["item_feature_0"].equals(other["item_feature_0"])
        for number in (1, 2, 3):
            name = f"item_feature_{number}"
            pairs = pl.DataFrame({"one": one[name], "other": other[name]})
            assert pairs.n_unique() == one[name].n_unique() == other[name].n_unique()
