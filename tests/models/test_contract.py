"""One suite for every scorer: the same face, the same promises."""

import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp

from reclib import models, paths
from reclib.data import Marketplace, Prepared, prepare
from reclib.errors import ReclibError
from reclib.models import (
    ALS,
    BPR,
    EASE,
    PCTM,
    Collaborative,
    Content,
    Fusion,
    Hybrid,
    ItemKNN,
    Language,
    Markov,
    Popular,
    Random,
    SASRec,
    Scorer,
    SeqRules,
    Transitions,
    TunedContent,
    TunedLanguage,
    mask_seen,
    top_k,
)
from reclib.study.spaces import single_scorers

Make = Callable[[], Scorer]

# as many factors as the few products and users of these tests can bear, and quick fits
TINY = {
    "embedding_size": 8,
    "layers": 1,
    "history": 6,
    "dropout": 0.1,
    "learning_rate": 0.03,
    "epochs": 6,
    "batch_size": 64,
    "negatives": 16,
}
SCORERS: dict[str, Make] = {
    **{name: partial(lambda name: single_scorers()[name], name) for name in single_scorers()},
    "user-knn": lambda: Collaborative(profile="interactions", neighbours=30),
    "als": lambda: ALS(factors=2),
    "bpr": lambda: BPR(factors=4, learning_rate=0.05, epochs=50),
    "transitions:blind": lambda: Transitions(directed=False, norm=0.5, neighbours=20, power=0.3),
    "sasrec": lambda: SASRec(**TINY),
    "content:tuned": lambda: TunedContent(
        dimensions=16, epochs=4, batch_size=64, negatives=32, learning_rate=0.01
    ),
    "language:tuned": lambda: TunedLanguage(
        epochs=4, batch_size=64, negatives=32, learning_rate=0.01
    ),
    "hybrid": lambda: Hybrid(
        {"content": Content(), "transitions": Transitions(), "language": Language()},
        depth=30,
        max_users=1000,
        hidden=8,
        epochs=2,
        batch_size=16,
    ),
    "fusion": lambda: Fusion(
        {"content": Content(), "collaborative": Collaborative(), "language": Language()},
        {"content": 2, "collaborative": 1, "language": 1},
    ),
    "fusion:random": lambda: Fusion(
        {"random": Random(), "popular": Popular()},
        {"random": 1, "popular": 1},
        normalise="percentile",
    ),
    "fusion:newcomers": lambda: Fusion(
        {"content": Content(), "transitions": Transitions(), "language": Language()},
        {"content": 1, "transitions": 3},
        newcomers={"content": 1, "language": 3},
        normalise="global",
    ),
}
# what these say of a user rests on that user's own history
PERSONAL = [name for name in SCORERS if name not in ("random", "popular", "fusion:random")]
SEEDED = [name for name, make in SCORERS.items() if make().stochastic]


@pytest.fixture(params=SCORERS)
def make(request: pytest.FixtureRequest, fake_encode: object) -> Make:
    return SCORERS[request.param]


@pytest.fixture(params=PERSONAL)
def make_personal(request: pytest.FixtureRequest, fake_encode: object) -> Make:
    return SCORERS[request.param]


@pytest.fixture
def fitted(make: Make, tiny: Prepared) -> Scorer:
    return make().fit(tiny, rng=5)


@pytest.fixture(scope="module")
def checkerboard(make_prepared: Callable[..., Prepared]) -> Prepared:
    """Even users have even products, odd users odd ones; each lacks three of theirs."""
    rng = np.random.default_rng(4)
    words = (["quiet", "oak", "lamp"], ["loud", "steel", "drum"])
    ids = [f"i{item:02d}" for item in range(24)]
    titles = [" ".join([*words[item % 2], f"only{item}"]) for item in range(24)]
    items = pd.DataFrame({"item_id": ids, "title": titles, "price": rng.lognormal(size=24)})
    histories = {
        f"u{user:03d}": [ids[i] for i in rng.permutation(np.arange(user % 2, 24, 2))[:9]]
        for user in range(400)  # so many that every step of the same kind is met
    }
    return make_prepared(histories, items)


def test_the_suite_covers_every_scorer_of_the_library() -> None:
    offered = {
        kind
        for name in models.__all__
        if isinstance(kind := getattr(models, name), type) and issubclass(kind, Scorer)
    }
    assert {type(make()) for make in SCORERS.values()} == offered - {Scorer}


