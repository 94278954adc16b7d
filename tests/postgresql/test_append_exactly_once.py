"""Whatever happens to a reply, an append is stored once, its numbers are contiguous, its counter is exact."""

import asyncio
import random
from collections.abc import Callable

import pytest

from corail.storage.errors import AppendOutcomeUnknownError, StorageError
from corail.storage.postgresql import PostgreSQLStorage
from tests.postgresql.addresses import with_parameters
from tests.postgresql.fault_proxy import Fate, FaultProxy
from tests.postgresql.observing import Observer, eventually, exact

pytestmark = pytest.mark.anyio

# What every statement that stores messages contains, and no other.
STORES = "(conversation_id, id, uid, role, content)"
TURN = [{"role": "user", "content": "ask"}, {"role": "assistant", "content": "answer"}]


@pytest.mark.parametrize("fate", [Fate.CUT_BEFORE, Fate.CUT_AFTER, Fate.HANG])
@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("key", [None, "k"], ids=["own key", "given key"])
async def test_a_lost_reply_neither_loses_nor_doubles(
    open_storage: Callable[..., PostgreSQLStorage],
    proxy: FaultProxy,
    observer: Observer,
    fate: Fate,
    times: int,
    key: str | None,
) -> None:
    storage = open_storage(proxy.url, command_timeout=0.2, connect_timeout=1)
    await storage.append_message("c", "user", "before")
    proxy.once(STORES, fate, times)
    await storage.append_messages("c", TURN, idempotency_key=key)
    await storage.append_message("c", "user", "after")
    assert await storage.get_messages("c") == [
        {"role": "user", "content": "before"},
        *TURN,
        {"role": "user", "content": "after"},
    ]
    assert await exact(observer)


async def test_a_first_message_whose_reply_is_lost_is_stored_once(
    open_storage: Callable[..., PostgreSQLStorage], proxy: FaultProxy, observer: Observer
) -> None:
    storage = open_storage(proxy.url)
    await storage.create_conversation("other")
    proxy.once(STORES, Fate.CUT_AFTER)
    await storage.append_message("new", "user", "x")
    assert await storage.get_messages("new") == [{"role": "user", "content": "x"}]
    assert await exact(observer)


async def test_replies_of_the_read_back_and_of_the_barrier_may_be_lost_as_well(
    open_storage: Callable[..., PostgreSQLStorage], proxy: FaultProxy, observer: Observer
) -> None:
    storage = open_storage(proxy.url)
    await storage.append_message("c", "user", "before")
    lost: list[str] = []

    def lose(sql: str) -> Fate:
        # The append itself, then whatever finds it, then whatever confirms it: each once.
        kind = "store" if STORES in sql else "barrier" if "SET updated_at = now()" in sql else "find"
        if kind in lost or (".messages" not in sql and kind == "find"):
            return Fate.PASS
        lost.append(kind)
        return Fate.CUT_AFTER

    proxy.on_statement = lose
    await storage.append_message("c", "user", "after")
    assert lost == ["store", "find", "barrier"]
    assert len(await storage.get_messages("c")) == 2
    assert await exact(observer)


async def test_one_reply_in_ten_lost_under_eight_writers(
    open_storage: Callable[..., PostgreSQLStorage], proxy: FaultProxy, observer: Observer
) -> None:
    chance = random.Random(7)  # noqa: S311 - the same moments every time
    storages = [open_storage(proxy.url) for _ in range(2)]
    await storages[0].create_conversation("c0")
    fates = [Fate.CUT_BEFORE, Fate.CUT_AFTER]
    proxy.on_statement = lambda _: chance.choice(fates) if chance.random() < 0.1 else Fate.PASS

    async def write(writer: int) -> None:
        for number in range(25):
            content = f"{writer}/{number}"
            await storages[writer % 2].append_message(f"c{writer % 3}", "user", content)

    await asyncio.gather(*(write(writer) for writer in range(8)))
    proxy.on_statement = lambda _: Fate.PASS
    stored = [await storages[0].get_messages(f"c{n}") for n in range(3)]
    contents = [message["content"] for messages in stored for message in messages]
    assert sorted(contents) == sorted(f"{writer}/{number}" for writer in range(8) for number in range(25))
    for writer in range(8):
        mine = [text for text in contents if text.startswith(f"{writer}/")]
        assert mine == [f"{writer}/{number}" for number in range(25)]
    assert await exact(observer)


