"""The book's extension: numbers come from result files, and a missing one stops the build."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXTENSIONS = Path(__file__).parents[2] / "book" / "_ext"
sys.path.insert(0, str(EXTENSIONS))
from result_files import MissingResult, Number, decimals, read_all, read_metrics  # noqa: E402

HEADER = "data protocol variant model metric value low high users seeds".split()
CONF = """
import sys
sys.path.insert(0, {extensions!r})
extensions = ["myst_parser", "results", "mathml"]
myst_enable_extensions = ["colon_fence", "dollarmath", "substitution"]
html_math_renderer = "mathml"
exclude_patterns = ["results"]
numfig = True
"""
REFERENCE = Path(__file__).parents[2] / "results" / "reference"
CITED = 'Value {{ reference["toy"]["full-loo"]["content"]["ndcg@10"] }}.'


def write_metrics(folder: Path, rows: list[tuple[str, str, str, str, str]]) -> None:
    """Write rows of protocol, variant, model, metric and value with an interval around it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "metrics.csv").open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(HEADER)
        for protocol, variant, model, metric, value in rows:
            bounds = (float(value) - 0.002, float(value) + 0.002) if value else ("", "")
            lines.writerow(
                [folder.name, protocol, variant, model, metric, value, *bounds, "1234", "1"]
            )


@pytest.fixture
def book(tmp_path: Path) -> Path:
    """Return a book of one page with one recorded data set and one run."""
    source = tmp_path / "book"
    rows = [
        ("full-loo", "raw", "content", "ndcg@10", "0.04444"),
        ("full-loo", "raw", "language", "ndcg@10", "0.039"),
        ("full-loo", "raw", "random", "ndcg@10", "0.9"),
        ("full-loo", "raw", "content", "ctr@10", ""),
        ("full-loo", "direction-blind", "content", "ndcg@10", "0.041"),
        ("pairs", "r=1", "content", "f1", "0.678"),
        ("full-loo", "raw", "language-vs-content", "ndcg@10", "-0.0054"),
        ("full-loo", "raw", "language-vs-content", "p_ndcg@10", "0.00004"),
        ("full-loo", "raw", "language-vs-random", "ndcg@10", "0.0005"),
        ("full-loo", "raw", "language-vs-random", "p_ndcg@10", "0.6"),
        ("full-loo", "raw", "content-vs-random", "ndcg@10", "0.004"),
    ]
    write_metrics(source / "results/reference/toy", rows)
    write_metrics(source / "results/runs/toy-smoke", rows)
    latest = {"data": "toy", "size": "smoke", "path": "toy-smoke"}
    (source / "results/runs/latest.json").write_text(json.dumps(latest), encoding="utf-8")
    (source / "conf.py").write_text(CONF.format(extensions=str(EXTENSIONS)), encoding="utf-8")
    return source


def build(source: Path, page: str, *, strict: bool = True) -> tuple[int, str, str]:
    """Build the page and return the exit status, what was printed and the HTML."""
    (source / "index.md").write_text(f"# Page\n\n{page}\n", encoding="utf-8")
    command = [sys.executable, "-m", "sphinx", "-n", "-q", "-b", "html"]
    command += ["-W", "--keep-going"] if strict else []
    result = subprocess.run(
        [*command, str(source), str(source / "_build")],
        capture_output=True,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
        timeout=120,
        check=False,
    )
    page_file = source / "_build" / "index.html"
    html = page_file.read_text(encoding="utf-8") if page_file.exists() else ""
    return result.returncode, result.stderr, html


def test_page_cites_value_interval_variant_and_run(book: Path) -> None:
    page = "\n\n".join(
        [
            CITED,
            'Alone {{ reference["toy"]["full-loo"]["content"]["ndcg@10"].value }}, '
            'users {{ reference["toy"]["full-loo"]["content"]["ndcg@10"].users }}.',
            'Blind {{ reference["toy"]["full-loo:direction-blind"]["content"]["ndcg@10"] }}.',
            'Clicks {{ reference["toy"]["full-loo"]["content"]["ctr@10"] }}.',
            'Run {{ run["data"] }} {{ run["size"] }} {{ run["pairs"]["content"]["f1"].value }}.',
        ]
    )
    status, printed, html = build(book, page)
    assert status == 0, printed
    assert "Value 0.0444 [0.0424, 0.0464]." in html
    assert "Alone 0.0444, users 1,234." in html
    assert "Blind 0.0410 [0.0390, 0.0430]." in html
    assert "Clicks not measurable." in html
    assert "Run toy smoke 0.678." in html


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ('["tiy"]["full-loo"]["content"]["ndcg@10"]', "no data set 'tiy'; there is: toy"),
        ('["toy"]["full-lo"]["content"]["ndcg@10"]', "no protocol 'full-lo'"),
        ('["toy"]["full-loo"]["contend"]["ndcg@10"]', "no model 'contend'"),
        ('["toy"]["full-loo"]["content"]["ndcg@5"]', "no metric 'ndcg@5'"),
    ],
)
def test_unknown_key_stops_the_build_and_names_what_there_is(
    book: Path, keys: str, expected: str
) -> None:
    status, printed, _ = build(book, f"{{{{ reference{keys} }}}}")
    assert status != 0
    assert expected in printed


def test_nothing_recorded_stops_the_build(book: Path) -> None:
    (book / "results/reference/toy/metrics.csv").unlink()
    status, printed, _ = build(book, CITED)
    assert status != 0
    assert "has no data set 'toy'" in printed
    assert "make reference" in printed


