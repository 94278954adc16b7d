"""A program that uses databases for the first time, when it is told to.

Run as a process of its own, next to others that do the same, it stands for a replica that starts.
Each line of JSON names a database, an empty line after it is the starting signal. The answers are
"ready" and, when a message is stored, null or what went wrong.
"""

import asyncio
import json
import sys
import traceback

from corail.storage.postgresql import PostgreSQLStorage


async def store(dsn: str, replica: str) -> None:
    async with PostgreSQLStorage(dsn) as storage:
        # The signal comes when everybody has said that it is ready.
        await asyncio.to_thread(sys.stdin.readline)
        await storage.append_message("c", "user", replica)
        await storage.list_conversations()


def main() -> None:
    replica = sys.argv[1]
    while line := sys.stdin.readline():
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        problem = None
        try:
            asyncio.run(store(json.loads(line), replica))
        except BaseException:  # noqa: BLE001 - whatever it was, the test shows it
            problem = traceback.format_exc()
        sys.stdout.write(json.dumps(problem) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
