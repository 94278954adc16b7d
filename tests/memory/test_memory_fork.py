"""A child process made with ``os.fork`` can use the store, whatever other threads did at that moment."""

import asyncio
import os
import signal
import threading
import traceback
import warnings
from collections.abc import Awaitable, Callable

import pytest

from corail.storage.memory import MemoryStorage

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")

GIVE_UP = 60  # seconds after which a child that hangs is killed


@pytest.mark.parametrize("name", ["", "shared across a fork"])
def test_a_lock_held_by_another_thread_does_not_reach_the_child(name: str) -> None:
    storage = MemoryStorage(store=name)
    asyncio.run(storage.append_message("c", "user", "before"))
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        store = storage._store  # pyright: ignore[reportPrivateUsage]
        assert store is not None
        with store._lock:  # pyright: ignore[reportPrivateUsage]
            held.set()
            release.wait()

    async def in_child() -> None:
        await storage.append_message("c", "user", "in the child")
        assert len(await storage.get_messages("c")) == 2
        await MemoryStorage(store=name).list_conversations()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    try:
        status = _in_child(in_child)
    finally:
        release.set()
        thread.join()
    assert status == 0
    # The two processes went their own ways.
    assert asyncio.run(storage.get_messages("c")) == [{"role": "user", "content": "before"}]


def test_a_fork_amid_writers_gives_a_child_a_whole_store() -> None:
    storage = MemoryStorage(max_conversations=8)
    stop = threading.Event()

    async def write(writer: int) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            await storage.append_messages(
                str(number % 16),
                [{"role": "a", "content": "é" * writer}, {"role": "b", "content": "x"}],
                idempotency_key=f"{writer}/{number}",
            )

    async def in_child() -> None:
        for row in await storage.list_conversations():
            assert len(await storage.get_messages(row["id"])) == row["message_count"]
        for number in range(20):
            await storage.append_message(f"new {number}", "user", "x")
        assert len(await storage.list_conversations()) == 8

    threads = [threading.Thread(target=asyncio.run, args=(write(n),)) for n in range(4)]
    for thread in threads:
        thread.start()
    try:
        statuses = [_in_child(in_child) for _ in range(10)]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert statuses == [0] * 10


def _in_child(work: Callable[[], Awaitable[None]]) -> int:
    """Run the work in a forked child; return its exit status, or minus the signal that ended it."""
    with warnings.catch_warnings():
        # Python 3.12 and newer warn of a fork beside threads, which is the point here.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 1
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(GIVE_UP)
        coroutine = work()
        # Without a loop: no method suspends, and one of the parent would be in the way.
        try:
            coroutine.__await__().__next__()
        except StopIteration:
            status = 0
    except BaseException:  # noqa: BLE001 - nothing may return into the parent's test run
        traceback.print_exc()
    finally:
        os._exit(status)
