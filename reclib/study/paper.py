"""What the paper prints: Table II and its claims (Xu, Xiao & Chen 2024, section V)."""

from collections.abc import Mapping

# the only results in the study that do not come from a run
TABLE_II: Mapping[str, tuple[float, float]] = {
    # metric: (traditional model, LLM-based model)
    "precision": (0.75, 0.82),
    "recall": (0.68, 0.77),
    "f1": (0.71, 0.79),
    "ctr": (0.56, 0.63),
    "diversity": (0.34, 0.48),
}
