"""A server that only reads: one made read-only under a warm pool, and a standby as the only host."""

import asyncio
from collections.abc import Callable, Iterator

import asyncpg
import pytest

from corail.storage.errors import StorageUnavailableError
from corail.storage.postgresql import PostgreSQLStorage
from corail.storage.postgresql.embedded import EmbeddedPostgres, EmbeddedStandby
from tests.postgresql.addresses import password_of, with_parameters
from tests.postgresql.observing import Observer, connections, eventually
from tests.postgresql.outcomes import CONVERSATIONS, QUICK, Ledger

pytestmark = pytest.mark.anyio

REMEDY = "Point the database URL at the primary"


@pytest.fixture(scope="module")
def server(embedded_server: EmbeddedPostgres) -> Iterator[EmbeddedPostgres]:
    """A server of our own, whose settings hold up nobody else."""
    with EmbeddedPostgres(bindir=embedded_server.bindir) as running:
        yield running


def check_read_only(ledger: Ledger) -> None:
    """Every append was refused for certain, with the remedy."""
    assert ledger.unknown == []
    assert ledger.refused
    assert {type(error) for error in ledger.errors} == {StorageUnavailableError}
    assert all("is read-only" in str(error) and REMEDY in str(error) for error in ledger.errors)


@pytest.mark.faults(
    area="faults",
    done="ALTER SYSTEM SET default_transaction_read_only = on under a warm pool, for two rounds; then off",
    expected="reads go on, appends are refused within 3 s, check says so, working within 1 s after healing",
)
async def test_a_server_that_becomes_read_only(
    open_storage: Callable[..., PostgreSQLStorage],
    server: EmbeddedPostgres,
    schema: str,
    measured: Callable[[str], None],
) -> None:
    storage = open_storage(server.url, **QUICK)
    observer = await asyncpg.connect(
        with_parameters(server.url, search_path=schema, default_transaction_read_only="off")
    )

    async def become(setting: str) -> None:
        await observer.execute(f"ALTER SYSTEM SET default_transaction_read_only = {setting}")
        await observer.execute("SELECT pg_reload_conf()")
        other = await asyncpg.connect(server.url)

        async def heard() -> bool:
            return bool(
                await other.fetchval("SELECT current_setting($1) = $2", "transaction_read_only", setting)
            )

        assert await eventually(heard)
        await other.close()

    ledger = Ledger(storage, password_of(server.url))
    assert await ledger.round()
    await become("on")
    try:
        for _ in range(2):
            assert await ledger.round() == CONVERSATIONS
        report = await storage.check()
        caught = asyncio.create_task(ledger.round())
    finally:
        await become("off")
    recovered = await ledger.recover()
    await caught
    check_read_only(ledger)
    assert (report["ok"], report["writable"], report["role"]) == (False, False, "primary")
    await ledger.conclude(observer, recovered, measured)
    await observer.close()


@pytest.mark.faults(
    area="faults",
    done="ALTER DATABASE SET default_transaction_read_only = on, every connection is made anew; then reset",
    expected="reads go on, appends are refused within 3 s, no read-only connection is used after the reset",
)
async def test_connections_made_while_the_database_was_read_only(
    open_storage: Callable[..., PostgreSQLStorage],
    observer: Observer,
    url: str,
    application_name: str,
    measured: Callable[[str], None],
) -> None:
    ledger = Ledger(open_storage(url, **QUICK), password_of(url))
    async with open_storage(url) as maker:
        await maker.create_conversation("c0")
    name = await observer.fetchval("SELECT current_database()")
    await observer.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    try:
        assert await ledger.round() == CONVERSATIONS
        # What the refused appends left is closed; this opens a connection that stays read-only.
        assert await ledger.read()
    finally:
        await observer.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    assert await connections(observer, application_name) > 0
    recovered = await ledger.recover()
    check_read_only(ledger)
    await ledger.conclude(observer, recovered, measured)


@pytest.mark.faults(
    area="faults",
    done="a hot standby is the only host, for two rounds; then it is promoted",
    expected="reads work, appends are refused within 3 s, check says so, working within 1 s after promotion",
)
async def test_a_standby_as_the_only_host(
    open_storage: Callable[..., PostgreSQLStorage],
    server: EmbeddedPostgres,
    schema: str,
    measured: Callable[[str], None],
) -> None:
    await open_storage(server.url).create_conversation("c0")
    standby = EmbeddedStandby(server)
    await asyncio.to_thread(standby.start)
    try:
        storage = open_storage(standby.url, **QUICK)
        ledger = Ledger(storage, password_of(standby.url))
        for _ in range(2):
            assert await ledger.round() == CONVERSATIONS
        check_read_only(ledger)
        report = await storage.check()
        assert (report["ok"], report["writable"], report["role"]) == (False, False, "standby")
        await asyncio.to_thread(standby.promote)
        recovered = await ledger.recover()
        assert await storage.get_recent_messages("c0", 4) != []
        report = await storage.check()
        assert (report["ok"], report["writable"], report["role"]) == (True, True, "primary")
        observer = await asyncpg.connect(with_parameters(standby.url, search_path=schema))
        await ledger.conclude(observer, recovered, measured)
        await observer.close()
        await storage.aclose()
    finally:
        await asyncio.to_thread(standby.stop)
