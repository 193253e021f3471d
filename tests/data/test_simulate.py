"""The simulated marketplace: exact, believable, and not rigged for or against any model."""

import hashlib
import re
from functools import cache
from itertools import permutations

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from scipy.sparse import csr_matrix
from scipy.stats import spearmanr
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, TfidfVectorizer
from sklearn.preprocessing import normalize

from reclib.data import load
from reclib.data.schema import TABLES, validated
from reclib.data.simulate import MARKET_SIZES, simulate, situation, vocabulary
from reclib.data.simulate.visits import joined, show
from reclib.errors import ReclibError

NAMES = ("interactions", "items", "users", "reviews")
FOREIGN_STOP_WORDS = frozenset(  # of the few descriptions in German, French and Spanish
    "im in der die das den dem ein eines und zu aus von für auf bei bis mit ohne jedes jede jedem "
    "un une le la les de des du et en au aux sur son se sans pour par est fait que comme tout "
    "el los las con para al como su no es muy toda".split()
)

# of the smoke tables of seed 0: it changes only where the simulator is meant to change
RECORDED = "115ab5c7c129ab033233940797897e9cd2e1d14322d75b98f9e2c1b5607f52fc"
SOLD = sorted((path[2].lower() for path in vocabulary.KINDS), key=len, reverse=True)
BRANDS = {brand.lower() for brand in vocabulary.BRANDS}


@pytest.fixture(scope="module", params=["smoke", "small"])
def size(request):
    return request.param


@pytest.fixture(scope="module")
def market(size):
    return simulate(size)


@pytest.fixture(scope="module")
def silent():
    """A marketplace whose texts must say nothing beyond the structure."""
    return simulate("small", text_signal=0)


@pytest.fixture(scope="module")
def telling():
    """A marketplace whose tastes can be seen in texts only."""
    return simulate("small", text_signal=1)


def digest(market):
    """SHA-256 of all tables, the same on any machine that has the same values."""
    total = hashlib.sha256()
    for name in NAMES:
        table = getattr(market, name)
        for column in sorted(table.columns):
            values = table[column]
            total.update(f"{name}.{column}\n".encode())
            if values.dtype == pl.String:
                rows = ("\0" if value is None else value for value in values)
                total.update("\n".join(rows).encode())
                continue
            if values.dtype.is_float():
                values = (values * 100).round()  # cents
            whole = values.cast(pl.Int64).fill_null(-(2**63))
            total.update(whole.to_numpy().astype("<i8").tobytes())
    return total.hexdigest()


def gini(counts):
    """0 where all are equal, 1 where one has everything."""
    counts = np.sort(counts)
    n = len(counts)
    return float((2 * np.arange(1, n + 1) - n - 1) @ counts / (n * counts.sum()))


def words(texts):
    return np.array([len(text.split()) for text in texts.drop_nulls()])


def content_words(text):
    stop = ENGLISH_STOP_WORDS | FOREIGN_STOP_WORDS
    found = re.findall(r"[^\W\d_]+", text.lower())
    return {word for word in found if len(word) > 1 and word not in stop}


def clicks(market):
    return market.interactions.filter(pl.col("event") == "click")


def rows(market, frame):
    """User and item rows of a table with both ids."""
    truth = market.truth
    return (
        truth.user_ids.get_indexer(frame["user_id"].to_list()),
        truth.item_ids.get_indexer(frame["item_id"].to_list()),
    )


# --- the tables -----------------------------------------------------------------------------


def test_tables_are_valid(market):
    for name in NAMES:
        table = getattr(market, name)
        assert_frame_equal(validated(table, TABLES[name], name), table)
    assert market.name == "simulated"
    assert market.simulated


def test_row_counts_are_those_of_the_size(market, size):
    wanted = MARKET_SIZES[size]
    count = dict(market.interactions["event"].value_counts().iter_rows())
    assert sum(count.values()) == wanted.events
    assert count["search"] == wanted.searches
    assert count["click"] == wanted.clicks
    assert count["cart"] == wanted.carts
    assert count["purchase"] == wanted.purchases
    assert market.interactions["user_id"].n_unique() == len(market.users) == wanted.users
    assert len(market.items) == wanted.items
    assert len(market.reviews) == wanted.reviews


def test_paper_size_has_the_papers_counts():
    paper = MARKET_SIZES["paper"]
    assert (paper.events, paper.items, paper.reviews) == (500_000, 50_000, 100_000)
    parts = (paper.searches, paper.clicks, paper.carts, paper.purchases)
    assert sum(parts) == paper.events and min(parts) > 0


