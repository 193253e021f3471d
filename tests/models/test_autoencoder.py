"""EASE against the problem it solves, and its refusal of what does not fit."""

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest

from reclib.data import Prepared, extract_features, history_weights
from reclib.errors import Diverged, ReclibError
from reclib.models.autoencoder import EASE
from reclib.models.language import Language


def column_by_column(binary: np.ndarray, regularisation: float) -> np.ndarray:
    """Ridge regression of every product on all the others."""
    n_items = binary.shape[1]
    weights = np.zeros((n_items, n_items))
    for item in range(n_items):
        others = np.delete(np.arange(n_items), item)
        left = binary[:, others]
        gram = left.T @ left + regularisation * np.eye(n_items - 1)
        weights[others, item] = np.linalg.solve(gram, left.T @ binary[:, item])
    return weights


@pytest.mark.parametrize("regularisation", [0.5, 50.0])
def test_equals_ridge_regression_on_the_other_products(
    make_random: Callable[..., Prepared], regularisation: float
) -> None:
    ready = make_random(2)
    weights = column_by_column((ready.matrix.toarray() > 0).astype(float), regularisation)
    profile = {"decay": 0.8, "history": 4}
    scores = EASE(regularisation=regularisation, **profile).fit(ready).score([0, 7, 3])
    expected = history_weights(ready, **profile).toarray()[[0, 7, 3]] @ weights
    np.testing.assert_allclose(scores, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("side", ["content", "language"])
def test_side_information_stands_under_the_histories_as_more_users(
    make_random: Callable[..., Prepared], side: str
) -> None:
    """Jeunen, Van Balen and Goethals 2020: regression on histories and features together."""
    ready = make_random(2)
    options = {"price_weight": 0.1} if side == "content" else {"whitening": "whiten"}
    if side == "content":
        rows = extract_features(ready, **options).items.toarray()
    else:
        rows = Language(**options).fit(ready).item_vectors
    both = np.vstack([ready.matrix.toarray() > 0, np.sqrt(3.0) * rows.T])
    weights = column_by_column(both.astype(float), 20.0)
    profile = {"decay": 0.8, "history": 4}
    scorer = EASE(
        regularisation=20.0, **profile, side=side, side_weight=3.0, side_options=options
    ).fit(ready)
    expected = history_weights(ready, **profile).toarray()[[0, 7, 3]] @ weights
    np.testing.assert_allclose(scorer.score([0, 7, 3]), expected, rtol=1e-3, atol=1e-5)


def test_side_information_of_no_weight_changes_nothing(tiny: Prepared) -> None:
    users = np.arange(tiny.n_users)
    plain = EASE().fit(tiny).score(users)
    sided = EASE(side="content", side_weight=0.0).fit(tiny).score(users)
    np.testing.assert_allclose(sided, plain, atol=1e-6)


def test_a_large_catalogue_is_multiplied_in_parts(
    tiny: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = EASE(side="content").fit(tiny)._matrix
    monkeypatch.setattr("reclib.models.autoencoder.ROWS", 7)
    np.testing.assert_array_equal(EASE(side="content").fit(tiny)._matrix, whole)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"side": "reviews"}, "unknown side 'reviews': .*none, content, language"),
        ({"side_weight": -1.0}, "side_weight is -1.0; allowed"),
        ({"side_weight": float("nan")}, "side_weight is nan; allowed"),
    ],
)
def test_side_information_out_of_range_is_refused(
    settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ReclibError, match=message):
        EASE(**settings)


def test_weights_lie_row_by_row(tiny: Prepared) -> None:
    """Or each batch of scores copies them: 25 times as slow on 12,000 products."""
    assert EASE().fit(tiny)._matrix.flags.c_contiguous


def test_repetitions_do_not_change_the_weights(make_prepared: Callable[..., Prepared]) -> None:
    once = make_prepared({"anna": "AB", "bert": "BC", "carl": "ABC"})
    often = make_prepared({"anna": "AAAB", "bert": "BCBC", "carl": "ABC"})
    one, two = (EASE(regularisation=2.0).fit(ready)._matrix for ready in (once, often))
    np.testing.assert_array_equal(one, two)


def test_a_catalogue_too_large_for_the_memory_is_refused_before_it_is_tried(
    tiny: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = SimpleNamespace(available=4 * 29**2)
    monkeypatch.setattr("psutil.virtual_memory", lambda: free)
    with pytest.raises(ReclibError, match="GiB for 30 products; .* is enough for 29; raise"):
        EASE().fit(tiny)


@pytest.mark.parametrize("value", [0.0, -1.0, float("inf"), float("nan")])
def test_a_regularisation_out_of_range_is_refused(value: float) -> None:
    with pytest.raises(ReclibError, match=f"regularisation is {value}; allowed"):
        EASE(regularisation=value)


def test_a_regularisation_lost_to_rounding_is_refused(
    make_prepared: Callable[..., Prepared],
) -> None:
    """Two products that the same users had: without λ there is no inverse."""
    ready = make_prepared({"anna": "AB", "bert": "AB", "carl": "ABC"})
    with pytest.raises(Diverged, match="regularisation is 1e-30, too little for XᵀX"):
        EASE(regularisation=1e-30).fit(ready)
