"""A process that writes until it is killed: ``python -m corail.storage.testing._writer``.

Reads its ``Orders`` as one line of JSON from standard input, and says on standard output, a line each,
which turns were acknowledged. Not to be imported by the package: it is run as a program.
"""

import json
import os
import sys
from functools import partial
from typing import Final

import anyio

from corail.storage.port import StoragePort
from corail.storage.testing._reopening import Target, open_target
from corail.storage.testing._turns import ACKNOWLEDGED, Orders, append_turn, key, turn

# An orphan must not write for ever; long before, its standard output is closed.
_MOST_TURNS: Final = 100_000


def main() -> None:
    """Write as ordered."""
    orders: Orders = json.loads(sys.stdin.readline())
    storage = open_target(Target(orders["module"], orders["name"], orders["file"]))
    anyio.run(partial(_write, storage, orders), backend=orders["backend"])


async def _write(storage: StoragePort, orders: Orders) -> None:
    async def run(task: int, conversation_id: str) -> None:
        for number in range(_MOST_TURNS):
            messages = turn(orders["writer"], task, number)
            await append_turn(storage, conversation_id, messages, key(orders["writer"], task, number))
            # Unbuffered, in one call: what is said is said before the kill, or not at all.
            os.write(1, f"{ACKNOWLEDGED} {task} {number}\n".encode())

    async with anyio.create_task_group() as tasks:
        for task, conversation_id in enumerate(orders["conversations"]):
            tasks.start_soon(run, task, conversation_id)


if __name__ == "__main__":
    main()
