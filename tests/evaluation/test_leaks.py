"""Leak probes, each with a planted leak that it must catch.

A probe says what an honest scorer cannot do; every honest scorer passes it, and a scorer
that was built to cheat does not.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from reclib import paths
from reclib.data import (
    Fold,
    Marketplace,
    Prepared,
    Split,
    cold_items,
    cold_users,
    extract_features,
    global_time,
    leave_one_out,
    prepare,
    random_split,
)
from reclib.data.features import item_texts
from reclib.data.schema import Interactions, Items, validated
from reclib.evaluation import evaluate, ranking_metrics
from reclib.models import (
    ALS,
    BPR,
    Collaborative,
    Content,
    Fusion,
    Language,
    Popular,
    SASRec,
    Scorer,
    Transitions,
)
from reclib.models.base import Indices, Scores
from reclib.models.hybrid import Hybrid
from reclib.study.spaces import single_scorers

K = 10
Make = Callable[[], Scorer]
HONEST: dict[str, Make] = {
    **{name: partial(lambda name: single_scorers()[name], name) for name in single_scorers()},
    # quick fits, strong enough for the few products here
    "als": lambda: ALS(factors=8),
    "bpr": lambda: BPR(factors=8, learning_rate=0.05, epochs=50),
    "sasrec": lambda: SASRec(
        embedding_size=16,
        layers=1,
        dropout=0.1,
        learning_rate=0.01,
        epochs=10,
        batch_size=64,
        loss="softmax",
    ),
    "hybrid": lambda: Hybrid(
        {"content": Content(), "collaborative": Collaborative(), "language": Language()},
        depth=10,
        hidden=8,
        epochs=3,
        batch_size=16,
    ),
    "transitions:blind": lambda: Transitions(directed=False),
    "fusion": lambda: Fusion(
        {"content": Content(), "collaborative": Collaborative(), "language": Language()},
        {"content": 1, "collaborative": 1, "language": 1},
    ),
}


class Peeking(Popular):
    """Planted: the targets are among its inputs."""

    name = "peeking"

    def __init__(self, *, relevant: sp.csr_array) -> None:
        self.relevant = relevant

    def _score(self, users: Indices, items: Indices | slice) -> Scores:
        return super()._score(users, items) + 1000 * self.relevant[users].toarray()[:, items]


class Foreseeing(Popular):
    """Planted: counts the events of the whole table, held-out ones included."""

    name = "foreseeing"

    def __init__(self, *, everything: Prepared) -> None:
        self.everything = everything

    def _fit(self, prepared: Prepared, rng: int) -> None:
        super()._fit(self.everything, rng)


class IdOrder(Popular):
    """Planted: prefers products whose id comes just after the user's last one."""

    name = "id-order"

    def _fit(self, prepared: Prepared, rng: int) -> None:
        super()._fit(prepared, rng)
        last = np.append(prepared.user[1:] != prepared.user[:-1], True)
        self._last = prepared.item[last]

    def _score(self, users: Indices, items: Indices | slice) -> Scores:
        ahead = np.arange(len(self._counts))[items] - self._last[users][:, None]
        return np.where(ahead > 0, 1000.0 - ahead, 0).astype(np.float32)


def hit_rate(scorer: Scorer, fold: Fold) -> float:
    outcome = evaluate({"it": scorer}, fold, k=K, progress=False)["it"]
    return float(np.nanmean(ranking_metrics(outcome.top, fold.relevant)[f"hit_rate@{K}"]))


@pytest.fixture(params=HONEST)
def honest(request: pytest.FixtureRequest, fake_encode: object, fresh_cache: Path) -> Make:
    return HONEST[request.param]


# --- target in the input: with random targets nobody can be better than chance


@pytest.fixture(scope="module")
def shuffled(make_random: Callable[..., Prepared]) -> Fold:
    """A fold whose targets are drawn at random from what each user has not had."""
    train = leave_one_out(make_random(20, n_users=300, n_items=60)).test.train
    rng = np.random.default_rng(0)
    seen = train.matrix.toarray() > 0
    relevant = np.zeros(train.shape, bool)
    for user in range(train.n_users):
        relevant[user, rng.choice(np.flatnonzero(~seen[user]))] = True
    return Fold("test", train, sp.csr_array(relevant))


