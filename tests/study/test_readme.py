"""The README's numbers are those of the recorded result files."""

from pathlib import Path

import pytest

from reclib import paths
from reclib.errors import ReclibError
from reclib.study.readme import BEGIN, END, recorded_runs, update_readme


def test_readme_shows_the_recorded_runs() -> None:
    """A reference that is recorded anew, or typed over, must not leave the README behind."""
    text = (paths.ROOT / "README.md").read_text(encoding="utf-8")
    assert f"{BEGIN}\n{recorded_runs()}\n{END}" in text


def test_every_recorded_set_has_a_row() -> None:
    """And the verdict follows from the interval of the paired difference."""
    rows = recorded_runs().splitlines()[2:]
    assert len(rows) == len(list(paths.REFERENCE.glob("*/metrics.csv"))) > 0
    for row in rows:
        low, high = (float(x) for x in row.split("|")[5].split("[")[1].rstrip(" ]").split(","))
        verdict = "helps" if low > 0 else "harms" if high < 0 else "no difference found"
        assert row.split("|")[6].strip() == verdict


def test_only_the_block_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The prose around the table is the authors'."""
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    (tmp_path / "README.md").write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    update_readme()
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert text == f"before\n{BEGIN}\n{recorded_runs()}\n{END}\nafter\n"


def test_lost_marks_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather than writing the table nowhere."""
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    (tmp_path / "README.md").write_text("no marks", encoding="utf-8")
    with pytest.raises(ReclibError, match="recorded runs: begin"):
        update_readme()
