"""The contract kit on ``PostgreSQLStorage`` behind PgBouncer in transaction mode."""

from collections.abc import AsyncIterator, Iterator

import pytest

from corail.storage.postgresql import PostgreSQLStorage
from corail.storage.testing import StorageContract
from tests.conftest import PostgresServer
from tests.postgresql.pgbouncer import PgBouncer, can_keep_names, program


@pytest.fixture(scope="module")
def bouncer(postgres_server: PostgresServer) -> Iterator[PgBouncer]:
    # As each release does by default: 1.18 loses prepared statements, newer ones keep them.
    with PgBouncer(postgres_server.url, keeps_names=can_keep_names(program())) as running:
        yield running


def open_named() -> PostgreSQLStorage:
    """Return another storage on the database of the test, in this process or another."""
    return PostgreSQLStorage()


class TestBehindPgBouncer(StorageContract):
    reopen = staticmethod(open_named)

    @pytest.fixture
    async def storage(
        self, bouncer: PgBouncer, database_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> AsyncIterator[PostgreSQLStorage]:
        monkeypatch.setenv("CORAIL_DATABASE_URL", bouncer.through(database_url))
        async with PostgreSQLStorage() as storage:
            yield storage
