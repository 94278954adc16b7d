"""Contenders as the parent sees them: a process each, driven by lines of JSON over its pipes."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

ROOT: Final = Path(__file__).resolve().parent.parent
_PATIENCE: Final = 600.0
_TAIL: Final = 2_000


class Contender(NamedTuple):
    """One library under test."""

    key: str
    """Letters and underscores; also the name of its database."""
    name: str
    """As it stands in tables."""
    adapter: str
    """``module:Class`` of its adapter."""
    python: Path = Path(sys.executable)
    """The interpreter of its environment."""


OURS: Final = Contender("ours", "corail-storage", "benchmarks.adapters.corail:Corail")
RAW: Final = Contender("raw", "raw asyncpg", "benchmarks.adapters.raw:Raw")
COUNTER: Final = Contender("counter", "asyncpg, row lock", "benchmarks.adapters.counter:Counter")


class ContenderError(Exception):
    """A contender failed or hung; the text holds what it said last."""


class Process:
    """A contender's process, from ``with`` to its end.

    Args:
        contender: which one.
        patience: seconds after which a request that has no answer is given up.

    """

    def __init__(self, contender: Contender, *, patience: float = _PATIENCE) -> None:
        self.contender = contender
        self._patience = patience
        # Some libraries leave files where they are imported.
        self._folder = tempfile.TemporaryDirectory(prefix="corail-bench-")
        self._errors = (Path(self._folder.name) / "stderr").open("w+b")
        self._process = subprocess.Popen(  # noqa: S603 - our own worker
            [contender.python, "-m", "benchmarks.worker"],
            cwd=self._folder.name,
            env=_environment(self._folder.name),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
        )

    @property
    def pid(self) -> int:
        """The id of the contender's process."""
        return self._process.pid

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send one request and return its answer."""
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise AssertionError("both are pipes")
        watchdog = threading.Timer(self._patience, self._process.kill)
        watchdog.start()
        try:
            stdin.write(json.dumps(request) + "\n")
            stdin.flush()
            line = stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            watchdog.cancel()
        if not line:
            raise ContenderError(f"{self.contender.name} ended or hung in {request['do']!r}:\n{self._tail()}")
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise ContenderError(f"{self.contender.name}: {reply['error']}\n{reply['trace']}")
        return reply

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.ask(do="close")
        finally:
            self._end()

    def _end(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                # A request that a killed process never read is flushed once more by close().
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()
        self._folder.cleanup()

    def _tail(self) -> str:
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")[-_TAIL:]


def _environment(home: str) -> Mapping[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CORAIL_", "PG"))}
    return {
        **kept,
        "PYTHONPATH": str(ROOT),
        # Ours is the only traffic: nobody's usage statistics, nobody's files in a home folder.
        "HOME": home,
        "CHAINLIT_APP_ROOT": home,
        "DO_NOT_TRACK": "1",
        "ANONYMIZED_TELEMETRY": "false",
        "AGNO_TELEMETRY": "false",
        "OPENAI_AGENTS_DISABLE_TRACING": "1",
    }
