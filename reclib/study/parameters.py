"""Parameters of a run, read and checked before anything starts.

A notebook declares its parameters in the one cell tagged ``parameters``; the defaults there
are the smoke size. ``params/<size>.yaml`` holds what every run of a size changes,
``params/<data>-<size>.yaml`` what one data set does, and the command line may change it again.
papermill itself lets a misspelt name pass and runs with the default, so every name, type and
value that can be wrong by itself is checked here.
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
# texts with few values; the library's own lists come with torch, which takes seconds to import
CHOICES: Mapping[str, Sequence[str]] = {
    "protocol": ("full-loo", "full-time"),
    "normalise": ("minmax", "zscore", "percentile", "global"),
    "tuning": ("adapter", "last-k", "lora", "full"),
}


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
    known = data in SOURCES
    return data.replace("/", "-") if known else own_name(Path(data).expanduser().resolve())


def resolve_data(data: str, size: str) -> str:
    """Check a data set and a size; make a folder absolute, as notebooks run elsewhere."""
    check_size(data, size)
    folder = find_folder(data)
    return data if data in SOURCES else str(folder)


def parameter_files(data: str, size: str) -> list[Path]:
    """Return where the parameters of a run lie, the last one wins; no file need exist."""
    return [paths.PARAMS / f"{name}.yaml" for name in (size, f"{data_name(data)}-{size}")]


def load_parameters(
    data: str, size: str, *, seed: int | None = None, overrides: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Gather the parameters of a run and check every one of them.

    Parameters
    ----------
    data, size, seed, overrides
        As for `parameter_layers`; with no seed anywhere, 0.

    Returns
    -------
    dict
        ``data``, ``size``, ``seed`` and whatever differs from the notebooks' defaults.

    Raises
    ------
    ReclibError
        As `parameter_layers`.
    """
    chosen: dict[str, Any] = {"data": data, "size": size, "seed": 0}
    for values in parameter_layers(data, size, seed=seed, overrides=overrides).values():
        chosen |= values
    return chosen


def parameter_layers(
    data: str, size: str, *, seed: int | None = None, overrides: Mapping[str, Any] | None = None
) -> dict[str, dict[str, Any]]:
    """Gather the parameters of a run by where they are written.

    Parameters
    ----------
    data, size
        As for ``reclib.data.sources.load``.
    seed
        Wins over the files'.
    overrides
        From the command line; they win over the files.

    Returns
    -------
    dict
        Place to name to value, checked; a later place wins over an earlier one.

    Raises
    ------
    ReclibError
        Unknown data set, size or name; a value of another type than the default's, or one
        that is not allowed.
    """
    data = resolve_data(data, size)
    extra = dict(overrides or {})
    if clash := extra.keys() & {*COORDINATES, "seed"}:
        raise ReclibError(f"--set {min(clash)}=…: use --{min(clash)} for it")
    if seed is not None:
        extra["seed"] = seed
    written = {}
    for file in parameter_files(data, size):
        written[file.name] = read_yaml(file) if file.is_file() else {}
        for name, given in zip(COORDINATES, (data_name(data), size), strict=True):
            if written[file.name].pop(name, given) != given:
                raise ReclibError(f"{file.name}: {name} must be {given!r}, as in the file's name")
    declared = all_declared()
    return {"--data, --size": {"data": data, "size": size}} | {
        place: checked_parameters(values, declared, place)
        for place, values in (written | {"command line": extra}).items()
    }


def checked_parameters(
    values: Mapping[str, Any], declared: Mapping[str, Mapping[str, Any]], place: str
) -> dict[str, Any]:
    """Return `values` in the types of the defaults.

    Whole numbers are counts: 1 is the least, or 0 where that is the default.

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
        A name that no notebook declares, a value whose type is not the default's, a count
        below the least, or a text that is not one of `CHOICES`.
    """
    checked = {}
    for name, value in values.items():
        if name not in declared:
            raise ReclibError(f"{place}: {unknown('parameter', name, declared)}")
        for notebook, default in declared[name].items():
            value = _conform(value, default, f"{place}: {name!r} (declared in {notebook})")
        if name in CHOICES and value not in CHOICES[name]:
            raise ReclibError(f"{place}: {unknown(name, value, CHOICES[name])}")
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
        if default and not value:
            raise ReclibError(f"{where} must be a list with one value or more; got {value!r}")
        # an empty default says nothing about its elements
        return [_conform(part, default[0] if default else part, where) for part in value]
    if type(value) is type(default):
        if type(value) is int and value < (least := min(default, 1)):
            raise ReclibError(f"{where} must be a whole number from {least}; got {value}")
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
