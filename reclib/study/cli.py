"""The command ``reclib``: run the study, record and verify its results, describe the machine."""

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from reclib import paths
from reclib.data import fetch
from reclib.data.sources import SIZES, short_names
from reclib.errors import ReclibError
from reclib.study import doctor, readme, results
from reclib.study.parameters import all_declared, load_parameters, parameter_layers

EXAMPLES = """examples:
  reclib run                                        the simulated marketplace, smoke size
  reclib run --data amazon-beauty --size full       a real shop, every user
  reclib run --data ~/my-shop --size full           your own tables (see data/README.md)
  reclib run --only 03 --set decay=0.9 --force      one notebook with another parameter
  reclib reference --data open-bandit --size full --only 13    record what one notebook found
  reclib params --data amazon-beauty --size full    every parameter and its value
  reclib verify --data amazon-beauty --size full    run again and compare with the reference
  reclib sweep params/sweeps/history.yaml           many runs of one notebook, in parallel
  reclib fetch                                      the public data sets that can be downloaded
  reclib fetch amazon-2023/Gift_Cards               download one of them into RECLIB_DATA
  reclib card online-retail                         count what a data set holds, for the book
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns
    -------
    int
        0 if all went well, 1 if a notebook failed or a result is out of band, 2 for wrong
        input or a disk that cannot be read or written, 130 if the user stopped it.
    """
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except ReclibError as error:
        print(f"error: {error}", file=sys.stderr)
        return getattr(error, "exit_code", 2)
    except KeyboardInterrupt as stop:
        print(f"\n{str(stop) or 'stopped'}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, such as `head`, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(
            f"error: {error}; where the disk is full make room, where something is not allowed "
            "allow it, and the same command goes on",
            file=sys.stderr,
        )
        return 2


def _run(options: argparse.Namespace) -> int:
    folder = _run_notebooks(options, force=options.force, only=options.only)
    print(f"Results: {folder}")
    return 0


def _reference(options: argparse.Namespace) -> int:
    if not options.no_run:
        _require_commit(options, f"the run on {options.data}")
        _run_notebooks(options, only=options.only)
    target = results.record(options.data, options.size, allow_dirty=options.allow_dirty)
    readme.update_readme()
    print(f"Recorded: {target}")
    return 0


def _verify(options: argparse.Namespace) -> int:
    """Run again the notebooks that made the recorded results, and compare."""
    # of its own, or results that this machine recorded would be compared with themselves
    cache = paths.CACHE / "verify"
    if not options.no_run:
        from reclib.study.provenance import Run  # it needs nbformat, which takes its time

        this = Run(load_parameters(**_asked(options)))
        recorded = results.require_same_settings(
            {"parameters": this.parameters, "data_files": this.data_files},
            options.data,
            options.size,
        )
        only = list(recorded["notebooks"])
        _run_notebooks(options, only=only, force=True, variables={"RECLIB_CACHE": str(cache)})
    wrong = results.verify(options.data, options.size)
    if not options.no_run:
        shutil.rmtree(cache, ignore_errors=True)
    if wrong.empty:
        reference = results.reference_folder(options.data, options.size)
        print(f"Equal to {reference}, within the band of every row")
        return 0
    _print_table("out of band", list(map(str, wrong)), wrong.itertuples(index=False, name=None))
    if other := results.other_machine(options.data, options.size):
        print("On another machine trained models come out differently; it differs in:")
        print("\n".join(f"  {line}" for line in other))
    return 1


def _sweep(options: argparse.Namespace) -> int:
    """Do the runs of a sweep that are missing; say which of them failed."""
    from reclib.study import sweep  # papermill takes seconds to import

    if options.record:
        _require_commit(options, f"the sweep {options.file.stem}")
    table = sweep.run_sweep(
        options.file,
        workers=options.workers,
        scheduler=options.scheduler,
        yes=options.yes,
        timeout=options.timeout,
    )
    runs = table.drop_duplicates("run")
    failed = runs[runs["status"] == sweep.FAILED]
    if len(failed):
        rows = failed[["run", "error", "notebook"]].itertuples(index=False, name=None)
        _print_table("failed", ["run", "error", "notebook"], rows)
    folder = sweep.sweep_folder(options.file.stem)
    print(f"{len(runs) - len(failed)} of {len(runs)} runs done: {folder / sweep.TABLE_FILE}")
    if options.record:
        from reclib.study import gains  # torch takes seconds, too, which only this needs

        recorded = gains.record_sweep(options.file, table, allow_dirty=options.allow_dirty)
        print(f"Recorded: {recorded}")
    return 1 if len(failed) else 0


def _doctor(_: argparse.Namespace) -> int:
    doctor.print_report()
    return 0


def _fetch(options: argparse.Namespace) -> int:
    """Download a data set; without a name, list what there is."""
    if options.name:
        print(f"Now in {fetch.fetch(options.name, folder=options.folder)}")
        return 0
    rows = [
        (name + ("/CATEGORY" if published.categories else ""), published.size, published.terms,
         published.homepage)
        for name, published in fetch.PUBLICATIONS.items()
    ]  # fmt: skip
    _print_table("can be fetched", ["name", "size", "licence or terms", "homepage"], rows)
    return 0


def _card(options: argparse.Namespace) -> int:
    from reclib.study import cards  # it needs nbformat, which takes its time to import

    for name in options.names or cards.present():
        print(f"Recorded: {cards.record_card(name, size=options.size)}")
    return 0


