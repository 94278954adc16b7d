"""What the callers are told whose conversation stays locked for longer than they may wait."""

import asyncio
from collections.abc import Callable

import pytest

from corail.storage.errors import StorageTimeoutError
from corail.storage.postgresql import PostgreSQLStorage, _group
from tests.postgresql.observing import Observer

pytestmark = pytest.mark.anyio


async def test_who_waits_behind_another_append_is_told_of_the_lock_too(
    open_storage: Callable[..., PostgreSQLStorage], observer: Observer
) -> None:
    # The second and third never get to an attempt of their own: their time is up during one of the first's.
    storage = open_storage(deadline=0.9)
    await storage.create_conversation("locked")
    async with observer.transaction():
        await observer.execute("SELECT FROM conversations WHERE id = 'locked' FOR UPDATE")
        told = await asyncio.gather(
            *(storage.append_message("locked", "user", str(number)) for number in range(3)),
            return_exceptions=True,
        )
    assert {type(error) for error in told} == {StorageTimeoutError}
    assert ["another transaction holds the conversation" in str(error) for error in told] == [True] * 3
    assert await storage.get_messages("locked") == []


async def test_who_waits_for_another_attempt_is_told_of_the_lock_too(
    open_storage: Callable[..., PostgreSQLStorage], observer: Observer
) -> None:
    # Twice as many as may travel alone at a time: at the end half of them wait for their next turn.
    storage = open_storage(deadline=2.0)
    locked = [f"locked {number}" for number in range(2 * _group.LANES)]
    for conversation in locked:
        await storage.create_conversation(conversation)
    async with observer.transaction():
        await observer.execute("SELECT FROM conversations FOR UPDATE")
        told = await asyncio.gather(
            *(storage.append_message(conversation, "user", "x") for conversation in locked),
            return_exceptions=True,
        )
    assert {type(error) for error in told} == {StorageTimeoutError}
    assert all("another transaction holds the conversation" in str(error) for error in told), told
