"""What the language model adds, along whatever is varied: recorded sweeps and histories.

A sweep is kept for the book as ``results/reference/sweeps/NAME.csv``, the values that the
gains come from, with ``NAME.json``, what made them.
"""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.stats
from pandas.api.types import is_numeric_dtype

from reclib import cache, paths
from reclib.errors import ReclibError
from reclib.study import doctor, results
from reclib.study.experiment import CONTROL, TUNED
from reclib.study.provenance import LOCK, git_state
from reclib.study.readme import PAIRS
from reclib.study.sweep import DONE, PREFIX
from reclib.study.sweep_plan import read_plan

METRIC = "ndcg@10"
# mixtures without and with the language model, and the same training without and with it
COMPARED = {**PAIRS, "trained alone": (CONTROL, TUNED)}
HISTORY = r"^raw, history (.+)$"
NUMBERS = ["value", "low", "high", "users", "seeds"]


def gains(rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Compute what the language model adds to the same without it.

    Parameters
    ----------
    rows
        Rows as in ``metrics.csv``, of `METRIC`; each pair of models once for each
        combination of `by`.
    by
        Columns that tell one measurement from another.

    Returns
    -------
    pandas.DataFrame
        `by`, and pair (a key of `COMPARED`, those that are there), gain, low, high and users.
        The gain is the paired difference over the value of the model without the language
        model, whose own uncertainty is not in the interval.
    """
    parts = []
    for pair, (without, llm) in COMPARED.items():
        level, difference = (
            rows[rows["model"] == name].set_index(by) for name in (without, f"{llm}-vs-{without}")
        )
        base = level["value"].astype(float).reindex(difference.index)
        numbers = difference[["value", "low", "high"]].astype(float)
        scaled = numbers.div(base.where(base > 0), axis=0)
        parts.append(scaled.assign(pair=pair, users=difference["users"]).reset_index())
    table = pd.concat(parts, ignore_index=True).rename(columns={"value": "gain"})
    return table[[*by, "pair", "gain", "low", "high", "users"]].dropna(subset=["gain"])


def history_gains(data: str) -> pd.DataFrame:
    """Compute `gains` of a recorded run by the length of the users' histories.

    Raises
    ------
    ReclibError
        No recorded run, or none by history; the error names the file.
    """
    folder = results.reference_folder(data)
    metrics, _ = results.read_results(folder)
    length = metrics["variant"].str.extract(HISTORY)[0]
    rows = metrics.assign(history=length)[length.notna() & (metrics["metric"] == METRIC)]
    if rows.empty:
        raise ReclibError(f"{folder / results.METRICS_FILE} has no {METRIC} by length of history")
    return gains(rows, ["history"])


def record_file(name: str) -> Path:
    """Return where the values of a recorded sweep lie."""
    return paths.REFERENCE / "sweeps" / f"{name}.csv"


def record_sweep(file: Path, table: pd.DataFrame, *, allow_dirty: bool = False) -> Path:
    """Keep what the book shows of a sweep, and what made it.

    Parameters
    ----------
    file
        Of the sweep.
    table
        From `reclib.study.sweep.run_sweep`, complete.
    allow_dirty
        Record even where no commit holds the code.

    Returns
    -------
    Path
        The recorded values: swept parameters and the columns of ``metrics.csv``, rows of
        `METRIC` that are of all users.

    Raises
    ------
    ReclibError
        A run is missing, or the code is not committed.
    """
    if len(missing := table.loc[table["status"] != DONE, "run"].unique()):
        raise ReclibError(f"{missing[0]} is not done; record {file.stem} when every run is")
    git = git_state()
    results.require_commit(git, f"the sweep {file.stem}", allow_dirty=allow_dirty)
    plan = read_plan(file, most=None)  # that many were confirmed before they ran
    swept = list(dict.fromkeys(PREFIX + name for run in plan.runs for name in run.swept))
    kept = (table["metric"] == METRIC) & ~table["variant"].str.contains("history", na=False)
    rows = table.loc[kept, [*swept, *results.KEY, *NUMBERS]]
    target = record_file(plan.name)
    results.write_table(rows, target)
    made = {
        "sweep": file.read_text(encoding="utf-8"),
        "runs": len(plan.runs),
        "git": git,
        "notebook": results.file_hash(plan.source),
        "library": cache.source_hash(),
        "lock": results.file_hash(paths.ROOT / LOCK),
        "results": {target.name: results.file_hash(target)},
        "machine": doctor.machine(),
    }
    results.write_json(made, target.with_suffix(".json"))
    return target


def sweep_gains(name: str, across: str, *, protocol: str, variant: str = "raw") -> pd.DataFrame:
    """Compute `gains` of a recorded sweep along one of its parameters.

    Parameters
    ----------
    name
        Of the sweep.
    across
        A parameter that it varies; the others tell runs of one value apart.
    protocol, variant
        Whose rows.

    Returns
    -------
    pandas.DataFrame
        As `gains`, with a column for each swept parameter.

    Raises
    ------
    ReclibError
        Not recorded, another parameter, or nothing of this protocol; the error names the file.
    """
    file = record_file(name)
    if not file.is_file():
        raise ReclibError(f"{file} is not there; `reclib sweep FILE --record` writes it")
    table = pd.read_csv(file)
    rows = table[(table["protocol"] == protocol) & (table["variant"] == variant)]
    swept = [column for column in map(str, table) if column.startswith(PREFIX)]
    if PREFIX + across not in swept or rows.empty:
        raise ReclibError(f"{file} has no values of {protocol}, {variant}, along {across}")
    found = gains(rows, swept)
    return found.rename(columns={column: column.removeprefix(PREFIX) for column in swept})


def along(table: pd.DataFrame, across: str) -> pd.DataFrame:
    """Average runs with the same value of a parameter, such as those of several seeds.

    Parameters
    ----------
    table
        Columns pair, `across`, gain, low and high; a row for each run.
    across
        The parameter.

    Returns
    -------
    pandas.DataFrame
        One row for each pair and `across`, in the order of their first rows. A run that is
        alone keeps its interval over users. Where there are several, each in a shop of its
        own, low and high are the 95 % t-interval of the mean over such shops: the spread
        between runs, pooled over the values of the parameter, holds that of the users, too.
    """
    runs = table[["pair", across]].assign(**table[["gain", "low", "high"]].astype(float))
    groups = runs.groupby(["pair", across], sort=False)
    found = groups.mean().assign(
        runs=groups.size(), off=groups["gain"].agg(lambda each: ((each - each.mean()) ** 2).sum())
    )
    for _, line in found.groupby("pair", sort=False):
        freedom = int((line["runs"] - 1).sum())
        if freedom:
            spread = np.sqrt(line["off"].sum() / freedom / line["runs"])
            half = scipy.stats.t.ppf(0.975, freedom) * spread
            found.loc[line.index, "low"] = line["gain"] - half
            found.loc[line.index, "high"] = line["gain"] + half
    return found.drop(columns=["runs", "off"]).reset_index()


def gains_said(table: pd.DataFrame, across: str) -> str:
    """Say in sentences of Markdown how the gain changes along a parameter, a line for each pair.

    Where there are several runs of one value, also whether it rises or falls: by the rank
    correlation over the runs, which asks for no straight line.
    """
    lines = []
    for pair, part in along(table, across).groupby("pair", sort=False):
        without, llm = COMPARED[str(pair)]
        first, last = part.iloc[0], part.iloc[-1]
        above, below = int((part["low"] > 0).sum()), int((part["high"] < 0).sum())
        ends = [
            f"{row['gain']:+.1%} [{row['low']:+.1%}, {row['high']:+.1%}] at {across} {row[across]}"
            for row in (first, last)
        ]
        said = (
            f"Over `{without}`, `{llm}` gains {' and '.join(ends)}; the interval lies above 0 at "
            f"{above} of {len(part)} values, and below it at {below}."
        )
        runs = table[table["pair"] == pair]
        if len(runs) > len(part) and is_numeric_dtype(runs[across]):
            found = scipy.stats.spearmanr(runs[across], runs["gain"].astype(float))
            said += (
                f" Over its {len(runs)} runs the gain has a rank correlation with {across} of "
                f"{found.statistic:+.2f} (p = {found.pvalue:.2g})."
            )
        lines.append(said)
    return minus_signs("\n".join(lines))


def minus_signs(said: str) -> str:
    """Print the negative numbers of a sentence as a book does; hyphens in names stay."""
    return re.sub(r"(?<![\w-])-(?=\d)", "\N{MINUS SIGN}", said)
