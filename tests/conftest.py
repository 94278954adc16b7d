"""Servers and databases for every test; the tests themselves never ask where a server comes from."""

import asyncio
import os
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import asyncpg
import pytest

from corail.storage.postgresql.embedded import EmbeddedPostgres

EXTERNAL = "CORAIL_TEST_DATABASE_URL"


@dataclass(frozen=True)
class PostgresServer:
    """A server for this test session; ``embedded`` is None for one that is not ours to kill."""

    url: str = field(repr=False)  # a failed test prints its fixtures, and this holds a password
    embedded: EmbeddedPostgres | None

    def url_for(self, database: str) -> str:
        """Return the URL of another database of the same server."""
        return urlsplit(self.url)._replace(path=f"/{database}").geturl()


@pytest.fixture
def measured(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Record a figure of a fault test, for the table of ``make test-faults``."""
    return lambda figure: record_property("measured", figure)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run anyio tests on asyncio; a test of trio overrides this."""
    return "asyncio"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """The server that ``CORAIL_TEST_DATABASE_URL`` names, else a private one for this session."""
    external = os.environ.get(EXTERNAL, "").strip()
    if external:
        yield PostgresServer(external, None)
        return
    with EmbeddedPostgres() as embedded:
        yield PostgresServer(embedded.url, embedded)


@pytest.fixture(scope="session")
def embedded_server(postgres_server: PostgresServer) -> EmbeddedPostgres:
    """A server that tests may kill; they leave it running."""
    if postgres_server.embedded is None:
        pytest.skip(f"kills its server, and {EXTERNAL} names one that is not ours; unset it")
    return postgres_server.embedded


@pytest.fixture
def database_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of a new, empty UTF-8 database, dropped with its connections after the test."""
    if postgres_server.embedded is not None:
        postgres_server.embedded.start()  # a test that failed half-way may have left it killed
    name = f"corail_test_{uuid.uuid4().hex[:12]}"
    # WAL_LOG, the default since 15, takes 40 ms here and FILE_COPY 70 ms.
    _execute(postgres_server.url, f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
    try:
        yield postgres_server.url_for(name)
    finally:
        if postgres_server.embedded is not None:
            postgres_server.embedded.start()
        _execute(postgres_server.url, f"DROP DATABASE {name} WITH (FORCE)")


def _execute(url: str, sql: str) -> None:
    async def execute() -> None:
        connection = await asyncpg.connect(url, timeout=30)
        try:
            await connection.execute(sql, timeout=60)
        finally:
            await connection.close()

    # In a thread of its own: a fixture of an anyio test may run while a loop runs in this one.
    with ThreadPoolExecutor(1) as executor:
        executor.submit(asyncio.run, execute()).result()
