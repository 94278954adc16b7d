"""Look-ups that wait together share a query, and nobody notices except by the time it takes."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

import pytest

from corail.storage.errors import StorageClosedError, StorageUnavailableError
from corail.storage.postgresql import PostgreSQLStorage
from corail.storage.postgresql._coalesce import FLIGHTS, Coalescer

pytestmark = pytest.mark.anyio

PATIENCE = 60
"""Seconds after which a hang is a failure; no result depends on it."""


class Library:
    """Answers look-ups and writes down how it was asked."""

    def __init__(self) -> None:
        self.asked: list[str | tuple[str, ...]] = []
        self.open = asyncio.Event()
        self.left_out: set[str] = set()
        self.broken = False
        self.quick: set[str] = set()

    async def one(self, key: str, within: float = 0) -> str:
        assert within <= PATIENCE
        self.asked.append(key)
        if key not in self.quick:
            await self.open.wait()
        if self.broken:
            raise StorageUnavailableError(key)
        return key.upper()

    async def many(self, keys: Sequence[str]) -> Mapping[str, str]:
        self.asked.append(tuple(keys))
        if not self.quick.issuperset(keys):
            await self.open.wait()
        if self.broken:
            raise StorageUnavailableError(",".join(keys))
        return {key: key.upper() for key in keys if key not in self.left_out}


def coalescer(library: Library, deadline: float = PATIENCE) -> Coalescer[str]:
    return Coalescer(library.one, library.many, deadline=deadline)


async def started(*tasks: "asyncio.Task[str]") -> None:
    """Let every task run until it waits."""
    for _ in range(3 + len(tasks)):
        await asyncio.sleep(0)


def tasks_for(lookups: Coalescer[str], keys: str) -> list["asyncio.Task[str]"]:
    return [asyncio.create_task(lookups.get(key)) for key in keys]


async def test_a_lone_lookup_is_asked_alone() -> None:
    library = Library()
    library.open.set()
    assert await coalescer(library).get("a") == "A"
    assert library.asked == ["a"]


async def test_lookups_behind_others_travel_in_one_query() -> None:
    library = Library()
    lookups = coalescer(library)
    tasks = tasks_for(lookups, "abcdefgd")
    await started(*tasks)
    assert library.asked == list("abc"), f"{FLIGHTS} at once"
    library.open.set()
    assert await asyncio.gather(*tasks) == list("ABCDEFGD")
    assert library.asked == ["a", "b", "c", tuple("defg")]


async def test_a_lookup_too_large_to_share_is_asked_alone() -> None:
    library = Library()
    library.left_out = {"d"}
    tasks = tasks_for(coalescer(library), "abcd")
    await started(*tasks)
    library.open.set()
    assert await asyncio.gather(*tasks) == list("ABCD")
    assert library.asked[-1] == "d"


async def test_a_cancelled_reader_strands_nobody() -> None:
    library = Library()
    tasks = tasks_for(coalescer(library), "abcde")
    await started(*tasks)
    tasks[0].cancel()
    tasks[3].cancel()
    await asyncio.wait([tasks[0], tasks[3]])
    library.open.set()
    async with asyncio.timeout(PATIENCE):
        assert [await tasks[1], await tasks[2], await tasks[4]] == ["B", "C", "E"]


async def test_a_failed_shared_query_gives_every_caller_an_error_of_its_own() -> None:
    library = Library()
    tasks = tasks_for(coalescer(library), "abcde")
    await started(*tasks)
    library.broken = True
    library.open.set()
    errors = await asyncio.gather(*tasks, return_exceptions=True)
    assert [str(error) for error in errors] == list("abcde")
    assert len({id(error) for error in errors}) == 5


async def test_a_shared_query_that_took_the_whole_deadline_is_not_followed_by_another() -> None:
    library = Library()
    # Nobody's deadline is longer ago than one that has always passed.
    tasks = tasks_for(coalescer(library, deadline=0), "abcde")
    await started(*tasks)
    library.broken = True
    library.open.set()
    errors = await asyncio.gather(*tasks, return_exceptions=True)
    assert [str(error) for error in errors] == ["a", "b", "c", "d,e", "d,e"]
    assert library.asked == ["a", "b", "c", ("d", "e")]
    assert len({id(error) for error in errors}) == 5


async def test_long_reads_do_not_hold_up_the_others() -> None:
    library = Library()
    lookups = coalescer(library)
    long = tasks_for(lookups, "abc")
    await started(*long)
    library.quick.add("d")
    async with asyncio.timeout(PATIENCE):
        assert await lookups.get("d") == "D"
    assert not any(task.done() for task in long)
    library.open.set()
    await asyncio.gather(*long)


@pytest.fixture
async def storage(database_url: str) -> AsyncIterator[PostgreSQLStorage]:
    async with PostgreSQLStorage(database_url) as opened:
        yield opened


async def test_shared_reads_equal_lone_ones_whatever_the_size(storage: PostgreSQLStorage) -> None:
    sizes = {"short": (5, 10), "empty": (0, 0), "long": (300, 10), "large": (3, 40_000), "both": (130, 200)}
    expected: dict[str, list[dict[str, str]]] = {"unknown": []}
    for name, (count, size) in sizes.items():
        await storage.create_conversation(name)
        expected[name] = [{"role": "user", "content": f"{n}\x00{'x' * size}"} for n in range(count)]
        await storage.append_messages(name, expected[name])
    names = [*expected] * 20
    found = await asyncio.gather(*(storage.get_messages(name) for name in names))
    assert all(messages == expected[name] for name, messages in zip(names, found, strict=True))
    there = await asyncio.gather(*(storage.conversation_exists(name) for name in names))
    assert there == [name != "unknown" for name in names]


async def test_shared_reads_do_not_share_their_dicts(storage: PostgreSQLStorage) -> None:
    await storage.append_message("c", "user", "text")
    results = await asyncio.gather(*(storage.get_messages("c") for _ in range(30)))
    for messages in results:
        messages[0]["content"] = "changed"
        messages.append({})
    assert await storage.get_messages("c") == [{"role": "user", "content": "text"}]
    assert len({id(messages[0]) for messages in results}) == 30


async def test_a_read_sees_every_append_that_was_acknowledged_before_it(storage: PostgreSQLStorage) -> None:
    async def talk(name: str) -> None:
        for n in range(20):
            await storage.append_message(name, "user", str(n))
            assert [message["content"] for message in await storage.get_messages(name)] == [
                str(earlier) for earlier in range(n + 1)
            ]

    await asyncio.gather(*(talk(f"c{n}") for n in range(16)))


async def test_closing_ends_waiting_reads(database_url: str) -> None:
    storage = PostgreSQLStorage(database_url)
    await storage.append_message("c", "user", "text")
    reads = [asyncio.create_task(storage.get_messages("c")) for _ in range(20)]
    await asyncio.sleep(0)
    async with asyncio.timeout(PATIENCE):
        await storage.aclose()
        results = await asyncio.gather(*reads, return_exceptions=True)
    assert all(isinstance(result, list | StorageClosedError) for result in results)
