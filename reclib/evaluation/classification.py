"""Metrics of classes predicted, for the tasks beside the ranking (IV-B)."""

import numpy as np
from numpy.typing import NDArray

from reclib.errors import ReclibError

Floats = NDArray[np.float64]
Classes = NDArray[np.int64]


def confusion_counts(
    owner: Classes, actual: Classes, predicted: Classes, *, n_owners: int, n_classes: int
) -> Floats:
    """Count pairs of actual and predicted class, for each user apart, to be resampled.

    Parameters
    ----------
    owner
        Whose example it is, shape (n_examples,), from 0.
    actual, predicted
        Same shape, from 0.
    n_owners, n_classes
        How many there are.

    Returns
    -------
    ndarray
        float64, shape (n_owners, n_classes²): entry a · n_classes + p counts the examples
        of class a that were taken for p.

    Raises
    ------
    ReclibError
        If there are no examples, or a class is out of range.
    """
    if len(actual) == 0:
        raise ReclibError("there are no examples to judge; hold out a larger share")
    for what, classes in (("actual", actual), ("predicted", predicted)):
        if classes.min() < 0 or classes.max() >= n_classes:
            raise ReclibError(
                f"{what} classes go from {classes.min()} to {classes.max()}; allowed is 0 to "
                f"{n_classes - 1}"
            )
    cell = (owner * n_classes + actual) * n_classes + predicted
    counts = np.bincount(cell, minlength=n_owners * n_classes**2)
    return counts.reshape(n_owners, n_classes**2).astype(float)


def classification_metrics(counts: Floats) -> dict[str, Floats]:
    """Balanced accuracy and macro-F1, as scikit-learn defines them, and accuracy.

    Balanced accuracy is the mean recall of the classes that occur; macro-F1 the mean F1 of
    those that occur or were predicted.

    Parameters
    ----------
    counts
        Sums of `confusion_counts`, shape (..., n_classes²).

    Returns
    -------
    dict
        Metric → float64, shape (...).

    Examples
    --------
    >>> counts = np.array([6.0, 2.0, 1.0, 1.0])  # of eight 0s two were taken for 1s
    >>> {name: round(float(value), 3) for name, value in classification_metrics(counts).items()}
    {'balanced_accuracy': 0.625, 'macro_f1': 0.6, 'accuracy': 0.7}
    """
    n = round(counts.shape[-1] ** 0.5)
    matrix = counts.reshape(*counts.shape[:-1], n, n)
    right = np.diagonal(matrix, axis1=-2, axis2=-1)  # (..., n_classes)
    actual, predicted = matrix.sum(axis=-1), matrix.sum(axis=-2)
    with np.errstate(invalid="ignore"):  # 0 / 0: a class that is not there
        return {
            "balanced_accuracy": np.nanmean(right / actual, axis=-1),
            "macro_f1": np.nanmean(2 * right / (actual + predicted), axis=-1),
            "accuracy": right.sum(axis=-1) / actual.sum(axis=-1),
        }
