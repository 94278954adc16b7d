"""Calls that are cancelled while a connection is being opened for them."""

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest

from corail.storage.postgresql import PostgreSQLStorage

pytestmark = pytest.mark.anyio

# A connection on loopback takes fewer turns of the loop; a later cancel finds the call finished.
_TURNS = 60


async def test_a_cancel_at_any_moment_of_connecting_reports_nothing_to_the_loop(
    open_storage: Callable[..., PostgreSQLStorage],
) -> None:
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    connecting = 0
    for turn in range(_TURNS):
        storage = open_storage()
        await storage.check()
        # One connection is at hand: of two calls that share no statement the second has to connect.
        first = asyncio.create_task(storage.page_messages("c"))
        second = asyncio.create_task(storage.page_messages("c"))
        for _ in range(turn):
            await asyncio.sleep(0)
        connecting += second.cancel()
        await asyncio.wait([first, second])
        assert not first.result()["items"]
        await storage.aclose()
        del first, second
        gc.collect()
    assert connecting > 10
    assert [str(context.get("exception")) for context in reported] == []
