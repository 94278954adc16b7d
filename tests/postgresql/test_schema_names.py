"""Where the tables go: schemas side by side, hostile names, search paths, switches, encodings."""

import uuid
from collections.abc import Callable
from urllib.parse import quote

import asyncpg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from corail.storage.errors import StorageConfigurationError, StorageSchemaError
from corail.storage.postgresql import PostgreSQLStorage, schema_sql
from tests.conftest import PostgresServer
from tests.postgresql.addresses import with_database, with_parameters
from tests.postgresql.observing import Observer

pytestmark = pytest.mark.anyio


async def test_two_agents_share_a_database_and_see_nothing_of_each_other(
    url: str, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for agent in ("a", "b"):
        monkeypatch.setenv("CORAIL_DB_SCHEMA", f"{schema}_{agent}")
        async with PostgreSQLStorage(url) as storage:
            await storage.append_message("c", "user", f"to {agent}")
    for agent in ("a", "b"):
        monkeypatch.setenv("CORAIL_DB_SCHEMA", f" {schema}_{agent} ")
        async with PostgreSQLStorage(url) as storage:
            assert await storage.get_messages("c") == [{"role": "user", "content": f"to {agent}"}]
            await storage.delete_conversation("c")


async def test_the_argument_goes_before_the_variable(
    url: str, schema: str, monkeypatch: pytest.MonkeyPatch, observer: Observer
) -> None:
    monkeypatch.setenv("CORAIL_DB_SCHEMA", f"{schema}_variable")
    async with PostgreSQLStorage(url, schema=schema) as storage:
        await storage.create_conversation("c")
    assert await observer.fetchval("SELECT to_regclass($1) IS NOT NULL", f"{schema}.conversations")
    assert await observer.fetchval("SELECT to_regnamespace($1) IS NULL", f"{schema}_variable")


# The server refuses names that begin with pg_.
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=15)


@given(name=NAMES)
@example('a"b')
@example('"')
@example("a b")
@example("ä'ß;--")
@example("{messages}")
@example("{0}{{}}")
@example("%s%%")
@example("$1")
@example("\\")
@example("\n")
@example(" ")
@example("Public")
@example("select")
@example("x" * 63)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_schema_name_works(url: str, observer: Observer, name: str) -> None:
    quoted = '"' + name.replace('"', '""') + '"'
    await observer.execute(f"DROP SCHEMA IF EXISTS {quoted} CASCADE")
    async with PostgreSQLStorage(url, schema=name) as storage:
        await storage.append_messages("c", [{"role": "user", "content": "x"}], idempotency_key="k")
        await storage.append_messages("c", [{"role": "user", "content": "x"}], idempotency_key="k")
        await storage.update_title("c", "t")
        assert len(await storage.get_messages("c")) == 1
        assert len((await storage.page_conversations())["items"]) == 1
        await storage.delete_conversation("c")
    assert not await observer.fetch(f"TABLE {quoted}.conversations")
    # What schema_sql gives is the same, and harmless where the tables exist.
    await observer.execute(schema_sql(name))
    await observer.execute(f"DROP SCHEMA {quoted} CASCADE")


async def test_without_a_name_the_first_schema_of_search_path_with_our_tables_is_used(
    url: str, schema: str, observer: Observer
) -> None:
    first, second = f"{schema}_1", f"{schema}_2"
    await observer.execute(f"CREATE SCHEMA {first}; CREATE SCHEMA {second}")
    path = with_parameters(url, search_path=f"nowhere,{first},{second}")
    await observer.execute(schema_sql(second))
    async with PostgreSQLStorage(path) as storage:
        await storage.create_conversation("c")
    assert len(await observer.fetch(f"TABLE {second}.conversations")) == 1
    assert await observer.fetchval("SELECT to_regclass($1) IS NULL", f"{first}.conversations")


async def test_without_tables_the_first_schema_there_is_gets_them(
    url: str, schema: str, observer: Observer
) -> None:
    await observer.execute(f"CREATE SCHEMA {schema}")
    async with PostgreSQLStorage(with_parameters(url, search_path=f"nowhere,{schema},public")) as storage:
        await storage.create_conversation("c")
    assert await observer.fetchval("SELECT count(*) FROM conversations") == 1


