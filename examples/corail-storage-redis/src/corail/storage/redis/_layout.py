"""Which keys a conversation has, and in which slot: names, shards and the order of the index.

Knows no connection and no command. What is written here is how the data lies on the server; a change
of it makes what is stored unreadable.

Every conversation belongs to one of 64 shards by its id. All keys of a shard, those of its
conversations and its part of the index of conversations, carry the shard's hash tag, so they lie in
one slot of a cluster and a script can change them together::

    corail:{13}:index              sorted set of members, one for each conversation of the shard
    corail:{13}:expiry             the same members by the millisecond they expire, where a TTL is set
    corail:{13}:meta:chat-1        hash: created, updated, count, title, metadata
    corail:{13}:messages:chat-1    list, one element for each message; the number is the position
    corail:{13}:keys:chat-1        hash: idempotency keys of callers, as long as the conversation lives
    corail:{13}:tokens0:chat-1     hash: keys of this library, for at least ten minutes, in turns
    corail:{13}:tokens1:chat-1     with the other one

A member is the 16 digits of ``created`` (microseconds) followed by the id, so the byte order of
members is the order of the list.
"""

import binascii
import zlib
from typing import Final, NamedTuple

SHARDS: Final = 64
STAMP_DIGITS: Final = 16
"""Digits of a time in microseconds, until the year 2286."""

_SLOTS: Final = 16384


class Shard(NamedTuple):
    """The keys that the conversations of one shard share."""

    listing: bytes
    expiry: bytes


class Conversation(NamedTuple):
    """A conversation's id as bytes, and its keys."""

    id: bytes
    meta: bytes
    messages: bytes
    keys: bytes
    tokens0: bytes
    tokens1: bytes
    listing: bytes
    expiry: bytes

    @property
    def all_keys(self) -> tuple[bytes, ...]:
        """Every key, in the order the scripts expect."""
        return self[1:]


class Layout:
    """The keys under one prefix.

    Args:
        prefix: keeps applications apart that share a server; no braces in it.

    """

    def __init__(self, prefix: str) -> None:
        start = encode(prefix)
        self._starts = [b"%b:{%b}:" % (start, tag) for tag in TAGS]
        self.shards = [Shard(start + b"index", start + b"expiry") for start in self._starts]

    def conversation(self, conversation_id: str) -> Conversation:
        """Return the keys of a conversation."""
        name = encode(conversation_id)
        shard = shard_of(name)
        start = self._starts[shard]
        return Conversation(
            name,
            start + b"meta:" + name,
            start + b"messages:" + name,
            start + b"keys:" + name,
            start + b"tokens0:" + name,
            start + b"tokens1:" + name,
            *self.shards[shard],
        )

    def meta(self, member: bytes) -> bytes:
        """Return the key of the hash of the conversation that a member of the index stands for."""
        name = member[STAMP_DIGITS:]
        return self._starts[shard_of(name)] + b"meta:" + name


def shard_of(conversation_id: bytes) -> int:
    """Return the shard a conversation belongs to, the same in every process and release."""
    return zlib.crc32(conversation_id) % SHARDS


def slot(key: bytes) -> int:
    """Return the slot of a key in a cluster: CRC-16 (XMODEM) of the hash tag, or of the whole key."""
    start = key.find(b"{")
    if start >= 0:
        end = key.find(b"}", start + 1)
        if end > start + 1:
            key = key[start + 1 : end]
    return binascii.crc_hqx(key, 0) % _SLOTS


def encode(text: str) -> bytes:
    """Return text as UTF-8, lone surrogates included; the byte order is that of the code points."""
    return text.encode("utf-8", "surrogatepass")


def decode(raw: bytes) -> str:
    """Return the text that ``encode`` made bytes of."""
    return raw.decode("utf-8", "surrogatepass")


def _tags() -> list[bytes]:
    # The smallest numbers of which each falls into another 64th of the slots: a cluster divided into
    # equal ranges, as they are made, then has the same number of shards on every node.
    found: dict[int, bytes] = {}
    number = 0
    while len(found) < SHARDS:
        tag = b"%d" % number
        found.setdefault(slot(tag) * SHARDS // _SLOTS, tag)
        number += 1
    return [found[part] for part in range(SHARDS)]


TAGS: Final = tuple(_tags())