def test_the_withheld_products_come_first_on_a_checkerboard(
    make_personal: Make, checkerboard: Prepared
) -> None:
    scorer = make_personal().fit(checkerboard)
    lists = scorer.recommend(list(checkerboard.user_ids), 3)
    assert len(lists) == 3 * checkerboard.n_users
    parity = lists["item_id"].str[1:].astype(int) % 2
    np.testing.assert_array_equal(parity, lists["user_id"].str[1:].astype(int) % 2)


def test_scores_are_float32_of_users_by_products(fitted: Scorer, tiny: Prepared) -> None:
    scores = fitted.score(np.arange(7))
    assert scores.dtype == np.float32
    assert scores.shape == (7, tiny.n_items)
    assert fitted.score(np.arange(7), [3, 1]).dtype == np.float32
    assert not np.isinf(scores).any()


def test_a_batch_scores_as_its_users_alone(fitted: Scorer, tiny: Prepared) -> None:
    batch = fitted.score(np.arange(tiny.n_users))
    alone = np.vstack([fitted.score([user]) for user in range(tiny.n_users)])
    np.testing.assert_allclose(batch, alone, atol=1e-5)


def test_the_order_of_users_does_not_matter(fitted: Scorer, tiny: Prepared) -> None:
    order = np.random.default_rng(0).permutation(tiny.n_users)
    np.testing.assert_allclose(
        fitted.score(order), fitted.score(np.arange(tiny.n_users))[order], atol=1e-6
    )
    users = list(tiny.user_ids)
    one = fitted.recommend(users, 4).groupby("user_id")["item_id"].agg(list)
    two = fitted.recommend([users[u] for u in order], 4, batch_size=7)
    assert two["user_id"].unique().tolist() == [users[u] for u in order]
    assert one.to_dict() == two.groupby("user_id")["item_id"].agg(list).to_dict()


def test_a_user_asked_for_twice_gets_two_equal_rows(fitted: Scorer) -> None:
    scores = fitted.score([3, 5, 3])
    np.testing.assert_allclose(scores[0], scores[2], atol=1e-6)


def test_some_products_are_columns_of_all_in_the_order_asked(fitted: Scorer) -> None:
    users, items = np.array([4, 0, 9]), np.array([7, 2, 2, 29, 0])
    np.testing.assert_allclose(fitted.score(users, items), fitted.score(users)[:, items], atol=1e-5)
    assert fitted.score(users, []).shape == (3, 0)


def test_no_users_give_no_rows(fitted: Scorer, tiny: Prepared) -> None:
    assert fitted.score([]).shape == (0, tiny.n_items)
    lists = fitted.recommend([], 3)
    assert lists.empty and list(lists) == ["user_id", "item_id", "score", "rank"]


def test_scoring_and_ranking_leave_the_scorer_as_it_was(fitted: Scorer, tiny: Prepared) -> None:
    before = fitted.score(np.arange(5))
    first = fitted.recommend(list(tiny.user_ids[:5]), 3)
    fitted.score(np.arange(5))[:] = 99
    np.testing.assert_array_equal(fitted.score(np.arange(5)), before)
    pd.testing.assert_frame_equal(fitted.recommend(list(tiny.user_ids[:5]), 3), first)


@pytest.fixture
def fit_anew(
    make: Make, tiny: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[int], np.ndarray]:
    """Scores of a fit with a seed that finds no earlier fit in the cache."""
    number = count()

    def scores(seed: int) -> np.ndarray:
        monkeypatch.setattr(paths, "CACHE", tmp_path / str(next(number)))
        return make().fit(tiny, rng=seed).score(np.arange(9))

    return scores


@pytest.mark.parametrize("seed", [0, 7])
def test_the_same_seed_gives_the_same_scores(
    fit_anew: Callable[[int], np.ndarray], seed: int
) -> None:
    np.testing.assert_array_equal(fit_anew(seed), fit_anew(seed))


def test_the_seed_matters_only_where_a_scorer_says_so(
    make: Make, fit_anew: Callable[[int], np.ndarray]
) -> None:
    assert np.array_equal(fit_anew(0), fit_anew(1)) is not make().stochastic


@pytest.mark.parametrize("name", SEEDED)
def test_another_seed_needs_another_fit(tiny: Prepared, name: str) -> None:
    scorer = SCORERS[name]().fit(tiny, rng=0)
    assert scorer.fitted_on(tiny, 0) and not scorer.fitted_on(tiny, 1)
    scorer.ensure_fitted(tiny, rng=1)
    expected = SCORERS[name]().fit(tiny, rng=1).score(np.arange(9))
    np.testing.assert_array_equal(scorer.score(np.arange(9)), expected)


