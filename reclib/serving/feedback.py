"""What evaluations mean to the models: events of a history, and reviews."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import polars as pl

from reclib.data import Marketplace
from reclib.data.schema import Interactions, Reviews, validated
from reclib.serving.store import Evaluation

DISLIKED = 2  # stars up to which a product leaves the history
# the kind of event that is as strong; three, four and five stars make three steps, too
MEANING: Mapping[tuple[str, int | None], str] = {
    ("click", None): "click",
    ("comment", None): "click",
    ("purchase", None): "purchase",
    ("rating", 3): "click",
    ("rating", 4): "cart",
    ("rating", 5): "purchase",
}


def as_events(evaluations: Iterable[Evaluation]) -> list[tuple[str, str]]:
    """Translate evaluations into events: the product and the kind of each, in order.

    A rating of `DISLIKED` stars or fewer is none; what it does is to take the product out of
    the history.
    """
    return [
        (one.item_id, MEANING[one.kind, one.rating])
        for one in evaluations
        if (one.kind, one.rating) in MEANING
    ]


def with_evaluations(marketplace: Marketplace, evaluations: pl.DataFrame) -> Marketplace:
    """Add what customers did in the shop to the data of a fit.

    Parameters
    ----------
    marketplace
        Validated tables. Events of no kind count as purchases.
    evaluations
        From `Store.evaluations`.

    Returns
    -------
    Marketplace
        With each evaluation as an event behind those of its customer, the search that led there
        beside it, and a review for each pair of customer and product with a rating: the last
        one, and all comments. Pairs whose last rating is `DISLIKED` or lower have no events,
        earlier ones of `marketplace` among them.
    """
    if evaluations.is_empty():
        return marketplace
    pair = ["user_id", "item_id"]
    rated = (
        evaluations.group_by(pair, maintain_order=True)
        .agg(
            rating=pl.col("rating").drop_nulls().last().cast(pl.Float64),
            text=pl.col("comment").drop_nulls().str.join("\n"),
            timestamp=pl.col("timestamp").last(),
        )
        .drop_nulls("rating")
    )
    old = marketplace.interactions
    if "event" not in old.columns:
        old = old.with_columns(event=pl.lit("purchase"))
    rows = [(kind, stars, event) for (kind, stars), event in MEANING.items()]
    meaning = pl.DataFrame(rows, schema=["kind", "rating", "event"], orient="row")
    new = evaluations.join(
        meaning, on=["kind", "rating"], nulls_equal=True, maintain_order="left"
    ).join(
        old.group_by("user_id").agg(last=pl.col("position").max()), on="user_id", how="left",
        maintain_order="left",
    )  # fmt: skip
    behind = pl.col("last").fill_null(-1) + 1 + pl.int_range(pl.len()).over("user_id")
    columns = [*pair, "event", "query", *(["timestamp"] if "timestamp" in old.columns else [])]
    events = pl.concat([old, new.select(*columns, position=behind)], how="diagonal_relaxed")
    disliked = rated.filter(pl.col("rating") <= DISLIKED)
    events = events.join(disliked, on=pair, how="anti", maintain_order="left")
    reviews = [table for table in (marketplace.reviews, rated) if table is not None]
    written = pl.concat(reviews, how="diagonal_relaxed")
    return replace(
        marketplace,
        interactions=validated(events, Interactions, "events with evaluations"),
        reviews=validated(written, Reviews, "reviews with comments") if len(written) else None,
    )
