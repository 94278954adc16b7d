"""The server dies under its writers and comes back: nothing acknowledged is lost, nothing doubled."""

import asyncio
from collections.abc import Callable
from time import monotonic

import pytest

from corail.storage.postgresql import PostgreSQLStorage
from corail.storage.postgresql.embedded import EmbeddedPostgres
from tests.postgresql.observing import Observer, eventually

pytestmark = pytest.mark.anyio

WRITERS = 8
KILLS = 10


@pytest.mark.faults(
    area="crash",
    done="10 x kill -9 of the whole server under 8 writers",
    expected="0 acknowledged appends lost, 0 doubled, counters equal to rows, no hole, longest under 5 s",
)
async def test_ten_crashes_under_eight_writers(
    open_storage: Callable[..., PostgreSQLStorage],
    embedded_server: EmbeddedPostgres,
    observer: Observer,
    measured: Callable[[str], None],
) -> None:
    assert observer
    storage = open_storage(deadline=30)
    await storage.create_conversation("c0")
    acknowledged: list[str] = []
    longest = 0.0
    writing = True

    async def write(writer: int) -> None:
        nonlocal longest
        number = 0
        while writing:
            content = f"{writer}/{number}"
            started = monotonic()
            await storage.append_message(f"c{writer % 3}", "user", content)
            longest = max(longest, monotonic() - started)
            acknowledged.append(content)
            number += 1

    async def more() -> bool:
        wanted = len(acknowledged) + 200

        async def written() -> bool:
            return len(acknowledged) >= wanted

        return await eventually(written)

    async def crash() -> None:
        nonlocal writing
        for _ in range(KILLS):
            assert await more()
            await asyncio.to_thread(embedded_server.kill)
            await asyncio.to_thread(embedded_server.start)
        assert await more()
        writing = False

    await asyncio.gather(*(write(writer) for writer in range(WRITERS)), crash())
    rows = await storage.list_conversations()
    stored: list[str] = []
    for conversation in range(3):
        contents = [message["content"] for message in await storage.get_messages(f"c{conversation}")]
        stored += contents
        (row,) = [row for row in rows if row["id"] == f"c{conversation}"]
        assert row["message_count"] == len(contents)
        items = (await storage.page_messages(f"c{conversation}", limit=1000))["items"]
        assert [item.get("id") for item in items] == [str(n + 1) for n in range(len(items))]
        for writer in range(conversation, WRITERS, 3):
            mine = [content for content in contents if content.startswith(f"{writer}/")]
            assert mine == [f"{writer}/{number}" for number in range(len(mine))]
    lost, doubled = set(acknowledged) - set(stored), len(stored) - len(set(stored))
    measured(
        f"{len(lost)} lost and {doubled} doubled of {len(acknowledged)} acknowledged, longest {longest:.1f} s"
    )
    assert sorted(stored) == sorted(acknowledged)
    assert longest < 5