@pytest.mark.parametrize("path", ["nowhere", '""', "nowhere,elsewhere"])
async def test_a_search_path_that_names_no_schema_is_explained(url: str, path: str) -> None:
    async with PostgreSQLStorage(with_parameters(url, search_path=path)) as storage:
        with pytest.raises(StorageSchemaError, match=r"search_path.*CORAIL_DB_SCHEMA"):
            await storage.list_conversations()


async def test_without_auto_create_missing_tables_are_not_made(
    open_storage: Callable[..., PostgreSQLStorage], observer: Observer, schema: str
) -> None:
    storage = open_storage(auto_create=False)
    for _ in range(2):
        with pytest.raises(StorageSchemaError, match="auto_create is off") as caught:
            await storage.append_message("c", "user", "x")
        assert schema_sql(schema) in str(caught.value)
        assert await observer.fetchval("SELECT to_regnamespace($1) IS NULL", schema)
    await observer.execute(schema_sql(schema))
    await storage.append_message("c", "user", "x")


async def test_schema_sql_makes_what_the_library_makes(
    open_storage: Callable[..., PostgreSQLStorage], observer: Observer, schema: str
) -> None:
    other = f"{schema}_by_hand"
    await open_storage().create_conversation("c")
    for _ in range(2):
        await observer.execute(schema_sql(other))

    async def described(name: str) -> list[str]:
        rows = await observer.fetch(
            """
            SELECT c.relname || a.attname || format_type(a.atttypid, a.atttypmod) || a.attnotnull::text
                   || coalesce(pg_get_expr(d.adbin, d.adrelid), '') || coalesce(k.collname, '')
                   || coalesce(c.reloptions::text, '')
                   || coalesce(obj_description(c.oid, 'pg_class'), '') AS text
            FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
            LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
            LEFT JOIN pg_collation k ON k.oid = a.attcollation
            WHERE c.relnamespace = to_regnamespace($1)
            UNION ALL
            SELECT replace(pg_get_constraintdef(oid), $1 || '.', '') FROM pg_constraint
            WHERE connamespace = to_regnamespace($1)
            UNION ALL
            SELECT indexdef FROM pg_indexes WHERE schemaname = $1
            ORDER BY 1
            """,
            name,
        )
        return [str(row["text"]).replace(name, "s") for row in rows]

    assert await described(other) == await described(schema)


def test_schema_sql_can_leave_the_schema_to_others() -> None:
    assert schema_sql().startswith('CREATE SCHEMA IF NOT EXISTS "public";\n')
    assert "CREATE SCHEMA" not in schema_sql("agents", create_schema=False)
    with pytest.raises(StorageConfigurationError):
        schema_sql("")
    with pytest.raises(TypeError):
        schema_sql(5)  # type: ignore[arg-type]


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
async def test_a_database_that_is_not_utf8_is_refused_at_once(
    postgres_server: PostgresServer, encoding: str
) -> None:
    name = f"corail_enc_{uuid.uuid4().hex[:12]}"
    administrator = await asyncpg.connect(postgres_server.url)
    await administrator.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'")
    try:
        async with PostgreSQLStorage(with_database(postgres_server.url, name)) as storage:
            with pytest.raises(StorageConfigurationError, match=f"UTF-8.*{encoding}.*ENCODING 'UTF8'"):
                await storage.append_message("c", "user", "x")
        inside = await asyncpg.connect(with_database(postgres_server.url, name))
        assert await inside.fetchval("SELECT to_regclass('conversations') IS NULL")
        await inside.close()
    finally:
        await administrator.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await administrator.close()


async def test_a_database_name_with_reserved_characters_is_found(postgres_server: PostgresServer) -> None:
    name = f"a/b@c d%?{uuid.uuid4().hex[:8]}"
    administrator = await asyncpg.connect(postgres_server.url)
    await administrator.execute(f"CREATE DATABASE \"{name}\" TEMPLATE template0 ENCODING 'UTF8'")
    try:
        url = postgres_server.url.rpartition("/")[0] + "/" + quote(name, safe="")
        async with PostgreSQLStorage(url) as storage:
            await storage.append_message("c", "user", "x")
            assert await storage.conversation_exists("c")
    finally:
        await administrator.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        await administrator.close()
