"""Calls side by side: in tasks, in threads with their own event loops, and cancelled on the way.

Knows nothing of storages. Order comes from events and barriers, never from sleeping.
"""

import threading
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, TypeVar

import anyio
import anyio.lowlevel
from anyio.from_thread import BlockingPortal

from corail.storage.errors import StorageError

T = TypeVar("T")
Call = Callable[[], Awaitable[T]]


class Cancelled(NamedTuple):
    """How a call went that was to be cancelled."""

    finished: bool
    """It returned all the same, so what it promised holds."""
    reached: bool
    """It lasted long enough to be cancelled at the chosen moment."""


async def together(*calls: Call[T]) -> list[T]:
    """Run the calls in tasks that start at the same event; return their results in order."""
    start = anyio.Event()
    results: dict[int, T] = {}

    async def run(index: int, call: Call[T]) -> None:
        await start.wait()
        results[index] = await call()

    async with anyio.create_task_group() as tasks:
        for index, call in enumerate(calls):
            tasks.start_soon(run, index, call)
        start.set()
    return [results[index] for index in range(len(calls))]


async def outcome(call: Call[T]) -> T | StorageError:
    """Return what the call returns, or the ``StorageError`` it raises."""
    try:
        return await call()
    except StorageError as error:
        return error


async def error_of(call: Call[object]) -> Exception | None:
    """Return the exception the call raises, or None."""
    try:
        await call()
    except Exception as error:  # noqa: BLE001 - which one it may be is what the caller asserts
        return error
    return None


async def in_threads(backend: str, patience: float, calls: Sequence[Call[T]]) -> list[T]:
    """Run each call in a thread and an event loop of its own, all of them started together."""
    barrier = threading.Barrier(len(calls))

    async def bounded(call: Call[T]) -> T:
        with anyio.fail_after(patience):
            return await call()

    def run(call: Call[T]) -> T:
        barrier.wait(patience)
        return anyio.run(bounded, call, backend=backend)

    return await together(*(partial(_in_thread, partial(run, call)) for call in calls))


async def _in_thread(work: Callable[[], T]) -> T:
    # Not one of anyio's threads: those are waited for at exit, and one that is stuck for good must not
    # take the test run with it.
    done = anyio.Event()
    results: list[T] = []
    errors: list[BaseException] = []
    async with BlockingPortal() as portal:

        def run() -> None:
            try:
                results.append(work())
            except BaseException as error:  # noqa: BLE001 - raised again where the test waits
                errors.append(error)
            # Nobody waits any more where the test has given up.
            with suppress(RuntimeError):
                portal.start_task_soon(done.set)

        threading.Thread(target=run, daemon=True).start()
        await done.wait()
    if errors:
        raise errors[0]
    return results[0]


async def cancelled_at(call: Call[object], moment: int) -> Cancelled:
    """Cancel the call where it awaits for the ``moment``-th time, counted from 0."""
    finished = False
    with anyio.CancelScope() as scope:
        await _Interrupted(call(), moment, scope)
        finished = True
    return Cancelled(finished, scope.cancel_called)


async def cancelled_after(call: Call[object], turns: int) -> Cancelled:
    """Cancel the call after so many turns of the event loop."""
    finished = False
    reached = False

    async def run() -> None:
        nonlocal finished
        await call()
        finished = True

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        for _ in range(turns):
            await anyio.lowlevel.checkpoint()
        reached = not finished
        tasks.cancel_scope.cancel()
    return Cancelled(finished, reached)


async def turns_of(call: Call[object]) -> int:
    """Return how many turns of the event loop the call lasts."""
    turns = 0
    finished = False

    async def run() -> None:
        nonlocal finished
        await call()
        finished = True

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        while not finished:
            await anyio.lowlevel.checkpoint()
            turns += 1
    return turns


def spread(last: int, count: int) -> list[int]:
    """Return up to ``count`` numbers from 0 to ``last``, evenly apart, both ends included."""
    if last < count:
        return list(range(last + 1))
    return sorted({round(index * last / (count - 1)) for index in range(count)})


class _Interrupted:
    """Await a call step by step, as the event loop sees it, and cancel the scope at one of them."""

    def __init__(self, call: Awaitable[object], moment: int, scope: anyio.CancelScope) -> None:
        self._call = call
        self._moment = moment
        self._scope = scope

    def __await__(self) -> Generator[Any, Any, object]:
        steps = self._call.__await__()
        count = 0
        try:
            wanted = next(steps)
            while True:
                if count == self._moment:
                    self._scope.cancel()
                count += 1
                try:
                    value = yield wanted
                except BaseException as error:  # noqa: BLE001 - the call itself decides what to do with it
                    wanted = steps.throw(error)
                else:
                    wanted = steps.send(value)
        except StopIteration as stop:
            return stop.value
