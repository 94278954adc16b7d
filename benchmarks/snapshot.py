"""Appends beside a transaction that keeps its snapshot open, as pg_dump does, and under REPEATABLE READ.

Every append changes a counter row. While a snapshot is open the old versions of that row cannot be
removed, and each append has to pass all of them. What that costs is told by the processor time the
server spends on an append, before, during and after, next to the same without a snapshot: unlike a
rate it hardly depends on what the machine does besides. The second table shows replicas that share
conversations in a database whose default isolation is REPEATABLE READ. Four minutes::

    .venv/bin/python -m benchmarks.snapshot
"""

import argparse
import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from time import monotonic
from typing import Final, NamedTuple

import asyncpg
import psutil
from rich.console import Console

from benchmarks.server import Server, durable_server
from corail.storage.errors import StorageError
from corail.storage.postgresql import PostgreSQLStorage

WRITERS: Final = 64
REPLICAS: Final = 4
_QUARTERS: Final = 4
_MODULO: Final = 997

_IN_PLACE: Final = """
SELECT n_tup_hot_upd::float8 / greatest(n_tup_upd, 1)
FROM pg_stat_user_tables WHERE relname = 'conversations'
"""
_UNDONE: Final = "SELECT xact_rollback FROM pg_stat_database WHERE datname = current_database()"


class Case(NamedTuple):
    """Appends to so many conversations, whose table has so much room left in its pages."""

    snapshot: bool
    conversations: int
    fillfactor: int


CASES: Final = (
    Case(snapshot=False, conversations=20, fillfactor=80),
    Case(snapshot=True, conversations=20, fillfactor=80),
    Case(snapshot=False, conversations=2_000, fillfactor=80),
    Case(snapshot=True, conversations=2_000, fillfactor=80),
    Case(snapshot=True, conversations=2_000, fillfactor=100),
    Case(snapshot=True, conversations=2_000, fillfactor=40),
)


class Pace(NamedTuple):
    """What some seconds of load came to."""

    rate: float
    """Appends per second."""
    cost: float
    """Microseconds of the server's processors for each."""


class Load:
    """Writers that append to one conversation after another, at a given rate or without a pause."""

    def __init__(
        self,
        storages: list[PostgreSQLStorage],
        conversations: int,
        server: psutil.Process,
        rate: float = float("inf"),
    ) -> None:
        self._storages = storages
        self._server = server
        self._interval = WRITERS / rate
        self._conversations = conversations
        self._ended = False
        self.stored = 0
        self.failed = 0

    async def _write(self, writer: int) -> None:
        storage = self._storages[writer % len(self._storages)]
        number = writer
        due = monotonic() + self._interval * writer / WRITERS
        while not self._ended:
            due = max(due + self._interval, monotonic() - 1)
            await asyncio.sleep(max(0.0, due - monotonic()))
            number = number * 7 + _MODULO
            try:
                await storage.append_message(f"c{number % self._conversations}", "user", "x" * 200)
                self.stored += 1
            except StorageError:
                self.failed += 1

    async def pace(self, seconds: float) -> Pace:
        """Return the pace of the next so many seconds."""
        began, stored, before = monotonic(), self.stored, _spent(self._server)
        await asyncio.sleep(seconds)
        appends = max(1, self.stored - stored)
        after = _spent(self._server)
        spent = sum(after[pid] - before[pid] for pid in before.keys() & after.keys())
        return Pace(appends / (monotonic() - began), spent / appends * 1e6)

    @asynccontextmanager
    async def running(self) -> "AsyncGenerator[Load]":
        """Write while the block runs."""
        async with asyncio.TaskGroup() as tasks:
            for writer in range(WRITERS):
                tasks.create_task(self._write(writer))
            try:
                yield self
            finally:
                self._ended = True


async def beside_a_snapshot(url: str, case: Case, seconds: float, rate: float) -> list[str]:
    """Return one row of the first table."""
    watcher = await asyncpg.connect(url)
    async with PostgreSQLStorage(url) as storage:
        await storage.check()
        await watcher.execute(f"ALTER TABLE conversations SET (fillfactor = {case.fillfactor})")
        await watcher.execute(
            "INSERT INTO conversations (id) SELECT 'c' || n FROM generate_series(0, $1 - 1) AS n",
            case.conversations,
        )
        await watcher.execute("VACUUM ANALYZE conversations")
        load = Load([storage], case.conversations, await _server_of(watcher), rate)
        async with load.running():
            await load.pace(seconds / 8)
            before = await load.pace(seconds / 4)
            async with _snapshot(url, wanted=case.snapshot):
                during = [await load.pace(seconds / _QUARTERS) for _ in range(_QUARTERS)]
                size = await watcher.fetchval("SELECT pg_relation_size('conversations') / 1024")
            after = await load.pace(seconds / 4)
            await watcher.execute("VACUUM conversations")
            vacuumed = await load.pace(seconds / 4)
    in_place = await _in_place(watcher)
    await watcher.close()
    return [
        f"{seconds:.0f} s" if case.snapshot else "none",
        f"{case.conversations:,}",
        f"{case.fillfactor}",
        f"{sum(pace.rate for pace in during) * seconds / _QUARTERS:,.0f}",
        f"{before.cost:.0f} us",
        *(f"x {pace.cost / before.cost:.1f}" for pace in (*during, after, vacuumed)),
        f"{in_place:.0%}",
        f"{size:,} kB",
    ]


