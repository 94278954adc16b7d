"""A pool of the caller's: used, never closed, in its own loop, whatever its settings."""

import asyncio
import json
from collections.abc import AsyncIterator

import asyncpg
import pytest

from corail.storage.errors import StorageClosedError, StorageConfigurationError, StorageError
from corail.storage.postgresql import PostgreSQLStorage
from corail.storage.postgresql._types import DriverConnection, Pool
from tests.postgresql.fault_proxy import Fate, FaultProxy
from tests.postgresql.loops import in_new_loop
from tests.postgresql.observing import Observer, exact

pytestmark = pytest.mark.anyio


@pytest.fixture
async def pool(url: str) -> AsyncIterator[Pool]:
    async with asyncpg.create_pool(url, min_size=0, max_size=4) as made:
        yield made


async def test_it_is_used_and_never_closed(pool: Pool, schema: str, observer: Observer) -> None:
    storage = PostgreSQLStorage(pool=pool, schema=schema)
    await asyncio.gather(*(storage.append_message(f"c{n % 3}", "user", "x") for n in range(60)))
    await asyncio.gather(*(storage.get_messages(f"c{n % 3}") for n in range(60)))
    assert await exact(observer)
    await storage.aclose()
    assert await pool.fetchval("SELECT 1") == 1
    assert pool.get_idle_size() == pool.get_size()
    other = PostgreSQLStorage(pool=pool, schema=schema)
    assert len(await other.get_messages("c0")) == 20


async def test_its_connections_are_left_as_they_were(pool: Pool, schema: str) -> None:
    async with pool.acquire() as connection:
        await connection.execute("SET statement_timeout = '7s'")
    storage = PostgreSQLStorage(pool=pool, schema=schema)
    await storage.append_message("c", "user", "x")
    async with pool.acquire() as connection:
        assert not connection.is_in_transaction()
        assert await connection.fetchval("SHOW lock_timeout") == "0"


async def test_in_another_loop_it_is_refused_with_the_remedy(pool: Pool, schema: str) -> None:
    storage = PostgreSQLStorage(pool=pool, schema=schema)
    await storage.append_message("c", "user", "x")

    async def elsewhere() -> None:
        for call in (storage.get_messages("c"), storage.append_message("c", "user", "x")):
            with pytest.raises(StorageConfigurationError, match=r"another event loop.*dsn"):
                await call

    await in_new_loop(elsewhere)
    assert len(await storage.get_messages("c")) == 1


async def test_a_pool_that_is_not_open_yet_is_explained(url: str, schema: str) -> None:
    unopened: Pool = asyncpg.create_pool(url, min_size=0)
    storage = PostgreSQLStorage(pool=unopened, schema=schema)
    with pytest.raises(StorageConfigurationError, match=r"await asyncpg.create_pool"):
        await storage.append_message("c", "user", "x")
    await unopened
    await storage.append_message("c", "user", "x")
    await unopened.close()


@pytest.mark.parametrize("used", [True, False], ids=["used before", "never used"])
async def test_a_pool_that_was_closed_is_noticed_at_once(pool: Pool, schema: str, *, used: bool) -> None:
    storage = PostgreSQLStorage(pool=pool, schema=schema)
    if used:
        await storage.append_message("c", "user", "x")
    await pool.close()
    async with asyncio.timeout(3):
        for call in (storage.get_messages("c"), storage.append_message("c", "user", "x")):
            with pytest.raises(StorageClosedError, match="given pool"):
                await call


async def test_json_codecs_of_the_caller_do_not_change_what_is_stored(
    url: str, schema: str, observer: Observer
) -> None:
    async def prepare(connection: DriverConnection) -> None:
        # What asyncpg's own documentation shows for JSON.
        for kind in ("json", "jsonb"):
            await connection.set_type_codec(kind, encoder=json.dumps, decoder=json.loads, schema="pg_catalog")

    metadata = {"a": [1, {"b": None}], "c": "\x00"}
    async with asyncpg.create_pool(url, min_size=0, init=prepare) as pool:
        storage = PostgreSQLStorage(pool=pool, schema=schema)
        await storage.create_conversation("c", metadata)
        row = await storage.get_conversation("c")
        assert row is not None
        assert row.get("metadata") == metadata
        for _ in range(2):
            await storage.append_messages("c", [{"role": "user", "content": "x"}], idempotency_key="k")
        assert len((await storage.page_messages("c"))["items"]) == 1
        assert len((await storage.page_conversations(limit=1))["items"]) == 1
        await storage.delete_conversation("c")
        assert await storage.list_conversations() == []
    assert await observer.fetchval("SELECT count(*) FROM conversations") == 0


async def test_without_time_limits_of_its_own_it_is_bounded_all_the_same(
    proxy: FaultProxy, schema: str
) -> None:
    async with asyncpg.create_pool(proxy.url, min_size=0) as pool:
        storage = PostgreSQLStorage(
            pool=pool, schema=schema, deadline=1, command_timeout=0.5, connect_timeout=0.5
        )
        proxy.once("current_schemas", Fate.HANG)
        with pytest.raises(StorageError):
            async with asyncio.timeout(4):
                await storage.append_message("c", "user", "x")
        await storage.append_message("c", "user", "y")
        proxy.once("FROM", Fate.HANG)
        async with asyncio.timeout(4):
            await storage.get_recent_messages("c", 1)
        pool.terminate()


async def test_an_exhausted_pool_of_the_caller_is_waited_for_a_bounded_time(pool: Pool, schema: str) -> None:
    storage = PostgreSQLStorage(pool=pool, schema=schema, deadline=0.5)
    await storage.append_message("c", "user", "x")
    held = [await pool.acquire() for _ in range(4)]
    for call in (storage.get_messages("c"), storage.append_message("c", "user", "x")):
        with pytest.raises(StorageError, match=r"in use|in time"):
            async with asyncio.timeout(4):
                await call
    for connection in held:
        await pool.release(connection)
    assert len(await storage.get_messages("c")) == 1
