"""What follows what: counts of steps from one product to a later one."""

from typing import ClassVar, Literal

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.preprocessing import normalize

from reclib.data import Prepared
from reclib.errors import ReclibError
from reclib.models.base import Indices, Scores
from reclib.models.linear import Linear

Fade = float | Literal["log"]


class Transitions(Linear):
    """Score what usually follows, soon, on what the user had lately.

    C_d(i, j) counts how often j comes d places after i in a training history, and
    C = Σ_{d ≤ window} f(d) · C_d. A user's score of j is Σ_i w_i · E_ij + p · log π_j:

    - E_ij = C_ij / (Σ_j C_ij)^norm, of which each row keeps its `neighbours` largest (of
      equal ones those of smaller index); with smoothing s it is log(1 + E_ij / s), the log
      of counts to which s is added for every product, less that of an unseen step;
    - w_i ∝ decay^a · (a + 1)^−power for the `history` newest products, where a is how many
      newer ones the user has; the weights sum to 1;
    - π_j = (users who had j + 1) / (all such pairs + n) for n products, the popularity.

    A history is the products of a user in the order in which they were first met, each
    once, as `leave_one_out` asks for them: a click and a purchase of one thing, or its
    repeat, is no step. Strengths of events do not enter.

    Parameters
    ----------
    window
        Largest distance d, at least 1.
    fade
        f(d): a number x ≥ 0 for d^−x, or ``"log"`` for 1 / log₁₀(d + 1.7).
    directed
        Whether order counts. If not, C + Cᵀ stands for C: the model cannot see which of
        two products came first, so it gains less where ties in time are sorted by id, as
        those of Amazon 2014 are. It still sees which products stand side by side.
    norm
        In [0, 1]: 0 counts, 1 shares of what follows on i.
    neighbours
        Number of entries of a row, at least 1; None keeps all.
    smoothing
        s > 0; None takes no logarithm.
    decay, power
        How fast the past is forgotten: 0 < decay ≤ 1 and power ≥ 0.
    history
        Number of newest products that count, at least 1.
    popularity
        p; below 0 it prefers rarer products.

    Raises
    ------
    ReclibError
        If a parameter is out of range.

    Notes
    -----
    The defaults are those of `PCTM`. The models named below are special cases.
    """

    name: ClassVar[str] = "transitions"

    def __init__(
        self,
        *,
        window: int = 10,
        fade: Fade = 0.5,
        directed: bool = True,
        norm: float = 0.0,
        neighbours: int | None = None,
        smoothing: float | None = 0.93,
        decay: float = 0.6,
        power: float = 0.0,
        history: int = 50,
        popularity: float = -0.04,
    ) -> None:
        self.window = window
        self.fade = fade
        self.directed = directed
        self.norm = norm
        self.neighbours = neighbours
        self.smoothing = smoothing
        self.decay = decay
        self.power = power
        self.history = history
        self.popularity = popularity
        number = not isinstance(fade, str) and 0 <= fade < np.inf
        for name, fine, allowed in (
            ("window", window >= 1, "1 or more"),
            ("fade", number or fade == "log", "a number from 0 on, or 'log'"),
            ("norm", 0 <= norm <= 1, "0 to 1"),
            ("neighbours", neighbours is None or neighbours >= 1, "1 or more, or None"),
            ("smoothing", smoothing is None or 0 < smoothing < np.inf, "above 0, or None"),
            ("decay", 0 < decay <= 1, "above 0, up to 1"),
            ("power", 0 <= power < np.inf, "a number from 0 on"),
            ("history", history >= 1, "1 or more"),
            ("popularity", np.isfinite(popularity), "a finite number"),
        ):
            if not fine:
                raise ReclibError(f"{name} is {getattr(self, name)!r}; allowed is {allowed}")

    def _fit(self, prepared: Prepared, rng: int) -> None:
        super()._fit(prepared, rng)
        if self.popularity:
            self._barred = None  # lists need whole rows: the product is not all of a score

    def _factors(self, prepared: Prepared, rng: int) -> tuple[sp.csr_array, sp.csr_array]:
        user, item = prepared.user[prepared.new], prepared.item[prepared.new]
        n_items = prepared.n_items
        counts = np.bincount(item, minlength=n_items)
        share = (counts + 1) / (len(item) + n_items)
        self._offset = (self.popularity * np.log(share)).astype(np.float32)  # (n_items,)

        recent = prepared.age[prepared.new] < self.history
        weight = self.weights_of(prepared.age[prepared.new][recent])
        profiles = sp.csr_array((weight, (user[recent], item[recent])), shape=prepared.shape)
        return sp.csr_array(normalize(profiles, norm="l1")), self._steps(user, item, n_items)

    def weights_of(self, age: NDArray[np.int64]) -> NDArray[np.float32]:
        """Weigh products of a history by age, 0 for the newest, before they sum to 1."""
        weight = self.decay ** age.astype(float) * (age + 1.0) ** -self.power
        return weight.astype(np.float32)

    def _steps(
        self, user: NDArray[np.int32], item: NDArray[np.int32], n_items: int
    ) -> sp.csr_array:
        """E, CSR float32 (n_items, n_items), of histories sorted by user, oldest first."""
        steps = sp.csr_array((n_items, n_items), dtype=np.float32)
        for distance in range(1, self.window + 1):
            same = user[distance:] == user[:-distance]
            if not same.any():  # no history is as long
                break
            pair = item[:-distance][same], item[distance:][same]
            faded = 1 / np.log10(distance + 1.7) if self.fade == "log" else distance**-self.fade
            weight = np.full(len(pair[0]), faded, np.float32)
            steps = steps + sp.csr_array((weight, pair), shape=steps.shape)
        if not self.directed:
            steps = sp.csr_array(steps + steps.T)
        lengths = np.diff(steps.indptr)
        steps.data /= np.repeat(steps.sum(axis=1) ** self.norm, lengths)
        if self.neighbours is not None:
            row = np.repeat(np.arange(n_items), lengths)
            order = np.lexsort((steps.indices, -steps.data, row))
            rank = np.arange(steps.nnz) - steps.indptr[row]
            steps.data[order[rank >= self.neighbours]] = 0
            steps.eliminate_zeros()
        if self.smoothing is not None:
            steps.data = np.log1p(steps.data / np.float32(self.smoothing))
        return steps

    def _score(self, users: Indices, items: Indices | slice) -> Scores:
        scores = super()._score(users, items)
        scores += self._offset[items]
        return scores


