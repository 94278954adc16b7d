"""What the demo prints, on a terminal and in a log file alike."""

import sys
import textwrap
from collections.abc import Generator
from contextlib import contextmanager
from io import TextIOWrapper
from time import monotonic
from typing import Final, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

_WIDTH: Final = 100
_SECONDS_BETWEEN_LINES: Final = 2.0

# No markup and no highlighting: stored text may contain anything, square brackets included.
_console = Console(markup=False, highlight=False, soft_wrap=True)
_errors = Console(markup=False, highlight=False, soft_wrap=True, stderr=True)


class Advance(Protocol):
    """Counts one step of a progress bar."""

    def __call__(self) -> None:
        """Count."""
        ...


def heading(text: str) -> None:
    """Begin a part of the demo."""
    _console.print(f"\n{text}", style="bold")


def say(text: str = "") -> None:
    """Print one line, indented."""
    _console.print(f"  {text}")


def complain(text: str) -> None:
    """Print an error."""
    _errors.print(text, style="red")


def message(role: str, content: str) -> None:
    """Print one message of a conversation, long ones wrapped under themselves."""
    # Stored text may hold control characters, which a terminal would obey.
    visible = "".join(character if character.isprintable() else " " for character in content)
    indent = " " * 14
    lines = textwrap.wrap(visible, _WIDTH - len(indent)) or [""]
    _console.print(f"  {role:<11} {lines[0]}")
    for line in lines[1:]:
        _console.print(f"{indent}{line}")


@contextmanager
def progress(label: str, total: int) -> Generator[Advance]:
    """Show a bar on a terminal; elsewhere a line every two seconds and one at the end."""
    if _console.is_terminal:
        columns = (
            TextColumn("  {task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=_console) as bar:
            task = bar.add_task(label, total=total)
            yield lambda: bar.advance(task)
        return
    started = printed = monotonic()
    done = 0

    def advance() -> None:
        nonlocal done, printed
        done += 1
        if done == total or monotonic() - printed >= _SECONDS_BETWEEN_LINES:
            printed = monotonic()
            say(f"{label}: {done:,} of {total:,} ({printed - started:.1f} s)")

    yield advance


def never_fail_on_characters() -> None:
    """Print "?" for characters that the terminal's encoding lacks, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
