"""Where a marketplace comes from: the simulator, a public set, or a folder of yours."""

import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pandera.pandas as pa

from reclib import paths
from reclib.data.prepare import TEXTS
from reclib.data.schema import Interactions, Items, Marketplace, Reviews, validated
from reclib.data.simulate import simulate
from reclib.errors import ReclibError, unknown

SIZES = ("smoke", "small", "paper", "full")
SOURCES: Mapping[str, str] = {
    "simulated": "made by the study; needs no download",
    "amazon-beauty": "Amazon Beauty, 2014 5-core",
    "amazon-office": "Amazon Office Products, 2014 5-core",
}
SAMPLED_USERS = {"smoke": 600, "small": 3000}
SUFFIXES = (".csv.gz", ".csv", ".parquet")


def load(name_or_path: str | Path, *, size: str = "smoke", seed: int = 0) -> Marketplace:
    """Load a marketplace, whatever its source.

    Parameters
    ----------
    name_or_path
        A name in `SOURCES`, or a folder with ``interactions`` and, where there are any,
        ``items`` and ``reviews``, each as ``.csv.gz``, ``.csv`` or ``.parquet``.
        Public sets are looked for in ``$RECLIB_DATA``.
    size
        ``smoke``, ``small`` or ``paper`` for the simulated marketplace; for real data
        ``full`` is everything, ``smoke`` and ``small`` are 600 and 3,000 randomly drawn
        users with the products they touched.
    seed
        Of the simulation, or of the draw of users.

    Returns
    -------
    Marketplace
        Validated tables.

    Raises
    ------
    ReclibError
        Unknown name or size; a missing file or column; a value that breaks the schema.
    """
    check_size(str(name_or_path), size)
    folder = find_folder(str(name_or_path))
    if folder is None:
        return simulate(size, seed=seed)
    name = str(name_or_path) if str(name_or_path) in SOURCES else folder.name
    interactions = _interactions(_read(folder, "interactions"), str(folder / "interactions"))
    items = _table(folder, "items", Items)
    if items is None:
        items = pd.DataFrame({"item_id": np.unique(interactions["item_id"])})
    reviews = _table(folder, "reviews", Reviews)
    everything = Marketplace(name, interactions, items, reviews)
    return everything if size == "full" else _sample(everything, SAMPLED_USERS[size], seed)


def check_size(data: str, size: str) -> None:
    """Refuse a size that `data` does not come in."""
    allowed = [name for name in SIZES if name != ("full" if data == "simulated" else "paper")]
    if size not in allowed:
        raise ReclibError(f"{unknown('size', size, allowed)} for data {data}")


def find_folder(data: str) -> Path | None:
    """Find the folder of a public set or of the user's own tables; None for simulated data.

    Raises
    ------
    ReclibError
        If there is no such folder.
    """
    if data == "simulated":
        return None
    if data in SOURCES:
        folder = paths.data_dir() / data
        if folder.is_dir():
            return folder
        raise ReclibError(
            f"data set {data!r} is not in {paths.data_dir()}; set RECLIB_DATA to the folder "
            "that holds it (data/README.md says where it comes from), or use data 'simulated'"
        )
    own = Path(data).expanduser()
    if own.is_file():
        raise ReclibError(f"{data} is a file; give the folder that holds the tables")
    if not own.is_dir():
        raise unknown("data set", data, [*SOURCES, "or the path of a folder with tables"])
    return own.resolve()


def _read(folder: Path, table: str) -> pd.DataFrame | None:
    """Read one table in whichever format is there, ids and texts as text."""
    found = [folder / (table + suffix) for suffix in SUFFIXES]
    found = [file for file in found if file.exists()]
    if not found:
        return None
    if len(found) > 1:
        names = " and ".join(file.name for file in found)
        raise ReclibError(f"{folder}: {names} are both there; keep one of them")
    file = found[0]
    texts = ("user_id", "item_id", "query", *TEXTS, "summary", "text")
    try:
        if file.suffix == ".parquet":
            return pd.read_parquet(file)
        # only an empty cell is missing: a brand may well be called "None" or "NA"
        return pd.read_csv(
            file, dtype=dict.fromkeys(texts, "str"), keep_default_na=False, na_values=[""]
        )
    except pd.errors.EmptyDataError:
        raise ReclibError(f"{file}: the file is empty; it needs a header and rows") from None
    except (OSError, EOFError, UnicodeDecodeError, ValueError) as error:
        raise ReclibError(f"{file}: cannot be read as a table ({error})") from error


def _table(folder: Path, table: str, model: type[pa.DataFrameModel]) -> pd.DataFrame | None:
    """Read and validate an optional table."""
    frame = _read(folder, table)
    if frame is None:
        return None
    return validated(_with_utc(frame, str(folder / table)), model, str(folder / table))


def _interactions(frame: pd.DataFrame | None, where: str) -> pd.DataFrame:
    """Validate the one table that must be there; derive `position` from time if need be."""
    if frame is None:
        raise ReclibError(f"{where}: no such table; expected one of {', '.join(SUFFIXES)}")
    frame = _with_utc(frame, where)
    if "position" not in frame and {"timestamp", "user_id"} <= set(frame.columns):
        # a stable sort: events of one moment keep the order of the file
        frame = frame.sort_values("timestamp", kind="stable")
        frame["position"] = frame.groupby("user_id").cumcount()
    return validated(frame, Interactions, where)


def _with_utc(frame: pd.DataFrame, where: str) -> pd.DataFrame:
    """Turn Unix seconds or date texts into UTC times."""
    if "timestamp" not in frame:
        return frame
    column = frame["timestamp"]
    try:
        if pd.api.types.is_numeric_dtype(column):
            return frame.assign(timestamp=pd.to_datetime(column, unit="s", utc=True))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a mixed format; errors do raise
            return frame.assign(timestamp=pd.to_datetime(column, utc=True))
    except (ValueError, OverflowError) as error:
        raise ReclibError(f"{where}: column 'timestamp' cannot be read ({error})") from error


def _sample(marketplace: Marketplace, n_users: int, seed: int) -> Marketplace:
    """Keep a seeded draw of users and the products that they touched."""
    users = np.unique(marketplace.interactions["user_id"].to_numpy(dtype=object))
    if len(users) <= n_users:
        return marketplace
    drawn = np.random.default_rng(seed).choice(users, n_users, replace=False)
    interactions = marketplace.interactions
    interactions = interactions[interactions["user_id"].isin(drawn)].reset_index(drop=True)
    items = marketplace.items
    items = items[items["item_id"].isin(interactions["item_id"])].reset_index(drop=True)
    reviews = marketplace.reviews
    if reviews is not None:
        reviews = reviews[reviews["user_id"].isin(drawn)].reset_index(drop=True)
    return Marketplace(marketplace.name, interactions, items, reviews)
