"""Store many conversations at once, and visit them again; everything goes through ``StoragePort``."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from chitchat.dataset import Conversation
from corail.storage.capabilities import IDEMPOTENT_APPEND
from corail.storage.port import StoragePort

CONCURRENCY: Final = 16
"""Conversations under way at a time: enough to keep a connection pool of ten busy."""


async def store(storage: StoragePort, conversation: Conversation) -> None:
    """Store one conversation; when this returns, it is stored.

    The key makes a repeat harmless: a loader that died and starts again need not find out how far it
    got, because what is already there is not stored a second time.
    """
    key = "chitchat" if IDEMPOTENT_APPEND in storage.capabilities else None
    await storage.create_conversation(conversation.id, conversation.metadata)
    await storage.append_messages(conversation.id, conversation.messages, idempotency_key=key)
    await storage.update_title(conversation.id, conversation.title)


async def for_each(
    conversations: Iterable[Conversation], action: Callable[[Conversation], Awaitable[None]]
) -> None:
    """Run ``action`` on every conversation, ``CONCURRENCY`` of them at a time; stop at the first error."""
    waiting = iter(conversations)

    async def worker() -> None:
        # All workers draw from one iterator, so each conversation is taken by exactly one of them.
        for conversation in waiting:
            await action(conversation)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(CONCURRENCY):
                group.create_task(worker())
    except ExceptionGroup as errors:
        # The workers met the same trouble at the same time: one report of it will do.
        raise errors.exceptions[0] from None