def test_the_scorers_with_a_random_fit_are_known() -> None:
    assert SEEDED == [
        *(
            "random",
            "content:tuned",
            "language:tuned",
            "als",
            "bpr",
            "sasrec",
            "hybrid",
            "fusion:random",
        ),
    ]


def test_a_refit_forgets_the_old_fit(make: Make, make_random: Callable[..., Prepared]) -> None:
    first, second = make_random(1), make_random(2, n_users=25, n_items=20)
    scorer = make().fit(first)
    scorer.score(np.arange(first.n_users))
    again, fresh = scorer.fit(second), make().fit(second)
    assert again is scorer
    everyone = np.arange(second.n_users)
    np.testing.assert_array_equal(again.score(everyone), fresh.score(everyone))
    pd.testing.assert_frame_equal(
        again.recommend(list(second.user_ids), 5), fresh.recommend(list(second.user_ids), 5)
    )


def test_lists_are_ranked_from_one_by_falling_score(fitted: Scorer, tiny: Prepared) -> None:
    lists = fitted.recommend(list(tiny.user_ids), 6)
    for user, rows in lists.groupby("user_id", sort=False):
        assert rows["rank"].tolist() == list(range(1, 7))
        assert (np.diff(rows["score"]) <= 0).all()
        assert rows["item_id"].is_unique
        ties = rows["score"].diff().eq(0).to_numpy()[1:]
        assert (np.diff(tiny.item_ids.get_indexer(rows["item_id"]))[ties] > 0).all(), user


@pytest.mark.parametrize("exclude_seen", [True, False])
@pytest.mark.parametrize("k", [1, 7, 33])
def test_rank_gives_the_best_unmasked_scores(
    fitted: Scorer, tiny: Prepared, k: int, exclude_seen: bool
) -> None:
    """A scorer may have a quicker way to its lists; they are these, ties and all."""
    users = np.array([5, 0, 39, 5, 17])
    scores = fitted.score(users)
    if exclude_seen:
        mask_seen(scores, tiny.matrix, users)
    items, values = fitted.rank(users, k, exclude_seen=exclude_seen)
    expected_items, expected_values = top_k(scores, k)
    np.testing.assert_array_equal(items, expected_items)
    np.testing.assert_array_equal(values, expected_values)
    assert items.dtype == np.int64 and values.dtype == np.float32


def test_listed_scores_are_those_of_score(fitted: Scorer, tiny: Prepared) -> None:
    lists = fitted.recommend(list(tiny.user_ids[:6]), 3)
    scores = fitted.score(np.arange(6))
    user = tiny.user_ids.get_indexer(lists["user_id"])
    item = tiny.item_ids.get_indexer(lists["item_id"])
    np.testing.assert_allclose(lists["score"], scores[user, item], atol=1e-5)


def test_nothing_seen_is_recommended_unless_asked_for(fitted: Scorer, tiny: Prepared) -> None:
    seen = {(tiny.user_ids[u], tiny.item_ids[i]) for u, i in zip(tiny.user, tiny.item, strict=True)}
    for k in (3, tiny.n_items):
        lists = fitted.recommend(list(tiny.user_ids), k)
        assert not seen & set(zip(lists["user_id"], lists["item_id"], strict=True))
    if isinstance(fitted, Hybrid):
        return  # it ranks candidates, and what a user had is none
    everything = fitted.recommend(list(tiny.user_ids), tiny.n_items, exclude_seen=False)
    assert seen <= set(zip(everything["user_id"], everything["item_id"], strict=True))


def test_k_beyond_the_catalogue_gives_all_that_is_left(fitted: Scorer, tiny: Prepared) -> None:
    sizes = fitted.recommend(list(tiny.user_ids), 1000).groupby("user_id").size()
    left = tiny.n_items - np.diff(tiny.matrix.indptr)
    np.testing.assert_array_equal(sizes.reindex(tiny.user_ids), left)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 0}, "k is 0"),
        ({"k": -2}, "k is -2"),
        ({"batch_size": 0}, "batch_size is 0; allowed is 1 or more"),
    ],
)
def test_a_bad_option_is_refused_by_value(
    fitted: Scorer, tiny: Prepared, arguments: dict[str, int], message: str
) -> None:
    with pytest.raises(ReclibError, match=message):
        fitted.recommend(list(tiny.user_ids[:2]), **arguments)


def test_an_unknown_user_is_refused_by_id(fitted: Scorer, tiny: Prepared) -> None:
    with pytest.raises(ReclibError, match="user 'nobody' is not in the data of 'tiny'"):
        fitted.recommend([tiny.user_ids[0], "nobody"])


