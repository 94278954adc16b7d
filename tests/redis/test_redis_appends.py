"""Appends whose answers are lost: stored once, whatever the network does, and said so when unknown."""

import asyncio
import pickle
from collections.abc import AsyncIterator

import pytest

from corail.storage.errors import (
    AppendOutcomeUnknownError,
    InvalidInputError,
    StorageError,
    StorageUnavailableError,
)
from corail.storage.redis import RedisStorage
from corail.storage.redis._scripts import APPEND, TOKEN_PERIOD
from tests.redis.conftest import MakeStorage, StartNode
from tests.redis.layout import keys_of, send
from tests.redis.proxy import Fate, FaultProxy
from tests.redis.servers import Node

pytestmark = pytest.mark.anyio


@pytest.fixture
async def proxy(node: Node) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(node.port) as proxy:
        yield proxy


async def contents(storage: RedisStorage, conversation_id: str) -> list[str]:
    return [message["content"] for message in await storage.get_messages(conversation_id)]


@pytest.mark.parametrize("fate", [Fate.CUT_BEFORE, Fate.CUT_AFTER])
async def test_a_lost_answer_neither_loses_nor_doubles(
    proxy: FaultProxy, make: MakeStorage, fate: Fate
) -> None:
    async with make(proxy.url) as storage:
        await storage.append_message("chat", "user", "first")
        proxy.times(APPEND.sha, fate, times=3)
        await storage.append_message("chat", "user", "second")
        await storage.append_messages("chat", [{"role": "user", "content": "third"}], idempotency_key="key")
        assert proxy.cut == 3
        assert await contents(storage, "chat") == ["first", "second", "third"]


async def test_an_answer_lost_on_the_first_use_of_the_script_does_not_double(
    node: Node, proxy: FaultProxy, make: MakeStorage
) -> None:
    async with make(proxy.url) as storage:
        await storage.conversation_exists("chat")
        node.command("SCRIPT FLUSH")
        proxy.times("EVAL\r\n", Fate.CUT_AFTER, times=1)
        await storage.append_message("chat", "user", "text")
        assert proxy.cut == 1
        assert await contents(storage, "chat") == ["text"]


async def test_many_writers_through_a_bad_network_store_each_message_once(
    proxy: FaultProxy, make: MakeStorage
) -> None:
    fates = [Fate.CUT_AFTER, Fate.PASS, Fate.CUT_BEFORE, Fate.PASS, Fate.PASS]
    seen = 0

    def decide(request: bytes) -> Fate:
        nonlocal seen
        seen += APPEND.sha.encode() in request
        return fates[seen % len(fates)] if APPEND.sha.encode() in request else Fate.PASS

    async with make(proxy.url) as storage:
        await storage.conversation_exists("chat")
        proxy.on_request = decide

        async def write(writer: int) -> None:
            for number in range(20):
                await storage.append_message(f"chat {writer % 2}", "user", f"{writer}.{number}")

        await asyncio.gather(*(write(writer) for writer in range(6)))
        for half in range(2):
            found = await contents(storage, f"chat {half}")
            assert sorted(found) == sorted(f"{w}.{n}" for w in (half, half + 2, half + 4) for n in range(20))
            for writer in (half, half + 2, half + 4):
                own = [text for text in found if text.startswith(f"{writer}.")]
                assert own == [f"{writer}.{number}" for number in range(20)]
            row = await storage.get_conversation(f"chat {half}")
            assert row is not None
            assert row["message_count"] == 60
    assert proxy.cut > 20


async def test_an_unknown_outcome_comes_with_a_key_that_can_be_repeated(
    proxy: FaultProxy, make: MakeStorage
) -> None:
    async with make(proxy.url, deadline=0.3) as storage:
        await storage.append_message("chat", "user", "first")
        proxy.times(APPEND.sha, Fate.CUT_AFTER, times=10_000)
        with pytest.raises(AppendOutcomeUnknownError) as caught:
            await storage.append_message("chat", "user", "secret words")
        error: AppendOutcomeUnknownError = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own
        assert "secret words" not in str(error)
        proxy.on_request = lambda _: Fate.PASS
        # More often than once, and past the time for which the library's own keys are kept.
        for _ in range(2):
            await storage.append_messages(
                "chat", [{"role": "user", "content": "secret words"}], idempotency_key=error.idempotency_key
            )
        keys = keys_of(storage, "chat")
        await send(storage, "DEL", keys.tokens0)
        await send(storage, "DEL", keys.tokens1)
        await storage.append_messages(
            "chat", [{"role": "user", "content": "secret words"}], idempotency_key=error.idempotency_key
        )
        assert await contents(storage, "chat") == ["first", "secret words"]
        with pytest.raises(InvalidInputError, match="used for other messages"):
            await storage.append_messages(
                "chat", [{"role": "user", "content": "other"}], idempotency_key=error.idempotency_key
            )


