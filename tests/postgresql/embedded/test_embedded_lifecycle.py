import contextlib
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from corail.storage.postgresql.embedded import EmbeddedPostgres, EmbeddedPostgresError

Sql = Callable[..., list[object]]


def test_a_started_server_answers_over_tcp_on_the_loopback_address(
    embedded_server: EmbeddedPostgres, sql: Sql
) -> None:
    assert urlsplit(embedded_server.url).hostname == "127.0.0.1"
    assert sql(embedded_server.url, "SELECT host(inet_server_addr())") == ["127.0.0.1"]
    assert embedded_server.running
    assert embedded_server.log_path.read_text().strip()


def test_durability_is_as_postgresql_ships_it(embedded_server: EmbeddedPostgres, sql: Sql) -> None:
    for setting in ("fsync", "synchronous_commit", "full_page_writes"):
        assert sql(embedded_server.url, f"SHOW {setting}") == ["on"]


def test_there_is_room_for_200_connections_and_text_is_utf8(
    embedded_server: EmbeddedPostgres, sql: Sql
) -> None:
    assert sql(embedded_server.url, "SHOW max_connections") == ["200"]
    assert sql(embedded_server.url, "SHOW server_encoding") == ["UTF8"]


def test_a_connection_without_the_password_is_refused(embedded_server: EmbeddedPostgres, sql: Sql) -> None:
    parts = urlsplit(embedded_server.url)
    stranger = parts._replace(netloc=f"postgres:guess@127.0.0.1:{embedded_server.port}").geturl()
    with pytest.raises(asyncpg.InvalidPasswordError):
        sql(stranger, "SELECT 1")


def test_the_password_is_in_neither_repr_nor_log(embedded_server: EmbeddedPostgres) -> None:
    password = urlsplit(embedded_server.url).password
    assert password
    assert len(password) > 20
    assert password not in repr(embedded_server)
    assert password not in embedded_server.log_path.read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_password_is_on_no_command_line(embedded_server: EmbeddedPostgres) -> None:
    password = urlsplit(embedded_server.url).password
    assert password
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            assert password.encode() not in command.read_bytes()


def test_files_with_secrets_are_for_their_owner_only(embedded_server: EmbeddedPostgres) -> None:
    for name in ("password", "server.log", "pgdata"):
        assert (embedded_server.data_dir / name).stat().st_mode & 0o077 == 0


def test_url_for_quotes_the_name_of_the_database(embedded_server: EmbeddedPostgres, sql: Sql) -> None:
    name = "odd name/with#signs?"
    sql(embedded_server.url, f'CREATE DATABASE "{name}"')
    assert sql(embedded_server.url_for(name), "SELECT current_database()") == [name]
    sql(embedded_server.url, f'DROP DATABASE "{name}" WITH (FORCE)')


def test_stop_leaves_neither_processes_nor_the_temporary_folder(
    processes: Callable[[EmbeddedPostgres], list[int]], exists: Callable[[int], bool]
) -> None:
    server = EmbeddedPostgres().start()
    folder, pids, port = server.data_dir, processes(server), server.port
    assert len(pids) > 3
    server.stop()
    assert not folder.exists()
    assert not [pid for pid in pids if exists(pid)]
    assert not server.running
    assert server.pid is None
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
    server.stop()
    with pytest.raises(EmbeddedPostgresError, match="not started"):
        _ = server.url


def test_a_kept_folder_keeps_rows_and_password_for_another_object(tmp_path: Path, sql: Sql) -> None:
    folder = tmp_path / "new" / "kept"
    with EmbeddedPostgres(folder) as first:
        password = urlsplit(first.url).password
        sql(first.url, "CREATE TABLE kept (i int)", "INSERT INTO kept VALUES (1)")
    assert folder.exists()
    with EmbeddedPostgres(str(folder), settings={"work_mem": "5MB"}) as second:
        assert sql(second.url, "SELECT i FROM kept") == [1]
        assert sql(second.url, "SHOW work_mem") == ["5MB"]
        assert urlsplit(second.url).password == password


def test_a_restart_keeps_url_and_rows(embedded_server: EmbeddedPostgres, database_url: str, sql: Sql) -> None:
    before, pid = embedded_server.url, embedded_server.pid
    sql(database_url, "CREATE TABLE kept (i int)", "INSERT INTO kept VALUES (1)")
    embedded_server.restart()
    assert embedded_server.url == before
    assert embedded_server.pid != pid
    assert sql(database_url, "SELECT i FROM kept") == [1]


def test_start_of_a_running_server_does_nothing(embedded_server: EmbeddedPostgres) -> None:
    pid = embedded_server.pid
    assert embedded_server.start() is embedded_server
    assert embedded_server.pid == pid


def test_two_servers_at_once_are_two_servers(embedded_server: EmbeddedPostgres, sql: Sql) -> None:
    with EmbeddedPostgres() as other:
        assert other.port != embedded_server.port
        ask = "SELECT system_identifier::text FROM pg_control_system()"
        assert sql(other.url, ask) != sql(embedded_server.url, ask)


def test_threads_that_start_one_object_start_one_server_that_outlives_them(sql: Sql) -> None:
    server = EmbeddedPostgres()
    threads = [threading.Thread(target=server.start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    try:
        assert server.log_path.read_text().count("listening on IPv4") == 1
        # A signal tied to a thread would arrive at its end, and a shutdown would end this wait.
        assert sql(server.url, "SELECT 1 FROM pg_sleep(0.3)") == [1]
    finally:
        server.stop()


def test_a_new_database_is_empty_and_gone_after_its_test(
    database_url: str, embedded_server: EmbeddedPostgres, sql: Sql
) -> None:
    assert sql(
        database_url, "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'"
    ) == [0]
    names = sql(embedded_server.url, "SELECT datname FROM pg_database WHERE datname LIKE 'corail_test_%'")
    assert names == [urlsplit(database_url).path.removeprefix("/")]
