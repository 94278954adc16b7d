"""A million old messages upgraded under writers of both releases: stalls, losses, order, counts."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from time import monotonic

import asyncpg
import pytest

from corail.storage.errors import StorageError
from corail.storage.postgresql import PostgreSQLStorage, _sql_upgrade
from corail.storage.postgresql._locking import lock_key
from corail.storage.postgresql.upgrade import upgrade
from tests.postgresql.observing import Observer, eventually
from tests.postgresql.older import append_old, make_older

pytestmark = pytest.mark.anyio

CONVERSATIONS, MESSAGES = 10_000, 100
OLD, NEW = 4, 4
STEPS = 11

WRONG_COUNTERS = """
SELECT count(*) FROM conversations AS c LEFT JOIN (
  SELECT conversation_id, count(*) AS rows, max(id) AS last FROM messages GROUP BY 1
) AS m ON m.conversation_id = c.id
WHERE c.message_count IS DISTINCT FROM COALESCE(m.rows, 0)
   OR c.last_id IS DISTINCT FROM COALESCE(m.last, 0)
"""


class Writers:
    """Writers of both releases on shared conversations, and what they have been told."""

    def __init__(self, url: str, schema: str, storages: Sequence[PostgreSQLStorage]) -> None:
        self._url = url
        self._schema = schema
        self._storages = storages
        self.old_writing = self.new_writing = True
        self.acknowledged: list[str] = []
        self.errors: list[Exception] = []
        self.longest_old = self.longest_new = 0.0
        self.wrong_reads = 0

    async def old(self, writer: int) -> None:
        """Write as the earlier release did, until told to stop."""
        connection = await asyncpg.connect(self._url)
        number = 0
        while self.old_writing:
            started = monotonic()
            await append_old(connection, self._schema, f"shared{writer}", f"old{writer}/{number}")
            self.longest_old = max(self.longest_old, monotonic() - started)
            self.acknowledged.append(f"old{writer}/{number}")
            number += 1
        await connection.close()

    async def new(self, writer: int) -> None:
        """Write through a storage; every second message goes to a conversation an old writer writes."""
        storage = self._storages[writer % len(self._storages)]
        number = 0
        while self.new_writing:
            started = monotonic()
            try:
                await storage.append_message(
                    f"shared{writer}" if number % 2 else f"own{writer}", "user", f"new{writer}/{number}"
                )
            except StorageError as error:
                self.errors.append(error)
            else:
                self.acknowledged.append(f"new{writer}/{number}")
            self.longest_new = max(self.longest_new, monotonic() - started)
            number += 1

    async def read(self) -> None:
        """Read a conversation that only this release writes, and one that nobody writes, all the time."""
        storage = self._storages[-1]
        seen: list[str] = []
        while self.new_writing:
            contents = [message["content"] for message in await storage.get_messages("own0")]
            row, quiet = await storage.get_conversation("own0"), await storage.get_conversation("c1")
            if contents[: len(seen)] != seen or (
                contents and (not row or row["message_count"] < len(contents))
            ):
                self.wrong_reads += 1
            if quiet is None or quiet["message_count"] != MESSAGES:
                self.wrong_reads += 1
            seen = contents
            await asyncio.sleep(0.02)


async def make_million(observer: Observer, schema: str) -> None:
    """Make older tables of 10,000 conversations with 100 messages each."""
    await make_older(observer, schema)
    await observer.execute(
        f"INSERT INTO conversations (id) SELECT 'c' || n FROM generate_series(1, {CONVERSATIONS}) AS n",  # noqa: S608
        timeout=60,
    )
    await observer.execute(
        "INSERT INTO messages (conversation_id, role, content) SELECT 'c' || c, 'user', repeat('x', 100) "
        "FROM generate_series(1, $1::int) AS m, generate_series(1, $2::int) AS c",
        MESSAGES,
        CONVERSATIONS,
        timeout=120,
    )


@pytest.mark.faults(
    area="upgrade",
    done="1,000,000 old messages: first connection, upgrade and --finish under 4 old and 4 new writers",
    expected="no writer stalled for 250 ms, 0 lost, 0 doubled, own orders kept, counts right at every read",
)
async def test_a_million_messages_are_upgraded_under_both_releases(
    open_storage: Callable[..., PostgreSQLStorage],
    observer: Observer,
    url: str,
    schema: str,
    measured: Callable[[str], None],
) -> None:
    await make_million(observer, schema)
    writers = Writers(url, schema, [open_storage() for _ in range(2)])
    olds = [asyncio.create_task(writers.old(writer)) for writer in range(OLD)]

    async def more() -> bool:
        wanted = len(writers.acknowledged) + 100

        async def written() -> bool:
            return len(writers.acknowledged) >= wanted

        return await eventually(written)

    assert await more()
    started = monotonic()
    news = [asyncio.create_task(writers.new(writer)) for writer in range(NEW)]
    news.append(asyncio.create_task(writers.read()))
    assert await more()
    assert not await upgrade(url, schema=schema)
    assert await more()
    # The earlier release goes; one writer of it is forgotten.
    writers.old_writing = False
    await asyncio.gather(*olds)
    assert await upgrade(url, schema=schema, finish=True)
    took = monotonic() - started
    with pytest.raises(asyncpg.CheckViolationError):
        await append_old(observer, schema, "shared0", "forgotten")
    assert await more()
    writers.new_writing = False
    await asyncio.gather(*news)
    storage = open_storage()
    counts = {row["id"]: row["message_count"] for row in await storage.list_conversations()}
    stored: list[str] = []
    for name in [f"{kind}{writer}" for kind in ("shared", "own") for writer in range(NEW)]:
        contents = [message["content"] for message in await storage.get_messages(name)]
        assert counts[name] == len(contents)
        stored += contents
        for writer in {content.partition("/")[0] for content in contents}:
            mine = [int(c.partition("/")[2]) for c in contents if c.startswith(f"{writer}/")]
            assert mine == sorted(mine)
    wrong = await observer.fetchval(WRONG_COUNTERS)
    lost, doubled = set(writers.acknowledged) - set(stored), len(stored) - len(set(stored))
    measured(
        f"{len(lost)} lost and {doubled} doubled of {len(writers.acknowledged)} acknowledged "
        f"in {took:.0f} s, longest {writers.longest_old * 1000:.0f} ms (old) and "
        f"{writers.longest_new * 1000:.0f} ms (new), "
        f"{wrong} wrong counts, {writers.wrong_reads} wrong reads"
    )
    assert not writers.errors
    assert (len(lost), doubled, wrong, writers.wrong_reads) == (0, 0, 0, 0)
    assert writers.longest_old < 0.25
    assert writers.longest_new < 0.25


@pytest.mark.faults(
    area="upgrade",
    done="1,000,000 old messages: kill -9 of upgrade and server process in every step, under 4 writers",
    expected="the next run finishes; 0 lost, 0 doubled, counters equal to rows, no index left invalid",
)
async def test_an_upgrade_of_a_million_messages_is_killed_in_every_step(
    open_storage: Callable[..., PostgreSQLStorage],
    observer: Observer,
    url: str,
    schema: str,
    measured: Callable[[str], None],
) -> None:
    await make_million(observer, schema)
    writers = Writers(url, schema, [open_storage() for _ in range(2)])
    news = [asyncio.create_task(writers.new(writer)) for writer in range(NEW)]
    environment = {**os.environ, "CORAIL_DATABASE_URL": url, "CORAIL_DB_SCHEMA": schema}
    kills = 0
    for step in range(2, STEPS + 1):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "corail.storage.postgresql.upgrade", "--finish",
            stderr=subprocess.PIPE, env=environment,
        )  # fmt: skip
        assert process.stderr is not None
        async for line in process.stderr:
            if line.startswith(b"[%d/" % step) and line.rstrip().endswith(b"..."):
                process.kill()
                # Its server process would finish the statement first, and leave nothing half done.
                holder = await observer.fetchval(_sql_upgrade.HOLDER, lock_key(schema, " upgrade"))
                if holder is not None:
                    await observer.fetchval("SELECT pg_terminate_backend($1, 5000)", holder)
                kills += 1
                break
        await process.wait()
    assert await upgrade(url, schema=schema, finish=True)
    writers.new_writing = False
    await asyncio.gather(*news)
    storage = open_storage()
    stored: list[str] = []
    for name in [f"{kind}{writer}" for kind in ("shared", "own") for writer in range(NEW)]:
        stored += [message["content"] for message in await storage.get_messages(name)]
    wrong = await observer.fetchval(WRONG_COUNTERS)
    invalid = await observer.fetchval(
        "SELECT count(*) FROM pg_index WHERE NOT indisvalid AND indrelid = 'messages'::regclass"
    )
    lost, doubled = set(writers.acknowledged) - set(stored), len(stored) - len(set(stored))
    measured(
        f"{kills} kills, {len(lost)} lost and {doubled} doubled of {len(writers.acknowledged)} acknowledged, "
        f"longest {writers.longest_new * 1000:.0f} ms, {wrong} wrong counts"
    )
    assert not writers.errors
    assert (kills, len(lost), doubled, wrong, invalid) == (STEPS - 1, 0, 0, 0, 0)
