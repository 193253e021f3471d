"""The models of the study by name: what they are told, and where they are searched."""

import inspect

import pytest
from optuna.distributions import CategoricalDistribution

from reclib import models
from reclib.errors import ReclibError
from reclib.evaluation import Space
from reclib.models import Fusion, Hybrid, Scorer
from reclib.study.spaces import PARTS, single_scorers, spaces

NAMES = [
    *("random", "popular", "content", "content:tuned", "collaborative"),
    *("collaborative:interactions", "language", "language:tuned"),
    *("item-knn", "user-knn", "ease", "ease:content", "ease:language", "als", "bpr"),
    *("markov", "seqrules", "pctm", "transitions", "sasrec"),
]


def test_every_scorer_of_the_library_has_a_name_in_results() -> None:
    offered = {
        kind
        for name in models.__all__
        if isinstance(kind := getattr(models, name), type) and issubclass(kind, Scorer)
    }
    assert {space.scorer for space in spaces().values()} == offered - {Scorer, Fusion, Hybrid}
    assert list(spaces()) == list(single_scorers()) == NAMES


def test_before_any_search_models_have_their_own_defaults() -> None:
    made = single_scorers()
    for name, scorer in made.items():
        if name == "user-knn":
            assert scorer.config()["profile"] == "interactions" and scorer.config()["neighbours"]
        elif name.startswith("ease:"):
            assert scorer.config() == type(scorer)().config() | {
                "side": name.removeprefix("ease:"),
                "side_options": scorer.config()["side_options"],
            }
        elif name != "collaborative:interactions":
            assert scorer.config() == type(scorer)().config()


def test_settings_reach_the_scorers() -> None:
    made = single_scorers(decay=0.5, history=7, price_weight=0.1, encoder="mine@1")
    told = {"decay": 0.5, "history": 7, "price_weight": 0.1}
    for name in ("content", "collaborative"):
        assert told.items() <= made[name].config().items()
    for name in ("language", "language:tuned", "item-knn", "ease"):
        assert {"decay": 0.5, "history": 7}.items() <= made[name].config().items()
    assert made["collaborative:interactions"].config()["profile"] == "interactions"
    assert made["language"].config()["encoder"] == "mine@1"
    assert made["ease:language"].config()["side_options"]["encoder"] == "mine@1"


def test_whatever_reads_texts_reads_reviews_if_one_model_does() -> None:
    """A gain of the language model would be one of what it was given to read."""
    told = {
        name: scorer.config().get("side_options") or scorer.config()
        for name, scorer in single_scorers(review_text=True).items()
    }
    assert {name for name, options in told.items() if options.get("review_text")} == {
        *("content", "content:tuned", "collaborative", "language", "language:tuned"),
        *("ease:content", "ease:language"),
    }


def test_models_can_be_made_blind_to_directions() -> None:
    blind, seeing = single_scorers(directed=False), single_scorers()
    assert list(blind) == NAMES
    for name in ("markov", "seqrules", "pctm", "transitions", "sasrec"):
        assert blind[name].config()["directed"] is False
        assert seeing[name].config()["directed"] is True


def test_what_takes_long_can_be_left_out_but_not_the_parts_of_table_ii() -> None:
    fewer = spaces(without=["sasrec", "als"])
    assert list(fewer) == [name for name in NAMES if name not in ("sasrec", "als")]
    assert list(spaces(without=[name for name in NAMES if name not in PARTS])) == [*PARTS]
    with pytest.raises(ReclibError, match="unknown model 'sasrek'.*sasrec"):
        spaces(without=["sasrek"])
    for name in PARTS:
        with pytest.raises(ReclibError, match=f"'{name}', a part of .* Table II"):
            spaces(without=["sasrec", name])


@pytest.mark.parametrize("name", NAMES)
def test_a_search_starts_from_the_values_before_it(name: str) -> None:
    """Else tuning could make a model worse than its defaults."""
    space = spaces()[name]
    assert space.defaults().keys() == space.ranges.keys()
    assert space.make(space.defaults()).config() == space.make({}).config()


def ends(space: Space, name: str) -> list[object]:
    where = space.ranges[name]
    if isinstance(where, CategoricalDistribution):
        return list(where.choices)
    return [where.low, where.high]


@pytest.mark.parametrize("name", NAMES)
def test_every_value_in_a_range_makes_a_scorer(name: str) -> None:
    space = spaces()[name]
    assert set(space.ranges) <= set(inspect.signature(space.scorer).parameters)
    for parameter in space.ranges:
        for value in ends(space, parameter):
            assert space.make({parameter: value}).config()[parameter] == value


def test_parameters_of_one_kind_are_searched_in_one_range() -> None:
    """A longer reach for one model alone would be no equal tuning."""
    found = spaces()
    for parameter in ("history", "neighbours", "factors", "window"):
        ranges = [space.ranges[parameter] for space in found.values() if parameter in space.ranges]
        assert len(ranges) > 1 and all(where == ranges[0] for where in ranges)


def test_every_option_of_the_features_reaches_all_scorers_that_use_them() -> None:
    made = single_scorers(weighting="bm25", price_weight=0.1)
    assert made["ease:content"].config()["side_options"] == {
        "weighting": "bm25",
        "price_weight": 0.1,
        "review_text": False,
    }
    for name in ("content", "collaborative"):
        assert {"weighting": "bm25", "price_weight": 0.1}.items() <= made[name].config().items()
