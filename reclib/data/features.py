"""ExtractFeatures(D): item features y_i (Eq. 3) and user features x_u (Eq. 2), one space."""

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import normalize

from reclib.data.prepare import TEXTS, Prepared
from reclib.errors import ReclibError, unknown

WEIGHTINGS = ("tfidf", "bm25")
PRODUCT_WORDS = 24  # of a product in the text of a user: title, categories and brand, mostly
PRIOR_EVENTS = 20  # of the average kind, which every product and every user is taken to have
MOST_LEVELS = 50  # of one kind of context; rarer ones get no column
UNSPACED = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+")  # kana and Han
_FILL = (  # what to do where there is no text
    f"fill {', '.join(TEXTS[:-1])} or {TEXTS[-1]} in the table of items, or summary or text in "
    "the table of reviews"
)


@dataclass(frozen=True)
class Features:
    """Rows of unit length in one space, so that Eq. 4 is defined.

    Attributes
    ----------
    users
        x_u, CSR float32, shape (n_users, n_features); an empty row for an empty history.
    items
        y_i, CSR float32, shape (n_items, n_features); an empty row where nothing is known.
    names
        Shape (n_features,): a word, ``price:low`` and ``price:high``, or a level of the
        context, such as ``season:winter``.
    """

    users: sp.csr_array
    items: sp.csr_array
    names: NDArray[np.object_]


def extract_features(
    prepared: Prepared,
    *,
    decay: float = 0.7,
    history: int = 20,
    text: bool = True,
    weighting: str = "tfidf",
    review_text: bool = False,
    price_weight: float = 0.02,
    context_weight: float = 1.0,
    query_weight: float = 2.0,
) -> Features:
    """Eq. 2 and Eq. 3: features of users and products from the data D.

    y_i puts three parts side by side: √(1 − p) times the unit vector t_i of the words of
    the product's text, √p times its price on a quarter circle, and √c times h_i, the
    situations in which it is met. x_u is the recency-weighted mean of what the events of
    the user's history brought, y_i and q times the unit vector of the search that led
    there, plus √c times h_u, the situations in which the user acts. Both are scaled to
    unit length. p, c and q are the weights of price, context and queries; a part that the
    data lack is left out.

    Parameters
    ----------
    prepared
        Training data. The texts and prices of the whole catalogue are used, for they are
        known before anybody buys; of behaviour and reviews only what is in `prepared`.
    decay, history
        As in `history_weights`.
    text
        Whether the words count; without them those of the queries leave, too.
    weighting
        Weight of a word that is f times in a text and in n of the N products, before texts
        are scaled to unit length: ``"tfidf"``, (1 + ln f) · (1 + ln((1 + N) / (1 + n))), or
        ``"bm25"``, f / (f + k₁ (1 − b + b l / l̄)) · ln(1 + (N − n + ½) / (n + ½)) with the
        length l of the text in words that two products share, its mean l̄, k₁ = 1.2 and
        b = 0.75 (Robertson and Zaragoza 2009, "The Probabilistic Relevance Framework", with
        1 added in the logarithm, so that no word counts below 0).
    review_text
        As in `item_texts`.
    price_weight
        p, the share of the price beside the text, in [0, 1); 0 leaves the price out.
    context_weight
        c, at least 0; 0 leaves the context out. For every kind of context (device, season,
        …) and each of its levels l, h_l = √s_l − √s̄_l, where s̄ are the shares of the levels
        among all events and s those among the events of a product, or the visits of a user
        (runs of events in one situation), after `PRIOR_EVENTS` average ones are added. So
        a product that is met in no special situation has h = 0; one kind adds at most 2 to
        |h|². Only the `MOST_LEVELS` most common levels in training count.
    query_weight
        q, at least 0; 0 leaves the queries out.

    Returns
    -------
    Features
        Of all users and the whole catalogue.

    Raises
    ------
    ReclibError
        If no part is left, no word is shared by two products, the weighting is unknown, or
        a parameter is out of range.
    """
    if not (text or price_weight or context_weight):
        raise ReclibError(
            "text, price_weight and context_weight are all switched off; keep one of them"
        )
    _check(weighting, price_weight, context_weight=context_weight, query_weight=query_weight)
    weights = history_weights(prepared, decay=decay, history=history)
    parts = []
    if text:
        words, reader = item_words(prepared, weighting=weighting, reviews=review_text)
        typed = _typed_words(prepared, reader, query_weight, decay=decay, history=history)
        names = reader[0].get_feature_names_out()
        parts.append(_Part(words * np.sqrt(np.float32(1 - price_weight)), typed, names))
    if price_weight:
        parts.append(_price(prepared, price_weight))
    if context_weight:
        parts.append(_context(prepared, context_weight))
    parts = [part for part in parts if part.items.nnz]
    if not parts:
        raise ReclibError(
            f"{prepared.name}: no product has a price and no event has a context, so nothing is "
            "left without the text; switch it on, or bring a price, a time or another context"
        )
    stacked = sp.hstack([part.items for part in parts], format="csr", dtype=np.float32)
    items = sp.csr_array(normalize(stacked))
    brought = weights @ items
    own = sp.hstack([part.users for part in parts], format="csr", dtype=np.float32)
    if own.nnz:
        brought = brought + own
    names = np.concatenate([part.names for part in parts])
    return Features(sp.csr_array(normalize(brought)), items, names)


