"""The hybrid network, Eq. 8, trained with the loss of Eq. 9."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self
from weakref import WeakKeyDictionary

import joblib
import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA, TruncatedSVD
from torch import Tensor, nn

from reclib import cache
from reclib.data import Prepared, extract_features, last_out
from reclib.errors import ReclibError, unknown
from reclib.models.base import Indices, Scorer, Scores, code_behind
from reclib.models.candidates import Candidates, candidates
from reclib.models.device import choose_device
from reclib.models.fusion import Fusion
from reclib.models.objectives import KINDS, diversity_loss, main_loss
from reclib.models.training import History, Training, as_it_is, seeded, train

USERS = 512  # whose candidates are collected at once
HELD_OUT = 0.1  # share of the users who tell when to stop
STEEP = 10.0  # what all parts together weigh at the start: a difference of scores in logits
DIMENSIONS = 64  # of the product features in the diversity term


class Hybrid(Scorer):
    """Eq. 8: R(u, i) = f_out(Concat(h_LLM(x_u, y_i), h_trad(x_u, y_i))).

    h_trad is a layer over the scores of the traditional parts, the place of the product in
    each of their lists, its popularity and the length of the history. h_LLM is a layer over
    the same of the language model's parts, and over the interaction (W x_u) ∘ (W y_i) of the
    vectors of user and product, in the main directions of the products'. f_out is a network
    with a linear path beside it, so that Eq. 7 is the special case in which the network is
    silent; training starts there.

    The network scores the union of the parts' best products; others are no candidates (NaN).
    What the parts have learned by heart teaches nothing about how far to trust them, so the
    network learns from parts that were fitted without the last product of every user, and
    has to find it. Then the parts are fitted on everything.

    Parameters
    ----------
    parts
        Scorers by name, at least one.
    llm
        Names of those that make h_LLM; the first of them with `item_vectors` and
        `user_vectors` gives x_u and y_i. With none there is no h_LLM.
    trad
        Whether there is an h_trad; without it the other parts only bring candidates.
    directions
        How many main directions of the product vectors W sees; with 0, h_LLM sees only the
        scores. With all of them the network learns its users by heart.
    weights
        Of Eq. 7, by part, as chosen on validation: where training starts. Equal by default.
    depth
        Products that each part brings.
    max_users
        Whom the network learns from, at most, drawn evenly: their candidates are in memory.
    hidden
        Width of h_LLM, h_trad, and the layer of f_out.
    dropout
        Before each layer of f_out, in [0, 1).
    epochs
        At most; training stops when the loss of a tenth of the users, who are held out, has
        not fallen for three.
    learning_rate, weight_decay, batch_size
        Of the training; a batch holds so many users.
    main
        L_main of Eq. 9, as in `reclib.models.objectives.main_loss`.
    diversity
        λ of Eq. 9. The y_i of its term are the product features of Eq. 3, reduced to their
        64 main directions.
    name
        What to call it in results.

    Attributes
    ----------
    candidate_recall
        Share of the users whose held-out product was among the candidates, in the fit.
    history
        What happened in training.

    Raises
    ------
    ReclibError
        For unknown parts, nothing to score with, or a parameter out of range.
    """

    stochastic = True
    candidate_recall: float
    history: History

    def __init__(
        self,
        parts: Mapping[str, Scorer],
        *,
        llm: Sequence[str] = ("language",),
        trad: bool = True,
        directions: int = 16,
        weights: Mapping[str, float] | None = None,
        depth: int = 50,
        max_users: int = 20_000,
        hidden: int = 32,
        dropout: float = 0.2,
        epochs: int = 40,
        learning_rate: float = 2e-3,
        weight_decay: float = 0.01,
        batch_size: int = 64,
        main: str = "softmax",
        diversity: float = 0.0,
        name: str = "hybrid",
    ) -> None:
        for part in llm:
            if part not in parts:
                raise unknown("part", part, parts)
        if not (llm or (trad and parts)):
            raise ReclibError("neither h_LLM nor h_trad is left; name parts in llm, or keep trad")
        if main not in KINDS:
            raise unknown("main loss", main, KINDS)
        for parameter, value, fine, allowed in (
            ("directions", directions, directions >= 0, "0 or more"),
            ("depth", depth, depth >= 1, "1 or more"),
            ("max_users", max_users, max_users >= 2, "2 or more"),
            ("hidden", hidden, hidden >= 1, "1 or more"),
            ("dropout", dropout, 0 <= dropout < 1, "0 <= dropout < 1"),
            ("diversity", diversity, 0 <= diversity < np.inf, "a number from 0 on"),
        ):
            if not fine:
                raise ReclibError(f"{parameter} is {value}; allowed is {allowed}")
        self.parts = dict(parts)
        self.llm = tuple(llm)
        self.trad = trad
        self.directions = directions
        self.weights = dict(_fused(parts, weights).weights)  # refuses what no fusion can have
        self.depth = depth
        self.max_users = max_users
        self.hidden = hidden
        self.dropout = dropout
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.main = main
        self.diversity = diversity
        self.name = name  # type: ignore[misc]
        self._training = Training(
            epochs=epochs,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            batch_size=batch_size,
            schedule="constant",
            patience=3,
        )

    def config(self) -> dict[str, Any]:
        """Hyper-parameters, and the configuration of each part."""
        parts = {name: (type(part).__name__, part.config()) for name, part in self.parts.items()}
        names = (
            *("llm", "trad", "directions", "weights", "depth", "max_users", "hidden", "dropout"),
            *("epochs", "learning_rate", "weight_decay", "batch_size", "main", "diversity"),
        )
        return {"parts": parts, **{name: getattr(self, name) for name in names}}

    def fitted_on(self, prepared: Prepared, rng: int = 0) -> bool:
        """Whether the network and all parts were last fitted on these very data."""
        return super().fitted_on(prepared, rng) and self._fusion.fitted_on(prepared, rng)

    @property
    def costs(self) -> dict[str, float]:
        """Seconds of the fit, with the training and those fits of parts that were still due."""
        return {"fit": self._seconds}

    def _fit(self, prepared: Prepared, rng: int) -> None:
        device = choose_device()
        key = (self.config(), prepared.fingerprint, rng, device)
        place = cache.entry("hybrid", key=key, code=code_behind(__name__, self)).with_suffix(".pt")
        inner = last_out(prepared)
        asked = np.flatnonzero(np.diff(inner.relevant.indptr))
        if len(asked) > self.max_users:
            asked = np.random.default_rng(rng).choice(asked, self.max_users, replace=False)
            asked.sort()
        parts = {name: _twin(part) for name, part in self.parts.items()}
        slates = _Slates.of(self, _fused(parts).fit(inner.train, rng=rng), asked, inner.relevant)
        self.candidate_recall = float(slates.relevant.any(axis=1).mean())
        learned = slates.with_a_target()
        if len(learned) < 2:
            raise ReclibError(
                f"{self.name}: no held-out product is among the best {self.depth} of any part, so "
                "there is nothing to learn from; raise depth, or bring better parts"
            )
        order = np.random.default_rng(rng).permutation(len(learned))
        n_held_out = max(1, round(HELD_OUT * len(learned)))
        judged, taught = learned.rows(order[:n_held_out]), learned.rows(order[n_held_out:])
        with seeded(rng, 0):
            network = _Network(self, learned)
        self.history = train(
            network,
            taught,
            self._loss,
            settings=self._training,
            collate=as_it_is,
            validate=lambda trained: -self._mean_loss(trained, judged),
            checkpoint=place,
            rng=rng,
            description=self.name,
        )
        self._network = network
        self._fusion = _fused(self.parts).fit(prepared, rng=rng)

    def _loss(self, network: nn.Module, batch: "_Batch") -> Tensor:
        """Eq. 9."""
        scores = network(batch)
        loss = main_loss(scores, batch.relevant.to(scores.device), kind=self.main)
        if self.diversity:
            vectors = batch.features.to(scores.device)
            loss = loss + self.diversity * diversity_loss(scores, vectors)
        return loss

    def _mean_loss(self, network: nn.Module, slates: "_Slates") -> float:
        """Eq. 9 over many users."""
        total = 0.0
        for start in range(0, len(slates), USERS):
            rows = np.arange(start, min(start + USERS, len(slates)))
            total += float(self._loss(network, slates.batch(rows))) * len(rows)
        return total / len(slates)

    def _score(self, users: Indices, items: Indices | slice) -> Scores:
        prepared = self._fitted()
        found = np.full((len(users), prepared.n_items), np.nan, np.float32)
        for start in range(0, len(users), USERS):
            block = slice(start, start + USERS)
            slates = _Slates.of(self, self._fusion, users[block])
            with torch.inference_mode():
                scores = self._network(slates.batch(np.arange(len(slates)))).cpu().numpy()
            row, place = np.nonzero(slates.items >= 0)
            found[block][row, slates.items[row, place]] = scores[row, place]
        return found[:, items]


_TWINS: WeakKeyDictionary[Scorer, Scorer] = WeakKeyDictionary()


def _twin(part: Scorer) -> Scorer:
    """Copy a part, which itself may be fitted on everything already.

    Networks with the same parts get the same copies, so that these are fitted once.
    """
    twin = _TWINS.get(part)
    if twin is None or twin.config() != part.config():
        twin = _TWINS[part] = copy.copy(part)
    return twin


def _fused(parts: Mapping[str, Scorer], weights: Mapping[str, float] | None = None) -> Fusion:
    """Put the parts on one scale; how far to trust each is the network's business."""
    return Fusion(parts, weights or dict.fromkeys(parts, 1.0), normalise="global")


