"""One object serves any number of threads, loops and tasks, and survives a cancelled call."""

import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import anyio
import anyio.lowlevel
import pytest

from corail.storage.memory import MemoryStorage

WRITERS = 8
APPENDS = 150
BACKENDS = ("asyncio", "trio")

Result = TypeVar("Result")


@pytest.fixture(autouse=True)
def _threads_take_turns_quickly() -> Iterator[None]:  # pyright: ignore[reportUnusedFunction] - pytest uses it
    # At the usual 5 ms a thread is hardly ever stopped within a call, and these tests prove nothing.
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


def test_threads_and_loops_share_one_order_without_gaps() -> None:
    storage = MemoryStorage()
    start = threading.Barrier(WRITERS + 2)
    done = threading.Event()

    async def write(writer: int) -> None:
        start.wait()
        for number in range(APPENDS):
            if number % 3:
                await storage.append_message("c", f"writer {writer}", str(number))
            else:
                batch = [{"role": f"writer {writer}", "content": f"{number}/{part}"} for part in range(3)]
                await storage.append_messages("c", batch, idempotency_key=f"{writer}/{number}")

    async def follow() -> list[str]:
        """Read over and over; every read must be a prefix of the next."""
        start.wait()
        earlier: list[dict[str, str]] = []
        followed: list[str] = []
        last = None
        while True:
            ended = done.is_set()
            messages = await storage.get_messages("c")
            assert messages[: len(earlier)] == earlier
            earlier = messages
            page = await storage.page_messages("c", limit=1000, after=last)
            followed += [f"{item['role']}: {item['content']}" for item in page["items"]]
            last = page["items"][-1].get("id") if page["items"] else last
            if ended and not page["items"]:
                return followed

    with ThreadPoolExecutor(WRITERS + 2) as threads:
        readers = [threads.submit(_run, BACKENDS[n], follow) for n in range(2)]
        writers = [threads.submit(_run, BACKENDS[n % 2], write, n) for n in range(WRITERS)]
        try:
            for writer in writers:
                writer.result(timeout=120)
        finally:
            done.set()
        followed = [reader.result(timeout=120) for reader in readers]

    messages = _run("asyncio", storage.get_messages, "c")
    assert followed == [[f"{message['role']}: {message['content']}" for message in messages]] * 2
    own = [
        content
        for number in range(APPENDS)
        for content in ([str(number)] if number % 3 else [f"{number}/{part}" for part in range(3)])
    ]
    for name in (f"writer {n}" for n in range(WRITERS)):
        assert [m["content"] for m in messages if m["role"] == name] == own
    for place, message in enumerate(messages):
        if message["content"].endswith("/0"):
            assert {m["role"] for m in messages[place : place + 3]} == {message["role"]}


def test_one_key_from_many_threads_stores_once() -> None:
    storage = MemoryStorage()
    start = threading.Barrier(WRITERS)
    batch = [{"role": "user", "content": "once"}, {"role": "assistant", "content": "twice"}]

    async def write() -> None:
        start.wait()
        for number in range(50):
            await storage.append_messages("c", batch, idempotency_key=str(number))

    with ThreadPoolExecutor(WRITERS) as threads:
        for writer in [threads.submit(_run, BACKENDS[n % 2], write) for n in range(WRITERS)]:
            writer.result(timeout=120)
    assert _run("trio", storage.get_messages, "c") == batch * 50


def test_a_bounded_store_stays_within_its_bound_under_threads() -> None:
    storage = MemoryStorage(max_conversations=5)
    start = threading.Barrier(WRITERS)

    async def churn(writer: int) -> None:
        start.wait()
        for number in range(100):
            known = str((number * 7 + writer) % 20)
            await storage.append_message(known, "user", "x")
            assert len(await storage.list_conversations()) <= 5
            await storage.page_conversations(limit=2)
            if number % 9 == 0:
                await storage.delete_conversation(known)

    with ThreadPoolExecutor(WRITERS) as threads:
        for writer in [threads.submit(_run, BACKENDS[n % 2], churn, n) for n in range(WRITERS)]:
            writer.result(timeout=120)
    assert len(_run("asyncio", storage.list_conversations)) <= 5


def test_sixteen_threads_make_one_store() -> None:
    start = threading.Barrier(16)

    def make() -> list[MemoryStorage]:
        start.wait()
        return [MemoryStorage(store=f"raced for {number}") for number in range(200)]

    with ThreadPoolExecutor(16) as threads:
        made = [future.result(timeout=120) for future in [threads.submit(make) for _ in range(16)]]
    for number, storages in enumerate(zip(*made, strict=True)):
        for storage in storages:
            _run("asyncio", storage.append_message, "c", "user", "x")
        assert len(_run("asyncio", storages[0].get_messages, "c")) == 16, number


@pytest.mark.parametrize("backend", BACKENDS)
def test_cancelled_calls_leave_the_object_working(backend: str) -> None:
    storage = MemoryStorage()

    async def main() -> None:
        async def append(number: int) -> None:
            await anyio.lowlevel.checkpoint()
            await storage.append_message("c", "user", str(number))

        async with anyio.create_task_group() as tasks:
            for number in range(100):
                tasks.start_soon(append, number)
                if number == 50:
                    await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await storage.append_message("c", "user", "in a cancelled scope")
        before = await storage.get_messages("c")
        await storage.append_message("c", "user", "after")
        assert await storage.get_messages("c") == [*before, {"role": "user", "content": "after"}]

    anyio.run(main, backend=backend)


def _run(backend: str, function: Callable[..., Awaitable[Result]], *args: object) -> Result:
    return anyio.run(function, *args, backend=backend)