def history_weights(prepared: Prepared, *, decay: float, history: int) -> sp.csr_array:
    """Weights of the products in each user's profile.

    Parameters
    ----------
    prepared
        Training data.
    decay
        Each step back in time multiplies the weight by this, in (0, 1]; 1 forgets nothing.
    history
        Number of newest products that count, at least 1.

    Returns
    -------
    scipy.sparse.csr_array
        float32, shape (n_users, n_items); R_ui · decay^age, each non-empty row sums to 1.

    Raises
    ------
    ReclibError
        If a parameter is out of range.
    """
    recent, weight = _recent(prepared, decay, history)
    matrix = sp.csr_array(
        (weight, (prepared.user[recent], prepared.item[recent])), shape=prepared.shape
    )
    return sp.csr_array(normalize(matrix, norm="l1"))


def item_texts(prepared: Prepared, *, reviews: bool = False) -> list[str]:
    """One text a product: that of the catalogue, and what users wrote about it.

    Parameters
    ----------
    prepared
        Training data.
    reviews
        Whether the reviews in `prepared` are added. Where the catalogue has no text for
        any product, they are in any case, for there is nothing else to read.

    Returns
    -------
    list of str
        Shape (n_items,); "" for a product without either.
    """
    if not reviews and any(prepared.text):
        return prepared.text
    texts = [[text] if text else [] for text in prepared.text]
    for item, written in zip(prepared.reviews["item"], prepared.reviews["text"], strict=True):
        texts[item].append(written)
    return [". ".join(filter(None, parts)) for parts in texts]


def check_texts(prepared: Prepared) -> None:
    """Refuse data that leave the content and language models nothing to read.

    Parameters
    ----------
    prepared
        All data of a run, so that no page after the first has to find out.

    Raises
    ------
    ReclibError
        If `item_texts` are empty for all products.
    """
    if not any(item_texts(prepared)):
        raise ReclibError(
            f"{prepared.name}: no product has a text, which the notebooks from 02 on read; {_FILL}"
        )


def item_words(
    prepared: Prepared, *, weighting: str = "tfidf", reviews: bool = False, min_products: int = 2
) -> tuple[sp.csr_array, Pipeline]:
    """Weigh the words of every product's text.

    A word is what stands between spaces and signs, of two characters or more; Chinese and
    Japanese, which have no spaces, are read as pairs of neighbouring characters.

    Parameters
    ----------
    prepared
        Training data.
    weighting
        As in `extract_features`.
    reviews
        As in `item_texts`.
    min_products
        Words of fewer products are left out: those of one alone make no two products alike,
        though somebody may search for them.

    Returns
    -------
    words : scipy.sparse.csr_array
        float32, shape (n_items, n_words), rows of unit length.
    reader : sklearn.pipeline.Pipeline
        Makes the same of other texts.

    Raises
    ------
    ReclibError
        If no word is left.
    """
    # damped counts, because the tenth mention of a word says little
    weigh = TfidfTransformer(sublinear_tf=True) if weighting == "tfidf" else _Bm25()
    counts = CountVectorizer(preprocessor=_spaced, min_df=min_products, dtype=np.float32)
    reader = Pipeline([("counts", counts), ("weights", weigh)])
    texts = item_texts(prepared, reviews=reviews)
    try:
        return sp.csr_array(reader.fit_transform(texts)), reader
    except ValueError:
        raise ReclibError(
            f"{prepared.name}: no word occurs in {'two products' if min_products > 1 else 'any'}, "
            f"so there are no text features; {_FILL}, or switch the text off where products have "
            "prices or events a context"
        ) from None


