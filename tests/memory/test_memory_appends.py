"""Batches are stored whole or not at all, and once under a key."""

import time

import pytest

from corail.storage.errors import InvalidInputError
from corail.storage.memory import MemoryStorage

pytestmark = pytest.mark.anyio

PAIR = [{"role": "user", "content": "ask"}, {"role": "assistant", "content": "answer"}]


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_a_repeat_under_its_key_changes_nothing() -> None:
    storage = MemoryStorage()
    await storage.append_messages("c", PAIR, idempotency_key="turn-1")
    await storage.append_message("c", "user", "more")
    before = await storage.get_conversation("c")
    await storage.append_messages("c", PAIR, idempotency_key="turn-1")
    assert await storage.get_messages("c") == [*PAIR, {"role": "user", "content": "more"}]
    assert await storage.get_conversation("c") == before


@pytest.mark.parametrize(
    "others",
    [
        [{"role": "user", "content": "ask"}],
        [*PAIR, {"role": "user", "content": "ask"}],
        [{"role": "user", "content": "ask"}, {"role": "user", "content": "answer"}],
        [{"role": "user", "content": "other"}, {"role": "assistant", "content": "answer"}],
        # The same bytes, divided elsewhere.
        [{"role": "user", "content": "askans"}, {"role": "assistant", "content": "wer"}],
    ],
    ids=["fewer", "more", "role", "content", "division"],
)
async def test_other_messages_under_a_used_key_are_refused(others: list[dict[str, str]]) -> None:
    storage = MemoryStorage()
    await storage.append_message("c", "user", "before")
    await storage.append_messages("c", PAIR, idempotency_key="turn-1")
    with pytest.raises(InvalidInputError, match="used for other messages in this conversation") as caught:
        await storage.append_messages("c", others, idempotency_key="turn-1")
    assert "ask" not in str(caught.value)
    assert await storage.get_messages("c") == [{"role": "user", "content": "before"}, *PAIR]


async def test_a_key_belongs_to_one_conversation() -> None:
    storage = MemoryStorage()
    await storage.append_messages("a", PAIR, idempotency_key="k")
    await storage.append_messages("b", PAIR[:1], idempotency_key="k")
    assert await storage.get_messages("a") == PAIR
    assert await storage.get_messages("b") == PAIR[:1]


async def test_a_key_goes_with_its_conversation() -> None:
    storage = MemoryStorage(max_conversations=1)
    await storage.append_messages("c", PAIR, idempotency_key="k")
    await storage.delete_conversation("c")
    await storage.append_messages("c", PAIR[:1], idempotency_key="k")
    assert await storage.get_messages("c") == PAIR[:1]
    await storage.create_conversation("pushes c out")
    await storage.append_messages("c", PAIR, idempotency_key="k")
    assert await storage.get_messages("c") == PAIR


async def test_the_same_messages_without_a_key_are_stored_again() -> None:
    storage = MemoryStorage()
    await storage.append_messages("c", PAIR)
    await storage.append_messages("c", PAIR)
    assert await storage.get_messages("c") == PAIR * 2


async def test_an_empty_batch_leaves_no_conversation_and_no_key() -> None:
    storage = MemoryStorage()
    await storage.append_messages("c", [], idempotency_key="k")
    assert not await storage.conversation_exists("c")
    await storage.append_messages("c", PAIR, idempotency_key="k")
    await storage.append_messages("c", [], idempotency_key="k")
    assert await storage.get_messages("c") == PAIR


async def test_a_bad_message_in_a_batch_keeps_all_of_it_out() -> None:
    storage = MemoryStorage()
    with pytest.raises(InvalidInputError, match=r"messages\[2\]"):
        await storage.append_messages("c", [*PAIR, {"role": "", "content": "x"}], idempotency_key="k")
    assert not await storage.conversation_exists("c")
    await storage.append_messages("c", PAIR[:1], idempotency_key="k")
    assert await storage.get_messages("c") == PAIR[:1]


async def test_an_append_that_fails_half_way_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    now: float = 2 * 10**18
    monkeypatch.setattr(time, "time_ns", lambda: now)
    storage = MemoryStorage()
    await storage.append_messages("c", PAIR)
    # A fractional time fails where text and roles are in already, as a lack of memory could.
    now = now + 1e9
    for conversation_id in ("c", "unknown"):
        with pytest.raises(TypeError):
            await storage.append_messages(
                conversation_id, [{"role": "tool", "content": "lost"}], idempotency_key="k"
            )
    assert await storage.get_messages("c") == PAIR
    assert not await storage.conversation_exists("unknown")
    now = 3 * 10**18
    await storage.append_messages("c", PAIR[:1], idempotency_key="k")
    await storage.append_messages("c", PAIR[:1], idempotency_key="k")
    assert await storage.get_messages("c") == [*PAIR, PAIR[0]]
    row = await storage.get_conversation("c")
    assert row is not None
    assert row["message_count"] == 3
