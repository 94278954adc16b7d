"""The contract kit on ``StorageWrapper``: what it wraps keeps every promise through it."""

from collections.abc import AsyncIterator

import pytest

from corail.storage.memory import MemoryStorage
from corail.storage.testing import StorageContract
from corail.storage.wrapper import StorageWrapper


def open_wrapped() -> StorageWrapper:
    return StorageWrapper(MemoryStorage(store="contract-kit-wrapped"))


class TestWrapper(StorageContract):
    reopen = staticmethod(open_wrapped)

    @pytest.fixture
    async def storage(self) -> AsyncIterator[StorageWrapper]:
        async with open_wrapped() as storage:
            yield storage