def _spaced(text: str) -> str:
    """Write in small letters, and what has no spaces as overlapping pairs with spaces between."""
    return UNSPACED.sub(lambda run: f" {' '.join(_pairs(run[0]))} ", text.lower())


def _pairs(run: str) -> list[str]:
    return [first + second for first, second in pairwise(run)] or [run]


def profile_texts(prepared: Prepared, *, history: int, words: int) -> list[str]:
    """One text a user: what they had and the searches that led there, newest first.

    Parameters
    ----------
    prepared
        Training data.
    history
        Number of newest products that count, at least 1; of each the first `PRODUCT_WORDS`
        words are told, once.
    words
        Where a text is cut.

    Returns
    -------
    list of str
        Shape (n_users,); "" for a user without a history.

    Raises
    ------
    ReclibError
        If `history` is out of range.
    """
    told = [" ".join(text.split()[:PRODUCT_WORDS]) for text in item_texts(prepared)]
    parts: list[list[str]] = [[] for _ in range(prepared.n_users)]
    for row in _recent(prepared, 1, history)[0][::-1]:
        query = prepared.query[row]
        searched = "" if query < 0 else prepared.queries[query]
        own = parts[prepared.user[row]]
        own += [text for text in (told[prepared.item[row]], searched) if text and text not in own]
    return [" ".join(". ".join(own).split()[:words]) for own in parts]


def _check(weighting: str, price_weight: float, **weights: float) -> None:
    if weighting not in WEIGHTINGS:
        raise unknown("weighting", weighting, WEIGHTINGS)
    if not 0 <= price_weight < 1:
        raise ReclibError(f"price_weight is {price_weight}; allowed is 0 ≤ price_weight < 1")
    for name, weight in weights.items():
        if not 0 <= weight < np.inf:
            raise ReclibError(f"{name} is {weight}; allowed is a number from 0 on")


@dataclass(frozen=True)
class _Part:
    """Some columns of the features.

    `items` has a row for each product; `users`, for each user, what is theirs beside the
    mean over their products.
    """

    items: sp.csr_array
    users: sp.csr_array
    names: NDArray[np.object_]


