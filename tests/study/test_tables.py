"""Tables: digits, marks, and "not measurable" where there is nothing to measure."""

import re

import numpy as np
import pandas as pd
import pytest

from reclib.data import Marketplace, Prepared
from reclib.study.paper import TABLE_II
from reclib.study.tables import (
    metrics_table,
    origin_note,
    recommendation_table,
    table_two,
    table_two_values,
)

BOLD, SECOND = "font-weight: bold", "text-decoration: underline"
COLUMNS = ["protocol", "model", "metric", "value", "low", "high"]


def listed(*, ctr: bool = True) -> pd.DataFrame:
    """Result rows of both models of Table II and their difference."""
    rows = [
        ("pairs", "precision", 0.6, 0.75),
        ("pairs", "recall", 0.5, 0.4),
        ("pairs", "f1", 0.55, 0.52),
        ("full-loo", "precision@10", 0.01, 0.02),  # not the precision of Table II
        ("full-loo", "ild@10", 0.3, 0.45),
    ]
    rows += [("full-loo", "ctr@10", 0.040, 0.045)] * ctr
    table = []
    for protocol, metric, before, after in rows:
        values = {"traditional": before, "llm-fusion": after}
        values["llm-fusion-vs-traditional"] = after - before
        for model, value in values.items():
            table.append((protocol, model, metric, value, value - 0.01, value + 0.01))
    return pd.DataFrame(table, columns=COLUMNS)


def ranked(values: dict[str, float], metric: str = "ndcg@10") -> pd.DataFrame:
    rows = [("full-loo", model, metric, v, v - 0.001, v + 0.001) for model, v in values.items()]
    return pd.DataFrame(rows, columns=COLUMNS)


def words(cell: str) -> str:
    """A cell as it is read, without its markup."""
    return re.sub(r"<[a-z/]+>", "", cell.replace("<br>", " "))


def marks(styler: object) -> dict[tuple[int, int], str]:
    """Row and column → style of the marked cells."""
    styler._compute()
    return {
        place: "; ".join(f"{name}: {value}" for name, value in styles)
        for place, styles in styler.ctx.items()
        if styles
    }


def test_the_best_is_bold_and_the_second_underlined() -> None:
    table = pd.concat(
        [ranked({"a": 0.1, "b": 0.3, "c": 0.2}), ranked({"a": 0.9, "b": 0.8, "c": 0.1}, "mrr@10")]
    )
    styler = metrics_table(table, ["ndcg@10", "mrr@10"])
    assert list(styler.data.index) == ["a", "b", "c"]
    assert list(styler.data.columns) == ["ndcg@10", "mrr@10"]
    assert marks(styler) == {(1, 0): BOLD, (2, 0): SECOND, (0, 1): BOLD, (1, 1): SECOND}


def test_diversity_and_differences_have_no_best() -> None:
    assert marks(metrics_table(ranked({"a": 0.1, "b": 0.3}, "ild@10"), ["ild@10"])) == {}
    assert marks(metrics_table(ranked({"a": 0.1, "b": 0.3}), ["ndcg@10"], mark=False)) == {}


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (0.1234, 0.1, 0.15, "0.123 [0.100, 0.150]"),
        (0.04321, 0.04, 0.05, "0.0432 [0.0400, 0.0500]"),
        (0.0012349, 0.001, 0.0015, "0.00123 [0.00100, 0.00150]"),
        (-0.0432, -0.05, 0.01, "-0.0432 [-0.0500, 0.0100]"),
        (0.0, 0.0, 0.0, "0.000 [0.000, 0.000]"),
        (1.0, 1.0, 1.0, "1.000 [1.000, 1.000]"),
    ],
)
def test_a_cell_has_three_digits_and_its_interval(
    value: float, low: float, high: float, text: str
) -> None:
    table = pd.DataFrame([("full-loo", "a", "ndcg@10", value, low, high)], columns=COLUMNS)
    assert words(metrics_table(table, ["ndcg@10"]).data.loc["a", "ndcg@10"]) == text


