"""Tables of the book: three digits, intervals under the values, best in bold."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler

from reclib.data import Marketplace, Prepared
from reclib.study.paper import TABLE_II

ROWS = ("precision", "recall", "f1", "ctr", "diversity")


def metrics_table(metrics: pd.DataFrame, names: Sequence[str], *, mark: bool = True) -> Styler:
    """Set models in rows and metrics in columns.

    Parameters
    ----------
    metrics
        Rows of ``metrics.csv`` of one data set, protocol and variant.
    names
        Metrics to show, in order.
    mark
        Mark the best values; differences have none.

    Returns
    -------
    Styler
        Value and 95 % interval; the best of each column bold, the second underlined. More
        diversity is not better by itself (random lists win), so ``ild`` has no best.
    """
    shown = metrics[metrics["metric"].isin(names)]
    models = list(dict.fromkeys(shown["model"]))

    def wide(column: str) -> pd.DataFrame:
        return shown.pivot(index="model", columns="metric", values=column).loc[models, list(names)]

    value, low, high = wide("value"), wide("low"), wide("high")
    text = pd.DataFrame(
        [
            [_with_interval(*cells) for cells in zip(*rows, strict=True)]
            for rows in zip(value.to_numpy(), low.to_numpy(), high.to_numpy(), strict=True)
        ],
        index=models,
        columns=list(names),
    )
    marks = pd.DataFrame("", index=text.index, columns=text.columns)
    for name in names:
        best = value[name].dropna().nlargest(2).index
        if mark and not name.startswith("ild") and len(best) == 2:
            marks.loc[best[0], name] = "font-weight: bold"
            marks.loc[best[1], name] = "text-decoration: underline"
    return text.style.apply(lambda _: marks, axis=None).set_table_attributes('class="results"')


def table_two(metrics: pd.DataFrame, *, k: int = 10) -> Styler:
    """Set Table II of the paper beside this run.

    Parameters
    ----------
    metrics
        ``metrics.csv`` of one data set.
    k
        Length of the lists.

    Returns
    -------
    Styler
        Precision, recall and F1 under ``pairs``; click-through rate and diversity of the
        lists of ``full-loo``; the change in per cent and the paired difference.
    """
    rows = {}
    for name, (protocol, metric) in _places(k).items():
        found = metrics[(metrics["protocol"] == protocol) & (metrics["metric"] == metric)]
        found = found.set_index("model")
        before, after = TABLE_II[name]
        row = {
            ("paper", "traditional"): f"{before:.2f}",
            ("paper", "LLM-based"): f"{after:.2f}",
            ("paper", "change"): f"{after / before - 1:+.1%}",
        }
        for model in ("traditional", "llm-fusion"):
            row["this run", model] = _cell(found, model)
        row["this run", "change"] = _change(found)
        row["this run", "paired difference"] = _cell(found, "llm-fusion-vs-traditional", "+.3f")
        rows[f"{name} ({protocol})"] = row
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.columns = pd.MultiIndex.from_tuples(list(map(tuple, table.columns)))
    return table.style.set_table_attributes('class="results"')


def table_two_values(metrics: pd.DataFrame, *, k: int = 10) -> pd.DataFrame:
    """Give the values of Table II, the paper's and this run's, for the heatmap of Fig. 4.

    Parameters
    ----------
    metrics, k
        As in `table_two`.

    Returns
    -------
    pandas.DataFrame
        Models in rows, metrics in columns; NaN where a value is not measurable.
    """
    rows = {
        f"paper: {name}": {metric: TABLE_II[metric][column] for metric in ROWS}
        for column, name in enumerate(("traditional", "LLM-based"))
    }
    values = metrics.set_index(["protocol", "metric", "model"])["value"]
    for model in ("traditional", "llm-fusion"):
        rows[f"ours: {model}"] = {
            metric: values.get((*place, model), np.nan) for metric, place in _places(k).items()
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def recommendation_table(prepared: Prepared, recommended: pd.DataFrame) -> pd.DataFrame:
    """Set titles and categories beside recommended or bought products.

    Parameters
    ----------
    prepared
        Gives the catalogue.
    recommended
        With a column item_id.

    Returns
    -------
    pandas.DataFrame
        The same rows with title, brand and categories.
    """
    items = prepared.items.set_index(prepared.item_ids)[["title", "brand", "categories"]]
    return recommended.join(items, on="item_id")


def origin_note(marketplace: Marketplace) -> str:
    """Say in Markdown whether the data of a page are real."""
    if marketplace.simulated:
        return (
            "> The data of this page are **simulated**. They show how the study works, and "
            "nothing about any real shop."
        )
    return f"> The data of this page are real: **{marketplace.name}**."


def split_table(described: pd.DataFrame) -> Styler:
    """Set the test folds of several splits under each other.

    Parameters
    ----------
    described
        Rows of `reclib.data.describe_split`.

    Returns
    -------
    Styler
        One row a protocol; a share that the data cannot give is a dash.
    """
    counts = {
        "training_events": "training events",
        "users_asked": "users asked",
        "strangers": "not asked",
        "pairs_asked": "held-out pairs",
    }
    shares = {
        "unseen": "products never seen",
        "before_own": "own future known",
        "before_any": "anybody's future known",
    }
    test = described[described["fold"] == "test"].set_index("protocol")
    test = test[[*counts, *shares]].rename(columns=counts | shares).rename_axis(None)
    style = test.style.format("{:,}", subset=list(counts.values()))
    return style.format("{:.1%}", subset=list(shares.values()), na_rep="\N{EN DASH}")


def _places(k: int) -> dict[str, tuple[str, str]]:
    """Row of Table II → where this study measures it: protocol and metric."""
    return {
        "precision": ("pairs", "precision"),
        "recall": ("pairs", "recall"),
        "f1": ("pairs", "f1"),
        "ctr": ("full-loo", f"ctr@{k}"),
        "diversity": ("full-loo", f"ild@{k}"),
    }


def _cell(found: pd.DataFrame, model: str, style: str = ".3f") -> str:
    if model not in found.index or np.isnan(found["value"].loc[model]):
        return "not measurable"
    value, low, high = found.loc[[model], ["value", "low", "high"]].to_numpy(float)[0]
    return _with_interval(value, low, high, style)


def _change(found: pd.DataFrame) -> str:
    if not {"traditional", "llm-fusion"} <= set(found.index):
        return "–"
    before, after = found["value"].loc[["traditional", "llm-fusion"]].to_numpy(float)
    return f"{after / before - 1:+.1%}" if before > 0 else "–"


def _with_interval(value: float, low: float, high: float, style: str = "") -> str:
    """Write value and interval with three significant digits of the value."""
    if np.isnan(value):
        return "–"
    size = abs(value) or max(abs(low), abs(high)) or 1.0
    digits = max(3, 2 - int(np.floor(np.log10(size))))
    sign = "+" if style.startswith("+") else ""
    number = f"{sign}.{min(digits, 5)}f"
    return f"{value:{number}}<br><small>[{low:{number}}, {high:{number}}]</small>"