@pytest.mark.parametrize("text_signal", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_counts_are_exact_for_any_seed(seed, text_signal):
    market = simulate(seed=seed, text_signal=text_signal)
    wanted = MARKET_SIZES["smoke"]
    assert (len(market.interactions), len(market.reviews)) == (wanted.events, wanted.reviews)
    searches = market.interactions.filter(pl.col("event") == "search")
    assert len(searches) == wanted.searches == searches["session_id"].n_unique()


def test_every_user_clicks_five_different_products(market):
    products = clicks(market).group_by("user_id").agg(pl.col("item_id").n_unique())
    assert products["item_id"].min() >= 5


def test_events_of_a_user_are_in_order(market):
    events = market.interactions
    assert events["user_id"].is_sorted()
    order = pl.int_range(pl.len()).over("user_id")
    assert events.select((pl.col("position") == order).all()).item()
    gaps = events.select(pl.col("timestamp").diff().over("user_id").drop_nulls())
    assert gaps.to_series().min().total_seconds() > 0


def test_a_cart_follows_its_click_and_a_purchase_its_cart(market):
    events = market.interactions
    same = ["user_id", "item_id", "session_id"]
    for event, before in (("cart", "click"), ("purchase", "cart")):
        found = events["event"] == event
        earlier = events.shift(1).filter(found)
        assert (earlier["event"] == before).all()
        assert_frame_equal(earlier[same], events.filter(found)[same])
        assert earlier["query"].equals(events.filter(found)["query"], null_equal=True)


def test_a_visit_has_one_user_one_context_and_at_most_one_search(market):
    events = market.interactions
    visits = events.group_by("session_id").agg(
        pl.col("user_id", "device", "channel").n_unique(),
        places=pl.col("position").max() - pl.col("position").min() + 1 - pl.len(),
        searches=(pl.col("event") == "search").sum(),
        query=pl.col("query").drop_nulls().n_unique(),
        first=pl.col("event").sort_by("position").first(),
    )
    assert (visits[["user_id", "device", "channel"]] == 1).to_numpy().all()
    assert (visits["places"] == 0).all()  # no event of another visit in between
    assert set(visits["searches"]) == {0, 1}
    assert (visits["query"] == visits["searches"]).all()  # a query comes from a search
    assert (visits.filter(pl.col("searches") == 1)["first"] == "search").all()
    share = (clicks(market)["query"].is_not_null()).mean()
    assert 0.05 < share < 0.6


def test_context_is_as_common_as_the_effects_assume(market):
    start = market.interactions.group_by("session_id").agg(
        pl.col("timestamp").min(), pl.col("device", "channel").first()
    )
    time = pl.col("timestamp").dt
    seen = start.select(
        hour=time.hour() // 6,
        weekday=(time.weekday() >= 6).cast(int),
        season=time.month() % 12 // 3,
        device=pl.col("device").replace_strict({k: v for v, k in enumerate(situation.DEVICES)}),
        channel=pl.col("channel").replace_strict({k: v for v, k in enumerate(situation.CHANNELS)}),
    )
    for kind, shares in situation.SHARES.items():
        found = np.bincount(seen[kind].to_numpy(), minlength=len(shares)) / len(seen)
        np.testing.assert_allclose(found, shares, atol=0.05, err_msg=kind)


def test_prices_are_paid_for_purchases(market):
    events = market.interactions.join(
        market.items.select("item_id", listed="price"), on="item_id", how="left"
    )
    bought = events["event"] == "purchase"
    assert (events["price"].is_not_null() == bought).all()
    assert (events["quantity"].is_not_null() == bought).all()
    both = events.filter(bought & events["listed"].is_not_null())
    assert 0 < (both["price"] < both["listed"]).mean() < 0.5
    assert (both["price"] <= both["listed"]).all()


def test_reviews_come_after_their_purchase(market):
    pair = ["user_id", "item_id"]
    events, reviews = market.interactions, market.reviews
    assert reviews.select(pair).is_unique().all()
    bought = (
        events.filter(pl.col("event") == "purchase")
        .group_by(pair)
        .agg(bought=pl.col("timestamp").min())
    )
    ours = reviews.join(bought, on=pair)
    assert len(ours) > 0
    assert (ours["timestamp"] > ours["bought"]).all()
    earlier = reviews.join(bought, on=pair, how="anti")
    # a purchase before the log: a review of it must not name a product of the user's log
    assert len(earlier.join(events, on=pair)) == 0
    end, opening = events["timestamp"].max(), events["timestamp"].min()
    assert (reviews["timestamp"].max() - end).days <= 31
    assert (earlier["timestamp"] < opening).mean() > 0.9


def test_some_cells_are_missing_as_in_the_real_sets(market):
    share = {
        name: market.items[name].null_count() / len(market.items) for name in market.items.columns
    }
    assert share["brand"] == pytest.approx(0.17, abs=0.06)  # Amazon Beauty
    assert share["price"] == pytest.approx(0.05, abs=0.03)  # Amazon Beauty
    assert share["description"] == pytest.approx(0.27, abs=0.06)  # Amazon Office
    assert (market.items["currency"].is_null() == market.items["price"].is_null()).all()
    for table, columns in ((market.items, ["title", "categories"]), (market.reviews, None)):
        assert sum(table.select(columns or pl.all()).null_count().row(0)) == 0


# --- same seed, same bytes ------------------------------------------------------------------


def test_tables_are_the_recorded_bytes():
    assert digest(simulate()) == RECORDED


def test_other_seed_other_tables():
    one, other = simulate(seed=3), simulate(seed=4)
    assert digest(one) == digest(simulate(seed=3))
    for name in NAMES:
        assert not getattr(one, name).equals(getattr(other, name))


def test_text_signal_leaves_the_catalogue_alone(silent, telling):
    assert_frame_equal(silent.items, telling.items)


def test_text_signal_leaves_the_amount_of_signal_alone(silent, telling):
    logits = []
    for market in (silent, simulate("small"), telling):
        truth = market.truth
        chance = truth.click_probability(truth.user_ids[:1000], truth.item_ids)
        assert 0.005 < chance.mean() < 0.01
        logits.append(np.log(chance / (1 - chance)).std())
    assert np.ptp(logits) < 0.03 * np.mean(logits)


# --- believable -----------------------------------------------------------------------------


def test_activity_and_popularity_are_those_of_real_shops(market, size):
    seen = clicks(market).unique(["user_id", "item_id"])
    of_items = seen["item_id"].value_counts()["count"].to_numpy()
    of_users = seen["user_id"].value_counts()["count"].to_numpy()
    assert gini(of_items) == pytest.approx(0.64, abs=0.08)  # Online Retail
    assert gini(of_items[of_items >= 5]) == pytest.approx(0.51, abs=0.08)  # Amazon, 5-core
    if size != "smoke":  # too few events for a long tail above five products each
        assert gini(of_users) == pytest.approx(0.34, abs=0.04)  # Amazon
        assert np.median(of_users) == pytest.approx(6.5, abs=1)  # Amazon


def test_visits_are_those_of_real_shops(market):
    events = clicks(market)
    visits = events.group_by("user_id").agg(pl.col("session_id").n_unique())["session_id"]
    assert visits.mean() == pytest.approx(4.3, abs=1.3)  # Online Retail
    once = events.select(pl.struct("user_id", "item_id").is_first_distinct()).to_series()
    assert 1 - once.mean() == pytest.approx(0.31, abs=0.001)  # Online Retail
    first = events.filter(once)
    again = events.filter(~once).join(first, on=["user_id", "item_id"], suffix="_first")
    assert (again["session_id"] != again["session_id_first"]).all()


def test_texts_and_stars_are_those_of_real_shops(market):
    titles, described = words(market.items["title"]), words(market.items["description"])
    reviews, summaries = words(market.reviews["text"]), words(market.reviews["summary"])
    assert titles.mean() == pytest.approx(10.9, abs=1)  # Amazon Beauty and Office
    assert np.median(described) == pytest.approx(65, abs=12)  # Amazon Office
    assert np.quantile(described, 0.75) == pytest.approx(138, abs=25)
    assert np.median(reviews) == pytest.approx(54, abs=6)  # Amazon Musical Instruments
    assert reviews.mean() == pytest.approx(90, abs=12)
    assert summaries.mean() == pytest.approx(4.4, abs=0.8)
    stars = market.reviews["rating"].to_numpy().astype(int)
    shares = np.bincount(stars, minlength=6)[1:] / len(stars)
    np.testing.assert_allclose(shares, [0.021, 0.024, 0.075, 0.203, 0.677], atol=0.001)


# --- the truth ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shown():
    """Pages of many visits, before quotas cut anything: one row a shown product."""
    blocks = []

    def record(truth, shop, visits, rng):
        for block in show(truth, shop, visits, rng):
            page, place = np.nonzero(block.rank)
            visit = block.visit[page]
            blocks.append(
                {name: visits[name][visit] for name in (*situation.LEVELS, "owner")}
                | {"item": block.item[page, place], "rank": block.rank[page, place]}
                | {"clicked": block.clicked[page, place]}
            )
            yield block

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("reclib.data.simulate.visits.show", record)
        market = simulate(seed=5)
    return market.truth, joined(blocks)


@pytest.fixture(scope="module")
def expected(shown):
    """Probability of each shown product, asked from the public method."""
    truth, pages = shown
    probability = np.empty(len(pages["item"]))
    levels = np.column_stack([pages[kind] for kind in situation.LEVELS])
    combinations, group = np.unique(levels, axis=0, return_inverse=True)
    order = np.argsort(group, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(group))[:-1])
    for here, combination in zip(parts, combinations, strict=True):
        names = zip(situation.LEVELS, combination, strict=True)
        context = {kind: situation.LEVELS[kind][level] for kind, level in names}
        chance = truth.click_probability(truth.user_ids, truth.item_ids, context=context)
        probability[here] = chance[pages["owner"][here], pages["item"][here]]
    return probability * examined(truth)[pages["rank"]]


