"""Databases, schemas, storages and observers for the tests of the PostgreSQL backend."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from corail.storage.postgresql import PostgreSQLStorage
from tests.postgresql.addresses import with_database, with_parameters
from tests.postgresql.fault_proxy import FaultProxy
from tests.postgresql.observing import Observer

if TYPE_CHECKING:
    from tests.conftest import PostgresServer


def _execute(url: str, *statements: str) -> None:
    async def execute() -> None:
        connection = await asyncpg.connect(url, timeout=30)
        try:
            for statement in statements:
                await connection.execute(statement, timeout=60)
        finally:
            await connection.close()

    # In a thread of its own: a fixture of an anyio test may run while a loop runs in this one.
    with ThreadPoolExecutor(1) as executor:
        executor.submit(asyncio.run, execute()).result()


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what a test sets itself decides where its storages lead."""
    for name in ("CORAIL_DATABASE_URL", "CORAIL_DB_SCHEMA", "CORAIL_DB_POOL_SIZE", "CORAIL_STORAGE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def shared_url(postgres_server: "PostgresServer") -> Iterator[str]:
    """The URL of one database for the session; a test keeps to a schema of its own in it.

    A schema is made twenty times as fast as a database.
    """
    name = f"corail_shared_{uuid.uuid4().hex[:12]}"
    _execute(postgres_server.url, f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
    yield with_database(postgres_server.url, name)
    if postgres_server.embedded is not None:
        postgres_server.embedded.start()
    _execute(postgres_server.url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def schema() -> str:
    """A name for a schema that nobody has used."""
    return f"s{uuid.uuid4().hex[:16]}"


@pytest.fixture
def application_name(schema: str) -> str:
    """The name under which the connections of this test's storages can be found."""
    return f"test {schema}"


@pytest.fixture
def url(postgres_server: "PostgresServer", shared_url: str, application_name: str) -> str:
    """The URL of the shared database under this test's application name."""
    if postgres_server.embedded is not None:
        postgres_server.embedded.start()  # a test that failed half-way may have left it killed
    return with_parameters(shared_url, application_name=application_name)


@pytest.fixture
async def open_storage(url: str, schema: str) -> AsyncIterator[Callable[..., PostgreSQLStorage]]:
    """Make storages on this test's schema, with any option; they are closed after the test."""
    opened: list[PostgreSQLStorage] = []

    def open_one(dsn: str = url, *, schema: str | None = schema, **options: Any) -> PostgreSQLStorage:
        storage = PostgreSQLStorage(dsn, schema=schema, **options)
        opened.append(storage)
        return storage

    yield open_one
    for storage in opened:
        await storage.aclose()


@pytest.fixture
def storage(open_storage: Callable[..., PostgreSQLStorage]) -> PostgreSQLStorage:
    """A storage on this test's schema."""
    return open_storage()


@pytest.fixture
async def observer(url: str, schema: str) -> AsyncIterator[Observer]:
    """A connection of its own to the same database and schema, to look, to lock and to change things."""
    connection = await asyncpg.connect(
        with_parameters(url, application_name="observer", search_path=schema), timeout=30
    )
    yield connection
    connection.terminate()


@pytest.fixture
async def proxy(url: str) -> AsyncIterator[FaultProxy]:
    """A proxy before the server, to lose things on the way."""
    async with FaultProxy(url) as running:
        yield running


@pytest.fixture
def role(postgres_server: "PostgresServer", shared_url: str) -> Iterator[str]:
    """A role without any right, whose password is its name; dropped with what it owns."""
    name = f"r{uuid.uuid4().hex[:16]}"
    _execute(postgres_server.url, f"CREATE ROLE {name} LOGIN PASSWORD '{name}'")
    yield name
    _execute(shared_url, f"DROP OWNED BY {name} CASCADE")
    _execute(postgres_server.url, f"DROP OWNED BY {name} CASCADE", f"DROP ROLE {name}")
