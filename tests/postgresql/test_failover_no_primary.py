"""No server that takes writes: told in bounded time, and over as soon as there is one again."""

import asyncio
from collections.abc import AsyncIterator, Callable
from time import monotonic

import pytest

from corail.storage.errors import AppendOutcomeUnknownError, StorageError, StorageUnavailableError
from corail.storage.postgresql import PostgreSQLStorage
from corail.storage.postgresql.embedded import EmbeddedPostgres
from tests.postgresql.fault_proxy import Fate, FaultProxy
from tests.postgresql.replication import Pair, pair, read_write

pytestmark = pytest.mark.anyio

ROUNDS = 3


@pytest.fixture
async def servers(embedded_server: EmbeddedPostgres) -> AsyncIterator[Pair]:
    async with pair(embedded_server.bindir) as running:
        yield running


async def test_a_url_of_standbys_only_is_told_in_bounded_time(servers: Pair) -> None:
    url = read_write(servers.standby)
    async with PostgreSQLStorage(url, deadline=1) as storage:
        for call in (storage.append_message("c", "user", "x"), storage.get_messages("c")):
            started = monotonic()
            with pytest.raises(StorageUnavailableError, match="target_session_attrs"):
                await call
            assert monotonic() - started < 3
        started = monotonic()
        report = await storage.check()
        assert monotonic() - started < 4
        assert not report["ok"]
        assert "target_session_attrs" in (report["problem"] or "")


@pytest.mark.faults(
    area="failover",
    done="the primary is stopped, calls wait for one that takes writes, the standby is promoted, no restart",
    expected="waiting calls go through within 1 s of the promotion, new ones too",
)
async def test_what_waits_for_a_primary_goes_through_within_a_second_of_the_promotion(
    servers: Pair, measured: Callable[[str], None]
) -> None:
    async with (
        PostgreSQLStorage(servers.url) as used,
        PostgreSQLStorage(read_write(servers.standby)) as new,
    ):
        await used.append_message("c", "user", "x")
        await servers.caught_up()
        await asyncio.to_thread(servers.primary.kill)
        calls = [
            asyncio.create_task(call)
            for call in (
                used.append_message("c", "user", "y"),
                used.update_title("c", "y"),
                new.append_message("d", "user", "y"),
                new.list_conversations(),
            )
        ]
        # Long enough for the pauses between attempts to have grown to their longest.
        await asyncio.wait(calls, timeout=4)
        assert not any(call.done() for call in calls)
        promoted = await servers.promote()
        await asyncio.gather(*calls)
        took = monotonic() - promoted
        measured(f"waiting calls were done {took:.2f} s after the promotion")
        assert took < 1
        assert [message["content"] for message in await new.get_messages("c")] == ["x", "y"]


async def test_a_first_look_at_the_tables_that_fails_leaves_no_doubt_about_the_append(
    open_storage: Callable[..., PostgreSQLStorage], proxy: FaultProxy
) -> None:
    proxy.on_statement = lambda _: Fate.CUT_AFTER
    with pytest.raises(StorageError) as caught:
        await open_storage(proxy.url, deadline=0.5).append_message("c", "user", "x")
    assert not isinstance(caught.value, AppendOutcomeUnknownError)
    proxy.on_statement = lambda _: Fate.HANG
    with pytest.raises(StorageError) as caught:
        await open_storage(proxy.url, deadline=0.5, command_timeout=0.2).append_message("c", "user", "x")
    assert not isinstance(caught.value, AppendOutcomeUnknownError)
    assert not [sql for sql in proxy.executed if "INSERT" in sql]