def examined(truth):
    """How much rarer clicks are at ranks 0 (not shown) to 10, asked from the public method."""
    pair = list(truth.user_ids[:1]), list(truth.item_ids[:1])
    chance = [truth.click_probability(*pair, rank=rank)[0, 0] for rank in range(1, 11)]
    return np.append(0, chance) / truth.click_probability(*pair)[0, 0]


def errors_by_group(pages, expected):
    """Deviations of clicks from `expected` by level of context and by rank."""
    found = {}
    for kind in {*situation.LEVELS, "rank"} & set(pages):
        for level in np.unique(pages[kind]):
            group = pages[kind] == level
            chance = expected[group]
            error = np.sqrt((chance * (1 - chance)).sum())
            found[kind, int(level)] = (pages["clicked"][group].sum() - chance.sum()) / error
    return found


def test_clicks_come_with_their_probability(shown, expected):
    _, pages = shown
    assert all(abs(error) < 4 for error in errors_by_group(pages, expected).values())
    decile = np.searchsorted(np.quantile(expected, np.linspace(0, 1, 11)[1:-1]), expected)
    by_decile = errors_by_group({"rank": decile, "clicked": pages["clicked"]}, expected)
    assert len(by_decile) == 10
    assert all(abs(error) < 4 for error in by_decile.values())


