"""Changes to tables in use: one at a time among all processes, and never in anybody's way for long.

A change waits for whoever uses the table, and everybody else queues behind it meanwhile; so it gives
up after a moment and tries again. Knows no table.
"""

import asyncio
import hashlib
import random
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from typing import Final

import asyncpg

from corail.storage.postgresql import _sql_tables
from corail.storage.postgresql._types import Connection, DriverConnection

STALL_SECONDS: Final = 0.1
"""How long a change may keep others waiting behind it before it makes way."""
_PAUSES: Final = (0.1, 0.5)
# Somebody uses the table, or a deadlock that was resolved against us.
_BUSY: Final = frozenset({"55P03", "40P01"})


class TablesBusyError(Exception):
    """Nobody let the change through in time; nothing was changed."""


def lock_key(schema: str, purpose: str = "") -> int:
    """Return the key of an advisory lock for a schema; the same in every release."""
    digest = hashlib.sha256(f"corail.storage.postgresql:{schema}{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


async def change(
    connection: Connection | DriverConnection,
    schema: str,
    needed: Callable[[], Awaitable[Sequence[str]]],
    *,
    within: float,
) -> bool:
    """Run commands in one transaction; return False if by then none was needed.

    Args:
        connection: any connection, through a pooler too.
        schema: whose tables change; others that change them wait.
        needed: looks, under the lock, and returns the commands; called again for every try.
        within: seconds for all tries.

    Raises ``TablesBusyError`` when time is up.

    """
    end = monotonic() + within
    while True:
        try:
            async with connection.transaction():
                left = max(0.01, end - monotonic())
                await connection.execute(_sql_tables.LOCK_TIMEOUT, f"{int(left * 1000)}ms")
                await connection.execute(_sql_tables.LOCK, lock_key(schema))
                await connection.execute(_sql_tables.LOCK_TIMEOUT, f"{int(STALL_SECONDS * 1000)}ms")
                commands = await needed()
                for command in commands:
                    await connection.execute(command)
                return bool(commands)
        except asyncpg.PostgresError as error:
            if error.sqlstate not in _BUSY:
                raise
            pause = random.uniform(*_PAUSES)  # noqa: S311 - not a secret
            if monotonic() + pause >= end:
                raise TablesBusyError from error
        await asyncio.sleep(pause)
