"""Fold-in: the same scores as a fit that saw the grown histories, where that can be."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest

from reclib.data import Prepared
from reclib.errors import ReclibError
from reclib.models import (
    ALS,
    EASE,
    PCTM,
    Collaborative,
    Content,
    Fusion,
    ItemKNN,
    Language,
    Markov,
    Popular,
    SASRec,
    Scorer,
    SeqRules,
)
from reclib.models.folding import FoldIn, one_history

pytestmark = pytest.mark.usefixtures("made_up_encoder")

TINY = {"embedding_size": 8, "layers": 1, "history": 6, "epochs": 2, "batch_size": 64}
TAKES_IN: Mapping[str, Callable[[], Scorer]] = {
    "content": Content,
    "collaborative": Collaborative,
    "collaborative:interactions": lambda: Collaborative(profile="interactions"),
    "language": Language,
    "item-knn": lambda: ItemKNN(shrink=1),
    "ease": EASE,
    "markov": Markov,
    "seqrules": SeqRules,
    "pctm": PCTM,
    "sasrec": lambda: SASRec(**TINY),  # type: ignore[arg-type]
    "popular": Popular,
}
STAYS: Mapping[str, Callable[[], Scorer]] = {
    "als": lambda: ALS(factors=2),
    "user-knn": lambda: Collaborative(profile="interactions", neighbours=5),
    "language:text": lambda: Language(profile="text"),
}


def fused(**parts: Scorer) -> Fusion:
    return Fusion(parts, dict.fromkeys(parts, 1.0), normalise="global")


@pytest.fixture(scope="module")
def situated(make_prepared: Callable[..., Prepared]) -> Prepared:
    """Histories with searches, devices and times, which features hold beside products."""
    rng = np.random.default_rng(5)
    histories = {
        f"u{user:02d}": [f"i{item:02d}" for item in rng.choice(20, 5, replace=False)]
        for user in range(30)
    }
    n = 150
    return make_prepared(
        histories,
        query=np.where(rng.random(n) < 0.3, "thing number1", None),
        device=rng.choice(["phone", "desktop"], n),
        timestamp=1_600_000_000 + rng.integers(0, 10**7, n),
    )


@pytest.mark.parametrize("name", [*TAKES_IN, *STAYS])
@pytest.mark.parametrize("data", ["tiny", "situated"])
def test_the_history_of_the_fit_gives_the_scores_of_the_fit(
    name: str, data: str, request: pytest.FixtureRequest
) -> None:
    prepared = request.getfixturevalue(data)
    fusion = fused(part=(TAKES_IN | STAYS)[name]()).fit(prepared)
    users = np.arange(prepared.n_users)[::-1]
    order = np.argsort(-prepared.user, kind="stable")  # the same users, the other way round
    turned = replace(
        prepared.select(np.ones(prepared.n_events, bool)),
        user=(prepared.n_users - 1 - prepared.user[order]).astype(np.int32),
        item=prepared.item[order],
        weight=prepared.weight[order],
        event=prepared.event[order],
    )
    made = FoldIn(fusion)(turned, users)
    np.testing.assert_allclose(
        made.score(np.arange(len(users))), fusion.score(users), rtol=1e-4, atol=1e-5
    )


def of_user(prepared: Prepared, user: int, *more: int) -> Prepared:
    """The history of a user, and more products."""
    own = prepared.user == user
    item = np.append(prepared.item[own], more)
    return one_history(prepared, item, np.append(prepared.weight[own], [1.0] * len(more)))


@pytest.mark.parametrize("name", TAKES_IN)
def test_a_stranger_with_the_history_of_a_user_is_scored_like_them(
    name: str, tiny: Prepared
) -> None:
    part = TAKES_IN[name]().fit(tiny)
    fold = FoldIn(fused(part=part).fit(tiny))
    made = fold(of_user(tiny, 7), np.array([-1])).parts["part"]
    np.testing.assert_allclose(made.score([0]), part.score([7]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["content", "language"])
def test_a_grown_history_is_scored_as_by_a_new_fit(name: str, tiny: Prepared) -> None:
    """What these two learn of products does not depend on events, so a fit is an oracle."""
    more = [1, 22]
    end = int(np.searchsorted(tiny.user, 7, side="right"))
    grown = replace(
        tiny,
        user=np.insert(tiny.user, end, [7, 7]).astype(np.int32),
        item=np.insert(tiny.item, end, more).astype(np.int32),
        weight=np.insert(tiny.weight, end, [1, 1]).astype(np.float32),
        event=np.insert(tiny.event, end, [3, 3]).astype(np.int8),
        query=np.full(tiny.n_events + 2, -1, np.int32),
    )
    fold = FoldIn(fused(part=TAKES_IN[name]()).fit(tiny))
    made = fold(of_user(tiny, 7, *more), np.array([7])).parts["part"]
    expected = TAKES_IN[name]().fit(grown).score([7])
    np.testing.assert_allclose(made.score([0]), expected, rtol=1e-4, atol=1e-5)
    assert not np.allclose(expected, fold.fusion.parts["part"].score([7]), atol=1e-3)


@pytest.mark.parametrize("name", TAKES_IN)
def test_a_grown_history_changes_the_scores(name: str, tiny: Prepared) -> None:
    fold = FoldIn(fused(part=TAKES_IN[name]()).fit(tiny))
    before, after = (
        fold(of_user(tiny, 7, *more), np.array([7])).parts["part"].score([0])
        for more in ((), (1, 22))
    )
    assert np.allclose(before, after, atol=1e-4) == (name == "popular")


@pytest.mark.parametrize("name", STAYS)
def test_other_parts_say_what_they_said_at_the_fit(name: str, tiny: Prepared) -> None:
    part = STAYS[name]().fit(tiny)
    fold = FoldIn(fused(part=part).fit(tiny))
    grown = of_user(tiny, 7, 1, 22)
    made = fold(grown, np.array([7])).parts["part"]
    np.testing.assert_array_equal(made.score([0]), part.score([7]))
    np.testing.assert_allclose(made.score([0], [3, 1]), part.score([7], [3, 1]), rtol=1e-5)
    assert np.isnan(fold(grown, np.array([-1])).parts["part"].score([0])).all()
    assert len(fold.pull(fold(grown, np.array([7])), "part", np.arange(3))[0]) == 0


@pytest.mark.parametrize("name", [name for name in TAKES_IN if name not in ("sasrec", "popular")])
def test_pulls_add_up_to_the_scores(name: str, tiny: Prepared) -> None:
    fold = FoldIn(fused(part=TAKES_IN[name]()).fit(tiny))
    grown = of_user(tiny, 7, 1, 22)
    made = fold(grown, np.array([-1]))
    items = np.arange(tiny.n_items)[::-1]
    had, pull = fold.pull(made, "part", items)
    assert set(had) <= set(grown.item)
    scores = made.parts["part"].score([0], items)[0]
    if name == "pctm":  # a lean towards rarer products comes on top, whatever the history
        scores = scores - made.parts["part"]._offset[items]  # type: ignore[attr-defined]
    factor = scores.sum() / pull.sum()
    assert factor > 0
    np.testing.assert_allclose(pull.sum(axis=0) * factor, scores, rtol=1e-3, atol=1e-4)


def test_parts_and_scales_can_be_added_and_left_out(tiny: Prepared) -> None:
    content, language = Content(), Language()
    fusion = fused(content=content, language=language).fit(tiny)
    fold = FoldIn(fusion, also={"popular": Popular(), "content": Popular()})
    assert list(fold.fusion.parts) == ["content", "language", "popular"]
    assert fold.fusion.parts["content"] is content
    users = np.arange(tiny.n_users)
    np.testing.assert_array_equal(fold.fusion.score(users), fusion.score(users))
    # as if it had been there at the fit
    whole = fused(content=content, language=language, popular=Popular()).fit(tiny)
    raw = [part.score(users) for part in whole.parts.values()]
    seen = tiny.matrix.toarray() > 0
    for one, two in zip(
        fold.fusion.normalised(raw, seen), whole.normalised(raw, seen), strict=True
    ):
        np.testing.assert_array_equal(one, two)
    made = fold(of_user(tiny, 3), np.array([3]), parts=["popular", "language"])
    assert list(made.parts) == ["language", "popular"]
    some = made.normalised([part.score([0]) for part in made.parts.values()], seen[[3]])
    every = whole.normalised([scores[[3]] for scores in raw], seen[[3]])
    for one, two in zip(some, every[1:], strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)


def test_a_fusion_that_is_not_fitted_is_refused() -> None:
    with pytest.raises(ReclibError, match="not fitted"):
        FoldIn(fused(part=Popular()))


def test_the_fusion_in_service_stays_as_it_is(tiny: Prepared) -> None:
    fusion = fused(content=Content(), language=Language()).fit(tiny)
    before = fusion.score([3])
    fold = FoldIn(fusion, also={"popular": Popular()})
    fold(of_user(tiny, 3, 1), np.array([3])).score([0])
    np.testing.assert_array_equal(fusion.score([3]), before)
    assert list(fusion.parts) == ["content", "language"]
