"""The contract kit on ``MemoryStorage``, under asyncio and trio."""

from collections.abc import AsyncIterator

import pytest

from corail.storage.memory import MemoryStorage
from corail.storage.testing import StorageContract


def open_shared() -> MemoryStorage:
    return MemoryStorage(store="contract-kit")


class TestMemory(StorageContract):
    reopen = staticmethod(open_shared)

    @pytest.fixture(params=["asyncio", "trio"])
    def anyio_backend(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @pytest.fixture
    async def storage(self) -> AsyncIterator[MemoryStorage]:
        async with open_shared() as storage:
            yield storage
