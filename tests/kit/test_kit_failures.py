"""How failures of the kit read, and how known ones are declared."""

import subprocess
import sys

import pytest

from tests.kit.inner_pytest import FORGETS_TITLES, outcomes, run_pytest

pytest_plugins = ["pytester"]


def test_a_known_failure_is_expected_by_clause(pytester: pytest.Pytester) -> None:
    body = 'class TestMine(Base):\n    xfails = {"C-14": "titles are cut"}\n'
    result = run_pytest(pytester, FORGETS_TITLES + body, "-k", "c14")
    # One of the clause's two tests fails: the clause is known to fail, the other test may pass.
    assert outcomes(result) == {"xfailed": 1, "passed": 1}
    result.stdout.fnmatch_lines(["XFAIL*test_c14_titles_replace_each_other*C-14: titles are cut*"])


def test_a_known_failure_is_expected_by_test_name(pytester: pytest.Pytester) -> None:
    body = 'class TestMine(Base):\n    xfails = {"test_c14_titles_replace_each_other": "titles are cut"}\n'
    result = run_pytest(pytester, FORGETS_TITLES + body, "-k", "c14")
    assert outcomes(result) == {"xfailed": 1, "passed": 1}


def test_a_known_failure_that_passes_is_a_failure(pytester: pytest.Pytester) -> None:
    body = """
class TestMine(Fixture, StorageContract):
    xfails = {"C-14": "titles are cut", "test_c15_returned_values_are_the_callers": "frozen"}
"""
    result = run_pytest(pytester, body, "-k", "c14 or c15")
    assert outcomes(result) == {"failed": 2, "passed": 1}
    result.stdout.fnmatch_lines(["*C-14: declared in xfails (titles are cut), but all of its tests pass*"])


def test_a_failure_names_the_clause_and_shows_the_values(pytester: pytest.Pytester) -> None:
    body = FORGETS_TITLES + "class TestMine(Base): pass\n"
    result = run_pytest(pytester, body, "-k", "c14_titles", apart=True)
    # A line of its own for each value: the kit's modules are rewritten like test files.
    result.stdout.fnmatch_lines(
        ["E*AssertionError: C-14: assert 'secon' == 'second'", "E*- second", "E*+ secon"]
    )


def test_an_unexpected_exception_is_shown_under_the_clause(pytester: pytest.Pytester) -> None:
    body = """
class Raises(MemoryStorage):
    async def update_title(self, conversation_id, title):
        raise KeyError("inner")

class TestMine(Fixture, StorageContract):
    @pytest.fixture
    async def storage(self):
        return Raises()
"""
    result = run_pytest(pytester, body, "-k", "c14_titles")
    result.stdout.fnmatch_lines(
        ["E*KeyError: 'inner'", "E*AssertionError: C-14: unexpected KeyError: 'inner'"]
    )


def test_a_hang_is_a_failure_under_the_clause(pytester: pytest.Pytester) -> None:
    body = """
import anyio

class Hangs(MemoryStorage):
    async def append_message(self, conversation_id, role, content):
        await anyio.sleep_forever()

class TestMine(Fixture, StorageContract):
    patience = 0.2

    @pytest.fixture
    async def storage(self):
        return Hangs()
"""
    result = run_pytest(pytester, body, "-k", "c20_concurrent_appends")
    result.stdout.fnmatch_lines(["E*AssertionError: C-20: no end after 0.2 s: a deadlock, *"])


def test_a_fixture_that_gives_no_storage_is_named(pytester: pytest.Pytester) -> None:
    body = """
class TestMine(StorageContract):
    @pytest.fixture
    async def storage(self):
        return {}
"""
    result = run_pytest(pytester, body, "-k", "c14_titles")
    result.stdout.fnmatch_lines(
        ["E*AssertionError: guard: the fixture 'storage' gave a dict; it must give a*"]
    )


@pytest.mark.parametrize("module", ["anyio", "hypothesis", "pytest"])
def test_a_missing_extra_is_named(module: str) -> None:
    program = f"import sys; sys.modules[{module!r}] = None; import corail.storage.testing"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"needs {module}, which is not installed" in done.stderr
    assert 'pip install "corail-storage-core[testing]"' in done.stderr
