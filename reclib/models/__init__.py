"""Model layer (Fig. 2, III-C): every scorer with the same face, and their fusion."""

from reclib.models.autoencoder import EASE
from reclib.models.base import Scorer, mask_seen, top_k
from reclib.models.baselines import Popular, Random
from reclib.models.collaborative import Collaborative
from reclib.models.content import Content
from reclib.models.encoder import DEFAULT_ENCODER, encode
from reclib.models.factors import ALS, BPR
from reclib.models.fusion import Fusion, blended, normalised, simplex, weighted_sum
from reclib.models.hybrid import Hybrid
from reclib.models.language import Language
from reclib.models.neighbours import ItemKNN
from reclib.models.reranking import dpp, mmr
from reclib.models.sasrec import SASRec
from reclib.models.sequential import PCTM, Markov, SeqRules, Transitions
from reclib.models.tuned import TunedLanguage
from reclib.models.tuned_content import TunedContent

__all__ = [
    "ALS",
    "BPR",
    "DEFAULT_ENCODER",
    "EASE",
    "PCTM",
    "Collaborative",
    "Content",
    "Fusion",
    "Hybrid",
    "ItemKNN",
    "Language",
    "Markov",
    "Popular",
    "Random",
    "SASRec",
    "Scorer",
    "SeqRules",
    "Transitions",
    "TunedContent",
    "TunedLanguage",
    "blended",
    "dpp",
    "encode",
    "mask_seen",
    "mmr",
    "normalised",
    "simplex",
    "top_k",
    "weighted_sum",
]
