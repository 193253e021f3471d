"""Eq. 8: what the network sees, what it learns, and that it learns from nothing else."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from reclib.data import Prepared, last_out
from reclib.errors import ReclibError
from reclib.models import (
    Content,
    Fusion,
    Language,
    Popular,
    Random,
    Scorer,
    Transitions,
)
from reclib.models.base import Indices, Scores
from reclib.models.candidates import Candidates, candidates
from reclib.models.hybrid import Hybrid, _fused, _inputs, _Network, _padded, _Slates
from reclib.models.training import Training, as_it_is, seeded, train

QUICK = {"depth": 8, "hidden": 8, "epochs": 3, "batch_size": 8}


def parts() -> dict[str, Scorer]:
    return {"content": Content(), "popular": Popular(), "language": Language()}


@pytest.fixture(autouse=True)
def _encoder(made_up_encoder: None, fresh_cache: Path) -> Iterator[None]:
    yield


@pytest.fixture
def fitted(tiny: Prepared) -> Hybrid:
    return Hybrid(parts(), **QUICK).fit(tiny)


def test_only_candidates_are_scored(fitted: Hybrid, tiny: Prepared) -> None:
    users = np.arange(tiny.n_users)
    found = candidates(fitted._fusion, users, depth=8)
    expected = np.zeros(tiny.shape, bool)
    row, place = np.nonzero(found.real)
    expected[row, found.items[row, place]] = True
    np.testing.assert_array_equal(~np.isnan(fitted.score(users)), expected)
    assert np.isnan(fitted.score(users)[tiny.matrix.toarray() > 0]).all()


@pytest.mark.parametrize("weights", [None, {"content": 0.5, "popular": 0.1, "language": 0.4}])
def test_before_training_it_is_the_fusion(tiny: Prepared, weights: dict[str, float]) -> None:
    """Eq. 7 is the special case of Eq. 8 in which the network is silent."""
    model = Hybrid(parts(), weights=weights, **QUICK)
    fusion = _fused(parts(), weights).fit(tiny)
    users = np.arange(10)
    slates = _Slates.of(model, fusion, users)
    with torch.inference_mode():
        scores = _Network(model, slates).eval()(slates.batch(users)).numpy()
    fused = np.nan_to_num(fusion.score(users))
    row, place = np.nonzero(slates.items >= 0)
    expected = 10 * fused[row, slates.items[row, place]]
    np.testing.assert_allclose(scores[row, place], expected, rtol=1e-4, atol=1e-4)
    assert np.isneginf(scores[slates.items < 0]).all()


def test_the_network_learns_which_part_to_trust(make_prepared: Callable[..., Prepared]) -> None:
    """Everybody goes round a circle, so transitions know, and chance does not."""
    ids = [f"i{item:02d}" for item in range(24)]
    walks = {
        f"u{user:03d}": [ids[(user + step) % 24] for step in range(5 + user % 3)]
        for user in range(150)
    }
    ready = make_prepared(walks)
    noisy = {"random": Random(), "transitions": Transitions(), "popular": Popular()}
    model = Hybrid(noisy, llm=(), depth=12, hidden=8, epochs=40, learning_rate=0.02).fit(ready)
    newest = ready.item[np.flatnonzero(np.diff(ready.user, append=-1))]
    best = model.rank(np.arange(ready.n_users), 1)[0][:, 0]
    assert (best == (newest + 1) % 24).mean() > 0.95
    assert model.history.losses[-1] < model.history.losses[0]


def test_ten_users_are_learned_by_heart_to_a_perfect_ranking(tiny: Prepared) -> None:
    inner = last_out(tiny)
    model = Hybrid(parts(), depth=8, hidden=64, dropout=0.0)
    asked = np.flatnonzero(np.diff(inner.relevant.indptr))
    fusion = _fused(parts()).fit(inner.train)
    ten = _Slates.of(model, fusion, asked, inner.relevant).with_a_target().rows(np.arange(10))
    with seeded(0, 0):
        network = _Network(model, ten)

    def first() -> float:
        with torch.inference_mode():
            best = network(ten.batch(np.arange(10))).argmax(dim=1).numpy()
        return float(ten.relevant[np.arange(10), best].mean())

    assert first() < 0.8
    settings = Training(epochs=150, learning_rate=0.02, weight_decay=0.0, schedule="constant")
    train(network, ten, model._loss, settings=settings, collate=as_it_is, progress=False)
    assert first() == 1


def test_it_learns_from_parts_that_did_not_see_what_is_asked(
    tiny: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the network would trust whatever learns its data by heart."""
    inner, seen = last_out(tiny), []
    real = Popular._fit

    def spy(self: Popular, prepared: Prepared, rng: int) -> None:
        seen.append(prepared.fingerprint)
        real(self, prepared, rng)

    monkeypatch.setattr(Popular, "_fit", spy)
    Hybrid(parts(), **QUICK).fit(tiny)
    assert seen == [inner.train.fingerprint, tiny.fingerprint]


