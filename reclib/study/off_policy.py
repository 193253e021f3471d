"""Off-policy estimates where the answer is known: a simulated A/B test, and Open Bandit's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import polars as pl
from numpy.typing import NDArray

from reclib.data import Prepared, Truth
from reclib.errors import ReclibError, unknown
from reclib.evaluation import (
    ClickModel,
    Logged,
    cross_fitted,
    diagnose,
    interval,
    off_policy,
    resampled,
)
from reclib.evaluation.ctr import ESTIMATORS
from reclib.models import Scorer, normalised
from reclib.study.experiment import summarise
from reclib.study.figures import proportion_interval

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PLACES = 3  # of a page, as in Open Bandit
SHARPNESS = 3.0  # e^3 between the chances of a policy's best and worst product
RUNS_AT_ONCE, USERS_AT_ONCE = 50, 1024  # bound the memory
UNIFORM = "random"  # the policy that shows every product alike
COLUMNS = ["protocol", "variant", "model", "metric", "value", "low", "high", "users", "seeds"]

# Mean relative errors that the Open Bandit Pipeline reports for the small files of the campaign
# "all", bts estimated from the log of random, over 30 resamples of that log: README of
# examples/obd in st-tech/zr-obp
PUBLISHED: Mapping[str, float] = {"ips": 0.311, "snips": 0.312, "dm": 0.157, "dr": 0.292}


@dataclass(frozen=True)
class Estimated:
    """Estimates of policies from the logs of others.

    Attributes
    ----------
    metrics
        Columns as in ``metrics.csv`` but ``data``: the policy is the model, the log is in the
        variant.
    diagnosed
        One row an estimate: policy, log, and the entries of `reclib.evaluation.diagnose`.
    """

    metrics: pd.DataFrame
    diagnosed: pd.DataFrame


@dataclass(frozen=True, eq=False)
class Campaign:
    """Pages that policies fill at random from a few products, with the truth about clicks.

    Attributes
    ----------
    items
        One row a product: item_id, brand, categories.
    history
        Shape (n_users,): number of products that a user has had.
    chance
        Shape (n_users, n_places, n_items): true probability of a click.
    policies
        Name → shape (n_users, n_items): probability to show a product, at every place alike.
    """

    items: pd.DataFrame
    history: Ints
    chance: Floats
    policies: Mapping[str, Floats]

    def policy(self, name: str) -> Floats:
        """Return the probabilities of a policy, (n_users, n_items)."""
        if name not in self.policies:
            raise unknown("policy", name, self.policies)
        return self.policies[name]

    def ctr(self, name: str) -> Floats:
        """Clicks per impression that a policy really gets from each user, (n_users,)."""
        rates: Floats = np.einsum("upi,ui->u", self.chance, self.policy(name)) / PLACES
        return rates


@dataclass(frozen=True, eq=False)
class Visits:
    """A log of one policy in a campaign, or several side by side; the places of a page follow.

    Attributes
    ----------
    logger
        The policy.
    user, place, item
        Shape (n_pages · n_places,), or (n_pages · n_places, n_runs). A product may be at
        several places of a page, as in Open Bandit.
    click
        bool, same shape.
    """

    logger: str
    user: Ints
    place: Ints
    item: Ints
    click: NDArray[np.bool_]


def make_campaign(
    prepared: Prepared,
    truth: Truth,
    scorers: Mapping[str, Scorer],
    *,
    n_items: int = 40,
) -> Campaign:
    """Make a policy that knows its probabilities of every scorer, for the popular products.

    Parameters
    ----------
    prepared
        What the scorers were fitted on.
    truth
        Of the simulated marketplace.
    scorers
        Policies by name: a product is shown with a probability in proportion to
        exp(`SHARPNESS` · s), where s is the score, from 0 to 1 among the products of the
        campaign; a product that cannot be scored has s = 0.
    n_items
        Number of products: those that most users had, for a campaign shows what sells, and the
        more clicks there are, the better can the estimates be judged.

    Returns
    -------
    Campaign
        With the scorers' policies, and ``random``, which shows every product alike.

    Raises
    ------
    ReclibError
        If there are fewer products than `n_items`, or it is below 2.
    """
    if not 2 <= n_items <= prepared.n_items:
        raise ReclibError(f"n_items is {n_items}; allowed is 2 to {prepared.n_items} here")
    buyers = np.bincount(prepared.matrix.indices, minlength=prepared.n_items)
    chosen = np.argsort(-buyers, kind="stable")[:n_items]
    users = np.arange(prepared.n_users)
    ids = list(prepared.user_ids), list(prepared.item_ids[chosen])
    chance = [truth.click_probability(*ids, rank=place + 1) for place in range(PLACES)]
    policies = {UNIFORM: np.full((len(users), n_items), 1 / n_items)}
    for name, scorer in scorers.items():
        # in batches, for a fusion scores the whole catalogue first
        batches = np.array_split(users, -(-len(users) // USERS_AT_ONCE))
        scores = np.vstack([scorer.score(batch, chosen) for batch in batches])
        scaled = np.nan_to_num(normalised(scores, np.zeros(scores.shape, bool))).astype(float)
        likely = np.exp(SHARPNESS * scaled)
        policies[name] = likely / likely.sum(axis=1, keepdims=True)
    items = prepared.items.loc[chosen, ["brand", "categories"]].reset_index(drop=True)
    return Campaign(
        items=items.assign(item_id=ids[1]),
        history=np.diff(prepared.matrix.indptr).astype(np.int64),
        chance=np.stack(chance, axis=1).astype(float),
        policies=policies,
    )


def log_visits(
    campaign: Campaign, logger: str, *, n_pages: int, n_runs: int | None = None, rng: int = 0
) -> Visits:
    """Draw visitors, what a policy shows to them, and their clicks.

    Parameters
    ----------
    campaign
        Where.
    logger
        Which policy.
    n_pages
        Pages of a log, each of a visitor drawn at random.
    n_runs
        Number of logs, side by side; a single one by default.
    rng
        Seed.

    Returns
    -------
    Visits
        Drawn independently.
    """
    shown = campaign.policy(logger)
    n_users, n_items = shown.shape
    generator = np.random.default_rng(rng)
    runs = () if n_runs is None else (n_runs,)
    user = np.repeat(generator.integers(n_users, size=(n_pages, *runs)), PLACES, axis=0)
    place = np.broadcast_to(np.tile(np.arange(PLACES), n_pages), user.T.shape).T
    # the cumulated probabilities of all users behind each other: one search for all draws
    upto = np.cumsum(shown, axis=1)
    ends = np.arange(n_users)[:, None] + upto / upto[:, -1:]
    found = np.searchsorted(ends.ravel(), user + generator.random(user.shape), side="right")
    item = np.clip(found - user * n_items, 0, n_items - 1)
    click = generator.random(user.shape) < campaign.chance[user, place, item]
    return Visits(logger, user, place, item, click)


def learn_clicks(campaign: Campaign, visits: Visits) -> Floats:
    """Model the clicks of a log.

    Parameters
    ----------
    campaign, visits
        A single log, and not the one to estimate from: no click may predict itself.

    Returns
    -------
    ndarray
        q̂, float64, shape (n_users, n_places, n_items).
    """
    context = _context(campaign, visits.user, visits.place)
    model = ClickModel().fit(context, campaign.items, visits.item, visits.click.astype(float))
    n_users, n_places, n_items = campaign.chance.shape
    users, places = np.indices((n_users, n_places)).reshape(2, -1)
    return model.predict(_context(campaign, users, places)).reshape(n_users, n_places, n_items)


def logged(campaign: Campaign, visits: Visits, target: str, model: Floats) -> Logged:
    """Set beside each other what estimating a policy from logs needs.

    Parameters
    ----------
    campaign, visits
        The logs.
    target
        The policy to be estimated.
    model
        From `learn_clicks`.

    Returns
    -------
    Logged
        Pages are its units.
    """
    policy = campaign.policy(target)
    expected = np.einsum("upi,ui->up", model, policy)
    where = visits.user, visits.place, visits.item
    return Logged(
        reward=visits.click.astype(float),
        logging=campaign.policy(visits.logger)[visits.user, visits.item],
        target=policy[visits.user, visits.item],
        predicted=model[where],
        expected=expected[visits.user, visits.place],
        unit=np.repeat(np.arange(len(visits.user) // PLACES), PLACES),
    )


def estimate_campaign(
    campaign: Campaign,
    pairs: Sequence[tuple[str, str]],
    *,
    n_pages: int,
    n_runs: int = 0,
    n_resamples: int = 2000,
    rng: int = 0,
) -> Estimated:
    """Estimate policies of a campaign from the logs of others, once and many times.

    Parameters
    ----------
    campaign
        Where.
    pairs
        Policies that logged, each with the one to be estimated from its log.
    n_pages
        Of a log. The model of the clicks is learned from another one of the same length.
    n_runs
        How often the log is drawn anew, to see bias and coverage; 0 leaves that out.
    n_resamples
        Of the bootstrap over pages.
    rng
        Seed.

    Returns
    -------
    Estimated
        Variant ``campaign, truth``: ``ctr`` is what each policy really gets, with an interval over
        users. Variant ``campaign, from random``: the estimates from one log, with
        ``mean_weight`` and ``effective_share``. With ``, 1000 runs`` behind it: ``bias_…``,
        the mean estimate over the truth minus 1, and ``coverage_…``, the share of the runs
        whose 95 % interval holds the truth.
    """
    truth = {(name, "ctr"): campaign.ctr(name)[None, :] for name in campaign.policies}
    tables = [summarise(truth, "online", "campaign, truth", n_resamples=n_resamples, rng=rng)]
    diagnosed = []
    for logger, target in pairs:
        before, now = (
            log_visits(campaign, logger, n_pages=n_pages, rng=rng + step) for step in range(2)
        )
        model = learn_clicks(campaign, before)
        log = logged(campaign, now, target, model)
        variant = f"campaign, from {logger}"
        found = off_policy(log, n_resamples=n_resamples, rng=rng)
        tables.append(_rows(found, variant, target, n_pages))
        diagnosed.append({"policy": target, "log": logger, **diagnose(log)})
        if n_runs:
            found = coverage(
                campaign, logger, target, model, n_pages=n_pages, n_runs=n_runs, rng=rng + 2
            )
            tables.append(_rows(found, f"{variant}, {n_runs} runs", target, n_pages))
    return Estimated(pd.concat(tables, ignore_index=True), pd.DataFrame(diagnosed))


def coverage(
    campaign: Campaign,
    logger: str,
    target: str,
    model: Floats,
    *,
    n_pages: int,
    n_runs: int,
    n_resamples: int = 1000,
    rng: int = 0,
) -> pd.DataFrame:
    """Repeat an estimate with new logs, and compare with the truth.

    Parameters
    ----------
    campaign, logger, target, model, n_pages
        As in `logged` and `log_visits`.
    n_runs
        Number of logs.
    n_resamples
        Of the bootstrap over the pages of each log.
    rng
        Seed.

    Returns
    -------
    pandas.DataFrame
        Columns metric, value, low, high. ``bias_ips``: the mean estimate over the truth, minus
        1, with its 95 % interval. ``coverage_ips``: the share of the logs whose 95 % interval
        holds the truth, with Wilson's interval. All logs share one `model`, so those of DM are
        of this very model.
    """
    truth = campaign.ctr(target).mean()
    values: dict[str, list[Floats]] = {name: [] for name in ESTIMATORS}
    held = dict.fromkeys(ESTIMATORS, 0)
    for start in range(0, n_runs, RUNS_AT_ONCE):
        many = min(RUNS_AT_ONCE, n_runs - start)
        visits = log_visits(campaign, logger, n_pages=n_pages, n_runs=many, rng=rng + start)
        log = logged(campaign, visits, target, model)
        found = resampled(log, n_resamples=n_resamples, rng=rng + start)
        for name in ESTIMATORS:
            values[name].append(found[name][0])
            ends = (interval(samples) for samples in found[name][1:].T)
            held[name] += sum(low <= truth <= high for low, high in ends)
    rows: list[tuple[str, float, float, float]] = []
    for name in ESTIMATORS:
        error = np.concatenate(values[name]) / truth - 1
        half = 1.96 * error.std(ddof=1) / np.sqrt(n_runs)
        bias = float(error.mean())
        rows.append((f"bias_{name}", bias, bias - half, bias + half))
        rows.append(
            (f"coverage_{name}", held[name] / n_runs, *proportion_interval(held[name], n_runs))
        )
    return pd.DataFrame(rows, columns=["metric", "value", "low", "high"])


def compare_policies(
    impressions: pl.DataFrame, items: pl.DataFrame, *, n_resamples: int = 2000, rng: int = 0
) -> Estimated:
    """Estimate each policy of an A/B test from the other's log, and compare with its own.

    Parameters
    ----------
    impressions
        Of Open Bandit: several policies in each campaign.
    items
        Their products.
    n_resamples
        Of the bootstrap over impressions, as nothing tells which belong to one visitor.
    rng
        Seed.

    Returns
    -------
    Estimated
        Variant ``men, own log``: ``ctr``, clicks per impression of a policy. Variant ``men,
        from random``: the estimates and diagnostics, and for each estimator ``error_…``, the
        relative error |estimate / own − 1|, and ``mean_error_…``, its mean over resamples of
        the log, which is the form of the published ones (`PUBLISHED`); both with the middle
        95 % of the resamples.

    Notes
    -----
    A policy that shows everything with one probability is known. What is known of another is
    its own log: its probability at a place is the share of a product among the impressions
    there. bts learned while it logged, so that is its average over the week, and the estimate
    is one of the average policy. The uncertainty of these shares is not in the intervals.
    """
    tables, diagnosed = [], []
    for campaign, shown in _by(impressions, "campaign"):
        products = items.filter(pl.col("item_id").is_in(shown["item_id"].unique().implode()))
        logs = dict(_by(shown, "policy"))
        own = {name: _own_ctr(log, n_resamples, rng) for name, log in logs.items()}
        for name, found in own.items():
            tables.append(_rows(found, f"{campaign}, own log", name, len(logs[name])))
        for logger, target in [(a, b) for a in logs for b in logs if a != b]:
            log = _from_impressions(logs[logger], logs[target], products.to_pandas(), rng)
            found = off_policy(log, n_resamples=n_resamples, rng=rng)
            errors = _errors(log, float(own[target]["value"].iloc[0]), n_resamples, rng)
            variant = f"{campaign}, from {logger}"
            tables.append(_rows(pd.concat([found, errors]), variant, target, len(log.reward)))
            diagnosed.append({"policy": target, "log": f"{logger}, {campaign}", **diagnose(log)})
    return Estimated(pd.concat(tables, ignore_index=True), pd.DataFrame(diagnosed))


def by_pair(metrics: pd.DataFrame) -> pd.DataFrame:
    """Name each estimate by its policy and its log, and set the policy's own rate beside it.

    Parameters
    ----------
    metrics
        Of an `Estimated`.

    Returns
    -------
    pandas.DataFrame
        Columns model, metric, value, low, high; a model is called ``bts from random, men``.
        Its ``ctr`` is the truth, or what its own log says.
    """
    parts = metrics["variant"].str.partition(", ")
    place, log = parts[0], parts[2]
    estimates = log.str.startswith("from ")
    name = metrics["model"] + " " + log + ", " + place
    own = metrics[~estimates].assign(place=place)
    pairs = metrics.assign(name=name, place=place)[estimates]
    pairs = pairs.drop_duplicates("name")[["name", "place", "model"]]
    own = pairs.merge(own, on=["place", "model"])
    columns = ["name", "metric", "value", "low", "high"]
    table = pd.concat([own[columns], metrics.assign(name=name)[estimates][columns]])
    return table.rename(columns={"name": "model"}).reset_index(drop=True)


def _by(table: pl.DataFrame, column: str) -> list[tuple[str, pl.DataFrame]]:
    parts = table.partition_by(column, as_dict=True, maintain_order=True)
    return [(str(name), part) for (name,), part in parts.items()]


def _own_ctr(log: pl.DataFrame, n_resamples: int, rng: int) -> pd.DataFrame:
    """Clicks per impression of the policy that logged: an estimate whose weights are all 1."""
    clicks, one = log["click"].to_numpy().astype(float), np.ones(len(log))
    own = Logged(clicks, logging=one, target=one, predicted=0 * one, expected=0 * one)
    found = off_policy(own, n_resamples=n_resamples, rng=rng)
    return found[found["metric"] == "ips"].assign(metric="ctr")


def _from_impressions(
    log: pl.DataFrame, other: pl.DataFrame, items: pd.DataFrame, rng: int
) -> Logged:
    """Judge the policy of `other` by `log`; see `compare_policies`."""
    shown = pd.Index(items["item_id"]).get_indexer(log["item_id"].to_pandas())
    places, place = np.unique(log["rank"], return_inverse=True)
    policy = _shares(other, list(items["item_id"]), list(places))[place]  # (n, n_items)
    visitor = [name for name in log.columns if name.startswith("user_feature_")]
    context = log.select(pl.col("rank").cast(pl.String), pl.col(*visitor).cast(pl.String))
    clicks = log["click"].to_numpy().astype(float)
    model = cross_fitted(context.to_pandas(), items, shown, clicks, rng=rng)
    row = np.arange(len(log))
    return Logged(
        reward=clicks,
        logging=log["propensity"].to_numpy(),
        target=policy[row, shown],
        predicted=model[row, shown],
        expected=(policy * model).sum(axis=1),
    )


def _shares(log: pl.DataFrame, items: list[str], places: list[int]) -> Floats:
    """Probability with which a policy shows each product at each place, (n_places, n_items)."""
    if log["propensity"].n_unique() == 1:
        return np.full((len(places), len(items)), 1 / len(items))
    counts = pd.crosstab(log["rank"].to_numpy(), log["item_id"].to_numpy(), normalize="index")
    return counts.reindex(index=places, columns=items, fill_value=0).to_numpy(float)


def _errors(log: Logged, own: float, n_resamples: int, rng: int) -> pd.DataFrame:
    """Relative errors of the estimates, own of the log and mean over its resamples."""
    rows = []
    for name, values in resampled(log, n_resamples=n_resamples, rng=rng).items():
        if name in ESTIMATORS:
            error = np.abs(values / own - 1)
            ends = interval(error[1:])
            rows.append((f"error_{name}", error[0], *ends))
            rows.append((f"mean_error_{name}", error[1:].mean(), *ends))
    return pd.DataFrame(rows, columns=["metric", "value", "low", "high"])


def _context(campaign: Campaign, user: Ints, place: Ints) -> pd.DataFrame:
    """Features of a situation: the place, and how much the shop knows of the user."""
    known = np.log1p(campaign.history[user])
    return pd.DataFrame({"place": (place + 1).astype(str), "history": known})


def _rows(found: pd.DataFrame, variant: str, model: str, units: int) -> pd.DataFrame:
    rows = found.assign(protocol="online", variant=variant, model=model, users=units, seeds=1)
    return rows[COLUMNS]
