"""Tables of an earlier release, used beside it before any upgrade: its data, its writers, its rights."""

import asyncio
from collections.abc import Callable
from time import monotonic

import asyncpg
import pytest

from corail.storage.errors import StorageSchemaError, StorageTimeoutError
from corail.storage.postgresql import PostgreSQLStorage
from tests.postgresql.addresses import with_parameters, with_user
from tests.postgresql.observing import Observer, somebody_waits
from tests.postgresql.older import CONVERSATIONS, append_old, make_older

pytestmark = pytest.mark.anyio

HOSTILE = ["plain", "", "\x01", "\x01\x01", "\x01\x02", "\ud7ff", "\ud7ff\x02", "\ud7ff\u0080", "é\x01🪸"]


async def test_what_the_earlier_release_stored_is_read_as_it_stands(
    storage: PostgreSQLStorage, observer: Observer, schema: str
) -> None:
    await make_older(observer, schema)
    for text in HOSTILE:
        await append_old(observer, schema, "old", text)
    await observer.execute("INSERT INTO conversations VALUES ('bare', NULL, NULL, NULL)")
    await observer.execute(
        "INSERT INTO messages (conversation_id, role, content, created_at) VALUES ('bare', 'user', 'x', NULL)"
    )
    await storage.append_message("old", "user", "new \x00\x01\ud800")
    expected = [*HOSTILE, "new \x00\x01\ud800"]
    assert [message["content"] for message in await storage.get_messages("old")] == expected
    assert [message["content"] for message in await storage.get_recent_messages("old", 3)] == expected[-3:]
    page = await storage.page_messages("old", limit=4)
    rest = await storage.page_messages("old", after=page["next"])
    assert [item["content"] for item in page["items"] + rest["items"]] == expected
    many = await asyncio.gather(*(storage.get_messages(each) for each in ["old", "bare", "none"] * 5))
    assert [len(found) for found in many] == [len(expected), 1, 0] * 5
    assert [message["content"] for message in many[-3]] == expected
    assert [row["message_count"] for row in await storage.list_conversations()] == [len(expected), 1]
    first = await storage.page_conversations(limit=1)
    second = await storage.page_conversations(limit=1, after=first["next"])
    assert [row["id"] for row in first["items"] + second["items"]] == ["old", "bare"]
    (bare,) = second["items"]
    assert (bare["title"], bare["created_at"][:10]) == ("", "1970-01-01")
    assert bare.get("metadata") == {}
    assert (await storage.page_messages("bare"))["items"][0].get("created_at", "").startswith("1970")
    report = await storage.check()
    assert "earlier release" in report["warnings"][0]
    await storage.delete_conversation("bare")
    assert not await storage.conversation_exists("bare")


async def test_a_conversation_too_long_to_share_a_read_is_read_alone(
    storage: PostgreSQLStorage, observer: Observer, schema: str
) -> None:
    await make_older(observer, schema)
    await append_old(observer, schema, "long", "0")
    await observer.execute(
        "INSERT INTO messages (conversation_id, role, content) "
        "SELECT 'long', 'user', n::text FROM generate_series(1, 200) AS n"
    )
    found = await asyncio.gather(*(storage.get_messages("long") for _ in range(10)))
    assert all([message["content"] for message in each] == [str(n) for n in range(201)] for each in found)


async def test_both_releases_write_at_once_and_counts_and_orders_hold(
    open_storage: Callable[..., PostgreSQLStorage], observer: Observer, url: str, schema: str
) -> None:
    await make_older(observer, schema)
    writing = True

    async def old(writer: int) -> int:
        connection = await asyncpg.connect(url)
        number = 0
        while writing:
            await append_old(connection, schema, f"c{writer % 3}", f"old{writer}/{number}")
            number += 1
        await connection.close()
        return number

    async def new(writer: int) -> int:
        storage = open_storage()
        for number in range(60):
            await storage.append_messages(
                f"c{writer % 3}",
                [{"role": "user", "content": f"new{writer}/{number}"}],
                idempotency_key=f"{writer}/{number}",
            )
        return 60

    async def both() -> list[int]:
        nonlocal writing
        olds = [asyncio.create_task(old(writer)) for writer in range(3)]
        news = await asyncio.gather(*(new(writer) for writer in range(6)))
        writing = False
        return [*await asyncio.gather(*olds), *news]

    written = await both()
    storage = open_storage()
    rows = {row["id"]: row["message_count"] for row in await storage.list_conversations()}
    stored: list[str] = []
    for name in ("c0", "c1", "c2"):
        contents = [message["content"] for message in await storage.get_messages(name)]
        assert rows[name] == len(contents)
        stored += contents
        for writer in {content.partition("/")[0] for content in contents}:
            mine = [content for content in contents if content.startswith(f"{writer}/")]
            assert mine == [f"{writer}/{number}" for number in range(len(mine))]
    assert len(stored) == len(set(stored)) == sum(written)
    # A key that was used is found without the index, too.
    again = [{"role": "user", "content": "new0/5"}]
    await storage.append_messages("c0", again, idempotency_key="0/5")
    assert len(await storage.get_messages("c0")) == rows["c0"]


