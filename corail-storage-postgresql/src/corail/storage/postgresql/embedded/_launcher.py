"""Run PostgreSQL for a process that may die at any moment, and leave nothing behind when it does.

A program of its own, run by path under ``python -I -S``: standard library only, nothing of Corail.
Requests and replies are lists of strings, one line of JSON each, on standard input and output. The
end of the input means that the owner is gone, however that happened: the system closes a dead
process's pipes, while a signal on a parent's death is Linux only and tied to the thread that forked.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import runpy
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

LOCK_SECONDS = 2.0  # the launcher of an owner that was killed a moment ago is about to let go
STOP_SECONDS = 5.0  # for a fast shutdown, and again for an immediate one
TAIL_BYTES = 4000
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER, IPC_RMID = 1, 36, 0

libc = ctypes.CDLL(None, use_errno=True)


class OwnerGoneError(Exception):
    """The input ended: stop everything."""


class RefusedError(Exception):
    """The request cannot be met; the text goes to the owner."""


def main() -> None:
    """Serve one owner until it is gone, then end every process and remove what was temporary."""
    home, bindir, temporary = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "temporary"
    # The mask of the thread that started us is inherited; a blocked SIGCHLD would never wake us.
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    try:
        launcher = Launcher(home, bindir)
    except (RefusedError, OSError) as error:
        reply("error", str(error))
        return
    endings = (signal.SIGTERM, signal.SIGINT)
    for number in endings:
        signal.signal(number, leave)
    with contextlib.suppress(OwnerGoneError, BrokenPipeError):
        try:
            launcher.serve()
        finally:
            for number in endings:
                signal.signal(number, signal.SIG_IGN)
            # Nobody will open a temporary cluster again: it needs no checkpoint.
            launcher.end(signal.SIGQUIT if temporary else signal.SIGINT)
            if temporary:
                shutil.rmtree(home, ignore_errors=True)
            elif launcher.bindir != bindir:
                shutil.rmtree(home / "programs", ignore_errors=True)


class Launcher:
    """The lock on one folder, the server in it, and every process below this one."""

    def __init__(self, home: Path, bindir: Path) -> None:
        self.home = home
        self.postmaster: subprocess.Popen[bytes] | None = None
        self.lock = take(home)
        log_to(home / "server.log")
        # Loaded by path, as this file was.
        user = runpy.run_path(str(Path(__file__).with_name("_unprivileged.py")))
        acceptable: Callable[[], bool] = user["acceptable"]
        settle: Callable[[Path, Path], Path] = user["settle"]
        self.bindir = bindir if acceptable() else settle(home, bindir)
        if sys.platform == "linux":
            # The orphans of a killed postmaster become our children: they can be found and buried.
            libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def serve(self) -> None:
        """Answer requests in turn; the first reply, unasked, says that there is somebody to ask."""
        reply("ok")
        for line in self.requests():
            request: list[str] = json.loads(line)
            try:
                words = self.answer(request)
            except (RefusedError, OSError) as error:
                reply("error", str(error))
            else:
                reply("ok", *words)

    def requests(self) -> Iterator[bytes]:
        """Yield the owner's lines, burying a dead server as soon as it is dead."""
        wake, woken = os.pipe()
        os.set_blocking(woken, False)
        signal.set_wakeup_fd(woken)
        signal.signal(signal.SIGCHLD, wake_up)
        while True:
            ready, _, _ = select.select([0, wake], [], [])
            if wake in ready:
                os.read(wake, 4096)
                self.bury()
            if 0 in ready:
                # Never more than one line is on its way, so nothing hides in the reader's buffer.
                line = sys.stdin.buffer.readline()
                if not line:
                    raise OwnerGoneError
                yield line

    def answer(self, request: list[str]) -> list[str]:
        """Do what a request says and return the words of the reply."""
        match request:
            case ["run", seconds, text, *command]:
                return self.run(float(seconds), text, command)
            case ["start", *command]:
                self.kill()  # the backends of a postmaster that somebody else killed
                self.postmaster = self.spawn(command, stdin=subprocess.DEVNULL, output=2)
                return [str(self.postmaster.pid)]
            case ["stop"]:
                self.end(signal.SIGINT)
            case ["kill"]:
                self.kill()
            case _:
                raise RefusedError(f"no such request: {request[:1]}")
        return []

    def run(self, seconds: float, text: str, command: list[str]) -> list[str]:
        """Run a program on a text to its end; return its exit code and the end of what it printed."""
        deadline = time.monotonic() + seconds
        output, child_output = os.pipe()
        process = self.spawn(command, stdin=subprocess.PIPE, output=child_output)
        os.close(child_output)
        if process.stdin is not None:
            with contextlib.suppress(BrokenPipeError), process.stdin as stdin:
                stdin.write(text.encode())
        tail = b""
        while True:
            ready, _, _ = select.select([0, output], [], [], max(0.0, deadline - time.monotonic()))
            if 0 in ready:
                raise OwnerGoneError  # an owner does not speak out of turn: its end is closed
            if not ready:
                process.terminate()
                raise RefusedError(f"{command[0]} took longer than {seconds:g} seconds")
            chunk = os.read(output, 65536)
            if not chunk:
                break
            tail = (tail + chunk)[-TAIL_BYTES:]
        os.close(output)
        return [str(process.wait()), tail.decode(errors="replace")]

    def spawn(self, command: list[str], *, stdin: int, output: int) -> "subprocess.Popen[bytes]":
        """Start a program of PostgreSQL; leading NAME=value words set its environment, as in env(1)."""
        # What the owner's environment tells libpq (PGHOST, PGOPTIONS, ~/.pgpass) is not meant for us.
        env = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        env |= {"LC_ALL": "C", "HOME": str(self.home)}
        while "=" in command[0]:
            name, _, env[name] = command[0].partition("=")
            command = command[1:]
        launcher = os.getpid()

        def die_with_launcher() -> None:
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0)
            if os.getppid() != launcher:
                os._exit(1)

        # Elsewhere than on Linux nothing tells the server of its launcher's death. This process has one
        # thread, so code of ours may run in the child.
        at_birth = die_with_launcher if sys.platform == "linux" else None
        return subprocess.Popen(  # noqa: S603 - a program of the folder the owner chose
            [self.bindir / command[0], *command[1:]],
            stdin=stdin,
            stdout=output,
            stderr=output,
            env=env,
            preexec_fn=at_birth,
        )

    def end(self, first: signal.Signals) -> None:
        """Shut the server down, ever less politely, and end whatever else is below this process."""
        for number in (first, signal.SIGQUIT):
            if self.postmaster is not None and self.postmaster.poll() is None:
                self.postmaster.send_signal(number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.postmaster.wait(STOP_SECONDS)
        self.kill()

    def kill(self) -> None:
        """Kill every process below this one, as a power cut would.

        Killing the postmaster alone would not do: its children have sessions of their own and
        finish what they are doing. It goes first, so that it cannot fork more of them.
        """
        while victims := descendants():
            for pid in victims:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.002)
            self.bury()
        if self.postmaster is not None:
            self.postmaster.wait()
            remove_segment(self.home / "pgdata" / "postmaster.pid", self.postmaster.pid)
            self.postmaster = None
        self.bury()

    def bury(self) -> None:
        """Collect a dead postmaster, and then the orphans it left to us."""
        if self.postmaster is None or self.postmaster.poll() is not None:
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass


