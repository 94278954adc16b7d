"""The server every figure is measured on: embedded, with its durable defaults, asked whether they hold."""

import asyncio
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Final

import asyncpg

from corail.storage.postgresql.embedded import EmbeddedPostgres

DURABLE: Final = ("fsync", "synchronous_commit", "full_page_writes")
_ASKED: Final = (
    *DURABLE,
    "server_version",
    "shared_buffers",
    "max_connections",
    "wal_level",
    "wal_sync_method",
)


class NotDurableError(Exception):
    """The server may lose what it acknowledged, so no figure of it is reported."""


class Server:
    """A running server whose durability was checked.

    Args:
        embedded: the server.

    """

    def __init__(self, embedded: EmbeddedPostgres) -> None:
        self._embedded = embedded
        self.settings: Mapping[str, str] = asyncio.run(_show(embedded.url))
        """What the server answered to SHOW."""
        require_durable(self.settings)

    def new_database(self, name: str) -> str:
        """Return the URL of a new, empty database; one of that name is dropped."""
        url = self._embedded.url
        asyncio.run(_execute(url, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)", f"CREATE DATABASE {name}"))
        return self._embedded.url_for(name)

    def tidy(self, name: str) -> None:
        """Vacuum and analyze a database, as autovacuum would have, given time; better now than in between."""
        asyncio.run(_execute(self._embedded.url_for(name), "VACUUM (ANALYZE)"))

    def check(self) -> None:
        """Ask once more, at the end of a run: nobody may have changed it meanwhile."""
        require_durable(asyncio.run(_show(self._embedded.url)))


@contextmanager
def durable_server() -> Generator[Server]:
    """Run a private server; raise ``NotDurableError`` if it would be faster than it is safe."""
    with EmbeddedPostgres() as embedded:
        yield Server(embedded)


def require_durable(settings: Mapping[str, str]) -> None:
    """Raise unless everything a durable commit needs is on."""
    off = [f"{name} is {settings.get(name)!r}" for name in DURABLE if settings.get(name) != "on"]
    if off:
        raise NotDurableError(f"No figures from a server that may lose data: {', '.join(off)}.")


async def _show(url: str) -> dict[str, str]:
    connection = await asyncpg.connect(url, timeout=30)
    try:
        return {name: await connection.fetchval(f"SHOW {name}") for name in _ASKED}
    finally:
        await connection.close()


async def _execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url, timeout=30)
    try:
        for statement in statements:
            await connection.execute(statement, timeout=120)
    finally:
        await connection.close()
