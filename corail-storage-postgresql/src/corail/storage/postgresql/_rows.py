"""From asyncpg's records to what the port returns; new objects every time, text unescaped."""

import json
from datetime import UTC, datetime

from asyncpg import Record

from corail.storage.postgresql._text import unescape, unescape_metadata
from corail.storage.rows import ConversationRow, MessageItem


def message(row: Record) -> dict[str, str]:
    """Return a message as ``get_messages`` gives it (C-12)."""
    return {"role": unescape(row["role"]), "content": unescape(row["content"])}


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
    return {
        "id": unescape(row["id"]),
        "title": unescape(row["title"]),
        "created_at": timestamp(row["created_at"]),
        "message_count": row["message_count"],
        "updated_at": timestamp(row["updated_at"]),
        "metadata": unescape_metadata(json.loads(row["metadata"])),
    }


def timestamp(instant: datetime) -> str:
    """Return an instant as ISO 8601 in UTC, always with microseconds."""
    return instant.astimezone(UTC).isoformat(timespec="microseconds")
