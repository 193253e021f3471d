"""Shared by all tests: a cache of their own, tiny data, a made-up encoder."""

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest

from reclib import paths
from reclib.data import Marketplace, Prepared, prepare
from reclib.data.schema import Interactions, Items, validated
from reclib.models.encoder import Embeddings

matplotlib.use("Agg")

Histories = Mapping[str, Sequence[str]]


def market(histories: Histories, items: pd.DataFrame | None = None, **columns: Any) -> Marketplace:
    """A marketplace from each user's products, oldest first; `columns` go to the events."""
    rows = [
        (user, item, position)
        for user, history in histories.items()
        for position, item in enumerate(history)
    ]
    events = pd.DataFrame(rows, columns=["user_id", "item_id", "position"]).assign(**columns)
    if items is None:
        ids = sorted(set(events["item_id"]))
        words = [f"thing number{place % 3}" for place in range(len(ids))]
        items = pd.DataFrame({"item_id": ids, "title": words})
    return Marketplace(
        "tiny",
        validated(events, Interactions, "tiny interactions"),
        validated(items, Items, "tiny items"),
    )


def random_market(seed: int, *, n_users: int = 40, n_items: int = 30) -> Marketplace:
    """Users with a liking for one of four topics; texts, brands and prices of products."""
    rng = np.random.default_rng(seed)
    topic = np.arange(n_items) % 4
    words = np.array([[f"{name}{n}" for n in range(6)] for name in ("tea", "ink", "rope", "lamp")])
    items = pd.DataFrame(
        {
            "item_id": [f"i{item:03d}" for item in range(n_items)],
            "title": [" ".join(rng.choice(words[t], 3, replace=False)) for t in topic],
            "categories": [f"shop > {words[t][0]}" for t in topic],
            "brand": [f"maker {n}" for n in rng.integers(0, 5, n_items)],
            "price": np.where(rng.random(n_items) < 0.2, np.nan, rng.lognormal(3, 1, n_items)),
        }
    )
    histories = {}
    for user in range(n_users):
        chance = np.where(topic == rng.integers(4), 5.0, 1.0)
        length = int(rng.integers(4, 9))
        chosen = rng.choice(n_items, length, replace=False, p=chance / chance.sum())
        histories[f"u{user:03d}"] = [f"i{item:03d}" for item in chosen]
    return market(histories, items)


def bag_of_words(texts: Sequence[str], **_: object) -> Embeddings:
    """Stand in for the encoder: every word has a fixed random vector, a text their sum."""
    vectors = np.zeros((len(texts), 48), np.float32)
    for row, text in enumerate(texts):
        for word in text.split():
            generator = np.random.default_rng(zlib.crc32(word.encode()))
            vectors[row] += generator.normal(size=48).astype(np.float32)
    return Embeddings(vectors, len(set(texts)), 1.5, "cpu", "float32")


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing in this process touches the project's cache; kernels that a test starts do use it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "CACHE", tmp_path_factory.mktemp("cache"))
        yield


@pytest.fixture
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for this test alone."""
    folder = tmp_path / "fresh-cache"
    monkeypatch.setattr(paths, "CACHE", folder)
    return folder


@pytest.fixture(scope="session")
def make_market() -> Callable[..., Marketplace]:
    return market


@pytest.fixture(scope="session")
def make_prepared() -> Callable[..., Prepared]:
    """Build `Prepared` from histories, as `market` does; short histories are kept."""

    def build(histories: Histories, items: pd.DataFrame | None = None, **columns: Any) -> Prepared:
        return prepare(market(histories, items, **columns), min_events=1)

    return build


@pytest.fixture(scope="session")
def make_random() -> Callable[..., Prepared]:
    """Build random `Prepared` of a seed and a size."""

    def build(seed: int, **size: int) -> Prepared:
        return prepare(random_market(seed, **size))

    return build


@pytest.fixture(scope="session")
def tiny() -> Prepared:
    """Forty users and thirty products with texts, brands, categories and prices."""
    return prepare(random_market(0))


@pytest.fixture(scope="module")
def made_up_encoder() -> Iterator[None]:
    """Let the language scorer encode with `bag_of_words`, in a whole module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("reclib.models.language.encode", bag_of_words)
        yield


@pytest.fixture
def fake_encode(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Embeddings]:
    """Let the language scorer encode with `bag_of_words`."""
    monkeypatch.setattr("reclib.models.language.encode", bag_of_words)
    return bag_of_words


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """Folder of a real data set; skips where it is absent."""

    def folder(name: str) -> Path:
        place = paths.data_dir() / name
        if not place.is_dir():
            pytest.skip(f"{name} is not in {paths.data_dir()}; set RECLIB_DATA")
        return place

    return folder
