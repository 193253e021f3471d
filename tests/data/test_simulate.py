import re
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, TfidfVectorizer

from reclib.data import _vocabulary as vocabulary
from reclib.data import simulate as simulator
from reclib.data.schema import Interactions, Items, Reviews, validated
from reclib.data.simulate import MARKET_SIZES, simulate
from reclib.errors import ReclibError

TABLES = ("interactions", "items", "reviews")


@pytest.fixture(scope="module", params=["smoke", "small"])
def size(request):
    return request.param


@pytest.fixture(scope="module")
def market(size):
    return simulate(size)


def gini(counts):
    """0 where all are equal, 1 where one has everything."""
    counts = np.sort(counts)
    n = len(counts)
    return float((2 * np.arange(1, n + 1) - n - 1) @ counts / (n * counts.sum()))


def content_words(text):
    return {
        word
        for word in re.findall(r"[a-z]+", text.lower())
        if len(word) > 1 and word not in ENGLISH_STOP_WORDS
    }


def fit_of_texts(market, texts):
    """Mean share of unseen products ranked below the last clicked one by TF-IDF of `texts`.

    Half is chance. The profile is the mean over all products clicked before; 1,000 users
    are enough.
    """
    clicks = market.interactions.drop_duplicates(["user_id", "item_id"])
    clicks = clicks[clicks["user_id"] < "u001000"]
    user = pd.factorize(clicks["user_id"])[0]
    item = pd.Index(market.items["item_id"]).get_indexer(clicks["item_id"])
    last = np.append(user[1:] != user[:-1], True)
    vectors = TfidfVectorizer(stop_words="english", dtype=np.float32).fit_transform(texts)
    history = np.zeros((user.max() + 1, len(texts)), np.float32)
    history[user[~last], item[~last]] = 1
    scores = (history @ vectors) @ vectors.T  # (n_users, n_items)
    target = scores[user[last], item[last]][:, None]
    beaten = (scores < target) + 0.5 * (scores == target)
    return float(beaten[history == 0].mean())


def surprise_of_text(market, *, columns=("description",), shuffles=10):
    """How far real texts beat texts dealt to other products: excess, and in deviations."""
    texts = market.items[list(columns)].agg(" ".join, axis=1).to_numpy(object)
    rng = np.random.default_rng(1)
    dealt = [fit_of_texts(market, rng.permutation(texts)) for _ in range(shuffles)]
    excess = fit_of_texts(market, texts) - np.mean(dealt)
    return excess, excess / np.std(dealt, ddof=1)


def test_tables_are_valid(market):
    for name, model in zip(TABLES, (Interactions, Items, Reviews), strict=True):
        validated(getattr(market, name), model, name)
    assert market.name == "simulated"
    assert market.simulated
    assert not any(getattr(market, name).isna().any(axis=None) for name in TABLES)


def test_row_counts_are_those_of_the_size(market, size):
    wanted = MARKET_SIZES[size]
    assert market.interactions["user_id"].nunique() == wanted.users
    assert len(market.items) == market.items["item_id"].nunique() == wanted.items
    assert len(market.interactions) == wanted.events
    assert (market.interactions["event"] == "purchase").sum() == wanted.purchases
    assert len(market.reviews) == wanted.reviews


def test_paper_size_has_the_papers_counts():
    paper = MARKET_SIZES["paper"]
    assert (paper.events, paper.items, paper.reviews) == (500_000, 50_000, 100_000)


def test_events_are_in_order_and_purchases_follow_their_click(market):
    events = market.interactions
    by_user = events.groupby("user_id")
    assert (events["position"] == by_user.cumcount()).all()
    assert (by_user["timestamp"].diff().dropna() > pd.Timedelta(0)).all()
    assert by_user.size().min() >= 5
    bought = events["event"] == "purchase"
    before = events.shift()[bought]
    assert (before["event"] == "click").all()
    assert (before[["user_id", "item_id"]] == events.loc[bought, ["user_id", "item_id"]]).all(
        axis=None
    )
    assert not events[~bought].duplicated(["user_id", "item_id"]).any()


def test_reviews_are_of_earlier_purchases(market):
    purchases = market.interactions[market.interactions["event"] == "purchase"]
    both = market.reviews.merge(purchases, on=["user_id", "item_id"], suffixes=("", "_bought"))
    assert len(both) == len(market.reviews)
    assert (both["timestamp"] > both["timestamp_bought"]).all()


def test_same_seed_same_tables():
    one, two, other = simulate(seed=3), simulate(seed=3), simulate(seed=4)
    for name in TABLES:
        pd.testing.assert_frame_equal(getattr(one, name), getattr(two, name))
        assert not getattr(one, name).equals(getattr(other, name))
    np.testing.assert_array_equal(one.truth.users, two.truth.users)


def test_text_signal_leaves_the_catalogue_alone():
    pd.testing.assert_frame_equal(simulate(text_signal=0).items, simulate(text_signal=1).items)


