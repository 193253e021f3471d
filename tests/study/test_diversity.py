"""The price of diversity: what is said of it, and recorded settings in the order of their size."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reclib import paths
from reclib.errors import ReclibError
from reclib.study.diversity import paper_goal, price_said, recorded_prices


def measured(**models: tuple[float, float]) -> pd.DataFrame:
    rows = [
        (model, metric, value)
        for model, values in models.items()
        for metric, value in zip(("ndcg@10", "ild@10"), values, strict=True)
    ]
    return pd.DataFrame(rows, columns=["model", "metric", "value"])


PLAIN = {"hybrid:λ=0": (0.1, 0.5)}


def test_the_goal_is_the_papers_gain_over_the_network_without_the_term() -> None:
    assert paper_goal(measured(**PLAIN)) == pytest.approx(0.5 * 0.48 / 0.34)
    with pytest.raises(ReclibError, match="hybrid:λ=0.*run notebook 12 again"):
        paper_goal(measured(**{"hybrid:λ=1": (0.1, 0.5)}))


def test_the_most_accurate_that_comes_as_far_is_named() -> None:
    said = price_said(measured(**PLAIN, **{"mmr:0.7": (0.08, 0.75), "dpp:0.7": (0.07, 0.9)}))
    assert "+41.2% would be an `ild@10` of 0.706 here, from 0.500 of `hybrid:λ=0`." in said
    assert "most accurate, `mmr:0.7` has +50.0% of diversity and −20.0% of `ndcg@10`." in said
    assert said.endswith("None is more diverse than `hybrid:λ=0` and no less accurate.")


def test_where_none_comes_as_far_the_farthest_is_named() -> None:
    said = price_said(measured(**PLAIN, **{"mmr:0.7": (0.09, 0.7), "dpp:0.9": (0.101, 0.6)}))
    assert "the farthest, `mmr:0.7` has +40.0% of diversity and −10.0% of `ndcg@10`." in said
    assert said.endswith("most diverse, `dpp:0.9` has +20.0% of diversity and +1.0% of `ndcg@10`.")


def test_what_no_list_can_have_is_said() -> None:
    assert "No list can have that" in price_said(measured(**{"hybrid:λ=0": (0.1, 0.8)}))


def test_a_network_that_finds_nothing_has_a_price_all_the_same() -> None:
    assert "the farthest" in price_said(measured(**{"hybrid:λ=0": (0, 0.5), "mmr:0.7": (0, 0.6)}))


def test_without_brands_and_categories_nothing_is_claimed() -> None:
    unknown = measured(**{"hybrid:λ=0": (0.1, np.nan), "mmr:0.7": (0.09, np.nan)})
    assert price_said(unknown) == (
        "Nothing is known of brands and categories, so diversity is not measurable."
    )


def test_recorded_settings_are_in_the_order_of_their_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = recorded_prices("amazon-beauty")["model"]
    weights = [float(name.partition("=")[2]) for name in models if "λ" in name]
    assert weights == sorted(weights) and len(set(weights)) > 2
    monkeypatch.setattr(paths, "REFERENCE", tmp_path)
    with pytest.raises(ReclibError, match=r"amazon-beauty/diversity\.csv is not there"):
        recorded_prices("amazon-beauty")
