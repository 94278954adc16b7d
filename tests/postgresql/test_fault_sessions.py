"""Sessions that the server ends one after another under writers: stored once, whole, in order."""

import asyncio
from collections.abc import Callable

import pytest

from corail.storage.postgresql import PostgreSQLStorage
from tests.postgresql.observing import Observer, exact
from tests.postgresql.writers import Writers

pytestmark = pytest.mark.anyio


@pytest.mark.faults(
    area="crash",
    done="100 x pg_terminate_backend of a random session of the pool, one every 50 ms, under 8 writers",
    expected="0 errors, 0 lost, 0 doubled, no hole, longest under 5 s",
)
async def test_a_storm_of_terminated_sessions(
    storage: PostgreSQLStorage,
    observer: Observer,
    application_name: str,
    measured: Callable[[str], None],
) -> None:
    await storage.create_conversation("c0")
    killed = 0
    async with Writers(storage) as writers:
        await writers.more()
        while killed < 100:
            killed += int(
                await observer.fetchval(
                    """
                    SELECT count(*) FILTER (WHERE pg_terminate_backend(pid))
                    FROM (SELECT pid FROM pg_stat_activity WHERE application_name = $1
                          ORDER BY random() LIMIT 1) AS one
                    """,
                    application_name,
                )
            )
            await asyncio.sleep(0.05)  # the pace of the storm, no order hangs on it
        await writers.more()
    measured(f"{killed} sessions ended; {await writers.verdict(storage)}")
    assert await exact(observer)
    assert writers.longest < 5
