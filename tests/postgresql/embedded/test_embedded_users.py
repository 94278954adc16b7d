import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from corail.storage.postgresql.embedded import EmbeddedPostgres, EmbeddedPostgresError

Sql = Callable[..., list[object]]

SOMEBODY = 12_345
"""A user whose number has no name, as on platforms that choose one at random."""

as_root = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0,
    reason="changes users: needs root, and Linux to look at them",
)

SERVE = """
import asyncio, json, os, sys
from pathlib import Path
import asyncpg
from corail.storage.postgresql.embedded import EmbeddedPostgres, EmbeddedPostgresError

async def fetch(statement):
    connection = await asyncpg.connect(server.url)
    try:
        return [row[0] for row in await connection.fetch(statement)]
    finally:
        await connection.close()

try:
    with EmbeddedPostgres(bindir=Path(sys.argv[1]) if sys.argv[1:] else None) as server:
        asyncio.run(fetch("CREATE TABLE t AS SELECT 7 AS i"))
        server.kill()
        server.start()
        folder, user = server.data_dir, os.stat(f"/proc/{server.pid}").st_uid
        print(json.dumps({"rows": asyncio.run(fetch("TABLE t")), "user": user}))
    assert not folder.exists()
except EmbeddedPostgresError as error:
    print(json.dumps(str(error)))
"""

BAR_NAMESPACES = """
import ctypes, os, sys
# Root in a namespace that may not make another one, which leaves root every user but no namespace.
ready, mapped = os.pipe(), os.pipe()
child = os.fork()
if child:
    os.close(ready[1])
    if not os.read(ready[0], 1):
        sys.exit("no namespace to begin with")
    for kind in ("uid", "gid"):
        with open(f"/proc/{child}/{kind}_map", "w") as file:
            file.write("0 0 65536")
    os.write(mapped[1], b"x")
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
assert ctypes.CDLL(None).unshare(0x10000000) == 0
os.write(ready[1], b"x")
os.read(mapped[0], 1)
os.setgid(0)
os.setuid(0)
with open("/proc/sys/user/max_user_namespaces", "w") as file:
    file.write("0")
os.execv(sys.executable, [sys.executable, "-c", *sys.argv[1:]])
"""


def namespaces_can_be_barred() -> bool:
    tried = subprocess.run([sys.executable, "-c", BAR_NAMESPACES, "pass"], capture_output=True, check=False)
    return tried.returncode == 0


MAKE_NAMESPACE = "import ctypes, sys; sys.exit(ctypes.CDLL(None).unshare(0x10000000) != 0)"


@pytest.fixture
def user_namespaces() -> None:
    """Ask for user namespaces, which many containers bar."""
    if subprocess.run([sys.executable, "-c", MAKE_NAMESPACE], check=False).returncode != 0:
        pytest.skip("this system lets root make no user namespace")


@as_root
@pytest.mark.usefixtures("user_namespaces")
def test_root_needs_no_new_user_and_opens_no_folder(tmp_path: Path, sql: Sql) -> None:
    users = Path("/etc/passwd").read_bytes()
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    before = [(folder, folder.stat().st_mode) for folder in (private, *private.parents)]
    with EmbeddedPostgres(private / "kept") as server:
        assert sql(server.url, "SELECT 1") == [1]
    assert [(folder, folder.stat().st_mode) for folder in (private, *private.parents)] == before
    assert Path("/etc/passwd").read_bytes() == users


@as_root
@pytest.mark.usefixtures("user_namespaces")
def test_root_works_as_the_owner_of_a_folder_that_is_not_roots(open_folder: Path) -> None:
    folder = open_folder / "kept"
    folder.mkdir()
    os.chown(folder, SOMEBODY, SOMEBODY)
    with EmbeddedPostgres(folder) as server:
        assert Path(f"/proc/{server.pid}").stat().st_uid == SOMEBODY
    assert {path.stat().st_uid for path in folder.rglob("*")} == {SOMEBODY}


