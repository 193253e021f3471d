"""The models of the study by their names in results, and where each is tuned."""

from collections.abc import Sequence
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from reclib.errors import ReclibError, unknown
from reclib.evaluation import Space
from reclib.models import (
    ALS,
    BPR,
    DEFAULT_ENCODER,
    EASE,
    PCTM,
    Collaborative,
    Content,
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
)

# how far a profile looks back, and how fast it forgets: the same for all that have one
DECAY = FloatDistribution(0.3, 1)
HISTORY = IntDistribution(1, 50, log=True)
PROFILE: dict[str, BaseDistribution] = {"decay": DECAY, "history": HISTORY}
NEIGHBOURS = IntDistribution(5, 2000, log=True)
RIDGE = FloatDistribution(10, 5000, log=True)
SIDE = FloatDistribution(0.3, 300, log=True)  # at RIDGE's default from hardly anything to most
FACTORS = CategoricalDistribution([32, 64, 128, 256])
# of the models of Table II, with which every comparison starts
PARTS = ("content", "collaborative", "collaborative:interactions", "language")


def spaces(
    *,
    decay: float = 0.7,
    history: int = 20,
    encoder: str = DEFAULT_ENCODER,
    review_text: bool = False,
    directed: bool = True,
    without: Sequence[str] = (),
    **features: Any,
) -> dict[str, Space]:
    """Say where each model that is no fusion is tuned, by its name in results.

    Parameters
    ----------
    decay, history
        As in `reclib.data.history_weights`: where the search starts for all that have a
        profile of this kind.
    encoder
        Of the language model.
    review_text
        Whether all that read texts read the training reviews, too, as in
        `reclib.data.item_texts`.
    directed
        Whether models may see which of two products came first (see
        `reclib.models.Transitions` and `reclib.models.SASRec`).
    without
        Names of models to do without, such as those that take long; fusions of everything
        then mix the others. `PARTS` have to stay.
    **features
        What else `reclib.data.extract_features` may be told; the search starts there.

    Returns
    -------
    dict
        In the order of results. The values before any search are the constructors' own
        defaults, and what is given here.

    Raises
    ------
    ReclibError
        For a name in `without` that is no model's, or one of `PARTS`.
    """
    profile = {"decay": decay, "history": history}
    features |= {"review_text": review_text}
    language = {"encoder": encoder, "review_text": review_text}
    price = {"price_weight": FloatDistribution(0, 0.2)}
    weighting = {"weighting": CategoricalDistribution(["tfidf", "bm25"])}
    steps = {"directed": directed}
    regularisation = FloatDistribution(1e-3, 10, log=True)
    towers = {
        "decay": DECAY,
        "temperature": FloatDistribution(0.05, 0.2, log=True),
        "learning_rate": FloatDistribution(3e-4, 3e-3, log=True),
        "epochs": IntDistribution(2, 6),
        "dropout": FloatDistribution(0, 0.4),
    }
    found = {
        "random": Space(Random, {}),
        "popular": Space(Popular, {}),
        "content": Space(Content, {**PROFILE, **price, **weighting}, {**profile, **features}),
        "content:tuned": Space(
            TunedContent, towers, {**profile, "review_text": review_text}, max_trials=5
        ),
        "collaborative": Space(Collaborative, {**PROFILE, **price}, {**profile, **features}),
        "collaborative:interactions": Space(Collaborative, {}, {"profile": "interactions"}),
        "language": Space(
            Language,
            {
                **PROFILE,
                "whitening": CategoricalDistribution(["none", "centre", "whiten"]),
                "ridge": FloatDistribution(0.01, 3, log=True),
            },
            {**profile, **language},
        ),
        "language:tuned": Space(TunedLanguage, towers, {**profile, **language}, max_trials=5),
        "item-knn": Space(
            ItemKNN,
            {
                **PROFILE,
                "neighbours": NEIGHBOURS,
                "shrink": FloatDistribution(0.1, 200, log=True),
                "similarity": CategoricalDistribution(["cosine", "tfidf"]),
            },
            profile,
        ),
        "user-knn": Space(
            Collaborative,
            {"neighbours": NEIGHBOURS},
            {"profile": "interactions", "neighbours": 100},
        ),
        "ease": Space(EASE, {**PROFILE, "regularisation": RIDGE}, profile),
        "ease:content": Space(
            EASE,
            {**PROFILE, "regularisation": RIDGE, "side_weight": SIDE},
            {**profile, "side": "content", "side_options": features},
        ),
        "ease:language": Space(
            EASE,
            {**PROFILE, "regularisation": RIDGE, "side_weight": SIDE},
            {
                **profile,
                "side": "language",
                "side_options": {**language, "whitening": "whiten"},
            },
        ),
        "als": Space(
            ALS,
            {
                "factors": FACTORS,
                "regularisation": regularisation,
                "alpha": FloatDistribution(0.5, 100, log=True),
                "epochs": IntDistribution(5, 30),
            },
        ),
        "bpr": Space(
            BPR,
            {
                "factors": FACTORS,
                "regularisation": regularisation,
                "learning_rate": FloatDistribution(1e-3, 0.3, log=True),
                "epochs": IntDistribution(20, 200, log=True),
            },
        ),
        "markov": Space(Markov, {}, steps),
        "seqrules": Space(
            SeqRules,
            {
                "window": IntDistribution(2, 30, log=True),
                "neighbours": NEIGHBOURS,
                "power": FloatDistribution(0, 3),
                "history": HISTORY,
            },
            steps,
        ),
        "pctm": Space(
            PCTM,
            {
                "window": IntDistribution(2, 30, log=True),
                "fade": FloatDistribution(0.2, 1.2),
                "smoothing": FloatDistribution(0.05, 5, log=True),
                "decay": DECAY,
                "popularity": FloatDistribution(-0.1, 0.05),
            },
            steps,
        ),
        "transitions": Space(
            Transitions,
            {
                "window": IntDistribution(2, 30, log=True),
                "fade": FloatDistribution(0.2, 1.2),
                "norm": FloatDistribution(0, 0.9),
                "smoothing": FloatDistribution(0.05, 5, log=True),
                "decay": FloatDistribution(0.45, 0.9),
                "power": FloatDistribution(0, 1.5),
                "popularity": FloatDistribution(-0.1, 0.05),
            },
            steps,
        ),
        "sasrec": Space(
            SASRec,
            {
                "dropout": FloatDistribution(0.1, 0.5),
                "weight_decay": FloatDistribution(0.05, 1, log=True),
                "epochs": IntDistribution(10, 60, log=True),
            },
            steps,
            max_trials=5,
        ),
    }
    for name in without:
        if name not in found:
            raise unknown("model", name, found)
        if name in PARTS:
            raise ReclibError(
                f"without holds {name!r}, a part of the models of Table II, which has to stay; "
                f"allowed: {', '.join(name for name in found if name not in PARTS)}"
            )
    return {name: space for name, space in found.items() if name not in without}


def single_scorers(**options: Any) -> dict[str, Scorer]:
    """Make every scorer that is no fusion, untuned, by its name in results.

    Parameters
    ----------
    **options
        As in `spaces`.

    Returns
    -------
    dict
        Scorers that are not fitted yet.
    """
    return {name: space.make({}) for name, space in spaces(**options).items()}
