"""One asyncpg pool per event loop: opened once, swept when its loop is gone, never shared with a fork.

An asyncpg pool belongs to the loop it was made in. One storage object serves many (C-22), so this
keeps a pool for each. Knows nothing of tables or statements.
"""

import asyncio
import contextlib
import os
import socket
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, Protocol

from corail.storage.errors import StorageClosedError
from corail.storage.postgresql._types import Pool

_DROP_WITHIN: Final = 60.0
_CLOSED: Final = "The storage is closed. Create a new one."


class Pools(Protocol):
    """Where a storage gets the pool of the running loop from."""

    async def get(self) -> Pool:
        """Return the running loop's pool, opening it first if need be."""
        ...

    def forget(self) -> None:
        """Close the running loop's idle connections; the next ones are made anew."""
        ...

    def drop(self) -> None:
        """Open the running loop's pool anew on the next ``get``, tables and all."""
        ...

    async def aclose(self, within: float) -> None:
        """Close every pool, waiting at most ``within`` seconds for connections in use."""
        ...


class LoopPools:
    """Pools that this storage opens and owns, one per running event loop.

    Args:
        open_pool: makes a pool in the running loop, ready for use.

    """

    def __init__(self, open_pool: Callable[[], Coroutine[Any, Any, Pool]]) -> None:
        self._open_pool = open_pool
        self._lock = threading.Lock()
        self._tasks: dict[asyncio.AbstractEventLoop, asyncio.Task[Pool]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False
        _EVERY.add(self)

    async def get(self) -> Pool:
        """Return the running loop's pool; any number of callers wait for one opening.

        A failed opening is not remembered, a cancelled caller does not cancel it for the others.
        Raises ``StorageClosedError`` after ``aclose``.
        """
        task = self._tasks.get(asyncio.get_running_loop())
        if task is None or self._closed or (task.done() and not _succeeded(task)):
            task = self._open()
        return task.result() if task.done() else await asyncio.shield(task)

    def forget(self) -> None:
        """Close idle connections of the running loop, and the others as they come back."""
        task = self._tasks.get(asyncio.get_running_loop())
        if task is not None and _succeeded(task):
            # Awaitable only by habit: it counts a generation up and does no I/O.
            _run_at_once(task.result().expire_connections())

    def drop(self) -> None:
        """Let go of the running loop's pool: calls under way finish on it, later ones open another."""
        loop = asyncio.get_running_loop()
        with self._lock:
            task = self._tasks.pop(loop, None)
        if task is not None and _succeeded(task):
            closing = loop.create_task(_close(task, _DROP_WITHIN))
            # The loop keeps only weak references to its tasks.
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    async def aclose(self, within: float) -> None:
        """Close every pool in its own loop, or cut its connections where the loop no longer runs."""
        with self._lock:
            self._closed = True
            tasks, self._tasks = self._tasks, {}
        here = asyncio.get_running_loop()
        waiting: list[Awaitable[None]] = []
        for loop, task in tasks.items():
            if loop is here:
                waiting.append(_close(task, within))
            elif loop.is_running():
                waiting.append(
                    asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_close(task, within), loop))
                )
            else:
                _cut(task)
        # A foreign loop may stop while it is being waited for: bounded, and its failure is not ours.
        for future in waiting:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(future, within + 1)

    def _open(self) -> asyncio.Task[Pool]:
        loop = asyncio.get_running_loop()
        with self._lock:
            if self._closed:
                raise StorageClosedError(_CLOSED)
            for dead in [other for other in self._tasks if other.is_closed()]:
                _cut(self._tasks.pop(dead))
            task = self._tasks.get(loop)
            if task is None or (task.done() and not _succeeded(task)):
                task = self._tasks[loop] = loop.create_task(self._open_pool())
                task.add_done_callback(_retrieve)
            return task

    def after_fork(self) -> None:
        """Start anew in a forked child."""
        # Closing an inherited connection would break the parent's: kept referenced, never touched.
        _INHERITED.append(self._tasks)
        self._lock = threading.Lock()
        self._tasks = {}


class GivenPool:
    """A pool the caller made, used in its own loop and never closed here.

    Args:
        pool: the caller's pool.
        prepare: makes sure of the tables, once, before the first use.

    """

    def __init__(self, pool: Pool, prepare: Callable[[Pool], Coroutine[Any, Any, None]]) -> None:
        self._pool = pool
        self._prepare = prepare
        self._prepared: asyncio.Task[None] | None = None
        self._closed = False

    async def get(self) -> Pool:
        """Return the caller's pool."""
        if self._closed:
            raise StorageClosedError(_CLOSED)
        if self._prepared is None or (self._prepared.done() and not _succeeded(self._prepared)):
            self._prepared = asyncio.get_running_loop().create_task(self._prepare(self._pool))
            self._prepared.add_done_callback(_retrieve)
        if not self._prepared.done():
            await asyncio.shield(self._prepared)
        return self._pool

    def forget(self) -> None:
        """Leave the caller's connections alone."""

    def drop(self) -> None:
        """Look at the tables again on the next ``get``."""
        self._prepared = None

    async def aclose(self, within: float) -> None:  # noqa: ARG002 - the protocol's signature
        """Refuse further use; the pool stays the caller's."""
        self._closed = True


_EVERY: Final["weakref.WeakSet[LoopPools]"] = weakref.WeakSet()
_INHERITED: Final[list[object]] = []


def _renew_after_fork() -> None:
    for pools in list(_EVERY):
        pools.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_after_fork)


def _succeeded(task: asyncio.Task[Any]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


def _retrieve(task: asyncio.Task[Any]) -> None:
    # Every waiter may have been cancelled: without this asyncio logs a failure nobody asked for.
    if not task.cancelled():
        task.exception()


def _run_at_once(step: Coroutine[Any, Any, None]) -> None:
    try:
        step.send(None)
    except StopIteration:
        return
    step.close()


async def _close(task: asyncio.Task[Pool], within: float) -> None:
    if not task.done():
        task.cancel()
        await asyncio.wait([task])
    if not _succeeded(task):
        return
    pool = task.result()
    try:
        # close() alone waits without limit for connections that are checked out.
        await asyncio.wait_for(pool.close(), within)
    except Exception:  # noqa: BLE001 - whatever it was, nothing may stay open
        pool.terminate()


def _cut(task: asyncio.Task[Pool]) -> None:
    """Close the sockets of a pool whose loop no longer runs.

    The pool's own ``terminate`` needs its loop: it raised after the first connection and left 32 of
    40 open. The attributes are private to asyncpg, so each step may fail; then the garbage collector
    closes the rest.
    """
    if not _succeeded(task):
        return
    holders: Any = getattr(task.result(), "_holders", ())
    for holder in holders:
        with contextlib.suppress(Exception):
            raw: socket.socket = holder._con._transport.get_extra_info("socket")  # noqa: SLF001
            raw.shutdown(socket.SHUT_RDWR)