@pytest.mark.parametrize("fate", [Fate.CUT_BEFORE, Fate.CUT_AFTER], ids=["not stored", "stored"])
@pytest.mark.parametrize("key", [None, "mine"], ids=["own key", "given key"])
async def test_an_outcome_that_stays_unknown_carries_the_key_that_settles_it(
    open_storage: Callable[..., PostgreSQLStorage],
    proxy: FaultProxy,
    observer: Observer,
    fate: Fate,
    key: str | None,
) -> None:
    storage = open_storage(proxy.url, deadline=0.5, connect_timeout=0.5)
    await storage.append_message("c", "user", "before")
    first = True

    def lose_everything(sql: str) -> Fate:
        nonlocal first
        if first and STORES in sql:
            first = False
            return fate
        return Fate.PASS if first else Fate.CUT_BEFORE

    proxy.on_statement = lose_everything
    with pytest.raises(AppendOutcomeUnknownError, match="may or may not have been stored") as caught:
        await storage.append_messages("c", TURN, idempotency_key=key)
    error = caught.value
    assert not isinstance(error, OSError)
    assert error.idempotency_key
    assert key in {None, error.idempotency_key}
    assert repr(error.idempotency_key) in str(error)
    assert "ask" not in str(error)
    assert "answer" not in str(error)
    stored = await observer.fetchval("SELECT count(*) FROM messages")
    assert stored == (1 if fate is Fate.CUT_BEFORE else 3)
    # Here or in another process, once or twice.
    other = open_storage()
    for storage in (other, open_storage(), other):
        await storage.append_messages("c", TURN, idempotency_key=error.idempotency_key)
    assert (await other.get_messages("c"))[1:] == TURN
    assert await exact(observer)


async def test_what_was_certainly_not_stored_is_not_called_unknown(
    open_storage: Callable[..., PostgreSQLStorage], proxy: FaultProxy
) -> None:
    storage = open_storage(proxy.url, deadline=0.4, connect_timeout=0.3)
    await storage.append_message("c", "user", "before")
    await proxy.refuse()
    # Without this the statement might be on its way when its connection is found to be gone.
    with pytest.raises(StorageError):
        await storage.get_recent_messages("c", 1)
    with pytest.raises(StorageError) as caught:
        await storage.append_message("c", "user", "x")
    assert not isinstance(caught.value, AppendOutcomeUnknownError)
    assert isinstance(caught.value, ConnectionError)


async def test_a_retry_that_crosses_a_delete_stores_its_turn_in_a_new_conversation(
    open_storage: Callable[..., PostgreSQLStorage], proxy: FaultProxy, observer: Observer
) -> None:
    storage = open_storage(proxy.url)
    await storage.append_message("c", "user", "old")
    deleted = False
    first = True

    def lose(sql: str) -> Fate:
        nonlocal first
        if STORES in sql and first:
            first = False
            return Fate.CUT_AFTER
        return Fate.PASS if first or deleted else Fate.CUT_BEFORE

    proxy.on_statement = lose
    append = asyncio.create_task(storage.append_messages("c", TURN))

    async def stored() -> bool:
        return bool(await observer.fetchval("SELECT count(*) = 3 FROM messages"))

    assert await eventually(stored)
    await observer.execute("DELETE FROM conversations")
    deleted = True
    await append
    assert await storage.get_messages("c") == TURN
    assert await exact(observer)


async def test_a_retry_of_a_shared_batch_brings_no_deleted_conversation_back(
    open_storage: Callable[..., PostgreSQLStorage], proxy: FaultProxy, observer: Observer
) -> None:
    storage = open_storage(proxy.url)
    await storage.create_conversation("first use")
    deleted = False
    lost = 0

    def lose(sql: str) -> Fate:
        nonlocal lost
        if STORES in sql and "unnest" in sql and lost == 0:
            lost += 1
            return Fate.CUT_AFTER
        return Fate.PASS if deleted or lost == 0 else Fate.CUT_BEFORE

    proxy.on_statement = lose
    # The first is sent at once and alone, the others together behind it.
    appends = [asyncio.create_task(storage.append_message(name, "user", "x")) for name in ("lone", "a", "b")]

    async def stored() -> bool:
        return bool(await observer.fetchval("SELECT count(*) = 3 FROM messages"))

    assert await eventually(stored)
    assert lost == 1
    await observer.execute("DELETE FROM conversations WHERE id = 'a'")
    deleted = True
    await asyncio.gather(*appends)
    assert not await storage.conversation_exists("a")
    assert await storage.get_messages("b") == [{"role": "user", "content": "x"}]
    assert await exact(observer)


