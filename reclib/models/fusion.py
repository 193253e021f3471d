"""Fusion of scorers, Eq. 7, and the traditional half of Eq. 1."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reclib.data import Prepared
from reclib.errors import ReclibError, unknown
from reclib.models.base import Indices, Scorer, Scores

SPREAD_USERS = 1000  # drawn users whose scores tell the scale of a part


class Fusion(Scorer):
    """Eq. 7: R(u, i) = α·CBF + β·CF + γ·LLM, over parts of comparable scale.

    The paper expects the language model to help most where a history is short. `newcomers`
    lets the weights depend on it: a user with n different products has the weights
    (1 − t)·newcomers + t·weights with t = n / (n + halfway), on the simplex for every n.

    Parameters
    ----------
    parts
        Scorers by name.
    weights
        Weight of each part: none negative, not all zero; scaled to sum 1. A part that is
        not named weighs 0. With γ = 0 this is f_trad of Eq. 1.
    newcomers
        Weights in the limit of no history, in the same form; None for the same weights
        whatever the history.
    halfway
        Number of products at which a user is half way from `newcomers` to `weights`.
    normalise
        How a part's scores of a user are made comparable, over the products that the user
        has not had: ``minmax``, ``zscore`` or ``percentile``, each on a scale of the user's
        own, or ``global``, on one scale for all users, so that a part says more where it is
        surer.
    name
        What to call it in results, e.g. ``"traditional"``.

    Notes
    -----
    A part that cannot score a product (NaN) adds nothing to it; where no part with a
    weight can score, neither can the fusion.

    Raises
    ------
    ReclibError
        For weights that are negative, not finite, all zero, or of an unknown part, and for
        a `halfway` that is not above 0.
    """

    def __init__(
        self,
        parts: Mapping[str, Scorer],
        weights: Mapping[str, float],
        *,
        newcomers: Mapping[str, float] | None = None,
        halfway: float = 5.0,
        normalise: str = "minmax",
        name: str = "fusion",
    ) -> None:
        if normalise not in NORMALISERS:
            raise unknown("normaliser", normalise, NORMALISERS)
        if not 0 < halfway < np.inf:
            raise ReclibError(f"halfway is {halfway}; allowed is a number of products above 0")
        self.parts = dict(parts)
        self.weights = _on_simplex(weights, list(parts))
        self.newcomers = None if newcomers is None else _on_simplex(newcomers, list(parts))
        self.halfway = halfway
        self.normalise = normalise
        self.name = name  # type: ignore[misc]
        self.stochastic = any(part.stochastic for part in self.parts.values())
        self._spreads = [1.0] * len(self.parts)

    def config(self) -> dict[str, Any]:
        """Weights, normaliser, and the configuration of each part."""
        parts = {name: (type(part).__name__, part.config()) for name, part in self.parts.items()}
        config = {"parts": parts, "weights": self.weights, "normalise": self.normalise}
        if self.newcomers is not None:
            config |= {"newcomers": self.newcomers, "halfway": self.halfway}
        return config

    def fuse(self, parts: Sequence[Scores], seen: NDArray[np.bool_]) -> Scores:
        """Normalise the parts' scores and add them up.

        Parameters
        ----------
        parts
            Raw scores, one array of shape (n_users, n_items) for each part, in order.
        seen
            Shape (n_users, n_items): what each user has already.

        Returns
        -------
        ndarray
            float32, shape (n_users, n_items).
        """
        weights = self.weights_of(seen.sum(axis=1))
        used = weights.max(axis=0, initial=0) > 0
        return weighted_sum(self.normalised(parts, seen, used), weights)

    def weights_of(self, products: NDArray[np.int64]) -> NDArray[np.float64]:
        """Weights of users by the number of different products in their histories.

        Parameters
        ----------
        products
            Shape (n_users,).

        Returns
        -------
        ndarray
            Shape (n_users, n_parts), or (1, n_parts) where they are the same for all.
        """
        weights = np.array(list(self.weights.values()))
        if self.newcomers is None:
            return weights[None, :]
        newcomers = np.array(list(self.newcomers.values()))
        return blended(newcomers, weights, self.halfway, products)

    def without(self, part: str) -> "Fusion":
        """Make the same fusion without a part, the other weights in proportion; not fitted."""
        if part not in self.parts:
            raise unknown("part", part, self.parts)

        def others(weights: Mapping[str, float] | None) -> dict[str, float] | None:
            return (
                None
                if weights is None
                else {name: w for name, w in weights.items() if name != part}
            )

        return Fusion(
            {name: scorer for name, scorer in self.parts.items() if name != part},
            others(self.weights) or {},
            newcomers=others(self.newcomers),
            halfway=self.halfway,
            normalise=self.normalise,
            name=f"{self.name} without {part}",
        )

    def normalised(
        self, parts: Sequence[Scores], seen: NDArray[np.bool_], used: Iterable[bool] | None = None
    ) -> list[Scores]:
        """Bring the parts' scores to a common scale, as `normalise` says.

        Parameters
        ----------
        parts, seen
            As in `fuse`.
        used
            Which parts matter; the others stay as they are. All by default.

        Returns
        -------
        list of ndarray
            float32, one array of shape (n_users, n_items) for each part.
        """
        wanted = [True] * len(parts) if used is None else list(used)
        return [
            normalised(scores, seen, self.normalise, spread=spread) if use else scores
            for scores, spread, use in zip(parts, self._spreads, wanted, strict=True)
        ]

    def fitted_on(self, prepared: Prepared, rng: int = 0) -> bool:
        """Whether the fusion and all its parts were last fitted on these very data."""
        return super().fitted_on(prepared, rng) and all(
            part.fitted_on(prepared, rng) for part in self.parts.values()
        )

    @property
    def costs(self) -> dict[str, float]:
        """Seconds of each step, summed over the parts; those of shared embeddings once."""
        found: dict[str, list[float]] = {}
        for part in self.parts.values():
            for step, seconds in part.costs.items():
                # readers of one file of embeddings tell the very seconds that it took
                if step != "encode" or seconds not in found.get(step, []):
                    found.setdefault(step, []).append(seconds)
        return {step: sum(seconds) for step, seconds in found.items()}

    def _fit(self, prepared: Prepared, rng: int) -> None:
        for part in self.parts.values():  # they may be shared between fusions
            part.ensure_fitted(prepared, rng=rng)
        self._seen = prepared.matrix
        if self.normalise == "global":
            self._spreads = [_spread(part, prepared) for part in self.parts.values()]

    def _score(self, users: Indices, items: Indices | slice) -> Scores:
        for name, part in self.parts.items():
            if not part.fitted_on(self._fitted(), self._rng or 0):
                raise ReclibError(
                    f"part {name!r} was fitted on other data or with another seed since; "
                    "fit the fusion again"
                )
        # the scale comes from the whole catalogue, so that a product's score does not
        # depend on which others are asked for
        parts = [part.score(users) for part in self.parts.values()]
        return self.fuse(parts, self._seen[users].toarray() > 0)[:, items]


def blended(
    newcomers: NDArray[np.float64],
    weights: NDArray[np.float64],
    halfway: float,
    products: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Weights of users with so many different products, as in `Fusion`.

    Parameters
    ----------
    newcomers, weights
        Shape (n_parts,): at no product, and in the limit of many.
    halfway
        Number of products half way between them.
    products
        Shape (n_users,).

    Returns
    -------
    ndarray
        Shape (n_users, n_parts).
    """
    settled = (products / (products + halfway))[:, None]
    mixed: NDArray[np.float64] = (1 - settled) * newcomers + settled * weights
    return mixed


