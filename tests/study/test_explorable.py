"""The figure that answers back: in Chromium it must say what `reclib` computes."""

import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

from reclib.data import leave_one_out, load, prepare
from reclib.errors import ReclibError
from reclib.models import Collaborative, Content, Fusion, Language
from reclib.study.explorable import Sample, Setting, draw_sample, explorable, framed
from reclib.study.explorable_chart import PARTS

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
K = 10
HOSTILE = "</script><b>&{{bold}}</b> "  # what a title may hold
SLIDERS = [*PARTS, "lambda"]
# every row that is in a list, and the means that are shown
READ = """() => {
  const names = Object.keys(view.getState({data: () => true}).data);
  const tables = names.filter(name => name.startsWith("data_")).map(name => view.data(name));
  const first = (...columns) => tables.find(
    rows => rows.length && columns.every(column => column in rows[0]));
  return {
    lists: first("rank", "ild").map(({user, rank, place}) => ({user, rank, place})),
    titles: first("rank", "says").sort((a, b) => a.rank - b.rank).map(row => row.title),
    means: first("metric", "half").map(
      ({metric, value, change, half}) => ({metric, value, change, half})),
  };
}"""


@pytest.fixture(scope="module")
def sample(made_up_encoder: None) -> Sample:
    """Forty users of a simulated shop, some of whom get nothing of what they took next."""
    fold = leave_one_out(prepare(load("simulated", size="smoke"))).validation
    parts = {"content": Content(), "collaborative": Collaborative(), "language": Language()}
    fusion = Fusion(parts, dict.fromkeys(parts, 1.0), normalise="global")
    return draw_sample(fusion, fold, n_users=40, depth=12, k=K)


@pytest.fixture(scope="module")
def settings() -> dict[str, Setting]:
    weights = {"content": 0.3, "collaborative": 0.6, "language": 0.1}
    traditional = {"content": 1 / 3, "collaborative": 2 / 3}  # between two steps of a slider
    return {
        "tuned": Setting(weights),
        "traditional": Setting(traditional),
        "re-ranked": Setting(weights, 0.7),
    }


