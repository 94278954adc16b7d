"""Conversations with a time to live: gone with everything they had, and counted nowhere after that."""

import pytest

from corail.storage.redis import RedisStorage
from tests.redis.conftest import MakeStorage
from tests.redis.layout import keys_of, send

pytestmark = pytest.mark.anyio


async def expire_now(storage: RedisStorage, *names: str) -> None:
    """Let the time of conversations be over, for each of their keys at its own next use."""
    for name in names:
        keys = keys_of(storage, name)
        for key in (keys.meta, keys.messages, keys.keys):
            await send(storage, "PEXPIRE", key, 1)
        while await send(storage, "EXISTS", keys.meta):
            pass


async def members(storage: RedisStorage) -> int:
    """Return how many places in the index are taken."""
    return sum([await send(storage, "ZCARD", shard.listing) for shard in storage._layout.shards])  # pyright: ignore[reportPrivateUsage]


async def expiring(storage: RedisStorage) -> int:
    """Return how many places in the expiry sets are taken."""
    return sum([await send(storage, "ZCARD", shard.expiry) for shard in storage._layout.shards])  # pyright: ignore[reportPrivateUsage]


async def test_everything_of_a_conversation_expires_together(url: str, make: MakeStorage) -> None:
    async with make(url, ttl=100) as storage:
        await storage.create_conversation("created")
        await storage.append_messages("chat", [{"role": "user", "content": "a"}], idempotency_key="key")
        for name in ("created", "chat"):
            keys = keys_of(storage, name)
            lives = {
                await send(storage, "PEXPIRETIME", key)
                for key in (keys.meta, keys.messages, keys.keys)
                if await send(storage, "EXISTS", key)
            }
            assert len(lives) == 1
            assert 90_000 < await send(storage, "PTTL", keys.meta) <= 100_000
        assert await expiring(storage) == 2


async def test_an_append_lengthens_the_life_and_nothing_else_does(url: str, make: MakeStorage) -> None:
    async with make(url, ttl=100) as storage:
        await storage.append_message("chat", "user", "a")
        keys = keys_of(storage, "chat")

        async def life() -> int:
            left: int = await send(storage, "PTTL", keys.meta)
            return left

        await send(storage, "PEXPIRE", keys.meta, 50_000)
        await storage.create_conversation("chat")
        await storage.update_title("chat", "title")
        await storage.get_messages("chat")
        assert await life() <= 50_000
        await storage.append_message("chat", "user", "b")
        assert await life() > 90_000
        assert await send(storage, "PTTL", keys.messages) > 90_000


async def test_an_expired_conversation_is_gone_from_everywhere(url: str, make: MakeStorage) -> None:
    async with make(url, ttl=100) as storage:
        for name in ("a", "b", "c"):
            await storage.append_messages(name, [{"role": "user", "content": "x"}], idempotency_key="key")
        await expire_now(storage, "a", "c")
        assert [row["id"] for row in await storage.list_conversations()] == ["b"]
        assert await members(storage) == await expiring(storage) == 1
        await expire_now(storage, "b")
        page = await storage.page_conversations()
        assert page == {"items": [], "next": None}
        assert await members(storage) == await expiring(storage) == 0
        for name in ("a", "b", "c"):
            assert not await storage.conversation_exists(name)
            assert await storage.get_messages(name) == []
            assert await storage.get_conversation(name) is None
            await storage.delete_conversation(name)


async def test_a_conversation_that_comes_again_starts_empty(url: str, make: MakeStorage) -> None:
    async with make(url, ttl=100) as storage:
        await storage.create_conversation("chat", {"old": True})
        await storage.append_messages("chat", [{"role": "user", "content": "old"}], idempotency_key="key")
        await storage.append_message("chat", "user", "old")
        # Only the hash: as when it is evicted, or the others are a moment behind.
        await send(storage, "DEL", keys_of(storage, "chat").meta)
        await storage.append_messages("chat", [{"role": "user", "content": "new"}], idempotency_key="key")
        assert [message["content"] for message in await storage.get_messages("chat")] == ["new"]
        (row,) = await storage.list_conversations()
        assert (row["message_count"], row["metadata"]) == (1, {})
        assert await members(storage) == 1


async def test_the_index_stays_small_where_nobody_lists(url: str, make: MakeStorage) -> None:
    async with make(url, ttl=100) as storage, make(url, ttl=0.001) as brief:
        for number in range(300):
            await brief.append_message(f"brief {number}", "user", "text")
        while await send(storage, "EXISTS", keys_of(storage, "brief 299").meta):
            pass
        # Every append with a time to live takes at most two expired ones of its shard out.
        for number in range(600):
            await storage.append_message(f"long {number % 200}", "user", "text")
        assert await members(storage) < 300
        assert await expiring(storage) < 300
        assert len(await storage.list_conversations()) == 200
        assert await members(storage) == await expiring(storage) == 200


async def test_an_append_without_a_time_to_live_keeps_the_conversation(url: str, make: MakeStorage) -> None:
    async with make(url, ttl=100) as storage, make(url) as keeper:
        await storage.append_messages("chat", [{"role": "user", "content": "a"}], idempotency_key="key")
        await keeper.append_message("chat", "user", "b")
        keys = keys_of(storage, "chat")
        assert [await send(storage, "PTTL", key) for key in (keys.meta, keys.messages, keys.keys)] == [-1] * 3
        assert await expiring(storage) == 0
        await storage.append_message("chat", "user", "c")
        assert await send(storage, "PTTL", keys.messages) > 0
        await storage.delete_conversation("chat")
        assert await members(storage) == await expiring(storage) == 0


async def test_pages_are_full_although_many_of_the_index_have_expired(url: str, make: MakeStorage) -> None:
    async with make(url, ttl=100) as storage:
        names = [f"chat {number:03}" for number in range(120)]
        for name in names:
            await storage.create_conversation(name)
        await expire_now(storage, *names[20:])
        page = await storage.page_conversations(limit=15)
        assert [row["id"] for row in page["items"]] == names[19:4:-1]
        rest = await storage.page_conversations(limit=15, after=page["next"])
        assert [row["id"] for row in rest["items"]] == names[4::-1]
        assert rest["next"] is None
