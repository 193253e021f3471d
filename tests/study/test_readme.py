"""The README's numbers are those of the recorded result files."""

from pathlib import Path

import pytest

from reclib import paths
from reclib.errors import ReclibError
from reclib.study.readme import BEGIN, END, recorded_runs, update_readme
from reclib.study.results import read_results


def test_readme_shows_the_recorded_runs() -> None:
    """A reference that is recorded anew, or typed over, must not leave the README behind."""
    text = (paths.ROOT / "README.md").read_text(encoding="utf-8")
    assert f"{BEGIN}\n{recorded_runs()}\n{END}" in text


def test_every_recorded_set_has_a_row() -> None:
    """And the verdict follows from the p-value, corrected for all comparisons of a run."""
    folders = sorted(file.parent for file in paths.REFERENCE.glob("*/metrics.csv"))
    rows = recorded_runs().splitlines()[2:]
    assert len(rows) == len(folders) > 0
    for folder, row in zip(folders, rows, strict=True):
        metrics, _ = read_results(folder)
        pair = metrics[metrics["model"].eq("llm-fusion-vs-traditional")]
        pair = pair[pair["variant"].eq("raw")].set_index("metric")["value"]
        cells = [cell.strip() for cell in row.split("|")]
        assert cells[1].startswith(folder.name)
        found = float(pair["p_ndcg@10"]) < 0.05
        said = ("helps" if pair["ndcg@10"] > 0 else "harms") if found else "no difference found"
        assert cells[6] == said


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
