"""What the study costs: the tables that ``make bench`` writes, and what follows from them.

``peers.csv`` has the hot paths beside the libraries that one would pick for them, ``scale.csv``
the steps of the study at many sizes, ``weightings.csv`` the choice of the weights of Eq. 7,
``serve.csv`` how long customers of the shop wait, ``models.csv`` what each model takes,
``finetune.csv`` how fast an encoder learns, ``depths.csv`` what tuning more of it brings,
``mixtures.csv`` what that is worth beside other models, ``several_tasks.csv`` whether it learns
several tasks better at once, and ``scale.svg`` draws the second. ``provenance.json`` says which
machine and which code it was.
"""

from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pandera.polars as pa
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reclib import cache
from reclib.data.schema import validated
from reclib.errors import ReclibError, unknown
from reclib.study import doctor, figures, results
from reclib.study.provenance import CODE, git_state

PEERS_FILE, SCALE_FILE = "peers.csv", "scale.csv"
WEIGHTINGS_FILE, SERVE_FILE, MODELS_FILE = "weightings.csv", "serve.csv", "models.csv"
FINETUNE_FILE, DEPTHS_FILE = "finetune.csv", "depths.csv"
MIXTURES_FILE, SEVERAL_FILE = "mixtures.csv", "several_tasks.csv"
FIGURE_FILE = "scale.svg"
SERIES = ("events", "items", "workers", "claim")
STEPS = ("load", "encode", "fit", "rank", "metrics")

_SECONDS: dict[str, Any] = {"gt": 0, "lt": float("inf")}


class PeerRows(pa.DataFrameModel):
    """``peers.csv``: the same work done by us and by another library."""

    task: str = pa.Field(str_length={"min_value": 1}, description="what was done")
    seconds: float = pa.Field(**_SECONDS, description="fastest of ours")
    peer: str = pa.Field(str_length={"min_value": 1}, description="the other library")
    peer_seconds: float = pa.Field(**_SECONDS, description="fastest of the other")


class ScaleRows(pa.DataFrameModel):
    """``scale.csv``: one step at one size."""

    series: str = pa.Field(isin=SERIES, description="what grows")
    step: str = pa.Field(isin=STEPS, description="part of the study")
    model: str = pa.Field(description="of a fit or a ranking; else empty")
    events: int = pa.Field(ge=0, description="in the tables")
    items: int = pa.Field(ge=0, description="products, or texts that were encoded")
    users: int = pa.Field(ge=0, description="who were gone through")
    workers: int = pa.Field(ge=0, description="processes of a cluster; 0: none, the step alone")
    threads: int = pa.Field(ge=1, description="of all processes together")
    seconds: float = pa.Field(**_SECONDS, description="wall time")
    peak_mb: float = pa.Field(nullable=True, description="highest memory of the step's process")


class WeightingRows(pa.DataFrameModel):
    """``weightings.csv``: the parts of Eq. 7, scored once and combined many times."""

    data: str = pa.Field(str_length={"min_value": 1}, description="data set")
    users: int = pa.Field(ge=1, description="who were ranked")
    items: int = pa.Field(ge=1, description="products")
    weightings: int = pa.Field(ge=1, description="tried")
    score_seconds: float = pa.Field(**_SECONDS, description="until all parts were scored")
    combine_seconds: float = pa.Field(**_SECONDS, description="for all weightings, after that")


class ServeRows(pa.DataFrameModel):
    """``serve.csv``: customers of one kind, coming in one way."""

    users: int = pa.Field(ge=1, description="whom the shop knows")
    items: int = pa.Field(ge=1, description="products")
    customers: str = pa.Field(str_length={"min_value": 1}, description="who come, and what for")
    callers: int = pa.Field(ge=1, description="processes that serve at once")
    rate: float = pa.Field(ge=0, description="customers a second; 0: the next when one is served")
    served: float = pa.Field(**_SECONDS, description="customers a second")
    median_ms: float = pa.Field(**_SECONDS, description="wait, the queue included")
    p99_ms: float = pa.Field(**_SECONDS, description="wait of the unluckiest of a hundred")
    processor_ms: float = pa.Field(ge=0, description="work for one customer, median")


class ModelRows(pa.DataFrameModel):
    """``models.csv``: one step of one model, in a process of its own."""

    data: str = pa.Field(str_length={"min_value": 1}, description="data set")
    users: int = pa.Field(ge=1, description="who were learned from")
    items: int = pa.Field(ge=1, description="products")
    model: str = pa.Field(str_length={"min_value": 1}, description="model, or nothing")
    step: str = pa.Field(isin=("load", "encode", "fit", "score"), description="part of the work")
    seconds: float = pa.Field(**_SECONDS, description="wall time")
    peak_mb: float = pa.Field(gt=0, description="highest memory of the process during the step")
    joules: float = pa.Field(ge=0, nullable=True, description="energy, where a counter tells")