@dataclass(frozen=True)
class _Batch:
    """Slates of some users as tensors; see `_Slates`."""

    inputs: Tensor
    items: Tensor
    relevant: Tensor
    user_vectors: Tensor
    item_vectors: Tensor
    features: Tensor


@dataclass(frozen=True)
class _Slates:
    """Candidates of users, with all that the network may know of them.

    Attributes
    ----------
    items, relevant
        Shape (n_users, n_candidates); −1 and False where a user has fewer.
    inputs
        float32, shape (n_users, n_candidates, 2 · n_parts + 2): the parts' scores, 0 where
        they have none; 1 / log₂(place + 1) in their lists; popularity; length of the history.
    user_vectors
        float32, shape (n_users, n_dimensions); of no dimensions without h_LLM.
    item_vectors, features
        float32, shape (n_items, ·): of Eq. 6, and of Eq. 3 where diversity counts.
    """

    items: Indices
    relevant: NDArray[np.bool_]
    inputs: Scores
    user_vectors: Scores
    item_vectors: Scores
    features: Scores

    @classmethod
    def of(
        cls,
        model: Hybrid,
        fusion: Fusion,
        users: Indices,
        relevant: sp.csr_array | None = None,
    ) -> Self:
        """Collect the slates of users."""
        prepared = fusion._fitted()
        told: Any = (fusion.parts[name] for name in model.llm if model.directions)
        source = next((part for part in told if hasattr(part, "user_vectors")), None)
        nothing = np.zeros((max(prepared.shape), 0), np.float32)
        return cls(
            *_collected(fusion, users, model.depth, relevant),
            nothing[users] if source is None else np.nan_to_num(source.user_vectors[users]),
            nothing if source is None else np.nan_to_num(source.item_vectors),
            _main_directions(prepared) if model.diversity and relevant is not None else nothing,
        )

    def __len__(self) -> int:
        """Return the number of users."""
        return len(self.items)

    def rows(self, rows: Indices) -> Self:
        """Keep some users."""
        return replace(
            self,
            items=self.items[rows],
            relevant=self.relevant[rows],
            inputs=self.inputs[rows],
            user_vectors=self.user_vectors[rows],
        )

    def with_a_target(self) -> Self:
        """Keep the users with a relevant candidate: others say nothing about its rivals."""
        return self.rows(np.flatnonzero(self.relevant.any(axis=1)))

    def __getitem__(self, row: int) -> _Batch:
        """Return the slate of one user."""
        return self.batch(np.array([row]))

    def __getitems__(self, rows: list[int]) -> _Batch:
        """Return the slates of some users, for the loader."""
        return self.batch(np.array(rows))

    def batch(self, rows: Indices) -> _Batch:
        """Return the slates of some users as tensors."""
        width = max(1, int((self.items[rows] >= 0).sum(axis=1).max(initial=0)))
        items = self.items[rows, :width]
        return _Batch(
            torch.from_numpy(self.inputs[rows, :width]),
            torch.from_numpy(items),
            torch.from_numpy(self.relevant[rows, :width]),
            torch.from_numpy(self.user_vectors[rows]),
            torch.from_numpy(self.item_vectors),
            torch.from_numpy(self.features[items]),
        )


