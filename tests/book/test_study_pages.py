"""Pages that the library makes from recorded runs: whole, cited, and broken without their files."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from reclib import paths

BOOK = Path(__file__).parents[2] / "book"
CONF = """
import sys
from pathlib import Path
sys.path.insert(0, {extensions!r})
from reclib import paths
paths.REFERENCE = Path({reference!r})
extensions = ["myst_parser", "sphinxcontrib.bibtex", "results"]
myst_enable_extensions = ["colon_fence", "substitution"]
bibtex_bibfiles = [{bibliography!r}]
exclude_patterns = ["results", "reclib"]
numfig = True
suppress_warnings = ["bibtex.duplicate_label"]
"""


def build(source: Path, page: str, *, reference: Path = paths.REFERENCE) -> tuple[int, str, str]:
    """Build a page strictly; return the exit status, what was printed and the HTML."""
    source.mkdir(exist_ok=True)
    conf = CONF.format(
        extensions=str(BOOK / "_ext"),
        reference=str(reference),
        bibliography=os.path.relpath(BOOK / "references.bib", source),
    )
    (source / "conf.py").write_text(conf, encoding="utf-8")
    bibliography = "```{bibliography}\n```"
    (source / "index.md").write_text(f"# Page\n\n{page}\n\n{bibliography}\n", encoding="utf-8")
    command = [sys.executable, "-m", "sphinx", "-n", "-q", "-W", "--keep-going", "-b", "html"]
    done = subprocess.run(
        [*command, str(source), str(source / "_build")],
        capture_output=True,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
        timeout=300,
        check=False,
    )
    html = source / "_build" / "index.html"
    return done.returncode, done.stderr, html.read_text(encoding="utf-8") if html.exists() else ""


LITERATURE = ":::{literature}\n:name: tab-l\nPublished and ours.\n:::"
HISTORY = ":::{history-gain} amazon-beauty\n:name: fig-h\n:alt: Two lines.\nBy history.\n:::"
COST = ":::{cost-figure} amazon-office\n:name: fig-c\n:alt: Dots.\nWhat it costs.\n:::"
COSTS = ":::{cost-table} amazon-office\n:name: tab-c\nWhat it costs.\n:::"
ORDER = ":::{order-effect}\n:name: fig-o\n:alt: Dots and rings.\nWhat is lost.\n:::"
GROUPS = ":::{order-groups} amazon-office\n:name: fig-g\n:alt: Three marks.\nWho gains.\n:::"
PRICE = ":::{diversity-price} amazon-office\n:name: fig-d\n:alt: Lines.\nWhat it costs.\n:::"


def test_the_literature_is_cited_and_ours_is_marked(tmp_path: Path) -> None:
    pages = [LITERATURE, ORDER, GROUPS, PRICE, COST, COSTS]
    status, said, html = build(tmp_path / "book", "\n\n".join(pages))
    assert (status, said) == (0, "")
    assert html.count('src="data:image/svg+xml;base64,') == 4
    assert "gains most over" in html and "encode, s" in html and "gain / s" in html
    assert 'class="ours' in html or "ours docutils" in html
    assert "The paper’s +41.2% would be an" in html
    assert "EnsRec" in html and "this study, direction-blind" in html
    assert html.count("Not comparable: ties in time are shuffled") >= 3
    assert 'alt="Dots and rings."' in html
    assert "Without the direction" in html and "<strong>" in html
    assert "in the order of others" in html and "with later ids raised is" in html


def test_a_missing_run_stops_the_build_and_is_named(tmp_path: Path) -> None:
    """By every directive for itself."""
    pages = [LITERATURE, ORDER, GROUPS, PRICE, HISTORY, COST, COSTS]
    status, said, _ = build(tmp_path / "book", "\n\n".join(pages), reference=tmp_path / "nothing")
    assert status != 0
    assert said.count("nothing/amazon-beauty/metrics.csv is not there") == 3
    assert said.count("nothing/amazon-office/metrics.csv is not there") == 2
    for name in ("order", "diversity"):
        assert said.count(f"nothing/amazon-office/{name}.csv is not there") == 1


SWEEP = ":::{sweep-gain} toy decay\n:name: fig-s\n:alt: Two lines.\nBy decay.\n:::"
ROWS = """params.decay,params.seed,data,protocol,variant,model,metric,value,low,high,users,seeds
0.5,0,simulated,full-loo,raw,traditional,ndcg@10,0.1,0.09,0.11,50,1
0.5,0,simulated,full-loo,raw,llm-fusion-vs-traditional,ndcg@10,0.02,0.01,0.03,50,1
0.9,0,simulated,full-loo,raw,traditional,ndcg@10,0.1,0.09,0.11,50,1
0.9,0,simulated,full-loo,raw,llm-fusion-vs-traditional,ndcg@10,-0.01,-0.02,0.01,50,1
"""


def test_gains_are_drawn_and_said(tmp_path: Path) -> None:
    """Of recorded histories and sweeps; a sweep that is not recorded says how to do it."""
    reference = tmp_path / "reference"
    shutil.copytree(paths.REFERENCE / "amazon-beauty", reference / "amazon-beauty")
    source = tmp_path / "book"
    status, said, html = build(source, f"{HISTORY}\n\n{SWEEP}", reference=reference)
    assert (status, said) == (0, "")
    assert html.count('src="data:image/svg') == 1
    words = re.sub(r"<[^>]+>", "", html)
    assert "Not recorded yet: run make sweep SWEEP=params/sweeps/toy.yaml" in words
    (reference / "sweeps").mkdir()
    (reference / "sweeps" / "toy.csv").write_text(ROWS, encoding="utf-8")
    shutil.rmtree(source / "_build")
    status, said, html = build(source, SWEEP, reference=reference)
    assert (status, said) == (0, "")
    assert html.count('src="data:image/svg') == 1
    assert "gains +20.0% [+10.0%, +30.0%] at decay 0.5 and −10.0%" in html
