"""The result files of a run: their columns, recording a reference, comparing with it.

``metrics.csv`` has one row per value and ``costs.csv`` one per model and step; ``cold.csv``
has values for new users and products, in the form of the first, and ``trials.csv`` every
trial of the tuning; ``provenance.json`` says what made them.
"""

import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pandera.polars as pa
import scipy.stats

from reclib import cache, paths
from reclib.data.schema import validated
from reclib.errors import ReclibError, unknown
from reclib.study.parameters import all_declared, data_name

# one order everywhere: in files, tables and figures
MODELS = (
    "random",
    "popular",
    "content",
    "content:tuned",
    "collaborative",
    "collaborative:interactions",
    "language",
    "language:tuned",
    "item-knn",
    "user-knn",
    "ease",
    "ease:content",
    "ease:language",
    "als",
    "bpr",
    "markov",
    "seqrules",
    "pctm",
    "transitions",
    "sasrec",
    "content-count",
    "traditional",
    "llm-fusion",
    "traditional:all",
    "llm-fusion:all",
    "hybrid",
    "hybrid:no-vectors",
    "hybrid:no-trad",
    "hybrid:no-llm",
    "always-yes",
)
PROTOCOLS = (
    *("full-loo", "pairs", "full-time", "cold-users", "cold-items", "random"),
    *("sampled-99", "online", "intent", "sentiment"),
)
ACCURACY = ("precision", "recall", "f1", "ndcg", "mrr", "map", "hit_rate")
MEASURES = (
    *(f"{name}@10" for name in ACCURACY),
    *("ild@10", "ctr@10", "precision", "recall", "f1"),
    *("balanced_accuracy", "macro_f1", "accuracy"),
    *("coverage@10", "gini@10", "novelty@10", "popularity_lift@10", "tail@10"),
    *("miscalibration@10", "category_entropy@10"),
)
ORDER: Mapping[str, Sequence[str]] = {
    "protocol": PROTOCOLS,
    "model": MODELS,
    "metric": MEASURES,
}
METRICS_FILE, COSTS_FILE, PROVENANCE_FILE = "metrics.csv", "costs.csv", "provenance.json"
TRIALS_FILE = "trials.csv"
# what notebooks of one question measure, in the columns of metrics.csv
COLD_FILE, NETWORK_FILE = "cold.csv", "network.csv"
TASKS_FILE, DIVERSITY_FILE = "tasks.csv", "diversity.csv"
BEYOND_FILE, CTR_FILE, ORDER_FILE = "beyond.csv", "ctr.csv", "order.csv"
MEASURED = (
    *(COLD_FILE, NETWORK_FILE, TASKS_FILE, DIVERSITY_FILE, BEYOND_FILE, CTR_FILE),
    ORDER_FILE,
)
RECORDED = (METRICS_FILE, COSTS_FILE, TRIALS_FILE, *MEASURED, PROVENANCE_FILE, "headline.svg")
RUN_FOLDER = "RECLIB_RUN_FOLDER"  # the environment variable that names a folder for one run
KEY = ["data", "protocol", "variant", "model", "metric"]
SHOWN = "ndcg@10"  # of every recorded run with lists, in the README and the book

_ANY: dict[str, Any] = {
    "gt": -float("inf"),
    "lt": float("inf"),
    "nullable": True,
}  # empty: not measurable
_WORD = r"^\S(.*\S)?$"


class MetricRows(pa.DataFrameModel):
    """``metrics.csv``: one value of one model, with its 95 % interval."""

    data: str = pa.Field(str_matches=_WORD, description="data set")
    protocol: str = pa.Field(isin=PROTOCOLS, description="how it was measured")
    variant: str = pa.Field(description="raw, direction-blind, r=1, …")
    model: str = pa.Field(str_matches=_WORD, description="model, its variant after a colon")
    metric: str = pa.Field(str_matches=r"^[a-z_0-9]+(@[1-9][0-9]*)?$", description="as ndcg@10")
    value: float = pa.Field(**_ANY, description="mean over users")
    low: float = pa.Field(**_ANY, description="lower end of the interval")
    high: float = pa.Field(**_ANY, description="upper end of the interval")
    users: int = pa.Field(ge=0, description="users behind the value")
    seeds: int = pa.Field(ge=1, description="training seeds behind the value")