def leave(_number: int, _frame: object) -> None:
    """End as if the owner were gone: somebody asked this very process to stop."""
    sys.exit()


def wake_up(_number: int, _frame: object) -> None:
    """Let the number of the signal reach the wake-up pipe, which an ignored signal would not."""


def reply(*words: str) -> None:
    """Send one line to the owner."""
    os.write(1, json.dumps(words).encode() + b"\n")


def take(home: Path) -> int:
    """Lock the folder for the life of this process; the system lets go of it even after a kill."""
    lock = os.open(home, os.O_RDONLY)
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise RefusedError(
                    f"{home} is in use by another embedded server; stop that one, or name another data_dir."
                ) from None
            time.sleep(0.02)
        else:
            return lock


def log_to(log: Path) -> None:
    """Begin a new log, keep the one before, and send it what this process and the server print."""
    with contextlib.suppress(FileNotFoundError):
        log.replace(log.with_name("server.log.1"))
    opened = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    if os.geteuid() == 0:
        owner = log.parent.stat()
        os.fchown(opened, owner.st_uid, owner.st_gid)  # root may be a guest in this folder
    os.dup2(opened, 2)
    os.close(opened)


def descendants() -> list[int]:
    """Return every living process below this one, parents before their children."""
    children: dict[int, list[int]] = {}
    for pid, parent in living():
        children.setdefault(parent, []).append(pid)
    found = [os.getpid()]
    for pid in found:
        found.extend(children.get(pid, ()))
    return found[1:]


def living() -> Iterator[tuple[int, int]]:
    """Yield each process of this machine and its parent, leaving out the dead not yet buried."""
    if sys.platform == "linux":
        for entry in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                # "pid (name) state ppid ...": the name may hold anything, parentheses too.
                state, parent = entry.read_text(errors="replace").rpartition(")")[2].split()[:2]
                if state not in "ZX":
                    yield int(entry.parent.name), int(parent)
        return
    ps = ["/bin/ps", "-A", "-o", "pid=,ppid=,state=,comm="]
    listed = subprocess.run(ps, capture_output=True, text=True, check=True).stdout  # noqa: S603 - fixed words
    for row in listed.splitlines():
        pid, parent, status, *name = row.split(maxsplit=3)
        itself = int(parent) == os.getpid() and name[-1:] in (["ps"], ["/bin/ps"])
        if not status.startswith("Z") and not itself:
            yield int(pid), int(parent)


def remove_segment(pidfile: Path, postmaster: int) -> None:
    """Remove the 56-byte System V segment that a killed postmaster leaves in the system for ever."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        rows = pidfile.read_text().splitlines()
        if int(rows[0]) == postmaster:
            libc.shmctl(int(rows[6].split()[1]), IPC_RMID, None)


if __name__ == "__main__":
    main()
