"""Event loops beside the test's own, each in a thread."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any


async def in_thread(work: Callable[[], object]) -> None:
    """Run a function in a thread of its own; the loop's executor has too few on a small machine."""
    executor = ThreadPoolExecutor(1)
    try:
        await asyncio.get_running_loop().run_in_executor(executor, work)
    finally:
        executor.shutdown(wait=False)


async def in_new_loop(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a coroutine in a new event loop in a thread of its own."""
    await in_thread(lambda: asyncio.run(work()))
