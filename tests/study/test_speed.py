"""What benchmarks write is checked, and unit costs become an estimate by plain proportion."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from reclib.errors import ReclibError
from reclib.study import results, speed

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def row(series: str, step: str, model: str, **known: Any) -> dict[str, Any]:
    usual = {"events": 1000, "items": 100, "users": 50, "workers": 0, "threads": 1}
    return {"series": series, "step": step, "model": model, **usual, "peak_mb": 100.0} | known


ROWS = [
    row("events", "load", "", seconds=9.0, events=100),
    row("events", "load", "", seconds=2.0, threads=2, peak_mb=1024.0),  # 4 ms of a core an event
    row("events", "fit", "content", seconds=1.0),
    row("items", "fit", "language", seconds=0.5, items=50, events=2000),
    row("items", "fit", "language", seconds=1.0, peak_mb=2048.0),  # 10 ms a product
    row("items", "rank", "language", seconds=10.0),  # 5000 pairs: 2 ms each
    row("workers", "rank", "language", seconds=99.0, workers=1, peak_mb=None),  # no larger
    row("workers", "encode", "language", seconds=5.0, workers=1, users=0, items=10, peak_mb=None),
    row("items", "metrics", "", seconds=0.05),
]


@pytest.fixture
def written(tmp_path: Path) -> Path:
    speed.write_table(speed.SCALE_FILE, ROWS, tmp_path, 0.5)
    return tmp_path


def test_an_estimate_is_unit_cost_times_amount(written: Path) -> None:
    scale = speed.read_table(speed.SCALE_FILE, written)
    found = speed.estimate(scale, users=3600, items=1000, events_per_user=10)
    found = found.set_index(["step", "model"])
    hours = found["core_hours"].to_dict()
    expected = {
        ("load", ""): 0.004 * 36_000 / 3600,
        ("encode", "language"): 0.5 * 1000 / 3600,
        ("fit", "content"): 0.001 * 36_000 / 3600,
        ("fit", "language"): 0.01 * 1000 / 3600,
        ("rank", "language"): 0.002 * 3600 * 1000 / 3600,
        ("metrics", ""): 0.001 * 3600 / 3600,
    }
    assert list(hours) == list(expected)  # in the order of the study
    assert hours == pytest.approx(expected)
    memory = found["memory_gb"]
    assert memory["load", ""] == pytest.approx(36)  # 1 GB for 1000 events
    assert memory["fit", "language"] == pytest.approx(20)  # 2 GB for 100 products
    assert pd.isna(memory["encode", "language"]) and pd.isna(memory["metrics", ""])
    assert found["shared"].tolist() == [False, True, False, False, True, True]


def test_tables_come_back_and_say_what_made_them(written: Path) -> None:
    scale = speed.read_table(speed.SCALE_FILE, written)
    assert scale["seconds"].tolist() == [row["seconds"] for row in ROWS]
    assert scale["model"].tolist() == [row["model"] for row in ROWS]
    assert (written / speed.FIGURE_FILE).read_text(encoding="utf-8").startswith("<?xml")
    peers = [{"task": "a", "seconds": 1.0, "peer": "b", "peer_seconds": 2.0}]
    speed.write_table(speed.PEERS_FILE, peers, written, 0.0)
    known = json.loads((written / "provenance.json").read_text(encoding="utf-8"))
    assert set(known) == {speed.SCALE_FILE, speed.PEERS_FILE}  # the other stays
    about = known[speed.SCALE_FILE]
    assert about["load"] == 0.5 and about["machine"]["threads"] >= 1
    assert about["sha256"] == results.file_hash(written / speed.SCALE_FILE)


def test_wrong_rows_and_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ReclibError, match="did you mean 'peers.csv'"):
        speed.write_table("peer.csv", [], tmp_path, 0.0)
    wrong = [{"task": "a", "seconds": -1.0, "peer": "b", "peer_seconds": 2.0}]
    with pytest.raises(ReclibError, match="column 'seconds'"):
        speed.write_table(speed.PEERS_FILE, wrong, tmp_path, 0.0)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ReclibError, match="`make bench` writes it"):
        speed.read_table(speed.PEERS_FILE, tmp_path)


@pytest.mark.slow
def test_a_size_is_measured_step_by_step(tmp_path: Path) -> None:
    """Reading, a fit and a ranking each have their row, and each process its own memory."""
    script = [sys.executable, str(BENCHMARKS / "scale.py"), "--quick", "--series", "events"]
    subprocess.run([*script, "--folder", str(tmp_path)], check=True, capture_output=True)
    scale = speed.read_table(speed.SCALE_FILE, tmp_path)
    assert set(scale["series"]) == {"events"}
    assert scale["events"].nunique() == 2
    for step in ("fit", "rank"):
        models = scale.loc[scale["step"] == step, "model"]
        assert sorted(models.unique()) == ["collaborative", "content", "item-knn", "language"]
    assert (scale["peak_mb"] > 50).all()
