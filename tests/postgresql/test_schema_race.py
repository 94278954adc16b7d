"""Replicas that open a new database at the same moment, and replicas that start beside busy ones."""

import asyncio
import hashlib
import json
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from time import monotonic

import asyncpg
import pytest

from corail.storage.errors import StorageError
from corail.storage.postgresql import PostgreSQLStorage, schema_sql
from tests.conftest import PostgresServer
from tests.postgresql.addresses import with_database
from tests.postgresql.fault_proxy import FaultProxy
from tests.postgresql.observing import Observer, exact, somebody_waits

REPLICAS = 8
NEW_DATABASES = 50

pytestmark = pytest.mark.anyio


@pytest.fixture
def replicas() -> Iterator[list["subprocess.Popen[str]"]]:
    program = Path(__file__).with_name("first_use.py")
    started = [
        subprocess.Popen(
            [sys.executable, str(program), f"replica {number}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(REPLICAS)
    ]
    yield started
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
async def administrator(postgres_server: PostgresServer) -> AsyncIterator[Observer]:
    connection = await asyncpg.connect(postgres_server.url, timeout=30)
    yield connection
    await connection.close()


def first_use(replicas: list["subprocess.Popen[str]"], dsn: str) -> list[str | None]:
    """Let every replica use the database at the same moment; return what went wrong in each."""

    def tell(line: str) -> None:
        for process in replicas:
            assert process.stdin is not None
            process.stdin.write(line)
            process.stdin.flush()

    def hear() -> list[str]:
        return [process.stdout.readline() for process in replicas if process.stdout is not None]

    tell(json.dumps(dsn) + "\n")
    assert hear() == ["ready\n"] * REPLICAS
    tell("\n")
    return [json.loads(answer) for answer in hear()]


@pytest.mark.faults(
    area="first use",
    done="8 processes connect to a new, empty database at the same moment, 50 times",
    expected="0 errors, one pair of tables, every first message stored once",
)
async def test_eight_processes_open_fifty_new_databases_at_the_same_moment(
    postgres_server: PostgresServer,
    administrator: Observer,
    replicas: list["subprocess.Popen[str]"],
    measured: Callable[[str], None],
) -> None:
    stored = 0
    for _ in range(NEW_DATABASES):
        name = f"corail_new_{uuid.uuid4().hex[:12]}"
        await administrator.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
        url = with_database(postgres_server.url, name)
        try:
            assert first_use(replicas, url) == [None] * REPLICAS
            inside = await asyncpg.connect(url)
            tables = await inside.fetch(
                "SELECT schemaname, tablename FROM pg_tables WHERE tablename IN ('conversations', 'messages')"
            )
            assert sorted(map(tuple, tables)) == [("public", "conversations"), ("public", "messages")]
            contents = await inside.fetch("SELECT content FROM messages ORDER BY content")
            assert [row["content"] for row in contents] == [f"replica {n}" for n in range(REPLICAS)]
            assert await exact(inside)
            await inside.close()
            stored += len(contents)
        finally:
            await administrator.execute(f"DROP DATABASE {name} WITH (FORCE)")
    measured(f"0 errors, {stored} of {REPLICAS * NEW_DATABASES} first messages stored, one pair of tables")


async def test_many_storages_of_one_process_open_a_new_schema_at_the_same_moment(
    open_storage: Callable[..., PostgreSQLStorage], observer: Observer
) -> None:
    storages = [open_storage(pool_size=2) for _ in range(12)]
    await asyncio.gather(*(each.append_message("c", "user", "hello") for each in storages))
    assert len(await storages[0].get_messages("c")) == 12
    assert await exact(observer)


async def test_a_starting_replica_waits_for_no_open_writer_and_stalls_none(
    storage: PostgreSQLStorage,
    open_storage: Callable[..., PostgreSQLStorage],
    observer: Observer,
) -> None:
    await storage.append_message("c", "user", "first")
    async with observer.transaction():
        # An open writer of another replica.
        await observer.execute("INSERT INTO conversations (id) VALUES ('open')")
        await observer.execute(
            "INSERT INTO messages (conversation_id, id, uid, role, content) "
            "VALUES ('open', 1, gen_random_uuid(), 'user', 'x')"
        )
        starting = open_storage(deadline=5)
        await starting.append_message("c", "user", "second")
        await storage.append_message("c", "user", "third")
        assert len(await starting.get_messages("c")) == 3


@pytest.mark.faults(
    area="first use",
    done="20 pods start, one after another, beside 8 writers and an open transaction on both tables",
    expected="no first call and no append fails or takes 1 s",
)
async def test_twenty_starting_replicas_stall_no_writer(
    storage: PostgreSQLStorage,
    open_storage: Callable[..., PostgreSQLStorage],
    observer: Observer,
    measured: Callable[[str], None],
) -> None:
    await storage.append_message("c", "user", "first")
    started = False
    appends: list[float] = []
    starts: list[float] = []

    async def write(writer: int) -> None:
        while not started:
            began = monotonic()
            await storage.append_message(f"c{writer}", "user", "x")
            appends.append(monotonic() - began)

    async def start() -> None:
        nonlocal started
        for number in range(20):
            began = monotonic()
            async with open_storage() as starting:
                await starting.append_message(f"new {number}", "user", "x")
            starts.append(monotonic() - began)
        started = True

    async with observer.transaction():
        await observer.execute("SELECT FROM conversations FOR UPDATE")
        await observer.execute(
            "INSERT INTO messages (conversation_id, id, uid, role, content) "
            "VALUES ('c', 2, gen_random_uuid(), 'user', 'open')"
        )
        await asyncio.gather(*(write(writer) for writer in range(8)), start())
    measured(
        f"0 errors; first calls up to {max(starts) * 1000:.0f} ms, longest of {len(appends)} appends "
        f"{max(appends) * 1000:.0f} ms"
    )
    assert max(starts) < 1
    assert max(appends) < 1


async def test_looking_at_tables_that_exist_takes_no_lock_on_them_at_all(
    storage: PostgreSQLStorage,
    open_storage: Callable[..., PostgreSQLStorage],
    observer: Observer,
) -> None:
    await storage.append_message("c", "user", "first")
    async with observer.transaction():
        await observer.execute("LOCK TABLE conversations, messages IN ACCESS EXCLUSIVE MODE")
        report = await open_storage(deadline=5).check()
        assert report["ok"], report


async def test_a_warm_start_runs_no_ddl_and_takes_no_advisory_lock(
    storage: PostgreSQLStorage, open_storage: Callable[..., PostgreSQLStorage], proxy: FaultProxy
) -> None:
    await storage.append_message("c", "user", "first")
    await open_storage(proxy.url).get_messages("c")
    assert [sql.split()[0] for sql in proxy.executed] == ["SELECT", "SELECT", "SELECT"]
    assert "lock" not in " ".join(proxy.executed)


def lock_key(schema: str) -> int:
    """Return the key of the advisory lock, as every release must have it to stay out of each other's way."""
    digest = hashlib.sha256(f"corail.storage.postgresql:{schema}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


async def test_a_replica_that_makes_the_tables_is_waited_for(
    open_storage: Callable[..., PostgreSQLStorage], observer: Observer, application_name: str, schema: str
) -> None:
    async with observer.transaction():
        # Another replica is in the middle of making the tables.
        await observer.execute("SELECT pg_advisory_xact_lock($1)", lock_key(schema))
        call = asyncio.create_task(open_storage().append_message("c", "user", "hello"))
        assert await somebody_waits(observer, application_name)
        await observer.execute(schema_sql(schema))
    await call
    assert await exact(observer)


async def test_waiting_for_a_replica_that_never_finishes_ends_with_the_deadline(
    open_storage: Callable[..., PostgreSQLStorage], observer: Observer, schema: str
) -> None:
    storage = open_storage(deadline=1)
    async with observer.transaction():
        await observer.execute("SELECT pg_advisory_xact_lock($1)", lock_key(schema))
        with pytest.raises(StorageError):
            async with asyncio.timeout(4):
                await storage.append_message("c", "user", "lost")
    await storage.append_message("c", "user", "kept")
    assert await storage.get_messages("c") == [{"role": "user", "content": "kept"}]