def test_a_missing_value_is_a_dash_and_never_the_best() -> None:
    table = ranked({"a": 0.1, "b": np.nan, "c": 0.2})
    styler = metrics_table(table, ["ndcg@10"])
    assert styler.data.loc["b", "ndcg@10"] == "–"
    assert marks(styler) == {(2, 0): BOLD, (0, 0): SECOND}


def test_table_two_sets_the_paper_beside_the_run() -> None:
    table = table_two(listed()).data
    assert list(table.index) == [
        "precision (pairs)",
        "recall (pairs)",
        "f1 (pairs)",
        "ctr (full-loo)",
        "diversity (full-loo)",
    ]
    for (name, (before, after)), (_, row) in zip(
        TABLE_II.items(), table["paper"].iterrows(), strict=True
    ):
        shown = [f"{before:.2f}", f"{after:.2f}", f"{after / before - 1:+.1%}"]
        assert row.tolist() == shown, name
    ours = table["this run"]
    assert ours.loc["precision (pairs)"].map(words).tolist() == [
        "0.600 [0.590, 0.610]",
        "0.750 [0.740, 0.760]",
        "+25.0%",
        "+0.150 [+0.140, +0.160]",
    ]
    assert ours.loc["recall (pairs)", "change"] == "-20.0%"
    assert words(ours.loc["ctr (full-loo)", "traditional"]) == "0.0400 [0.0300, 0.0500]"


def test_clicks_without_impressions_are_not_measurable() -> None:
    absent = listed(ctr=False)
    empty = listed()
    empty.loc[empty["metric"] == "ctr@10", ["value", "low", "high"]] = np.nan
    for metrics in (absent, empty):
        row = table_two(metrics).data["this run"].loc["ctr (full-loo)"]
        for column in ("traditional", "llm-fusion", "paired difference"):
            assert row[column] == "not measurable"
        assert row["change"] == "–"
        assert table_two_values(metrics)["ctr"].isna().tolist() == [False, False, True, True]


def test_table_two_values_are_those_of_the_right_protocol() -> None:
    values = table_two_values(listed())
    assert list(values.columns) == list(TABLE_II)
    assert values.loc["paper: traditional"].tolist() == [pair[0] for pair in TABLE_II.values()]
    assert values.loc["paper: LLM-based"].tolist() == [pair[1] for pair in TABLE_II.values()]
    assert values.loc["ours: traditional"].tolist() == [0.6, 0.5, 0.55, 0.04, 0.3]
    assert values.loc["ours: llm-fusion"].tolist() == [0.75, 0.4, 0.52, 0.045, 0.45]


def test_another_length_of_list_has_its_own_values() -> None:
    longer = listed()
    longer["metric"] = longer["metric"].str.replace("@10", "@20")
    values = table_two_values(longer, k=20)
    assert values.loc["ours: traditional", "diversity"] == 0.3
    assert np.isnan(table_two_values(longer).loc["ours: traditional", "diversity"])


def test_the_papers_numbers_are_those_it_prints() -> None:
    assert TABLE_II == {
        "precision": (0.75, 0.82),
        "recall": (0.68, 0.77),
        "f1": (0.71, 0.79),
        "ctr": (0.56, 0.63),
        "diversity": (0.34, 0.48),
    }


def test_recommended_products_have_their_titles(tiny: Prepared) -> None:
    shown = recommendation_table(
        tiny, pd.DataFrame({"item_id": ["i003", "i001"], "score": [0.5, 0.4]})
    )
    assert shown["title"].tolist() == [tiny.items["title"][3], tiny.items["title"][1]]
    assert shown["score"].tolist() == [0.5, 0.4]
    assert {"brand", "categories"} <= set(shown)


def test_a_page_says_whether_its_data_are_real() -> None:
    nothing = pd.DataFrame()
    real = origin_note(Marketplace("amazon-beauty", nothing, nothing))
    assert "amazon-beauty" in real and "simulated" not in real
    made_up = origin_note(Marketplace("simulated", nothing, nothing, truth=object()))
    assert "**simulated**" in made_up and "Real data" not in made_up
