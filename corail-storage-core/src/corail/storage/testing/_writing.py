"""Writers and readers that run at once, for the tests of C-20, C-21 and atomicity.

Every message is ``writer.number`` or ``writer.number.part``, so that what came of it can be read back.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import pairwise

import anyio
import anyio.lowlevel

from corail.storage.port import StoragePort
from corail.storage.testing._concurrency import Call, together
from corail.storage.testing._reading import contents, message, walk_messages

PARTS = 4
"""Messages in one batch."""


async def write_singles(storage: StoragePort, conversation_id: str, writer: str, count: int) -> list[str]:
    """Append ``count`` messages one after another; return them."""
    texts = [f"{writer}.{number}" for number in range(count)]
    for text in texts:
        await storage.append_message(conversation_id, "user", text)
        # A storage that never suspends would otherwise write all of them in one turn of the loop.
        await anyio.lowlevel.checkpoint()
    return texts


async def write_batches(storage: StoragePort, conversation_id: str, writer: str, count: int) -> list[str]:
    """Append ``count`` batches one after another; return their texts."""
    texts: list[str] = []
    for number in range(count):
        batch = [f"{writer}.{number}.{part}" for part in range(PARTS)]
        await storage.append_messages(conversation_id, [message(text) for text in batch])
        texts += batch
        await anyio.lowlevel.checkpoint()
    return texts


async def watched(
    writes: Sequence[Call[list[str]]], reads: Sequence[Call[list[str]]]
) -> tuple[list[list[str]], list[list[list[str]]]]:
    """Run writers and readers at once; return what each writer wrote and each reader saw, in order."""
    done = anyio.Event()
    seen: list[list[list[str]]] = [[] for _ in reads]

    async def watch(read: Call[list[str]], views: list[list[str]]) -> list[str]:
        while not done.is_set():
            view = await read()
            if not views or view != views[-1]:
                views.append(view)
            await anyio.lowlevel.checkpoint()
        views.append(await read())
        return []

    async def write_all() -> list[list[str]]:
        try:
            return await together(*writes)
        finally:
            done.set()

    written: list[list[str]] = []
    async with anyio.create_task_group() as tasks:
        for read, views in zip(reads, seen, strict=True):
            tasks.start_soon(watch, read, views)
        written = await write_all()
    return written, seen


def readers(storages: Iterable[StoragePort], conversation_id: str) -> list[Call[list[str]]]:
    """Return every way to read a whole conversation, for every storage."""

    async def recent(storage: StoragePort) -> list[str]:
        return [found["content"] for found in await storage.get_recent_messages(conversation_id, 10_000)]

    async def paged(storage: StoragePort) -> list[str]:
        return [found["content"] for found in await walk_messages(storage, conversation_id, 7)]

    return [
        partial(read, storage)
        for storage in storages
        for read in (partial(contents, conversation_id=conversation_id), recent, paged)
    ]


def assert_each_once(found: Sequence[str], written: Iterable[Sequence[str]]) -> None:
    """Demand every written message once and nothing else (C-20)."""
    counts = Counter(found)
    expected = {text for texts in written for text in texts}
    lost = sorted(expected - counts.keys())
    doubled = sorted(text for text, count in counts.items() if count > 1)
    foreign = sorted(counts.keys() - expected)
    if lost or doubled or foreign:
        raise AssertionError(
            f"of {len(expected)} acknowledged messages {len(lost)} are lost {lost[:5]}, {len(doubled)} are "
            f"there more than once {doubled[:5]}; {len(foreign)} were never written {foreign[:5]}."
        )


def assert_own_order(found: Sequence[str], written: Iterable[Sequence[str]]) -> None:
    """Demand each writer's messages in the order in which it awaited them (C-21)."""
    place = {text: index for index, text in enumerate(found)}
    for texts in written:
        for earlier, later in pairwise(texts):
            if place[earlier] > place[later]:
                raise AssertionError(
                    f"{earlier} was awaited before {later} was appended, yet stands at {place[earlier]}, "
                    f"behind it at {place[later]}. Number messages where they are stored, not by a clock."
                )


def assert_prefixes(final: Sequence[str], seen: Iterable[Sequence[Sequence[str]]]) -> None:
    """Demand that every read is a prefix of every later read, whoever read (C-21)."""
    for views in seen:
        length = 0
        for view in views:
            if list(view) != list(final[: len(view)]):
                place = next(n for n, text in enumerate(view) if list(final[n : n + 1]) != [text])
                there = list(final[place : place + 1])
                raise AssertionError(
                    f"a reader saw {view[place]} at {place}, where {there} stands in the end: something came "
                    "before what had been read. Number messages in the order in which they become visible."
                )
            if len(view) < length:
                raise AssertionError(f"a reader saw {length} messages, later only {len(view)}.")
            length = len(view)


def assert_whole_batches(view: Sequence[str]) -> None:
    """Demand that batches stand whole and contiguous, or not at all (``atomic_append``)."""
    index = 0
    while index < len(view):
        writer, _, rest = view[index].partition(".")
        number, _, part = rest.partition(".")
        if not part:
            index += 1
            continue
        batch = [f"{writer}.{number}.{n}" for n in range(PARTS)]
        if list(view[index : index + PARTS]) != batch:
            raise AssertionError(
                f"{batch} was not stored whole and contiguous; in its place stands "
                f"{list(view[index : index + PARTS])}. Store a batch in one transaction or one lock."
            )
        index += PARTS
