"""The lock, the conda file, the declared dependencies and the installation agree."""

import ast
import importlib.metadata
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SOURCES = [
    file
    for pattern in ("reclib/**/*.py", "notebooks/*.py", "book/_ext/*.py")
    for file in sorted(ROOT.glob(pattern))
]


def pins(lines: list[str]) -> dict[str, Requirement]:
    """Every ``name==version`` line, by canonical name."""
    found = [Requirement(line) for line in lines if "==" in line and not line.startswith("#")]
    names = [canonicalize_name(pin.name) for pin in found]
    assert len(names) == len(set(names)), "a package is pinned twice"
    return dict(zip(names, found, strict=True))


def exact_version(pin: Requirement) -> str:
    (specifier,) = pin.specifier
    assert specifier.operator == "==" and "*" not in specifier.version, f"{pin} is not exact"
    return specifier.version


def applies(requirement: Requirement) -> bool:
    """Whether this Python, on this machine, needs the package."""
    return requirement.marker is None or requirement.marker.evaluate({"extra": ""})


LOCK = pins((ROOT / "requirements.lock").read_text().splitlines())
CONDA = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
CONDA_PIP = next(entry["pip"] for entry in CONDA if isinstance(entry, dict))
CONDA_PINS = pins(CONDA_PIP)
RUNTIME = {canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"]}
DECLARED = [
    Requirement(line)
    for line in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]
]


def test_the_lock_holds_nothing_but_exact_pins() -> None:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    assert len(LOCK) == sum(bool(line) and not line.startswith("#") for line in lines)
    for pin in LOCK.values():
        exact_version(pin)
        assert not pin.url and not pin.extras


def test_a_declared_dependency_has_the_same_pin_in_the_lock_and_in_the_conda_file() -> None:
    for declared in DECLARED:
        name = canonicalize_name(declared.name)
        version = exact_version(LOCK[name])
        assert declared.specifier.contains(version, prereleases=True), declared
        assert exact_version(CONDA_PINS[name]) == version, declared
        assert CONDA_PINS[name].extras == declared.extras, declared


def test_the_conda_file_names_only_declared_dependencies_and_reads_the_lock() -> None:
    assert set(CONDA_PINS) == {canonicalize_name(declared.name) for declared in DECLARED}
    assert "-c requirements.lock" in CONDA_PIP
    assert "-e ." in CONDA_PIP


def test_conda_brings_a_python_that_the_project_allows() -> None:
    python = next(Requirement(entry.replace("=", "==")) for entry in CONDA if "python=" in entry)
    allowed = Requirement(f"python{PROJECT['requires-python']}").specifier
    assert allowed.contains(exact_version(python))


def test_jupyter_book_is_of_the_1_line() -> None:
    assert importlib.metadata.version("jupyter-book").startswith("1.")


def test_the_installed_versions_are_the_locked_ones() -> None:
    wanted = {name: exact_version(pin) for name, pin in LOCK.items() if applies(pin)}
    # any build of a release will do, so torch's +cpu or +cu130 is cut off
    installed = {
        canonicalize_name(found.metadata["Name"]): found.version.split("+")[0]
        for found in importlib.metadata.distributions()
    }
    different = {
        name: f"locked {version}, installed {installed.get(name, 'not at all')}"
        for name, version in wanted.items()
        if installed.get(name) != version
    }
    assert not different, "run `make test` again, or remove .venv first"


@pytest.mark.skipif(sys.platform != "linux", reason="the lock was resolved on Linux")
def test_the_lock_is_complete() -> None:
    """Whatever a locked package asks for on this machine is locked too."""
    here = {name for name, pin in LOCK.items() if applies(pin)}
    needed = {
        canonicalize_name(requirement.name)
        for name in here - {"torch"}  # a GPU build of it pins its own CUDA libraries
        for requirement in map(Requirement, importlib.metadata.requires(name) or [])
        if applies(requirement)
    }
    assert needed <= here


def imported(file: Path) -> Iterator[str]:
    """Top-level names of the modules that a file imports."""
    for node in ast.walk(ast.parse(file.read_text(), file.name)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def undeclared(files: list[Path]) -> dict[str, str]:
    """Modules that no run-time dependency provides, and a file that imports each."""
    providers = importlib.metadata.packages_distributions()
    return {
        module: file.name
        for file in files
        for module in imported(file)
        if module not in sys.stdlib_module_names | {"reclib"}
        and not (file.parent / f"{module}.py").exists()  # a neighbour, as in book/_ext
        and not RUNTIME & {canonicalize_name(name) for name in providers.get(module, [])}
    }


def test_every_import_belongs_to_a_declared_dependency() -> None:
    assert SOURCES
    assert not undeclared(SOURCES)


def test_an_undeclared_import_is_caught(tmp_path: Path) -> None:
    planted = tmp_path / "planted.py"
    planted.write_text("import os\nimport numpy\n\ndef f():\n    from hypothesis import given\n")
    assert undeclared([planted]) == {"hypothesis": "planted.py"}
