"""What the server itself says: who is connected, who waits, which locks are held. No storage here."""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import TYPE_CHECKING, Final, TypeAlias

import asyncpg

if TYPE_CHECKING:
    Observer: TypeAlias = asyncpg.Connection[asyncpg.Record]
else:
    Observer = asyncpg.Connection

PATIENCE: Final = 10.0
"""Seconds until something awaited counts as not coming."""


async def eventually(condition: Callable[[], Awaitable[bool]], within: float = PATIENCE) -> bool:
    """Poll a condition until it holds; return whether it ever did."""
    deadline = monotonic() + within
    # Polling: what happens in the server sets no event here.
    while not (met := await condition()) and monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    return met


async def connections(observer: Observer, application_name: str, where: str = "true") -> int:
    """Return how many connections there are under a name, of those for which a condition holds."""
    # What a transaction once saw of others it sees to its end, unless told to look again.
    await observer.execute("SELECT pg_stat_clear_snapshot()")
    found = await observer.fetchval(
        f"SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND {where}",  # noqa: S608
        application_name,
    )
    return int(found)


async def connections_end(observer: Observer, application_name: str) -> bool:
    """Wait until there is none under a name; the server needs a moment to see a closed socket."""

    async def gone() -> bool:
        gc.collect()
        return await connections(observer, application_name) == 0

    return await eventually(gone)


async def somebody_waits(observer: Observer, application_name: str, at_least: int = 1) -> bool:
    """Wait until connections under a name wait for a lock."""

    async def blocked() -> bool:
        return await connections(observer, application_name, "wait_event_type = 'Lock'") >= at_least

    return await eventually(blocked)


async def exact(observer: Observer) -> bool:
    """Return whether every counter equals the rows it counts, and no number is missing."""
    wrong = await observer.fetchval(
        """
        SELECT count(*)
        FROM conversations AS c
        LEFT JOIN LATERAL (
          SELECT count(*) AS rows, count(DISTINCT uid) AS uids, COALESCE(max(id), 0) AS last,
                 COALESCE(min(id), 1) AS first
          FROM messages AS m WHERE m.conversation_id = c.id
        ) AS m ON true
        WHERE NOT (c.message_count = m.rows AND c.last_id = m.last AND m.rows = m.last
                   AND m.uids = m.rows AND m.first = 1)
        """
    )
    return int(wrong) == 0
