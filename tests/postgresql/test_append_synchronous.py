"""With a synchronous standby, what only the primary has is never acknowledged."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from corail.storage.errors import AppendOutcomeUnknownError
from corail.storage.postgresql import PostgreSQLStorage
from corail.storage.postgresql.embedded import EmbeddedPostgres
from tests.postgresql.addresses import with_parameters
from tests.postgresql.observing import Observer, eventually

pytestmark = pytest.mark.anyio

TURN = [{"role": "user", "content": "x"}]


@pytest.fixture(scope="module")
def server(embedded_server: EmbeddedPostgres) -> Iterator[EmbeddedPostgres]:
    """A second server of our own: its setting for standbys holds up every commit."""
    with EmbeddedPostgres(bindir=embedded_server.bindir) as running:
        yield running


async def expect_standby(observer: Observer, name: str) -> None:
    """Let commits wait for a standby of that name, or for none."""
    await observer.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{name}'")
    await observer.execute("SELECT pg_reload_conf()")

    async def heard() -> bool:
        return bool(await observer.fetchval("SELECT current_setting('synchronous_standby_names') = $1", name))

    async def in_force() -> bool:
        # The checkpointer tells the others, when it gets to it.
        try:
            await observer.execute(
                "BEGIN; SET LOCAL synchronous_commit = on; "
                "SELECT pg_logical_emit_message(true, 'test', ''); COMMIT",
                timeout=0.2,
            )
        except TimeoutError:
            return True
        return False

    assert await eventually(heard)
    assert not name or await eventually(in_force)


@pytest.fixture
async def observer(server: EmbeddedPostgres, schema: str) -> AsyncIterator[Observer]:
    """A connection whose own commits do not wait."""
    connection = await asyncpg.connect(
        with_parameters(server.url, synchronous_commit="local", search_path=schema)
    )
    yield connection
    await expect_standby(connection, "")
    await connection.close()


async def cancel_a_wait(
    observer: Observer, application_name: str, cancelled: set[tuple[int, object]]
) -> None:
    """Cancel the next wait for the standby under a name, each once: the server then reports success."""

    async def waits() -> bool:
        rows = await observer.fetch(
            "SELECT pid, query_start FROM pg_stat_activity "
            "WHERE wait_event = 'SyncRep' AND application_name = $1",
            application_name,
        )
        new = {(row["pid"], row["query_start"]) for row in rows} - cancelled
        for pid, _ in new:
            await observer.execute("SELECT pg_cancel_backend($1)", pid)
        cancelled.update(new)
        return bool(new)

    assert await eventually(waits)


async def test_a_duplicate_found_by_a_retry_is_not_an_acknowledgement(
    server: EmbeddedPostgres, schema: str, observer: Observer
) -> None:
    async with PostgreSQLStorage(
        server.url, schema=schema, command_timeout=0.4, deadline=1.2, close_timeout=0.2
    ) as storage:
        await storage.append_message("c", "user", "before")
        await expect_standby(observer, "nobody")
        with pytest.raises(AppendOutcomeUnknownError) as caught:
            await storage.append_messages("c", TURN)
        await expect_standby(observer, "")
        await storage.append_messages("c", TURN, idempotency_key=caught.value.idempotency_key)
        assert len(await storage.get_messages("c")) == 2


async def test_a_cancelled_wait_for_the_standby_is_not_an_acknowledgement_either(
    server: EmbeddedPostgres, schema: str, observer: Observer
) -> None:
    url = with_parameters(server.url, application_name=schema)
    async with PostgreSQLStorage(url, schema=schema) as storage:
        await storage.append_message("c", "user", "before")
        await expect_standby(observer, "nobody")
        append = asyncio.create_task(storage.append_messages("c", TURN))
        cancelled: set[tuple[int, object]] = set()
        # The wait of the append, then those of the writes that are to confirm it.
        for _ in range(4):
            await cancel_a_wait(observer, schema, cancelled)
            assert not append.done()
        # On the primary it is there for all to see.
        assert await observer.fetchval("SELECT count(*) FROM messages") == 2
        await expect_standby(observer, "")
        await append
        assert len(await storage.get_messages("c")) == 2


async def test_a_warning_of_the_administrators_own_means_no_harm(
    server: EmbeddedPostgres, schema: str, observer: Observer
) -> None:
    async with PostgreSQLStorage(server.url, schema=schema) as storage:
        await storage.append_message("c", "user", "before")
        await observer.execute(
            """
            CREATE OR REPLACE FUNCTION warn() RETURNS trigger LANGUAGE plpgsql
              AS $$ BEGIN RAISE WARNING 'careful'; RETURN NEW; END $$;
            CREATE TRIGGER warn BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION warn();
            CREATE TRIGGER warn BEFORE INSERT OR UPDATE ON conversations
              FOR EACH ROW EXECUTE FUNCTION warn()
            """
        )
        for _ in range(2):
            await storage.append_messages("c", TURN, idempotency_key="k")
        await storage.append_messages("c", TURN)
        assert len(await storage.get_messages("c")) == 3
