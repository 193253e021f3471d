"""Cold start: the same models by length of history, for new users and new products."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from reclib.data import Fold, Prepared, cold_items, cold_users
from reclib.evaluation import Outcome
from reclib.models import Scorer
from reclib.study.experiment import NO_COMPARISONS, run_experiment, summarise, values_of_users

# different products in the training history: name → fewest and most
HISTORIES: Mapping[str, tuple[int, float]] = {
    "0": (0, 0),
    "1": (1, 1),
    "2": (2, 2),
    "3–5": (3, 5),
    "6–10": (6, 10),
    "> 10": (11, np.inf),
}
GIVEN = (0, 1, 2)  # products that training shows of a new user


def measure_by_history(
    outcomes: Mapping[str, Sequence[Outcome]],
    fold: Fold,
    *,
    variant: str = "raw",
    compared: Mapping[str, tuple[str, str]] = NO_COMPARISONS,
    n_resamples: int = 2000,
    rng: int = 0,
) -> pd.DataFrame:
    """Measure the lists of each model apart for users with short and long histories.

    Parameters
    ----------
    outcomes, fold, variant, compared, n_resamples, rng
        As in `reclib.study.experiment.measure_lists`.

    Returns
    -------
    pandas.DataFrame
        Columns as in `measure_lists`, ndcg and recall only; the variant says the length, as
        in ``raw, history 3–5``. Lengths that no user has are left out.
    """
    values = {
        (model, metric): by_seed
        for (model, metric), by_seed in values_of_users(outcomes, fold).items()
        if metric.startswith(("ndcg", "recall"))
    }
    products = np.diff(fold.train.matrix.indptr)[np.diff(fold.relevant.indptr) > 0]  # (n_asked,)
    tables = []
    for label, (fewest, most) in HISTORIES.items():
        inside = (products >= fewest) & (products <= most)
        if inside.any():
            part = summarise(
                {place: by_seed[:, inside] for place, by_seed in values.items()},
                fold.protocol,
                f"{variant}, history {label}",
                compared=compared,
                n_resamples=n_resamples,
                rng=rng,
            )
            tables.append(part)
    return pd.concat(tables, ignore_index=True)


def measure_cold(
    prepared: Prepared,
    scorers: Mapping[str, Scorer],
    *,
    share: float = 0.1,
    k: int = 10,
    n_trials: int = 66,
    normalise: str = "global",
    n_resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Measure every model on users and on products that training hardly shows or not at all.

    Parameters
    ----------
    prepared
        Events with all users and products.
    scorers
        As in `reclib.study.experiment.run_experiment`; their hyper-parameters stay, and
        the weights of the fusions are chosen on each split's own validation.
    share
        Of the users, or products, that are new.
    k, n_trials, normalise, n_resamples, seed
        As in `reclib.study.experiment.run_experiment`.

    Returns
    -------
    pandas.DataFrame
        Columns as in ``metrics.csv``: the protocol ``cold-users``, with a variant for each
        number of products in `GIVEN` that training shows of a new user, and ``cold-items``.
    """
    splits = {f"given={n}": cold_users(prepared, share=share, given=n, rng=seed) for n in GIVEN}
    splits["raw"] = cold_items(prepared, share=share, rng=seed)
    tables = [
        run_experiment(
            split,
            scorers,
            variant=variant,
            k=k,
            n_trials=n_trials,
            normalise=normalise,
            negatives=0,
            n_resamples=n_resamples,
            seed=seed,
        ).metrics
        for variant, split in splits.items()
    ]
    return pd.concat(tables, ignore_index=True)