@as_root
@pytest.mark.usefixtures("user_namespaces")
def test_root_is_told_of_a_folder_that_it_cannot_reach_without_its_privileges(open_folder: Path) -> None:
    private = open_folder / "private"
    private.mkdir(mode=0o700)
    os.chown(private, SOMEBODY, SOMEBODY)
    with pytest.raises(EmbeddedPostgresError, match="root without its privileges"):
        EmbeddedPostgres(private / "kept").start()


@as_root
def test_where_namespaces_are_barred_root_uses_nobody_and_copies_private_programs(tmp_path: Path) -> None:
    if not namespaces_can_be_barred():
        pytest.skip("this system lets root make no user namespace, to begin with")
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    (private / "bin").symlink_to(EmbeddedPostgres().bindir)
    ran = subprocess.run(
        [sys.executable, "-c", BAR_NAMESPACES, SERVE, private / "bin"], stdout=subprocess.PIPE, check=True
    )
    words = json.loads(ran.stdout)
    assert words["rows"] == [7]
    assert words["user"] not in (0, SOMEBODY)


@as_root
def test_where_neither_works_root_is_told_what_would(temporary_folders: Path) -> None:
    if not namespaces_can_be_barred():
        pytest.skip("this system lets root make no user namespace, to begin with")
    temporary_folders.chmod(0o700)  # so that nobody cannot reach what is made in it
    ran = subprocess.run([sys.executable, "-c", BAR_NAMESPACES, SERVE], stdout=subprocess.PIPE, check=True)
    assert "refuses to run as root" in json.loads(ran.stdout)
    assert "TMPDIR" in json.loads(ran.stdout)
    assert list(temporary_folders.iterdir()) == []


def python_for(user: int, home: Path) -> tuple[str, dict[str, str]]:
    """Return an interpreter that another user can run, and an environment that leads to this project."""
    ours = [path for path in sys.path if path and not Path(path).is_relative_to(sys.base_prefix)]
    environment = {"PATH": os.defpath, "HOME": str(home), "PYTHONPATH": os.pathsep.join(ours)}
    # The interpreter of this test may live in root's home.
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        with contextlib.suppress(PermissionError, FileNotFoundError):
            if run_as(user, environment, python, "import asyncpg, corail.storage.postgresql").returncode == 0:
                return python, environment
    pytest.skip("no interpreter here can be run by another user")


def run_as(
    user: int, environment: dict[str, str], python: str, program: str
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [python, "-c", program],
        user=user,
        group=user,
        extra_groups=[],
        env=environment,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )


@as_root
@pytest.mark.parametrize("user", [pytest.param(65534, id="nobody"), pytest.param(SOMEBODY, id="nameless")])
def test_an_ordinary_user_needs_nothing(open_folder: Path, user: int) -> None:
    python, environment = python_for(user, open_folder)
    if user == SOMEBODY and run_as(user, environment, python, MAKE_NAMESPACE).returncode != 0:
        pytest.skip("this system lets an ordinary user make no user namespace")
    ran = run_as(user, environment, python, SERVE)
    assert json.loads(ran.stdout) == {"rows": [7], "user": user}, ran.stderr


@as_root
def test_where_namespaces_are_barred_a_user_without_a_name_is_told_what_would_help(open_folder: Path) -> None:
    if not namespaces_can_be_barred():
        pytest.skip("this system lets root make no user namespace, to begin with")
    python, environment = python_for(SOMEBODY, open_folder)
    become = f"""
import os
os.setgroups([])
os.setgid({SOMEBODY})
os.setuid({SOMEBODY})
os.execve({python!r}, [{python!r}, "-c", {SERVE!r}], {environment!r})
"""
    ran = subprocess.run(
        [sys.executable, "-c", BAR_NAMESPACES, become], stdout=subprocess.PIPE, check=True, cwd="/"
    )
    assert "/etc/passwd" in json.loads(ran.stdout)
    assert str(SOMEBODY) in json.loads(ran.stdout)
