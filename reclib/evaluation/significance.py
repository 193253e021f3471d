"""Intervals: users are resampled, and every model is judged on the same resamples."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reclib.errors import ReclibError

Floats = NDArray[np.float64]


def resamples(
    n_users: int, n_resamples: int, rng: int, *, cells: int = 4_000_000
) -> Iterator[NDArray[np.int32]]:
    """Draw users with replacement, some resamples at a time.

    Parameters
    ----------
    n_users, n_resamples
        How many.
    rng
        Seed; with the same seed and number of users the same users are drawn.
    cells
        Counts that are made at a time, but at least one resample.

    Yields
    ------
    ndarray
        int32, shape (some, n_users): how often each user was drawn.
    """
    generator = np.random.default_rng(rng)
    block = max(1, cells // n_users)
    for start in range(0, n_resamples, block):
        rows = min(block, n_resamples - start)
        drawn = generator.integers(n_users, size=(rows, n_users))
        drawn += np.arange(rows)[:, None] * n_users
        counts = np.bincount(drawn.ravel(), minlength=rows * n_users)
        yield counts.reshape(rows, n_users).astype(np.int32)


def bootstrap_sums(values: Floats, *, n_resamples: int = 2000, rng: int = 0) -> Floats:
    """Sum columns over users drawn with replacement.

    Means, ratios of sums (precision = Σ tp / Σ (tp + fp)) and paired differences between
    models all follow from these sums. How often each user is drawn is one matrix of
    counts, so all columns together cost one matrix product.

    Parameters
    ----------
    values
        Shape (n_users, n_columns), without NaN.
    n_resamples
        Number of resamples.
    rng
        Seed; with the same seed and number of users the same users are drawn.

    Returns
    -------
    ndarray
        float64, shape (n_resamples, n_columns).

    Raises
    ------
    ReclibError
        If there are no users, or a value is NaN.
    """
    n_users = len(values)
    if n_users == 0 or np.isnan(values).any():
        raise ReclibError(
            f"cannot resample {n_users} users with {np.isnan(values).sum()} NaN values; "
            "leave users without a value out first, and count them"
        )
    blocks = [drawn.astype(float) @ values for drawn in resamples(n_users, n_resamples, rng)]
    return np.concatenate(blocks)


def interval(samples: Floats, *, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of a resampled statistic.

    Parameters
    ----------
    samples
        Shape (n_resamples,).
    level
        Coverage, e.g. 0.95.

    Returns
    -------
    tuple
        Lower and upper end.
    """
    low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def holm(p_values: ArrayLike) -> Floats:
    """Correct p-values of several tests for their number.

    Holm's step-down procedure (Scandinavian Journal of Statistics, 1979): the chance of
    one false alarm or more in the whole family stays below the level, whatever the tests'
    dependence.

    Parameters
    ----------
    p_values
        Shape (n_tests,).

    Returns
    -------
    ndarray
        float64, shape (n_tests,), at most 1, in the order given.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03]).round(2).tolist()
    [0.03, 0.06, 0.06]
    """
    raw = np.asarray(p_values, float)
    order = np.argsort(raw, kind="stable")
    grown = np.maximum.accumulate(raw[order] * np.arange(len(raw), 0, -1))
    corrected = np.empty_like(raw)
    corrected[order] = np.minimum(grown, 1)
    return corrected
