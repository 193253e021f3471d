"""Imports run one way: study → serving → evaluation → models → data → the ground floor."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "reclib"
FLOORS = ("data", "models", "evaluation", "serving", "study")


def floor(module: str) -> int:
    """0 for cache, paths and errors, then upwards."""
    parts = module.split(".")
    return FLOORS.index(parts[1]) + 1 if len(parts) > 1 and parts[1] in FLOORS else 0


def imported(source: str, module: str) -> set[str]:
    """Every module of the library that `source` imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = ".".join(module.split(".")[: -node.level]) if node.level else ""
            start = ".".join(filter(None, [package, node.module]))
            found |= {f"{start}.{name.name}" for name in node.names}
    return {name for name in found if name.split(".")[0] == "reclib"}


def upward(source: str, module: str) -> set[str]:
    return {name for name in imported(source, module) if floor(name) > floor(module)}


def name_of(file: Path) -> str:
    inside = file.relative_to(PACKAGE.parent).with_suffix("")
    return ".".join(inside.parts)


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=name_of)
def test_no_module_imports_from_a_floor_above(file: Path) -> None:
    assert upward(file.read_text(encoding="utf-8"), name_of(file)) == set()


def test_every_package_has_its_floor() -> None:
    packages = {file.parent.name for file in PACKAGE.glob("*/__init__.py")}
    assert packages <= set(FLOORS)


@pytest.mark.parametrize(
    "planted",
    [
        "from reclib.models import Popular",
        "import reclib.models.base",
        "from reclib import models",
        "from ..models import base",
        "def late():\n    from reclib.evaluation.metrics import ranking_metrics",
    ],
)
def test_a_planted_import_from_above_is_caught(planted: str) -> None:
    assert upward(planted, "reclib.data.prepare")


@pytest.mark.parametrize(
    "honest",
    ["from reclib.errors import ReclibError", "from reclib import cache", "import modelslike"],
)
def test_imports_from_below_are_allowed(honest: str) -> None:
    assert not upward(honest, "reclib.data.prepare")
