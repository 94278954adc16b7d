"""A real PgBouncer on a loopback port before the test server; knows nothing of storages.

It refuses to run as root, so root runs it as ``nobody``. A PgBouncer that was there before is never
touched: this one has a folder, a port and a configuration of its own, and no Unix socket.
"""

import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from typing import Final, Self
from urllib.parse import unquote, urlsplit

import pytest

from corail.storage.postgresql.embedded._port import free_port
from tests.postgresql.addresses import with_host

PROGRAM: Final = "CORAIL_TEST_PGBOUNCER"
REQUIRED: Final = "CORAIL_TEST_REQUIRE_PGBOUNCER"
_READY_SECONDS: Final = 10.0


def program() -> str:
    """Return the PgBouncer to run; skip the test where there is none, or fail it if one is required."""
    named = os.environ.get(PROGRAM, "").strip()
    # Debian installs it where an ordinary user's PATH does not lead.
    found = shutil.which(named or "pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is not None:
        return found
    missing = f"{named or 'pgbouncer'} is not installed: apt-get install pgbouncer, or set {PROGRAM}"
    if os.environ.get(REQUIRED, "").strip() not in {"", "0"}:
        pytest.fail(f"{missing} ({REQUIRED} is set)")
    pytest.skip(missing)


def can_keep_names(found: str) -> bool:
    """Return whether a PgBouncer can follow prepared statements from one server connection to the next."""
    said = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"PgBouncer (\d+)\.(\d+)", said)
    assert version is not None, said
    return (int(version[1]), int(version[2])) >= (1, 21)


class PgBouncer:
    """A PgBouncer before the server of ``url``; use it as a context manager, in the main thread.

    Args:
        url: a database URL with user, password, one host and port; other databases of that server and
            user work through it as well.
        pool_mode: ``transaction`` or ``session``.
        pool_size: connections to the server for each database.
        keeps_names: whether prepared statements work in transaction mode; skips the test where this
            PgBouncer is older than 1.21 and cannot.
        settings: further lines of its configuration.

    """

    def __init__(
        self,
        url: str,
        *,
        pool_mode: str = "transaction",
        pool_size: int = 4,
        keeps_names: bool = False,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._url = url
        self._program = program()
        self._settings = {"pool_mode": pool_mode, "default_pool_size": str(pool_size), **(settings or {})}
        if can_keep_names(self._program):
            self._settings["max_prepared_statements"] = "200" if keeps_names else "0"
        elif keeps_names:
            pytest.skip("PgBouncer keeps prepared statements from 1.21 on")
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """The URL of the same database through this PgBouncer; the port stays the same."""
        return self.through(self._url)

    def through(self, url: str) -> str:
        """Return the URL of any database of the server through this PgBouncer."""
        return with_host(url, "127.0.0.1", self._port)

    @property
    def log(self) -> str:
        """What it has logged; never a password."""
        return "" if self._folder is None else (self._folder / "log").read_text("utf-8", "replace")

    def start(self) -> None:
        """Start it, and return once it accepts connections."""
        if self._folder is None:
            raise AssertionError("use it in a with statement")
        command = [self._program, str(self._folder / "pgbouncer.ini")]
        if (setpriv := shutil.which("setpriv")) is not None:
            # Otherwise it would outlive a test run that is killed.
            command = [setpriv, "--pdeathsig", "KILL", *command]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                user=_nobody().pw_uid if _is_root() else None,
                group=_nobody().pw_gid if _is_root() else None,
                extra_groups=[] if _is_root() else None,
            )
        deadline = monotonic() + _READY_SECONDS
        while not self._accepts():
            if self._process.poll() is not None or monotonic() > deadline:
                raise AssertionError(f"PgBouncer did not start:\n{self.log}")
            sleep(0.005)

    def stop(self, signal_number: int = signal.SIGKILL) -> None:
        """End it, by default without a word to anybody."""
        if self._process is not None:
            self._process.send_signal(signal_number)
            self._process.wait(_READY_SECONDS)
            self._process = None

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="corail-pgbouncer-"))
        try:
            self._port = free_port()
            self._configure(self._folder)
            self.start()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ended = None if self._process is None else self._process.poll()
        log = self.log
        self._remove()
        if ended is not None:
            raise AssertionError(f"PgBouncer ended by itself with {ended}:\n{log[-2000:]}")

    def _configure(self, folder: Path) -> None:
        parts = urlsplit(self._url)
        settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": str(self._port),
            "unix_socket_dir": "",
            "auth_type": "scram-sha-256",
            "auth_file": str(folder / "users"),
            "max_client_conn": "1000",
            **self._settings,
        }
        lines = ["[databases]", f"* = host={parts.hostname} port={parts.port or 5432}", "[pgbouncer]"]
        lines += [f"{name} = {value}" for name, value in settings.items()]
        (folder / "pgbouncer.ini").write_text("\n".join(lines) + "\n", encoding="utf-8")
        words = (unquote(parts.username or ""), unquote(parts.password or ""))
        # In plain text: from a SCRAM secret it could not log in to the server itself.
        quoted = " ".join('"' + word.replace('"', '""') + '"' for word in words)
        (folder / "users").write_text(quoted + "\n", encoding="utf-8")
        if _is_root():
            for path in (folder, *folder.iterdir()):
                os.chown(path, _nobody().pw_uid, _nobody().pw_gid)

    def _accepts(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0

    def _remove(self) -> None:
        self.stop()
        if self._folder is not None:
            shutil.rmtree(self._folder)
            self._folder = None


def _is_root() -> bool:
    return os.geteuid() == 0


def _nobody() -> pwd.struct_passwd:
    return pwd.getpwnam("nobody")
