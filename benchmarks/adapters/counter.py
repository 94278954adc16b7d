"""Plain asyncpg with a counter: what one statement per append costs once the order is guaranteed.

The conversation's row is locked by every append, as in any design that numbers messages without
gaps; the yardstick of W2hot.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Final

import asyncpg

from benchmarks.adapter import Adapter

_TABLES: Final = """
CREATE SCHEMA counter;
CREATE TABLE counter.conversations (
  id text PRIMARY KEY,
  last_id bigint NOT NULL DEFAULT 0,
  created_at timestamptz DEFAULT now()
);
CREATE TABLE counter.messages (
  conversation_id text NOT NULL REFERENCES counter.conversations (id) ON DELETE CASCADE,
  id bigint NOT NULL,
  role text NOT NULL,
  content text NOT NULL,
  created_at timestamptz DEFAULT now(),
  PRIMARY KEY (conversation_id, id)
);
"""
_APPEND: Final = """
WITH numbered AS (
  UPDATE counter.conversations SET last_id = last_id + 1 WHERE id = $1 RETURNING last_id
)
INSERT INTO counter.messages (conversation_id, id, role, content) SELECT $1, last_id, $2, $3 FROM numbered
"""
_READ: Final = "SELECT role, content FROM counter.messages WHERE conversation_id = $1 ORDER BY id"


class Counter(Adapter):
    """One row-locked statement per append through ``asyncpg.create_pool(url)``."""

    name: ClassVar[str] = "asyncpg, row lock"
    distributions: ClassVar[tuple[str, ...]] = ("asyncpg",)
    _pool: "asyncpg.Pool[asyncpg.Record]"

    async def open(self, url: str) -> None:
        """Open the pool and make the tables."""
        self._pool = await asyncpg.create_pool(url)
        await self._pool.execute(_TABLES)

    async def create(self, conversation_id: str) -> None:
        """Insert the conversation with its counter."""
        await self._pool.execute("INSERT INTO counter.conversations (id) VALUES ($1)", conversation_id)

    async def append(self, conversation_id: str, role: str, content: str) -> None:
        """Count up and insert, in one statement."""
        await self._pool.execute(_APPEND, conversation_id, role, content)

    async def read(self, conversation_id: str) -> Sequence[Any]:
        """Return the messages as dicts."""
        return [dict(row) for row in await self._pool.fetch(_READ, conversation_id)]

    async def close(self) -> None:
        """Close the pool."""
        await self._pool.close()
