"""Tables of the book: three digits, intervals under the values, best in bold."""

import json
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler

from reclib.data import Marketplace, Prepared
from reclib.study.paper import TABLE_II

ROWS = ("precision", "recall", "f1", "ctr", "diversity")
MARKS = ("font-weight: bold", "text-decoration: underline")  # of the best and the second


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
            marks.loc[list(best), name] = MARKS
    return text.style.apply(lambda _: marks, axis=None).set_table_attributes('class="results"')


def difference_table(metrics: pd.DataFrame, names: Sequence[str]) -> Styler:
    """Set paired differences in rows, each metric with its corrected p-value.

    Parameters
    ----------
    metrics
        Rows named ``a-vs-b`` of one data set, protocol and variant.
    names
        Metrics to show, in order.

    Returns
    -------
    Styler
        First model, `verdict` by the first metric, second model; each difference with its
        95 % interval and its p-value after Holm's correction.
    """
    rows = {}
    values = metrics.set_index(["model", "metric"])[["value", "low", "high"]]
    for pair in dict.fromkeys(map(str, metrics["model"])):
        first, second = pair.split("-vs-")
        said, cells = "", {}
        for name in names:
            value, low, high = values.loc[[(pair, name)]].to_numpy(float)[0]
            p = float(values["value"].get((pair, f"p_{name}"), np.nan))
            said = said or verdict(value, low, high, p)
            cells[name] = _with_interval(value, low, high, signed=True)
            if not np.isnan(p):
                cells[name] += f"<br><small>p {'< .001' if p < 0.001 else f'= {p:.3f}'}</small>"
        rows[first, f"{said} <b>{second}</b>"] = cells
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index = pd.MultiIndex.from_tuples(list(rows))
    style = table.style.set_table_styles(
        [{"selector": "th.row_heading", "props": "text-align: left"}]
    )
    return style.set_table_attributes('class="results"')


def verdict(value: float, low: float, high: float, p: float = np.nan) -> str:
    """Say in words what a paired difference means, if `is_found`."""
    if not is_found(low, high, p):
        return "not told apart from"
    return "better than" if value > 0 else "worse than"


def is_found(low: float, high: float, p: float = np.nan) -> bool:
    """Say whether a paired difference was found.

    By its p-value at a level of 5 %, which is corrected for the number of comparisons;
    where there is none, by whether the 95 % interval leaves out 0.
    """
    return low > 0 or high < 0 if np.isnan(p) else p < 0.05


def history_table(metrics: pd.DataFrame, pair: str, name: str) -> Styler:
    """Set a paired difference in rows by the length of the history.

    Parameters
    ----------
    metrics
        ``metrics.csv`` of one data set.
    pair
        Which difference, as ``a-vs-b``.
    name
        Which metric.

    Returns
    -------
    Styler
        Variant and length, users, both models' values, the difference with its interval.
    """
    shown = metrics["variant"].str.contains(", history ")
    return _paired_rows(metrics[shown], pair, name, ["variant"])


def cold_table(metrics: pd.DataFrame, pair: str, name: str) -> Styler:
    """Set a paired difference in rows by protocol and variant; arguments as `history_table`."""
    return _paired_rows(metrics, pair, name, ["protocol", "variant"])


def _paired_rows(metrics: pd.DataFrame, pair: str, name: str, by: list[str]) -> Styler:
    first, second = pair.split("-vs-")
    rows = []
    for place, part in metrics.groupby(by, sort=False):
        values = part.set_index(["model", "metric"])[["value", "low", "high", "users"]]
        if (pair, name) not in values.index:
            continue
        value, low, high, users = values.loc[[(pair, name)]].to_numpy(float)[0]
        row = dict(zip(by, place, strict=True)) | {"users": f"{users:,.0f}"}
        for model in (second, first):
            known = float(values["value"].loc[model, name])
            row[model] = "–" if np.isnan(known) else f"{known:.4f}"
        row["difference"] = _with_interval(value, low, high, signed=True)
        p = float(values["value"].get((pair, f"p_{name}"), np.nan))
        rows.append(row | {"with it": verdict(value, low, high, p).rsplit(" ", 1)[0]})
    return pd.DataFrame(rows).style.hide().set_table_attributes('class="results"')


def variants_table(metrics: pd.DataFrame, name: str, variants: Sequence[str]) -> Styler:
    """Set models in rows and the variants of a protocol in columns, for one metric.

    Parameters
    ----------
    metrics
        Rows of one data set and protocol.
    name
        Which metric.
    variants
        Columns, in order.

    Returns
    -------
    Styler
        Value and 95 % interval.
    """
    shown = metrics[metrics["metric"] == name]
    columns = {
        variant: {
            model: _with_interval(*numbers)
            for model, *numbers in shown.loc[
                shown["variant"] == variant, ["model", "value", "low", "high"]
            ].itertuples(index=False)
        }
        for variant in variants
    }
    table = pd.DataFrame(columns).fillna("–")
    return table.style.set_table_attributes('class="results"')


def table_two(metrics: pd.DataFrame, *, k: int = 10, protocol: str = "full-loo") -> Styler:
    """Set Table II of the paper beside this run.

    Parameters
    ----------
    metrics
        ``metrics.csv`` of one data set.
    k
        Length of the lists.
    protocol
        Of the lists.

    Returns
    -------
    Styler
        Precision, recall and F1 under ``pairs``; click-through rate and diversity of the
        lists; the change in per cent and the paired difference.
    """
    rows = {}
    usual = _usual(metrics)
    for name, (where, metric) in places(k, protocol).items():
        found = usual[(usual["protocol"] == where) & (usual["metric"] == metric)]
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
        row["this run", "paired difference"] = _cell(
            found, "llm-fusion-vs-traditional", signed=True
        )
        rows[f"{name} ({where})"] = row
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.columns = pd.MultiIndex.from_tuples(list(map(tuple, table.columns)))
    return table.style.set_table_attributes('class="results"')


