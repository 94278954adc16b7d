"""Tables of an earlier release: the instant steps that make them usable beside it.

Nothing is rewritten, converted or dropped here, and the earlier release notices nothing. What comes
after is the command of ``upgrade``.
"""

from collections.abc import Sequence
from typing import Any, Final

import asyncpg

from corail.storage.errors import StorageSchemaError, StorageTimeoutError
from corail.storage.postgresql import _sql_older
from corail.storage.postgresql._locking import TablesBusyError, change
from corail.storage.postgresql._sql import Statements, filled, quoted
from corail.storage.postgresql._types import Connection, DriverConnection

UPGRADE: Final = "python -m corail.storage.postgresql.upgrade"


async def prepare(
    connection: Connection, schema: str, role: str, *, auto_create: bool, within: float
) -> Statements:
    """Take what instant steps are still to take, and return the statements for these tables.

    Args:
        connection: any connection to the database.
        schema: where the tables are.
        role: whose connection it is, for the error.
        auto_create: whether tables may be changed.
        within: seconds to wait for a moment when they are free.

    Raises ``StorageSchemaError`` with the SQL when this role may not, ``StorageTimeoutError`` when
    somebody holds the tables all the time.

    """
    if await missing_steps(connection, schema):
        if not auto_create:
            raise await _not_allowed(connection, schema, role, "auto_create is off")
        try:
            await take_steps(connection, schema, within=within)
        except asyncpg.InsufficientPrivilegeError as error:
            raise await _not_allowed(connection, schema, role, "the role may not alter them") from error
        except TablesBusyError as error:
            raise StorageTimeoutError(
                f"The tables in schema {schema} come from an earlier release and need a moment without long "
                f"transactions, which there was not within {within:.0f} s. See pg_stat_activity for the "
                "oldest one, end it or wait for it (a pg_dump, perhaps), and repeat the call. Nothing was "
                "changed half-way."
            ) from error.__cause__
    state = await _state(connection, schema)
    if state["lacks_rights"]:
        raise StorageSchemaError(
            f"The role {role} may write messages in schema {schema}, but not the table message_uids that "
            f"belongs to them. As its owner run:\n{_grant(schema, quoted(role))};"
        )
    if state["sequence"] is None:
        raise StorageSchemaError(
            f"The column id of {schema}.messages has lost its sequence, which an earlier release gave it. "
            "ALTER SEQUENCE ... OWNED BY it, and give the column its DEFAULT nextval(...) back."
        )
    return _sql_older.statements(schema, state["sequence"])


async def take_steps(connection: Connection | DriverConnection, schema: str, *, within: float) -> None:
    """Take every instant step that is missing, each in a transaction of its own.

    Of its own: two tables locked in one would deadlock with a writer that comes from the other side.
    """
    while steps := await missing_steps(connection, schema):
        first = steps[0][0]

        async def needed(step: str = first) -> Sequence[str]:
            return next((found for found in await missing_steps(connection, schema) if found[0] == step), ())

        await change(connection, schema, needed, within=within)


async def missing_steps(connection: Connection | DriverConnection, schema: str) -> list[list[str]]:
    """Return the steps still to take, as the commands of one transaction each."""

    def commands(*constants: str) -> list[str]:
        return [filled(constant, schema) for constant in constants]

    steps: list[list[str]] = []
    if await connection.fetchval("SELECT to_regclass($1) IS NULL", _name(schema, "messages")):
        steps.append(commands(_sql_older.CREATE_OLD_MESSAGES, _sql_older.CREATE_OLD_INDEX))
        state: dict[str, Any] = {"has_counters": False, "has_uid": False, "has_uids": False}
    else:
        state = await _state(connection, schema)
    if not state["has_counters"]:
        steps.append(commands(_sql_older.ADD_COUNTERS))
    if not state["has_uid"]:
        steps.append(commands(_sql_older.ADD_UID))
    if not state["has_uids"]:
        writers = await connection.fetch(_sql_older.WRITERS, _name(schema, "messages"))
        steps.append([*commands(_sql_older.CREATE_UIDS), *(_grant(schema, writer) for (writer,) in writers)])
    return steps


async def _state(connection: Connection | DriverConnection, schema: str) -> dict[str, Any]:
    names = [_name(schema, name) for name in ("conversations", "messages", "message_uids")]
    row = await connection.fetchrow(_sql_older.STATE, *names)
    return {} if row is None else dict(row)


def _name(schema: str, table: str) -> str:
    return f"{quoted(schema)}.{table}"


def _grant(schema: str, role: str) -> str:
    return filled(_sql_older.GRANT, schema, role=role)


async def _not_allowed(connection: Connection, schema: str, role: str, why: str) -> StorageSchemaError:
    steps = await missing_steps(connection, schema)
    sql = "".join(f"{command};\n" for step in steps for command in step)
    return StorageSchemaError(
        f"The tables in schema {schema} were made by an earlier release of Corail. A few instant steps make "
        f"them usable beside it, and {why} (role {role}). Let their owner run:\n{sql}"
        f"{_grant(schema, quoted(role))};"
    )