def weighted_sum(parts: Sequence[Scores], weights: ArrayLike) -> Scores:
    """Σ_p w_p · part_p in float32; NaN counts 0 unless every weighted part is NaN.

    Parameters
    ----------
    parts
        Arrays of shape (n_users, n_items).
    weights
        Shape (n_parts,), or (n_users, n_parts) where users have weights of their own.

    Returns
    -------
    ndarray
        float32, shape (n_users, n_items).
    """
    by_part = np.atleast_2d(np.asarray(weights, np.float32)).T[:, :, None]  # (n_parts, ·, 1)
    used = [(part, w) for part, w in zip(parts, by_part, strict=True) if w.any() or not w.size]
    total: Scores = used[0][0] * used[0][1]
    for part, weight in used[1:]:
        total += part * weight
    holes = np.isnan(total)
    if holes.any():  # few as a rule, so looked into one by one
        hole = np.nonzero(holes)
        found = np.stack([part[hole] for part, _ in used])
        shares = np.stack([np.broadcast_to(w, total.shape)[hole] for _, w in used])
        known = ~np.isnan(found) & (shares > 0)
        total[hole] = np.where(
            known.any(axis=0), np.where(known, found * shares, 0).sum(axis=0), np.nan
        )
    return total


def normalised(
    scores: Scores, seen: NDArray[np.bool_], how: str = "minmax", *, spread: float = 1.0
) -> Scores:
    """Bring a part's scores to a common scale, user by user.

    Parameters
    ----------
    scores
        Shape (n_users, n_items), over the whole catalogue; NaN where not scored.
    seen
        Shape (n_users, n_items); these products do not set the scale.
    how
        ``minmax`` (candidates from 0 to 1), ``zscore`` (mean 0, deviation 1),
        ``percentile`` (share of candidates with a smaller score, ties half), or ``global``
        (candidates from 0 on, in units of `spread`).
    spread
        For ``global``: the same for all users, so that sure scores stay large.

    Returns
    -------
    ndarray
        float32, same shape; seen products are on the candidates' scale and may lie outside
        its range. Where all candidates of a user tie, all but ``percentile`` give 0.
    """
    if how not in NORMALISERS:
        raise unknown("normaliser", how, NORMALISERS)
    candidates = ~seen & ~np.isnan(scores)
    if how == "global":
        low, high = _ends(scores, candidates)
        return _scaled(scores, low, np.where(high > low, spread, 0))
    return NORMALISERS[how](scores, candidates)


