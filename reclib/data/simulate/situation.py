"""When, where and how users of the simulated marketplace come, and what difference it makes.

Shares and hours come from real sets where one has them. Devices and channels are not in any
set at hand, nor is the size of any effect: these are our choice.
"""

from collections.abc import Mapping

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from reclib.data.simulate.vocabulary import DEPARTMENTS

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Columns = dict[str, NDArray[np.int64]]

OPENING, DAY, DAYS = 1_672_531_200, 86_400, 365  # 2023-01-01 in Unix seconds; seconds; the log

DEVICES: Mapping[str, float] = {"phone": 0.55, "desktop": 0.35, "tablet": 0.10}
CHANNELS: Mapping[str, float] = {
    "direct": 0.45,
    "search engine": 0.25,
    "email": 0.12,
    "advert": 0.12,
    "social": 0.06,
}
# customers of Online Retail; the five commonest countries, the rest in one
COUNTRIES: Mapping[str, float] = {
    "United Kingdom": 0.90,
    "Germany": 0.02,
    "France": 0.02,
    "Spain": 0.01,
    "Belgium": 0.01,
    "elsewhere": 0.04,
}
# impressions of Open Bandit from midnight on, in local time; per mille
HOURS = (
    *(67, 29, 18, 10, 7, 10),
    *(17, 27, 32, 37, 39, 41),
    *(52, 43, 41, 39, 40, 43),
    *(47, 52, 68, 81, 83, 77),
)
# reviews of Amazon Musical Instruments from Monday to Sunday; per mille
WEEKDAYS = (149, 143, 159, 150, 161, 123, 115)
FAVOURITE = 0.8  # P(a user comes with the usual device)

LEVELS: Mapping[str, tuple[str, ...]] = {
    "device": tuple(DEVICES),
    "channel": tuple(CHANNELS),
    "hour": ("night", "morning", "afternoon", "evening"),  # six hours each, from midnight
    "weekday": ("workday", "weekend"),
    "season": ("winter", "spring", "summer", "autumn"),  # from December, three months each
}

_DATE = np.datetime64("2023-01-01") + np.arange(DAYS)
_MONTH = _DATE.astype("datetime64[M]").astype(np.int64) % 12  # 0 = January
_WEEKDAY = (_DATE.astype(np.int64) + 3) % 7  # 0 = Monday; day 0 of Unix was a Thursday
SEASON = (_MONTH + 1) % 12 // 3  # (DAYS,), row of LEVELS["season"]
WEEKEND = np.asarray(_WEEKDAY >= 5, np.int64)  # (DAYS,), row of LEVELS["weekday"]
_CALENDAR = np.cumsum(np.array(WEEKDAYS)[_WEEKDAY]) / np.array(WEEKDAYS)[_WEEKDAY].sum()


def arrivals(drawn: Floats) -> Floats:
    """Turn uniform draws into the share of the log that passed before each user came.

    Half are there from the start; Online Retail's first invoices have quartiles .13, .34, .70.
    """
    return np.maximum(0, 1.8 * drawn - 0.9)


def days(arrival: Floats, drawn: Floats) -> Ints:
    """Day of a visit for uniform draws, shape of `drawn`."""
    row = np.searchsorted(_CALENDAR, arrival + (1 - arrival) * drawn, side="right")
    return np.minimum(row, DAYS - 1).astype(np.int64)


def _shares() -> dict[str, Floats]:
    """Compute how common every level of every kind of context is."""
    grid = (np.arange(400) + 0.5) / 400
    day = days(arrivals(grid)[:, None], grid).ravel()
    return {
        "device": np.array(list(DEVICES.values())),
        "channel": np.array(list(CHANNELS.values())),
        "hour": np.array(HOURS).reshape(4, 6).sum(axis=1) / sum(HOURS),
        "weekday": np.bincount(WEEKEND[day]) / len(day),
        "season": np.bincount(SEASON[day]) / len(day),
    }


SHARES = _shares()


def _centred(effects: Floats, kind: str) -> Floats:
    """Shift effects, (…, n_levels), so that the average situation has none."""
    return effects - (effects @ SHARES[kind])[..., None]


# what a situation adds to the logit of a click on any product
GENERAL: Mapping[str, Floats] = {
    "channel": _centred(np.array([0.05, 0.10, 0.25, -0.25, -0.20]), "channel"),
    "hour": _centred(np.array([-0.20, -0.10, 0.0, 0.15]), "hour"),
    "weekday": _centred(np.array([0.0, 0.12]), "weekday"),
}
# … on products of each department, (n_departments, n_seasons)
_BY_DEPARTMENT: Mapping[str, tuple[float, ...]] = {
    "Electronics": (0.3, -0.1, -0.2, 0.1),
    "Fashion": (0.1, 0.0, -0.1, 0.2),
    "Garden": (-0.5, 0.4, 0.3, -0.3),
    "Home": (0.1, 0.0, -0.1, 0.1),
    "Office": (0.0, -0.1, -0.1, 0.2),
    "Pets": (0.0, 0.0, 0.0, 0.0),
    "Sports": (-0.2, 0.2, 0.3, -0.2),
    "Toys": (0.4, -0.2, -0.2, 0.2),
}
SEASONAL = _centred(np.array([_BY_DEPARTMENT[name] for name in DEPARTMENTS]), "season")
# by how much more the price matters, as a share
PRICE_MATTERS = _centred(np.array([0.3, -0.4, 0.0]), "device")


def situations(arrival: Floats, favourite: Ints, rng: Generator) -> Columns:
    """Draw the situation of one visit for each row.

    Parameters
    ----------
    arrival
        Of the visits' users, see `arrivals`.
    favourite
        The users' usual devices, rows of ``LEVELS["device"]``.
    rng
        Where the draws come from.

    Returns
    -------
    dict of int64, shape (n,)
        Rows of `LEVELS` by kind of context, and ``seconds`` since the opening.
    """
    n = len(arrival)
    day = days(arrival, rng.random(n))
    hour = np.asarray(rng.choice(24, n, p=np.array(HOURS) / sum(HOURS)), np.int64)
    other = rng.choice(len(DEVICES), n, p=SHARES["device"])
    return {
        "device": np.where(rng.random(n) < FAVOURITE, favourite, other),
        "channel": rng.choice(len(CHANNELS), n, p=SHARES["channel"]),
        "hour": hour // 6,
        "weekday": WEEKEND[day],
        "season": SEASON[day],
        "seconds": day * DAY + hour * 3600 + rng.integers(3600, size=n),
    }
