"""What docs/scaling.md says of many conversations: old ones are deleted beside writers, lists read little."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from corail.storage.postgresql import PostgreSQLStorage, _sql
from tests.postgresql.observing import Observer, exact
from tests.postgresql.scaling_documents import documented_sql

pytestmark = pytest.mark.anyio

MOST_BUFFERS = 10


async def test_retention_deletes_old_conversations_only_and_beside_writers(
    storage: PostgreSQLStorage, observer: Observer, schema: str
) -> None:
    for number in range(1200):
        await storage.append_message(f"c{number}", "user", "x")
    # Old are all but every fourth; of those some were created long ago and written to lately.
    await observer.execute(
        """
        UPDATE conversations SET created_at = created_at - interval '100 days',
            updated_at = CASE WHEN right(id, 1) IN ('1', '2') THEN now() ELSE now() - interval '91 days' END
        WHERE substr(id, 2)::int % 4 <> 0
        """
    )
    old = await observer.fetch("SELECT id FROM conversations WHERE updated_at < now() - interval '90 days'")
    young = await observer.fetch("SELECT id FROM conversations WHERE updated_at > now() - interval '90 days'")
    assert len(old) > 500
    sql = documented_sql("SKIP LOCKED", schema)
    writing = True
    written: dict[str, int] = {}

    async def write(writer: int) -> None:
        number = writer
        while writing:
            number = (number + 7) % 1200
            await storage.append_message(f"c{number}", "user", "y")
            written[f"c{number}"] = written.get(f"c{number}", 0) + 1

    deleted: list[int] = []

    async def delete() -> None:
        nonlocal writing
        while not deleted or deleted[-1]:
            deleted.append(int((await observer.execute(sql)).split()[-1]))
        writing = False

    await asyncio.gather(*(write(writer) for writer in range(4)), delete())
    assert max(deleted) <= 500
    assert len(deleted) >= 3
    assert await exact(observer)
    for (conversation_id,) in young:
        expected = 1 + written.get(conversation_id, 0)
        assert len(await storage.get_messages(conversation_id)) == expected
    for (conversation_id,) in old:
        # Gone with its first message, kept because it was written to before its turn came, or both.
        found = len(await storage.get_messages(conversation_id))
        assert found in _possible(written.get(conversation_id, 0))


def _possible(written: int) -> range:
    return range(1) if not written else range(1, written + 2)


@pytest.mark.faults(
    area="scale",
    done="the newest 50 of 10,000 conversations with 100 messages each are listed",
    expected=f"at most {MOST_BUFFERS} buffers are read",
)
async def test_the_newest_fifty_of_ten_thousand_conversations(
    storage: PostgreSQLStorage, observer: Observer, schema: str, measured: Callable[[str], None]
) -> None:
    await storage.create_conversation("first use")
    await observer.execute(
        """
        INSERT INTO conversations (id, created_at, updated_at, last_id, message_count)
        SELECT 'conversation-' || n, now() - n * interval '1 minute', now(), 100, 100
        FROM generate_series(1, 10000) AS n ORDER BY n DESC
        """
    )
    # The foreign key would look the conversation up a million times.
    await observer.execute("SET session_replication_role = replica")
    await observer.execute(
        """
        INSERT INTO messages (conversation_id, id, uid, role, content)
        SELECT 'conversation-' || n, m, gen_random_uuid(), 'user', 'x'
        FROM generate_series(1, 10000) AS n, generate_series(1, 100) AS m
        """,
        timeout=120,
    )
    await observer.execute("VACUUM ANALYZE conversations")
    read: list[int] = []
    statements = _sql.statements(schema)
    after = ["now() - interval '5000 minutes'", "'conversation-5000'"]
    for statement, arguments in ((statements.first_page, ["51"]), (statements.next_page, ["51", *after])):
        sql = statement
        for position, value in enumerate(arguments, 1):
            sql = sql.replace(f"${position}", value)
        explained = await observer.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}")
        plan: dict[str, Any] = json.loads(explained)[0]["Plan"]
        assert plan["Actual Rows"] == 51
        read.append(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])
    size = await observer.fetchval("SELECT pg_total_relation_size('messages')")
    measured(
        f"{read[0]} buffers for the first page, {read[1]} for one in the middle; "
        f"a message takes its text and {size / 1_000_000 - 1:.0f} bytes"
    )
    assert max(read) <= MOST_BUFFERS
    assert len((await storage.page_conversations(limit=50))["items"]) == 50
