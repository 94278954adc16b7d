"""Each broken backend fails the kit, by a test of the clause it breaks, in words that name the clause."""

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from corail.storage.testing._clauses import TESTS
from tests.kit.mutants import batches, concurrency, conversations, interruption, lifecycle, paging, texts
from tests.kit.mutants.catalogue import MUTANTS

_TABLE = Path(__file__).with_name("mutants_table.py")
_FAMILIES = (batches, concurrency, conversations, interruption, lifecycle, paging, texts)


@pytest.fixture(scope="module")
def failures(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Mapping[str, str]]:
    file = tmp_path_factory.mktemp("mutants") / "failures.json"
    # In a process of its own: a mutant may leave threads behind that never end.
    subprocess.run([sys.executable, str(_TABLE), "--json", str(file)], check=False, timeout=280)
    found: dict[str, dict[str, str]] = json.loads(file.read_text())
    return found


@pytest.mark.parametrize("name", sorted(MUTANTS))
def test_mutant_is_caught_by_its_clause(name: str, failures: Mapping[str, Mapping[str, str]]) -> None:
    clause = MUTANTS[name].clause
    # The state machine names the clause it found broken.
    label = r"C-\d\d|append_messages" if clause == "model" else re.escape(clause)
    messages = list(failures[name].values())
    assert [text for text in messages if re.match(label, text)], (
        f"{clause} passes for: {MUTANTS[name].fault} {messages}"
    )


def test_every_clause_has_a_mutant() -> None:
    assert {mutant.clause for mutant in MUTANTS.values()} == {entry.clause for entry in TESTS.values()}


def test_every_family_is_in_the_list() -> None:
    kinds = {mutant.storage.__module__ for mutant in MUTANTS.values()}
    assert kinds == {family.__name__ for family in _FAMILIES}
