"""Between what the port speaks and the bytes on the server: messages, rows, metadata, times.

Knows no connection and no key.
"""

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from corail.storage.errors import StorageSchemaError
from corail.storage.rows import ConversationRow, MessageItem
from corail.storage.validation import CheckedMessage

from corail.storage.redis._layout import STAMP_DIGITS, decode, encode

FIELDS: Final = (b"created", b"updated", b"count", b"title", b"metadata")
"""Fields of a conversation's hash, in the order that ``conversation`` takes them."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_LAST_STAMP: Final = 10**STAMP_DIGITS - 1


def message(role: str, content: str) -> bytes:
    """Return a message as the append script takes it; the server puts the time in front."""
    raw = encode(role)
    return b"%d %b%b" % (len(raw), raw, encode(content))


def read_message(element: bytes) -> dict[str, str]:
    """Return an element of the list as a new dict."""
    role, content = _parts(element)
    return {"role": role, "content": content}


def message_item(element: bytes, number: int) -> MessageItem:
    """Return an element of the list with its number and its time."""
    role, content = _parts(element)
    return {
        "role": role,
        "content": content,
        "id": str(number),
        "created_at": instant(element[:STAMP_DIGITS]),
    }


def digest(messages: Sequence[CheckedMessage]) -> bytes:
    """Return what tells one batch of messages from another, their number included."""
    state = hashlib.blake2b(digest_size=16)
    for item in messages:
        raw = message(item.role, item.content)
        state.update(b"%d " % len(raw))
        state.update(raw)
    return state.digest()


def conversation(name: bytes, fields: Sequence[bytes | None]) -> ConversationRow | None:
    """Return a conversation's row from its id and the values of ``FIELDS``; None if it is unknown."""
    created, updated, count, title, metadata = fields
    if created is None:
        return None
    try:
        return {
            "id": decode(name),
            "title": decode(title or b""),
            "created_at": instant(created),
            "message_count": int(count or 0),
            "updated_at": instant(updated or created),
            "metadata": read_metadata(metadata),
        }
    except ValueError:
        raise _unreadable() from None


def metadata_text(value: dict[str, Any] | None) -> bytes:
    """Return metadata as JSON; nothing for none.

    Not escaped: ``json.loads`` would join two escaped lone surrogates into one character.
    """
    return (
        encode(json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")))
        if value
        else b""
    )


def read_metadata(text: bytes | None) -> dict[str, Any]:
    """Return what ``metadata_text`` was given, as a new dict."""
    value: dict[str, Any] = json.loads(decode(text)) if text else {}
    return value


def instant(stamp: bytes) -> str:
    """Return microseconds as ISO 8601 in UTC."""
    return (_EPOCH + timedelta(microseconds=int(stamp))).isoformat(timespec="microseconds")


def stamp_of(moment: datetime) -> bytes:
    """Return an instant as the digits it has in the index; what lies outside becomes the nearest."""
    micros = (moment - _EPOCH) // _MICROSECOND
    return b"%0*d" % (STAMP_DIGITS, min(max(micros, 0), _LAST_STAMP))


def _parts(element: bytes) -> tuple[str, str]:
    try:
        _, length, text = element.split(b" ", 2)
        end = int(length)
        return decode(text[:end]), decode(text[end:])
    except ValueError:
        # Without the cause: its text repeats what could not be read (C-31).
        raise _unreadable() from None


def _unreadable() -> StorageSchemaError:
    return StorageSchemaError(
        "A key under the prefix holds what this release cannot read. Does something else write there? "
        "Choose another prefix."
    )
