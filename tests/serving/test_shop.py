"""The shop: lists that follow from Eq. 7, change with what customers do, and say why."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from reclib.data import Marketplace, prepare
from reclib.errors import ReclibError
from reclib.models import (
    ALS,
    Collaborative,
    Content,
    Fusion,
    ItemKNN,
    Language,
    Popular,
    Random,
    Scorer,
    Transitions,
)
from reclib.models.candidates import candidates
from reclib.serving import Recommendation, Shop, Store

pytestmark = pytest.mark.usefixtures("made_up_encoder")

N_USERS, N_ITEMS = 40, 60
TOPICS = ("tea", "ink", "rope", "lamp")
WEIGHTS = {"content": 2.0, "collaborative": 1.0, "language": 2.0, "item-knn": 1.0}


def topic(item_id: str) -> str:
    return TOPICS[int(item_id[1:]) % 4]


@pytest.fixture(scope="module")
def market(make_market: Callable[..., Marketplace]) -> Marketplace:
    """Customers with a liking for one of four topics; texts tell the topic."""
    rng = np.random.default_rng(2)
    words = [[f"{name}{n}" for n in range(6)] for name in TOPICS]
    items = pd.DataFrame(
        {
            "item_id": [f"i{item:02d}" for item in range(N_ITEMS)],
            "title": [" ".join(rng.choice(words[n % 4], 3, replace=False)) for n in range(N_ITEMS)],
        }
    )
    histories = {}
    for user in range(N_USERS):
        chance = np.where(np.arange(N_ITEMS) % 4 == user % 4, 6.0, 1.0)
        length = int(rng.integers(5, 9))
        chosen = rng.choice(N_ITEMS, length, replace=False, p=chance / chance.sum())
        histories[f"u{user:02d}"] = [f"i{item:02d}" for item in chosen]
    n = sum(map(len, histories.values()))
    season = np.where(rng.random(n) < 0.3, 1_610_000_000, 1_625_000_000)  # winter, summer
    return make_market(histories, items, timestamp=season + np.arange(n), event="purchase")


def fused(*, normalise: str = "global", **options: Any) -> Fusion:
    parts: dict[str, Scorer] = {
        "content": Content(context_weight=0),
        "collaborative": Collaborative(context_weight=0),
        "language": Language(),
        "item-knn": ItemKNN(shrink=1),
    }
    return Fusion(parts, WEIGHTS, normalise=normalise, name="llm", **options)


@pytest.fixture(scope="module")
def fusion(market: Marketplace) -> Fusion:
    return fused().fit(prepare(market))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "shop.db") as made:
        yield made


@pytest.fixture
def shop(store: Store, fusion: Fusion) -> Shop:
    made = Shop(store, fusion, trade_off=1.0)
    store.register("new")
    return made


def ids(shown: list[Recommendation]) -> list[str]:
    return [one.item_id for one in shown]


def history(fusion: Fusion, user: str) -> list[str]:
    prepared = fusion.prepared
    assert prepared is not None
    return list(prepared.item_ids[prepared.matrix[[prepared.user_ids.get_loc(user)]].indices])


# ---- what is shown to whom


def test_a_known_customer_gets_the_list_of_the_fusion(shop: Shop, fusion: Fusion) -> None:
    for user in ("u00", "u17", "u39"):
        shown = shop.recommend(user, 8)
        expected = fusion.recommend([user], 8)
        assert ids(shown) == list(expected["item_id"])
        np.testing.assert_allclose([one.score for one in shown], expected["score"], atol=1e-4)
        assert [one.rank for one in shown] == list(range(1, 9))


def test_a_visitor_gets_popular_products(shop: Shop, fusion: Fusion) -> None:
    shown = shop.recommend(None, 10)
    assert fusion.prepared is not None
    popular = Popular().fit(fusion.prepared)
    assert ids(shown) == list(
        fusion.prepared.item_ids[popular.rank([0], 10, exclude_seen=False)[0][0]]
    )
    counts = popular.score([0])[0]
    for one in shown:
        n = int(counts[int(one.item_id[1:])])
        assert str(one.reason) == f"Popular: {n} customers had it."
        assert one.reason.part == "popular"


def test_popularity_is_counted_in_a_context(shop: Shop, market: Marketplace) -> None:
    frame = market.interactions.to_pandas()
    winter = frame[frame["timestamp"].dt.month == 1]
    counts = winter.groupby("item_id")["user_id"].nunique()
    everywhere = frame.groupby("item_id")["user_id"].nunique()
    expected = sorted(
        everywhere.index, key=lambda item: (-counts.get(item, 0), -everywhere[item], item)
    )
    for user in (None, "new"):
        shown = shop.recommend(user, 10, context={"season": "winter"})
        assert ids(shown) == expected[:10]
        assert "where season is winter" in str(shown[0].reason)
    assert ids(shop.recommend(None, 10)) != expected[:10]
    with pytest.raises(ReclibError, match="did you mean 'winter'"):
        shop.recommend(None, context={"season": "wintr"})
    with pytest.raises(ReclibError, match="unknown context"):
        shop.recommend(None, context={"'; DROP TABLE customers": "winter"})
    assert len(shop.recommend(None, context={"season": "spring"})) == 10  # nobody came then


def test_pages_hold_the_whole_catalogue_once(shop: Shop) -> None:
    pages = [shop.catalogue(page, 7) for page in range(1, 10)]
    assert list(pd.concat(pages)["item_id"]) == [f"i{item:02d}" for item in range(N_ITEMS)]
    assert list(pages[0].columns) == ["item_id", "title", "categories", "brand", "price"]
    for page, size in ((0, 7), (10, 7), (1, 0), (1, 10**9), ("1", 7), (1.5, 7), (True, 7)):
        with pytest.raises(ReclibError, match="page|size"):
            shop.catalogue(page, size)  # type: ignore[arg-type]


# ---- evaluations change the next list


@pytest.mark.parametrize("user", ["new", "u00"])
@pytest.mark.parametrize(
    "act",
    [
        lambda store, user, item: store.click(user, item),
        lambda store, user, item: store.purchase(user, item),
        lambda store, user, item: store.comment(user, item, "so good"),
        lambda store, user, item: store.rate(user, item, 5),
        lambda store, user, item: store.rate(user, item, 1),
    ],
    ids=["click", "purchase", "comment", "five stars", "one star"],
)
def test_an_evaluation_changes_the_next_list(
    shop: Shop, store: Store, user: str, act: Callable[[Store, str, str], None]
) -> None:
    before = ids(shop.recommend(user, 10))
    act(store, user, before[0])
    after = ids(shop.recommend(user, 10))
    assert before[0] not in after
    assert len(after) == 10


def test_what_was_bought_brings_more_of_its_kind(shop: Shop, store: Store) -> None:
    for item in ("i01", "i05", "i09", "i13", "i17"):  # ink
        store.purchase("new", item)
    shown = ids(shop.recommend("new", 5))
    assert [topic(item) for item in shown] == ["ink"] * 5
    for item in ("i02", "i06", "i10", "i14", "i18"):  # and then rope, which weighs more
        store.purchase("new", item)
    assert topic(ids(shop.recommend("new", 5))[0]) == "rope"


def test_stars_weigh(shop: Shop, store: Store) -> None:
    for item in ("i01", "i05", "i09"):
        store.rate("new", item, 3)
    for item in ("i02", "i06", "i10"):
        store.rate("new", item, 5)
    assert topic(ids(shop.recommend("new", 1))[0]) == "rope"
    store.register("other")
    for item in ("i02", "i06", "i10"):
        store.rate("other", item, 3)
    for item in ("i01", "i05", "i09"):
        store.rate("other", item, 5)
    assert topic(ids(shop.recommend("other", 1))[0]) == "ink"


def test_what_is_disliked_leaves_the_history(shop: Shop, store: Store, fusion: Fusion) -> None:
    store.purchase("new", "i01")
    store.rate("new", "i01", 2)
    visitors = [item for item in ids(shop.recommend(None, 11)) if item != "i01"]
    assert ids(shop.recommend("new", 10)) == visitors[:10]
    # a product of the fit as well
    mine = history(fusion, "u00")
    store.rate("u00", mine[0], 1)
    shown = shop.recommend("u00", 50)
    assert mine[0] not in ids(shown)
    assert mine[0] not in {one.reason.because for one in shown}
    assert len(shop.recommend("u00", 60)) == N_ITEMS - len(mine)
    store.rate("new", "i01", 4)  # and back again
    assert shop.recommend("new", 1)[0].parts.keys() > {"popular"}


def test_the_evaluations_of_others_change_nothing(shop: Shop, store: Store) -> None:
    before = {user: shop.recommend(user, 20) for user in (None, "u00", "new")}
    for n in range(0, N_ITEMS, 2):
        store.rate("u01", f"i{n:02d}", 1 + n % 5)
    for user, shown in before.items():
        again = shop.recommend(user, 20)
        assert [replace(one, impression=0) for one in again] == [
            replace(one, impression=0) for one in shown
        ]


def test_who_had_everything_gets_an_empty_list(shop: Shop, store: Store) -> None:
    for n in range(N_ITEMS - 1):
        store.click("new", f"i{n:02d}")
    assert ids(shop.recommend("new")) == [f"i{N_ITEMS - 1:02d}"]
    store.rate("new", f"i{N_ITEMS - 1:02d}", 1)
    assert shop.recommend("new") == []


# ---- from popular to personal


def most(shown: list[Recommendation]) -> dict[str, float]:
    """The most that each part adds to a product."""
    return {name: max(one.parts[name] for one in shown) for name in shown[0].parts}


def test_a_new_customer_moves_in_even_steps_from_popular_to_personal(
    store: Store, market: Marketplace
) -> None:
    fusion = fused(normalise="minmax").fit(prepare(market))  # the best of each part is 1
    shop = Shop(store, fusion, trade_off=1.0, settled=6)
    store.register("new")
    visitors = ids(shop.recommend(None, N_ITEMS))
    assert ids(shop.recommend("new", N_ITEMS)) == visitors
    rank = {item: place for place, item in enumerate(visitors)}
    agreement = [1.0]
    for n, item in enumerate([f"i{4 * n + 1:02d}" for n in range(7)], 1):  # ink, ink, …
        store.purchase("new", item)
        shown = shop.recommend("new", N_ITEMS - n)
        settled = min(1.0, n / 6)
        expected = {part: settled * weight for part, weight in fusion.weights.items()}
        if n < 6:
            expected["popular"] = 1 - settled
        assert most(shown) == pytest.approx(expected, rel=1e-5)
        places = [rank[one] for one in ids(shown)]
        agreement.append(np.corrcoef(places, np.arange(len(places)))[0, 1])
    steps = np.diff(agreement)
    assert (steps[:6] < 0).all()  # ever further from what everybody gets
    assert (steps > -0.35).all()  # and never with a jump
    assert [topic(item) for item in ids(shown)[:5]] == ["ink"] * 5


def test_weights_that_depend_on_the_history_are_used(store: Store, market: Marketplace) -> None:
    fusion = fused(newcomers={"language": 1.0}, halfway=2.0, normalise="minmax")
    shop = Shop(store, fusion.fit(prepare(market)), settled=1)
    store.register("new")
    for n, item in enumerate(("i01", "i05", "i09"), 1):
        store.purchase("new", item)
        expected = dict(zip(fusion.parts, fusion.weights_of(np.array([n]))[0], strict=True))
        assert most(shop.recommend("new", 60)) == pytest.approx(expected, rel=1e-5)


# ---- reasons


def contributions(shop: Shop, fusion: Fusion, had: list[str], item: str) -> dict[str, str]:
    """For each part the product of the history that adds most, in plain loops."""
    prepared = fusion.prepared
    assert prepared is not None
    place = {name: n for n, name in enumerate(prepared.item_ids)}
    content, language = fusion.parts["content"], fusion.parts["language"]
    neighbours = fusion.parts["item-knn"]
    assert isinstance(content, Content) and isinstance(language, Language)
    y, v = content.features.items.toarray(), language.item_vectors
    x = content.features.users.toarray()
    r = prepared.matrix.toarray()
    near = sp.csr_array(neighbours._matrix).toarray()  # type: ignore[attr-defined]
    likeness = {
        "content": lambda j, i: y[j] @ y[i],
        "language": lambda j, i: v[j] @ v[i],
        "collaborative": lambda j, i: sum(y[j] @ x[u] * r[u, i] for u in range(prepared.n_users)),
        "item-knn": lambda j, i: near[j, i],
    }
    return {
        part: max(
            had, key=lambda name: 0.7 ** had[::-1].index(name) * like(place[name], place[item])
        )
        for part, like in likeness.items()
    }


def test_reasons_are_true(shop: Shop, store: Store, fusion: Fusion) -> None:
    store.purchase("u03", "i02")
    assert fusion.prepared is not None
    own = fusion.prepared.user == fusion.prepared.user_ids.get_loc("u03")
    had = [*fusion.prepared.item_ids[fusion.prepared.item[own]]]
    had = [item for item in had if item != "i02"] + ["i02"]
    shown = shop.recommend("u03", 30)
    parts = set()
    for one in shown:
        reason = one.reason
        assert one.parts[reason.part] == max(one.parts.values())
        assert one.score == pytest.approx(sum(one.parts.values()), abs=1e-5)
        if reason.because is None:
            continue
        parts.add(reason.part)
        assert reason.because in had
        assert reason.because == contributions(shop, fusion, had, one.item_id)[reason.part]
        assert shop.catalogue(1, 60).set_index("item_id")["title"][reason.because] in str(reason)
    assert len(parts) >= 3
    assert "i02" in {one.reason.because for one in shown}  # the newest weighs most


@pytest.mark.parametrize(
    ("part", "says"),
    [
        (Transitions(), "soon after"),
        (ALS(factors=2), "history as a whole"),
        (Random(), "history as a whole"),
    ],
)
def test_a_part_says_no_more_than_it_knows(
    store: Store, market: Marketplace, part: Scorer, says: str
) -> None:
    shop = Shop(store, Fusion({"only": part}, {"only": 1.0}).fit(prepare(market)))
    reasons = {str(one.reason) for one in shop.recommend("u05", 5)}
    assert any(says in reason for reason in reasons)
    # of a stranger such parts know nothing, and then popularity speaks
    if not isinstance(part, Transitions):
        store.register("new")
        for n in range(6):
            store.purchase("new", f"i{n:02d}")
        shown = shop.recommend("new", 5)
        assert {one.reason.part for one in shown} == {"popular"}
        assert not set(ids(shown)) & {f"i{n:02d}" for n in range(6)}


def test_nothing_is_made_up_where_nothing_speaks_for_a_product(shop: Shop, store: Store) -> None:
    last = shop.recommend("u05", 60)[-1]
    assert max(last.parts.values()) > 0 or "nothing speaks for it" in str(last.reason)


def test_titles_are_plain_text(make_market: Callable[..., Marketplace], store: Store) -> None:
    titles = [
        "<script>alert(1)</script> tea",
        "tea & 'ink' \"3 < 5\"",
        "'; DROP TABLE products;--",
        "",
    ]
    items = pd.DataFrame({"item_id": ["a", "b", "c", "<d>"], "title": titles})
    market = make_market({"x": ["a", "b", "c"], "y": ["c", "a", "b"]}, items)
    shop = Shop(store, Fusion({"popular": Popular()}, {"popular": 1}).fit(prepare(market)))
    assert {one.item_id: one.title for one in shop.recommend()} == {
        "a": "alert(1) tea",
        "b": titles[1],
        "c": titles[2],
        "<d>": "<d>",  # as it is: escaping is up to the page
    }


# ---- the log


def test_what_is_shown_is_logged_and_clicks_find_it(shop: Shop, store: Store) -> None:
    shown = shop.recommend("u00", 3)
    visitors = shop.recommend(None, 2)
    store.click("u00", shown[1].item_id, impression=shown[1].impression)
    log = store.impressions()
    assert log["item_id"].to_list() == ids(shown) + ids(visitors)
    assert log["rank"].to_list() == [1, 2, 3, 1, 2]
    assert log["click"].to_list() == [False, True, False, False, False]
    assert log["policy"].to_list() == ["llm"] * 3 + ["popular"] * 2
    assert log["user_id"].to_list() == ["u00"] * 3 + [None] * 2
    assert log["propensity"].to_list() == [1.0] * 5


@pytest.mark.parametrize("user", ["u00", None])
def test_propensities_are_the_chances_of_what_is_shown(
    store: Store, fusion: Fusion, user: str | None
) -> None:
    shop = Shop(store, fusion, explore=0.4, depth=12)
    rng = np.random.default_rng(0)
    n, k = 300, 3
    seen: dict[tuple[int, str], int] = {}
    told: dict[tuple[int, str], float] = {}
    drawn = 0
    for _ in range(n):
        shown = shop.recommend(user, k, rng=rng)
        drawn += shown[0].reason.part == "chance"
        assert len(set(ids(shown))) == k
        for one in shown:
            cell = one.rank, one.item_id
            seen[cell] = seen.get(cell, 0) + 1
            assert told.setdefault(cell, one.propensity) == one.propensity
    assert drawn / n == pytest.approx(0.4, abs=0.08)
    for cell, count in seen.items():
        spread = 4.5 * np.sqrt(told[cell] * (1 - told[cell]) / n)
        assert count / n == pytest.approx(told[cell], abs=spread)
    for rank in range(1, k + 1):
        assert sum(p for (place, _), p in told.items() if place == rank) == pytest.approx(1)


# ---- candidates collected ahead


@pytest.mark.parametrize("batch_size", [7, 256])
def test_candidates_collected_ahead_give_the_same_lists(
    store: Store, fusion: Fusion, batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # some of the users have fewer products than seven, and so popularity among their parts
    shop = Shop(store, fusion, settled=7, depth=15)
    users = [f"u{n:02d}" for n in range(N_USERS)]
    cold = [shop.recommend(user, 8) for user in users]
    assert len({len(shown[0].parts) for shown in cold}) == 2
    with monkeypatch.context() as patch:
        asked = watched(patch)
        shop.warm(users[:20], batch_size=batch_size)
        shop.warm(batch_size=batch_size)
        asked.clear()
        warm = [shop.recommend(user, 8) for user in users]
        assert not asked  # nobody was scored again
    for one, two in zip(sum(cold, []), sum(warm, []), strict=True):
        assert (one.item_id, one.reason) == (two.item_id, two.reason)
        assert one.parts == pytest.approx(two.parts, abs=1e-5)


def watched(patch: pytest.MonkeyPatch) -> list[object]:
    """Note whenever candidates are collected."""
    asked: list[object] = []

    def collect(*given: Any, **options: Any) -> Any:
        asked.append(given)
        return candidates(*given, **options)

    patch.setattr("reclib.serving.shop.candidates", collect)
    return asked


def test_who_acts_leaves_what_was_collected_ahead(
    shop: Shop, store: Store, market: Marketplace
) -> None:
    shop.warm()
    before = shop.recommend("u00", 10)
    store.purchase("u00", before[0].item_id)
    assert before[0].item_id not in ids(shop.recommend("u00", 10))
    store.rate("u01", ids(shop.recommend("u01"))[0], 1)
    one, two = shop.recommend("u01", 10), shop.recommend("u02", 10)
    shop.refit(market)
    assert not shop._fit.pools
    again = shop.recommend("u01", 10)  # the dislike counts on
    assert {item for item, stars in store.ratings("u01").items()}.isdisjoint(ids(again))
    shop.warm()
    assert ids(shop.recommend("u01", 10)) == ids(again)
    assert len(one) == len(two) == 10
    with pytest.raises(ReclibError, match="'new' is not in the fit"):
        shop.warm(["u00", "new"])


# ---- diversity, and what is out of range


def test_lists_are_diverse_where_that_is_asked_for(store: Store, fusion: Fusion) -> None:
    def topics(trade_off: float) -> int:
        shop = Shop(store, fusion, trade_off=trade_off)
        users = [f"u{n:02d}" for n in range(8)]
        return sum(len({topic(item) for item in ids(shop.recommend(user, 4))}) for user in users)

    assert topics(0.3) > topics(1.0)


def test_products_without_features_are_shown_in_the_order_of_their_scores(
    make_market: Callable[..., Marketplace], store: Store
) -> None:
    items = pd.DataFrame({"item_id": ["a", "b", "c"]})
    market = make_market({"x": ["a", "b", "c"], "y": ["b", "c"], "z": ["b"]}, items)
    fusion = Fusion({"popular": Popular()}, {"popular": 1}).fit(prepare(market, min_events=1))
    assert ids(Shop(store, fusion, trade_off=0.1).recommend()) == ["b", "c", "a"]


@pytest.mark.parametrize(
    "options",
    [
        {"depth": 0},
        {"depth": 2.5},
        {"settled": 0},
        {"trade_off": 1.1},
        {"trade_off": float("nan")},
        {"explore": -0.1},
    ],
)
def test_options_out_of_range_are_refused(
    store: Store, fusion: Fusion, options: dict[str, float]
) -> None:
    with pytest.raises(ReclibError, match=next(iter(options))):
        Shop(store, fusion, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("k", [0, -1, 101, 1.5, "3", None, True])
def test_lengths_out_of_range_are_refused(shop: Shop, k: int) -> None:
    with pytest.raises(ReclibError, match="k is"):
        shop.recommend("u00", k)


@pytest.mark.parametrize("user", ["eve", "", "u00'--", "U00", 3, ["u00"], b"u00", "x" * 10**6])
def test_who_is_not_known_gets_no_list(shop: Shop, user: str) -> None:
    with pytest.raises(ReclibError, match="unknown customer") as caught:
        shop.recommend(user)
    assert len(str(caught.value)) < 200


def test_a_fusion_that_is_not_fitted_is_refused(store: Store) -> None:
    with pytest.raises(ReclibError, match="not fitted"):
        Shop(store, fused())


# ---- the nightly refit


def test_a_refit_learns_from_evaluations_and_counts_none_twice(
    shop: Shop, store: Store, market: Marketplace, fusion: Fusion
) -> None:
    liked = ["i01", "i05", "i09", "i13"]
    for item in liked:
        store.purchase("new", item)
    store.rate("u00", history(fusion, "u00")[0], 1)
    before = fusion.score([3])
    live = {user: shop.recommend(user, 10) for user in ("u00", "new")}
    shop.refit(market)
    assert fusion.score([3]).tolist() == before.tolist()  # the fit that was given stays as it is
    prepared = shop._fit.prepared
    assert prepared is not fusion.prepared
    own = prepared.matrix[[prepared.user_ids.get_loc("new")]]
    assert list(prepared.item_ids[own.indices]) == liked
    assert own.data.tolist() == [3.0] * 4
    visit = shop._visit(shop._fit, "new")
    assert visit.grown.item.tolist() == [1, 5, 9, 13]
    assert visit.grown.weight.tolist() == [3.0] * 4
    for user, shown in live.items():  # nearly the same lists: one customer is little to learn from
        assert len(set(ids(shop.recommend(user, 10))) & set(ids(shown))) >= 6
    # and evaluations go on counting
    store.purchase("new", "i02")
    assert shop._visit(shop._fit, "new").grown.item.tolist() == [1, 5, 9, 13, 2]
    assert "i02" not in ids(shop.recommend("new", 50))


def test_customers_with_little_go_on_with_what_the_store_has(
    shop: Shop, store: Store, market: Marketplace
) -> None:
    store.purchase("new", "i01")
    shop.refit(market)
    assert "new" not in shop._fit.users
    assert shop._visit(shop._fit, "new").grown.item.tolist() == [1]
    assert "i01" not in ids(shop.recommend("new", 50))


def test_the_shop_serves_while_it_is_fitted_anew(
    shop: Shop, store: Store, market: Marketplace
) -> None:
    store.purchase("new", "i01")
    failures: list[BaseException] = []
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            try:
                assert "i01" not in ids(shop.recommend("new", 50))
            except BaseException as error:
                failures.append(error)
                return

    thread = threading.Thread(target=serve)
    thread.start()
    shop.refit(market, min_events=1)
    stop.set()
    thread.join()
    assert not failures


def test_data_without_kinds_of_event_keep_their_scale(
    make_market: Callable[..., Marketplace], store: Store
) -> None:
    """There every event weighs 1, and tuned parts expect that of a purchase."""
    market = make_market({"x": ["a", "b", "c"], "y": ["c", "a", "d"]})
    shop = Shop(store, Fusion({"popular": Popular()}, {"popular": 1}).fit(prepare(market)))
    store.purchase("x", "d")
    assert shop._visit(shop._fit, "x").grown.weight.tolist() == [1.0] * 4
    shop.refit(market)
    assert shop._fit.prepared.weight.tolist() == [1.0] * 7
    store.click("y", "b")
    assert shop._visit(shop._fit, "y").grown.weight.tolist() == pytest.approx([1, 1, 1, 1 / 3])


def test_events_weigh_as_in_the_fit(make_market: Callable[..., Marketplace], store: Store) -> None:
    histories = {"x": ["a", "b", "c"], "y": ["c", "a", "d"]}
    market = make_market(histories, event=["click", "purchase"] * 3)
    fitted = Fusion({"popular": Popular()}, {"popular": 1}).fit(
        prepare(market, event_weights={"click": 1, "cart": 1, "purchase": 9})
    )
    shop = Shop(store, fitted)
    store.click("x", "d")
    assert shop._visit(shop._fit, "x").grown.weight.tolist() == [1, 9, 1, 1]
    shop.refit(market, max_per_day=100)
    assert sorted(shop._fit.prepared.weight.tolist()) == [1] * 4 + [9] * 3
