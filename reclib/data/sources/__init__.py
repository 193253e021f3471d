"""Where a marketplace comes from: the simulator, a public set, or a folder of yours."""

import inspect
import re
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from reclib import paths
from reclib.data.schema import SHORTEST, Marketplace
from reclib.data.simulate import simulate
from reclib.data.sources import folder
from reclib.data.sources._registry import SOURCES, Source
from reclib.errors import ReclibError, unknown

__all__ = [
    "SAMPLED_USERS",
    "SIZES",
    "SOURCES",
    "Source",
    "check_size",
    "data_files",
    "find_folder",
    "load",
    "own_name",
    "short_names",
]

SIZES = ("smoke", "small", "paper", "full")
SAMPLED_USERS = {"smoke": 600, "small": 3000}


def load(
    name_or_path: str | Path,
    *,
    size: str = "smoke",
    seed: int = 0,
    text_signal: float = 0.5,
    items_factor: float = 1.0,
    reviews_factor: float = 1.0,
) -> Marketplace:
    """Load a marketplace, whatever its source.

    Parameters
    ----------
    name_or_path
        A name in `SOURCES`, or a folder with tables as `reclib.data.sources.folder.read`
        takes them. Public sets are looked for in ``$RECLIB_DATA``.
    size
        ``smoke``, ``small`` or ``paper`` for the simulated marketplace; for real data
        ``full`` is everything, ``smoke`` and ``small`` are 600 and 3,000 randomly drawn
        users with the products they touched; of your own data, users with three different
        products, if any. Data that follow no user are loaded whole.
    seed
        Of the simulation, or of the draw of users.
    text_signal, items_factor, reviews_factor
        Of the simulated marketplace alone, as in `reclib.data.simulate`; other data have to
        leave them at their defaults.

    Returns
    -------
    Marketplace
        Validated tables.

    Raises
    ------
    ReclibError
        Unknown name or size; a missing file or column; a value that breaks the schema; real
        data that are asked to be otherwise than they are.
    """
    data = str(name_or_path)
    check_size(data, size)
    place = find_folder(data)
    knobs = {
        "text_signal": text_signal,
        "items_factor": items_factor,
        "reviews_factor": reviews_factor,
    }
    if place is None:
        return simulate(size, seed=seed, **knobs)
    for name, value in knobs.items():
        if value != inspect.signature(load).parameters[name].default:
            raise ReclibError(f"{name} is {value}, but only simulated data have it, not {data}")
    source = SOURCES.get(data)
    if source is None:
        everything = replace(folder.read_own(place), name=own_name(place))
    else:
        everything = replace((source.read or folder.read)(place), name=data)
    if size == "full":
        return everything
    return _draw(everything, SAMPLED_USERS[size], seed, lasting=source is None)


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
        If there is no such folder, or nothing of the set in it.
    """
    if data == "simulated":
        return None
    if data in SOURCES:
        return _find_public(SOURCES[data])
    family, _, category = data.partition("/")
    categories = [
        source.category for name, source in SOURCES.items() if name.startswith(f"{family}/")
    ]
    if categories and category:
        raise unknown(f"category of {family}", category, categories)
    own = Path(data).expanduser()
    if own.is_file():
        raise ReclibError(f"{data} is a file; give the folder that holds the tables")
    if not own.is_dir():
        raise unknown("data set", data, [*short_names(), "or the path of a folder with tables"])
    return own.resolve()


def own_name(place: Path) -> str:
    """Return the last part of a folder of the user's own, made safe and unlike any known name.

    One without a Latin letter or a digit gets a number that follows from it.
    """
    safe = re.sub(r"[^A-Za-z0-9._]+", "-", place.name).strip("-.")
    known = {name.replace("/", "-") for name in SOURCES} | {"benchmarks", "sweeps"}
    if not safe:
        return f"own-{zlib.crc32(place.name.encode()):08x}"
    return f"own-{safe}" if safe in known else safe


def data_files(data: str) -> Mapping[str, Path]:
    """List the files that `load` may read of a data set, by their path in its folder.

    None for simulated data.
    """
    place = find_folder(data)
    if place is None:
        return {}
    groups = SOURCES[data].files if data in SOURCES else (folder.FILES,)
    found = {file for patterns in groups for file in _matching(place, patterns)}
    return {file.relative_to(place).as_posix(): file for file in sorted(found)}


def short_names() -> list[str]:
    """Name every source, the many of a family as one, for a text that a user reads."""
    names = (
        f"{name.partition('/')[0]}/CATEGORY" if source.category else name
        for name, source in SOURCES.items()
    )
    return list(dict.fromkeys(names))


def _matching(place: Path, patterns: tuple[str, ...]) -> list[Path]:
    return [file for pattern in patterns for file in place.glob(pattern) if file.is_file()]


def _find_public(source: Source) -> Path:
    """Find the folder of a public set; say which of its files is not there."""
    place = paths.data_dir() / source.name.partition("/")[0]
    missing = [patterns[0] for patterns in source.files if not _matching(place, patterns)]
    if not missing:
        return place
    where = "the folder that holds it"
    how = (
        f"run `reclib fetch {source.name}`, or set RECLIB_DATA to {where}"
        if source.can_be_fetched
        else f"set RECLIB_DATA to {where} (data/README.md says where it comes from)"
    )
    raise ReclibError(
        f"data set {source.name!r} is not in {paths.data_dir()}: there is no "
        f"{place.name}/{missing[0]}; {how}, or use data 'simulated'"
    )


def _draw(marketplace: Marketplace, n_users: int, seed: int, *, lasting: bool) -> Marketplace:
    """Keep a seeded draw of users; all of them where there are no more.

    With `lasting`, of those who have the products that a split needs, if there are any; known
    sets are drawn from all users, for recorded results depend on it.
    """
    products = marketplace.interactions.group_by("user_id").agg(
        n=pl.col("item_id").drop_nulls().n_unique()
    )
    if len(products) <= n_users:
        return marketplace
    enough = products.filter(pl.col("n") >= SHORTEST) if lasting else products
    users = (enough if len(enough) else products)["user_id"].sort().to_numpy()
    drawn = np.random.default_rng(seed).choice(users, min(n_users, len(users)), replace=False)
    return marketplace.only_users(drawn.tolist())
