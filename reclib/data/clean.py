"""Cleaning (III-B): small named steps, each of which says what it did and why."""

import html
from collections.abc import Mapping

import polars as pl

from reclib.data.schema import Step

_MARKUP = r"<[/!]?[A-Za-z][^<>]{0,200}>"  # a tag, not "3 < 5 and 7 > 2"
# what a browser does not show, and tags as long as a picture that is written into them
_HIDDEN = (
    r"(?is)<script\b.*?</script\s*>|<style\b.*?</style\s*>|<!--.*?-->"
    r"|<[A-Za-z][^<>]*=\s*[\"'][^<>]*>"
)
_SPACE = r"\s{2,}|[^\S ]"  # leaves a single space alone, which is quicker than \s+
CURRENCIES: Mapping[str, str] = {"$": "USD", "€": "EUR", "£": "GBP", "¥": "JPY"}
_CURRENCY = r"([$€£¥]|[A-Z]{3})?"
_PRICE = rf"^(?:[Ff]rom)?\s*{_CURRENCY}\s*(\d[\d.,]*)\s*{_CURRENCY}\s*(?:[-–].*)?$"


class Cleaning:
    """The account of what cleaning did to one table.

    Attributes
    ----------
    table
        Its name.
    steps
        What was done, in order.
    """

    def __init__(self, table: str) -> None:
        """Begin an account."""
        self.table = table
        self.steps: list[Step] = []

    def keep(self, frame: pl.DataFrame, step: str, keep: pl.Expr, why: str) -> pl.DataFrame:
        """Keep the rows for which `keep` is true; ``{n}`` in `why` becomes the number dropped."""
        kept = frame.filter(keep)
        dropped = len(frame) - len(kept)
        why = why.format(n=f"{dropped:,}")
        self.steps.append(Step(self.table, step, len(frame), len(kept), why))
        return kept

    def mend(
        self, frame: pl.DataFrame, step: str, column: str, values: pl.Expr, why: str
    ) -> pl.DataFrame:
        """Replace a column; ``{n}`` in `why` becomes the number of cells that changed."""
        mended = frame.with_columns(values.alias(column))
        changed = int(frame[column].ne_missing(mended[column]).sum())
        return self.note(mended, step, why.format(n=f"{changed:,}"))

    def note(self, frame: pl.DataFrame, step: str, why: str) -> pl.DataFrame:
        """Say something about a table that stays as it is."""
        self.steps.append(Step(self.table, step, len(frame), len(frame), why))
        return frame


def clean_texts(texts: pl.Expr) -> pl.Expr:
    r"""Undo HTML entities (twice: shops escape them twice), drop markup, squeeze space.

    A missing text becomes "".

    Examples
    --------
    >>> frame = pl.DataFrame({"title": ["AT&amp;amp;T <b>phone</b>\n black", None]})
    >>> frame.select(clean_texts(pl.col("title")))["title"].to_list()
    ['AT&T phone black', '']
    """
    unescaped = texts.fill_null("").map_batches(_unescape, return_dtype=pl.String)
    plain = unescaped.str.replace_all(_MARKUP, " ").str.replace_all(_SPACE, " ")
    return plain.str.strip_chars()


def drop_hidden(texts: pl.Expr) -> pl.Expr:
    r"""Drop scripts, styles, comments and tags with attributes; other texts stay as they are.

    Examples
    --------
    >>> frame = pl.DataFrame({"title": ["<style>p {margin: 0}</style>A pen", "AT&amp;T"]})
    >>> frame.select(drop_hidden(pl.col("title")))["title"].to_list()
    [' A pen', 'AT&amp;T']
    """
    unescaped = texts.map_batches(_unescape, return_dtype=pl.String)
    shown = unescaped.str.replace_all(_HIDDEN, " ")
    return pl.when(shown != unescaped).then(shown).otherwise(texts)


def parse_prices(column: str) -> tuple[pl.Expr, pl.Expr]:
    """Read prices as shops write them.

    Parameters
    ----------
    column
        Of texts such as ``$1,234.50``, ``12,99 €``, ``GBP 5``, ``from 12.99`` or
        ``$5.00 - $9.00``, of which the lower end is taken.

    Returns
    -------
    tuple
        The price, and the code of its currency where one is written. Both are missing
        where the text is no price above 0, such as a scrap of the page's markup.

    Examples
    --------
    >>> price, currency = parse_prices("price")
    >>> frame = pl.DataFrame({"price": ["$1,234.50", "12,99 €", "0.999", ".box{width:13px}"]})
    >>> frame.select(price.alias("price"), currency.alias("currency")).rows()
    [(1234.5, 'USD'), (12.99, 'EUR'), (0.999, None), (None, None)]
    """
    text = pl.col(column).cast(pl.String).str.strip_chars()
    number = text.str.extract(_PRICE, 2)
    # the last separator is the decimal one if one or two digits follow it
    decimals = number.str.extract(r"[.,](\d{1,2})$").fill_null("0")
    whole = number.str.replace(r"[.,]\d{1,2}$", "").str.replace_all("[.,]", "")
    written = (whole + "." + decimals).cast(pl.Float64, strict=False)
    price = pl.coalesce(text.cast(pl.Float64, strict=False), written)
    price = pl.when(price.is_finite() & (price > 0)).then(price)
    symbol = pl.coalesce(text.str.extract(_PRICE, 1), text.str.extract(_PRICE, 3))
    return price, pl.when(price.is_not_null()).then(symbol.replace(dict(CURRENCIES)))


def _unescape(texts: pl.Series) -> pl.Series:
    """Undo HTML entities, in the few texts that can have any."""
    has_any = texts.str.contains("&", literal=True)
    if not has_any.any():
        return texts
    plain = [html.unescape(html.unescape(text)) for text in texts.filter(has_any)]
    return texts.scatter(has_any.arg_true(), plain)
