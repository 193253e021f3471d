"""Several tasks on shared vectors: each learns its own, none is left out or counted twice."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from reclib.data import Prepared
from reclib.errors import ReclibError
from reclib.models import TunedLanguage
from reclib.models.objectives import Uncertainty
from reclib.models.steps import Examples
from reclib.models.tasks import TASKS, Heads

pytestmark = pytest.mark.usefixtures("fake_encode")
SMALL: dict[str, Any] = {"epochs": 12, "batch_size": 32, "negatives": 20, "learning_rate": 0.02}
KINDS = 5


@pytest.fixture(scope="module")
def planted(make_prepared: Callable[..., Prepared]) -> Prepared:
    """Who had a thing of kind j goes on to kind j + 1; good words praise, bad ones complain."""
    rng = np.random.default_rng(0)
    names = {f"k{j}c{copy}": f"kind{j} copy{copy}" for j in range(KINDS) for copy in range(6)}
    histories = {
        f"u{user:03d}": [
            f"k{(user + step) % KINDS}c{rng.integers(6)}" for step in range(2 + user % 2)
        ]
        for user in range(120)
    }
    items = pd.DataFrame(names.items(), columns=["item_id", "title"]).assign(
        categories=[f"All > Kind {name[1]}" for name in names]
    )
    ready = make_prepared(histories, items)
    said = [(5.0, "lovely"), (5.0, "fine"), (3.0, "so"), (1.0, "broken")]
    rows = [
        (user, item, -1, said[user % 4][0], f"{said[user % 4][1]} thing{item}")
        for user, item in zip(ready.user, ready.item, strict=True)
    ]
    reviews = pd.DataFrame(rows, columns=["user", "item", "time", "rating", "text"])
    return replace(ready, reviews=reviews)


def accuracy(scorer: TunedLanguage, planted: Prepared) -> dict[str, float]:
    """How often the kind after the last one, and the meaning of new reviews, are right."""
    found = {}
    if "intent" in scorer.tasks:
        users = np.arange(planted.n_users)
        last = np.searchsorted(planted.user, users, side="right") - 1
        kind = np.array([int(name[1]) for name in planted.item_ids[planted.item[last]]])
        said = scorer.predict_intent(users).argmax(axis=1)
        assert scorer.intents == tuple(f"All > Kind {j}" for j in range(KINDS))
        found["intent"] = float((said == (kind + 1) % KINDS).mean())
    if "sentiment" in scorer.tasks:
        chances = scorer.predict_sentiment(["lovely new", "broken new", "fine new"])
        assert chances.dtype == np.float32
        np.testing.assert_allclose(chances.sum(axis=1), 1, atol=1e-5)
        found["sentiment"] = float((chances.argmax(axis=1) == [1, 0, 1]).mean())
    return found


@pytest.mark.parametrize("weights", [None, dict.fromkeys(TASKS, 1.0)])
def test_all_tasks_are_learned_together(
    planted: Prepared, weights: dict[str, float] | None
) -> None:
    scorer = TunedLanguage(tasks=TASKS, task_weights=weights, decay=0.3, **SMALL).fit(planted)
    found = accuracy(scorer, planted)
    assert found["intent"] > 0.9 and found["sentiment"] == 1
    untaught = TunedLanguage(tasks=TASKS, **{**SMALL, "learning_rate": 1e-9}).fit(planted)
    assert accuracy(untaught, planted)["intent"] < 0.6


@pytest.mark.parametrize("task", ["intent", "sentiment"])
def test_a_task_is_learned_alone(planted: Prepared, task: str) -> None:
    scorer = TunedLanguage(tasks=[task], decay=0.3, **SMALL).fit(planted)
    assert accuracy(scorer, planted)[task] > 0.9
    assert np.isfinite(scorer.score(np.arange(4))).all()
    other = {"intent": "sentiment", "sentiment": "intent"}[task]
    with pytest.raises(ReclibError, match=f"has learned {task}, not {other}"):
        getattr(scorer, f"predict_{other}")([])


def test_what_was_learned_is_there_after_a_restart(planted: Prepared) -> None:
    options = {"tasks": TASKS, **SMALL, "epochs": 2}
    before = TunedLanguage(**options).fit(planted)
    after = TunedLanguage(**options).fit(planted)  # from the cache
    texts = ["lovely", "broken", "word"]
    np.testing.assert_array_equal(before.predict_sentiment(texts), after.predict_sentiment(texts))
    np.testing.assert_array_equal(before.predict_intent([3, 0]), after.predict_intent([3, 0]))


def test_a_task_changes_what_is_shared(planted: Prepared) -> None:
    alone = TunedLanguage(**SMALL).fit(planted)
    shared = TunedLanguage(tasks=["recommendation", "sentiment"], **SMALL).fit(planted)
    assert not np.allclose(alone.item_vectors, shared.item_vectors, atol=1e-3)


def test_weights_of_tasks_are_used(planted: Prepared) -> None:
    def vectors(**weights: float) -> np.ndarray:
        options = {**SMALL, "epochs": 2, "tasks": list(weights), "task_weights": weights}
        return TunedLanguage(**options).fit(planted).item_vectors

    one = vectors(recommendation=1.0, intent=1.0)
    assert not np.allclose(one, vectors(recommendation=1.0, intent=9.0), atol=1e-4)


def test_every_example_of_a_task_comes_once_an_epoch(planted: Prepared) -> None:
    scorer = TunedLanguage(tasks=TASKS).fit(planted)
    steps = scorer._steps(planted)
    _, reviews, meant = scorer._labels(planted, len(steps))
    assert len(reviews) == len(meant) == (planted.reviews["rating"] != 3).sum()
    examples = Examples(steps, len(steps), meant, planted.n_items)
    seen: list[int] = []
    n_targets = 0
    for rows in np.array_split(np.random.default_rng(0).permutation(len(examples)), 7):
        batch = examples.__getitems__(rows.tolist())
        assert batch.steps is not None and batch.reviews is not None
        n_targets += len(batch.steps.start)
        seen += batch.reviews.tolist()
        texts = [reviews[place - planted.n_items] for place in batch.reviews.tolist()]
        np.testing.assert_array_equal(batch.polarity, [not t.startswith("broken") for t in texts])
    assert n_targets == len(steps)
    assert sorted(seen) == list(range(planted.n_items, planted.n_items + len(reviews)))


def test_batches_without_examples_of_a_task_leave_it_out(planted: Prepared) -> None:
    scorer = TunedLanguage(tasks=["sentiment"], **{**SMALL, "epochs": 1}).fit(planted)
    steps = scorer._steps(planted)
    examples = Examples(steps, 0, np.array([0, 1]), planted.n_items)
    assert len(examples) == 2
    assert examples[1].steps is None and examples[1].reviews.tolist() == [planted.n_items + 1]


def heads(tasks: list[str], **options: Any) -> Heads:
    settings: dict[str, Any] = {
        "n_dimensions": 3,
        "classes": np.array([0, 2, -1, 1]),
        "polarities": np.array([1, 1, 1, 0]),
        **options,
    }
    return Heads(tasks, None, **settings)


def test_products_without_a_class_count_nothing() -> None:
    head = heads(["intent"])
    users = torch.randn(4, 3)
    some = head.intent_loss(users, torch.tensor([0, 2, 1, 2]))
    torch.testing.assert_close(some, head.intent_loss(users[[0, 2]], torch.tensor([0, 1])))
    assert head.intent_loss(users[:1], torch.tensor([2])) == 0


def test_both_kinds_of_reviews_weigh_the_same() -> None:
    head = heads(["sentiment"])
    with torch.no_grad():
        head.sentiment.weight.zero_()
        head.sentiment.bias.copy_(torch.tensor([0.0, 1.0]))
    loss = head.sentiment_loss(torch.zeros(4, 3), torch.tensor([1, 1, 1, 0]))
    one, other = (torch.nn.functional.softplus(torch.tensor(x)) for x in (-1.0, 1.0))
    torch.testing.assert_close(loss, (one + other) / 2)


def test_uncertainty_is_learned_where_there_are_tasks_to_weigh() -> None:
    assert isinstance(heads(["intent", "sentiment"]).uncertainty, Uncertainty)
    assert not hasattr(heads(["intent"]), "uncertainty")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": ["ranking"]}, "'ranking'"),
        ({"tasks": []}, r"tasks are \[\]"),
        ({"tasks": ["intent", "intent"]}, "each once"),
        ({"task_weights": {"recommendation": 0.0}}, "weight of 'recommendation' is 0.0"),
        ({"task_weights": {}}, "weight of 'recommendation' is 0.0"),
        ({"tasks": ["intent"], "task_weights": {"intnet": 1.0}}, "intnet"),
    ],
)
def test_bad_tasks_are_refused_by_value(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ReclibError, match=message):
        TunedLanguage(**options)


def test_a_task_without_anything_to_learn_from_says_so(planted: Prepared) -> None:
    praised = replace(planted, reviews=planted.reviews[planted.reviews["rating"] > 3])
    with pytest.raises(ReclibError, match="no reviews of both kinds"):
        TunedLanguage(tasks=["sentiment"], **SMALL).fit(praised)
    bare = replace(planted, items=planted.items.assign(categories=""))
    with pytest.raises(ReclibError, match="no categories that tell them apart"):
        TunedLanguage(tasks=["intent"], **SMALL).fit(bare)


def test_users_without_a_history_have_no_intent(planted: Prepared) -> None:
    less = planted.select(planted.user != 3)
    scorer = TunedLanguage(tasks=["intent"], **{**SMALL, "epochs": 1}).fit(less)
    chances = scorer.predict_intent([2, 3])
    assert np.isnan(chances[1]).all() and np.isfinite(chances[0]).all()
