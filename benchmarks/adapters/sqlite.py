"""The worked example of README.md: a backend of your own beside ours; not part of `make bench`."""

import asyncio
import sqlite3
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.adapter import Adapter


class SQLite(Adapter):
    """One file, one connection, one thread at a time; not durable before the operating system is."""

    name: ClassVar[str] = "SQLite file"
    _connection: sqlite3.Connection

    async def open(self, url: str) -> None:  # noqa: ARG002 - it brings its own database
        """Make the table."""
        self._folder = tempfile.TemporaryDirectory()
        path = Path(self._folder.name) / "example.db"
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute(
            "CREATE TABLE messages (id INTEGER PRIMARY KEY, c TEXT, role TEXT, text TEXT)"
        )
        self._connection.execute("CREATE INDEX by_conversation ON messages (c, id)")

    async def append(self, conversation_id: str, role: str, content: str) -> None:
        """Insert one message."""
        sql = "INSERT INTO messages (c, role, text) VALUES (?, ?, ?)"
        await asyncio.to_thread(self._connection.execute, sql, (conversation_id, role, content))

    async def read(self, conversation_id: str) -> Sequence[Any]:
        """Return rows of role and text."""
        sql = "SELECT role, text FROM messages WHERE c = ? ORDER BY id"
        rows = await asyncio.to_thread(self._connection.execute, sql, (conversation_id,))
        return rows.fetchall()

    def text(self, message: Any) -> str:
        """Return the second column."""
        content: str = message[1]
        return content

    async def close(self) -> None:
        """Remove the file."""
        self._connection.close()
        self._folder.cleanup()
