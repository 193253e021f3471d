"""Tables of the page on speed and scale, from what ``make bench`` recorded.

``{bench-peers}``: ours beside other libraries. ``{bench-claim}``: the large claim.
``{bench-workers}``: one and two workers. ``{bench-weightings}``: the weights of Eq. 7.
``{bench-serve}``: how long customers of the shop wait. ``{bench-models}``: each model by itself.
``{bench-finetune}``: how fast an encoder learns on each device. ``{bench-depths}``: what tuning
more of it brings; ``{bench-mixtures}``: beside other models; ``{bench-several-tasks}``: with
several tasks at once.
``{bench-estimate} <users> <products>``: what a shop of that size would cost.
``{bench-figure}``: the curves. ``{bench-machine}``: what everything was measured on.

All have the options ``caption`` and ``name``. What was not measured is said to be so; the build
goes on.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import data_pages
import numpy as np
from data_pages import cell
from docutils import nodes
from result_files import REFERENCE, decimals, text
from sphinx.application import Sphinx

if TYPE_CHECKING:
    import pandas as pd

FOLDER = REFERENCE / "benchmarks"
CORES, HOURS = 32, 24  # of a machine, and until the work must be done
TIMES = "\N{MULTIPLICATION SIGN}"
RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
UNITS = {"events": "event", "items": "product", "users": "user", "pairs": "user and product"}


def number(value: float) -> str:
    """Write three significant digits; a dash where nothing is known."""
    return "\N{EN DASH}" if value != value else text(value, decimals(value))


def power(value: float) -> str:
    """Write a large round number as 2 × 10⁹."""
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return f"{float(mantissa):g} {TIMES} 10{str(int(exponent)).translate(RAISED)}"


class BenchTable(data_pages.TableDirective):
    """A table of one file; without the file a line that says so."""

    required_arguments = 0
    file: ClassVar[str] = "scale.csv"

    @property
    def folder(self) -> Path:
        """Where the files lie."""
        return Path(self.env.srcdir) / FOLDER

    def run(self) -> list[nodes.Node]:
        """Look for the file first; the page depends on it either way."""
        file = (FOLDER / self.file).as_posix()
        self.env.note_dependency(file)
        if (self.folder / self.file).is_file():
            return self.drawn(file)
        said = f"Not measured: make bench writes {file}."
        return [nodes.paragraph("", "", nodes.emphasis(said, said))]

    def drawn(self, file: str) -> list[nodes.Node]:
        """Lay out the table."""
        return super().run()

    def table(self) -> "pd.DataFrame":
        """Read the file."""
        from reclib.study.speed import read_table  # seconds, which no other page should pay

        return read_table(self.file, self.folder)


class Peers(BenchTable):
    """``{bench-peers}``: seconds of both, and how many times as fast ours is."""

    file = "peers.csv"

    def cells(self) -> tuple[data_pages.Line, Iterable[data_pages.Line]]:
        """Lay a task on each line."""
        head = [cell("task"), *(cell(name, right=True) for name in ("ours, s", "theirs, s"))]
        head += [cell("beside"), cell("ratio", right=True)]
        return head, [
            [
                cell(row.task),
                cell(number(row.seconds), right=True),
                cell(number(row.peer_seconds), right=True),
                cell(row.peer),
                cell(
                    f"{number(row.peer_seconds / row.seconds)}\N{MULTIPLICATION SIGN}", right=True
                ),
            ]
            for row in self.table().itertuples()
        ]


class Claim(BenchTable):
    """``{bench-claim}``: every step of the one large size."""

    def cells(self) -> tuple[data_pages.Line, Iterable[data_pages.Line]]:
        """Lay a step on each line."""
        table = self.table()
        table = table[table["series"] == "claim"]
        numbers = ("events", "products", "users", "threads", "seconds", "peak, GB")
        head = [cell("step"), *(cell(name, right=True) for name in numbers)]
        return head, [
            [
                cell(f"{row.step} {row.model}"),
                *(cell(f"{n:,}", right=True) for n in (row.events, row.items, row.users)),
                cell(f"{row.threads}", right=True),
                cell(number(row.seconds), right=True),
                cell(number(row.peak_mb / 1024), right=True),
            ]
            for row in table.itertuples()
        ]


class Workers(BenchTable):
    """``{bench-workers}``: the same shards on one worker and on two."""

    def cells(self) -> tuple[data_pages.Line, Iterable[data_pages.Line]]:
        """Lay a step on each line."""
        table = self.table()
        table = table[table["workers"] > 0]
        names = ("users", "products or texts", "one worker, s", "two workers, s", "ratio")
        head = [cell("step"), *(cell(name, right=True) for name in names)]
        lines = []
        for (step, model), rows in table.groupby(["step", "model"], sort=False):
            one, two = (rows.loc[rows["workers"] == n].iloc[0] for n in (1, 2))
            counts = (f"{one['users']:,}" if one["users"] else "", f"{one['items']:,}")
            seconds = (one["seconds"], two["seconds"], one["seconds"] / two["seconds"])
            found = [cell(shown, right=True) for shown in (*counts, *map(number, seconds))]
            lines.append([cell(f"{step} {model}"), *found])
        return head, lines


class Weightings(BenchTable):
    """``{bench-weightings}``: scoring once, combining many times."""

    file = "weightings.csv"

    def cells(self) -> tuple[data_pages.Line, Iterable[data_pages.Line]]:
        """Lay a data set on each line."""
        names = ("users", "products", "weightings", "scoring, s", "combining, s")
        head = [cell("data"), *(cell(name, right=True) for name in names)]
        return head, [
            [
                cell(nodes.literal(row.data, row.data)),
                *(cell(f"{n:,}", right=True) for n in (row.users, row.items, row.weightings)),
                cell(number(row.score_seconds), right=True),
                cell(number(row.combine_seconds), right=True),
            ]
            for row in self.table().itertuples()
        ]


class Serve(BenchTable):
    """``{bench-serve}``: a line for each kind of customers and way of coming."""

    file = "serve.csv"

    def cells(self) -> tuple[data_pages.Line, Iterable[data_pages.Line]]:
        """Lay a measurement on each line."""
        names = ("callers", "come a second", "served a second", "median, ms")
        names += ("99th percentile, ms", "processor, ms")
        head = [cell("customers"), *(cell(name, right=True) for name in names)]
        return head, [
            [
                cell(row.customers),
                cell(f"{row.callers}", right=True),
                cell(f"{row.rate:g}" if row.rate else "at once", right=True),
                *(
                    cell(number(value), right=True)
                    for value in (row.served, row.median_ms, row.p99_ms, row.processor_ms)
                ),
            ]
            for row in self.table().itertuples()
        ]


class Models(BenchTable):
    """``{bench-models}``: seconds, peak memory and energy of each model, its steps side by side."""

    file = "models.csv"

    def cells(self) -> tuple[data_pages.Line, Iterable[data_pages.Line]]:
        """Lay a model on each line."""
        table = self.table()
        steps = ("load", "encode", "fit", "score")
        names = ("seconds", "peak_mb", "joules")
        wide = table.pivot(index="model", columns="step", values=list(names))
        heads = [f"{step}, {unit}" for unit in ("s", "GB") for step in steps[1:]]
        heads.append("energy, J")
        lines = []
        for model in dict.fromkeys(table["model"]):
            own = wide.loc[model]
            spent = [own.get(("seconds", step), float("nan")) for step in steps[1:]]
            held = [own.get(("peak_mb", step), float("nan")) / 1024 for step in steps[1:]]
            if model == "nothing":
                held[1] = own["peak_mb", "load"] / 1024
            energy = own["joules"].sum(min_count=1)
            numbers = [*map(number, spent), *map(number, held), number(energy)]
            shown = (
                nodes.emphasis(model, model) if model == "nothing" else nodes.literal(model, model)
            )
            lines.append([cell(shown), *(cell(text, right=True) for text in numbers)])
        return [cell("model"), *(cell(name, right=True) for name in heads)], lines


class Finetune(BenchTable):
    """``{bench-finetune}``: a device on each line, beside the slowest."""

    file = "finetune.csv"

    def cells(self) -> tuple[data_pages.Line, Iterable[data_pages.Line]]:
        """Turn what was measured into rates."""
        names = ("threads", "examples at once", "tokens a second", "ratio", "TFLOP/s")
        names += ("of its large products", "padding", "memory, GB")
        table = self.table()
        rate = table["tokens"] / table["seconds"]
        lines = []
        for own, row in zip(rate, table.itertuples(), strict=True):
            shown = [f"{row.threads}", f"{row.batch_size}", f"{own:,.0f}"]
            shown += [f"{own / rate.min():,.0f}{TIMES}"]
            shown += [number(row.tflops), f"{row.tflops / row.matrix_tflops:.0%}"]
            shown += [f"{row.padding:.0%}", number(row.peak_gb)]
            lines.append([cell(row.device), *(cell(text, right=True) for text in shown)])
        return [cell("device"), *(cell(name, right=True) for name in names)], lines


class Depths(BenchTable):
    """``{bench-depths}``: one depth of tuning on each line."""

    file = "depths.csv"

    def cells(self) -> tuple[data_pages.Line, Iterable[data_pages.Line]]:
        """Set gains over the adapter beside the values."""
        names = ("learning rate of the encoder", "epochs", "seconds", "ndcg@10")
        head = [cell("trained"), cell("on"), *(cell(name, right=True) for name in names)]
        head.append(cell("more than the adapter", right=True))
        lines = []
        for row in self.table().rename(columns={"ndcg@10": "ndcg"}).itertuples():
            dash, gain = number(float("nan")), f"{row.gain:+.4f} [{row.low:+.4f}, {row.high:+.4f}]"
            shown = [dash if np.isnan(row.encoder_rate) else f"{row.encoder_rate:g}"]
            shown += [f"{row.epochs}", number(row.seconds), f"{row.ndcg:.4f}"]
            shown.append(dash if np.isnan(row.gain) else gain)
            device = cell(row.device)
            lines.append([cell(row.depth), device, *(cell(text, right=True) for text in shown)])
        return head, lines


class Mixtures(BenchTable):
    """``{bench-mixtures}``: every model and difference, by the main metric of its protocol."""

    file = "mixtures.csv"
    main: ClassVar = {"sentiment": "balanced_accuracy", "intent": "balanced_accuracy"}

    def cells(self) -> tuple[data_pages.Line, Iterable[data_pages.Line]]:
        """Set differences below values, as the file does."""
        table = self.table().set_index(["protocol", "model", "metric"])
        head = [cell("model"), cell("metric")]
        head += [cell(name, right=True) for name in ("value", "95 % interval", "corrected p")]
        lines = []
        for (protocol, model, metric), row in table.iterrows():
            if metric != self.main.get(protocol, "ndcg@10"):
                continue
            sign = "+" if "\N{MINUS SIGN}" in model else ""
            value, *ends = (format(row[name], f"{sign}.4f") for name in ("value", "low", "high"))
            p = table["value"].get((protocol, model, f"p_{metric}"), float("nan"))
            told = value, f"[{', '.join(ends)}]", "< 0.001" if p < 0.001 else number(p)
            lines.append([cell(model), cell(metric), *(cell(text, right=True) for text in told)])
        return head, lines

    def drawn(self, file: str) -> list[nodes.Node]:
        """Name the device below the table."""
        said = f"Measured on {' and '.join(self.table()['device'].unique())}."
        return [*super().drawn(file), nodes.paragraph("", said)]


class SeveralTasks(Mixtures):
    """``{bench-several-tasks}``: likewise, for every task."""

    file = "several_tasks.csv"


class Estimate(BenchTable):
    """``{bench-estimate} <users> <products>``: hours and memory from the unit costs."""

    required_arguments = 2
    final_argument_whitespace = False

    def cells(self) -> tuple[data_pages.Line, Iterable[data_pages.Line]]:
        """Reckon every step."""
        from reclib.study.speed import estimate

        users, items = (int(argument.replace(",", "")) for argument in self.arguments)
        names = ("core time of one", "how many", "hours of a core", "memory, GB")
        head = [cell("step"), *(cell(name, right=True) for name in names)]
        head += [cell(f"machines of {CORES} cores for {HOURS} hours", right=True)]
        lines = []
        for row in estimate(self.table(), users=users, items=items).itertuples():
            unit = f"{number(1e6 * row.core_seconds)} \N{MICRO SIGN}s / {UNITS[row.driver]}"
            machines = f"{-(-row.core_hours // (CORES * HOURS)):,.0f}" if row.shared else "one"
            shown = unit, power(row.amount), number(row.core_hours), number(row.memory_gb)
            found = [cell(part, right=True) for part in (*shown, machines)]
            lines.append([cell(f"{row.step} {row.model}"), *found])
        return head, lines


class Machine(BenchTable):
    """``{bench-machine}``: what the figures depend on besides the code."""

    file = "provenance.json"

    def cells(self) -> tuple[data_pages.Line, Iterable[data_pages.Line]]:
        """Take the machine of the curves, and the load before each benchmark."""
        from reclib.study.results import read_provenance

        known = read_provenance(self.folder)
        machine = known.get("scale.csv", next(iter(known.values())))["machine"]
        facts = {name: machine[name] for name in ("CPU", "cores", "RAM (GB)", "threads", "Python")}
        for name, about in known.items():
            if about["machine"]["CPU"] == machine["CPU"]:  # a GPU's tables name their own
                facts[f"load before {name}"] = about["load"]
        return [cell("what"), cell("value")], [
            [cell(name), cell(str(value))] for name, value in facts.items()
        ]


class Figure(BenchTable):
    """``{bench-figure}``: the curves, as they were drawn when they were recorded."""

    file = "scale.svg"

    def drawn(self, file: str) -> list[nodes.Node]:
        """Put the image into a figure with its caption."""
        caption = self.options.get("caption", "")
        figure = nodes.figure("", nodes.image(uri=f"/{file}", alt=caption))
        figure += nodes.caption("", "", *self.inline(caption))
        self.add_name(figure)
        return [figure]


def register(app: Sphinx) -> None:
    """Add the directives."""
    for name, directive in {
        "bench-peers": Peers,
        "bench-claim": Claim,
        "bench-workers": Workers,
        "bench-weightings": Weightings,
        "bench-serve": Serve,
        "bench-models": Models,
        "bench-finetune": Finetune,
        "bench-depths": Depths,
        "bench-mixtures": Mixtures,
        "bench-several-tasks": SeveralTasks,
        "bench-estimate": Estimate,
        "bench-machine": Machine,
        "bench-figure": Figure,
    }.items():
        app.add_directive(name, directive)
