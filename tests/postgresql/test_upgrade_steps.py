"""The upgrade of older tables: beside both releases, interrupted anywhere, and what is then true."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from time import monotonic

import asyncpg
import pytest

from corail.storage.errors import StorageSchemaError, StorageTimeoutError
from corail.storage.postgresql import PostgreSQLStorage, _sql_tables, _sql_upgrade, _upgrade, schema_sql
from corail.storage.postgresql._locking import lock_key
from corail.storage.postgresql.upgrade import upgrade
from tests.postgresql.addresses import with_user
from tests.postgresql.observing import Observer, connections, eventually
from tests.postgresql.older import append_old, make_older

pytestmark = pytest.mark.anyio

COMMAND = [sys.executable, "-m", "corail.storage.postgresql.upgrade"]
STEPS = 11


async def fill(observer: Observer, schema: str) -> None:
    """Make older tables with conversations c1 to c20 of the messages 1 to 5, interleaved."""
    await make_older(observer, schema)
    await observer.execute("INSERT INTO conversations (id) SELECT 'c' || n FROM generate_series(1, 20) AS n")
    await observer.execute(
        "INSERT INTO messages (conversation_id, role, content) SELECT 'c' || c, 'user', m::text "
        "FROM generate_series(1, 5) AS m, generate_series(1, 20) AS c ORDER BY m, c"
    )


async def current(observer: Observer, schema: str) -> bool:
    """Return whether tables are what the statements of this release rely on, counters included."""
    wrong = await observer.fetchval(
        f"""
        SELECT count(*) FROM {schema}.conversations AS c, LATERAL (
          SELECT count(*) AS rows, COALESCE(max(id), 0) AS last FROM {schema}.messages AS m
          WHERE m.conversation_id = c.id) AS m
        WHERE c.last_id <> m.last OR c.message_count <> m.rows
        """  # noqa: S608
    )
    required = await observer.fetch(
        "SELECT attname::text FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 AND attnotnull",
        f"{schema}.conversations",
    )
    left = await observer.fetchval(
        "SELECT to_regclass($1) IS NOT NULL OR to_regclass($2) IS NOT NULL",
        f"{schema}.message_uids",
        f"{schema}.idx_conversations_unnumbered",
    )
    comment = await observer.fetchval(_sql_upgrade.VERSION, f"{schema}.conversations")
    names = {"id", "title", "metadata", "created_at", "updated_at", "last_id", "message_count"}
    return (
        wrong == 0
        and not left
        and {row[0] for row in required} == names
        and comment == _sql_tables.COMMENT + "1"
    )


async def test_an_upgrade_keeps_everything_and_an_open_storage_goes_on(
    open_storage: Callable[..., PostgreSQLStorage], observer: Observer, url: str, schema: str
) -> None:
    await fill(observer, schema)
    await observer.execute(
        "INSERT INTO conversations VALUES ('bare', NULL, NULL, NULL), ('', 'untitled', NULL, NULL)"
    )
    await observer.execute(
        "INSERT INTO messages (conversation_id, role, content, created_at) VALUES ('bare', 'user', 'x', NULL)"
    )
    for text in ("\x01", "\ud7ff\x02", "a\x01\x01b"):
        await append_old(observer, schema, "bare", text)
    storage, reader = open_storage(), open_storage()
    await storage.append_messages("c1", [{"role": "user", "content": "key"}], idempotency_key="k")
    before = await reader.list_conversations()
    contents = {row["id"]: await reader.get_messages(row["id"]) for row in before if row["id"]}
    page = await reader.page_messages("c1", limit=2)
    assert not await upgrade(url, schema=schema)
    await append_old(observer, schema, "c2", "still")
    contents["c2"].append({"role": "user", "content": "still"})
    assert await reader.get_messages("c2") == contents["c2"]
    assert await upgrade(url, schema=schema, finish=True)
    assert await current(observer, schema)
    with pytest.raises(asyncpg.CheckViolationError, match="messages_written_by_this_release"):
        await append_old(observer, schema, "c2", "forgotten")
    for each in (reader, storage, open_storage()):
        assert {name: await each.get_messages(name) for name in contents} == contents
        rows = await each.list_conversations()
        assert [row["id"] for row in rows] == [row["id"] for row in before]
        assert {row["id"]: row["message_count"] for row in rows if row["id"]} == {
            name: len(found) for name, found in contents.items()
        }
        rest = await each.page_messages("c1", after=page["next"])
        assert len(rest["items"]) == len(contents["c1"]) - 2
    # Opened before, and still on the statements for older tables until now.
    await storage.append_messages("c1", [{"role": "user", "content": "key"}], idempotency_key="k")
    await asyncio.gather(*(storage.append_message(f"c{number}", "user", "new") for number in range(1, 20)))
    await reader.create_conversation("made")
    await reader.append_message("c3", "user", "newer")
    assert len(await reader.get_messages("c1")) == len(contents["c1"]) + 1
    assert await current(observer, schema)
    assert await upgrade(url, schema=schema, finish=True)
    assert not (await open_storage().check())["warnings"]


@asynccontextmanager
async def running(url: str, schema: str, *arguments: str) -> AsyncGenerator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *arguments,
        stderr=subprocess.PIPE,
        env={**os.environ, "CORAIL_DATABASE_URL": url, "CORAIL_DB_SCHEMA": schema},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def free(observer: Observer, schema: str) -> bool:
    """Wait until the server has noticed that an upgrade is gone, and freed its lock."""

    async def nobody() -> bool:
        return await observer.fetchval(_sql_upgrade.HOLDER, lock_key(schema, " upgrade")) is None

    return await eventually(nobody)


@pytest.mark.parametrize("moment", ["...", ": done"])
@pytest.mark.parametrize("step", range(2, STEPS + 1))
async def test_an_upgrade_killed_at_any_step_is_finished_by_the_next(
    open_storage: Callable[..., PostgreSQLStorage],
    observer: Observer,
    url: str,
    schema: str,
    step: int,
    moment: str,
) -> None:
    await fill(observer, schema)
    storage = open_storage()
    await storage.append_message("c1", "user", "a")
    async with running(url, schema, "--finish") as process:
        assert process.stderr is not None
        async for line in process.stderr:
            if line.startswith(b"[%d/" % step) and line.rstrip().endswith(moment.encode()):
                process.kill()
                break
        else:
            pytest.fail(f"step {step} was never there")
    await storage.append_message("c1", "user", "b")
    await open_storage().append_message("new", "user", "c")
    assert await free(observer, schema)
    assert await upgrade(url, schema=schema, finish=True)
    assert await current(observer, schema)
    await storage.append_message("c1", "user", "d")
    assert [message["content"] for message in await storage.get_messages("c1")] == [*"12345", "a", "b", "d"]


async def test_an_index_left_invalid_is_dropped_and_made_again(
    observer: Observer, url: str, schema: str
) -> None:
    await fill(observer, schema)
    await upgrade(url, schema=schema)
    await observer.execute(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = $1::regclass",
        f"{schema}.messages_conversation_id_uid_key",
    )
    told: list[str] = []
    assert await upgrade(url, schema=schema, finish=True, progress=told.append)
    assert any("left unfinished" in line for line in told)
    assert await current(observer, schema)


async def test_a_dry_run_prints_the_steps_and_does_nothing(observer: Observer, url: str, schema: str) -> None:
    await fill(observer, schema)
    async with running(url, schema, "--dry-run") as process:
        _, printed = await process.communicate()
    assert process.returncode == 0
    assert printed.count(b"CONCURRENTLY") == 4
    assert b"CHECK (uid IS NOT NULL) NOT VALID" in printed
    assert b"Nothing was done" in printed
    assert not await observer.fetchval(
        "SELECT count(*) FROM pg_attribute WHERE attrelid = 'messages'::regclass AND attname = 'uid'"
    )


async def test_of_two_upgrades_the_second_is_told_about_the_first(
    observer: Observer, url: str, schema: str
) -> None:
    await fill(observer, schema)
    await observer.execute("SELECT pg_advisory_lock($1)", lock_key(schema, " upgrade"))
    holder = await observer.fetchval("SELECT pg_backend_pid()")
    async with running(url, schema) as process:
        _, printed = await process.communicate()
    assert process.returncode == 1
    assert f"Another upgrade of schema {schema} is running (server process {holder}".encode() in printed


async def test_what_there_is_not_to_upgrade_is_told(
    observer: Observer, url: str, schema: str, role: str
) -> None:
    with pytest.raises(StorageSchemaError, match=f"no tables to upgrade in schema {schema}"):
        await upgrade(url, schema=schema)
    await observer.execute(schema_sql(schema))
    assert await upgrade(url, schema=schema, finish=True)
    await observer.execute(f"COMMENT ON TABLE {schema}.conversations IS 'corail-storage schema 2'")
    with pytest.raises(StorageSchemaError, match="version '2'"):
        await upgrade(url, schema=schema)
    await observer.execute(f"DROP SCHEMA {schema} CASCADE")
    await fill(observer, schema)
    await observer.execute(f"GRANT USAGE ON SCHEMA {schema} TO {role}")
    with pytest.raises(StorageSchemaError, match="as their owner"):
        await upgrade(with_user(url, role, role), schema=schema)


async def test_our_writers_go_on_when_the_old_sequence_has_ended(
    open_storage: Callable[..., PostgreSQLStorage], observer: Observer, url: str, schema: str
) -> None:
    await fill(observer, schema)
    storage = open_storage()
    await storage.append_message("c1", "user", "a")
    await observer.execute("SELECT setval('messages_id_seq', 2147483646)")
    await append_old(observer, schema, "c1", "last")
    with pytest.raises(asyncpg.SequenceGeneratorLimitExceededError):
        await append_old(observer, schema, "c1", "refused")
    with pytest.raises(StorageSchemaError, match=r"come to its end\. Run python -m"):
        await storage.append_message("c1", "user", "b")
    await upgrade(url, schema=schema)
    await asyncio.gather(*(storage.append_message("c1", "user", "b") for _ in range(3)))
    await storage.append_messages("new", [{"role": "user", "content": text} for text in "xyz"])
    assert await upgrade(url, schema=schema, finish=True)
    assert await current(observer, schema)
    await storage.append_message("c1", "user", "c")
    assert [message["content"] for message in await storage.get_messages("c1")] == [
        *"12345", "a", "last", "b", "b", "b", "c",
    ]  # fmt: skip
    assert [message["content"] for message in await storage.get_messages("new")] == [*"xyz"]
    assert await observer.fetchval("SELECT max(id) FROM messages WHERE conversation_id = 'c1'") == 11


async def test_a_conversation_near_the_end_of_the_numbers_is_renumbered_by_the_upgrade(
    storage: PostgreSQLStorage, observer: Observer, url: str, schema: str
) -> None:
    await fill(observer, schema)
    await observer.execute("SELECT setval('messages_id_seq', 2147483000)")
    await append_old(observer, schema, "c1", "\x01")
    await storage.append_message("c1", "user", "\x00")
    assert await upgrade(url, schema=schema, finish=True)
    assert await current(observer, schema)
    await storage.append_message("c1", "user", "new")
    contents = [message["content"] for message in await storage.get_messages("c1")]
    assert contents == [*"12345", "\x01", "\x00", "new"]
    assert await observer.fetchval("SELECT last_id FROM conversations WHERE id = 'c1'") == 8
    assert await connections(observer, "observer") >= 1


async def test_a_storage_on_a_given_pool_goes_on_after_the_upgrade(
    observer: Observer, url: str, schema: str
) -> None:
    await fill(observer, schema)
    async with asyncpg.create_pool(url, min_size=1, max_size=3) as pool:
        storage = PostgreSQLStorage(pool=pool, schema=schema)
        await storage.append_message("c1", "user", "a")
        assert await upgrade(url, schema=schema, finish=True)
        await asyncio.gather(*(storage.append_message(f"c{number}", "user", "b") for number in range(1, 9)))
        contents = [message["content"] for message in await storage.get_messages("c1")]
        assert contents == [*"12345", "a", "b"]
        await storage.aclose()


async def test_a_transaction_that_holds_a_table_stops_the_upgrade_and_hardly_delays_a_writer(
    monkeypatch: pytest.MonkeyPatch, observer: Observer, url: str, schema: str
) -> None:
    await fill(observer, schema)
    monkeypatch.setattr(_upgrade, "BUSY_SECONDS", 1.5)
    await upgrade(url, schema=schema)
    writer = await asyncpg.connect(url)
    async with observer.transaction():
        await observer.execute("SELECT count(*) FROM messages")
        stopped = asyncio.create_task(upgrade(url, schema=schema, finish=True))
        longest = 0.0
        while not stopped.done():
            started = monotonic()
            await append_old(writer, schema, "c1", "old")
            longest = max(longest, monotonic() - started)
        with pytest.raises(StorageTimeoutError, match="held the tables"):
            await stopped
        assert longest < 1
    await writer.close()
    assert await upgrade(url, schema=schema, finish=True)
    assert await current(observer, schema)


async def test_a_foreign_key_of_somebody_elses_stops_the_upgrade_with_its_reason(
    observer: Observer, url: str, schema: str
) -> None:
    await fill(observer, schema)
    await observer.execute("CREATE TABLE votes (message int REFERENCES messages (id))")
    with pytest.raises(StorageSchemaError, match="depends on the primary key of messages"):
        await upgrade(url, schema=schema)
    await observer.execute("DROP TABLE votes")
    assert await upgrade(url, schema=schema, finish=True)
    assert await current(observer, schema)
