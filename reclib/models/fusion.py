"""Fusion of scorers, Eq. 7, and the traditional half of Eq. 1."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reclib.data import Prepared
from reclib.errors import ReclibError, unknown
from reclib.models.base import Indices, Scorer, Scores


class Fusion(Scorer):
    """Eq. 7: R(u, i) = α·CBF + β·CF + γ·LLM, over parts of comparable scale.

    Parameters
    ----------
    parts
        Scorers by name.
    weights
        Weight of each part: none negative, not all zero; scaled to sum 1. A part that is
        not named weighs 0. With γ = 0 this is f_trad of Eq. 1.
    normalise
        How a part's scores of a user are made comparable, over the products that the user
        has not had: ``minmax``, ``zscore`` or ``percentile``.
    name
        What to call it in results, e.g. ``"traditional"``.

    Notes
    -----
    A part that cannot score a product (NaN) adds nothing to it; where no part with a
    weight can score, neither can the fusion.

    Raises
    ------
    ReclibError
        For weights that are negative, not finite, all zero, or of an unknown part.
    """

    def __init__(
        self,
        parts: Mapping[str, Scorer],
        weights: Mapping[str, float],
        *,
        normalise: str = "minmax",
        name: str = "fusion",
    ) -> None:
        if normalise not in NORMALISERS:
            raise unknown("normaliser", normalise, NORMALISERS)
        self.parts = dict(parts)
        self.weights = _on_simplex(weights, list(parts))
        self.normalise = normalise
        self.name = name  # type: ignore[misc]

    def config(self) -> dict[str, Any]:
        """Weights, normaliser, and the configuration of each part."""
        parts = {name: (type(part).__name__, part.config()) for name, part in self.parts.items()}
        return {"parts": parts, "weights": self.weights, "normalise": self.normalise}

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
        weights = list(self.weights.values())
        scaled = [
            normalised(scores, seen, self.normalise) if weight > 0 else scores
            for scores, weight in zip(parts, weights, strict=True)
        ]
        return weighted_sum(scaled, weights)

    def fitted_on(self, prepared: Prepared, rng: int = 0) -> bool:
        """Whether the fusion and all its parts were last fitted on these very data."""
        return super().fitted_on(prepared, rng) and all(
            part.fitted_on(prepared, rng) for part in self.parts.values()
        )

    @property
    def costs(self) -> dict[str, float]:
        """Seconds of each step, summed over the parts."""
        total: dict[str, float] = {}
        for part in self.parts.values():
            for step, seconds in part.costs.items():
                total[step] = total.get(step, 0.0) + seconds
        return total

    def _fit(self, prepared: Prepared, rng: int) -> None:
        for part in self.parts.values():  # they may be shared between fusions
            part.ensure_fitted(prepared, rng=rng)
        self._seen = prepared.matrix

    def _score(self, users: Indices, items: Indices | slice) -> Scores:
        for name, part in self.parts.items():
            if part.prepared is not self.prepared:
                raise ReclibError(
                    f"part {name!r} was fitted on other data since; fit the fusion again"
                )
        # the scale comes from the whole catalogue, so that a product's score does not
        # depend on which others are asked for
        parts = [part.score(users) for part in self.parts.values()]
        return self.fuse(parts, self._seen[users].toarray() > 0)[:, items]


def weighted_sum(parts: Sequence[Scores], weights: Sequence[float]) -> Scores:
    """Σ_p w_p · part_p in float32; NaN counts 0 unless every weighted part is NaN."""
    used = [(part, np.float32(w)) for part, w in zip(parts, weights, strict=True) if w > 0]
    total: Scores = used[0][0] * used[0][1]
    for part, weight in used[1:]:
        total += part * weight
    holes = np.isnan(total)
    if holes.any():  # few as a rule, so looked into one by one
        hole = np.nonzero(holes)
        found = np.stack([part[hole] * weight for part, weight in used])
        total[hole] = np.where(np.isnan(found).all(axis=0), np.nan, np.nansum(found, axis=0))
    return total


def normalised(scores: Scores, seen: NDArray[np.bool_], how: str = "minmax") -> Scores:
    """Bring a part's scores to a common scale, user by user.

    Parameters
    ----------
    scores
        Shape (n_users, n_items), over the whole catalogue; NaN where not scored.
    seen
        Shape (n_users, n_items); these products do not set the scale.
    how
        ``minmax`` (candidates from 0 to 1), ``zscore`` (mean 0, deviation 1) or
        ``percentile`` (share of candidates with a smaller score, ties half).

    Returns
    -------
    ndarray
        float32, same shape; seen products are on the candidates' scale and may lie outside
        its range. Where all candidates of a user tie, ``minmax`` and ``zscore`` give 0.
    """
    if how not in NORMALISERS:
        raise unknown("normaliser", how, NORMALISERS)
    return NORMALISERS[how](scores, ~seen & ~np.isnan(scores))


def _minmax(scores: Scores, candidates: NDArray[np.bool_]) -> Scores:
    low = np.where(candidates, scores, np.inf).min(axis=1, keepdims=True)
    high = np.where(candidates, scores, -np.inf).max(axis=1, keepdims=True)
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
