"""A small backend that keeps every promise in a plain dict, and gives way at every step.

What mutants change is a method of its own. Nothing is fast, and nothing is shared with a real backend.
"""

import copy
import threading
import time
from collections.abc import Generator, Iterable, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

import anyio.lowlevel

from corail.storage.capabilities import ALL, PERSISTENT
from corail.storage.cursors import decode_cursor, encode_cursor, parse_instant
from corail.storage.errors import InvalidInputError, StorageClosedError
from corail.storage.port import StoragePort
from corail.storage.rows import CheckReport, ConversationPage, ConversationRow, MessageItem, MessagePage
from corail.storage.validation import (
    CheckedMessage,
    check_content,
    check_conversation_id,
    check_cursor,
    check_idempotency_key,
    check_limit,
    check_messages,
    check_metadata,
    check_page_limit,
    check_role,
    check_title,
    lookup_id,
)


class Message(NamedTuple):
    role: str
    content: str
    created_at: float


class Conversation:
    def __init__(self, metadata: dict[str, Any]) -> None:
        self.title = ""
        self.metadata = metadata
        self.created_at = self.updated_at = time.time()
        self.messages: list[Message] = []
        self.keys: dict[str, tuple[int, int]] = {}

    def count(self) -> int:
        return len(self.messages)


Conversations = MutableMapping[str, Conversation]


