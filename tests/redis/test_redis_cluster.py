"""A cluster that changes under the storage: slots that move, primaries that die, answers that are lost."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest

from corail.storage.errors import StorageConfigurationError
from corail.storage.redis import RedisStorage
from corail.storage.redis._layout import slot
from corail.storage.redis._scripts import APPEND
from tests.redis.conftest import MakeStorage, StartCluster
from tests.redis.layout import keys_of
from tests.redis.proxy import Fate, FaultProxy
from tests.redis.servers import Cluster, Node, remove, temporary_folder

pytestmark = pytest.mark.anyio


async def contents(storage: RedisStorage, conversation_id: str) -> list[str]:
    return [message["content"] for message in await storage.get_messages(conversation_id)]


@pytest.fixture(scope="module")
def changing() -> Iterator[Cluster]:
    """A cluster whose slots may be moved."""
    folder = temporary_folder()
    with Cluster(folder) as servers:
        yield servers
    remove(folder)


async def write_until(storage: RedisStorage, conversation_id: str, stop: asyncio.Event, writer: int) -> int:
    number = 0
    while not stop.is_set():
        if number % 2:
            await storage.append_message(conversation_id, "user", f"{writer}.{number}")
        else:
            message = {"role": "user", "content": f"{writer}.{number}"}
            await storage.append_messages(conversation_id, [message], idempotency_key=f"{writer}.{number}")
        number += 1
    return number


async def test_a_slot_that_moves_takes_its_conversations_along(changing: Cluster, make: MakeStorage) -> None:
    async with make(changing.url) as storage:
        await storage.append_message("chat", "user", "first")
        moving = slot(keys_of(storage, "chat").meta)
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            writers = [tasks.create_task(write_until(storage, "chat", stop, number)) for number in range(3)]
            reader = tasks.create_task(read_until(storage, "chat", stop))
            # There and back again, in another thread, while this loop goes on writing.
            for _ in range(3):
                target = next(one for one in changing.primaries if one is not changing.owner(moving))
                await asyncio.to_thread(changing.move_slot, moving, target)
            stop.set()
        found = await contents(storage, "chat")
        for number, writer in enumerate(writers):
            own = [text for text in found if text.startswith(f"{number}.")]
            assert own == [f"{number}.{count}" for count in range(writer.result())]
        assert reader.result() <= len(found)
        (row,) = await storage.list_conversations()
        assert row["message_count"] == len(found) == 1 + sum(writer.result() for writer in writers)


async def read_until(storage: RedisStorage, conversation_id: str, stop: asyncio.Event) -> int:
    before: list[str] = []
    while not stop.is_set():
        now = await contents(storage, conversation_id)
        assert now[: len(before)] == before
        before = now
    return len(before)


async def test_every_slot_may_move_between_two_calls(changing: Cluster, make: MakeStorage) -> None:
    async with make(changing.url) as storage, make(changing.url) as other:
        for number in range(40):
            await storage.append_message(f"chat {number}", "user", "text")
        moving = {slot(keys_of(storage, f"chat {number}").meta) for number in range(40)}
        assert len({changing.owner(one).port for one in moving}) == 3
        for one in moving:
            here = changing.primaries.index(changing.owner(one))
            await asyncio.to_thread(changing.move_slot, one, changing.primaries[(here + 1) % 3])
        for number in range(40):
            assert await contents(other, f"chat {number}") == ["text"]
            await storage.append_message(f"chat {number}", "user", "more")
        assert {row["message_count"] for row in await storage.list_conversations()} == {2}


async def test_a_primary_that_dies_is_replaced_by_its_replica(
    start_cluster: StartCluster, make: MakeStorage
) -> None:
    changing = start_cluster(replicas=1)
    victim = changing.primaries[0]
    async with make(changing.url, deadline=30) as storage:
        names = [f"chat {number}" for number in range(30)]
        for name in names:
            await storage.append_message(name, "user", "first")
        there = [name for name in names if changing.owner(slot(keys_of(storage, name).meta)) is victim]
        assert 0 < len(there) < len(names)
        # Replication does not wait: without this an acknowledged message could be lost, as documented.
        assert await asyncio.to_thread(victim.command, "WAIT", 1, 10_000) == 1
        await asyncio.to_thread(victim.kill)
        await asyncio.gather(*(storage.append_message(name, "user", "second") for name in names))
        for name in names:
            assert await contents(storage, name) == ["first", "second"]
        assert sorted(row["id"] for row in await storage.list_conversations()) == sorted(names)
        assert (await storage.check())["ok"] is True


async def test_a_lost_answer_neither_loses_nor_doubles_in_a_cluster(
    start_cluster: StartCluster, make: MakeStorage
) -> None:
    async with AsyncExitStack() as stack:
        proxies: list[FaultProxy] = []
        changing: Cluster = await asyncio.to_thread(start_cluster, announced=True)
        for server in changing.nodes:
            assert server.announced is not None
            proxies.append(await stack.enter_async_context(FaultProxy(server.port, server.announced)))
        url = f"redis+cluster://127.0.0.1:{proxies[0].port}"
        storage = await stack.enter_async_context(make(url))
        names = [f"chat {number}" for number in range(12)]
        for name in names:
            await storage.append_message(name, "user", "first")
        for fate in (Fate.CUT_AFTER, Fate.CUT_BEFORE):
            for proxy in proxies:
                proxy.times(APPEND.sha, fate, times=2)
            for name in names:
                await storage.append_message(name, "user", fate.name)
        assert [proxy.cut for proxy in proxies] == [4, 4, 4]
        for name in names:
            assert await contents(storage, name) == ["first", "CUT_AFTER", "CUT_BEFORE"]


async def test_a_plain_url_finds_out_that_the_server_belongs_to_a_cluster(
    cluster: Cluster, make: MakeStorage
) -> None:
    for url in (cluster.nodes[0].url, f"redis://127.0.0.1:{cluster.nodes[1].port}?cluster=true"):
        async with make(url) as storage:
            for number in range(12):
                await storage.append_message(f"chat {number}", "user", "text")
            assert len(await storage.list_conversations()) == 12
            for number in range(12):
                await storage.delete_conversation(f"chat {number}")


async def test_a_cluster_taken_for_a_single_server_is_told(cluster: Cluster, make: MakeStorage) -> None:
    async with make(cluster.nodes[0].url, cluster=False) as storage:
        names = [f"chat {number}" for number in range(12)]
        elsewhere = [
            n for n in names if cluster.owner(slot(keys_of(storage, n).meta)) is not cluster.nodes[0]
        ]
        with pytest.raises(StorageConfigurationError, match=r"redis\+cluster://"):
            await storage.append_message(elsewhere[0], "user", "text")


async def test_a_single_server_taken_for_a_cluster_is_told(node: Node, make: MakeStorage) -> None:
    async with make(node.url, cluster=True) as storage:
        with pytest.raises(StorageConfigurationError, match="is not a cluster"):
            await storage.append_message("chat", "user", "text")


async def test_a_start_node_that_is_gone_is_passed_over(cluster: Cluster, make: MakeStorage) -> None:
    nowhere = f"redis+cluster://127.0.0.1:1,127.0.0.1:{cluster.nodes[0].port}"
    for _ in range(5):
        async with make(nowhere) as storage:
            assert await storage.get_messages("chat") == []
