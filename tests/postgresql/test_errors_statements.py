"""What can go wrong with a statement: bounded, typed, recovered from, and no content in any text."""

import asyncio
import traceback
from collections.abc import AsyncIterator, Callable
from time import monotonic

import pytest

from corail.storage.errors import (
    InvalidInputError,
    StorageError,
    StorageTimeoutError,
    StorageUnavailableError,
)
from corail.storage.postgresql import PostgreSQLStorage
from tests.postgresql.addresses import with_parameters
from tests.postgresql.fault_proxy import Fate, FaultProxy
from tests.postgresql.observing import Observer, exact, somebody_waits

pytestmark = pytest.mark.anyio

CONTENT = "the zqsecret text"


@pytest.fixture
async def locked(storage: PostgreSQLStorage, observer: Observer) -> AsyncIterator[None]:
    """Somebody holds the row of conversation "c" for the whole test."""
    await storage.create_conversation("c")
    async with observer.transaction():
        await observer.execute("SELECT FROM conversations WHERE id = 'c' FOR UPDATE")
        yield


@pytest.mark.usefixtures("locked")
async def test_a_locked_conversation_ends_an_append_with_the_deadline(
    open_storage: Callable[..., PostgreSQLStorage],
) -> None:
    storage = open_storage(deadline=0.6)
    started = monotonic()
    with pytest.raises(StorageTimeoutError, match="holds the conversation"):
        await storage.append_message("c", "user", "x")
    assert 0.5 < monotonic() - started < 3
    await storage.append_message("free", "user", "x")
    assert await storage.get_messages("c") == []


async def test_a_locked_conversation_is_appended_to_once_it_is_free(
    storage: PostgreSQLStorage, observer: Observer, application_name: str
) -> None:
    await storage.create_conversation("c")
    async with observer.transaction():
        await observer.execute("SELECT FROM conversations WHERE id = 'c' FOR UPDATE")
        call = asyncio.create_task(storage.append_message("c", "user", "x"))
        assert await somebody_waits(observer, application_name)
    await call
    assert await exact(observer)


@pytest.mark.usefixtures("locked")
@pytest.mark.parametrize("name", ["title", "delete"])
async def test_a_locked_conversation_ends_other_changes_in_bounded_time(
    open_storage: Callable[..., PostgreSQLStorage], name: str
) -> None:
    storage = open_storage(deadline=0.4, command_timeout=0.3)
    calls: dict[str, Callable[[], object]] = {
        "title": lambda: storage.update_title("c", "late"),
        "delete": lambda: storage.delete_conversation("c"),
    }
    started = monotonic()
    with pytest.raises(StorageUnavailableError, match="may or may not"):
        await calls[name]()  # type: ignore[misc]
    assert monotonic() - started < 3
    # Reads are not held up.
    assert await storage.get_messages("c") == []
    assert await storage.conversation_exists("c")


async def test_an_exhausted_pool_ends_with_the_deadline_names_its_size_and_recovers(
    open_storage: Callable[..., PostgreSQLStorage], observer: Observer, application_name: str
) -> None:
    storage = open_storage(pool_size=1, deadline=0.5, command_timeout=10)
    await storage.create_conversation("c")
    async with observer.transaction():
        await observer.execute("SELECT FROM conversations WHERE id = 'c' FOR UPDATE")
        holder = asyncio.create_task(storage.update_title("c", "x"))
        assert await somebody_waits(observer, application_name)
        for _ in range(2):
            started = monotonic()
            with pytest.raises(StorageTimeoutError, match=r"All 1 connections.*in use.*pool_size"):
                await storage.get_recent_messages("c", 1)
            assert monotonic() - started < 3
        with pytest.raises(StorageTimeoutError):
            await storage.append_message("d", "user", "x")
    await holder
    await storage.append_message("d", "user", "y")
    assert await storage.get_messages("d") == [{"role": "user", "content": "y"}]


