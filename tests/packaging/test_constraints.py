"""``constraints.txt``: versions only, for everything that ``make setup`` asks for."""

import re
import tomllib

import pytest

from tests.packaging.wheels import ROOT

LINES = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
PINS = [line for line in LINES if line and not line.startswith("#")]


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements() -> list[str]:
    """Everything that is asked for by name, but for the workspace's own distributions."""
    wanted: list[str] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["dependency-groups"][
        "dev"
    ]
    files = [*ROOT.glob("corail-storage-*/pyproject.toml"), *ROOT.glob("examples/*/pyproject.toml")]
    own = tuple(file.parent.name for file in files)
    for file in files:
        project = tomllib.loads(file.read_text("utf-8"))["project"]
        wanted += project["dependencies"]
        for extra in project.get("optional-dependencies", {}).values():
            wanted += extra
    return sorted({requirement for requirement in wanted if not requirement.startswith(own)})


def test_every_line_is_a_name_and_a_version() -> None:
    assert [pin for pin in PINS if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!+_-]+", pin)] == []


def test_no_line_holds_an_address_an_option_or_a_path() -> None:
    assert [line for line in LINES if "://" in line or line.lstrip("# ").startswith("-") or "/" in line] == []


def test_the_header_says_how_it_was_made() -> None:
    assert LINES[0].startswith("#")
    assert "make pins" in " ".join(line for line in LINES if line.startswith("#"))


@pytest.mark.parametrize("requirement", requirements())
def test_what_setup_installs_is_pinned(requirement: str) -> None:
    name = normalized(re.split(r"[^A-Za-z0-9._-]", requirement)[0])
    # pip is there before anything is installed, and pip freeze leaves it out.
    assert name == "pip" or name in {normalized(pin.split("==")[0]) for pin in PINS}