def test_clicks_do_depend_on_rank_and_context(shown, expected):
    truth, pages = shown
    average = truth.click_probability(truth.user_ids, truth.item_ids)
    blind = average[pages["owner"], pages["item"]] * examined(truth)[pages["rank"]]
    errors = errors_by_group(pages, blind.astype(float))
    assert max(abs(error) for (kind, _), error in errors.items() if kind == "channel") > 4
    flat = errors_by_group(pages, expected / examined(truth)[pages["rank"]])
    assert flat["rank", 10] < -8


def test_click_rates_are_those_of_open_bandit(shown):
    _, pages = shown
    assert 0.0046 < pages["clicked"].mean() < 0.0075


def test_popular_products_come_first(shown):
    truth, pages = shown
    clicked = np.bincount(pages["item"], minlength=len(truth.items))  # how often it is shown
    often = [clicked[pages["item"][pages["rank"] == rank]].mean() for rank in (1, 5, 9)]
    assert often[0] > often[1] > often[2]


def test_context_has_no_effect_on_average(market):
    truth = market.truth
    users, items = list(truth.user_ids[:20]), list(truth.item_ids[:50])

    def logit(**context):
        chance = truth.click_probability(users, items, context=context).astype(float)
        return np.log(chance / (1 - chance))

    for kind, shares in situation.SHARES.items():
        levels = situation.LEVELS[kind]
        each = np.array([logit(**{kind: level}) for level in levels])
        assert np.abs(each - logit()).max() > 0.02, kind
        np.testing.assert_allclose(np.tensordot(shares, each, 1), logit(), atol=2e-4, err_msg=kind)
    # kinds of context add up
    both = logit(channel="email", season="summer") - logit(season="summer")
    np.testing.assert_allclose(both, logit(channel="email") - logit(), atol=2e-4)


