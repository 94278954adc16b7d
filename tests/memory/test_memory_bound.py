"""With ``max_conversations`` the least recently used conversation goes, never the one in use."""

import tracemalloc
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corail.storage.memory import MemoryStorage

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


Use = Callable[[MemoryStorage, str], Awaitable[Any]]

USES: dict[str, Use] = {
    "create again": lambda storage, known: storage.create_conversation(known),
    "append": lambda storage, known: storage.append_message(known, "user", "x"),
    "append many": lambda storage, known: storage.append_messages(known, [{"role": "a", "content": "b"}]),
    "read": lambda storage, known: storage.get_messages(known),
    "read recent": lambda storage, known: storage.get_recent_messages(known, 1),
    "read a page": lambda storage, known: storage.page_messages(known),
    "title": lambda storage, known: storage.update_title(known, "t"),
}

GLANCES: dict[str, Use] = {
    "exists": lambda storage, known: storage.conversation_exists(known),
    "row": lambda storage, known: storage.get_conversation(known),
    "list": lambda storage, _: storage.list_conversations(),
    "page": lambda storage, _: storage.page_conversations(),
    "an empty batch": lambda storage, known: storage.append_messages(known, []),
}


@pytest.mark.parametrize("use", USES)
async def test_a_used_conversation_stays(use: str) -> None:
    storage = await _storage_of("a", "b", "c")
    await USES[use](storage, "a")
    await storage.create_conversation("d")
    assert await _ids(storage) == ["d", "c", "a"]


@pytest.mark.parametrize("glance", GLANCES)
async def test_a_conversation_that_is_only_listed_goes(glance: str) -> None:
    storage = await _storage_of("a", "b", "c")
    await GLANCES[glance](storage, "a")
    await storage.append_message("d", "user", "creates")
    assert await _ids(storage) == ["d", "c", "b"]


async def test_a_conversation_goes_whole() -> None:
    storage = MemoryStorage(max_conversations=1)
    await storage.create_conversation("a", {"k": 1})
    await storage.append_message("a", "user", "old")
    await storage.update_title("a", "old")
    await storage.create_conversation("b")
    assert not await storage.conversation_exists("a")
    assert await storage.get_messages("a") == []
    await storage.append_message("a", "user", "new")
    row = await storage.get_conversation("a")
    assert row is not None
    assert (row["title"], row.get("metadata"), row["message_count"]) == ("", {}, 1)
    assert await _ids(storage) == ["a"]


async def test_a_bound_of_one_keeps_the_one_just_created() -> None:
    storage = MemoryStorage(max_conversations=1)
    for number in range(100):
        await storage.append_message(str(number), "user", "first")
        await storage.append_message(str(number), "user", "second")
        assert await _ids(storage) == [str(number)]
        assert len(await storage.get_messages(str(number))) == 2


async def test_a_deleted_conversation_makes_room() -> None:
    storage = await _storage_of("a", "b", "c")
    await storage.delete_conversation("c")
    await storage.create_conversation("d")
    assert await _ids(storage) == ["d", "b", "a"]
    await storage.create_conversation("e")
    assert await _ids(storage) == ["e", "d", "b"]


async def test_deleted_conversations_leave_nothing_behind() -> None:
    storage = MemoryStorage(max_conversations=10)
    tracemalloc.start()
    try:
        for number in range(5_000):
            await storage.append_messages(str(number), [{"role": "a", "content": "b"}], idempotency_key="k")
            await storage.delete_conversation(str(number))
        left, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert left < 50_000


async def test_unknown_conversations_push_nothing_out() -> None:
    storage = await _storage_of("a", "b", "c")
    for number in range(10):
        await storage.get_messages(str(number))
        await storage.update_title(str(number), "t")
        await storage.delete_conversation(str(number))
    assert await _ids(storage) == ["c", "b", "a"]


@settings(max_examples=100, deadline=None)
@given(
    bound=st.integers(1, 4),
    steps=st.lists(st.tuples(st.sampled_from(["create", "read", "append", "delete"]), st.integers(0, 6))),
)
def test_the_bound_agrees_with_a_model(bound: int, steps: list[tuple[str, int]]) -> None:
    async def main() -> None:
        storage = MemoryStorage(max_conversations=bound)
        used: list[str] = []  # least recently used first
        for step, number in steps:
            known = str(number)
            exists = known in used
            if exists:
                used.remove(known)
            if step == "create":
                await storage.create_conversation(known)
            elif step == "append":
                await storage.append_message(known, "user", "x")
            elif step == "read":
                await storage.get_messages(known)
            else:
                await storage.delete_conversation(known)
            if step in ("create", "append") or (step == "read" and exists):
                used.append(known)
            del used[:-bound]
            assert sorted(await _ids(storage)) == sorted(used)

    anyio.run(main)


async def _storage_of(*ids: str) -> MemoryStorage:
    storage = MemoryStorage(max_conversations=len(ids))
    for known in ids:
        await storage.create_conversation(known)
    return storage


async def _ids(storage: MemoryStorage) -> list[str]:
    return [row["id"] for row in await storage.list_conversations()]
