"""The contract kit on ``PostgreSQLStorage``, group commit and shared look-ups included."""

from collections.abc import AsyncIterator

import pytest

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
