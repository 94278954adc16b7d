"""What the kit refuses, skips or reports about a test class and the pytest it runs under."""

import pytest

from tests.kit.inner_pytest import outcomes, run_pytest

pytest_plugins = ["pytester"]


def test_an_overridden_test_is_an_error(pytester: pytest.Pytester) -> None:
    result = run_pytest(
        pytester,
        """
class TestMine(Fixture, StorageContract):
    async def test_c21_own_appends_keep_their_order(self, storage):
        pass
""",
    )
    assert outcomes(result) == {"errors": 1}
    result.stdout.fnmatch_lines(["*test_c21_own_appends_keep_their_order is the kit's and was replaced*"])
    result.stdout.fnmatch_lines(['*xfails = {"C-21": "reason"}*overrides = *'])


@pytest.mark.parametrize("removal", ["test_c14_titles_replace_each_other = None", "_contract = None"])
def test_a_removed_test_or_guard_is_an_error(pytester: pytest.Pytester, removal: str) -> None:
    result = run_pytest(pytester, f"class TestMine(Fixture, StorageContract):\n    {removal}\n")
    assert outcomes(result) == {"errors": 1}
    result.stdout.fnmatch_lines(["*guard: * is the kit's*"])


def test_a_test_inherited_from_elsewhere_is_an_error(pytester: pytest.Pytester) -> None:
    result = run_pytest(
        pytester,
        """
class Quiet:
    async def test_c14_titles_replace_each_other(self, storage):
        pass

class TestMine(Quiet, Fixture, StorageContract):
    pass
""",
    )
    assert outcomes(result) == {"errors": 1}


def test_a_test_deleted_from_the_kit_itself_is_a_failure(pytester: pytest.Pytester) -> None:
    result = run_pytest(
        pytester,
        """
from corail.storage.testing._conversations import Conversations

class TestMine(Fixture, StorageContract):
    pass

del Conversations.test_c14_titles_replace_each_other
""",
        "-k",
        "guard",
        apart=True,
    )
    assert outcomes(result) == {"failed": 1, "passed": 2}
    result.stdout.fnmatch_lines(
        ["*guard: test_c14_titles_replace_each_other is the kit's and was replaced or*"]
    )


def test_declared_overrides_run_and_are_reported(pytester: pytest.Pytester) -> None:
    result = run_pytest(
        pytester,
        """
class TestMine(Fixture, StorageContract):
    overrides = {
        "test_c14_titles_replace_each_other": "titles are cut to 80 characters",
        "test_c15_returned_values_are_the_callers": "frozen dicts",
    }
    test_c15_returned_values_are_the_callers = None

    async def test_c14_titles_replace_each_other(self, storage):
        pass
""",
        "-k",
        "guard or c14 or c15",
    )
    assert outcomes(result) == {"passed": 4, "skipped": 1}
    result.stdout.fnmatch_lines(
        ["SKIPPED*undecided by the kit: replaced by the author: test_c14*(titles are*; test_c15*(frozen *)"]
    )


@pytest.mark.parametrize(
    ("declaration", "words"),
    [
        (
            'xfails = {"C-99": "reason"}',
            "*xfails names 'C-99', which is neither a test nor one of the clauses*",
        ),
        ('xfails = {"C-21": " "}', "*xfails?'C-21'? has no reason*"),
        ('overrides = {"test_c14_titles_replace_each_other": "x"}', "*which the class does not replace*"),
        ("contract = (9, 0)", "*contract is (9, 0), this kit tests (1, 0). Upgrade corail-storage-core*"),
        ('contract = "1.0"', "*contract is '1.0'; write it as contract = (1, 0)*"),
        ("async def test_c99_mine(self, storage): pass", "*test_c99_mine is named like a test of the kit*"),
        (
            "async def test_aclose_mine(self, storage): pass",
            "*test_aclose_mine is named like a test of the kit*",
        ),
    ],
)
def test_a_wrong_declaration_is_an_error(pytester: pytest.Pytester, declaration: str, words: str) -> None:
    result = run_pytest(pytester, f"class TestMine(Fixture, StorageContract):\n    {declaration}\n")
    assert outcomes(result) == {"errors": 1}
    result.stdout.fnmatch_lines([words])