def test_probability_of_a_batch_is_that_of_single_pairs():
    truth = simulate().truth
    users, items = list(truth.user_ids[[7, 3, 7]]), list(truth.item_ids[[5, 0]])
    settings = {"rank": 4, "context": {"device": "phone", "season": "winter"}}
    batch = truth.click_probability(users, items, **settings)
    assert batch.shape == (3, 2) and batch.dtype == np.float32
    single = [[truth.click_probability([u], [i], **settings)[0, 0] for i in items] for u in users]
    np.testing.assert_allclose(batch, single, rtol=1e-5)
    assert truth.click_probability([], items).shape == (0, 2)
    plain = truth.click_probability(users, items, context=settings["context"])
    np.testing.assert_allclose(batch, plain / 2, rtol=1e-5)


def test_carts_and_purchases_follow_the_utility(market):
    truth, events = market.truth, market.interactions.filter(pl.col("item_id").is_not_null())
    utility = truth.logit(*rows(market, events))
    mean = {
        event: utility[(events["event"] == event).to_numpy()].mean()
        for event in ("click", "cart", "purchase")
    }
    assert mean["click"] + 0.2 < mean["cart"] < mean["purchase"]


# --- not rigged -----------------------------------------------------------------------------


def history(market):
    """Which products 1,000 users clicked before their last new one, and that one."""
    first = clicks(market).unique(["user_id", "item_id"], keep="first", maintain_order=True)
    user, item = rows(market, first.filter(pl.col("user_id") < "u001000"))
    last = np.append(user[1:] != user[:-1], True)
    seen = np.zeros((user.max() + 1, len(market.items)), np.float32)
    seen[user[~last], item[~last]] = 1
    return seen, user[last], item[last]


def fit(past, vectors, incidence):
    """Mean share of unseen products that rank below the last new one by likeness of texts.

    `incidence` (n_items, n_texts) says which texts are a product's. What makes a product's
    texts like those of everybody's products is no taste, and is taken off. Half is chance.
    """
    seen, user, last = past
    documents = normalize(incidence @ vectors)  # (n_items, n_words)
    scores = np.asarray((documents @ (documents.T @ seen.T)).T)  # (n_users, n_items)
    scores -= scores.mean(axis=0)
    target = scores[user, last][:, None]
    beaten = (scores[user] < target) + 0.5 * (scores[user] == target)
    return float(beaten[seen[user] == 0].mean())


def surprise(market, texts, incidence, strata, *, shuffles=15):
    """How far real texts beat texts that are dealt anew within strata: excess, deviations."""
    vectors = TfidfVectorizer(stop_words="english", dtype=np.float32).fit_transform(texts)
    past, rng, dealt = history(market), np.random.default_rng(1), []
    order = np.argsort(strata, kind="stable")
    for _ in range(shuffles):
        mixed = np.lexsort((rng.random(len(strata)), strata))
        deal = np.empty_like(order)
        deal[order] = mixed
        dealt.append(fit(past, vectors[deal], incidence))
    excess = fit(past, vectors, incidence) - np.mean(dealt)
    return excess, excess / np.std(dealt, ddof=1)


def incidence_of(market, item):
    """Which text belongs to which product, (n_items, n_texts)."""
    shape = (len(market.items), len(item))
    return csr_matrix((np.ones(len(item), np.float32), (item, np.arange(len(item)))), shape=shape)


def kinds_of(market, item_ids):
    """One word for the kind of each product."""
    kinds = dict(market.items.select("item_id", "categories").iter_rows())
    return ["leak" + re.sub(r"\W", "", kinds[item]) for item in item_ids]


def descriptions(market):
    """Texts, whose they are, what they may be dealt among, and a word that must not be there.

    Descriptions are dealt among all products that have one; they must not tell the kind.
    """
    items = market.items.with_row_index().drop_nulls("description")
    texts = items["description"].to_list()
    return (
        texts,
        incidence_of(market, items["index"]),
        [0] * len(items),
        kinds_of(market, items["item_id"]),
    )


def review_texts(market):
    """All reviews of a product, dealt among products with as many and as many stars.

    Stars are structure. Reviews of products in their user's log are left out: they would
    name what is to be found.
    """
    log = market.interactions.select("user_id", "item_id").drop_nulls()
    reviews = market.reviews.join(log, on=["user_id", "item_id"], how="anti", maintain_order="left")
    texts = reviews.group_by("item_id", maintain_order=True).agg(
        pl.concat_str("summary", "text", separator=" ").str.join(" "),
        pl.col("user_id").first(),
        pl.len(),
        pl.col("rating").mean(),
    )
    alike = np.lexsort((texts["rating"], texts["len"])).argsort() // 20  # groups of 20
    item = rows(market, texts)[1]
    leak = [
        " ".join([kind] * times)  # in every review
        for kind, times in zip(kinds_of(market, texts["item_id"]), texts["len"], strict=True)
    ]
    return texts["summary"].to_list(), incidence_of(market, item), alike, leak


