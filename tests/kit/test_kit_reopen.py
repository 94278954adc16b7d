"""What the kit says of a ``reopen`` that is missing, or of no use."""

import pytest

from tests.kit.inner_pytest import outcomes, run_pytest

pytest_plugins = ["pytester"]


_PERSISTENT = """
class Claims(MemoryStorage):
    capabilities = ALL

class TestMine(Fixture, StorageContract):
    @pytest.fixture
    async def storage(self):
        return Claims()
"""


def test_persistent_without_reopen_is_a_failure_with_the_remedy(pytester: pytest.Pytester) -> None:
    result = run_pytest(pytester, _PERSISTENT, "-k", "guard_reopen or killed or two_objects_append")
    assert outcomes(result) == {"failed": 3}
    result.stdout.fnmatch_lines(
        ["*guard: reopen is not given. Set it on the test class: reopen = staticmethod(*"]
    )


def test_persistent_with_a_reopen_no_process_can_import_is_a_failure(pytester: pytest.Pytester) -> None:
    result = run_pytest(
        pytester, _PERSISTENT + "    reopen = staticmethod(lambda: Claims(store='one'))\n", "-k", "killed"
    )
    assert outcomes(result) == {"failed": 1}
    result.stdout.fnmatch_lines(
        ["*C-32 (persistent): reopen is *lambda*, which another process cannot import*"]
    )


def test_without_reopen_what_needs_it_is_skipped(pytester: pytest.Pytester) -> None:
    result = run_pytest(pytester, "class TestMine(Fixture, StorageContract): pass\n", "-k", "two_objects")
    skipped = result.parseoutcomes()["skipped"]
    assert outcomes(result) == {"skipped": skipped}
    result.stdout.fnmatch_lines([f"SKIPPED ?{skipped}? *: reopen is not given"])


def test_a_reopen_that_gives_something_else_is_a_failure(pytester: pytest.Pytester) -> None:
    body = "class TestMine(Fixture, StorageContract):\n    reopen = staticmethod(dict)\n"
    result = run_pytest(pytester, body, "-k", "guard_reopen")
    result.stdout.fnmatch_lines(["*guard: reopen() gave a dict, not a StoragePort*"])
