"""From asyncpg's records to what the port returns; new objects every time, text unescaped."""

import json
from collections.abc import Iterable

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


def message_items(rows: Iterable[Record]) -> list[MessageItem]:
    """Return messages as they stand on a page; an id is a message's number in the conversation."""
    return [
        {"role": unescape(role), "content": unescape(text), "id": str(number), "created_at": created_at}
        for number, role, text, created_at in rows
    ]


def conversations(rows: Iterable[Record]) -> list[ConversationRow]:
    """Return rows of conversations (C-13); their times are text already, as the port returns them."""
    return [
        {
            "id": unescape(conversation_id),
            "title": unescape(title) if title else "",
            "created_at": created_at,
            "message_count": count,
            "updated_at": updated_at,
            # Most conversations have none, and reading it took half as long as all the rest.
            "metadata": {} if metadata == "{}" else unescape_metadata(json.loads(metadata)),
        }
        for conversation_id, title, metadata, created_at, updated_at, count in rows
    ]
