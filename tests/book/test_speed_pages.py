"""The page on speed shows what was measured, and says what was not."""

import re
import subprocess
import sys
from html import unescape
from pathlib import Path
from xml.etree import ElementTree

import pytest

from reclib.study import speed

EXTENSIONS = Path(__file__).parents[2] / "book" / "_ext"
CONF = """
import sys
sys.path.insert(0, {extensions!r})
extensions = ["myst_parser", "sphinx_design", "results"]
myst_enable_extensions = ["colon_fence", "substitution"]
exclude_patterns = ["results"]
numfig = True
"""
DIRECTIVES = [
    "peers",
    "claim",
    "workers",
    "weightings",
    "serve",
    "models",
    "finetune",
    "depths",
    "mixtures",
    "several-tasks",
    "estimate",
    "figure",
    "machine",
]
PAGE = "# Page\n\n" + "\n\n".join(
    f":::{{bench-{name}}}{' 2000 3000' if name == 'estimate' else ''}\n"
    f":name: tab-{name}\n:caption: About {name}.\n:::"
    for name in DIRECTIVES
)
ABOUT = {"events": 1000, "items": 400, "users": 50, "threads": 2, "peak_mb": 2048.0}
SCALE = [
    {"series": "claim", "step": "rank", "model": "language", "workers": 0, "seconds": 2.0, **ABOUT},
    *(
        {"series": "workers", "step": "rank", "model": "language", "workers": n, "seconds": 6 / n,
         **ABOUT, "peak_mb": None}
        for n in (1, 2)
    ),
]  # fmt: skip


def build(source: Path) -> str:
    """Build strictly and return the words of the page."""
    (source / "conf.py").write_text(CONF.format(extensions=str(EXTENSIONS)), encoding="utf-8")
    (source / "index.md").write_text(PAGE, encoding="utf-8")
    command = [sys.executable, "-m", "sphinx", "-n", "-q", "-W", "--keep-going", "-b", "html"]
    subprocess.run([*command, str(source), str(source / "_build")], check=True)
    html = (source / "_build" / "index.html").read_text(encoding="utf-8")
    return re.sub(r"\s+", " ", unescape(re.sub("<[^>]+>", " ", html.partition("</head>")[2])))


def test_nothing_measured_is_said_and_the_build_goes_on(tmp_path: Path) -> None:
    assert build(tmp_path).count("Not measured: make bench writes results") == len(DIRECTIVES)


