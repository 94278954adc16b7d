"""The list of conversations over 64 shards: one order, every row once, whatever comes and goes."""

import asyncio
from itertools import pairwise

import pytest

from corail.storage.errors import InvalidInputError
from corail.storage.redis import RedisStorage
from corail.storage.rows import ConversationRow
from tests.redis.conftest import MakeStorage
from tests.redis.layout import give_one_created_at, keys_of, send

pytestmark = pytest.mark.anyio


async def walk(storage: RedisStorage, limit: int) -> list[ConversationRow]:
    rows: list[ConversationRow] = []
    after: str | None = None
    while True:
        page = await storage.page_conversations(limit=limit, after=after)
        assert len(page["items"]) == limit or page["next"] is None
        rows += page["items"]
        after = page["next"]
        if after is None:
            return rows


async def test_pages_of_any_size_are_the_list(url: str, make: MakeStorage) -> None:
    async with make(url) as storage:
        names = [f"chat {number}" for number in range(400)]
        await asyncio.gather(*(storage.create_conversation(name) for name in names[:200]))
        for name in names[200:]:
            await storage.append_message(name, "user", "text")
        await give_one_created_at(storage, names[100:150])
        rows = await storage.list_conversations()
        assert sorted(row["id"] for row in rows) == sorted(names)
        assert all((a["created_at"], a["id"]) > (b["created_at"], b["id"]) for a, b in pairwise(rows))
        for limit in (1000, 399, 400, 401, 64, 7):
            assert await walk(storage, limit) == rows


async def test_a_crowded_shard_is_read_on(url: str, make: MakeStorage) -> None:
    async with make(url) as storage:
        home = keys_of(storage, "chat").listing
        crowd = [name for n in range(8000) if keys_of(storage, name := f"chat {n}").listing == home][:100]
        assert len(crowd) == 100
        for name in crowd:
            await storage.create_conversation(name)
        await storage.create_conversation("elsewhere")
        rows = await storage.list_conversations()
        assert [row["id"] for row in rows] == ["elsewhere", *reversed(crowd)]
        for limit in (1, 10, 60, 100, 101):
            assert await walk(storage, limit) == rows


async def test_a_place_of_an_earlier_life_shows_no_row_twice(url: str, make: MakeStorage) -> None:
    async with make(url) as storage:
        await storage.create_conversation("chat")
        keys = keys_of(storage, "chat")
        # As after an eviction: the hash is gone, its place in the index is not.
        await send(storage, "DEL", keys.meta)
        await storage.create_conversation("other")
        await storage.create_conversation("chat")
        assert await send(storage, "ZCARD", keys.listing) >= 2
        assert [row["id"] for row in await walk(storage, 1)] == ["chat", "other"]
        assert [row["id"] for row in await storage.list_conversations()] == ["chat", "other"]


@pytest.mark.parametrize("after", ["nonsense", "", "AAAA", "1"])
async def test_a_cursor_of_something_else_is_refused(url: str, make: MakeStorage, after: str) -> None:
    async with make(url) as storage:
        with pytest.raises(InvalidInputError, match="after"):
            await storage.page_conversations(after=after)
    if after != "1":
        async with make(url) as storage:
            with pytest.raises(InvalidInputError, match="after"):
                await storage.page_messages("chat", after=after)


async def test_messages_are_numbered_from_one_and_can_be_followed(url: str, make: MakeStorage) -> None:
    async with make(url) as storage:
        for number in range(1, 8):
            await storage.append_message("chat", "user", str(number))
        page = await storage.page_messages("chat", limit=3)
        assert [(item.get("id"), item["content"]) for item in page["items"]] == [
            ("1", "1"),
            ("2", "2"),
            ("3", "3"),
        ]
        assert page["next"] == "3"
        last = await storage.page_messages("chat", limit=4, after="3")
        assert last["next"] is None
        assert (await storage.page_messages("chat", after="7"))["items"] == []
        await storage.append_message("chat", "user", "8")
        assert [item["content"] for item in (await storage.page_messages("chat", after="7"))["items"]] == [
            "8"
        ]
        times = [item.get("created_at", "") for item in (await storage.page_messages("chat"))["items"]]
        assert times == sorted(times)