async def test_an_unknown_outcome_that_was_not_stored_is_stored_by_the_repeat(
    proxy: FaultProxy, make: MakeStorage
) -> None:
    async with make(proxy.url, deadline=0.3) as storage:
        await storage.append_message("chat", "user", "first")
        proxy.times(APPEND.sha, Fate.CUT_BEFORE, times=10_000)
        with pytest.raises(AppendOutcomeUnknownError) as caught:
            await storage.append_messages(
                "chat", [{"role": "user", "content": "second"}], idempotency_key="of the caller"
            )
        assert caught.value.idempotency_key == "of the caller"
        proxy.on_request = lambda _: Fate.PASS
        for _ in range(2):
            await storage.append_messages(
                "chat", [{"role": "user", "content": "second"}], idempotency_key="of the caller"
            )
        assert await contents(storage, "chat") == ["first", "second"]


async def test_a_server_that_never_answers_is_given_up_in_time(proxy: FaultProxy, make: MakeStorage) -> None:
    async with make(proxy.url, command_timeout=0.2, deadline=0.5) as storage:
        await storage.append_message("chat", "user", "first")
        proxy.on_request = lambda _: Fate.HANG
        started = asyncio.get_running_loop().time()
        with pytest.raises(AppendOutcomeUnknownError):
            await storage.append_message("chat", "user", "second")
        with pytest.raises(StorageUnavailableError):
            await storage.get_messages("chat")
        assert asyncio.get_running_loop().time() - started < 5
        proxy.on_request = lambda _: Fate.PASS
        assert await contents(storage, "chat") == ["first", "second"]


async def test_a_server_that_is_gone_for_a_moment_is_waited_for(proxy: FaultProxy, make: MakeStorage) -> None:
    async with make(proxy.url) as storage:
        await storage.append_message("chat", "user", "first")
        await proxy.refuse()
        waiting = asyncio.create_task(storage.append_message("chat", "user", "second"))
        reading = asyncio.create_task(storage.get_messages("chat"))
        done, _ = await asyncio.wait([waiting, reading], timeout=0.2)
        assert not done
        await proxy.accept()
        await waiting
        await reading
        assert await contents(storage, "chat") == ["first", "second"]


async def test_an_append_that_never_left_is_reported_as_not_stored(
    proxy: FaultProxy, make: MakeStorage
) -> None:
    async with make(proxy.url, deadline=0.3) as storage:
        await storage.append_message("chat", "user", "first")
        await proxy.refuse()
        # Until something is sent on it, a closed connection may look like an open one.
        with pytest.raises(StorageUnavailableError):
            await storage.get_messages("chat")
        with pytest.raises(StorageUnavailableError, match="connection refused"):
            await storage.append_message("chat", "user", "second")


async def test_closing_fails_what_cannot_be_drained_and_says_what_is_unknown(
    proxy: FaultProxy, make: MakeStorage
) -> None:
    storage = make(proxy.url, close_timeout=0.1)
    await storage.append_message("chat", "user", "first")
    proxy.times(APPEND.sha, Fate.HANG, times=1)
    waiting = asyncio.create_task(storage.append_message("chat", "user", "second"))
    await proxy.struck.wait()
    await storage.aclose()
    with pytest.raises(AppendOutcomeUnknownError):
        await waiting


