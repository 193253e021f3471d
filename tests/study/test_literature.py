"""The published table and ours: sources exist, arithmetic holds, missing files name themselves."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reclib import paths
from reclib.errors import ReclibError
from reclib.study import literature
from reclib.study.literature import (
    BLIND,
    DATA,
    OURS,
    RAW,
    beside_the_literature,
    order_effect,
    order_said,
    published,
    recorded_lists,
)

BIBLIOGRAPHY = paths.ROOT / "book" / "references.bib"


def lists(values: dict[tuple[str, str], float]) -> pd.DataFrame:
    """Rows of ``metrics.csv`` from (variant, model) → ndcg@10."""
    rows = [
        (variant, model, "ndcg@10", value, value - 0.01, value + 0.01)
        for (variant, model), value in values.items()
    ]
    return pd.DataFrame(rows, columns=["variant", "model", "metric", "value", "low", "high"])


def test_every_source_is_in_the_bibliography() -> None:
    """A citation that leads nowhere is no source."""
    known = set(re.findall(r"@\w+\{(\w+),", BIBLIOGRAPHY.read_text(encoding="utf-8")))
    assert set(published()["key"]) <= known


def test_every_number_says_where_it_was_read() -> None:
    """What was read in a file names that file, or its table."""
    table = published()
    assert (table.loc[table["read"] == "file", "place"] != "").all()
    assert (table["recall"].isna() | (table["recall"] > table["ndcg"])).all()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("X,,0.1,5.1,,key,here,reported,file,", "ndcg"),
        ("X,,0.1,0.05,,key,here,guessed,file,", "kind"),
        ("X,images,0.1,0.05,,key,here,reported,file,", "reads"),
        ("X,,0.1,0.05,,key,here,reported,file,\nX,,0.1,0.06,,key,here,reported,file,", "two rows"),
    ],
)
def test_a_wrong_row_is_refused(
    line: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = literature.PUBLISHED.read_text(encoding="utf-8").partition("\n")[0]
    monkeypatch.setattr(literature, "PUBLISHED", tmp_path / "literature.csv")
    literature.PUBLISHED.write_text(f"{head}\n{line}\n", encoding="utf-8")
    with pytest.raises(ReclibError, match=said):
        published()


def test_what_the_direction_gives_is_arithmetic() -> None:
    """Models that cannot see it are left out, whatever their value."""
    effect = order_effect(
        lists(
            {
                (RAW, "pctm"): 0.08,
                (BLIND, "pctm"): 0.06,
                (RAW, "markov"): 0.05,
                (BLIND, "markov"): 0.051,
                (RAW, "ease"): 0.09,
                (BLIND, "ease"): 0.09,
            }
        )
    ).set_index("model")
    assert list(effect.index) == ["pctm", "markov"]
    np.testing.assert_allclose(effect["lost"], [0.25, -0.02])
    np.testing.assert_allclose(effect.loc["pctm", ["low", "blind_high"]].astype(float), 0.07)
    said = order_said(effect.reset_index())
    assert "**25.0%** (`pctm`)" in said and "**-2.0%** (`markov`)" in said


def test_a_run_without_the_blind_form_is_named() -> None:
    with pytest.raises(ReclibError, match="direction-blind"):
        order_effect(lists({(RAW, "pctm"): 0.08}))


def test_our_models_stand_among_the_published_by_their_value() -> None:
    """Once where direction makes no difference, else twice, with the numbers of the run."""
    table = beside_the_literature()
    assert table["ndcg"].is_monotonic_decreasing
    ours = table[table["kind"] == OURS]
    assert len(table) - len(ours) == len(published())
    recorded = recorded_lists().set_index(["variant", "model", "metric"])["value"]
    forms = ours.groupby("method")["differs"].apply(set)
    for model, found in forms.items():
        raw, blind = (recorded[variant, model, "ndcg@10"] for variant in (RAW, BLIND))
        assert found == ({"raw order", BLIND} if raw != blind else {""}), model
    assert {"popular", "traditional:all", "llm-fusion:all"} <= set(forms.index)
    assert "random" not in forms.index


def test_a_run_that_is_not_recorded_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "REFERENCE", tmp_path)
    with pytest.raises(ReclibError, match=f"{DATA}/metrics.csv is not there"):
        beside_the_literature()
