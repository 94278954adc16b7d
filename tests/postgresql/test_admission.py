"""Callers that wait for room get it in the order in which they came, large ones too."""

import asyncio
from time import monotonic

import pytest

from corail.storage.postgresql._admission import Admission

pytestmark = pytest.mark.anyio

PATIENCE = 10.0


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_small_callers_do_not_pass_a_large_one_that_waits_for_room() -> None:
    admission = Admission(most=100, most_bytes=10)
    entered: list[str] = []

    async def enter(name: str, size: int) -> None:
        await admission.enter(size, monotonic() + PATIENCE)
        entered.append(name)

    await asyncio.gather(enter("a", 5), enter("b", 2), enter("c", 3))
    waiting: list[asyncio.Task[None]] = []
    for name, size in (("large", 8), ("small", 1), ("smaller", 1)):
        waiting.append(asyncio.create_task(enter(name, size)))
        await settle()
    for size in (2, 3):
        admission.leave(size)
        await settle()
        assert entered == ["a", "b", "c"]
    admission.leave(5)
    await asyncio.gather(*waiting)
    assert entered == ["a", "b", "c", "large", "small", "smaller"]
