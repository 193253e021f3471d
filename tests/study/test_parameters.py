"""Parameters are read without running a notebook, and refused before anything starts."""

import re
from pathlib import Path

import pytest

from reclib import paths
from reclib.data import Prepared, load, split_by
from reclib.errors import ReclibError
from reclib.models.fusion import NORMALISERS
from reclib.models.tuned import TUNINGS
from reclib.study import cli, parameters, results
from reclib.study.parameters import (
    CHOICES,
    declared_parameters,
    find_notebooks,
    load_parameters,
    read_yaml,
)

NOTEBOOK = """# %% [markdown]
# # A notebook

# %% tags=["parameters"]
data = "simulated"
size = "smoke"
seed = 0
{lines}

# %%
print(data)
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path / "notebooks")
    monkeypatch.setattr(paths, "PARAMS", tmp_path / "params")
    for folder in (paths.NOTEBOOKS, paths.PARAMS):
        folder.mkdir()
    write(
        "01_first.py",
        "recency: float = 0.9  # a comment\nencoder = None\nweights = [0.5, 0.5]\nplot = True",
    )
    write("02_second.py", "recency = 0.9\nepochs = 3\ntitle = 'x'\nprotocol = 'full-loo'")
    return tmp_path


def write(name: str, lines: str) -> Path:
    file = paths.NOTEBOOKS / name
    file.write_text(NOTEBOOK.format(lines=lines))
    return file


def settings(text: str) -> None:
    (paths.PARAMS / "simulated-smoke.yaml").write_text(text)


def test_declared_parameters_are_read_with_their_defaults(project: Path) -> None:
    assert declared_parameters(paths.NOTEBOOKS / "01_first.py") == {
        "data": "simulated",
        "size": "smoke",
        "seed": 0,
        "recency": 0.9,
        "encoder": None,
        "weights": [0.5, 0.5],
        "plot": True,
    }


@pytest.mark.parametrize("line", ["epochs = 2 * 3", "import os", "a, b = 1, 2", "epochs: int"])
def test_only_literals_may_be_declared(project: Path, line: str) -> None:
    with pytest.raises(ReclibError, match=r"03_third\.py: .* move it to the next cell"):
        declared_parameters(write("03_third.py", line))


@pytest.mark.parametrize("count", [0, 2])
def test_exactly_one_cell_is_tagged(project: Path, count: int) -> None:
    file = paths.NOTEBOOKS / "03_third.py"
    file.write_text('# %% tags=["parameters"]\na = 1\n' * count + "# %%\nb = 1\n")
    with pytest.raises(ReclibError, match=f"has {count} cells tagged"):
        declared_parameters(file)


def test_the_command_line_wins_over_the_file(project: Path) -> None:
    settings("data: simulated\nsize: smoke\nseed: 5\nepochs: 7\nrecency: 1\nencoder: tiny\n")
    chosen = load_parameters("simulated", "smoke", seed=8, overrides={"epochs": 9})
    assert chosen == {
        "data": "simulated",
        "size": "smoke",
        "seed": 8,
        "epochs": 9,
        "recency": 1.0,
        "encoder": "tiny",
    }
    assert isinstance(chosen["recency"], float)
    assert load_parameters("simulated", "smoke")["seed"] == 5


def test_without_a_file_the_defaults_hold(project: Path) -> None:
    assert load_parameters("simulated", "small") == {
        "data": "simulated",
        "size": "small",
        "seed": 0,
    }


def test_every_run_of_a_size_starts_from_its_file(project: Path) -> None:
    """And a data set changes what it must; a size says nothing about another."""
    (paths.PARAMS / "smoke.yaml").write_text("size: smoke\nepochs: 50\nrecency: 0.5\n")
    settings("data: simulated\nrecency: 0.1\n")
    found = load_parameters("simulated", "smoke")
    assert (found["epochs"], found["recency"]) == (50, 0.1)
    assert "epochs" not in load_parameters("simulated", "small")
    (paths.PARAMS / "smoke.yaml").write_text("size: full\n")
    with pytest.raises(ReclibError, match=r"^smoke\.yaml: size must be 'smoke'"):
        load_parameters("simulated", "smoke")


@pytest.mark.parametrize("text", ["recencey: 0.5", "recency_: 0.5"])
def test_a_misspelt_name_is_refused_with_the_nearest(project: Path, text: str) -> None:
    settings(text)
    with pytest.raises(ReclibError, match=r"simulated-smoke\.yaml: .*did you mean 'recency'"):
        load_parameters("simulated", "smoke")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("recency", "1e-3", "decimal point"),
        ("recency", True, "number"),
        ("recency", float("nan"), "finite"),
        ("epochs", 2.0, "whole number"),
        ("epochs", True, "whole number"),
        ("epochs", None, "whole number"),
        ("plot", 1, "true or false"),
        ("title", 3, "quotes"),
        ("encoder", 3, "text or null"),
        ("weights", 0.5, "list"),
        ("weights", [0.5, "a"], "number"),
        ("weights", [], "one value or more"),
        ("epochs", 0, "a whole number from 1; got 0"),
        ("epochs", -3, "a whole number from 1; got -3"),
    ],
)
def test_a_value_of_another_type_or_a_count_of_nothing_is_refused(
    project: Path, name: str, value: object, expected: str
) -> None:
    with pytest.raises(ReclibError, match=f"command line: '{name}' .*{expected}"):
        load_parameters("simulated", "smoke", overrides={name: value})


def test_a_seed_may_be_0_and_not_less(project: Path) -> None:
    assert load_parameters("simulated", "smoke", seed=0)["seed"] == 0
    with pytest.raises(ReclibError, match="'seed' .* a whole number from 0; got -1"):
        load_parameters("simulated", "smoke", seed=-1)


def test_a_text_with_few_values_is_one_of_them(project: Path) -> None:
    settings("protocol: full-time")
    assert load_parameters("simulated", "smoke")["protocol"] == "full-time"
    settings("protocol: random")
    with pytest.raises(ReclibError, match=r"smoke\.yaml: unknown protocol 'random'.*full-loo"):
        load_parameters("simulated", "smoke")


def test_choices_are_those_of_the_library(tiny: Prepared) -> None:
    """Nothing is learned with `frozen`, so a notebook about training has no use for it."""
    assert CHOICES["normalise"] == tuple(NORMALISERS)
    assert CHOICES["tuning"] == tuple(name for name in TUNINGS if name != "frozen")
    with pytest.raises(ReclibError, match=f"Allowed: {', '.join(CHOICES['protocol'])}$"):
        split_by(tiny, "none")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n- b\n", "line 1: expected lines of the form"),
        ("just text\n", "line 1: expected lines of the form"),
        ("seed: 1\nepochs: [1,\n", "line 3"),
        ("seed: 1\nepochs: 2\nseed: 3\n", "line 3: the name 'seed' is there twice"),
        ("seed: 1\n\tepochs: 2\n", "line 2"),
        ("seed: \x00\n", "not a YAML text"),
        ("size: full\n", "size must be 'smoke', as in the file's name"),
    ],
)
def test_a_broken_file_is_named_with_its_line(project: Path, text: str, message: str) -> None:
    settings(text)
    with pytest.raises(ReclibError, match=r"simulated-smoke\.yaml") as error:
        load_parameters("simulated", "smoke")
    assert message in str(error.value)


def test_an_empty_file_changes_nothing(project: Path) -> None:
    settings("# only a comment\n")
    assert read_yaml(paths.PARAMS / "simulated-smoke.yaml") == {}


def test_data_and_size_are_checked(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ReclibError, match="did you mean 'smoke'"):
        load_parameters("simulated", "smoky")
    with pytest.raises(ReclibError, match="did you mean 'simulated'"):
        load_parameters("simulate", "smoke")
    with pytest.raises(ReclibError, match="size 'paper'.*Allowed: smoke, small, full for data"):
        load_parameters("amazon-beauty", "paper")
    monkeypatch.setenv("RECLIB_DATA", str(project))
    with pytest.raises(ReclibError, match="set RECLIB_DATA"):
        load_parameters("amazon-beauty", "full")
    with pytest.raises(ReclibError, match="use --seed"):
        load_parameters("simulated", "smoke", overrides={"seed": 1})


def test_an_own_folder_becomes_absolute_and_has_a_safe_name(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = project / "my shop"
    folder.mkdir()
    monkeypatch.chdir(project)
    assert load_parameters("my shop", "full")["data"] == str(folder)
    assert parameters.data_name(str(folder)) == "my-shop"
    (project / "link").symlink_to(folder)
    assert parameters.data_name("link") == "my-shop"
    monkeypatch.chdir(folder)
    assert parameters.data_name(".") == "my-shop"
    assert parameters.data_name("elsewhere/simulated") == "own-simulated"
    assert parameters.data_name("elsewhere/benchmarks") == "own-benchmarks"
    assert parameters.data_name("магазин") != parameters.data_name("店")


@pytest.mark.parametrize("name", ["amazon-beauty", "amazon-2014-Beauty", "my shop"])
def test_a_page_names_an_own_folder_as_its_results_are_filed(tmp_path: Path, name: str) -> None:
    """So it never passes for a set that the study knows."""
    (tmp_path / name).mkdir()
    table = "user_id,item_id,position\n" + "".join(f"u,i{n},{n}\n" for n in range(3))
    (tmp_path / name / "interactions.csv").write_text(table)
    found = load(tmp_path / name, size="full").name
    assert found == parameters.data_name(str(tmp_path / name)) != name


def test_a_category_of_a_family_has_a_name_without_a_slash() -> None:
    assert parameters.data_name("amazon-2014/Beauty") == "amazon-2014-Beauty"
    files = [file.name for file in parameters.parameter_files("amazon-2014/Beauty", "full")]
    assert files == ["full.yaml", "amazon-2014-Beauty-full.yaml"]
    assert parameters.data_name("elsewhere/amazon-2014-Beauty") == "own-amazon-2014-Beauty"


def test_every_parameter_file_of_the_project_is_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parameters, "resolve_data", lambda data, size: data)
    files = sorted(paths.PARAMS.glob("*.yaml"))
    assert files
    for file in files:
        data, _, size = file.stem.rpartition("-")
        load_parameters(data or "my-shop", size)


@pytest.mark.parametrize("data", ["amazon-office", "online-retail"])
def test_a_full_run_has_the_parameters_of_the_recorded_one(
    data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parameters, "resolve_data", lambda data, size: data)
    recorded = results.read_provenance(results.reference_folder(data))
    assert load_parameters(data, "full") == recorded["parameters"]


def test_a_full_run_on_other_data_has_the_effort_of_the_study(tmp_path: Path) -> None:
    found = load_parameters(str(tmp_path), "full")
    assert (found["n_trials"], found["n_seeds"], found["network_seeds"]) == (50, 5, 5)


def test_a_run_on_a_log_is_that_of_the_recorded_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a full run starts from is not for a set on which nothing is trained."""
    monkeypatch.setattr(parameters, "resolve_data", lambda data, size: data)
    recorded = results.read_provenance(results.reference_folder("open-bandit"))
    made = recorded | {"parameters": load_parameters("open-bandit", "full")}
    assert results.require_same_settings(made, "open-bandit", "full") == recorded


def test_the_examples_of_the_help_are_understood() -> None:
    lines = cli.EXAMPLES.splitlines()[1:]
    commands = [re.split(r"\s{2,}", line.strip())[0] for line in lines]
    assert len(commands) > 5
    for command in commands:
        options = cli._parser().parse_args(command.split()[1:])
        if options.command in (cli._run, cli._reference):
            for source in find_notebooks(options.only or ["08"]):
                assert set(cli._overrides(options)) <= set(declared_parameters(source)), command
