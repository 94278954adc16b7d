import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from corail.storage.postgresql.embedded import EmbeddedPostgres, EmbeddedStandby

Sql = Callable[..., list[object]]
Eventually = Callable[[Callable[[], bool]], bool]

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def test_committed_rows_survive_a_crash_on_the_same_port(
    embedded_server: EmbeddedPostgres, database_url: str, sql: Sql
) -> None:
    sql(database_url, "CREATE TABLE crashed (i int)")
    for _ in range(3):
        sql(database_url, "INSERT INTO crashed SELECT count(*) FROM crashed")
        embedded_server.kill()
        assert not embedded_server.running
        embedded_server.start()
    assert sql(database_url, "SELECT i FROM crashed ORDER BY i") == [0, 1, 2]
    assert "was not properly shut down" in embedded_server.log_path.read_text()


def test_a_crash_spares_no_process_not_even_a_busy_backend(
    embedded_server: EmbeddedPostgres,
    processes: Callable[[EmbeddedPostgres], list[int]],
    exists: Callable[[int], bool],
) -> None:
    pids = processes(embedded_server)
    embedded_server.kill()
    assert not [pid for pid in pids if exists(pid)]
    embedded_server.kill()
    embedded_server.start()


@linux_only
def test_a_crash_leaves_no_shared_memory_in_the_system(embedded_server: EmbeddedPostgres) -> None:
    rows = (embedded_server.data_dir / "pgdata" / "postmaster.pid").read_text().splitlines()
    segment = rows[6].split()[1]

    def segments() -> list[str]:
        return [row.split()[1] for row in Path("/proc/sysvipc/shm").read_text().splitlines()]

    assert segment in segments()
    embedded_server.kill()
    assert segment not in segments()
    embedded_server.start()


def test_a_server_that_somebody_else_killed_is_seen_dead_and_starts_again(
    embedded_server: EmbeddedPostgres, eventually: Eventually, sql: Sql
) -> None:
    pid = embedded_server.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: not embedded_server.running)
    assert embedded_server.pid is None
    embedded_server.start()
    assert sql(embedded_server.url, "SELECT 1") == [1]


def test_stop_after_a_crash_leaves_nothing(temporary_folders: Path) -> None:
    server = EmbeddedPostgres().start()
    server.kill()
    server.stop()
    assert list(temporary_folders.iterdir()) == []


@linux_only
def test_a_killed_launcher_takes_the_server_with_it(
    temporary_folders: Path,
    processes: Callable[[EmbeddedPostgres], list[int]],
    exists: Callable[[int], bool],
    eventually: Eventually,
) -> None:
    server = EmbeddedPostgres().start()
    pids = processes(server)
    launcher = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()[1]
    os.kill(int(launcher), signal.SIGKILL)
    assert eventually(lambda: not any(exists(pid) for pid in pids))
    server.stop()
    assert list(temporary_folders.iterdir()) == []


def test_a_standby_follows_and_takes_over_after_a_crash(
    embedded_server: EmbeddedPostgres, database_url: str, sql: Sql, eventually: Eventually
) -> None:
    database = database_url.rpartition("/")[2]
    with EmbeddedStandby(embedded_server, name="second") as standby:
        followers = "SELECT application_name FROM pg_stat_replication WHERE state = 'streaming'"
        assert eventually(lambda: sql(embedded_server.url, followers) == ["second"])
        sql(database_url, "CREATE TABLE followed (i int)", "INSERT INTO followed VALUES (1)")
        copied = standby.url_for(database)
        present = "SELECT count(*) FROM pg_class WHERE relname = 'followed'"
        assert eventually(lambda: sql(copied, present) == [1])
        assert eventually(lambda: sql(copied, "SELECT i FROM followed") == [1])
        assert sql(copied, "SELECT pg_is_in_recovery()") == [True]
        embedded_server.kill()
        standby.promote()
        assert sql(copied, "INSERT INTO followed VALUES (2) RETURNING i") == [2]
    embedded_server.start()
