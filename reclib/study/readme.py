"""The README's table of recorded runs, written from the result files."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reclib import cache, paths
from reclib.errors import ReclibError
from reclib.study.results import (
    METRICS_FILE,
    NETWORK_FILE,
    SHOWN,
    TRIALS_FILE,
    read_provenance,
    read_results,
    read_values,
    recorded_folders,
)
from reclib.study.tables import verdict

README = "README.md"
BEGIN, END = (
    "<!-- recorded runs: begin, written by `make reference` -->",
    "<!-- recorded runs: end -->",
)
LISTS = ("full-loo", "full-time")  # protocols that rank the whole catalogue
# without and with the language model: Table II, and the same question to the strongest models
PAIRS = {
    "Table II": ("traditional", "llm-fusion"),
    "all models": ("traditional:all", "llm-fusion:all"),
}
NETWORK = {"Eq. 8": ("hybrid:no-llm", "hybrid")}  # the same network, without h_LLM and with it
SAID = {"better than": "helps", "worse than": "harms"}
COLUMNS = ("data", "users", "models", "without", "with", "paired difference", "the LLM", "took")


def recorded_runs() -> str:
    """Set up to three rows for each run of ``results/reference``, as a Markdown table.

    Returns
    -------
    str
        ``ndcg@10`` over the whole catalogue, with 95 % intervals, of the `PAIRS` of mixtures
        and of the `NETWORK`; their paired difference, what it says, and what the run took. Of
        a set whose recorded run lacks one of two models there is no such row.
    """
    lines = ["| " + " | ".join(COLUMNS) + " |", "|:--" + "|--:" * (len(COLUMNS) - 1) + "|"]
    for folder in recorded_folders():
        _, costs = read_results(folder)
        made = read_provenance(folder)
        values = read_values(folder, {METRICS_FILE, NETWORK_FILE} & set(made["results"]))
        usual = values[(values["variant"] == "raw") & values["protocol"].isin(LISTS)]
        usual = usual.drop_duplicates(["metric", "model"]).set_index(["metric", "model"])
        found = usual.loc[SHOWN, ["value", "low", "high", "users"]]
        for what, (without, llm) in (PAIRS | NETWORK).items():
            shown = [without, llm, f"{llm}-vs-{without}"]
            if not set(shown) <= set(found.index):
                continue
            one, other, (value, low, high, users) = found.loc[shown].to_numpy(float)
            p = float(usual["value"].get((f"p_{SHOWN}", shown[-1]), np.nan))
            row = (
                f"{made['data']}, {made['size']}",
                f"{users:,.0f}",
                what,
                "{:.4f} [{:.4f}, {:.4f}]".format(*one[:3]),
                "{:.4f} [{:.4f}, {:.4f}]".format(*other[:3]),
                f"{value:+.4f} [{low:+.4f}, {high:+.4f}]",
                SAID.get(verdict(value, low, high, p), "no difference found"),
                f"{_took(folder, made)}, {costs['peak_mb'].max() / 1024:.1f} GB",
            )
            lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def _took(folder: Path, made: Mapping[str, Any]) -> str:
    """Say how long a run took; one that took less than its trials found them in the cache."""
    seconds = sum(notebook["seconds"] for notebook in made["notebooks"].values())
    file = folder / TRIALS_FILE
    tried = pd.read_csv(file)["seconds"].sum() if file.is_file() else 0
    return f"{seconds / 60:.1f} min" if seconds >= tried else "cached"


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
