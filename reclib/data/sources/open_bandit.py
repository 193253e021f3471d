"""Open Bandit Dataset: what two policies showed in a fashion shop, and what was clicked.

Y. Saito, S. Aihara, M. Matsutani and Y. Narita, "Open Bandit Dataset and Pipeline", 2020,
arXiv 2008.07146; published by ZOZO, Inc., CC BY 4.0. Features are hashed; there are no texts.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from reclib.data.clean import Cleaning
from reclib.data.schema import Impressions, Items, Marketplace, empty_interactions, validated
from reclib.data.tables import read_table
from reclib.errors import ReclibError

POLICIES = ("random", "bts")
CAMPAIGNS = ("all", "men", "women")
AFFINITY = "user-item_affinity_"
USER_FEATURES = tuple(f"user_feature_{number}" for number in range(4))
COLUMNS: Mapping[str, pl.DataType] = {
    "timestamp": pl.String(),
    "item_id": pl.Int64(),
    "position": pl.Int64(),
    "click": pl.Int64(),
    "propensity_score": pl.Float64(),
    **dict.fromkeys(USER_FEATURES, pl.Categorical()),
}
MOMENT = "%Y-%m-%d %H:%M:%S%.f%#z"


def read(folder: Path) -> Marketplace:
    """Read the logged impressions, of the small version or of the full release.

    Parameters
    ----------
    folder
        With ``<policy>/<campaign>/<campaign>.csv`` (or ``.csv.gz``) and
        ``item_context.csv`` beside it, for one policy (random, bts) and campaign (all,
        men, women) or more.

    Returns
    -------
    Marketplace
        `impressions`: the item, its place (1 left, 3 right), the click, the probability
        with which the policy showed it there, four hashed features of the user as
        categoricals, and `affinity`, the user's earlier clicks on the item shown, as
        float32. Rows are as logged; the same item at the same moment in several places is
        no error. `items`: ``<campaign>-<number>``, for a number means another item in
        another campaign, with one number and three hashes as features. Hashes can be
        compared within a campaign only. `interactions` has no rows: nobody is followed.

        Of the user's affinities to all items of the campaign only the one to the item
        shown is kept. Nearly all are 0, the data's own library leaves them out, too, and
        in the full release they would take several times the memory of all the rest.

    Raises
    ------
    ReclibError
        If no file is there, or one is damaged, lacks a column or holds a wrong value.
    """
    parts = [
        (policy, campaign)
        for campaign in CAMPAIGNS
        for policy in POLICIES
        if (folder / policy / campaign).is_dir()
    ]
    if not parts:
        raise ReclibError(
            f"{folder}: no folder <policy>/<campaign> is there, with policy "
            f"{' or '.join(POLICIES)} and campaign {', '.join(CAMPAIGNS)}; fetch the data or set "
            "RECLIB_DATA"
        )
    shown, catalogue = Cleaning("impressions"), Cleaning("items")
    impressions = _clean(pl.concat([_impressions(folder, *part) for part in parts]), shown)
    items = _distinct(pl.concat([_items(folder, *part) for part in parts]), catalogue)
    return Marketplace(
        name="open-bandit",
        interactions=empty_interactions(),
        items=validated(items, Items, f"{folder}, items"),
        impressions=validated(impressions, Impressions, f"{folder}, impressions"),
        steps=(*shown.steps, *catalogue.steps),
    )


def _impressions(folder: Path, policy: str, campaign: str) -> pl.DataFrame:
    """Read one log in blocks: of the full release only what is kept fits into memory."""
    file = folder / policy / campaign / f"{campaign}.csv"
    if not file.exists():
        file = file.with_name(f"{campaign}.csv.gz")
    try:
        names = pl.read_csv(file, n_rows=0, infer_schema=False).columns
        missing = [name for name in COLUMNS if name not in names]
        if missing:
            raise ReclibError(f"{file}: missing column {', '.join(map(repr, missing))}")
        log = pl.scan_csv(file, infer_schema=False, schema_overrides=dict(COLUMNS))
        kept = log.select(
            _item_id(campaign),
            pl.col("timestamp").str.to_datetime(
                MOMENT, time_unit="us", time_zone="UTC", strict=False
            ),
            *USER_FEATURES,
            rank="position",
            click="click",
            propensity="propensity_score",
            policy=pl.lit(policy),
            campaign=pl.lit(campaign),
            affinity=_affinity(names),
        )
        return kept.collect(engine="streaming")
    except (OSError, pl.exceptions.PolarsError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ReclibError(f"{file}: cannot be read ({reason}); fetch it again") from None


def _affinity(names: Sequence[str]) -> pl.Expr:
    """Pick the affinity to the item shown out of those to all items."""
    numbers = [name.removeprefix(AFFINITY) for name in names if name.startswith(AFFINITY)]
    shown = [
        pl.when(pl.col("item_id") == int(number)).then(pl.col(AFFINITY + number))
        for number in numbers
    ]
    return pl.coalesce(*shown, pl.lit(None, pl.String)).cast(pl.Float32)


def _items(folder: Path, policy: str, campaign: str) -> pl.DataFrame:
    table = read_table(folder / policy / campaign / "item_context.csv")
    features = [name for name in table.columns if name.startswith("item_feature_")]
    return table.select(_item_id(campaign), *features)


def _item_id(campaign: str) -> pl.Expr:
    return pl.format(f"{campaign}-{{}}", "item_id").alias("item_id")


def _clean(impressions: pl.DataFrame, cleaning: Cleaning) -> pl.DataFrame:
    """Leave out what no log can hold; the official files have none of it."""
    cleaning.note(impressions, "read", "logged impressions")
    whole = pl.all_horizontal(pl.col("item_id", "timestamp").is_not_null())
    whole &= (pl.col("rank") >= 1) & pl.col("click").is_between(0, 1)
    why = "{n} without item, time, place or click"
    impressions = cleaning.keep(impressions, "drop incomplete rows", whole, why)
    possible = (pl.col("propensity") > 0) & (pl.col("propensity") <= 1)
    why = "{n} with a propensity outside (0, 1]"
    return cleaning.keep(impressions, "drop impossible propensities", possible, why)


def _distinct(items: pl.DataFrame, cleaning: Cleaning) -> pl.DataFrame:
    """Make one row an item; both policies' folders have one, with hashes of their own."""
    cleaning.note(items, "read", "rows of the files item_context.csv")
    first = pl.col("item_id").is_first_distinct()
    why = "{n} items described by both policies' folders: the same features, hashed anew"
    items = cleaning.keep(items, "keep one row an item", first, why)
    return items.with_columns(pl.col("item_feature_0").cast(pl.Float64, strict=False))
