"""Broken backends that are right as long as nobody else is there: appends lost, doubled, out of order."""

import itertools
import threading
from collections.abc import Sequence

from corail.storage.validation import CheckedMessage
from tests.kit.mutants.catalogue import caught_by
from tests.kit.reference import Conversation, Message, ReferenceStorage, Store


@caught_by("C-20")
class LostUpdate(ReferenceStorage):
    """Messages are read, extended and written back."""

    async def append(self, conversation_id: str, batch: Sequence[CheckedMessage], key: str | None) -> None:
        before = self.messages_of(conversation_id)
        await self.pause()
        await super().append(conversation_id, batch, key)
        with self.store.locked() as conversations:
            conversations[conversation_id].messages = [*before, *self.stored_messages(batch)]


@caught_by("C-20")
class FirstAppendRace(ReferenceStorage):
    """Two appends that create the conversation at once: the later one starts it afresh."""

    async def append(self, conversation_id: str, batch: Sequence[CheckedMessage], key: str | None) -> None:
        with self.store.locked() as conversations:
            known = conversation_id in conversations
        if not known:
            await self.pause()
            with self.store.locked() as conversations:
                conversations[conversation_id] = Conversation({})
        await super().append(conversation_id, batch, key)


@caught_by("C-20")
class CachePerObject(ReferenceStorage):
    """An object writes back what it remembers of a conversation, whatever others wrote."""

    def __init__(self, store: Store | None = None) -> None:
        super().__init__(store)
        self._known: dict[str, list[Message]] = {}

    async def append(self, conversation_id: str, batch: Sequence[CheckedMessage], key: str | None) -> None:
        await super().append(conversation_id, batch, key)
        with self.store.locked() as conversations:
            known = conversations[conversation_id]
            mine = self._known.setdefault(conversation_id, known.messages[: -len(batch)])
            mine.extend(known.messages[-len(batch) :])
            known.messages = list(mine)


@caught_by("C-20")
class WrongConversation(ReferenceStorage):
    """The id of the call under way is kept on the object."""

    current = ""

    async def append(self, conversation_id: str, batch: Sequence[CheckedMessage], key: str | None) -> None:
        self.current = conversation_id
        await self.pause()
        await super().append(self.current, batch, key)


@caught_by("C-20")
class ThreadLockAcrossAwait(ReferenceStorage):
    """A lock of threading is held across an await: the second task blocks the loop for ever."""

    def __init__(self, store: Store | None = None) -> None:
        super().__init__(store)
        self._lock = threading.Lock()

    async def append(self, conversation_id: str, batch: Sequence[CheckedMessage], key: str | None) -> None:
        with self._lock:
            await self.pause()
            await super().append(conversation_id, batch, key)


@caught_by("C-21")
class OrderByClock(ReferenceStorage):
    """Messages are read in the order of their times."""

    def messages_of(self, conversation_id: str) -> list[Message]:
        return sorted(super().messages_of(conversation_id), key=lambda message: message.created_at)


@caught_by("C-21")
class TiesByContent(ReferenceStorage):
    """Messages of one millisecond come in any order."""

    def messages_of(self, conversation_id: str) -> list[Message]:
        messages = super().messages_of(conversation_id)
        return sorted(messages, key=lambda message: (int(message.created_at * 1000), hash(message.content)))


@caught_by("C-21")
class NumberBeforeCommit(ReferenceStorage):
    """A message's place is drawn before it is stored, as from a sequence: gaps fill later."""

    numbers = itertools.count()

    async def append(self, conversation_id: str, batch: Sequence[CheckedMessage], key: str | None) -> None:
        if key is not None:
            await super().append(conversation_id, batch, key)
            return
        messages = [one._replace(created_at=next(self.numbers)) for one in self.stored_messages(batch)]
        for _ in range(len(messages[0].content) % 5):
            await self.pause()
        with self.store.locked() as conversations:
            known = conversations.setdefault(conversation_id, Conversation({}))
            self.extend(known, messages, None)
            known.messages.sort(key=lambda message: message.created_at)


@caught_by("C-21")
class ReadersOfTheObject(ReferenceStorage):
    """Each object shows its own messages first."""

    def __init__(self, store: Store | None = None) -> None:
        super().__init__(store)
        self._own: set[str] = set()

    def stored_messages(self, batch: Sequence[CheckedMessage]) -> list[Message]:
        self._own.update(message.content for message in batch)
        return super().stored_messages(batch)

    def messages_of(self, conversation_id: str) -> list[Message]:
        messages = super().messages_of(conversation_id)
        return sorted(messages, key=lambda message: message.content not in self._own)


@caught_by("C-32")
class AcknowledgedLate(ReferenceStorage):
    """An append is acknowledged when it is queued; the next call stores it."""

    def __init__(self, store: Store | None = None) -> None:
        super().__init__(store)
        self._queue: list[tuple[str, Sequence[CheckedMessage], str | None]] = []

    async def append(self, conversation_id: str, batch: Sequence[CheckedMessage], key: str | None) -> None:
        queue, self._queue = self._queue, [(conversation_id, batch, key)]
        for one in queue:
            await super().append(*one)


@caught_by("C-32")
class RetryDoubles(ReferenceStorage):
    """After what looks like a lost reply an append is sent again, whether or not it was stored."""

    sent = 0

    async def append(self, conversation_id: str, batch: Sequence[CheckedMessage], key: str | None) -> None:
        await super().append(conversation_id, batch, key)
        self.sent += 1
        if self.sent % 7 == 0:
            await super().append(conversation_id, batch, key)
