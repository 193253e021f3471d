"""Data layer (Fig. 2, III-B): load, clean, extract features, split."""

from reclib.data.features import Features, extract_features, history_weights
from reclib.data.prepare import Prepared, prepare
from reclib.data.schema import Marketplace, Truth
from reclib.data.sources import SIZES, SOURCES, load
from reclib.data.split import Fold, Split, leave_one_out

__all__ = [
    "SIZES",
    "SOURCES",
    "Features",
    "Fold",
    "Marketplace",
    "Prepared",
    "Split",
    "Truth",
    "extract_features",
    "history_weights",
    "leave_one_out",
    "load",
    "prepare",
]
