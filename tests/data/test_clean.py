"""Cleaning steps: what they change, and that their account is true."""

import html
import re

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reclib.data.clean import Cleaning, clean_texts, drop_hidden, parse_prices


def clean_text(text: str | None) -> str:
    frame = pl.DataFrame({"text": [text]}, schema={"text": pl.String})
    return str(frame.select(clean_texts(pl.col("text"))).item())


def price(text: str | None) -> tuple[float | None, str | None]:
    value, currency = parse_prices("text")
    frame = pl.DataFrame({"text": [text]}, schema={"text": pl.String})
    return frame.select(value.alias("price"), currency.alias("currency")).row(0)


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("AT&amp;amp;T &quot;x&quot;", 'AT&T "x"'),
        ("<b>bold</b><br/>next", "bold next"),
        ("  a \t\n b  ", "a b"),
        ("3 < 5 and 7 > 2", "3 < 5 and 7 > 2"),
        ("A > B > C", "A > B > C"),
        ("café & naïve", "café & naïve"),
        ("", ""),
        (None, ""),
    ],
)
def test_texts_lose_entities_markup_and_space(raw: str | None, clean: str) -> None:
    assert clean_text(raw) == clean


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("A<script type='x'>if (a < b && c > d) {}</script>pen", "A pen"),
        ("A<STYLE>\np > a {margin: 0}</style >pen", "A pen"),
        ("A<!-- <b>old</b> -->pen", "A pen"),
        ("A&lt;style&gt;p {}&lt;/style&gt;pen", "A pen"),
        (f'A<img src="data:{"x" * 5000}">pen', "A pen"),
        ("AT&amp;amp;T <b>phone</b>", "AT&amp;amp;T <b>phone</b>"),
        ("the <script> tag; 3 < 5 and 7 > 2", "the <script> tag; 3 < 5 and 7 > 2"),
        (None, None),
    ],
)
def test_what_no_browser_shows_is_dropped_and_all_else_stays(
    raw: str | None, shown: str | None
) -> None:
    frame = pl.DataFrame({"text": [raw]}, schema={"text": pl.String})
    assert frame.select(drop_hidden(pl.col("text"))).item() == shown


@given(st.text(max_size=80))
def test_a_clean_text_has_single_spaces_and_no_ends(text: str) -> None:
    clean = clean_text(text)
    assert clean == re.sub(r" {2,}", " ", clean).strip(" ")
    assert not set(clean) & set("\t\n\r")


@given(st.lists(st.text("ab&<>;/ampltgqu \n", max_size=30), max_size=6))
def test_a_column_is_cleaned_as_each_of_its_texts_is(texts: list[str]) -> None:
    frame = pl.DataFrame({"text": texts}, schema={"text": pl.String})
    assert frame.select(clean_texts(pl.col("text")))["text"].to_list() == [
        " ".join(
            re.sub(r"<[/!]?[A-Za-z][^<>]{0,200}>", " ", html.unescape(html.unescape(text))).split()
        )
        for text in texts
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$12.99", (12.99, "USD")),
        ("12,99 €", (12.99, "EUR")),
        ("£1,234.50", (1234.5, "GBP")),
        ("1.234,50 €", (1234.5, "EUR")),
        ("$1,234", (1234.0, "USD")),
        ("¥ 500", (500.0, "JPY")),
        ("GBP 5", (5.0, "GBP")),
        ("5 CHF", (5.0, "CHF")),
        ("$5.00 - $9.00", (5.0, "USD")),
        ("from 12.99", (12.99, None)),
        ("12.5", (12.5, None)),
        ("0.999", (0.999, None)),
        ("1e3", (1000.0, None)),
        ("  $7 ", (7.0, "USD")),
        ("$0.00", (None, None)),
        ("-3", (None, None)),
        ("inf", (None, None)),
        ("nan", (None, None)),
        ("", (None, None)),
        ("free", (None, None)),
        (".a-box-inner{padding:13px 18px}", (None, None)),
        ("$", (None, None)),
        ("12.99 or best offer", (None, None)),
        (None, (None, None)),
    ],
)
def test_prices_are_read_as_shops_write_them(
    text: str | None, expected: tuple[float | None, str | None]
) -> None:
    assert price(text) == expected


@given(st.floats(0.01, 1e6))
def test_a_price_in_cents_survives_both_ways_of_writing_it(value: float) -> None:
    cents = round(value, 2)
    assert price(f"${cents:,.2f}")[0] == cents
    swapped = f"{cents:,.2f}".translate(str.maketrans(",.", ".,"))
    assert price(f"{swapped} €")[0] == cents


def test_the_account_says_how_many_rows_and_cells_a_step_touched() -> None:
    cleaning = Cleaning("items")
    frame = pl.DataFrame({"price": [1.0, -2.0, None, 4.0]})
    frame = cleaning.keep(frame, "drop negative", pl.col("price") > 0, "{n} below 0 or missing")
    frame = cleaning.mend(frame, "round up", "price", pl.col("price").clip(3), "{n} were cheap")
    frame = cleaning.note(frame, "look", "all well")
    assert frame["price"].to_list() == [3.0, 4.0]
    assert [(s.step, s.rows_in, s.rows_out, s.why) for s in cleaning.steps] == [
        ("drop negative", 4, 2, "2 below 0 or missing"),
        ("round up", 2, 2, "1 were cheap"),
        ("look", 2, 2, "all well"),
    ]
    assert {s.table for s in cleaning.steps} == {"items"}


def test_a_cell_that_becomes_or_was_missing_counts_as_changed() -> None:
    cleaning = Cleaning("items")
    frame = pl.DataFrame({"price": [1.0, None]})
    cleaning.mend(frame, "swap", "price", pl.Series([None, 2.0]), "{n}")
    assert cleaning.steps[0].why == "2"
