"""The disk of the server is full, truly: on a small file system of its own."""

import contextlib
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

from corail.storage.errors import StorageUnavailableError
from corail.storage.postgresql import PostgreSQLStorage
from corail.storage.postgresql.embedded import EmbeddedPostgres
from tests.postgresql.addresses import password_of, with_database, with_parameters
from tests.postgresql.observing import Observer
from tests.postgresql.outcomes import CONVERSATIONS, QUICK, Ledger
from tests.postgresql.small_disk import NoSmallDiskError, SmallDisk

pytestmark = pytest.mark.anyio

MEGABYTES = 96
PARAGRAPH = "A coral is a colony of small animals. " * 40
ROUNDS = 200
"""Rounds of calls after which a full disk must have shown."""


@pytest.fixture
def disk(tmp_path_factory: pytest.TempPathFactory, embedded_server: EmbeddedPostgres) -> Iterator[SmallDisk]:
    assert embedded_server
    try:
        small = SmallDisk(tmp_path_factory.mktemp("disk"), MEGABYTES)
    except NoSmallDiskError as error:
        pytest.skip(f"a disk that can be filled needs Linux and root: {error}")
    yield small
    small.close()


@pytest.fixture
def server(disk: SmallDisk, embedded_server: EmbeddedPostgres) -> Iterator[EmbeddedPostgres]:
    """A server of our own that sees the disk."""
    running = EmbeddedPostgres(bindir=embedded_server.bindir, settings={"max_connections": "50"})
    disk.run(running.start)
    yield running
    disk.run(running.stop)


@pytest.fixture
async def small_url(disk: SmallDisk, server: EmbeddedPostgres) -> str:
    """The URL of a database whose tables lie on the disk, and whose WAL does not."""
    folder: Path = disk.path / "tables"
    owner = disk.run(os.stat, server.data_dir / "pgdata")
    disk.run(folder.mkdir)
    disk.run(os.chown, folder, owner.st_uid, owner.st_gid)
    connection = await asyncpg.connect(server.url)
    await connection.execute(f"CREATE TABLESPACE small LOCATION '{folder}'")
    await connection.execute("CREATE DATABASE small TABLESPACE small")
    await connection.close()
    return with_database(server.url, "small")


@pytest.fixture
async def small_observer(small_url: str, schema: str) -> AsyncIterator[Observer]:
    connection = await asyncpg.connect(with_parameters(small_url, search_path=schema))
    yield connection
    connection.terminate()


@pytest.mark.faults(
    area="faults",
    done="the disk of the tables is filled to the last byte (53100) under appends; then a file is deleted",
    expected="errors at once that say so, reads go on, 0 lost, 0 half-stored, working within 1 s after",
)
async def test_a_disk_full_of_tables(
    open_storage: Callable[..., PostgreSQLStorage],
    disk: SmallDisk,
    small_url: str,
    small_observer: Observer,
    measured: Callable[[str], None],
) -> None:
    ledger = Ledger(open_storage(small_url, **QUICK), password_of(small_url), filler=PARAGRAPH)
    assert await ledger.round()
    disk.fill()
    for _ in range(ROUNDS):
        # The reads never fail.
        assert await ledger.round() == CONVERSATIONS
        if len(ledger.refused) >= 40:
            break
    assert len(ledger.refused) >= 40
    assert ledger.unknown == []
    assert {type(error) for error in ledger.errors} == {StorageUnavailableError}
    assert all("is full (53100)" in str(error) for error in ledger.errors), ledger.errors
    assert all("Free or add space" in str(error) for error in ledger.errors)
    disk.free()
    recovered = await ledger.recover()
    await ledger.conclude(small_observer, recovered, measured)


@pytest.fixture
def wal_on_disk(disk: SmallDisk, server: EmbeddedPostgres) -> EmbeddedPostgres:
    """A server whose WAL lies on the disk, and whose tables do not."""
    wal, moved = server.data_dir / "pgdata" / "pg_wal", disk.path / "wal"
    owner = wal.stat()
    server.kill()
    disk.run(shutil.copytree, wal, moved)
    for path in (moved, *disk.run(lambda: list(moved.rglob("*")))):
        disk.run(os.chown, path, owner.st_uid, owner.st_gid)
    shutil.rmtree(wal)
    wal.symlink_to(moved)
    disk.run(server.start)
    return server


@pytest.mark.faults(
    area="faults",
    done="the disk of the WAL is filled under appends, the server panics; then room is made and it starts",
    expected="errors within 3 s, 0 lost, 0 doubled, 0 half-stored, working within 1 s after the start",
)
async def test_a_disk_full_of_wal(
    open_storage: Callable[..., PostgreSQLStorage],
    disk: SmallDisk,
    wal_on_disk: EmbeddedPostgres,
    schema: str,
    measured: Callable[[str], None],
) -> None:
    url = wal_on_disk.url
    ledger = Ledger(open_storage(url, **QUICK), password_of(url))
    assert await ledger.round()
    disk.fill()
    connection = await asyncpg.connect(url)
    for _ in range(ROUNDS):
        await ledger.round()
        if ledger.errors:
            break
        # The rest of a segment, which is of 16 MB, is left empty: the next append begins another.
        with contextlib.suppress(asyncpg.PostgresError, OSError, asyncpg.InterfaceError):
            await connection.execute("SELECT pg_switch_wal()")
    connection.terminate()
    assert ledger.errors
    assert "PANIC" in disk.run(wal_on_disk.log_path.read_text)
    await ledger.round()
    disk.free()
    disk.run(wal_on_disk.restart)
    recovered = await ledger.recover()
    connection = await asyncpg.connect(with_parameters(url, search_path=schema))
    await ledger.conclude(connection, recovered, measured)
    await connection.close()