@cache
def subject(query):
    """What a query is about without its wording: the kind of product, and the brand if any."""
    kind = re.search(rf"\b({'|'.join(SOLD)})s?\b", query).group(1)
    return kind, *sorted(BRANDS & set(query.split()))


def queries(market):
    """Queries are dealt among those for the same kind and brand; these words are left out.

    They must not tell who typed them.
    """
    led = clicks(market).filter(pl.col("query").is_not_null())
    visits = led.unique("session_id", keep="first", maintain_order=True)
    place = {visit: row for row, visit in enumerate(visits["session_id"])}
    once = incidence_of(market, rows(market, led)[1])  # (n_items, n_clicks)
    visit = [place[visit] for visit in led["session_id"]]
    of_visit = csr_matrix((np.ones(len(visit), np.float32), (np.arange(len(visit)), visit)))
    subjects = [subject(query) for query in visits["query"]]
    texts = [
        re.sub("|".join(rf"\b{part}s?\b" for part in parts), "", query)
        for query, parts in zip(visits["query"], subjects, strict=True)
    ]
    strata = np.unique([" ".join(parts) for parts in subjects], return_inverse=True)[1]
    return texts, once @ of_visit, strata, ["leak" + user for user in visits["user_id"]]


KINDS_OF_TEXT = [descriptions, queries, review_texts]


@pytest.mark.parametrize("texts", KINDS_OF_TEXT)
def test_without_text_signal_texts_say_nothing(silent, texts):
    said, incidence, strata, _ = texts(silent)
    excess, deviations = surprise(silent, said, incidence, strata)
    assert abs(excess) < 0.015
    assert abs(deviations) < 3


@pytest.mark.parametrize("texts", KINDS_OF_TEXT)
def test_a_planted_leak_is_caught(silent, texts):
    said, incidence, strata, leak = texts(silent)
    leaking = [f"{text} {word}" for text, word in zip(said, leak, strict=True)]
    excess, deviations = surprise(silent, leaking, incidence, strata)
    assert excess > 0.02
    assert deviations > 4


@pytest.mark.parametrize("texts", [descriptions, review_texts])
def test_with_text_signal_texts_say_a_lot(telling, texts):
    said, incidence, strata, _ = texts(telling)
    excess, deviations = surprise(telling, said, incidence, strata)
    assert excess > 0.02
    assert deviations > 4


def test_with_text_signal_queries_say_a_lot(telling):
    """Who asked for an aspect clicks products that are said to have it."""
    said = {
        item: {name for name, way in ways() if way in text}
        for item, text in telling.items.select("item_id", "description").drop_nulls().iter_rows()
    }
    events = telling.interactions.filter(pl.col("query").is_not_null())
    led = events.filter((pl.col("event") == "click") & pl.col("item_id").is_in(list(said)))
    common = {name: np.mean([name in has for has in said.values()]) for name in vocabulary.ASPECTS}
    hits, base = [], []
    for query, item in led.select("query", "item_id").iter_rows():
        aspect = aspect_of(query)
        if aspect is not None:
            hits.append(aspect in said[item])
            base.append(common[aspect])
    assert len(hits) > 500
    assert np.mean(hits) > np.mean(base) + 0.05


def test_structure_loses_what_the_text_gains(silent, telling):
    def fit_of_structure(market):
        columns = pl.concat_str("title", "categories", "brand", separator=" ", ignore_nulls=True)
        texts = market.items.select(columns).to_series().to_list()
        n = len(texts)
        return surprise(market, texts, incidence_of(market, np.arange(n)), np.zeros(n))

    all_in_structure, deviations = fit_of_structure(silent)
    all_in_text, _ = fit_of_structure(telling)
    assert deviations > 6
    assert abs(all_in_text) < all_in_structure / 3


@cache
def aspect_of(query):
    """The aspect that a query asks for, if any."""
    kind, *brand = subject(query)
    noun = " ".join([*brand, kind])
    for name, aspect in vocabulary.ASPECTS.items():
        if query in [form.format(noun) for form in aspect.asked]:
            return name
    assert query in [form.format(noun) for form in vocabulary.QUERIES]
    return None


