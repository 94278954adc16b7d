"""Look-ups that wait together travel in one query; a lone one is asked at once, in its caller's task.

The reading counterpart of ``_group``: while a few queries are under way, further look-ups of the
same event loop wait and are asked together. Knows no SQL.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from time import monotonic
from typing import Final, Generic, TypeVar

from corail.storage.errors import StorageError

R = TypeVar("R")

FLIGHTS: Final = 3
"""Queries under way before further look-ups wait to be asked together."""
MOST: Final = 64
"""Look-ups in one query."""
_PATIENCE: Final = 0.05
"""Seconds after which a query no longer counts as under way: a large read does not hold up small ones."""


class Coalescer(Generic[R]):
    """Look-ups by key for one event loop.

    Args:
        one: looks one key up within so many seconds.
        many: looks several up; keys it leaves out are asked alone, being too large to share a query.
        deadline: seconds for one look-up, however it travels.

    """

    def __init__(
        self,
        one: Callable[[str, float], Awaitable[R]],
        many: Callable[[Sequence[str]], Awaitable[Mapping[str, R]]],
        *,
        deadline: float,
    ) -> None:
        self._one = one
        self._many = many
        self._deadline = deadline
        self.flights = 0
        self._waiting: dict[str, list[asyncio.Future[R | _Failed | None]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def get(self, key: str) -> R:
        """Look a key up, alone or with others; the result may be shared and must not be changed.

        A cancelled caller harms nobody it shares a query with.
        """
        if self.flights < FLIGHTS:
            with _Flight(self):
                return await self._one(key, self._deadline)
        end = monotonic() + self._deadline
        waiter: asyncio.Future[R | _Failed | None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, []).append(waiter)
        found = await waiter
        if found is None:
            return await self._one(key, self._deadline)
        if not isinstance(found, _Failed):
            return found
        # Only in what is left: a shared query that tried until its deadline has used up everybody's.
        left = end - monotonic()
        if left <= 0 and isinstance(found.error, StorageError):
            raise _own(found.error)
        return await self._one(key, left)

    def landed(self) -> None:
        """Ask what has come in, now that a query is back."""
        if not self._waiting or self.flights >= FLIGHTS:
            return
        batch = {key: self._waiting.pop(key) for key in list(self._waiting)[:MOST]}
        task = asyncio.get_running_loop().create_task(self._ask(batch))
        # The loop keeps only weak references to its tasks.
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask(self, batch: Mapping[str, Sequence["asyncio.Future[R | _Failed | None]"]]) -> None:
        answers: Mapping[str, R] = {}
        failed: _Failed | None = None
        wanted = [key for key, waiters in batch.items() if not all(waiter.done() for waiter in waiters)]
        try:
            with _Flight(self):
                if wanted:
                    answers = await self._many(wanted)
        except Exception as error:  # noqa: BLE001 - every caller gets an error of its own
            failed = _Failed(error)
        finally:
            for key, waiters in batch.items():
                for waiter in waiters:
                    if not waiter.done():
                        waiter.set_result(failed or answers.get(key))


class _Failed:
    """The failure of a shared query."""

    __slots__ = ("error",)

    def __init__(self, error: Exception) -> None:
        self.error = error


class _Flight:
    """A query under way; lands when it ends or has taken long, whichever is first."""

    __slots__ = ("_coalescer", "_timer")

    def __init__(self, coalescer: "Coalescer[R]") -> None:
        self._coalescer = coalescer
        coalescer.flights += 1
        loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = loop.call_later(_PATIENCE, self._land)

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._land()

    def _land(self) -> None:
        self._timer = None
        self._coalescer.flights -= 1
        self._coalescer.landed()


def _own(error: StorageError) -> StorageError:
    # Shared, each raising would lengthen everybody's traceback.
    own = type(error)(*error.args)
    own.__cause__ = error.__cause__
    return own
