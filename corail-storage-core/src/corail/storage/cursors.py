"""Opaque page cursors for backend authors: an instant and an id, packed into one URL-safe string.

A keyset page continues *after* a row, so it neither repeats nor skips rows when others are added or
deleted between two pages. Ties in time are broken by the id.
"""

from datetime import UTC, datetime

from corail.storage.errors import InvalidInputError

__all__ = ["decode_cursor", "encode_cursor", "parse_instant"]


def encode_cursor(created_at: str, conversation_id: str) -> str:
    """Pack the position of a conversation row: its ``created_at`` text and its id."""
    # Imported here, as is all of this module by its users: only paging pays for it.
    from base64 import urlsafe_b64encode

    text = f"{created_at}\n{conversation_id}"
    return urlsafe_b64encode(text.encode("utf-8", "surrogatepass")).decode("ascii")


def decode_cursor(cursor: str) -> tuple[datetime, str]:
    """Unpack what ``encode_cursor`` made: the instant in UTC and the conversation id.

    Raises ``InvalidInputError`` for anything else.
    """
    from base64 import urlsafe_b64decode

    try:
        raw = urlsafe_b64decode(cursor.encode("ascii"))
        created_at, separator, conversation_id = raw.decode("utf-8", "surrogatepass").partition("\n")
        if separator and conversation_id:
            return parse_instant(created_at), conversation_id
    except (ValueError, OverflowError):
        # Bad base64, bad UTF-8 and a bad timestamp are ValueError; a time zone at the edge of the
        # calendar overflows.
        pass
    raise InvalidInputError("after is not a cursor of this method; pass the 'next' of an earlier page.")


def parse_instant(text: str) -> datetime:
    """Return the aware datetime an ISO 8601 text names; without an offset it is taken as UTC."""
    instant = datetime.fromisoformat(text)
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
