"""Failover with a PgBouncer before each server, and with one that is pointed at the new primary."""

from collections.abc import AsyncIterator, Callable
from urllib.parse import urlsplit

import pytest

from corail.storage.postgresql import PostgreSQLStorage
from corail.storage.postgresql.embedded import EmbeddedPostgres
from tests.postgresql.pgbouncer import PgBouncer
from tests.postgresql.replication import Pair, pair, several
from tests.postgresql.writers import Writers

pytestmark = pytest.mark.anyio

PROMPT = {"server_login_retry": "1", "query_wait_timeout": "2"}


@pytest.fixture
async def servers(embedded_server: EmbeddedPostgres) -> AsyncIterator[Pair]:
    async with pair(embedded_server.bindir, synchronous=True) as running:
        yield running


@pytest.mark.faults(
    area="failover",
    done="kill -9 of the primary under 8 writers, a PgBouncer before each server (connect_timeout 1 s), the "
    "synchronous standby promoted",
    expected="0 acknowledged appends lost, 0 doubled, first write under 5 s after the promotion",
)
async def test_a_pgbouncer_before_each_server(servers: Pair, measured: Callable[[str], None]) -> None:
    with (
        PgBouncer(servers.primary.url, settings=PROMPT) as first,
        PgBouncer(servers.standby.url, settings=PROMPT) as second,
    ):
        hosts = [urlsplit(bouncer.url).netloc.rpartition("@")[2] for bouncer in (first, second)]
        async with PostgreSQLStorage(several(first.url, *hosts), connect_timeout=1) as storage:
            async with Writers(storage) as writers:
                await writers.more()
                servers.primary.kill()
                took = await writers.stored_after(await servers.promote())
                await writers.more()
            measured(f"{await writers.verdict(storage)}, first write {took:.2f} s after the promotion")
    assert took < 5
