"""A million messages from many threads, and a full store under threads: what it takes and what it keeps."""

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from corail.storage.memory import MemoryStorage
from tests.memory.million import CONVERSATIONS, MESSAGES, THREADS

BOUND = 500
ROUNDS = 250
NEW = 10


@pytest.mark.faults(
    area="memory",
    done=f"{CONVERSATIONS * MESSAGES:,} messages in {CONVERSATIONS:,} conversations from {THREADS} threads",
    expected="all read back equal; resident memory at most twice the text",
)
def test_a_million_messages_take_little_more_than_their_text(measured: Callable[[str], None]) -> None:
    program = Path(__file__).with_name("million.py")
    done = subprocess.run([sys.executable, str(program)], check=True, capture_output=True, timeout=120)
    told = json.loads(done.stdout)
    count = CONVERSATIONS * MESSAGES
    measured(
        f"{told['wrong']} conversations differ, {told['taken'] / count:.0f} bytes of resident memory per "
        f"message with {told['text'] / count:.0f} bytes of text"
    )
    assert told["wrong"] == 0
    assert told["taken"] < 2 * told["text"]


@pytest.mark.faults(
    area="memory",
    done=f"8 threads make {8 * ROUNDS * NEW:,} conversations in a store of {BOUND}, each using one",
    expected="the 8 in use lose nothing, the others go whole, least recently used first",
)
def test_a_full_store_never_lets_go_of_a_conversation_in_use(measured: Callable[[str], None]) -> None:
    storage = MemoryStorage(max_conversations=BOUND)
    # A round in step: between two uses of a conversation at most 2 x 8 x 10 others are made, below the bound.
    step = threading.Barrier(8, timeout=60)

    async def work(thread: int) -> int:
        most = 0
        for number in range(ROUNDS):
            step.wait()
            await storage.append_message(f"kept {thread}", "user", str(number))
            for new in range(NEW):
                known = f"{thread}/{number}/{new}"
                await storage.append_messages(known, [{"role": "user", "content": "a"}] * 3)
                assert len(await storage.get_messages(known)) == 3
            assert len(await storage.get_messages(f"kept {thread}")) == number + 1
            if not number % 25:
                most = max(most, len(await storage.list_conversations()))
        return most

    with ThreadPoolExecutor(8) as threads:
        futures = [threads.submit(asyncio.run, work(thread)) for thread in range(8)]
        most = max(future.result(timeout=120) for future in futures)

    async def left() -> tuple[set[str], set[int], set[int]]:
        rows = await storage.list_conversations()
        kept = [row for row in rows if row["id"].startswith("kept")]
        others = [row for row in rows if not row["id"].startswith("kept")]
        rounds = {int(row["id"].split("/")[1]) for row in others}
        assert len(rows) == BOUND
        return (
            {str(row["message_count"]) for row in kept} if len(kept) == 8 else set(),
            {row["message_count"] for row in others},
            rounds,
        )

    kept, others, rounds = asyncio.run(left())
    assert kept == {str(ROUNDS)}
    assert others == {3}
    # The last 492 of 80 in each round, and so the last rounds.
    assert rounds == set(range(ROUNDS - 7, ROUNDS))
    assert most <= BOUND
    gone = 8 * ROUNDS * NEW + 8 - BOUND
    measured(f"8 of 8 kept with all {ROUNDS} messages, {gone:,} gone whole, at most {most} at a time")
