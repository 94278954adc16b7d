"""Real conversations from ``chitchat-dataset``, as an endless stream in a fixed order.

Standard library only: workers in other environments are told where the file is.
"""

import json
from collections.abc import Iterator, Sequence
from itertools import chain, cycle, islice
from pathlib import Path
from typing import Any, Final

from benchmarks.adapter import Message

TOTAL: Final = 258_145
"""Messages in the data set."""


class Texts:
    """The conversations of the data set.

    Args:
        path: its JSON file.

    """

    def __init__(self, path: Path) -> None:
        # As a file, because the package's own reader leaves it open.
        data: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        self.conversations: Sequence[Sequence[Message]] = [_messages(one) for one in data.values()]

    def stream(self) -> "Stream":
        """Return all messages in order, over and over; the same for every contender."""
        return Stream(cycle(chain.from_iterable(self.conversations)))


class Stream:
    """Messages one after the other.

    Args:
        messages: where they come from; endless.

    """

    def __init__(self, messages: Iterator[Message]) -> None:
        self._messages = messages

    def take(self, count: int) -> Sequence[Message]:
        """Return the next ``count``."""
        return list(islice(self._messages, count))


def path_of_dataset() -> Path:
    """Return where the file is in this environment."""
    # Imported here: workers of other environments are given the path.
    from importlib.resources import as_file, files

    with as_file(files("chitchat_dataset") / "dataset.json") as path:
        return path


def _messages(conversation: dict[str, Any]) -> Sequence[Message]:
    flat = [message for turn in conversation["messages"] for message in turn]
    first = flat[0]["sender"]
    return [Message("user" if one["sender"] == first else "assistant", one["text"]) for one in flat]
