"""Calls that are cancelled behind PgBouncer leave PgBouncer, and everybody else's statements, alone."""

import asyncio
from collections.abc import Callable

import pytest

from corail.storage.postgresql import PostgreSQLStorage
from tests.postgresql.observing import Observer, connections, eventually, exact, somebody_waits
from tests.postgresql.pgbouncer import PgBouncer

pytestmark = pytest.mark.anyio

TURNS = 60
"""More turns of the event loop than a call takes behind PgBouncer, its first connection included."""


async def test_a_call_cancelled_at_any_moment_sends_pgbouncer_no_cancel_request(
    open_storage: Callable[..., PostgreSQLStorage], url: str, observer: Observer
) -> None:
    await open_storage().append_message("c", "user", "x")
    cancelled = 0
    # A cancel request that is given up half-way ends all of PgBouncer 1.18 at once.
    with PgBouncer(url) as bouncer:
        for first_use in (True, False):
            storage = open_storage(bouncer.url)
            if not first_use:
                await storage.page_messages("c")
            for turn in range(TURNS):
                call = asyncio.create_task(storage.page_messages("c"))
                for _ in range(turn):
                    await asyncio.sleep(0)
                cancelled += call.cancel()
                await asyncio.wait([call])
                if turn % 10 == 9:
                    await storage.append_message("c", "user", str(turn))
            await storage.aclose()
        assert "cancel request" not in bouncer.log
    assert cancelled > 10
    assert await exact(observer)


async def test_without_a_pooler_the_server_is_asked_to_stop(
    open_storage: Callable[..., PostgreSQLStorage], observer: Observer, application_name: str
) -> None:
    storage = open_storage()
    await storage.create_conversation("c")
    async with observer.transaction():
        await observer.execute("SELECT FROM conversations WHERE id = 'c' FOR UPDATE")
        call = asyncio.create_task(storage.update_title("c", "title"))
        assert await somebody_waits(observer, application_name)
        call.cancel()

        async def nobody_waits() -> bool:
            return await connections(observer, application_name, "wait_event_type = 'Lock'") == 0

        # The row is still locked: the statement has been ended, not served.
        assert await eventually(nobody_waits)
