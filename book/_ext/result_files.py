"""Read result files and data cards into levels that the pages can cite; no Sphinx in here."""

import csv
import json
import math
import re
from collections import UserDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REFERENCE = Path("results/reference")
RUNS = Path("results/runs")
USUAL_VARIANTS = ("", "raw", "r=1")


class MissingResult(Exception):
    """A page cites a number that no result file holds (no LookupError: Jinja would eat it)."""


class Level(UserDict[str, Any]):
    """One level of results (data set, protocol, model or metric) that explains a missing key.

    No plain dict, because MyST copies its configuration and rebuilds every dict that it meets.
    """

    def __init__(self, where: str, kind: str) -> None:
        super().__init__()
        self.where, self.kind = where, kind

    def __missing__(self, key: str) -> None:
        """Raise with the place, the key and what there is instead."""
        there = ", ".join(self) or (
            "nothing; `make book` writes a run, `make reference` records it, `reclib card` a card"
        )
        raise MissingResult(f"{self.where} has no {self.kind} {key!r}; there is: {there}")

    def below(self, key: str, kind: str) -> "Level":
        """Return the level under a key, new if it is not there yet."""
        if key not in self:
            self[key] = Level(f'{self.where}["{key}"]', kind)
        level: Level = self[key]
        return level


def decimals(*values: float) -> int:
    """Return the decimals that give the largest of the values three significant digits.

    A power of ten gets one more, so that a share of 1 does not take digits from those below it.
    """
    largest = max((abs(value) for value in values if not math.isnan(value)), default=0.0)
    return min(max(3 - math.ceil(math.log10(largest)), 0), 6) if largest > 0 else 0


def text(value: float, places: int, *, signed: bool = False) -> str:
    """Write a number with a true minus sign; NaN means that the data cannot give it."""
    if math.isnan(value):
        return "not measurable"
    return f"{value:{'+' if signed else ''},.{places}f}".replace("-", "\N{MINUS SIGN}")


@dataclass(frozen=True)
class Number:
    """One value of metrics.csv with its 95 % interval (NaN where there is none)."""

    point: float
    low: float
    high: float
    user_count: int

    def written(self, places: int, *, signed: bool = False) -> tuple[str, str]:
        """Return the value and the interval as text; the interval may be empty."""
        numbers = (self.point, self.low, self.high)
        point, low, high = (text(number, places, signed=signed) for number in numbers)
        return point, "" if any(map(math.isnan, numbers)) else f"[{low}, {high}]"

    @property
    def places(self) -> int:
        """Decimals for three significant digits; a value of 0 takes its interval's."""
        return decimals(self.point or math.nan) or decimals(self.low, self.high)

    @property
    def value(self) -> str:
        """The value alone."""
        return self.written(self.places)[0]

    @property
    def interval(self) -> str:
        """The interval alone, with as many decimals as the value."""
        return self.written(self.places)[1]

    @property
    def users(self) -> str:
        """The number of users behind the value."""
        return f"{self.user_count:,}"

    def __str__(self) -> str:
        """Return the value and its interval."""
        return f"{self.value} {self.interval}".rstrip()


@dataclass(frozen=True)
class Fact:
    """One entry of a card.json: a number, a text, or None for what the data cannot give."""

    value: float | str | None

    def __str__(self) -> str:
        """Write counts whole, other numbers with three digits, and a dash for None."""
        if self.value is None:
            return "\N{EN DASH}"
        if isinstance(self.value, str):  # a date stays in one piece
            return re.sub(r"(?<=\d)-(?=\d)", "\N{NON-BREAKING HYPHEN}", self.value)
        return text(self.value, 0 if self.value == int(self.value) else decimals(self.value))

    @property
    def percent(self) -> str:
        """A share as a percentage."""
        if self.value is None or isinstance(self.value, str):
            return str(self)
        return f"{Fact(self.value * 100)}\N{NO-BREAK SPACE}%"


def read_metrics(path: Path, where: str) -> Level:
    """Read one metrics.csv into levels: protocol, model, metric."""
    protocols = Level(where, "protocol")
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            usual = row["variant"] in USUAL_VARIANTS
            protocol = row["protocol"] if usual else f"{row['protocol']}:{row['variant']}"
            metrics = protocols.below(protocol, "model").below(row["model"], "metric")
            if row["metric"] in metrics:
                raise ValueError(f"{path}: two rows for {metrics.where}: {row['metric']}")
            point, low, high = (float(row[name] or "nan") for name in ("value", "low", "high"))
            metrics[row["metric"]] = Number(point, low, high, int(float(row["users"] or 0)))
    return protocols


def read_card(content: dict[str, Any], where: str) -> Level:
    """Turn a card into levels; lists, such as the steps of cleaning, stay as they are."""
    level = Level(where, "entry")
    for key, value in content.items():
        if isinstance(value, dict):
            level[key] = read_card(value, f'{where}["{key}"]')
        else:
            level[key] = value if isinstance(value, list) else Fact(value)
    return level


def measured_files(root: Path) -> Iterator[tuple[str, Path]]:
    """Name the recorded files of values: ``amazon-beauty``, ``amazon-beauty/network`` and so on."""
    for file in sorted((root / REFERENCE).glob("*/*.csv")):
        with file.open(encoding="utf-8", newline="") as lines:
            # a sweep begins with what it varies, and benchmarks have columns of their own
            if next(csv.reader(lines), [])[:3] == ["data", "protocol", "variant"]:
                data = file.parent.name
                yield data if file.stem == "metrics" else f"{data}/{file.stem}", file


def read_all(root: Path) -> dict[str, Level]:
    """Read the recorded runs (``reference``), data cards (``card``) and the latest ``run``."""
    reference, run = Level("results/reference", "data set"), Level("run", "entry")
    card = Level("card", "data set")
    for path in sorted((root / REFERENCE).glob("*/card.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        card[path.parent.name] = read_card(content, f'card["{path.parent.name}"]')
    for name, file in measured_files(root):
        reference[name] = read_metrics(file, f'reference["{name}"]')
    latest = root / RUNS / "latest.json"
    if latest.is_file():
        about = json.loads(latest.read_text(encoding="utf-8"))
        run.update(read_metrics(root / RUNS / about["path"] / "metrics.csv", "run"))
        run.update({name: about[name] for name in ("data", "size", "path")})
    return {"reference": reference, "card": card, "run": run}
