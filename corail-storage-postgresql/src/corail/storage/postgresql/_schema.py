"""The tables: looked for on first use, made if they are missing, refused if they are not ours.

Those of an earlier release are told apart here and handed to ``_older``.

Looking comes first and needs no right beyond connecting: ``CREATE ... IF NOT EXISTS`` is not safe
from several processes at once (up to 88 % of calls failed), and on an existing index it stalls every
writer. Only missing tables lead to DDL, under an advisory lock of the transaction, and whatever
happens then, looking again decides.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import asyncpg

from corail.storage.errors import StorageConfigurationError, StorageError, StorageSchemaError
from corail.storage.postgresql import _older, _sql, _sql_tables
from corail.storage.postgresql._locking import lock_key
from corail.storage.postgresql._sql import Statements
from corail.storage.postgresql._types import Connection, DriverConnection

_CONVERSATIONS: Final[Mapping[str, str]] = {
    "id": "text",
    "title": "text",
    "metadata": "jsonb",
    "created_at": "timestamp with time zone",
    "updated_at": "timestamp with time zone",
    "last_id": "bigint",
    "message_count": "bigint",
}
_MESSAGES: Final[Mapping[str, str]] = {
    "conversation_id": "text",
    # An upgrade leaves the earlier release's type: to change it would stall writers for seconds.
    "id": "bigint or integer",
    "uid": "uuid",
    "role": "text",
    "content": "text",
    "created_at": "timestamp with time zone",
}
# What an earlier release made.
_OLD_CONVERSATIONS: Final = {name: _CONVERSATIONS[name] for name in ("id", "title", "metadata", "created_at")}
_OLD_MESSAGES: Final = {name: kind for name, kind in _MESSAGES.items() if name != "uid"}

# Somebody else is making the same tables: the losers of that race, by SQLSTATE. 23505 comes from
# the catalogues' own indexes.
_RACES: Final = frozenset({"23505", "42P06", "42P07", "42710", "42P01", "40001", "40P01", "55P03", "XX000"})
# Engines without advisory locks; the retry alone makes them safe.
_NO_LOCKS: Final = frozenset({"0A000", "42883"})
_TRIES: Final = 5


@dataclass(frozen=True, slots=True)
class _Table:
    columns: Mapping[str, str]
    ordinary: bool
    """A plain or partitioned table, not a view or a foreign table."""
    comment: str | None
    required: frozenset[str]
    """Columns that are NOT NULL."""

    def has(self, wanted: Mapping[str, str]) -> bool:
        return self.ordinary and all(self._fits(name, kind) for name, kind in wanted.items())

    def _fits(self, name: str, kind: str) -> bool:
        return self.columns.get(name) in kind.split(" or ")

    def lacking(self, wanted: Mapping[str, str]) -> str:
        if not self.ordinary:
            return "it is not a table"
        return ", ".join(
            f"column {name} is {self.columns.get(name, 'missing')}, not {kind}"
            for name, kind in wanted.items()
            if not self._fits(name, kind)
        )


_Tables = dict[str, _Table]


@dataclass(frozen=True, slots=True)
class Prepared:
    """The tables, ready for use."""

    schema: str
    statements: Statements
    backend: int
    """The process of the server that was asked, by its own account."""
    older: bool = False
    """Whether they come from an earlier release and are not yet upgraded."""


async def prepare(
    connection: Connection, schema: str | None, *, auto_create: bool, lock_timeout: float
) -> Prepared:
    """Make sure of the tables and return the statements for them.

    Args:
        connection: any connection to the database.
        schema: where the tables belong; None for the first schema of ``search_path`` that has them,
            or else the first there is.
        auto_create: whether missing tables may be made.
        lock_timeout: seconds to wait for another process that is making them.

    Raises ``StorageSchemaError`` when they are missing and may not be made, are not ours, are newer
    than this release, or come from an earlier one and may not be changed.

    """
    session = await connection.fetchrow(_sql_tables.SESSION)
    if session is None or session["encoding"] != "UTF8":
        raise StorageConfigurationError(
            "The database is not encoded in UTF-8"
            + (f" but in {session['encoding']}" if session is not None else "")
            + ", so it cannot hold every text. Use a database created with ENCODING 'UTF8'."
        )
    place: str | None = None
    lost: asyncpg.PostgresError | None = None
    for _ in range(_TRIES):
        path = [schema] if schema is not None else list(session["schemas"])
        found = await _probe(connection, path)
        place = schema if schema is not None else _place(found, path)
        if place is None:
            raise StorageSchemaError(
                "search_path names no existing schema, so there is no place for the tables. Set "
                "CORAIL_DB_SCHEMA, or the role's search_path."
            )
        tables = found.get(place, {})
        if _is_older(tables, place):
            older = await _older.prepare(
                connection, place, session["role"], auto_create=auto_create, within=lock_timeout
            )
            return Prepared(place, older, session["backend"], older=True)
        if _accept(tables, place):
            return Prepared(place, _sql.statements(place), session["backend"])
        if not auto_create:
            raise await _missing(connection, place, session["role"], "auto_create is off")
        try:
            await _create(connection, place, lock_timeout)
        except asyncpg.InsufficientPrivilegeError as error:
            raise await _missing(
                connection, place, session["role"], "the role may not create them"
            ) from error
        except asyncpg.PostgresError as error:
            if error.sqlstate not in _RACES:
                raise
            lost = error
    why = "" if lost is None else f" ({lost.sqlstate})"
    raise StorageSchemaError(
        f"The tables in schema {place} could not be made in {_TRIES} tries{why}: something else of these "
        "names is in the way, or keeps changing them."
    ) from lost


async def locate(connection: DriverConnection, schema: str | None) -> str:
    """Return the schema whose tables an upgrade is for.

    Raises ``StorageSchemaError`` when there are none, or they are not ours.
    """
    session = await connection.fetchrow(_sql_tables.SESSION)
    path = [schema] if schema is not None else list(session["schemas"] if session is not None else [])
    found = await _probe(connection, path)
    place = schema if schema is not None else _place(found, path)
    tables = found.get(place or "", {})
    if place is None or not (_is_older(tables, place) or _accept(tables, place)):
        raise StorageSchemaError(
            f"There are no tables to upgrade in schema {place}. Set CORAIL_DB_SCHEMA to where they are; new "
            "ones are made on first use."
        )
    return place


def schema_sql(schema: str = "public", *, create_schema: bool = True) -> str:
    """Return the SQL that makes the tables in ``schema``, for a role that has the right to.

    The library runs the same on first connection; this is for databases where it may not.
    """
    commands = _sql_tables.definition(checked_schema(schema), create_schema=create_schema)
    return "".join(f"{command};\n" for command in commands)


def checked_schema(schema: str) -> str:
    """Return a schema name PostgreSQL can have; raises ``StorageConfigurationError`` otherwise."""
    if not isinstance(schema, str):  # pyright: ignore[reportUnnecessaryIsInstance] - callers may be untyped
        raise TypeError(f"schema must be a str, not {type(schema).__name__}")
    try:
        size = len(schema.encode("utf-8"))
    except UnicodeEncodeError:
        size = 0
    if not 1 <= size <= 63 or "\x00" in schema:
        raise StorageConfigurationError(
            "The schema (CORAIL_DB_SCHEMA or schema=) must be a name of 1 to 63 bytes, without NUL."
        )
    return schema


async def _probe(connection: Connection | DriverConnection, schemas: list[str]) -> dict[str, _Tables]:
    found: dict[str, _Tables] = {}
    for row in await connection.fetch(_sql_tables.PROBE, schemas):
        table = _Table(
            dict(zip(row["columns"], row["types"], strict=True)),
            row["kind"] in "rp",
            row["comment"],
            frozenset(row["required"] or ()),
        )
        found.setdefault(row["schema"], {})[row["name"]] = table
    return found


def _place(found: Mapping[str, _Tables], path: list[str]) -> str | None:
    # Where an unqualified name would have led an earlier release, too.
    for schema in path:
        conversations = found.get(schema, {}).get("conversations")
        if conversations is not None and conversations.has(_OLD_CONVERSATIONS):
            return schema
    return path[0] if path else None


def _accept(tables: _Tables, schema: str) -> bool:
    """Return whether the tables are there and ours, False when some are missing and none is foreign."""
    conversations, messages = tables.get("conversations"), tables.get("messages")
    for name, table, wanted in (
        ("conversations", conversations, _CONVERSATIONS),
        ("messages", messages, _MESSAGES),
    ):
        if table is not None and not table.has(wanted):
            raise StorageSchemaError(
                f"The table {name} in schema {schema} is not ours ({table.lacking(wanted)}) and is left "
                "alone. Set CORAIL_DB_SCHEMA to another schema."
            )
    if conversations is not None:
        _check_version(conversations.comment, schema)
    return conversations is not None and messages is not None


def _is_older(tables: _Tables, schema: str) -> bool:
    conversations, messages = tables.get("conversations"), tables.get("messages")
    if conversations is None or not conversations.has(_OLD_CONVERSATIONS):
        return False
    if messages is not None and not messages.has(_OLD_MESSAGES):
        return False
    if _check_version(conversations.comment, schema):
        return False
    # Without the comment the columns decide: what an upgrade has not finished stays nullable.
    return not (conversations.has(_CONVERSATIONS) and "last_id" in conversations.required)


def _check_version(comment: str | None, schema: str) -> bool:
    """Return whether a version is recorded, having made sure that it is not a later one."""
    # Restored without comments, the columns alone have to do.
    if comment is None or not comment.startswith(_sql_tables.COMMENT):
        return False
    recorded = comment.removeprefix(_sql_tables.COMMENT).partition(" ")[0]
    known = recorded.isascii() and recorded.isdigit() and len(recorded) < 10
    if not known or int(recorded) > _sql_tables.SCHEMA_VERSION:
        raise StorageSchemaError(
            f"The tables in schema {schema} have version {recorded[:20]!r}; this release knows up to "
            f"{_sql_tables.SCHEMA_VERSION}. Upgrade corail-storage-postgresql."
        )
    return True


async def _create(connection: Connection, schema: str, lock_timeout: float) -> None:
    try:
        await _create_under_lock(connection, schema, lock_timeout, lock=True)
    except asyncpg.PostgresError as error:
        if error.sqlstate not in _NO_LOCKS:
            raise
        await _create_under_lock(connection, schema, lock_timeout, lock=False)


async def _create_under_lock(connection: Connection, schema: str, lock_timeout: float, *, lock: bool) -> None:
    async with connection.transaction():
        await connection.execute(_sql_tables.LOCK_TIMEOUT, f"{max(1, int(lock_timeout * 1000))}ms")
        if lock:
            await connection.execute(_sql_tables.LOCK, lock_key(schema))
            # Made meanwhile by the process that held the lock: not even IF NOT EXISTS may run then.
            if _accept((await _probe(connection, [schema])).get(schema, {}), schema):
                return
        exists = await connection.fetchval(_sql_tables.SCHEMA_EXISTS, schema)
        for command in _sql_tables.definition(schema, create_schema=not exists):
            await connection.execute(command)


async def _missing(connection: Connection, schema: str, role: str, why: str) -> StorageError:
    # Even IF NOT EXISTS needs the right to create schemas, which the owner of this one may not have.
    exists = await connection.fetchval(_sql_tables.SCHEMA_EXISTS, schema)
    return StorageSchemaError(
        f"The tables are missing in schema {schema}, and {why} (role {role}). Let a role with the right "
        f"to do so run:\n{schema_sql(schema, create_schema=not exists)}"
        f"GRANT USAGE ON SCHEMA {_sql.quoted(schema)} TO {_sql.quoted(role)};\n"
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON {_sql.quoted(schema)}.conversations, "
        f"{_sql.quoted(schema)}.messages TO {_sql.quoted(role)};"
    )
