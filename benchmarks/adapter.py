"""``Adapter``: what a backend has to offer to be measured; the one file a third party must know.

Standard library only: adapters run in environments that hold nothing but the library they adapt.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, ClassVar, NamedTuple

__all__ = ["Adapter", "LacksError", "Message"]


class Message(NamedTuple):
    """One message of a conversation."""

    role: str
    """``user`` or ``assistant``."""
    content: str


class LacksError(Exception):
    """Raised by an operation that the library does not have; its workloads show a dash."""


class Adapter(ABC):
    """One library under test, in a process and a database of its own.

    What is timed is the await of one method, so a method does no more than its user would have to
    write, and hands on what the library returns without converting it.
    """

    name: ClassVar[str]
    """As it stands in tables."""
    distributions: ClassVar[tuple[str, ...]] = ()
    """Whose versions are reported, the library's first."""

    @abstractmethod
    async def open(self, url: str) -> None:
        """Connect to the empty PostgreSQL database of ``url`` (``postgresql://...``), make the tables."""

    @abstractmethod
    async def append(self, conversation_id: str, role: str, content: str) -> None:
        """Store one message at the end of a conversation that ``create`` was called for."""

    @abstractmethod
    async def read(self, conversation_id: str) -> Sequence[Any]:
        """Return all messages in order, as the library represents them."""

    async def create(self, conversation_id: str) -> None:  # noqa: B027 - most have nothing to make
        """Make a conversation, where the library wants that before the first append; never timed."""

    async def fill(self, conversations: Mapping[str, Sequence[Message]]) -> None:
        """Store many conversations in the fastest way the library has.

        Prepares what is read later, untimed; timed only as the load of W6.
        """
        for conversation_id, messages in conversations.items():
            await self.create(conversation_id)
            for role, content in messages:
                await self.append(conversation_id, role, content)

    async def recent(self, conversation_id: str, limit: int) -> Sequence[Any]:  # noqa: ARG002 - the interface
        """Return the last messages, oldest of them first."""
        raise LacksError

    async def exists(self, conversation_id: str) -> bool:  # noqa: ARG002 - likewise
        """Return whether the conversation exists."""
        raise LacksError

    async def list(self) -> Sequence[Any]:
        """Return all conversations, newest first, each with the number of its messages."""
        raise LacksError

    async def page(self, limit: int) -> Sequence[Any]:  # noqa: ARG002 - likewise
        """Return the newest conversations, each with the number of its messages."""
        raise LacksError

    async def close(self) -> None:  # noqa: B027 - some have nothing to close
        """Disconnect."""

    def text(self, message: Any) -> str:
        """Return the content of what ``read`` returned; never timed."""
        content: str = message["content"]
        return content

    def versions(self) -> dict[str, str]:
        """Return the installed versions of the library and its driver."""
        return {name: version(name) for name in self.distributions}
