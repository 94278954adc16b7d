"""``check()`` says whether the storage can serve, and never raises because it cannot."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from corail.storage.errors import StorageClosedError
from corail.storage.postgresql import PostgreSQLStorage
from corail.storage.postgresql.embedded import EmbeddedPostgres

pytestmark = pytest.mark.anyio

WRITES = "SELECT array_agg((id, updated_at, xmin::text)::text) FROM conversations"


@pytest.fixture
async def observer(database_url: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def test_a_primary_can_serve(database_url: str) -> None:
    async with PostgreSQLStorage(database_url) as storage:
        report = await storage.check()
    assert (report["ok"], report["role"], report["writable"]) == (True, "primary", True)
    assert (report["problem"], report["warnings"]) == (None, [])
    assert set(report["versions"]) == {"server", "schema"}
    assert report["latency"] > 0
    assert report.get("pool") == {"size": 1, "idle": 1, "limit": 10}


async def test_a_read_only_server_cannot_serve(
    database_url: str, observer: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    async with PostgreSQLStorage(database_url) as storage:
        await storage.create_conversation("c")
    name = await observer.fetchval("SELECT current_database()")
    await observer.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    async with PostgreSQLStorage(database_url) as storage:
        report = await storage.check()
    assert (report["ok"], report["writable"]) == (False, False)
    assert "read-only" in (report["problem"] or "")


async def test_an_isolation_level_that_hurts_is_warned_of(
    database_url: str, observer: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    name = await observer.fetchval("SELECT current_database()")
    await observer.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'")
    async with PostgreSQLStorage(database_url) as storage:
        report = await storage.check()
    assert report["ok"]
    assert "repeatable read" in report["warnings"][0]


async def test_it_writes_nothing(database_url: str, observer: "asyncpg.Connection[asyncpg.Record]") -> None:
    async with PostgreSQLStorage(database_url) as storage:
        await storage.create_conversation("c")
        before = await observer.fetchval(WRITES)
        for _ in range(3):
            await storage.check()
    assert await observer.fetchval(WRITES) == before


async def test_a_server_that_is_gone_is_reported_not_raised(
    database_url: str, embedded_server: EmbeddedPostgres
) -> None:
    async with PostgreSQLStorage(database_url, close_timeout=1) as storage:
        assert (await storage.check())["ok"]
        embedded_server.kill()
        try:
            report = await storage.check()
        finally:
            embedded_server.start()
        assert (report["ok"], report["writable"]) == (False, None)
        assert report["problem"]
        await storage.conversation_exists("c")
        assert (await storage.check())["ok"]


async def test_a_closed_storage_has_nothing_to_report(database_url: str) -> None:
    storage = PostgreSQLStorage(database_url)
    await storage.aclose()
    with pytest.raises(StorageClosedError):
        await storage.check()
