"""Look-ups that wait together travel in one query; a lone one is asked at once, in its caller's task.

The reading counterpart of ``_group``: while a few queries are under way, further look-ups of the
same event loop wait and are asked together. Knows no SQL.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Generic, TypeVar

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
        one: looks one key up.
        many: looks several up; keys it leaves out are asked alone, being too large to share a query.

    """

    def __init__(
        self,
        one: Callable[[str], Awaitable[R]],
        many: Callable[[Sequence[str]], Awaitable[Mapping[str, R]]],
    ) -> None:
        self._one = one
        self._many = many
        self.flights = 0
        self._waiting: dict[str, list[asyncio.Future[R | None]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def get(self, key: str) -> R:
        """Look a key up, alone or with others; the result may be shared and must not be changed.

        A cancelled caller harms nobody it shares a query with.
        """
        if self.flights < FLIGHTS:
            with _Flight(self):
                return await self._one(key)
        waiter: asyncio.Future[R | None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, []).append(waiter)
        found = await waiter
        return await self._one(key) if found is None else found

    def landed(self) -> None:
        """Ask what has come in, now that a query is back."""
        if not self._waiting or self.flights >= FLIGHTS:
            return
        batch = {key: self._waiting.pop(key) for key in list(self._waiting)[:MOST]}
        task = asyncio.get_running_loop().create_task(self._ask(batch))
        # The loop keeps only weak references to its tasks.
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask(self, batch: Mapping[str, Sequence["asyncio.Future[R | None]"]]) -> None:
        answers: Mapping[str, R] = {}
        wanted = [key for key, waiters in batch.items() if not all(waiter.done() for waiter in waiters)]
        try:
            with _Flight(self):
                if wanted:
                    answers = await self._many(wanted)
        except Exception:  # noqa: BLE001 - every caller then asks alone and gets an error of its own
            answers = {}
        finally:
            for key, waiters in batch.items():
                for waiter in waiters:
                    if not waiter.done():
                        waiter.set_result(answers.get(key))


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
