"""Turns of conversations, and what the append statement is given for a batch of them; data, no I/O.

A turn is what one caller appends to one conversation at once. Its uids come from its key and the
position in the turn, so that a repeat of the turn carries the same uids and can be recognised.
"""

import os
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import NamedTuple

# A uuid.UUID, made from its bytes in a tenth of the time; the driver decodes to it as well.
from asyncpg.pgproto.pgproto import UUID

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
    # From the system for every turn: numbers counted up in the process would come twice after a fork or
    # when a suspended machine is resumed twice, and a repeated key loses a message.
    own = os.urandom(16).hex() if key is None else key
    escaped: list[tuple[str, str]] = []
    size = 0
    for role, content, length in messages:
        escaped.append((escape(role), escape(content)))
        size += length
    return Turn(escape(conversation_id), own, key is not None, escaped, size)


def uid(key: str, position: int) -> UUID:
    """Return the uid of the message at ``position`` of the turn with this key.

    The same for the same key and position on every machine and in every release: stored data
    depends on it.
    """
    octets = bytearray(blake2b(f"{position}:{key}".encode("utf-8", "surrogatepass"), digest_size=16).digest())
    # Version 8, "custom", of RFC 9562, with its variant bits.
    octets[6] = octets[6] & 0x0F | 0x80
    octets[8] = octets[8] & 0x3F | 0x80
    return UUID(bytes(octets))


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
