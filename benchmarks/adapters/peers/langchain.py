"""``langchain-postgres``: ``PostgresChatMessageHistory`` on psycopg's asyncio connections.

It takes a connection, not a pool; a pool of 10 stands for what an application would write.
"""

# mypy: disable-error-code="import-not-found, no-any-return"
# pyright: basic, reportMissingImports=false
# The libraries are installed in the peer's environment only, so nothing of theirs has types here.

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_postgres import PostgresChatMessageHistory
from psycopg_pool import AsyncConnectionPool

from benchmarks.adapter import Adapter, Message

_TABLE: Final = "chat_history"


class LangChain(Adapter):
    """One row per message, JSONB; no table of conversations."""

    name: ClassVar[str] = "langchain-postgres"
    distributions: ClassVar[tuple[str, ...]] = ("langchain-postgres", "langchain-core", "psycopg")

    async def open(self, url: str) -> None:
        """Open the pool and make the table."""
        self._pool = AsyncConnectionPool(url, min_size=10, max_size=10, open=False)
        await self._pool.open(wait=True)
        async with self._pool.connection() as connection:
            await PostgresChatMessageHistory.acreate_tables(connection, _TABLE)

    async def append(self, conversation_id: str, role: str, content: str) -> None:
        """Add one message."""
        async with self._pool.connection() as connection:
            history = PostgresChatMessageHistory(_TABLE, conversation_id, async_connection=connection)
            await history.aadd_messages([_message(role, content)])

    async def fill(self, conversations: Mapping[str, Sequence[Message]]) -> None:
        """Add each conversation's messages at once."""
        async with self._pool.connection() as connection:
            for conversation_id, messages in conversations.items():
                history = PostgresChatMessageHistory(_TABLE, conversation_id, async_connection=connection)
                await history.aadd_messages([_message(*message) for message in messages])

    async def read(self, conversation_id: str) -> Sequence[Any]:
        """Return the history."""
        async with self._pool.connection() as connection:
            history = PostgresChatMessageHistory(_TABLE, conversation_id, async_connection=connection)
            return await history.aget_messages()

    def text(self, message: Any) -> str:
        """Return a message's content."""
        return str(message.content)

    async def close(self) -> None:
        """Close the pool."""
        await self._pool.close()


def _message(role: str, content: str) -> BaseMessage:
    return HumanMessage(content) if role == "user" else AIMessage(content)
