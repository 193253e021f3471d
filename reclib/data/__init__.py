"""Data layer (Fig. 2, III-B): load, clean, extract features, split."""

from reclib.data.features import (
    Features,
    check_texts,
    extract_features,
    history_weights,
    item_texts,
)
from reclib.data.prepare import Prepared, prepare
from reclib.data.schema import Marketplace, Truth
from reclib.data.sources import SIZES, SOURCES, load
from reclib.data.split import (
    Fold,
    Split,
    cold_items,
    cold_users,
    describe_split,
    global_time,
    last_out,
    leave_one_out,
    random_split,
    split_by,
)

__all__ = [
    "SIZES",
    "SOURCES",
    "Features",
    "Fold",
    "Marketplace",
    "Prepared",
    "Split",
    "Truth",
    "check_texts",
    "cold_items",
    "cold_users",
    "describe_split",
    "extract_features",
    "global_time",
    "history_weights",
    "item_texts",
    "last_out",
    "leave_one_out",
    "load",
    "prepare",
    "random_split",
    "split_by",
]
