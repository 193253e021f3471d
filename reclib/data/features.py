"""ExtractFeatures(D): item features y_i (Eq. 3) and user features x_u (Eq. 2), one space."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import normalize

from reclib.data.prepare import Prepared
from reclib.errors import ReclibError


@dataclass(frozen=True)
class Features:
    """Rows of unit length in one space, so that Eq. 4 is defined.

    Attributes
    ----------
    users
        x_u, CSR float32, shape (n_users, n_features); an empty row for an empty history.
    items
        y_i, CSR float32, shape (n_items, n_features).
    names
        Shape (n_features,): a word, or the name of a numeric attribute.
    """

    users: sp.csr_array
    items: sp.csr_array
    names: NDArray[np.object_]


def extract_features(
    prepared: Prepared,
    *,
    decay: float = 0.7,
    history: int = 20,
    price_weight: float = 0.02,
) -> Features:
    """Eq. 2 and Eq. 3: features of users and products from the data D.

    y_i is the TF-IDF vector of the product's text beside its scaled price, x_u the
    recency-weighted mean of the y of the user's history; both have unit length.

    Parameters
    ----------
    prepared
        Training data. The text of the whole catalogue is used, for it is known before
        anybody buys; of behaviour only the events in `prepared`.
    decay, history
        As in `history_weights`.
    price_weight
        Share of the squared length of y_i that its price takes, in [0, 1); 0 leaves it out.

    Returns
    -------
    Features
        Of all users and the whole catalogue.

    Raises
    ------
    ReclibError
        If there is no text at all, or a parameter is out of range.
    """
    if not 0 <= price_weight < 1:
        raise ReclibError(f"price_weight is {price_weight}; allowed is 0 ≤ price_weight < 1")
    # damped counts, because the tenth mention of a word says little; words of one product
    # alone are dropped, because they can match nothing
    vectorizer = TfidfVectorizer(sublinear_tf=True, min_df=2, dtype=np.float32)
    try:
        words = sp.csr_array(vectorizer.fit_transform(prepared.text))  # (n_items, n_words)
    except ValueError:
        raise ReclibError(
            f"{prepared.name}: no word occurs in two products, so there are no text features; "
            "the table of items needs title, categories, brand or description"
        ) from None
    price = _price_features(prepared.items["price"].to_numpy(float))  # (n_items, 2)
    parts = [words * np.sqrt(np.float32(1 - price_weight))]
    names = vectorizer.get_feature_names_out()
    if price_weight > 0 and price.nnz > 0:
        parts.append(price * np.sqrt(np.float32(price_weight)))
        names = np.concatenate([names, ["price:low", "price:high"]])
    items = sp.csr_array(normalize(sp.hstack(parts, format="csr", dtype=np.float32)))
    weights = history_weights(prepared, decay=decay, history=history)
    users = sp.csr_array(normalize(weights @ items))
    return Features(users, items, names)


def history_weights(prepared: Prepared, *, decay: float, history: int) -> sp.csr_array:
    """Weights of the products in each user's profile.

    Parameters
    ----------
    prepared
        Training data.
    decay
        Each step back in time multiplies the weight by this, in (0, 1]; 1 forgets nothing.
    history
        Number of newest products that count, at least 1.

    Returns
    -------
    scipy.sparse.csr_array
        float32, shape (n_users, n_items); R_ui · decay^age, each non-empty row sums to 1.

    Raises
    ------
    ReclibError
        If a parameter is out of range.
    """
    if not 0 < decay <= 1:
        raise ReclibError(f"decay is {decay}; allowed is 0 < decay ≤ 1")
    if history < 1:
        raise ReclibError(f"history is {history}; allowed is 1 or more")
    weight = prepared.weight * np.power(decay, prepared.age, dtype=np.float32)
    recent = prepared.age < history
    matrix = sp.csr_array(
        (weight[recent], (prepared.user[recent], prepared.item[recent])), shape=prepared.shape
    )
    return sp.csr_array(normalize(matrix, norm="l1"))


def _price_features(price: NDArray[np.float64]) -> sp.csr_array:
    """Put a price's percentile q on a quarter circle: (cos, sin) of qπ/2.

    The cosine of two products then falls with the distance of their prices, from 1 to 0;
    a product without a price gets zeros and is neither near nor far.
    """
    known = np.isfinite(price)
    angle = np.zeros_like(price)
    angle[known] = rankdata(price[known]) / max(known.sum(), 1) * np.pi / 2
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1) * known[:, None]
    return sp.csr_array(circle.astype(np.float32))
