"""A bound on what callers may have waiting at once; the others wait for room, in order of arrival."""

import asyncio
from collections import deque
from time import monotonic

from corail.storage.errors import StorageTimeoutError


class Admission:
    """Counts what is held, and lets the next one in when something is released.

    Args:
        most: how many may be held.
        most_bytes: how many bytes they may have together; one alone may have more, or it would
            never pass.

    """

    def __init__(self, most: int, most_bytes: int) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._held = 0
        self._bytes = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def enter(self, size: int, deadline: float) -> None:
        """Wait for room for ``size`` bytes, until ``deadline`` on the monotonic clock.

        Raises ``StorageTimeoutError`` when there was none in time.
        """
        if self._waiting or self._is_full(size):
            await self._wait(size, deadline)
        self._held += 1
        self._bytes += size
        self._wake_next()

    def leave(self, size: int) -> None:
        """Release what ``enter`` admitted."""
        self._held -= 1
        self._bytes -= size
        self._wake_next()

    async def _wait(self, size: int, deadline: float) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        while True:
            try:
                async with asyncio.timeout(max(0.0, deadline - monotonic())):
                    await waiter
            except BaseException as error:
                if waiter in self._waiting:
                    self._waiting.remove(waiter)
                else:
                    # Its turn came in the same moment: pass it on.
                    self._wake_next()
                if isinstance(error, TimeoutError):
                    raise StorageTimeoutError(
                        "Too many appends wait for the database; this one was not stored. Is it overloaded?"
                    ) from None
                raise
            if not self._is_full(size):
                return
            # Still the first: behind the others, small ones would pass a large one for ever.
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.appendleft(waiter)

    def _is_full(self, size: int) -> bool:
        return self._held > 0 and (self._held >= self._most or self._bytes + size > self._most_bytes)

    def _wake_next(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
