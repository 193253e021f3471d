"""A figure that answers back: Eq. 7 and MMR under sliders, computed in the reader's browser.

Altair writes the chart, Vega runs it. Every candidate of every user in it is a row; the fusion,
the ten steps of MMR and the metrics are Vega's own transforms, so there is no second program to
keep, and the page needs neither a kernel nor a network.
"""

import base64
import gzip
import html
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from string import Template
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
import vl_convert
from IPython.display import HTML
from numpy.typing import NDArray
from sklearn.preprocessing import normalize

from reclib.data import Fold
from reclib.errors import ReclibError
from reclib.evaluation import intra_list_diversity, ranking_metrics
from reclib.models import Content, Fusion, mmr, normalised, weighted_sum
from reclib.models.base import Indices
from reclib.models.candidates import Candidates, candidates
from reclib.study.experiment import diversity_space
from reclib.study.explorable_chart import (
    CLAIM,
    CORNERS,
    MARKS,
    PARTS,
    UNIT,
    VEGA_LITE,
    WIDTH,
    colours,
    make_chart,
)
from reclib.study.paper import TABLE_II

Floats = NDArray[np.float64]

PRINTED = {"precision": "precision", "recall": "recall", "ild": "diversity"}  # in Table II


@dataclass(frozen=True)
class Setting:
    """Where the sliders can stand: the weights of Eq. 7 by part, and λ of MMR."""

    weights: Mapping[str, float]
    trade_off: float = 1.0

    @property
    def signals(self) -> dict[str, float]:
        """Values of the sliders."""
        chosen = {greek: float(self.weights.get(part, 0)) for greek, part in PARTS.items()}
        return chosen | {"lambda": self.trade_off}


@dataclass(frozen=True)
class Sample:
    """Users whose lists can be made anew, and the products to make them of.

    Attributes
    ----------
    fusion
        Fitted on the `train` of the fold; its weights play no role.
    fold
        Its relevant products.
    users
        int64, shape (n_users,): dense indices.
    k
        Length of a list.
    found
        Their candidates.
    """

    fusion: Fusion
    fold: Fold
    users: Indices
    k: int
    found: Candidates

    @cached_property
    def vectors(self) -> sp.csr_array:
        """The y_i of Eq. 3, by which MMR tells which products are alike."""
        content = self.fusion.parts["content"]
        assert isinstance(content, Content)
        return content.features.items

    @cached_property
    def kinds(self) -> sp.csr_array | None:
        """Brands and categories, by which diversity is measured; None where there are none."""
        return diversity_space(self.fold.train.items)

    def lists(self, setting: Setting) -> Indices:
        """Make the list of each user, int64, shape (n_users, k): dense product indices."""
        weights = [setting.weights.get(part, 0) for part in self.fusion.parts]
        total = weighted_sum(list(self.found.scores), weights)
        total[~self.found.real] = np.nan
        order = np.argsort(-total, axis=1, kind="stable")  # MMR wants the best first
        scores = np.take_along_axis(total, order, axis=1)
        items = np.take_along_axis(self.found.items, order, axis=1)
        places = mmr(
            normalised(scores, np.zeros(scores.shape, bool)),
            items,
            vectors=self.vectors,
            k=self.k,
            trade_off=setting.trade_off,
        )
        return np.take_along_axis(items, places, axis=1)

    def measure(self, setting: Setting) -> pd.DataFrame:
        """Metrics of each user's list, a column each, named without ``@k``."""
        top = self.lists(setting)
        values = ranking_metrics(top, self.fold.relevant[self.users])
        table = pd.DataFrame({n: values[f"{n}@{self.k}"] for n in ("precision", "recall", "ndcg")})
        if self.kinds is not None:
            table["ild"] = intra_list_diversity(top, self.kinds)
        return table


def draw_sample(
    fusion: Fusion, fold: Fold, *, n_users: int = 100, depth: int = 20, k: int = 10, rng: int = 0
) -> Sample:
    """Draw users, and collect the `depth` best products of each part for them.

    Parameters
    ----------
    fusion
        Of the three parts of Eq. 7; fitted on the fold's `train` if it is not.
    fold
        Users with something to find are drawn, evenly.
    n_users
        At most so many.
    depth
        Best products of each part that a list is chosen from, at least `k`.
    k
        Length of a list, at least 2.
    rng
        Seed of the fit and of the draw.

    Returns
    -------
    Sample
        Without users for whom a part cannot score `k` products.

    Raises
    ------
    ReclibError
        If the parts are others than those of Eq. 7, `k` is not within 2 and `depth`, or nobody
        is left.
    """
    if set(fusion.parts) != set(PARTS.values()):
        raise ReclibError(f"parts are {list(fusion.parts)}; allowed are {list(PARTS.values())}")
    if not 2 <= k <= depth:
        raise ReclibError(f"k is {k} with depth {depth}; allowed is 2 to depth")
    fusion.ensure_fitted(fold.train, rng=rng)
    asked = np.flatnonzero(np.diff(fold.relevant.indptr))
    drawn = np.random.default_rng(rng).permutation(asked)[:n_users]
    found = candidates(fusion, drawn, depth=depth)
    enough = (np.isfinite(found.scores).sum(axis=2) >= k).all(axis=0)
    if not enough.any():
        raise ReclibError(f"no user has {k} new products that every part can score; lower k")
    kept = Candidates(found.items[enough], found.scores[:, enough], found.products[enough])
    return Sample(fusion, fold, drawn[enough], k, kept)