def test_wanted_aspects_are_asked_for_in_proportion_to_text_signal(silent, telling):
    shares = []
    for market in (silent, simulate("small"), telling):
        searches = market.interactions.filter(pl.col("event") == "search")
        asked = [aspect_of(query) for query in searches["query"]]
        shares.append(np.mean([aspect is not None for aspect in asked]))
    assert shares[0] == 0
    assert shares[1] == pytest.approx(0.3, abs=0.03)
    assert shares[2] == pytest.approx(0.6, abs=0.03)
    # a user asks again and again for the few aspects that this user wants
    each = pl.DataFrame({"user": searches["user_id"], "aspect": asked}).drop_nulls()
    wanted = each.group_by("user").agg(pl.len(), pl.col("aspect").n_unique())
    busy = wanted.filter(pl.col("len") >= 8)
    assert len(busy) > 20
    assert busy["aspect"].mean() < 0.4 * len(vocabulary.ASPECTS)


# --- words ----------------------------------------------------------------------------------


def ways():
    """Every way of saying an aspect in a description, with the aspect's name."""
    aspects = vocabulary.ASPECTS.items()
    return [(name, way) for name, aspect in aspects for pair in aspect.said for way in pair]


def test_no_word_gives_two_ways_of_an_aspect_away():
    fillers = {
        word for said in vocabulary.FILLERS.values() for text in said for word in text.split()
    }
    structure = [*vocabulary.BRANDS, *vocabulary.TITLE_EXTRAS, *vocabulary.SHOP_LINES]
    structure += [" ".join(path) + "s" for path in vocabulary.KINDS]
    seen = content_words(" ".join([*fillers, *structure]))
    for _, way in ways():
        assert content_words(way), way
        assert not content_words(way) & seen, (way, content_words(way) & seen)
        seen |= content_words(way)


def test_every_aspect_has_two_ways_in_each_voice():
    for aspect in vocabulary.ASPECTS.values():
        assert [len(pair) for pair in aspect.said] == [2] * len(vocabulary.VOICES)
    assert sum(vocabulary.VOICES.values()) == pytest.approx(1)
    assert set(vocabulary.FILLERS) == set(vocabulary.VOICES)


def test_queries_and_opinions_use_no_word_of_another_aspect():
    own = {
        name: content_words(" ".join(way for pair in aspect.said for way in pair))
        for name, aspect in vocabulary.ASPECTS.items()
    }
    spoken = {
        name: content_words(" ".join(aspect.asked + aspect.noticed).replace("{}", ""))
        for name, aspect in vocabulary.ASPECTS.items()
    }
    for one, other in permutations(vocabulary.ASPECTS, 2):
        assert not spoken[one] & own[other], (one, other)
        assert not spoken[one] & spoken[other], (one, other)


def test_titles_repeat_the_structured_columns_only(market):
    extra = "|".join(map(re.escape, vocabulary.TITLE_EXTRAS))
    for item in market.items.iter_rows(named=True):
        kind = item["categories"].split(" > ")[-1].removesuffix("s")
        brand = item["brand"] or r"\w+"
        assert re.fullmatch(rf"{brand} {kind} [A-Z]{{2}}-\d{{3}}( ({extra}))+", item["title"])


def test_a_description_speaks_with_one_voice(market):
    names = {way: name for name, way in ways()}
    voices = {
        way: voice
        for aspect in vocabulary.ASPECTS.values()
        for voice, pair in zip(vocabulary.VOICES, aspect.said, strict=True)
        for way in pair
    }
    counts, spoken = [], set()
    for text in market.items["description"].drop_nulls():
        said = [way for way in names if way in text]
        assert len({voices[way] for way in said}) <= 1
        counts.append(len({names[way] for way in said}))
        spoken |= {voices[way] for way in said}
    assert 4 < np.mean(counts) < 6
    assert spoken == set(vocabulary.VOICES)


def test_reviews_speak_as_they_rate(market):
    reviews = market.reviews
    stars = {text: star for star, texts in vocabulary.SENTENCES.items() for text in texts}
    spoken = [
        next(star for text, star in stars.items() if review.startswith(text))
        for review in reviews["text"]
    ]
    assert spearmanr(spoken, reviews["rating"]).statistic > 0.7
    heads = [(text, star) for star, texts in vocabulary.SUMMARIES.items() for text in texts]
    said = [
        next(star for text, star in heads if re.match(rf"{text}(, |$)", summary))
        for summary in reviews["summary"]
    ]
    assert spearmanr(said, reviews["rating"]).statistic > 0.7


