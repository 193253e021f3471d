"""SASRec: what it learns from, its two losses, and fits that are broken off."""

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from reclib.data import Prepared
from reclib.errors import ReclibError
from reclib.models.sasrec import (
    AVERAGE,
    SASRec,
    _batches,
    _histories,
    _padded,
    _recent_mean,
    _windows,
)

SMALL = {"embedding_size": 16, "history": 6, "epochs": 3, "batch_size": 16, "negatives": 10}


@pytest.fixture(scope="module")
def cycle(make_prepared: Callable[..., Prepared]) -> Prepared:
    """Everybody goes round the same circle of twelve products, from wherever they start."""
    ids = [f"i{item:02d}" for item in range(12)]
    walks = {
        f"u{user:02d}": [ids[(user + step) % 12] for step in range(3 + user % 7)]
        for user in range(48)
    }
    return make_prepared(walks)


@pytest.mark.parametrize("loss", ["softmax", "sampled"])
def test_the_order_of_products_is_learned(cycle: Prepared, loss: str) -> None:
    scorer = SASRec(
        embedding_size=16,
        history=4,
        dropout=0.1,
        learning_rate=0.02,
        epochs=12,
        batch_size=16,
        loss=loss,
    ).fit(cycle)
    newest = [int(cycle.item[cycle.user == user][-1]) for user in range(cycle.n_users)]
    best = scorer.score(np.arange(cycle.n_users)).argmax(axis=1)
    np.testing.assert_array_equal(best, (np.array(newest) + 1) % 12)
    assert scorer.losses[-1] < 0.5 < scorer.losses[0]


def test_without_directions_both_neighbours_are_as_likely(cycle: Prepared) -> None:
    """Forwards only the next one follows; learned both ways, the one before does as well."""
    settings = {"embedding_size": 16, "history": 1, "dropout": 0.0, "learning_rate": 0.02}
    blind = SASRec(**settings, epochs=30, batch_size=16, loss="softmax", directed=False).fit(cycle)
    users = np.arange(cycle.n_users)
    newest = cycle.item[np.flatnonzero(np.diff(cycle.user, append=-1))]
    best = np.sort(np.argsort(-blind.score(users), axis=1)[:, :2], axis=1)
    around = np.sort(np.column_stack([newest - 1, newest + 1]) % 12, axis=1)
    np.testing.assert_array_equal(best, around)


def test_a_slice_can_be_read_backwards() -> None:
    items = torch.arange(10, 20)
    start, length = torch.tensor([3, 9]), torch.tensor([2, 3])
    rows, real = _padded(items, start, length, torch.tensor([1, -1]))
    assert rows[real].tolist() == [13, 14, 19, 18, 17]


def test_windows_ask_once_for_everything_but_a_users_first_product() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(0, 12, 50)
    start = torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)]))
    for history in (1, 4, 20):
        first, length = _windows(start, history)
        assert 1 <= length.min() and length.max() <= history
        expected = []
        for user, n in enumerate(lengths):  # naive: from the end, `history` steps at once
            last = n - 1
            while last > 0:
                begin = max(0, last - history)
                expected.append((int(start[user]) + begin, last - begin))
                last = begin
        assert list(zip(first.tolist(), length.tolist(), strict=True)) == expected


def test_a_batch_holds_every_window_once_and_similar_lengths() -> None:
    length = torch.from_numpy(np.random.default_rng(0).integers(1, 30, 1000))
    torch.manual_seed(0)
    batches = _batches(length, 32)
    assert sorted(torch.cat(batches).tolist()) == list(range(1000))
    real = sum(int(length[batch].sum()) for batch in batches)
    padded = sum(len(batch) * int(length[batch].max()) for batch in batches)
    assert padded < 1.15 * real  # batches drawn anyhow: some 1.9


