"""Corail storage as an application uses it: ``StorageFactory``, the defaults, one method per operation."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from benchmarks.adapter import Adapter, Message
from corail.storage.factory import StorageFactory
from corail.storage.port import StoragePort

_AT_ONCE: Final = 64
_TURN: Final = 500


class Corail(Adapter):
    """Group commit, counters, uids and all: the defaults."""

    name: ClassVar[str] = "corail-storage"
    distributions: ClassVar[tuple[str, ...]] = (
        "corail-storage-core",
        "corail-storage-postgresql",
        "asyncpg",
    )
    _storage: StoragePort

    async def open(self, url: str) -> None:
        """Make the storage; the first call makes the tables."""
        self._storage = StorageFactory.create("postgresql", dsn=url)
        await self._storage.conversation_exists("warm")

    async def create(self, conversation_id: str) -> None:
        """Make a conversation, so that its first append has no advantage over the others'."""
        await self._storage.create_conversation(conversation_id)

    async def append(self, conversation_id: str, role: str, content: str) -> None:
        """Append one message."""
        await self._storage.append_message(conversation_id, role, content)

    async def fill(self, conversations: Mapping[str, Sequence[Message]]) -> None:
        """Append whole conversations, 64 at a time."""
        waiting = iter(conversations.items())

        async def work() -> None:
            for conversation_id, messages in waiting:
                for start in range(0, len(messages), _TURN):
                    turn = [message._asdict() for message in messages[start : start + _TURN]]
                    await self._storage.append_messages(conversation_id, turn)

        await asyncio.gather(*(work() for _ in range(_AT_ONCE)))

    async def read(self, conversation_id: str) -> Sequence[Any]:
        """Return the conversation."""
        return await self._storage.get_messages(conversation_id)

    async def recent(self, conversation_id: str, limit: int) -> Sequence[Any]:
        """Return its tail."""
        return await self._storage.get_recent_messages(conversation_id, limit)

    async def exists(self, conversation_id: str) -> bool:
        """Return whether it exists."""
        return await self._storage.conversation_exists(conversation_id)

    async def list(self) -> Sequence[Any]:
        """Return all conversations."""
        return await self._storage.list_conversations()

    async def page(self, limit: int) -> Sequence[Any]:
        """Return the first page."""
        return (await self._storage.page_conversations(limit=limit))["items"]

    async def close(self) -> None:
        """Close the storage."""
        await self._storage.aclose()
