"""``check()`` says whether the storage can serve, and never raises because it cannot."""

import asyncio
from collections.abc import AsyncIterator, Callable
from time import monotonic

import asyncpg
import pytest

from corail.storage.errors import StorageClosedError
from corail.storage.postgresql import PostgreSQLStorage
from corail.storage.postgresql.embedded import EmbeddedPostgres
from tests.postgresql.fault_proxy import FaultProxy
from tests.postgresql.observing import eventually

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


@pytest.mark.faults(
    area="faults",
    done="1,000 readiness checks, one after another",
    expected="one query each, no connection opened",
)
async def test_it_is_cheap_enough_for_every_few_seconds(
    database_url: str, observer: "asyncpg.Connection[asyncpg.Record]", measured: Callable[[str], None]
) -> None:
    async with FaultProxy(database_url) as proxy, PostgreSQLStorage(proxy.url) as storage:
        await storage.check()
        before, sent = await pids(observer), len(proxy.executed)
        for _ in range(100):
            assert (await storage.check())["ok"]
        assert len(proxy.executed) - sent == 100, proxy.executed[sent:]
        assert await pids(observer) == before
    async with PostgreSQLStorage(database_url) as storage:
        await storage.check()
        before = await pids(observer)
        latencies = sorted([(await storage.check())["latency"] for _ in range(1000)])
        assert await pids(observer) == before
    measured(
        f"0 connections opened, median {latencies[500] * 1000:.2f} ms, p99 {latencies[990] * 1000:.1f} ms"
    )


async def pids(observer: "asyncpg.Connection[asyncpg.Record]") -> list[int]:
    rows = await observer.fetch(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    return sorted(row["pid"] for row in rows)


async def test_an_exhausted_pool_is_reported_within_its_bound(
    database_url: str, observer: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    async with PostgreSQLStorage(database_url, pool_size=2) as storage:
        await storage.create_conversation("c")
        async with observer.transaction():
            await observer.execute("SELECT FROM conversations FOR UPDATE")
            stuck = [asyncio.create_task(storage.update_title("c", "x")) for _ in range(4)]
            assert await eventually(lambda: waiting(observer, 2))
            started = monotonic()
            report = await storage.check()
            assert monotonic() - started < 4
        assert (report["ok"], report["role"], report["writable"]) == (False, None, None)
        assert "All 2 connections" in (report["problem"] or "")
        assert report.get("pool") == {"size": 2, "idle": 0, "limit": 2}
        await asyncio.gather(*stuck)
        assert (await storage.check())["ok"]


async def waiting(observer: "asyncpg.Connection[asyncpg.Record]", count: int) -> bool:
    await observer.execute("SELECT pg_stat_clear_snapshot()")
    found = await observer.fetchval(
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    return int(found) == count