class Store:
    """What several objects share: conversations, and the lock under which they change."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.conversations: dict[str, Conversation] = {}

    @contextmanager
    def locked(self) -> Generator[Conversations]:
        with self._lock:
            yield self.conversations


class ReferenceStorage(StoragePort):
    """Correct, with a place to be cancelled or overtaken before and after every change."""

    capabilities = ALL - {PERSISTENT}

    def __init__(self, store: Store | None = None) -> None:
        self.store = Store() if store is None else store
        self.closed = False

    async def get_messages(self, conversation_id: str) -> list[dict[str, str]]:
        await self.enter()
        return [self.shown(message) for message in self.messages_of(self.lookup(conversation_id))]

    async def append_message(self, conversation_id: str, role: str, content: str) -> None:
        conversation_id = self.stored_id(check_conversation_id(conversation_id))
        message = CheckedMessage(check_role(role), check_content(content), 0)
        await self.enter()
        await self.append(conversation_id, [message], None)
        await self.pause()

    async def create_conversation(self, conversation_id: str, metadata: dict[str, Any] | None = None) -> None:
        conversation_id = self.stored_id(check_conversation_id(conversation_id))
        checked = check_metadata(metadata) or {}
        await self.enter()
        await self.create(conversation_id, checked)
        await self.pause()

    async def conversation_exists(self, conversation_id: str) -> bool:
        known = self.lookup(conversation_id)
        await self.enter()
        with self.store.locked() as conversations:
            return known in conversations

    async def list_conversations(self) -> list[dict[str, Any]]:
        await self.enter()
        return [{**row} for row in self.rows()]

    async def update_title(self, conversation_id: str, title: str) -> None:
        known, title = self.lookup(conversation_id), self.stored_text(check_title(title))
        await self.enter()
        with self.store.locked() as conversations:
            self.retitle(conversations, known, title)
        await self.pause()

    async def delete_conversation(self, conversation_id: str) -> None:
        known = self.lookup(conversation_id)
        await self.enter()
        with self.store.locked() as conversations:
            conversations.pop(known, None)
        await self.pause()

    async def append_messages(
        self,
        conversation_id: str,
        messages: Iterable[Mapping[str, str]],
        *,
        idempotency_key: str | None = None,
    ) -> None:
        conversation_id = self.stored_id(check_conversation_id(conversation_id))
        batch, key = check_messages(messages), check_idempotency_key(idempotency_key)
        await self.enter()
        if batch:
            await self.append(conversation_id, batch, key)
            await self.pause()

    async def get_recent_messages(self, conversation_id: str, limit: int) -> list[dict[str, str]]:
        known, limit = self.lookup(conversation_id), check_limit(limit)
        await self.enter()
        messages = self.messages_of(known)
        return [self.shown(message) for message in messages[max(0, len(messages) - limit) :]]

    async def get_conversation(self, conversation_id: str) -> ConversationRow | None:
        known = self.lookup(conversation_id)
        await self.enter()
        with self.store.locked() as conversations:
            return self.row(known, conversations[known]) if known in conversations else None

    async def page_conversations(self, *, limit: int = 50, after: str | None = None) -> ConversationPage:
        limit, cursor = check_page_limit(limit), check_cursor(after)
        await self.enter()
        rows = self.rows_after(cursor)
        return {"items": rows[:limit], "next": self.cursor(rows, limit) if len(rows) > limit else None}

    async def page_messages(
        self, conversation_id: str, *, limit: int = 100, after: str | None = None
    ) -> MessagePage:
        known, limit, start = self.lookup(conversation_id), check_page_limit(limit), _number(after)
        await self.enter()
        messages = self.messages_of(known)
        items: list[MessageItem] = [
            {"role": one.role, "content": one.content, "id": str(n), "created_at": iso(one.created_at)}
            for n, one in enumerate(messages[start : start + limit], start=start + 1)
        ]
        end = start + len(items)
        return {"items": items, "next": str(end) if end < len(messages) else None}

    async def check(self) -> CheckReport:
        await self.enter()
        return {
            "ok": True,
            "latency": 0.0,
            "versions": {},
            "role": None,
            "writable": True,
            "problem": None,
            "warnings": [],
        }

    async def aclose(self) -> None:
        self.closed = True

    # What mutants change.

    async def pause(self) -> None:
        await anyio.lowlevel.checkpoint()

    async def enter(self) -> None:
        await self.pause()
        if self.closed:
            raise StorageClosedError("This storage was closed with aclose(); create a new one.")

    def stored_id(self, conversation_id: str) -> str:
        return conversation_id

    def stored_text(self, text: str) -> str:
        return text

    def stored_role(self, role: str) -> str:
        return role

    def lookup(self, conversation_id: str) -> str:
        # No conversation has the empty id.
        return self.stored_id(lookup_id(conversation_id) or "")

    def shown(self, message: Message) -> dict[str, str]:
        return {"role": message.role, "content": message.content}

    def messages_of(self, conversation_id: str) -> list[Message]:
        with self.store.locked() as conversations:
            known = conversations.get(conversation_id)
            return [] if known is None else list(known.messages)

    def stored_messages(self, batch: Sequence[CheckedMessage]) -> list[Message]:
        return [
            Message(self.stored_role(one.role), self.stored_text(one.content), time.time()) for one in batch
        ]

    async def create(self, conversation_id: str, metadata: dict[str, Any]) -> None:
        with self.store.locked() as conversations:
            if conversation_id not in conversations:
                conversations[conversation_id] = Conversation(metadata)

    async def append(self, conversation_id: str, batch: Sequence[CheckedMessage], key: str | None) -> None:
        messages = self.stored_messages(batch)
        with self.store.locked() as conversations:
            known = conversations.get(conversation_id)
            if known is None:
                known = conversations[conversation_id] = Conversation({})
            if key is not None and key in known.keys:
                self.repeated(known, key, messages)
                return
            self.extend(known, messages, key)

    def extend(self, known: Conversation, messages: Sequence[Message], key: str | None) -> None:
        if key is not None:
            known.keys[key] = (len(known.messages), len(known.messages) + len(messages))
        known.messages.extend(messages)
        known.updated_at = time.time()

    def repeated(self, known: Conversation, key: str, messages: Sequence[Message]) -> None:
        start, end = known.keys[key]
        if [one[:2] for one in known.messages[start:end]] != [one[:2] for one in messages]:
            raise InvalidInputError("idempotency_key was used for other messages; use a new one.")

    def retitle(self, conversations: Conversations, conversation_id: str, title: str) -> None:
        known = conversations.get(conversation_id)
        if known is not None:
            known.title = title
            known.updated_at = time.time()

    def row(self, conversation_id: str, known: Conversation) -> ConversationRow:
        return {
            "id": conversation_id,
            "title": known.title,
            "created_at": iso(known.created_at),
            "message_count": known.count(),
            "updated_at": iso(known.updated_at),
            "metadata": copy.deepcopy(known.metadata),
        }

    def rows(self) -> list[ConversationRow]:
        with self.store.locked() as conversations:
            rows = [self.row(conversation_id, known) for conversation_id, known in conversations.items()]
        return sorted(rows, key=lambda row: (row["created_at"], row["id"]), reverse=True)

    def rows_after(self, cursor: str | None) -> list[ConversationRow]:
        if cursor is None:
            return self.rows()
        place = decode_cursor(cursor)
        return [row for row in self.rows() if (parse_instant(row["created_at"]), row["id"]) < place]

    def cursor(self, rows: Sequence[ConversationRow], limit: int) -> str:
        last = rows[limit - 1]
        return encode_cursor(last["created_at"], last["id"])


def iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")


def _number(after: str | None) -> int:
    cursor = check_cursor(after)
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 19):
        raise InvalidInputError("after is not a cursor of this method; pass the 'next' of an earlier page.")
    return int(cursor)