async def test_a_repeated_delete_leaves_a_conversation_alone_that_came_since(
    node: Node, proxy: FaultProxy, make: MakeStorage
) -> None:
    async with make(proxy.url) as storage, make(node.url) as other:
        await storage.append_message("chat", "user", "old")
        await other.conversation_exists("chat")
        came = asyncio.Event()

        def decide(request: bytes) -> Fate:
            if b"EVAL" not in request or came.is_set():
                return Fate.PASS
            came.set()
            return Fate.CUT_AFTER

        proxy.on_request = decide
        deleting = asyncio.create_task(storage.delete_conversation("chat"))
        await came.wait()
        while await other.conversation_exists("chat"):
            pass
        await other.append_message("chat", "user", "new")
        await deleting
        assert await contents(storage, "chat") == ["new"]


async def test_a_key_stands_for_one_batch_in_one_conversation(url: str, make: MakeStorage) -> None:
    batch = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    async with make(url) as storage:
        for _ in range(2):
            await storage.append_messages("chat", batch, idempotency_key="turn 1")
            await storage.append_messages("other", batch, idempotency_key="turn 1")
        assert await contents(storage, "chat") == await contents(storage, "other") == ["a", "b"]
        different = [batch[:1], batch[::-1], [*batch, batch[0]], [{"role": "userA", "content": ""}, batch[1]]]
        for messages in different:
            with pytest.raises(InvalidInputError, match="used for other messages"):
                await storage.append_messages("chat", messages, idempotency_key="turn 1")
        assert await contents(storage, "chat") == ["a", "b"]
        await storage.delete_conversation("chat")
        await storage.append_messages("chat", batch[:1], idempotency_key="turn 1")
        assert await contents(storage, "chat") == ["a"]


async def test_keys_of_the_library_are_kept_for_ten_minutes_and_then_forgotten(
    url: str, make: MakeStorage
) -> None:
    async with make(url) as storage:
        await storage.append_messages("chat", [{"role": "user", "content": "a"}], idempotency_key="turn 1")
        for _ in range(3):
            await storage.append_message("chat", "user", "text")
        keys = keys_of(storage, "chat")
        lives = [await send(storage, "TTL", key) for key in (keys.tokens0, keys.tokens1)]
        held = [life for life in lives if life != -2]
        assert held
        assert all(TOKEN_PERIOD - 2 <= life <= 2 * TOKEN_PERIOD for life in held)
        assert TOKEN_PERIOD - 2 >= 600
        assert await send(storage, "TTL", keys.keys) == -1


async def test_a_batch_of_any_size_is_stored_as_one(url: str, make: MakeStorage) -> None:
    async with make(url) as storage:
        many = [{"role": "user", "content": str(number)} for number in range(20_000)]
        await storage.append_messages("chat", many)
        assert await contents(storage, "chat") == [message["content"] for message in many]
        assert await storage.get_recent_messages("chat", 2) == many[-2:]
        with pytest.raises(InvalidInputError, match="at most 100000"):
            await storage.append_messages("chat", [many[0]] * 100_001)


async def test_what_is_in_the_way_of_a_script_changes_nothing(node: Node, make: MakeStorage) -> None:
    async with make(node.url) as storage:
        keys = keys_of(storage, "chat")
        for key in (keys.listing, keys.meta):
            await send(storage, "SET", key, "of somebody else")
            with pytest.raises(StorageError, match="Choose another prefix"):
                await storage.append_message("chat", "user", "text")
            assert [one for one in keys.all_keys if await send(storage, "EXISTS", one)] == [key]
            await send(storage, "DEL", key)


async def test_a_full_server_refuses_whole_appends_and_still_reads(
    start_node: StartNode, make: MakeStorage
) -> None:
    node = start_node()
    async with make(node.url) as storage:
        await storage.append_message("chat", "user", "first")
        node.command("CONFIG SET", "maxmemory", 1)
        for call in (
            storage.append_message("chat", "user", "second"),
            storage.append_message("new", "user", "first"),
            storage.create_conversation("new"),
            storage.update_title("chat", "title"),
        ):
            with pytest.raises(StorageUnavailableError, match="no memory left"):
                await call
        assert [row["id"] for row in await storage.list_conversations()] == ["chat"]
        assert await contents(storage, "chat") == ["first"]
        assert "no memory left" in str((await storage.check())["problem"])
        # The way out of it must not be barred.
        await storage.delete_conversation("chat")
        assert await storage.list_conversations() == []
