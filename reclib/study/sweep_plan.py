"""What a sweep file asks for: its runs, every name and type checked before anything starts.

A sweep file names a notebook, what all runs have in common, and what is varied::

    notebook: 12_diversify_lists
    fixed: {data: simulated, size: small}
    grid:                 # every combination
      decay: [0.5, 0.7]
      seed: [0, 1, 2]
    list:                 # these together, one after the other
      - {normalise: minmax, n_weightings: 66}
      - {normalise: zscore, n_weightings: 21}
    random:               # drawn, the same for the same seed
      draws: 20
      seed: 0
      over:
        price_weight: {low: 0.001, high: 1.0, log: true}
        history: {low: 1, high: 50}
        text: [true, false]

One of ``grid``, ``list`` and ``random`` is enough; of several, everything is combined with
everything. What the file leaves out is as in ``reclib run`` on the same data and size.
"""

import hashlib
import itertools
import json
import math
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.random import Generator

from reclib.errors import ReclibError, unknown
from reclib.study.parameters import (
    checked_parameters,
    declared_parameters,
    find_notebooks,
    load_parameters,
    read_yaml,
)

MOST = 10_000  # runs that start without being confirmed
TRIES = 1000  # draws in a row that bring nothing new, before a draw gives up
PARTS = ("notebook", "fixed", "grid", "list", "random")
Settings = dict[str, Any]
Axis = tuple[set[str], Callable[[], Sequence[Settings]]]


@dataclass(frozen=True)
class PlannedRun:
    """One run: what the sweep varies in it, and everything that the notebook declares."""

    swept: Settings
    parameters: Settings

    @property
    def name(self) -> str:
        """Of its folder: readable, and different for different values."""
        text = ",".join(f"{name}={value}" for name, value in self.swept.items())
        readable = re.sub(r"[^A-Za-z0-9._=,+-]+", "-", text)[:80].rstrip("-,")
        return f"{readable}-{settings_hash(self.swept)[:8]}"


@dataclass(frozen=True)
class Plan:
    """All runs of a sweep file, in order."""

    name: str
    source: Path
    fixed: Settings
    runs: tuple[PlannedRun, ...]

    def command(self, run: PlannedRun) -> str:
        """Return the command line that repeats one run in the book."""
        given = run.parameters
        words = ["reclib", "run", "--only", self.source.stem[:2]]
        for name in ("data", "size", "seed"):
            words += [f"--{name}", str(given[name])] if name in given else []
        for name, value in (self.fixed | run.swept).items():
            if name not in ("data", "size", "seed"):
                # within brackets, as a scalar alone would end with a mark of its own
                text = yaml.safe_dump([value], default_flow_style=True, width=math.inf)
                words += ["--set", f"{name}={text.strip()[1:-1]}"]
        return shlex.join(words)


