"""A server that is shut down, away and starting up under a storage that is at work."""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic

import asyncpg
import pytest

from corail.storage.errors import StorageUnavailableError
from corail.storage.postgresql import PostgreSQLStorage
from corail.storage.postgresql.embedded import EmbeddedPostgres
from tests.postgresql.addresses import password_of, with_parameters
from tests.postgresql.observing import eventually
from tests.postgresql.outcomes import BOUND, QUICK, RECOVERY, Account, Ledger

pytestmark = pytest.mark.anyio

AWAY = 2.0
"""Seconds that the server is down."""
GATE = "gate"


@pytest.fixture(scope="module")
def server(embedded_server: EmbeddedPostgres) -> Iterator[EmbeddedPostgres]:
    """A server of our own; when it has to recover from an archive, it does so once the gate is there."""
    settings = {"restore_command": f"while [ ! -e {GATE} ]; do sleep 0.02; done; false"}
    with EmbeddedPostgres(bindir=embedded_server.bindir, settings=settings) as running:
        yield running


@pytest.mark.faults(
    area="faults",
    done=f"fast shutdown (57P01) under appends, {AWAY:g} s down, then started; deadlines of 1.5 and 10 s",
    expected="errors within 3 s at 1.5 s, none at 10 s, 0 lost, 0 doubled, working within 1 s after start",
)
async def test_a_server_that_is_shut_down_for_a_while(
    open_storage: Callable[..., PostgreSQLStorage],
    server: EmbeddedPostgres,
    schema: str,
    measured: Callable[[str], None],
) -> None:
    hasty = Ledger(open_storage(server.url, **QUICK), password_of(server.url))
    waiting = open_storage(server.url, **(QUICK | {"deadline": 10.0}))
    patient = Ledger(waiting, password_of(server.url), writer="patient")
    assert await hasty.round()
    writing = True

    async def write() -> None:
        while writing:
            await patient.append(1)
            await patient.read(1)

    writer = asyncio.create_task(write())

    async def at_work() -> bool:
        return len(patient.acknowledged) >= 50

    assert await eventually(at_work)
    caught = asyncio.create_task(hasty.round())
    assert server.pid is not None
    os.kill(server.pid, signal.SIGINT)
    down = monotonic()

    async def is_down() -> bool:
        return not server.running

    assert await eventually(is_down)
    await caught
    while monotonic() - down < AWAY:
        assert await hasty.round() == 0
    await asyncio.to_thread(server.start)
    recovered = await hasty.recover()
    writing = False
    await writer
    observer = await asyncpg.connect(with_parameters(server.url, search_path=schema))
    account = await hasty.account(observer)
    other = await patient.account(observer)
    await observer.close()
    figures = f"{hasty.figures(account, recovered)}; at 10 s: {len(patient.errors)} errors"
    measured(f"{figures}, {other.lost} of {len(patient.acknowledged)} lost, longest {patient.longest:.1f} s")
    assert patient.errors == []
    assert other == Account(0, 0, 0, 0)
    assert account == Account(0, 0, 0, 0)
    assert hasty.longest < BOUND
    assert recovered < RECOVERY


@pytest.mark.faults(
    area="faults",
    done="the server crashes and is held in recovery (57P03) for two rounds; one storage is new meanwhile",
    expected="errors within 3 s that say so, 0 lost, the new storage waits, working within 1 s after start",
)
async def test_a_server_that_is_starting_up(
    open_storage: Callable[..., PostgreSQLStorage],
    server: EmbeddedPostgres,
    schema: str,
    measured: Callable[[str], None],
) -> None:
    ledger = Ledger(open_storage(server.url, **QUICK), password_of(server.url))
    assert await ledger.round()
    pgdata = server.data_dir / "pgdata"
    await asyncio.to_thread(server.kill)
    own(pgdata / "recovery.signal", pgdata)
    starting = asyncio.create_task(asyncio.to_thread(server.start))

    async def answers() -> bool:
        try:
            await asyncpg.connect(server.url, timeout=5)
        except asyncpg.CannotConnectNowError:
            return True
        except OSError:
            return False
        raise AssertionError("the server is up before it should be")

    assert await eventually(answers)
    for _ in range(2):
        assert await ledger.round() == 0
    assert {type(error) for error in ledger.errors if "57P03" in str(error)} == {StorageUnavailableError}
    assert all("57P03" in str(error) for error in ledger.errors[-8:])
    fresh = asyncio.create_task(open_storage(server.url).conversation_exists("c0"))
    caught = asyncio.create_task(ledger.round())
    own(pgdata / GATE, pgdata)
    await starting
    recovered = await ledger.recover()
    await caught
    assert await fresh
    observer = await asyncpg.connect(with_parameters(server.url, search_path=schema))
    await ledger.conclude(observer, recovered, measured)
    await observer.close()


def own(file: Path, folder: Path) -> None:
    """Make an empty file that belongs to the server, which runs as somebody else under root."""
    file.touch()
    owner = folder.stat()
    os.chown(file, owner.st_uid, owner.st_gid)
