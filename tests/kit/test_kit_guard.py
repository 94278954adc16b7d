"""What the kit refuses, reports or skips about a test class, and how its failures read."""

import subprocess
import sys

import pytest

pytest_plugins = ["pytester"]

_OUTCOMES = ("passed", "failed", "errors", "skipped", "xfailed", "xpassed")

_HEAD = """
import pytest
from corail.storage.capabilities import *
from corail.storage.memory import MemoryStorage
from corail.storage.testing import StorageContract

class Fixture:
    model_examples = text_examples = 2

    @pytest.fixture
    async def storage(self):
        async with MemoryStorage() as storage:
            yield storage
"""


def run(pytester: pytest.Pytester, body: str, *arguments: str, apart: bool = False) -> pytest.RunResult:
    """Run pytest on a test file; ``apart`` in a process of its own, where it may change the kit."""
    pytester.makepyfile(_HEAD + body)
    arguments = ("-p", "no:cacheprovider", "-ra", *arguments)
    return pytester.runpytest_subprocess(*arguments) if apart else pytester.runpytest_inprocess(*arguments)


def outcomes(result: pytest.RunResult) -> dict[str, int]:
    return {name: count for name, count in result.parseoutcomes().items() if name in _OUTCOMES}


def test_an_overridden_test_is_an_error(pytester: pytest.Pytester) -> None:
    result = run(
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
    result = run(pytester, f"class TestMine(Fixture, StorageContract):\n    {removal}\n")
    assert outcomes(result) == {"errors": 1}
    result.stdout.fnmatch_lines(["*guard: * is the kit's*"])


def test_a_test_inherited_from_elsewhere_is_an_error(pytester: pytest.Pytester) -> None:
    result = run(
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
    result = run(
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
    result = run(
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
        [
            "SKIPPED*undecided by the kit: replaced by the author: test_c14*(titles are*; test_c15*(frozen *)"
        ]
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
    result = run(pytester, f"class TestMine(Fixture, StorageContract):\n    {declaration}\n")
    assert outcomes(result) == {"errors": 1}
    result.stdout.fnmatch_lines([words])


_FORGETS_TITLES = """
class Forgetful(MemoryStorage):
    async def update_title(self, conversation_id, title):
        await super().update_title(conversation_id, title[:5])

class Base(Fixture, StorageContract):
    @pytest.fixture
    async def storage(self):
        return Forgetful()
"""


def test_a_known_failure_is_expected_by_clause(pytester: pytest.Pytester) -> None:
    body = 'class TestMine(Base):\n    xfails = {"C-14": "titles are cut"}\n'
    result = run(pytester, _FORGETS_TITLES + body, "-k", "c14")
    # One of the clause's two tests fails: the clause is known to fail, the other test may pass.
    assert outcomes(result) == {"xfailed": 1, "passed": 1}
    result.stdout.fnmatch_lines(["XFAIL*test_c14_titles_replace_each_other*C-14: titles are cut*"])


def test_a_known_failure_is_expected_by_test_name(pytester: pytest.Pytester) -> None:
    body = 'class TestMine(Base):\n    xfails = {"test_c14_titles_replace_each_other": "titles are cut"}\n'
    result = run(pytester, _FORGETS_TITLES + body, "-k", "c14")
    assert outcomes(result) == {"xfailed": 1, "passed": 1}


def test_a_known_failure_that_passes_is_a_failure(pytester: pytest.Pytester) -> None:
    body = """
class TestMine(Fixture, StorageContract):
    xfails = {"C-14": "titles are cut", "test_c15_returned_values_are_the_callers": "frozen"}
"""
    result = run(pytester, body, "-k", "c14 or c15")
    assert outcomes(result) == {"failed": 2, "passed": 1}
    result.stdout.fnmatch_lines(["*C-14: declared in xfails (titles are cut), but all of its tests pass*"])


def test_an_unknown_capability_is_a_failure(pytester: pytest.Pytester) -> None:
    body = """
class Claims(MemoryStorage):
    capabilities = MemoryStorage.capabilities | {"totalorder"}

class TestMine(Fixture, StorageContract):
    @pytest.fixture
    async def storage(self):
        return Claims()
"""
    result = run(pytester, body, "-k", "guard_capabilities")
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
    result = run(pytester, body, "-k", "c03_no_metadata or page_messages_items")
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
    result = run(pytester, body, "-k", "c40 or guard_no_test", apart=True)
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
    result = run(pytester, "class TestMine(Fixture, StorageContract): pass\n", "-k", "c14")
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
    result = run(pytester, body, "-k", "c14")
    assert outcomes(result) == {"errors": 2}
    result.stdout.fnmatch_lines(["*the fixture 'storage' is a pytest_asyncio.fixture*@pytest.fixture*"])


def test_a_missing_anyio_plugin_is_named(pytester: pytest.Pytester) -> None:
    result = run(pytester, "class TestMine(Fixture, StorageContract): pass\n", "-p", "no:anyio", "-k", "c14")
    assert outcomes(result) == {"errors": 2}
    result.stdout.fnmatch_lines(["*anyio's pytest plugin, which is disabled*"])


_PERSISTENT = """
class Claims(MemoryStorage):
    capabilities = ALL

class TestMine(Fixture, StorageContract):
    @pytest.fixture
    async def storage(self):
        return Claims()
"""


def test_persistent_without_reopen_is_a_failure_with_the_remedy(pytester: pytest.Pytester) -> None:
    result = run(pytester, _PERSISTENT, "-k", "guard_reopen or killed or two_objects_append")
    assert outcomes(result) == {"failed": 3}
    result.stdout.fnmatch_lines(
        ["*guard: reopen is not given. Set it on the test class: reopen = staticmethod(*"]
    )


def test_persistent_with_a_reopen_no_process_can_import_is_a_failure(pytester: pytest.Pytester) -> None:
    result = run(
        pytester, _PERSISTENT + "    reopen = staticmethod(lambda: Claims(store='one'))\n", "-k", "killed"
    )
    assert outcomes(result) == {"failed": 1}
    result.stdout.fnmatch_lines(
        ["*C-32 (persistent): reopen is *lambda*, which another process cannot import*"]
    )


def test_without_reopen_what_needs_it_is_skipped(pytester: pytest.Pytester) -> None:
    result = run(pytester, "class TestMine(Fixture, StorageContract): pass\n", "-k", "two_objects")
    skipped = result.parseoutcomes()["skipped"]
    assert outcomes(result) == {"skipped": skipped}
    result.stdout.fnmatch_lines([f"SKIPPED ?{skipped}? *: reopen is not given"])


def test_a_reopen_that_gives_something_else_is_a_failure(pytester: pytest.Pytester) -> None:
    body = "class TestMine(Fixture, StorageContract):\n    reopen = staticmethod(dict)\n"
    result = run(pytester, body, "-k", "guard_reopen")
    result.stdout.fnmatch_lines(["*guard: reopen() gave a dict, not a StoragePort*"])


def test_a_failure_names_the_clause_and_shows_the_values(pytester: pytest.Pytester) -> None:
    body = _FORGETS_TITLES + "class TestMine(Base): pass\n"
    result = run(pytester, body, "-k", "c14_titles", apart=True)
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
    result = run(pytester, body, "-k", "c14_titles")
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
    result = run(pytester, body, "-k", "c20_concurrent_appends")
    result.stdout.fnmatch_lines(["E*AssertionError: C-20: no end after 0.2 s: a deadlock, *"])


def test_a_fixture_that_gives_no_storage_is_named(pytester: pytest.Pytester) -> None:
    body = """
class TestMine(StorageContract):
    @pytest.fixture
    async def storage(self):
        return {}
"""
    result = run(pytester, body, "-k", "c14_titles")
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
