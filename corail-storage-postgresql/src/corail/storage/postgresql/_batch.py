"""Turns of conversations, and what the append statement is given for a batch of them; data, no I/O.

A turn is what one caller appends to one conversation at once. Its uids come from its key and the
position in the turn, so that a repeat of the turn carries the same uids and can be recognised.
"""

import hashlib
from collections.abc import Iterable, Sequence
from secrets import token_hex
from typing import NamedTuple
from uuid import UUID

from corail.storage.postgresql._text import escape
from corail.storage.validation import CheckedMessage


class Turn(NamedTuple):
    """Messages that one caller appends to one conversation, next to each other or not at all."""

    conversation_id: str
    """Escaped."""
    key: str
    """The caller's idempotency key, or a random one."""
    keyed: bool
    """Whether the caller chose the key."""
    messages: list[tuple[str, str]]
    """Role and content of each, escaped."""
    size: int
    """Bytes of UTF-8 in all contents."""

    def by_uid(self) -> dict[UUID, tuple[str, str]]:
        """Return role and content by uid, as they are stored."""
        return {uid(self.key, position): message for position, message in enumerate(self.messages)}


def turn(conversation_id: str, messages: Sequence[CheckedMessage], key: str | None) -> Turn:
    """Return a turn of checked messages; without a key a random one is drawn."""
    return Turn(
        escape(conversation_id),
        token_hex(16) if key is None else key,
        key is not None,
        [(escape(role), escape(content)) for role, content, _ in messages],
        sum(message.size for message in messages),
    )


def uid(key: str, position: int) -> UUID:
    """Return the uid of the message at ``position`` of the turn with this key.

    The same for the same key and position on every machine and in every release: stored data
    depends on it.
    """
    digest = hashlib.blake2b(f"{position}:{key}".encode("utf-8", "surrogatepass"), digest_size=16).digest()
    # Version 8, "custom", of RFC 9562, with its variant bits.
    number = int.from_bytes(digest, "big")
    number = number & ~(0xF << 76) | 8 << 76
    return UUID(int=number & ~(0x3 << 62) | 0x2 << 62)


def one_message(item: Turn) -> list[object]:
    """Return the first four arguments of the append statement for a single message."""
    role, content = item.messages[0]
    return [item.conversation_id, uid(item.key, 0), role, content]


def arguments(turns: Iterable[Turn]) -> list[list[object]]:
    """Return the first seven arguments of the append statement for a batch of turns.

    Turns of one conversation keep their order. Every message's distance from the end of its
    conversation's share is counted here, so that the server needs no window function.
    """
    shares: dict[str, list[tuple[UUID, str, str]]] = {}
    for item in turns:
        share = shares.setdefault(item.conversation_id, [])
        key = item.key
        for position, (role, content) in enumerate(item.messages):
            share.append((uid(key, position), role, content))
    ids: list[object] = []
    backs: list[object] = []
    rows: list[tuple[UUID, str, str]] = []
    for conversation_id, share in shares.items():
        ids.extend([conversation_id] * len(share))
        backs.extend(range(len(share) - 1, -1, -1))
        rows.extend(share)
    columns = [list[object](column) for column in zip(*rows, strict=True)]
    return [list(shares), [len(share) for share in shares.values()], ids, backs, *columns]
