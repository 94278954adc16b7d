"""The contract kit, which is all the tests a backend needs."""

from collections.abc import AsyncIterator

import pytest
from corail.storage.testing import StorageContract

from corail.storage.redis import RedisStorage


def open_storage() -> RedisStorage:
    """Open what the environment names, in this process or in a writer's."""
    return RedisStorage()


class TestRedis(StorageContract):
    reopen = staticmethod(open_storage)

    @pytest.fixture
    async def storage(self) -> AsyncIterator[RedisStorage]:
        async with open_storage() as storage:
            yield storage
