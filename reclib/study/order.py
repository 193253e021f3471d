"""The order probe: how much of a result can be had from ids that are sorted, not from customers.

In the public Amazon files events of one day are sorted by product id. Three measurements show
what that is worth: a model that cannot see the direction of time, a model that also prefers later
ids, and each for users whose last two products are in the order of their ids or against it. A
fourth needs no ids, which may be new since the sorting: an order learned from other users.
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
from reclib.study.tables import verdict

DIRECTED = ("markov", "seqrules", "pctm")  # those that take seconds; `transitions` is `pctm` here
BLIND, BOOSTED = "blind", "later-ids"
IDS, OTHERS, RIGHT = "ids", "order-of-others", "in_order"


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


def in_order_of_others(fold: Fold, *, rng: int = 0) -> NDArray[np.float64]:
    """Say of each user who is asked whether an order learned from other users is right.

    Half of the users teach an order of the products, by their mean place in a history; of the
    others it is asked whether the product to find comes after the newest one. Then the halves
    change places.

    Returns
    -------
    ndarray
        float64, shape (n_asked,): 1 or 0, NaN where one of the two products was not taught.
        Near one half if nothing but customers orders histories, and somewhat more as products
        come into fashion and go out of it; whatever sorts the file by product raises it,
        even if the products have other ids since.
    """
    train, relevant = fold.train, fold.relevant.tocoo()
    user = np.concatenate([train.user[train.new], relevant.row])
    item = np.concatenate([train.item[train.new], relevant.col])
    order = np.argsort(user, kind="stable")  # the product to find comes last
    user, item = user[order], item[order]
    length = np.bincount(user, minlength=train.n_users)
    place = np.arange(len(user)) - (np.cumsum(length) - length)[user]
    share = place / np.maximum(length[user] - 1, 1) - 0.5  # from −½, first, to ½, last
    newest = newest_items(train)
    known = relevant.row[newest[relevant.row] < train.n_items]
    target = np.full(train.n_users, -1)
    target[relevant.row] = relevant.col
    right = np.full(train.n_users, np.nan)
    first = np.random.default_rng(rng).random(train.n_users) < 0.5
    for teaching in (first, ~first):
        taught = teaching[user]
        n = np.bincount(item[taught], minlength=train.n_items)
        # two more users in the middle: what few had says little
        mean = np.bincount(item[taught], share[taught], train.n_items) / (n + 2)
        asked = known[~teaching[known]]
        asked = asked[(n[newest[asked]] > 0) & (n[target[asked]] > 0)]
        right[asked] = mean[target[asked]] > mean[newest[asked]]
    answer: NDArray[np.float64] = right[np.diff(fold.relevant.indptr) > 0]
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
        descending users``, by `in_order`. The metric ``in_order`` is the share of users whose
        last two products are in the order of their ids, and of `in_order_of_others`.
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
    sorting = {
        (IDS, RIGHT): ascending[None].astype(float),
        (OTHERS, RIGHT): in_order_of_others(fold, rng=rng)[None],
    }
    tables.append(summarise(sorting, fold.protocol, "raw", n_resamples=n_resamples, rng=rng))
    return pd.concat(tables, ignore_index=True)


def shares_said(measured: pd.DataFrame) -> list[str]:
    """Say in Markdown what `probe_order` found of the order of histories."""
    share = measured[measured["metric"] == RIGHT].set_index("model")
    said = {
        IDS: "have a larger id than the one before",
        OTHERS: "come after the one before in the order of others",
    }
    lines = []
    for name, what in said.items():
        value, low, high, users = share.loc[name, ["value", "low", "high", "users"]]
        lines.append(
            f"**{value:.1%}** [{low:.1%}, {high:.1%}] of {users:,.0f} users' last products {what}."
        )
    return lines


def raised_said(measured: pd.DataFrame, metric: str = "ndcg@10") -> list[str]:
    """Say in Markdown of each model whether raising later ids helps, for all users."""
    usual = measured[measured["variant"] == "raw"]
    found: dict[Any, Any] = usual.set_index(["model", "metric"]).to_dict("index")
    lines = []
    for name in DIRECTED:
        pair = f"{name}:{BOOSTED}-vs-{name}"
        row, p = found[pair, metric], found[pair, f"p_{metric}"]["value"]
        word = verdict(row["value"], row["low"], row["high"], p)
        lines.append(f"`{name}` with later ids raised is **{word}** `{name}`.")
    return lines
