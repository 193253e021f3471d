r"""Click-through rates: of lists where the truth is known, of policies where a log is.

**Known truth.** The simulated shop tells how likely each click is, so the rate of a list is
computed, not estimated: `click_probabilities`, `expected_ctr`.

**A log.** One policy chose what was shown, and another shall be judged by the same log. With
the click r, the probability π₀ with which the product was shown, the probability π with which
the other policy would have shown it, the weight w = π / π₀ and a model q̂ of the clicks:

.. math::

    IPS = \frac{1}{n} \sum w r \qquad SNIPS = \frac{\sum w r}{\sum w} \qquad
    DM = \frac{1}{n} \sum \sum_a \pi(a) \hat q(a) \qquad
    DR = DM + \frac{1}{n} \sum w (r - \hat q)

IPS needs the right π₀, DM the right q̂, and DR one of them.

**Places.** Each place of a page is an impression of its own, and π and π₀ are the
probabilities of a product at that place. That is right if a click at a place depends on who
looks, on the product and on the place, and not on what the other places show: the item-position
model of Li et al. (KDD 2018). Impressions of one page share the visitor, so they are resampled
together.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.compose import ColumnTransformer, make_column_selector, make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from reclib.data import Prepared, Truth
from reclib.errors import ReclibError
from reclib.evaluation.significance import bootstrap_sums, interval

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ONE_TOO_MANY = 0.1  # share of all weight on one unit, from which an estimate rests on it
TAIL = 0.01  # share of the impressions that make up the tail


def click_probabilities(
    top: Ints, prepared: Prepared, truth: Truth, *, looked: bool = False, batch_size: int = 1024
) -> Floats:
    """Take the probability of a click on every place of every list from the truth.

    Parameters
    ----------
    top
        Shape (n_users, k): the list shown to each user; −1 where it is shorter.
    prepared
        Gives the outside ids.
    truth
        Of a simulated marketplace.
    looked
        Take every place as looked at; else the first places are looked at more often.
    batch_size
        Users at once.

    Returns
    -------
    ndarray
        float64, shape (n_users, k); NaN where nothing is shown.
    """
    chance = np.full(top.shape, np.nan)
    for start in range(0, len(top), batch_size):
        batch = slice(start, start + batch_size)
        for place in range(top.shape[1]):
            row = start + np.flatnonzero(top[batch, place] >= 0)
            if len(row):
                users, items = list(prepared.user_ids[row]), top[row, place]
                shown, column = np.unique(items, return_inverse=True)
                rank = None if looked else place + 1
                found = truth.click_probability(users, list(prepared.item_ids[shown]), rank=rank)
                chance[row, place] = found[np.arange(len(row)), column]
    return chance


def expected_ctr(top: Ints, prepared: Prepared, truth: Truth, *, batch_size: int = 1024) -> Floats:
    """Take the expected clicks per shown item from the simulator's truth.

    Parameters
    ----------
    top, prepared, batch_size
        As in `click_probabilities`.
    truth
        Of a simulated marketplace. Logged purchases cannot stand in for it: nothing is
        known of what was shown, so there the click-through rate is not measurable.

    Returns
    -------
    ndarray
        float64, shape (n_users,), every product being looked at; NaN for an empty list.
    """
    chance = click_probabilities(top, prepared, truth, looked=True, batch_size=batch_size)
    with np.errstate(invalid="ignore"):
        rates: Floats = np.nansum(chance, axis=1) / (top >= 0).sum(axis=1)
    return rates


@dataclass(frozen=True, eq=False)
class Logged:
    """Impressions logged by one policy, and what is needed to judge another by them.

    Further axes behind the first hold further logs of the same length, such as those of
    repeated simulations.

    Attributes
    ----------
    reward
        Shape (n, …): 1 for a click, else 0.
    logging
        Shape (n, …): probability, above 0, with which the logging policy showed the product.
    target
        Shape (n, …): probability with which the policy to be judged would have shown it.
    predicted
        Shape (n, …): q̂ of the product shown; 0 everywhere for no model.
    expected
        Shape (n, …): Σ_a π(a) q̂(a) over all products that could be shown.
    unit
        Shape (n,): what is resampled together, such as the page or the user; each impression
        by itself by default.

    Raises
    ------
    ReclibError
        If shapes differ, a probability is out of range, a value is not finite, or the target
        policy would have shown nothing of what was logged.
    """

    reward: Floats
    logging: Floats
    target: Floats
    predicted: Floats
    expected: Floats
    unit: Ints | None = None

    def __post_init__(self) -> None:
        """Refuse arrays that cannot be a log."""
        columns = {
            name: getattr(self, name) for name in self.__dataclass_fields__ if name != "unit"
        }
        shapes = {name: np.shape(column) for name, column in columns.items()}
        if len(set(shapes.values())) > 1 or not shapes["reward"] or not shapes["reward"][0]:
            raise ReclibError(f"the columns of a log need one shape and a row, found {shapes}")
        for name, column in columns.items():
            if not np.isfinite(column).all():
                raise ReclibError(f"{name} holds {column[~np.isfinite(column)][0]}; give numbers")
        for name, low in (("logging", "above 0"), ("target", "from 0")):
            wrong = (columns[name] > 1) | (columns[name] < 0)
            if name == "logging":  # what can never be shown cannot be in the log
                wrong |= columns[name] == 0
            if wrong.any():
                value = columns[name][wrong][0]
                raise ReclibError(f"{name} holds {value}; a probability is {low} to 1")
        if not self.target.any(axis=0).all():
            raise ReclibError(
                "the target policy would have shown nothing of what was logged, so the log says "
                "nothing of it; log with a policy that can show what the target shows"
            )

    @property
    def weight(self) -> Floats:
        """Shape (n, …): w = π / π₀."""
        return self.target / self.logging


class Sums(NamedTuple):
    """Sums over impressions, from which every estimate follows; all of one shape."""

    n: Floats
    weight: Floats  # Σ w
    square: Floats  # Σ w²
    weighted: Floats  # Σ w r
    expected: Floats  # Σ Σ_a π(a) q̂(a)
    corrected: Floats  # Σ (Σ_a π(a) q̂(a) + w (r − q̂))


def ips(sums: Sums) -> Floats:
    """Inverse propensity scoring: Σ w r / n (Horvitz & Thompson, JASA 1952)."""
    return sums.weighted / sums.n


def snips(sums: Sums) -> Floats:
    """Self-normalised IPS: Σ w r / Σ w (Swaminathan & Joachims, NeurIPS 2015)."""
    return sums.weighted / sums.weight


def dm(sums: Sums) -> Floats:
    """Direct method: what the model of the clicks expects of the target policy."""
    return sums.expected / sums.n


def dr(sums: Sums) -> Floats:
    """Doubly robust: DM, corrected where something was shown (Dudík et al., ICML 2011)."""
    return sums.corrected / sums.n


def mean_weight(sums: Sums) -> Floats:
    """Σ w / n: 1 on average if the logged propensities are right."""
    return sums.weight / sums.n


def effective_share(sums: Sums) -> Floats:
    """(Σ w)² / (n Σ w²): effective sample size (Kish 1965) as a share of the impressions."""
    return sums.weight**2 / (sums.n * sums.square)


ESTIMATORS: Mapping[str, Callable[[Sums], Floats]] = {
    "ips": ips,
    "snips": snips,
    "dm": dm,
    "dr": dr,
}
DIAGNOSTICS: Mapping[str, Callable[[Sums], Floats]] = {
    "mean_weight": mean_weight,
    "effective_share": effective_share,
}


def resampled(log: Logged, *, n_resamples: int = 2000, rng: int = 0) -> dict[str, Floats]:
    """Compute every estimate and diagnostic, and again on resampled units.

    Parameters
    ----------
    log
        What was logged.
    n_resamples, rng
        As in `reclib.evaluation.bootstrap_sums`.

    Returns
    -------
    dict
        Names of `ESTIMATORS` and `DIAGNOSTICS` → float64, shape (1 + n_resamples, …): the
        value in front, then its resamples.
    """
    terms = _terms(log)  # (n_units, 6, …)
    flat = terms.reshape(len(terms), -1)
    drawn = bootstrap_sums(flat, n_resamples=n_resamples, rng=rng)
    both = np.vstack([flat.sum(axis=0), drawn]).reshape(1 + n_resamples, *terms.shape[1:])
    sums = Sums(*np.moveaxis(both, 1, 0))
    with np.errstate(invalid="ignore", divide="ignore"):  # a resample without any weight
        return {name: compute(sums) for name, compute in {**ESTIMATORS, **DIAGNOSTICS}.items()}


def off_policy(log: Logged, *, n_resamples: int = 2000, rng: int = 0) -> pd.DataFrame:
    """Estimate the click-through rate of the target policy, with 95 % intervals.

    Parameters
    ----------
    log
        A single one.
    n_resamples, rng
        Of the bootstrap over units.

    Returns
    -------
    pandas.DataFrame
        Columns metric, value, low, high: the four estimates, then `mean_weight` and
        `effective_share`.
    """
    rows = [
        (name, values[0], *interval(values[1:][~np.isnan(values[1:])]))
        for name, values in resampled(log, n_resamples=n_resamples, rng=rng).items()
    ]
    return pd.DataFrame(rows, columns=["metric", "value", "low", "high"])


def diagnose(log: Logged) -> dict[str, float | str]:
    """Tell how far an estimate from a log can be trusted.

    Parameters
    ----------
    log
        A single one.

    Returns
    -------
    dict
        ``effective``, the effective sample size; ``largest_weight``, and ``largest_share``
        of it in the sum of all; ``tail_share``, the share that the hundredth of the
        impressions with the largest weights has in it; and ``doubt``, a text that is empty
        where there is none. There is doubt where the mean weight is so far from 1 as right
        propensities make it in one of a thousand logs, and where a tenth of all weight lies
        on one unit.
    """
    terms = _terms(log)
    n, weight, square = terms[:, :3].T
    heavy = np.sort(log.weight)[::-1]
    total = heavy.sum()
    mean = total / len(heavy)
    # of the mean, from the spread between units
    error = np.sqrt(((weight - mean * n) ** 2).sum()) / n.sum()
    doubts = []
    if abs(mean - 1) > max(3.29 * error, 1e-9):
        doubts.append(f"the mean weight is {mean:.3g}, not 1: are the propensities right?")
    if len(n) > 1 / ONE_TOO_MANY and weight.max() > ONE_TOO_MANY * total:
        share = weight.max() / total
        doubts.append(f"one of {len(n):,} units has {share:.0%} of all weight")
    return {
        "effective": float(total**2 / square.sum()),
        "largest_weight": float(heavy[0]),
        "largest_share": float(heavy[0] / total),
        "tail_share": float(heavy[: max(1, round(TAIL * len(heavy)))].sum() / total),
        "doubt": "; ".join(doubts),
    }


class ClickModel:
    """Logistic regression of clicks on the situation and the product: q̂ of DM and DR.

    The logit is a sum of what the features of both sides add, so products differ in the same
    way in every situation.
    """

    def fit(self, context: pd.DataFrame, items: pd.DataFrame, shown: Ints, reward: Floats) -> Self:
        """Learn from impressions.

        Parameters
        ----------
        context
            One row an impression: place, visitor, time … Texts and categories become
            indicators, numbers are scaled.
        items
            One row a product that could be shown, in the same form; with a column that names
            it.
        shown
            Shape (n,): row of `items`.
        reward
            Shape (n,): clicks.

        Returns
        -------
        Self
            The fitted model.

        Raises
        ------
        ReclibError
            If there is no click, or nothing else.
        """
        if np.ptp(reward) == 0:
            raise ReclibError(
                f"all {len(reward):,} impressions have the reward {reward[0]:g}; a model needs "
                "clicks and others, so bring a longer log"
            )
        self._situation, self._product = _indicators(), _indicators()
        left = self._situation.fit_transform(context)
        self._products = self._product.fit_transform(items)
        both = sp.hstack([left, self._products[shown]], format="csr")
        model = LogisticRegression(max_iter=1000).fit(both, reward)
        width = left.shape[1]
        self._of_situation, self._of_product = model.coef_[0, :width], model.coef_[0, width:]
        self._intercept = model.intercept_[0]
        return self

    def predict(self, context: pd.DataFrame) -> Floats:
        """Tell the probability of a click on every product, shape (len(context), n_items)."""
        left = self._situation.transform(context) @ self._of_situation
        right = self._products @ self._of_product + self._intercept
        probability: Floats = expit(left[:, None] + right)
        return probability


def cross_fitted(
    context: pd.DataFrame,
    items: pd.DataFrame,
    shown: Ints,
    reward: Floats,
    *,
    n_folds: int = 3,
    rng: int = 0,
) -> Floats:
    """Predict the clicks of a log by models of its other parts, so that none predicts itself.

    Cross-fitting (Chernozhukov et al., The Econometrics Journal 2018): DR then stays unbiased
    although model and estimate come from one log.

    Parameters
    ----------
    context, items, shown, reward
        As in `ClickModel.fit`.
    n_folds
        Number of parts, at least 2.
    rng
        Seed of the parts.

    Returns
    -------
    ndarray
        float64, shape (n, n_items).

    Raises
    ------
    ReclibError
        As `ClickModel.fit` does.
    """
    predicted = np.empty((len(reward), len(items)))
    for known, asked in KFold(n_folds, shuffle=True, random_state=rng).split(predicted):
        model = ClickModel().fit(context.iloc[known], items, shown[known], reward[known])
        predicted[asked] = model.predict(context.iloc[asked])
    return predicted


def _terms(log: Logged) -> Floats:
    """Say what each unit adds to `Sums`, shape (n_units, 6, …)."""
    w, r = log.weight, log.reward
    corrected = log.expected + w * (r - log.predicted)
    columns = [np.ones_like(w), w, w * w, w * r, log.expected, corrected]
    terms: Floats = np.stack(columns, axis=1)
    if log.unit is None:
        return terms
    units, row = np.unique(log.unit, return_inverse=True)
    members = sp.csr_array((np.ones(len(row)), (row, np.arange(len(row)))))
    sums: Floats = members @ terms.reshape(len(terms), -1)
    return sums.reshape(len(units), *terms.shape[1:])


def _indicators() -> ColumnTransformer:
    """One sparse column for each level of texts and categories, one for each number."""
    number = make_column_selector(dtype_include="number")
    other = make_column_selector(dtype_exclude="number")
    levels = OneHotEncoder(handle_unknown="ignore")
    return make_column_transformer((StandardScaler(), number), (levels, other), sparse_threshold=1)