def test_a_history_holds_a_product_once_where_it_was_met_first(
    make_prepared: Callable[..., Prepared],
) -> None:
    ready = make_prepared({"u0": ["a", "b", "a", "c"], "u1": ["c"]})
    items, start = _histories(ready)
    assert items.tolist() == [0, 1, 2, 2] and start.tolist() == [0, 3, 4]
    inputs, real = _padded(items, start[:-1], start.diff())
    assert inputs[real].tolist() == items.tolist() and real.sum(1).tolist() == [3, 1]


@pytest.fixture(scope="module")
def fitted(tiny: Prepared) -> SASRec:
    return SASRec(**SMALL).fit(tiny)


def test_padding_changes_nothing(fitted: SASRec, tiny: Prepared) -> None:
    """Nor does anything else that comes later: attention looks back only."""
    network = fitted._network
    ids = torch.randint(tiny.n_items, (3, 6), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        whole = network(network.products[ids])
        for n in (1, 4):
            torch.testing.assert_close(whole[:, :n], network(network.products[ids[:, :n]]))
        assert not torch.allclose(whole[:, 1], network(network.products[ids[:, 1:2]])[:, 0])


def test_the_sampled_loss_stands_for_the_whole_catalogue(fitted: SASRec, tiny: Prepared) -> None:
    """Σ exp over drawn products, each for n_items / negatives, is that over all, on average."""
    rng = torch.Generator().manual_seed(0)
    inputs = torch.randint(tiny.n_items, (8, 4), generator=rng)
    targets = torch.randint(tiny.n_items, (32,), generator=rng)
    real = torch.ones(8, 4, dtype=torch.bool)
    every, few = copy.copy(fitted), copy.copy(fitted)
    every.loss, few.negatives = "softmax", 5
    torch.manual_seed(0)
    with torch.inference_mode():
        whole = every._loss(fitted._network, inputs, targets, real)
        drawn = torch.stack([few._loss(fitted._network, inputs, targets, real) for _ in range(400)])
    torch.testing.assert_close(drawn.mean(), whole, atol=0.03, rtol=0)
    assert drawn.std() > 0


def test_averaged_weights_follow_fast_at_first_and_slowly_later() -> None:
    for count, share in [(0, 1.0), (10, 0.5), (10**6, AVERAGE)]:
        mean = [torch.zeros(2, 3)]
        _recent_mean(mean, [torch.ones(2, 3)], count)
        torch.testing.assert_close(mean[0], torch.full((2, 3), share))


def test_training_leaves_the_random_state_of_torch_alone(tiny: Prepared, fresh_cache: Path) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    SASRec(**SMALL).fit(tiny)
    assert torch.equal(torch.get_rng_state(), before)


def trained(tiny: Prepared, folder: Path, patch: pytest.MonkeyPatch, **settings: object) -> SASRec:
    """A fit with a cache of its own, so that nothing is found in it."""
    patch.setattr("reclib.paths.CACHE", folder)
    return SASRec(**{**SMALL, **settings}).fit(tiny, rng=2)


def test_a_seed_gives_the_same_scores_whatever_happened_before(
    tiny: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = (trained(tiny, tmp_path / name, monkeypatch) for name in "ab")
    assert one.losses == two.losses and one._trained != two._trained
    everyone = np.arange(tiny.n_users)
    np.testing.assert_array_equal(one.score(everyone), two.score(everyone))
    other = SASRec(**SMALL).fit(tiny, rng=3)
    assert not np.allclose(other.score(everyone), one.score(everyone))


def test_a_fit_that_is_broken_off_goes_on_to_the_same_end(
    tiny: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trained(tiny, tmp_path / "whole", monkeypatch)
    monkeypatch.setattr("reclib.paths.CACHE", tmp_path / "broken")
    broken, seen = SASRec(**SMALL), []

    def power_cut(scorer: SASRec, epoch: int) -> None:
        seen.append(epoch)
        if epoch == 2:
            raise KeyboardInterrupt

    broken.on_epoch = power_cut
    with pytest.raises(KeyboardInterrupt):
        broken.fit(tiny, rng=2)
    assert not broken.fitted_on(tiny, 2)
    broken.on_epoch = lambda scorer, epoch: seen.append(epoch)
    broken.fit(tiny, rng=2)
    # the epoch whose call failed was not kept, so it is called for again
    assert seen == [1, 2, 2, 3]
    assert broken.losses == whole.losses
    everyone = np.arange(tiny.n_users)
    np.testing.assert_array_equal(broken.score(everyone), whole.score(everyone))


def test_a_finished_fit_is_found_again(
    tiny: Prepared, fresh_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = SASRec(**SMALL).fit(tiny)
    monkeypatch.setattr(SASRec, "_epoch", lambda *_: pytest.fail("trained again"))
    again = SASRec(**SMALL).fit(tiny)
    assert again.losses == first.losses and again.costs == first.costs
    np.testing.assert_array_equal(again.score([0, 5]), first.score([0, 5]))


def test_a_fit_shows_the_scores_of_every_shorter_one(tiny: Prepared, fresh_cache: Path) -> None:
    everyone, curve = np.arange(tiny.n_users), {}
    scorer = SASRec(**{**SMALL, "epochs": 3})
    scorer.on_epoch = lambda fitted, epoch: curve.update({epoch: fitted.score(everyone)})
    scorer.fit(tiny)
    assert list(curve) == [1, 2, 3]
    for epoch, scores in curve.items():
        shorter = SASRec(**{**SMALL, "epochs": epoch}).fit(tiny)
        np.testing.assert_array_equal(shorter.score(everyone), scores)


def test_only_the_newest_products_count(tiny: Prepared, fitted: SASRec) -> None:
    newest = tiny.select(tiny.age < SMALL["history"])
    cut = SASRec(**SMALL).fit(newest)
    cut._network = fitted._network
    everyone = np.arange(tiny.n_users)
    assert np.bincount(tiny.user).max() > SMALL["history"]
    np.testing.assert_allclose(cut.score(everyone), fitted.score(everyone), atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "bce"}, "unknown loss 'bce': .*Allowed: softmax, sampled"),
        ({"epochs": 0}, "epochs is 0; allowed is 1 or more"),
        ({"embedding_size": 10, "heads": 3}, "embedding_size is 10, which 3 heads cannot share"),
        ({"dropout": 1.0}, "dropout is 1.0; allowed is 0 <= dropout < 1"),
        ({"learning_rate": -1.0}, "learning_rate is -1.0"),
        ({"weight_decay": float("nan")}, "weight_decay is nan"),
    ],
)
def test_a_parameter_out_of_range_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ReclibError, match=message):
        SASRec(**settings)


