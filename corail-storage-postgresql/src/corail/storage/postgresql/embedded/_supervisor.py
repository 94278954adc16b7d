"""The owner's side of the launcher: one process, one pipe in each direction, and who may close them.

Knows nothing of PostgreSQL. What it guards against is ``fork``: a child that kept the writing end
of the pipe would keep its parent's server alive, and one that closed it properly would stop it.
"""

import json
import os
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from typing import Final

from corail.storage.postgresql.embedded._errors import EmbeddedPostgresError

LAUNCHER: Final = Path(__file__).with_name("_launcher.py")
_END_SECONDS: Final = 30.0  # more than the launcher's own two times 5 s

_GONE: Final = (
    "The launcher of the embedded server has ended, and the server with it: stop() and start() anew."
)

_launchers: set["subprocess.Popen[bytes]"] = set()
# Held while pipes open and close, and across every fork: no child gets an end that is not listed.
_forking = threading.RLock()


class Supervisor:
    """A running launcher and its folder; everything below it ends with ``close()`` or this process.

    Raises ``EmbeddedPostgresError`` when the launcher cannot take the folder.
    """

    def __init__(self, home: Path, bindir: Path, *, temporary: bool) -> None:
        command = [sys.executable, "-I", "-S", str(LAUNCHER), str(home), str(bindir)]
        with _forking:
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter, a file of this package
                [*command, "temporary" if temporary else "kept"],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # the launcher opens the log once the folder is its own
                cwd="/",
                start_new_session=True,  # Ctrl-C in a terminal is for the owner alone
            )
            _launchers.add(self._process)
        self._end = weakref.finalize(self, _end, self._process, os.getpid())
        try:
            self._reply()
        except BaseException:
            self.close()
            raise

    def ask(self, *request: str) -> list[str]:
        """Send a request and return the reply; not for two threads at once.

        An error in the reply is an ``EmbeddedPostgresError``. An interruption (Ctrl-C) closes the
        launcher, since nobody would know whose reply comes next.
        """
        line = json.dumps(request).encode() + b"\n"
        try:
            if self._process.stdin is not None:
                self._process.stdin.write(line)
            return self._reply()
        except EmbeddedPostgresError:
            raise
        except OSError as error:
            raise EmbeddedPostgresError(_GONE) from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop the server and wait until every process is gone; a second call does nothing."""
        self._end()

    def _reply(self) -> list[str]:
        line = b"" if self._process.stdout is None else self._process.stdout.readline()
        if not line:
            raise EmbeddedPostgresError(_GONE)
        words: list[str] = json.loads(line)
        if words[0] != "ok":
            raise EmbeddedPostgresError(words[1])
        return words[1:]


def _end(process: "subprocess.Popen[bytes]", owner: int) -> None:
    # Also called by the garbage collector and at exit, in forked children too.
    if os.getpid() != owner:
        return
    with _forking:
        _close_pipes(process)
        _launchers.discard(process)
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _close_pipes(process: "subprocess.Popen[bytes]") -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def _forget_in_child() -> None:
    _forking.release()
    for process in _launchers:
        _close_pipes(process)
        process.returncode = 0  # not the child's to wait for, nor to warn about
    _launchers.clear()


# Windows has no fork; there the launcher does not run either.
if sys.platform != "win32":
    os.register_at_fork(
        before=_forking.acquire, after_in_parent=_forking.release, after_in_child=_forget_in_child
    )
