"""Parameters of a run, read and checked before anything starts.

A notebook declares its parameters in the one cell tagged ``parameters``; the defaults there
are the smoke size. ``params/<data>-<size>.yaml`` holds what a longer run changes, and the
command line may change it again. papermill itself lets a misspelt name pass and runs with the
default, so every name and type is checked here.
"""

import ast
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from reclib import paths
from reclib.data.sources import SOURCES, check_size, find_folder, own_name
from reclib.errors import ReclibError, unknown

if TYPE_CHECKING:
    from nbformat import NotebookNode

# what the command line names itself; a parameter file may repeat them, but not change them
COORDINATES = ("data", "size")


def notebooks() -> list[Path]:
    """Return the sources of the notebooks, in reading order."""
    found = sorted(paths.NOTEBOOKS.glob("[0-9][0-9]_*.py"))
    if not found:
        raise ReclibError(f"no notebook NN_name.py in {paths.NOTEBOOKS}; is the checkout complete?")
    return found


def find_notebooks(only: Sequence[str]) -> list[Path]:
    """Return the notebooks that `only` names by number or name, in reading order."""
    sources = notebooks()
    names = {source.stem: source for source in sources}
    numbers = {stem[:2]: stem for stem in names}
    wanted = [numbers.get(name.zfill(2), name) for name in only]
    for name in wanted:
        if name not in names:
            raise unknown("notebook", name, names)
    return [source for source in sources if source.stem in wanted]


def read_notebook(source: Path) -> "NotebookNode":
    """Read a percent file; it must have exactly one cell tagged ``parameters``."""
    import jupytext  # takes seconds, and notebooks import this module through the result files

    notebook: NotebookNode = jupytext.read(source, fmt="py:percent")
    count = len(_tagged(notebook))
    if count != 1:
        raise ReclibError(
            f"{source.name} has {count} cells tagged 'parameters'; it needs exactly one, "
            'which starts with the line: # %% tags=["parameters"]'
        )
    return notebook


def declared_parameters(notebook: Path) -> dict[str, Any]:
    """Return the parameters of a notebook with their defaults.

    Parameters
    ----------
    notebook
        The percent source. Its parameters cell holds nothing but assignments of literals,
        so that they can be read without running the notebook.

    Returns
    -------
    dict
        Name to default, in the order of the cell.

    Raises
    ------
    ReclibError
        No such cell, more than one, or something else than ``name = literal`` in it.
    """
    [cell] = _tagged(read_notebook(notebook))
    declared: dict[str, Any] = {}
    for statement in ast.parse(cell.source).body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                pass
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                pass
            case _:
                raise _not_literal(notebook, ast.unparse(statement))
        try:
            declared[name] = ast.literal_eval(value)
        except ValueError:
            raise _not_literal(notebook, ast.unparse(statement)) from None
    return declared


def all_declared() -> dict[str, dict[str, Any]]:
    """Return every parameter with its default in each notebook that declares it."""
    together: dict[str, dict[str, Any]] = {}
    for source in notebooks():
        for name, default in declared_parameters(source).items():
            together.setdefault(name, {})[source.stem] = default
    return together


def data_name(data: str) -> str:
    """Return the name under which results of `data` are filed.

    A known name stays as it is, but for a slash; a folder of the user's own gives its last
    part, made safe.

    Examples
    --------
    >>> data_name("amazon-2014/Beauty"), data_name("/home/me/my shop (2024)")
    ('amazon-2014-Beauty', 'my-shop-2024')
    """
    return data.replace("/", "-") if data in SOURCES else own_name(Path(data))


def resolve_data(data: str, size: str) -> str:
    """Check a data set and a size; make a folder absolute, as notebooks run elsewhere."""
    check_size(data, size)
    folder = find_folder(data)
    return data if data in SOURCES else str(folder)


def parameter_file(data: str, size: str) -> Path:
    """Return where the parameters of a run lie; the file need not exist."""
    return paths.PARAMS / f"{data_name(data)}-{size}.yaml"


