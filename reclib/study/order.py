"""The order probe: how much of a result can be had from ids that are sorted, not from customers.

In the public Amazon files events of one day are sorted by product id. Three measurements show
what that is worth: a model that cannot see the direction of time, a model that also prefers later
ids, and each for users whose last two products are in the order of their ids or against it.
"""

from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reclib.data import Fold, Prepared
from reclib.errors import ReclibError
from reclib.evaluation import evaluate
from reclib.models import Scorer
from reclib.models.base import Indices, Scores
from reclib.study.experiment import summarise, values_of_users
from reclib.study.spaces import single_scorers

DIRECTED = ("markov", "seqrules", "pctm")  # those that take seconds; `transitions` is `pctm` here
BLIND, BOOSTED = "blind", "later-ids"


class LaterIds(Scorer):
    """Another scorer, its scores of products with a larger id than the user's newest raised.

    Nothing about customers speaks for larger ids, so all that it gains is leakage.

    Parameters
    ----------
    scorer
        Whose scores.
    boost
        Factor on scores above 0, at least 1; those below 0 rise by as much of their size.

    Raises
    ------
    ReclibError
        If `boost` is out of range.
    """

    name: ClassVar[str] = "later-ids"

    def __init__(self, *, scorer: Scorer, boost: float = 2.0) -> None:
        if not 1 <= boost < np.inf:
            raise ReclibError(f"boost is {boost}; allowed is 1 or more")
        self.scorer = scorer
        self.boost = boost
        self.stochastic = scorer.stochastic

    @property
    def parts(self) -> dict[str, Scorer]:
        """The other scorer, whose code a cached result depends on."""
        return {"scorer": self.scorer}

    def config(self) -> dict[str, Any]:
        """Hyper-parameters by name, the other scorer's among them."""
        inner = type(self.scorer).__name__, self.scorer.config()
        return {"scorer": inner, "boost": self.boost}

    def _fit(self, prepared: Prepared, rng: int) -> None:
        self.scorer.ensure_fitted(prepared, rng=rng)
        self._newest = newest_items(prepared)

    def _score(self, users: Indices, items: Indices | slice) -> Scores:
        columns = np.arange(self._fitted().n_items)[items]
        scores = self.scorer.score(users, columns)
        later = columns > self._newest[users][:, None]
        return np.where(later, scores + (self.boost - 1) * np.abs(scores), scores).astype("f4")


def newest_items(train: Prepared) -> NDArray[np.int64]:
    """Give each user's newest product, (n_users,); the number of products where there is none."""
    newest = np.full(train.n_users, train.n_items)
    last = train.new & (train.age == 0)
    newest[train.user[last]] = train.item[last]
    return newest


def in_order(fold: Fold) -> NDArray[np.bool_]:
    """Say of each user who is asked whether a product to find has a larger id than the newest.

    Returns
    -------
    ndarray
        bool, shape (n_asked,). Ids are compared as they are sorted; near one half of the
        users without the artefact, apart from the drift of popular products.
    """
    relevant = fold.relevant.tocoo()
    larger = np.zeros(fold.train.n_users, bool)
    larger[relevant.row[relevant.col > newest_items(fold.train)[relevant.row]]] = True
    answer: NDArray[np.bool_] = larger[np.diff(fold.relevant.indptr) > 0]
    return answer


def probe_order(
    fold: Fold, *, k: int = 10, boost: float = 2.0, n_resamples: int = 2000, rng: int = 0
) -> pd.DataFrame:
    """Measure models of steps as they are, blind to the direction, and with later ids raised.

    Parameters
    ----------
    fold
        With one product to find for each user.
    k
        Length of the lists.
    boost
        Of `LaterIds`.
    n_resamples, rng
        Of the intervals, and seed.

    Returns
    -------
    pandas.DataFrame
        Columns as in ``metrics.csv`` without data: `DIRECTED`, untuned, under their names,
        those names with ``:blind`` and with ``:later-ids``, and both differences from the
        first; ndcg alone. The variants are ``raw``, ``raw, ascending users`` and ``raw,
        descending users``, by `in_order`.
    """
    models: dict[str, Scorer] = {}
    compared: dict[str, tuple[str, str]] = {}
    seeing, blind, inner = (
        single_scorers(directed=directed) for directed in (True, False, True)
    )  # a scorer of its own for each, as a fit belongs to one
    for name in DIRECTED:
        models[name] = seeing[name]
        models[f"{name}:{BLIND}"] = blind[name]
        models[f"{name}:{BOOSTED}"] = LaterIds(scorer=inner[name], boost=boost)
        for other in (BLIND, BOOSTED):
            compared[f"{name}:{other}-vs-{name}"] = (f"{name}:{other}", name)
    outcomes = evaluate(models, fold, k=k, rng=rng)
    values = values_of_users({name: [outcome] for name, outcome in outcomes.items()}, fold)
    values = {place: column for place, column in values.items() if place[1] == f"ndcg@{k}"}
    ascending = in_order(fold)
    groups = {
        "raw": np.ones(len(ascending), bool),
        "raw, ascending users": ascending,
        "raw, descending users": ~ascending,
    }
    tables = [
        summarise(
            {place: column[:, inside] for place, column in values.items()},
            fold.protocol,
            variant,
            compared=compared,
            n_resamples=n_resamples,
            rng=rng,
        )
        for variant, inside in groups.items()
        if inside.any()
    ]
    return pd.concat(tables, ignore_index=True)
