"""Splits: what a model may see, and what it must find."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from reclib.data.prepare import Prepared
from reclib.errors import ReclibError


@dataclass(frozen=True)
class Fold:
    """One question: after `train`, which products come next.

    Attributes
    ----------
    name
        ``"validation"`` or ``"test"``.
    train
        All that a model may be fitted on.
    relevant
        bool, shape (n_users, n_items): the held-out products of each user.
    """

    name: str
    train: Prepared
    relevant: sp.csr_array


@dataclass(frozen=True)
class Split:
    """`validation` is for choosing, `test` for the final figure only."""

    validation: Fold
    test: Fold


def leave_one_out(prepared: Prepared) -> Split:
    """Hold out each user's last new product for the test, the one before for validation.

    The protocol ``full-loo`` of the literature. Models are chosen on ``validation`` (fitted
    on all but the last two) and then refitted on ``test.train`` (all but the last). Because
    users act at different times, the training events of one may be later than the test
    event of another: a global-time split is the realistic one wherever there are
    timestamps.

    Parameters
    ----------
    prepared
        Every user needs at least three different products; `prepare` sees to that.

    Returns
    -------
    Split
        With one relevant product a user in each fold.

    Raises
    ------
    ReclibError
        If a user has fewer than three different products.
    """
    counts = np.bincount(prepared.user[prepared.new], minlength=prepared.n_users)
    if counts.min() < 3:
        short = prepared.user_ids[int(counts.argmin())]
        raise ReclibError(
            f"user {short!r} has {counts.min()} different products, leave-one-out needs 3; "
            "prepare(…, min_events=3) leaves such users out"
        )
    return Split(_fold("validation", prepared, 1), _fold("test", prepared, 0))


def _fold(name: str, prepared: Prepared, age: int) -> Fold:
    """Ask for the product of that `age`; train only on what came before it."""
    asked = prepared.new & (prepared.age == age)
    relevant = sp.csr_array(
        (np.ones(prepared.n_users, bool), (prepared.user[asked], prepared.item[asked])),
        shape=prepared.shape,
    )
    return Fold(name, prepared.select(prepared.age > age), relevant)
