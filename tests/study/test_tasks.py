"""Questions beside the ranking: what is asked is unseen, and answers are judged as they should."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from reclib.data import Prepared, leave_one_out, load, prepare
from reclib.data.labels import category_classes
from reclib.errors import ReclibError
from reclib.evaluation import classification_metrics, confusion_counts
from reclib.study.tasks import (
    EQUAL,
    MULTI,
    SINGLE,
    Questions,
    answers,
    ask,
    ask_intent,
    ask_sentiment,
    measure_answers,
    models_of_tasks,
)

QUICK: dict[str, Any] = {"epochs": 2, "batch_size": 64, "negatives": 16, "learning_rate": 0.01}


@pytest.fixture(scope="module")
def reviewed(tiny: Prepared) -> Prepared:
    """Every event of `tiny` has a review, and four in five praise."""
    stars = np.array([5.0, 4.0, 5.0, 4.0, 1.0, 3.0])[np.arange(tiny.n_events) % 6]
    said = np.where(stars > 3, "lovely thing", np.where(stars < 3, "broken thing", "a thing"))
    reviews = pd.DataFrame(
        {
            "user": tiny.user,
            "item": tiny.item,
            "time": -1,
            "rating": stars,
            "text": [f"{text} no{row % 7}" for row, text in enumerate(said)],
        }
    )
    return replace(tiny, reviews=reviews)


def test_the_intent_is_the_category_of_the_product_held_out(reviewed: Prepared) -> None:
    fold = leave_one_out(reviewed).test
    asked = ask_intent(reviewed, fold)
    classes, names = category_classes(fold.train)
    user, item = fold.relevant.nonzero()
    assert asked.names == names and asked.texts == ()
    np.testing.assert_array_equal(asked.users, user)
    np.testing.assert_array_equal(asked.actual, classes[item])


def test_only_reviews_that_training_has_not_are_asked_for(reviewed: Prepared) -> None:
    fold = leave_one_out(reviewed).test
    asked = ask_sentiment(reviewed, fold)
    gone = reviewed.reviews[~fold.kept]
    gone = gone[gone["rating"] != 3]
    assert 0 < len(asked.texts) == len(gone)
    assert sorted(asked.texts) == sorted(gone["text"])
    np.testing.assert_array_equal(asked.actual, [text.startswith("lov") for text in asked.texts])
    np.testing.assert_array_equal(np.sort(asked.users), np.sort(gone["user"]))


def test_what_cannot_be_asked_is_left_out_and_says_why(reviewed: Prepared) -> None:
    bare = replace(
        reviewed,
        items=reviewed.items.assign(categories=""),
        reviews=reviewed.reviews[reviewed.reviews["rating"] > 3].reset_index(drop=True),
    )
    questions, reasons = ask(bare, leave_one_out(bare).test)
    assert questions == {}
    assert "no categories" in reasons["intent"] and "both kinds" in reasons["sentiment"]
    assert list(ask(reviewed, leave_one_out(reviewed).test)[0]) == ["intent", "sentiment"]


def test_metrics_equal_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        n = int(rng.integers(2, 6))
        actual, predicted = rng.integers(n, size=(2, int(rng.integers(1, 30))))
        owner = rng.integers(3, size=len(actual))
        counts = confusion_counts(owner, actual, predicted, n_owners=3, n_classes=n)
        found = classification_metrics(counts.sum(axis=0))
        recalls = [(predicted == one)[actual == one].mean() for one in set(actual.tolist())]
        expected = {
            "accuracy": accuracy_score(actual, predicted),
            "macro_f1": f1_score(actual, predicted, average="macro"),
            "balanced_accuracy": np.mean(recalls),
        }
        if 1 < len(set(predicted)) and set(predicted) <= set(actual):  # else it warns
            expected["balanced_accuracy"] = balanced_accuracy_score(actual, predicted)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert abs(found[name] - value) < 1e-12


@pytest.mark.parametrize(
    ("actual", "predicted", "message"),
    [
        ([], [], "no examples"),
        ([0, 2], [0, 0], "actual classes go from 0 to 2"),
        ([0, 1], [-1, 0], "predicted classes go from -1 to 0"),
    ],
)
def test_bad_classes_are_refused_by_value(
    actual: list[int], predicted: list[int], message: str
) -> None:
    owner = np.zeros(len(actual), np.int64)
    with pytest.raises(ReclibError, match=message):
        confusion_counts(
            owner, np.array(actual, int), np.array(predicted, int), n_owners=1, n_classes=2
        )


def test_answers_are_means_over_seeds_with_paired_differences(tiny: Prepared) -> None:
    rng = np.random.default_rng(1)
    actual = rng.integers(3, size=200)
    asked = Questions("intent", ("a", "b", "c"), np.arange(200) % 40, actual, tiny)
    right = np.where(rng.random((2, 200)) < 0.7, actual, 0)
    said = {"good": right, "poor": np.zeros((1, 200), np.int64)}
    found = measure_answers(said, asked, compared={"good-vs-poor": ("good", "poor")})
    assert set(found["protocol"]) == {"intent"} and set(found["users"]) == {40}
    table = found.set_index(["model", "metric"])
    value = table.loc[("good", "accuracy"), "value"]
    assert abs(value - (right == actual).mean()) < 1e-12
    assert table.loc[("good", "accuracy"), "seeds"] == 2
    difference, low, high = table.loc[("good-vs-poor", "accuracy"), ["value", "low", "high"]]
    assert abs(difference - (value - (actual == 0).mean())) < 1e-12
    assert low < difference < high and low > 0
    assert (table["low"] <= table["value"]).all() and (table["value"] <= table["high"]).all()


def test_models_share_settings_and_differ_in_their_tasks() -> None:
    made = models_of_tasks(["recommendation", "sentiment"], epochs=2)
    assert list(made) == [MULTI, EQUAL, SINGLE]
    assert made[MULTI]["sentiment"] is made[MULTI]["recommendation"]
    assert made[MULTI]["sentiment"].tasks == ("recommendation", "sentiment")
    assert made[EQUAL]["sentiment"].task_weights == {"recommendation": 1.0, "sentiment": 1.0}
    assert {task: model.tasks for task, model in made[SINGLE].items()} == {
        "recommendation": ("recommendation",),
        "sentiment": ("sentiment",),
    }
    assert all(model.epochs == 2 for by_task in made.values() for model in by_task.values())


def test_every_model_and_baseline_answers(
    reviewed: Prepared, fake_encode: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reclib.study.tasks.encode", fake_encode)
    questions, _ = ask(reviewed, leave_one_out(reviewed).test)
    models = models_of_tasks(["recommendation", *questions], **QUICK)
    baselines = {
        "intent": ["majority", "last", "logistic:history", "logistic:embeddings"],
        "sentiment": ["majority", "logistic:tf-idf", "logistic:embeddings"],
    }
    for task, asked in questions.items():
        said = answers(models, asked, n_seeds=2)
        assert list(said) == [*baselines[task], MULTI, EQUAL, SINGLE]
        for name, classes in said.items():
            assert classes.shape == (2 if name in models else 1, len(asked.actual))
    # the words tell praise from complaint, so whoever reads them must find it
    for name in ("logistic:tf-idf", "logistic:embeddings"):
        assert (said[name][0] == asked.actual).mean() > 0.9


@pytest.mark.real_data
def test_sentiment_of_real_reviews_can_be_read_from_their_words(
    real_data: Callable[[str], Any],
    fake_encode: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real_data("musical-instruments")
    monkeypatch.setattr("reclib.study.tasks.encode", fake_encode)
    ready = prepare(load("musical-instruments", size="full"))
    asked = ask_sentiment(ready, leave_one_out(ready).test)
    said = answers({}, asked)
    table = measure_answers(said, asked, n_resamples=50).set_index(["model", "metric"])["value"]
    assert table["logistic:tf-idf", "balanced_accuracy"] > 0.75
    assert table["majority", "balanced_accuracy"] == 0.5
