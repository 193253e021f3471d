"""The doctor names the machine, and what to mend, without naming its user."""

import getpass
import json
import subprocess
import sys
from pathlib import Path

import pytest

from reclib import paths
from reclib.study import cli, doctor


def test_machine_fills_table_one_and_names_nobody() -> None:
    machine = doctor.machine()
    assert {"CPU", "cores", "RAM (GB)", "GPU", "Python", "threads", "encoder"} <= machine.keys()
    assert set(doctor.PACKAGES) <= machine.keys()
    assert machine["cores"] >= 1 and machine["RAM (GB)"] > 0 and machine["CPU"]
    text = json.dumps(machine)
    assert str(paths.ROOT) not in text and str(Path.home()) not in text
    assert getpass.getuser() == "root" or getpass.getuser() not in text


def test_the_report_names_data_and_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "amazon-beauty"
    folder.mkdir()
    (folder / "interactions.csv.gz").touch()
    monkeypatch.setenv("RECLIB_DATA", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("COLUMNS", "500")
    assert cli.main(["doctor"]) == 0
    lines = dict(
        line.split("  ", 1) for line in capsys.readouterr().out.splitlines() if "  " in line
    )
    assert lines["data: amazon-beauty"].strip() == f"in {folder}"
    assert lines["data: amazon-office"].strip().startswith("not in")
    assert lines["OMP_NUM_THREADS"].strip() == "3"


def test_problems_say_how_to_mend_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    lock = "numpy==0.1\nno-such-package==1.0\nother-system==1.0 ; sys_platform == 'win32'\n"
    (tmp_path / "requirements.lock").write_text(lock)
    monkeypatch.setenv("RECLIB_DATA", str(tmp_path / "nowhere"))
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    found = "\n".join(doctor.problems())
    assert "instead of 0.1" in found and "no-such-package is missing" in found
    assert "other-system" not in found
    assert "mend or unset it" in found
    assert "apt-get install chromium" in found


def test_the_commands_start_without_torch_and_papermill() -> None:
    code = (
        "import sys, reclib.study.cli; print({'torch', 'papermill', 'nbformat'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
