"""What a bug report needs, and Table I of the paper: the machine and its software."""

import os
import platform
import re
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from reclib import paths
from reclib.data.sources import SOURCES, find_folder
from reclib.errors import ReclibError

PACKAGES = ("torch", "transformers", "numpy", "scipy", "pandas", "scikit-learn")
VARIABLES = ("RECLIB_DATA", "RECLIB_CACHE", "RECLIB_DEVICE", "OMP_NUM_THREADS", "HF_HUB_OFFLINE")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
GIB = 2**30


def machine() -> dict[str, Any]:
    """Collect what the numbers of a run depend on besides code and data.

    Returns
    -------
    dict
        Label to text or number, in the order of Table I. Nothing in it names the user,
        the host or a folder.
    """
    import torch  # a second or two, which no other command should pay

    from reclib.models.device import choose_device, computes_bfloat16
    from reclib.models.encoder import DEFAULT_ENCODER

    device = choose_device()
    cuda = torch.cuda.is_available()
    return {
        "CPU": _cpu(),
        "cores": psutil.cpu_count(logical=False) or os.cpu_count() or 1,
        "RAM (GB)": round(psutil.virtual_memory().total / GIB, 1),
        "GPU": torch.cuda.get_device_name() if cuda else "none",
        "operating system": _system(),
        "Python": platform.python_version(),
        **{name: _version(name) or "not installed" for name in PACKAGES},
        "threads": torch.get_num_threads(),
        "device": device,
        "encoder": DEFAULT_ENCODER,
        "bfloat16": computes_bfloat16(device),
    }


def problems() -> list[str]:
    """Return what is wrong on this machine, each with the way to mend it."""
    found = []
    if not (_version("jupyter-book") or "").startswith("1."):
        found.append("jupyter-book 1.x is not installed, and 2.x is another program: make book")
    if wrong := _off_lock():
        shown = ", ".join(wrong[:8]) + (" …" if len(wrong) > 8 else "")
        found.append(
            f"not as in requirements.lock ({len(wrong)}): {shown}. Remove .venv, make book"
        )
    named = os.environ.get("RECLIB_DATA")
    if named and not paths.data_dir().is_dir():
        found.append(f"RECLIB_DATA names {paths.data_dir()}, which is no folder: mend or unset it")
    if not _browser():
        found.append("no Chromium, so the browser test is skipped: sudo apt-get install chromium")
    if shutil.disk_usage(paths.ROOT).free < 2 * GIB:
        found.append("less than 2 GB of disk are free: remove data/cache, it is made anew")
    return found


def print_report() -> None:
    """Print the machine, the settings, the data sets, and what is wrong."""
    console = Console()
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for label, value in (*machine().items(), *_surroundings().items()):
        table.add_row(label, str(value))
    console.print(table)
    wrong = problems()
    console.print(f"\n{len(wrong) or 'no'} problem{'s' if len(wrong) != 1 else ''}", style="bold")
    for problem in wrong:
        console.print(f"- {problem}", highlight=False, markup=False)


def _surroundings() -> dict[str, str]:
    """Collect what is about this checkout rather than about the numbers."""
    sizes = [file.stat().st_size for file in paths.CACHE.rglob("*") if file.is_file()]
    return {
        **{name: os.environ.get(name, "not set") for name in VARIABLES},
        **_data(),
        "Chromium": _browser() or "not found",
        "cache": f"{sum(sizes) / 1e6:,.0f} MB in {len(sizes):,} files",
    }


def _data() -> dict[str, str]:
    """Say where each data set is; the many categories of a family only where they are there."""
    places = {}
    for name, source in SOURCES.items():
        try:
            folder = find_folder(name)
            places[f"data: {name}"] = f"in {folder}" if folder else "made when needed"
        except ReclibError:
            if not source.category:
                places[f"data: {name}"] = f"not in {paths.data_dir()}; see data/README.md"
    return places


def _browser() -> str | None:
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _off_lock() -> list[str]:
    """Name the packages of the lock file that are missing here, or there in another version."""
    file = paths.ROOT / "requirements.lock"
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    wrong = []
    for name, wanted, marker in re.findall(r"^([\w.-]+)==([^\s;]+)[ ]*(;?)", text, re.MULTILINE):
        there = _version(name)
        # a build tag, as in 2.13.0+cpu, is the same release; a marker may not apply here
        if there is None and not marker:
            wrong.append(f"{name} is missing")
        elif there and there.split("+")[0] != wanted.split("+")[0]:
            wrong.append(f"{name} {there} instead of {wanted}")
    return wrong


def _cpu() -> str:
    """Return the processor's name; only Linux says it in a file."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return model[1].strip() if model else platform.processor() or platform.machine()


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return f"{platform.system()} {platform.release()}"
