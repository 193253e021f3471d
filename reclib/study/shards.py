"""The heavy steps in shards, for data that outgrow one machine.

Workers of a Dask cluster (`reclib.study.cluster.connect`) rank some of the users, or encode some
of the texts. What one machine does at once, they do at once too, batch for batch and part for
part, so the outcome is the same. They need the same checkout, on a file system that all share.
Training on many GPUs is Accelerate's part.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray
from tqdm.auto import tqdm

from reclib import cache, paths
from reclib.data import Fold
from reclib.errors import ReclibError
from reclib.evaluation import ranking_metrics
from reclib.models import Scorer
from reclib.models.base import Indices, code_behind
from reclib.models.device import choose_device, computes_bfloat16
from reclib.models.encoder import PART, Embeddings, encode

if TYPE_CHECKING:
    from distributed import Client, Future

SHARDS_PER_WORKER = 4  # so that a slow machine, or a killed one, holds up the others less

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Ranked:
    """Lists of some users, and what they are worth.

    Attributes
    ----------
    top
        int64, shape (n_users, k), as of `Scorer.rank`.
    metrics
        As of `reclib.evaluation.ranking_metrics`: float64, shape (n_users,), each.
    """

    top: Indices
    metrics: dict[str, Floats]


def rank_sharded(
    scorer: Scorer,
    fold: Fold,
    client: "Client",
    *,
    users: ArrayLike | None = None,
    k: int = 10,
    batch_size: int = 1024,
    n_shards: int | None = None,
    progress: bool = True,
) -> Ranked:
    """Rank the whole catalogue for users, and measure the lists, on the workers of a cluster.

    The scorer is written once, to the cache, and mapped into memory by each worker, so that
    those of one machine share it. A shard whose worker dies is done again by another.

    Parameters
    ----------
    scorer
        Fitted on the fold's `train`.
    fold
        Its `relevant` is what the lists are measured with.
    client
        Of the cluster.
    users
        Dense user indices, shape (n_users,); all by default.
    k
        Length of a list.
    batch_size
        Users that a worker ranks at once: its memory is the scorer's and, for most scorers,
        batch_size × n_items.
    n_shards
        By default a few for each worker; a shard holds whole batches, so there may be fewer.
    progress
        Show a progress bar.

    Returns
    -------
    Ranked
        Users in the order given. The lists are those of ``scorer.rank(users, k,
        batch_size=batch_size)``; a scorer of dense products may round otherwise in the last
        digit where workers have other processors or more threads.

    Raises
    ------
    ReclibError
        The scorer was not fitted on these data, a number is out of range, workers do not
        share the files or have other code, or they die again and again.
    """
    if scorer.prepared is not fold.train:
        raise ReclibError(f"{scorer.name} was not fitted on the fold's train; fit it first")
    if batch_size < 1:
        raise ReclibError(f"batch_size is {batch_size}; allowed is 1 or more")
    asked = np.arange(fold.train.n_users) if users is None else np.asarray(users)
    code = code_behind(__name__, scorer)
    shared = paths.CACHE / "shards"
    shared.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=shared) as folder:
        file = Path(folder) / "scorer.joblib"
        joblib.dump((scorer, fold.relevant), file)
        tasks = [
            (file, shard, k, batch_size, code, cache.source_hash(code))
            for shard in _shards(asked, batch_size, n_shards, client)
        ]
        done: list[Ranked] = _done(client, _rank, tasks, "rank" if progress else None)
    return Ranked(
        np.concatenate([part.top for part in done]),
        {name: np.concatenate([part.metrics[name] for part in done]) for name in done[0].metrics},
    )


def encode_sharded(
    texts: Sequence[str],
    client: "Client",
    *,
    n_shards: int | None = None,
    progress: bool = True,
    **how: Any,
) -> Embeddings:
    """Encode texts on the workers of a cluster; what is encoded already stays.

    Parameters
    ----------
    texts
        Shape (n_texts,).
    client
        Of the cluster; its workers write to the cache of this checkout.
    n_shards
        By default a few for each worker; a shard holds whole parts, so there may be fewer.
    progress
        Show a progress bar.
    **how
        As in `reclib.models.encoder.encode`, but for the device, which is each worker's best.

    Returns
    -------
    Embeddings
        Those that ``encode(texts, **how)`` returns from now on, for example when a
        `reclib.models.Language` is fitted.

    Raises
    ------
    ReclibError
        As `encode`; workers compute in another precision, have another cache or code, or die
        again and again.
    """
    # the order of `encode`, so that the parts that it looks for are those that workers made
    distinct = np.unique(np.asarray(texts, dtype=object))
    ordered = distinct[np.argsort([-len(text) for text in distinct], kind="stable")]
    code = cache.behind(encode.__module__)
    expected = (paths.CACHE, _precision())
    tasks = [
        (shard.tolist(), how, expected, code, cache.source_hash(code))
        for shard in _shards(ordered, PART, n_shards, client)
    ]
    _done(client, _encode, tasks, "encode" if progress else None)
    return encode(texts, progress=False, **how)


def _shards(
    values: NDArray[Any], unit: int, n_shards: int | None, client: "Client"
) -> list[NDArray[Any]]:
    """Split into at most so many shards of whole units, near equal."""
    wanted = SHARDS_PER_WORKER * max(1, len(client.nthreads())) if n_shards is None else n_shards
    if wanted < 1:
        raise ReclibError(f"n_shards is {wanted}; allowed is 1 or more")
    n_units = max(1, -(-len(values) // unit))
    ends = np.unique(np.linspace(0, n_units, min(wanted, n_units) + 1).astype(int)) * unit
    return [values[start:end] for start, end in zip(ends[:-1], ends[1:], strict=True)]


def _done(client: "Client", work: Any, tasks: Sequence[Any], step: str | None) -> list[Any]:
    """Let the workers do all tasks; outcomes in order, the first error is raised."""
    from distributed import as_completed

    places = {client.submit(work, *task, pure=False): place for place, task in enumerate(tasks)}
    found: list[Any] = [None] * len(tasks)
    bar = tqdm(as_completed(places), total=len(tasks), desc=step, disable=step is None)
    for future in bar:
        found[places.pop(future)] = _outcome(future)
    return found


def _outcome(future: "Future[Any]") -> Any:
    from distributed import KilledWorker
    from distributed.client import FutureCancelledError

    try:
        return future.result()
    except (KilledWorker, FutureCancelledError) as error:
        raise ReclibError(
            f"the workers died, or the scheduler was lost ({error}); if memory ran out, a "
            "smaller batch_size or fewer workers a machine need less"
        ) from error


def _rank(
    file: Path, users: Indices, k: int, batch_size: int, code: tuple[str, ...], source: str
) -> Ranked:
    """Rank one shard, on a worker."""
    _check_code(code, source)
    scorer, relevant = _opened(file)
    top, _ = scorer.rank(users, k, batch_size=batch_size)
    return Ranked(top, ranking_metrics(top, relevant[users]))


@lru_cache(maxsize=1)
def _opened(file: Path) -> tuple[Scorer, sp.csr_array]:
    """Map a scorer and the relevant products into memory, once a process."""
    try:
        opened: tuple[Scorer, sp.csr_array] = joblib.load(file, mmap_mode="c")
    except FileNotFoundError:
        raise ReclibError(
            f"a worker does not see {file}; the checkout must lie on a file system that all "
            "workers share"
        ) from None
    return opened


def _encode(
    texts: list[str],
    how: dict[str, Any],
    expected: tuple[Path, str],
    code: tuple[str, ...],
    source: str,
) -> None:
    """Encode one shard into the cache, on a worker."""
    _check_code(code, source)
    if (found := (paths.CACHE, _precision())) != expected:
        raise ReclibError(
            f"a worker has the cache {found[0]} and computes in {found[1]}, but {expected[0]} "
            f"and {expected[1]} are this machine's, which could not use what the worker makes"
        )
    encode(texts, progress=False, **how)


def _precision() -> str:
    """Name the number format that `encode` would choose here; vectors of another are not used."""
    return "bfloat16" if computes_bfloat16(choose_device()) else "float32"


def _check_code(code: tuple[str, ...], source: str) -> None:
    if cache.source_hash(code) != source:
        raise ReclibError("a worker has other code than this machine; start the workers again")
