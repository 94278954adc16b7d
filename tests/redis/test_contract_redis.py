"""The contract kit on a single server and on a cluster."""

from collections.abc import AsyncIterator, Sequence

import pytest

from corail.storage.port import StoragePort
from corail.storage.redis import RedisStorage
from corail.storage.testing import StorageContract
from tests.redis.layout import give_one_created_at
from tests.redis.servers import Cluster, Node


def open_named() -> RedisStorage:
    """Open what the environment names, in this process or in a writer's."""
    return RedisStorage()


class TestSingle(StorageContract):
    reopen = "tests.redis.test_contract_redis:open_named"

    @pytest.fixture
    async def storage(
        self, node: Node, prefix: str, monkeypatch: pytest.MonkeyPatch
    ) -> AsyncIterator[RedisStorage]:
        monkeypatch.setenv("CORAIL_REDIS_URL", node.url)
        monkeypatch.setenv("CORAIL_REDIS_PREFIX", prefix)
        async with open_named() as storage:
            yield storage

    async def tie_created_at(self, storage: StoragePort, conversation_ids: Sequence[str]) -> None:
        assert isinstance(storage, RedisStorage)
        await give_one_created_at(storage, conversation_ids)


class TestCluster(StorageContract):
    reopen = "tests.redis.test_contract_redis:open_named"

    @pytest.fixture
    async def storage(
        self, cluster: Cluster, prefix: str, monkeypatch: pytest.MonkeyPatch
    ) -> AsyncIterator[RedisStorage]:
        monkeypatch.setenv("CORAIL_REDIS_URL", cluster.url)
        monkeypatch.setenv("CORAIL_REDIS_PREFIX", prefix)
        async with open_named() as storage:
            yield storage

    async def tie_created_at(self, storage: StoragePort, conversation_ids: Sequence[str]) -> None:
        assert isinstance(storage, RedisStorage)
        await give_one_created_at(storage, conversation_ids)
