"""Links lead somewhere, and no file says on which machine or from which registry it was made."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.docs.documents import DISTRIBUTIONS, DOCUMENTS, ROOT

_LINK: Final = re.compile(r"\[[^\]]+\]\((?P<target>[^)\s]+)\)")

# Where package managers fetch from; put together here, so that this file does not hold them itself.
_REGISTRIES: Final = [
    f"{host}{path}"
    for host, path in (
        ("pypi.org", "/simple"),
        ("files.pythonhosted", ".org"),
        ("registry.npmjs", ".org"),
        ("index", "-url"),
        ("/artifac", "tory/"),
    )
]
_MACHINE: Final = re.compile(r"(?<![\w.$~])/(?:home|Users|work)/[\w.-]+/")


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_links_lead_to_files_and_headings(document: Path) -> None:
    for match in _LINK.finditer(document.read_text("utf-8")):
        target, _, anchor = match["target"].partition("#")
        if re.match(r"https?:", target):
            continue
        path = (document.parent / target).resolve() if target else document
        assert path.exists(), match["target"]
        assert path.is_relative_to(ROOT), match["target"]
        if anchor:
            assert anchor in set(_anchors(path)), match["target"]


@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=_name)
def test_what_stands_on_a_package_page_links_to_no_file(distribution: Path) -> None:
    links = [match["target"] for match in _LINK.finditer((distribution / "README.md").read_text("utf-8"))]
    assert [link for link in links if not link.startswith(("https://", "#"))] == []


def test_no_file_holds_a_registry_or_a_path_of_a_machine() -> None:
    here = [str(ROOT), str(Path.home())] if len(Path.home().parts) > 2 else [str(ROOT)]
    for path in _files():
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue
        for word in [*_REGISTRIES, *here]:
            assert word not in text, f"{_name(path)} holds {word}"
        machine = _MACHINE.search(text)
        assert machine is None, f"{_name(path)} holds {machine and machine.group()}"


def _files() -> list[Path]:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a checkout: which files belong to the project is git's knowledge")
    listed = subprocess.run(
        [git, "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
    ).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


def _anchors(document: Path) -> Iterator[str]:
    for heading in re.findall(r"^#+ (.+)$", document.read_text("utf-8"), re.MULTILINE):
        yield re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
