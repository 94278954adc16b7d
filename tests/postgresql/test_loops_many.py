"""One storage object in many event loops: one pool each, opened once, gone with its loop."""

import asyncio
import gc
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable

import pytest

from corail.storage.errors import StorageUnavailableError
from corail.storage.postgresql import PostgreSQLStorage
from tests.postgresql.addresses import closed_port, with_host
from tests.postgresql.fault_proxy import FaultProxy
from tests.postgresql.loops import in_new_loop, in_thread
from tests.postgresql.observing import (
    Observer,
    connections,
    connections_end,
    eventually,
    exact,
)

pytestmark = pytest.mark.anyio


@pytest.mark.faults(
    area="loops and forks",
    done="one object in 100 event loops, one after another, none of them closing it",
    expected="0 errors, the connections of one loop left open at most, none after aclose",
)
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # loops that are dropped with their pools
async def test_a_hundred_loops_in_a_row_are_served_and_leave_no_connection(
    storage: PostgreSQLStorage,
    observer: Observer,
    application_name: str,
    measured: Callable[[str], None],
) -> None:
    async def use() -> None:
        await storage.append_message("c", "user", "x")
        await storage.get_messages("c")
        await storage.list_conversations()

    def hundred() -> None:
        for _ in range(100):
            asyncio.run(use())

    await in_thread(hundred)

    # A pool goes when the next loop comes, at the latest: one is left, and ours.
    async def few() -> bool:
        return await connections(observer, application_name) <= 2

    assert len(await storage.get_messages("c")) == 100
    assert await eventually(few)
    assert await exact(observer)
    left = await connections(observer, application_name)
    await storage.aclose()
    assert await connections_end(observer, application_name)
    measured(f"0 errors, connections left open: {left} before aclose, 0 after it")


@pytest.mark.faults(
    area="loops and forks",
    done="one object in 8 threads with loops of their own, 5 callers each, pools of 3",
    expected="0 errors, at most 8 x 3 connections, none after aclose",
)
async def test_eight_threads_with_loops_of_their_own_share_one_object(
    open_storage: Callable[..., PostgreSQLStorage],
    observer: Observer,
    application_name: str,
    measured: Callable[[str], None],
) -> None:
    storage = open_storage(pool_size=3)
    barrier = threading.Barrier(8)

    async def use() -> None:
        barrier.wait(10)

        async def talk(task: int) -> None:
            for number in range(10):
                await storage.append_message(f"c{task}", "user", str(number))
                await storage.get_recent_messages(f"c{task}", 2)
                await storage.conversation_exists(f"c{task}")

        await asyncio.gather(*(talk(task) for task in range(5)))
        # Nobody's loop ends before all are done and their connections were counted.
        barrier.wait(10)
        counted.wait(10)

    counted = threading.Barrier(9)
    loops = [asyncio.create_task(in_new_loop(use)) for _ in range(8)]

    async def all_are_done() -> bool:
        return counted.n_waiting == 8 or any(loop.done() for loop in loops)

    assert await eventually(all_are_done, within=30)
    open_now = await connections(observer, application_name)
    await in_thread(lambda: counted.wait(10))
    await asyncio.gather(*loops)
    assert 8 <= open_now <= 8 * 3
    assert await exact(observer)
    for task in range(5):
        assert len(await storage.get_messages(f"c{task}")) == 80
    await storage.aclose()
    assert await connections_end(observer, application_name)
    measured(f"0 errors in 1,200 calls, {open_now} connections in 8 loops, 0 after aclose")


@pytest.mark.faults(
    area="loops and forks",
    done="200 coroutines at once on an object that was never used, pool of 4",
    expected="0 errors, one pool, the tables looked for once",
)
async def test_two_hundred_coroutines_on_a_cold_object_open_one_pool(
    open_storage: Callable[..., PostgreSQLStorage],
    observer: Observer,
    application_name: str,
    proxy: FaultProxy,
    measured: Callable[[str], None],
) -> None:
    storage = open_storage(proxy.url, pool_size=4)
    await asyncio.gather(*(storage.get_recent_messages(f"c{n}", 1) for n in range(200)))
    assert await connections(observer, application_name) <= 4
    # The tables were looked for once.
    assert len([sql for sql in proxy.executed if "current_schemas" in sql]) == 1
    await asyncio.gather(*(storage.append_message(f"c{n % 7}", "user", "x") for n in range(200)))
    await asyncio.gather(*(storage.get_messages(f"c{n}") for n in range(200)))
    opened = await connections(observer, application_name)
    assert opened <= 4
    assert await exact(observer)
    measured(f"0 errors in 600 calls, {opened} connections, tables looked for once")


async def test_a_cancelled_first_caller_takes_nobody_with_it(
    storage: PostgreSQLStorage, observer: Observer, application_name: str
) -> None:
    first = asyncio.create_task(storage.get_recent_messages("c", 1))
    others = [asyncio.create_task(storage.get_recent_messages("c", 1)) for _ in range(20)]
    await asyncio.sleep(0)
    first.cancel()
    assert await asyncio.gather(*others) == [[]] * 20
    with pytest.raises(asyncio.CancelledError):
        await first
    await storage.aclose()
    assert await connections_end(observer, application_name)


