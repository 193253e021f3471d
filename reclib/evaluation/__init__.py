"""Evaluation: protocols, metrics, intervals."""

from reclib.evaluation.classification import classification_metrics, confusion_counts
from reclib.evaluation.ctr import (
    ClickModel,
    Logged,
    click_probabilities,
    cross_fitted,
    diagnose,
    expected_ctr,
    off_policy,
    resampled,
)
from reclib.evaluation.metrics import diversity_features, intra_list_diversity, ranking_metrics
from reclib.evaluation.pairs import (
    Pairs,
    best_threshold,
    pair_counts,
    pair_metrics,
    resampled_counts,
    sample_pairs,
)
from reclib.evaluation.protocols import Outcome, evaluate
from reclib.evaluation.significance import bootstrap_sums, holm, interval
from reclib.evaluation.tuning import Space, Tuning, tune
from reclib.evaluation.weighing import choose_weights

__all__ = [
    "ClickModel",
    "Logged",
    "Outcome",
    "Pairs",
    "Space",
    "Tuning",
    "best_threshold",
    "bootstrap_sums",
    "choose_weights",
    "classification_metrics",
    "click_probabilities",
    "confusion_counts",
    "cross_fitted",
    "diagnose",
    "diversity_features",
    "evaluate",
    "expected_ctr",
    "intra_list_diversity",
    "holm",
    "interval",
    "off_policy",
    "pair_counts",
    "pair_metrics",
    "ranking_metrics",
    "resampled",
    "resampled_counts",
    "sample_pairs",
    "tune",
]
