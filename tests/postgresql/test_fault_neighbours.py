"""One conversation or one connection is in trouble: what the others notice of it."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Callable
from time import monotonic

import pytest

from corail.storage.postgresql import PostgreSQLStorage
from corail.storage.validation import MAX_CONTENT_BYTES
from tests.postgresql.addresses import with_parameters
from tests.postgresql.observing import Observer, connections, eventually, exact

pytestmark = pytest.mark.anyio

NEIGHBOURS = 64
HELD = 5.0
"""Seconds for which somebody holds one row."""
LARGE = 4


@pytest.mark.faults(
    area="faults",
    done="one conversation's row held for 5 s, 64 other conversations appended to meanwhile",
    expected="0 neighbours fail, none waits 1 s; the held append is stored afterwards",
)
async def test_neighbours_of_a_held_row(
    storage: PostgreSQLStorage, observer: Observer, measured: Callable[[str], None]
) -> None:
    await storage.create_conversation("held")
    worst, appended = 0.0, 0
    until = monotonic() + HELD

    async def append(writer: int) -> None:
        nonlocal worst, appended
        while (started := monotonic()) < until:
            await storage.append_message(f"c{writer}", "user", "x")
            worst = max(worst, monotonic() - started)
            appended += 1

    async with observer.transaction():
        await observer.execute("SELECT FROM conversations WHERE id = 'held' FOR UPDATE")
        held = asyncio.create_task(storage.append_message("held", "user", "x"))
        await asyncio.gather(*(append(writer) for writer in range(NEIGHBOURS)))
        assert not held.done()
    await held
    measured(f"0 of {appended} failed, worst {worst * 1000:.0f} ms")
    assert worst < 1
    assert await exact(observer)


@pytest.mark.faults(
    area="faults",
    done="one conversation is appended messages of 16 MiB, one after another, 64 others small ones meanwhile",
    expected="0 neighbours fail, none waits 1 s; all is stored",
)
async def test_neighbours_of_messages_of_16_mib(
    storage: PostgreSQLStorage, observer: Observer, measured: Callable[[str], None]
) -> None:
    await storage.create_conversation("large")
    worst, appended = 0.0, 0
    large = asyncio.create_task(append_large(storage))

    async def append(writer: int) -> None:
        nonlocal worst, appended
        while not large.done():
            started = monotonic()
            await storage.append_message(f"c{writer}", "user", "x")
            worst = max(worst, monotonic() - started)
            appended += 1

    await asyncio.gather(*(append(writer) for writer in range(NEIGHBOURS)))
    await large
    measured(f"0 of {appended} failed beside {LARGE} x 16 MiB, worst {worst * 1000:.0f} ms")
    sizes = "SELECT octet_length(content) AS size FROM messages WHERE conversation_id = 'large'"
    assert [row["size"] for row in await observer.fetch(sizes)] == [MAX_CONTENT_BYTES] * LARGE
    assert worst < 1
    assert await exact(observer)


async def append_large(storage: PostgreSQLStorage) -> None:
    content = "x" * MAX_CONTENT_BYTES
    for _ in range(LARGE):
        await storage.append_message("large", "user", content)


WRITER = """
import asyncio, sys
from corail.storage.postgresql import PostgreSQLStorage

async def main() -> None:
    storage = PostgreSQLStorage(sys.argv[1], schema=sys.argv[2])
    async def write(writer: int) -> None:
        number = 0
        while True:
            await storage.append_message(f"c{writer % 3}", "user", f"{writer}/{number}")
            print(f"{writer}/{number}", flush=True)
            number += 1
    await asyncio.gather(*(write(writer) for writer in range(8)))

asyncio.run(main())
"""


@pytest.mark.faults(
    area="crash",
    done="3 x kill -9 of a client process with 8 writers, in the middle of its appends",
    expected="0 acknowledged lost, 0 doubled, counters equal to rows, its connections end",
)
async def test_a_killed_client(
    storage: PostgreSQLStorage,
    observer: Observer,
    url: str,
    schema: str,
    measured: Callable[[str], None],
) -> None:
    await storage.create_conversation("c0")
    acknowledged = lost = doubled = 0
    for round_ in range(3):
        name = f"killed {schema} {round_}"
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            WRITER,
            with_parameters(url, application_name=name),
            schema,
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        said = [await process.stdout.readline() for _ in range(200)]
        process.send_signal(signal.SIGKILL)
        said += (await process.stdout.read()).splitlines(keepends=True)
        await process.wait()

        async def gone(name: str = name) -> bool:
            return await connections(observer, name) == 0

        assert await eventually(gone)
        told = {line.decode().strip() for line in said if line.endswith(b"\n")}
        stored: list[str] = []
        for conversation in range(3):
            stored += [row["content"] for row in await storage.get_messages(f"c{conversation}")]
            await storage.delete_conversation(f"c{conversation}") if round_ < 2 else None
        acknowledged += len(told)
        lost += len(told - set(stored))
        doubled += len(stored) - len(set(stored))
    measured(f"{lost} lost, {doubled} doubled of {acknowledged} acknowledged")
    assert (lost, doubled) == (0, 0)
    assert await exact(observer)