@pytest.mark.parametrize(
    ("users", "items", "message"),
    [
        ([40], None, "user index 40 is out of range; allowed is 0 to 39"),
        ([-1], None, "user index -1 is out of range"),
        ([0], [30], "item index 30 is out of range; allowed is 0 to 29"),
        ([0], [0, -1], "item index -1 is out of range"),
        ([0.0], None, "user indices must be a list of whole numbers, got float64"),
        (["u001"], None, "outside ids go to recommend"),
        ([True, False], None, "user indices must be a list of whole numbers, got bool"),
        (3, None, "user indices must be a list"),
        ([0], [[1, 2]], "item indices must be a list"),
    ],
)
def test_a_bad_index_is_refused_by_value(
    fitted: Scorer, users: object, items: object, message: str
) -> None:
    with pytest.raises(ReclibError, match=message):
        fitted.score(users, items)


def test_a_scorer_that_is_not_fitted_says_so(make: Make) -> None:
    for ask in (lambda scorer: scorer.score([0]), lambda scorer: scorer.recommend(["u000"])):
        with pytest.raises(ReclibError, match="is not fitted yet; call fit"):
            ask(make())


def test_no_events_to_learn_from_are_refused(make: Make, tiny: Prepared) -> None:
    with pytest.raises(ReclibError, match="there are no training events"):
        make().fit(tiny.select(np.zeros(tiny.n_events, bool)))


def test_a_user_without_history_is_not_scored_rather_than_guessed(
    make_personal: Make, tiny: Prepared
) -> None:
    scorer = make_personal().fit(tiny.select(tiny.user != 2))
    scores = scorer.score(np.arange(5))
    assert np.isnan(scores[2]).all()
    assert np.isnan(scorer.score([2])).all()  # nobody in the batch has one
    others = scores[[0, 1, 3, 4]]
    if isinstance(scorer, Hybrid):  # it scores candidates, and what a user had is none
        others = others[tiny.matrix[[0, 1, 3, 4]].toarray() == 0]
    assert not np.isnan(others).any()
    lists = scorer.recommend(list(tiny.user_ids[:5]), 3)
    assert set(lists["user_id"]) == set(tiny.user_ids[[0, 1, 3, 4]])


@pytest.mark.parametrize("name", ["random", "popular"])
def test_a_user_without_history_gets_what_everybody_gets(tiny: Prepared, name: str) -> None:
    scorer = SCORERS[name]().fit(tiny.select(tiny.user != 2))
    assert len(scorer.recommend([tiny.user_ids[2]], 4)) == 4


def test_the_configuration_makes_the_scorer_again(make: Make, tiny: Prepared) -> None:
    scorer = make()
    if isinstance(scorer, Fusion | Hybrid):  # made of scorers, which it names
        assert scorer.config() == make().config()
        assert repr(scorer) == repr(make())
        return
    twin = type(scorer)(**scorer.config())
    assert repr(twin) == repr(scorer)
    assert eval(repr(scorer), vars(models)).config() == scorer.config()
    everyone = np.arange(tiny.n_users)
    np.testing.assert_array_equal(twin.fit(tiny).score(everyone), scorer.fit(tiny).score(everyone))


def fused(normalise: str = "minmax", **options: object) -> Fusion:
    parts = {"content": Content(), "collaborative": Collaborative()}
    return Fusion(parts, {"content": 1, "collaborative": 2}, normalise=normalise, **options)


