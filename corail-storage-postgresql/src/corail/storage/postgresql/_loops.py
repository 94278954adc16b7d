"""What belongs to one event loop each: found by loop, swept when it is gone, never shared with a fork."""

import asyncio
import contextlib
import os
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, Generic, TypeVar

T = TypeVar("T")


class PerLoop(Generic[T]):
    """One value per event loop.

    The lock guards changes only; looking up is a plain read of a dict. A weak dictionary would not
    do: the values refer to their loop, which keeps the key alive.

    Args:
        abandon: lets go of a value whose loop no longer runs; must not raise.

    """

    def __init__(self, abandon: Callable[[T], None]) -> None:
        self._abandon = abandon
        self._lock = threading.Lock()
        self._values: dict[asyncio.AbstractEventLoop, T] = {}
        _EVERY.add(self)

    def current(self) -> T | None:
        """Return the running loop's value, if it has one."""
        return self._values.get(asyncio.get_running_loop())

    def replace(self, make: Callable[[T | None], T]) -> T:
        """Set the running loop's value to ``make(its present value)``, under the lock, and return it."""
        loop = asyncio.get_running_loop()
        with self._lock:
            for dead in [other for other in self._values if other.is_closed()]:
                self._abandon(self._values.pop(dead))
            value = make(self._values.get(loop))
            self._values[loop] = value
            return value

    def remove(self) -> T | None:
        """Take the running loop's value out and return it."""
        with self._lock:
            return self._values.pop(asyncio.get_running_loop(), None)

    async def clear(self, close: Callable[[T, float], Coroutine[Any, Any, None]], within: float) -> None:
        """Take all values out and close each in its own loop, waiting at most ``within`` seconds.

        What belongs to a loop that does not run is abandoned.
        """
        with self._lock:
            values, self._values = self._values, {}
        here = asyncio.get_running_loop()
        waiting: list[Awaitable[None]] = []
        for loop, value in values.items():
            if loop is here:
                waiting.append(close(value, within))
            elif loop.is_running():
                waiting.append(
                    asyncio.wrap_future(asyncio.run_coroutine_threadsafe(close(value, within), loop))
                )
            else:
                self._abandon(value)
        for closing in waiting:
            # A foreign loop may stop while it is being waited for: bounded, and its failure is not ours.
            with contextlib.suppress(Exception):
                await asyncio.wait_for(closing, within + 1)

    def after_fork(self) -> None:
        """Start anew in a forked child.

        Closing what it inherited would break the parent's connections, and aborting a transport
        hung the parent through their shared epoll: kept referenced, never touched.
        """
        _INHERITED.append(self._values)
        self._lock = threading.Lock()
        self._values = {}


_EVERY: Final["weakref.WeakSet[PerLoop[Any]]"] = weakref.WeakSet()
_INHERITED: Final[list[object]] = []


def _renew_after_fork() -> None:
    for kept in list(_EVERY):
        kept.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_after_fork)
