"""The README's numbers are those of the recorded result files."""

from pathlib import Path

import pandas as pd
import pytest

from reclib import paths
from reclib.errors import ReclibError
from reclib.study.readme import BEGIN, END, NETWORK, PAIRS, recorded_runs, update_readme
from reclib.study.results import read_provenance


def test_readme_shows_the_recorded_runs() -> None:
    """A reference that is recorded anew, or typed over, must not leave the README behind."""
    text = (paths.ROOT / "README.md").read_text(encoding="utf-8")
    assert f"{BEGIN}\n{recorded_runs()}\n{END}" in text


def test_every_recorded_set_has_its_rows() -> None:
    """And the verdict follows from the p-value, corrected for all comparisons of a run."""
    rows = [[cell.strip() for cell in row.split("|")] for row in recorded_runs().splitlines()[2:]]
    expected = []
    for file in sorted(paths.REFERENCE.glob("*/metrics.csv")):
        network = file.with_name("network.csv")
        tables = [pd.read_csv(one) for one in (file, network) if one.is_file()]
        metrics = pd.concat(tables)
        for what, (without, llm) in (PAIRS | NETWORK).items():
            pair = metrics[metrics["model"].eq(f"{llm}-vs-{without}")]
            pair = pair[pair["variant"].eq("raw")].set_index("metric")
            if pair.empty:  # recorded before there was such a model
                continue
            value, low, high = pair.loc["ndcg@10", ["value", "low", "high"]]
            p = pair["value"].get("p_ndcg@10")
            found = (low > 0 or high < 0) if p is None else p < 0.05
            said = ("helps" if value > 0 else "harms") if found else "no difference found"
            expected.append((read_provenance(file.parent)["data"], what, said))
    assert [(row[1].split(",")[0], row[3], row[7]) for row in rows] == expected != []


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