def explorable(
    sample: Sample,
    settings: Mapping[str, Setting],
    *,
    trials: pd.DataFrame,
    n_examples: int = 6,
    title: str = "Turn the weights yourself",
) -> str:
    """Write the figure as a document that needs nothing else: no kernel, no network.

    Parameters
    ----------
    sample
        From `draw_sample`.
    settings
        What is marked, by name, with a button each. The sliders start at the first; the
        paper's claim is drawn from ``traditional``.
    trials
        Every weighting that was tried on validation, from `reclib.evaluation.choose_weights`.
    n_examples
        Users whose lists can be looked at: the first of the sample who have something to find
        among their candidates.
    title
        Of the document.

    Returns
    -------
    str
        HTML, for `framed` or a file. ``window.view`` is the running view of Vega.

    Raises
    ------
    ReclibError
        If ``traditional`` is not among the settings, or there are more than three.
    """
    if "traditional" not in settings or len(settings) > len(MARKS):
        raise ReclibError(
            f"settings are {list(settings)}; allowed are up to {len(MARKS)}, traditional among them"
        )
    measured = {name: sample.measure(setting) for name, setting in settings.items()}
    tuned = next(iter(measured.values()))
    tables = {
        "users": _users(sample, tuned, n_examples),
        "tried": _tried(trials),
        "marked": _marked(settings),
        "means": _means(measured),
    }
    tops = {str(metric): 0.0 for metric in tuned}
    for mean in tables["means"]:
        tops[mean["metric"]] = max(tops[mean["metric"]], mean["value"])
    chart = make_chart(
        sample.k,
        start=next(iter(settings.values())).signals,
        settings=list(settings),
        tops=tops,
        customers={
            user["user"]: f"{user['user']}, had {user['products']} products"
            for user in tables["users"]
            if user["title"]
        },
    )
    written = vl_convert.vegalite_to_vega(chart.to_dict(), vl_version=VEGA_LITE)
    for data in written["data"]:  # inside the chart Altair would check and copy every number
        if data["name"] in tables:
            data["values"] = tables[data["name"]]
    # side by side where there is room; Vega-Lite knows only a fixed number of columns
    written["layout"]["columns"] = {"signal": "columns"}
    room = f"windowSize()[0] < {2 * WIDTH + 80} ? 1 : 2"
    written["signals"].append(
        {"name": "columns", "update": room, "on": [{"events": "window:resize", "update": room}]}
    )
    mark = colours(settings)
    buttons = "".join(
        f"<button type=button style='border-left-color: {mark[name]}' "
        f"value='{json.dumps(setting.signals)}'>{html.escape(name)}</button>"
        for name, setting in settings.items()
    )
    buttons += f"<span style='border-left-color: {mark[CLAIM]}'>{CLAIM}</span>"
    return PAGE.substitute(
        title=html.escape(title),
        buttons=buttons,
        vega=_vega(),
        # a title may hold "</script>"
        spec=json.dumps(written, separators=(",", ":")).replace("</", "<\\/"),
    )


def _users(sample: Sample, tuned: pd.DataFrame, n_examples: int) -> list[dict[str, Any]]:
    """Say of each user what Vega needs: a column for each thing known of a candidate."""
    train, fold, found = sample.fold.train, sample.fold, sample.found
    relevant = fold.relevant[sample.users]
    hit = found.of(relevant)
    titles = train.items["title"].where(train.items["title"] != "", train.item_ids).to_numpy()
    gain = np.cumsum(1 / np.log2(np.arange(2, sample.k + 2)))
    examples = np.flatnonzero(hit.any(axis=1))[:n_examples]
    if not len(examples):  # nothing to find for anybody: still lists to look at
        examples = np.arange(min(n_examples, len(hit)))
    rows = []
    for row, user in enumerate(sample.users):
        real = found.real[row]
        items = found.items[row, real]
        wanted = relevant.indices[relevant.indptr[row] : relevant.indptr[row + 1]]
        had = train.item[train.user == user][::-1]
        shown = row in examples
        rows.append(
            {
                "user": str(train.user_ids[user]),
                "products": int(found.products[row]),
                "had": [f"· {title}" for title in titles[had[:3]]] if shown else [],
                "next": [f"· {title}" for title in titles[wanted[:3]]] if shown else [],
                "relevant": len(wanted),
                "ideal": float(gain[min(len(wanted), sample.k) - 1]),
                "tuned": tuned.iloc[row].to_dict(),
                "place": list(range(len(items))),
                "title": titles[items].tolist() if shown else [],
                "hit": hit[row, real].astype(int).tolist(),
                **{
                    part: _whole(scores[row, real])
                    for part, scores in zip(sample.fusion.parts, found.scores, strict=True)
                },
                "near": _cosines(sample.vectors, items),
                "kin": [] if sample.kinds is None else _cosines(sample.kinds, items),
            }
        )
    return rows


