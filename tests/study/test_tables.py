"""Tables: digits, marks, and "not measurable" where there is nothing to measure."""

import re

import numpy as np
import pandas as pd
import pytest

from reclib.data import Marketplace, Prepared
from reclib.study.paper import TABLE_II
from reclib.study.tables import (
    cold_table,
    difference_table,
    history_table,
    metrics_table,
    origin_note,
    recommendation_table,
    table_two,
    table_two_values,
    trials_table,
    variants_table,
    verdict,
)

BOLD, SECOND = "font-weight: bold", "text-decoration: underline"
COLUMNS = ["protocol", "variant", "model", "metric", "value", "low", "high"]


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
            variant = "r=1" if protocol == "pairs" else "raw"
            table.append((protocol, variant, model, metric, value, value - 0.01, value + 0.01))
    return pd.DataFrame(table, columns=COLUMNS)


def ranked(values: dict[str, float], metric: str = "ndcg@10") -> pd.DataFrame:
    rows = [
        ("full-loo", "raw", model, metric, v, v - 0.001, v + 0.001) for model, v in values.items()
    ]
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
    table = pd.DataFrame([("full-loo", "raw", "a", "ndcg@10", value, low, high)], columns=COLUMNS)
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


@pytest.mark.parametrize(
    ("protocol", "variant"),
    [
        ("full-loo", "direction-blind"),
        ("full-loo", "raw, history 3–5"),
        ("full-loo", "raw, history > 10"),
        ("pairs", "direction-blind, r=1"),
    ],
)
def test_other_variants_do_not_disturb_table_two(protocol: str, variant: str) -> None:
    """Neither in front of the usual rows nor behind them."""
    usual = listed()
    other = usual[usual["protocol"] == protocol].assign(variant=variant, value=0.99)
    for metrics in (pd.concat([usual, other]), pd.concat([other, usual])):
        pd.testing.assert_frame_equal(table_two(metrics).data, table_two(usual).data)
        pd.testing.assert_frame_equal(table_two_values(metrics), table_two_values(usual))


@pytest.mark.parametrize("negatives", [1, 20])
def test_any_number_of_negatives_is_usual(negatives: int) -> None:
    metrics = listed()
    metrics.loc[metrics["variant"] == "r=1", "variant"] = f"r={negatives}"
    assert table_two_values(metrics).loc["ours: traditional", "precision"] == 0.6


@pytest.mark.parametrize(
    ("value", "low", "high", "p", "said"),
    [
        (0.01, 0.001, 0.02, np.nan, "better than"),
        (-0.01, -0.02, -0.001, np.nan, "worse than"),
        (0.005, -0.01, 0.02, np.nan, "not told apart from"),
        (0.01, 0.0, 0.02, np.nan, "not told apart from"),
        (0.0, 0.0, 0.0, np.nan, "not told apart from"),
        (0.0, np.nan, np.nan, np.nan, "not told apart from"),
        # an interval is of one comparison; p is corrected for all of them
        (0.01, 0.001, 0.02, 0.157, "not told apart from"),
        (0.01, 0.001, 0.02, 0.049, "better than"),
        (-0.01, -0.02, -0.001, 0.049, "worse than"),
        (-0.01, -0.02, 0.001, 0.05, "not told apart from"),
    ],
)
def test_a_verdict_needs_a_small_p_or_without_one_an_interval_beside_zero(
    value: float, low: float, high: float, p: float, said: str
) -> None:
    assert verdict(value, low, high, p) == said


def differences() -> pd.DataFrame:
    """Two differences of two metrics, which do not say the same, with p-values."""
    rows = [
        ("a-vs-b", "ndcg@10", 0.012, 0.002, 0.022),
        ("a-vs-b", "recall@10", -0.03, -0.05, -0.01),
        ("a-vs-b", "p_ndcg@10", 0.0004, np.nan, np.nan),
        ("a-vs-b", "p_recall@10", 0.02, np.nan, np.nan),
        ("a-vs-c:d", "ndcg@10", 0.001, -0.01, 0.012),
        ("a-vs-c:d", "recall@10", 0.04, 0.01, 0.07),
        ("a-vs-c:d", "p_ndcg@10", 1.0, np.nan, np.nan),
    ]
    return pd.DataFrame([("full-loo", "raw", *row) for row in rows], columns=COLUMNS)