_Arrays = tuple[Indices, NDArray[np.bool_], Scores]
_LAST: dict[object, tuple[Fusion, _Arrays]] = {}


def _collected(
    fusion: Fusion, users: Indices, depth: int, relevant: sp.csr_array | None
) -> _Arrays:
    """Collect `items`, `relevant` and `inputs` of slates, block by block.

    Networks with the same parts ask for the same, one after another: to collect takes far
    longer than to train, so what was collected last is kept.
    """
    prepared = fusion._fitted()
    parts = tuple((name, id(part)) for name, part in fusion.parts.items())
    key = parts, prepared.fingerprint, fusion._rng, depth, joblib.hash((users, relevant))
    if key not in _LAST:
        _LAST.clear()  # first, for two would take too much memory
        counts = np.bincount(prepared.item[prepared.new], minlength=prepared.n_items)
        popularity = np.log1p(counts).astype(np.float32)
        popularity = (popularity - popularity.mean()) / max(float(popularity.std()), 1e-6)
        items, hits, inputs = [], [], []
        for start in range(0, len(users), USERS):
            block = users[start : start + USERS]
            found = candidates(fusion, block, depth=depth)
            asked = (
                sp.csr_array((len(block), prepared.n_items))
                if relevant is None
                else relevant[block]
            )
            items.append(found.items)
            hits.append(found.of(asked))
            inputs.append(_inputs(found, popularity))
        arrays = _padded(items, -1), _padded(hits, False), _padded(inputs, 0)
        for array in arrays:
            array.flags.writeable = False  # others see it too
        _LAST[key] = fusion, arrays  # the fusion too, so that no other part gets an id of its
    return _LAST[key][1]