async def test_a_statement_timeout_of_the_role_is_told(
    open_storage: Callable[..., PostgreSQLStorage], url: str, observer: Observer
) -> None:
    await open_storage().create_conversation("c")
    storage = open_storage(with_parameters(url, statement_timeout="200"), deadline=2)
    await storage.append_message("c", "user", "x")
    async with observer.transaction():
        await observer.execute("LOCK TABLE conversations, messages IN ACCESS EXCLUSIVE MODE")
        for call in (
            storage.get_recent_messages("c", 1),
            storage.update_title("c", "x"),
            storage.append_message("c", "user", "x"),
        ):
            with pytest.raises(StorageTimeoutError, match=r"statement_timeout|another transaction"):
                await call
    await storage.append_message("c", "user", "y")
    assert len(await storage.get_messages("c")) == 2
    assert await exact(observer)


@pytest.mark.parametrize("scope", ["database setting", "url"])
async def test_a_read_only_server_is_told_and_still_read_from(
    open_storage: Callable[..., PostgreSQLStorage], url: str, observer: Observer, scope: str
) -> None:
    await open_storage().append_message("c", "user", "x")
    if scope == "url":
        storage = open_storage(with_parameters(url, default_transaction_read_only="on"), deadline=0.5)
    else:
        # As a demoted primary: from the next connection on, nothing is taken.
        storage = open_storage(deadline=0.5)
        await storage.get_messages("c")
        name = await observer.fetchval("SELECT current_database()")
        await observer.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        await storage.aclose()
        storage = open_storage(deadline=0.5)
    try:
        assert len(await storage.get_messages("c")) == 1
        for call in (
            storage.append_message("c", "user", "y"),
            storage.create_conversation("d"),
            storage.update_title("c", "x"),
            storage.delete_conversation("c"),
        ):
            started = monotonic()
            with pytest.raises(
                StorageUnavailableError, match=r"read-only.*Point the database URL at the primary"
            ):
                await call
            assert monotonic() - started < 3
        report = await storage.check()
        assert (report["ok"], report["writable"], report["role"]) == (False, False, "primary")
    finally:
        if scope != "url":
            name = await observer.fetchval("SELECT current_database()")
            await observer.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    assert len(await open_storage().get_messages("c")) == 1


REFUSALS = {
    "a check of the administrator's": "ALTER TABLE messages ADD CHECK (content NOT LIKE '%zqsecret%')",
    "a unique index": "CREATE UNIQUE INDEX ON messages (content)",
    "an index on long text": "CREATE INDEX ON messages (content)",
    "a cast in an index": "CREATE INDEX ON messages ((content::int))",
    "a trigger that raises": """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql
          AS $$ BEGIN RAISE EXCEPTION 'not allowed: %', NEW.content; END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION refuse()
    """,
    "a trigger with a code of its own": """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql
          AS $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = 'ZZ001', DETAIL = NEW.content; END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION refuse()
    """,
    "a trigger that calls itself an internal error": """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql
          AS $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = 'XX000', HINT = NEW.content; END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION refuse()
    """,
    "a column that is not there any more": "ALTER TABLE messages DROP COLUMN role",
    "row security": """
        CREATE POLICY none ON messages USING (false) WITH CHECK (false);
        ALTER TABLE messages ENABLE ROW LEVEL SECURITY;
        ALTER TABLE messages FORCE ROW LEVEL SECURITY
    """,
}


@pytest.mark.parametrize("kind", sorted(REFUSALS))
async def test_no_error_ever_repeats_what_was_to_be_stored(
    open_storage: Callable[..., PostgreSQLStorage],
    observer: Observer,
    caplog: pytest.LogCaptureFixture,
    url: str,
    schema: str,
    kind: str,
) -> None:
    caplog.set_level("DEBUG")
    await open_storage().create_conversation("c")
    content = CONTENT
    if "unique" in kind:
        await open_storage().append_message("other", "user", content)
    if "long" in kind:
        # Incompressible, and so too long for an index.
        content += "".join(chr(0x4E00 + number * 7919 % 20_000) for number in range(5_000))
    await observer.execute(REFUSALS[kind])
    if kind == "row security":
        await observer.execute(f"CREATE ROLE {schema} NOLOGIN; GRANT {schema} TO CURRENT_USER")
        await observer.execute(f"GRANT USAGE ON SCHEMA {schema} TO {schema}")
        await observer.execute(f"GRANT ALL ON conversations, messages TO {schema}")
    storage = open_storage(deadline=2)
    if kind == "row security":
        storage = open_storage(with_parameters(url, role=schema), deadline=2)
    with pytest.raises(StorageError) as one:
        await storage.append_message("c", "user", content)
    with pytest.raises(StorageError) as keyed:
        await storage.append_messages("c", [{"role": "user", "content": content}] * 3, idempotency_key="k")
    for error in (one.value, keyed.value):
        parts = traceback.format_exception(error)
        link: BaseException | None = error
        while link is not None:
            parts += [str(link), repr(link), repr(link.args), repr(vars(link))]
            link = link.__cause__ or link.__context__
        assert "zqsecret" not in "\n".join(parts)
    assert "zqsecret" not in caplog.text


