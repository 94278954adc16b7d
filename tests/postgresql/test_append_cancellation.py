"""Cancelled calls: connections stay clean, counters exact, and a repeat under the key never doubles."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import Any

import pytest

from corail.storage.postgresql import PostgreSQLStorage
from tests.postgresql.addresses import with_parameters
from tests.postgresql.observing import Observer, connections, eventually, exact, somebody_waits

pytestmark = pytest.mark.anyio

CANCELS = 200
TURNS = 15
"""Turns of the event loop in which a call gets as far as waiting for the server."""


async def idle(observer: Observer, application_name: str) -> bool:
    """Wait until no connection is at work or in a transaction; return whether it came to that."""

    async def nothing_goes_on() -> bool:
        return await connections(observer, application_name, "state <> 'idle'") == 0

    return await eventually(nothing_goes_on)


async def cancel_at_some_moment(call: "asyncio.Task[Any]", chance: random.Random, typical: float) -> bool:
    """Cancel a call after some turns of the loop or some time; return whether it had been acknowledged."""
    if chance.random() < 0.5:
        for _ in range(chance.randrange(TURNS)):
            await asyncio.sleep(0)
    else:
        await asyncio.wait([call], timeout=chance.uniform(0, 2 * typical))
    call.cancel()
    await asyncio.wait([call])
    return not call.cancelled() and call.exception() is None


async def duration(call: Callable[[], Coroutine[Any, Any, object]]) -> float:
    """Return how many seconds a call takes here and now, at the most of a few."""
    seconds: list[float] = []
    for _ in range(5):
        started = monotonic()
        await call()
        seconds.append(monotonic() - started)
    return max(seconds)


@pytest.mark.parametrize("keyed", [True, False], ids=["given key", "own key"])
async def test_appends_cancelled_at_any_moment(
    open_storage: Callable[..., PostgreSQLStorage],
    url: str,
    observer: Observer,
    application_name: str,
    *,
    keyed: bool,
) -> None:
    # asyncpg leaves a future unread when it is cancelled while it asks for TLS, and asyncio reports it.
    storage = open_storage(with_parameters(url, sslmode="disable"), pool_size=3)
    await storage.create_conversation("c")
    chance = random.Random(11)  # noqa: S311 - the same moments every time
    typical = await duration(lambda: storage.append_message("other", "user", "x"))
    acknowledged: list[str] = []
    started: list[str] = []
    for number in range(CANCELS):
        content = str(number)
        started.append(content)
        turn = [{"role": "user", "content": content}]
        key = content if keyed else None
        call = asyncio.create_task(storage.append_messages("c", turn, idempotency_key=key))
        if await cancel_at_some_moment(call, chance, typical):
            acknowledged.append(content)
    assert await idle(observer, application_name)
    stored = [message["content"] for message in await storage.get_messages("c")]
    assert len(stored) == len(set(stored))
    assert set(acknowledged) <= set(stored) <= set(started)
    # Both happened, or the moments were badly chosen.
    assert 0 < len(stored) < CANCELS
    if keyed:
        for content in started:
            turn = [{"role": "user", "content": content}]
            await storage.append_messages("c", turn, idempotency_key=content)
        stored = [message["content"] for message in await storage.get_messages("c")]
        assert sorted(stored) == sorted(started)
    assert await exact(observer)
    assert await connections(observer, application_name) <= 3


async def test_cancelled_readers_and_writers_among_others_that_are_not(
    open_storage: Callable[..., PostgreSQLStorage], url: str, observer: Observer, application_name: str
) -> None:
    storage = open_storage(with_parameters(url, sslmode="disable"), pool_size=3)
    await storage.create_conversation("c0")
    chance = random.Random(12)  # noqa: S311 - the same moments every time

    async def keep(writer: int) -> None:
        for number in range(30):
            await storage.append_message(f"c{writer % 2}", "user", f"{writer}/{number}")
            await storage.get_messages(f"c{writer % 2}")

    typical = await duration(lambda: storage.append_message("other", "user", "x"))

    async def cancel() -> None:
        calls: list[Callable[[], Coroutine[Any, Any, object]]] = [
            lambda: storage.get_messages("c0"),
            lambda: storage.get_recent_messages("c1", 3),
            lambda: storage.append_message("c0", "user", "cancelled"),
            lambda: storage.update_title("c0", "cancelled"),
            lambda: storage.list_conversations(),
            lambda: storage.conversation_exists("c1"),
        ]
        for _ in range(100):
            await cancel_at_some_moment(asyncio.create_task(chance.choice(calls)()), chance, typical)

    async with asyncio.timeout(60):
        await asyncio.gather(*(keep(writer) for writer in range(4)), cancel(), cancel())
    for conversation in range(2):
        stored = [message["content"] for message in await storage.get_messages(f"c{conversation}")]
        for writer in (conversation, conversation + 2):
            mine = [content for content in stored if content.startswith(f"{writer}/")]
            assert mine == [f"{writer}/{number}" for number in range(30)]
    assert await idle(observer, application_name)
    assert await exact(observer)


async def test_a_statement_whose_caller_has_gone_does_not_go_on_waiting(
    storage: PostgreSQLStorage, observer: Observer, application_name: str
) -> None:
    await storage.create_conversation("c")
    async with observer.transaction():
        await observer.execute("SELECT FROM conversations FOR UPDATE")
        calls = [asyncio.create_task(storage.update_title("c", "x")) for _ in range(3)]
        assert await somebody_waits(observer, application_name, at_least=3)
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)
        assert all(call.cancelled() for call in calls)
        assert await idle(observer, application_name)
        await storage.conversation_exists("c")
    assert await observer.fetchval("SELECT title FROM conversations") == ""
