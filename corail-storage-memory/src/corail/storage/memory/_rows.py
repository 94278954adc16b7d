"""What leaves a store, in the shapes of the port: rows, page items, times and cursors.

Everything returned is new, for the caller to change (C-15). Runs without the store's lock.
"""

from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeGuard

from corail.storage.cursors import decode_cursor, encode_cursor
from corail.storage.memory._log import Excerpt
from corail.storage.memory._store import Position, Row
from corail.storage.rows import ConversationRow, MessageItem

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def conversation_row(row: Row) -> ConversationRow:
    """Return a conversation's row, with a copy of its metadata."""
    return {
        "id": row.id,
        "title": row.title,
        "created_at": _iso(row.created),
        "message_count": row.message_count,
        "updated_at": _iso(row.updated),
        "metadata": _detached(row.metadata or {}),
    }


def message_items(excerpt: Excerpt) -> list[MessageItem]:
    """Return the items of a page; an ``id`` is the message's number in its conversation, from 1."""
    messages = zip(excerpt.roles(), excerpt.contents(), excerpt.times(), strict=True)
    return [
        {"role": role, "content": content, "id": str(number), "created_at": _iso(at)}
        for number, (role, content, at) in enumerate(messages, excerpt.first + 1)
    ]


def cursor(row: Row) -> str:
    """Return the cursor of the page that follows this row."""
    return encode_cursor(_iso(row.created), row.id)


def read_cursor(text: str) -> Position:
    """Return the position a cursor stands for; raises ``InvalidInputError`` for anything else."""
    created_at, conversation_id = decode_cursor(text)
    return Position((created_at - _EPOCH) // _MICROSECOND, conversation_id)


def _iso(microseconds: int) -> str:
    # Not fromtimestamp: its float is exact to the microsecond only for so many years.
    return (_EPOCH + timedelta(microseconds=microseconds)).isoformat(timespec="microseconds")


def _detached(value: Any) -> Any:
    # Metadata was checked when it came in: plain dicts, lists and scalars, 100 levels at most. JSON
    # text would be smaller, but reading it joins two lone surrogates into one character.
    if _is_dict(value):
        return {key: _detached(item) for key, item in value.items()}
    if _is_list(value):
        return [_detached(item) for item in value]
    return value


def _is_dict(value: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def _is_list(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)