async def test_data_the_server_refuses_is_the_callers_error_and_nothing_is_stored(
    storage: PostgreSQLStorage, observer: Observer
) -> None:
    await storage.create_conversation("c")
    await observer.execute("ALTER TABLE messages ADD CHECK (role <> 'system')")
    batch = [{"role": "user", "content": "x"}, {"role": "system", "content": "x"}]
    with pytest.raises(InvalidInputError, match=r"refused the data \(23514\)") as caught:
        await storage.append_messages("c", batch)
    assert caught.value.__cause__ is None
    assert await storage.get_messages("c") == []
    assert await exact(observer)
    await storage.append_messages("c", batch[:1])


async def test_a_lost_connection_is_unseen_by_readers(
    open_storage: Callable[..., PostgreSQLStorage], proxy: FaultProxy
) -> None:
    storage = open_storage(proxy.url)
    await storage.append_message("c", "user", "x")
    calls: list[Callable[[], object]] = [
        lambda: storage.get_messages("c"),
        lambda: storage.get_recent_messages("c", 1),
        lambda: storage.page_messages("c"),
        lambda: storage.page_conversations(),
        lambda: storage.conversation_exists("c"),
        lambda: storage.get_conversation("c"),
        storage.list_conversations,
        lambda: storage.create_conversation("d"),
        lambda: storage.update_title("c", "t"),
        lambda: storage.delete_conversation("d"),
    ]
    for call in calls:
        for fate in (Fate.CUT_BEFORE, Fate.CUT_AFTER):
            proxy.once('".', fate)
            await call()  # type: ignore[misc]
    row = await storage.get_conversation("c")
    assert row is not None
    assert row["title"] == "t"
    assert not await storage.conversation_exists("d")


async def test_an_answer_that_came_is_not_lost_with_its_connection(
    open_storage: Callable[..., PostgreSQLStorage],
    proxy: FaultProxy,
    observer: Observer,
    application_name: str,
) -> None:
    storage = open_storage(proxy.url, connect_timeout=0.3)
    await storage.create_conversation("c")
    async with observer.transaction():
        await observer.execute("SELECT FROM conversations WHERE id = 'c' FOR UPDATE")
        proxy.once("SET title", Fate.HANG_AFTER)
        title = asyncio.create_task(storage.update_title("c", "x"))
        assert await somebody_waits(observer, application_name)
        # Another call loses its connection, and with it the trust in all that were open then.
        proxy.once("ORDER BY id", Fate.CUT_AFTER)
        await storage.get_recent_messages("c", 1)
    # Its answer comes through; that its connection then cannot be closed in order is not its matter.
    await title
    row = await storage.get_conversation("c")
    assert row is not None
    assert row["title"] == "x"


async def test_a_black_hole_ends_every_call_in_bounded_time_and_is_recovered_from(
    open_storage: Callable[..., PostgreSQLStorage], proxy: FaultProxy, observer: Observer
) -> None:
    storage = open_storage(
        proxy.url, connect_timeout=0.3, command_timeout=0.3, deadline=0.6, acquire_timeout=0.3
    )
    await storage.append_message("c", "user", "x")
    proxy.black_hole()
    started = monotonic()
    results = await asyncio.gather(
        storage.get_messages("c"),
        storage.get_recent_messages("c", 1),
        storage.append_message("c", "user", "y"),
        storage.update_title("c", "t"),
        storage.list_conversations(),
        return_exceptions=True,
    )
    assert monotonic() - started < 4
    assert all(isinstance(result, StorageError) for result in results), results
    await proxy.heal()
    started = monotonic()
    await storage.append_message("c", "user", "z")
    assert monotonic() - started < 2
    assert (await storage.get_messages("c"))[-1]["content"] == "z"
    assert await exact(observer)