def above_chance(scorer: Scorer, fold: Fold) -> float:
    """By how many standard deviations the hit rate is above that of random lists."""
    unseen = fold.train.n_items - np.diff(fold.train.matrix.indptr)
    chance = K / unseen
    deviation = np.sqrt((chance * (1 - chance)).sum()) / len(chance)
    return (hit_rate(scorer, fold) - chance.mean()) / deviation


def test_random_targets_are_found_by_chance_only(honest: Make, shuffled: Fold) -> None:
    assert abs(above_chance(honest(), shuffled)) < 4


def test_a_planted_look_at_the_targets_is_caught(shuffled: Fold, fresh_cache: Path) -> None:
    assert above_chance(Peeking(relevant=shuffled.relevant), shuffled) > 20


# --- future items: what is held out may be anything, the scores stay as they are


def poisoned(seed: int, make_random: Callable[..., Prepared]) -> tuple[Prepared, Prepared]:
    """The same marketplace twice, the last product of each user being another one."""
    clean = make_random(seed)
    rng = np.random.default_rng(seed)
    item = clean.item.copy()
    seen = clean.matrix.toarray() > 0
    for user, last in enumerate(np.searchsorted(clean.user, np.arange(clean.n_users), "right") - 1):
        item[last] = rng.choice(np.flatnonzero(~seen[user]))
    return clean, replace(clean, item=item)


@pytest.fixture
def moved_by_poison(
    make_random: Callable[..., Prepared], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Callable[[Prepared], Scorer]], float]:
    """Largest change of any score when the held-out products change."""

    def largest_change(make: Callable[[Prepared], Scorer]) -> float:
        scores = []
        for number, ready in enumerate(poisoned(30, make_random)):
            # the second fit must not find the first one in the cache
            monkeypatch.setattr(paths, "CACHE", tmp_path / str(number))
            scorer = make(ready).fit(leave_one_out(ready).test.train)
            scores.append(scorer.score(np.arange(ready.n_users)))
        one, other = scores
        np.testing.assert_array_equal(np.isnan(one), np.isnan(other))  # no candidate, in both
        return float(np.nanmax(np.abs(one - other)))

    return largest_change


Moved = Callable[[Callable[[Prepared], Scorer]], float]


def test_held_out_products_do_not_move_a_score(honest: Make, moved_by_poison: Moved) -> None:
    assert moved_by_poison(lambda _: honest()) == 0


def test_a_planted_look_into_the_future_is_caught(moved_by_poison: Moved) -> None:
    assert moved_by_poison(lambda ready: Foreseeing(everything=ready)) >= 1


# --- held-out rows: whatever they hold, nothing that is fitted changes, in any split


SPLITS: dict[str, Callable[[Prepared], Split]] = {
    "full-loo": leave_one_out,
    "full-time": global_time,
    "random": partial(random_split, rng=1),
    "cold-users": partial(cold_users, share=0.2, rng=1),
    "cold-users, given 2": partial(cold_users, share=0.2, given=2, rng=1),
    "cold-items": partial(cold_items, share=0.2, rng=1),
}


@pytest.fixture(scope="module")
def whole(make_random: Callable[..., Prepared]) -> Prepared:
    """A marketplace with everything that a row can hold; some products are met again."""
    ready = make_random(40, n_users=60, n_items=30)
    rng = np.random.default_rng(40)
    again = np.sort(np.append(np.arange(ready.n_events), np.arange(0, ready.n_events, 5)))
    user, item, n = ready.user[again], ready.item[again], len(again)
    moments = rng.permutation(n) * 1000
    time = moments[np.lexsort((moments, user))]  # in the order of each history
    words = rng.choice(["good", "bad", "tea0", "ink1"], (n, 2))
    reviews = pd.DataFrame(
        {
            "user": user,
            "item": item,
            "time": time + 1,
            "rating": np.float32(5),
            "text": [" ".join(row) for row in words],
        }
    )
    context = {"device": ["phone", "desktop"], "season": ["winter", "spring", "summer"]}
    return replace(
        ready,
        user=user,
        item=item,
        weight=rng.choice([1, 2, 3], n).astype(np.float32),
        event=rng.choice([1, 2, 3], n).astype(np.int8),
        time=time,
        query=rng.integers(-1, 4, n).astype(np.int32),
        queries=("tea1 tea2", "ink3", "rope0 rope4", "lamp5"),
        context=pd.DataFrame(
            {kind: pd.Categorical(rng.choice(levels, n)) for kind, levels in context.items()}
        ),
        reviews=reviews.drop_duplicates(["user", "item"], ignore_index=True),
    )


