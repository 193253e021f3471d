"""The shop of Fig. 1: who comes gets a list, and what they do changes the next one."""

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeVar

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray

from reclib.data import Marketplace, Prepared, extract_features, prepare
from reclib.data.features import item_words
from reclib.data.prepare import EVENT_WEIGHTS, TEXTS
from reclib.data.schema import EVENTS
from reclib.errors import ReclibError, unknown
from reclib.models import (
    EASE,
    Collaborative,
    Content,
    Fusion,
    ItemKNN,
    Language,
    Popular,
    Scorer,
    Transitions,
    TunedContent,
    mmr,
    normalised,
)
from reclib.models.base import Indices, Scores
from reclib.models.candidates import candidates
from reclib.models.folding import FoldIn, one_history
from reclib.serving.feedback import DISLIKED, as_events, with_evaluations
from reclib.serving.store import LONGEST_QUERY, Shown, Store, _brief, _text

POPULAR = "popular"  # the part that needs no history
SEARCH = "search"  # the part, and the policy, of a list that was searched for
PERSONAL = 0.3  # share of such a list's score that is not about its words
MOST_CONTEXTS = 64  # situations whose popular products are kept in memory
LONGEST_PAGE = 1000  # products
# what a part means by a product of the history that leads to another
SAYS: tuple[tuple[tuple[type[Scorer], ...], str], ...] = (
    ((Content, TunedContent), "it is described alike"),
    ((Language,), "its text is close in meaning, to the language model"),
    ((Transitions,), "customers had it next, or soon after"),
    ((Collaborative, ItemKNN, EASE), "it is what customers like that had"),
)


S = TypeVar("S", bound=Scorer)


@dataclass(frozen=True)
class Reason:
    """Why a product is in a list; as text it is a sentence.

    Attributes
    ----------
    part
        The part of Eq. 7 that adds most to the score; ``chance`` in a list that was drawn,
        ``search`` in one that was searched for.
    because
        The product of the customer's history that adds most to the score of this part; None
        where the part does not score product by product.
    text
        The same in words; with a title in it, to be escaped like one.
    """

    part: str
    because: str | None
    text: str

    def __str__(self) -> str:
        """Say it."""
        return self.text


DRAWN = Reason("chance", None, "Drawn by chance, to learn what customers like.")


@dataclass(frozen=True)
class Recommendation:
    """A product in a list.

    Attributes
    ----------
    rank
        Place in the list, 1 is the first.
    item_id, title
        Of the product; a title is plain text, to be escaped where a page is made of it.
    score
        R of Eq. 7, the sum of `parts`.
    parts
        What each part adds: its weight times its score on the common scale.
    reason
        Why it is there.
    propensity
        Probability with which this product was to come in this place.
    impression
        Under which it is logged, for `Store.click`.
    """

    rank: int
    item_id: str
    title: str
    score: float
    parts: Mapping[str, float]
    reason: Reason
    propensity: float
    impression: int


