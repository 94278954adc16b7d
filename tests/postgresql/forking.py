"""A program that forks children in the middle of its traffic, each in another way, and tells how that went.

The children use the object they inherited. What is printed is one line of JSON.
"""

import asyncio
import json
import multiprocessing
import os
import signal
import sys
import threading
from time import monotonic
from typing import Final

from corail.storage.postgresql import PostgreSQLStorage

WAYS: Final = ("os._exit", "sys.exit", "multiprocessing")
TIMES: Final = 4
_WRITERS: Final = 8


class Traffic:
    """Appends without a pause, in a loop of their own in a thread of their own."""

    def __init__(self, storage: PostgreSQLStorage) -> None:
        self._storage = storage
        self._ended = False
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self.warm = threading.Barrier(2)
        self.acknowledged = 0
        self.longest = 0.0

    def __enter__(self) -> "Traffic":
        self._thread.start()
        self.warm.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        self._thread.join()

    async def _run(self) -> None:
        await asyncio.gather(*(self._write(f"parent {writer}") for writer in range(_WRITERS)))
        await asyncio.to_thread(self.warm.wait, 30)
        self.acknowledged, self.longest = 0, 0.0
        await asyncio.gather(*(self._write(f"parent {writer}", ever=True) for writer in range(_WRITERS)))

    async def _write(self, conversation_id: str, *, ever: bool = False) -> None:
        for number in range(sys.maxsize if ever else 20):
            if self._ended:
                return
            started = monotonic()
            await self._storage.append_message(conversation_id, "user", str(number))
            await self._storage.get_recent_messages(conversation_id, 1)
            self.longest = max(self.longest, monotonic() - started)
            self.acknowledged += 1


def child(storage: PostgreSQLStorage, name: str) -> None:
    """Use the inherited object; an exception ends the process with another status than 0."""
    signal.alarm(30)

    async def use() -> None:
        for number in range(5):
            await storage.append_message(name, "user", str(number))
        assert len(await storage.get_messages(name)) == 5
        await storage.aclose()

    asyncio.run(use())


def forked(storage: PostgreSQLStorage, way: str, name: str) -> int | None:
    """Run a child to its end and return its status."""
    if way == "multiprocessing":
        process = multiprocessing.get_context("fork").Process(target=child, args=(storage, name))
        process.start()
        process.join()
        return process.exitcode
    pid = os.fork()
    if pid == 0:
        child(storage, name)
        if way == "os._exit":
            os._exit(0)
        sys.exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main() -> None:
    storage = PostgreSQLStorage(sys.argv[1], schema=sys.argv[2])
    with Traffic(storage) as traffic:
        statuses = [forked(storage, way, f"{way} {number}") for number in range(TIMES) for way in WAYS]
    asyncio.run(storage.aclose())
    sys.stdout.write(
        json.dumps({"statuses": statuses, "acknowledged": traffic.acknowledged, "longest": traffic.longest})
    )


if __name__ == "__main__":
    main()
