"""Roles with few rights: what they can do, and what they are told when they cannot."""

from collections.abc import AsyncIterator, Callable

import asyncpg
import pytest

from corail.storage.errors import StorageConfigurationError, StorageSchemaError, StorageUnavailableError
from corail.storage.postgresql import PostgreSQLStorage, schema_sql
from tests.postgresql.addresses import with_parameters, with_user
from tests.postgresql.observing import Observer

pytestmark = pytest.mark.anyio


@pytest.fixture
def role_url(url: str, role: str) -> str:
    return with_user(url, role, role)


@pytest.fixture
async def owner(url: str, observer: Observer, schema: str) -> AsyncIterator[Observer]:
    """A connection of a role that owns this test's schema and may do nothing else in the database."""
    name = f"owner_{schema}"
    await observer.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'owner'")
    await observer.execute(f"CREATE SCHEMA {schema} AUTHORIZATION {name}")
    connection = await asyncpg.connect(with_user(url, name, "owner"))
    yield connection
    await connection.close()
    await observer.execute(f"DROP OWNED BY {name} CASCADE")
    await observer.execute(f"DROP ROLE {name}")


async def use_everything(storage: PostgreSQLStorage) -> None:
    await storage.create_conversation("c", {"a": 1})
    await storage.append_message("c", "user", "one")
    await storage.append_messages("c", [{"role": "user", "content": "two"}], idempotency_key="k")
    await storage.append_messages("c", [{"role": "user", "content": "two"}], idempotency_key="k")
    await storage.update_title("c", "title")
    assert len(await storage.get_messages("c")) == 2
    assert len(await storage.get_recent_messages("c", 1)) == 1
    assert len((await storage.page_messages("c"))["items"]) == 2
    assert len(await storage.list_conversations()) == 1
    assert len((await storage.page_conversations())["items"]) == 1
    assert (await storage.check())["ok"]
    await storage.delete_conversation("c")
    assert not await storage.conversation_exists("c")


async def grant(observer: Observer, schema: str, role: str) -> None:
    await observer.execute(f"GRANT USAGE ON SCHEMA {schema} TO {role}")
    await observer.execute(
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON {schema}.conversations, {schema}.messages TO {role}"
    )


async def test_a_role_without_create_works_once_the_tables_exist(
    open_storage: Callable[..., PostgreSQLStorage], observer: Observer, schema: str, role: str, role_url: str
) -> None:
    await observer.execute(schema_sql(schema))
    await grant(observer, schema, role)
    await use_everything(open_storage(role_url))
    # Found by search_path, too.
    await use_everything(open_storage(with_parameters(role_url, search_path=schema), schema=None))


def instructions(error: StorageSchemaError) -> str:
    text = str(error)
    assert "run:\n" in text
    return text.partition("run:\n")[2]


async def test_a_role_without_create_is_told_exactly_what_to_run(
    open_storage: Callable[..., PostgreSQLStorage], observer: Observer, schema: str, role: str, role_url: str
) -> None:
    storage = open_storage(role_url)
    with pytest.raises(StorageSchemaError, match=f"missing in schema {schema}.*role {role}") as caught:
        await storage.append_message("c", "user", "hello")
    await observer.execute(instructions(caught.value))
    await use_everything(storage)
    # Somebody may have run it already.
    await observer.execute(instructions(caught.value))
    await use_everything(storage)


async def test_what_to_run_needs_no_right_but_on_the_schema_that_is_there(
    open_storage: Callable[..., PostgreSQLStorage], owner: Observer, schema: str, role_url: str
) -> None:
    assert schema
    storage = open_storage(role_url)
    with pytest.raises(StorageSchemaError) as caught:
        await storage.append_message("c", "user", "hello")
    await owner.execute(instructions(caught.value))
    await use_everything(storage)


async def test_the_public_schema_of_a_new_database_is_explained_too(database_url: str, role: str) -> None:
    owner = await asyncpg.connect(database_url)
    # As PostgreSQL 15 and newer do by themselves.
    await owner.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    async with PostgreSQLStorage(with_user(database_url, role, role)) as storage:
        with pytest.raises(StorageSchemaError, match="schema public") as caught:
            await storage.append_message("c", "user", "hello")
        await owner.execute(instructions(caught.value))
        await use_everything(storage)
        await owner.execute(f"DROP OWNED BY {role}")
        await owner.close()


async def test_an_owner_of_the_schema_alone_makes_the_tables(
    open_storage: Callable[..., PostgreSQLStorage], owner: Observer, url: str, schema: str
) -> None:
    assert owner
    await use_everything(open_storage(with_user(url, f"owner_{schema}", "owner")))


@pytest.mark.parametrize(
    "missing", ["everything", "usage of the schema", "insert", "update", "delete", "messages"]
)
async def test_missing_rights_on_the_tables_are_named_with_the_remedy(
    open_storage: Callable[..., PostgreSQLStorage],
    observer: Observer,
    schema: str,
    role: str,
    role_url: str,
    missing: str,
) -> None:
    await observer.execute(schema_sql(schema))
    if missing != "everything":
        await grant(observer, schema, role)
    if missing == "usage of the schema":
        await observer.execute(f"REVOKE USAGE ON SCHEMA {schema} FROM {role}")
    elif missing == "messages":
        await observer.execute(f"REVOKE ALL ON {schema}.messages FROM {role}")
    elif missing != "everything":
        await observer.execute(f"REVOKE {missing} ON {schema}.conversations FROM {role}")
    storage = open_storage(role_url)
    with pytest.raises(StorageConfigurationError, match="GRANT") as caught:
        await use_everything(storage)
    assert role not in str(caught.value)  # which is its password here
    await grant(observer, schema, role)
    await observer.execute("DELETE FROM conversations")
    await use_everything(storage)


async def test_a_role_that_may_not_connect_is_told_so(
    open_storage: Callable[..., PostgreSQLStorage], database_url: str, role: str
) -> None:
    database = database_url.rpartition("/")[2]
    owner = await asyncpg.connect(database_url)
    await owner.execute(f"REVOKE CONNECT ON DATABASE {database} FROM PUBLIC")
    await owner.close()
    with pytest.raises(StorageConfigurationError, match="GRANT CONNECT"):
        await open_storage(with_user(database_url, role, role)).list_conversations()


async def test_missing_tables_on_a_read_only_server_are_not_made(
    open_storage: Callable[..., PostgreSQLStorage], url: str
) -> None:
    storage = open_storage(with_parameters(url, default_transaction_read_only="on"), deadline=0.5)
    with pytest.raises(StorageUnavailableError, match="read-only"):
        await storage.list_conversations()
