"""One client per event loop: opened once, closed in its loop, swept when that is gone, not for forks.

redis-py's connections belong to the loop they were made in. One storage object serves many (C-22),
so this keeps a client for each. Knows nothing of commands.
"""

import asyncio
import contextlib
import os
import threading
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar

from corail.storage.errors import StorageClosedError

_CLOSED: Final = "The storage is closed. Create a new one."


class Closable(Protocol):
    """What a client must offer to be kept here."""

    async def aclose(self, within: float) -> None:
        """Wait at most ``within`` seconds for calls under way, then close every connection."""
        ...

    def cut(self, *, for_good: bool) -> None:
        """Close the connections without the loop they belong to, which is closed, or may run again."""
        ...


ClientT = TypeVar("ClientT", bound=Closable)


class _Held(NamedTuple, Generic[ClientT]):
    client: ClientT
    # Suspended until the client is to be closed. The loop knows it: asyncio.run closes it at its end,
    # as does the garbage collector when a storage is dropped, both in the loop it belongs to.
    life: AsyncGenerator[None]


class LoopClients(Generic[ClientT]):
    """The clients of one storage, one per running event loop.

    Args:
        open_client: connects a client in the running loop.
        close_timeout: seconds to wait for calls under way when one is closed.

    """

    def __init__(self, open_client: Callable[[], Coroutine[Any, Any, ClientT]], close_timeout: float) -> None:
        self._open_client = open_client
        self._close_timeout = close_timeout
        self._lock = threading.Lock()
        self._tasks: dict[asyncio.AbstractEventLoop, asyncio.Task[_Held[ClientT]]] = {}
        self._closed = False
        _EVERY.add(self)

    async def get(self) -> ClientT:
        """Return the running loop's client; any number of callers wait for one opening.

        A failed opening is not remembered, a cancelled caller does not cancel it for the others.
        Raises ``StorageClosedError`` after ``aclose``.
        """
        task = self._tasks.get(asyncio.get_running_loop())
        if task is None or self._closed or (task.done() and not _succeeded(task)):
            task = self._open()
        try:
            return (task.result() if task.done() else await asyncio.shield(task)).client
        except asyncio.CancelledError:
            # aclose cancels an opening; that is not the cancellation of this caller.
            caller = asyncio.current_task()
            if self._closed and not (caller and caller.cancelling()):
                raise StorageClosedError(_CLOSED) from None
            raise

    async def aclose(self) -> None:
        """Close every client in its own loop, or cut its connections where the loop no longer runs."""
        with self._lock:
            self._closed = True
            tasks, self._tasks = self._tasks, {}
        here = asyncio.get_running_loop()
        waiting: list[Awaitable[None]] = []
        for loop, task in tasks.items():
            if loop is here:
                waiting.append(_close(task))
            elif loop.is_running():
                waiting.append(asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_close(task), loop)))
            else:
                _cut(task, for_good=loop.is_closed())
        # A foreign loop may stop while it is being waited for: bounded, and its failure is not ours.
        for future in waiting:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(future, self._close_timeout + 1)

    def after_fork(self) -> None:
        """Start anew in a forked child."""
        # Closing an inherited connection would disturb the parent's: kept referenced, never touched.
        _INHERITED.append(self._tasks)
        self._lock = threading.Lock()
        self._tasks = {}

    def _open(self) -> asyncio.Task[_Held[ClientT]]:
        loop = asyncio.get_running_loop()
        with self._lock:
            if self._closed:
                raise StorageClosedError(_CLOSED)
            for dead in [other for other in self._tasks if other.is_closed()]:
                _cut(self._tasks.pop(dead), for_good=True)
            task = self._tasks.get(loop)
            if task is None or (task.done() and not _succeeded(task)):
                opening = _hold(self._open_client, self._close_timeout)
                task = self._tasks[loop] = loop.create_task(opening)
                task.add_done_callback(_retrieve)
            return task


_EVERY: Final["weakref.WeakSet[LoopClients[Any]]"] = weakref.WeakSet()
_INHERITED: Final[list[object]] = []


def _renew_after_fork() -> None:
    for clients in list(_EVERY):
        clients.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_after_fork)


async def _hold(
    open_client: Callable[[], Coroutine[Any, Any, ClientT]], close_timeout: float
) -> _Held[ClientT]:
    client = await open_client()
    life = _life(client, close_timeout)
    # Its first step makes it known to the loop.
    await anext(life)
    return _Held(client, life)


async def _life(client: Closable, close_timeout: float) -> AsyncGenerator[None]:
    try:
        yield
    finally:
        await client.aclose(close_timeout)


async def _close(task: asyncio.Task[_Held[Any]]) -> None:
    if not task.done():
        task.cancel()
        await asyncio.wait([task])
    if _succeeded(task):
        await task.result().life.aclose()


def _cut(task: asyncio.Task[_Held[Any]], *, for_good: bool) -> None:
    # A loop that asyncio.run closed has closed the client already, and this finds nothing to cut.
    if _succeeded(task):
        task.result().client.cut(for_good=for_good)


def _succeeded(task: asyncio.Task[Any]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


def _retrieve(task: asyncio.Task[Any]) -> None:
    # Every waiter may have been cancelled: without this asyncio logs a failure nobody asked for.
    if not task.cancelled():
        task.exception()
