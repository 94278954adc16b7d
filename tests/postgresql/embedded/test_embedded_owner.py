import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from corail.storage.postgresql.embedded import EmbeddedPostgres

Eventually = Callable[[Callable[[], bool]], bool]
Owner = Callable[[str], "subprocess.Popen[str]"]
Sql = Callable[..., list[object]]

START = """
import asyncio, json, os, signal, subprocess, sys, threading, time
import asyncpg
from corail.storage.postgresql.embedded import EmbeddedPostgres

async def fetch(statement):
    connection = await asyncpg.connect(server.url)
    try:
        return [row[0] for row in await connection.fetch(statement)]
    finally:
        await connection.close()

def say(**words):
    print(json.dumps(words), flush=True)

def tell(**more):
    others = "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
    say(pids=[server.pid, *asyncio.run(fetch(others))], **more)

def answer():
    # Long enough to be ended by a shutdown that has already begun.
    return asyncio.run(fetch("SELECT 1 FROM pg_sleep(0.2)"))

server = EmbeddedPostgres()
"""


@pytest.fixture
def all_gone(
    temporary_folders: Path, exists: Callable[[int], bool], eventually: Eventually
) -> Callable[[list[int]], bool]:
    """A function that waits until the processes and every temporary folder are gone."""

    def wait(pids: list[int]) -> bool:
        return eventually(lambda: not any(map(exists, pids)) and not any(temporary_folders.iterdir()))

    return wait


def told(process: "subprocess.Popen[str]") -> dict[str, list[int]]:
    assert process.stdout is not None
    words: dict[str, list[int]] = json.loads(process.stdout.readline())
    return words


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(
            "t = threading.Thread(target=server.start); t.start(); t.join()", id="thread that ended"
        ),
        pytest.param("server.start(); server.kill(); server.start()", id="restarted after a crash"),
    ],
)
def test_kill_9_of_the_owner_leaves_nothing(
    owner: Owner, all_gone: Callable[[list[int]], bool], start: str
) -> None:
    process = owner(f"{START}\n{start}\ntell()\ntime.sleep(60)")
    pids = told(process)["pids"]
    assert len(pids) > 3
    process.kill()
    assert all_gone(pids)


def test_kill_9_of_an_owner_whose_server_is_crashed_leaves_nothing(
    owner: Owner, all_gone: Callable[[list[int]], bool]
) -> None:
    process = owner(f"{START}\nserver.start(); tell(); server.kill(); say(); time.sleep(60)")
    pids = told(process)["pids"]
    told(process)
    process.kill()
    assert all_gone(pids)


def test_kill_9_of_an_owner_with_living_children_leaves_nothing(
    owner: Owner, all_gone: Callable[[list[int]], bool], exists: Callable[[int], bool]
) -> None:
    process = owner(
        f"""{START}
server.start()
forked = os.fork()
if forked == 0:
    time.sleep(60)
    os._exit(0)
program = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
tell(children=[forked, program.pid])
time.sleep(60)
"""
    )
    words = told(process)
    process.kill()
    try:
        assert all_gone(words["pids"])
        assert all(map(exists, words["children"]))
    finally:
        for child in words["children"]:
            os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("ending", ["sys.exit(3)", "server = None; say(); time.sleep(60)"])
def test_an_owner_that_forgets_to_stop_leaves_nothing(
    owner: Owner, all_gone: Callable[[list[int]], bool], ending: str
) -> None:
    process = owner(f"{START}\nserver.start(); tell()\n{ending}")
    pids = told(process)["pids"]
    assert all_gone(pids)


def test_no_end_of_a_forked_child_stops_the_parents_server(owner: Owner) -> None:
    process = owner(
        f"""{START}
import gc

def end_at_once():
    os._exit(0)

def end_with_exit_functions():
    sys.exit(0)

def end_by_leaving_the_with_block():
    server.__exit__(None, None, None)
    sys.exit(0)

def end_after_dropping_it():
    global server
    server.stop()
    server = None
    gc.collect()
    sys.exit(0)

server.start()
for end in (end_at_once, end_with_exit_functions, end_by_leaving_the_with_block, end_after_dropping_it):
    forked = os.fork()
    if forked == 0:
        end()
    say(status=[os.waitpid(forked, 0)[1]], answer=answer())
server.stop()
"""
    )
    for _ in range(4):
        assert told(process) == {"status": [0], "answer": [1]}
    assert process.wait(10) == 0


def test_a_forked_child_may_look_but_not_touch(owner: Owner) -> None:
    process = owner(
        f"""{START}
from corail.storage.postgresql.embedded import EmbeddedPostgresError
server.start()
forked = os.fork()
if forked == 0:
    refused = 0
    for touch in (server.start, server.kill, server.restart):
        try:
            touch()
        except EmbeddedPostgresError as error:
            refused += "belongs to process" in str(error)
    os._exit(10 * refused + server.running)
say(code=[os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1])])
"""
    )
    assert told(process) == {"code": [31]}


def test_ctrl_c_reaches_the_owner_and_leaves_it_a_server_to_finish_with(
    owner: Owner, all_gone: Callable[[list[int]], bool]
) -> None:
    process = owner(
        f"""{START}
with server:
    try:
        tell()
        time.sleep(60)
    except KeyboardInterrupt:
        say(answer=answer())
"""
    )
    pids = told(process)["pids"]
    os.killpg(process.pid, signal.SIGINT)
    assert told(process) == {"answer": [1]}
    assert process.wait(10) == 0
    assert all_gone(pids)


def test_ctrl_c_during_the_first_start_leaves_nothing(
    owner: Owner, temporary_folders: Path, all_gone: Callable[[list[int]], bool], eventually: Eventually
) -> None:
    process = owner(f"{START}\ntry: server.start()\nexcept KeyboardInterrupt: say()")
    assert eventually(lambda: any(temporary_folders.glob("*/password")))
    os.killpg(process.pid, signal.SIGINT)
    told(process)
    process.wait(10)
    assert all_gone([])


def test_a_folder_is_free_again_right_after_its_owner_was_killed(
    owner: Owner, tmp_path: Path, sql: Sql
) -> None:
    folder = tmp_path / "kept"
    process = owner(f"{START}\nserver = EmbeddedPostgres({str(folder)!r}).start(); tell(); time.sleep(60)")
    told(process)
    process.kill()
    with EmbeddedPostgres(folder) as server:
        assert sql(server.url, "SELECT 1") == [1]


def test_a_folder_whose_owner_was_killed_while_making_it_is_made_anew(
    owner: Owner, tmp_path: Path, sql: Sql, eventually: Eventually
) -> None:
    folder = tmp_path / "kept"
    process = owner(f"{START}\nserver = EmbeddedPostgres({str(folder)!r}).start()")
    assert eventually((folder / "pgdata.unfinished" / "base").exists)
    process.kill()
    with EmbeddedPostgres(folder) as server:
        assert sql(server.url, "SELECT 1") == [1]
