"""Equal tuning: every model gets the same number of trials on the validation fold.

A baseline that nobody tuned proves nothing. Here one harness tunes all of them, logs every
trial with its cost, and goes on where it was interrupted.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from filelock import FileLock
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, create_trial
from tqdm.auto import tqdm

from reclib import cache
from reclib.data import Fold
from reclib.errors import Diverged, ReclibError, Unsuitable
from reclib.evaluation.metrics import ranking_metrics
from reclib.models import Scorer
from reclib.models.base import code_behind
from reclib.models.device import choose_device


@dataclass(frozen=True)
class Space:
    """Where the hyper-parameters of a model are searched.

    Attributes
    ----------
    scorer
        Class of the model.
    ranges
        Hyper-parameter → where it is searched.
    fixed
        Values that differ from the constructor's defaults, whether searched or not.
    max_trials
        Upper bound for a model whose fit takes minutes; it shows in the table of trials.
    """

    scorer: type[Scorer]
    ranges: Mapping[str, BaseDistribution]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    max_trials: int | None = None

    def make(self, parameters: Mapping[str, Any]) -> Scorer:
        """Make the scorer with these hyper-parameters, not fitted."""
        return self.scorer(**{**self.fixed, **parameters})

    def defaults(self) -> dict[str, Any]:
        """Give the values before any search of what is searched, where the ranges hold them."""
        config = self.make({}).config()
        return {
            name: config[name] for name, where in self.ranges.items() if _holds(where, config[name])
        }


def _holds(where: BaseDistribution, value: Any) -> bool:
    """Whether a range holds a value."""
    if isinstance(where, CategoricalDistribution):
        return value in where.choices
    return value is not None and where._contains(where.to_internal_repr(value))


@dataclass(frozen=True)
class Tuning:
    """What tuning found.

    Attributes
    ----------
    scorers
        Model → the best one, not fitted.
    trials
        Every trial: model, trial, metric, value, seconds (of the fit, also where an earlier
        one was found in the cache, and of ranking; texts are encoded once, which is not
        counted), parameters (JSON).
    left_out
        Model that is not for these data → why.
    """

    scorers: Mapping[str, Scorer]
    trials: pd.DataFrame
    left_out: Mapping[str, str]


def tune(
    spaces: Mapping[str, Space],
    fold: Fold,
    *,
    n_trials: int = 50,
    k: int = 10,
    rng: int = 0,
    batch_size: int = 512,
    progress: bool = True,
) -> Tuning:
    """Search hyper-parameters of each model for the highest ``ndcg@k``.

    The first trial of each model has the values before any search; the next are chosen by
    Optuna's tree-structured Parzen estimator (Akiba et al., KDD 2019). Each trial is logged
    when it ends; one whose training diverges has no lists, and is logged with 0. A model that is
    not for these data, such as one of sequences where there are none, is left out. Called again,
    tuning goes on where it was interrupted, and more trials are added to those that are there;
    the choices are the same as without the interruption. Of several processes that tune the
    same model on the same data one does, and the others wait for it.

    Parameters
    ----------
    spaces
        Where to search, by model.
    fold
        The validation fold; the test fold is refused.
    n_trials
        Of every model, at least 1.
    k, rng, batch_size, progress
        As in `reclib.evaluation.evaluate`.

    Returns
    -------
    Tuning
        The best scorers, of equally good ones the first tried, and all trials.

    Raises
    ------
    ReclibError
        If given the test fold, or no trial, or if no model is for these data.
    """
    if fold.name == "test":
        raise ReclibError("models are tuned on the validation fold, never on the test fold")
    if n_trials < 1:
        raise ReclibError(f"n_trials is {n_trials}; allowed is 1 or more")
    wanted = {name: min(n_trials, space.max_trials or n_trials) for name, space in spaces.items()}
    bar = tqdm(total=sum(wanted.values()), desc="tune", disable=not progress)
    scorers, tables, left_out = {}, [], {}
    for name, space in spaces.items():
        bar.set_postfix_str(name)
        log = _log(name, space, fold, k, rng)
        # runs of a sweep share logs: who comes second waits, and finds the trials there
        with FileLock(log.with_suffix(".lock")):
            trials: list[FrozenTrial] = cache.read(log) or []
            bar.update(min(len(trials), wanted[name]))
            try:
                while len(trials) < wanted[name]:
                    trials.append(_one_more(trials, space, fold, k, rng, batch_size))
                    cache.write(log, trials)
                    bar.update()
            except Unsuitable as error:
                left_out[name] = str(error)
                continue
        done = trials[: wanted[name]]
        best = max(done, key=lambda trial: trial.values[0])  # of equally good ones the first
        scorers[name] = space.make(best.params)
        tables.append(
            pd.DataFrame(
                {
                    "model": name,
                    "trial": range(len(done)),
                    "metric": f"ndcg@{k}",
                    "value": [trial.values[0] for trial in done],
                    "seconds": [trial.user_attrs["seconds"] for trial in done],
                    "parameters": [json.dumps(trial.params) for trial in done],
                }
            )
        )
    bar.close()
    if not scorers:
        raise Unsuitable("; ".join(left_out.values()))
    return Tuning(scorers, pd.concat(tables, ignore_index=True), left_out)


def _log(name: str, space: Space, fold: Fold, k: int, rng: int) -> Path:
    """Return the file of a model's trials on these data; its folder is made."""
    relevant = (fold.relevant.indptr, fold.relevant.indices)
    where = (space.scorer.__name__, dict(space.fixed), repr(sorted(space.ranges.items())))
    key = (name, where, fold.train.fingerprint, relevant, k, rng, choose_device())
    file = cache.entry("tuning", key=key, code=code_behind(__name__, space.make({})))
    file.parent.mkdir(parents=True, exist_ok=True)
    return file


def _one_more(
    done: Sequence[FrozenTrial], space: Space, fold: Fold, k: int, rng: int, batch_size: int
) -> FrozenTrial:
    """Choose parameters after the trials that are `done`, fit, and rank."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # a study of its own and a seed for each trial: the choice depends on nothing else than
    # the trials in the log, so an interruption does not change it
    seed = rng * 10_000 + len(done)
    chooser = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed)
    )
    chooser.add_trials(done)
    if not done:
        chooser.enqueue_trial(space.defaults())
    parameters = chooser.ask(dict(space.ranges)).params
    known = [other for other in done if other.params == parameters]
    if known:  # small spaces are soon exhausted
        gain, seconds = known[0].values[0], 0.0
    else:
        gain, seconds = _tried(space.make(parameters), fold, k, rng, batch_size)
    return create_trial(
        params=parameters,
        distributions=dict(space.ranges),
        value=gain,
        user_attrs={"seconds": seconds},
    )


def _tried(scorer: Scorer, fold: Fold, k: int, rng: int, batch_size: int) -> tuple[float, float]:
    """Fit and rank: the gain, and the seconds of both."""
    started = time.perf_counter()
    try:
        scorer.fit(fold.train, rng=rng)
    except Diverged:
        return 0.0, time.perf_counter() - started
    started = time.perf_counter()
    gain = _ndcg(scorer, fold, k, batch_size)
    return gain, scorer.costs["fit"] + time.perf_counter() - started


def _ndcg(scorer: Scorer, fold: Fold, k: int, batch_size: int) -> float:
    """Mean ``ndcg@k`` over the users who are asked."""
    asked = np.flatnonzero(np.diff(fold.relevant.indptr))
    top, _ = scorer.rank(asked, k, batch_size=batch_size)
    return float(ranking_metrics(top, fold.relevant[asked])[f"ndcg@{k}"].mean())