def settings_hash(settings: Settings) -> str:
    """SHA-256 of parameters, hexadecimal, whatever their order."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def read_plan(file: Path, *, most: int | None = MOST) -> Plan:
    """Read a sweep file and lay out its runs.

    Parameters
    ----------
    file
        YAML, as the module says.
    most
        Runs that are allowed; None for any number.

    Returns
    -------
    Plan
        The list changes slowest, then the draw, then the grid with its last name fastest.

    Raises
    ------
    ReclibError
        No such file, an unknown part, notebook or parameter, a wrong type, nothing to vary,
        a parameter given in two parts, the same run twice, or more than `most` runs.
    """
    if not file.is_file():
        raise ReclibError(f"{file} is not there; ready sweeps lie in params/sweeps")
    content = read_yaml(file)
    for part in content:
        if part not in PARTS:
            raise ReclibError(f"{file.name}: {unknown('part', part, PARTS)}")
    if "notebook" not in content:
        raise ReclibError(f"{file.name}: name a notebook, as in `notebook: 08_run_experiment`")
    [source] = find_notebooks([str(content["notebook"])])
    check = partial(_check, declared=declared_parameters(source), source=source, file=file)
    fixed = check(_mapping(content.get("fixed", {}), f"{file.name}, fixed"), part="fixed")
    axes, size = _axes(content, check, file)
    _disjoint({"fixed": set(fixed)} | {part: names for part, (names, _) in axes.items()}, file)
    if most is not None and size > most:
        raise ReclibError(f"{file.name} asks for {size:,} runs; more than {most:,} need --yes")
    complete = _completion(source, fixed)
    runs = []
    for parts in itertools.product(*(settings() for _, settings in axes.values())):
        swept: Settings = {name: value for part in parts for name, value in part.items()}
        runs.append(PlannedRun(swept, complete(swept)))
    twice = len(runs) - len({run.name for run in runs})
    if twice:
        raise ReclibError(f"{file.name}: {twice} of {len(runs)} runs repeat others; keep one each")
    return Plan(file.stem, source, fixed, tuple(runs))


def _axes(
    content: Mapping[str, Any], check: Callable[..., Settings], file: Path
) -> tuple[dict[str, Axis], int]:
    """Return of each varied part its names and what lays it out, and the number of runs.

    The number is known before anything is laid out: a slip may ask for billions.
    """
    axes: dict[str, Axis] = {}
    size = 1
    if "list" in content:
        entries = _sequence(content["list"], f"{file.name}, list")
        settings = [check(_mapping(e, f"{file.name}, list"), part="list") for e in entries]
        if empty := [place for place, entry in enumerate(settings, 1) if not entry]:
            raise ReclibError(f"{file.name}, list: entry {empty[0]} is empty; give parameters")
        axes["list"] = {name for entry in settings for name in entry}, lambda: settings
        size *= len(settings)
    if "random" in content:
        names, n_draws, draw = _random(content["random"], check, f"{file.name}, random")
        axes["random"] = names, draw
        size *= n_draws
    if "grid" in content:
        grid = _values(content["grid"], check, "grid", file.name)
        axes["grid"] = set(grid), lambda: _combinations(grid)
        size *= math.prod(map(len, grid.values()))
    if not axes:
        raise ReclibError(f"{file.name}: nothing is varied; give a grid, a list or a random draw")
    return axes, size


def _combinations(grid: Mapping[str, Sequence[Any]]) -> list[Settings]:
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def _values(
    written: Any, check: Callable[..., Settings], part: str, file: str
) -> dict[str, list[Any]]:
    """Check the values of each name of a grid."""
    place = f"{file}, {part}"
    grid = _mapping(written, place)
    if not grid:
        raise ReclibError(f"{place} is empty; give a parameter and its values")
    return {
        name: [
            check({name: value}, part=part)[name] for value in _sequence(values, f"{place}: {name}")
        ]
        for name, values in grid.items()
    }


def _random(
    written: Any, check: Callable[..., Settings], place: str
) -> tuple[set[str], int, Callable[[], list[Settings]]]:
    """Check a random draw; return its names, the number of draws, and what draws."""
    content = _mapping(written, place)
    for name in content:
        if name not in ("draws", "seed", "over"):
            raise ReclibError(f"{place}: {unknown('part', name, ('draws', 'seed', 'over'))}")
    n_draws = _whole(content.get("draws"), 1, f"{place}: draws")
    seed = _whole(content.get("seed", 0), 0, f"{place}: seed")
    over = _mapping(content.get("over", {}), f"{place}, over")
    if not over:
        raise ReclibError(f"{place}, over is empty; give a parameter and what it is drawn from")
    draws = {name: _draw(name, given, check, place) for name, given in over.items()}

    def draw() -> list[Settings]:
        rng = np.random.default_rng(seed)
        found: dict[str, Settings] = {}
        tries = 0
        while len(found) < n_draws:
            one = {name: draw_value(rng) for name, draw_value in draws.items()}
            tries = 0 if found.setdefault(settings_hash(one), one) is one else tries + 1
            if tries > TRIES:
                raise ReclibError(
                    f"{place}: {n_draws} draws are asked for, but there seem to be only "
                    f"{len(found)} different ones; ask for fewer"
                )
        return list(found.values())

    return set(draws), n_draws, draw


def _draw(
    name: str, given: Any, check: Callable[..., Settings], place: str
) -> Callable[[Generator], Any]:
    """Check what one parameter is drawn from; return what draws it."""
    place = f"{place}: {name}"
    if isinstance(given, list):
        values = [check({name: value}, part="random")[name] for value in _sequence(given, place)]
        return lambda rng: values[rng.integers(len(values))]
    if not isinstance(given, dict) or not {"low", "high"} <= given.keys() <= {"low", "high", "log"}:
        raise ReclibError(
            f"{place} must be a list of values, or {{low: …, high: …}}, with `log: true` for a "
            f"draw over orders of magnitude; got {given!r}"
        )
    log = given.get("log", False)
    low, high = (check({name: given[end]}, part="random")[name] for end in ("low", "high"))
    if type(low) not in (int, float):
        raise ReclibError(f"{place} is no number and has no low and high; list its values")
    if not low < high or (log and low <= 0):
        need = "0 < low < high, as log is true" if log else "low < high"
        raise ReclibError(f"{place} goes from {low} to {high}; needed is {need}")
    return partial(_between, low, high, bool(log))


def _between(low: float, high: float, log: bool, rng: Generator) -> float:
    """Draw a number; a whole one, both ends included, where the ends are whole."""
    if isinstance(low, int) and not log:
        return int(rng.integers(low, int(high), endpoint=True))
    value = math.exp(rng.uniform(math.log(low), math.log(high))) if log else rng.uniform(low, high)
    return round(value) if isinstance(low, int) else float(value)


def _check(
    values: Settings, *, declared: Settings, source: Path, file: Path, part: str
) -> Settings:
    """Check parameters against those that the notebook declares."""
    named = {name: {source.stem: default} for name, default in declared.items()}
    return checked_parameters(values, named, f"{file.name}, {part}")


def _completion(source: Path, fixed: Settings) -> Callable[[Settings], Settings]:
    """Return what adds to a run's settings all that it does not change."""
    defaults = declared_parameters(source)
    of = cache(load_parameters)  # a file to read for each data set and size, not for each run

    def complete(swept: Settings) -> Settings:
        chosen = fixed | swept
        usual = of(chosen.get("data", "simulated"), chosen.get("size", "smoke"))
        known = {name: value for name, value in usual.items() if name in defaults}
        # `usual` holds the full path of a folder with the reader's own tables
        return defaults | known | chosen | {n: known[n] for n in ("data", "size") if n in known}

    return complete


def _disjoint(parts: Mapping[str, set[str]], file: Path) -> None:
    for (one, names), (other, others) in itertools.combinations(parts.items(), 2):
        if both := sorted(names & others):
            raise ReclibError(f"{file.name}: {both[0]!r} is in {one} and in {other}; keep one")


def _mapping(content: Any, place: str) -> Settings:
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise ReclibError(f"{place} must hold lines of the form `name: value`; got {content!r}")
    return content


def _sequence(content: Any, place: str) -> list[Any]:
    if not isinstance(content, list) or not content:
        raise ReclibError(f"{place} must be a list with one value or more; got {content!r}")
    return content


def _whole(content: Any, least: int, place: str) -> int:
    if type(content) is not int or content < least:
        raise ReclibError(f"{place} must be a whole number from {least}; got {content!r}")
    return content
