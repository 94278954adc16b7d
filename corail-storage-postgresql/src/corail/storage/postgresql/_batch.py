"""Turns of conversations, and the batch of them that travels in one statement; pure data, no I/O.

A turn is what one caller appends to one conversation at once. Its uids come from its key and the
position in the turn, so that a repeat of the turn carries the same uids and can be recognised.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from secrets import token_hex
from uuid import UUID

from corail.storage.postgresql._text import escape
from corail.storage.validation import CheckedMessage


@dataclass(frozen=True, slots=True)
class Turn:
    """Messages that one caller appends to one conversation, next to each other or not at all."""

    conversation_id: str
    """Escaped."""
    key: str
    """The caller's idempotency key, or a random one."""
    keyed: bool
    """Whether the caller chose the key."""
    roles: tuple[str, ...]
    """Escaped."""
    contents: tuple[str, ...]
    """Escaped."""
    size: int
    """Bytes of UTF-8 in all contents."""

    @property
    def uids(self) -> list[UUID]:
        """One uid per message."""
        return [uid(self.key, position) for position in range(len(self.contents))]

    def by_uid(self) -> dict[UUID, tuple[str, str]]:
        """Return role and content by uid, as they are stored."""
        return dict(zip(self.uids, zip(self.roles, self.contents, strict=True), strict=True))


def turn(conversation_id: str, messages: Sequence[CheckedMessage], key: str | None) -> Turn:
    """Return a turn of checked messages; without a key a random one is drawn."""
    return Turn(
        conversation_id=escape(conversation_id),
        key=token_hex(16) if key is None else key,
        keyed=key is not None,
        roles=tuple(escape(message.role) for message in messages),
        contents=tuple(escape(message.content) for message in messages),
        size=sum(message.size for message in messages),
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


def arguments(turns: Iterable[Turn]) -> list[list[object]]:
    """Return the first seven arguments of the append statement for a batch of turns.

    Turns of one conversation keep their order. Every message's distance from the end of its
    conversation's share is counted here, so that the server needs no window function.
    """
    ids: list[object] = []
    counts: list[object] = []
    rows: list[tuple[object, ...]] = []
    in_order = sorted(turns, key=_conversation)
    for conversation_id, group in groupby(in_order, key=_conversation):
        share = [
            (uid(item.key, position), role, content)
            for item in group
            for position, (role, content) in enumerate(zip(item.roles, item.contents, strict=True))
        ]
        ids.append(conversation_id)
        counts.append(len(share))
        last = len(share) - 1
        rows.extend((conversation_id, last - index, *message) for index, message in enumerate(share))
    return [ids, counts, *(list(column) for column in zip(*rows, strict=True))]


def _conversation(item: Turn) -> str:
    return item.conversation_id
