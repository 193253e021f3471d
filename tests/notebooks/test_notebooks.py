"""Every notebook runs alone, top to bottom, with its default (smoke) parameters."""

import ast
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import jupytext
import nbformat
import pytest

from reclib import paths
from reclib.data import extract_features
from reclib.study import results
from reclib.study.parameters import declared_parameters, notebooks
from reclib.study.runner import execute, kernel_environment

SOURCES = notebooks()

# What cells tagged nbval-check-output print: facts that hold for any data and any machine.
PRINTED = {
    "01_load_data": [
        "validation: 1 product asked of each user, 0 of them seen in training\n"
        "test: 1 product asked of each user, 0 of them seen in training\n"
    ],
    "02_extract_features": ["unit length: True\n"],
    "03_score_content": ["[0.6 0.8 1. ]\n"],
    "04_score_collaborative": ["the same numbers: True\n"],
}


def with_expected_outputs(source: Path) -> nbformat.NotebookNode:
    """Put into each marked cell the output that nbval compares with."""
    notebook = jupytext.read(source)
    marked = [
        cell for cell in notebook.cells if "nbval-check-output" in cell.metadata.get("tags", [])
    ]
    expected = PRINTED.get(source.stem, [])
    assert len(marked) == len(expected), f"{source.stem} marks {len(marked)} cells"
    for cell, text in zip(marked, expected, strict=True):
        cell.execution_count = 1  # nbval takes a cell without one for a cell that was not run
        cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=text)]
    return notebook


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_runs_alone_at_smoke_size(source: Path, tmp_path: Path) -> None:
    """In any order: each run starts from nothing but the library, and leaves the reader's alone."""
    results_folder = tmp_path / "results"
    file = tmp_path / f"{source.stem}.ipynb"
    nbformat.write(with_expected_outputs(source), file)
    command = ["-m", "pytest", "--nbval-lax", "--nbval-current-env", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, *command, "--rootdir", str(tmp_path), str(file)],
        cwd=tmp_path,
        env=os.environ
        | {"TQDM_DISABLE": "1", "HF_HUB_OFFLINE": "1", results.RUN_FOLDER: str(results_folder)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert results_folder.exists() == ("run_folder(" in source.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def corner_shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five customers, each on a day of their own, with five of ten products."""
    folder = tmp_path_factory.mktemp("shop") / "corner-shop"
    folder.mkdir()
    names = "tea pot,tea cup,red ink,blue ink,red pen,blue pen,red lamp,tea lamp,ink pot,pen pot"
    items = [f"p{item},{name}" for item, name in enumerate(names.split(","))]
    events = [
        f"u{user},p{(user + 3 * n) % 10},2024-01-0{user + 1}" for user in range(5) for n in range(5)
    ]
    for table, header, rows in (
        ("items", "item_id,title", items),
        ("interactions", "user_id,item_id,timestamp", events),
    ):
        (folder / f"{table}.csv").write_text("\n".join([header, *rows]), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("01_load_data", ["cannot be split as `cold-users`", "cannot be split as `full-time`"]),
        ("14_match_protocols", ["for more than **4** wrong ones", "of 99 sampled ones are not"]),
        ("17_open_shop", ["alone, 5 clicks find"]),
    ],
)
def test_a_small_shop_of_ones_own_gets_the_page_with_what_it_allows(
    corner_shop: Path, tmp_path: Path, name: str, said: list[str]
) -> None:
    with kernel_environment():
        execute(
            paths.NOTEBOOKS / f"{name}.py",
            {"data": str(corner_shop)},
            stamp="",
            folder=tmp_path,
            target=tmp_path / "done.ipynb",
            timeout=300,
            check=lambda: None,
        )
    page = (tmp_path / "done.ipynb").read_text(encoding="utf-8")
    assert all(words in page for words in said)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_result_files_are_written_once_into_the_folder_of_the_run(source: Path) -> None:
    """In a sweep that is one folder, whatever data a notebook asks for, and files would meet."""
    calls = [
        node
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    ]
    folders = {ast.unparse(call) for call in calls if call.func.id == "run_folder"}
    assert folders <= {"run_folder(data, size)"}
    written = [ast.unparse(call.args[-1]) for call in calls if call.func.id == "write_measured"]
    assert len(written) == len(set(written))


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_defaults_are_simulated_and_smoke(source: Path) -> None:
    """So a newcomer's first run needs no download and takes seconds."""
    settings = declared_parameters(source)
    assert settings["data"] == "simulated"
    assert settings["size"] == "smoke"


def test_parameters_shared_by_notebooks_have_one_default() -> None:
    """Otherwise two pages of one book would show different models under one name."""
    seen: dict[str, tuple[str, object]] = {}
    for source in SOURCES:
        for name, value in declared_parameters(source).items():
            first, other = seen.setdefault(name, (source.stem, value))
            assert value == other, f"{name}: {first} has {other!r}, {source.stem} {value!r}"


def test_settings_hold_every_parameter_of_the_features() -> None:
    """One left out would keep its default on that page, under the same name of a model."""
    declared = {name for source in SOURCES for name in declared_parameters(source)}
    expected = declared & set(inspect.signature(extract_features).parameters)
    found = 0
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "settings":
                assert isinstance(node.value, ast.Dict)
                named = {
                    ast.literal_eval(key): value
                    for key, value in zip(node.value.keys, node.value.values, strict=True)
                    if key
                }
                assert expected <= named.keys(), source.stem
                assert all(ast.unparse(value) == name for name, value in named.items())
                found += 1
    assert found > 5


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_cells_are_short(source: Path) -> None:
    """What is longer than some ten lines belongs into the library."""
    for cell in jupytext.read(source).cells:
        if cell.cell_type == "code":
            functions = [
                n for n in ast.walk(ast.parse(cell.source)) if isinstance(n, ast.FunctionDef)
            ]
            assert all(n.end_lineno - n.lineno < 10 for n in functions), cell.source
            assert len(cell.source.splitlines()) <= 25, cell.source


def test_figures_have_captions_names_and_alternative_texts() -> None:
    """A figure without them can be neither cited nor read aloud."""
    names = []
    for source in SOURCES:
        for cell in jupytext.read(source).cells:
            if cell.cell_type == "code" and re.search(
                r"figures\.\w+_plot|figures\.heatmap", cell.source
            ):
                shown = cell.metadata["mystnb"]
                assert shown["figure"]["caption"] and shown["image"]["alt"]
                names.append(shown["figure"]["name"])
    assert len(names) == len(set(names)) >= len(SOURCES) - 1


def test_no_generated_notebook_is_kept_beside_the_sources() -> None:
    """The percent scripts are the only form that is edited."""
    assert not list(paths.NOTEBOOKS.glob("*.ipynb"))
