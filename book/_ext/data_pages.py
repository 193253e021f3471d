"""Tables of the pages on data: drawn from the recorded cards and from the schema.

``{card-table} <names>``: a line of the body is ``label | entry``, an entry as
``events_per_user.median``, with `` %`` behind it for a percentage; a line without an entry heads
those below it. Data sets stand across, or with the option ``turned`` below each other.

``{card-facts} <name>``: all that a data set can give, below each other.

``{cleaning-steps} <name>``: what was left out or mended while reading.

``{publications}``: what `reclib fetch` downloads.

``{data-dictionary} <table>``: the columns of a table of `reclib.data.schema`.

All have the options ``caption`` and ``name``.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from result_files import REFERENCE, Fact, Level, MissingResult
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

Line = Sequence[nodes.entry]
TYPES = {
    "String": "text",
    "Int64": "whole number",
    "Float64": "number",
    "Boolean": "true or false",
    "Datetime": "time",
}
NO_BREAK_PERCENT = "\N{NO-BREAK SPACE}%"
SIGNS = {
    "greater_than": ">",
    "greater_than_or_equal_to": "\N{GREATER-THAN OR EQUAL TO}",
    "less_than": "<",
    "less_than_or_equal_to": "\N{LESS-THAN OR EQUAL TO}",
}


def cell(*content: nodes.Node | str, right: bool = False) -> nodes.entry:
    """Make a cell; numbers stand to the right."""
    parts = [nodes.Text(part) if isinstance(part, str) else part for part in content]
    classes = ["sd-text-right"] if right else []
    return nodes.entry("", nodes.paragraph("", "", *parts), classes=classes)


class TableDirective(SphinxDirective):
    """A table with a caption; an entry that is not there stops the build."""

    required_arguments = 1
    final_argument_whitespace = True
    option_spec: ClassVar = {
        "caption": directives.unchanged_required,
        "name": directives.unchanged,
    }

    def run(self) -> list[nodes.Node]:
        """Lay out the table."""
        try:
            head, body = self.cells()
            rows = [nodes.row("", *line) for line in body]
        except MissingResult as error:
            raise self.error(str(error)) from error
        table = nodes.table()
        if caption := self.options.get("caption"):
            table += nodes.title("", "", *self.inline(caption))
        group = nodes.tgroup(cols=len(head))
        group += [nodes.colspec(colwidth=1) for _ in head]
        group += nodes.thead("", nodes.row("", *head))
        group += nodes.tbody("", *rows)
        table += group
        self.add_name(table)
        return [table]

    def cells(self) -> tuple[Line, Iterable[Line]]:
        """Return the head and the lines."""
        raise NotImplementedError

    def inline(self, text: str) -> list[nodes.Node]:
        """Parse a line of Markdown."""
        parsed, _ = self.parse_inline(text.replace(" %", NO_BREAK_PERCENT), lineno=self.lineno)
        return list(parsed)

    def card(self, name: str) -> Level:
        """Return a recorded card; the page depends on its file."""
        level: Level = self.config.myst_substitutions["card"][name]
        self.env.note_dependency((REFERENCE / name / "card.json").as_posix())
        return level


class CardTable(TableDirective):
    """``{card-table}``: facts of several data sets beside each other."""

    has_content = True
    option_spec: ClassVar = {**TableDirective.option_spec, "turned": directives.flag}

    def cells(self) -> tuple[Line, Iterable[Line]]:
        """Look every entry up in every card."""
        cards = {name: self.card(name) for name in self.arguments[0].split()}
        lines = [line.partition("|")[::2] for line in self.content if line.strip()]
        facts = [
            [entry(card, path.strip()) if path else "" for card in cards.values()]
            for _, path in lines
        ]
        down = [label.strip() if path else f"**{label.strip()}**" for label, path in lines]
        across = [f"[{name}]({name}.md)" for name in cards]
        if "turned" in self.options:
            facts = [list(line) for line in zip(*facts, strict=True)]
            down, across = across, down
        head = [cell(), *(cell(*self.inline(name), right=True) for name in across)]
        return head, (
            [cell(*self.inline(name)), *(cell(fact, right=True) for fact in line)]
            for name, line in zip(down, facts, strict=True)
        )


def entry(card: Level, path: str) -> str:
    """Write what a path such as ``words.review.median %`` names; several facts with slashes."""
    path, percent, _ = path.partition(" %")
    found: Any = card
    for key in path.split("."):
        found = found[key]
    facts = [found] if isinstance(found, Fact) else list(found.values())
    if all(fact.value is None for fact in facts):
        return str(Fact(None))
    return " / ".join(fact.percent if percent else str(fact) for fact in facts)


class CardFacts(TableDirective):
    """``{card-facts} <name>``: one data set, without what it cannot give."""

    def cells(self) -> tuple[Line, Iterable[Line]]:
        """Look every entry of `FACTS` up."""
        card = self.card(self.arguments[0])
        told = [(label, entry(card, path)) for label, path in FACTS]
        return [cell("what"), cell("value", right=True)], (
            [cell(*self.inline(label)), cell(fact, right=True)]
            for label, fact in told
            if fact != str(Fact(None))
        )


SPREAD = "median / mean / 90 %"
FACTS = (
    ("users", "users"),
    ("products", "items"),
    ("products with an event", "items_met"),
    ("events", "events"),
    ("searches", "events_by_kind.search"),
    ("clicks", "events_by_kind.click"),
    ("put into the cart", "events_by_kind.cart"),
    ("purchases", "events_by_kind.purchase"),
    ("reviews", "tables.reviews"),
    ("impressions", "shown.rows"),
    ("clicks on them", "shown.clicks"),
    ("clicks per impression", "shown.click_rate %"),
    ("clicks per product shown at random", "random_click_rate %"),
    ("first / last day", "dates"),
    ("pairs of user and product with an event", "density %"),
    (f"events per user ({SPREAD})", "events_per_user"),
    (f"different products per user ({SPREAD})", "products_per_user"),
    ("Gini coefficient of popularity", "popularity.gini"),
    ("share of the top 1 % of products in it", "popularity.top_share %"),
    ("events with a product met before", "repeats %"),
    (f"visits or invoices, events of each ({SPREAD})", "visits"),
    ("clicks per search / carts per click / purchases per cart", "funnel"),
    ("ratings of 1 / 2 / 3 / 4 / 5 stars", "ratings.shares %"),
    ("products with title / description / categories / brand / price", "known %"),
    (f"words of a title ({SPREAD})", "words.title"),
    (f"words of a description ({SPREAD})", "words.description"),
    (f"words of a review ({SPREAD})", "words.review"),
    (f"words of a search ({SPREAD})", "words.query"),
    ("different words in all products / in all reviews", "vocabulary"),
)


class CleaningSteps(TableDirective):
    """``{cleaning-steps} <name>``: rows in, rows out and why."""

    def cells(self) -> tuple[Line, Iterable[Line]]:
        """Read the steps of a card; the table is named where there is more than one."""
        steps = self.card(self.arguments[0])["steps"]
        several = len({step["table"] for step in steps}) > 1
        head = [
            cell("step"),
            *(cell(name, right=True) for name in ("rows in", "rows out")),
            cell("why"),
        ]
        return head, (
            [
                cell(f"{step['table']}: {step['step']}" if several else step["step"]),
                cell(f"{step['rows_in']:,}", right=True),
                cell(f"{step['rows_out']:,}", right=True),
                cell(step["why"]),
            ]
            for step in steps
        )


class DataDictionary(TableDirective):
    """``{data-dictionary} <table>``: what the schema says about each column."""

    def cells(self) -> tuple[Line, Iterable[Line]]:
        """Read the pandera model of the table."""
        from reclib.data.schema import TABLES  # seconds, which no other page should pay

        known = Level("reclib.data.schema.TABLES", "table")
        known.update(TABLES)
        columns = known[self.arguments[0]].to_schema().columns
        head = [cell(name) for name in ("column", "type", "rule", "meaning")]
        return head, (
            [
                cell(nodes.literal(name, name)),
                cell(TYPES[str(column.dtype).partition("(")[0]]),
                cell(", ".join(rules(column))),
                cell(column.description),
            ]
            for name, column in columns.items()
        )


class Publications(TableDirective):
    """``{publications}``: what `reclib fetch` downloads, from its registry."""

    required_arguments = 0

    def cells(self) -> tuple[Line, Iterable[Line]]:
        """Read the registry."""
        from reclib.data.fetch import PUBLICATIONS

        head = [cell(name) for name in ("name", "size", "licence or terms")]
        return head, (
            [
                cell(nodes.reference("", name, refuri=published.homepage)),
                cell(published.size),
                cell(published.terms),
            ]
            for name, published in PUBLICATIONS.items()
        )


def rules(column: Any) -> Iterator[str]:
    """Say the checks of a column in words."""
    yield "required" if column.required else "optional"
    if column.unique:
        yield "unique"
    if not column.nullable:
        yield "never missing"
    for check in column.checks:
        limits = [limit for limit in check.statistics.values() if limit is not None]
        if check.name == "isin":
            yield "one of " + ", ".join(limits[0])
        elif check.name == "str_length":
            yield "not empty"
        elif limits == [float("inf")]:
            yield "finite"
        else:
            yield f"{SIGNS[check.name]}\N{NO-BREAK SPACE}{limits[0]}"


def register(app: Sphinx) -> None:
    """Add the directives."""
    app.add_directive("card-table", CardTable)
    app.add_directive("card-facts", CardFacts)
    app.add_directive("cleaning-steps", CleaningSteps)
    app.add_directive("data-dictionary", DataDictionary)
    app.add_directive("publications", Publications)
