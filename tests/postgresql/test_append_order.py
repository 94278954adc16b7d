"""One permanent order per conversation: nothing appears behind what a reader has already seen (C-21)."""

import asyncio
import random
from collections.abc import Callable

import pytest

from corail.storage.postgresql import PostgreSQLStorage
from tests.postgresql.observing import Observer, exact

pytestmark = pytest.mark.anyio

WRITERS = 16
MESSAGES = 40


@pytest.mark.faults(
    area="order",
    done="16 writers in 2 replicas on one conversation, one reader follows its pages, one reads it whole",
    expected="0 messages missed, 0 out of order, every read the beginning of the next",
)
async def test_a_reader_that_follows_sixteen_writers_misses_nothing_and_sees_no_gap(
    open_storage: Callable[..., PostgreSQLStorage], observer: Observer, measured: Callable[[str], None]
) -> None:
    # Two replicas: their batches are numbered by the database alone.
    replicas = [open_storage(pool_size=4) for _ in range(2)]
    reader = open_storage(pool_size=4)
    await reader.create_conversation("hot")
    chance = random.Random(5)  # noqa: S311 - the same mixture every time

    async def write(writer: int) -> None:
        replica = replicas[writer % 2]
        number = 0
        while number < MESSAGES:
            count = min(chance.choice([1, 1, 1, 3]), MESSAGES - number)
            turn = [{"role": "user", "content": f"{writer}/{number + part}"} for part in range(count)]
            await replica.append_messages(
                "hot", turn, idempotency_key=chance.choice([None, f"{writer}-{number}"])
            )
            number += count

    async def follow() -> list[str]:
        seen: list[str] = []
        ids: list[int] = []
        after: str | None = None
        while len(seen) < WRITERS * MESSAGES:
            page = await reader.page_messages("hot", limit=50, after=after)
            for item in page["items"]:
                assert "id" in item
                ids.append(int(item["id"]))
                seen.append(item["content"])
            if ids:
                after = str(ids[-1])
        # Numbered from 1 without a hole: nothing can fill in later.
        assert ids == list(range(1, WRITERS * MESSAGES + 1))
        return seen

    reads = 0

    async def reread() -> None:
        nonlocal reads
        earlier: list[dict[str, str]] = []
        while len(earlier) < WRITERS * MESSAGES:
            now = await reader.get_messages("hot")
            assert now[: len(earlier)] == earlier
            earlier = now
            reads += 1

    async with asyncio.timeout(60):
        writers = asyncio.gather(*(write(writer) for writer in range(WRITERS)))
        seen, _, _ = await asyncio.gather(follow(), reread(), writers)
    assert [message["content"] for message in await reader.get_messages("hot")] == seen
    for writer in range(WRITERS):
        mine = [content for content in seen if content.startswith(f"{writer}/")]
        assert mine == [f"{writer}/{number}" for number in range(MESSAGES)]
    assert await exact(observer)
    measured(
        f"0 missed, 0 out of order of {len(seen)} followed; {reads} reads, each the beginning of the next"
    )


async def test_an_acknowledged_append_is_read_by_every_replica_at_once(
    open_storage: Callable[..., PostgreSQLStorage],
) -> None:
    writer, reader = open_storage(), open_storage()
    for number in range(50):
        await writer.append_message("c", "user", str(number))
        assert len(await reader.get_messages("c")) == number + 1
        assert await reader.get_recent_messages("c", 1) == [{"role": "user", "content": str(number)}]


async def test_the_order_is_not_that_of_the_clock(storage: PostgreSQLStorage, observer: Observer) -> None:
    for number in range(3):
        await storage.append_message("c", "user", str(number))
    await observer.execute("UPDATE messages SET created_at = now() - id * interval '1 day'")
    assert [message["content"] for message in await storage.get_messages("c")] == ["0", "1", "2"]
    assert [message["content"] for message in await storage.get_recent_messages("c", 2)] == ["1", "2"]
