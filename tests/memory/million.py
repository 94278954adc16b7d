"""A program that stores a million messages from many threads and prints what they take, as JSON."""

import asyncio
import gc
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import psutil

from corail.storage.memory import MemoryStorage

THREADS: Final = 8
CONVERSATIONS: Final = 10_000
MESSAGES: Final = 100
TEXT: Final = "What lives in a coral reef, and what does it live on? {}"


def resident() -> int:
    gc.collect()
    return int(psutil.Process(os.getpid()).memory_info().rss)


def texts(conversation: int) -> list[dict[str, str]]:
    return [
        {"role": "user" if number % 2 else "assistant", "content": TEXT.format(conversation + number)}
        for number in range(MESSAGES)
    ]


async def store(storage: MemoryStorage, thread: int) -> None:
    for conversation in range(thread, CONVERSATIONS, THREADS):
        messages = texts(conversation)
        for message in messages[:2]:
            await storage.append_message(str(conversation), message["role"], message["content"])
        await storage.append_messages(str(conversation), messages[2:])


async def wrong(storage: MemoryStorage) -> int:
    """Return how many conversations do not hold exactly what was stored."""
    return sum([await storage.get_messages(str(each)) != texts(each) for each in range(CONVERSATIONS)])


def main() -> None:
    storage = MemoryStorage()
    asyncio.run(storage.append_message("first", "user", "x"))
    before = resident()
    with ThreadPoolExecutor(THREADS) as threads:
        for future in [threads.submit(asyncio.run, store(storage, thread)) for thread in range(THREADS)]:
            future.result()
    taken = resident() - before
    text = sum(len(message["content"]) for each in range(CONVERSATIONS) for message in texts(each))
    sys.stdout.write(json.dumps({"taken": taken, "text": text, "wrong": asyncio.run(wrong(storage))}))


if __name__ == "__main__":
    main()
