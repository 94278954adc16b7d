"""``StoragePort``: the interface between an agent and where its conversations are kept.

Six abstract methods make a backend. Everything else is concrete: built on the six, or raising
``UnsupportedOperationError`` before anything is stored. A backend overrides what it can do better
and declares in ``capabilities`` which promises it keeps. Nothing here may import a backend, a
driver or ``asyncio``. The clauses (C-01 and so on) are explained in ``docs/backends.md``.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from corail.storage.errors import UnsupportedOperationError
from corail.storage.rows import CheckReport, ConversationPage, ConversationRow, MessagePage
from corail.storage.validation import check_limit, check_messages, check_page_limit

__all__ = ["StoragePort"]


class StoragePort(ABC):
    """Conversation storage for AI agents, whatever keeps the data.

    A conversation has a caller-chosen id, a title, metadata and an ordered list of messages, each
    with a role and a content. A class with only the six abstract methods is a complete backend, for
    ever. Constructing one does no I/O (C-30); a failed first use can be repeated (C-24).

    Errors of every method: ``TypeError`` for wrong argument types and ``InvalidInputError`` for
    wrong values, both before any I/O (C-04); otherwise a ``StorageError`` (C-31), never one whose
    message holds a password or the text of a conversation.
    """

    # Not annotated ClassVar: configuration may decide, so an instance attribute is allowed too.
    capabilities: frozenset[str] = frozenset()
    """Names from ``corail.storage.capabilities`` whose promises this storage keeps."""

    __slots__ = ()

    @abstractmethod
    async def get_messages(self, conversation_id: str) -> list[dict[str, str]]:
        """Return all messages in order, as new dicts with exactly ``role`` and ``content`` (C-12).

        An unknown id gives ``[]``. The list and its dicts are the caller's to change (C-15).
        """

    @abstractmethod
    async def append_message(self, conversation_id: str, role: str, content: str) -> None:
        """Store one message at the end, creating the conversation if it is unknown (C-11).

        Args:
            conversation_id: 1 to 255 characters, never normalised (C-01).
            role: 1 to 64 characters.
            content: any text up to the backend's limit, 16 MiB of UTF-8 by default (C-02).

        Once it returns, the message is stored, once (C-32). A cancelled call may or may not have
        stored it (C-23); ``AppendOutcomeUnknownError`` says the same and carries a key for a repeat.

        """

    @abstractmethod
    async def create_conversation(self, conversation_id: str, metadata: dict[str, Any] | None = None) -> None:
        """Create a conversation; if it exists, change nothing, its metadata included (C-10).

        ``metadata`` is a JSON object: str keys, int64, finite floats below 2**53 in magnitude, at
        most 100 levels and 256 KiB (C-03).
        """

    @abstractmethod
    async def conversation_exists(self, conversation_id: str) -> bool:
        """Return whether the conversation was created, by ``create_conversation`` or an append."""

    @abstractmethod
    async def list_conversations(self) -> list[dict[str, Any]]:
        """Return every conversation, the newest created first, ties in one fixed order (C-13).

        Each row has ``id``, ``title`` (``""`` until set), ``created_at`` (ISO 8601 in UTC) and
        ``message_count``; with the capability ``details`` also ``updated_at`` and ``metadata``.
        For many conversations use ``page_conversations``.
        """

    @abstractmethod
    async def update_title(self, conversation_id: str, title: str) -> None:
        """Set the title; an unknown id does nothing (C-14)."""

    async def delete_conversation(self, conversation_id: str) -> None:  # noqa: ARG002 - the port names it
        """Remove the conversation with its messages and idempotency keys; an unknown id does nothing.

        The default raises ``UnsupportedOperationError``; with the capability ``delete`` it works.
        """
        raise UnsupportedOperationError(
            f"{type(self).__name__} cannot delete conversations; use a backend with the capability 'delete'."
        )

    async def append_messages(
        self,
        conversation_id: str,
        messages: Iterable[Mapping[str, str]],
        *,
        idempotency_key: str | None = None,
    ) -> None:
        """Store several messages at the end, in order.

        Args:
            conversation_id: 1 to 255 characters; an unknown conversation is created, but an empty
                batch does nothing at all.
            messages: mappings with exactly ``role`` and ``content``; 64 MiB of UTF-8 together.
            idempotency_key: 1 to 255 characters, needs the capability ``idempotent_append``.
                Repeating the same messages under a key already stored in this conversation does
                nothing; other messages under it raise ``InvalidInputError``. Keys are gone with
                their conversation.

        With ``atomic_append`` all are stored next to each other, or none. The default checks all of
        them, then appends one by one, and raises ``UnsupportedOperationError`` for a key.

        """
        # Imported here, as by every default below: they need datetime, a tenth of importing core.
        from corail.storage import _defaults

        await _defaults.append_messages(self, conversation_id, check_messages(messages), idempotency_key)

    async def get_recent_messages(self, conversation_id: str, limit: int) -> list[dict[str, str]]:
        """Return the last ``limit`` messages (0 or more) in chronological order, as ``get_messages`` does.

        Backends that override it read only the tail.
        """
        count = check_limit(limit)
        messages = await self.get_messages(conversation_id)
        return messages[-count:] if count else []

    async def get_conversation(self, conversation_id: str) -> ConversationRow | None:
        """Return the conversation's row as ``list_conversations`` shows it, or None."""
        from corail.storage import _defaults

        return await _defaults.get_conversation(self, conversation_id)

    async def page_conversations(self, *, limit: int = 50, after: str | None = None) -> ConversationPage:
        """Return one page of conversations, newest first, and the cursor of the next.

        Args:
            limit: 1 to 1,000 rows.
            after: ``next`` of an earlier page; None for the first.

        Returns ``{"items": [...], "next": cursor or None}``. Rows are neither repeated nor skipped
        when conversations are created or deleted between two pages.

        """
        from corail.storage import _defaults

        return await _defaults.page_conversations(self, check_page_limit(limit), after)

    async def page_messages(
        self, conversation_id: str, *, limit: int = 100, after: str | None = None
    ) -> MessagePage:
        """Return one page of messages, oldest first, and the cursor of the next.

        Args:
            conversation_id: an unknown id gives an empty page.
            limit: 1 to 1,000 messages.
            after: ``next`` of an earlier page; with the capability ``details`` also the ``id`` of
                any item, which is how a reader follows a conversation that grows.

        Returns ``{"items": [...], "next": cursor or None}``; items have ``role`` and ``content``,
        with ``details`` also ``id`` and ``created_at``.

        """
        from corail.storage import _defaults

        return await _defaults.page_messages(self, conversation_id, check_page_limit(limit), after)

    async def check(self) -> CheckReport:
        """Report whether the storage can serve now; never writes, made for readiness probes.

        An unreachable or broken backend is reported (``ok`` is False, ``problem`` says why), not
        raised.
        """
        from corail.storage import _defaults

        return await _defaults.check(self)

    async def aclose(self) -> None:
        """Release what the storage holds, from any loop; repeating it does nothing.

        With the capability ``close``, waiting writes are drained within a bound, then failed, and
        later calls raise ``StorageClosedError``. The default does nothing.
        """
        return

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()
