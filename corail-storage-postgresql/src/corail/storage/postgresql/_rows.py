"""From asyncpg's records to what the port returns; new objects every time, text unescaped."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime

from asyncpg import Record

from corail.storage.postgresql._text import unescape, unescape_metadata
from corail.storage.rows import ConversationRow, MessageItem


def messages(rows: Iterable[Record | tuple[str, str]]) -> list[dict[str, str]]:
    """Return pairs of role and content as ``get_messages`` gives them (C-12)."""
    # The test of unescape is repeated here, where most of the time of a large read goes.
    return [
        {
            "role": role
            if "\x01" not in role and (role.isascii() or "\ud7ff" not in role)
            else unescape(role),
            "content": text
            if "\x01" not in text and (text.isascii() or "\ud7ff" not in text)
            else unescape(text),
        }
        for role, text in rows
    ]


def message_item(row: Record) -> MessageItem:
    """Return a message as it stands on a page; its id is its number in the conversation."""
    return {
        "role": unescape(row["role"]),
        "content": unescape(row["content"]),
        "id": str(row["id"]),
        "created_at": timestamp(row["created_at"]),
    }


def conversation(row: Record) -> ConversationRow:
    """Return a conversation's row (C-13)."""
    conversation_id, title, metadata, created_at, updated_at, count = row
    return {
        "id": unescape(conversation_id),
        "title": unescape(title),
        "created_at": timestamp(created_at),
        "message_count": count,
        "updated_at": timestamp(updated_at),
        # Most conversations have none, and reading it took half as long as all the rest.
        "metadata": {} if metadata == "{}" else unescape_metadata(json.loads(metadata)),
    }


def timestamp(instant: datetime) -> str:
    """Return an instant as ISO 8601 in UTC, always with microseconds."""
    # asyncpg's instants are in UTC; a codec of the caller's may give others.
    if instant.tzinfo is not UTC:
        instant = instant.astimezone(UTC)
    return instant.isoformat(timespec="microseconds")
