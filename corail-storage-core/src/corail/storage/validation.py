"""The contract's input checks (C-01 to C-04) as functions every backend can call before any I/O.

Each takes what the caller passed and returns it ready to be stored, as exact built-in types and
detached from the caller's objects. Wrong types raise ``TypeError``, wrong values
``InvalidInputError``; no message repeats content. Nothing here is asynchronous or does I/O.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple, TypeGuard

from corail.storage._metadata import MAX_METADATA_BYTES, MAX_METADATA_DEPTH, check_metadata
from corail.storage.errors import InvalidInputError

__all__ = [
    "MAX_BATCH_BYTES",
    "MAX_CONTENT_BYTES",
    "MAX_ID_LENGTH",
    "MAX_KEY_LENGTH",
    "MAX_METADATA_BYTES",
    "MAX_METADATA_DEPTH",
    "MAX_PAGE_LIMIT",
    "MAX_ROLE_LENGTH",
    "CheckedMessage",
    "check_content",
    "check_conversation_id",
    "check_cursor",
    "check_idempotency_key",
    "check_limit",
    "check_message",
    "check_message_cursor",
    "check_messages",
    "check_metadata",
    "check_page_limit",
    "check_role",
    "check_title",
    "lookup_id",
    "utf8_size",
]

MAX_ID_LENGTH: Final = 255
"""Characters in a conversation id (C-01)."""
MAX_ROLE_LENGTH: Final = 64
"""Characters in a role (C-02)."""
MAX_KEY_LENGTH: Final = 255
"""Characters in an idempotency key."""
MAX_CONTENT_BYTES: Final = 16 * 1024 * 1024
"""Bytes of UTF-8 in one message or title, unless a backend sets another limit (C-02)."""
MAX_BATCH_BYTES: Final = 64 * 1024 * 1024
"""Bytes of UTF-8 in all messages of one ``append_messages`` together."""
MAX_PAGE_LIMIT: Final = 1000
"""Items on one page."""
_LARGEST_INT64: Final = 2**63 - 1


class CheckedMessage(NamedTuple):
    """One message that passed the checks."""

    role: str
    content: str
    size: int
    """Bytes of UTF-8 in ``content``, where a lone surrogate counts three."""


def check_conversation_id(value: object) -> str:
    """Return a conversation id that may be written: 1 to 255 characters, taken as they are (C-01)."""
    return _bounded(value, "conversation_id", MAX_ID_LENGTH)


def lookup_id(value: object) -> str | None:
    """Return the id to look up, or None when no such id can exist.

    Limits bind writes only: reading, titling or deleting an impossible id answers as for an unknown
    one (C-01). Raises ``TypeError`` for anything but a ``str``.
    """
    text = _string(value, "conversation_id")
    return text if 1 <= len(text) <= MAX_ID_LENGTH else None


def check_role(value: object) -> str:
    """Return a role: 1 to 64 characters (C-02)."""
    return _bounded(value, "role", MAX_ROLE_LENGTH)


def check_content(value: object, *, max_bytes: int = MAX_CONTENT_BYTES) -> str:
    """Return a message's text: any ``str`` of at most ``max_bytes`` of UTF-8, empty included (C-02)."""
    return _sized(value, "content", max_bytes)[0]


def check_title(value: object, *, max_bytes: int = MAX_CONTENT_BYTES) -> str:
    """Return a title: any ``str`` of at most ``max_bytes`` of UTF-8, empty included (C-02)."""
    return _sized(value, "title", max_bytes)[0]


def check_idempotency_key(value: object) -> str | None:
    """Return an idempotency key of 1 to 255 characters; None stays None."""
    return None if value is None else _bounded(value, "idempotency_key", MAX_KEY_LENGTH)


def check_message(role: object, content: object, *, max_bytes: int = MAX_CONTENT_BYTES) -> CheckedMessage:
    """Return the one message of an ``append_message``."""
    checked = _bounded(role, "role", MAX_ROLE_LENGTH)
    text, size = _sized(content, "content", max_bytes)
    return CheckedMessage(checked, text, size)


