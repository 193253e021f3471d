"""Shards on real worker processes: the outcome of one machine, and no shard is lost."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from reclib import paths
from reclib.data import Fold, leave_one_out, load, prepare
from reclib.errors import ReclibError
from reclib.evaluation import ranking_metrics
from reclib.models import Collaborative, Content, Fusion, Popular, Scorer, Transitions, encoder
from reclib.models.encoder import encode
from reclib.study import shards
from reclib.study.cluster import connect
from reclib.study.shards import encode_sharded, rank_sharded

if TYPE_CHECKING:
    from distributed import Client


@pytest.fixture(scope="module")
def two() -> Iterator["Client"]:
    """A scheduler and two worker processes on loopback, reached by address."""
    with connect(workers=2) as here, connect(here.scheduler.address) as client:
        assert client.scheduler.address.startswith("tcp://127.0.0.1:")
        client.wait_for_workers(2)
        yield client


@pytest.fixture(scope="module")
def smoke() -> Fold:
    return leave_one_out(prepare(load("simulated", size="smoke"))).test


def same(scorer: Scorer, fold: Fold, found: shards.Ranked, batch_size: int) -> None:
    top, _ = scorer.rank(np.arange(fold.train.n_users), 10, batch_size=batch_size)
    assert (found.top == top).all()
    for name, values in ranking_metrics(top, fold.relevant).items():
        np.testing.assert_allclose(found.metrics[name], values, rtol=0, atol=1e-12)


@pytest.mark.slow
def test_the_smoke_set_is_ranked_as_on_one_machine(two: "Client", smoke: Fold) -> None:
    parts = {"content": Content(), "collaborative": Collaborative()}
    for scorer in (Fusion(parts, {"content": 1.0, "collaborative": 1.0}), Popular()):
        scorer.fit(smoke.train)
        found = rank_sharded(scorer, smoke, two, batch_size=16, n_shards=5, progress=False)
        same(scorer, smoke, found, 16)
    assert not list((paths.CACHE / "shards").iterdir())  # the scorer's file goes with the call


@pytest.mark.slow
@pytest.mark.real_data
def test_amazon_beauty_is_ranked_as_on_one_machine(
    two: "Client", real_data: Callable[[str], Path]
) -> None:
    real_data("amazon-beauty")
    fold = leave_one_out(prepare(load("amazon-beauty", size="full"))).test
    scorer = Transitions().fit(fold.train)
    same(scorer, fold, rank_sharded(scorer, fold, two, progress=False), 1024)


@pytest.mark.slow
def test_a_shard_whose_worker_is_killed_is_done_again(
    two: "Client", smoke: Fold, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One worker dies with half of the shards in its queue."""
    scorer = Content().fit(smoke.train)
    before = two.run(os.getpid)
    submit, left = two.submit, [3]

    def kill_at_the_last(*given: Any, **options: Any) -> Any:
        future = submit(*given, **options)
        left[0] -= 1
        if left[0] == 0:
            os.kill(next(iter(before.values())), signal.SIGKILL)
        return future

    monkeypatch.setattr(two, "submit", kill_at_the_last)
    found = rank_sharded(scorer, smoke, two, batch_size=16, n_shards=3, progress=False)
    assert left == [0]
    same(scorer, smoke, found, 16)
    two.wait_for_workers(2)
    assert set(two.run(os.getpid).values()) != set(before.values())


@pytest.mark.slow
def test_workers_encode_what_one_machine_then_only_reads(
    two: "Client", fresh_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"thing number {number}" for number in range(5)] * 2 + ["", "a much longer title"]
    monkeypatch.setattr(shards, "PART", 2)
    with pytest.raises(ReclibError, match="a worker has the cache"):
        encode_sharded(texts, two, progress=False)
    monkeypatch.setattr(encoder, "PART", 2)
    two.run(setattr, paths, "CACHE", fresh_cache)
    two.run(setattr, encoder, "PART", 2)
    two.run(os.environ.pop, "RECLIB_DEVICE", None)
    made = encode_sharded(texts, two, n_shards=2, progress=False)
    monkeypatch.setattr(encoder, "load_encoder", None)
    assert (encode(texts, progress=False).vectors == made.vectors).all()
    monkeypatch.undo()
    monkeypatch.setattr(paths, "CACHE", fresh_cache / "other")
    monkeypatch.setattr(encoder, "PART", 2)
    assert (encode(texts, progress=False).vectors == made.vectors).all()


class OneWorker:
    """A client that plays its only worker itself."""

    def nthreads(self) -> dict[str, int]:
        return {"here": 1}


def test_shards_hold_whole_batches_in_order() -> None:
    for n_users in (1, 7, 8, 9, 100):
        for n_shards in (1, 2, 3, 50):
            parts = shards._shards(np.arange(n_users), 4, n_shards, OneWorker())
            assert (np.concatenate(parts) == np.arange(n_users)).all()
            assert all(len(part) % 4 == 0 for part in parts[:-1])
            assert len(parts) == min(n_shards, -(-n_users // 4))
    assert len(shards._shards(np.arange(100), 4, None, OneWorker())) == shards.SHARDS_PER_WORKER


def test_what_cannot_be_shared_out_is_refused(tiny: Any) -> None:
    fold = leave_one_out(tiny).test
    with pytest.raises(ReclibError, match="not fitted on the fold's train"):
        rank_sharded(Popular().fit(tiny), fold, OneWorker())
    fitted = Popular().fit(fold.train)
    with pytest.raises(ReclibError, match="n_shards is 0"):
        rank_sharded(fitted, fold, OneWorker(), n_shards=0)
    with pytest.raises(ReclibError, match="batch_size is 0"):
        rank_sharded(fitted, fold, OneWorker(), batch_size=0)
    with pytest.raises(ReclibError, match="does not see"):
        shards._opened(Path("nowhere"))
    with pytest.raises(ReclibError, match="start the workers again"):
        shards._check_code(("errors.py",), "other")
