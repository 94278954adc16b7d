"""``Workload``: what is staged untimed, what is timed, and what is checked afterwards.

A workload repeats a *unit* of fixed work until enough time was measured, so every contender does the
same things however fast it is. Standard library only, like the adapters.
"""

import asyncio
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import ClassVar, Final, NamedTuple

from benchmarks.adapter import Adapter, Message
from benchmarks.texts import Texts

_AT_ONCE: Final = 8


class Timed(NamedTuple):
    """What one unit did."""

    operations: int
    latencies: list[float]
    """Seconds of single operations; empty where there are none."""


class WrongAnswerError(Exception):
    """A contender did not return what it was given: its figures are worth nothing."""


class Workload(ABC):
    """One kind of work on one adapter.

    Args:
        adapter: an open one.
        texts: where messages come from.
        name: makes the ids of conversations differ from those of other workloads.

    """

    operation: ClassVar[str]
    """What is counted, for tables: appends, reads and so on."""
    once: ClassVar[bool] = False
    """Whether a repetition is one unit, however short."""

    def __init__(self, adapter: Adapter, texts: Texts, name: str) -> None:
        self.adapter = adapter
        self.texts = texts
        self.stream = texts.stream()
        self._name = name
        self._ids = 0
        self.notes: list[str] = []
        """What a reader has to know about this contender's figures."""

    async def prepare(self) -> None:  # noqa: B027 - some need nothing
        """Store what the workload needs, once; untimed."""

    async def stage(self) -> None:  # noqa: B027 - likewise
        """Make ready for one unit; untimed."""

    @abstractmethod
    async def unit(self) -> Timed:
        """Do the work of one unit; timed as a whole."""

    async def verify(self) -> None:  # noqa: B027 - likewise
        """Raise ``WrongAnswerError`` unless the last unit did what it should have; untimed."""

    def new_id(self) -> str:
        """Return the id of a conversation nobody has used: a UUID, since some libraries insist on it."""
        self._ids += 1
        return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{self._name}/{self._ids}"))

    async def create(self, conversation_ids: Iterable[str]) -> None:
        """Make conversations, some at a time."""
        waiting = iter(conversation_ids)

        async def work() -> None:
            for conversation_id in waiting:
                await self.adapter.create(conversation_id)

        await asyncio.gather(*(work() for _ in range(_AT_ONCE)))

    async def expect(
        self, conversation_id: str, messages: Sequence[Message], *, ordered: bool = True
    ) -> None:
        """Raise unless the conversation holds these messages."""
        found = [self.adapter.text(message) for message in await self.adapter.read(conversation_id)]
        wanted = [message.content for message in messages]
        if (found if ordered else sorted(found)) != (wanted if ordered else sorted(wanted)):
            raise WrongAnswerError(
                f"{self.adapter.name} returned {len(found)} messages, not the {len(wanted)} it was given"
            )
