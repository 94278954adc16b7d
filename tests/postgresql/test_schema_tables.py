"""Tables that are there already: ours, somebody else's, an earlier or a later release's."""

import asyncio
import contextlib
from collections.abc import Callable

import asyncpg
import pytest

from corail.storage.errors import StorageError, StorageSchemaError
from corail.storage.postgresql import PostgreSQLStorage, schema_sql
from tests.postgresql.observing import Observer, connections_end

pytestmark = pytest.mark.anyio


async def portrait(observer: Observer, schema: str) -> list[str]:
    """Describe everything in a schema so closely that no change to it could go unnoticed."""
    described = await observer.fetch(
        """
        SELECT c::text || coalesce(obj_description(c.oid, 'pg_class'), '') AS text
        FROM (SELECT oid, relname, relkind, relfilenode, relhasindex, relhastriggers, relacl, reloptions
              FROM pg_class WHERE relnamespace = to_regnamespace($1)) AS c
        UNION ALL
        SELECT a::text FROM (SELECT attrelid, attname, atttypid, attnum, attnotnull, attisdropped
              FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
              WHERE relnamespace = to_regnamespace($1)) AS a
        UNION ALL
        SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = to_regnamespace($1)
        UNION ALL
        SELECT nspname || coalesce(nspacl::text, '') FROM pg_namespace WHERE nspname = $1
        ORDER BY 1
        """,
        schema,
    )
    lines = [str(row["text"]) for row in described]
    for name in ("conversations", "messages"):
        if await observer.fetchval("SELECT to_regclass($1) IS NOT NULL", f"{schema}.{name}"):
            kind = await observer.fetchval(
                "SELECT relkind::text FROM pg_class WHERE oid = to_regclass($1)", f"{schema}.{name}"
            )
            if kind in {"r", "m"}:
                rows = await observer.fetch(f"TABLE {schema}.{name}")
                lines += [str(row) for row in rows]
    return lines


FOREIGN = {
    "a table messages with other columns": ["CREATE TABLE {s}.messages (id int, body text)"],
    "a table conversations with other columns": ["CREATE TABLE {s}.conversations (id uuid PRIMARY KEY)"],
    "both with other columns": [
        "CREATE TABLE {s}.conversations (id int PRIMARY KEY, name text)",
        "CREATE TABLE {s}.messages (id int, conversation int REFERENCES {s}.conversations)",
        "INSERT INTO {s}.conversations VALUES (1, 'theirs')",
        "INSERT INTO {s}.messages VALUES (1, 1)",
    ],
    "our columns with another type": [
        "CREATE TABLE {s}.conversations (id uuid, title text, metadata jsonb, created_at timestamptz, "
        "updated_at timestamptz, last_id bigint, message_count bigint)"
    ],
    "messages beside our conversations": [
        "CREATE TABLE {s}.messages (conversation_id text, id bigint, uid text, role text, content text, "
        "created_at timestamptz)"
    ],
    "a view conversations": ["CREATE VIEW {s}.conversations AS SELECT 1 AS id"],
    "a view with all our columns": [
        "CREATE VIEW {s}.conversations AS "
        "SELECT ''::text AS id, ''::text AS title, '{{}}'::jsonb AS metadata, now() AS created_at, "
        "now() AS updated_at, 0::bigint AS last_id, 0::bigint AS message_count"
    ],
    "a materialized view messages": ["CREATE MATERIALIZED VIEW {s}.messages AS SELECT 1 AS id"],
    "a sequence messages": ["CREATE SEQUENCE {s}.messages"],
    "a sequence conversations": ["CREATE SEQUENCE {s}.conversations"],
    "a composite type messages": ["CREATE TYPE {s}.messages AS (id int)"],
    "an index messages": ["CREATE TABLE {s}.theirs (i int)", "CREATE INDEX messages ON {s}.theirs (i)"],
    "an empty table conversations": ["CREATE TABLE {s}.conversations ()"],
}


async def test_tables_of_a_later_release_are_refused(
    open_storage: Callable[..., PostgreSQLStorage], observer: Observer, schema: str
) -> None:
    await observer.execute(schema_sql(schema))
    await observer.execute(f"COMMENT ON TABLE {schema}.conversations IS 'corail-storage schema 2'")
    before = await portrait(observer, schema)
    with pytest.raises(StorageSchemaError, match=r"version '2'.*Upgrade corail-storage-postgresql"):
        await open_storage().append_message("c", "user", "x")
    assert await portrait(observer, schema) == before