@asynccontextmanager
async def _snapshot(url: str, *, wanted: bool) -> AsyncGenerator[None]:
    reader = await asyncpg.connect(url)
    try:
        if wanted:
            async with reader.transaction(isolation="repeatable_read", readonly=True):
                await reader.fetchval("SELECT count(*) FROM conversations")
                yield
        else:
            yield
    finally:
        await reader.close()


async def _server_of(watcher: "asyncpg.Connection[asyncpg.Record]") -> psutil.Process:
    return psutil.Process(psutil.Process(await watcher.fetchval("SELECT pg_backend_pid()")).ppid())


def _spent(server: psutil.Process) -> dict[int, float]:
    """Return the seconds of processor time of each process of the server."""
    spent: dict[int, float] = {}
    for process in server.children():
        # An autovacuum worker may be gone by now.
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            spent[process.pid] = times.user + times.system
    return spent


async def _in_place(watcher: "asyncpg.Connection[asyncpg.Record]") -> float:
    # What a session has counted shows once it has ended or was idle for a moment.
    await asyncio.sleep(1)
    share: float = await watcher.fetchval(_IN_PLACE)
    return share


async def under_isolation(url: str, isolation: str, conversations: int, seconds: float) -> list[str]:
    """Return one row of the second table."""
    watcher = await asyncpg.connect(url)
    name = await watcher.fetchval("SELECT current_database()")
    await watcher.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = '{isolation}'")
    storages = [PostgreSQLStorage(url, pool_size=4) for _ in range(REPLICAS)]
    load = Load(storages, conversations, await _server_of(watcher))
    async with load.running():
        await load.pace(seconds / 4)
        undone, stored = await watcher.fetchval(_UNDONE), load.stored
        pace = await load.pace(seconds)
        stored = load.stored - stored
    for storage in storages:
        await storage.aclose()
    await asyncio.sleep(1)
    undone = await watcher.fetchval(_UNDONE) - undone
    await watcher.close()
    return [
        isolation,
        f"{conversations:,}",
        f"{pace.rate:,.0f}/s",
        f"{pace.cost:.0f} us",
        f"{undone:,} beside {stored:,}",
        str(load.failed),
    ]


def _run(server: Server, seconds: float, rate: float, console: Console) -> None:
    quarters = [f"{seconds / _QUARTERS * (quarter + 1):.0f} s" for quarter in range(_QUARTERS)]
    columns = [
        "snapshot",
        "conversations",
        "fillfactor",
        f"appends in {seconds:.0f} s",
        "CPU each before",
        *quarters,
    ]
    _head(console, [*columns, "after it", "after VACUUM", "in place", "table"])
    for number, case in enumerate(CASES):
        url = server.new_database(f"open_{number}")
        _row(console, asyncio.run(beside_a_snapshot(url, case, seconds, rate)))
    console.print()
    _head(console, ["default isolation", "conversations", "appends", "CPU each", "rolled back", "errors"])
    for conversations in (20, 2_000):
        for isolation in ("read committed", "repeatable read"):
            url = server.new_database("isolated")
            _row(console, asyncio.run(under_isolation(url, isolation, conversations, seconds / 2)))


def _head(console: Console, columns: list[str]) -> None:
    _row(console, columns)
    _row(console, ["---"] * len(columns))


def _row(console: Console, cells: list[str]) -> None:
    console.print("| " + " | ".join(cells) + " |", highlight=False, soft_wrap=True)


def main() -> None:
    """Run both parts and print their tables, as they stand in docs/scaling.md."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=16.0, help="how long the snapshot stays open")
    parser.add_argument("--rate", type=float, default=float("inf"), help="appends per second, at most")
    options = parser.parse_args()
    console = Console()
    with durable_server() as server:
        _run(server, options.seconds, options.rate, console)
        server.check()


if __name__ == "__main__":
    main()
