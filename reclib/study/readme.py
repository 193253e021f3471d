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
LISTS = ("full-loo", "full-time")  # protocols that rank the whole catalogue
# without and with the language model: Table II, and the same question to the strongest models
PAIRS = {
    "Table II": ("traditional", "llm-fusion"),
    "all models": ("traditional:all", "llm-fusion:all"),
}
SAID = {"better than": "helps", "worse than": "harms"}
COLUMNS = ("data", "users", "mixture of", "without", "with", "paired difference", "the LLM", "took")


def recorded_runs() -> str:
    """Set two rows for each run of ``results/reference``, as a Markdown table.

    Returns
    -------
    str
        ``ndcg@10`` over the whole catalogue, with 95 % intervals, of the `PAIRS` of mixtures;
        their paired difference, what it says, and what the run took. Of a set whose recorded
        run lacks one of two models there is no such row.
    """
    lines = ["| " + " | ".join(COLUMNS) + " |", "|:--" + "|--:" * (len(COLUMNS) - 1) + "|"]
    for folder in sorted(file.parent for file in paths.REFERENCE.glob(f"*/{METRICS_FILE}")):
        metrics, costs = read_results(folder)
        made = read_provenance(folder)
        usual = metrics[(metrics["variant"] == "raw") & metrics["protocol"].isin(LISTS)]
        usual = usual.set_index(["metric", "model"])
        found = usual.loc["ndcg@10", ["value", "low", "high", "users"]]
        for what, (without, llm) in PAIRS.items():
            shown = [without, llm, f"{llm}-vs-{without}"]
            if not set(shown) <= set(found.index):
                continue
            one, other, (value, low, high, users) = found.loc[shown].to_numpy(float)
            seconds = sum(notebook["seconds"] for notebook in made["notebooks"].values())
            p = float(usual["value"].get(("p_ndcg@10", shown[-1]), np.nan))
            row = (
                f"{made['data']}, {made['size']}",
                f"{users:,.0f}",
                what,
                "{:.4f} [{:.4f}, {:.4f}]".format(*one[:3]),
                "{:.4f} [{:.4f}, {:.4f}]".format(*other[:3]),
                f"{value:+.4f} [{low:+.4f}, {high:+.4f}]",
                SAID.get(verdict(value, low, high, p), "no difference found"),
                f"{seconds / 60:.1f} min, {costs['peak_mb'].max() / 1024:.1f} GB",
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
