"""Splits: what a model may see, and what it must find."""

from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray

from reclib.data.prepare import Prepared
from reclib.errors import ReclibError, unknown

Mask = NDArray[np.bool_]
LEAVE_ONE_OUT = "on the command line --set protocol=full-loo"


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
    protocol
        How the products were held out; metrics carry this name.
    strangers
        Number of users with something held out who are not asked, because nothing of
        theirs is in `train`; `cold_users` asks them all the same.
    kept
        Shape (n_events,): which events of the data that were split are in `train`.
    """

    name: str
    train: Prepared
    relevant: sp.csr_array
    protocol: str = "full-loo"
    strangers: int = 0
    kept: Mask = field(default_factory=lambda: np.zeros(0, bool))

    def __repr__(self) -> str:
        """Name the fold and count what is held out, whose rows would fill pages."""
        asked = np.count_nonzero(np.diff(self.relevant.indptr))
        return (
            f"<Fold {self.name}, {self.protocol}: {self.relevant.nnz:,} products of {asked:,} "
            f"users held out, {self.train.n_events:,} events to train on>"
        )


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
        With one relevant product a user in each fold. Where there are timestamps, what a
        user wrote after the held-out event leaves with it.

    Raises
    ------
    ReclibError
        If a user has fewer than three different products.
    """
    _check_length(prepared, "leave-one-out")

    def fold(name: str, age: int) -> Fold:
        held_out = prepared.new & (prepared.age == age)
        return _until_then(name, prepared, prepared.age > age, held_out)

    return Split(fold("validation", 1), fold("test", 0))


def last_out(prepared: Prepared) -> Fold:
    """Hold out the last new product of every user who has another one.

    For models that learn from the scores of others (Eq. 8): what these have learned by heart
    teaches nothing, so they are fitted on `train` and scored on what they have not seen. All
    of `prepared` is training data of the model; nothing here is a validation or a test.

    Parameters
    ----------
    prepared
        Users with a single product keep it, and are not asked.

    Returns
    -------
    Fold
        Named ``"inner"``.

    Raises
    ------
    ReclibError
        If nobody has two different products.
    """
    counts = np.bincount(prepared.user[prepared.new], minlength=prepared.n_users)
    last = (prepared.age == 0) & (counts > 1)[prepared.user]
    return _until_then("inner", prepared, ~last, prepared.new & last)


def _until_then(name: str, prepared: Prepared, train: Mask, held_out: Mask) -> Fold:
    """Ask for one product of each user; what they wrote after it leaves with it."""
    made = _fold(name, prepared, train, held_out, protocol="full-loo")
    if prepared.time is None:
        return made
    until = np.full(prepared.n_users, np.iinfo(np.int64).max)
    until[prepared.user[held_out]] = prepared.time[held_out]
    written = made.train.reviews
    return _with_reviews(made, written["time"] <= until[written["user"].astype(int)])


def global_time(prepared: Prepared, *, validation: float = 0.1, test: float = 0.1) -> Split:
    """Train before one moment in the life of the whole shop, and ask for what came after it.

    The protocol ``full-time``, the realistic one. The test trains on all events before a
    moment t₂ and asks for the products that users met for the first time from then on;
    the validation trains before t₁ < t₂ and asks for those met between the two. Reviews
    are cut at the same moments.

    Parameters
    ----------
    prepared
        With timestamps.
    validation, test
        Shares of the events between t₁ and t₂, and from t₂ on; events of one moment stay
        together.

    Returns
    -------
    Split
        Users without an event before the moment are not asked, but counted as
        ``strangers``; `cold_users` is about them.

    Raises
    ------
    ReclibError
        If there are no timestamps, a share is out of range, or a part would be empty.
    """
    if prepared.time is None:
        raise ReclibError(
            f"{prepared.name} has no timestamps, which a split by time needs; use leave_one_out "
            f"({LEAVE_ONE_OUT})"
        )
    if not (validation > 0 and test > 0 and validation + test < 1):
        raise ReclibError(
            f"validation is {validation} and test is {test}; allowed are shares above 0 that "
            "sum to less than 1"
        )
    time = prepared.time
    cuts = np.rint(np.array([1 - test - validation, 1 - test]) * len(time)).astype(int)
    cuts = np.minimum(cuts, len(time) - 1)
    first, second = np.partition(time, cuts)[cuts]
    if not time.min() < first < second:
        raise ReclibError(
            f"{prepared.name}: too many events happen at one moment to cut {validation:.0%} for "
            f"validation and {test:.0%} for the test; choose other shares, or leave_one_out "
            f"({LEAVE_ONE_OUT})"
        )

    def fold(name: str, start: np.int64, end: np.int64 | None) -> Fold:
        asked = time >= start if end is None else (time >= start) & (time < end)
        return _fold(name, prepared, time < start, asked, protocol="full-time", before=int(start))

    return Split(fold("validation", first, second), fold("test", second, None))


