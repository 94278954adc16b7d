"""``aclose``: from any loop, whatever is under way, nothing stays open and callers are told the truth."""

import asyncio
import threading
from collections.abc import Callable
from time import monotonic

import pytest

from corail.storage.errors import AppendOutcomeUnknownError, StorageClosedError, StorageError
from corail.storage.postgresql import PostgreSQLStorage
from tests.postgresql.fault_proxy import Fate, FaultProxy
from tests.postgresql.loops import in_new_loop
from tests.postgresql.observing import Observer, connections_end, eventually, exact, somebody_waits

pytestmark = pytest.mark.anyio


async def test_closing_from_another_loop_while_three_are_busy(
    open_storage: Callable[..., PostgreSQLStorage], observer: Observer, application_name: str
) -> None:
    storage = open_storage(pool_size=3)
    await storage.create_conversation("c")
    busy = threading.Barrier(4)
    outcomes: list[BaseException] = []

    async def work() -> None:
        async def call(number: int) -> None:
            try:
                while True:
                    await storage.append_message(f"c{number}", "user", "x")
                    await storage.get_messages(f"c{number}")
                    await storage.update_title("c", "x")
                    await storage.page_conversations(limit=1)
            except BaseException as error:  # noqa: BLE001 - which one it is, is asserted below
                outcomes.append(error)

        calls = [asyncio.create_task(call(number)) for number in range(6)]
        await storage.get_messages("c")
        await asyncio.to_thread(busy.wait, 10)
        async with asyncio.timeout(20):
            await asyncio.gather(*calls)

    threads = [asyncio.create_task(in_new_loop(work)) for _ in range(3)]
    await asyncio.to_thread(busy.wait, 10)
    await in_new_loop(storage.aclose)
    await asyncio.gather(*threads)
    assert len(outcomes) == 18
    assert {type(error) for error in outcomes} == {StorageClosedError}, outcomes
    assert await connections_end(observer, application_name)
    assert await exact(observer)


async def test_closing_waits_for_what_is_under_way(
    open_storage: Callable[..., PostgreSQLStorage], observer: Observer, application_name: str
) -> None:
    storage = open_storage()
    await storage.create_conversation("c")
    async with observer.transaction():
        await observer.execute("SELECT FROM conversations FOR UPDATE")
        title = asyncio.create_task(storage.update_title("c", "kept"))
        append = asyncio.create_task(storage.append_message("c", "user", "kept"))
        assert await somebody_waits(observer, application_name, at_least=2)
        closing = asyncio.create_task(storage.aclose())
        await asyncio.sleep(0)
        with pytest.raises(StorageClosedError):
            await storage.append_message("d", "user", "late")
    await closing
    await asyncio.gather(title, append)
    assert await observer.fetchval("SELECT title FROM conversations") == "kept"
    assert await observer.fetchval("SELECT content FROM messages") == "kept"
    assert await connections_end(observer, application_name)


async def test_closing_gives_up_waiting_and_tells_what_became_of_the_calls(
    open_storage: Callable[..., PostgreSQLStorage], observer: Observer, application_name: str
) -> None:
    storage = open_storage(close_timeout=0.3)
    await storage.create_conversation("c")
    async with observer.transaction():
        await observer.execute("SELECT FROM conversations FOR UPDATE")
        calls = [
            asyncio.create_task(storage.update_title("c", "x")),
            asyncio.create_task(storage.append_message("c", "user", "x")),
            asyncio.create_task(storage.append_message("c", "user", "behind it")),
        ]
        assert await somebody_waits(observer, application_name, at_least=2)
        started = monotonic()
        await storage.aclose()
        assert monotonic() - started < 3
        errors = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(error, StorageError) for error in errors), errors
        assert isinstance(errors[2], StorageClosedError | AppendOutcomeUnknownError), errors
    assert await connections_end(observer, application_name)


async def test_an_append_whose_reply_was_cut_off_by_closing_is_not_called_unstored(
    open_storage: Callable[..., PostgreSQLStorage], observer: Observer, proxy: FaultProxy
) -> None:
    storage = open_storage(proxy.url, close_timeout=0.3, command_timeout=2)
    await storage.create_conversation("c")
    proxy.once("messages", Fate.HANG)
    append = asyncio.create_task(storage.append_message("c", "user", "stored"))

    async def stored() -> bool:
        return bool(await observer.fetchval("SELECT count(*) FROM messages"))

    assert await eventually(stored)
    await storage.aclose()
    with pytest.raises(AppendOutcomeUnknownError) as caught:
        await append
    again = open_storage()
    await again.append_messages(
        "c", [{"role": "user", "content": "stored"}], idempotency_key=caught.value.idempotency_key
    )
    assert len(await again.get_messages("c")) == 1