def test_the_parts_themselves_stay_fitted_on_everything(tiny: Prepared) -> None:
    """They may be shared with fusions that are scored in the same pass."""
    shared = parts()
    fusion = Fusion(shared, {"content": 1}).fit(tiny)
    Hybrid(shared, **QUICK).fit(tiny)
    assert fusion.fitted_on(tiny)


def test_a_target_that_no_part_found_is_not_learned_from(tiny: Prepared) -> None:
    """Put among the candidates, it would be known by its poor places in all lists."""
    model = Hybrid(parts(), **{**QUICK, "depth": 1})
    inner = last_out(tiny)
    asked = np.flatnonzero(np.diff(inner.relevant.indptr))
    fusion = _fused(parts()).fit(inner.train)
    slates = _Slates.of(model, fusion, asked, inner.relevant)
    ranked = {name: part.rank(asked, 1)[0] for name, part in fusion.parts.items()}
    held_out = inner.relevant.indices[inner.relevant.indptr[asked]]
    hit = np.any([top[:, 0] == held_out for top in ranked.values()], axis=0)
    np.testing.assert_array_equal(slates.relevant.any(axis=1), hit)
    assert len(slates.with_a_target()) == hit.sum() < len(asked)


@pytest.mark.parametrize(
    "change",
    [{"llm": ()}, {"trad": False}, {"directions": 0}, {"llm": ("content", "language")}],
)
def test_each_half_can_be_switched_off(tiny: Prepared, change: dict[str, object]) -> None:
    users = np.arange(tiny.n_users)
    whole = Hybrid(parts(), **QUICK).fit(tiny).score(users)
    other = Hybrid(parts(), **{**QUICK, **change}).fit(tiny).score(users)
    np.testing.assert_array_equal(np.isnan(whole), np.isnan(other))
    assert not np.allclose(whole, other, equal_nan=True)


def test_without_h_trad_the_other_parts_scores_count_nothing(tiny: Prepared) -> None:
    model = Hybrid(parts(), **QUICK, trad=False)
    slates = _Slates.of(model, _fused(parts()).fit(tiny), np.arange(8))
    with torch.inference_mode():
        network = _Network(model, slates).eval()
        before = network(slates.batch(np.arange(8)))
        inputs = slates.inputs.copy()
        inputs[..., [0, 1, 3, 4, 6, 7]] = 7  # all of content and popular, popularity, history
        after = network(replace(slates, inputs=inputs).batch(np.arange(8)))
    torch.testing.assert_close(before, after)


def test_without_the_vectors_h_llm_sees_only_scores(tiny: Prepared) -> None:
    model = Hybrid(parts(), **QUICK, directions=0).fit(tiny)
    assert model._network.look is None and model._network.llm is not None


def test_vectors_are_seen_in_the_main_directions_of_the_fit_and_in_no_other(
    tiny: Prepared,
) -> None:
    model = Hybrid(parts(), **QUICK, directions=4).fit(tiny)
    slates = _Slates.of(model, model._fusion, np.arange(10))
    main = model._network.directions.numpy()
    centred = slates.item_vectors - slates.item_vectors.mean(axis=0)
    spectrum = np.linalg.svd(centred, compute_uv=False)
    assert main.shape == (slates.item_vectors.shape[1], 4)
    np.testing.assert_allclose(np.linalg.norm(centred @ main, axis=0), spectrum[:4], rtol=1e-3)

    def scored(user_vectors: Scores) -> torch.Tensor:
        with torch.inference_mode():
            batch = replace(slates, user_vectors=user_vectors).batch(np.arange(10))
            return model._network(batch)

    away = np.random.default_rng(0).standard_normal(slates.user_vectors.shape, np.float32)
    inside = away @ main @ main.T
    before = scored(slates.user_vectors)
    torch.testing.assert_close(scored(slates.user_vectors + away - inside), before)
    assert not torch.allclose(scored(slates.user_vectors + inside), before)


