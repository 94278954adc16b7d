"""The command line of the demos: options, errors and interruption, and exit codes."""

import argparse
import asyncio
from collections.abc import Coroutine
from typing import Any, Final
from uuid import uuid4

from chitchat import terminal
from chitchat.dataset import TOTAL
from corail.storage.errors import StorageError

PREFIX: Final = "corail-demo-"
"""Ids of everything a demo stores start with this, so that nothing else in a storage is touched."""

_INTERRUPTED: Final = 130


def parser(description: str, *, least: int = 1) -> argparse.ArgumentParser:
    """Return a parser with the options that all demos have; ``least`` is the fewest conversations."""
    made = argparse.ArgumentParser(description=description)

    def count(text: str) -> int:
        if not (text.isascii() and text.isdigit() and least <= int(text) <= TOTAL):
            raise argparse.ArgumentTypeError(f"give a number from {least} to {TOTAL}")
        return int(text)

    made.add_argument(
        "--conversations",
        type=count,
        default=1000,
        metavar="N",
        help=f"how many of the {TOTAL:,} to load (default: %(default)s)",
    )
    made.add_argument(
        "--all", action="store_const", const=TOTAL, dest="conversations", help="load all of them"
    )
    return made


def new_run() -> str:
    """Return a name for this run that no other run has."""
    return PREFIX + uuid4().hex[:8]


def run(main: Coroutine[Any, Any, int]) -> int:
    """Run ``main`` and return the exit code; what goes wrong becomes a message, not a traceback."""
    terminal.never_fail_on_characters()
    try:
        return asyncio.run(main)
    except StorageError as error:
        terminal.complain(f"\n{type(error).__name__}: {error}")
        return 1
    except KeyboardInterrupt:
        terminal.complain("\nInterrupted.")
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has gone.
        return 1
