"""Kill the server under load and count: nothing acknowledged may be lost, nothing stored twice.

64 writers append through group commit while every process of the server is killed and started again.
No figure is published without it: ``run.py`` does a short one first. By itself::

    .venv/bin/python -m benchmarks.crash --kills 20
"""

import argparse
import asyncio
import random
import sys
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from time import perf_counter
from typing import Final, TypedDict

import asyncpg
from rich.console import Console

from benchmarks.server import Server
from benchmarks.texts import Stream, Texts, path_of_dataset
from corail.storage.errors import AppendOutcomeUnknownError, StorageUnavailableError
from corail.storage.factory import StorageFactory
from corail.storage.port import StoragePort
from corail.storage.postgresql.embedded import EmbeddedPostgres

LEAST_KILLS: Final = 5
WRITERS: Final = 64
_ON_ONE_CONVERSATION: Final = 16
_LONGEST_DOWN: Final = 0.3
_PATIENCE: Final = 60.0

_ROWS: Final = "SELECT conversation_id, id, content FROM messages ORDER BY conversation_id, id"
_WRONG_COUNTERS: Final = """
SELECT count(*) FROM (
  SELECT c.id
  FROM conversations AS c LEFT JOIN messages AS m ON m.conversation_id = c.id
  GROUP BY c.id
  HAVING c.message_count <> count(m.id) OR c.last_id <> coalesce(max(m.id), 0) OR count(m.id) <> max(m.id)
) AS wrong
"""


class CrashResult(TypedDict):
    """What the kills left; the first six after ``kills`` have to be 0."""

    kills: int
    lost: int
    """Acknowledged, but not there."""
    doubled: int
    """There more than once, acknowledged or not."""
    contradicted: int
    """Reported as certainly not stored, but there."""
    wrong_counters: int
    """Conversations whose counters differ from their rows, or whose numbers have a gap."""
    out_of_order: int
    """A writer's awaited appends that stand in another order."""
    unexpected: int
    """Errors that are neither 'unknown' nor 'unavailable'."""
    acknowledged: int
    unknown: int
    """Reported as unknown; stored or not, both is right."""
    refused: int
    """Reported as certainly not stored."""
    longest: float
    """Seconds of the longest append that was acknowledged."""


def passed(result: CrashResult) -> bool:
    """Return whether there were enough kills, and nothing is wrong."""
    wrong = (
        result["lost"],
        result["doubled"],
        result["contradicted"],
        result["wrong_counters"],
        result["out_of_order"],
        result["unexpected"],
    )
    return result["kills"] >= LEAST_KILLS and result["acknowledged"] > 0 and not any(wrong)


class CrashError(Exception):
    """Something acknowledged was lost or doubled: there is nothing to publish."""


def require(kills: int, load: int, progress: Callable[[str], None]) -> CrashResult:
    """Do what ``run`` does; raise ``CrashError`` unless it passes."""
    result = run(kills, load, progress)
    if not passed(result):
        raise CrashError(f"the crash check failed: {result}")
    return result


def run(kills: int, load: int, progress: Callable[[str], None]) -> CrashResult:
    """Kill a server of its own so often.

    Args:
        kills: how often.
        load: acknowledged appends before every kill, and after the last.
        progress: told before every kill.

    """
    with EmbeddedPostgres() as embedded:
        Server(embedded)  # raises when a lost append would prove nothing
        return asyncio.run(_Ledger(embedded, Texts(path_of_dataset()).stream()).run(kills, load, progress))


