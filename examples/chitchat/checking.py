"""Compare what a storage holds with what was to be stored: text by text, and in order."""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass

from chitchat.dataset import Conversation
from chitchat.loading import for_each
from corail.storage.port import StoragePort


@dataclass(slots=True)
class Comparison:
    """What was found; the first three must be zero."""

    lost: int = 0
    """Messages that were acknowledged and are not there."""
    different: int = 0
    """Conversations with a message that is doubled, altered or out of order."""
    torn: int = 0
    """Conversations of which only a part is there, although they are stored all at once."""

    identical: int = 0
    """Conversations that are there from the first to the last message."""
    messages: int = 0
    unacknowledged: int = 0
    """Messages that are there although nobody was told yet: their process died between the two."""

    @property
    def good(self) -> bool:
        """Whether the storage kept its promises."""
        return not (self.lost or self.different or self.torn)


async def compare(
    storage: StoragePort,
    conversations: Iterable[Conversation],
    acknowledged: Mapping[str, int],
    *,
    by_message: Container[str] = (),
) -> Comparison:
    """Read every conversation back and compare it with the original.

    Args:
        storage: where they were stored.
        conversations: the originals.
        acknowledged: by id, how many messages somebody was told are stored.
        by_message: ids of those that were stored message by message.

    """
    result = Comparison()

    async def check(conversation: Conversation) -> None:
        original, known = conversation.messages, acknowledged.get(conversation.id, 0)
        stored = await storage.get_messages(conversation.id)
        result.messages += len(stored)
        result.lost += max(0, known - len(stored))
        result.unacknowledged += max(0, len(stored) - known)
        if stored == original:
            result.identical += 1
        elif stored != original[: len(stored)]:
            # Not how it begins: a doubled message, say, has shifted everything after it.
            result.different += 1
        elif stored and conversation.id not in by_message:
            result.torn += 1

    await for_each(conversations, check)
    return result