class Markov(Transitions):
    """The share of each product among what came right after the user's last one.

    Parameters
    ----------
    directed
        As in `Transitions`.
    """

    name: ClassVar[str] = "markov"

    def __init__(self, *, directed: bool = True) -> None:
        super().__init__(
            window=1,
            directed=directed,
            norm=1,
            smoothing=None,
            history=1,
            popularity=0,
        )


class SeqRules(Transitions):
    """Sequential rules: steps up to ten places wide, from the ten newest products.

    The defaults are those published for Amazon Beauty: Petrov et al., RecSys 2026.

    Parameters
    ----------
    window, fade, directed, neighbours, power, history
        As in `Transitions`.
    """

    name: ClassVar[str] = "seqrules"

    def __init__(
        self,
        *,
        window: int = 10,
        fade: Fade = "log",
        directed: bool = True,
        neighbours: int | None = 100,
        power: float = 2.0,
        history: int = 10,
    ) -> None:
        super().__init__(
            window=window,
            fade=fade,
            directed=directed,
            neighbours=neighbours,
            smoothing=None,
            decay=1,
            power=power,
            history=history,
            popularity=0,
        )


class PCTM(Transitions):
    """Damped counts of steps and a lean towards rarer products: Petrov et al., RecSys 2026.

    The defaults are those published for Amazon Beauty, whose 11,250 pseudo-counts for 12,101
    products are a smoothing of 0.93.

    Parameters
    ----------
    window, fade, directed, smoothing, decay, history, popularity
        As in `Transitions`.
    """

    name: ClassVar[str] = "pctm"

    def __init__(
        self,
        *,
        window: int = 10,
        fade: Fade = 0.5,
        directed: bool = True,
        smoothing: float | None = 0.93,
        decay: float = 0.6,
        history: int = 50,
        popularity: float = -0.04,
    ) -> None:
        super().__init__(
            window=window,
            fade=fade,
            directed=directed,
            smoothing=smoothing,
            decay=decay,
            history=history,
            popularity=popularity,
        )
