"""``openai-agents``: ``SQLAlchemySession`` on asyncpg.

The session object of a conversation is made before the clock starts and kept.
"""

# mypy: disable-error-code="import-not-found, no-any-return"
# pyright: basic, reportMissingImports=false
# The libraries are installed in the peer's environment only, so nothing of theirs has types here.

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from agents.extensions.memory import SQLAlchemySession
from sqlalchemy.ext.asyncio import create_async_engine

from benchmarks.adapter import Adapter, Message


class OpenAIAgents(Adapter):
    """One row per item, and a row per session that every append locks and updates."""

    name: ClassVar[str] = "openai-agents"
    distributions: ClassVar[tuple[str, ...]] = ("openai-agents", "SQLAlchemy", "asyncpg")

    async def open(self, url: str) -> None:
        """Make the engine, with its defaults, and the tables."""
        self._engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://", 1))
        self._sessions: dict[str, SQLAlchemySession] = {}
        await SQLAlchemySession("first", engine=self._engine, create_tables=True).get_items()

    async def create(self, conversation_id: str) -> None:
        """Make the session object; its row comes with the first append."""
        self._sessions[conversation_id] = SQLAlchemySession(conversation_id, engine=self._engine)

    async def append(self, conversation_id: str, role: str, content: str) -> None:
        """Add one item."""
        await self._sessions[conversation_id].add_items([{"role": role, "content": content}])

    async def fill(self, conversations: Mapping[str, Sequence[Message]]) -> None:
        """Add each conversation's items at once."""
        for conversation_id, messages in conversations.items():
            await self.create(conversation_id)
            await self._sessions[conversation_id].add_items([message._asdict() for message in messages])

    async def read(self, conversation_id: str) -> Sequence[Any]:
        """Return all items."""
        return await self._sessions[conversation_id].get_items()

    async def recent(self, conversation_id: str, limit: int) -> Sequence[Any]:
        """Return the latest items."""
        return await self._sessions[conversation_id].get_items(limit)

    async def close(self) -> None:
        """Dispose of the engine."""
        await self._engine.dispose()