@pytest.mark.parametrize("found_by", ["schema", "search_path"])
async def test_many_replicas_open_older_tables_at_once(
    open_storage: Callable[..., PostgreSQLStorage], observer: Observer, url: str, schema: str, found_by: str
) -> None:
    await make_older(observer, schema)
    if found_by == "schema":
        replicas = [open_storage() for _ in range(12)]
    else:
        dsn = with_parameters(url, search_path=schema)
        replicas = [open_storage(dsn, schema=None) for _ in range(12)]
    await asyncio.gather(*(replica.append_message("c", "user", "x") for replica in replicas))
    assert len(await replicas[0].get_messages("c")) == 12


async def test_tables_of_which_only_one_was_made_are_completed(
    storage: PostgreSQLStorage, observer: Observer, schema: str
) -> None:
    await observer.execute(f"CREATE SCHEMA {schema}")
    await observer.execute(CONVERSATIONS.format(s=schema))
    await storage.append_message("c", "user", "x")
    await append_old(observer, schema, "c", "y")
    assert [message["content"] for message in await storage.get_messages("c")] == ["x", "y"]


async def grant_use(observer: Observer, schema: str, role: str) -> None:
    """Give a role what writers of the earlier release had: the use of its tables, not their ownership."""
    await observer.execute(f"GRANT USAGE ON SCHEMA {schema} TO {role}")
    await observer.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON conversations, messages TO {role}")
    await observer.execute(f"GRANT USAGE ON SEQUENCE messages_id_seq TO {role}")


async def test_a_role_that_may_not_alter_is_told_exactly_what_to_run(
    open_storage: Callable[..., PostgreSQLStorage], observer: Observer, url: str, schema: str, role: str
) -> None:
    await make_older(observer, schema)
    await grant_use(observer, schema, role)
    storage = open_storage(with_user(url, role, role))
    with pytest.raises(StorageSchemaError, match=r"earlier release of Corail.*may not alter") as caught:
        await storage.append_message("c", "user", "x")
    with pytest.raises(StorageSchemaError, match="auto_create is off"):
        await open_storage(auto_create=False).append_message("c", "user", "x")
    await observer.execute(str(caught.value).partition("run:\n")[2])
    await storage.append_message("c", "user", "x")
    await observer.execute(f"REVOKE INSERT ON message_uids FROM {role}")
    with pytest.raises(StorageSchemaError, match=r"GRANT SELECT, INSERT ON .*message_uids"):
        await open_storage(with_user(url, role, role)).append_message("c", "user", "x")


async def test_a_table_made_by_the_owner_is_open_to_whoever_writes_messages(
    open_storage: Callable[..., PostgreSQLStorage], observer: Observer, url: str, schema: str, role: str
) -> None:
    await make_older(observer, schema)
    await grant_use(observer, schema, role)
    await open_storage().append_message("c", "user", "x")
    await open_storage(with_user(url, role, role)).append_message("c", "user", "y")


async def test_a_long_transaction_delays_the_first_connection_and_nobody_behind_it(
    open_storage: Callable[..., PostgreSQLStorage],
    observer: Observer,
    application_name: str,
    url: str,
    schema: str,
) -> None:
    await make_older(observer, schema)
    writer = await asyncpg.connect(url)
    async with observer.transaction():
        await observer.execute("SELECT count(*) FROM conversations")
        storage = open_storage(command_timeout=2)
        first = asyncio.create_task(storage.append_message("c", "user", "x"))
        assert await somebody_waits(observer, application_name)
        longest = 0.0
        while not first.done():
            started = monotonic()
            await append_old(writer, schema, "c", "old")
            longest = max(longest, monotonic() - started)
        with pytest.raises(StorageTimeoutError, match="pg_stat_activity"):
            await first
        # Two statements, each behind one attempt of 0.1 s.
        assert longest < 1
    await storage.append_message("c", "user", "x")
    await writer.close()


async def test_a_uid_table_that_goes_missing_is_made_again(
    storage: PostgreSQLStorage, observer: Observer, schema: str
) -> None:
    await make_older(observer, schema)
    await storage.append_message("c", "user", "x")
    await observer.execute("DROP TABLE message_uids")
    await asyncio.gather(*(storage.append_message(f"c{number}", "user", "y") for number in range(20)))
    assert len(await storage.list_conversations()) == 21
