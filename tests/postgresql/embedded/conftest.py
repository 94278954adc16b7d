"""What the tests of the embedded server share: SQL, waiting, and processes that own a server."""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import asyncpg
import pytest

from corail.storage.postgresql.embedded import EmbeddedPostgres

Sql = Callable[..., list[object]]
Eventually = Callable[[Callable[[], bool]], bool]
Owner = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder that others can reach, as pytest's own cannot be.

    Where user namespaces are barred, as in many containers, root's server runs as another user.
    """
    with tempfile.TemporaryDirectory(prefix="corail-test-") as folder:
        path = Path(folder).resolve()
        path.chmod(0o755)
        yield path


@pytest.fixture(scope="session")
def sql() -> Sql:
    """A function that runs statements on one connection and returns the last one's first column."""

    async def run(url: str, statements: Sequence[str]) -> list[object]:
        connection = await asyncpg.connect(url, timeout=10)
        try:
            rows: list[asyncpg.Record] = []
            for statement in statements:
                rows = await connection.fetch(statement, timeout=10)
            return [row[0] for row in rows]
        finally:
            await connection.close()

    def query(url: str, *statements: str) -> list[object]:
        return asyncio.run(run(url, statements))

    return query


@pytest.fixture(scope="session")
def eventually() -> Eventually:
    """A function that polls a condition for up to ten seconds and returns whether it came true."""

    def poll(condition: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + 10
        while not (met := condition()) and time.monotonic() < deadline:
            time.sleep(0.01)
        return met

    return poll


@pytest.fixture(scope="session")
def exists() -> Callable[[int], bool]:
    """A function that tells whether a process lives; a dead one that nobody buried does not."""

    def ask(pid: int) -> bool:
        if sys.platform == "linux":
            try:
                return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
            except (FileNotFoundError, ProcessLookupError):
                return False
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        return True

    return ask


@pytest.fixture(scope="session")
def processes(sql: Sql) -> Callable[[EmbeddedPostgres], list[int]]:
    """A function that returns every process of a server but the backend that was asked."""

    def ask(server: EmbeddedPostgres) -> list[int]:
        found = sql(server.url, "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        return [pid for pid in (server.pid, *found) if isinstance(pid, int)]

    return ask


@pytest.fixture
def owner() -> Iterator[Owner]:
    """A function that starts another Python program; it is killed after the test if it still runs."""
    started: list[subprocess.Popen[str]] = []

    def start(program: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A temporary folder that every user can reach, unlike pytest's."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def temporary_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which temporary servers of this process and its children live, empty at first."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    # As /tmp is: where user namespaces are barred, root's server has to remove its folder as another user.
    folder.chmod(0o1777)
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    return folder
