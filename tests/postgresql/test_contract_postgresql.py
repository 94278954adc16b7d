"""The contract kit on ``PostgreSQLStorage``, group commit and shared look-ups included."""

import os
from collections.abc import AsyncIterator, Sequence

import asyncpg
import pytest

from corail.storage.port import StoragePort
from corail.storage.postgresql import PostgreSQLStorage
from corail.storage.testing import StorageContract


def open_named() -> PostgreSQLStorage:
    """Return another storage on the database of the test, in this process or another."""
    return PostgreSQLStorage()


class TestPostgreSQL(StorageContract):
    reopen = staticmethod(open_named)

    @pytest.fixture
    async def storage(
        self, database_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> AsyncIterator[PostgreSQLStorage]:
        monkeypatch.setenv("CORAIL_DATABASE_URL", database_url)
        async with PostgreSQLStorage() as storage:
            yield storage

    async def tie_created_at(self, storage: StoragePort, conversation_ids: Sequence[str]) -> None:
        assert isinstance(storage, PostgreSQLStorage)
        # The server's clock gave the times. The database is the test's own: all of it is tied.
        connection = await asyncpg.connect(os.environ["CORAIL_DATABASE_URL"], timeout=30)
        try:
            done = await connection.execute("UPDATE conversations SET created_at = '2026-01-01T00:00:00Z'")
        finally:
            await connection.close()
        assert done == f"UPDATE {len(conversation_ids)}"
