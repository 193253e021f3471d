"""The published results on Amazon Beauty, ours beside them, and what the order of ties gives."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pandera.polars as pa

from reclib import paths
from reclib.data.schema import validated
from reclib.errors import ReclibError
from reclib.study.experiment import LLM, LLM_PARTS
from reclib.study.results import read_results

DATA, PROTOCOL = "amazon-beauty", "full-loo"
PUBLISHED = Path(__file__).with_name("literature.csv")
RAW, BLIND = "raw", "direction-blind"
READS_TEXT = (
    *("content", "content:tuned", "collaborative", "ease:content", "content-count", "traditional"),
    *(*LLM_PARTS, LLM, "traditional:all", f"{LLM}:all"),
)
OURS = "this study"
_SHARE: dict[str, Any] = {"gt": 0, "lt": 1}


class PublishedRows(pa.DataFrameModel):
    """``literature.csv``: what others report on Amazon Beauty, 2014, 5-core, full ranking."""

    method: str = pa.Field(str_matches=r"\S", description="as its authors call it")
    reads: str = pa.Field(isin=["", "attributes", "text"], description="of the products")
    recall: float = pa.Field(**_SHARE, nullable=True, description="recall@10")
    ndcg: float = pa.Field(**_SHARE, description="ndcg@10")
    ndcg_sd: float = pa.Field(**_SHARE, nullable=True, description="of ndcg@10, between seeds")
    key: str = pa.Field(str_matches=r"^[a-z0-9]+$", description="of book/references.bib")
    place: str = pa.Field(description="table or file of the source")
    kind: str = pa.Field(isin=["reported", "re-run"], description="by its authors, or by others")
    read: str = pa.Field(
        isin=["file", "quoted"], description="in the source itself, or in what quotes it"
    )
    differs: str = pa.Field(description="what keeps it from being comparable")


def published() -> pd.DataFrame:
    """Read the published results; the columns are those of `PublishedRows`.

    Raises
    ------
    ReclibError
        A value that no share can have, an unknown mark, or the same row twice.
    """
    texts = ["method", "reads", "key", "place", "kind", "read", "differs"]
    table = pd.read_csv(PUBLISHED, dtype=dict.fromkeys(texts, "str"))
    table[texts] = table[texts].fillna("")
    table = validated(table, PublishedRows, PUBLISHED.name).to_pandas()
    if (twice := table.duplicated(["method", "key", "place", "kind"])).any():
        row = table[twice].iloc[0]
        raise ReclibError(f"{PUBLISHED.name}: two rows for {row.method} in {row.key}, {row.place}")
    return table


def recorded_lists() -> pd.DataFrame:
    """Read what the recorded run measured on lists: rows of metrics.csv, raw and blind.

    Raises
    ------
    ReclibError
        No recorded run; the error names the file.
    """
    metrics, _ = read_results(paths.REFERENCE / DATA)
    lists = (metrics["protocol"] == PROTOCOL) & metrics["variant"].isin([RAW, BLIND])
    return metrics[lists & ~metrics["model"].str.contains("-vs-")]


def order_effect(metrics: pd.DataFrame, metric: str = "ndcg@10") -> pd.DataFrame:
    """Compare each model with its form that cannot see which of two products came first.

    Parameters
    ----------
    metrics
        Rows of ``metrics.csv`` of one protocol, with both variants.
    metric
        Which metric.

    Returns
    -------
    pandas.DataFrame
        One row for each model to which the direction makes a difference, highest first:
        model, value, low and high as in the raw order, blind, blind_low and blind_high, and
        lost = 1 − blind / value, the share of the value that goes with the direction: what
        ties sorted by id give it, and what the direction says about customers.

    Raises
    ------
    ReclibError
        A variant is not there.
    """
    rows = metrics[metrics["metric"] == metric].set_index(["variant", "model"])
    for variant in (RAW, BLIND):
        if variant not in rows.index.get_level_values("variant"):
            raise ReclibError(f"no {metric} of the variant {variant!r}; direction_blind adds it")
    numbers = rows[["value", "low", "high"]]
    both = numbers.loc[RAW].join(numbers.loc[BLIND].add_prefix("blind_"), how="inner")
    both = both.rename(columns={"blind_value": "blind"})
    both = both[both["value"] != both["blind"]]
    both["lost"] = 1 - both["blind"] / both["value"]
    return both.sort_values("value", ascending=False, kind="stable").reset_index()


def beside_the_literature() -> pd.DataFrame:
    """Put the models of the recorded run into the published table.

    Returns
    -------
    pandas.DataFrame
        The columns of `PublishedRows`, low and high (NaN for published values), highest
        ndcg@10 first. Ours have the source `OURS` as their kind. Where the direction makes
        no difference to a model it stands once, else twice; ``differs`` names the form.

    Raises
    ------
    ReclibError
        No recorded run; the error names the file.
    """
    lists = recorded_lists()
    directed = set(order_effect(lists)["model"])
    wide = lists.pivot(
        index=["variant", "model"], columns="metric", values=["value", "low", "high"]
    )
    recorded: dict[Any, Any] = wide.to_dict("index")
    rows = [
        {
            "method": model,
            "reads": "text" if model in READS_TEXT else "",
            "recall": row["value", "recall@10"],
            "ndcg": row["value", "ndcg@10"],
            "low": row["low", "ndcg@10"],
            "high": row["high", "ndcg@10"],
            "kind": OURS,
            "differs": {RAW: "raw order", BLIND: BLIND}[variant] if model in directed else "",
        }
        for (variant, model), row in recorded.items()
        if model != "random" and (variant == RAW or model in directed)
    ]
    table = pd.concat([published(), pd.DataFrame(rows)], ignore_index=True)
    texts = ["key", "place", "read"]
    table[texts] = table[texts].fillna("")
    return table.sort_values("ndcg", ascending=False, kind="stable", ignore_index=True)


def order_said(effect: pd.DataFrame) -> str:
    """Say in a sentence of Markdown what `order_effect` found."""
    lost = effect["lost"].to_numpy(float)
    most, least = effect.iloc[int(lost.argmax())], effect.iloc[int(lost.argmin())]
    return (
        f"Without the direction the {len(effect)} models that can see it have between "
        f"**{least['lost']:.1%}** (`{least['model']}`) and **{most['lost']:.1%}** "
        f"(`{most['model']}`) less; the median is {np.median(lost):.1%}."
    )