def test_an_unknown_capability_is_a_failure(pytester: pytest.Pytester) -> None:
    body = """
class Claims(MemoryStorage):
    capabilities = MemoryStorage.capabilities | {"totalorder"}

class TestMine(Fixture, StorageContract):
    @pytest.fixture
    async def storage(self):
        return Claims()
"""
    result = run_pytest(pytester, body, "-k", "guard_capabilities")
    assert outcomes(result) == {"failed": 1}
    result.stdout.fnmatch_lines(
        ["*guard: unknown capabilities 'totalorder'; there are any_text, atomic_append*"]
    )


def test_a_capability_that_is_not_claimed_skips_with_its_name(pytester: pytest.Pytester) -> None:
    body = """
class Modest(MemoryStorage):
    capabilities = MemoryStorage.capabilities - {DETAILS}

class TestMine(Fixture, StorageContract):
    @pytest.fixture
    async def storage(self):
        return Modest()
"""
    result = run_pytest(pytester, body, "-k", "c03_no_metadata or page_messages_items")
    assert outcomes(result) == {"skipped": 2}
    result.stdout.re_match_lines([r"SKIPPED \[2\] .*: details$"])


def test_tests_of_a_later_contract_are_skipped(pytester: pytest.Pytester) -> None:
    body = """
from corail.storage.testing import _guard
from corail.storage.testing._clauses import clause

class NewerKit(Fixture, StorageContract):
    @clause(since=(1, 1))
    async def test_c40_a_new_promise(self, storage):
        assert False, "not kept"

_guard.CONTRACT = (1, 1)

class TestPublished(NewerKit):
    contract = (1, 0)

class TestOfItsTime(NewerKit):
    contract = (1, 1)

class TestOwnNames(Fixture, StorageContract):
    # Published before the kit had a test of that name.
    pass
"""
    result = run_pytest(pytester, body, "-k", "c40 or guard_no_test", apart=True)
    assert outcomes(result) == {"failed": 1, "passed": 3, "skipped": 1}
    result.stdout.fnmatch_lines(["E*AssertionError: C-40: not kept"])
    result.stdout.re_match_lines([r"SKIPPED \[1\] .*: new in contract 1\.1$"])
    result.stdout.fnmatch_lines(["FAILED*TestOfItsTime::test_c40_a_new_promise*"])


_ASYNCIO_STUB = """
def pytest_addoption(parser):
    parser.addini("asyncio_mode", "as pytest-asyncio has it", default="strict")

def pytest_configure(config):
    config.pluginmanager.register(object(), "asyncio")
"""


@pytest.mark.parametrize(("mode", "refused"), [("auto", True), ("strict", False)])
def test_the_auto_mode_of_pytest_asyncio_is_refused(
    pytester: pytest.Pytester, mode: str, *, refused: bool
) -> None:
    pytester.makeconftest(_ASYNCIO_STUB)
    pytester.makeini(f"[pytest]\nasyncio_mode = {mode}\n")
    result = run_pytest(pytester, "class TestMine(Fixture, StorageContract): pass\n", "-k", "c14")
    if refused:
        assert outcomes(result) == {"errors": 2}
        result.stdout.fnmatch_lines(['*another event loop*Set asyncio_mode = "strict"*'])
    else:
        assert outcomes(result) == {"passed": 2}


def test_a_fixture_of_pytest_asyncio_is_refused(pytester: pytest.Pytester) -> None:
    body = """
class TestMine(StorageContract):
    async def storage(self):
        return MemoryStorage()

    # As pytest_asyncio.fixture marks it.
    storage._force_asyncio_fixture = True
    storage = pytest.fixture(storage)
"""
    result = run_pytest(pytester, body, "-k", "c14")
    assert outcomes(result) == {"errors": 2}
    result.stdout.fnmatch_lines(["*the fixture 'storage' is a pytest_asyncio.fixture*@pytest.fixture*"])


def test_a_missing_anyio_plugin_is_named(pytester: pytest.Pytester) -> None:
    result = run_pytest(
        pytester, "class TestMine(Fixture, StorageContract): pass\n", "-p", "no:anyio", "-k", "c14"
    )
    assert outcomes(result) == {"errors": 2}
    result.stdout.fnmatch_lines(["*anyio's pytest plugin, which is disabled*"])
