"""Every folder that the study reads or writes, as absolute paths.

Nothing depends on the working directory, so a notebook runs alone, from anywhere. The
environment variable ``RECLIB_CACHE`` names another folder for the cache; kernels inherit it.
"""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
PARAMS = ROOT / "params"
EXECUTED = ROOT / "book" / "_executed"
CACHE = ROOT / (os.environ.get("RECLIB_CACHE") or Path("data", "cache"))
RUNS = ROOT / "results" / "runs"
SWEEPS = ROOT / "results" / "sweeps"
REFERENCE = ROOT / "results" / "reference"


def data_dir() -> Path:
    """Return the folder that holds the data sets: ``$RECLIB_DATA``, else ``data/``.

    A relative ``$RECLIB_DATA`` is taken from the project's root, because papermill and
    JupyterLab start notebooks in a folder of their own.
    """
    named = os.environ.get("RECLIB_DATA")
    return (ROOT / Path(named).expanduser()).resolve() if named else ROOT / "data"
