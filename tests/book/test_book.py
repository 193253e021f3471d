"""The book as a reader gets it: built strictly from a fresh smoke run, then opened."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from reclib import paths

LEFT_OUT = (
    ".git",
    ".venv",
    "_build",
    "_executed",
    "cache",
    "runs",
    "sweeps",
    ".mypy_cache",
    ".ruff_cache",
    ".pytest_cache",
    ".hypothesis",
    "__pycache__",
)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def pages() -> list[str]:
    """Return every page of the table of contents, as its path without a suffix."""
    contents = yaml.safe_load((paths.ROOT / "_toc.yml").read_text(encoding="utf-8"))
    chapters = [chapter["file"] for part in contents["parts"] for chapter in part["chapters"]]
    return [contents["root"], *chapters]


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the book in a copy of the project, so that the reader's own run is left alone."""
    copy = tmp_path_factory.mktemp("book") / "study"
    shutil.copytree(paths.ROOT, copy, ignore=shutil.ignore_patterns(*LEFT_OUT))
    environment = os.environ | {"PYTHONPATH": str(copy)}
    bin_ = Path(sys.executable).parent
    for command in (
        [sys.executable, "-m", "reclib.study.cli", "run", "--data", "simulated", "--size", "smoke"],
        [str(bin_ / "jupyter-book"), "build", ".", "-W", "-n", "--keep-going", "--all", "-q"],
    ):
        done = subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, text=True, timeout=900
        )
        assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    return copy / "_build" / "html"


@pytest.mark.parametrize("page", pages())
def test_every_page_is_there_and_whole(html: Path, page: str) -> None:
    """No missing page, no unfilled number, no error text, no empty figure."""
    text = (html / f"{page}.html").read_text(encoding="utf-8")
    body = re.search(r"<article.*?</article>", text, re.DOTALL)
    assert body, "no article in the page"
    assert len(body[0]) > 1000
    assert "{{" not in body[0] and "}}" not in body[0]
    for trace in ("Traceback (most recent call last)", "output stderr", "nan [nan", "undefined"):
        assert trace not in body[0], trace
    for source in re.findall(r'<img[^>]* src="([^"]+)"', body[0]):
        if not source.startswith("data:"):
            file = (html / f"{page}.html").parent / source
            assert file.stat().st_size > 500, f"{source} is empty"


@pytest.mark.parametrize("page", [page for page in pages() if "_executed" in page])
def test_pages_with_simulated_data_say_so(html: Path, page: str) -> None:
    """Nobody may take made-up data for a real shop."""
    text = (html / f"{page}.html").read_text(encoding="utf-8")
    assert re.search(r"data of this page are <strong>simulated</strong>", text)


def test_paper_tables_and_figures_are_shown(html: Path) -> None:
    """The experiment shows Table I, Table II, Fig. 4 and Fig. 5."""
    text = (html / "book/_executed/08_run_experiment.html").read_text(encoding="utf-8")
    for needed in ("(Table I)", "Table II", "(Fig. 4)", "(Fig. 5)", "fig-heatmap", "always yes"):
        assert needed in text
    assert "not told apart" in text or "better than" in text or "worse than" in text


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
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


@pytest.mark.browser
@pytest.mark.parametrize("width", [1400, 420], ids=["desktop", "phone"])
def test_opens_without_errors_offline(html: Path, browser, width: int) -> None:
    """In Chromium: no console error, no network, no broken picture, no sideways scrolling."""
    context = browser.new_context(viewport={"width": width, "height": 900}, offline=True)
    view = context.new_page()
    faults: list[str] = []
    view.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
    view.on("pageerror", lambda error: faults.append(str(error)))
    view.on("request", lambda r: faults.append(r.url) if r.url.startswith("http") else None)
    for page in pages():
        faults.clear()
        view.goto((html / f"{page}.html").as_uri())
        view.wait_for_load_state("load")
        broken = view.eval_on_selector_all(
            "article img", "all => all.filter(i => i.naturalWidth === 0).map(i => i.src)"
        )
        overflow = view.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        assert not faults, f"{page}: {faults}"
        assert not broken, f"{page}: {broken}"
        assert overflow <= 1, f"{page} is {overflow} px too wide at {width} px"
    context.close()
