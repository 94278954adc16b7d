"""Giving conversations of an earlier release numbers of their own, under their locks.

Used by the upgrade for all of them, and by an append when the old sequence has come to its end. Call
inside a transaction; knows nothing of either.
"""

from collections.abc import Sequence
from typing import Final

from corail.storage.postgresql import _sql_tables, _sql_upgrade
from corail.storage.postgresql._sql import filled, quoted
from corail.storage.postgresql._types import Connection, DriverConnection

FAR: Final = 2_000_000_000
"""A conversation whose last old number is above this is numbered from 1 on: an integer ends at 2^31 - 1."""


async def lock(connection: Connection | DriverConnection, schema: str, ids: Sequence[str]) -> None:
    """Lock conversations until the transaction ends, in the order of every writer."""
    await connection.execute(filled(_sql_upgrade.LOCK_CONVERSATIONS, schema), list(ids))


async def number(connection: Connection | DriverConnection, schema: str, ids: Sequence[str]) -> int:
    """Give locked conversations a counter that have none; return how many there were."""
    rows = await connection.fetch(filled(_sql_upgrade.NUMBER, schema), list(ids))
    far = [row["id"] for row in rows if row["last_id"] > FAR]
    if far and await is_narrow(connection, schema):
        for conversation_id in far:
            await renumber(connection, schema, conversation_id)
    return len(rows)


async def renumber(connection: Connection | DriverConnection, schema: str, conversation_id: str) -> None:
    """Give the messages of one locked conversation numbers from 1 on, in their order."""
    for command in (_sql_upgrade.RENUMBER_ASIDE, _sql_upgrade.RENUMBER_BACK, _sql_upgrade.RENUMBERED):
        await connection.execute(filled(command, schema), conversation_id)


async def make_room(connection: Connection, schema: str, ids: Sequence[str], lock_timeout: str) -> bool:
    """Renumber what has no number left; return False where the primary key does not allow it yet."""
    async with connection.transaction():
        await connection.execute(_sql_tables.LOCK_TIMEOUT, lock_timeout)
        if not await key_is_own(connection, schema):
            return False
        await connection.execute(filled(_sql_upgrade.MAKE_ROOM, schema), list(ids))
        await lock(connection, schema, ids)
        rows = await connection.fetch(filled(_sql_upgrade.WITHOUT_ROOM, schema), list(ids), FAR)
        for row in rows:
            await renumber(connection, schema, row["id"])
    return True


async def is_narrow(connection: Connection | DriverConnection, schema: str) -> bool:
    """Return whether numbers end at 2^31 - 1 in these tables."""
    kind = await connection.fetchval(_sql_upgrade.ID_TYPE, f"{quoted(schema)}.messages")
    return bool(kind == "integer")


async def key_is_own(connection: Connection | DriverConnection, schema: str) -> bool:
    """Return whether messages are unique by conversation and number, so that numbers may repeat."""
    key = await connection.fetchrow(_sql_upgrade.PRIMARY_KEY, f"{quoted(schema)}.messages")
    return key is not None and list(key["columns"]) == ["conversation_id", "id"]
