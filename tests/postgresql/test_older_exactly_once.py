"""On older tables, and while they are upgraded, an append is stored once whatever happens to its reply."""

import asyncio
import random
from collections.abc import Callable

import pytest

from corail.storage.errors import InvalidInputError
from corail.storage.postgresql import PostgreSQLStorage
from corail.storage.postgresql.upgrade import upgrade
from tests.postgresql.fault_proxy import Fate, FaultProxy
from tests.postgresql.observing import Observer
from tests.postgresql.older import append_old, make_older

pytestmark = pytest.mark.anyio

# What every statement that stores messages contains, whichever tables it is for.
STORES = "(conversation_id, id, uid, role, content"
TURN = [{"role": "user", "content": "ask"}, {"role": "assistant", "content": "answer"}]


@pytest.mark.parametrize("fate", [Fate.CUT_BEFORE, Fate.CUT_AFTER, Fate.HANG])
@pytest.mark.parametrize("key", [None, "k"], ids=["own key", "given key"])
async def test_a_lost_reply_neither_loses_nor_doubles(
    open_storage: Callable[..., PostgreSQLStorage],
    proxy: FaultProxy,
    observer: Observer,
    schema: str,
    fate: Fate,
    key: str | None,
) -> None:
    await make_older(observer, schema)
    await append_old(observer, schema, "c", "before")
    storage = open_storage(proxy.url, command_timeout=0.2, connect_timeout=1)
    await storage.list_conversations()
    proxy.once(STORES, fate, 2)
    await storage.append_messages("c", TURN, idempotency_key=key)
    await storage.append_message("c", "user", "after")
    assert [message["content"] for message in await storage.get_messages("c")] == [
        "before",
        "ask",
        "answer",
        "after",
    ]


@pytest.mark.parametrize("stored", [True, False], ids=["stored", "not stored"])
@pytest.mark.parametrize("key", [None, "k"], ids=["own key", "given key"])
async def test_an_append_whose_reply_was_lost_is_settled_after_the_upgrade_that_came_between(
    open_storage: Callable[..., PostgreSQLStorage],
    proxy: FaultProxy,
    observer: Observer,
    url: str,
    schema: str,
    key: str | None,
    *,
    stored: bool,
) -> None:
    await make_older(observer, schema)
    await append_old(observer, schema, "c", "before")
    storage = open_storage(proxy.url)
    await storage.list_conversations()
    attempts = 0
    upgraded = False
    attempted = asyncio.Event()

    def lose(sql: str) -> Fate:
        nonlocal attempts
        attempts += STORES in sql
        if attempts:
            attempted.set()
        if upgraded or not attempts:
            return Fate.PASS
        return Fate.CUT_AFTER if stored and attempts == 1 and STORES in sql else Fate.CUT_BEFORE

    proxy.on_statement = lose
    append = asyncio.create_task(storage.append_messages("c", TURN, idempotency_key=key))
    await attempted.wait()
    assert await upgrade(url, schema=schema, finish=True)
    assert not append.done()
    upgraded = True
    await append
    assert [message["content"] for message in await storage.get_messages("c")] == ["before", "ask", "answer"]
    (row,) = await storage.list_conversations()
    assert row["message_count"] == 3


async def test_one_reply_in_ten_lost_while_the_tables_are_upgraded(
    open_storage: Callable[..., PostgreSQLStorage],
    proxy: FaultProxy,
    observer: Observer,
    url: str,
    schema: str,
) -> None:
    await make_older(observer, schema)
    chance = random.Random(7)  # noqa: S311 - the same moments every time
    storages = [open_storage(proxy.url) for _ in range(2)]
    await asyncio.gather(*(storage.list_conversations() for storage in storages))
    fates = [Fate.CUT_BEFORE, Fate.CUT_AFTER]
    proxy.on_statement = lambda _: chance.choice(fates) if chance.random() < 0.1 else Fate.PASS
    upgraded = False

    async def write(writer: int) -> int:
        number = 0
        # Some before, some after the change, however long it takes.
        while not upgraded or number % 10:
            await storages[writer % 2].append_message(f"c{writer % 3}", "user", f"{writer}/{number}")
            number += 1
        return number

    writers = [asyncio.create_task(write(writer)) for writer in range(8)]
    assert await upgrade(url, schema=schema, finish=True)
    upgraded = True
    written = await asyncio.gather(*writers)
    proxy.on_statement = lambda _: Fate.PASS
    rows = {row["id"]: row["message_count"] for row in await storages[0].list_conversations()}
    contents: list[str] = []
    for name in ("c0", "c1", "c2"):
        found = [message["content"] for message in await storages[0].get_messages(name)]
        assert rows[name] == len(found)
        contents += found
    for writer, count in enumerate(written):
        mine = [text for text in contents if text.startswith(f"{writer}/")]
        assert mine == [f"{writer}/{number}" for number in range(count)]


async def test_a_key_is_known_across_the_upgrade_and_to_both_kinds_of_storages(
    open_storage: Callable[..., PostgreSQLStorage], observer: Observer, url: str, schema: str
) -> None:
    await make_older(observer, schema)
    storages = [open_storage() for _ in range(3)]
    await storages[0].append_messages("c", TURN, idempotency_key="k")
    await storages[1].append_messages("c", TURN, idempotency_key="k")
    await upgrade(url, schema=schema)
    await storages[0].append_messages("c", TURN, idempotency_key="k")
    assert await upgrade(url, schema=schema, finish=True)
    for storage in [*storages, open_storage()]:
        await storage.append_messages("c", TURN, idempotency_key="k")
        with pytest.raises(InvalidInputError, match="already used"):
            await storage.append_messages("c", TURN[:1], idempotency_key="k")
    assert await storages[0].get_messages("c") == TURN
