"""Messages that the operator has partitioned by conversation, exactly as docs/scaling.md says."""

from collections.abc import AsyncIterator, Callable

import asyncpg
import pytest

from corail.storage.postgresql import PostgreSQLStorage, schema_sql
from corail.storage.testing import StorageContract
from tests.postgresql.observing import Observer, exact
from tests.postgresql.scaling_documents import documented_sql

pytestmark = pytest.mark.anyio


def open_named() -> PostgreSQLStorage:
    """Return another storage on the database of the test, in this process or another."""
    return PostgreSQLStorage()


class TestPartitioned(StorageContract):
    reopen = staticmethod(open_named)

    @pytest.fixture
    async def storage(
        self, database_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> AsyncIterator[PostgreSQLStorage]:
        connection = await asyncpg.connect(database_url)
        await connection.execute(schema_sql("agents"))
        await connection.execute(documented_sql("PARTITION BY HASH", "agents"))
        await connection.close()
        monkeypatch.setenv("CORAIL_DATABASE_URL", database_url)
        monkeypatch.setenv("CORAIL_DB_SCHEMA", "agents")
        async with PostgreSQLStorage() as storage:
            yield storage


async def test_messages_that_were_there_before_stay(
    open_storage: Callable[..., PostgreSQLStorage], observer: Observer, schema: str
) -> None:
    before = open_storage()
    for number in range(40):
        await before.append_messages(f"c{number}", [{"role": "user", "content": "x"}], idempotency_key="k")
    await before.aclose()
    await observer.execute(documented_sql("PARTITION BY HASH", schema))
    after = open_storage()
    for number in range(40):
        # The key of before is still known.
        await after.append_messages(f"c{number}", [{"role": "user", "content": "x"}], idempotency_key="k")
        await after.append_message(f"c{number}", "assistant", "y")
        assert [message["content"] for message in await after.get_messages(f"c{number}")] == ["x", "y"]
    assert await exact(observer)
    used = await observer.fetchval("SELECT count(DISTINCT tableoid) FROM messages")
    assert used > 8
    await after.delete_conversation("c0")
    assert await observer.fetchval("SELECT count(*) FROM messages WHERE conversation_id = 'c0'") == 0


async def test_a_conversation_is_read_from_its_own_partition(
    open_storage: Callable[..., PostgreSQLStorage], observer: Observer, schema: str
) -> None:
    await open_storage().append_message("c", "user", "x")
    await observer.execute(documented_sql("PARTITION BY HASH", schema))
    plan = await observer.fetch("EXPLAIN SELECT FROM messages WHERE conversation_id = 'c' AND id > 0")
    touched = {line for (line,) in plan if "messages_" in line and "Scan" in line}
    assert len(touched) == 1, plan
