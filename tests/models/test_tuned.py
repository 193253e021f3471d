"""The tuned language model: what it learns from, what it learns, and what it leaves alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from reclib.data import Prepared, history_weights, item_texts
from reclib.errors import ReclibError
from reclib.models import Language, tuned
from reclib.models.steps import Steps
from reclib.models.towers import READ, Table, Towers
from reclib.models.tuned import TunedLanguage

SMALL: dict[str, Any] = {"epochs": 3, "batch_size": 32, "negatives": 20, "learning_rate": 0.01}


@pytest.fixture
def real_encoder() -> None:
    """Leave the encoder in its place."""


@pytest.fixture(autouse=True)
def _made_up_encoder(request: pytest.FixtureRequest) -> None:
    if "real_encoder" not in request.fixturenames:
        request.getfixturevalue("fake_encode")


def everyone(prepared: Prepared) -> np.ndarray:
    return np.arange(prepared.n_users)


@pytest.mark.parametrize("whitening", ["centre", "whiten"])
def test_frozen_it_is_the_language_model(tiny: Prepared, whitening: str) -> None:
    plain = Language(whitening=whitening, ridge=0.3).fit(tiny)
    frozen = TunedLanguage(tuning="frozen", whitening=whitening, ridge=0.3).fit(tiny)
    np.testing.assert_array_equal(frozen.score(everyone(tiny)), plain.score(everyone(tiny)))
    assert frozen.training is None and frozen.costs.keys() == plain.costs.keys()


def test_before_training_it_is_the_language_model(tiny: Prepared) -> None:
    still = TunedLanguage(**{**SMALL, "learning_rate": 1e-12}).fit(tiny)
    plain = Language(whitening="whiten").fit(tiny)
    difference = still.score(everyone(tiny)) - plain.score(everyone(tiny))
    assert abs(difference).max() < 1e-5


CONCEPTS, COPIES = 6, 8


@pytest.fixture(scope="module")
def planted(make_prepared: Callable[..., Prepared]) -> Prepared:
    """Who had a left{j} takes a right{j}; words share nothing, and copy 0 nobody took.

    The last users had one left thing only, each of another concept.
    """
    rng = np.random.default_rng(0)
    titles = {
        f"{side}{j}{copy}": f"{side}{j} kind{side}{j} only{side}{j}{copy}"
        for side in ("left", "right")
        for j in range(CONCEPTS)
        for copy in range(COPIES)
    }
    histories = {}
    for user in range(40 * CONCEPTS):
        j = user % CONCEPTS
        left, right = rng.integers(COPIES), rng.integers(1, COPIES)
        histories[f"u{user:03d}"] = [f"left{j}{left}", f"right{j}{right}"]
    histories |= {f"x{j}": [f"left{j}{COPIES - 1}"] for j in range(CONCEPTS)}
    return make_prepared(histories, pd.DataFrame(titles.items(), columns=["item_id", "title"]))


def test_a_rule_of_behaviour_is_learned_and_holds_for_products_nobody_had(
    planted: Prepared,
) -> None:
    cold = planted.item_ids.get_indexer([f"right{j}0" for j in range(CONCEPTS)])
    assert not np.isin(cold, planted.item).any()
    askers = planted.user_ids.get_indexer([f"x{j}" for j in range(CONCEPTS)])

    def hits(**settings: Any) -> int:
        options = {**SMALL, "ridge": 1.0, "dropout": 0.0, "epochs": 20, **settings}
        scorer = TunedLanguage(**options).fit(planted)
        best = scorer.score(askers, cold).argmax(axis=1)
        return int((best == np.arange(CONCEPTS)).sum())

    assert hits() == CONCEPTS
    assert hits(tuning="frozen") < CONCEPTS / 2


@pytest.fixture(scope="module")
def messy(make_prepared: Callable[..., Prepared]) -> Prepared:
    """Long histories with repeats, strengths, and products without a text."""
    rng = np.random.default_rng(1)
    ids = [f"i{item}" for item in range(9)]
    titles = ["" if item % 4 == 0 else f"word{item} thing{item % 3}" for item in range(9)]
    histories = {f"u{user}": rng.choice(ids, rng.integers(1, 12)).tolist() for user in range(25)}
    n_events = sum(map(len, histories.values()))
    return make_prepared(
        histories,
        pd.DataFrame({"item_id": ids, "title": titles}),
        event=rng.choice(["click", "cart", "purchase"], n_events),
    )


@pytest.mark.parametrize("history", [2, 20])
def test_a_step_sees_the_profile_that_the_user_had_then(messy: Prepared, history: int) -> None:
    told = np.array([text != "" for text in messy.text])
    steps = Steps.of(messy, told, decay=0.6, history=history, negatives=3)
    batch = steps.__getitems__(list(range(len(steps))))
    found = torch.zeros(len(steps), messy.n_items)
    found.index_put_((batch.owner, batch.items[batch.before]), batch.weight, accumulate=True)
    place = 0
    for row in range(messy.n_events):  # naive: the data as they were before each event
        past = (messy.user == messy.user[row]) & (np.arange(messy.n_events) < row)
        before = messy.select(past)
        profile = history_weights(before, decay=0.6, history=history)[[messy.user[row]]]
        weights = profile.toarray()[0] * told
        if not (messy.new[row] and told[messy.item[row]] and weights.any()):
            continue
        assert batch.items[batch.own[place]] == messy.item[row]
        expected = weights / weights.sum()
        np.testing.assert_allclose(found[place] / found[place].sum(), expected, atol=1e-6)
        place += 1
    assert place == len(steps) > 30


def test_rivals_stand_for_the_catalogue_without_what_the_user_had(messy: Prepared) -> None:
    scorer = TunedLanguage(tuning="frozen", decay=0.6, negatives=20_000, temperature=0.3).fit(messy)
    steps = scorer._steps(messy)
    towers = Towers(Table(scorer.item_vectors), 48, 0.0)
    torch.manual_seed(0)
    nn.init.normal_(towers.user.weight, std=0.2)
    batch = steps.__getitems__(list(range(len(steps))))
    with torch.inference_mode():
        found = scorer._step_losses(towers, batch)["recommendation"]
        vectors, losses = towers.items(torch.arange(messy.n_items)), []
        for step in range(len(steps)):
            mine = batch.owner == step
            before = batch.items[batch.before[mine]]
            user = towers.users((batch.weight[mine, None] * vectors[before]).sum(0, keepdim=True))
            logits = (vectors @ user[0]) / 0.3
            logits[torch.from_numpy(~scorer._told)] = -torch.inf
            logits[before] = -torch.inf
            losses.append(-logits.log_softmax(0)[batch.items[batch.own[step]]])
    torch.testing.assert_close(found, torch.stack(losses).mean(), atol=0.02, rtol=0)


def test_no_text_and_no_history_are_not_scored(messy: Prepared) -> None:
    scorer = TunedLanguage(**SMALL).fit(messy.select(messy.user != 3))
    unknown = np.isnan(scorer.score(everyone(messy)))
    without = np.array([text == "" for text in messy.text])
    assert unknown[:, without].all() and unknown[3].all()
    heard = np.isin(np.arange(messy.n_users), messy.user[~without[messy.item]])
    assert not unknown[np.ix_(heard & (everyone(messy) != 3), ~without)].any()
    assert (scorer.item_vectors[without] == 0).all()


def test_training_is_counted_and_the_losses_fall(planted: Prepared) -> None:
    scorer = TunedLanguage(**SMALL).fit(planted)
    assert scorer.training is not None
    first, *_, last = scorer.training.losses
    assert last < first
    assert scorer.costs["fit"] == scorer.training.seconds > 0
    assert scorer.costs.keys() == {"fit", "encode", "encode tuned"}


def anew(tiny: Prepared, folder: Path, patch: pytest.MonkeyPatch, rng: int = 2) -> TunedLanguage:
    """A fit with a cache of its own, so that nothing is found in it."""
    patch.setattr("reclib.paths.CACHE", folder)
    return TunedLanguage(**SMALL).fit(tiny, rng=rng)


def test_a_seed_gives_the_same_scores_and_another_seed_others(
    tiny: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = torch.get_rng_state()
    one, two = (anew(tiny, tmp_path / name, monkeypatch) for name in "ab")
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(one.score(everyone(tiny)), two.score(everyone(tiny)))
    other = anew(tiny, tmp_path / "a", monkeypatch, rng=3)
    assert not np.allclose(other.score(everyone(tiny)), one.score(everyone(tiny)))


def test_a_fit_that_is_broken_off_goes_on_to_the_same_end(
    tiny: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = anew(tiny, tmp_path / "whole", monkeypatch)
    real, calls = TunedLanguage._loss, []

    def power_cut(self: TunedLanguage, *arguments: Any) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 10:
            raise KeyboardInterrupt
        return real(self, *arguments)

    monkeypatch.setattr(TunedLanguage, "_loss", power_cut)
    with pytest.raises(KeyboardInterrupt):
        anew(tiny, tmp_path / "broken", monkeypatch)
    resumed = anew(tiny, tmp_path / "broken", monkeypatch)
    n_steps = -(-len(whole._steps(tiny)) // SMALL["batch_size"])
    assert n_steps < 10 <= 2 * n_steps  # it broke off in the second epoch
    assert len(calls) == 10 + 2 * n_steps  # and the first was not done again
    assert resumed.training is not None and whole.training is not None
    assert resumed.training.losses == whole.training.losses
    np.testing.assert_array_equal(resumed.score(everyone(tiny)), whole.score(everyone(tiny)))


def test_a_finished_fit_is_found_again(
    tiny: Prepared, fresh_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = TunedLanguage(**SMALL).fit(tiny)
    monkeypatch.setattr(tuned, "train", lambda *_, **__: pytest.fail("trained again"))
    again = TunedLanguage(**SMALL).fit(tiny)
    assert again.costs == first.costs and again.training == first.training
    np.testing.assert_array_equal(again.score([0, 5]), first.score([0, 5]))


def test_the_configuration_makes_the_scorer_again() -> None:
    scorer = TunedLanguage(tuning="lora", lora_rank=3, negatives=7, history=4)
    twin = TunedLanguage(**scorer.config())
    assert twin.config() == scorer.config() and repr(twin) == repr(scorer)
    assert scorer.config()["lora_rank"] == 3 and "profile" not in scorer.config()


@pytest.mark.parametrize(
    "change",
    [
        {"whitening": "centre"},
        {"ridge": 2.0},
        {"decay": 0.4},
        {"history": 2},
        {"temperature": 0.5},
        {"dropout": 0.6},
        {"epochs": 1},
        {"learning_rate": 0.05},
        {"weight_decay": 20.0},
        {"batch_size": 16},
        {"negatives": 5},
    ],
)
def test_every_parameter_is_used(tiny: Prepared, change: dict[str, Any]) -> None:
    usual = TunedLanguage(**SMALL).fit(tiny).score([1, 2])
    assert not np.allclose(TunedLanguage(**{**SMALL, **change}).fit(tiny).score([1, 2]), usual)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tuning": "last"}, "unknown tuning 'last'.*last-k"),
        ({"layers": 0}, "layers is 0; allowed is 1 or more"),
        ({"lora_rank": 0}, "lora_rank is 0; allowed is 1 or more"),
        ({"negatives": 0}, "negatives is 0; allowed is 1 or more"),
        ({"temperature": 0.0}, "temperature is 0.0; allowed is a number above 0"),
        ({"encoder_rate": float("nan")}, "encoder_rate is nan"),
        ({"dropout": 1.0}, "dropout is 1.0; allowed is 0 <= dropout < 1"),
        ({"epochs": 0}, "epochs is 0; allowed is 1 or more"),
        ({"whitening": "center"}, "unknown whitening 'center'"),
    ],
)
def test_a_parameter_out_of_range_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ReclibError, match=message):
        TunedLanguage(**settings)


def test_users_of_one_product_each_teach_nothing(make_prepared: Callable[..., Prepared]) -> None:
    ready = make_prepared({"anna": "A", "bert": "BB"})
    with pytest.raises(ReclibError, match="no user of tiny has two different products with a text"):
        TunedLanguage(**SMALL).fit(ready)


@pytest.fixture(scope="module")
def shop(make_prepared: Callable[..., Prepared]) -> Prepared:
    """Few words, so that steps through the real encoder are quick."""
    titles = [
        "red lipstick",
        "dark lip colour",
        "USB cable",
        "phone charger",
        "green tea",
        "",
        "mug",
    ]
    items = pd.DataFrame({"item_id": list("ABCDEFG"), "title": titles})
    return make_prepared({"anna": "ABG", "bert": "CD", "cleo": "EGF", "dora": "BAE"}, items)


ENCODED = {"epochs": 1, "batch_size": 4, "negatives": 3, "encoder_rate": 1e-3}


@pytest.mark.usefixtures("real_encoder")
@pytest.mark.parametrize(
    ("pooling", "at_once"), [("mean", 8192), ("cls", 8192), ("mean", 20), ("mean", 1)]
)
def test_the_encoder_starts_from_the_frozen_vectors(
    shop: Prepared, monkeypatch: pytest.MonkeyPatch, pooling: str, at_once: int
) -> None:
    monkeypatch.setitem(READ, "cpu", at_once)  # few tokens at once: some texts, or one
    # a large ridge: directions without variance would show the last digits of bfloat16
    scorer = TunedLanguage(tuning="frozen", pooling=pooling, ridge=10.0).fit(shop)
    scorer.tuning = "lora"
    reader = scorer._reader([item_texts(shop)]).eval()
    calls: list[torch.Size] = []
    reader.model.register_forward_pre_hook(
        lambda _, __, given: calls.append(given["input_ids"].shape), with_kwargs=True
    )
    with torch.inference_mode():
        read = reader(torch.arange(shop.n_items)).numpy()
    assert all(size.numel() <= at_once or size[0] == 1 for size in calls)
    assert (len(calls) > 1) == (at_once < 8192)
    cosines = (read * scorer.item_vectors).sum(axis=1)
    assert (cosines[scorer._told] > 0.99).all()


@pytest.mark.usefixtures("real_encoder")
@pytest.mark.parametrize(
    ("settings", "trained"),
    [
        ({"tuning": "last-k", "layers": 1}, "layer.5."),
        ({"tuning": "lora", "lora_rank": 2}, "lora_"),
        ({"tuning": "full"}, ""),
    ],
    ids=["last-k", "lora", "full"],
)
def test_only_what_is_tuned_changes(
    shop: Prepared, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], trained: str
) -> None:
    seen: list[nn.Module] = []
    start: dict[str, torch.Tensor] = {}

    def spied(network: nn.Module, *arguments: Any, **options: Any) -> Any:
        seen.append(network)
        start.update({name: one.clone() for name, one in network.state_dict().items()})
        return real(network, *arguments, **options)

    real = tuned.train
    monkeypatch.setattr(tuned, "train", spied)
    scorer = TunedLanguage(**ENCODED, **settings).fit(shop)
    changed = {
        name for name, one in seen[0].state_dict().items() if not torch.equal(one, start[name])
    }
    assert {"item.weight", "user.weight"} <= changed
    encoder = {name for name in start if name.startswith("text.")}
    assert all(trained in name for name in changed & encoder)
    # a key's bias moves all scores of a row alike; nothing reads the pooler; LoRA's A has
    # no gradient while its B is 0
    idle = ("key.bias", "pooler", "position_ids", "lora_A")
    moved = {name for name in encoder if trained in name and not any(part in name for part in idle)}
    assert moved and moved <= changed
    scores = scorer.score(everyone(shop))
    assert np.isnan(scores).sum() == shop.n_users  # the product without a text
    assert not np.allclose(
        scores, TunedLanguage(tuning="frozen").fit(shop).score([0, 1, 2, 3]), equal_nan=True
    )


@pytest.mark.usefixtures("real_encoder")
def test_more_layers_than_there_are_are_refused(shop: Prepared) -> None:
    with pytest.raises(ReclibError, match="layers is 9; the encoder 'all-MiniLM-L6-v2' has 6"):
        TunedLanguage(tuning="last-k", layers=9).fit(shop)
