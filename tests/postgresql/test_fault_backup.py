"""A dump taken amid writers is whole: restored, its counters are right and no message is missing."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import asyncpg
import pytest

from corail.storage.postgresql import PostgreSQLStorage
from corail.storage.postgresql.embedded import EmbeddedPostgres
from tests.conftest import PostgresServer
from tests.postgresql.addresses import with_parameters
from tests.postgresql.observing import Observer, exact

pytestmark = pytest.mark.anyio

WRITERS = 8


@pytest.fixture
async def restored_url(postgres_server: PostgresServer, schema: str) -> AsyncIterator[str]:
    """The URL of another new database."""
    administrator: Observer = await asyncpg.connect(postgres_server.url)
    await administrator.execute(f"CREATE DATABASE {schema} TEMPLATE template0 ENCODING 'UTF8'")
    yield postgres_server.url_for(schema)
    await administrator.execute(f"DROP DATABASE {schema} WITH (FORCE)")
    await administrator.close()


async def run(program: Path, *arguments: str | Path) -> None:
    process = await asyncio.create_subprocess_exec(
        program, *arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    _, told = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, told.decode()


@pytest.mark.faults(
    area="backup",
    done="pg_dump beside 8 writers, restored into a new database and used",
    expected="0 lost of what was acknowledged before, counters exact, a repeat stored once",
)
async def test_a_dump_amid_writers_is_whole(
    database_url: str,
    restored_url: str,
    schema: str,
    embedded_server: EmbeddedPostgres,
    tmp_path: Path,
    measured: Callable[[str], None],
) -> None:
    acknowledged: set[str] = set()
    before: set[str] = set()
    dumped = False
    enough = asyncio.Event()
    async with PostgreSQLStorage(database_url, schema=schema) as storage:
        await storage.create_conversation("with metadata", {"k": ["\x00", 1]})

        async def write(writer: int) -> None:
            number = 0
            while not dumped:
                await storage.append_messages(
                    f"c{writer % 3}",
                    [{"role": "user", "content": f"{writer}/{number}"}],
                    idempotency_key=f"{writer}/{number}",
                )
                acknowledged.add(f"{writer}/{number}")
                number += 1
                if len(acknowledged) > 500:
                    enough.set()

        async def dump() -> None:
            nonlocal dumped
            await enough.wait()
            before.update(acknowledged)
            await run(embedded_server.bindir / "pg_dump", "-Fc", "-f", tmp_path / "dump", "-d", database_url)
            dumped = True

        await asyncio.gather(*(write(writer) for writer in range(WRITERS)), dump())
    await run(embedded_server.bindir / "pg_restore", "-d", restored_url, tmp_path / "dump")
    watcher = await asyncpg.connect(with_parameters(restored_url, search_path=schema))
    assert await exact(watcher)
    async with PostgreSQLStorage(restored_url, schema=schema) as restored:
        row = await restored.get_conversation("with metadata")
        assert row is not None
        assert row.get("metadata") == {"k": ["\x00", 1]}
        stored = [
            message["content"] for each in range(3) for message in await restored.get_messages(f"c{each}")
        ]
        lost = before - set(stored)
        measured(
            f"{len(lost)} lost of {len(before):,} acknowledged before, {len(stored):,} restored and exact"
        )
        assert not lost
        assert set(stored) <= acknowledged
        # Its keys are still known, and it goes on from its last number.
        for content in sorted(acknowledged)[:100]:
            writer = int(content.split("/")[0])
            await restored.append_messages(
                f"c{writer % 3}", [{"role": "user", "content": content}], idempotency_key=content
            )
    assert await exact(watcher)
    assert await watcher.fetchval("SELECT count(*) - count(DISTINCT content) FROM messages") == 0
    await watcher.close()
