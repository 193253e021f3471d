"""The network of Eq. 8 without one part or the other, and what diversity costs (Eq. 9)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from reclib.data import Fold, extract_features
from reclib.evaluation import Outcome
from reclib.models import Fusion, Scorer, dpp, mmr, normalised
from reclib.models.base import Indices
from reclib.models.hybrid import Hybrid
from reclib.study.experiment import ALL, LLM, LLM_PARTS, TRADITIONAL

RERANKERS: Mapping[str, Callable[..., Indices]] = {"mmr": mmr, "dpp": dpp}


def hybrids(fusions: Mapping[str, Fusion], **options: Any) -> dict[str, Hybrid]:
    """Make the network of Eq. 8, and what is left of it without one of its halves.

    Parameters
    ----------
    fusions
        Those of everything, ``traditional:all`` and ``llm-fusion:all``: the networks have
        their parts, and start from their weights, as they are halfway between a newcomer's
        and a regular's.
    **options
        As in `reclib.models.hybrid.Hybrid`.

    Returns
    -------
    dict
        ``hybrid``; ``hybrid:no-vectors``, whose h_LLM sees the language model's scores but
        not its vectors; ``hybrid:no-trad``, which sees nothing else, though the candidates
        stay; ``hybrid:no-llm``, which never sees the language model, neither in h_LLM nor
        among the candidates. Not fitted.
    """
    whole, without = fusions[LLM + ALL], fusions[TRADITIONAL + ALL]
    llm = [name for name in whole.parts if name in LLM_PARTS]
    settings: dict[str, tuple[Fusion, dict[str, Any]]] = {
        "hybrid": (whole, {"llm": llm}),
        "hybrid:no-vectors": (whole, {"llm": llm, "directions": 0}),
        "hybrid:no-trad": (whole, {"llm": llm, "trad": False}),
        "hybrid:no-llm": (without, {"llm": ()}),
    }

    def start(fusion: Fusion) -> dict[str, float]:
        (halfway,) = fusion.weights_of(np.array([max(1, round(fusion.halfway))]))
        return dict(zip(fusion.parts, halfway.tolist(), strict=True))

    return {
        name: Hybrid(fusion.parts, weights=start(fusion), name=name, **options, **more)
        for name, (fusion, more) in settings.items()
    }


def reranked(
    scorer: Scorer,
    fold: Fold,
    *,
    trade_offs: Sequence[float],
    depth: int = 50,
    k: int = 10,
    rng: int = 0,
) -> dict[str, list[Outcome]]:
    """Choose more diverse lists from a scorer's best products, as a practitioner would.

    Parameters
    ----------
    scorer
        Fitted on the fold's `train` if it is not.
    fold
        Its users are asked.
    trade_offs
        Of `reclib.models.reranking`: 1 is the scorer's own order.
    depth
        Best products that a list is chosen from.
    k
        Length of a list.
    rng
        Seed of the fit.

    Returns
    -------
    dict
        ``mmr:0.9``, ``dpp:0.9``, … → one outcome, for `reclib.study.experiment.measure_lists`.

    Notes
    -----
    Scores are scaled per user to 0 … 1. Products are alike by their features y_i of Eq. 3,
    not by the brands and categories that measure diversity.
    """
    scorer.ensure_fitted(fold.train, rng=rng)
    users = np.flatnonzero(np.diff(fold.relevant.indptr))
    items, scores = scorer.rank(users, depth)
    vectors = extract_features(fold.train).items
    scaled = normalised(scores, np.zeros(scores.shape, bool))
    found = {}
    for name, choose in RERANKERS.items():
        for trade_off in trade_offs:
            places = choose(scaled, items, vectors=vectors, k=k, trade_off=trade_off)
            top = np.full((fold.train.n_users, k), -1, np.int64)
            lists = np.take_along_axis(items, np.maximum(places, 0), axis=1)
            top[users] = np.where(places < 0, -1, lists)
            found[f"{name}:{trade_off:g}"] = [Outcome(top, None, {}, np.nan)]
    return found
