"""``chainlit``: its ``ChainlitDataLayer``, which is on asyncpg, a step per message.

Chainlit leaves making the tables to another program; these have the columns its statements name and
the one index that reading needs, which is less upkeep than a real deployment has.
"""

# mypy: disable-error-code="import-not-found, no-any-return"
# pyright: basic, reportMissingImports=false
# The libraries are installed in the peer's environment only, so nothing of theirs has types here.

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, Final

from chainlit.context import init_http_context
from chainlit.data.chainlit_data_layer import ISO_FORMAT, ChainlitDataLayer

from benchmarks.adapter import Adapter

_TABLES: Final = """
CREATE TABLE "User" (id text PRIMARY KEY, identifier text NOT NULL UNIQUE);
CREATE TABLE "Thread" (
  id text PRIMARY KEY, name text, "userId" text REFERENCES "User" (id), tags text[],
  metadata jsonb NOT NULL DEFAULT '{}', "createdAt" timestamp NOT NULL DEFAULT now(),
  "updatedAt" timestamp NOT NULL DEFAULT now(), "deletedAt" timestamp
);
CREATE TABLE "Step" (
  id text PRIMARY KEY, "threadId" text REFERENCES "Thread" (id) ON DELETE CASCADE, "parentId" text,
  input text, metadata jsonb NOT NULL, name text, output text, type text NOT NULL,
  "startTime" timestamp NOT NULL, "endTime" timestamp NOT NULL, "showInput" text, "isError" boolean,
  "createdAt" timestamp NOT NULL DEFAULT now(), "updatedAt" timestamp NOT NULL DEFAULT now()
);
CREATE INDEX ON "Step" ("threadId");
CREATE TABLE "Element" (
  id text PRIMARY KEY, "threadId" text, "stepId" text, metadata jsonb, mime text, name text,
  "objectKey" text, url text, "chainlitKey" text, display text, size text, language text, page integer,
  props jsonb
);
CREATE INDEX ON "Element" ("threadId");
CREATE TABLE "Feedback" (id text PRIMARY KEY, "stepId" text, name text, value double precision, comment text);
CREATE INDEX ON "Feedback" ("stepId");
"""


class Chainlit(Adapter):
    """A row per step; every append looks for its thread first."""

    name: ClassVar[str] = "chainlit"
    distributions: ClassVar[tuple[str, ...]] = ("chainlit", "asyncpg")

    async def open(self, url: str) -> None:
        """Make the data layer, with its defaults, and the tables."""
        # Its methods look for a user's session first, and queue writes without one.
        init_http_context()
        self._layer = ChainlitDataLayer(url)
        await self._layer.connect()
        await self._layer.pool.execute(_TABLES)

    async def create(self, conversation_id: str) -> None:
        """Make the thread."""
        await self._layer.update_thread(conversation_id)

    async def append(self, conversation_id: str, role: str, content: str) -> None:
        """Create one step, stamped as a message is."""
        step = {
            "id": str(uuid.uuid4()),
            "threadId": conversation_id,
            "type": f"{role}_message",
            "name": role,
            "output": content,
            "createdAt": datetime.now(UTC).strftime(ISO_FORMAT),
        }
        await self._layer.create_step(step)

    async def read(self, conversation_id: str) -> Sequence[Any]:
        """Return the steps of the thread."""
        thread = await self._layer.get_thread(conversation_id)
        return thread["steps"]

    def text(self, message: Any) -> str:
        """Return what a step put out."""
        return str(message["output"])

    async def close(self) -> None:
        """Close the pool."""
        await self._layer.close()