async def test_backends_that_an_administrator_ends_are_unseen_by_eight_writers(
    open_storage: Callable[..., PostgreSQLStorage], observer: Observer, application_name: str
) -> None:
    storage = open_storage(pool_size=4)
    await storage.create_conversation("c")
    contents: list[str] = []

    async def end_backends() -> None:
        # After every thirty messages, with others under way.
        for enough in range(30, 8 * 40, 30):

            async def written(enough: int = enough) -> bool:
                return len(contents) >= enough

            assert await eventually(written)
            await observer.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1",
                application_name,
            )

    async def write(writer: int) -> None:
        for number in range(40):
            await storage.append_message("c", "user", f"{writer}/{number}")
            contents.append(f"{writer}/{number}")

    await asyncio.gather(*(write(writer) for writer in range(8)), end_backends())
    stored = [message["content"] for message in await storage.get_messages("c")]
    assert sorted(stored) == sorted(contents)
    assert len(stored) == 8 * 40
    assert await exact(observer)


async def test_under_repeatable_read_appends_are_repeated_until_they_fit(
    open_storage: Callable[..., PostgreSQLStorage], url: str, observer: Observer
) -> None:
    strict = with_parameters(url, default_transaction_isolation="repeatable read")
    storages = [open_storage(strict) for _ in range(3)]
    await storages[0].create_conversation("c")

    async def write(writer: int) -> None:
        for number in range(20):
            await storages[writer].append_message("c", "user", f"{writer}/{number}")

    await asyncio.gather(*(write(writer) for writer in range(3)))
    assert len(await storages[0].get_messages("c")) == 60
    assert await exact(observer)


async def test_appends_to_a_conversation_that_others_delete_always_succeed(
    open_storage: Callable[..., PostgreSQLStorage], observer: Observer
) -> None:
    writers = [open_storage(pool_size=4) for _ in range(2)]
    await writers[0].create_conversation("c")
    writing = True

    async def delete() -> int:
        deletions = 0
        while writing:
            await writers[1].delete_conversation("c")
            deletions += 1
        return deletions

    async def write(writer: int) -> None:
        for number in range(25):
            await writers[writer % 2].append_messages("c", TURN, idempotency_key=f"{writer}/{number}")
            await writers[writer % 2].append_message("c", "user", f"{writer}/{number}")

    async def write_all() -> None:
        nonlocal writing
        await asyncio.gather(*(write(writer) for writer in range(6)))
        writing = False

    _, deletions = await asyncio.gather(write_all(), delete())
    assert deletions > 3
    assert await exact(observer)
    await writers[0].delete_conversation("c")
    await writers[0].append_message("c", "user", "just deleted")
    assert await writers[1].get_messages("c") == [{"role": "user", "content": "just deleted"}]


async def test_a_delete_whose_reply_is_lost_takes_no_later_conversation_with_it(
    open_storage: Callable[..., PostgreSQLStorage], proxy: FaultProxy, observer: Observer
) -> None:
    storage = open_storage(proxy.url)
    await storage.append_message("c", "user", "old")
    recreated = False
    lost = False

    def lose(sql: str) -> Fate:
        nonlocal lost
        if "DELETE" not in sql:
            return Fate.PASS
        if not lost:
            lost = True
            return Fate.CUT_AFTER
        return Fate.PASS if recreated else Fate.CUT_BEFORE

    proxy.on_statement = lose
    deletion = asyncio.create_task(storage.delete_conversation("c"))

    async def gone() -> bool:
        return bool(await observer.fetchval("SELECT count(*) = 0 FROM conversations"))

    assert await eventually(gone)
    await open_storage().append_message("c", "user", "new")
    recreated = True
    await deletion
    assert await storage.get_messages("c") == [{"role": "user", "content": "new"}]


async def test_a_counter_that_something_else_changed_is_told_and_nothing_is_stored(
    storage: PostgreSQLStorage, observer: Observer
) -> None:
    for number in range(3):
        await storage.append_message("c", "user", str(number))
    await observer.execute("UPDATE conversations SET last_id = 1")
    with pytest.raises(StorageError, match="counter was changed by something else"):
        await storage.append_message("c", "user", "x")
    assert len(await storage.get_messages("c")) == 3