def split_by(prepared: Prepared, protocol: str) -> Split:
    """Split as a protocol says, with its usual shares.

    Parameters
    ----------
    prepared
        Events of all users.
    protocol
        ``full-loo`` (`leave_one_out`) or ``full-time`` (`global_time`).

    Returns
    -------
    Split
        From that function.

    Raises
    ------
    ReclibError
        For another protocol, and as that function does.
    """
    splits = {"full-loo": leave_one_out, "full-time": global_time}
    if protocol not in splits:
        raise unknown("protocol", protocol, splits)
    return splits[protocol](prepared)


def random_split(prepared: Prepared, *, rng: int) -> Split:
    """Hold out products that are drawn at random from each user's history.

    Only to show its leak: the model sees what a user did after the product that it is asked
    for. Otherwise as `leave_one_out`: one product a user for the test, one for validation.

    Parameters
    ----------
    prepared
        Every user needs at least three different products.
    rng
        Seed of the draw.

    Returns
    -------
    Split
        With one relevant product a user in each fold.

    Raises
    ------
    ReclibError
        If a user has fewer than three different products.
    """
    _check_length(prepared, "a random split")
    met = np.flatnonzero(prepared.new)  # one row for each user and product, sorted by user
    user = prepared.user[met]
    dealt = np.argsort(user + np.random.default_rng(rng).random(len(met)))
    place = np.empty(len(met), np.int64)
    place[dealt] = np.arange(len(met)) - np.searchsorted(user, user)
    # every event with a product shares its place
    pairs = prepared.pair
    order = np.argsort(pairs[met])
    places = place[order][np.searchsorted(pairs[met][order], pairs)]  # (n_events,)

    def fold(name: str, place: int) -> Fold:
        return _fold(name, prepared, places > place, places == place, protocol="random")

    return Split(fold("validation", 1), fold("test", 0))


def cold_users(prepared: Prepared, *, share: float = 0.1, given: int = 0, rng: int) -> Split:
    """Ask for the products of users of whom training shows little or nothing.

    Parameters
    ----------
    prepared
        Events of all users.
    share
        Of the users with more than `given` products, for the test; as many others for
        validation, which sees nothing at all of the users of the test.
    given
        Number of products of each of them, the first, that stay in training; the others
        are asked for.
    rng
        Seed of the draw of users.

    Returns
    -------
    Split
        All products of a cold user but the given ones are relevant. No review by a cold
        user is in training.

    Raises
    ------
    ReclibError
        If a parameter is out of range, or too few users have enough products.
    """
    if given < 0:
        raise ReclibError(f"given is {given}; allowed is 0 or more")
    products = np.bincount(prepared.user[prepared.new], minlength=prepared.n_users)
    enough = np.flatnonzero(products > given)
    what = f"users with more than {given} products"
    group = _deal(enough, share, size=prepared.n_users, what=what, rng=rng)
    met = products[prepared.user] - prepared.age  # different products up to the event
    return _cold(prepared, "user", group, given=met <= given)


def cold_items(prepared: Prepared, *, share: float = 0.1, rng: int) -> Split:
    """Ask for products without a single training event; only their metadata are known.

    Parameters
    ----------
    prepared
        Events with all products.
    share
        Of the products with an event, for the test; as many others for validation, which
        sees no event with a product of the test.
    rng
        Seed of the draw of products.

    Returns
    -------
    Split
        Users left without a training event are not asked, but counted as ``strangers``. No
        review of a cold product is in training.

    Raises
    ------
    ReclibError
        If the share is out of range, or there are too few products.
    """
    touched = np.flatnonzero(np.bincount(prepared.item))
    group = _deal(touched, share, size=prepared.n_items, what="products with an event", rng=rng)
    given = np.zeros(prepared.n_events, bool)
    return _cold(prepared, "item", group, given=given)


def describe_split(split: Split, prepared: Prepared) -> pd.DataFrame:
    """Show how large a split is, and how much of the future its training knows.

    Parameters
    ----------
    split
        From any function of this module.
    prepared
        What was split.

    Returns
    -------
    pandas.DataFrame
        One row a fold: protocol, fold, training_events, users_asked, strangers,
        pairs_asked, products_asked, and three shares. ``before_own``: of the asked pairs,
        those that met before some training event of their user. ``before_any``: those
        before some training event of anybody; NaN without timestamps. ``unseen``: of the
        asked products, those without a training event.

    Raises
    ------
    ReclibError
        If `prepared` is not what was split.
    """
    return pd.DataFrame([_describe(fold, prepared) for fold in (split.validation, split.test)])


