"""Energy that the processors and GPUs of this machine took, where their counters can be read.

Linux shows Intel's and AMD's RAPL counters of each processor package under
``/sys/class/powercap``, since 2020 mostly to root alone; NVIDIA's driver tells a GPU's through
the package ``pynvml``, if it is installed. Both count the whole device, with whatever else runs
on it. Virtual machines have none as a rule.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
PACKAGES = "intel-rapl:[0-9]*"
Counters = Mapping[str, tuple[int, int]]  # name → microjoules, and where the counter starts anew


@contextmanager
def counted() -> Iterator[Callable[[], float | None]]:
    """Count the energy of a block.

    Yields
    ------
    callable
        Joules since the block began, of all counters that can be read; None without any.
        A processor's counter starts anew about once an hour or later, which is seen once:
        ask more often than that, or take the value for the least that was used.

    Examples
    --------
    >>> with counted() as joules:
    ...     total = sum(range(1000))
    >>> joules() is None or joules() >= 0
    True
    """
    before = counters()
    yield lambda: _used(before, counters())


def counters() -> Counters:
    """Read every counter of this machine that can be read."""
    return {**_packages(), **_gpus()}


def _packages() -> Counters:
    found = {}
    for folder in sorted(POWERCAP.glob(PACKAGES)):
        if folder.name.count(":") == 1:  # a package; further down are its parts
            with suppress(OSError, ValueError):
                span = int((folder / "max_energy_range_uj").read_text())
                found[folder.name] = int((folder / "energy_uj").read_text()), span
    return found


def _gpus() -> Counters:
    found = {}
    with suppress(Exception):  # no package, no driver, or a GPU that does not count
        nvml = import_module("pynvml")
        nvml.nvmlInit()
        for place in range(nvml.nvmlDeviceGetCount()):
            device = nvml.nvmlDeviceGetHandleByIndex(place)
            milli = int(nvml.nvmlDeviceGetTotalEnergyConsumption(device))
            found[f"gpu:{place}"] = 1000 * milli, 0
    return found


def _used(before: Counters, after: Counters) -> float | None:
    """Joules between two readings of the counters that both have."""
    steps = []
    for name in before.keys() & after.keys():
        (start, span), (end, _) = before[name], after[name]
        steps.append(end - start + (span if end < start else 0))
    return sum(steps) / 1e6 if steps else None
