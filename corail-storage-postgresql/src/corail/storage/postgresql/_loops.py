"""What belongs to one event loop each: found by loop, swept when it is gone, never shared with a fork."""

import asyncio
import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import Any, Final, Generic, TypeVar

T = TypeVar("T")

_LOOK_SECONDS: Final = 0.1


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
        closings = [_Closing(loop, close(value, within)) for loop, value in values.items()]
        deadline = monotonic() + within + 1
        try:
            # Not gather or wait_for: a loop that ends meanwhile cancels its closing, which is not us, or
            # never comes to it, which nobody tells.
            while (
                waiting := [each.future for each in closings if each.under_way]
            ) and monotonic() < deadline:
                await asyncio.wait(waiting, timeout=_LOOK_SECONDS)
        finally:
            for closing in closings:
                if not closing.stop():
                    self._abandon(values[closing.loop])

    def after_fork(self) -> None:
        """Start anew in a forked child.

        Closing what it inherited would break the parent's connections, and aborting a transport
        hung the parent through their shared epoll: kept referenced, never touched.
        """
        _INHERITED.append(self._values)
        self._lock = threading.Lock()
        self._values = {}


class _Closing:
    """A closing in the loop that its value belongs to, seen from the loop of ``clear``."""

    def __init__(self, loop: asyncio.AbstractEventLoop, closing: Coroutine[Any, Any, None]) -> None:
        self.loop = loop
        self._closing = closing
        self._steps = _quietly(closing)
        self.future: asyncio.Future[None]
        if loop is asyncio.get_running_loop():
            self.future = loop.create_task(self._steps)
            return
        with contextlib.suppress(RuntimeError):
            if loop.is_running():
                self.future = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._steps, loop))
                return
        self.future = asyncio.get_running_loop().create_future()
        self.future.cancel()

    @property
    def under_way(self) -> bool:
        """Whether it can still end."""
        return not self.future.done() and not self.loop.is_closed()

    def stop(self) -> bool:
        """Stop it if it is not done; return False if its loop left it undone."""
        if self.under_way:
            # It closes hastily then, in its loop.
            self.future.cancel()
            return True
        if self.future.done() and not self.future.cancelled():
            self.future.exception()
            return True
        for steps in (self._steps, self._closing):
            with contextlib.suppress(Exception):
                steps.close()
        return False


async def _quietly(closing: Coroutine[Any, Any, None]) -> None:
    # Its loop may end before it does. ``clear`` sees to that, so asyncio need not complain.
    task: Any = asyncio.current_task()
    task._log_destroy_pending = False  # noqa: SLF001
    await closing


_EVERY: Final["weakref.WeakSet[PerLoop[Any]]"] = weakref.WeakSet()
_INHERITED: Final[list[object]] = []


def _renew_after_fork() -> None:
    for kept in list(_EVERY):
        kept.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_after_fork)
