"""Result files in the pages: no number is typed by hand.

Substitutions, for sentences::

    {{ reference["amazon-beauty"]["full-loo"]["llm-fusion"]["ndcg@10"] }}        value [low, high]
    {{ reference["amazon-beauty"]["full-loo"]["llm-fusion"]["ndcg@10"].value }}  value alone
    {{ run["full-loo"]["llm-fusion"]["ndcg@10"] }}                               the reader's run
    {{ reference["amazon-beauty/network"]["full-loo"]… }}                        of network.csv
    {{ card["online-retail"]["users"] }}                                         of a data card
    {{ card["online-retail"]["repeats"].percent }}                               the same in %

``.interval`` and ``.users`` work like ``.value``; ``run["data"]`` and ``run["size"]`` name the
run. A protocol's usual variant goes by the protocol's name, every other one behind a colon:
``"full-loo:direction-blind"``. A key that no file holds is a warning that says what there is, so
the strict build stops.

Directives, for tables: ``{results-table} <data>``, or ``<data>/network`` for the values of
another file of the run than metrics.csv, or no data for the reader's run, with the options
``protocol``, ``models``, ``metrics`` and ``name``, and the caption as their body;
``{differences-table}``, the same for paired differences, with ``pairs`` in place of ``models``;
and ``{scorecard}`` for the paper's claims, with ``name``. Those of the pages on data are in
`data_pages`, those on speed in `speed_pages`, and what the library makes of recorded runs is in
`study_pages`.
"""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar

import data_pages
import speed_pages
import study_pages
from docutils import nodes
from docutils.parsers.rst import directives
from result_files import REFERENCE, RUNS, Level, MissingResult, Number, decimals, read_all
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.util.docutils import SphinxDirective

UNRANKED = ("random", "always-yes")  # yardsticks: they may lead a column and mean nothing by it
PAIRED = "-vs-"  # rows of differences, shown only where a page names them
OPTIONS = {
    "protocol": directives.unchanged_required,
    "metrics": str.split,
    "name": directives.unchanged,
}
Column = dict[str, Number]


def fill_substitutions(app: Sphinx, config: Config) -> None:
    """Offer the results to MyST; being configuration, a changed number rebuilds the pages."""
    config.myst_substitutions = {**config.myst_substitutions, **read_all(Path(app.srcdir))}


def row(*cells: nodes.Node) -> nodes.row:
    """Put every cell into a paragraph of its own entry."""
    return nodes.row("", *(nodes.entry("", nodes.paragraph("", "", cell)) for cell in cells))


def written(column: Column) -> Iterator[nodes.Node]:
    """Write a column with one number of decimals and mark its two highest values."""
    places = decimals(*(number.point for number in column.values()))
    shown = {name: round(number.point, places) for name, number in column.items()}
    ranked = {value for name, value in shown.items() if name not in UNRANKED and value == value}
    order = sorted(ranked, reverse=True) if len(ranked) > 1 else []
    marks = dict(zip(order, ("first", "second"), strict=False))
    for name, number in column.items():
        value, interval = number.written(places)
        mark = marks.get(shown[name], "other") if name not in UNRANKED else "other"
        yield stacked(value, mark, interval)


def stacked(value: str, mark: str, *below: str) -> nodes.inline:
    """Set a marked value over what belongs to it, which may be empty."""
    cell = nodes.inline("", "", nodes.inline(value, value, classes=["value", mark]))
    for part in filter(None, below):
        cell += [nodes.Text(" "), nodes.inline(part, part, classes=["interval"])]
    return cell


