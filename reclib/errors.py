"""The study's own error: it names the value, what was allowed and how to mend it."""

from collections.abc import Iterable
from difflib import get_close_matches


class ReclibError(ValueError):
    """Wrong input, explained in one sentence that a user can act on."""


class Unsuitable(ReclibError):
    """Data that a model cannot learn from, or has no memory for; other models may do."""


class Diverged(ReclibError):
    """A training whose numbers ran away; other hyper-parameters may do."""


def unknown(kind: str, value: object, allowed: Iterable[str]) -> ReclibError:
    """Build the error for a name that is not one of the `allowed` ones.

    Parameters
    ----------
    kind
        What the name stands for, in the user's words, e.g. ``"data set"``.
    value
        The name as given.
    allowed
        Every valid name.

    Returns
    -------
    ReclibError
        To be raised by the caller; it names the nearest valid names first.

    Examples
    --------
    >>> print(unknown("size", "smal", ["smoke", "small"]))
    unknown size 'smal': did you mean 'small'? Allowed: smoke, small
    """
    names = [str(name) for name in allowed]
    near = get_close_matches(str(value), names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    shown = ", ".join(names[:20]) + (f" … ({len(names)} in all)" if len(names) > 20 else "")
    return ReclibError(f"unknown {kind} {value!r}: {hint}Allowed: {shown}")