def test_tables_hold_what_the_files_hold(tmp_path: Path) -> None:
    folder = tmp_path / "results" / "reference" / "benchmarks"
    peers = [{"task": "encode", "seconds": 2.0, "peer": "other", "peer_seconds": 5.0}]
    weightings = {"data": "toy", "users": 22363, "items": 12101, "weightings": 231}
    seconds = {"score_seconds": 70.0, "combine_seconds": 9.5}
    speed.write_table(speed.PEERS_FILE, peers, folder, 0.0)
    speed.write_table(speed.SCALE_FILE, SCALE, folder, 0.0)
    speed.write_table(speed.WEIGHTINGS_FILE, [weightings | seconds], folder, 0.25)
    waits = {"median_ms": 3.6, "p99_ms": 5.4, "processor_ms": 3.5}
    crowd = {"users": 25000, "items": 50000, "customers": "searching", "callers": 8, "served": 97.0}
    ways = [{**crowd, **waits, "rate": rate} for rate in (0.0, 100.0)]
    speed.write_table(speed.SERVE_FILE, ways, folder, 0.0)
    toy = {"data": "toy", "users": 50, "items": 400, "seconds": 2.0, "peak_mb": 512.0}
    steps = {"nothing": ["load"], "language": ["encode", "fit", "score"]}
    models = [
        {**toy, "model": model, "step": step, "joules": 3.0 if step == "fit" else None}
        for model, own in steps.items()
        for step in own
    ]
    speed.write_table(speed.MODELS_FILE, models, folder, 0.0)
    tuned = {"encoder": "random", "parameters": 9, "data": "toy", "items": 400, "threads": 2}
    tuned |= {"precision": "bfloat16", "batch_size": 8, "examples": 24, "epoch_examples": 99}
    tuned |= {"texts": 50, "padding": 0.25, "tflops": 2.0, "matrix_tflops": 8.0, "peak_gb": 3.0}
    devices = {"quick": 2_000_000, "slow": 1_000}
    finetune = [
        {**tuned, "device": device, "seconds": 2.0, "tokens": tokens}
        for device, tokens in devices.items()
    ]
    speed.write_table(speed.FINETUNE_FILE, finetune, folder, 0.0)
    depth = {"data": "toy", "device": "quick", "seconds": 9.0}
    none = {"encoder_rate": None, "gain": None, "low": None, "high": None}
    gain = {"encoder_rate": 1e-4, "gain": 0.02, "low": -0.01, "high": 0.05}
    depths = [
        {**depth, **none, "depth": "adapter", "epochs": 3, "ndcg@10": 0.05},
        {**depth, **gain, "depth": "full", "epochs": 3, "ndcg@10": 0.07},
    ]
    speed.write_table(speed.DEPTHS_FILE, depths, folder, 0.0)
    minus = "\N{MINUS SIGN}"
    own = {"data": "toy", "users": 50, "seeds": 1, "device": "quick", "low": 0.01, "high": 0.05}
    lists, both = {**own, "protocol": "full-loo"}, f"a {minus} b"
    chance = {"low": None, "high": None, "value": 0.0123}
    answers = {**own, "protocol": "sentiment", "model": "a"}
    measured = [
        {**lists, "model": both, "metric": "ndcg@10", "value": 0.03},
        {**lists, "model": both, "metric": "p_ndcg@10", **chance},
        {**lists, "model": "a", "metric": "recall@10", "value": 0.9},
        {**answers, "metric": "balanced_accuracy", "value": 0.04},
    ]
    speed.write_table(speed.MIXTURES_FILE, measured[:3], folder, 0.0)
    speed.write_table(speed.SEVERAL_FILE, measured[3:], folder, 0.0)
    words = build(tmp_path)
    assert "Not measured" not in words
    shown = f"a {minus} b ndcg@10 +0.0300 [+0.0100, +0.0500] 0.0123"
    assert shown in words and "0.9000" not in words
    assert "a balanced_accuracy 0.0400 [0.0100, 0.0500] \N{EN DASH}" in words
    assert "Measured on quick." in words
    assert "quick 2 8 1,000,000 2,000\N{MULTIPLICATION SIGN} 2.00 25% 25% 3.00" in words
    assert "slow 2 8 500 1\N{MULTIPLICATION SIGN} 2.00 25% 25% 3.00" in words
    assert "adapter quick \N{EN DASH} 3 9.00 0.0500 \N{EN DASH}" in words
    assert "full quick 0.0001 3 9.00 0.0700 +0.0200 [-0.0100, +0.0500]" in words
    dash = "\N{EN DASH}"
    assert f"nothing {dash} {dash} {dash} {dash} 0.500 {dash} {dash}" in words
    assert "language 2.00 2.00 2.00 0.500 0.500 0.500 3.00" in words
    assert "searching 8 at once 97.0 3.60 5.40 3.50" in words
    assert "searching 8 100 97.0 3.60 5.40 3.50" in words
    assert "encode 2.00 5.00 other 2.50\N{MULTIPLICATION SIGN}" in words
    assert "rank language 1,000 400 50 2 2.00 2.00" in words  # the claim, in GB
    assert "rank language 50 400 6.00 3.00 2.00" in words  # one worker, two, ratio
    assert "toy 22,363 12,101 231 70.0 9.50" in words
    # 2 s on 2 threads for 50 × 400 pairs; 6,000,000 pairs; 2 GB for 400 products
    assert "rank language 200 \N{MICRO SIGN}s / user and product 6 × 10⁶ 0.333 15.0 1" in words
    assert "load before weightings.csv 0.25" in words
    assert ElementTree.parse(folder / speed.FIGURE_FILE).getroot().tag.endswith("svg")


def test_a_file_without_the_right_columns_stops_the_build(tmp_path: Path) -> None:
    folder = tmp_path / "results" / "reference" / "benchmarks"
    folder.mkdir(parents=True)
    (folder / speed.SCALE_FILE).write_text("series,step\nevents,load\n", encoding="utf-8")
    with pytest.raises(subprocess.CalledProcessError):
        build(tmp_path)
