"""The README's table of recorded runs, written from the result files."""

import re

import numpy as np

from reclib import cache, paths
from reclib.errors import ReclibError
from reclib.study.results import METRICS_FILE, read_provenance, read_results
from reclib.study.tables import verdict

README = "README.md"
BEGIN, END = (
    "<!-- recorded runs: begin, written by `make reference` -->",
    "<!-- recorded runs: end -->",
)
SHOWN = ("traditional", "llm-fusion", "llm-fusion-vs-traditional")
SAID = {"better than": "helps", "worse than": "harms"}
COLUMNS = (
    "data",
    "users",
    "`traditional`",
    "`llm-fusion`",
    "paired difference",
    "the LLM",
    "notebooks",
    "memory to rank",
)


def recorded_runs() -> str:
    """Set one row for each run of ``results/reference``, as a Markdown table.

    Returns
    -------
    str
        ``ndcg@10`` of both models of Table II under ``full-loo`` with 95 % intervals, their
        paired difference, what it says, and what the run took. A set whose recorded run
        lacks one of the models has no row.
    """
    lines = ["| " + " | ".join(COLUMNS) + " |", "|:--" + "|--:" * (len(COLUMNS) - 1) + "|"]
    for folder in sorted(file.parent for file in paths.REFERENCE.glob(f"*/{METRICS_FILE}")):
        metrics, costs = read_results(folder)
        made = read_provenance(folder)
        usual = metrics[metrics["variant"] == "raw"].set_index(["metric", "model"])
        found = usual.loc["ndcg@10", ["value", "low", "high", "users"]]
        if not set(SHOWN) <= set(found.index):
            continue
        traditional, fusion, (value, low, high, users) = found.loc[list(SHOWN)].to_numpy(float)
        p = float(usual["value"].get(("p_ndcg@10", SHOWN[-1]), np.nan))
        seconds = sum(notebook["seconds"] for notebook in made["notebooks"].values())
        row = (
            f"{made['data']}, {made['size']}",
            f"{users:,.0f}",
            "{:.4f} [{:.4f}, {:.4f}]".format(*traditional[:3]),
            "{:.4f} [{:.4f}, {:.4f}]".format(*fusion[:3]),
            f"{value:+.4f} [{low:+.4f}, {high:+.4f}]",
            SAID.get(verdict(value, low, high, p), "no difference found"),
            f"{seconds / 60:.1f} min",
            f"{costs['peak_mb'].max() / 1024:.1f} GB",
        )
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def update_readme() -> None:
    """Write the table between its two marks in the README.

    Raises
    ------
    ReclibError
        If the marks are not there.
    """
    file = paths.ROOT / README
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    if not pattern.search(text):
        raise ReclibError(f"{file} has no place for the recorded runs; put back {BEGIN} and {END}")
    block = f"{BEGIN}\n{recorded_runs()}\n{END}"
    new = pattern.sub(lambda _: block, text)
    cache.atomic_write(file, lambda there: there.write_text(new, encoding="utf-8"))