def _whole(numbers: Floats) -> list[int | None]:
    """Write numbers as multiples of `UNIT`, NaN as None."""
    return [None if np.isnan(x) else round(float(x) / UNIT) for x in numbers]


def _cosines(vectors: sp.csr_array, items: Indices) -> list[list[int]]:
    """Cosine of each of the products with those before it, in multiples of `UNIT`."""
    unit = normalize(vectors[items])
    cosines = np.rint((unit @ unit.T).toarray() / UNIT).astype(int)
    return [cosines[row, :row].tolist() for row in range(len(items))]


def _tried(trials: pd.DataFrame) -> list[dict[str, Any]]:
    """Place every weighting that was tried in the triangle."""
    metric = next(column for column in trials if column not in PARTS.values())
    places = trials[list(PARTS.values())].to_numpy() @ CORNERS
    return [
        {"x": x, "y": y, "value": value}
        for (x, y), value in zip(places.tolist(), trials[metric], strict=True)
    ]


def _marked(settings: Mapping[str, Setting]) -> list[dict[str, Any]]:
    """Place the settings in the triangle; the last is drawn first."""
    rows = []
    for name, setting in reversed(list(settings.items())):
        x, y = np.array(list(setting.signals.values())[: len(PARTS)]) @ CORNERS
        rows.append({"x": float(x), "y": float(y), "setting": name})
    return rows


def _means(measured: Mapping[str, pd.DataFrame]) -> list[dict[str, Any]]:
    """Mean of each metric with each setting, and where the paper's gain would lead."""
    means = {name: table.mean().to_dict() for name, table in measured.items()}
    start = means["traditional"]
    means[CLAIM] = {
        metric: start[metric] * after / before
        for metric, printed in PRINTED.items()
        for before, after in [TABLE_II[printed]]
        # no mean is above 1, whatever is claimed
        if metric in start and start[metric] * after <= before
    }
    return [
        {"metric": metric, "setting": setting, "value": float(value)}
        for setting, values in means.items()
        for metric, value in values.items()
    ]


@cache
def _vega() -> str:
    """Bundle the scripts that run a chart, some 900 kB."""
    return str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed", vl_version=VEGA_LITE))


def framed(document: str, *, title: str) -> HTML:
    """Put a document into a frame of its own, for a notebook and the book's page.

    Its scripts and styles then meet no others. It travels compressed, a third of its size.
    """
    packed = base64.b64encode(gzip.compress(document.encode(), mtime=0)).decode()
    inside = html.escape(FRAME.substitute(packed=packed))
    return HTML(  # type: ignore[no-untyped-call]
        f'<div><iframe title="{html.escape(title)}" srcdoc="{inside}" scrolling="no" '
        'style="width:100%;height:60rem;border:0;border-radius:10px;background:#fff"></iframe></div>'
    )


FRAME = Template(
    """<!doctype html><meta charset="utf-8"><script>
const bytes = Uint8Array.from(atob("$packed"), c => c.charCodeAt());
const text = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
new Response(text).text().then(page => {
  document.open(); document.write(page); document.close();
});
</script>"""
)

PAGE = Template(
    """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
  :root { color-scheme: light; font: 14px/1.4 sans-serif; color: #111; background: #fff; }
  body { margin: 0; padding: 8px; }
  #controls { display: grid; gap: 6px 28px; }
  @media (min-width: 600px) { #controls { grid-template-columns: 1fr 1fr; } }
  .vega-bind label { display: flex; align-items: center; gap: 8px; }
  .vega-bind-name { flex: 0 0 7.6rem; }
  .vega-bind input, .vega-bind select { flex: 1; min-width: 0; font: inherit; }
  .vega-bind input { accent-color: #00609a; }
  .vega-bind input + span { width: 4ch; overflow: hidden; font-variant-numeric: tabular-nums; }
  #settings { display: flex; flex-wrap: wrap; align-items: center; gap: 8px; margin: 12px 0; }
  #settings > * { font: inherit; padding: 4px 10px; border-left: 5px solid; color: inherit; }
  button { border: 1px solid #b0b7c3; border-radius: 6px; background: #f5f7f9; }
  :focus-visible { outline: 2px solid #00609a; outline-offset: 2px; }
  #chart svg { display: block; max-width: 100%; height: auto; }
</style>
</head>
<body>
<div id="controls"></div>
<div id="settings">$buttons</div>
<div id="chart"></div>
<script>$vega</script>
<script>
const options = {mode: "vega", renderer: "svg", bind: "#controls", actions: false};
vegaEmbed("#chart", $spec, options).then(({view}) => {
  window.view = view;
  document.querySelectorAll("button").forEach(button => button.onclick = () => {
    Object.entries(JSON.parse(button.value)).forEach(([name, value]) => view.signal(name, value));
    view.runAsync();
  });
});
if (window.frameElement) new ResizeObserver(() => {
  frameElement.style.height = document.documentElement.offsetHeight + "px";
}).observe(document.documentElement);
</script>
</body>
</html>
"""
)
