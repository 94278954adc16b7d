"""The list of contract tests itself: every clause has one, every test says how to fix what it finds."""

import re
from pathlib import Path

import pytest

import corail.storage.testing as kit
from corail.storage.testing import CONTRACT, StorageContract
from corail.storage.testing._clauses import METHODS, TESTS, clause_of

_NUMBERED = [1, 2, 3, 4, 10, 11, 12, 13, 14, 15, 20, 21, 22, 23, 24, 30, 31, 32]
_FOLDER = Path(kit.__file__).parent


def test_every_clause_of_the_contract_has_a_test() -> None:
    clauses = {entry.clause for entry in TESTS.values()}
    assert clauses == {*(f"C-{number:02}" for number in _NUMBERED), *METHODS}


@pytest.mark.parametrize("name", sorted(TESTS))
def test_every_test_says_what_to_do(name: str) -> None:
    entry = TESTS[name]
    assert getattr(StorageContract, name) is entry.test
    assert entry.clause == clause_of(name)
    assert entry.since <= CONTRACT
    assert re.search(r"(Fix|To do): \S", entry.test.__doc__ or ""), "the docstring gives no remedy"


def test_every_module_that_asserts_shows_the_values() -> None:
    face = (_FOLDER / "__init__.py").read_text()
    asserting = {
        file.stem for file in _FOLDER.glob("_[a-z]*.py") if re.search(r"^ +assert ", file.read_text(), re.M)
    }
    assert {f"_{name}" for name in re.findall(r'^ +"(\w+)",$', face, re.M)} == asserting


def test_the_face_is_what_authors_import() -> None:
    assert sorted(kit.__all__) == ["CONTRACT", "StorageContract"]
    assert all(hasattr(kit, name) for name in kit.__all__)