def _inputs(found: Candidates, popularity: Scores) -> Scores:
    """Collect what the network sees, shape (n_users, n_candidates, 2 · n_parts + 2)."""
    known = np.isfinite(found.scores)
    scores = np.where(known, found.scores, -np.inf)
    place = np.argsort(np.argsort(-scores, axis=2, kind="stable"), axis=2, kind="stable")
    columns = [
        *np.where(known, scores, 0),
        *np.where(known, 1 / np.log2(place + 2), 0),
        np.where(found.real, popularity[found.items], 0),
        np.broadcast_to(np.log1p(found.products)[:, None], found.items.shape),
    ]
    return np.stack(columns, axis=2).astype(np.float32)


def _padded(blocks: Sequence[NDArray[Any]], value: object) -> NDArray[Any]:
    """Put blocks of different widths under each other."""
    width = max((block.shape[1] for block in blocks), default=0)
    whole = np.full((sum(map(len, blocks)), width, *blocks[0].shape[2:]), value, blocks[0].dtype)
    start = 0
    for block in blocks:
        whole[start : start + len(block), : block.shape[1]] = block
        start += len(block)
    return whole


def _main_directions(prepared: Prepared) -> Scores:
    """y_i of Eq. 3 in few dimensions, float32, shape (n_items, at most 64)."""
    features = extract_features(prepared).items
    n = min(DIMENSIONS, min(features.shape) - 1)
    reduced: Scores = TruncatedSVD(n, random_state=0).fit_transform(features)
    return reduced.astype(np.float32)


class _Network(nn.Module):
    """h_LLM, h_trad and f_out."""

    directions: Tensor

    def __init__(self, model: Hybrid, slates: _Slates) -> None:
        super().__init__()
        names = list(model.parts)
        n_parts, hidden = len(names), model.hidden
        mine = [place for place, name in enumerate(names) if name in model.llm]
        others = [place for place in range(n_parts) if place not in mine] if model.trad else []
        simple = [2 * n_parts, 2 * n_parts + 1]  # popularity and history
        used = [*others, *mine]
        self.llm_inputs = [*mine, *(n_parts + place for place in mine)]
        self.trad_inputs = [*others, *(n_parts + place for place in others), *simple]
        self.scores = used
        self.straight = nn.Linear(len(used), 1, bias=False)
        start = torch.tensor([model.weights[names[place]] for place in used])
        start = start if start.sum() > 0 else torch.ones(len(used))
        with torch.no_grad():
            self.straight.weight.copy_(STEEP * start / start.sum())
        n_directions = min(model.directions, *slates.item_vectors.shape)
        self.look = nn.Linear(n_directions, hidden, bias=False) if n_directions else None
        if n_directions:
            found = PCA(n_directions, random_state=0).fit(slates.item_vectors).components_.T
            # kept with the weights: vectors of later fits have main directions of their own
            self.register_buffer("directions", torch.from_numpy(found.astype(np.float32)))
        width = len(self.llm_inputs) + (hidden if n_directions else 0)
        self.llm = _layer(width, hidden) if mine else None
        self.trad = _layer(len(self.trad_inputs), hidden) if model.trad else None
        heads = hidden * (bool(mine) + model.trad)
        last = nn.Linear(hidden, 1)
        nn.init.zeros_(last.weight)  # silent at the start
        nn.init.zeros_(last.bias)
        self.out = nn.Sequential(
            nn.Dropout(model.dropout),
            nn.Linear(heads, hidden),
            nn.GELU(),
            nn.Dropout(model.dropout),
            last,
        )

    def forward(self, batch: _Batch) -> Tensor:
        """Score candidates, shape (n_users, n_candidates); −∞ where there is none."""
        device = self.straight.weight.device
        inputs, items = batch.inputs.to(device), batch.items.to(device)
        heads = []
        if self.llm is not None:
            seen = inputs[..., self.llm_inputs]
            if self.look is not None:
                user = self.look(batch.user_vectors.to(device) @ self.directions)
                item = self.look(batch.item_vectors.to(device) @ self.directions)
                # unit vectors of many dimensions: without the factor all products are tiny
                pair = user[:, None] * item[items] * self.directions.shape[1]
                seen = torch.cat([seen, pair], dim=-1)
            heads.append(self.llm(seen))
        if self.trad is not None:
            heads.append(self.trad(inputs[..., self.trad_inputs]))
        scores: Tensor = self.straight(inputs[..., self.scores]) + self.out(torch.cat(heads, -1))
        return scores[..., 0].masked_fill(items < 0, -torch.inf)


def _layer(width: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU())