class CostRows(pa.DataFrameModel):
    """``costs.csv``: what one step of one model took."""

    model: str = pa.Field(str_matches=_WORD, description="model, its variant after a colon")
    step: str = pa.Field(str_matches=_WORD, description="fit, tune, score, …")
    seconds: float = pa.Field(ge=0, lt=float("inf"), description="wall time")
    peak_mb: float = pa.Field(
        ge=0, lt=float("inf"), nullable=True, description="highest memory of the process"
    )


class TrialRows(pa.DataFrameModel):
    """``trials.csv``: one setting of one model, tried on validation."""

    model: str = pa.Field(str_matches=_WORD, description="model, its variant after a colon")
    trial: int = pa.Field(ge=0, description="number, from 0: the values before any search")
    metric: str = pa.Field(str_matches=r"^[a-z_]+@[1-9][0-9]*$", description="as ndcg@10")
    value: float = pa.Field(ge=0, le=1, description="mean over users")
    seconds: float = pa.Field(ge=0, lt=float("inf"), description="fit and ranking")
    parameters: str = pa.Field(description="hyper-parameters, JSON")


def run_folder(data: str, size: str) -> Path:
    """Return the folder of a run's result files; each run of a sweep is told one of its own."""
    told = os.environ.get(RUN_FOLDER)
    return Path(told) if told else paths.RUNS / f"{data_name(data)}-{size}"


def reference_folder(data: str, size: str | None = None) -> Path:
    """Return the folder of the recorded run on a data set.

    It has the data set's name, and behind it the size where that is not the usual one: all
    of a real set, or the small simulated shop of ``make book``.
    """
    usual = size in (None, "small" if data == "simulated" else "full")
    return paths.REFERENCE / (data_name(data) if usual else f"{data_name(data)}-{size}")


def recorded_folders() -> list[Path]:
    """Return the folders of recorded runs with lists, in order."""
    return sorted(file.parent for file in paths.REFERENCE.glob(f"*/{METRICS_FILE}"))


def write_results(metrics: pd.DataFrame, costs: pd.DataFrame, folder: Path) -> None:
    """Check both tables and write them, in one order and ten digits, so that reruns are equal.

    Parameters
    ----------
    metrics
        Columns ``data protocol variant model metric value low high users seeds``.
    costs
        Columns ``model step seconds peak_mb``.
    folder
        Made if it is not there.
    """
    metrics = _checked(metrics, MetricRows, METRICS_FILE)
    costs = _checked(costs, CostRows, COSTS_FILE)
    write_table(_sorted(metrics, KEY), folder / METRICS_FILE)
    write_table(_sorted(costs, ["model"]), folder / COSTS_FILE)


def write_measured(metrics: pd.DataFrame, folder: Path, name: str) -> None:
    """Check and write one of `MEASURED`, whose columns are those of ``metrics.csv``."""
    if name not in MEASURED:
        raise unknown("result file", name, MEASURED)
    write_table(_sorted(_checked(metrics, MetricRows, name), KEY), folder / name)


def write_trials(trials: pd.DataFrame, folder: Path) -> None:
    """Check and write ``trials.csv``: model trial metric value seconds parameters."""
    trials = _checked(trials, TrialRows, TRIALS_FILE)
    write_table(_sorted(trials, ["model", "trial"]), folder / TRIALS_FILE)


