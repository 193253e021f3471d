"""The panels of the explorable figure, and Eq. 7 and MMR as transforms of Vega."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import altair as alt
import numpy as np

from reclib.study.figures import COLOURS, GREY

Panel: TypeAlias = alt.LayerChart | alt.FacetChart

# the weights of Eq. 7, and the parts that they weigh
PARTS: Mapping[str, str] = {"alpha": "content", "beta": "collaborative", "gamma": "language"}
GREEK = dict(zip(PARTS, "αβγ", strict=True))
SLIDERS: Mapping[str, str] = {
    **{name: f"{GREEK[name]}, {part}" for name, part in PARTS.items()},
    "lambda": "λ of MMR",
}
SUM = " + ".join(PARTS)
UNIT = 1e-7  # numbers travel as integers of it: as exact as float32, and short
WIDTH = 300  # pixels of a panel: one fits a phone, two the text column
FOUND, INK = "#00694c", "#111111"
CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(0.75)]])  # of the triangle of weights
CLAIM = "the paper’s claim"
MARKS = ("#d55e00", "#e69f00", "#882255")  # of the settings, in order
VEGA_LITE = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
TAKEN = -9  # below any worth, which is −1 to 1


def make_chart(
    k: int,
    *,
    start: Mapping[str, float],
    settings: Sequence[str],
    tops: Mapping[str, float],
    customers: Mapping[str, str],
) -> alt.ConcatChart:
    """Put the panels and the sliders together.

    Parameters
    ----------
    k
        Length of a list.
    start
        Where the sliders stand first, by name: `PARTS` and ``lambda``.
    settings
        Names of what is marked.
    tops
        Metric, named without ``@k`` → its highest mark.
    customers
        Users whose lists can be looked at, with their labels.

    Returns
    -------
    altair.ConcatChart
        Its data are still to be filled in, by name: ``users``, a record each with arrays of what
        is known of their candidates; ``tried``, ``marked`` and ``means``.
    """
    sliders: list[dict[str, Any]] = [
        {
            "name": name,
            "value": start[name],
            "bind": {"input": "range", "min": 0, "max": 1, "step": 0.01, "name": says},
        }
        for name, says in SLIDERS.items()
    ]
    choice: dict[str, Any] = {
        "name": "customer",
        "value": next(iter(customers)),
        "bind": {
            "input": "select",
            "options": list(customers),
            "labels": list(customers.values()),
            "name": "customer",
        },
    }
    return alt.ConcatChart(
        concat=[
            _list(k),
            alt.vconcat(_triangle(settings), _metrics(k, settings, tops), spacing=24).resolve_scale(
                color="independent"
            ),
        ],
        description="Sliders, a customer's list, a triangle of weights, and four metrics.",
        columns=2,
        spacing=30,
        resolve=alt.Resolve(scale=alt.ScaleResolveMap(color="independent")),
        data=alt.NamedData("users"),
        transform=_dataflow(k, tops),
        params=[alt.TopLevelParameter.from_dict(param) for param in (*sliders, choice)],
        config=alt.Config(
            font="sans-serif",
            view=alt.ViewConfig(stroke=None),
            axis=alt.AxisConfig(
                labelColor=GREY, titleColor=GREY, gridColor="#eceff1", domain=False
            ),
            text=alt.MarkConfig(fontSize=12),
        ),
    )


def _cosine(which: str, other: str) -> str:
    """Look a cosine up; 0 of a product with itself."""
    pair = f"[max(datum.place, {other})][min(datum.place, {other})]"
    return f"(datum.{which}{pair} || 0) * {UNIT}"


def _dataflow(k: int, metrics: Iterable[str]) -> list[dict[str, Any]]:
    """Write Eq. 7, MMR and the metrics as transforms of Vega: from users to ranked products."""
    total = " + ".join(f"{name} * datum.{part}" for name, part in PARTS.items())
    known = " || ".join(f"{name} > 0 && isValid(datum.{part})" for name, part in PARTS.items())
    ends = [
        {"op": "min", "field": "total", "as": "low"},
        {"op": "max", "field": "total", "as": "high"},
    ]
    scaled = "(datum.total - datum.low) / (datum.high - datum.low)"
    flow: list[dict[str, Any]] = [
        {"flatten": ["place", "title", "hit", *PARTS.values()]},
        {"filter": known},
        {"calculate": f"({total}) / ({SUM}) * {UNIT}", "as": "total"},
        {"joinaggregate": ends, "groupby": ["user"]},
        {"calculate": f"datum.high > datum.low ? {scaled} : 0", "as": "score"},
        {"calculate": "lambda * datum.score", "as": "worth1"},
        {"calculate": "-1", "as": "near0"},
    ]
    for step in range(1, k + 1):
        best, worth = f"datum.best{step}", f"worth{step}"
        order = {worth: "descending", "total": "descending", "place": "ascending"}
        near = f"max(datum.near{step - 1}, {_cosine('near', best)})"
        gone = f"datum.place == {best} || datum.{worth} == {TAKEN}"
        novel = f"lambda * datum.score - (1 - lambda) * datum.near{step}"
        flow += [
            {
                "window": [{"op": "first_value", "field": "place", "as": f"best{step}"}],
                "sort": [{"field": field, "order": way} for field, way in order.items()],
                "frame": [None, None],
                "groupby": ["user"],
            },
            {"calculate": near, "as": f"near{step}"},
            {"calculate": f"{gone} ? {TAKEN} : {novel}", "as": f"worth{step + 1}"},
        ]
    steps = range(1, k + 1)
    rank = " : ".join(f"datum.place == datum.best{step} ? {step}" for step in steps)
    kin = " + ".join(_cosine("kin", f"datum.best{step}") for step in steps)
    shares = {
        "precision": f"datum.hit / {k}",
        "recall": "datum.hit / datum.relevant",
        "ndcg": "datum.hit * LN2 / log(datum.rank + 1) / datum.ideal",
        "ild": f"1 / {k} - ({kin}) / {k * (k - 1)}",
    }
    return [
        *flow,
        {"calculate": f"{rank} : 0", "as": "rank"},
        {"filter": "datum.rank > 0"},
        # what a product adds to the metrics of its list
        *({"calculate": shares[metric], "as": metric} for metric in metrics),
    ]


def _list(k: int) -> alt.VConcatChart:
    """Show a customer: what they had, what they took next, and the list."""
    who = alt.Chart(alt.NamedData("users"), width=WIDTH, height=112)
    who = who.transform_filter("datum.user == customer")
    say: dict[str, Any] = {"align": "left", "baseline": "top", "x": 0, "limit": WIDTH}
    head = alt.layer(
        who.mark_text(**say, y=0, fontWeight="bold").encode(
            text=alt.value("Had before, newest first")
        ),
        who.mark_text(**say, y=16, lineHeight=16).encode(text="had:N"),
        who.mark_text(**say, y=76, fontWeight="bold").encode(text=alt.value("Took next")),
        who.mark_text(**say, y=92, lineHeight=16, color=FOUND).encode(text="next:N"),
    )
    adds = {f"{GREEK[name]} · {part}": (name, part) for name, part in PARTS.items()}
    palette = alt.Scale(domain=list(adds), range=[COLOURS[part] for part in PARTS.values()])
    products = alt.Chart(width=WIDTH, height=34 * k).transform_filter("datum.user == customer")
    place = alt.Y(
        "rank:O",
        title=None,
        scale=alt.Scale(domain=list(range(1, k + 1))),
        axis=alt.Axis(ticks=False, labelPadding=8),
    )
    bars = (
        products.transform_calculate(
            **{
                says: f"{name} / ({SUM}) * datum.{part} * {UNIT}"
                for says, (name, part) in adds.items()
            }
        )
        .transform_fold(list(adds), as_=["part", "adds"])
        .mark_bar(height=6, yOffset=9)
        .encode(
            x=alt.X("adds:Q", title="score, Eq. 7", axis=alt.Axis(tickCount=4)),
            y=place,
            color=alt.Color(
                "part:N",
                scale=palette,
                legend=alt.Legend(title=None, orient="top", symbolType="square"),
            ),
            tooltip=["title:N", "part:N", alt.Tooltip("adds:Q", format=".4f")],
        )
    )
    titles = (
        products.transform_calculate(says="(datum.hit ? '✓ ' : '') + datum.title")
        .mark_text(align="left", yOffset=-4, x=0, limit=WIDTH)
        .encode(
            y=place,
            text="says:N",
            color=alt.condition("datum.hit", alt.value(FOUND), alt.value(INK)),
        )
    )
    nothing = (
        alt.Chart(alt.InlineData(values=[{}]))
        .transform_filter(f"{SUM} == 0")
        .mark_text(align="left", x=0, y=20)
        .encode(text=alt.value("All weights are 0: there is nothing to rank by."))
    )
    return alt.vconcat(head, alt.layer(bars, titles, nothing), spacing=4)


def _triangle(settings: Iterable[str]) -> Panel:
    """Show the weights as a point among all that were tried."""
    x = alt.X("x:Q", axis=None, scale=alt.Scale(domain=[-0.25, 1.25]))
    y = alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[-0.12, 0.98]))
    dots = (
        alt.Chart(alt.NamedData("tried"), width=WIDTH, height=240)
        .mark_circle(size=140, opacity=1)
        .encode(
            x,
            y,
            color=alt.Color(
                "value:Q",
                scale=alt.Scale(scheme="cividis"),
                legend=alt.Legend(title="ndcg, all users of validation", orient="top", tickCount=3),
            ),
        )
    )
    rings = (
        alt.Chart(alt.NamedData("marked"))
        .mark_point(size=260, strokeWidth=2.5, filled=False)
        .encode(x, y, color=_colour(settings), tooltip="setting:N")
    )
    here = {
        axis: f"({' + '.join(f'{c} * {name}' for c, name in zip(column, PARTS, strict=True))})"
        for axis, column in zip("xy", CORNERS.T.tolist(), strict=True)
    }
    one = alt.Chart(alt.InlineData(values=[{}]))
    now = (
        one.transform_filter(f"{SUM} > 0")
        .transform_calculate(**{axis: f"{place} / ({SUM})" for axis, place in here.items()})
        .mark_point(size=110, shape="cross", filled=True, color=INK, stroke="white", opacity=1)
        .encode(x, y)
    )
    names = [
        one.transform_calculate(
            x=str(corner[0]),
            y=str(corner[1]),
            says=f"'{part} ' + ({SUM} > 0 ? format({name} / ({SUM}), '.0%') : '–')",
        )
        .mark_text(fontWeight="bold", dy=-18 if corner[1] else 20)
        .encode(x, y, text="says:N")
        for (name, part), corner in zip(PARTS.items(), CORNERS.tolist(), strict=True)
    ]
    chart: Panel = alt.layer(dots, rings, *names, now).resolve_scale(color="independent")
    return chart


def _metrics(k: int, settings: Iterable[str], tops: Mapping[str, float]) -> alt.VConcatChart:
    """Show the means over the sample, beside those of the settings and the paper's claim."""
    now = (
        alt.Chart()
        .transform_fold(list(tops), as_=["metric", "value"])
        .transform_calculate(tuned="datum.tuned[datum.metric]")
        .transform_aggregate(value="sum(value)", tuned="min(tuned)", groupby=["user", "metric"])
        .transform_calculate(change="datum.value - datum.tuned")
        .transform_aggregate(
            value="mean(value)", change="mean(change)", error="stderr(change)", groupby=["metric"]
        )
        .transform_calculate(half="1.96 * datum.error")
    )
    rows = [_metric(metric, k, top, settings) for metric, top in tops.items()]
    return alt.VConcatChart(vconcat=rows, transform=now.transform, spacing=18)


