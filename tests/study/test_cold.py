"""Cold start: lengths of history, new users and new products, on a small shop."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from reclib.data import Fold, Prepared, Split, cold_items, cold_users, leave_one_out
from reclib.evaluation import Outcome, ranking_metrics
from reclib.models import Content, Popular, Random, Scorer
from reclib.study import cold, results
from reclib.study.cold import GIVEN, HISTORIES, measure_by_history, measure_cold
from reclib.study.experiment import evaluate_seeds, measure_lists
from reclib.study.spaces import single_scorers

PERSONAL = [
    *("content", "collaborative", "collaborative:interactions", "language"),
    *("item-knn", "transitions"),
]
PARTS = ["content-count", "traditional", "llm-fusion"]  # fusions of personal models
WHOLE = ["traditional:all", "llm-fusion:all"]
COUNTING = ["popular", "collaborative:interactions", "item-knn", "transitions"]
COMPARED = {"content-vs-popular": ("content", "popular")}
K = 5


def few() -> dict[str, Scorer]:
    """Scorers of every kind, quick to fit."""
    scorers = single_scorers()
    return {name: scorers[name] for name in ("popular", *PERSONAL)}


@pytest.fixture(scope="module")
def fold(make_prepared: Callable[..., Prepared]) -> Fold:
    """Three users for each length: from two to thirteen products in training, no one with one."""
    rng = np.random.default_rng(0)
    catalogue = [f"i{n:02d}" for n in range(40)]
    lengths = np.repeat(np.arange(3, 15), 3)
    histories = {
        f"u{n:02d}": rng.choice(catalogue, length, replace=False).tolist()
        for n, length in enumerate(rng.permutation(lengths))
    }
    return leave_one_out(make_prepared(histories)).test


@pytest.fixture(scope="module")
def outcomes(fold: Fold) -> dict[str, list[Outcome]]:
    models = {"popular": Popular(), "content": Content(), "random": Random()}
    return evaluate_seeds(models, fold, k=K, n_seeds=2)


def by_history(outcomes: dict[str, list[Outcome]], fold: Fold, **options: object) -> pd.DataFrame:
    return measure_by_history(outcomes, fold, compared=COMPARED, n_resamples=50, **options)


@pytest.mark.parametrize(
    ("products", "label"),
    [(1, "1"), (2, "2"), (3, "3–5"), (5, "3–5"), (6, "6–10"), (10, "6–10"), (11, "> 10")],
)
def test_every_length_has_one_group(products: int, label: str) -> None:
    holding = [name for name, (low, high) in HISTORIES.items() if low <= products <= high]
    assert holding == [label]
    assert all(
        sum(low <= n <= high for low, high in HISTORIES.values()) == 1 for n in range(1, 500)
    )


def test_groups_part_the_users_who_are_asked(
    outcomes: dict[str, list[Outcome]], fold: Fold
) -> None:
    table = by_history(outcomes, fold)
    assert set(table["variant"]) == {  # nobody has one product
        f"raw, history {label}" for label in ("2", "3–5", "6–10", "> 10")
    }
    users = table.drop_duplicates("variant").set_index("variant")["users"]
    assert users.tolist() == [3, 9, 15, 9] and users.sum() == fold.train.n_users == 36
    assert (table["users"] == table["variant"].map(users)).all()


def test_users_who_are_not_asked_are_in_no_group(
    outcomes: dict[str, list[Outcome]], fold: Fold
) -> None:
    products = np.diff(fold.train.matrix.indptr)
    relevant = fold.relevant.tolil()
    relevant[np.flatnonzero(products != 4)] = False
    table = by_history(outcomes, replace(fold, relevant=relevant.tocsr()))
    assert set(table["variant"]) == {"raw, history 3–5"} and set(table["users"]) == {3}


def test_values_are_means_over_the_users_of_a_group(
    outcomes: dict[str, list[Outcome]], fold: Fold
) -> None:
    table = by_history(outcomes, fold, variant="direction-blind").set_index(
        ["variant", "model", "metric"]
    )["value"]
    length = np.array([len(set(row)) for row in np.split(
        fold.train.matrix.indices, fold.train.matrix.indptr[1:-1]
    )])  # fmt: skip
    inside = {"2": length == 2, "3–5": (length > 2) & (length < 6), "> 10": length > 10}
    for label, users in inside.items():
        variant = f"direction-blind, history {label}"
        for metric in (f"ndcg@{K}", f"recall@{K}"):
            values = {
                model: np.mean(
                    [ranking_metrics(o.top, fold.relevant)[metric][users] for o in several]
                )
                for model, several in outcomes.items()
            }
            for model, value in values.items():
                assert table[variant, model, metric] == pytest.approx(value)
            difference = values["content"] - values["popular"]
            assert table[variant, "content-vs-popular", metric] == pytest.approx(difference)


def test_one_group_alone_is_the_usual_measurement(
    outcomes: dict[str, list[Outcome]], fold: Fold, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Intervals, p-values and deviations between seeds too."""
    monkeypatch.setattr(cold, "HISTORIES", {"any": (1, np.inf)})
    expected = measure_lists(outcomes, fold, compared=COMPARED, n_resamples=50)
    expected = expected[expected["metric"].str.contains("ndcg|recall")].reset_index(drop=True)
    found = by_history(outcomes, fold)
    assert set(found["variant"]) == {"raw, history any"}
    pd.testing.assert_frame_equal(found.assign(variant="raw"), expected)


