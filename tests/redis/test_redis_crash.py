"""A server that is killed: with ``appendfsync always`` nothing that was acknowledged is gone."""

import asyncio

import pytest

from corail.storage.errors import StorageError
from corail.storage.redis import RedisStorage
from tests.redis.conftest import MakeStorage, StartNode
from tests.redis.servers import Node

pytestmark = pytest.mark.anyio


async def contents(storage: RedisStorage, conversation_id: str) -> list[str]:
    return [message["content"] for message in await storage.get_messages(conversation_id)]


async def test_a_killed_server_has_every_acknowledged_message_once(
    start_node: StartNode, make: MakeStorage
) -> None:
    node: Node = await asyncio.to_thread(start_node, appendfsync="always")
    async with make(node.url, deadline=20) as storage:
        stop = asyncio.Event()
        acknowledged: dict[int, int] = {}

        async def write(writer: int) -> None:
            number = 0
            while not stop.is_set():
                batch = [{"role": "user", "content": f"{writer}.{number}.{part}"} for part in range(3)]
                await storage.append_messages(f"chat {writer % 2}", batch)
                number += 1
                acknowledged[writer] = number

        async with asyncio.TaskGroup() as tasks:
            for writer in range(6):
                tasks.create_task(write(writer))
            for kill in range(3):
                before = sum(acknowledged.values())
                while sum(acknowledged.values()) < before + 50 * (kill + 1):
                    await storage.get_recent_messages("chat 0", 1)
                await asyncio.to_thread(node.kill)
                await asyncio.to_thread(node.start)
            stop.set()
        for half in range(2):
            found = await contents(storage, f"chat {half}")
            expected = [
                f"{writer}.{number}.{part}"
                for writer in range(half, 6, 2)
                for number in range(acknowledged[writer])
                for part in range(3)
            ]
            assert sorted(found) == sorted(expected)
            assert found == [text for start in found[::3] for text in _turn(start)], "a batch is torn"
            row = await storage.get_conversation(f"chat {half}")
            assert row is not None
            assert row["message_count"] == len(found)
        assert len(await storage.list_conversations()) == 2


def _turn(first: str) -> list[str]:
    return [f"{first[:-1]}{part}" for part in range(3)]


async def test_a_server_that_comes_back_empty_is_an_empty_storage(
    start_node: StartNode, make: MakeStorage
) -> None:
    node: Node = await asyncio.to_thread(start_node, appendonly="no")
    async with make(node.url) as storage:
        await storage.append_message("chat", "user", "text")
        await asyncio.to_thread(node.kill)
        await asyncio.to_thread(node.start)
        # As the README and check() warn: without the append-only file nothing is kept.
        assert await storage.list_conversations() == []
        await storage.append_message("chat", "user", "text")
        assert await contents(storage, "chat") == ["text"]


async def test_check_tells_what_may_be_lost(start_node: StartNode, make: MakeStorage) -> None:
    node: Node = await asyncio.to_thread(start_node, appendfsync="always")
    async with make(node.url) as storage:

        async def warnings() -> list[str]:
            report = await storage.check()
            assert report["ok"] is True
            assert (report["role"], report["writable"], report["problem"]) == ("primary", True, None)
            assert report["versions"]["server"].split()[0] in {"Valkey", "Redis"}
            return report["warnings"]

        assert await warnings() == []
        node.command("CONFIG SET", "appendfsync", "everysec")
        assert [text for text in await warnings() if "appendfsync is 'everysec'" in text]
        node.command("CONFIG SET", "appendfsync", "no")
        assert [text for text in await warnings() if "appendfsync is 'no'" in text]
        node.command("CONFIG SET", "appendonly", "no")
        assert [text for text in await warnings() if "appendonly is off" in text]
        assert len(await warnings()) == 1
        node.command("CONFIG SET", "maxmemory-policy", "allkeys-lru")
        assert len(await warnings()) == 1
        node.command("CONFIG SET", "maxmemory", "1gb")
        assert [text for text in await warnings() if "maxmemory-policy is 'allkeys-lru'" in text]
        await asyncio.to_thread(node.kill)
        report = await storage.check()
        assert report["ok"] is False
        assert "Cannot reach" in str(report["problem"])
        with pytest.raises(StorageError):
            await make(node.url).list_conversations()


async def test_check_of_a_cluster_asks_every_primary(url: str, make: MakeStorage) -> None:
    async with make(url) as storage:
        report = await storage.check()
        assert report["ok"] is True
        assert report["role"] == "primary"
        (warning,) = report["warnings"]
        assert "'everysec'" in warning


async def test_a_probe_is_answered_at_once_while_calls_wait_for_the_server(
    start_node: StartNode, make: MakeStorage
) -> None:
    node: Node = await asyncio.to_thread(start_node)
    async with make(node.url, deadline=60) as storage:
        await storage.append_message("chat", "user", "first")
        await asyncio.to_thread(node.kill)
        waiting = asyncio.create_task(storage.append_message("chat", "user", "second"))
        report = await asyncio.wait_for(storage.check(), 5)
        assert (report["ok"], report["writable"]) == (False, None)
        assert not waiting.done()
        await asyncio.to_thread(node.start)
        await waiting
        assert (await storage.check())["ok"] is True
