"""Rounds in the simulated shop: policies serve the same users, and learn from their clicks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
import pandas as pd
import polars as pl
from numpy.typing import NDArray

from reclib.data import Fold, Marketplace, Prepared, prepare
from reclib.errors import ReclibError
from reclib.evaluation import click_probabilities
from reclib.models import Scorer
from reclib.models.base import Indices
from reclib.study.experiment import (
    LLM,
    NO_COMPARISONS,
    TRADITIONAL,
    choose_profile,
    fusion_parts,
    summarise,
    tuned_fusion,
)

Floats = NDArray[np.float64]

YARDSTICKS = ("random", "popular")
HEAD = 0.1  # share of the catalogue that counts as its popular products
ONCE = ":once"  # behind the name of a policy that is fitted before the first round only


@dataclass(frozen=True)
class Round:
    """What one policy showed to all users in one round, and what came of it.

    Attributes
    ----------
    top
        int64, shape (n_users, k): the lists; −1 where one is shorter.
    chance
        float64, shape (n_users, k): the true probability of a click at each place; NaN there.
    clicked
        bool, shape (n_users, k): drawn with these probabilities.
    head
        bool, shape (n_items,): the tenth of the products that most users had in the policy's
        own log before the round.
    """

    top: Indices
    chance: Floats
    clicked: NDArray[np.bool_]
    head: NDArray[np.bool_]


def shop_policies(
    scorers: Mapping[str, Scorer],
    fold: Fold,
    *,
    n_trials: int = 66,
    normalise: str = "global",
    k: int = 10,
    rng: int = 0,
) -> dict[str, Scorer]:
    """Make the policies that the shop compares: chance, popularity, and Table II's two models.

    Parameters
    ----------
    scorers
        `YARDSTICKS` and `reclib.study.spaces.PARTS`, by name.
    fold
        The validation fold.
    n_trials, normalise, k, rng
        As in `reclib.study.experiment.tuned_fusion`.

    Returns
    -------
    dict
        ``random``, ``popular``, ``traditional``, ``llm-fusion``.
    """
    profile = choose_profile(scorers, fold, k=k, rng=rng)
    parts = fusion_parts(scorers, profile)
    fused = {
        name: tuned_fusion(
            name, parts[name], fold, n_trials=n_trials, normalise=normalise, k=k, rng=rng
        )
        for name in (TRADITIONAL, LLM)
    }
    return {**{name: scorers[name] for name in YARDSTICKS}, **fused}


def serve_rounds(
    marketplace: Marketplace,
    policies: Mapping[str, Scorer],
    *,
    n_rounds: int = 5,
    k: int = 10,
    learn: bool = True,
    rng: int = 0,
) -> dict[str, list[Round]]:
    """Let each policy serve the same users for some rounds, every one with a shop of its own.

    In a round every user is shown a list of k products that the user has not had. Clicks are
    drawn with the true probabilities of the average situation, in which the place on the page
    decides whether a product is looked at, and saved as events of the log. Before the next
    round the policy is fitted again, on its own log.

    Parameters
    ----------
    marketplace
        Simulated. Its log is the one that every policy starts with.
    policies
        By name; fitted here.
    n_rounds
        Number of rounds.
    k
        Length of a list.
    learn
        Fit again before every round. Without it, a policy stays as the first log made it,
        though a clicked product is not shown again: what is left of the difference is the
        feedback.
    rng
        Seed of clicks and fits. In a round, the same draw decides on the same place of the
        same user, whatever the policy.

    Returns
    -------
    dict
        Policy → its rounds.

    Raises
    ------
    ReclibError
        If the marketplace is not simulated, or `n_rounds` is below 1.
    """
    if n_rounds < 1:
        raise ReclibError(f"n_rounds is {n_rounds}; allowed is 1 or more")
    return {
        name: _serve(marketplace, scorer, n_rounds, k, learn, rng)
        for name, scorer in policies.items()
    }


def measure_rounds(
    served: Mapping[str, Sequence[Round]],
    *,
    compared: Mapping[str, tuple[str, str]] = NO_COMPARISONS,
    n_resamples: int = 2000,
    rng: int = 0,
) -> pd.DataFrame:
    """Measure every round, with intervals over users.

    Parameters
    ----------
    served
        From `serve_rounds`.
    compared, n_resamples, rng
        As in `reclib.study.experiment.measure_lists`.

    Returns
    -------
    pandas.DataFrame
        Columns as there, with the protocol ``online`` and the variants ``round=1``, …. The
        metrics are ``ctr@k``, the expected clicks per shown product; ``place_ctr@1`` to
        ``place_ctr@k``, the same of one place; and ``head_share@k``, the share of the list
        that belongs to the round's `head`.
    """
    rounds = zip(*served.values(), strict=True)
    tables = [
        summarise(
            {
                (name, metric): values[None, :]
                for name, found in zip(served, together, strict=True)
                for metric, values in _values(found).items()
            },
            "online",
            f"round={number}",
            compared=compared,
            n_resamples=n_resamples,
            rng=rng,
        )
        for number, together in enumerate(rounds, start=1)
    ]
    return pd.concat(tables, ignore_index=True)


def _serve(
    marketplace: Marketplace, scorer: Scorer, n_rounds: int, k: int, learn: bool, rng: int
) -> list[Round]:
    """Serve the rounds of one policy."""
    truth = marketplace.truth
    if truth is None:
        raise ReclibError(
            f"{marketplace.name} is not simulated: nobody knows what would have been clicked; "
            "load('simulated')"
        )
    rounds = []
    for number in range(n_rounds):
        prepared = prepare(marketplace)
        if learn or number == 0:
            scorer.fit(prepared, rng=rng + number)
        top = _new_to_user(scorer, prepared, k)
        chance = click_probabilities(top, prepared, truth)
        drawn = np.random.default_rng([rng, number]).random(top.shape)
        clicked = drawn < np.nan_to_num(chance)
        rounds.append(Round(top, chance, clicked, _head(prepared)))
        marketplace = _with_clicks(marketplace, prepared, top, clicked)
    return rounds


def _new_to_user(scorer: Scorer, prepared: Prepared, k: int) -> Indices:
    """Rank the products that each user has not had, those of clicks after the fit among them."""
    fitted = scorer.prepared
    assert fitted is not None
    later = np.diff(prepared.matrix.indptr) - np.diff(fitted.matrix.indptr)
    items, _ = scorer.rank(np.arange(prepared.n_users), k + int(later.max()))
    user = np.repeat(np.arange(len(items)), items.shape[1])
    had = prepared.matrix[user, items.ravel()].reshape(items.shape) > 0
    gone = had | (items < 0)
    first = np.argsort(gone, axis=1, kind="stable")[:, :k]
    top: Indices = np.take_along_axis(np.where(gone, -1, items), first, axis=1)
    return top


def _head(prepared: Prepared) -> NDArray[np.bool_]:
    """Mark the tenth of the products that most users had, ties by smaller index."""
    users = np.bincount(prepared.matrix.indices, minlength=prepared.n_items)
    popular = np.argsort(-users, kind="stable")[: max(1, round(HEAD * prepared.n_items))]
    head = np.zeros(prepared.n_items, bool)
    head[popular] = True
    return head


def _with_clicks(
    marketplace: Marketplace, prepared: Prepared, top: Indices, clicked: NDArray[np.bool_]
) -> Marketplace:
    """Add clicks to the log, behind all that is there, a day after its end."""
    events = marketplace.interactions
    row, place = np.nonzero(clicked)
    clicks = pl.DataFrame(
        {
            "user_id": prepared.user_ids[row].to_numpy(object),
            "item_id": prepared.item_ids[top[row, place]].to_numpy(object),
            "place": place,
        },
        schema={"user_id": pl.String, "item_id": pl.String, "place": pl.Int64},
    )
    end = events["timestamp"].max()
    new = clicks.join(events.group_by("user_id").agg(pl.col("position").max()), on="user_id")
    new = new.select(
        "user_id",
        "item_id",
        position=pl.col("position") + pl.col("place") + 1,
        event=pl.lit("click"),
        timestamp=pl.lit(end) + timedelta(days=1),
    )
    return replace(marketplace, interactions=pl.concat([events, new], how="diagonal_relaxed"))


def _values(found: Round) -> dict[str, Floats]:
    """Values of every user in a round, by metric."""
    k = found.top.shape[1]
    shown = found.top >= 0
    with np.errstate(invalid="ignore"):  # a user without a list has no value
        values = {
            f"ctr@{k}": np.nansum(found.chance, axis=1) / shown.sum(axis=1),
            f"head_share@{k}": (found.head[found.top] & shown).sum(axis=1) / shown.sum(axis=1),
        }
    places = {f"place_ctr@{place + 1}": found.chance[:, place] for place in range(k)}
    return values | places
