"""A program that stands for one of several replicas which crowd on the same conversations.

``crowd.py URL SCHEMA NAME``: prints "ready", waits for a line; 64 writers then append to 20 conversations
that the other replicas write to as well. Printed at the end: seconds, and what failed, as JSON.
"""

import asyncio
import json
import sys
from time import monotonic
from typing import Final

from corail.storage.postgresql import PostgreSQLStorage

WRITERS: Final = 64
CONVERSATIONS: Final = 20
EACH: Final = 60


async def crowd(url: str, schema: str, name: str) -> None:
    errors: list[str] = []
    async with PostgreSQLStorage(url, schema=schema) as storage:

        async def write(writer: int) -> None:
            for number in range(EACH):
                # Another conversation each time, so that every batch of every replica mixes them anew.
                conversation_id = f"c{(writer + number) % CONVERSATIONS}"
                try:
                    await storage.append_message(conversation_id, "user", f"{name}/{writer}/{number}")
                except Exception as error:  # noqa: BLE001 - counted and shown by the test
                    errors.append(repr(error))

        await storage.conversation_exists("c0")
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.readline)
        started = monotonic()
        await asyncio.gather(*(write(writer) for writer in range(WRITERS)))
        took = monotonic() - started
    sys.stdout.write(json.dumps({"seconds": took, "errors": errors}))


if __name__ == "__main__":
    asyncio.run(crowd(*sys.argv[1:4]))