def test_only_ndcg_and_recall_are_measured_by_history(
    outcomes: dict[str, list[Outcome]], fold: Fold
) -> None:
    table = by_history(outcomes, fold)
    measured = {f"ndcg@{K}", f"recall@{K}"}
    assert set(table.loc[table["model"] == "popular", "metric"]) == measured
    assert set(table.loc[table["model"] == "random", "metric"]) == measured | {f"seed_sd_ndcg@{K}"}
    compared = table.loc[table["model"] == "content-vs-popular", "metric"]
    assert set(compared) == measured | {f"p_{metric}" for metric in measured}


@pytest.fixture(scope="module")
def shop(make_random: Callable[..., Prepared]) -> Prepared:
    """Of its hundred users ten are new, and of its thirty products three."""
    return make_random(0, n_users=100)


@pytest.fixture(scope="module")
def scorers() -> dict[str, Scorer]:
    return few()


@pytest.fixture(scope="module")
def measured(
    shop: Prepared,
    scorers: dict[str, Scorer],
    tmp_path_factory: pytest.TempPathFactory,
    made_up_encoder: None,
) -> pd.DataFrame:
    with pytest.MonkeyPatch.context() as context:
        context.setattr("reclib.paths.CACHE", tmp_path_factory.mktemp("cold"))
        return measure_cold(shop, scorers, n_trials=10, n_resamples=50)


def value(measured: pd.DataFrame, variant: str, metric: str = "ndcg@10") -> pd.Series:
    """Values of a metric by model; products for the variant raw."""
    rows = measured[(measured["variant"] == variant) & (measured["metric"] == metric)]
    return rows.set_index("model")["value"]


def test_every_protocol_and_variant_has_every_model(measured: pd.DataFrame) -> None:
    alone = measured[~measured["model"].str.contains("-vs-")]
    found = set(alone[["protocol", "variant", "model"]].itertuples(index=False, name=None))
    places = [("cold-users", f"given={n}") for n in GIVEN] + [("cold-items", "raw")]
    models = ["popular", *PERSONAL, *PARTS, *WHOLE]
    assert found == {(*place, model) for place in places for model in models}
    differences = measured[measured["model"] == "llm-fusion:all-vs-traditional:all"]
    assert set(differences[["protocol", "variant"]].itertuples(index=False, name=None)) == {*places}
    assert not measured["metric"].str.contains("ctr").any()


def test_cold_rows_pass_the_checks_of_the_result_files(
    measured: pd.DataFrame, tmp_path: Path
) -> None:
    results.write_measured(measured, tmp_path, results.COLD_FILE)
    assert len(pd.read_csv(tmp_path / "cold.csv")) == len(measured)


def test_of_a_stranger_only_the_popular_is_known(measured: pd.DataFrame) -> None:
    """A model with nothing to show finds nothing: it has ndcg 0, not a smaller mean's users."""
    ndcg, diversity = value(measured, "given=0"), value(measured, "given=0", "ild@10")
    assert ndcg["popular"] > 0
    assert (ndcg[PERSONAL + PARTS] == 0).all()
    assert diversity[PERSONAL + PARTS].isna().all()  # there is no list at all
    assert (ndcg[WHOLE] == ndcg["popular"]).all()  # all that these can fall back on
    rows = measured[(measured["variant"] == "given=0") & (measured["metric"] == "ndcg@10")]
    assert set(rows["users"]) == {10}


def test_one_product_is_enough_for_a_personal_model(measured: pd.DataFrame) -> None:
    for given in GIVEN[1:]:
        assert (value(measured, f"given={given}")[PERSONAL] > 0).all()


def test_a_new_product_is_found_by_its_text_alone(measured: pd.DataFrame) -> None:
    ndcg = value(measured, "raw")
    assert (ndcg[COUNTING] == 0).all()
    assert (ndcg[["content", "language", "traditional", "llm-fusion"]] > 0).all()


def test_every_split_is_its_own_and_the_options_are_passed_on(
    shop: Prepared, scorers: dict[str, Scorer], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Split, str, dict[str, object]]] = []

    def noting(split: Split, models: object, *, variant: str, **options: object) -> object:
        assert models is scorers  # as they were tuned
        asked.append((split, variant, options))
        return SimpleNamespace(metrics=pd.DataFrame({"variant": [variant]}))

    monkeypatch.setattr(cold, "run_experiment", noting)
    settings = {"k": 7, "n_trials": 5, "normalise": "minmax", "n_resamples": 9, "seed": 3}
    found = measure_cold(shop, scorers, share=0.2, **settings)
    expected = [cold_users(shop, share=0.2, given=n, rng=3) for n in (0, 1, 2)]
    expected.append(cold_items(shop, share=0.2, rng=3))
    assert found["variant"].tolist() == ["given=0", "given=1", "given=2", "raw"]
    for (split, _, options), right in zip(asked, expected, strict=True):
        assert options == settings | {"negatives": 0}
        for ours, theirs in ((split.validation, right.validation), (split.test, right.test)):
            assert ours.protocol == theirs.protocol
            np.testing.assert_array_equal(ours.kept, theirs.kept)
            assert (ours.relevant != theirs.relevant).nnz == 0


def test_new_users_are_the_same_whatever_is_given(measured: pd.DataFrame) -> None:
    """So that the variants can be compared; all have more than two products here."""
    rows = measured[(measured["protocol"] == "cold-users") & (measured["metric"] == "ndcg@10")]
    assert set(rows["users"]) == {10}