class ResultsTable(SphinxDirective):
    """``{results-table} <data>``: models down, metrics across, each value with its interval.

    Without data, the values are those of the run that this copy of the book was built from.
    """

    optional_arguments = 1
    has_content = True
    option_spec: ClassVar = {**OPTIONS, "models": str.split}
    rows, listed, paired = "model", "models", False

    def source(self) -> tuple[Level, Path]:
        """Return the protocols and the file they come from."""
        values = self.config.myst_substitutions
        if not self.arguments:
            return values["run"], RUNS / values["run"]["path"] / "metrics.csv"
        data, _, name = self.arguments[0].partition("/")
        return values["reference"][self.arguments[0]], REFERENCE / data / f"{name or 'metrics'}.csv"

    def run(self) -> list[nodes.Node]:
        """Build the table and the line that names its source."""
        try:
            protocols, path = self.source()
            models = protocols[self.options.get("protocol", "full-loo")]
            names = self.names(models)
            metrics = self.options.get("metrics") or list(models[names[0]])
            columns = [{name: models[name][metric] for name in names} for metric in metrics]
            cells = [
                list(self.written(column, models, metric))
                for metric, column in zip(metrics, columns, strict=True)
            ]
        except MissingResult as error:
            raise self.error(str(error)) from error
        file = path.as_posix()
        self.env.note_dependency(file)
        return [self.table(names, metrics, cells), self.footer(columns, file)]

    def names(self, models: Level) -> list[str]:
        """Return the rows: those named, or all of their kind."""
        found = [name for name in models if (PAIRED in name) == self.paired]
        return self.options.get(self.listed) or found

    def written(self, column: Column, models: Level, metric: str) -> Iterable[nodes.Node]:
        """Write a column, its highest value bold and the second underlined."""
        return written(column)

    def table(
        self, names: list[str], metrics: list[str], cells: list[list[nodes.Node]]
    ) -> nodes.table:
        """Lay out the table."""
        table = nodes.table(classes=["results"])
        if self.content:
            caption, _ = self.parse_inline(" ".join(self.content), lineno=self.lineno)
            table += nodes.title("", "", *caption)
        group = nodes.tgroup(cols=1 + len(metrics))
        group += [nodes.colspec(colwidth=1) for _ in range(1 + len(metrics))]
        head = (nodes.literal(metric, metric) for metric in metrics)
        group += nodes.thead("", row(nodes.Text(self.rows), *head))
        lines = zip(names, *cells, strict=True)
        group += nodes.tbody("", *(row(self.label(name), *line) for name, *line in lines))
        table += group
        self.add_name(table)
        return table

    def label(self, name: str) -> nodes.Node:
        """Write the name of a row."""
        return nodes.literal(name, name)

    def footer(self, columns: list[Column], file: str) -> nodes.paragraph:
        """Name the users, the interval and the file, which can be downloaded."""
        counts = {number.user_count for column in columns for number in column.values()}
        users = "\N{EN DASH}".join(f"{count:,}" for count in sorted({min(counts), max(counts)}))
        lead = f"{users} users; in brackets the 95\N{NO-BREAK SPACE}% interval. Source: "
        link = addnodes.download_reference("", "", nodes.literal(file, file), reftarget=f"/{file}")
        return nodes.paragraph("", "", nodes.Text(lead), link, classes=["results-source"])


class DifferencesTable(ResultsTable):
    """``{differences-table} <data>``: pairs of models down, each with interval and p-value."""

    option_spec: ClassVar = {**OPTIONS, "pairs": str.split}
    rows, listed, paired = "paired difference", "pairs", True

    def written(self, column: Column, models: Level, metric: str) -> Iterable[nodes.Node]:
        """Write a column of differences with their signs; what is found is bold."""
        from reclib.study.tables import is_found  # seconds, which no other page should pay

        places = decimals(*(x for n in column.values() for x in (n.point, n.low, n.high)))
        for name, number in column.items():
            value, interval = number.written(places, signed=True)
            p, chance = math.nan, ""
            if f"p_{metric}" in models[name]:
                p = models[name][f"p_{metric}"].point
                chance = "p < .001" if p < 0.001 else f"p = {p:.3f}".replace("0.", ".")
            mark = "first" if is_found(number.low, number.high, p) else "other"
            yield stacked(value, mark, interval, chance)

    def label(self, name: str) -> nodes.Node:
        """Write which model's value is taken from which."""
        first, second = name.split(PAIRED)
        minus = nodes.Text(" \N{MINUS SIGN} ")
        return nodes.inline("", "", nodes.literal("", first), minus, nodes.literal("", second))


class Scorecard(data_pages.TableDirective):
    """``{scorecard}``: the paper's claims down, recorded data sets across, a verdict in each."""

    required_arguments = 0
    has_content = True

    def run(self) -> list[nodes.Node]:
        """Take the caption from the body, as the other tables of results do."""
        self.options["caption"] = " ".join(self.content)
        return super().run()

    def cells(self) -> tuple[data_pages.Line, list[data_pages.Line]]:
        """Judge the recorded runs."""
        from reclib.study.scorecard import scorecard  # seconds, which no other page should pay

        card = scorecard()
        for data in card["data"].unique():
            self.env.note_dependency((REFERENCE / data / "metrics.csv").as_posix())
        head = [data_pages.cell("claim"), *map(data_pages.cell, card["data"].unique())]
        lines = []
        for (claim, claimed), row in card.groupby(["claim", "claimed"], sort=False):
            verdicts = [self.verdict(*found) for found in row[JUDGED].itertuples(index=False)]
            lines.append([data_pages.cell(f"{claim} {share(claimed)}"), *verdicts])
        return head, lines

    def verdict(self, said: str, *numbers: float) -> nodes.entry:
        """Set a verdict over the change and its interval."""
        mark = nodes.inline(said, said, classes=["verdict", said.replace(" ", "-")])
        if said == "not measurable":
            return data_pages.cell(mark)
        change, low, high = map(share, numbers)
        interval = nodes.inline("", f"[{low}, {high}]", classes=["interval"])
        return data_pages.cell(mark, f" {change} ", interval)


JUDGED = ["verdict", "change", "low", "high"]


def share(value: float) -> str:
    """Write a change in per cent, with its sign."""
    return f"{value:+.1%}".replace("-", "\N{MINUS SIGN}").replace("%", "\N{NO-BREAK SPACE}%")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the substitutions and the directives."""
    app.connect("config-inited", fill_substitutions)
    app.add_directive("results-table", ResultsTable)
    app.add_directive("differences-table", DifferencesTable)
    app.add_directive("scorecard", Scorecard)
    data_pages.register(app)
    speed_pages.register(app)
    study_pages.register(app)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