def test_a_loss_that_explodes_is_reported_with_its_epoch_and_rate(
    tiny: Prepared, fresh_cache: Path
) -> None:
    with pytest.raises(ReclibError, match=r"loss of epoch \d is nan with learning_rate 1e\+30"):
        SASRec(**{**SMALL, "learning_rate": 1e30}).fit(tiny)


def test_users_of_one_product_each_teach_nothing(make_prepared: Callable[..., Prepared]) -> None:
    ready = make_prepared({"u0": ["a"], "u1": ["b", "b"]})
    with pytest.raises(ReclibError, match="no user of tiny has two different products"):
        SASRec(**SMALL).fit(ready)


@pytest.mark.parametrize(
    "change",
    [
        {"layers": 1},
        {"heads": 2},
        {"dropout": 0.1},
        {"learning_rate": 0.1},
        {"weight_decay": 5.0},
        {"loss": "softmax"},
        {"negatives": 5},
        {"history": 2},
        {"batch_size": 8},
        {"embedding_size": 8},
    ],
)
def test_every_parameter_is_used(fitted: SASRec, tiny: Prepared, change: dict[str, object]) -> None:
    scores = SASRec(**{**SMALL, **change}).fit(tiny).score([1, 2])
    assert not np.allclose(scores, fitted.score([1, 2]))
