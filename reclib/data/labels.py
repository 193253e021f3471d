"""Labels of the other tasks of IV-B: what a user is after, and how a review is meant."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reclib.data.prepare import Prepared
from reclib.errors import ReclibError

POLARITIES = ("negative", "positive")
NEUTRAL = 3.0  # stars, of 5
OTHER = "other"


def polarity(ratings: ArrayLike) -> NDArray[np.int64]:
    """Say how reviews are meant by their stars.

    Parameters
    ----------
    ratings
        Shape (n_reviews,), 1 to 5; NaN where there is none.

    Returns
    -------
    ndarray
        int64, same shape: row of `POLARITIES`; −1 for three stars and for none, which say
        neither.

    Examples
    --------
    >>> polarity([5, 1, 3, 3.5]).tolist()
    [1, 0, -1, 1]
    """
    stars = np.asarray(ratings, float)
    return np.select([stars > NEUTRAL, stars < NEUTRAL], [1, 0], -1)


def category_classes(
    prepared: Prepared, *, fewest: int = 5, rarest: float = 0.01
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Sort products into a few classes by category; the next one's is what a user is after.

    Paths are cut at the shallowest level at which the training events fall into `fewest`
    classes, else at the deepest.

    Parameters
    ----------
    prepared
        Training data.
    fewest
        Classes that there should be, at least 2; the rare ones do not count.
    rarest
        Share of the training events below which classes are joined as ``other``.

    Returns
    -------
    classes : ndarray
        int64, shape (n_items,): row of `names`; −1 for a product without a category.
    names : tuple of str
        In the order of the alphabet, ``other`` last.

    Raises
    ------
    ReclibError
        If a parameter is out of range, or there are no two classes.
    """
    for name, value, fine, allowed in (
        ("fewest", fewest, fewest >= 2, "2 or more"),
        ("rarest", rarest, 0 <= rarest < 0.5, "0 <= rarest < 0.5"),
    ):
        if not fine:
            raise ReclibError(f"{name} is {value}; allowed is {allowed}")
    paths = [
        [step.strip() for step in path.split(">") if step.strip()]
        for path in prepared.items["categories"]
    ]
    events = np.bincount(prepared.item, minlength=prepared.n_items)
    n_known = sum(int(n) for n, path in zip(events, paths, strict=True) if path)
    common: list[str] = []
    cut: list[str] = []
    for depth in range(1, 1 + max(map(len, paths), default=0)):
        cut = [" > ".join(path[:depth]) for path in paths]
        counts: dict[str, int] = {}
        for n, name in zip(events.tolist(), cut, strict=True):
            counts[name] = counts.get(name, 0) + n
        common = sorted(name for name, n in counts.items() if name and n and n >= rarest * n_known)
        if len(common) >= fewest:
            break
    number = {name: row for row, name in enumerate(common)} | {"": -1}
    classes = np.array([number.get(name, len(common)) for name in cut], np.int64)
    names = (*common, OTHER) if (classes == len(common)).any() else tuple(common)
    if len(names) < 2:
        raise ReclibError(
            f"{prepared.name}: its products have no categories that tell them apart, so there "
            "is no intent to predict; leave this task out"
        )
    return classes, names
