"""Event loops, threads and processes that come and go: every one has its own connections, none stays open."""

# pyright: reportPrivateUsage=false

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from corail.storage.errors import StorageClosedError
from corail.storage.redis import RedisStorage
from tests.redis.conftest import MakeStorage
from tests.redis.servers import Cluster, Node, eventually


class Watched:
    """A server or a cluster, and how many connections clients have to it."""

    def __init__(self, servers: Node | Cluster) -> None:
        self.url = servers.url
        self._nodes = [servers] if isinstance(servers, Node) else servers.nodes
        self._before = self._count()

    def connections(self) -> int:
        """Return how many connections there are more than at first."""
        return self._count() - self._before

    def wait_for_none(self) -> None:
        """Wait until the server has seen every connection go."""
        eventually(lambda: self.connections() <= 0, "connections were left open")

    def _count(self) -> int:
        found: list[dict[str, Any]] = [
            one for node in self._nodes for one in node.command("CLIENT LIST", "TYPE", "NORMAL")
        ]
        # Nodes of a cluster keep connections to each other, and this asks with one.
        return len([one for one in found if one["cmd"] != "client|list" and one["name"] == ""])


@pytest.fixture(params=["single", "cluster"])
def watched(request: pytest.FixtureRequest) -> Watched:
    return Watched(request.getfixturevalue("node" if request.param == "single" else "cluster"))


async def use(storage: RedisStorage, number: int) -> None:
    await asyncio.gather(*(storage.append_message("chat", "user", f"{number}.{part}") for part in range(4)))
    await storage.list_conversations()


def in_a_loop(storage: RedisStorage, number: int) -> None:
    asyncio.run(use(storage, number))


def test_one_object_serves_many_loops_and_leaves_nothing_open(watched: Watched, make: MakeStorage) -> None:
    storage = make(watched.url)
    for number in range(5):
        # No aclose: asyncio.run ends the loop's client with the loop.
        asyncio.run(use(storage, number))
        watched.wait_for_none()
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(in_a_loop, [storage] * 20, range(5, 25)))
    watched.wait_for_none()
    assert len(asyncio.run(storage.get_messages("chat"))) == 100
    asyncio.run(storage.aclose())
    with pytest.raises(StorageClosedError):
        asyncio.run(storage.get_messages("chat"))
    watched.wait_for_none()


def test_a_loop_that_is_closed_without_ceremony_is_cut_off_by_the_next(
    watched: Watched, make: MakeStorage
) -> None:
    storage = make(watched.url)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(use(storage, 0))
    loop.close()
    assert watched.connections() > 0
    asyncio.run(use(storage, 1))
    watched.wait_for_none()
    asyncio.run(storage.aclose())
    # Any warning of what was left open would be an error here.
    del loop
    gc.collect()


def test_a_loop_that_stands_still_is_cut_off_by_aclose(watched: Watched, make: MakeStorage) -> None:
    storage = make(watched.url)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(use(storage, 0))
    asyncio.run(storage.aclose())
    watched.wait_for_none()
    # Should it run once more, it tidies up.
    loop.run_until_complete(asyncio.sleep(0))
    loop.run_until_complete(asyncio.gather(*asyncio.all_tasks(loop)))
    loop.close()


def test_a_storage_that_is_dropped_closes_its_connections(watched: Watched, make: MakeStorage) -> None:
    async def run() -> None:
        storage = make(watched.url)
        await use(storage, 0)
        assert watched.connections() > 0
        del storage
        gc.collect()
        # The loop closes them, so it must go on meanwhile.
        await asyncio.to_thread(watched.wait_for_none)

    asyncio.run(run())


def test_closing_from_another_loop_closes_in_the_first(watched: Watched, make: MakeStorage) -> None:
    storage = make(watched.url)
    ready, done = threading.Event(), threading.Event()

    async def wait() -> None:
        await use(storage, 0)
        ready.set()
        await asyncio.to_thread(done.wait)
        with pytest.raises(StorageClosedError):
            await storage.get_messages("chat")

    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(asyncio.run, wait())
        ready.wait()
        asyncio.run(storage.aclose())
        watched.wait_for_none()
        done.set()
        running.result()


def test_a_forked_child_has_connections_of_its_own(watched: Watched, make: MakeStorage) -> None:
    storage = make(watched.url)

    async def run() -> None:
        await use(storage, 0)
        child = os.fork()
        if child == 0:
            os._exit(_in_child(storage))
        _, status = await asyncio.to_thread(os.waitpid, child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        # The parent's connections are as they were.
        await use(storage, 2)
        found = [message["content"].split(".")[0] for message in await storage.get_messages("chat")]
        assert sorted(found) == ["0"] * 4 + ["1"] * 4 + ["2"] * 4
        await storage.aclose()

    asyncio.run(run())
    watched.wait_for_none()


def _in_child(storage: RedisStorage) -> int:
    signal.alarm(30)
    try:
        # A forked process inherits the mark of a running loop.
        asyncio._set_running_loop(None)

        async def run() -> None:
            await use(storage, 1)
            await storage.aclose()

        asyncio.run(run())
    except BaseException as error:  # noqa: BLE001 - told by the exit code, and by this
        print(repr(error), file=sys.stderr, flush=True)  # noqa: T201
        return 1
    return 0


PROCESS = """
import asyncio, sys
from corail.storage.redis import RedisStorage

async def write(storage, writer):
    for number in range(40):
        await storage.append_message("chat", "user", f"{writer}.{number}")
        await storage.append_messages(
            "turns", [{"role": "user", "content": f"turn {number}"}], idempotency_key=f"turn {number}"
        )
        await storage.create_conversation(f"created {number}", {"writer": writer})

async def main(process):
    async with RedisStorage() as storage:
        await asyncio.gather(*(write(storage, f"{process}{task}") for task in "abc"))

asyncio.run(main(sys.argv[1]))
"""


def test_processes_write_one_order_and_share_keys(watched: Watched, make: MakeStorage, prefix: str) -> None:
    variables = {**os.environ, "CORAIL_REDIS_URL": watched.url, "CORAIL_REDIS_PREFIX": prefix}
    processes = [
        subprocess.Popen([sys.executable, "-c", PROCESS, name], env=variables) for name in ("x", "y")
    ]
    assert [process.wait(60) for process in processes] == [0, 0]

    async def look() -> None:
        async with make(watched.url) as storage:
            found = [message["content"] for message in await storage.get_messages("chat")]
            writers = [process + task for process in "xy" for task in "abc"]
            assert sorted(found) == sorted(f"{writer}.{number}" for writer in writers for number in range(40))
            for writer in writers:
                own = [text for text in found if text.startswith(writer)]
                assert own == [f"{writer}.{number}" for number in range(40)]
            turns = [message["content"] for message in await storage.get_messages("turns")]
            assert sorted(turns) == sorted(f"turn {number}" for number in range(40))
            rows = {row["id"]: row["message_count"] for row in await storage.list_conversations()}
            assert rows == {"chat": 240, "turns": 40, **{f"created {number}": 0 for number in range(40)}}

    asyncio.run(look())
