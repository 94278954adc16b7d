"""Prepared statements bear names that no other process uses.

Behind PgBouncer a name that two pods shared ran the one's DELETE for the other's read.
"""

import asyncio
import re
import subprocess
import sys
from collections.abc import Callable

import asyncpg
import pytest

from corail.storage.postgresql import PostgreSQLStorage
from corail.storage.postgresql._connect import CorailConnection
from tests.postgresql.fault_proxy import FaultProxy

pytestmark = pytest.mark.anyio

NAME = re.compile(r"__corail_\w+_[0-9a-f]{32}__")

PROGRAM = """
import asyncio, asyncpg, sys
from corail.storage.postgresql._connect import CorailConnection

async def main():
    connection = await asyncpg.connect(sys.argv[1], connection_class=CorailConnection)
    for number in range(3):
        await connection.fetchval(f"SELECT {number} + $1::int", 1)
    rows = await connection.fetch("SELECT name FROM pg_prepared_statements ORDER BY name")
    print(*(row["name"] for row in rows))
    await connection.close()

asyncio.run(main())
"""


async def prepared(connection: CorailConnection) -> set[str]:
    rows = await connection.fetch("SELECT name FROM pg_prepared_statements")
    return {row["name"] for row in rows}


async def test_asyncpg_still_asks_our_connection_for_the_names(url: str) -> None:
    names: list[set[str]] = []
    for _ in range(2):
        connection = await asyncpg.connect(url, connection_class=CorailConnection)
        await connection.fetchval("SELECT 1 + $1::int", 1)
        statement = await connection.prepare("SELECT 2 + $1::int")
        await statement.fetchval(1)
        names.append(await prepared(connection))
        await connection.close()
    assert len(names[0]) >= 3
    assert all(NAME.fullmatch(name) for name in names[0] | names[1])
    assert not names[0] & names[1]


async def test_the_connections_of_a_storage_are_ours(
    open_storage: Callable[..., PostgreSQLStorage], proxy: FaultProxy
) -> None:
    storage = open_storage(proxy.url)
    await storage.append_message("c", "user", "x")
    await storage.append_messages("c", [{"role": "user", "content": "x"}] * 2)
    await storage.list_conversations()
    await storage.delete_conversation("c")
    names = proxy.statement_names - {""}
    assert len(names) > 3
    assert all(NAME.fullmatch(name) for name in names)


async def test_no_two_processes_choose_the_same_names(url: str) -> None:
    async def run() -> set[str]:
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", PROGRAM, url],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return set(done.stdout.split())

    first, second = await asyncio.gather(run(), run())
    assert len(first) >= 3
    assert not first & second


@pytest.mark.parametrize("parameter", ["statement_cache_size=0", "pgbouncer=true"])
async def test_without_a_cache_statements_have_no_names(
    open_storage: Callable[..., PostgreSQLStorage], proxy: FaultProxy, parameter: str
) -> None:
    storage = open_storage(f"{proxy.url}&{parameter}")
    await storage.append_messages("c", [{"role": "user", "content": "x"}] * 2, idempotency_key="k")
    await storage.append_messages("c", [{"role": "user", "content": "x"}] * 2, idempotency_key="k")
    assert len(await storage.get_messages("c")) == 2
    await storage.delete_conversation("c")
    assert proxy.statement_names == {""}
