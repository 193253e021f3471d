"""Tables and figures that the library makes from recorded runs.

``{literature}``: the published results on Amazon Beauty with ours among them.

``{order-effect}``: a figure of what our models lose without the direction of time.

``{order-groups} <data>``: the order probe of a recorded run, for users in and against the order.

``{diversity-price} <data>``: what more diverse lists of a recorded run cost.

``{history-gain} <data>``: what the language model adds, by the length of the history.

``{sweep-gain} <sweep> <parameter>``: what it adds along a parameter of a recorded sweep, with
the options ``protocol`` and ``variant``; where the sweep is not recorded, how to do it.

``{cost-table} <data>`` and ``{cost-figure} <data>``: what each model of a recorded run took.

All have the option ``name`` and the caption as their body; figures have ``alt``. A file of a
recorded run that is not there stops the build, and is named.
"""

import base64
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import data_pages
from docutils import nodes
from docutils.parsers.rst import directives
from result_files import REFERENCE, text
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Literature(data_pages.TableDirective):
    """``{literature}``: one row a result, the highest first; ours are marked."""

    required_arguments = 0
    has_content = True

    def run(self) -> list[nodes.Node]:
        """Take the caption from the body, and give the table its own look."""
        from reclib.errors import ReclibError

        self.options["caption"] = " ".join(self.content)
        try:
            [table] = super().run()
        except ReclibError as error:
            raise self.error(str(error)) from error
        table["classes"] += ["results", "literature"]
        return [table]

    def cells(self) -> tuple[data_pages.Line, Iterator[data_pages.Line]]:
        """Read the published results and the recorded run."""
        from reclib.study.literature import DATA, beside_the_literature  # seconds

        self.env.note_dependency((REFERENCE / DATA / "metrics.csv").as_posix())
        self.env.note_dependency("reclib/study/literature.csv")
        names = ("model", "reads", "ndcg@10", "recall@10", "source")
        table = beside_the_literature()
        return [data_pages.cell(name) for name in names], (
            self.line(row) for _, row in table.iterrows()
        )

    def line(self, row: Any) -> data_pages.Line:
        """Write one result."""
        ours = not row["key"]
        name = nodes.literal("", row["method"], classes=["ours"]) if ours else row["method"]
        ndcg = [nodes.inline("", text(row["ndcg"], 4), classes=["value", "first"] if ours else [])]
        if row["ndcg_sd"] == row["ndcg_sd"]:
            ndcg.append(interval(f"\N{PLUS-MINUS SIGN} {text(row['ndcg_sd'], 4)}"))
        if row["low"] == row["low"]:
            ndcg.append(interval(f"[{text(row['low'], 4)}, {text(row['high'], 4)}]"))
        known = row["recall"] == row["recall"]
        recall = text(row["recall"], 4) if known else "\N{EN DASH}"
        return [
            data_pages.cell(name),
            data_pages.cell(row["reads"] or "\N{EN DASH}"),
            data_pages.cell(*ndcg),
            data_pages.cell(recall),
            data_pages.cell(*self.source(row, ours)),
        ]

    def source(self, row: Any, ours: bool) -> list[nodes.Node]:
        """Cite where a result was read, how it came about, and what sets it apart."""
        if ours:
            words = ", ".join(part for part in (row["kind"], row["differs"]) if part)
            return [nodes.Text(words)]
        marks = [row["kind"], *(["quoted"] if row["read"] == "quoted" else [])]
        place = f", {row['place']}" if row["place"] else ""
        parts = self.inline(f"{{cite:t}}`{row['key']}`{place} ({', '.join(marks)})")
        if row["differs"]:
            note = f"Not comparable: {row['differs']}."
            parts.append(nodes.inline("", note, classes=["note"]))
        return parts


def interval(words: str) -> nodes.inline:
    """Set what belongs to a value under it."""
    return nodes.inline("", words, classes=["interval"])