def opinions(market):
    """Every aspect that a review speaks of: review row, aspect, frame's (wanted, happy)."""
    frames = [
        (name, view, frame.format(noun))
        for name, aspect in vocabulary.ASPECTS.items()
        for view, frames in vocabulary.OPINIONS.items()
        for frame in frames
        for noun in aspect.noticed
    ]
    sentence = {text: (name, view) for name, view, text in frames}
    pattern = re.compile("|".join(map(re.escape, sorted(sentence, key=len, reverse=True))))
    for row, text in enumerate(market.reviews["text"]):
        for found in pattern.findall(text):
            yield row, *sentence[found]


def test_reviews_praise_what_their_user_wants(silent, telling):
    """Of the product's own aspects, in keeping with the stars, and alike by the same user."""
    said = {
        item: {name for name, way in ways() if way in text}
        for item, text in telling.items.select("item_id", "description").drop_nulls().iter_rows()
    }
    agreement = []
    for market in (silent, telling):
        views, stars = {}, market.reviews["rating"].to_list()
        for row, aspect, (wanted, happy) in opinions(market):
            assert happy == (stars[row] >= 4)
            item = market.reviews["item_id"][row]
            assert aspect in said.get(item, vocabulary.ASPECTS)
            views.setdefault((market.reviews["user_id"][row], aspect), []).append(wanted)
        # the share of repeated opinions on an aspect that are like the first one
        agreement.append(np.mean([view == rest[0] for rest in views.values() for view in rest[1:]]))
    assert agreement[1] == 1
    assert 0.5 < agreement[0] < 0.75


def test_ratings_follow_the_true_utility(market):
    utility = market.truth.logit(*rows(market, market.reviews))
    assert spearmanr(utility, market.reviews["rating"]).statistic > 0.4


# --- wrong input ----------------------------------------------------------------------------


def test_products_and_reviews_can_be_more_or_fewer():
    """Users and events stay as they are; a shop of one size can be compared with another."""
    usual, other = simulate(), simulate(items_factor=0.5, reviews_factor=2)
    for table, factor in (("items", 0.5), ("reviews", 2), ("users", 1), ("interactions", 1)):
        assert len(getattr(other, table)) == factor * len(getattr(usual, table)), table


@pytest.mark.parametrize(
    "factor", [{"items_factor": 0.01}, {"reviews_factor": 0.01}, {"items_factor": float("nan")}]
)
def test_too_few_products_or_reviews(factor):
    with pytest.raises(ReclibError, match=next(iter(factor))):
        simulate(**factor)


def test_more_reviews_than_there_are_pairs_to_review():
    """A quarter of the pairs can be had, or else drawing new ones would not end."""
    with pytest.raises(ReclibError, match="reviews_factor gives 240000 reviews; 50000 is the most"):
        simulate(reviews_factor=200)
    with pytest.raises(ReclibError, match="reviews_factor gives 30000 reviews; 25000 is the most"):
        simulate(items_factor=0.5, reviews_factor=25)
    assert len(simulate(reviews_factor=40).reviews) == 48_000


@pytest.mark.parametrize("knob", ["text_signal", "items_factor", "reviews_factor"])
def test_real_data_cannot_be_turned(knob, tmp_path):
    """Rather than a sweep over a shop that stays as it is."""
    (tmp_path / "interactions.csv").write_text("user_id,item_id,position\na,b,0\na,c,1\n")
    assert len(load(tmp_path, size="full").interactions) == 2
    with pytest.raises(ReclibError, match=f"{knob} is 0.2, but only simulated data have it"):
        load(tmp_path, size="full", **{knob: 0.2})


@pytest.mark.parametrize("text_signal", [-0.1, 1.1, float("nan")])
def test_text_signal_outside_its_range(text_signal):
    with pytest.raises(ReclibError, match="from 0 to 1"):
        simulate(text_signal=text_signal)


def test_other_bad_input():
    with pytest.raises(ReclibError, match="'smoke'"):
        simulate("smok")
    with pytest.raises(ReclibError, match="seed is -1"):
        simulate(seed=-1)
    truth = simulate().truth
    with pytest.raises(ReclibError, match="unknown user 'u999999'"):
        truth.click_probability(["u000000", "u999999"], ["i000000"])
    with pytest.raises(ReclibError, match="unknown item"):
        truth.click_probability(["u000000"], ["nothing"])
    pair = ["u000000"], ["i000000"]
    with pytest.raises(ReclibError, match="rank is 0"):
        truth.click_probability(*pair, rank=0)
    with pytest.raises(
        ReclibError, match="unknown kind of context 'devise': did you mean 'device'"
    ):
        truth.click_probability(*pair, context={"devise": "phone"})
    with pytest.raises(ReclibError, match="unknown device 'fone': did you mean 'phone'"):
        truth.click_probability(*pair, context={"device": "fone"})
