"""The tasks beside the ranking (IV-B): what is asked, simple answers, and how good they are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegressionCV
from sklearn.pipeline import make_pipeline

from reclib.data import Fold, Prepared, history_weights, last_out
from reclib.data.labels import POLARITIES, category_classes, polarity
from reclib.errors import ReclibError
from reclib.evaluation import (
    bootstrap_sums,
    classification_metrics,
    confusion_counts,
    interval,
)
from reclib.models import DEFAULT_ENCODER, Language, TunedLanguage, encode
from reclib.study.experiment import NO_COMPARISONS

Classes = NDArray[np.int64]
MULTI, EQUAL, SINGLE = "multi-task", "multi-task:equal", "single-task"


@dataclass(frozen=True)
class Questions:
    """Examples of one task that no model has seen.

    Attributes
    ----------
    task
        ``"intent"`` or ``"sentiment"``.
    names
        Of the classes.
    users
        Dense user of each example, shape (n_examples,).
    actual
        Its class, same shape.
    texts
        Of the reviews; empty for the intent.
    train
        What may be learned from.
    """

    task: str
    names: tuple[str, ...]
    users: Classes
    actual: Classes
    train: Prepared = field(repr=False)
    texts: tuple[str, ...] = field(default=(), repr=False)


def ask(prepared: Prepared, fold: Fold) -> tuple[dict[str, Questions], dict[str, str]]:
    """Ask what the data can teach and judge.

    Parameters
    ----------
    prepared
        What was split.
    fold
        Its test fold.

    Returns
    -------
    questions : dict
        Task → its examples.
    reasons : dict
        Task that is left out → why.
    """
    questions, reasons = {}, {}
    for task, make in {"intent": ask_intent, "sentiment": ask_sentiment}.items():
        try:
            questions[task] = make(prepared, fold)
        except ReclibError as error:
            reasons[task] = str(error)
    return questions, reasons


def ask_intent(prepared: Prepared, fold: Fold) -> Questions:
    """Ask for the class of the first held-out product of every user who is asked.

    Parameters
    ----------
    prepared
        What was split.
    fold
        One of its folds; classes are those of its training events.

    Raises
    ------
    ReclibError
        If the products have no categories that tell them apart.
    """
    classes, names = category_classes(fold.train)
    user, item = fold.relevant.nonzero()
    asked = user.astype(np.int64) * prepared.n_items + item
    row = np.flatnonzero(prepared.new & ~fold.kept & np.isin(prepared.pair, asked))
    users, first = np.unique(prepared.user[row], return_index=True)
    actual = classes[prepared.item[row[first]]]
    known = actual >= 0
    return Questions("intent", names, users[known].astype(np.int64), actual[known], fold.train)


def ask_sentiment(prepared: Prepared, fold: Fold) -> Questions:
    """Ask how each review is meant that is not in training and has more or fewer stars than 3.

    Parameters
    ----------
    prepared
        What was split.
    fold
        Its test: what is not in the training of an earlier fold would be asked for twice.

    Raises
    ------
    ReclibError
        If the reviews in training, or those held out, are not of both kinds.
    """
    every = prepared.reviews.astype({"user": np.int64, "item": np.int64})
    keys = ["user", "item", "time", "text"]
    merged = every.merge(
        fold.train.reviews[keys].astype({"user": np.int64, "item": np.int64}).drop_duplicates(),
        on=keys,
        how="left",
        indicator=True,
    )
    meant = polarity(merged["rating"])
    held_out = (merged["_merge"] == "left_only").to_numpy()
    asked = held_out & (meant >= 0) & (merged["text"] != "").to_numpy()
    taught = polarity(fold.train.reviews["rating"])
    for which, found in {"training": taught[taught >= 0], "held-out": meant[asked]}.items():
        if len(np.unique(found)) < len(POLARITIES):
            raise ReclibError(
                f"{prepared.name}: its {len(found)} {which} reviews with a text are not of both "
                "kinds, of more and of fewer than three stars; leave sentiment out"
            )
    rows = merged[asked]
    return Questions(
        "sentiment",
        POLARITIES,
        rows["user"].to_numpy(),
        meant[asked],
        fold.train,
        tuple(rows["text"]),
    )


def models_of_tasks(tasks: Sequence[str], **options: Any) -> dict[str, dict[str, TunedLanguage]]:
    """Make the models to compare: all tasks in one, and a model for each.

    Parameters
    ----------
    tasks
        Some of `reclib.models.tasks.TASKS`.
    **options
        As in `reclib.models.TunedLanguage`, the same for all.

    Returns
    -------
    dict
        ``multi-task`` with weights learned, ``multi-task:equal`` with equal ones and
        ``single-task`` → task → model; the first two are the same model for every task.
    """
    learned = TunedLanguage(tasks=tasks, **options)
    equal = TunedLanguage(tasks=tasks, task_weights=dict.fromkeys(tasks, 1.0), **options)
    return {
        MULTI: dict.fromkeys(tasks, learned),
        EQUAL: dict.fromkeys(tasks, equal),
        SINGLE: {task: TunedLanguage(tasks=[task], **options) for task in tasks},
    }


def answers(
    models: Mapping[str, Mapping[str, TunedLanguage]],
    questions: Questions,
    *,
    encoder: str = DEFAULT_ENCODER,
    n_seeds: int = 1,
    rng: int = 0,
) -> dict[str, Classes]:
    """Let models and simple baselines answer.

    Parameters
    ----------
    models
        From `models_of_tasks`.
    questions
        From `ask_intent` or `ask_sentiment`.
    encoder
        Whose embeddings the baselines read.
    n_seeds, rng
        The models are fitted with the seeds `rng`, `rng` + 1, ….

    Returns
    -------
    dict
        Name → classes, shape (n_seeds, n_examples). Of the baselines, with one seed:
        ``majority``; ``logistic:embeddings``, on the encoder's vectors; for the sentiment
        ``logistic:tf-idf``, on words and pairs of words; for the intent ``last``, the class
        of the newest product, and ``logistic:history``, on the shares of the classes in the
        history. How much these are regularised is chosen by cross-validation.
    """
    train = questions.train
    intent = questions.task == "intent"
    said = (_by_history if intent else _by_words)(questions, encoder)
    for name, by_task in models.items():
        model, found = by_task[questions.task], []
        for seed in range(rng, rng + n_seeds):
            model.ensure_fitted(train, rng=seed)
            chances = (
                model.predict_intent(questions.users)
                if intent
                else model.predict_sentiment(questions.texts)
            )
            found.append(np.nan_to_num(chances).argmax(axis=1))
        said[name] = np.stack(found)
    return said


def _regression() -> LogisticRegressionCV:
    return LogisticRegressionCV(
        Cs=np.logspace(-2, 1, 4),
        cv=3,
        scoring="balanced_accuracy",
        class_weight="balanced",
        l1_ratios=(0,),
        use_legacy_attributes=False,
        max_iter=1000,
        random_state=0,
    )


def _by_words(questions: Questions, encoder: str) -> dict[str, Classes]:
    """Answers to the sentiment from the words of a review."""
    reviews = questions.train.reviews
    meant = polarity(reviews["rating"])
    taught = (meant >= 0) & (reviews["text"] != "").to_numpy()
    texts, meant = reviews["text"][taught].tolist(), meant[taught]
    words = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True), _regression()
    )
    vectors = encode(texts, encoder=encoder, progress=False).vectors
    asked = encode(questions.texts, encoder=encoder, progress=False).vectors
    return {
        "majority": _everywhere(meant, len(asked)),
        "logistic:tf-idf": words.fit(texts, meant).predict(questions.texts)[None],
        "logistic:embeddings": _regression().fit(vectors, meant).predict(asked)[None],
    }


def _by_history(questions: Questions, encoder: str) -> dict[str, Classes]:
    """Answers to the intent from what a user had; the regressions learn from the last product."""
    train, users = questions.train, questions.users
    classes, names = category_classes(train)
    inner = last_out(train)
    user, item = inner.relevant.nonzero()
    target = classes[item]
    user, target = user[target >= 0], target[target >= 0]
    last = np.searchsorted(train.user, users, side="right") - 1
    majority = _everywhere(target, len(users))
    newest = classes[train.item[last]]
    shares = [_shares(part, classes, len(names)) for part in (inner.train, train)]
    vectors = [
        np.nan_to_num(Language(encoder=encoder).fit(part).user_vectors)
        for part in (inner.train, train)
    ]
    return {
        "majority": majority,
        "last": np.where(newest >= 0, newest, majority[0])[None],
        **{
            f"logistic:{name}": _regression().fit(before[user], target).predict(now[users])[None]
            for name, (before, now) in {"history": shares, "embeddings": vectors}.items()
        },
    }


def _shares(prepared: Prepared, classes: Classes, n_classes: int) -> NDArray[np.float32]:
    """Recency-weighted shares of the classes in each history, shape (n_users, n_classes)."""
    known = np.flatnonzero(classes >= 0)
    member = sp.csr_array(
        (np.ones(len(known), np.float32), (known, classes[known])),
        shape=(prepared.n_items, n_classes),
    )
    shares: NDArray[np.float32] = (
        history_weights(prepared, decay=0.7, history=20) @ member
    ).toarray()
    return shares


def _everywhere(taught: Classes, n: int) -> Classes:
    """Answer with the most common class, shape (1, n)."""
    return np.full((1, n), np.bincount(taught).argmax())


def measure_answers(
    said: Mapping[str, Classes],
    questions: Questions,
    *,
    compared: Mapping[str, tuple[str, str]] = NO_COMPARISONS,
    n_resamples: int = 2000,
    rng: int = 0,
) -> pd.DataFrame:
    """Judge answers, with intervals over users and paired differences.

    Parameters
    ----------
    said
        From `answers`.
    questions
        The same.
    compared
        Name of a difference → the two models, the second taken off the first.
    n_resamples, rng
        Of the bootstrap.

    Returns
    -------
    pandas.DataFrame
        Columns as in `reclib.study.experiment.measure_lists`; the protocol is the task. A
        value is the mean over the seeds.
    """
    users, owner = np.unique(questions.users, return_inverse=True)
    found: dict[str, dict[str, NDArray[np.float64]]] = {}
    for model, by_seed in said.items():
        values = []
        for predicted in by_seed:
            counts = confusion_counts(
                owner,
                questions.actual,
                predicted,
                n_owners=len(users),
                n_classes=len(questions.names),
            )
            sums = bootstrap_sums(counts, n_resamples=n_resamples, rng=rng)
            values.append(classification_metrics(np.vstack([counts.sum(axis=0), sums])))
        found[model] = {name: np.mean([one[name] for one in values], axis=0) for name in values[0]}
    for name, (one, other) in compared.items():
        found[name] = {m: found[one][m] - found[other][m] for m in found[one]}
    seeds = {model: len(by_seed) for model, by_seed in said.items()}
    seeds |= {name: max(seeds[one], seeds[other]) for name, (one, other) in compared.items()}
    rows = [
        (questions.task, "raw", model, metric, values[0], *interval(values[1:]), len(users), n)
        for model, n in seeds.items()
        for metric, values in found[model].items()
    ]
    names = ["protocol", "variant", "model", "metric", "value", "low", "high", "users", "seeds"]
    return pd.DataFrame(rows, columns=names)
