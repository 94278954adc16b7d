"""The demos do what they print, on every storage, and end well whatever happens to them."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import psutil
import pytest

from corail.storage.postgresql import PostgreSQLStorage

ROOT: Final = Path(__file__).resolve().parents[2]
DEMO: Final = ROOT / "examples" / "demo.py"
DEMO_POSTGRESQL: Final = ROOT / "examples" / "demo_postgresql.py"

_RUN: Final = re.compile(r"corail-demo-[0-9a-f]{8}")


def _environment(**more: str) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("CORAIL_") or name == "CORAIL_TEST_PG_BINDIR"
    }
    return {**kept, **more}


def _on(url: str) -> dict[str, str]:
    return _environment(CORAIL_STORAGE="postgresql", CORAIL_DATABASE_URL=url)


def _run(
    program: Path, *arguments: str, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", program, *arguments],
        check=False,
        capture_output=True,
        text=True,
        env=_environment() if environment is None else environment,
        timeout=120,
    )


def _ids(url: str) -> list[str]:
    async def ids() -> list[str]:
        async with PostgreSQLStorage(url) as storage:
            return [row["id"] for row in await storage.list_conversations()]

    return asyncio.run(ids())


def test_demo_stores_and_shows_conversations_in_memory() -> None:
    result = _run(DEMO, "--conversations", "60")
    assert (result.returncode, result.stderr) == (0, "")
    assert "stored: 60 of 60" in result.stdout
    assert "compared text by text: 60 are identical" in result.stdout
    assert "StorageFactory.available() is [" in result.stdout
    # The agent's answer comes from what was stored, and the transcript holds both.
    assert result.stdout.count("The first thing you told me was:") == 2
    assert "--delete" not in result.stdout, "nothing is left in memory to be deleted"


def test_demo_runs_on_the_storage_of_the_environment_and_cleans_up(database_url: str) -> None:
    async def prepare() -> None:
        async with PostgreSQLStorage(database_url) as storage:
            await storage.append_message("somebody else's", "user", "text")

    asyncio.run(prepare())
    first = _run(DEMO, "--conversations", "40", environment=_on(database_url))
    second = _run(DEMO, "--conversations", "10", environment=_on(database_url))
    assert (first.returncode, first.stderr, second.returncode) == (0, "", 0)
    assert "PostgreSQLStorage (CORAIL_STORAGE)" in first.stdout
    assert "somebody else's" not in first.stdout
    assert len(_ids(database_url)) == 51

    named = _RUN.search(first.stdout)
    assert named is not None
    one = _run(DEMO, "--delete", named.group(), environment=_on(database_url))
    assert "Removed 40 conversations" in one.stdout
    rest = _run(DEMO, "--delete", environment=_on(database_url))
    assert "Removed 10 conversations" in rest.stdout
    assert _ids(database_url) == ["somebody else's"]


def test_demo_deletes_only_what_a_demo_made() -> None:
    result = _run(DEMO, "--delete", "chat-")
    assert result.returncode == 2
    assert "starts with corail-demo-" in result.stderr


def test_demo_postgresql_survives_a_killed_loader() -> None:
    result = _run(DEMO_POSTGRESQL, "--conversations", "200")
    assert (result.returncode, result.stderr) == (0, "")
    killed, resumed = map(int, re.findall(r"(\d+) conversations acknowledged", result.stdout))
    assert 100 <= killed < 200 == resumed
    assert "Killed with SIGKILL" in result.stdout
    for nothing in ("messages lost", "misplaced message", "in the middle of a batch"):
        assert re.findall(rf"(\d+)  .*{nothing}", result.stdout) == ["0", "0"]
    assert "    200  conversations complete and identical" in result.stdout
    assert result.stdout.count("The first thing you told me was:") == 2


@pytest.mark.parametrize(
    ("storage", "url", "error"),
    [
        ("postgresql", "postgresql://agent:s3cret@127.0.0.1:1/agents", "connection refused"),
        ("postgresql", "postgresql://agent:s3cr#t@127.0.0.1/agents", "StorageConfigurationError"),
        ("postgresql", "mysql://agent:s3cret@127.0.0.1/agents", "must start with postgresql://"),
        ("postgresql", "", "No database URL"),
        ("postgres", "", "Did you mean 'postgresql'?"),
        ("postgresql://agent:s3cret@127.0.0.1/agents", "", "a URL was given where a name is expected"),
    ],
)
def test_a_wrong_setting_is_told_in_one_message(storage: str, url: str, error: str) -> None:
    environment = _environment(CORAIL_STORAGE=storage, CORAIL_DATABASE_URL=url)
    result = _run(DEMO, environment=environment)
    assert result.returncode == 1
    assert error in result.stderr
    assert "Traceback" not in result.stderr
    assert "s3cr" not in result.stdout + result.stderr


def test_a_wrong_password_is_told_without_repeating_it(database_url: str) -> None:
    parts = urlsplit(database_url)
    wrong = database_url.replace(f":{parts.password}@", ":s3cret@")
    result = _run(DEMO, environment=_on(wrong))
    assert result.returncode == 1
    assert "rejects the user name or password" in result.stderr
    assert "s3cret" not in result.stdout + result.stderr


def test_an_interrupted_demo_says_what_it_left(database_url: str) -> None:
    with subprocess.Popen(
        [sys.executable, DEMO, "--all"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=_on(database_url),
    ) as demo:
        assert demo.stdout is not None
        seen = _read_until(demo, "stored: ")
        demo.send_signal(signal.SIGINT)
        rest, errors = demo.communicate(timeout=60)
    assert demo.returncode == 130
    assert "Interrupted." in errors
    assert "Traceback" not in errors
    named = _RUN.search(rest)
    assert named is not None, seen + rest
    assert f"--delete {named.group()}" in rest
    left = _ids(database_url)
    assert left
    assert all(conversation_id.startswith(f"{named.group()}:") for conversation_id in left)


def test_an_interrupted_demo_postgresql_leaves_no_process() -> None:
    with subprocess.Popen(
        [sys.executable, DEMO_POSTGRESQL, "--all"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=_environment(),
    ) as demo:
        seen = _read_until(demo, "acknowledged: ")
        children: list[psutil.Process] = psutil.Process(demo.pid).children(recursive=True)
        demo.send_signal(signal.SIGINT)
        rest, errors = demo.communicate(timeout=60)
    assert demo.returncode == 130
    assert "Traceback" not in errors, seen + rest
    assert len(children) >= 2, "the loader and the server's launcher"
    alive: list[psutil.Process] = psutil.wait_procs(children, timeout=20)[1]
    assert alive == []


def _read_until(process: subprocess.Popen[str], text: str) -> str:
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if text in line:
            return seen
    pytest.fail(f"ended before it printed {text!r}: {seen}")
