"""The store that ``MemoryStorage`` objects share: conversations, their order, bound, lock and names.

Every method takes the lock for a short section that never awaits, so any number of threads and event
loops may call, and no cancellation can leave the lock held. What a method returns is detached, apart
from metadata, which nobody changes once it is stored. Nothing here may import the port.
"""

import os
import time
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from threading import Lock
from typing import Any, Final, NamedTuple
from weakref import WeakSet

from corail.storage.errors import StorageConfigurationError
from corail.storage.memory._log import Batch, Excerpt, MessageLog


class Position(NamedTuple):
    """A conversation's place in the order of creation."""

    created: int
    """Microseconds since the epoch, unique in a store."""
    id: str


class Row(NamedTuple):
    """What a list shows of one conversation, at one moment."""

    id: str
    title: str
    created: int
    updated: int
    message_count: int
    metadata: dict[str, Any] | None
    """The stored object itself: copy it before handing it out."""


class Conversation:
    """One conversation, guarded by the lock of its store."""

    __slots__ = ("created", "id", "keys", "log", "metadata", "title", "updated")

    def __init__(self, conversation_id: str, metadata: dict[str, Any] | None, created: int) -> None:
        self.id = conversation_id
        self.title = ""
        self.metadata = metadata
        self.created = created
        self.updated = created
        self.log = MessageLog(created)
        # Idempotency key to the run of messages it stored; most conversations never see one.
        self.keys: dict[str, slice] | None = None

    def position(self) -> Position:
        """Return the sort key of lists."""
        return Position(self.created, self.id)

    def row(self) -> Row:
        """Return the present row."""
        return Row(self.id, self.title, self.created, self.updated, len(self.log), self.metadata)

    def append(self, batch: Batch, key: str | None, at: int) -> None:
        """Add the batch and remember its key: both or neither."""
        if key is None:
            self.log.extend(batch, at)
        else:
            if self.keys is None:
                self.keys = {}
            # Remembered first: once the messages are in, nothing may fail any more (C-32).
            self.keys[key] = slice(len(self.log), len(self.log) + len(batch.sizes))
            try:
                self.log.extend(batch, at)
            except BaseException:
                del self.keys[key]
                raise
        self.updated = at

    def earlier(self, key: str | None) -> Excerpt | None:
        """Return the messages that were stored under the key, or None."""
        if key is None or self.keys is None or key not in self.keys:
            return None
        return self.log.excerpt(self.keys[key])


class Store:
    """Conversations in order of creation.

    The steps of a change are ordered so that a process forked between two of them has a usable store.

    Args:
        bound: conversations kept at most, the least recently used goes first; None keeps all.

    """

    __slots__ = ("__weakref__", "_conversations", "_last", "_lock", "_used", "bound")

    def __init__(self, bound: int | None) -> None:
        self.bound: Final = bound
        self._lock = Lock()
        # In order of creation: ids are added at the end and never moved.
        self._conversations: dict[str, Conversation] = {}
        # Ids, least recently used first; empty without a bound. Not a dict: finding the first key of
        # one that loses its first keys takes ever longer.
        self._used: OrderedDict[str, None] = OrderedDict()
        self._last = 0
        _stores.add(self)

    def renew_lock(self) -> None:
        """Replace a lock that a thread of the parent process may have held at the fork."""
        self._lock = Lock()

    def create(self, conversation_id: str, metadata: dict[str, Any] | None) -> None:
        """Create a conversation, or count the existing one as used."""
        with self._lock:
            if self._find(conversation_id) is None:
                self._add(Conversation(conversation_id, metadata, self._tick()))

    def append(self, conversation_id: str, batch: Batch, key: str | None = None) -> Excerpt | None:
        """Store at least one message; return what the key stands for if it was used before.

        Then nothing was stored, and whether it is the same batch can be compared without the lock.
        """
        with self._lock:
            conversation = self._find(conversation_id)
            if conversation is None:
                created = Conversation(conversation_id, None, self._tick())
                created.append(batch, key, created.created)
                self._add(created)
                return None
            earlier = conversation.earlier(key)
            if earlier is None:
                conversation.append(batch, key, self._tick())
            return earlier

    def read(self, conversation_id: str, which: slice) -> Excerpt | None:
        """Copy messages out, or return None for an unknown conversation."""
        with self._lock:
            conversation = self._find(conversation_id)
            return None if conversation is None else conversation.log.excerpt(which)

    def retitle(self, conversation_id: str, title: str) -> None:
        """Set the title of a conversation, if there is one."""
        with self._lock:
            conversation = self._find(conversation_id)
            if conversation is not None:
                conversation.title = title
                conversation.updated = self._tick()

    def delete(self, conversation_id: str) -> None:
        """Forget a conversation."""
        with self._lock:
            self._conversations.pop(conversation_id, None)
            self._used.pop(conversation_id, None)

    def row(self, conversation_id: str) -> Row | None:
        """Return one row, without counting the conversation as used."""
        with self._lock:
            conversation = self._conversations.get(conversation_id)
            return None if conversation is None else conversation.row()

    def rows(self) -> list[Row]:
        """Return every row, newest first."""
        return list(self._rows(reversed(self._members())))

    def page(self, limit: int, after: Position | None) -> tuple[list[Row], bool]:
        """Return up to ``limit`` rows created before ``after``, newest first, and whether more follow."""
        members = self._members()
        end = len(members) if after is None else bisect_left(members, after, key=Conversation.position)
        chosen = members[max(0, end - limit) : end]
        return list(self._rows(reversed(chosen))), end > limit

    def _members(self) -> list[Conversation]:
        with self._lock:
            return list(self._conversations.values())

    def _rows(self, conversations: Iterable[Conversation]) -> Iterator[Row]:
        # The lock anew for each row: writers do not wait for a long list.
        for conversation in conversations:
            with self._lock:
                row = conversation.row()
            yield row

    def _find(self, conversation_id: str) -> Conversation | None:
        conversation = self._conversations.get(conversation_id)
        if conversation is not None:
            self._use(conversation_id)
        return conversation

    def _use(self, conversation_id: str) -> None:
        if self.bound is not None:
            self._used[conversation_id] = None
            self._used.move_to_end(conversation_id)

    def _add(self, conversation: Conversation) -> None:
        self._use(conversation.id)
        self._conversations[conversation.id] = conversation
        # The new one was used last and the bound is at least one, so it is never the one to go.
        while self.bound is not None and len(self._conversations) > self.bound:
            oldest = next(iter(self._used))
            self._conversations.pop(oldest, None)
            del self._used[oldest]

    def _tick(self) -> int:
        # Strictly increasing, whatever the clock does: no two conversations tie.
        self._last = max(time.time_ns() // 1000, self._last + 1)
        return self._last


_stores: Final[WeakSet[Store]] = WeakSet()
_named: Final[dict[str, Store]] = {}


def named_store(name: str, bound: int | None) -> Store:
    """Return the process's store of that name, made with this bound if it is new; None fits any bound."""
    # setdefault is one step for all threads; the store of the one that loses is dropped.
    store = _named.setdefault(name, Store(bound))
    if bound is not None and bound != store.bound:
        raise StorageConfigurationError(
            f"Store {name!r} exists in this process with max_conversations={store.bound}; {bound} was given. "
            "Give every MemoryStorage of that name the same bound, or none to join the store as it is."
        )
    return store


def _renew_locks() -> None:
    for store in _stores:
        store.renew_lock()


# Missing where processes cannot fork.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)