def test_a_difference_is_said_in_words_with_its_p_values() -> None:
    table = difference_table(differences(), ["ndcg@10", "recall@10"]).data.map(words)
    assert list(table.columns) == ["ndcg@10", "recall@10"]
    assert [tuple(map(words, row)) for row in table.index] == [
        ("a", "better than b"),
        ("a", "not told apart from c:d"),
    ]
    assert table.to_numpy().tolist() == [
        ["+0.0120 [+0.0020, +0.0220] p < .001", "-0.0300 [-0.0500, -0.0100] p = 0.020"],
        # no p-value was measured
        ["+0.00100 [-0.01000, +0.01200] p = 1.000", "+0.0400 [+0.0100, +0.0700]"],
    ]


def test_the_first_metric_decides_the_words() -> None:
    table = difference_table(differences(), ["recall@10", "ndcg@10"]).data
    said = [words(second) for _, second in table.index]
    assert said == ["worse than b", "better than c:d"]


def paired(protocol: str, variant: str, values: dict[str, float], users: int) -> pd.DataFrame:
    """Values of some models, and the difference of the first two with an interval of ± 0.01."""
    first, second, *_ = values
    rows = {**values, f"{first}-vs-{second}": values[first] - values[second]}
    return pd.DataFrame(
        [
            (protocol, variant, model, metric, v + shift, v + shift - 0.01, v + shift + 0.01)
            for metric, shift in (("ndcg@10", 0), ("recall@10", 0.5))
            for model, v in rows.items()
        ],
        columns=COLUMNS,
    ).assign(users=users)


def test_a_difference_by_history_has_a_row_for_each_length() -> None:
    metrics = pd.concat(
        [
            paired("full-loo", "raw", {"a": 0.9, "b": 0.1}, 2000),  # not of one length
            paired("full-loo", "raw, history 2", {"a": 0.05, "b": 0.02, "c": 0.9}, 1234),
            paired("full-loo", "raw, history > 10", {"a": 0.04, "b": 0.045, "c": 0.9}, 56),
            paired("full-loo", "direction-blind, history 2", {"a": 0.02, "b": 0.2}, 1234),
        ]
    )
    table = history_table(metrics, "a-vs-b", "ndcg@10").data
    assert list(table.columns) == ["variant", "users", "b", "a", "difference", "with it"]
    assert table.map(words).to_numpy().tolist() == [
        ["raw, history 2", "1,234", "0.0200", "0.0500", "+0.0300 [+0.0200, +0.0400]", "better"],
        [
            *("raw, history > 10", "56", "0.0450", "0.0400"),
            *("-0.00500 [-0.01500, +0.00500]", "not told apart"),
        ],
        [
            *("direction-blind, history 2", "1,234", "0.2000", "0.0200"),
            *("-0.180 [-0.190, -0.170]", "worse"),
        ],
    ]


def test_cold_rows_are_told_apart_by_protocol_and_variant() -> None:
    metrics = pd.concat(
        [
            paired("cold-users", "given=0", {"a": 0.05, "b": 0.05}, 10),
            paired("cold-users", "given=1", {"a": 0.07, "b": 0.05}, 11),
            paired("cold-items", "raw", {"a": 0.08, "b": 0.05}, 12),
            paired("cold-items", "given=1", {"b": 0.08, "c": 0.05}, 13),  # of another pair
        ]
    )
    table = cold_table(metrics, "a-vs-b", "recall@10").data
    assert table[["protocol", "variant", "users"]].to_numpy().tolist() == [
        ["cold-users", "given=0", "10"],
        ["cold-users", "given=1", "11"],
        ["cold-items", "raw", "12"],
    ]
    assert table["a"].tolist() == ["0.5500", "0.5700", "0.5800"]


