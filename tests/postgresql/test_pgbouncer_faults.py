"""PgBouncer that restarts, is full, loses its server or refuses: exact appends and errors that say so."""

import asyncio
from collections.abc import Callable
from time import monotonic
from urllib.parse import urlsplit

import asyncpg
import pytest
from _pytest.mark import ParameterSet

from corail.storage.errors import (
    StorageConfigurationError,
    StorageError,
    StorageTimeoutError,
    StorageUnavailableError,
)
from corail.storage.postgresql import PostgreSQLStorage
from corail.storage.postgresql.embedded import EmbeddedPostgres
from tests.postgresql.addresses import with_database, with_parameters, with_user
from tests.postgresql.pgbouncer import PgBouncer
from tests.postgresql.replication import several
from tests.postgresql.writers import Writers

pytestmark = pytest.mark.anyio

RESTARTS = 5
# By default PgBouncer waits 15 s before it looks for a lost server again, and 120 s for a free connection.
PROMPT = {"server_login_retry": "1", "query_wait_timeout": "5"}


def restarting(pool_mode: str) -> ParameterSet:
    mark = pytest.mark.faults(
        area="pgbouncer",
        done=f"{RESTARTS} x kill -9 of PgBouncer ({pool_mode} mode) under 8 writers",
        expected="0 acknowledged appends lost, 0 doubled, 0 errors, longest under 5 s",
    )
    return pytest.param(pool_mode, id=pool_mode, marks=mark)


@pytest.mark.parametrize("pool_mode", [restarting("transaction"), restarting("session")])
async def test_pgbouncer_restarts_under_eight_writers(
    open_storage: Callable[..., PostgreSQLStorage], url: str, measured: Callable[[str], None], pool_mode: str
) -> None:
    with PgBouncer(url, pool_mode=pool_mode, pool_size=20) as bouncer:
        async with Writers(open_storage(bouncer.url)) as writers:
            for _ in range(RESTARTS):
                await writers.more()
                bouncer.stop()
                bouncer.start()
            await writers.more()
    measured(await writers.verdict(open_storage()))
    assert writers.longest < 5


@pytest.mark.faults(
    area="pgbouncer",
    done="3 x kill -9 of the server behind PgBouncer (transaction mode) under 8 writers",
    expected="0 acknowledged appends lost, 0 doubled, 0 errors, longest under 10 s",
)
async def test_the_server_behind_pgbouncer_crashes_under_eight_writers(
    open_storage: Callable[..., PostgreSQLStorage],
    url: str,
    embedded_server: EmbeddedPostgres,
    measured: Callable[[str], None],
) -> None:
    with PgBouncer(url, settings=PROMPT) as bouncer:
        async with Writers(open_storage(bouncer.url)) as writers:
            for _ in range(3):
                await writers.more()
                await asyncio.to_thread(embedded_server.kill)
                await asyncio.to_thread(embedded_server.start)
            await writers.more()
    measured(await writers.verdict(open_storage()))
    assert writers.longest < 10


async def test_no_server_connection_in_time_is_a_definite_answer(
    open_storage: Callable[..., PostgreSQLStorage], url: str
) -> None:
    with PgBouncer(url, pool_size=1, settings={"query_wait_timeout": "1"}) as bouncer:
        storage = open_storage(bouncer.url, deadline=2)
        await storage.append_message("c", "user", "before")
        blocker = await asyncpg.connect(bouncer.url, statement_cache_size=0)
        await blocker.execute("BEGIN")
        started = monotonic()
        outcomes = await asyncio.gather(
            storage.append_message("c", "user", "x"),
            storage.append_messages("d", [{"role": "user", "content": "x"}], idempotency_key="k"),
            storage.get_messages("c"),
            storage.update_title("c", "x"),
            return_exceptions=True,
        )
        # The deadline, and an attempt that was begun before it.
        assert monotonic() - started < 4.5
        assert [type(outcome) for outcome in outcomes] == [StorageTimeoutError] * 4
        assert all("query_wait_timeout" in str(outcome) for outcome in outcomes)
        await blocker.execute("COMMIT")
        await storage.append_message("c", "user", "after")
        assert [message["content"] for message in await storage.get_messages("c")] == ["before", "after"]
        assert not await storage.conversation_exists("d")
        await blocker.close()


async def test_a_full_pgbouncer_is_waited_for(
    open_storage: Callable[..., PostgreSQLStorage], url: str
) -> None:
    with PgBouncer(url, settings={"max_client_conn": "1"}) as bouncer:
        only = await asyncpg.connect(bouncer.url, statement_cache_size=0)
        with pytest.raises(StorageUnavailableError, match="max_client_conn"):
            await open_storage(bouncer.url, deadline=0.5).append_message("c", "user", "x")
        append = asyncio.create_task(open_storage(bouncer.url).append_message("c", "user", "x"))
        await asyncio.wait([append], timeout=0.1)
        assert not append.done()
        await only.close()
        await append


async def test_a_full_pgbouncer_does_not_hide_the_next_host(
    open_storage: Callable[..., PostgreSQLStorage], url: str
) -> None:
    with PgBouncer(url, settings={"max_client_conn": "1"}) as bouncer:
        only = await asyncpg.connect(bouncer.url, statement_cache_size=0)
        both = several(url, *(urlsplit(each).netloc.rpartition("@")[2] for each in (bouncer.url, url)))
        await open_storage(both, deadline=2).append_message("c", "user", "x")
        await only.close()


async def refused(storage: PostgreSQLStorage) -> str:
    started = monotonic()
    with pytest.raises(StorageConfigurationError) as caught:
        await storage.list_conversations()
    assert monotonic() - started < 3
    assert "secret" not in str(caught.value)
    return str(caught.value)


async def test_what_pgbouncer_refuses_for_good_is_told_at_once(
    open_storage: Callable[..., PostgreSQLStorage], url: str
) -> None:
    user = urlsplit(url).username or ""
    with PgBouncer(url) as bouncer:
        setting = with_parameters(bouncer.url, search_path="x")
        assert "search_path" in await refused(open_storage(setting))
        for stranger in (with_user(bouncer.url, "who", "secret"), with_user(bouncer.url, user, "secret")):
            assert "user name or password" in await refused(open_storage(stranger))
        assert "does not exist" in await refused(open_storage(with_database(bouncer.url, "nowhere")))


async def test_no_server_behind_pgbouncer_is_told_in_bounded_time(
    open_storage: Callable[..., PostgreSQLStorage], url: str, embedded_server: EmbeddedPostgres
) -> None:
    with PgBouncer(url, settings={"query_wait_timeout": "1", "server_login_retry": "1"}) as bouncer:
        storage = open_storage(bouncer.url)
        await storage.append_message("c", "user", "x")
        await asyncio.to_thread(embedded_server.kill)
        try:
            started = monotonic()
            hasty = open_storage(bouncer.url, deadline=1, connect_timeout=2)
            with pytest.raises(StorageError) as caught:
                await hasty.append_message("c", "user", "y")
            assert isinstance(caught.value, StorageUnavailableError)
            assert monotonic() - started < 6
            append = asyncio.create_task(storage.append_message("c", "user", "z"))
        finally:
            await asyncio.to_thread(embedded_server.start)
        await append
        assert [message["content"] for message in await storage.get_messages("c")] == ["x", "z"]
