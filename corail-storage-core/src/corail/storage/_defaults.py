"""The port's concrete methods, built on the six abstract ones only.

Correct for every backend, fast for none. Kept out of ``port.py`` so that the contract reads in one
piece; imports nothing but core.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from corail.storage.cursors import decode_cursor, encode_cursor, parse_instant
from corail.storage.errors import (
    StorageClosedError,
    StorageError,
    UnsupportedOperationError,
)
from corail.storage.rows import CheckReport, ConversationPage, ConversationRow, MessagePage
from corail.storage.validation import (
    CheckedMessage,
    check_cursor,
    check_idempotency_key,
    check_message_cursor,
    lookup_id,
)

if TYPE_CHECKING:
    from corail.storage.port import StoragePort

_PROBE_ID: Final = "corail.storage.check"
_NO_TIME: Final = datetime.min.replace(tzinfo=UTC)


async def append_messages(
    storage: "StoragePort", conversation_id: str, messages: Sequence[CheckedMessage], idempotency_key: object
) -> None:
    """Append one by one; a key is refused, because a plain append cannot honour it."""
    if check_idempotency_key(idempotency_key) is not None:
        raise UnsupportedOperationError(
            f"{type(storage).__name__} does not take an idempotency_key; use a backend with the capability "
            "'idempotent_append', or leave the key out."
        )
    for message in messages:
        await storage.append_message(conversation_id, message.role, message.content)


async def get_conversation(storage: "StoragePort", conversation_id: str) -> ConversationRow | None:
    """Scan the list."""
    wanted = lookup_id(conversation_id)
    for row in await storage.list_conversations():
        if row["id"] == wanted:
            return _conversation_row(row)
    return None


async def page_conversations(storage: "StoragePort", limit: int, after: str | None) -> ConversationPage:
    """Cut a page out of the list, put in an order in which a cursor has one meaning."""
    cursor = check_cursor(after)
    position = None if cursor is None else decode_cursor(cursor)
    placed = sorted(
        ((_position(row), row) for row in await storage.list_conversations()), key=_place, reverse=True
    )
    rest = [(place, row) for place, row in placed if position is None or place < position]
    page = rest[:limit]
    following = None
    if len(rest) > limit:
        created_at, conversation_id = page[-1][0]
        following = encode_cursor(created_at.isoformat(), conversation_id)
    return {"items": [_conversation_row(row) for _, row in page], "next": following}


async def page_messages(
    storage: "StoragePort", conversation_id: str, limit: int, after: str | None
) -> MessagePage:
    """Cut a page out of all messages; the cursor counts the messages before it."""
    start = check_message_cursor(after)
    messages = await storage.get_messages(conversation_id)
    end = start + limit
    return {
        "items": [{"role": m["role"], "content": m["content"]} for m in messages[start:end]],
        "next": str(end) if end < len(messages) else None,
    }


async def check(storage: "StoragePort") -> CheckReport:
    """Look up a conversation that need not exist."""
    started = perf_counter()
    problem: str | None = None
    try:
        await storage.conversation_exists(_PROBE_ID)
    except StorageClosedError:
        raise
    except StorageError as error:
        problem = str(error)
    return {
        "ok": problem is None,
        "latency": perf_counter() - started,
        "versions": {},
        "role": None,
        "writable": None,
        "problem": problem,
        "warnings": [],
    }


def _conversation_row(row: Mapping[str, Any]) -> ConversationRow:
    checked: ConversationRow = {
        "id": row["id"],
        "title": row["title"],
        "created_at": row["created_at"],
        "message_count": row["message_count"],
    }
    if "updated_at" in row:
        checked["updated_at"] = row["updated_at"]
    if "metadata" in row:
        checked["metadata"] = row["metadata"]
    return checked


def _position(row: Mapping[str, Any]) -> tuple[datetime, str]:
    try:
        return parse_instant(row["created_at"]), row["id"]
    except (TypeError, ValueError, OverflowError):
        # A backend with unreadable times still pages, by id.
        return _NO_TIME, row["id"]


def _place(placed: tuple[tuple[datetime, str], Mapping[str, Any]]) -> tuple[datetime, str]:
    return placed[0]