async def test_when_every_first_caller_is_cancelled_the_next_one_is_served(
    storage: PostgreSQLStorage, observer: Observer, application_name: str
) -> None:
    for _ in range(10):
        callers = [asyncio.create_task(storage.get_recent_messages("c", 1)) for _ in range(5)]
        await asyncio.sleep(0)
        for caller in callers:
            caller.cancel()
        await asyncio.gather(*callers, return_exceptions=True)
    assert await storage.get_recent_messages("c", 1) == []
    assert await connections(observer, application_name) <= 10
    await storage.aclose()
    assert await connections_end(observer, application_name)


async def test_a_server_that_is_down_at_first_use_is_found_once_it_is_up(
    open_storage: Callable[..., PostgreSQLStorage], proxy: FaultProxy
) -> None:
    storage = open_storage(proxy.url)
    await proxy.refuse()
    for _ in range(2):
        results = await asyncio.gather(
            *(storage.append_message("c", "user", "x") for _ in range(5)), return_exceptions=True
        )
        assert all(isinstance(result, StorageUnavailableError) for result in results), results
    await proxy.heal()
    await storage.append_message("c", "user", "x")
    assert len(await storage.get_messages("c")) == 1


async def test_loops_that_end_with_calls_under_way_leave_nothing(
    storage: PostgreSQLStorage, observer: Observer, application_name: str
) -> None:
    await storage.create_conversation("c")
    async with observer.transaction():
        await observer.execute("SELECT FROM conversations FOR UPDATE")

        async def abandon() -> None:
            calls = [
                asyncio.create_task(storage.update_title("c", "x")),
                asyncio.create_task(storage.append_message("c", "user", "x")),
            ]
            await asyncio.sleep(0.05)
            for call in calls:
                assert not call.done()

        await asyncio.gather(*(in_new_loop(abandon) for _ in range(3)))
    gc.collect()
    await storage.append_message("c", "user", "y")
    assert (await storage.get_messages("c"))[-1] == {"role": "user", "content": "y"}
    await storage.aclose()
    assert await connections_end(observer, application_name)


async def test_an_object_that_is_dropped_without_closing_leaves_nothing_either(
    url: str, schema: str, observer: Observer, application_name: str
) -> None:
    async def forget() -> None:
        await PostgreSQLStorage(url, schema=schema).append_message("c", "user", "x")

    await in_new_loop(forget)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        assert await connections_end(observer, application_name)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # forking beside threads, as servers do
async def test_a_forked_child_opens_its_own_connections_and_the_parent_goes_on(
    storage: PostgreSQLStorage, observer: Observer, application_name: str
) -> None:
    await storage.append_message("c", "user", "before")
    mine = await observer.fetch(
        "SELECT pid FROM pg_stat_activity WHERE application_name = $1", application_name
    )
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        # Nothing of pytest may run here.
        try:
            signal.alarm(20)
            asyncio.set_event_loop(None)
            # The parent's loop still counts as running in this thread.
            thread = threading.Thread(target=lambda: asyncio.run(_child(storage, writer)))
            thread.start()
            thread.join()
        finally:
            os._exit(0)
    os.close(writer)
    answer = await asyncio.to_thread(os.read, reader, 1000)
    os.close(reader)
    _, status = await asyncio.to_thread(os.waitpid, child, 0)
    assert (answer, status) == (b"stored 2", 0)
    await storage.append_message("c", "user", "after")
    assert [message["content"] for message in await storage.get_messages("c")] == ["before", "child", "after"]
    there = await observer.fetch(
        "SELECT pid FROM pg_stat_activity WHERE application_name = $1", application_name
    )
    assert {row["pid"] for row in mine} <= {row["pid"] for row in there}


async def _child(storage: PostgreSQLStorage, pipe: int) -> None:
    try:
        await storage.append_message("c", "user", "child")
        answer = f"stored {len(await storage.get_messages('c'))}"
        await storage.aclose()
    except BaseException as error:  # noqa: BLE001 - told to the parent
        answer = repr(error)
    os.write(pipe, answer.encode())


async def test_a_loop_can_come_back(open_storage: Callable[..., PostgreSQLStorage]) -> None:
    storage = open_storage()

    def run_in_pieces() -> None:
        loop = asyncio.new_event_loop()
        try:
            for number in range(5):
                loop.run_until_complete(storage.append_message("c", "user", str(number)))
            loop.run_until_complete(storage.aclose())
        finally:
            loop.close()

    await in_thread(run_in_pieces)


async def test_constructed_in_one_loop_used_in_others(url: str, schema: str) -> None:
    port = closed_port()
    with pytest.raises(StorageUnavailableError):
        async with PostgreSQLStorage(with_host(url, "127.0.0.1", port), schema=schema) as storage:
            await in_new_loop(lambda: storage.create_conversation("c"))
    assert sys.exc_info() == (None, None, None)
