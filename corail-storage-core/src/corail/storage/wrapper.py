"""``StorageWrapper``: a storage around another one, the base of what cuts across backends.

Passes every call and every capability on unchanged. Override what the wrapper is about; a wrapper
that changes content must treat every path by which content passes: both appends and all four reads.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from corail.storage.port import StoragePort
from corail.storage.rows import CheckReport, ConversationPage, ConversationRow, MessagePage

__all__ = ["StorageWrapper"]


class StorageWrapper(StoragePort):
    """Delegate everything to ``inner``; closing the wrapper closes it.

    Args:
        inner: the wrapped storage.

    """

    def __init__(self, inner: StoragePort) -> None:
        self.inner = inner
        self.capabilities = inner.capabilities

    async def get_messages(self, conversation_id: str) -> list[dict[str, str]]:
        return await self.inner.get_messages(conversation_id)

    async def append_message(self, conversation_id: str, role: str, content: str) -> None:
        await self.inner.append_message(conversation_id, role, content)

    async def create_conversation(self, conversation_id: str, metadata: dict[str, Any] | None = None) -> None:
        await self.inner.create_conversation(conversation_id, metadata)

    async def conversation_exists(self, conversation_id: str) -> bool:
        return await self.inner.conversation_exists(conversation_id)

    async def list_conversations(self) -> list[dict[str, Any]]:
        return await self.inner.list_conversations()

    async def update_title(self, conversation_id: str, title: str) -> None:
        await self.inner.update_title(conversation_id, title)

    async def delete_conversation(self, conversation_id: str) -> None:
        await self.inner.delete_conversation(conversation_id)

    async def append_messages(
        self,
        conversation_id: str,
        messages: Iterable[Mapping[str, str]],
        *,
        idempotency_key: str | None = None,
    ) -> None:
        await self.inner.append_messages(conversation_id, messages, idempotency_key=idempotency_key)

    async def get_recent_messages(self, conversation_id: str, limit: int) -> list[dict[str, str]]:
        return await self.inner.get_recent_messages(conversation_id, limit)

    async def get_conversation(self, conversation_id: str) -> ConversationRow | None:
        return await self.inner.get_conversation(conversation_id)

    async def page_conversations(self, *, limit: int = 50, after: str | None = None) -> ConversationPage:
        return await self.inner.page_conversations(limit=limit, after=after)

    async def page_messages(
        self, conversation_id: str, *, limit: int = 100, after: str | None = None
    ) -> MessagePage:
        return await self.inner.page_messages(conversation_id, limit=limit, after=after)

    async def check(self) -> CheckReport:
        return await self.inner.check()

    async def aclose(self) -> None:
        await self.inner.aclose()
