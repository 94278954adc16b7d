"""Compare appending with what cannot be beaten, a plain RPUSH by redis-py on the same server.

``CORAIL_REDIS_URL=redis://... python benchmark.py``; for a cluster ``redis+cluster://...``. Prints
appends per second and their ratio to RPUSH, for one writer and for sixteen, the best of three runs
each, and the time of a page of the list. Rates are of this machine; ratios carry over.
"""

import asyncio
import os
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, Final

from redis.asyncio import Redis, RedisCluster

from corail.storage.redis import RedisStorage

_MESSAGES: Final = int(os.environ.get("BENCHMARK_MESSAGES", "4000"))
_CONVERSATIONS: Final = 500
_TEXT: Final = "A coral is a colony of small animals. " * 8

Append = Callable[[str], Awaitable[object]]


async def main() -> None:
    """Measure, print, and remove what was stored."""
    url = os.environ.get("CORAIL_REDIS_URL", "")
    prefix = f"benchmark-{uuid.uuid4().hex[:12]}"
    client: Any = RedisCluster if "+cluster" in url else Redis
    plain = client.from_url(url.replace("+cluster", "").split(",", 1)[0])
    async with RedisStorage(url, prefix=prefix) as storage:
        names = [f"chat {number}" for number in range(_CONVERSATIONS)]

        async def push(name: str) -> None:
            await plain.execute_command("RPUSH", f"{prefix}:plain:{name}", _TEXT)

        async def append(name: str) -> None:
            await storage.append_message(name, "user", _TEXT)

        try:
            for writers in (1, 16):
                pushes = max([await _rate(push, names, writers) for _ in range(3)])
                appends = max([await _rate(append, names, writers) for _ in range(3)])
                print(  # noqa: T201 - what it is for
                    f"{writers:2} writers: RPUSH {pushes:,.0f}/s, append_message {appends:,.0f}/s, "
                    f"ratio {appends / pushes:.2f}"
                )
            started = time.perf_counter()
            for _ in range(20):
                await storage.page_conversations(limit=50)
            page = (time.perf_counter() - started) / 20 * 1000
            print(f"page of 50 of {_CONVERSATIONS} conversations: {page:.1f} ms")  # noqa: T201
        finally:
            for name in names:
                await storage.delete_conversation(name)
                await plain.execute_command("DEL", f"{prefix}:plain:{name}")
            await plain.aclose()


async def _rate(append: Append, names: list[str], writers: int) -> float:
    async def write(writer: int) -> None:
        for number in range(writer, _MESSAGES, writers):
            await append(names[number % len(names)])

    started = time.perf_counter()
    await asyncio.gather(*(write(writer) for writer in range(writers)))
    return _MESSAGES / (time.perf_counter() - started)


if __name__ == "__main__":
    asyncio.run(main())
