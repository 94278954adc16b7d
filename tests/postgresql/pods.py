"""A program that stands for several busy replicas: storages of their own in one event loop.

``pods.py URL SCHEMA FIRST LAST POOL_SIZE``: each pod talks in eight tasks, until a line comes in. What is
printed is "busy" once every pod has stored something, and at the end one line of JSON.
"""

import asyncio
import json
import sys
from typing import Final

from corail.storage.postgresql import PostgreSQLStorage

_TASKS: Final = 8


class Pod:
    """One replica and what became of its calls."""

    def __init__(self, url: str, schema: str, number: int, pool_size: int) -> None:
        self.storage = PostgreSQLStorage(url, schema=schema, pool_size=pool_size)
        self.number = number
        self.calls = 0
        self.errors: list[str] = []
        self.served = asyncio.Event()

    async def talk(self, task: int, end: asyncio.Event) -> None:
        conversation_id = f"pod {self.number} task {task}"
        while not end.is_set():
            try:
                await self.storage.append_message(conversation_id, "user", "x" * 200)
                await self.storage.get_recent_messages(conversation_id, 10)
                await self.storage.conversation_exists(conversation_id)
                await self.storage.page_conversations(limit=1)
                self.calls += 4
            except Exception as error:  # noqa: BLE001 - counted and shown by the test
                self.errors.append(repr(error))
            self.served.set()


async def serve(pods: list[Pod]) -> None:
    end = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for pod in pods:
            for task in range(_TASKS):
                tasks.create_task(pod.talk(task, end))
        for pod in pods:
            await pod.served.wait()
        sys.stdout.write("busy\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.readline)
        end.set()
    await asyncio.gather(*(pod.storage.aclose() for pod in pods))


def main() -> None:
    url, schema = sys.argv[1:3]
    first, last, pool_size = map(int, sys.argv[3:6])
    pods = [Pod(url, schema, number, pool_size) for number in range(first, last)]
    asyncio.run(serve(pods))
    answer = {
        "calls": [pod.calls for pod in pods],
        "errors": [error for pod in pods for error in pod.errors],
    }
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
