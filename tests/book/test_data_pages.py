"""Tables of the pages on data are drawn from cards and schema; what is missing stops the build."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from reclib.data.fetch import PUBLICATIONS
from reclib.data.schema import EVENTS, TABLES

ROOT = Path(__file__).parents[2]
EXTENSIONS = ROOT / "book" / "_ext"
sys.path.insert(0, str(EXTENSIONS))
from result_files import Fact, MissingResult, read_all, read_card  # noqa: E402

CONF = """
import sys
sys.path.insert(0, {extensions!r})
extensions = ["myst_parser", "sphinx_design", "results"]
myst_enable_extensions = ["colon_fence", "substitution"]
exclude_patterns = ["results"]
numfig = True
"""
CARD = {
    "users": 4339,
    "repeats": 0.329515,
    "density": None,
    "visits": {"median": 15.0, "mean": 21.4676},
    "funnel": {"clicks_per_search": None, "carts_per_click": None},
    "dates": {"first": "2010-12-01", "last": None},
    "steps": [
        {"table": "interactions", "step": "drop returns", "rows_in": 5000, "rows_out": 4000,
         "why": "1,000 returns"}
    ],
}  # fmt: skip


@pytest.fixture
def book(tmp_path: Path) -> Path:
    source = tmp_path / "book"
    for name in ("toy", "other"):
        folder = source / "results" / "reference" / name
        folder.mkdir(parents=True)
        (folder / "card.json").write_text(json.dumps(CARD), encoding="utf-8")
        (source / f"{name}.md").write_text(f"---\norphan: true\n---\n# {name}\n", encoding="utf-8")
    (source / "conf.py").write_text(CONF.format(extensions=str(EXTENSIONS)), encoding="utf-8")
    return source


def build(source: Path, page: str) -> tuple[int, str, str]:
    """Build strictly; return the exit status, what was printed and the words of the page."""
    (source / "index.md").write_text(f"# Page\n\n{page}\n", encoding="utf-8")
    command = [sys.executable, "-m", "sphinx", "-n", "-q", "-W", "--keep-going", "-b", "html"]
    done = subprocess.run(
        [*command, str(source), str(source / "_build")],
        capture_output=True,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
        timeout=120,
    )
    file = source / "_build" / "index.html"
    html = file.read_text(encoding="utf-8") if file.exists() else ""
    body = re.search(r'<div class="body".*?<div class="clearer">', html, re.DOTALL)
    words = re.sub(r"<[^>]+>", " ", body[0]) if body else ""
    return done.returncode, done.stderr, re.sub(r"[ \n]+", " ", words)


def test_page_cites_a_card(book: Path) -> None:
    cited = (
        '{{ card["toy"]["users"] }} users, {{ card["toy"]["repeats"].percent }} repeats, '
        '{{ card["toy"]["visits"]["mean"] }} events, density {{ card["toy"]["density"] }}.'
    )
    status, printed, words = build(book, cited)
    assert status == 0, printed
    assert "4,339 users, 33.0\N{NO-BREAK SPACE}% repeats, 21.5 events, density –." in words


def test_what_is_missing_stops_the_build(book: Path) -> None:
    expected = {
        '{{ card["tay"]["users"] }}': "card has no data set 'tay'; there is: other, toy",
        '{{ card["toy"]["user"] }}': "no entry 'user'; there is: users",
        '{{ card["toy"]["visits"]["max"] }}': "no entry 'max'; there is: median, mean",
        ":::{card-table} toy\nusers | usres\n:::": "no entry 'usres'",
        ":::{card-table} toy tey\nusers | users\n:::": "no data set 'tey'",
        ":::{card-facts} tuy\n:::": "no data set 'tuy'",
        ":::{data-dictionary} item\n:::": "no table 'item'; there is: interactions",
    }
    status, printed, _ = build(book, "\n\n".join(expected))
    assert status != 0
    for said in expected.values():
        assert said in printed, said


def test_no_card_at_all_says_how_to_record_one(tmp_path: Path) -> None:
    with pytest.raises(MissingResult, match="`reclib card` a card"):
        read_all(tmp_path)["card"]["toy"]


def test_table_of_cards(book: Path) -> None:
    lines = (
        "Sizes\nusers | users\nknown | repeats %\nvisits | visits\nfunnel | funnel\n"
        "from | dates.first"
    )
    page = f":::{{card-table}} toy other\n:caption: Two `shops`.\n:name: tab-x\n\n{lines}\n:::"
    status, printed, words = build(book, page)
    assert status == 0, printed
    for needed in (
        *("Table 1", "Two shops .", " toy other ", "Sizes", "users 4,339 4,339"),
        *("33.0\N{NO-BREAK SPACE}%", "15 / 21.5 15 / 21.5", "funnel – –", "2010\u201112\u201101"),
    ):
        assert needed in words, needed
    status, printed, words = build(book, page.replace(":name:", ":turned:\n:name:"))
    assert status == 0, printed
    assert re.search(r"users known visits funnel from toy .*? other ", words)


def test_table_of_steps(book: Path) -> None:
    status, printed, words = build(book, ":::{cleaning-steps} toy\n:::")
    assert status == 0, printed
    assert "drop returns 5,000 4,000 1,000 returns" in words


def test_changed_card_changes_the_page(book: Path) -> None:
    page = ":::{card-table} toy\nusers | users\n:::"
    assert "4,339" in build(book, page)[2]
    file = book / "results" / "reference" / "toy" / "card.json"
    file.write_text(json.dumps(CARD | {"users": 77}), encoding="utf-8")
    words = build(book, page)[2]
    assert "4,339" not in words and "77" in words


def test_dictionary_is_the_schema(book: Path) -> None:
    """Every table has its place on the page, every column its line, every rule its words."""
    text = (ROOT / "book" / "data" / "dictionary.md").read_text(encoding="utf-8")
    assert re.findall(r"\{data-dictionary\} (\w+)", text) == list(TABLES)
    status, printed, words = build(book, text)
    assert status == 0, printed
    for model in TABLES.values():
        for name, column in model.to_schema().columns.items():
            assert f" {name} " in words
            assert column.description in words.replace("&gt;", ">").replace("’", "'")
    assert f"one of {', '.join(EVENTS)}" in words
    assert "required, unique, never missing, not empty" in words
    assert "optional, &gt;\N{NO-BREAK SPACE}0, finite" in words


def test_what_can_be_fetched_is_the_registry(book: Path) -> None:
    status, printed, words = build(book, ":::{publications}\n:::")
    assert status == 0, printed
    for name, published in PUBLICATIONS.items():
        assert f" {name} {published.size} {published.terms} " in words


@pytest.mark.parametrize(
    ("value", "written", "percent"),
    [
        (4339, "4,339", "433,900\N{NO-BREAK SPACE}%"),
        (0.000733523, "0.000734", "0.0734\N{NO-BREAK SPACE}%"),
        (1.0, "1", "100\N{NO-BREAK SPACE}%"),
        (0.0, "0", "0\N{NO-BREAK SPACE}%"),
        (None, "–", "–"),
        ("made", "made", "made"),
    ],
)
def test_facts_are_written(value: float | str | None, written: str, percent: str) -> None:
    assert str(Fact(value)) == written
    assert Fact(value).percent == percent


def test_lists_of_a_card_stay_lists() -> None:
    assert read_card(CARD, "card")["steps"] == CARD["steps"]
