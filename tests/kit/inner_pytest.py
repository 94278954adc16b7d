"""Runs of pytest inside a test, on a test file that uses the kit."""

import pytest

_OUTCOMES = ("passed", "failed", "errors", "skipped", "xfailed", "xpassed")

FORGETS_TITLES = """
class Forgetful(MemoryStorage):
    async def update_title(self, conversation_id, title):
        await super().update_title(conversation_id, title[:5])

class Base(Fixture, StorageContract):
    @pytest.fixture
    async def storage(self):
        return Forgetful()
"""
"""A backend that cuts titles, and ``Base`` to run the kit on it."""

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


def run_pytest(
    pytester: pytest.Pytester, body: str, *arguments: str, apart: bool = False
) -> pytest.RunResult:
    """Run pytest on a test file; ``apart`` in a process of its own, where it may change the kit."""
    pytester.makepyfile(_HEAD + body)
    arguments = ("-p", "no:cacheprovider", "-ra", *arguments)
    return pytester.runpytest_subprocess(*arguments) if apart else pytester.runpytest_inprocess(*arguments)


def outcomes(result: pytest.RunResult) -> dict[str, int]:
    return {name: count for name, count in result.parseoutcomes().items() if name in _OUTCOMES}