def _describe(fold: Fold, prepared: Prepared) -> dict[str, object]:
    """Describe one fold."""
    if len(fold.kept) != prepared.n_events:
        raise ReclibError(
            f"the {fold.name} fold was not made of these data: it chose from {len(fold.kept):,} "
            f"events, and {prepared.name} has {prepared.n_events:,}; give what was split"
        )
    kept = np.flatnonzero(fold.kept)
    last = np.full(prepared.n_users, -1)
    last[prepared.user[kept]] = kept  # rows ascend, so the last one stays
    user, item = fold.relevant.nonzero()
    asked = np.sort(user.astype(np.int64) * prepared.n_items + item)
    met = np.flatnonzero(prepared.new & ~fold.kept)
    met = met[np.isin(prepared.pair[met], asked)]  # when asked pairs met first
    before_any = np.nan
    if prepared.time is not None:
        before_any = float((prepared.time[met] < prepared.time[kept].max()).mean())
    products = np.unique(item)
    seen = np.bincount(prepared.item[kept], minlength=prepared.n_items)
    return {
        "protocol": fold.protocol,
        "fold": fold.name,
        "training_events": len(kept),
        "users_asked": np.count_nonzero(np.diff(fold.relevant.indptr)),
        "strangers": fold.strangers,
        "pairs_asked": len(asked),
        "products_asked": len(products),
        "before_own": float((met < last[prepared.user[met]]).mean()),
        "before_any": before_any,
        "unseen": float((seen[products] == 0).mean()),
    }


def _fold(
    name: str,
    prepared: Prepared,
    train: Mask,
    asked: Mask,
    *,
    protocol: str,
    before: int | None = None,
) -> Fold:
    """Train on some events, and ask for the products of others that are new to the user.

    `train` and `asked` have the shape (n_events,); a product that a user has in training
    is never asked for. Reviews from the moment `before` on leave.
    """
    kept = prepared.select(train, before=before)
    known = np.bincount(kept.user, minlength=prepared.n_users) > 0
    strange = asked & ~known[prepared.user]
    if protocol == "cold-users":  # which is about them
        strange[:] = False
    strangers = int(np.count_nonzero(np.bincount(prepared.user[strange])))
    asked = asked & ~strange
    pairs = (prepared.user[asked], prepared.item[asked])
    met = sp.csr_array((np.ones(len(pairs[0]), bool), pairs), shape=prepared.shape)
    relevant = sp.csr_array(met > kept.matrix.astype(bool))
    if relevant.nnz == 0:
        raise ReclibError(
            f"{prepared.name}: the {name} fold of {protocol} asks for nothing, because nobody "
            "met a new product in it; hold out a larger share, choose another protocol, or bring "
            "longer histories"
        )
    return Fold(name, kept, relevant, protocol, strangers, train)


def _cold(prepared: Prepared, kind: str, group: NDArray[np.int8], *, given: Mask) -> Split:
    """Hold out one group of users or items after the other: 1 for validation, 2 for the test.

    `group` has a number for each user or item, and `given` says which events stay in
    training all the same, shape (n_events,). Whatever belongs to a later group leaves, so
    that nothing of the test is there when a model is chosen, and so do all reviews by or
    of the group that is asked.
    """
    of_event = group[getattr(prepared, kind)]

    def fold(name: str, number: int) -> Fold:
        asked = (of_event == number) & ~given
        train = (of_event <= number) & ~asked
        made = _fold(name, prepared, train, asked, protocol=f"cold-{kind}s")
        return _with_reviews(made, group[made.train.reviews[kind].astype(int)] < number)

    return Split(fold("validation", 1), fold("test", 2))


def _with_reviews(fold: Fold, keep: ArrayLike) -> Fold:
    """Keep some of the training reviews, shape (n_reviews,)."""
    reviews = fold.train.reviews[np.asarray(keep, bool)].reset_index(drop=True)
    return replace(fold, train=replace(fold.train, reviews=reviews))


def _deal(
    candidates: NDArray[np.intp], share: float, *, size: int, what: str, rng: int
) -> NDArray[np.int8]:
    """Draw a group for each of `size` indices: 1 validation, 2 test, 0 everything else."""
    if not 0 < share < 0.5:
        raise ReclibError(f"share is {share}; allowed is 0 < share < 0.5")
    n = round(share * len(candidates))
    if not 0 < 2 * n < len(candidates):
        raise ReclibError(
            f"a share of {share} of {len(candidates)} {what} cannot be held out twice; "
            "choose another share, or bring more data"
        )
    group = np.zeros(size, np.int8)
    drawn = np.random.default_rng(rng).permutation(candidates)
    group[drawn[:n]], group[drawn[n : 2 * n]] = 2, 1
    return group


def _check_length(prepared: Prepared, split: str) -> None:
    """Refuse users with fewer than three different products."""
    counts = np.bincount(prepared.user[prepared.new], minlength=prepared.n_users)
    if counts.min() < 3:
        short = prepared.user_ids[int(counts.argmin())]
        raise ReclibError(
            f"user {short!r} has {counts.min()} different products, {split} needs 3; "
            "prepare(…, min_events=3) leaves such users out"
        )
