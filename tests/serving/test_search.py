"""The search: matching products first, in the order of the customer, and what it leaves behind."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reclib.data import Marketplace, prepare
from reclib.errors import ReclibError
from reclib.models import Content, Fusion, ItemKNN, Popular
from reclib.serving import Shop, Store, with_evaluations
from reclib.serving import store as module
from reclib.serving.shop import PERSONAL, SEARCH

WORDS = ("tea", "ink", "rope", "lamp", "red", "blue", "small", "old")
QUERIES = ("tea", "red tea", "old blue lamp", "ROPE, rope & ink!", "small zebra", "i07 number7")


@pytest.fixture(scope="module")
def market(make_market: Callable[..., Marketplace]) -> Marketplace:
    rng = np.random.default_rng(4)
    texts = [" ".join(rng.choice(WORDS, rng.integers(2, 6))) for _ in range(50)]
    items = pd.DataFrame(
        {
            "item_id": [f"i{n:02d}" for n in range(50)],
            "title": [f"{text} number{n}" for n, text in enumerate(texts)],
        }
    )
    histories = {f"u{n:02d}": list(rng.choice(items["item_id"], 6, False)) for n in range(25)}
    return make_market(histories, items, event="purchase")


@pytest.fixture(scope="module")
def fusion(market: Marketplace) -> Fusion:
    parts = {"content": Content(context_weight=0), "item-knn": ItemKNN(shrink=1)}
    weights = {"content": 1.0, "item-knn": 1.0}
    return Fusion(parts, weights, normalise="global", name="two").fit(prepare(market))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "shop.db") as made:
        yield made


@pytest.fixture
def shop(store: Store, fusion: Fusion) -> Shop:
    made = Shop(store, fusion, trade_off=1.0)
    store.register("new")
    return made


def cosines(texts: list[str], query: str) -> np.ndarray:
    """Cosines of texts with a query in BM25 weights, in plain loops."""
    split = ["".join(c if c.isalnum() else " " for c in t.lower()).split() for t in [*texts, query]]
    bags = [{word: words.count(word) for word in words} for words in split]
    known = set().union(*bags[:-1])
    length = np.mean([sum(bag.values()) for bag in bags[:-1]])
    vectors = []
    for bag in bags:
        own = {word: f for word, f in bag.items() if word in known}
        half = 1.2 * (1 - 0.75 + 0.75 * sum(own.values()) / length)
        vector = {}
        for word, f in own.items():
            n = sum(word in other for other in bags[:-1])
            vector[word] = f / (f + half) * np.log(1 + (len(texts) - n + 0.5) / (n + 0.5))
        vectors.append(vector)
    norms = [np.sqrt(sum(value**2 for value in vector.values())) for vector in vectors]
    asked = vectors[-1]
    return np.array(
        [
            sum(value * asked.get(word, 0) for word, value in vector.items())
            / max(norm * norms[-1], 1e-12)
            for vector, norm in zip(vectors[:-1], norms, strict=False)
        ]
    )


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("user", [None, "new", "u03"])
def test_a_list_is_what_the_definition_says(
    shop: Shop, fusion: Fusion, query: str, user: str | None
) -> None:
    prepared = fusion.prepared
    assert prepared is not None
    match = cosines(list(prepared.items["title"]), query)
    found = np.flatnonzero(match > 0)
    if user == "u03":
        own = np.nan_to_num(fusion.score([3])[0, found])
    else:
        own = np.bincount(prepared.matrix.indices, minlength=50)[found]
    total = (1 - PERSONAL) * match[found] / match.max() + PERSONAL * own / np.abs(own).max()
    shown = shop.search(query, 50, user_id=user)
    assert {one.item_id for one in shown} == set(prepared.item_ids[found])
    expected = dict(zip(prepared.item_ids[found], total, strict=True))
    for one in shown:
        assert one.score == pytest.approx(expected[one.item_id], abs=1e-5)
        assert one.score == pytest.approx(sum(one.parts.values()), abs=1e-6)
        assert (one.reason.part, one.propensity) == (SEARCH, 1.0)
        for word in query.lower().replace(",", "").split():
            assert (f"“{word}”" in str(one.reason)) == (word in one.title.split())
    assert [one.score for one in shown] == sorted((one.score for one in shown), reverse=True)


def test_among_equal_matches_the_own_come_first(
    shop: Shop, store: Store, market: Marketplace
) -> None:
    titles = {row["item_id"]: row["title"].split() for row in market.items.iter_rows(named=True)}
    for item in [name for name, words in titles.items() if "lamp" in words][:5]:
        store.purchase("new", item)

    def place(user: str | None) -> float:
        shown = shop.search("red", 50, user_id=user)
        assert all("red" in titles[one.item_id] for one in shown)
        return np.mean([one.rank for one in shown if "lamp" in titles[one.item_id]])

    assert place("new") < place(None)


def test_a_word_of_one_product_finds_it(shop: Shop) -> None:
    assert [one.item_id for one in shop.search("number17")] == ["i17"]


def test_what_was_had_or_disliked_is_found_by_name(shop: Shop, store: Store) -> None:
    store.purchase("new", "i17")
    store.rate("u03", "i17", 1)
    for user in ("new", "u03"):
        assert [one.item_id for one in shop.search("number17", user_id=user)] == ["i17"]
        assert "i17" not in {one.item_id for one in shop.recommend(user, 40)}


@pytest.mark.parametrize(
    "query",
    [
        "the of and",
        "zebra",
        " ",
        "'; DROP TABLE customers; --",
        "%' OR '1'='1",
        "<script>alert(1)</script>",
        "ψ🫖",
        "x" * 200,
    ],
)
def test_what_matches_nothing_gives_an_empty_list_and_is_saved_as_typed(
    shop: Shop, store: Store, query: str
) -> None:
    assert shop.search(query, user_id="new") == []
    assert store.searches("new") == [query]
    assert store.searches("u03") == []
    assert len(shop.recommend("new")) == 10


@pytest.mark.parametrize(
    "query",
    ["", "x" * 201, "x" * 10**6, None, float("nan"), 7, b"tea", ["tea"], "half \udcff", "null \0"],
)
def test_what_is_no_query_is_refused(shop: Shop, store: Store, query: str) -> None:
    with pytest.raises(ReclibError, match="query") as caught:
        shop.search(query, user_id="new")
    assert len(str(caught.value)) < 200
    assert store.searches("new") == []
    with pytest.raises(ReclibError, match="query"):
        store.log([], policy="p", query=query if query is not None else "")


def test_who_is_unknown_cannot_search(shop: Shop, store: Store) -> None:
    for act in (lambda: shop.search("tea", user_id="eve"), lambda: store.searches("eve")):
        with pytest.raises(ReclibError, match="unknown customer"):
            act()
    for k in (0, 101, 1.5, True):
        with pytest.raises(ReclibError, match="k is"):
            shop.search("tea", k)  # type: ignore[arg-type]


def test_a_search_changes_the_lists_after_the_refit(
    shop: Shop, store: Store, market: Marketplace
) -> None:
    shown = shop.search("old blue lamp", user_id="u03")
    store.click("u03", shown[0].item_id, impression=shown[0].impression)
    store.click("u04", shown[0].item_id)  # without a search
    log = store.impressions()
    assert log["policy"].to_list() == [SEARCH] * len(shown)
    assert log["click"].to_list() == [True] + [False] * (len(shown) - 1)
    assert store.evaluations()["query"].to_list() == ["old blue lamp", None]
    grown = with_evaluations(market, store.evaluations()).interactions
    assert grown.drop_nulls("query").select("user_id", "item_id", "event", "query").rows() == [
        ("u03", shown[0].item_id, "click", "old blue lamp")
    ]
    shop.refit(market)
    content = shop._fit.given.parts["content"]
    assert isinstance(content, Content)
    blue = list(content.features.names).index("blue")
    known = content.features.users[:, [blue]].toarray()[:, 0]
    without = Content(context_weight=0, query_weight=0).fit(shop._fit.prepared)
    before = without.features.users[:, [blue]].toarray()[:, 0]
    assert known[3] > before[3]
    np.testing.assert_allclose(np.delete(known, 3), np.delete(before, 3), atol=1e-6)


def test_evaluations_without_any_search_change_no_text(market: Marketplace, store: Store) -> None:
    store.enrol(["u03"], ["i17"])
    store.click("u03", "i17")
    assert prepare(with_evaluations(market, store.evaluations())).queries == ()


def test_a_catalogue_without_texts_has_nothing_to_search(
    make_market: Callable[..., Marketplace], store: Store
) -> None:
    items = pd.DataFrame({"item_id": ["a", "b", "c"]})
    market = make_market({"x": ["a", "b", "c"], "y": ["b", "c"]}, items)
    fusion = Fusion({"popular": Popular()}, {"popular": 1}).fit(prepare(market, min_events=1))
    assert Shop(store, fusion).search("a", user_id="x") == []


def test_a_file_of_the_first_version_is_brought_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "old.db"
    with monkeypatch.context() as patch, Store(tmp_path / "new.db") as new:
        new.close()
        patch.setattr(module, "MIGRATIONS", module.MIGRATIONS[:1])
        with Store(file) as old:
            old.enrol(["ann"], ["tea"])
            old._connection().execute(
                "INSERT INTO impressions (time, user_id, item_id, rank, propensity, policy) "
                "VALUES (1, 'ann', 'tea', 1, 0.5, 'p')"
            )
            old.click("ann", "tea", impression=1)
    with Store(file) as store:
        assert store.evaluations()["query"].to_list() == [None]
        assert store.impressions()["click"].to_list() == [True]
        store.log([], policy="search", user_id="ann", query="tea")
        assert store.searches("ann") == ["tea"]


def test_a_product_page_says_what_the_catalogue_says(shop: Shop, market: Marketplace) -> None:
    assert shop.n_products == 50
    assert shop.product("i07")["title"] == market.items["title"][7]
    for wrong in ("i99", "", None, 7, "x" * 10**6):
        with pytest.raises(ReclibError, match="unknown product") as caught:
            shop.product(wrong)  # type: ignore[arg-type]
        assert len(str(caught.value)) < 200
