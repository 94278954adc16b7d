"""A primary and its standby, and what a failover does to them; no storage here.

Both are servers of the test's own, so they can be killed, demoted and promoted at will.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Final
from urllib.parse import urlsplit

import asyncpg

from corail.storage.postgresql.embedded import EmbeddedPostgres, EmbeddedStandby
from tests.postgresql.addresses import with_parameters
from tests.postgresql.observing import eventually

NAME: Final = "standby"
SYNCHRONOUS: Final = "synchronous_standby_names"


@dataclass
class Pair:
    """A running primary and a standby that streams from it."""

    primary: EmbeddedPostgres
    standby: EmbeddedStandby

    @property
    def url(self) -> str:
        """The URL of both, the primary first, for what takes writes."""
        return read_write(self.primary, self.standby)

    async def execute(self, server: EmbeddedPostgres, *statements: str) -> None:
        """Run statements on one of the two as the superuser, whose commits wait for nobody."""
        connection = await asyncpg.connect(with_parameters(server.url, synchronous_commit="local"))
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    async def caught_up(self) -> None:
        """Wait until the standby has applied what the primary had written when this was called."""
        primary = await asyncpg.connect(self.primary.url)
        written = await primary.fetchval(
            "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() "
            "ELSE pg_current_wal_insert_lsn() END"
        )
        await primary.close()
        standby = await asyncpg.connect(self.standby.url)

        async def applied() -> bool:
            return bool(await standby.fetchval("SELECT pg_last_wal_replay_lsn() >= $1", written))

        assert await eventually(applied)
        await standby.close()

    async def stop_replication(self) -> None:
        """Let nothing more of the primary reach the standby, which the primary does not notice at once."""
        await self.execute(self.standby, "ALTER SYSTEM SET primary_conninfo = ''", "SELECT pg_reload_conf()")
        connection = await asyncpg.connect(self.standby.url)

        async def stopped() -> bool:
            return not await connection.fetchval("SELECT count(*) FROM pg_stat_wal_receiver")

        assert await eventually(stopped)
        await connection.close()

    async def promote(self) -> float:
        """Make a primary of the standby; return when it took writes, on the ``time.monotonic`` clock."""
        await asyncio.to_thread(self.standby.promote)
        return monotonic()

    async def demote(self, server: EmbeddedPostgres) -> None:
        """Restart a server as a standby: read-only, until somebody promotes it."""
        await asyncio.to_thread((server.data_dir / "pgdata" / "standby.signal").touch)
        await asyncio.to_thread(server.restart)


@asynccontextmanager
async def pair(bindir: Path, *, synchronous: bool = False) -> AsyncGenerator[Pair, None]:
    """Run a primary and a standby that streams from it.

    Args:
        bindir: the programs of both.
        synchronous: whether commits on the primary wait for the standby; not on the standby, later.

    """
    # From the start: told to a running server, it comes into force at a moment nobody can see.
    settings = {SYNCHRONOUS: NAME} if synchronous else {}
    primary = EmbeddedPostgres(bindir=bindir, settings=settings)
    standby = EmbeddedStandby(primary, name=NAME, settings={SYNCHRONOUS: ""})
    try:
        await asyncio.to_thread(primary.start)
        await asyncio.to_thread(standby.start)
        yield Pair(primary, standby)
    finally:
        await asyncio.to_thread(standby.stop)
        await asyncio.to_thread(primary.stop)


def read_write(*servers: EmbeddedPostgres) -> str:
    """Return the URL of several servers of one password, for what takes writes."""
    return several(servers[0].url, *(f"127.0.0.1:{server.port}" for server in servers))


def several(url: str, *hosts: str) -> str:
    """Return the URL with these hosts instead of its own, for what takes writes."""
    parts = urlsplit(url)
    netloc = f"{parts.netloc.rpartition('@')[0]}@{','.join(hosts)}"
    return with_parameters(parts._replace(netloc=netloc).geturl(), target_session_attrs="read-write")