class FinetuneRows(pa.DataFrameModel):
    """``finetune.csv``: all weights of an encoder, learning for a while on one device."""

    encoder: str = pa.Field(str_length={"min_value": 1}, description="what is tuned")
    parameters: int = pa.Field(ge=1, description="its weights")
    data: str = pa.Field(str_length={"min_value": 1}, description="data set")
    items: int = pa.Field(ge=1, description="products")
    device: str = pa.Field(str_length={"min_value": 1}, description="GPU or processor")
    threads: int = pa.Field(ge=1, description="of the processor")
    precision: str = pa.Field(isin=("float32", "bfloat16"), description="of the products")
    batch_size: int = pa.Field(ge=1, description="products to predict at once")
    examples: int = pa.Field(ge=1, description="products that were predicted")
    epoch_examples: int = pa.Field(ge=1, description="products to predict in all the data")
    seconds: float = pa.Field(**_SECONDS, description="of training, after one step unmeasured")
    texts: int = pa.Field(ge=1, description="that were read")
    tokens: int = pa.Field(ge=1, description="in them, without padding")
    padding: float = pa.Field(ge=0, lt=1, description="share of all tokens")
    tflops: float = pa.Field(**_SECONDS, description="10¹² operations a second, for the tokens")
    matrix_tflops: float = pa.Field(**_SECONDS, description="of large matrix products, likewise")
    peak_gb: float = pa.Field(gt=0, description="highest memory of the device or the process")


class DepthRows(pa.DataFrameModel):
    """``depths.csv``: how much of the encoder is tuned, and how well it ranks then."""

    data: str = pa.Field(str_length={"min_value": 1}, description="data set")
    depth: str = pa.Field(str_length={"min_value": 1}, description="what is trained")
    encoder_rate: float = pa.Field(gt=0, nullable=True, description="its learning rate")
    epochs: int = pa.Field(ge=0, description="passes over the examples")
    device: str = pa.Field(str_length={"min_value": 1}, description="GPU or processor")
    seconds: float = pa.Field(**_SECONDS, description="of the fit")
    ndcg: float = pa.Field(alias="ndcg@10", ge=0, le=1, description="on the validation")
    gain: float = pa.Field(nullable=True, description="over the adapter, paired")
    low: float = pa.Field(nullable=True, description="of its 95 % interval")
    high: float = pa.Field(nullable=True, description="of its 95 % interval")


class MeasuredRows(pa.DataFrameModel):
    """``mixtures.csv``, ``several_tasks.csv``: a metric of a model, or of a difference of two."""

    data: str = pa.Field(str_length={"min_value": 1}, description="data set")
    protocol: str = pa.Field(str_length={"min_value": 1}, description="protocol, or task")
    model: str = pa.Field(str_length={"min_value": 1}, description="or two, and a minus")
    metric: str = pa.Field(str_length={"min_value": 1}, description="or p_ and a metric")
    value: float = pa.Field(description="mean over users and seeds")
    low: float = pa.Field(nullable=True, description="of its 95 % interval")
    high: float = pa.Field(nullable=True, description="of its 95 % interval")
    users: int = pa.Field(ge=1, description="who were asked")
    seeds: int = pa.Field(ge=1, description="of the fit")
    device: str = pa.Field(str_length={"min_value": 1}, description="GPU or processor")


MODELS: dict[str, type[pa.DataFrameModel]] = {
    PEERS_FILE: PeerRows,
    SCALE_FILE: ScaleRows,
    WEIGHTINGS_FILE: WeightingRows,
    SERVE_FILE: ServeRows,
    MODELS_FILE: ModelRows,
    FINETUNE_FILE: FinetuneRows,
    DEPTHS_FILE: DepthRows,
    MIXTURES_FILE: MeasuredRows,
    SEVERAL_FILE: MeasuredRows,
}
# what the cost of a step grows with
DRIVERS = {"load": "events", "fit": "events", "encode": "items", "metrics": "users"}
SHARED_OUT = ("encode", "rank", "metrics")  # by `reclib.study.shards`


