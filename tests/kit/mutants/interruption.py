"""Broken backends that do not outlive a cancellation, the end of a loop, or a first use that failed."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Any, ClassVar

import anyio

from corail.storage.errors import StorageUnavailableError
from corail.storage.validation import CheckedMessage
from tests.kit.mutants.catalogue import caught_by
from tests.kit.reference import Conversation, ReferenceStorage, Store


@caught_by("C-22")
class PoolOfFirstLoop(ReferenceStorage):
    """A pool belongs to the loop that used it first; in another it raises."""

    def __init__(self, store: Store | None = None) -> None:
        super().__init__(store)
        self._loop: asyncio.AbstractEventLoop | None = None

    async def enter(self) -> None:
        self._loop = self._loop or asyncio.get_running_loop()
        if self._loop is not asyncio.get_running_loop():
            raise RuntimeError("got Future attached to a different loop")
        await super().enter()


@caught_by("C-22")
class WaitsForDeadLoop(ReferenceStorage):
    """Calls of other loops are handed to the first one that came, and wait for it when it is closed."""

    def __init__(self, store: Store | None = None) -> None:
        super().__init__(store)
        self._loops: list[asyncio.AbstractEventLoop] = []

    async def enter(self) -> None:
        loop = asyncio.get_running_loop()
        if loop not in self._loops:
            self._loops.append(loop)
        if any(known.is_closed() for known in self._loops):
            await anyio.sleep_forever()
        await super().enter()


@caught_by("C-22")
class NotThreadSafe(ReferenceStorage):
    """Correct among tasks, because it never gives way in between; threads do not ask."""

    async def append(self, conversation_id: str, batch: Sequence[CheckedMessage], key: str | None) -> None:
        before = self.messages_of(conversation_id)
        # Where another thread may run, the interpreter decides; here it always does.
        threading.Event().wait(0.001)
        await super().append(conversation_id, batch, key)
        with self.store.locked() as conversations:
            conversations[conversation_id].messages = [*before, *self.stored_messages(batch)]


@caught_by("C-23")
class LockKeptOnCancel(ReferenceStorage):
    """A global lock is not released by a call that is cancelled."""

    def __init__(self, store: Store | None = None) -> None:
        super().__init__(store)
        self._busy = False

    async def append(self, conversation_id: str, batch: Sequence[CheckedMessage], key: str | None) -> None:
        while self._busy:
            await self.pause()
        self._busy = True
        await self.pause()
        await super().append(conversation_id, batch, key)
        self._busy = False


@caught_by("C-23")
class ConnectionsLeakOnCancel(ReferenceStorage):
    """A pool of 4 connections gets none back from calls that are cancelled."""

    def __init__(self, store: Store | None = None) -> None:
        super().__init__(store)
        self._free = 4

    async def enter(self) -> None:
        if not self._free:
            raise StorageUnavailableError("no connection became free in time")
        self._free -= 1
        await super().enter()
        self._free += 1


@caught_by("C-23")
class CancelSpoilsCount(ReferenceStorage):
    """Messages and their count change in two steps, and a cancellation falls between them."""

    counts: ClassVar[dict[str, int]] = {}

    async def append(self, conversation_id: str, batch: Sequence[CheckedMessage], key: str | None) -> None:
        await super().append(conversation_id, batch, key)
        await self.pause()
        with self.store.locked() as conversations:
            known = conversations.get(conversation_id)
            if known is not None:
                self.counts[conversation_id] = self.counts.get(conversation_id, 0) + len(batch)

    def row(self, conversation_id: str, known: Conversation) -> Any:
        return {
            **super().row(conversation_id, known),
            "message_count": self.counts.get(conversation_id, 0),
        }


@caught_by("C-23")
class FlusherDiesWithItsCaller(ReferenceStorage):
    """The first of several waiting appends writes for all; cancelled, it leaves them waiting."""

    def __init__(self, store: Store | None = None) -> None:
        super().__init__(store)
        self._waiting: list[tuple[str, Sequence[CheckedMessage], str | None, anyio.Event]] = []
        self._flushing = False

    async def append(self, conversation_id: str, batch: Sequence[CheckedMessage], key: str | None) -> None:
        done = anyio.Event()
        self._waiting.append((conversation_id, batch, key, done))
        if self._flushing:
            await done.wait()
            return
        self._flushing = True
        try:
            while self._waiting:
                waiting, self._waiting = self._waiting, []
                await self.pause()
                for one, messages, its_key, event in waiting:
                    await super().append(one, messages, its_key)
                    event.set()
        finally:
            self._flushing = False


@caught_by("C-23")
class ReadersShareACancellation(ReferenceStorage):
    """Readers of one conversation share a query, and the fate of the one who asked first."""

    def __init__(self, store: Store | None = None) -> None:
        super().__init__(store)
        self._asked: dict[str, anyio.Event] = {}

    async def get_messages(self, conversation_id: str) -> list[dict[str, str]]:
        if conversation_id in self._asked:
            await self._asked[conversation_id].wait()
            return await super().get_messages(conversation_id)
        self._asked[conversation_id] = event = anyio.Event()
        messages = await super().get_messages(conversation_id)
        event.set()
        del self._asked[conversation_id]
        return messages


@caught_by("C-24")
class FailedStartRemembered(ReferenceStorage):
    """A first use that is cancelled leaves the object half open, for ever."""

    def __init__(self, store: Store | None = None) -> None:
        super().__init__(store)
        self._state = "new"

    async def enter(self) -> None:
        if self._state == "opening":
            raise StorageUnavailableError("the pool is being opened")
        if self._state == "new":
            self._state = "opening"
            await self.pause()
            await self.pause()
            self._state = "open"
        await super().enter()


@caught_by("C-24")
class FirstUseRace(ReferenceStorage):
    """Several first uses at once make the tables at once, and one fails."""

    making = 0

    def __init__(self, store: Store | None = None) -> None:
        super().__init__(store)
        self._ready = False

    async def enter(self) -> None:
        if not self._ready:
            type(self).making += 1
            try:
                await self.pause()
                if self.making > 1:
                    raise StorageUnavailableError("tuple concurrently updated")
            finally:
                type(self).making -= 1
            self._ready = True
        await super().enter()
