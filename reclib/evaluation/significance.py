"""Intervals: users are resampled, and every model is judged on the same resamples."""

import numpy as np
from numpy.typing import NDArray

from reclib.errors import ReclibError

Floats = NDArray[np.float64]


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
    n_users, n_columns = values.shape
    if n_users == 0 or np.isnan(values).any():
        raise ReclibError(
            f"cannot resample {n_users} users with {np.isnan(values).sum()} NaN values; "
            "leave users without a value out first, and count them"
        )
    generator = np.random.default_rng(rng)
    sums = np.empty((n_resamples, n_columns))
    block = max(1, 4_000_000 // n_users)  # counts of some 32 MB at once
    for start in range(0, n_resamples, block):
        rows = min(block, n_resamples - start)
        drawn = generator.integers(n_users, size=(rows, n_users))
        drawn += np.arange(rows)[:, None] * n_users
        counts = np.bincount(drawn.ravel(), minlength=rows * n_users).reshape(rows, n_users)
        sums[start : start + rows] = counts.astype(float) @ values
    return sums


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