@pytest.mark.parametrize(
    ("comment", "accepted"),
    [
        ("NULL", True),
        ("'our conversations'", True),
        ("'corail-storage schema 1'", True),
        ("'corail-storage schema 1 (made by hand)'", True),
        ("'corail-storage schema 0'", True),
        ("'corail-storage schema 10'", False),
        ("'corail-storage schema two'", False),
        ("'corail-storage schema '", False),
        ("'corail-storage schema ²'", False),
        (f"'corail-storage schema {'9' * 5000}'", False),
    ],
)
async def test_the_recorded_version_decides_and_a_lost_comment_does_not_matter(
    open_storage: Callable[..., PostgreSQLStorage],
    observer: Observer,
    schema: str,
    comment: str,
    *,
    accepted: bool,
) -> None:
    await observer.execute(schema_sql(schema))
    await observer.execute(f"COMMENT ON TABLE {schema}.conversations IS {comment}")
    storage = open_storage()
    if accepted:
        await storage.append_message("c", "user", "x")
        assert await storage.conversation_exists("c")
    else:
        with pytest.raises(StorageSchemaError, match="version"):
            await storage.append_message("c", "user", "x")


async def test_further_columns_indexes_and_partitions_of_an_administrator_do_not_matter(
    open_storage: Callable[..., PostgreSQLStorage], observer: Observer, schema: str
) -> None:
    await observer.execute(schema_sql(schema))
    await observer.execute(f"ALTER TABLE {schema}.conversations ADD tenant text DEFAULT 'a'")
    await observer.execute(f"DROP TABLE {schema}.messages")
    await observer.execute(
        f"""
        CREATE TABLE {schema}.messages (
          conversation_id text COLLATE "C" NOT NULL REFERENCES {schema}.conversations ON DELETE CASCADE,
          id bigint NOT NULL, uid uuid NOT NULL, role text NOT NULL, content text NOT NULL,
          created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
          PRIMARY KEY (conversation_id, id), UNIQUE (conversation_id, uid)
        ) PARTITION BY HASH (conversation_id)
        """
    )
    for part in range(2):
        await observer.execute(
            f"CREATE TABLE {schema}.messages_{part} PARTITION OF {schema}.messages "
            f"FOR VALUES WITH (MODULUS 2, REMAINDER {part})"
        )
    storage = open_storage()
    for number in range(4):
        for _ in range(2):
            await storage.append_messages(
                f"c{number}", [{"role": "user", "content": "x"}], idempotency_key="k"
            )
        assert len(await storage.get_messages(f"c{number}")) == 1


async def test_after_the_tables_were_dropped_the_next_call_but_one_works(
    storage: PostgreSQLStorage, observer: Observer, schema: str
) -> None:
    calls: list[Callable[[], object]] = [
        lambda: storage.append_message("c", "user", "x"),
        lambda: storage.get_messages("c"),
        storage.list_conversations,
        lambda: storage.update_title("c", "t"),
    ]
    for call in calls:
        await storage.append_message("c", "user", "x")
        await observer.execute(f"DROP TABLE {schema}.messages, {schema}.conversations")
        with pytest.raises(StorageSchemaError, match="gone or have changed"):
            await call()  # type: ignore[misc]
        await call()  # type: ignore[misc]
    await observer.execute(f"DROP TABLE {schema}.messages")
    with pytest.raises(StorageSchemaError):
        await storage.get_messages("c")
    await storage.get_messages("c")


async def test_many_calls_under_way_when_the_tables_are_dropped_fail_with_that_alone(
    open_storage: Callable[..., PostgreSQLStorage],
    observer: Observer,
    application_name: str,
    schema: str,
) -> None:
    storage = open_storage(pool_size=5)
    await storage.append_message("c", "user", "x")

    async def use(number: int) -> BaseException | None:
        try:
            for _ in range(5):
                await storage.get_recent_messages(f"c{number}", 5)
                await storage.append_message(f"c{number}", "user", "x")
                await storage.update_title(f"c{number}", "x")
        except BaseException as error:  # noqa: BLE001 - a CancelledError that nobody asked for counts
            return error
        return None

    async def drop() -> None:
        # The deadlock it may run into with an append is not the storage's matter, if it is the victim.
        with contextlib.suppress(asyncpg.DeadlockDetectedError):
            await observer.execute(f"DROP TABLE IF EXISTS {schema}.messages, {schema}.conversations CASCADE")

    for _ in range(10):
        results = await asyncio.gather(*(use(number) for number in range(20)), drop())
        assert not [error for error in results if error and not isinstance(error, StorageError)]
    await asyncio.gather(*(storage.get_recent_messages(f"c{n}", 1) for n in range(5)), return_exceptions=True)
    await storage.append_message("c", "user", "x")
    await storage.aclose()
    assert await connections_end(observer, application_name)
