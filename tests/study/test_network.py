"""The halves of Eq. 8, and lists chosen for diversity."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reclib.data import Prepared, leave_one_out
from reclib.models import EASE, Content, Fusion, Language, Popular, Scorer
from reclib.study import figures
from reclib.study.network import hybrids, reranked


def parts() -> dict[str, Scorer]:
    return {
        "content": Content(),
        "popular": Popular(),
        "language": Language(),
        "ease:language": EASE(side="language"),
    }


def test_a_network_without_the_language_model_never_sees_it() -> None:
    everything = parts()
    trad = {name: everything[name] for name in ("content", "popular")}
    weights = {"content": 0.1, "popular": 0.2, "language": 0.3, "ease:language": 0.4}
    newcomers = {"content": 0.0, "popular": 0.9, "language": 0.1, "ease:language": 0.0}
    fusions = {
        "traditional:all": Fusion(trad, {"content": 3, "popular": 1}),
        "llm-fusion:all": Fusion(everything, weights, newcomers=newcomers, halfway=4.2),
    }
    made = hybrids(fusions, depth=7)
    assert list(made) == ["hybrid", "hybrid:no-vectors", "hybrid:no-trad", "hybrid:no-llm"]
    assert [model.name for model in made.values()] == list(made)
    whole, blind, alone, without = made.values()
    assert blind.llm == whole.llm and whole.directions and not blind.directions
    assert whole.llm == alone.llm == ("language", "ease:language") and whole.trad
    assert list(without.parts) == ["content", "popular"] and without.llm == ()
    assert list(alone.parts) == list(whole.parts) and not alone.trad
    assert all(model.depth == 7 for model in made.values())
    assert without.weights == {"content": 0.75, "popular": 0.25}
    between = {name: (weights[name] + newcomers[name]) / 2 for name in weights}
    assert whole.weights == alone.weights == pytest.approx(between, abs=0.02)
    # weights that change within the first product: those of one product, not of none
    early = Fusion(everything, weights, newcomers=newcomers, halfway=0.2)
    start = hybrids(fusions | {"llm-fusion:all": early})["hybrid"].weights
    assert [*start.values()] == pytest.approx(early.weights_of(np.array([1]))[0].tolist())


def test_lists_chosen_by_scores_alone_are_the_ranking(tiny: Prepared) -> None:
    fold = leave_one_out(tiny).validation
    scorer = Content()
    found = reranked(scorer, fold, trade_offs=[1, 0.3], depth=12, k=5)
    assert list(found) == ["mmr:1", "mmr:0.3", "dpp:1", "dpp:0.3"]
    asked = np.flatnonzero(np.diff(fold.relevant.indptr))
    ranked, _ = scorer.rank(asked, 5)
    best, _ = scorer.rank(asked, 12)
    for name, (outcome,) in found.items():
        top = outcome.top[asked]
        if name.endswith(":1"):
            np.testing.assert_array_equal(top, ranked)
        else:
            assert (top != ranked).any()
        for chosen, candidates in zip(top, best, strict=True):
            assert len(set(chosen)) == 5 and set(chosen) <= set(candidates)


def test_settings_of_a_method_are_joined_by_a_line(tmp_path: Path) -> None:
    rows = [
        (model, metric, value, value - 0.01, value + 0.02)
        for model, values in {
            "mmr:1": (0.5, 0.8),
            "mmr:0.7": (0.4, 0.9),
            "dpp:1": (0.5, 0.8),
        }.items()
        for metric, value in zip(("ndcg@10", "ild@10"), values, strict=True)
    ]
    metrics = pd.DataFrame(rows, columns=["model", "metric", "value", "low", "high"])
    axes = figures.pareto_plot(metrics, across="ild@10", up="ndcg@10")
    lines = {bar.get_label(): bar.lines[0].get_xydata() for bar in axes.containers}
    np.testing.assert_allclose(lines["mmr"], [[0.8, 0.5], [0.9, 0.4]])
    np.testing.assert_allclose(lines["dpp"], [[0.8, 0.5]])
    assert [text.get_text() for text in axes.texts] == ["1", "0.7", "1"]