def test_networks_with_the_same_parts_share_what_was_collected(
    tiny: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def counted(fusion: Fusion, users: Indices, *, depth: int) -> Candidates:
        asked.append(depth)
        return candidates(fusion, users, depth=depth)

    monkeypatch.setattr("reclib.models.hybrid.candidates", counted)
    users, shared = np.arange(tiny.n_users), parts()
    whole = Hybrid(shared, **QUICK).fit(tiny)
    once = len(asked)
    half = Hybrid(shared, **QUICK, trad=False).fit(tiny)
    assert len(asked) == once
    Hybrid(shared, **QUICK, trad=False).fit(tiny, rng=1)  # nothing but the seed differs
    Hybrid(shared, **{**QUICK, "depth": 5}).fit(tiny)
    assert len(asked) == 3 * once
    whole.score(users)
    before = len(asked)
    shared_scores = half.score(users)
    assert len(asked) == before
    alone = Hybrid(parts(), **QUICK, trad=False).fit(tiny)
    np.testing.assert_array_equal(shared_scores, alone.score(users))


def test_diversity_makes_lists_more_diverse_in_the_space_it_knows(tiny: Prepared) -> None:
    def similarity(diversity: float) -> float:
        model = Hybrid(parts(), **{**QUICK, "epochs": 15}, diversity=diversity).fit(tiny)
        vectors = Content().fit(tiny).features.items.toarray()
        top = model.rank(np.arange(tiny.n_users), 5)[0]
        return float(np.mean([vectors[row] @ vectors[row].T for row in top]))

    assert similarity(50.0) < similarity(0.0)


def test_a_seed_gives_the_same_scores_and_a_kept_training_too(tiny: Prepared) -> None:
    users = np.arange(tiny.n_users)
    one = Hybrid(parts(), **QUICK).fit(tiny, rng=3)
    two = Hybrid(parts(), **QUICK).fit(tiny, rng=3)  # its training comes from the cache
    other = Hybrid(parts(), **QUICK).fit(tiny, rng=4)
    np.testing.assert_array_equal(one.score(users), two.score(users))
    assert one.history == two.history
    assert not np.allclose(one.score(users), other.score(users), equal_nan=True)


def test_scores_do_not_depend_on_who_else_is_asked(fitted: Hybrid) -> None:
    together = fitted.score([3, 9, 27])
    for row, user in enumerate((3, 9, 27)):
        np.testing.assert_allclose(fitted.score([user])[0], together[row], rtol=1e-5, atol=1e-6)


def test_places_in_lists_are_counted_from_the_best(fitted: Hybrid) -> None:
    found = candidates(fitted._fusion, np.array([4]), depth=8)
    inputs = _inputs(found, np.zeros(30, np.float32))
    for part in range(3):
        order = np.argsort(-found.scores[part, 0], kind="stable")
        place = inputs[0, order, 3 + part]
        np.testing.assert_allclose(place, 1 / np.log2(np.arange(len(order)) + 2), rtol=1e-6)


def test_blocks_of_different_widths_are_padded() -> None:
    whole = _padded([np.ones((2, 1), int), np.full((1, 3), 2)], -1)
    assert whole.tolist() == [[1, -1, -1], [1, -1, -1], [2, 2, 2]]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"llm": ("gpt",)}, "unknown part 'gpt'"),
        ({"llm": (), "trad": False}, "neither h_LLM nor h_trad is left"),
        ({"main": "hinge"}, "unknown main loss 'hinge'"),
        ({"depth": 0}, "depth is 0; allowed is 1 or more"),
        ({"dropout": 1.0}, "dropout is 1.0; allowed"),
        ({"diversity": -0.1}, "diversity is -0.1; allowed"),
        ({"epochs": 0}, "epochs is 0; allowed is 1 or more"),
    ],
)
def test_a_parameter_out_of_range_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ReclibError, match=message):
        Hybrid(parts(), **settings)


def test_without_any_hit_there_is_nothing_to_learn_from(
    make_prepared: Callable[..., Prepared],
) -> None:
    """Each product is had once, so that no part can find the held-out one."""
    ready = make_prepared({"anna": "ABC", "bert": "DEF"})
    with pytest.raises(ReclibError, match="no held-out product is among the best 1 of any part"):
        Hybrid({"a": Transitions(), "b": Transitions()}, llm=(), depth=1).fit(ready)