def write_table(name: str, rows: list[dict[str, Any]], folder: Path, load: float) -> None:
    """Check and write what a benchmark measured, and what it was measured with.

    Parameters
    ----------
    name
        One of `MODELS`.
    rows
        The columns of its model.
    folder
        Made if it is not there; what other benchmarks wrote there stays.
    load
        Of the machine before the benchmark: more than a little spoils every figure.
    """
    if name not in MODELS:
        raise unknown("table", name, MODELS)
    table = _checked(pd.DataFrame(rows), name, name)
    text = table.to_csv(index=False, float_format="%.4g", lineterminator="\n")
    cache.atomic_write(folder / name, lambda temporary: temporary.write_text(text, "utf-8"))
    if name == SCALE_FILE:
        figure = scale_plot(table)
        draw = partial(figure.savefig, format="svg", metadata={"Date": None})
        cache.atomic_write(folder / FIGURE_FILE, draw)
        plt.close(figure)
    file = folder / results.PROVENANCE_FILE
    known = results.read_provenance(folder) if file.is_file() else {}
    about = {
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
        "load": round(load, 2),
        "sha256": results.file_hash(folder / name),
        "git": git_state((*CODE, "benchmarks")),
        "machine": doctor.machine(),
    }
    results.write_json(known | {name: about}, file)


def read_table(name: str, folder: Path) -> pd.DataFrame:
    """Read and check what a benchmark measured.

    Raises
    ------
    ReclibError
        There is no such file, or not with these columns.
    """
    file = folder / name
    if not file.is_file():
        raise ReclibError(f"{file} is not there; `make bench` writes it")
    columns = MODELS[name].to_schema().columns.items()
    empty = {column: [""] for column, kind in columns if kind.nullable}
    table = pd.read_csv(file, keep_default_na=False, na_values=empty)
    return _checked(table, name, str(file))


def estimate(
    scale: pd.DataFrame, *, users: int, items: int, events_per_user: float = 20.0
) -> pd.DataFrame:
    """Reckon what another size would cost, from measured unit costs.

    The cost of a step is taken to grow in proportion with what it goes through: events for
    reading and for fits (the language model's: products), products for encoding, users ×
    products for ranking, users for metrics. Its unit cost is that of the largest measured
    size. Memory grows with events while reading and in fits that go through them, else with
    products.

    Parameters
    ----------
    scale
        Of ``scale.csv``.
    users, items, events_per_user
        The size in question.

    Returns
    -------
    pandas.DataFrame
        A row for each step and model: ``driver``; ``amount`` of it; ``core_seconds`` that a
        unit of it takes; ``core_hours`` of all; ``memory_gb`` of a process; and ``shared``,
        whether machines can share the step.
    """
    target = {
        "events": users * events_per_user,
        "items": items,
        "users": users,
        "pairs": users * items,
    }
    measured = scale.assign(pairs=scale["users"].astype(float) * scale["items"])
    rows = []
    for (step, model), some in measured.groupby(["step", "model"], sort=False):
        driver = DRIVERS.get(str(step), "pairs")
        if (step, model) == ("fit", "language"):
            driver = "items"
        # among equally large ones the one without the cost of a cluster
        row = some.sort_values([driver, "workers"], ascending=[False, True]).iloc[0]
        unit = row["seconds"] * row["threads"] / row[driver]
        size = "events" if driver == "events" else "items"
        known = some.dropna(subset="peak_mb").nlargest(1, size)
        memory = known["peak_mb"].max() / 1024 * target[size] / known[size].max()
        if step == "metrics":  # lists alone, whatever else the process held
            memory = np.nan
        hours = unit * target[driver] / 3600
        rows.append((step, model, driver, target[driver], unit, hours, memory, step in SHARED_OUT))
    columns = "step model driver amount core_seconds core_hours memory_gb shared".split()
    table = pd.DataFrame(rows, columns=columns)
    order = table["step"].map(STEPS.index)
    return table.loc[order.sort_values(kind="stable").index].reset_index(drop=True)


def scale_plot(scale: pd.DataFrame) -> Figure:
    """Draw seconds and memory against events and against products."""
    figures.use_style()
    panels = [
        (f"{label}, by {name}", partial(_curves, scale, series, column, f"{name} in the tables"))
        for column, label in (("seconds", "Seconds"), ("peak_mb", "Peak memory, MB"))
        for series, name in (("events", "events"), ("items", "products"))
    ]
    figure = figures.small_multiples(panels)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=9)
    return figure


def _curves(scale: pd.DataFrame, series: str, column: str, label: str, ax: Axes) -> None:
    """Draw a line for each step and model, on logarithmic axes."""
    some = scale[(scale["series"] == series) & scale["step"].isin(("load", "fit", "rank"))]
    for (step, model), rows in some.groupby(["step", "model"], sort=False):
        rows = rows.sort_values(series)
        ax.plot(
            rows[series],
            rows[column],
            color=figures.COLOURS.get(str(model), figures.GREY),
            linestyle="dashed" if step == "rank" else "solid",
            marker="o",
            markersize=3,
            label=f"{step} {model}".strip(),
        )
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel(label)


def _checked(table: pd.DataFrame, name: str, where: str) -> pd.DataFrame:
    model = MODELS[name]
    return validated(table, model, where).select(list(model.to_schema().columns)).to_pandas()
