"""What a sweep file asks for, and what is refused before anything starts."""

import itertools
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reclib import paths
from reclib.errors import ReclibError
from reclib.study import cli
from reclib.study.parameters import declared_parameters, load_parameters
from reclib.study.spaces import spaces
from reclib.study.sweep_plan import Plan, read_plan

NOTEBOOK = """# %% tags=["parameters"]
data = "simulated"
size = "smoke"
seed = 0
decay = 0.7
history = 20
text = True
note = "0, 1"
scales = [0.0, 1.0]
encoder = None

# %%
print(data)
"""
READY = sorted(Path(__file__).resolve().parents[2].glob("params/sweeps/*.yaml"))
Write = Callable[..., Plan]


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Lay out a project with one notebook; return what writes a sweep file and reads it."""
    for name in ("NOTEBOOKS", "PARAMS"):
        monkeypatch.setattr(paths, name, tmp_path / name.lower())
        getattr(paths, name).mkdir()
    (paths.NOTEBOOKS / "03_tiny.py").write_text(NOTEBOOK)
    (paths.PARAMS / "simulated-small.yaml").write_text("history: 50\nseed: 7\n")

    def write(text: str = "", *, most: int | None = 10_000, **parts: Any) -> Plan:
        file = tmp_path / "mine.yaml"
        file.write_text(text or yaml.safe_dump({"notebook": 3} | parts, sort_keys=False))
        return read_plan(file, most=most)

    return write


def swept(plan: Plan) -> list[dict[str, Any]]:
    return [run.swept for run in plan.runs]


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None
)
@given(
    decays=st.lists(st.floats(0, 1), min_size=1, max_size=4, unique=True),
    histories=st.lists(st.integers(1, 9), min_size=1, max_size=4, unique=True),
    texts=st.lists(st.booleans(), min_size=1, max_size=2, unique=True),
)
def test_a_grid_is_every_combination_once(
    plan: Write, decays: list[float], histories: list[int], texts: list[bool]
) -> None:
    found = plan(grid={"decay": decays, "history": histories, "text": texts})
    assert swept(found) == [
        {"decay": decay, "history": history, "text": text}
        for decay in decays
        for history in histories
        for text in texts
    ]
    assert len({run.name for run in found.runs}) == len(found.runs)


def test_a_list_is_taken_as_it_stands(plan: Write) -> None:
    entries = [{"decay": 0.5, "history": 5}, {"history": 9}]
    assert swept(plan(list=entries)) == entries


OVER = {
    "decay": {"low": 0.001, "high": 1.0, "log": True},
    "history": {"low": 3, "high": 6},
    "text": [True, False],
}


def test_a_random_draw_is_the_same_for_the_same_seed_and_grows_at_its_end(plan: Write) -> None:
    few = swept(plan(random={"draws": 5, "seed": 1, "over": OVER}))
    many = swept(plan(random={"draws": 40, "seed": 1, "over": OVER}))
    other = swept(plan(random={"draws": 5, "seed": 2, "over": OVER}))
    assert many[:5] == few != other
    assert all(0.001 <= run["decay"] <= 1 for run in many)
    assert {run["history"] for run in many} == {3, 4, 5, 6}
    assert {run["text"] for run in many} == {True, False}
    # of a draw over three orders of magnitude, two thirds lie below a tenth
    assert 16 < sum(run["decay"] < 0.1 for run in many) < 37


def test_all_of_a_small_space_can_be_drawn_but_no_more(plan: Write) -> None:
    over = {"history": {"low": 3, "high": 6}, "text": [True, False]}
    assert len(plan(random={"draws": 8, "over": over}).runs) == 8
    with pytest.raises(ReclibError, match="only 8 different"):
        plan(random={"draws": 9, "over": over})


def test_several_parts_are_combined(plan: Write) -> None:
    found = plan(
        grid={"seed": [0, 1]},
        list=[{"note": "0"}, {"note": "0, 1"}],
        random={"draws": 3, "over": {"history": {"low": 1, "high": 99}}},
    )
    drawn = [run["history"] for run in swept(found)[:6:2]]
    assert [tuple(run.values()) for run in swept(found)] == list(
        itertools.product(["0", "0, 1"], drawn, [0, 1])
    )


def test_the_rest_is_as_in_an_ordinary_run(plan: Write) -> None:
    """Notebook, then the file of the data and size, then ``fixed``, then what varies."""
    found = plan(fixed={"decay": 1}, grid={"size": ["smoke", "small"], "text": [False]})
    smoke, small = (run.parameters for run in found.runs)
    usual = declared_parameters(paths.NOTEBOOKS / "03_tiny.py")
    assert smoke == usual | {"decay": 1.0, "text": False}
    assert small == smoke | {"size": "small", "history": 50, "seed": 7}


def test_a_command_repeats_its_run(plan: Write) -> None:
    found = plan(
        fixed={"size": "small", "decay": 1e-05},
        list=[
            {"note": "0, 1: é'\"#", "seed": 3},
            {"encoder": "null", "text": False},
            {"scales": [0.0, 1e-05]},
        ],
    )
    for run in found.runs:
        program, *words = shlex.split(found.command(run))
        options = cli._parser().parse_args(words)
        assert program == "reclib" and options.only == ["03"]
        repeated = load_parameters(
            options.data, options.size, seed=options.seed, overrides=cli._overrides(options)
        )
        usual = declared_parameters(found.source)
        assert usual | repeated == run.parameters


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"grids": {}}, "did you mean 'grid'"),
        ({"notebook": "03_tinny"}, "did you mean '03_tiny'"),
        ({"notebook": None}, "unknown notebook"),
        ({}, "nothing is varied"),
        ({"grid": {"decey": [0.5]}}, "did you mean 'decay'"),
        ({"fixed": {"decey": 0.5}, "grid": {"seed": [0]}}, "did you mean 'decay'"),
        ({"grid": {"history": [5, 2.5]}}, "a whole number; got 2.5"),
        ({"grid": {"history": [5, 0]}}, "a whole number from 1; got 0"),
        ({"list": [{"text": "no"}]}, "true or false; got 'no'"),
        ({"grid": {"decay": ["1e-3"]}}, "with a decimal point"),
        ({"grid": {"decay": [float("nan")]}}, "finite number"),
        ({"grid": {}}, "grid is empty"),
        ({"grid": {"decay": []}}, "grid: decay must be a list with one value or more"),
        ({"grid": {"decay": 0.5}}, "grid: decay must be a list with one value or more"),
        ({"grid": [0.5]}, "lines of the form"),
        ({"list": []}, "must be a list with one value or more"),
        ({"list": [{"seed": 1}, {}]}, "entry 2 is empty"),
        ({"grid": {"seed": [0, 1, 0]}}, "1 of 3 runs repeat others"),
        ({"grid": {"seed": [0]}, "fixed": {"seed": 1}}, "'seed' is in fixed and in grid"),
        ({"grid": {"seed": [0]}, "list": [{"seed": 1}]}, "'seed' is in list and in grid"),
        ({"grid": {"data": ["simulatd"]}}, "did you mean 'simulated'"),
        ({"grid": {"size": ["smal"]}}, "did you mean 'small'"),
        ({"random": {"over": OVER}}, "draws must be a whole number from 1; got None"),
        ({"random": {"draws": 0, "over": OVER}}, "draws must be a whole number from 1; got 0"),
        ({"random": {"draws": 2, "seed": -1, "over": OVER}}, "seed must be a whole number from 0"),
        ({"random": {"draws": 2, "sed": 1, "over": OVER}}, "did you mean 'seed'"),
        ({"random": {"draws": 2, "over": {}}}, "over is empty"),
        ({"random": {"draws": 2, "over": {"decay": 0.5}}}, "{low: …, high: …}"),
        ({"random": {"draws": 2, "over": {"decay": {"low": 1, "high": 1}}}}, "low < high"),
        (
            {"random": {"draws": 2, "over": {"decay": {"low": 0, "high": 1, "log": True}}}},
            "0 < low < high",
        ),
        ({"random": {"draws": 2, "over": {"history": {"low": 0.5, "high": 3}}}}, "a whole number"),
        ({"random": {"draws": 2, "over": {"note": {"low": "a", "high": "b"}}}}, "no number"),
    ],
)
def test_bad_input_is_refused_with_the_way_to_mend_it(
    plan: Write, parts: dict[str, Any], message: str
) -> None:
    with pytest.raises(ReclibError) as refused:
        plan(**parts)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_missing_notebook_and_a_missing_file_are_named(plan: Write, tmp_path: Path) -> None:
    with pytest.raises(ReclibError, match="name a notebook"):
        plan("grid: {seed: [0]}")
    with pytest.raises(ReclibError, match="other.yaml is not there"):
        read_plan(tmp_path / "other.yaml")


def test_many_runs_need_a_yes_and_a_slip_of_billions_is_counted_not_laid_out(plan: Write) -> None:
    grid = {"seed": list(range(101)), "history": list(range(1, 101))}
    with pytest.raises(ReclibError, match="10,100 runs; more than 10,000 need --yes"):
        plan(grid=grid)
    with pytest.raises(ReclibError, match=r"10,100,000,000,000,000 runs"):
        plan(grid=grid, random={"draws": 10**12, "over": {"decay": {"low": 0.0, "high": 1.0}}})
    assert len(plan(grid={"seed": list(range(100)), "history": list(range(1, 101))}).runs) == 10_000


@pytest.mark.parametrize("file", READY, ids=lambda file: file.stem)
def test_a_ready_sweep_fits_its_notebook(file: Path) -> None:
    assert len(read_plan(file).runs) > 1


@pytest.mark.parametrize("file", READY, ids=lambda file: file.stem)
def test_what_a_ready_sweep_varies_is_not_searched_anew_by_each_of_its_runs(file: Path) -> None:
    searched = {name for space in spaces().values() for name in space.ranges}
    assert "history" in searched
    for run in read_plan(file).runs:
        assert run.parameters["n_trials"] == 1 or not searched & set(run.swept), run.name
