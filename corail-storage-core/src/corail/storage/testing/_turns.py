"""What a writer process is ordered to write, and what its parent expects: the same turns for both."""

from collections.abc import Sequence
from typing import Final, TypedDict

from corail.storage.capabilities import IDEMPOTENT_APPEND
from corail.storage.port import StoragePort

ACKNOWLEDGED: Final = "acknowledged"
"""Begins the line a writer prints for each acknowledged turn."""
PARTS: Final = 5
"""Messages in a turn that is a batch."""


class Orders(TypedDict):
    """What one writer process does."""

    module: str
    name: str
    file: str | None
    """Where ``reopen`` is found."""
    backend: str
    conversations: list[str]
    """One task writes to each."""
    writer: str


def turn(writer: str, task: int, number: int) -> list[dict[str, str]]:
    """Return the messages of one turn: every second one is a batch.

    Neighbouring tasks take turns at it: while one gets an answer, another is in the middle of a batch.
    """
    parts = PARTS if (number + task) % 2 else 1
    return [{"role": "user", "content": f"{writer}.{task}.{number}.{part}"} for part in range(parts)]


def key(writer: str, task: int, number: int) -> str:
    """Return the idempotency key of a turn."""
    return f"{writer}.{task}.{number}"


async def append_turn(
    storage: StoragePort, conversation_id: str, messages: Sequence[dict[str, str]], turn_key: str
) -> None:
    """Append a turn the strongest way the storage has."""
    if IDEMPOTENT_APPEND in storage.capabilities:
        await storage.append_messages(conversation_id, messages, idempotency_key=turn_key)
    elif len(messages) == 1:
        await storage.append_message(conversation_id, messages[0]["role"], messages[0]["content"])
    else:
        await storage.append_messages(conversation_id, messages)
