"""``agno``: ``AsyncPostgresDb`` on asyncpg, a run per message.

Its agent stores a run with ``upsert_run`` and knows the run's index, so the adapter counts it too;
without an index every append would also take a lock and look for the largest.
"""

# mypy: disable-error-code="import-not-found, no-any-return"
# pyright: basic, reportMissingImports=false
# The libraries are installed in the peer's environment only, so nothing of theirs has types here.

import time
import uuid
from collections.abc import Sequence
from typing import Any, ClassVar

from agno.db.base import SessionType
from agno.db.postgres import AsyncPostgresDb
from agno.models.message import Message as AgnoMessage
from agno.run.agent import RunOutput
from agno.run.base import RunStatus
from agno.session.agent import AgentSession

from benchmarks.adapter import Adapter


class Agno(Adapter):
    """A row per session, and a row per run that holds its messages as JSON."""

    name: ClassVar[str] = "agno"
    distributions: ClassVar[tuple[str, ...]] = ("agno", "SQLAlchemy", "asyncpg")

    async def open(self, url: str) -> None:
        """Make the database object, with its defaults, and the tables."""
        self._db = AsyncPostgresDb(db_url=url.replace("postgresql://", "postgresql+asyncpg://", 1))
        self._indexes: dict[str, int] = {}
        await self.create("first")
        await self.append("first", "user", "first")

    async def create(self, conversation_id: str) -> None:
        """Store the session."""
        self._indexes[conversation_id] = 0
        session = AgentSession(session_id=conversation_id, agent_id="bench", created_at=int(time.time()))
        # It reports a failure as None.
        if await self._db.upsert_session(session) is None:
            raise RuntimeError("the session was not stored")

    async def append(self, conversation_id: str, role: str, content: str) -> None:
        """Store a run of one message."""
        index = self._indexes[conversation_id]
        self._indexes[conversation_id] = index + 1
        run = RunOutput(
            run_id=str(uuid.uuid4()),
            agent_id="bench",
            session_id=conversation_id,
            status=RunStatus.completed,
            messages=[AgnoMessage(role=role, content=content)],
        )
        await self._db.upsert_run(run, conversation_id, run_index=index)

    async def read(self, conversation_id: str) -> Sequence[Any]:
        """Return the messages of the session."""
        session: Any = await self._db.get_session(conversation_id, SessionType.AGENT)
        return session.get_messages()

    def text(self, message: Any) -> str:
        """Return a message's content."""
        return str(message.content)

    async def close(self) -> None:
        """Close the engine."""
        await self._db.close()