def test_a_difference_is_found_only_if_it_stands_correction() -> None:
    """As in the tables of differences: the same row must not be better here and nothing there."""
    metrics = paired("cold-items", "raw", {"a": 0.05, "b": 0.02}, 100)
    p_value = metrics[(metrics["model"] == "a-vs-b") & (metrics["metric"] == "ndcg@10")].assign(
        metric="p_ndcg@10", value=0.2, low=np.nan, high=np.nan
    )
    weak = pd.concat([metrics, p_value])
    assert cold_table(metrics, "a-vs-b", "ndcg@10").data["with it"].tolist() == ["better"]
    assert cold_table(weak, "a-vs-b", "ndcg@10").data["with it"].tolist() == ["not told apart"]
    weak["variant"] = "raw, history 2"
    by_history = history_table(weak, "a-vs-b", "ndcg@10").data
    assert by_history["with it"].tolist() == ["not told apart"]


def test_few_users_may_have_no_interval() -> None:
    """Resamples without any of them have no mean, and a difference of 0 no size."""
    metrics = paired("full-loo", "raw, history 1", {"a": 0.05, "b": 0.05}, 1)
    metrics[["low", "high"]] = np.nan
    row = history_table(metrics, "a-vs-b", "ndcg@10").data.iloc[0]
    assert (row["difference"], row["with it"]) == ("+0.000", "not told apart")
    metrics["value"] = np.nan
    row = history_table(metrics, "a-vs-b", "ndcg@10").data.iloc[0]
    assert row[["a", "b", "difference"]].tolist() == ["–"] * 3


def test_variants_stand_beside_each_other() -> None:
    metrics = pd.concat(
        [
            paired("cold-users", "given=1", {"b": 0.3, "a": 0.2}, 10),
            paired("cold-users", "given=0", {"b": 0.1, "a": np.nan, "new": 0.4}, 10),
        ]
    )
    metrics = metrics[~metrics["model"].str.contains("-vs-")]
    table = variants_table(metrics, "ndcg@10", ["given=0", "given=1"]).data.map(words)
    assert list(table.columns) == ["given=0", "given=1"]
    assert table.loc["b"].tolist() == ["0.100 [0.090, 0.110]", "0.300 [0.290, 0.310]"]
    assert table.loc["a"].tolist() == ["–", "0.200 [0.190, 0.210]"]
    assert table.loc["new"].tolist() == ["0.400 [0.390, 0.410]", "–"]  # there it was not measured


def tried() -> pd.DataFrame:
    """Trials of three models; of two equal ones the first counts."""
    rows = [
        ("ease", 0, 0.02, 30.0, '{"regularisation": 500.0}'),
        ("ease", 1, 0.0412345, 60.0, '{"regularisation": 123.456, "history": 7}'),
        ("ease", 2, 0.0412345, 30.0, '{"regularisation": 9.0}'),
        ("popular", 0, 0.01, 6.0, "{}"),
        ("als", 0, 0.05, 6.0, '{"similarity": "cosine"}'),
        ("als", 1, 0.04, 6.0, '{"similarity": "tfidf"}'),
    ]
    frame = pd.DataFrame(rows, columns=["model", "trial", "value", "seconds", "parameters"])
    return frame.assign(metric="ndcg@10")


def test_trials_are_summed_up_for_each_model() -> None:
    styler = trials_table(tried())
    table = styler.data
    assert list(table.index) == ["ease", "popular", "als"]
    assert table["trials"].tolist() == [3, 1, 2]
    assert table["minutes"].tolist() == pytest.approx([2, 0.1, 0.2])
    assert table["before"].tolist() == [0.02, 0.01, 0.05]
    assert table["best"].tolist() == [0.0412345, 0.01, 0.05]
    assert table["setting"].tolist() == [
        "regularisation 123, history 7",
        "nothing to choose",
        "similarity cosine",
    ]
    assert marks(styler) == {(2, 3): BOLD, (0, 3): SECOND}
    assert "0.0412<" in styler.to_html()


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
