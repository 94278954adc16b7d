"""``MemoryStorage``: the port over a store; checks arguments, encodes and decodes, holds no lock itself.

Must not import ``asyncio``, ``anyio`` or ``trio``: no method suspends, so every event loop will do.
"""

import os
from collections.abc import Iterable, Mapping
from time import perf_counter
from typing import Any, Final

from corail.storage.capabilities import ALL, PERSISTENT
from corail.storage.errors import InvalidInputError, StorageClosedError, StorageConfigurationError
from corail.storage.memory._log import encode
from corail.storage.memory._rows import conversation_row, cursor, message_items, read_cursor
from corail.storage.memory._store import Row, Store, named_store
from corail.storage.port import StoragePort
from corail.storage.rows import CheckReport, ConversationPage, ConversationRow, MessagePage
from corail.storage.validation import (
    MAX_BATCH_BYTES,
    MAX_CONTENT_BYTES,
    check_content,
    check_conversation_id,
    check_cursor,
    check_idempotency_key,
    check_limit,
    check_message_cursor,
    check_messages,
    check_metadata,
    check_page_limit,
    check_role,
    check_title,
    lookup_id,
)

_VARIABLE: Final = "CORAIL_MEMORY_STORE"


class MemoryStorage(StoragePort):
    """Conversations in this process's memory: gone when it ends, seen by no other process.

    Serves any number of threads and event loops at once, under asyncio and trio.

    Args:
        store: name of a store that all objects of this process with that name share, and that lives
            as long as the process. None means the environment variable ``CORAIL_MEMORY_STORE``.
            Surrounding space does not count; with a blank name the object has a store of its own.
        max_conversations: how many conversations are kept; creating one more drops the least
            recently used, whole. Creating, appending, titling and reading messages are uses, listing
            is not. None keeps all, or takes the bound that a shared store already has.
        max_content_bytes: limit of one content or title, in bytes of UTF-8.

    Raises ``StorageConfigurationError`` for a limit below 1, and for a bound other than that of the
    shared store.

    """

    capabilities: frozenset[str] = ALL - {PERSISTENT}

    def __init__(
        self,
        *,
        store: str | None = None,
        max_conversations: int | None = None,
        max_content_bytes: int = MAX_CONTENT_BYTES,
    ) -> None:
        name = _store_name(store)
        bound = None if max_conversations is None else _at_least_one(max_conversations, "max_conversations")
        self._max_content_bytes = _at_least_one(max_content_bytes, "max_content_bytes")
        self._store: Store | None = Store(bound) if name is None else named_store(name, bound)
        self._repr = f"{type(self).__name__}(store={name!r}, max_conversations={self._store.bound})"

    def __repr__(self) -> str:
        return self._repr

    async def get_messages(self, conversation_id: str) -> list[dict[str, str]]:
        return self._messages(conversation_id, slice(None))

    async def get_recent_messages(self, conversation_id: str, limit: int) -> list[dict[str, str]]:
        self._open()
        count = check_limit(limit)
        return self._messages(conversation_id, slice(-count, None) if count else slice(0))

    async def page_messages(
        self, conversation_id: str, *, limit: int = 100, after: str | None = None
    ) -> MessagePage:
        store = self._open()
        known = lookup_id(conversation_id)
        count = check_page_limit(limit)
        start = check_message_cursor(after)
        excerpt = None if known is None else store.read(known, slice(start, start + count))
        if excerpt is None:
            return {"items": [], "next": None}
        items = message_items(excerpt)
        seen = excerpt.first + len(items)
        return {"items": items, "next": str(seen) if seen < excerpt.total else None}

    async def append_message(self, conversation_id: str, role: str, content: str) -> None:
        store = self._open()
        known = check_conversation_id(conversation_id)
        message = (check_role(role), check_content(content, max_bytes=self._max_content_bytes))
        store.append(known, encode([message]))

    async def append_messages(
        self,
        conversation_id: str,
        messages: Iterable[Mapping[str, str]],
        *,
        idempotency_key: str | None = None,
    ) -> None:
        store = self._open()
        known = check_conversation_id(conversation_id)
        checked = check_messages(
            messages,
            max_bytes=self._max_content_bytes,
            # What fits one append fits a batch of one.
            max_batch_bytes=max(MAX_BATCH_BYTES, self._max_content_bytes),
        )
        key = check_idempotency_key(idempotency_key)
        if not checked:
            return
        batch = encode((message.role, message.content) for message in checked)
        earlier = store.append(known, batch, key)
        if earlier is not None and not earlier.holds(batch):
            raise InvalidInputError(
                f"idempotency_key {key!r} was used for other messages in this conversation, and nothing was "
                "stored now. Repeat exactly those under it, or store these under a new key."
            )

    async def create_conversation(self, conversation_id: str, metadata: dict[str, Any] | None = None) -> None:
        store = self._open()
        # "or None": an empty object is given back all the same and takes no room.
        store.create(check_conversation_id(conversation_id), check_metadata(metadata) or None)

    async def conversation_exists(self, conversation_id: str) -> bool:
        return self._row(conversation_id) is not None

    async def get_conversation(self, conversation_id: str) -> ConversationRow | None:
        row = self._row(conversation_id)
        return None if row is None else conversation_row(row)

    async def list_conversations(self) -> list[dict[str, Any]]:
        return [{**conversation_row(row)} for row in self._open().rows()]

    async def page_conversations(self, *, limit: int = 50, after: str | None = None) -> ConversationPage:
        store = self._open()
        count = check_page_limit(limit)
        position = check_cursor(after)
        rows, more = store.page(count, None if position is None else read_cursor(position))
        return {
            "items": [conversation_row(row) for row in rows],
            "next": cursor(rows[-1]) if more else None,
        }

    async def update_title(self, conversation_id: str, title: str) -> None:
        store = self._open()
        known = lookup_id(conversation_id)
        checked = check_title(title, max_bytes=self._max_content_bytes)
        if known is not None:
            store.retitle(known, checked)

    async def delete_conversation(self, conversation_id: str) -> None:
        store = self._open()
        known = lookup_id(conversation_id)
        if known is not None:
            store.delete(known)

    async def check(self) -> CheckReport:
        started = perf_counter()
        self._open()
        return {
            "ok": True,
            "latency": perf_counter() - started,
            "versions": {},
            "role": None,
            "writable": True,
            "problem": None,
            "warnings": [],
        }

    async def aclose(self) -> None:
        # Letting go of the store is all there is to release; a named one stays with the process.
        self._store = None

    def _open(self) -> Store:
        store = self._store
        if store is None:
            raise StorageClosedError(f"{self._repr} was closed with aclose(); create a new one.")
        return store

    def _messages(self, conversation_id: str, which: slice) -> list[dict[str, str]]:
        store = self._open()
        known = lookup_id(conversation_id)
        excerpt = None if known is None else store.read(known, which)
        if excerpt is None:
            return []
        return [
            {"role": role, "content": content}
            for role, content in zip(excerpt.roles(), excerpt.contents(), strict=True)
        ]

    def _row(self, conversation_id: str) -> Row | None:
        store = self._open()
        known = lookup_id(conversation_id)
        return None if known is None else store.row(known)


def _store_name(value: object) -> str | None:
    if value is None:
        value = os.environ.get(_VARIABLE, "")
    if not isinstance(value, str):
        raise TypeError(f"store must be a str or None, not {type(value).__name__}")
    return value.strip() or None


def _at_least_one(value: object, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{what} must be an int, not {type(value).__name__}")
    if value < 1:
        raise StorageConfigurationError(f"{what} is {value}; it must be 1 or more.")
    return int(value)
