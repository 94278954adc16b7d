"""Start the postmaster of a folder, wait until it accepts connections, and tell whether it lives."""

import os
import time
from collections.abc import Mapping
from typing import Final

from corail.storage.postgresql.embedded._errors import EmbeddedPostgresError
from corail.storage.postgresql.embedded._folder import Folder
from corail.storage.postgresql.embedded._port import HOST, free_port
from corail.storage.postgresql.embedded._supervisor import Supervisor

SETTINGS: Final[Mapping[str, str]] = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",  # a path of more than 107 bytes, as TMPDIR may be, would not start
    "max_connections": "200",
    # The default, posix, leaves files in /dev/shm after a crash; these go with the folder.
    "dynamic_shared_memory_type": "mmap",
}
"""What differs from PostgreSQL's defaults; durability (fsync and its like) does not."""

_PORT_ATTEMPTS: Final = 5
_POLL_SECONDS: Final = 0.005
_ORPHAN_SECONDS: Final = 5.0


def launch(
    supervisor: Supervisor, folder: Folder, settings: Mapping[str, str], port: int | None, deadline: float
) -> tuple[int, int]:
    """Return the process number and the port of a server that accepts connections.

    On ``port``, or on a free one when it is None: another one where somebody was faster. Raises
    ``EmbeddedPostgresError`` with the end of the log when the server gives up, and kills it when
    ``deadline`` (of ``time.monotonic``) has passed.
    """
    tail = ""
    for _ in range(_PORT_ATTEMPTS):
        chosen = port or free_port()
        log_start = folder.log_size()
        pid = _spawn(supervisor, folder, {**settings, "port": str(chosen)})
        if _ready(supervisor, folder, pid, deadline):
            return pid, chosen
        tail = folder.log_tail(log_start)
        if port or "could not bind" not in tail:
            break
    raise EmbeddedPostgresError(f"PostgreSQL in {folder.path} did not start. Its log ends:\n{tail}")


def alive(pid: int) -> bool:
    """Return whether a process exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def wait_until_gone(folder: Folder, pid: int) -> None:
    """Wait for a server whose launcher was killed; the system has told it to shut down (Linux)."""
    deadline = time.monotonic() + _ORPHAN_SECONDS
    # Its file goes last, and at once; the number can stay taken until somebody buries the process.
    while folder.served_by(pid) and alive(pid) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)


def _spawn(supervisor: Supervisor, folder: Folder, settings: Mapping[str, str]) -> int:
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    (pid,) = supervisor.ask("start", "postgres", "-D", str(folder.pgdata), *options)
    return int(pid)


def _ready(supervisor: Supervisor, folder: Folder, pid: int, deadline: float) -> bool:
    while not folder.accepts_connections(pid):
        if not alive(pid):
            return False
        if time.monotonic() > deadline:
            supervisor.ask("kill")
            raise EmbeddedPostgresError(
                f"PostgreSQL in {folder.path} was not ready in time. Its log ends:\n{folder.log_tail()}"
            )
        time.sleep(_POLL_SECONDS)
    return True