def table_two_values(
    metrics: pd.DataFrame, *, k: int = 10, protocol: str = "full-loo"
) -> pd.DataFrame:
    """Give the values of Table II, the paper's and this run's, for the heatmap of Fig. 4.

    Parameters
    ----------
    metrics, k, protocol
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
    values = _usual(metrics).set_index(["protocol", "metric", "model"])["value"]
    for model in ("traditional", "llm-fusion"):
        rows[f"ours: {model}"] = {
            metric: values.get((*place, model), np.nan)
            for metric, place in places(k, protocol).items()
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


def trials_table(trials: pd.DataFrame) -> Styler:
    """Set what tuning gave each model: effort, value before and after, the setting chosen.

    Parameters
    ----------
    trials
        From `reclib.evaluation.tune`.

    Returns
    -------
    Styler
        One row a model, in the order tuned; the best value bold, the second underlined.
    """
    rows = {}
    for model, tried in trials.groupby("model", sort=False):
        best = tried.sort_values("value", ascending=False, kind="stable").iloc[0]
        settings = json.loads(best["parameters"])
        rows[model] = {
            "trials": len(tried),
            "minutes": tried["seconds"].sum() / 60,
            "before": tried["value"].iloc[0],
            "best": best["value"],
            "setting": ", ".join(f"{name} {_short(value)}" for name, value in settings.items())
            or "nothing to choose",
        }
    table = pd.DataFrame.from_dict(rows, orient="index")
    marks = pd.DataFrame("", index=table.index, columns=table.columns)
    for model, mark in zip(table["best"].nlargest(2).index, MARKS, strict=False):
        marks.loc[model, "best"] = mark
    style = table.style.format({"minutes": "{:.1f}", "before": "{:.4f}", "best": "{:.4f}"})
    wrapped = "white-space: normal; text-align: left; min-width: 14em"
    style = style.set_table_styles({"setting": [{"selector": "", "props": wrapped}]})
    return style.apply(lambda _: marks, axis=None).set_table_attributes('class="results"')


def left_out_note(left_out: Mapping[str, str]) -> str:
    """Say in Markdown which models are not for the data; nothing where all are.

    Parameters
    ----------
    left_out
        Of a `reclib.evaluation.Tuning`.

    Returns
    -------
    str
        A line for each.
    """
    return "\n".join(f"- **{name}** is left out: {why}." for name, why in left_out.items())


def doubts_table(diagnosed: pd.DataFrame) -> Styler:
    """Set the diagnostics of off-policy estimates in rows.

    Parameters
    ----------
    diagnosed
        Of a `reclib.study.off_policy.Estimated`.

    Returns
    -------
    Styler
        One row an estimate; what there is to doubt comes last.
    """
    names = {
        "effective": "effective sample size",
        "largest_weight": "largest weight",
        "largest_share": "its share",
        "tail_share": "share of the largest 1 %",
    }
    table = diagnosed.rename(columns=names).replace({"doubt": {"": "none"}})
    style = table.style.hide().format(
        dict(zip(names.values(), ("{:,.0f}", "{:,.1f}", "{:.2%}", "{:.1%}"), strict=True))
    )
    wrapped = "white-space: normal; text-align: left"
    style = style.set_table_styles({"doubt": [{"selector": "", "props": wrapped}]})
    return style.set_table_attributes('class="results"')


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _usual(metrics: pd.DataFrame) -> pd.DataFrame:
    """Rows of the usual variants: no model is blinded, no user left out."""
    return metrics[metrics["variant"].str.fullmatch(r"raw|r=\d+")]


def places(k: int, protocol: str) -> dict[str, tuple[str, str]]:
    """Row of Table II → where this study measures it: protocol and metric."""
    return {
        "precision": ("pairs", "precision"),
        "recall": ("pairs", "recall"),
        "f1": ("pairs", "f1"),
        "ctr": (protocol, f"ctr@{k}"),
        "diversity": (protocol, f"ild@{k}"),
    }


def _cell(found: pd.DataFrame, model: str, *, signed: bool = False) -> str:
    if model not in found.index or np.isnan(found["value"].loc[model]):
        return "not measurable"
    value, low, high = found.loc[[model], ["value", "low", "high"]].to_numpy(float)[0]
    return _with_interval(value, low, high, signed=signed)


def _change(found: pd.DataFrame) -> str:
    if not {"traditional", "llm-fusion"} <= set(found.index):
        return "–"
    before, after = found["value"].loc[["traditional", "llm-fusion"]].to_numpy(float)
    return f"{after / before - 1:+.1%}" if before > 0 else "–"


def _with_interval(value: float, low: float, high: float, *, signed: bool = False) -> str:
    """Write value and interval with three significant digits of the value."""
    if np.isnan(value):
        return "–"
    size = abs(value) or np.nanmax([abs(low), abs(high), 0]) or 1.0
    digits = max(3, 2 - int(np.floor(np.log10(size))))
    number = f"{'+' * signed}.{min(digits, 5)}f"
    if np.isnan(low):  # too few users to resample
        return f"{value:{number}}"
    return f"{value:{number}}<br><small>[{low:{number}}, {high:{number}}]</small>"
