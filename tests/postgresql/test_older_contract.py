"""The contract kit on tables of an earlier release, before their upgrade and after it."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from corail.storage.postgresql import PostgreSQLStorage
from corail.storage.postgresql.upgrade import upgrade
from corail.storage.testing import StorageContract
from tests.postgresql.older import make_older


def open_named() -> PostgreSQLStorage:
    """Return another storage on the database of the test, in this process or another."""
    return PostgreSQLStorage()


class TestOlderTables(StorageContract):
    reopen = staticmethod(open_named)

    @pytest.fixture(params=[False, True], ids=["as they are", "upgraded"])
    async def storage(
        self, database_url: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
    ) -> AsyncIterator[PostgreSQLStorage]:
        monkeypatch.setenv("CORAIL_DATABASE_URL", database_url)
        connection = await asyncpg.connect(database_url)
        await make_older(connection, "public")
        await connection.close()
        if request.param:
            assert await upgrade(finish=True)
        async with PostgreSQLStorage() as storage:
            yield storage