def check_messages(
    messages: object, *, max_bytes: int = MAX_CONTENT_BYTES, max_batch_bytes: int = MAX_BATCH_BYTES
) -> list[CheckedMessage]:
    """Return the messages of one ``append_messages``: mappings with exactly ``role`` and ``content``.

    Raises ``TypeError`` for anything but an iterable of mappings of strings, ``InvalidInputError``
    for other keys, for one content above ``max_bytes`` or all above ``max_batch_bytes`` of UTF-8.
    """
    if isinstance(messages, str | bytes) or _is_mapping(messages) or not _is_iterable(messages):
        raise TypeError(
            f"messages must be an iterable of mappings with 'role' and 'content', not {_type(messages)}"
        )
    checked = [_message(index, item, max_bytes) for index, item in enumerate(messages)]
    total = sum(message.size for message in checked)
    if total > max_batch_bytes:
        raise InvalidInputError(
            f"messages take {total} bytes of UTF-8 together; one append_messages holds at most "
            f"{max_batch_bytes}. Append them in several calls."
        )
    return checked


def check_limit(value: object) -> int:
    """Return the number of messages asked for: 0 or more."""
    limit = _integer(value, "limit")
    if limit < 0:
        raise InvalidInputError(f"limit is {limit}; it must be 0 or more.")
    return limit


def check_page_limit(value: object) -> int:
    """Return the number of items asked for on one page: 1 to 1,000."""
    limit = _integer(value, "limit")
    if not 1 <= limit <= MAX_PAGE_LIMIT:
        raise InvalidInputError(f"limit is {limit}; one page holds 1 to {MAX_PAGE_LIMIT} items.")
    return limit


def check_cursor(value: object) -> str | None:
    """Return a page cursor unread: a ``str``, or None for the first page."""
    return None if value is None else _string(value, "after")


def check_message_cursor(value: object) -> int:
    """Return the number in a page cursor that is one: 0 for None, else 0 to 2^63 - 1.

    For backends whose messages are numbered, or counted, and whose cursors are those numbers.
    """
    cursor = check_cursor(value)
    if cursor is None:
        return 0
    # isascii too: isdigit alone accepts digits that int() refuses, such as a superscript two. And int()
    # refuses thousands of digits in its own way.
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 20 and int(cursor) <= _LARGEST_INT64):
        raise InvalidInputError(
            "after is not a cursor of this method; pass the 'next' of an earlier page or an item's 'id'."
        )
    return int(cursor)


def utf8_size(text: str, /) -> int:
    """Return the bytes ``text`` takes in UTF-8, where a lone surrogate counts three."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _message(index: int, item: object, max_bytes: int) -> CheckedMessage:
    where = f"messages[{index}]"
    if not _is_mapping(item):
        raise TypeError(f"{where} must be a mapping with 'role' and 'content', not {_type(item)}")
    if len(item) != 2 or "role" not in item or "content" not in item:
        missing = [key for key in ("role", "content") if key not in item]
        problem = f"lacks {' and '.join(map(repr, missing))}" if missing else "has further keys"
        raise InvalidInputError(f"{where} {problem}; a message has exactly the keys 'role' and 'content'.")
    role = _bounded(item["role"], f"{where}['role']", MAX_ROLE_LENGTH)
    content, size = _sized(item["content"], f"{where}['content']", max_bytes)
    return CheckedMessage(role, content, size)


def _string(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{what} must be a str, not {_type(value)}")
    # A StrEnum member or another subclass is stored as the plain text it equals.
    return value if type(value) is str else str.__str__(value)


def _bounded(value: object, what: str, most: int) -> str:
    text = _string(value, what)
    if not 1 <= len(text) <= most:
        raise InvalidInputError(f"{what} has {len(text)} characters; 1 to {most} are allowed.")
    return text


def _sized(value: object, what: str, most: int) -> tuple[str, int]:
    text = _string(value, what)
    # More characters than bytes allowed cannot fit: a huge string is refused without encoding it.
    size = len(text) if len(text) > most else utf8_size(text)
    if size > most:
        raise InvalidInputError(
            f"{what} takes at least {size} bytes of UTF-8; at most {most} are allowed, and text is never "
            "truncated. Split it, or keep it elsewhere and store a reference."
        )
    return text, size


def _integer(value: object, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{what} must be an int, not {_type(value)}")
    return int(value)


def _type(value: object) -> str:
    return type(value).__name__


def _is_mapping(value: object) -> TypeGuard[Mapping[Any, object]]:
    return isinstance(value, Mapping)


def _is_iterable(value: object) -> TypeGuard[Iterable[object]]:
    return isinstance(value, Iterable)
