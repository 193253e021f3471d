"""Dask, for sweeps and shards alike: worker processes here, or those of any scheduler."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from reclib.errors import ReclibError

if TYPE_CHECKING:
    from distributed import Client

PATIENCE = 10  # seconds until a scheduler counts as unreachable


@contextmanager
def connect(scheduler: str | None = None, *, workers: int = 1) -> Iterator["Client"]:
    """Connect with a scheduler, or start one here.

    Parameters
    ----------
    scheduler
        Address of a running one, as ``tcp://host:8786``.
    workers
        Without an address: processes on this machine, one thread each, which end with the
        context.

    Yields
    ------
    distributed.Client
        To be handed to `reclib.study.shards`.

    Raises
    ------
    ReclibError
        If no scheduler answers at the address.
    """
    from distributed import Client  # a second, which no other command should pay

    with ExitStack() as stack:
        if scheduler is None:
            yield stack.enter_context(Client(stack.enter_context(local_cluster(workers))))
            return
        try:
            client = Client(scheduler, timeout=PATIENCE)
        except (OSError, ValueError) as error:
            raise ReclibError(
                f"no Dask scheduler answers at {scheduler!r} ({error}); an address looks like "
                "tcp://host:8786, as `dask scheduler` prints it"
            ) from error
        yield stack.enter_context(client)


def local_cluster(workers: int) -> Any:
    """Start worker processes on this machine, to be reached from nowhere else."""
    from distributed import LocalCluster

    return LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        memory_limit=0,  # kernels and mapped files hold the memory, and Dask would not see it
        dashboard_address="127.0.0.1:0",  # by default it may be seen from outside
        silence_logs=logging.CRITICAL,  # what goes wrong is reported with its reason
    )
