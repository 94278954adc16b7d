"""The scripts behind the Makefile: what they refuse to delete, to write, and to overlook."""

import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.packaging.wheels import ROOT

SCRIPTS = ROOT / "scripts"


@pytest.fixture
def pins(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module of ``make pins``, imported the way it is run."""
    monkeypatch.setattr(sys, "path", [str(SCRIPTS), *sys.path])
    return importlib.import_module("pins")


@pytest.fixture
def check_types(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module of ``make types``."""
    monkeypatch.setattr(sys, "path", [str(SCRIPTS), *sys.path])
    return importlib.import_module("check_types")


def test_a_folder_that_is_no_environment_is_not_removed(tmp_path: Path) -> None:
    precious = tmp_path / "home" / "precious.txt"
    precious.parent.mkdir()
    precious.write_text("precious", "utf-8")
    command = [sys.executable, str(SCRIPTS / "setup.py"), "--venv", str(precious.parent)]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    assert result.returncode == 3
    assert "was not made by this script: remove it, or name another folder with VENV=" in result.stderr
    assert precious.read_text("utf-8") == "precious"


def test_somebody_elses_environment_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "pyvenv.cfg").write_text("", "utf-8")
    command = [sys.executable, str(SCRIPTS / "setup.py"), "--venv", str(tmp_path)]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    assert result.returncode == 3
    assert (tmp_path / "pyvenv.cfg").exists()


def test_pins_are_sorted_and_drop_what_was_installed_from_an_address(pins: ModuleType) -> None:
    frozen = "b==2\n# a comment\nA==1.0+local\nc @ file:///somewhere/c\nd @ git+https://host/d@1\n\n"
    assert pins.pins(frozen) == "A==1.0+local\nb==2\n"


@pytest.mark.parametrize("line", ["-e .", "--hash=sha256:0", "b>=2", "b==2; python_version < '3.12'", "./b"])
def test_pins_refuse_what_they_do_not_understand(pins: ModuleType, line: str) -> None:
    with pytest.raises(ValueError, match="not a pin"):
        pins.pins(f"a==1\n{line}\n")


def test_pins_are_not_written_with_an_address_in_them(pins: ModuleType) -> None:
    pins.refuse_addresses("a==1\n")
    with pytest.raises(ValueError, match="holds an address"):
        pins.refuse_addresses("a==1\n# from https://host\n")


def test_an_expectation_speaks_of_the_line_below_and_of_one_checker(check_types: ModuleType) -> None:
    text = "x\n    # expect: mypy=override pyright=reportCallIssue\ny\n# expect: pyright=reportThis\nz\n"
    assert list(check_types.expectations(text, "mypy")) == [(3, "override")]
    assert list(check_types.expectations(text, "pyright")) == [(3, "reportCallIssue"), (5, "reportThis")]