class DrawnFigure(SphinxDirective):
    """A figure that is drawn while the book is built, with the caption as its body."""

    has_content = True
    option_spec: ClassVar = {
        "alt": directives.unchanged_required,
        "name": directives.unchanged,
    }

    def draw(self) -> "tuple[Figure, str]":
        """Return the figure, and a sentence of Markdown to follow it."""
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        """Put the drawing into the page itself, so that no file can be left behind."""
        from reclib.errors import ReclibError
        from reclib.study.figures import use_style

        use_style()
        try:
            figure, said = self.draw()
        except ReclibError as error:
            raise self.error(str(error)) from error
        image = nodes.image(uri=as_uri(figure), alt=self.options.get("alt", ""), width="100%")
        shown = nodes.figure("", image)
        caption, _ = self.parse_inline(" ".join(self.content), lineno=self.lineno)
        shown += nodes.caption("", "", *caption)
        self.add_name(shown)
        items = [
            nodes.paragraph("", "", *self.parse_inline(line, lineno=self.lineno)[0])
            for line in said.splitlines()
        ]
        if len(items) == 1:
            return [shown, *items]
        return [shown, nodes.bullet_list("", *(nodes.list_item("", item) for item in items))]


def as_uri(figure: "Figure") -> str:
    """Write a figure as SVG into an address; the same figure gives the same one."""
    import matplotlib.pyplot as plt

    stream = io.BytesIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
    plt.close(figure)
    return "data:image/svg+xml;base64," + base64.b64encode(stream.getvalue()).decode()


class OrderEffect(DrawnFigure):
    """``{order-effect}``: raw order against direction-blind, for each model that can see it."""

    def draw(self) -> "tuple[Figure, str]":
        """Read the recorded run."""
        from reclib.study import figures
        from reclib.study.literature import DATA, order_effect, order_said, recorded_lists

        self.env.note_dependency((REFERENCE / DATA / "metrics.csv").as_posix())
        effect = order_effect(recorded_lists())
        return figures.order_plot(effect), order_said(effect)


class OrderGroups(DrawnFigure):
    """``{order-groups} <data>``: who gains where later ids are raised."""

    required_arguments = 1

    def draw(self) -> "tuple[Figure, str]":
        """Read the recorded probe."""
        from reclib.study import figures, order, results

        folder, name = results.reference_folder(self.arguments[0]), results.ORDER_FILE
        self.env.note_dependency((REFERENCE / self.arguments[0] / name).as_posix())
        measured = results.read_values(folder, [name])
        shown = ["pctm", f"pctm:{order.BLIND}", f"pctm:{order.BOOSTED}"]
        axes = figures.group_plot(measured, "ndcg@10", models=shown)
        said = [*order.shares_said(measured), *order.raised_said(measured)]
        return axes.figure, "\n".join(said)


class DiversityPrice(DrawnFigure):
    """``{diversity-price} <data>``: accuracy against diversity, a line for each way to it."""

    required_arguments = 1

    def draw(self) -> "tuple[Figure, str]":
        """Read the recorded run."""
        from reclib.study import figures
        from reclib.study.diversity import paper_goal, price_said, recorded_prices

        self.env.note_dependency((REFERENCE / self.arguments[0] / "diversity.csv").as_posix())
        prices = recorded_prices(self.arguments[0])
        goal = paper_goal(prices)
        axes = figures.pareto_plot(prices, across="ild@10", up="ndcg@10", goal=goal)
        return axes.figure, price_said(prices)


class HistoryGain(DrawnFigure):
    """``{history-gain} <data>``: by how many products a user has in training."""

    required_arguments = 1

    def draw(self) -> "tuple[Figure, str]":
        """Read the recorded run."""
        from reclib.study.gains import gains_said, history_gains
        from reclib.study.sweep_figures import gain_plot

        self.env.note_dependency((REFERENCE / self.arguments[0] / "metrics.csv").as_posix())
        table = history_gains(self.arguments[0])
        return gain_plot(table, "history"), gains_said(table, "history")


