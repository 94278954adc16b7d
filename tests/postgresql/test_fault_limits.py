"""The server has not enough left, or less patience than its client: connections, locks, time limits."""

import asyncio
from collections.abc import Callable

import asyncpg
import pytest

from corail.storage.errors import StorageTimeoutError, StorageUnavailableError
from corail.storage.postgresql import PostgreSQLStorage
from tests.postgresql.addresses import password_of, with_user
from tests.postgresql.observing import Observer, connections, eventually, somebody_waits
from tests.postgresql.outcomes import QUICK, Ledger

pytestmark = pytest.mark.anyio

SLOTS = 3
"""Connections that the role of these tests may have."""
PASSWORD = "zqsesame"  # noqa: S105 - of no account


@pytest.fixture
async def role_url(
    open_storage: Callable[..., PostgreSQLStorage], observer: Observer, url: str, role: str, schema: str
) -> str:
    """The URL for a role that may use the tables and owns nothing."""
    await open_storage().create_conversation("c0")
    await observer.execute(f"GRANT USAGE ON SCHEMA {schema} TO {role}")
    await observer.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON conversations, messages TO {role}")
    # The server itself names the role, so its name would not do as a secret.
    await observer.execute(f"ALTER ROLE {role} PASSWORD '{PASSWORD}'")
    return with_user(url, role, PASSWORD)


@pytest.mark.faults(
    area="faults",
    done="somebody locks both tables until every connection of the pool is stuck, for two rounds",
    expected="errors within 3 s at timeouts of 1 s, 0 lost, 0 half-stored, working within 1 s after the lock",
)
async def test_a_pool_whose_connections_are_all_stuck(
    open_storage: Callable[..., PostgreSQLStorage],
    observer: Observer,
    url: str,
    application_name: str,
    measured: Callable[[str], None],
) -> None:
    ledger = Ledger(open_storage(pool_size=2, **QUICK), password_of(url))
    assert await ledger.round()
    async with observer.transaction():
        await observer.execute("LOCK TABLE conversations, messages IN ACCESS EXCLUSIVE MODE")
        for _ in range(2):
            assert await ledger.round() == 0
        caught = asyncio.create_task(ledger.round())
        assert await somebody_waits(observer, application_name)
    recovered = await ledger.recover()
    await caught
    await ledger.conclude(observer, recovered, measured)


@pytest.mark.faults(
    area="faults",
    done=f"the {SLOTS} connections a role may have are cut, and others take all its places (53300)",
    expected="errors within 3 s that say what to do, 0 lost, working within 1 s after places are free",
)
async def test_no_connection_left_for_a_running_storage(
    open_storage: Callable[..., PostgreSQLStorage],
    observer: Observer,
    role_url: str,
    role: str,
    measured: Callable[[str], None],
) -> None:
    await observer.execute(f"ALTER ROLE {role} CONNECTION LIMIT {SLOTS}")
    ledger = Ledger(open_storage(role_url, pool_size=SLOTS, **QUICK), PASSWORD)
    assert await ledger.round()
    await observer.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", role)
    holders: list[asyncpg.Connection[asyncpg.Record]] = []

    async def all_taken() -> bool:
        try:
            holders.append(await asyncpg.connect(role_url, timeout=5))
        except asyncpg.TooManyConnectionsError:
            return len(holders) == SLOTS
        return False

    assert await eventually(all_taken)
    for _ in range(2):
        assert await ledger.round() == 0
    assert ledger.unknown == []
    assert {type(error) for error in ledger.errors} == {StorageUnavailableError}
    assert all("(53300). Lower pool_size" in str(error) for error in ledger.errors)
    caught = asyncio.create_task(ledger.round())
    await asyncio.gather(*(holder.close() for holder in holders))
    recovered = await ledger.recover()
    await caught
    await ledger.conclude(observer, recovered, measured)


REMEDIES = {"statement_timeout": "statement_timeout", "lock_timeout": "another transaction holds"}


@pytest.mark.parametrize("setting", sorted(REMEDIES))
@pytest.mark.faults(
    area="faults",
    done="ALTER ROLE ... SET statement_timeout (then lock_timeout) = 200 ms, and both tables are locked",
    expected="all refused for certain within 3 s, 0 unknown, 0 stored, working within 1 s after the lock",
)
async def test_a_role_with_less_patience(
    open_storage: Callable[..., PostgreSQLStorage],
    observer: Observer,
    role_url: str,
    role: str,
    setting: str,
    measured: Callable[[str], None],
) -> None:
    await observer.execute(f"ALTER ROLE {role} SET {setting} = '200ms'")
    ledger = Ledger(open_storage(role_url, **QUICK), PASSWORD)
    assert await ledger.round()
    assert ledger.errors == []
    async with observer.transaction():
        await observer.execute("LOCK TABLE conversations, messages IN ACCESS EXCLUSIVE MODE")
        assert await ledger.round() == 0
    assert ledger.unknown == []
    assert {type(error) for error in ledger.errors} == {StorageTimeoutError}
    assert all(REMEDIES[setting] in str(error) for error in ledger.errors)
    recovered = await ledger.recover()
    await ledger.conclude(observer, recovered, measured)


@pytest.mark.faults(
    area="faults",
    done="5 x every connection is closed by the idle_session_timeout of the role, then a round of calls",
    expected="no error at all: the server closes what is idle, and the next call does not notice",
)
async def test_a_server_that_closes_idle_connections(
    open_storage: Callable[..., PostgreSQLStorage],
    observer: Observer,
    role_url: str,
    role: str,
    application_name: str,
    measured: Callable[[str], None],
) -> None:
    await observer.execute(f"ALTER ROLE {role} SET idle_session_timeout = '100ms'")
    await observer.execute(f"ALTER ROLE {role} SET idle_in_transaction_session_timeout = '50ms'")
    ledger = Ledger(open_storage(role_url, **QUICK), PASSWORD)

    async def closed() -> bool:
        return await connections(observer, application_name, f"usename = '{role}'") == 0

    for _ in range(5):
        assert await ledger.round() > 0
        assert await eventually(closed)
    recovered = await ledger.recover()
    await ledger.conclude(observer, recovered, measured)
    assert ledger.errors == []
