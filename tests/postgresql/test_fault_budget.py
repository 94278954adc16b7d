"""How many connections replicas open, counted by the server, against the formula of docs/scaling.md."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import asyncpg
import pytest

from corail.storage.postgresql.embedded import EmbeddedPostgres
from tests.postgresql.addresses import with_parameters
from tests.postgresql.loops import in_thread
from tests.postgresql.observing import Observer, connections, connections_end, exact

POOL_SIZE = 2
PROCESSES = 4
SECONDS = 1.5

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def roomy_server() -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(settings={"max_connections": "230"}) as server:
        yield server


@pytest.fixture
async def watcher(roomy_server: EmbeddedPostgres, schema: str) -> AsyncIterator[Observer]:
    connection = await asyncpg.connect(with_parameters(roomy_server.url, search_path=schema), timeout=30)
    yield connection
    await connection.close()


@contextmanager
def running(url: str, schema: str, pods: int) -> Generator[list["subprocess.Popen[str]"]]:
    """Run so many pods, several in each process."""
    program = Path(__file__).with_name("pods.py")
    each = -(-pods // PROCESSES)
    started = [
        subprocess.Popen(
            [sys.executable, str(program), url, schema]
            + [str(number) for number in (first, min(first + each, pods), POOL_SIZE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for first in range(0, pods, each)
    ]
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            process.wait()


def busy(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.mark.parametrize(
    "pods",
    [
        pytest.param(
            pods,
            marks=pytest.mark.faults(
                area="loops and forks",
                done=f"pods at work: {pods}, each with a pool of {POOL_SIZE} and 8 callers",
                expected=f"0 errors, never more than {pods} x {POOL_SIZE} connections, all closed at the end",
            ),
        )
        for pods in (1, 10, 100)
    ],
)
async def test_pods_keep_to_their_budget(
    roomy_server: EmbeddedPostgres,
    watcher: Observer,
    schema: str,
    application_name: str,
    pods: int,
    measured: Callable[[str], None],
) -> None:
    url = with_parameters(roomy_server.url, application_name=application_name)
    most = 0
    with running(url, schema, pods) as processes:

        async def count_until(done: asyncio.Event) -> None:
            nonlocal most
            while not done.is_set():
                most = max(most, await connections(watcher, application_name))
                await asyncio.sleep(0.02)

        answers: list[dict[str, Any]] = []

        def drive() -> None:
            assert [busy(process) for process in processes] == ["busy\n"] * len(processes)
            end = monotonic() + SECONDS
            for process in processes:
                try:
                    process.wait(max(0.0, end - monotonic()))
                except subprocess.TimeoutExpired:
                    continue
            answers.extend(json.loads(process.communicate("\n")[0]) for process in processes)

        done = asyncio.Event()
        counting = asyncio.create_task(count_until(done))
        try:
            await in_thread(drive)
        finally:
            done.set()
            await counting
    errors = [error for answer in answers for error in answer["errors"]]
    calls = [number for answer in answers for number in answer["calls"]]
    measured(f"{len(errors)} errors in {sum(calls)} calls, at most {most} of {pods * POOL_SIZE} connections")
    assert errors == []
    assert len(calls) == pods
    assert min(calls) > 0
    assert 0 < most <= pods * POOL_SIZE
    assert await connections_end(watcher, application_name)
    assert await exact(watcher)
