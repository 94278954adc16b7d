"""``llama-index-storage-chat-store-postgres``: ``PostgresChatStore``, its asyncio half on asyncpg."""

# mypy: disable-error-code="import-not-found, no-any-return"
# pyright: basic, reportMissingImports=false
# The libraries are installed in the peer's environment only, so nothing of theirs has types here.

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from llama_index.core.llms import ChatMessage
from llama_index.storage.chat_store.postgres import PostgresChatStore

from benchmarks.adapter import Adapter, Message


class LlamaIndex(Adapter):
    """One row per conversation, holding all its messages as an array of JSON."""

    name: ClassVar[str] = "llama-index"
    distributions: ClassVar[tuple[str, ...]] = (
        "llama-index-storage-chat-store-postgres",
        "llama-index-core",
        "SQLAlchemy",
        "asyncpg",
    )

    async def open(self, url: str) -> None:
        """Make the store, with its defaults, and the table."""
        self._store = PostgresChatStore.from_uri(url)

    async def append(self, conversation_id: str, role: str, content: str) -> None:
        """Add one message."""
        await self._store.async_add_message(conversation_id, ChatMessage(role=role, content=content))

    async def fill(self, conversations: Mapping[str, Sequence[Message]]) -> None:
        """Set each conversation's messages."""
        for conversation_id, messages in conversations.items():
            stored = [ChatMessage(role=role, content=content) for role, content in messages]
            await self._store.aset_messages(conversation_id, stored)

    async def read(self, conversation_id: str) -> Sequence[Any]:
        """Return the messages."""
        return await self._store.aget_messages(conversation_id)

    def text(self, message: Any) -> str:
        """Return a message's content."""
        return str(message.content)

    async def close(self) -> None:
        """Leave the engines to the end of the process: the store has nothing to close them with."""