def _params(options: argparse.Namespace) -> int:
    """Print every parameter: default, value and its place, the notebooks that declare it."""
    chosen = {
        name: (value, place)
        for place, values in parameter_layers(**_asked(options)).items()
        for name, value in values.items()
    }
    rows = []
    for name, defaults in all_declared().items():
        default = next(iter(defaults.values()))
        value, place = chosen.get(name, (default, "default"))
        numbers = " ".join(notebook[:2] for notebook in defaults)
        rows.append((name, repr(default), repr(value), place, numbers))
    _print_table("parameters", ["name", "default", "value", "from", "notebooks"], rows)
    return 0


def _run_notebooks(options: argparse.Namespace, **how: Any) -> Path:
    from reclib.study.runner import run  # papermill takes seconds to import

    return run(**_asked(options), timeout=options.timeout, **how)


def _require_commit(options: argparse.Namespace, what: str) -> None:
    """Refuse before hours of work what could not be recorded after them."""
    from reclib.study.provenance import git_state  # it needs nbformat, which takes its time

    results.require_commit(git_state(), what, allow_dirty=options.allow_dirty)


def _asked(options: argparse.Namespace) -> dict[str, Any]:
    """Return which run the user wants."""
    asked = {name: getattr(options, name) for name in ("data", "size", "seed")}
    return asked | {"overrides": _overrides(options)}


def _overrides(options: argparse.Namespace) -> dict[str, Any]:
    """Read ``--set name=value`` as a line of YAML would be."""
    chosen: dict[str, Any] = {}
    for text in options.set:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ReclibError(f"--set {text}: expected name=value")
        if name in chosen:
            raise ReclibError(f"--set {name}=… is there twice; keep one")
        try:
            chosen[name] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ReclibError(f"--set {text}: the value is not YAML; quote it as '…'") from None
    return chosen


def _print_table(title: str, columns: list[str], rows: Any) -> None:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(f"{cell:.6g}" if isinstance(cell, float) else str(cell) for cell in row))
    # in a pipe, rich would fold everything into 80 columns
    Console(width=None if sys.stdout.isatty() else 160, markup=False).print(table)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "reclib",
        description="Run the study, record and verify its results, describe the machine.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")

    def add(name: str, function: Callable[[argparse.Namespace], int], purpose: str) -> Any:
        command = commands.add_parser(name, help=purpose, description=purpose.capitalize() + ".")
        command.set_defaults(command=function)
        return command

    running = [
        add("run", _run, "run the notebooks whose output is out of date"),
        add("reference", _reference, "run, then record the results under results/reference"),
        add("verify", _verify, "run again what made the recorded results, and compare"),
        add("params", _params, "show every parameter of a run and where it is declared"),
    ]
    sweep = add("sweep", _sweep, "run a notebook with many settings, those not done yet")
    sweep.add_argument("file", type=Path, metavar="FILE", help="as those in params/sweeps")
    sweep.add_argument(
        "--workers", type=int, metavar="N", help="runs at a time on this machine (default: cores)"
    )
    sweep.add_argument(
        "--scheduler", metavar="ADDRESS", help="of a Dask cluster to run on, e.g. tcp://host:8786"
    )
    sweep.add_argument("--yes", action="store_true", help="start also more than 10,000 runs")
    sweep.add_argument(
        "--record",
        action="store_true",
        help="keep what the book shows, once all are done",
    )
    add("doctor", _doctor, "print what a bug report needs, and what to mend")
    fetch_command = add("fetch", _fetch, "download a public data set, or list those there are")
    fetch_command.add_argument("name", nargs="?", metavar="NAME", help="as reclib fetch lists them")
    fetch_command.add_argument(
        "--folder", type=Path, help="where the files go (default: a folder NAME in RECLIB_DATA)"
    )
    card_command = add("card", _card, "count what data sets hold and record it for the book")
    card_command.add_argument(
        "names", nargs="*", metavar="NAME", help="default: every data set that is there"
    )
    card_command.add_argument("--size", help="default: everything, of the simulated one paper")
    for command in running:
        known = ", ".join(short_names())
        command.add_argument(
            "--data", default="simulated", help=f"{known}, or a folder (default: %(default)s)"
        )
        command.add_argument(
            "--size", default="smoke", help=f"{', '.join(SIZES)} (default: %(default)s)"
        )
        command.add_argument("--seed", type=int, help="default: the parameter file's, or 0")
        command.add_argument(
            "--set", action="append", default=[], metavar="NAME=VALUE", help="change a parameter"
        )
    run_command, reference, verify, _ = running
    for command in (run_command, reference, verify, sweep):
        command.add_argument(
            "--timeout",
            type=int,
            default=4 * 3600,
            metavar="S",
            help="seconds that a cell may take",
        )
    for command in (run_command, reference):
        command.add_argument(
            "--only", nargs="+", action="extend", metavar="NN", help="only these notebooks"
        )
    run_command.add_argument("--force", action="store_true", help="run also what is fresh")
    for command in (reference, verify):
        command.add_argument("--no-run", action="store_true", help="take the results as they are")
    for command in (reference, sweep):
        command.add_argument(
            "--allow-dirty", action="store_true", help="record although no commit holds the code"
        )
    return parser


if __name__ == "__main__":
    sys.exit(main())
