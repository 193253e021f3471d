"""The control of the tuned language model: the same towers, and no language model."""

import numpy as np
import pytest

from reclib.data import Prepared
from reclib.data.features import item_words
from reclib.errors import ReclibError
from reclib.models import TunedContent
from reclib.study.spaces import spaces

pytestmark = pytest.mark.usefixtures("fresh_cache")


def test_before_it_has_learned_products_are_alike_as_their_words_are(tiny: Prepared) -> None:
    model = TunedContent(dimensions=10_000, whitening="none", learning_rate=1e-9, epochs=1)
    made = model.fit(tiny).item_vectors
    words = item_words(tiny)[0].toarray()
    known = (words != 0).any(axis=1)
    assert known.sum() > 10
    np.testing.assert_allclose(
        made[known] @ made[known].T, words[known] @ words[known].T, atol=1e-4
    )


def test_no_encoder_is_asked(tiny: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    def encode(*_: object, **__: object) -> None:
        raise AssertionError("an encoder was asked")

    monkeypatch.setattr("reclib.models.language.encode", encode)
    model = TunedContent(dimensions=8, epochs=1).fit(tiny)
    assert model.item_vectors.shape == (tiny.n_items, 8)
    assert model.training is not None and set(model.costs) == {"fit"}


def test_it_is_tuned_as_the_language_model_is() -> None:
    mine, other = spaces()["content:tuned"], spaces()["language:tuned"]
    assert mine.ranges == other.ranges and mine.max_trials == other.max_trials
    given, usual = mine.make({}).config(), other.make({}).config()
    shared = given.keys() & usual.keys()
    assert len(shared) > 8
    assert {name: given[name] for name in shared} == {name: usual[name] for name in shared}


def test_dimensions_out_of_range_are_refused() -> None:
    with pytest.raises(ReclibError, match="dimensions is 0; allowed is 1 or more"):
        TunedContent(dimensions=0)