def load_parameters(
    data: str, size: str, *, seed: int | None = None, overrides: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Gather the parameters of a run and check every one of them.

    Parameters
    ----------
    data, size
        As for ``reclib.data.sources.load``.
    seed
        Wins over the file's; with neither, 0.
    overrides
        From the command line; they win over the file.

    Returns
    -------
    dict
        ``data``, ``size``, ``seed`` and whatever differs from the notebooks' defaults.

    Raises
    ------
    ReclibError
        Unknown data set, size or name; a value whose type is not the default's.
    """
    data = resolve_data(data, size)
    file = parameter_file(data, size)
    from_file = read_yaml(file) if file.is_file() else {}
    for name, given in zip(COORDINATES, (data_name(data), size), strict=True):
        if from_file.pop(name, given) != given:
            raise ReclibError(f"{file.name}: {name} must be {given!r}, as in the file's name")
    extra = dict(overrides or {})
    if clash := extra.keys() & {*COORDINATES, "seed"}:
        raise ReclibError(f"--set {min(clash)}=…: use --{min(clash)} for it")
    if seed is not None:
        extra["seed"] = seed
    declared = all_declared()
    chosen: dict[str, Any] = {"data": data, "size": size, "seed": 0}
    for place, values in ((file.name, from_file), ("command line", extra)):
        chosen |= checked_parameters(values, declared, place)
    return chosen


def checked_parameters(
    values: Mapping[str, Any], declared: Mapping[str, Mapping[str, Any]], place: str
) -> dict[str, Any]:
    """Return `values` in the types of the defaults.

    Parameters
    ----------
    values
        Name to value, as a person wrote them.
    declared
        Name to notebook to default, as `all_declared` returns them.
    place
        Where they were written, for the message.

    Raises
    ------
    ReclibError
        A name that no notebook declares, or a value whose type is not the default's.
    """
    checked = {}
    for name, value in values.items():
        if name not in declared:
            raise ReclibError(f"{place}: {unknown('parameter', name, declared)}")
        for notebook, default in declared[name].items():
            value = _conform(value, default, f"{place}: {name!r} (declared in {notebook})")
        checked[name] = value
    return checked


def read_yaml(file: Path) -> dict[str, Any]:
    """Read a flat mapping of parameters; say file and line of whatever is wrong with it."""
    try:
        content = yaml.load(file.read_text(encoding="utf-8"), Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ReclibError(f"{file.name}{line}: {error.problem}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ReclibError(f"{file.name}: not a YAML text ({error})") from error
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise ReclibError(f"{file.name}, line 1: expected lines of the form `name: value`")
    return content


class _Loader(yaml.SafeLoader):
    """Safe YAML that refuses a repeated name, where plain YAML lets the last one win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names: list[object] = []
        for key, _ in node.value:
            name = self.construct_object(key, deep=True)
            if name in names:
                problem = f"the name {name!r} is there twice; keep one"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            names.append(name)
        return super().construct_mapping(node, deep=deep)


def _conform(value: Any, default: Any, where: str) -> Any:
    """Return `value` in the type of `default`, or say why it cannot be.

    A whole number does for a float. Where the default is None, a text or null is allowed.
    """
    if default is None:
        if value is None or isinstance(value, str):
            return value
        raise ReclibError(f"{where} must be a text or null, not {value!r}")
    if isinstance(default, float) and type(value) in (int, float):
        if not math.isfinite(value):
            raise ReclibError(f"{where} must be a finite number, not {value!r}")
        return float(value)
    if isinstance(default, list | tuple) and isinstance(value, list | tuple):
        # an empty default says nothing about its elements
        return [_conform(part, default[0] if default else part, where) for part in value]
    if type(value) is type(default):
        return value
    hint = {
        float: "a number; in YAML with a decimal point, as in 1.0e-3",
        int: "a whole number",
        bool: "true or false",
        str: "a text; in YAML between quotes where it looks like something else",
    }.get(type(default), f"a {type(default).__name__}")
    raise ReclibError(f"{where} must be {hint}; got {value!r}")


def _tagged(notebook: "NotebookNode") -> "list[NotebookNode]":
    return [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]


def _not_literal(notebook: Path, statement: str) -> ReclibError:
    return ReclibError(
        f"{notebook.name}: {statement!r} in the parameters cell; only `name = literal` can be "
        "checked before a run, so move it to the next cell"
    )
