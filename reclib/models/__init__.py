"""Model layer (Fig. 2, III-C): every scorer with the same face, and their fusion."""

from reclib.models.base import Scorer, mask_seen, top_k
from reclib.models.baselines import Popular, Random
from reclib.models.collaborative import Collaborative
from reclib.models.content import Content
from reclib.models.encoder import DEFAULT_ENCODER, encode
from reclib.models.fusion import Fusion, normalised, simplex, weighted_sum
from reclib.models.language import Language

__all__ = [
    "DEFAULT_ENCODER",
    "Collaborative",
    "Content",
    "Fusion",
    "Language",
    "Popular",
    "Random",
    "Scorer",
    "encode",
    "mask_seen",
    "normalised",
    "simplex",
    "top_k",
    "weighted_sum",
]
