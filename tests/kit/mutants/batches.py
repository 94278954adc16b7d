"""Broken backends whose batches and idempotency keys do not keep what they promise."""

from collections.abc import Iterable, Mapping, Sequence

import anyio

from corail.storage.validation import CheckedMessage, check_messages
from tests.kit.mutants.catalogue import caught_by
from tests.kit.reference import Conversation, Message, ReferenceStorage, Store


@caught_by("append_messages")
class BatchNotAtomic(ReferenceStorage):
    """A batch is stored message by message, and others get in between."""

    async def append(self, conversation_id: str, batch: Sequence[CheckedMessage], key: str | None) -> None:
        if key is not None or len(batch) == 1:
            await super().append(conversation_id, batch, key)
            return
        for message in batch:
            await super().append(conversation_id, [message], None)
            await self.pause()


@caught_by("append_messages")
class BatchAtomicPerObject(ReferenceStorage):
    """Batches are kept together by a lock of the object, which no other object knows."""

    def __init__(self, store: Store | None = None) -> None:
        super().__init__(store)
        self._lock = anyio.Lock()

    async def append(self, conversation_id: str, batch: Sequence[CheckedMessage], key: str | None) -> None:
        async with self._lock:
            for number, message in enumerate(batch):
                await super().append(conversation_id, [message], key and f"{key} {number}")
                await self.pause()

    async def get_messages(self, conversation_id: str) -> list[dict[str, str]]:
        async with self._lock:
            return await super().get_messages(conversation_id)

    async def get_recent_messages(self, conversation_id: str, limit: int) -> list[dict[str, str]]:
        async with self._lock:
            return await super().get_recent_messages(conversation_id, limit)


@caught_by("append_messages")
class BatchReversed(ReferenceStorage):
    """A batch is stored from its end."""

    def extend(self, known: Conversation, messages: Sequence[Message], key: str | None) -> None:
        super().extend(known, messages[::-1], key)


@caught_by("append_messages")
class EmptyBatchCreates(ReferenceStorage):
    """An empty batch creates the conversation."""

    async def append_messages(
        self,
        conversation_id: str,
        messages: Iterable[Mapping[str, str]],
        *,
        idempotency_key: str | None = None,
    ) -> None:
        batch = [{"role": one.role, "content": one.content} for one in check_messages(messages)]
        if not batch:
            await self.create_conversation(conversation_id)
        await super().append_messages(conversation_id, batch, idempotency_key=idempotency_key)


@caught_by("append_messages")
class KeyIgnored(ReferenceStorage):
    """The key is accepted and not looked at."""

    async def append(self, conversation_id: str, batch: Sequence[CheckedMessage], key: str | None) -> None:
        del key  # not looked at
        await super().append(conversation_id, batch, None)


@caught_by("append_messages")
class KeyIgnoredUnclaimed(KeyIgnored):
    """The same without the claim: a key must then be refused."""

    capabilities = ReferenceStorage.capabilities - {"idempotent_append"}


@caught_by("append_messages")
class KeyGlobal(ReferenceStorage):
    """A key is unique in the whole store, not in its conversation."""

    def __init__(self, store: Store | None = None) -> None:
        super().__init__(store)
        self._seen: dict[str, str] = {}

    async def append(self, conversation_id: str, batch: Sequence[CheckedMessage], key: str | None) -> None:
        if key is None or self._seen.setdefault(key, conversation_id) == conversation_id:
            await super().append(conversation_id, batch, key)


@caught_by("append_messages")
class KeyNotCompared(ReferenceStorage):
    """Other messages under a used key are dropped in silence."""

    def repeated(self, known: Conversation, key: str, messages: Sequence[Message]) -> None:
        del known, key, messages  # not looked at


@caught_by("append_messages")
class KeyComparesFirstOnly(ReferenceStorage):
    """A repeat is compared with what is stored, but not how many messages there are."""

    def repeated(self, known: Conversation, key: str, messages: Sequence[Message]) -> None:
        start, _ = known.keys[key]
        super().repeated(known, key, [*messages[:1], *known.messages[start + 1 : known.keys[key][1]]])


@caught_by("append_messages")
class KeySurvivesDelete(ReferenceStorage):
    """Keys outlive their conversation, and swallow what is written after a delete."""

    def __init__(self, store: Store | None = None) -> None:
        super().__init__(store)
        self._seen: set[tuple[str, str]] = set()

    async def append(self, conversation_id: str, batch: Sequence[CheckedMessage], key: str | None) -> None:
        if key is not None:
            with self.store.locked() as conversations:
                gone = conversation_id not in conversations
            if gone and (conversation_id, key) in self._seen:
                return
        await super().append(conversation_id, batch, key)
        if key is not None:
            self._seen.add((conversation_id, key))


@caught_by("append_messages")
class KeyRace(ReferenceStorage):
    """It looks whether the key is there, and stores in a second step."""

    async def append(self, conversation_id: str, batch: Sequence[CheckedMessage], key: str | None) -> None:
        with self.store.locked() as conversations:
            known = conversations.get(conversation_id)
            fresh = key is not None and (known is None or key not in known.keys)
        await self.pause()
        if not fresh:
            await super().append(conversation_id, batch, key)
            return
        await super().append(conversation_id, batch, None)
        with self.store.locked() as conversations:
            known = conversations[conversation_id]
            known.keys[str(key)] = (len(known.messages) - len(batch), len(known.messages))


@caught_by("append_messages")
class KeysOfTheObject(ReferenceStorage):
    """Keys are remembered by the object, so a retry from another replica stores again."""

    def __init__(self, store: Store | None = None) -> None:
        super().__init__(store)
        self._mine = id(self)

    async def append(self, conversation_id: str, batch: Sequence[CheckedMessage], key: str | None) -> None:
        own = None if key is None else f"{self._mine} {key}"
        await super().append(conversation_id, batch, own)


@caught_by("append_messages")
class KeysStripped(ReferenceStorage):
    """White space around a key is removed."""

    async def append(self, conversation_id: str, batch: Sequence[CheckedMessage], key: str | None) -> None:
        await super().append(conversation_id, batch, None if key is None else key.strip())
