"""Appends that wait together travel together, and nobody suffers from somebody else's turn."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator

import asyncpg
import pytest

from corail.storage.errors import (
    AppendOutcomeUnknownError,
    InvalidInputError,
    StorageClosedError,
    StorageError,
    StorageTimeoutError,
)
from corail.storage.postgresql import PostgreSQLStorage, _group

pytestmark = pytest.mark.anyio

PATIENCE = 60
"""Seconds after which a hang is a failure; no result depends on it."""


@pytest.fixture
async def storage(database_url: str) -> AsyncIterator[PostgreSQLStorage]:
    async with PostgreSQLStorage(database_url) as opened:
        await opened.create_conversation("first use")
        yield opened


@pytest.fixture
async def observer(
    storage: PostgreSQLStorage,  # noqa: ARG001 - its tables must be there
    database_url: str,
) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def contents(storage: PostgreSQLStorage, conversation: str) -> list[str]:
    return [message["content"] for message in await storage.get_messages(conversation)]


class Locked:
    """A conversation whose row another connection holds."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]", *conversations: str) -> None:
        self._connection = connection
        self._conversations = conversations
        self._transaction = connection.transaction()

    async def __aenter__(self) -> "Locked":
        await self._transaction.start()
        await self._connection.execute(
            "SELECT FROM conversations WHERE id = ANY($1::text[]) FOR UPDATE", list(self._conversations)
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._transaction.rollback()


async def statements(observer: "asyncpg.Connection[asyncpg.Record]") -> int:
    """Return how many statements stored the messages: each leaves its own transaction id."""
    found: int = await observer.fetchval("SELECT count(DISTINCT xmin::text) FROM messages")
    return found


async def test_waiting_appends_travel_in_few_statements(
    storage: PostgreSQLStorage, observer: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await asyncio.gather(*(storage.append_message(f"c{index}", "user", "text") for index in range(300)))
    assert await observer.fetchval("SELECT count(*) FROM messages") == 300
    # All 300 are queued before the first flush runs; what waits on the pool may split them once.
    assert await statements(observer) <= 2


async def test_a_lone_append_is_sent_at_once(
    storage: PostgreSQLStorage, observer: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    for index in range(5):
        await storage.append_message("c", "user", str(index))
        assert await observer.fetchval("SELECT count(*) FROM messages") == index + 1


async def test_a_locked_conversation_neither_fails_nor_holds_its_neighbours(
    storage: PostgreSQLStorage, observer: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await storage.create_conversation("locked")
    async with Locked(observer, "locked"):
        stuck = [asyncio.create_task(storage.append_message("locked", "user", str(n))) for n in range(5)]
        async with asyncio.timeout(PATIENCE):
            for _ in range(3):
                await asyncio.gather(*(storage.append_message(f"c{n}", "user", "x") for n in range(64)))
        assert not any(task.done() for task in stuck)
    await asyncio.gather(*stuck)
    assert await contents(storage, "locked") == list("01234")


async def test_more_locked_conversations_than_lanes_still_let_their_neighbours_pass(
    storage: PostgreSQLStorage, observer: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    locked = [f"locked {n}" for n in range(3 * _group.LANES)]
    for conversation in locked:
        await storage.create_conversation(conversation)
    async with Locked(observer, *locked):
        stuck = [asyncio.create_task(storage.append_message(name, "user", "x")) for name in locked]
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*(storage.append_message(f"c{n}", "user", "x") for n in range(32)))
        assert not any(task.done() for task in stuck)
    await asyncio.gather(*stuck)


async def test_a_refused_turn_fails_alone_and_without_its_text(
    storage: PostgreSQLStorage, observer: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await observer.execute("ALTER TABLE messages ADD CHECK (content <> 'the secret text')")
    results = await asyncio.gather(
        storage.append_message("bad", "user", "the secret text"),
        *(storage.append_message(f"c{n}", "user", "fine") for n in range(20)),
        storage.append_message("bad", "user", "fine"),
        return_exceptions=True,
    )
    error = results[0]
    assert isinstance(error, InvalidInputError)
    assert results[1:] == [None] * 21
    chain: BaseException | None = error
    while chain is not None:
        assert "secret" not in f"{chain!s} {chain!r}"
        chain = chain.__cause__ or chain.__context__
    assert await contents(storage, "bad") == ["fine"]


async def test_a_message_of_the_largest_size_travels_beside_its_neighbours(
    storage: PostgreSQLStorage,
) -> None:
    largest = "x" * (16 * 1024 * 1024)
    await asyncio.gather(
        storage.append_message("large", "user", largest),
        *(storage.append_message(f"c{n}", "user", "small") for n in range(50)),
    )
    assert await contents(storage, "large") == [largest]
    assert await contents(storage, "c49") == ["small"]


async def test_a_cancelled_caller_in_the_queue_stores_nothing_and_harms_nobody(
    storage: PostgreSQLStorage, observer: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await storage.create_conversation("c")
    async with Locked(observer, "c"):
        tasks = [asyncio.create_task(storage.append_message("c", "user", "0"))]
        await blocked_writers(observer, 1)
        tasks += [asyncio.create_task(storage.append_message("c", "user", str(n))) for n in range(1, 6)]
        await asyncio.sleep(0)
        for task in tasks[2:4]:
            task.cancel()
        await asyncio.wait(tasks[2:4])
    await asyncio.gather(*tasks[:2], *tasks[4:])
    assert await contents(storage, "c") == ["0", "1", "4", "5"]


async def test_a_cancelled_caller_whose_turn_is_on_its_way_harms_nobody(
    storage: PostgreSQLStorage, observer: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await storage.create_conversation("c")
    async with Locked(observer, "c"):
        first = asyncio.create_task(storage.append_message("c", "user", "cancelled"))
        await blocked_writers(observer, 1)
        first.cancel()
        await asyncio.wait([first])
        second = asyncio.create_task(storage.append_message("c", "user", "kept"))
    await second
    assert (await contents(storage, "c"))[-1] == "kept"
    assert (await contents(storage, "c")).count("cancelled") <= 1


async def blocked_writers(observer: "asyncpg.Connection[asyncpg.Record]", count: int) -> None:
    """Wait until so many sessions wait for a row lock."""
    waiting = (
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    async with asyncio.timeout(PATIENCE):
        while await observer.fetchval(waiting) < count:
            pass


async def test_equal_keys_at_the_same_time_are_stored_once(storage: PostgreSQLStorage) -> None:
    turn = [{"role": "user", "content": "question"}, {"role": "assistant", "content": "answer"}]
    await asyncio.gather(*(storage.append_messages("c", turn, idempotency_key="turn 1") for _ in range(20)))
    assert await contents(storage, "c") == ["question", "answer"]


async def test_batches_stay_together_among_concurrent_appends(storage: PostgreSQLStorage) -> None:
    turns = [[{"role": "user", "content": f"{n}.{part}"} for part in range(5)] for n in range(40)]
    await asyncio.gather(*(storage.append_messages("c", turn) for turn in turns))
    stored = await contents(storage, "c")
    assert len(stored) == 200
    for start in range(0, 200, 5):
        number = stored[start].split(".")[0]
        assert stored[start : start + 5] == [f"{number}.{part}" for part in range(5)]


async def test_an_append_that_arrives_while_the_flush_finishes_is_not_stranded(
    storage: PostgreSQLStorage,
) -> None:
    """Let the next append arrive at every distance, in steps of the loop, from the end of a flush."""

    async def after(steps: int, number: int) -> None:
        for _ in range(steps):
            await asyncio.sleep(0)
        await storage.append_message(f"c{number}", "user", "late")

    async with asyncio.timeout(PATIENCE):
        for steps in range(60):
            await asyncio.gather(storage.append_message("first", "user", "x"), after(steps, steps))
    assert len(await contents(storage, "first")) == 60


async def test_full_queue_makes_callers_wait_and_loses_nobody(
    storage: PostgreSQLStorage,
    observer: "asyncpg.Connection[asyncpg.Record]",
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_group, "MAX_HELD_TURNS", 4)
    monkeypatch.setattr(_group, "MAX_HELD_BYTES", 10)
    await storage.create_conversation("c")
    async with Locked(observer, "c"):
        tasks = [asyncio.create_task(storage.append_message("c", "user", f"{n:03}")) for n in range(30)]
        await blocked_writers(observer, 1)
        for task in tasks[10:15]:
            task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    stored = await contents(storage, "c")
    expected = [f"{n:03}" for n, result in enumerate(results) if result is None]
    assert sorted(stored) == expected
    assert len(expected) == 25


async def test_an_append_larger_than_the_whole_queue_passes(
    storage: PostgreSQLStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_group, "MAX_HELD_BYTES", 10)
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*(storage.append_message("c", "user", "x" * 100) for _ in range(5)))
    assert len(await contents(storage, "c")) == 5


async def test_an_append_out_of_time_behind_a_lock_was_not_stored(
    database_url: str, observer: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    async with PostgreSQLStorage(database_url, deadline=0.5) as hasty:
        await hasty.create_conversation("locked")
        async with Locked(observer, "locked"):
            results = await asyncio.gather(
                *(hasty.append_message("locked", "user", str(n)) for n in range(4)), return_exceptions=True
            )
        assert [type(result) for result in results] == [StorageTimeoutError] * 4
        await hasty.append_message("locked", "user", "afterwards")
        assert await contents(hasty, "locked") == ["afterwards"]


async def test_closing_stores_what_is_waiting(database_url: str) -> None:
    storage = PostgreSQLStorage(database_url)
    await storage.create_conversation("c0")
    tasks = [asyncio.create_task(storage.append_message(f"c{n % 7}", "user", "x")) for n in range(200)]
    await asyncio.sleep(0)
    await storage.aclose()
    assert await asyncio.gather(*tasks, return_exceptions=True) == [None] * 200
    with pytest.raises(StorageClosedError):
        await storage.append_message("c", "user", "x")
    async with PostgreSQLStorage(database_url) as again:
        assert sum(row["message_count"] for row in await again.list_conversations()) == 200


async def test_closing_fails_what_cannot_be_stored_in_time(
    database_url: str, observer: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    storage = PostgreSQLStorage(database_url, close_timeout=0.2)
    await storage.create_conversation("locked")
    async with Locked(observer, "locked"):
        tasks = [asyncio.create_task(storage.append_message("locked", "user", str(n))) for n in range(3)]
        await blocked_writers(observer, 1)
        async with asyncio.timeout(PATIENCE):
            await storage.aclose()
            results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, StorageClosedError | AppendOutcomeUnknownError) for result in results)


async def test_closing_lets_nobody_wait_for_room(
    database_url: str,
    observer: "asyncpg.Connection[asyncpg.Record]",
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_group, "MAX_HELD_TURNS", 2)
    storage = PostgreSQLStorage(database_url, close_timeout=0.2, deadline=PATIENCE)
    await storage.create_conversation("locked")
    async with Locked(observer, "locked"):
        tasks = [asyncio.create_task(storage.append_message("locked", "user", str(n))) for n in range(9)]
        await blocked_writers(observer, 1)
        async with asyncio.timeout(PATIENCE / 4):
            await storage.aclose()
            results = await asyncio.gather(*tasks, return_exceptions=True)
    # Two had room and may have been sent; the others certainly were not.
    assert all(isinstance(result, StorageClosedError | AppendOutcomeUnknownError) for result in results)
    assert [type(result) for result in results[2:]] == [StorageClosedError] * 7


async def test_one_failed_batch_does_not_stop_later_appends(
    storage: PostgreSQLStorage, observer: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    await observer.execute("ALTER TABLE messages ADD CONSTRAINT closed CHECK (false) NOT VALID")
    results = await asyncio.gather(
        *(storage.append_message(f"c{n}", "user", "x") for n in range(5)), return_exceptions=True
    )
    assert all(isinstance(result, StorageError) for result in results)
    await observer.execute("ALTER TABLE messages DROP CONSTRAINT closed")
    async with asyncio.timeout(PATIENCE):
        await storage.append_message("c", "user", "afterwards")
    assert await contents(storage, "c") == ["afterwards"]


WRITER = """
import asyncio, sys
from corail.storage.postgresql import PostgreSQLStorage

async def main(url, name):
    async with PostgreSQLStorage(url) as storage:
        async def write(writer):
            for number in range(25):
                text = f"{name}.{writer}.{number}"
                await storage.append_message(f"shared {(writer + number) % 20}", "user", text)
        await asyncio.gather(*(write(writer) for writer in range(64)))

asyncio.run(main(*sys.argv[1:]))
"""


async def test_processes_on_the_same_conversations_neither_deadlock_nor_leave_holes(
    storage: PostgreSQLStorage, observer: "asyncpg.Connection[asyncpg.Record]", database_url: str
) -> None:
    writers = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", WRITER, database_url, str(n), stderr=subprocess.PIPE
        )
        for n in range(4)
    ]
    for writer in writers:
        _, errors = await writer.communicate()
        assert writer.returncode == 0, errors.decode()
    rows = await observer.fetch(
        "SELECT c.last_id, c.message_count, count(*) AS stored, min(m.id) AS lowest, max(m.id) AS highest "
        "FROM conversations AS c JOIN messages AS m ON m.conversation_id = c.id GROUP BY c.id"
    )
    assert len(rows) == 20
    assert sum(row["stored"] for row in rows) == 4 * 64 * 25
    for row in rows:
        assert row["last_id"] == row["message_count"] == row["stored"] == row["highest"]
        assert row["lowest"] == 1
    assert (
        await observer.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        == 0
    )
    # Each writer's own appends are in its order.
    for number in range(20):
        seen: dict[str, int] = {}
        for content in await contents(storage, f"shared {number}"):
            writer_name, _, position = content.rpartition(".")
            assert int(position) > seen.get(writer_name, -1)
            seen[writer_name] = int(position)