def test_table_marks_the_best_and_links_its_source(book: Path) -> None:
    page = ":::{results-table} toy\n:models: random content language\n:metrics: ndcg@10\n"
    status, printed, html = build(book, f"{page}:name: tab-toy\nCaption of `toy`.\n:::")
    assert status == 0, printed
    assert '<span class="value first">0.044</span>' in html
    assert '<span class="value second">0.039</span>' in html
    assert '<span class="value other">0.900</span>' in html, "a yardstick is not ranked"
    assert '<span class="interval">[0.042, 0.046]</span>' in html
    assert "1,234 users" in html
    assert "Table 1" in html and "Caption of" in html
    assert list((book / "_build/_downloads").rglob("metrics.csv"))


def test_differences_have_signs_and_only_what_is_found_is_bold(book: Path) -> None:
    status, printed, html = build(book, ":::{differences-table} toy\n:metrics: ndcg@10\n:::")
    assert status == 0, printed
    assert '<span class="value first">−0.00540</span>' in html
    assert '<span class="interval">[−0.00740, −0.00340]</span>' in html
    assert '<span class="interval">p &lt; .001</span>' in html
    assert '<span class="value other">+0.00050</span>' in html
    assert '<span class="interval">p = .600</span>' in html
    assert '<span class="value first">+0.00400</span>' in html, "no test, but an interval above 0"
    assert "-vs-" not in html


def test_table_without_its_number_stops_the_build(book: Path) -> None:
    status, printed, _ = build(book, ":::{results-table} toy\n:metrics: recall@10\n:::")
    assert status != 0
    assert "has no metric 'recall@10'" in printed


def test_table_of_the_readers_run_needs_a_run(book: Path) -> None:
    table = ":::{results-table}\n:protocol: pairs\n:metrics: f1\n:::"
    status, printed, html = build(book, table)
    assert status == 0, printed
    assert "results/runs/toy-smoke/metrics.csv" in html
    (book / "results/runs/latest.json").unlink()
    status, printed, _ = build(book, table)
    assert status != 0
    assert "run has no entry 'path'" in printed


def test_second_build_shows_changed_numbers(book: Path) -> None:
    table = ":::{results-table} toy\n:models: content\n:metrics: ndcg@10\n:::"
    assert "0.0444" in build(book, f"{CITED}\n\n{table}")[2]
    write_metrics(
        book / "results/reference/toy", [("full-loo", "raw", "content", "ndcg@10", "0.0555")]
    )
    status, printed, html = build(book, f"{CITED}\n\n{table}")
    assert status == 0, printed
    assert "0.0444" not in html
    assert html.count("0.0555") == 2


def test_equations_need_no_script_and_unknown_commands_stop_the_build(book: Path) -> None:
    status, printed, html = build(book, "Angle $\\cos(x_u, y_i)$.\n\n$$S = X X^\\top$$ (eq-s)")
    assert status == 0, printed
    assert html.count("<math") == 2
    assert "https://cdn" not in html
    status, printed, _ = build(book, "$\\notacommand{x}$")
    assert status != 0
    assert "notacommand" in printed


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (Number(0.0726, 0.07021, 0.0751, 5), "0.0726 [0.0702, 0.0751]"),
        (Number(-0.00123, -0.0030, 0.0005, 5), "−0.00123 [−0.00300, 0.00050]"),
        (Number(1.0, float("nan"), float("nan"), 5), "1.000"),
        (Number(0.0, 0.0, 0.0, 5), "0 [0, 0]"),
        (Number(0.0, -0.0063, 0.0067, 5), "0.00000 [−0.00630, 0.00670]"),
        (Number(12345.6, 12000.0, 13000.0, 5), "12,346 [12,000, 13,000]"),
        (Number(float("nan"), 0.0, 1.0, 5), "not measurable"),
    ],
)
def test_three_significant_digits(number: Number, expected: str) -> None:
    assert str(number) == expected


def test_one_column_has_the_decimals_of_its_largest_value() -> None:
    assert decimals(0.0054, 0.0726, float("nan")) == 4
    assert decimals(float("nan")) == 0


def test_two_rows_for_one_number_are_refused(tmp_path: Path) -> None:
    line = ("full-loo", "raw", "content", "ndcg@10", "0.04")
    write_metrics(tmp_path, [line, line])
    with pytest.raises(ValueError, match="two rows"):
        read_metrics(tmp_path / "metrics.csv", "toy")


def test_missing_results_are_not_taken_for_missing_keys(tmp_path: Path) -> None:
    results = read_all(tmp_path)
    assert not issubclass(MissingResult, LookupError), "Jinja turns a LookupError into its own"
    with pytest.raises(MissingResult, match="no data set 'amazon-beauty'"):
        results["reference"]["amazon-beauty"]


def test_the_scorecard_judges_every_claim_on_every_recorded_run(book: Path) -> None:
    status, said, html = build(book, ":::{scorecard}\n:name: tab-card\nWhat is left.\n:::")
    assert (status, said) == (0, "")
    recorded = [file.parent.name for file in REFERENCE.glob("*/metrics.csv")]
    assert recorded
    assert html.count('class="verdict') == 5 * len(recorded)
    assert "What is left." in html and "diversity +41.2" in html
    for name in recorded:
        assert f"<p>{name}</p>" in html