@pytest.fixture(scope="module")
def document(sample: Sample, settings: dict[str, Setting]) -> str:
    grid = np.array([[1, 0, 0], [0, 1, 0], [0.3, 0.6, 0.1]])
    items = sample.fold.train.items
    items["title"] = HOSTILE + items["title"]
    trials = pd.DataFrame(grid, columns=list(PARTS.values())).assign(**{f"ndcg@{K}": [1, 2, 3]})
    return explorable(sample, settings, trials=trials, n_examples=3)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Start Debian's Chromium without a window and without a network."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        opened = play.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-background-networking"]
        )
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def page(browser: Any, document: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The document in a window that tells of faults and of anything it asks the network for."""
    file = tmp_path_factory.mktemp("explorable") / "figure.html"
    file.write_text(document, encoding="utf-8")
    with browser.new_context(viewport={"width": 800, "height": 1000}, offline=True) as context:
        view = context.new_page()
        faults: list[str] = []
        view.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
        view.on("pageerror", lambda error: faults.append(str(error)))
        view.on("request", lambda r: faults.append(r.url) if not local(r.url) else None)
        view.goto(file.as_uri())
        view.wait_for_function("window.view")
        yield view
        assert not faults, faults


def local(url: str) -> bool:
    return url.startswith(("file:", "data:", "about:"))


def move(page: Any, **values: float) -> None:
    """Drag sliders, which is to set them and to say so."""
    for name, value in values.items():
        slider = page.locator(f"input[name='{name}']")
        slider.evaluate(
            "(slider, value) => {slider.value = value; slider.dispatchEvent(new Event('input'))}",
            value,
        )
    page.evaluate("view.runAsync().then(() => true)")


def setting(page: Any) -> Setting:
    """Where the signals stand."""
    values = {name: page.evaluate(f"view.signal('{name}')") for name in SLIDERS}
    return Setting({part: values[name] for name, part in PARTS.items()}, values["lambda"])


def assert_page_is_right(page: Any, sample: Sample, expected: Setting) -> None:
    """Every list and every mean must be those of reclib."""
    read = page.evaluate(READ)
    lists = pd.DataFrame(read["lists"]).pivot(index="user", columns="rank", values="place")
    names = sample.fold.train.user_ids[sample.users]
    places = lists.loc[names].to_numpy()
    top = np.take_along_axis(sample.found.items, places, axis=1)
    np.testing.assert_array_equal(top, sample.lists(expected))
    means = pd.DataFrame(read["means"]).set_index("metric")
    measured = sample.measure(expected)
    first = sample.measure(Setting({"content": 0.3, "collaborative": 0.6, "language": 0.1}))
    change = measured - first
    half = 1.96 * change.std() / np.sqrt(len(change))
    for name, wanted in {"value": measured.mean(), "change": change.mean(), "half": half}.items():
        np.testing.assert_allclose(means[name].loc[wanted.index], wanted, atol=1e-6)


@pytest.mark.browser
def test_sliders_start_at_the_first_setting(page: Any, sample: Sample, settings) -> None:
    """Weights chosen on validation, lists as they are."""
    assert setting(page) == settings["tuned"]
    assert [float(page.input_value(f"input[name='{name}']")) for name in SLIDERS] == [
        0.3, 0.6, 0.1, 1.0
    ]  # fmt: skip
    assert_page_is_right(page, sample, settings["tuned"])


@pytest.mark.browser
@pytest.mark.parametrize(
    ("weights", "trade_off"),
    [
        ((1.0, 0.0, 0.0), 1.0),
        ((0.0, 0.0, 1.0), 0.8),
        ((0.2, 0.9, 0.75), 0.55),
        ((0.31, 0.02, 0.0), 0.9),
        ((0.5, 0.5, 0.5), 0.0),  # only diversity: mostly ties
    ],
)
def test_lists_and_metrics_follow_the_sliders(page, sample, weights, trade_off) -> None:
    """Whatever the sliders say, the browser ranks and measures as reclib does."""
    move(page, **dict(zip(SLIDERS, (*weights, trade_off), strict=True)))
    expected = Setting(dict(zip(PARTS.values(), weights, strict=True)), trade_off)
    assert_page_is_right(page, sample, expected)


@pytest.mark.browser
def test_keyboard_moves_a_slider(page: Any, sample: Sample) -> None:
    """An arrow is a hundredth, and the lists follow."""
    move(page, alpha=0.4, beta=0.4, gamma=0.4, **{"lambda": 0.9})
    slider = page.locator("input[name='gamma']")
    slider.focus()
    for _ in range(7):
        slider.press("ArrowRight")
    page.locator("input[name='lambda']").press("ArrowLeft")
    page.evaluate("view.runAsync().then(() => true)")
    now = setting(page)
    assert now.weights["language"] == pytest.approx(0.47)
    assert now.trade_off == pytest.approx(0.89)
    assert_page_is_right(page, sample, now)


@pytest.mark.browser
def test_a_button_goes_exactly_to_its_setting(page: Any, sample: Sample, settings) -> None:
    """Also to weights between two steps of a slider."""
    for name in ("traditional", "re-ranked"):
        page.get_by_role("button", name=name).click()
        page.evaluate("view.runAsync().then(() => true)")
        assert setting(page).signals == settings[name].signals
        assert_page_is_right(page, sample, settings[name])


@pytest.mark.browser
def test_without_any_weight_nothing_is_ranked(page: Any, settings) -> None:
    """And it is said, where `Fusion` refuses."""
    move(page, alpha=0, beta=0, gamma=0)
    shown = page.locator("#chart").text_content()
    assert "nothing to rank by" in shown
    assert "NaN" not in shown
    page.get_by_role("button", name="tuned", exact=True).click()
    page.evaluate("view.runAsync().then(() => true)")


@pytest.mark.browser
def test_the_list_of_each_customer_is_shown(page: Any, sample: Sample, settings) -> None:
    """With its titles as plain text."""
    titles = sample.fold.train.items["title"].to_numpy()
    lists = dict(
        zip(sample.fold.train.user_ids[sample.users], sample.lists(settings["tuned"]), strict=True)
    )
    options = page.locator("select option").evaluate_all("all => all.map(one => one.value)")
    assert len(options) == 3
    for customer in options:
        page.locator("select").select_option(customer)
        page.evaluate("view.runAsync().then(() => true)")
        shown = page.evaluate(READ)["titles"]
        assert shown == [str(titles[item]) for item in lists[customer]]
    assert page.locator("b").count() == 0


@pytest.mark.browser
@pytest.mark.parametrize("width", [800, 390])
def test_works_in_a_frame_of_a_page_offline(browser, document, tmp_path, width: int) -> None:
    """As in the book: no request, no fault, whole at its width, no word the book's test refuses."""
    output = framed(document, title="Turn the weights").data
    for refused in ("{{", "}}", "undefined", "Traceback"):
        assert refused not in output
    file = tmp_path / "page.html"
    file.write_text(f"<!doctype html><body>{output}", encoding="utf-8")
    with browser.new_context(viewport={"width": width, "height": 700}, offline=True) as context:
        view = context.new_page()
        faults: list[str] = []
        view.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
        view.on("pageerror", lambda error: faults.append(str(error)))
        view.on("request", lambda r: None if local(r.url) else faults.append(r.url))
        view.goto(file.as_uri())
        inside = view.frames[1]
        inside.wait_for_function("window.view && frameElement.style.height.endsWith('px')")
        size = inside.evaluate(
            """() => new Promise(requestAnimationFrame).then(() => {
              const page = document.documentElement, chart = document.querySelector("svg");
              return [page.scrollWidth - page.clientWidth,
                      chart.getBoundingClientRect().bottom - frameElement.clientHeight];
            })"""
        )
        assert size[0] <= 0 and size[1] <= 0, size
        assert not faults, faults


def test_parts_of_another_fusion_are_refused(tiny) -> None:
    """The sliders are those of Eq. 7."""
    fusion = Fusion({"content": Content(), "collaborative": Collaborative()}, {"content": 1})
    with pytest.raises(ReclibError, match="content.*collaborative.*language"):
        draw_sample(fusion, leave_one_out(tiny).validation)


def test_a_list_longer_than_the_candidates_of_a_part_is_refused(sample: Sample) -> None:
    with pytest.raises(ReclibError, match="k is 11 with depth 10"):
        draw_sample(sample.fusion, sample.fold, depth=10, k=11)


def test_the_claim_needs_the_traditional_setting(sample: Sample, settings) -> None:
    with pytest.raises(ReclibError, match="traditional"):
        explorable(sample, {"tuned": settings["tuned"]}, trials=pd.DataFrame())


def test_diversity_is_left_out_where_it_cannot_be_measured(made_up_encoder, make_prepared) -> None:
    """A shop without brands and categories has no ild, and the rest of the figure."""
    histories = {f"u{n}": [f"i{(n + 3 * step) % 20:02d}" for step in range(4)] for n in range(20)}
    parts = {"content": Content(), "collaborative": Collaborative(), "language": Language()}
    fusion = Fusion(parts, dict.fromkeys(parts, 1.0))
    bare = draw_sample(fusion, leave_one_out(make_prepared(histories)).validation, depth=10)
    setting = Setting(fusion.weights)
    assert list(bare.measure(setting)) == ["precision", "recall", "ndcg"]
    trials = pd.DataFrame([{**fusion.weights, "ndcg@10": 0.1}])
    document = explorable(bare, {"traditional": setting}, trials=trials)
    assert "ndcg@10" in document and "ild@10" not in document