def _recent(
    prepared: Prepared, decay: float, history: int
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Rows of the events that count in a profile, and R_ui · decay^age of each."""
    if not 0 < decay <= 1:
        raise ReclibError(f"decay is {decay}; allowed is 0 < decay ≤ 1")
    if history < 1:
        raise ReclibError(f"history is {history}; allowed is 1 or more")
    recent = np.flatnonzero(prepared.age < history)
    faded = np.power(decay, prepared.age[recent], dtype=np.float32)
    return recent, prepared.weight[recent] * faded


class _Bm25(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """Counts to BM25 weights in unit rows, as `TfidfTransformer` makes TF-IDF of them."""

    k1, b = 1.2, 0.75

    def fit(self, counts: sp.csr_matrix, _: None = None) -> Self:
        n, found = counts.shape[0], np.bincount(counts.indices, minlength=counts.shape[1])
        self.idf_ = np.log1p((n - found + 0.5) / (found + 0.5)).astype(np.float32)  # (n_words,)
        self.length_ = counts.sum() / n
        return self

    def transform(self, counts: sp.csr_matrix) -> sp.csr_matrix:
        length = np.asarray(counts.sum(axis=1)).ravel() / self.length_  # (n_texts,)
        halfway = self.k1 * (1 - self.b + self.b * length)  # counts that reach half of the limit
        weights = counts.copy()
        weights.data /= weights.data + np.repeat(halfway, np.diff(counts.indptr))
        weights.data *= self.idf_[counts.indices]
        return normalize(weights, copy=False)


def _typed_words(
    prepared: Prepared,
    reader: Pipeline,
    query_weight: float,
    *,
    decay: float,
    history: int,
) -> sp.csr_array:
    """Weigh what users typed like what it led to, shape (n_users, n_words)."""
    recent, weight = _recent(prepared, decay, history)
    total = np.bincount(prepared.user[recent], weight, minlength=prepared.n_users)
    share = query_weight * weight / total[prepared.user[recent]]
    led = (prepared.query[recent] >= 0) & (share > 0)
    used, query = np.unique(prepared.query[recent[led]], return_inverse=True)
    if len(used) == 0:
        return sp.csr_array((prepared.n_users, len(reader[0].vocabulary_)), dtype=np.float32)
    words = reader.transform([prepared.queries[row] for row in used])  # (n_used, n_words)
    cells = (prepared.user[recent[led]], query)
    typed = sp.csr_array((share[led], cells), shape=(prepared.n_users, len(used)))
    return sp.csr_array(typed @ words, dtype=np.float32)


def _price(prepared: Prepared, weight: float) -> _Part:
    """Put a price's percentile q on a quarter circle: (cos, sin) of qπ/2.

    The cosine of two products then falls with the distance of their prices, from 1 to 0;
    a product without a price gets zeros and is neither near nor far.
    """
    level = prepared.items["price_level"].to_numpy(float)
    known = np.isfinite(level)
    angle = np.where(known, level, 0) * np.pi / 2
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1) * known[:, None]
    items = sp.csr_array(circle.astype(np.float32)) * np.sqrt(np.float32(weight))
    users = sp.csr_array((prepared.n_users, 2), dtype=np.float32)
    return _Part(items, users, np.array(["price:low", "price:high"], dtype=object))


def _context(prepared: Prepared, weight: float) -> _Part:
    """Tell in which situations products are met and users act, each beside the average."""
    n_users, n_items = prepared.shape
    visit = _visits(prepared)
    items, users, names = [sp.csr_array((n_items, 0))], [sp.csr_array((n_users, 0))], []
    for kind, column in prepared.context.items():
        level = column.cat.codes.to_numpy()  # −1 where unknown
        counts = np.bincount(level[level >= 0], minlength=len(column.cat.categories))
        common = np.argsort(-counts, kind="stable")[:MOST_LEVELS]
        common = np.sort(common[counts[common] > 0])  # training never saw the others
        place = np.full(len(counts) + 1, -1)  # the last row is for −1
        place[common] = np.arange(len(common))
        known = place[level]
        items.append(_beside_average(prepared.item, known, n_items, len(common)))
        users.append(_beside_average(prepared.user[visit], known[visit], n_users, len(common)))
        names += [f"{kind}:{column.cat.categories[row]}" for row in common]
    scale = np.sqrt(np.float32(weight))
    return _Part(
        sp.hstack(items, format="csr", dtype=np.float32) * scale,
        sp.hstack(users, format="csr", dtype=np.float32) * scale,
        np.array(names, dtype=object),
    )


def _visits(prepared: Prepared) -> NDArray[np.intp]:
    """First rows of the runs of events of one user in one and the same situation.

    The events of a visit share their situation, so they are no more evidence than one.
    """
    first = np.ones(prepared.n_events, bool)
    first[1:] = prepared.user[1:] != prepared.user[:-1]
    for _, column in prepared.context.items():
        level = column.cat.codes.to_numpy()
        first[1:] |= level[1:] != level[:-1]
    return np.flatnonzero(first)


def _beside_average(
    row: NDArray[np.int32], level: NDArray[np.int64], n_rows: int, n_levels: int
) -> sp.csr_array:
    """√s_l − √s̄_l of every row and level, shape (n_rows, n_levels); 0 where nothing is known.

    `row` and `level` have the shape (n_events,); a level of −1 is unknown.
    """
    cell = row[level >= 0].astype(np.int64) * n_levels + level[level >= 0]
    counts = np.bincount(cell, minlength=n_rows * n_levels).reshape(n_rows, n_levels)
    n = counts.sum(axis=1, keepdims=True)  # (n_rows, 1)
    average = counts.sum(axis=0) / max(n.sum(), 1)
    beside = counts.astype(np.float32)  # from here on in place, for it may be large
    beside += PRIOR_EVENTS * average
    beside /= n + PRIOR_EVENTS
    np.sqrt(beside, out=beside)
    beside -= np.sqrt(average)
    beside[n[:, 0] == 0] = 0
    return sp.csr_array(beside)