def _spread(part: Scorer, prepared: Prepared) -> float:
    """Typical distance of a part's best from its worst candidate: the mean over some users."""
    users = np.flatnonzero(np.diff(prepared.matrix.indptr))
    users = np.random.default_rng(0).permutation(users)[:SPREAD_USERS]
    scores = part.score(users)
    seen = prepared.matrix[users].toarray() > 0
    low, high = _ends(scores, ~seen & ~np.isnan(scores))
    distance = (high - low)[np.isfinite(high - low)]
    return float(distance.mean()) if distance.any() else 1.0


def _ends(scores: Scores, candidates: NDArray[np.bool_]) -> tuple[Scores, Scores]:
    """Smallest and largest candidate of each user, (n_users, 1); ∞ and −∞ where none is."""
    low: Scores = np.where(candidates, scores, np.inf).min(axis=1, keepdims=True)
    high: Scores = np.where(candidates, scores, -np.inf).max(axis=1, keepdims=True)
    return low, high


def _minmax(scores: Scores, candidates: NDArray[np.bool_]) -> Scores:
    low, high = _ends(scores, candidates)
    return _scaled(scores, low, high - low)


def _zscore(scores: Scores, candidates: NDArray[np.bool_]) -> Scores:
    some = candidates.any(axis=1, keepdims=True)  # a mean of nothing would warn
    mean = np.mean(scores, axis=1, keepdims=True, where=candidates | ~some, dtype=np.float64)
    spread = np.std(scores, axis=1, keepdims=True, where=candidates | ~some, dtype=np.float64)
    return _scaled(scores, mean, spread)


def _percentile(scores: Scores, candidates: NDArray[np.bool_]) -> Scores:
    out = np.full_like(scores, np.nan)
    for row, (values, mask) in enumerate(zip(scores, candidates, strict=True)):
        known = ~np.isnan(values)
        ordered = np.sort(values[mask])
        below = np.searchsorted(ordered, values[known], side="left")
        upto = np.searchsorted(ordered, values[known], side="right")
        out[row, known] = (below + upto) / (2 * max(len(ordered), 1))
    return out


def _scaled(scores: Scores, origin: Any, spread: Any) -> Scores:
    """(scores − origin) / spread, and 0 where there is no spread."""
    flat = ~(np.isfinite(spread) & (spread > 0))
    scaled: Scores = (scores - np.where(flat, 0, origin)).astype(np.float32)
    scaled /= np.where(flat, 1, spread).astype(np.float32)
    tied = flat[:, 0]
    scaled[tied] = np.where(np.isnan(scores[tied]), np.nan, 0)
    return scaled


NORMALISERS: Mapping[str, Callable[[Scores, NDArray[np.bool_]], Scores]] = {
    "minmax": _minmax,
    "zscore": _zscore,
    "percentile": _percentile,
    "global": _minmax,  # with a spread that is not the user's own
}


def simplex(n_parts: int, n_trials: int) -> NDArray[np.float64]:
    """Weights to try: a regular grid of non-negative weights that sum to 1.

    Parameters
    ----------
    n_parts
        Number of parts, 2 or 3.
    n_trials
        Upper bound on the number of grid points; the finest grid that fits is taken, so
        that models with different numbers of parts get (nearly) the same effort.

    Returns
    -------
    ndarray
        Shape (at most n_trials, n_parts).

    Examples
    --------
    >>> len(simplex(3, 66)), len(simplex(2, 66))
    (66, 66)
    """
    if n_parts not in (2, 3) or n_trials < n_parts:
        raise ReclibError(
            f"{n_parts} parts with {n_trials} trials; need 2 or 3 parts, trials ≥ parts"
        )
    steps = n_trials - 1
    if n_parts == 3:
        steps = int((np.sqrt(8 * n_trials + 1) - 3) / 2)
    grid = np.array(list(np.ndindex(*(steps + 1,) * (n_parts - 1))))
    grid = grid[grid.sum(axis=1) <= steps]
    return np.column_stack([grid, steps - grid.sum(axis=1)]) / steps


def _on_simplex(weights: Mapping[str, float], parts: list[str]) -> dict[str, float]:
    """Check weights and scale them to sum 1, in the order of the parts."""
    for name, weight in weights.items():
        if name not in parts:
            raise unknown("part", name, parts)
        if not np.isfinite(weight) or weight < 0:
            raise ReclibError(f"weight of {name!r} is {weight}; allowed is a finite number ≥ 0")
    total = sum(weights.values())
    if total <= 0:
        raise ReclibError(f"the weights {dict(weights)} are all zero; one must be above 0")
    return {name: float(weights.get(name, 0.0)) / total for name in parts}
