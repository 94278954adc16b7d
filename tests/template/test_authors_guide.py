"""What docs/backends.md lists is what core and the kit have, and its failure is one that really happens."""

import inspect
import re
import sys
from pathlib import Path
from typing import Final

import pytest

from corail.storage import capabilities, errors, validation
from corail.storage.port import StoragePort
from corail.storage.testing import StorageContract
from corail.storage.testing._base import ContractBase
from corail.storage.testing._clauses import METHODS, TESTS
from corail.storage.testing._template.names import names_of
from tests.docs.documents import ROOT, Block, blocks, code, table
from tests.template.authoring import Ended, run

GUIDE: Final = ROOT / "docs" / "backends.md"

# Raised by the factory, as a sentence below the table says.
_OF_THE_FACTORY: Final = {
    "StorageConflictError",
    "StorageLoadError",
    "StorageNotInstalledError",
    "UnknownStorageError",
}


def _first(heading: str) -> list[str]:
    return [name for row in table(GUIDE, heading) for name in code(row[0])]


def test_every_clause_is_explained() -> None:
    explained = {row[0] for row in table(GUIDE, "The contract")}
    assert explained == {entry.clause for entry in TESTS.values() if entry.clause.startswith("C-")}
    text = GUIDE.read_text("utf-8")
    named = [method for method in METHODS if f"`{method}`" not in text]
    assert set(named) <= {"model", "guard"}, "tests that belong to no promise"


def test_every_capability_is_explained() -> None:
    assert sorted(_first("Capabilities")) == sorted(capabilities.ALL)


def test_the_six_methods_are_the_abstract_ones() -> None:
    named = {name.partition("(")[0] for name in _first("The six methods")}
    assert named == set(StoragePort.__abstractmethods__)


def test_every_check_is_listed() -> None:
    functions = {name for name in validation.__all__ if inspect.isfunction(getattr(validation, name))}
    assert set(_first("What core gives you")) == functions


def test_every_error_is_listed() -> None:
    listed = {name for row in table(GUIDE, "Which error when") for name in code(row[1])}
    assert listed - {"TypeError"} == set(errors.__all__) - _OF_THE_FACTORY


def test_every_setting_is_listed_with_its_default() -> None:
    settings = set(ContractBase.__annotations__) - {"pytestmark", "request"}
    rows = {code(row[0])[0]: row[1] for row in table(GUIDE, "The kit")}
    assert set(rows) == settings | {"anyio_backend", "tie_created_at"}
    for name in settings:
        default = getattr(StorageContract, name)
        shown = "{}" if name in {"xfails", "overrides"} else repr(default)
        assert code(rows[name]) == [shown], name


@pytest.mark.parametrize("column", [1, 2])
def test_names_follow_as_the_table_says(column: int) -> None:
    text = GUIDE.read_text("utf-8")
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| ")]
    head = next(number for number, row in enumerate(rows) if row[0].strip() == "from the name")
    shown = [code(row[column])[0] for row in (rows[head], *rows[head + 1 : head + 6])]
    names = names_of(shown[0])
    assert shown[1:] == [names.name, names.distribution, names.package, names.class_name, names.variable]


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """The kit on the storage with a mistake."""
    (block,) = [block for block in _guide("python") if block.name == "test_broken.py"]
    folder = tmp_path_factory.mktemp("broken")
    (folder / "test_broken.py").write_text(block.text, "utf-8")
    (folder / "pytest.ini").write_text("[pytest]\n", "utf-8")
    return run([sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "test_broken.py"], folder=folder)


def test_the_failures_read_as_shown(broken: Ended) -> None:
    assert broken.code == 1, broken.output
    printed = [line.rstrip() for line in broken.output.splitlines()]
    shown = [block for block in _guide("text") if re.search(r"^E  ", block.text, re.MULTILINE)]
    assert len(shown) == 2
    for block in shown:
        place = 0
        for line in filter(None, map(str.strip, block.text.splitlines())):
            later = [number for number in range(place, len(printed)) if printed[number].strip() == line]
            assert later, f"{block.place}: the kit no longer prints, at this place: {line}"
            place = later[0] + 1


def test_the_tests_that_fail_are_those_it_names(broken: Ended) -> None:
    failed = re.findall(r"^FAILED test_broken\.py::TestBroken::(\w+)", broken.output, re.MULTILINE)
    assert {name.removeprefix("test_")[:5] for name in failed} == {"c01_i", "c04_w", "c14_t", "model"}
    assert len(failed) == 4


def _guide(language: str) -> list[Block]:
    return [block for block in blocks(language) if block.document == Path(GUIDE)]
