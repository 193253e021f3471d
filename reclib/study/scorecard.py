"""The scorecard: one verdict for each claim of the paper and each data set."""

import numpy as np
import pandas as pd

from reclib.study.paper import TABLE_II
from reclib.study.readme import LISTS
from reclib.study.results import read_results, recorded_folders
from reclib.study.tables import places

VERDICTS = ("confirmed", "weaker", "not found", "reversed", "not measurable")
BEFORE, AFTER = "traditional", "llm-fusion"


def judge(change: float, low: float, high: float, claimed: float) -> str:
    """Compare a measured change with the paper's.

    Parameters
    ----------
    change, low, high
        Measured, with its 95 % interval, as a share; NaN where nothing could be measured.
    claimed
        The paper's, above 0.

    Returns
    -------
    str
        One of `VERDICTS`: ``not measurable`` without a value; ``reversed`` if the whole
        interval is below 0; ``not found`` if it holds 0; ``confirmed`` if it is above 0 and
        the change is at least the claim; else ``weaker``.

    Examples
    --------
    >>> judge(0.02, 0.01, 0.03, 0.093)
    'weaker'
    """
    if np.isnan([change, low, high]).any():
        return "not measurable"
    if high < 0:
        return "reversed"
    if low <= 0:
        return "not found"
    return "confirmed" if change >= claimed else "weaker"


def scorecard() -> pd.DataFrame:
    """Judge every claim of the paper on every recorded run.

    Returns
    -------
    pandas.DataFrame
        Columns data, claim, claimed (the paper's change as a share), change, low, high and
        verdict. The change is the paired difference of the two models of Table II over the
        mean of the traditional one, whose own uncertainty is not in the interval. Claims on
        pairs are not measurable where neither model's F1 is above that of saying yes to all.
    """
    rows = []
    for folder in recorded_folders():
        metrics, _ = read_results(folder)
        usual = metrics[metrics["variant"].str.fullmatch(r"raw|r=1")]
        protocol = next((p for p in LISTS if p in set(usual["protocol"])), LISTS[0])
        for claim, (where, metric) in places(10, protocol).items():
            found = usual[(usual["protocol"] == where) & (usual["metric"] == metric)]
            found = found.set_index("model")[["value", "low", "high"]]
            rivals = found.reindex([BEFORE, f"{AFTER}-vs-{BEFORE}"]).to_numpy(float)
            mean = rivals[0, 0] if rivals[0, 0] > 0 else np.nan
            change, low, high = (rivals[1] / mean).tolist()
            before, after = TABLE_II[claim]
            claimed = after / before - 1
            blind = where == "pairs" and not _tell_apart(usual)
            said = "not measurable" if blind else judge(change, low, high, claimed)
            rows.append((folder.name, claim, claimed, change, low, high, said))
    names = ["data", "claim", "claimed", "change", "low", "high", "verdict"]
    return pd.DataFrame(rows, columns=names)


def _tell_apart(usual: pd.DataFrame) -> bool:
    """Whether a model's F1 of pairs is, with its whole interval, above that of a constant yes."""
    f1 = usual[(usual["protocol"] == "pairs") & (usual["metric"] == "f1")].set_index("model")
    low = f1["low"].reindex([BEFORE, AFTER]).to_numpy(float)
    always = f1["value"].get("always-yes", np.nan)
    return bool((low > always).any())