@pytest.mark.parametrize("turns", [0, 1, 2, 5, 10, 20])
async def test_closing_while_the_pool_is_being_opened(
    open_storage: Callable[..., PostgreSQLStorage], observer: Observer, application_name: str, turns: int
) -> None:
    storage = open_storage()
    reads = [asyncio.create_task(storage.get_recent_messages("c", 1)) for _ in range(3)]
    appends = [asyncio.create_task(storage.append_message("c", "user", "x")) for _ in range(3)]
    for _ in range(turns):
        await asyncio.sleep(0)
    await storage.aclose()
    results = [*await asyncio.gather(*reads, return_exceptions=True)]
    outcomes = [*await asyncio.gather(*appends, return_exceptions=True)]
    # Never a CancelledError: nobody cancelled them.
    errors = [result for result in (*results, *outcomes) if isinstance(result, BaseException)]
    assert not [error for error in errors if not isinstance(error, StorageClosedError)]
    assert await connections_end(observer, application_name)


async def test_closing_takes_the_connections_of_a_pool_that_was_let_go_of_before(
    open_storage: Callable[..., PostgreSQLStorage], observer: Observer, application_name: str, schema: str
) -> None:
    storage = open_storage(close_timeout=0.5)
    await storage.create_conversation("c")
    async with observer.transaction():
        await observer.execute("SELECT FROM conversations FOR UPDATE")
        stuck = asyncio.create_task(storage.update_title("c", "x"))
        assert await somebody_waits(observer, application_name)
        # Another call finds the tables changed, so that the pool is opened anew.
        await observer.execute(f"ALTER TABLE {schema}.messages RENAME COLUMN role TO part")
        other = asyncio.create_task(storage.get_recent_messages("c", 1))
        assert await somebody_waits(observer, application_name, at_least=2)
        await observer.execute(f"ALTER TABLE {schema}.messages RENAME COLUMN part TO role")
    await asyncio.gather(stuck, other, return_exceptions=True)
    await storage.aclose()
    assert await connections_end(observer, application_name)


async def test_closing_twice_at_the_same_time_and_closing_after_a_cancelled_close(
    storage: PostgreSQLStorage, observer: Observer, application_name: str
) -> None:
    await storage.append_message("c", "user", "x")
    closing = asyncio.create_task(storage.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.gather(closing, return_exceptions=True)
    await asyncio.gather(storage.aclose(), storage.aclose())
    assert await connections_end(observer, application_name)


async def test_a_cancelled_close_leaves_nothing_undone_in_any_loop(
    open_storage: Callable[..., PostgreSQLStorage], observer: Observer, application_name: str
) -> None:
    storage = open_storage(close_timeout=2)
    await storage.create_conversation("c")
    stop = threading.Event()
    ready = threading.Event()
    results: list[BaseException | None] = []

    async def elsewhere() -> None:
        call = asyncio.create_task(storage.update_title("c", "x"))
        await asyncio.to_thread(ready.set)
        await asyncio.to_thread(stop.wait, 20)
        results.extend(await asyncio.gather(call, return_exceptions=True))

    async with observer.transaction():
        await observer.execute("SELECT FROM conversations FOR UPDATE")
        thread = asyncio.create_task(in_new_loop(elsewhere))
        await asyncio.to_thread(ready.wait, 10)
        assert await somebody_waits(observer, application_name)
        await storage.conversation_exists("c")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await storage.aclose()
        await storage.aclose()
    stop.set()
    await thread
    assert all(result is None or isinstance(result, StorageError) for result in results)
    assert await connections_end(observer, application_name)


async def test_leaving_the_context_closes(
    url: str, schema: str, observer: Observer, application_name: str
) -> None:
    async def fail(storage: PostgreSQLStorage) -> None:
        async with storage:
            await storage.append_message("c", "user", "x")
            raise ZeroDivisionError

    storage = PostgreSQLStorage(url, schema=schema)
    with pytest.raises(ZeroDivisionError):
        await fail(storage)
    assert await connections_end(observer, application_name)
    with pytest.raises(StorageClosedError):
        await storage.get_messages("c")