def read_results(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read and check ``metrics.csv`` and ``costs.csv`` of a folder."""
    return (
        _read_table(folder / METRICS_FILE, MetricRows),
        _read_table(folder / COSTS_FILE, CostRows),
    )


def read_values(folder: Path, names: Iterable[str]) -> pd.DataFrame:
    """Read and check those of a run's files that have the columns of ``metrics.csv``.

    Parameters
    ----------
    folder
        Of the run.
    names
        Its result files, of any kind.

    Returns
    -------
    pandas.DataFrame
        The rows of all of them; none where the run measured nothing.
    """
    files = [name for name in (METRICS_FILE, *MEASURED) if name in set(names)]
    tables = [_read_table(folder / name, MetricRows) for name in files]
    empty = pd.DataFrame(columns=list(MetricRows.to_schema().columns))
    return pd.concat(tables, ignore_index=True) if tables else empty


def read_provenance(folder: Path) -> dict[str, Any]:
    """Read what made the result files of a folder."""
    file = folder / PROVENANCE_FILE
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ReclibError(f"{file} is not there; `reclib run` writes it at its end") from None
    except ValueError as error:
        raise ReclibError(f"{file}: not a JSON text ({error})") from error
    return content


def write_json(content: Mapping[str, Any], file: Path) -> None:
    """Write a JSON file in one step."""
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    cache.atomic_write(file, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def file_hash(file: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def record(data: str, size: str, *, allow_dirty: bool = False) -> Path:
    """Copy the result files of a run to its `reference_folder`.

    Parameters
    ----------
    data, size
        The run to record.
    allow_dirty
        Record even where no commit holds the code that made the run.

    Returns
    -------
    Path
        The folder of the reference.

    Raises
    ------
    ReclibError
        No such run, result files that are not the run's, lists of another length than those
        that are shown of every run, or uncommitted code.
    """
    source, target = run_folder(data, size), reference_folder(data, size)
    provenance = read_provenance(source)
    made = provenance["results"]
    if read_values(source, made).empty:
        raise ReclibError(f"{source} holds no values; run notebooks that measure, then record")
    lists = read_values(source, {METRICS_FILE} & made.keys())["metric"]
    if len(lists) and SHOWN not in set(lists):
        raise ReclibError(
            f"{source / METRICS_FILE} has no {SHOWN}, which is shown of every recorded run; "
            "run again without --set k=…, then record"
        )
    for name in RECORDED:
        if name not in (*made, PROVENANCE_FILE) and (source / name).is_file():
            raise ReclibError(
                f"{source / name} is not of this run, but of one with other parameters, data or "
                "code; run its notebook again, or delete the file, then record"
            )
    for name, recorded in made.items():
        if not (source / name).is_file() or file_hash(source / name) != recorded:
            raise ReclibError(f"{source / name} is not as its run left it; run again, then record")
    require_commit(provenance["git"], f"the run in {source}", allow_dirty=allow_dirty)
    for name in RECORDED:
        if (source / name).is_file():
            cache.atomic_write(target / name, partial(shutil.copyfile, source / name))
        else:
            (target / name).unlink(missing_ok=True)
    return target


def require_commit(git: Mapping[str, Any] | None, what: str, *, allow_dirty: bool) -> None:
    """Refuse to record what nobody could repeat.

    Parameters
    ----------
    git
        From `reclib.study.provenance.git_state`.
    what
        Is made with the code, for the message.
    allow_dirty
        Refuse nothing.

    Raises
    ------
    ReclibError
        No commit holds the code.
    """
    if not allow_dirty and (git is None or git["dirty"]):
        raise ReclibError(
            f"no commit holds the code of {what}; commit and run again, or pass --allow-dirty"
        )


def require_same_settings(made: Mapping[str, Any], data: str, size: str) -> dict[str, Any]:
    """Refuse to compare a run with a recorded one of other parameters or other data.

    Parameters
    ----------
    made
        ``parameters`` and ``data_files`` of the run, as its provenance has them; it need not
        have started. A parameter that is not among them has the notebooks' default.
    data, size
        Which recorded run.

    Returns
    -------
    dict
        What made the recorded run.

    Raises
    ------
    ReclibError
        Nothing is recorded, or something differs, which is named.
    """
    reference = reference_folder(data, size)
    recorded = read_provenance(reference)
    usual = {name: next(iter(defaults.values())) for name, defaults in all_declared().items()}
    for part, what, unsaid in (("parameters", "parameter", usual), ("data_files", "data file", {})):
        ours, theirs = unsaid | made[part], unsaid | recorded[part]
        for name in sorted(ours.keys() | theirs.keys()):
            mine, other = (side.get(name, "not given") for side in (ours, theirs))
            if name != "data" and mine != other:
                raise ReclibError(
                    f"{what} {name!r} is {mine!r} here, but {other!r} in {reference}; "
                    "only runs with the same settings can be compared"
                )
    return recorded


def verify(data: str, size: str) -> pd.DataFrame:
    """Compare a run with the recorded one; see `compare` for the rule.

    Parameters
    ----------
    data, size
        Which run.

    Returns
    -------
    pandas.DataFrame
        The rows out of band; empty where the run reproduces the reference.

    Raises
    ------
    ReclibError
        The two were made with other parameters or other data, so they cannot be compared.
    """
    run, reference = run_folder(data, size), reference_folder(data, size)
    recorded = require_same_settings(read_provenance(run), data, size)
    tables = [
        compare(_read_table(run / name, MetricRows), _read_table(reference / name, MetricRows))
        for name in (METRICS_FILE, *MEASURED)
        if name in recorded["results"]
    ]
    return pd.concat(tables, ignore_index=True)


def other_machine(data: str, size: str) -> list[str]:
    """Say in what the machine of a run differs from that of the recorded one, a line for each.

    Numbers of trained models depend on it: embeddings in another number format differ in
    the third digit, tuning may then choose other values, and all that follows is another fit.
    """
    here, there = (
        read_provenance(folder).get("machine", {})
        for folder in (run_folder(data, size), reference_folder(data, size))
    )
    return [
        f"{name}: {here[name]} here, {there[name]} where it was recorded"
        for name in here
        if name in there and here[name] != there[name]
    ]


def compare(metrics: pd.DataFrame, recorded: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `metrics` that do not agree with the recorded ones.

    A value may differ by 1e-6, or by a tenth of the half-width of the recorded 95 % interval
    where that is more: other hardware rounds the encoder's numbers otherwise. Where models
    were fitted with several seeds, accuracy may also differ by as much as with other seeds:
    rounding sends a training another way, as a seed does. The band never reaches 0, so that a
    metric that collapsed is always caught; only a recorded difference whose own interval lies
    on both sides of 0 may cross it. Numbers of users and seeds, and "not measurable", must
    agree exactly, and every row must be on both sides. p-values and deviations between seeds
    must be there, but follow from the rest, so their values may differ.

    Returns
    -------
    pandas.DataFrame
        `KEY`, ``recorded``, ``found``, ``tolerance`` and ``problem``.
    """
    tenth = (0.1 * (recorded["high"] - recorded["low"]) / 2).fillna(0)
    tolerance = tenth.clip(lower=_seed_bands(recorded)).clip(lower=1e-6)
    recorded = recorded.assign(tolerance=tolerance)
    both = recorded.merge(metrics, on=KEY, how="outer", suffixes=("_old", ""), indicator=True)
    old, new = both["value_old"], both["value"]
    undecided = (both["low_old"] < 0) & (both["high_old"] > 0)
    capped = both["tolerance"].where(
        undecided | (old == 0), np.minimum(both["tolerance"], old.abs() / 2)
    )
    derived = both["metric"].str.startswith(("p_", "seed_sd_")) & old.notna() & new.notna()
    same = ((old - new).abs() <= capped) | (old.isna() & new.isna()) | derived
    problem = np.select(
        [
            both["_merge"] == "left_only",
            both["_merge"] == "right_only",
            (both["users_old"] != both["users"]) | (both["seeds_old"] != both["seeds"]),
            ~same,
        ],
        ["missing", "not in the reference", "other users or seeds", "out of band"],
        default="",
    )
    report = both[KEY].assign(recorded=old, found=new, tolerance=capped, problem=problem)
    return report[report["problem"] != ""].reset_index(drop=True)


def _seed_bands(recorded: pd.DataFrame) -> "pd.Series[float]":
    """How far each value would lie from that of as many other seeds, in 99 of 100 cases.

    The deviation between seeds is recorded of ndcg; of the other metrics of accuracy it is
    taken to be the same share of the value. Of a difference, both models have theirs. 0 where
    no deviation is recorded.
    """
    values = recorded.set_index(KEY)["value"].to_dict()

    def deviation(place: tuple[str, ...], model: str, metric: str) -> float:
        of_ndcg, ndcg = (
            values.get((*place, model, name), 0.0) for name in (f"seed_sd_{SHOWN}", SHOWN)
        )
        return of_ndcg / ndcg * values.get((*place, model, metric), 0.0) if ndcg else 0.0

    bands = []
    for *place, models, metric, seeds in recorded[[*KEY, "seeds"]].itertuples(index=False):
        band = 0.0
        if seeds > 1 and metric.partition("@")[0] in ACCURACY:
            spread = math.hypot(
                *(deviation((*place,), one, metric) for one in models.split("-vs-"))
            )
            band = scipy.stats.t.ppf(0.995, seeds - 1) * spread * math.sqrt(2 / seeds)
        bands.append(band)
    return pd.Series(bands, index=recorded.index)


def _checked(table: pd.DataFrame, model: type[pa.DataFrameModel], where: str) -> pd.DataFrame:
    """Validate a result table; an error names the file, the column and what is wrong there."""
    table = table.reset_index(drop=True)
    declared = list(model.to_schema().columns)
    if extra := [str(name) for name in table if name not in declared]:
        raise ReclibError(f"{where}: column {extra[0]!r} has no place; allowed: {declared}")
    table = validated(table, model, where).select(declared).to_pandas()
    key = [name for name in (*KEY, "step", "trial") if name in table]
    if (twice := table.duplicated(key)).any():
        row = table.loc[twice, key].iloc[0].map(str)
        raise ReclibError(f"{where}: two rows for {' · '.join(row)}")
    if "low" in table and (crossed := table["low"] > table["high"]).any():
        row = table[crossed].iloc[0]
        raise ReclibError(f"{where}: column 'low' is {row.low}, above 'high', which is {row.high}")
    return table


def _read_table(file: Path, model: type[pa.DataFrameModel]) -> pd.DataFrame:
    if not file.is_file():
        raise ReclibError(f"{file} is not there; `reclib run` writes it")
    columns = model.to_schema().columns
    texts = [name for name in columns if name in (*KEY, "step", "parameters")]
    numbers = {name: [""] for name in columns if name not in texts}
    try:
        table = pd.read_csv(
            file, dtype=dict.fromkeys(texts, "str"), keep_default_na=False, na_values=numbers
        )
    except (ValueError, UnicodeDecodeError) as error:
        raise ReclibError(f"{file}: cannot be read as a table ({error})") from error
    return _checked(table, model, str(file))


def write_table(table: pd.DataFrame, file: Path) -> None:
    """Write a table in one step, numbers with ten digits, so that reruns are equal."""
    text = table.to_csv(index=False, float_format="%.10g", lineterminator="\n")
    cache.atomic_write(file, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _sorted(table: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Sort by `columns`, each in its fixed order; names without a place go last, by letter."""

    def places(column: pd.Series) -> pd.Series:
        known = ORDER.get(str(column.name), ())
        return column.map(lambda name: (known.index(name) if name in known else len(known), name))

    return table.sort_values(columns, key=places, kind="stable", ignore_index=True)
