"""Replicas that crowd on the same conversations: every batch of one locks rows that the others want."""

import asyncio
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

from corail.storage.postgresql import PostgreSQLStorage
from tests.postgresql.crowd import CONVERSATIONS, EACH, WRITERS
from tests.postgresql.observing import Observer, exact

pytestmark = pytest.mark.anyio

REPLICAS = 4


def run_replicas(url: str, schema: str) -> tuple[list[str], float]:
    """Run all at once; return what failed in any of them, and how long the slowest took."""
    program = Path(__file__).with_name("crowd.py")
    replicas = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.postgresql.crowd", url, schema, f"replica{number}"],
            cwd=program.parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(REPLICAS)
    ]
    try:
        for replica in replicas:
            assert replica.stdout is not None
            assert replica.stdout.readline() == "ready\n"
        reports = [json.loads(replica.communicate(timeout=120)[0]) for replica in started(replicas)]
    finally:
        for replica in replicas:
            replica.kill()
            replica.wait()
    return [error for report in reports for error in report["errors"]], max(
        report["seconds"] for report in reports
    )


def started(replicas: list["subprocess.Popen[str]"]) -> list["subprocess.Popen[str]"]:
    """Let all begin before anybody waits for the first."""
    for replica in replicas:
        assert replica.stdin is not None
        replica.stdin.write("go\n")
        replica.stdin.flush()
    return replicas


@pytest.mark.faults(
    area="order",
    done=f"{REPLICAS} processes x {WRITERS} writers append to the same {CONVERSATIONS} conversations",
    expected="0 errors, no deadlock, 0 lost, 0 doubled, own orders kept, no hole; the rate is only printed",
)
async def test_replicas_that_crowd_on_the_same_conversations(
    storage: PostgreSQLStorage, observer: Observer, url: str, schema: str, measured: Callable[[str], None]
) -> None:
    await storage.create_conversation("c0")
    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    before = await observer.fetchval(deadlocks)
    errors, seconds = await asyncio.to_thread(run_replicas, url, schema)
    assert errors == []
    stored = 0
    for number in range(CONVERSATIONS):
        own: dict[str, list[int]] = defaultdict(list)
        for message in await storage.get_messages(f"c{number}"):
            writer, _, turn = message["content"].rpartition("/")
            own[writer].append(int(turn))
            stored += 1
        for turns in own.values():
            assert turns == sorted(set(turns))
    await observer.execute("SELECT pg_stat_clear_snapshot()")
    after = await observer.fetchval(deadlocks)
    total = REPLICAS * WRITERS * EACH
    measured(
        f"{total - stored} lost of {total}, 0 out of order, {after - before} deadlocks, "
        f"{total / seconds:,.0f} appends/s"
    )
    assert stored == total
    assert after == before
    assert await exact(observer)
