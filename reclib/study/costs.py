"""What each model of a recorded run cost, and what that bought."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reclib.errors import ReclibError
from reclib.study.experiment import LLM, LLM_PARTS
from reclib.study.readme import LISTS, PAIRS
from reclib.study.results import METRICS_FILE, read_provenance, read_results, reference_folder

METRIC, YARDSTICK = "ndcg@10", "popular"
CHANGE, NUMBERS = ("gain", "low", "high"), ["value", "low", "high"]
READERS = (*LLM_PARTS, LLM, f"{LLM}:all")  # of the products' embeddings
STEPS = ("fit", "encode", "score")  # every encoding, of products, users or again, is one step


@dataclass(frozen=True)
class Costs:
    """Costs of a recorded run.

    Attributes
    ----------
    models
        Index: model; ``fit``, ``encode`` and ``score`` in seconds (0 where there is no such
        step) and their sum ``seconds``; ``value`` of ndcg@10; ``gain``, the value above that
        of ``popular``; ``per_second``, gain over seconds; ``front``, whether no other model
        is as good and as cheap.
    pairs
        One row for each of `reclib.study.readme.PAIRS`: pair, without, llm, ``gain`` (the
        paired difference, with low and high), ``seconds`` that the language model adds, and
        ``per_second``.
    peak_mb
        Highest memory of the process in which all models were fitted.
    energy
        Joules that the run took; None where no counter could be read.
    """

    models: pd.DataFrame
    pairs: pd.DataFrame
    peak_mb: float
    energy: float | None


def recorded_costs(data: str) -> Costs:
    """Read the costs of a recorded run beside its accuracy.

    Parameters
    ----------
    data
        Its data set.

    Returns
    -------
    Costs
        Seconds are those of the first computation of each step, also where a later run took
        it from the cache; those of a fusion include its parts'. Tuning is not in them.

    Raises
    ------
    ReclibError
        A file is not there, or has no lists; the error names it.
    """
    folder = reference_folder(data)
    metrics, costs = read_results(folder)
    notebooks = read_provenance(folder)["notebooks"].values()
    joules = [notebook.get("joules") for notebook in notebooks]
    usual = metrics[(metrics["variant"] == "raw") & (metrics["metric"] == METRIC)]
    usual = usual[usual["protocol"].isin(LISTS)].set_index("model")
    if YARDSTICK not in usual.index:
        raise ReclibError(f"{folder / METRICS_FILE} has no {METRIC} of {YARDSTICK!r}")
    models = seconds_by_step(costs)
    models["seconds"] = models.sum(axis=1)
    models["value"] = usual["value"].reindex(models.index)
    models = models.dropna(subset=["value"])
    models["gain"] = models["value"] - usual["value"][YARDSTICK]
    models["per_second"] = models["gain"] / models["seconds"]
    models["front"] = on_front(models["seconds"].to_numpy(), models["value"].to_numpy())
    rows = [
        {
            "pair": pair,
            "without": without,
            "llm": llm,
            **dict(zip(CHANGE, usual.loc[name, NUMBERS], strict=True)),
            "seconds": models["seconds"][llm] - models["seconds"][without],
        }
        for pair, (without, llm) in PAIRS.items()
        if (name := f"{llm}-vs-{without}") in usual.index
    ]
    pairs = pd.DataFrame(rows)
    pairs["per_second"] = pairs["gain"] / pairs["seconds"]
    energy = None if not joules or None in joules else float(sum(joules))
    return Costs(models, pairs, float(costs["peak_mb"].max()), energy)


def seconds_by_step(costs: pd.DataFrame) -> pd.DataFrame:
    """Lay out the seconds of each model by step, `STEPS`; 0 where there is no such step.

    The products' embeddings are one file, however many parts of a mixture read it, and also
    where a model does not tell that it does: each reader has that encoding once. What a model
    encodes beside it, such as users or with its own weights, comes on top.
    """
    wide = costs.pivot(index="model", columns="step", values="seconds").fillna(0.0)
    wide = wide.reindex(list(dict.fromkeys(costs["model"])))
    own = wide.filter(regex="^encode .").sum(axis=1)
    once = wide.get("encode", pd.Series(dtype=float)).get("language", 0.0)
    readers = [name for name in READERS if name in wide.index]
    seconds = wide.reindex(columns=list(STEPS), fill_value=0.0)
    seconds.loc[readers, "encode"] = once
    seconds["encode"] += own
    return seconds


def on_front(seconds: NDArray[np.float64], value: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Say of each model whether none is better without being slower, or quicker without worse.

    Examples
    --------
    >>> on_front(np.array([1.0, 2.0, 3.0]), np.array([0.2, 0.1, 0.3])).tolist()
    [True, False, True]
    """
    as_cheap = seconds[None, :] <= seconds[:, None]
    as_good = value[None, :] >= value[:, None]
    better = (seconds[None, :] < seconds[:, None]) | (value[None, :] > value[:, None])
    beaten = np.asarray((as_cheap & as_good & better).any(axis=1), bool)
    return ~beaten


def costs_said(costs: Costs) -> str:
    """Say in sentences of Markdown what a second buys."""
    models = costs.models
    best = str(models["per_second"].idxmax())
    front = models[models["front"]].sort_values("seconds")
    said = [
        f"For each second `{best}` gains most over `{YARDSTICK}`, "
        f"{models['per_second'].max():.2g} in {METRIC}. "
        f"No other model is as good and as quick as "
        f"{', '.join(f'`{name}`' for name in front.index)}."
    ]
    for _, row in costs.pairs.iterrows():
        change = f"{row['gain']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}]"
        said.append(
            f"`{row['llm']}` takes {row['seconds']:,.0f} s more than `{row['without']}` and "
            f"changes {METRIC} by {change.replace('-', chr(0x2212))}, "
            f"{row['per_second']:.2g} for each second.".replace("e-0", "e-")
        )
    energy = (
        "Energy was not recorded: no counter was read on the machine of this run."
        if costs.energy is None
        else f"The run took {costs.energy / 3.6e6:.2f} kWh in all."
    )
    said.append(f"The process held at most {costs.peak_mb / 1024:.1f} GB. {energy}")
    return " ".join(said)