class SweepGain(DrawnFigure):
    """``{sweep-gain} <sweep> <parameter>``: along a parameter of a recorded sweep."""

    required_arguments = 2
    option_spec: ClassVar = {
        **DrawnFigure.option_spec,
        "protocol": directives.unchanged_required,
        "variant": directives.unchanged_required,
    }

    def run(self) -> list[nodes.Node]:
        """Say how to record a sweep that is not; a sweep takes hours, a book must not."""
        from reclib.study.gains import record_file

        name = self.arguments[0]
        self.env.note_dependency((REFERENCE / "sweeps" / f"{name}.csv").as_posix())
        if record_file(name).is_file():
            return super().run()
        file = f"params/sweeps/{name}.yaml"
        words, _ = self.parse_inline(
            f"Not recorded yet: run `make sweep SWEEP={file}`, and keep the result with "
            f"`.venv/bin/reclib sweep {file} --record`.",
            lineno=self.lineno,
        )
        return [nodes.note("", nodes.paragraph("", "", *words))]

    def draw(self) -> "tuple[Figure, str]":
        """Read the recorded values."""
        from reclib.study.gains import gains_said, sweep_gains
        from reclib.study.sweep_figures import gain_plot

        name, across = self.arguments
        protocol = self.options.get("protocol", "full-loo")
        variant = self.options.get("variant", "raw")
        table = sweep_gains(name, across, protocol=protocol, variant=variant)
        return gain_plot(table, across), gains_said(table, across)


class CostTable(data_pages.TableDirective):
    """``{cost-table} <data>``: seconds by step, accuracy, and gain for each second."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Take the caption from the body."""
        from reclib.errors import ReclibError

        self.options["caption"] = " ".join(self.content)
        try:
            [table] = super().run()
        except ReclibError as error:
            raise self.error(str(error)) from error
        table["classes"].append("results")
        return [table]

    def cells(self) -> tuple[data_pages.Line, Iterator[data_pages.Line]]:
        """Read the recorded run; what no other model beats in both is bold."""
        from reclib.study.costs import METRIC, STEPS, YARDSTICK, recorded_costs

        note_run(self, self.arguments[0])
        models = recorded_costs(self.arguments[0]).models
        names = ["model", *(f"{step}, s" for step in STEPS), METRIC, "gain / s"]
        return [data_pages.cell(name) for name in names], (
            [
                data_pages.cell(nodes.literal("", model)),
                *(data_pages.cell(seconds(row[step])) for step in STEPS),
                data_pages.cell(
                    nodes.inline(
                        "", text(row["value"], 4), classes=["value", "first" if row.front else ""]
                    )
                ),
                data_pages.cell("\N{EN DASH}" if model == YARDSTICK else short(row["per_second"])),
            ]
            for model, row in models.iterrows()
        )


class CostFigure(DrawnFigure):
    """``{cost-figure} <data>``: accuracy against seconds."""

    required_arguments = 1

    def draw(self) -> "tuple[Figure, str]":
        """Read the recorded run."""
        from reclib.study.cost_figures import cost_plot
        from reclib.study.costs import METRIC, costs_said, recorded_costs

        note_run(self, self.arguments[0])
        costs = recorded_costs(self.arguments[0])
        return cost_plot(costs.models, METRIC), costs_said(costs)


def note_run(directive: SphinxDirective, data: str) -> None:
    """Build the page anew when a file of the recorded run changes."""
    for name in ("metrics.csv", "costs.csv", "provenance.json"):
        directive.env.note_dependency((REFERENCE / data / name).as_posix())


def seconds(value: float) -> str:
    """Write seconds with two digits, and none where there is no such step."""
    if value == 0:
        return "\N{EN DASH}"
    return "< 0.01" if value < 0.01 else short(value)


def short(value: float) -> str:
    """Write a number with two digits, or whole if that is longer."""
    written = f"{value:,.0f}" if abs(value) >= 10 else f"{value:.2g}"
    return written.replace("-", "\N{MINUS SIGN}")


def register(app: Sphinx) -> None:
    """Add the directives."""
    app.add_directive("literature", Literature)
    app.add_directive("order-effect", OrderEffect)
    app.add_directive("order-groups", OrderGroups)
    app.add_directive("diversity-price", DiversityPrice)
    app.add_directive("history-gain", HistoryGain)
    app.add_directive("sweep-gain", SweepGain)
    app.add_directive("cost-table", CostTable)
    app.add_directive("cost-figure", CostFigure)
