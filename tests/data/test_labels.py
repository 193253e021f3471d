"""Labels of the tasks beside the ranking."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from reclib.data import Prepared
from reclib.data.labels import category_classes, polarity
from reclib.errors import ReclibError

Make = Callable[..., Prepared]


def shop(make_prepared: Make, paths: dict[str, str], times: dict[str, int]) -> Prepared:
    """Every product is had as often as `times` says, by different users."""
    histories: dict[str, list[str]] = {}
    for item, n in times.items():
        for user in range(n):
            histories.setdefault(f"u{user:02d}", []).append(item)
    items = pd.DataFrame(paths.items(), columns=["item_id", "categories"])
    return make_prepared(histories, items)


PATHS = {
    "a": "Home > Kitchen > Pans",
    "b": "Home > Kitchen > Pots",
    "c": "Home > Garden",
    "d": "Home > Bath > Mats",
    "e": "Home > Garden > Hoses",
    "f": "",
}
TIMES = {"a": 9, "b": 6, "c": 8, "d": 1, "e": 7, "f": 12}


def test_three_stars_say_nothing() -> None:
    assert polarity([1, 2.5, 3, 3.5, 5, np.nan]).tolist() == [0, 0, -1, 1, 1, -1]


def test_paths_are_cut_where_there_are_classes_enough(make_prepared: Make) -> None:
    ready = shop(make_prepared, PATHS, TIMES)
    classes, names = category_classes(ready, fewest=3)
    assert names == ("Home > Bath", "Home > Garden", "Home > Kitchen")
    assert classes.tolist() == [2, 2, 1, 0, 1, -1]
    deeper, names = category_classes(ready, fewest=4)
    assert names[1:3] == ("Home > Garden", "Home > Garden > Hoses")
    assert deeper.tolist() == [3, 4, 1, 0, 2, -1]


def test_rare_classes_are_joined_and_do_not_count(make_prepared: Make) -> None:
    ready = shop(make_prepared, PATHS, TIMES)
    classes, names = category_classes(ready, fewest=2, rarest=0.1)
    assert names == ("Home > Garden", "Home > Kitchen", "other")
    assert classes.tolist() == [1, 1, 0, 2, 0, -1]


def test_what_training_never_showed_is_other(make_prepared: Make) -> None:
    ready = shop(make_prepared, PATHS | {"g": "Garage"}, TIMES)
    classes, names = category_classes(ready, fewest=3)
    assert names[classes[ready.item_ids.get_loc("g")]] == "other"


def test_without_categories_there_is_no_intent(make_prepared: Make) -> None:
    ready = shop(make_prepared, dict.fromkeys(PATHS, ""), TIMES)
    with pytest.raises(ReclibError, match="no categories that tell them apart"):
        category_classes(ready)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"fewest": 1}, "fewest is 1"), ({"rarest": 0.5}, "rarest is 0.5")],
)
def test_a_bad_option_is_refused_by_value(
    make_prepared: Make, options: dict[str, float], message: str
) -> None:
    with pytest.raises(ReclibError, match=message):
        category_classes(shop(make_prepared, PATHS, TIMES), **options)