def poisoned_rows(ready: Prepared, rows: np.ndarray) -> Prepared:
    """Change all about some rows but their user and their place in the history.

    A product that a user has in these rows alone becomes another one of these rows.
    """
    item = ready.item.copy()
    for user in range(ready.n_users):
        his = ready.user == user
        kept = ready.item[his & ~rows]
        ring = np.setdiff1d(ready.item[rows], kept)
        for row in np.flatnonzero(his & rows & ~np.isin(ready.item, kept)):
            item[row] = ring[(np.searchsorted(ring, ready.item[row]) + 1) % len(ring)]
    context = {
        kind: pd.Categorical(np.where(rows, "poison", column.astype(str)))
        for kind, column in ready.context.items()
    }
    written = rows[ready.new]  # one review for each pair, in the order of rows
    return replace(
        ready,
        item=item,
        weight=np.where(rows, np.float32(50), ready.weight),
        event=np.where(rows, 3, ready.event).astype(np.int8),
        time=ready.time + rows,
        query=np.where(rows, len(ready.queries), ready.query).astype(np.int32),
        queries=(*ready.queries, "rope1 tea1"),
        context=pd.DataFrame(context),
        reviews=ready.reviews.assign(
            item=item[ready.new],
            time=ready.reviews["time"] + written,
            rating=np.where(written, np.float32(1), ready.reviews["rating"]),
            text=np.where(written, "poison rope1", ready.reviews["text"]),
        ),
    )


def fitted_on(train: Prepared) -> dict[str, np.ndarray]:
    """Everything that is learnt from training data before any scorer."""
    features = extract_features(train, review_text=True, context_weight=1, query_weight=1)
    popular = Popular().fit(train)
    return {
        "users": features.users.toarray(),
        "items": features.items.toarray(),
        "vocabulary": features.names.astype(str),
        "popularity": popular.score(np.arange(2)),
        "interactions": train.matrix.toarray(),
        "order": np.column_stack([train.age, train.new]),
        "texts": np.array(item_texts(train, reviews=True)),
    }


def changed(one: Prepared, two: Prepared) -> set[str]:
    """What differs between the fits on two trainings."""
    first, second = fitted_on(one), fitted_on(two)
    return {name for name in first if not np.array_equal(first[name], second[name])}


def twin_of(ready: Prepared, split: Callable[[Prepared], Split], fold: str) -> Prepared:
    """The same marketplace with poison in all rows that this fold keeps from training."""
    return poisoned_rows(ready, ~getattr(split(ready), fold).kept)


@pytest.mark.parametrize("name", SPLITS)
@pytest.mark.parametrize("fold", ["validation", "test"])
def test_poison_in_held_out_rows_changes_nothing_that_is_fitted(
    whole: Prepared, name: str, fold: str
) -> None:
    split = SPLITS[name]
    twin = twin_of(whole, split, fold)
    clean, poison = (getattr(split(ready), fold) for ready in (whole, twin))
    assert (clean.relevant != poison.relevant).nnz > 0
    assert changed(clean.train, poison.train) == set()


@pytest.mark.parametrize("name", SPLITS)
def test_validation_is_blind_to_the_rows_of_the_test(whole: Prepared, name: str) -> None:
    split = SPLITS[name]
    twin = twin_of(whole, split, "test")
    clean, poison = (split(ready).validation for ready in (whole, twin))
    assert (clean.relevant != poison.relevant).nnz == 0
    assert changed(clean.train, poison.train) == set()