def test_text_signal_leaves_the_amount_of_signal_alone():
    logits = []
    for text_signal in (0.0, 0.5, 1.0):
        truth = simulate("small", text_signal=text_signal).truth
        chance = truth.click_probability(truth.user_ids[:1000], truth.item_ids)
        assert 0.02 < chance.mean() < 0.06
        logits.append(np.log(chance / (1 - chance)).std())
    assert np.ptp(logits) < 0.03 * np.mean(logits)


def test_activity_and_popularity_are_heavy_tailed(market):
    clicks = market.interactions[market.interactions["event"] == "click"]
    popularity = clicks["item_id"].value_counts().reindex(market.items["item_id"], fill_value=0)
    assert 0.35 < gini(popularity) < 0.9
    assert 0.2 < gini(clicks["user_id"].value_counts()) < 0.6


def test_clicks_come_with_their_probability():
    truth = simulate(seed=5).truth
    rng = np.random.default_rng(0)
    owner = rng.integers(len(truth.users), size=100_000)
    shown = rng.integers(len(truth.items), size=(len(owner), simulator.PAGE))
    clicked = simulator._clicks(truth, owner, shown, rng)
    chance = truth.click_probability(truth.user_ids, truth.item_ids)
    assert chance.dtype == np.float32
    assert (chance > 0).all() and (chance < 1).all()
    looked = chance[owner[:, None], shown] * simulator.LOOKED_AT  # (n_pages, PAGE)
    edges = np.quantile(looked, np.linspace(0, 1, 11))
    edges[-1] = 1
    groups = [(looked >= low) & (looked < high) for low, high in pairwise(edges)]
    groups += [np.broadcast_to(np.arange(simulator.PAGE) == rank, looked.shape) for rank in (0, 9)]
    for group in groups:
        expected = looked[group]
        error = np.sqrt((expected * (1 - expected)).sum())
        assert abs(clicked[group].sum() - expected.sum()) < 4 * error


def test_probability_of_a_batch_is_that_of_single_pairs():
    truth = simulate().truth
    users, items = list(truth.user_ids[[7, 3, 7]]), list(truth.item_ids[[5, 0]])
    batch = truth.click_probability(users, items)
    assert batch.shape == (3, 2)
    single = [[truth.click_probability([u], [i])[0, 0] for i in items] for u in users]
    np.testing.assert_allclose(batch, single, rtol=1e-5)
    assert truth.click_probability([], items).shape == (0, 2)


@pytest.mark.parametrize(("size", "seed"), [("smoke", 0), ("smoke", 1), ("small", 0)])
def test_without_text_signal_descriptions_say_nothing(size, seed):
    excess, deviations = surprise_of_text(simulate(size, seed=seed, text_signal=0))
    assert abs(excess) < 0.02
    assert abs(deviations) < 3


def test_with_text_signal_descriptions_say_a_lot():
    excess, deviations = surprise_of_text(simulate("small", text_signal=1))
    assert excess > 0.05
    assert deviations > 6


def test_structure_loses_what_the_text_gains():
    structure = ("title", "categories", "brand")
    all_in_structure, deviations = surprise_of_text(simulate(text_signal=0), columns=structure)
    all_in_text, _ = surprise_of_text(simulate(text_signal=1), columns=structure)
    assert deviations > 6
    assert all_in_text < all_in_structure / 3


def test_titles_repeat_the_structured_columns_only(market):
    for item in market.items.itertuples():
        kind = item.categories.split(" > ")[-1].removesuffix("s")
        assert re.fullmatch(rf"{item.brand} {kind} [A-Z]{{2}}-\d{{3}}", item.title)


def test_no_word_gives_two_phrases_away():
    phrases = [phrase for ways in vocabulary.ASPECTS.values() for phrase in ways]
    neutral = [*vocabulary.OPENERS, *vocabulary.CLOSERS]
    structure = " ".join([*vocabulary.BRANDS, *(" ".join(path) + "s" for path in vocabulary.KINDS)])
    seen = content_words(" ".join(neutral) + " " + structure)
    for phrase in phrases:
        assert content_words(phrase), phrase
        assert not content_words(phrase) & seen, phrase
        seen |= content_words(phrase)
    assert {len(ways) for ways in vocabulary.ASPECTS.values()} == {5}


def test_reviews_speak_as_they_rate(market):
    reviews = market.reviews
    stars = {text: star for star, texts in vocabulary.SENTENCES.items() for text in texts}
    spoken = [
        next(star for text, star in stars.items() if review.startswith(text))
        for review in reviews["text"]
    ]
    assert spearmanr(spoken, reviews["rating"]).statistic > 0.7
    shares = reviews["rating"].value_counts(normalize=True)
    assert shares.idxmax() == 5 and shares[1] > shares[2]


def test_ratings_follow_the_true_utility(market):
    truth, reviews = market.truth, market.reviews
    user = truth.user_ids.get_indexer(reviews["user_id"])
    item = truth.item_ids.get_indexer(reviews["item_id"])
    assert spearmanr(truth.logit(user, item), reviews["rating"]).statistic > 0.3


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
