"""Application layer (Fig. 2, III-D): the shop of Fig. 1, and its database."""

from reclib.serving.feedback import with_evaluations
from reclib.serving.shop import Reason, Recommendation, Shop
from reclib.serving.store import Evaluation, Shown, Store
from reclib.serving.widget import ShopPage

__all__ = [
    "Evaluation",
    "Reason",
    "Recommendation",
    "Shop",
    "ShopPage",
    "Shown",
    "Store",
    "with_evaluations",
]