@pytest.mark.parametrize("name", SPLITS)
@pytest.mark.parametrize(
    ("leak", "caught"),
    [
        ("item", {"interactions", "users", "popularity"}),
        ("weight", {"interactions", "users"}),
        ("query", {"users"}),
        ("context", {"vocabulary", "items", "users"}),
        ("reviews", {"texts", "items", "users"}),
    ],
)
def test_a_planted_look_at_held_out_rows_is_caught(
    whole: Prepared, name: str, leak: str, caught: set[str]
) -> None:
    """Planted: training holds these of all rows, or all reviews."""
    split = SPLITS[name]
    twin = twin_of(whole, split, "test")
    peeking = [
        replace(whole, queries=twin.queries, **{leak: getattr(ready, leak)})
        for ready in (whole, twin)
    ]
    assert caught <= changed(*peeking)


# --- order of ids: same-day ties sorted by id give the next product away
#
# Only what ids say is withheld here: the order of events is in the data, and models that
# count steps may learn from it. They find the same, whatever the ids are.


N_USERS, N_ITEMS = 400, 80


def sorted_days(names: np.ndarray) -> Prepared:
    """Users who buy at random, two days of several products, each day sorted by first id.

    `names` are the ids; the order of events is always that of the original ids.
    """
    rng = np.random.default_rng(5)
    words = np.array([f"word{n}" for n in range(12)])
    items = pd.DataFrame(
        {
            "item_id": names,
            "title": [" ".join(rng.choice(words, 3, replace=False)) for _ in range(N_ITEMS)],
        }
    )
    rows = []
    for user in range(N_USERS):
        days = rng.choice(N_ITEMS, (2, 5), replace=False)
        history = np.sort(days, axis=1).ravel()
        rows += [(f"u{user:03d}", names[item], place) for place, item in enumerate(history)]
    events = pd.DataFrame(rows, columns=["user_id", "item_id", "position"])
    return prepare(
        Marketplace(
            "sorted days",
            validated(events, Interactions, "sorted days"),
            validated(items, Items, "sorted days"),
        )
    )


ORDERED = np.array([f"i{item:02d}" for item in range(N_ITEMS)], dtype=object)
DEALT = np.random.default_rng(6).permutation(ORDERED)


def gain_from_id_order(make: Make) -> float:
    """Hit rate with ids in the order of the ties, less that with ids dealt anew.

    In standard deviations of the difference of two rates: ties and random fits move lists.
    """
    raw, blind = (
        hit_rate(make(), leave_one_out(sorted_days(names)).test) for names in (ORDERED, DEALT)
    )
    rate = (raw + blind) / 2
    return (raw - blind) / np.sqrt(2 * rate * (1 - rate) / N_USERS)


def test_the_data_of_the_probe_have_the_artefact() -> None:
    ready = sorted_days(ORDERED)
    last = np.searchsorted(ready.user, np.arange(ready.n_users), side="right") - 1
    assert (ready.item[last] > ready.item[last - 1]).all()


def test_ids_dealt_anew_do_not_change_what_is_found(honest: Make) -> None:
    assert abs(gain_from_id_order(honest)) < 4


def test_a_planted_preference_for_the_next_id_is_caught(fresh_cache: Path) -> None:
    assert gain_from_id_order(IdOrder) > 8


@pytest.mark.parametrize("name", ["markov", "seqrules", "pctm", "transitions"])
def test_blind_to_directions_the_order_of_ties_is_worth_less_than_half(
    name: str, fresh_cache: Path
) -> None:
    """Purchases are random here: all that can be found comes from how ties are sorted.

    Not nothing: who is blind to directions still sees which products stand side by side.
    """
    fold = leave_one_out(sorted_days(DEALT)).test
    seeing, blind = (
        above_chance(single_scorers(directed=directed)[name], fold) for directed in (True, False)
    )
    assert seeing > 6 and blind < seeing / 2
