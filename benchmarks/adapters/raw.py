"""Plain asyncpg as one would write it by hand: the pool's defaults, one statement per operation.

The yardstick. No counter, no uid, no order guarantee, no retry.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, Final

import asyncpg

from benchmarks.adapter import Adapter, Message

TABLES: Final = """
CREATE SCHEMA raw;
CREATE TABLE raw.conversations (
  id text PRIMARY KEY,
  title text DEFAULT '',
  metadata jsonb DEFAULT '{}',
  created_at timestamptz DEFAULT now()
);
CREATE TABLE raw.messages (
  id bigserial PRIMARY KEY,
  conversation_id text NOT NULL REFERENCES raw.conversations (id) ON DELETE CASCADE,
  role text NOT NULL,
  content text NOT NULL,
  created_at timestamptz DEFAULT now()
);
CREATE INDEX ON raw.messages (conversation_id, id);
"""
_APPEND: Final = "INSERT INTO raw.messages (conversation_id, role, content) VALUES ($1, $2, $3)"
_READ: Final = "SELECT role, content FROM raw.messages WHERE conversation_id = $1 ORDER BY id"
_RECENT: Final = """
SELECT role, content FROM (
  SELECT id, role, content FROM raw.messages WHERE conversation_id = $1 ORDER BY id DESC LIMIT $2
) AS tail ORDER BY id
"""
_LIST: Final = """
SELECT c.id, c.title, c.created_at, COUNT(m.id) AS message_count
FROM raw.conversations AS c LEFT JOIN raw.messages AS m ON m.conversation_id = c.id
GROUP BY c.id ORDER BY c.created_at DESC
"""


class Raw(Adapter):
    """One INSERT per append through ``asyncpg.create_pool(url)``: 10 connections, reset on release."""

    name: ClassVar[str] = "raw asyncpg"
    distributions: ClassVar[tuple[str, ...]] = ("asyncpg",)
    _pool: "asyncpg.Pool[asyncpg.Record]"

    async def open(self, url: str) -> None:
        """Open the pool and make the tables."""
        self._pool = await asyncpg.create_pool(url)
        await self._pool.execute(TABLES)

    async def create(self, conversation_id: str) -> None:
        """Insert the conversation that the foreign key wants."""
        await self._pool.execute("INSERT INTO raw.conversations (id) VALUES ($1)", conversation_id)

    async def append(self, conversation_id: str, role: str, content: str) -> None:
        """Insert one message."""
        await self._pool.execute(_APPEND, conversation_id, role, content)

    async def fill(self, conversations: Mapping[str, Sequence[Message]]) -> None:
        """Copy everything."""
        now = datetime.now(UTC)
        rows = [(conversation_id, now) for conversation_id in conversations]
        messages = [(key, *message) for key, stored in conversations.items() for message in stored]
        async with self._pool.acquire() as connection:
            await connection.copy_records_to_table(
                "conversations", schema_name="raw", columns=["id", "created_at"], records=rows
            )
            await connection.copy_records_to_table(
                "messages",
                schema_name="raw",
                columns=["conversation_id", "role", "content"],
                records=messages,
            )

    async def read(self, conversation_id: str) -> Sequence[Any]:
        """Return the messages as dicts."""
        rows = await self._pool.fetch(_READ, conversation_id)
        return [{"role": row["role"], "content": row["content"]} for row in rows]

    async def recent(self, conversation_id: str, limit: int) -> Sequence[Any]:
        """Return the last ones as dicts."""
        rows = await self._pool.fetch(_RECENT, conversation_id, limit)
        return [{"role": row["role"], "content": row["content"]} for row in rows]

    async def exists(self, conversation_id: str) -> bool:
        """Return whether there is such a row."""
        found = await self._pool.fetchval("SELECT 1 FROM raw.conversations WHERE id = $1", conversation_id)
        return found is not None

    async def list(self) -> Sequence[Any]:
        """Join and count."""
        return [dict(row) for row in await self._pool.fetch(_LIST)]

    async def page(self, limit: int) -> Sequence[Any]:
        """Join, count, and take the first rows."""
        return [dict(row) for row in await self._pool.fetch(_LIST + " LIMIT $1", limit)]

    async def close(self) -> None:
        """Close the pool."""
        await self._pool.close()