NEWCOMERS = {"newcomers": {"content": 1}}
# scorer → what its hyper-parameters are changed to, one at a time
CHANGES: list[tuple[type[Scorer], dict[str, object], dict[str, object]]] = [
    (Content, {}, {"decay": 0.5, "history": 3, "price_weight": 0.3, "weighting": "bm25"}),
    (
        Collaborative,
        {},
        {"profile": "interactions", "neighbours": 3, "decay": 0.5, "weighting": "bm25"},
    ),
    (Language, {}, {"decay": 0.5, "history": 3, "whitening": "none", "profile": "text"}),
    (
        ItemKNN,
        {},
        {"decay": 0.5, "history": 2, "neighbours": 2, "shrink": 2, "similarity": "tfidf"},
    ),
    (EASE, {}, {"decay": 0.5, "history": 2, "regularisation": 1}),
    (ALS, {"factors": 4}, {"factors": 3, "regularisation": 3, "alpha": 3, "epochs": 3}),
    (
        BPR,
        {"factors": 4},
        {"factors": 3, "regularisation": 3, "learning_rate": 0.3, "epochs": 3},
    ),
    (Markov, {}, {"directed": False}),
    (
        SeqRules,
        {},
        {
            "window": 2,
            "fade": 0.5,
            "directed": False,
            "neighbours": 2,
            "power": 0.0,
            "history": 1,
        },
    ),
    (
        PCTM,
        {},
        {
            "window": 2,
            "fade": "log",
            "directed": False,
            "smoothing": None,
            "decay": 0.9,
            "history": 1,
            "popularity": 0.0,
        },
    ),
    (
        Transitions,
        {},
        {
            "window": 2,
            "fade": "log",
            "directed": False,
            "norm": 1.0,
            "neighbours": 2,
            "smoothing": None,
            "decay": 0.9,
            "power": 1.0,
            "history": 1,
            "popularity": 0.0,
        },
    ),
    (SASRec, TINY, {"epochs": 1, "history": 2, "negatives": 4}),
]
PAIRS = {
    f"{kind.name}:{name}": (kind(**base), kind(**{**base, name: value}))
    for kind, base, changes in CHANGES
    for name, value in changes.items()
} | {
    "fusion:normalise": (fused(), fused("global")),
    "fusion:newcomers": (fused(), fused(**NEWCOMERS)),
    "fusion:halfway": (fused(**NEWCOMERS), fused(**NEWCOMERS, halfway=50.0)),
}


@pytest.mark.parametrize(("one", "two"), PAIRS.values(), ids=PAIRS)
def test_every_hyper_parameter_is_used_and_in_the_configuration(
    one: Scorer, two: Scorer, tiny: Prepared, fake_encode: object
) -> None:
    assert one.config() != two.config()
    scores = [scorer.fit(tiny).score(np.arange(tiny.n_users)) for scorer in (one, two)]
    assert not np.allclose(*scores)


def test_the_cost_of_a_fit_is_known(fitted: Scorer) -> None:
    assert fitted.costs["fit"] >= 0
    assert all(np.isfinite(seconds) for seconds in fitted.costs.values())


@pytest.fixture(scope="module")
def crowd() -> Prepared:
    """Twenty thousand users and 300 products: users × users would take 1.6 GB."""
    n_users, n_items = 20_000, 300
    rng = np.random.default_rng(0)
    item = np.argsort(rng.random((n_users, n_items), np.float32), axis=1)[:, :4].ravel()
    item_ids = pl.Series([f"i{item:03d}" for item in range(n_items)])
    user_ids = pl.Series([f"u{user:05d}" for user in range(n_users)])
    events = pl.DataFrame(
        {
            "user_id": user_ids.gather(np.repeat(np.arange(n_users), 4)),
            "item_id": item_ids.gather(item),
            "position": np.tile(np.arange(4), n_users),
        }
    )
    titles = [f"w{n % 40} w{(n + 1) % 40}" for n in range(n_items)]
    return prepare(
        Marketplace("crowd", events, pl.DataFrame({"item_id": item_ids, "title": titles}))
    )


@pytest.fixture
def traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


def test_memory_grows_with_the_batch_not_with_users_squared(
    make: Make, crowd: Prepared, traced: None
) -> None:
    # the events and their matrices, some 10 MB, and the frame of all lists, some 15 MB
    scorer = make()
    if hasattr(scorer, "epochs"):
        scorer.epochs = 1  # more take longer, not more memory
    scorer.fit(crowd)
    assert tracemalloc.get_traced_memory()[1] < 60e6
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    batch = 500
    lists = scorer.recommend(list(crowd.user_ids[:4000]), 5, batch_size=batch)
    peak = tracemalloc.get_traced_memory()[1] - before
    assert len(lists) == 20_000
    # some twenty arrays of batch × items: float64, int64, masks, three parts of a fusion
    assert peak < 20 * 8 * batch * crowd.n_items + 10e6


def test_stored_training_data_are_not_touched(make: Make, make_random: object) -> None:
    ready = make_random(3)  # type: ignore[operator]
    before = ready.fingerprint
    matrix = sp.csr_array(ready.matrix, copy=True)
    scorer = make().fit(ready)
    scorer.recommend(list(ready.user_ids), 5)
    copy = prepare_again(ready)
    assert copy == before
    assert (ready.matrix != matrix).nnz == 0


def prepare_again(ready: Prepared) -> str:
    """The fingerprint as of now, not the remembered one."""
    return ready.select(np.ones(ready.n_events, bool)).fingerprint


def test_a_bare_text_is_no_list_of_users(tiny: Prepared) -> None:
    """A single id would otherwise be taken apart letter by letter."""
    with pytest.raises(ReclibError, match="give a list of user ids"):
        Popular().fit(tiny).recommend("u001")
