"""One asyncpg pool per event loop, opened once however many callers wait for it.

An asyncpg pool belongs to the loop it was made in; one storage object serves many (C-22). Knows
nothing of tables or statements.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol

from corail.storage.errors import StorageClosedError, StorageConfigurationError
from corail.storage.postgresql._leases import Leases
from corail.storage.postgresql._loops import PerLoop
from corail.storage.postgresql._types import Pool

CLOSED: Final = "The storage is closed. Create a new one."
_DROP_WITHIN: Final = 60.0


class Pools(Protocol):
    """Where a storage gets the pool of the running loop from."""

    async def get(self, within: float) -> Leases:
        """Return the running loop's pool, waiting at most so many seconds for its opening."""
        ...

    def current(self) -> Leases | None:
        """Return the running loop's pool if it is open; never opens one."""
        ...

    def forget(self) -> None:
        """Close the running loop's idle connections; the next ones are made anew."""
        ...

    def drop(self, leases: Leases) -> None:
        """Open the running loop's pool anew on the next ``get``, tables and all, if it still is this one."""
        ...

    async def aclose(self, within: float) -> None:
        """Close every pool, waiting at most ``within`` seconds for connections in use."""
        ...


class LoopPools:
    """Pools that this storage opens and owns, one per running event loop.

    Args:
        open_pool: makes a pool in the running loop, ready for use.

    """

    def __init__(self, open_pool: Callable[[], Coroutine[Any, Any, Leases]]) -> None:
        self._open_pool = open_pool
        self._openings: PerLoop[asyncio.Task[Leases]] = PerLoop(_cut)
        self._closings: set[asyncio.Task[None]] = set()
        self._closed = False

    async def get(self, within: float) -> Leases:
        """Return the running loop's pool.

        A failed opening is not remembered, and a cancelled caller does not cancel it for the
        others. Raises ``StorageClosedError`` after ``aclose``, ``TimeoutError`` when time is up.
        """
        opening = self._openings.current()
        if opening is None or self._closed or _failed(opening):
            opening = self._openings.replace(self._open)
        if not opening.done():
            await asyncio.wait([opening], timeout=within)
        if not opening.done():
            raise TimeoutError
        if opening.cancelled():
            # By ``aclose``: nobody else cancels an opening.
            raise StorageClosedError(CLOSED)
        return opening.result()

    def current(self) -> Leases | None:
        """Return the running loop's pool if it is open."""
        opening = self._openings.current()
        return opening.result() if opening is not None and _succeeded(opening) else None

    def forget(self) -> None:
        """Close idle connections of the running loop, and the others as they come back."""
        leases = self.current()
        if leases is not None:
            leases.expire()

    def drop(self, leases: Leases) -> None:
        """Let go of the running loop's pool: calls under way finish on it, later ones open another."""
        opening = self._openings.current()
        # Of several calls that failed on one pool the first has let go of it; the next one is not theirs.
        if opening is None or not _succeeded(opening) or opening.result() is not leases:
            return
        self._openings.remove()
        closing = asyncio.get_running_loop().create_task(leases.aclose(_DROP_WITHIN))
        # The loop keeps only weak references to its tasks.
        self._closings.add(closing)
        closing.add_done_callback(self._closings.discard)

    async def aclose(self, within: float) -> None:
        """Close every pool in its own loop, or cut its connections where the loop no longer runs."""
        self._closed = True
        await self._openings.clear(_close, within)
        # Those let go of earlier have had as long.
        here = asyncio.get_running_loop()
        for closing in list(self._closings):
            if closing.get_loop() is here:
                closing.cancel()
                await asyncio.wait([closing])
            else:
                with contextlib.suppress(RuntimeError):
                    closing.get_loop().call_soon_threadsafe(closing.cancel)

    def _open(self, present: asyncio.Task[Leases] | None) -> asyncio.Task[Leases]:
        if self._closed:
            raise StorageClosedError(CLOSED)
        if present is not None and not _failed(present):
            return present
        opening = asyncio.get_running_loop().create_task(self._open_pool())
        opening.add_done_callback(_retrieve)
        return opening


class GivenPool:
    """A pool the caller made, used in its own loop and never closed here.

    Args:
        pool: the caller's pool.
        prepare: makes sure of the tables, once, before the first use.

    """

    def __init__(self, pool: Pool, prepare: Callable[[Leases], Coroutine[Any, Any, None]]) -> None:
        self._leases = Leases(pool, keep=False)
        self._prepare = prepare
        self._preparing: asyncio.Task[None] | None = None
        self._closed = False

    async def get(self, within: float) -> Leases:
        """Return the caller's pool."""
        if self._closed:
            raise StorageClosedError(CLOSED)
        pool = self._leases.pool
        if pool.is_closing():
            raise StorageClosedError("The given pool is closed. Give a new storage one that is open.")
        # Private, but without it asyncpg says "another operation is in progress".
        home = getattr(pool, "_loop", None)
        if home is not None and home is not asyncio.get_running_loop():
            raise StorageConfigurationError(
                "The given pool belongs to another event loop. Make one in this loop, or give the storage "
                "a dsn: then it keeps a pool for every loop."
            )
        if not getattr(pool, "_initialized", True):
            raise StorageConfigurationError(
                "The given pool is not open yet: pool = await asyncpg.create_pool(...)."
            )
        if self._preparing is None or _failed(self._preparing):
            self._preparing = asyncio.get_running_loop().create_task(self._prepare(self._leases))
            self._preparing.add_done_callback(_retrieve)
        preparing = self._preparing
        if not preparing.done():
            await asyncio.wait([preparing], timeout=within)
        if not preparing.done():
            raise TimeoutError
        preparing.result()
        return self._leases

    def current(self) -> Leases | None:
        """Return the caller's pool, if it was ever ready."""
        return self._leases if self._preparing is not None and _succeeded(self._preparing) else None

    def forget(self) -> None:
        """Leave the caller's connections alone."""

    def drop(self, leases: Leases) -> None:  # noqa: ARG002 - there is only this one
        """Look at the tables again on the next ``get``."""
        if self._preparing is not None and self._preparing.done():
            self._preparing = None

    async def aclose(self, within: float) -> None:  # noqa: ARG002 - the protocol's signature
        """Refuse further use; the pool stays the caller's."""
        self._closed = True


def _succeeded(task: asyncio.Task[Any]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


def _failed(task: asyncio.Task[Any]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


def _retrieve(task: asyncio.Task[Any]) -> None:
    # Every waiter may have been cancelled: without this asyncio logs a failure nobody asked for.
    if not task.cancelled():
        task.exception()


async def _close(opening: asyncio.Task[Leases], within: float) -> None:
    if not opening.done():
        opening.cancel()
        await asyncio.wait([opening])
    if not _succeeded(opening):
        return
    await opening.result().aclose(within)


def _cut(opening: asyncio.Task[Leases]) -> None:
    if _succeeded(opening):
        opening.result().cut()
