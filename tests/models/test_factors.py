"""Factor models: reproducible, quiet, and what they say they are."""

import warnings
from collections.abc import Callable

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from reclib.data import Prepared
from reclib.errors import Diverged, ReclibError
from reclib.models import Scorer
from reclib.models.factors import ALS, BPR

MAKE: dict[str, Callable[..., Scorer]] = {"als": ALS, "bpr": BPR}


@pytest.fixture(params=MAKE)
def make(request: pytest.FixtureRequest) -> Callable[..., Scorer]:
    return MAKE[request.param]


def test_the_number_of_threads_does_not_matter(
    make: Callable[..., Scorer],
    make_random: Callable[..., Prepared],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ready = make_random(3, n_users=400, n_items=150)
    scores = []
    for threads in (1, 2, 4, 4):
        monkeypatch.setattr("torch.get_num_threads", lambda threads=threads: threads)
        scores.append(make(factors=16, epochs=5).fit(ready, rng=2).score(np.arange(400)))
    for again in scores[1:]:
        np.testing.assert_array_equal(scores[0], again)


def test_another_seed_gives_another_model(make: Callable[..., Scorer], tiny: Prepared) -> None:
    one, two = (make(factors=4, epochs=3).fit(tiny, rng=rng).score([0]) for rng in (0, 1))
    assert not np.allclose(one, two)


def test_als_reaches_the_minimum_of_its_objective(make_random: Callable[..., Prepared]) -> None:
    """At the minimum every user's vector solves the weighted ridge regression on the items'."""
    ready = make_random(6)
    scorer = ALS(factors=3, alpha=5.0, regularisation=0.1, epochs=300).fit(ready)
    confidence = np.where(ready.matrix.toarray() > 0, 5 * ready.matrix.toarray(), 1)
    had = (ready.matrix.toarray() > 0).astype(float)
    items = scorer._items.astype(float)
    for user in range(ready.n_users):
        weighted = items * confidence[user, :, None]
        solved = np.linalg.solve(weighted.T @ items + 0.1 * np.eye(3), weighted.T @ had[user])
        np.testing.assert_allclose(scorer._users[user], solved, atol=5e-3)


def test_bpr_puts_what_was_had_before_what_was_not(make_random: Callable[..., Prepared]) -> None:
    ready = make_random(6)
    scores = BPR(factors=16, learning_rate=0.1, epochs=100).fit(ready).score(np.arange(40))
    had = ready.matrix.toarray() > 0
    better = [(row[own][:, None] > row[~own]).mean() for row, own in zip(scores, had, strict=True)]
    assert np.mean(better) > 0.9


def test_a_fit_is_quiet(
    make: Callable[..., Scorer],
    tiny: Prepared,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("implicit.utils._checked_blas_config", False)  # it warns once only
    with threadpool_limits(2, "blas"), warnings.catch_warnings():
        warnings.simplefilter("error")
        make(factors=4, epochs=2).fit(tiny).rank([0, 1])
        assert max(pool["num_threads"] for pool in threadpool_info()) == 2  # as it was
    assert capfd.readouterr() == ("", "")


def test_vectors_that_run_away_are_told_with_what_to_change(tiny: Prepared) -> None:
    model = BPR(factors=4, learning_rate=1e30, epochs=5)
    with pytest.raises(Diverged, match=r"bpr: the vectors ran away .*learning_rate=1e\+30"):
        model.fit(tiny)


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (ALS, {"factors": 0}, "factors is 0; allowed is a number from 1 on"),
        (ALS, {"epochs": 0}, "epochs is 0; allowed is a number from 1 on"),
        (ALS, {"alpha": -1.0}, "alpha is -1.0; allowed is a number from 0 on"),
        (BPR, {"regularisation": float("nan")}, "regularisation is nan"),
        (BPR, {"learning_rate": float("inf")}, "learning_rate is inf"),
    ],
)
def test_a_bad_parameter_is_refused_by_value(
    kind: type, arguments: dict[str, float], message: str
) -> None:
    with pytest.raises(ReclibError, match=message):
        kind(**arguments)