def _metric(metric: str, k: int, top: float, settings: Iterable[str]) -> Panel:
    """Show one metric as a dot on a line, the settings as ticks."""
    scale = alt.Scale(
        domain=[0, 1 if metric == "ild" else max(1.5 * top, 1e-3)], nice=True, clamp=True
    )
    x = alt.X("value:Q", title=None, scale=scale, axis=alt.Axis(tickCount=4))
    ticks = (
        alt.Chart(alt.NamedData("means"), width=WIDTH, height=22)
        .transform_filter(alt.datum.metric == metric)
        .mark_tick(thickness=3, size=22, opacity=1)
        .encode(
            x,
            color=_colour(settings),
            tooltip=["setting:N", alt.Tooltip("value:Q", format=".4f")],
        )
    )
    now = alt.Chart().transform_filter(alt.datum.metric == metric)
    numbers = {"value": ".4f", "change": "+.4f", "half": ".4f"}
    # + 0, and no sign of a rounding error
    value, change, half = (
        f"format(round(datum.{name} * 1e4) / 1e4 + 0, '{form}')" for name, form in numbers.items()
    )
    above: dict[str, Any] = {"y": -8, "baseline": "bottom"}
    return alt.layer(
        ticks,
        now.transform_calculate(low="datum.value - datum.half", high="datum.value + datum.half")
        .mark_rule(strokeWidth=2)
        .encode(alt.X("low:Q", scale=scale, title=None), alt.X2("high:Q")),
        now.mark_point(size=90, filled=True, color=INK, opacity=1).encode(x),
        now.mark_text(align="left", x=0, fontWeight="bold", **above).encode(
            text=alt.value(f"{metric}@{k}")
        ),
        now.transform_calculate(says=f"{value} + '  (' + {change} + ' ± ' + {half} + ')'")
        .mark_text(align="right", x=WIDTH, **above)
        .encode(text="says:N"),
    )


def _colour(settings: Iterable[str]) -> alt.Color:
    """Give each setting its colour, the same in every panel; the buttons are the legend."""
    marks = colours(settings)
    scale = alt.Scale(domain=list(marks), range=list(marks.values()))
    return alt.Color("setting:N", scale=scale, legend=None)


def colours(settings: Iterable[str]) -> dict[str, str]:
    """Colour of each setting, in order, and of the paper's claim."""
    return {**dict(zip(settings, MARKS, strict=False)), CLAIM: GREY}
