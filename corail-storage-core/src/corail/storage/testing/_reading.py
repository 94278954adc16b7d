# ruff: noqa: S101 - contract tests are built on assert
"""What tests read back: fresh ids, contents, rows, whole walks over pages.

The store may hold other conversations, so everything here asks for those of the test only.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, TypeGuard
from uuid import uuid4

from corail.storage.capabilities import ANY_TEXT
from corail.storage.cursors import parse_instant
from corail.storage.errors import InvalidInputError
from corail.storage.port import StoragePort
from corail.storage.rows import ConversationRow, MessageItem
from corail.storage.testing._base import ContractBase
from corail.storage.testing._concurrency import Call, error_of
from corail.storage.testing._reopening import checked, open_target, target_of


def fresh(label: str) -> str:
    """Return a conversation id that was never used."""
    return f"kit-{label}-{uuid4().hex[:16]}"


def reopened(contract: ContractBase) -> StoragePort:
    """Return a new object on the store of the fixture ``storage``."""
    reopen = type(contract).reopen
    return open_target(target_of(reopen)) if isinstance(reopen, str | None) else checked(reopen)


def message(content: str, role: str = "user") -> dict[str, str]:
    """Return a message as ``append_messages`` takes it."""
    return {"role": role, "content": content}


async def contents(storage: StoragePort, conversation_id: str) -> list[str]:
    """Return the texts of a conversation in order."""
    return [found["content"] for found in await storage.get_messages(conversation_id)]


async def rows_of(storage: StoragePort, conversation_ids: Iterable[str]) -> list[dict[str, Any]]:
    """Return the rows of these conversations, in the order of the list."""
    wanted = set(conversation_ids)
    return [row for row in await storage.list_conversations() if row["id"] in wanted]


async def row_of(storage: StoragePort, conversation_id: str) -> dict[str, Any]:
    """Return the one row that the list has of a conversation."""
    rows = await rows_of(storage, [conversation_id])
    assert len(rows) == 1, f"list_conversations has {len(rows)} rows of an existing conversation"
    return rows[0]


async def consistent(storage: StoragePort, conversation_id: str) -> list[str]:
    """Return the texts of a conversation whose ``message_count`` was seen to agree with them."""
    texts = await contents(storage, conversation_id)
    while True:
        row = await storage.get_conversation(conversation_id)
        again = await contents(storage, conversation_id)
        # A cancelled append may still arrive; the count is judged only where nothing did meanwhile.
        if again == texts:
            count = 0 if row is None else row["message_count"]
            assert count == len(texts), "message_count differs from the messages that are there"
            return texts
        texts = again


async def walk_conversations(
    storage: StoragePort, conversation_ids: Iterable[str], limit: int, after: str | None = None
) -> list[ConversationRow]:
    """Page until all of these conversations were seen, and one page more; return every row that came."""
    missing = set(conversation_ids)
    cursors = {after}
    found: list[ConversationRow] = []
    while True:
        page = await storage.page_conversations(limit=limit, after=after)
        assert len(page["items"]) <= limit, "more items than the limit"
        # A row that comes twice comes on the next page at the earliest.
        last = not missing
        found += page["items"]
        missing -= {row["id"] for row in page["items"]}
        following = page["next"]
        if following is None or last:
            return found
        assert isinstance(following, str), "'next' is neither a str nor None"
        assert page["items"], "an empty page has a 'next'"
        assert following not in cursors, "'next' is a cursor that came before: no progress"
        cursors.add(following)
        after = following


def among(rows: Iterable[Mapping[str, Any]], conversation_ids: Iterable[str]) -> list[str]:
    """Return the ids of rows that are among these conversations, in the order of the rows."""
    wanted = set(conversation_ids)
    return [row["id"] for row in rows if row["id"] in wanted]


async def walk_messages(
    storage: StoragePort, conversation_id: str, limit: int, after: str | None = None
) -> list[MessageItem]:
    """Page through a conversation; return all items."""
    cursors = {after}
    found: list[MessageItem] = []
    while True:
        page = await storage.page_messages(conversation_id, limit=limit, after=after)
        assert len(page["items"]) <= limit, "more items than the limit"
        found += page["items"]
        following = page["next"]
        if following is None:
            return found
        assert isinstance(following, str), "'next' is neither a str nor None"
        assert page["items"], "an empty page has a 'next'"
        assert following not in cursors, "'next' is a cursor that came before: no progress"
        cursors.add(following)
        after = following


async def held(storage: StoragePort, call: Call[object], text: str) -> bool:
    """Return whether a text was taken; a refusal is allowed without ``any_text`` only (C-02)."""
    error = await error_of(call)
    if error is None:
        return True
    assert isinstance(error, InvalidInputError), (
        f"C-31: {text[:40]!a} was refused with a {type(error).__name__}, which is no InvalidInputError"
    )
    assert ANY_TEXT not in storage.capabilities, f"{text[:40]!a} was refused; with any_text every str is held"
    return False


def instant(text: object) -> datetime:
    """Return the time a row shows, which must be ISO 8601 in UTC (C-13)."""
    assert isinstance(text, str), "a time is not a str"
    try:
        written = datetime.fromisoformat(text)
    except ValueError:
        raise AssertionError(f"{text!r} is not ISO 8601") from None
    assert written.utcoffset() in (None, timedelta(0)), f"{text!r} is not in UTC"
    return parse_instant(text)


def escaped(texts: Iterable[str]) -> list[str]:
    """Return texts so that differences no eye can see show up in a failure."""
    return [ascii(text) if len(text) <= 200 else f"{text[:100]!a}... {len(text)}" for text in texts]


def is_object(value: object) -> TypeGuard[dict[str, object]]:
    """Return whether a JSON value is an object."""
    return isinstance(value, dict)


def is_list(value: object) -> TypeGuard[list[object]]:
    """Return whether a JSON value is a list."""
    return isinstance(value, list)


def same_json(left: object, right: object) -> bool:
    """Return whether two JSON values are equal; unlike ``==`` it tells True from 1."""
    if is_object(left) and is_object(right):
        return left.keys() == right.keys() and all(same_json(left[key], right[key]) for key in left)
    if is_list(left) and is_list(right):
        return len(left) == len(right) and all(map(same_json, left, right))
    return isinstance(left, bool) == isinstance(right, bool) and left == right