class _Ledger:
    """Who appended what, and what was said about it."""

    def __init__(self, embedded: EmbeddedPostgres, texts: Stream) -> None:
        self._embedded = embedded
        self._texts = texts
        self._stop = False
        self._acknowledged: dict[int, list[str]] = {writer: [] for writer in range(WRITERS)}
        self._refused: list[tuple[str, str]] = []
        self._count = self._unknown = self._unexpected = 0
        self._longest = 0.0

    async def run(self, kills: int, load: int, progress: Callable[[str], None]) -> CrashResult:
        async with StorageFactory.create("postgresql", dsn=self._embedded.url) as storage:
            async with asyncio.TaskGroup() as writers:
                for writer in range(WRITERS):
                    writers.create_task(self._write(storage, writer))
                try:
                    for kill in range(kills):
                        progress(f"crash check: kill {kill + 1} of {kills}, {self._count:,} acknowledged")
                        await self._more(load)
                        await self._crash()
                    await self._more(load)
                finally:
                    self._stop = True
            return await self._result(kills)

    async def _write(self, storage: StoragePort, writer: int) -> None:
        conversation_id, number = _conversation(writer), 0
        while not self._stop:
            ((role, text),) = self._texts.take(1)
            content = f"{writer}.{number} {text}"
            number += 1
            started = perf_counter()
            try:
                await storage.append_message(conversation_id, role, content)
            except AppendOutcomeUnknownError:
                self._unknown += 1
            except StorageUnavailableError:
                self._refused.append((conversation_id, content))
                await asyncio.sleep(0.01)
            except Exception as error:  # noqa: BLE001 - counted, and fails the check
                self._unexpected += 1
                sys.stderr.write(f"unexpected: {error!r}\n")
                await asyncio.sleep(0.1)
            else:
                self._longest = max(self._longest, perf_counter() - started)
                self._acknowledged[writer].append(content)
                self._count += 1

    async def _more(self, load: int) -> None:
        wanted = self._count + load
        async with asyncio.timeout(_PATIENCE):
            # A condition notified by every append would change the load that is being crashed.
            while self._count < wanted:  # noqa: ASYNC110
                await asyncio.sleep(0.005)

    async def _crash(self) -> None:
        await asyncio.sleep(random.uniform(0, 0.03))  # noqa: S311 - any moment of a flush
        await asyncio.to_thread(self._embedded.kill)
        await asyncio.sleep(random.uniform(0, _LONGEST_DOWN))  # noqa: S311 - likewise
        await asyncio.to_thread(self._embedded.start)

    async def _result(self, kills: int) -> CrashResult:
        connection = await asyncpg.connect(self._embedded.url, timeout=30)
        try:
            rows = await connection.fetch(_ROWS)
            wrong_counters: int = await connection.fetchval(_WRONG_COUNTERS)
        finally:
            await connection.close()
        stored = Counter((row["conversation_id"], row["content"]) for row in rows)
        position = {(row["conversation_id"], row["content"]): row["id"] for row in rows}
        claimed = [
            (_conversation(writer), content)
            for writer, contents in self._acknowledged.items()
            for content in contents
        ]
        out_of_order = sum(
            position.get((_conversation(writer), first), 0) > position.get((_conversation(writer), second), 0)
            for writer, contents in self._acknowledged.items()
            for first, second in pairwise(contents)
        )
        return {
            "kills": kills,
            "lost": sum(message not in stored for message in claimed),
            "doubled": sum(count - 1 for count in stored.values()),
            "contradicted": sum(message in stored for message in self._refused),
            "wrong_counters": wrong_counters,
            "out_of_order": out_of_order,
            "unexpected": self._unexpected,
            "acknowledged": self._count,
            "unknown": self._unknown,
            "refused": len(self._refused),
            "longest": self._longest,
        }


def _conversation(writer: int) -> str:
    return "together" if writer < _ON_ONE_CONVERSATION else f"conversation {writer}"


def main() -> int:
    """Run from the command line; the exit code is 1 unless everything acknowledged is there once."""
    parser = argparse.ArgumentParser(description="Kill a server under load; count what is lost or doubled.")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--load", type=int, default=5_000, help="acknowledged appends between kills")
    options = parser.parse_args()
    console = Console(highlight=False)
    console.print(
        f"{WRITERS} writers, {options.kills} kills, {options.load:,} appends between them: about "
        f"{options.kills + 3} s. A server of its own, gone afterwards."
    )
    result = run(options.kills, options.load, console.print)
    for name, value in result.items():
        console.print(f"  {name:16} {value:,.2f}" if isinstance(value, float) else f"  {name:16} {value:,}")
    good = passed(result)
    console.print("passed" if good else f"FAILED (or fewer than {LEAST_KILLS} kills): this must not happen")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