class Shop:
    """Serves a fitted fusion to the customers of a store.

    A customer's history is that of the fit and the evaluations saved since. They change the
    next list at once: it leaves out what is in the history, and the parts score the history
    as it is now (`reclib.models.folding`). Ratings of 3, 4 and 5 stars are as strong as a
    click, a cart and a purchase, a comment as a click. A product whose last rating is lower
    leaves the history, and is not recommended again.

    Nobody starts with a personal list: while there are n < `settled` different products in the
    history, Eq. 7 has the share n / `settled` of the score, and popularity the rest.

    Threads may share a shop, and so may processes that are forked from the one that made it.
    A request scores one user, never users × items. Who is logged in is the caller's business.

    Parameters
    ----------
    store
        Of customers and evaluations; users and products of the fit are enrolled.
    fusion
        Fitted.
    upto
        Id of the last evaluation that is in the data of the fit.
    depth
        Products of each part that a list is chosen from.
    trade_off
        λ of `reclib.models.mmr`, 0 (only diversity) to 1 (the order of the scores). Products
        are alike by their features y_i of Eq. 3.
    settled
        Products in a history from which Eq. 7 counts alone, at least 1.
    explore
        Share of lists that are drawn evenly from the candidates, 0 to 1. Without any, the
        logged impressions cannot tell how another policy would have done.

    Raises
    ------
    ReclibError
        If the fusion is not fitted, or a number is out of range.
    """

    def __init__(
        self,
        store: Store,
        fusion: Fusion,
        *,
        upto: int = 0,
        depth: int = 100,
        trade_off: float = 0.9,
        settled: int = 5,
        explore: float = 0.0,
    ) -> None:
        for name, value in {"trade_off": trade_off, "explore": explore}.items():
            if not 0 <= value <= 1:
                raise ReclibError(f"{name} is {value}; allowed is 0 to 1")
        self.store = store
        self.depth = _whole("depth", depth)
        self.settled = _whole("settled", settled)
        self.trade_off = trade_off
        self.explore = explore
        self._fit = self._opened(fusion, upto)

    def recommend(
        self,
        user_id: str | None = None,
        k: int = 10,
        *,
        context: Mapping[str, str] | None = None,
        rng: np.random.Generator | None = None,
    ) -> list[Recommendation]:
        """Choose a list, say why, and log it.

        Parameters
        ----------
        user_id
            Of the customer who is logged in; None for a visitor, who gets popular products.
        k
            Length of the list, up to `depth`; it is shorter where fewer can be shown.
        context
            Situation such as ``{"season": "winter"}`` in which popularity is counted for those
            without a history: kinds and levels of `reclib.data.Prepared.context`.
        rng
            For `explore`; a fresh one by default.

        Returns
        -------
        list of Recommendation
            The best first.

        Raises
        ------
        ReclibError
            If the customer or the context is unknown, `k` is out of range, or the store cannot
            be read or written.
        """
        _whole("k", k, self.depth)
        fit = self._fit  # one for the whole request, also where a refit ends meanwhile
        visit = self._visit(fit, user_id)
        pool = self._personal(fit, visit) if visit.grown.n_events else None
        if pool is None or not len(pool.items):
            pool = fit.popular(tuple((str(kind), str(c)) for kind, c in (context or {}).items()))
            gone = [*visit.hidden, *visit.grown.item]
            pool = pool.rows(~np.isin(pool.items, gone)).best(self.depth)
        chosen, propensity, drawn = self._choose(fit, pool, k, rng)
        slate = pool.rows(chosen)
        reasons = [DRAWN] * len(chosen) if drawn else fit.reasons(slate)
        policy = POPULAR if slate.fusion is None else slate.fusion.name
        return self._logged(fit, slate, reasons, propensity, policy=policy, user_id=user_id)

    def search(
        self, query: str, k: int = 10, *, user_id: str | None = None
    ) -> list[Recommendation]:
        """Find products by the words of their texts, log the list, and save the query.

        Products without any of the words are no match. The score of the others is
        (1 − p) · match + p · own, with p = `PERSONAL`: match is the cosine of the texts in
        BM25 weights (`reclib.data.features.item_words`), own the R of `recommend`, each
        relative to the largest among the matches. So matching products come first, and of
        those that match alike the ones that this customer would like.

        What was had or disliked can be found, for who types its name wants it. A click or a
        purchase with an impression of the list carries the query into the next refit (the
        query text in x_u of Eq. 2).

        Parameters
        ----------
        query
            As typed, 1 to `LONGEST_QUERY` characters.
        k
            Length of the list, up to `depth`; it is shorter where fewer match.
        user_id
            Of the customer who is logged in; None for a visitor, for whom popularity is own.

        Returns
        -------
        list of Recommendation
            The best first; empty where nothing matches.

        Raises
        ------
        ReclibError
            If the customer is unknown, the query is no text or of another length, `k` is out
            of range, or the store cannot be read or written.
        """
        _whole("k", k, self.depth)
        _text("query", query, most=LONGEST_QUERY)
        fit = self._fit
        visit = self._visit(fit, user_id)
        items, match = fit.words.match(query)
        names, own = self._own(fit, visit, items)
        parts = np.vstack(
            [(1 - PERSONAL) * match / _most(match), PERSONAL * own / _most(own.sum(axis=0))]
        )
        slate = _Pool([SEARCH, *names], items, parts, fit.customers[items]).best(k)
        reasons = [Reason(SEARCH, None, said) for said in fit.words.says(query, slate.items)]
        propensity = np.ones(len(reasons))
        return self._logged(
            fit, slate, reasons, propensity, policy=SEARCH, user_id=user_id, query=query
        )

    def _logged(
        self,
        fit: "_Fit",
        slate: "_Pool",
        reasons: list[Reason],
        propensity: NDArray[np.float64],
        *,
        policy: str,
        user_id: str | None,
        query: str | None = None,
    ) -> list[Recommendation]:
        """Log what will be shown, the best first, and describe it."""
        shown = [
            Shown(fit.item_ids[item], rank, float(value))
            for rank, (item, value) in enumerate(zip(slate.items, propensity, strict=True), 1)
        ]
        logged = self.store.log(shown, policy=policy, user_id=user_id, query=query)
        return [
            Recommendation(
                rank=one.rank,
                item_id=one.item_id,
                title=fit.titles[item],
                score=float(added.sum()),
                parts=dict(zip(slate.names, added.tolist(), strict=True)),
                reason=reason,
                propensity=one.propensity,
                impression=impression,
            )
            for one, item, added, reason, impression in zip(
                shown, slate.items, slate.parts.T, reasons, logged, strict=True
            )
        ]

    def catalogue(self, page: int = 1, size: int = 20) -> pd.DataFrame:
        """Read a page of the whole catalogue, in the order of the product ids.

        Parameters
        ----------
        page
            From 1 on.
        size
            Products on a page, up to `LONGEST_PAGE`.

        Returns
        -------
        pandas.DataFrame
            item_id, title, categories, brand, price.

        Raises
        ------
        ReclibError
            If there is no such page, or the size is out of range.
        """
        prepared = self._fit.prepared
        _whole("page", page, -(-prepared.n_items // _whole("size", size, LONGEST_PAGE)))
        rows = slice((page - 1) * size, page * size)
        shown = prepared.items[["title", "categories", "brand", "price"]][rows]
        shown.insert(0, "item_id", prepared.item_ids[rows])
        return shown.reset_index(drop=True)

    @property
    def n_products(self) -> int:
        """Number of products in the catalogue."""
        return self._fit.prepared.n_items

    def product(self, item_id: str) -> pd.Series:
        """Read what the catalogue says of a product.

        Returns
        -------
        pandas.Series
            title (the id where there is none), categories, brand, description, price.

        Raises
        ------
        ReclibError
            If the product is not in the catalogue.
        """
        fit = self._fit
        place = fit.items.get(item_id) if isinstance(item_id, str) else None
        if place is None:
            raise ReclibError(f"unknown product {_brief(item_id)}; catalogue() names them")
        said = fit.prepared.items[[*TEXTS, "price"]].iloc[place].copy()
        said["title"] = fit.titles[place]
        return said

    def refit(self, marketplace: Marketplace, *, min_events: int = 3, rng: int = 0) -> None:
        """Fit the same fusion anew, with all evaluations that are saved by now.

        Until the new fit is ready the old one serves; what `warm` collected goes with it.

        Parameters
        ----------
        marketplace
            What the evaluations are added to, by `reclib.serving.feedback.with_evaluations`.
        min_events
            As in `reclib.data.prepare`. Customers with less are strangers to the fit; what the
            store has of them is their history.
        rng
            Seed of the fit.

        Raises
        ------
        ReclibError
            As from `reclib.data.prepare` and the parts' fits; the old fit serves on.
        """
        evaluations = self.store.evaluations()
        upto = evaluations["id"].to_list()[-1] if len(evaluations) else 0
        prepared = prepare(
            with_evaluations(marketplace, evaluations),
            min_events=min_events,
            event_weights=self._fit.strength,
        )
        self._fit = self._opened(_twin(self._fit.given).fit(prepared, rng=rng), upto)

    def warm(self, user_ids: Iterable[str] | None = None, *, batch_size: int = 256) -> None:
        """Collect candidates ahead, for customers who have done nothing since the fit.

        Their lists then take a fraction of the time, and are the same. What they do next sends
        them the usual way.

        Parameters
        ----------
        user_ids
            Users of the fit, those who are expected; all by default. Each takes some kilobytes.
        batch_size
            Users at once: memory is n_parts × batch_size × n_items.

        Raises
        ------
        ReclibError
            If a user is not in the fit, or `batch_size` is below 1.
        """
        _whole("batch_size", batch_size)
        fit = self._fit
        names = list(fit.users if user_ids is None else user_ids)
        strangers = [name for name in names if name not in fit.users]
        if strangers:
            raise ReclibError(f"user {strangers[0]!r} is not in the fit; refit, or leave them out")
        users = np.array([fit.users[name] for name in names], np.int64)
        weights = self._weights(fit, np.diff(fit.prepared.matrix.indptr)[users].astype(np.int64))
        everybody = np.arange(fit.prepared.n_users)
        for used in np.unique(weights > 0, axis=0):  # those with the same parts at once
            parts = [part for part, use in zip(fit.fold.fusion.parts, used, strict=True) if use]
            fusion = fit.fold(fit.prepared, everybody, parts=parts)
            rows = np.flatnonzero(((weights > 0) == used).all(axis=1))
            for start in range(0, len(rows), batch_size):
                batch = rows[start : start + batch_size]
                pools = self._pools(fit, fusion, users[batch], weights[batch][:, used])
                best = (pool.best(self.depth) for pool in pools)
                fit.pools.update(zip(users[batch].tolist(), best, strict=True))

    def _opened(self, fusion: Fusion, upto: int) -> "_Fit":
        fit = _Fit(fusion, upto)
        self.store.enrol(fit.users, fit.items)
        return fit

    def _visit(self, fit: "_Fit", user_id: str | None) -> "_Visit":
        """Who comes, with which history."""
        if user_id is None:
            return _Visit(-1, one_history(fit.prepared, [], []), [], False)
        stars = self.store.ratings(user_id)  # refuses who is unknown
        number = fit.users.get(user_id, -1)
        since = self.store.history(user_id, after=fit.upto if number >= 0 else 0)
        hidden = [fit.items.get(name, -1) for name, given in stars.items() if given <= DISLIKED]
        new = [(fit.items.get(name, -1), fit.strength[kind]) for name, kind in as_events(since)]
        own = slice(*fit.start[[number, number + 1]]) if number >= 0 else slice(0)
        item = np.append(fit.prepared.item[own], [item for item, _ in new]).astype(np.int64)
        weight = np.append(fit.prepared.weight[own], [weight for _, weight in new])
        stays = ~np.isin(item, [-1, *hidden])  # −1: no longer in the catalogue
        grown = one_history(fit.prepared, item[stays], weight[stays])
        return _Visit(number, grown, hidden, bool(since or hidden))

    def _weights(self, fit: "_Fit", products: Indices) -> NDArray[np.float32]:
        """Weights of the parts for users with so many products, shape (n_users, n_parts)."""
        settled = np.minimum(1, products / self.settled)[:, None]
        weights = settled * fit.fold.fusion.weights_of(products)
        weights[:, list(fit.fold.fusion.parts).index(POPULAR)] += 1 - settled[:, 0]
        return weights.astype(np.float32)

    def _folded(self, fit: "_Fit", visit: "_Visit") -> tuple[Fusion, NDArray[np.float32]]:
        """Make the fusion score a customer with a history; its parts' weights, (1, n_parts)."""
        weights = self._weights(fit, np.diff(visit.grown.matrix.indptr).astype(np.int64))
        used = [name for name, w in zip(fit.fold.fusion.parts, weights[0], strict=True) if w]
        fusion = fit.fold(visit.grown, np.array([visit.number]), parts=used)
        return fusion, weights[:, weights[0] > 0]

    def _own(self, fit: "_Fit", visit: "_Visit", items: Indices) -> tuple[list[str], Scores]:
        """Name the parts of R, and what they add to some products, shape (n_parts, n)."""
        if not visit.grown.n_events:
            return [POPULAR], fit.customers[None, items].astype(np.float32)
        fusion, weights = self._folded(fit, visit)
        scores = [part.score(np.zeros(1, np.int64)) for part in fusion.parts.values()]
        scaled = fusion.normalised(scores, visit.grown.matrix.toarray() > 0)
        return list(fusion.parts), np.nan_to_num(np.vstack(scaled)[:, items]) * weights.T

    def _personal(self, fit: "_Fit", visit: "_Visit") -> "_Pool":
        """Collect the candidates of a customer with a history."""
        fusion, weights = self._folded(fit, visit)
        pool = None if visit.acted else fit.pools.get(visit.number)
        if pool is None:
            (pool,) = self._pools(fit, fusion, np.zeros(1, np.int64), weights)
        pool = pool.rows(~np.isin(pool.items, visit.hidden)).best(self.depth)
        return replace(pool, fusion=fusion)

    def _pools(
        self, fit: "_Fit", fusion: Fusion, users: Indices, weights: NDArray[np.float32]
    ) -> Iterator["_Pool"]:
        """Collect the candidates of users of a fusion, which weigh its parts so."""
        found = candidates(fusion, users, depth=self.depth)
        for row, own in enumerate(weights):
            scores, items = found.scores[:, row], found.items[row]
            known = found.real[row] & ~np.isnan(scores).all(axis=0)
            parts = np.nan_to_num(scores[:, known]) * own[:, None]
            yield _Pool(list(fusion.parts), items[known], parts, fit.customers[items[known]])

    def _choose(
        self, fit: "_Fit", pool: "_Pool", k: int, rng: np.random.Generator | None
    ) -> tuple[Indices, NDArray[np.float64], bool]:
        """Choose places in the pool, with their propensities, and say whether they were drawn."""
        n = len(pool.items)
        chosen = greedy = self._diverse(fit, pool, k) if n else np.zeros(0, np.int64)
        drawn = False
        if self.explore:
            rng = np.random.default_rng() if rng is None else rng
            drawn = bool(rng.random() < self.explore)
            chosen = rng.permutation(n)[:k] if drawn else greedy
        # a draw puts each product of the pool in each place with the same chance
        propensity = np.where(chosen == greedy, 1 - self.explore, 0) + self.explore / max(n, 1)
        return chosen, np.minimum(propensity, 1), drawn

    def _diverse(self, fit: "_Fit", pool: "_Pool", k: int) -> Indices:
        """Choose k of the candidates, the best first, no two too much alike."""
        total, near = pool.total[None], fit.vectors[pool.items]
        # dense in the features that they have: a few hundred, and much quicker than sparse
        used, column = np.unique(near.indices, return_inverse=True)
        shape = len(pool.items), max(len(used), 1)
        places = mmr(
            # to 0 … 1, so that λ means the same whatever the normaliser
            normalised(total, np.zeros(total.shape, bool)),
            np.arange(total.size)[None],
            vectors=sp.csr_array((near.data, column, near.indptr), shape=shape).toarray(),
            k=k,
            trade_off=self.trade_off,
        )[0]
        chosen: Indices = places[places >= 0]
        return chosen


@dataclass(frozen=True)
class _Visit:
    """Who comes.

    Attributes
    ----------
    number
        In the fit; −1 for those who are not there.
    grown
        The history.
    hidden
        Products not to be shown.
    acted
        Whether the history is another than in the fit.
    """

    number: int
    grown: Prepared
    hidden: list[int]
    acted: bool


@dataclass(frozen=True)
class _Pool:
    """Products that could be in a list.

    Attributes
    ----------
    names
        Of the parts that count.
    items
        Shape (n,): dense indices. Of equally good products the first is the better one.
    parts
        Shape (n_parts, n): what each part adds to the score.
    customers
        Shape (n,): how many had the product; those in the `situation`, if there is one.
    fusion
        Folded in; None where popularity alone counts.
    """

    names: list[str]
    items: Indices
    parts: Scores
    customers: Indices
    fusion: Fusion | None = None
    situation: str = ""

    @property
    def total(self) -> Scores:
        """R of Eq. 7, shape (n,)."""
        total: Scores = self.parts.sum(axis=0)
        return total

    def rows(self, keep: NDArray[np.bool_] | Indices) -> "_Pool":
        """Keep some products, or put them into another order."""
        kept = self.items[keep], self.parts[:, keep], self.customers[keep]
        return _Pool(self.names, *kept, self.fusion, self.situation)

    def best(self, n: int) -> "_Pool":
        """Keep the n best, in order."""
        return self.rows(np.argsort(-self.total, kind="stable")[:n])


class _Words:
    """Products by the words of their texts; none where there are no texts."""

    def __init__(self, prepared: Prepared) -> None:
        self._columns = sp.csc_array((prepared.n_items, 0), dtype=np.float32)
        try:
            words, self._reader = item_words(prepared, weighting="bm25", min_products=1)
            self._columns = sp.csc_array(words)
            self._names = self._reader[0].get_feature_names_out()
        except ReclibError:
            pass

    def match(self, query: str) -> tuple[Indices, Scores]:
        """Find the products with any of the words, and the cosines of their texts with them."""
        known, weight = self._asked(query)
        match = self._columns[:, known] @ weight
        items = np.flatnonzero(match > 0)
        return items, match[items]

    def says(self, query: str, items: Indices) -> list[str]:
        """Say for each of the products that match which of the words it has."""
        known, _ = self._asked(query)
        has = self._columns[:, known].tocsr()[items]
        quoted = np.array([f"“{self._names[word]}”" for word in known], dtype=object)
        return [f"Its text has {' and '.join(quoted[row.indices])}." for row in has]

    def _asked(self, query: str) -> tuple[Indices, Scores]:
        """Words of a query by their columns, and their weights."""
        if not self._columns.shape[1]:
            return np.zeros(0, np.int64), np.zeros(0, np.float32)
        asked = self._reader.transform([query])
        return asked.indices, asked.data


class _Fit:
    """A fusion in service, and what requests need of it."""

    def __init__(self, fusion: Fusion, upto: int) -> None:
        self.given = fusion
        self.upto = upto
        self.fold = FoldIn(fusion, also={POPULAR: Popular()})
        self.prepared = prepared = self.fold.prepared
        self.item_ids = list(prepared.item_ids)
        self.titles = [
            title or name
            for title, name in zip(prepared.items["title"], self.item_ids, strict=True)
        ]
        self.items = {name: place for place, name in enumerate(self.item_ids)}
        self.users = {name: place for place, name in enumerate(prepared.user_ids)}
        self.start = np.searchsorted(prepared.user, np.arange(prepared.n_users + 1))
        self.customers = np.bincount(prepared.matrix.indices, minlength=prepared.n_items)
        self.strength = _strength(prepared)
        self.vectors = _vectors(fusion, prepared)
        self.words = _Words(prepared)
        self.pools: dict[int, _Pool] = {}
        self.popular = lru_cache(MOST_CONTEXTS)(self._popular)

    def reasons(self, slate: _Pool) -> list[Reason]:
        """Say for each product which part speaks for it most, and why."""
        main = slate.parts.argmax(axis=0)
        because = np.full(len(main), -1)
        if slate.fusion is not None:
            for part in np.unique(main):
                rows = np.flatnonzero(main == part)
                had, pull = self.fold.pull(slate.fusion, slate.names[part], slate.items[rows])
                if len(had):
                    because[rows] = np.where(pull.max(axis=0) > 0, had[pull.argmax(axis=0)], -1)
        return [
            self._reason(slate, row, slate.names[part], item)
            for row, (part, item) in enumerate(zip(main, because, strict=True))
        ]

    def _reason(self, slate: _Pool, row: int, name: str, because: int) -> Reason:
        if slate.parts[:, row].max() <= 0:
            return Reason(name, None, "It fills the list: nothing speaks for it.")
        if name == POPULAR:
            n = int(slate.customers[row])
            had = f"{n:,} customer{'s' * (n != 1)} had it"
            return Reason(name, None, f"Popular{slate.situation}: {had}.")
        if because < 0:
            return Reason(name, None, f"Chosen by {name}, from your history as a whole.")
        part = self.fold.fusion.parts[name]
        says = next(text for kinds, text in SAYS if isinstance(part, kinds))
        text = f"Because of “{self.titles[because]}”: {says}."
        return Reason(name, self.item_ids[because], text)

    def _popular(self, context: tuple[tuple[str, str], ...]) -> _Pool:
        """Order all products by the customers who had them, in a situation if one is given."""
        table, here = self.prepared.context, np.ones(self.prepared.n_events, bool)
        for kind, level in context:
            if kind not in table:
                raise unknown("context", kind, table.columns)
            if level not in table[kind].cat.categories:
                raise unknown(kind, level, table[kind].cat.categories)
            here &= (table[kind] == level).to_numpy()
        met = self.prepared.select(here).matrix.indices if context else self.prepared.matrix.indices
        customers = np.bincount(met, minlength=self.prepared.n_items)
        # where as many had them there, the more popular one elsewhere comes first
        order = np.lexsort((-self.customers, -customers))
        share = (customers / max(customers.max(), 1)).astype(np.float32)
        situation = " where " + ", ".join(f"{kind} is {level}" for kind, level in context)
        return _Pool(
            [POPULAR],
            order,
            share[None, order],
            customers[order],
            situation=situation if context else "",
        )


def _strength(prepared: Prepared) -> dict[str, float]:
    """Weights R of events, on the scale of the fit: data without kinds of event have 1 for all."""
    bought = prepared.weight[prepared.event == EVENTS.index("purchase")]
    scale = float(bought.max()) / EVENT_WEIGHTS["purchase"] if len(bought) else 1.0
    return {event: weight * scale for event, weight in EVENT_WEIGHTS.items()}


def _vectors(fusion: Fusion, prepared: Prepared) -> sp.csr_array:
    """Find the y_i of Eq. 3; without any feature all products are unlike."""
    for part in fusion.parts.values():
        if isinstance(part, Content):
            return part.features.items
    try:
        return extract_features(prepared).items
    except ReclibError:
        return sp.csr_array((prepared.n_items, 1), dtype=np.float32)


def _twin(scorer: S) -> S:
    """Copy a scorer and its parts, so that a fit of the copy leaves the scorer as it is."""
    made = copy.copy(scorer)
    if isinstance(made, Fusion):
        made.parts = {name: _twin(part) for name, part in made.parts.items()}
    return made


def _most(values: Scores) -> float:
    """Find the largest size of any value; 1 where all are 0, or none is there."""
    return float(np.abs(values).max(initial=0)) or 1.0


def _whole(name: str, value: object, most: int | None = None) -> int:
    """Check a whole number from 1 on."""
    fine = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= (most or value)
    if not fine:
        allowed = "1 or more" if most is None else f"1 to {most:,}"
        raise ReclibError(f"{name} is {value!r}; allowed is {allowed}")
    assert isinstance(value, int)
    return value
