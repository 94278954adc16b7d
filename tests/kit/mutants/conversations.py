"""Broken backends whose rows, reads and deletes are wrong even for one caller."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar

from corail.storage.errors import InvalidInputError
from corail.storage.rows import CheckReport, ConversationRow
from corail.storage.validation import CheckedMessage
from tests.kit.mutants.catalogue import caught_by
from tests.kit.reference import Conversation, Conversations, Message, ReferenceStorage, Store


@caught_by("C-10")
class MetadataOverwritten(ReferenceStorage):
    """A second create replaces the metadata."""

    async def create(self, conversation_id: str, metadata: dict[str, Any]) -> None:
        await super().create(conversation_id, metadata)
        with self.store.locked() as conversations:
            conversations[conversation_id].metadata = metadata


@caught_by("C-10")
class CreateStartsAfresh(ReferenceStorage):
    """A second create empties the conversation."""

    async def create(self, conversation_id: str, metadata: dict[str, Any]) -> None:
        with self.store.locked() as conversations:
            conversations[conversation_id] = Conversation(metadata)


@caught_by("C-10")
class CreateLooksFirst(ReferenceStorage):
    """Concurrent creates fail: it looks first, then inserts."""

    async def create(self, conversation_id: str, metadata: dict[str, Any]) -> None:
        with self.store.locked() as conversations:
            if conversation_id in conversations:
                return
        await self.pause()
        with self.store.locked() as conversations:
            if conversation_id in conversations:
                raise RuntimeError("duplicate key value violates unique constraint")
            conversations[conversation_id] = Conversation(metadata)


@caught_by("C-12")
class ReadCreates(ReferenceStorage):
    """Reading an unknown conversation creates it, as a defaultdict does."""

    def messages_of(self, conversation_id: str) -> list[Message]:
        with self.store.locked() as conversations:
            return list(conversations.setdefault(conversation_id, Conversation({})).messages)


@caught_by("C-12")
class ExtraKeys(ReferenceStorage):
    """Messages carry their time as a further key."""

    def shown(self, message: Message) -> dict[str, str]:
        return {**super().shown(message), "created_at": str(message.created_at)}


@caught_by("C-13")
class OldestFirst(ReferenceStorage):
    """The list begins with the oldest conversation."""

    def rows(self) -> list[ConversationRow]:
        return super().rows()[::-1]


@caught_by("C-13")
class ActiveFirst(ReferenceStorage):
    """The list is in order of the last change, not of creation."""

    def rows(self) -> list[ConversationRow]:
        return sorted(super().rows(), key=lambda row: row.get("updated_at", ""), reverse=True)


@caught_by("C-13")
class LocalTime(ReferenceStorage):
    """Times are those of an office, not UTC."""

    def row(self, conversation_id: str, known: Conversation) -> ConversationRow:
        row = super().row(conversation_id, known)
        row["created_at"] = row["created_at"].replace("+00:00", "+02:00")
        return row


@caught_by("C-13")
class CountsBatchesAsOne(ReferenceStorage):
    """The count goes up by one for each append, whatever it holds."""

    counts: ClassVar[Counter[str]] = Counter()

    async def append(self, conversation_id: str, batch: Sequence[CheckedMessage], key: str | None) -> None:
        await super().append(conversation_id, batch, key)
        self.counts[conversation_id] += 1

    def row(self, conversation_id: str, known: Conversation) -> ConversationRow:
        return {**super().row(conversation_id, known), "message_count": self.counts[conversation_id]}


@caught_by("C-13")
class UpdatedAtStands(ReferenceStorage):
    """``updated_at`` is the time of creation for ever."""

    def row(self, conversation_id: str, known: Conversation) -> ConversationRow:
        row = super().row(conversation_id, known)
        row["updated_at"] = row["created_at"]
        return row


@caught_by("C-14")
class TitleCreates(ReferenceStorage):
    """Titling an unknown id creates it."""

    def retitle(self, conversations: Conversations, conversation_id: str, title: str) -> None:
        if conversation_id:
            conversations.setdefault(conversation_id, Conversation({})).title = title


@caught_by("C-14")
class EmptyTitleIgnored(ReferenceStorage):
    """An empty title does not replace the old one."""

    def retitle(self, conversations: Conversations, conversation_id: str, title: str) -> None:
        if title:
            super().retitle(conversations, conversation_id, title)


@caught_by("C-15")
class SharedMetadata(ReferenceStorage):
    """Rows hold the stored metadata itself."""

    def row(self, conversation_id: str, known: Conversation) -> ConversationRow:
        return {**super().row(conversation_id, known), "metadata": known.metadata}


@caught_by("C-15")
class SharedList(ReferenceStorage):
    """Reads return the stored list itself."""

    def __init__(self, store: Store | None = None) -> None:
        super().__init__(store)
        self._cache: dict[tuple[str, int], list[dict[str, str]]] = {}

    async def get_messages(self, conversation_id: str) -> list[dict[str, str]]:
        messages = await super().get_messages(conversation_id)
        return self._cache.setdefault((conversation_id, len(messages)), messages)


@caught_by("get_recent_messages")
class RecentReversed(ReferenceStorage):
    """The tail comes in the descending order it was read in."""

    async def get_recent_messages(self, conversation_id: str, limit: int) -> list[dict[str, str]]:
        return (await super().get_recent_messages(conversation_id, limit))[::-1]


@caught_by("get_recent_messages")
class NoneIsAll(ReferenceStorage):
    """A limit of 0 gives everything: messages[-0:]."""

    async def get_recent_messages(self, conversation_id: str, limit: int) -> list[dict[str, str]]:
        await super().get_recent_messages(conversation_id, limit)
        return (await self.get_messages(conversation_id))[-limit:]


@caught_by("get_conversation")
class RowWithoutTitle(ReferenceStorage):
    """The single row is built elsewhere than the list, and lacks the title."""

    async def get_conversation(self, conversation_id: str) -> ConversationRow | None:
        row = await super().get_conversation(conversation_id)
        return row and {**row, "title": ""}


@caught_by("delete_conversation")
class DeleteLeavesMessages(ReferenceStorage):
    """Deleting hides the conversation; created again, it has its old messages and count."""

    async def delete_conversation(self, conversation_id: str) -> None:
        with self.store.locked() as conversations:
            known = conversations.get(self.lookup(conversation_id))
        await super().delete_conversation(conversation_id)
        if known is not None:
            _GHOSTS[self.lookup(conversation_id)] = known

    async def create(self, conversation_id: str, metadata: dict[str, Any]) -> None:
        await super().create(conversation_id, metadata)
        ghost = _GHOSTS.pop(conversation_id, None)
        if ghost is not None:
            with self.store.locked() as conversations:
                conversations[conversation_id].messages = ghost.messages


_GHOSTS: dict[str, Conversation] = {}


@caught_by("delete_conversation")
class CountSurvivesDelete(ReferenceStorage):
    """The counter of messages goes on where the deleted conversation stopped."""

    def __init__(self, store: Store | None = None) -> None:
        super().__init__(store)
        self._before: dict[str, int] = {}

    async def delete_conversation(self, conversation_id: str) -> None:
        row = await self.get_conversation(conversation_id)
        if row is not None:
            self._before[row["id"]] = row["message_count"]
        await super().delete_conversation(conversation_id)

    def row(self, conversation_id: str, known: Conversation) -> ConversationRow:
        row = super().row(conversation_id, known)
        row["message_count"] += self._before.get(conversation_id, 0)
        return row


@caught_by("delete_conversation")
class DeleteByPrefix(ReferenceStorage):
    """Deleting takes along every conversation whose id begins alike."""

    async def delete_conversation(self, conversation_id: str) -> None:
        await super().delete_conversation(conversation_id)
        known = self.lookup(conversation_id)
        with self.store.locked() as conversations:
            for one in [one for one in conversations if known and one.startswith(known)]:
                del conversations[one]


@caught_by("delete_conversation")
class DeleteDoesNothing(ReferenceStorage):
    """Not able to delete, it neither claims to nor says so."""

    capabilities = ReferenceStorage.capabilities - {"delete"}

    async def delete_conversation(self, conversation_id: str) -> None:
        self.lookup(conversation_id)


@caught_by("check")
class CheckWrites(ReferenceStorage):
    """The check finds out whether it can write by writing."""

    async def check(self) -> CheckReport:
        await self.append_message("health check", "system", "ping")
        return await super().check()


@caught_by("check")
class CheckCriesWolf(ReferenceStorage):
    """The check says that something is wrong, and not what."""

    async def check(self) -> CheckReport:
        return {**await super().check(), "ok": False}


@caught_by("guard")
class CapabilityMisspelt(ReferenceStorage):
    """A promise is misspelt, and would never be tested."""

    capabilities: frozenset[str] = (ReferenceStorage.capabilities - {"total_order"}) | {"total-order"}


@caught_by("guard")
class ReopenOpensAnother(ReferenceStorage):
    """Every object has a store of its own."""

    def __init__(self, store: Store | None = None) -> None:
        super().__init__(None if store else store)


@caught_by("C-11")
class AppendNeedsCreate(ReferenceStorage):
    """An append to a conversation that was not created does nothing."""

    async def append(self, conversation_id: str, batch: Sequence[CheckedMessage], key: str | None) -> None:
        with self.store.locked() as conversations:
            known = conversation_id in conversations
        if known:
            await super().append(conversation_id, batch, key)


@caught_by("delete_conversation")
class DeleteOfUnknownFails(ReferenceStorage):
    """Deleting what is not there raises."""

    async def delete_conversation(self, conversation_id: str) -> None:
        if not await self.conversation_exists(conversation_id):
            raise InvalidInputError("there is no such conversation")
        await super().delete_conversation(conversation_id)


@caught_by("model")
class TitleForgetsKeys(ReferenceStorage):
    """Titling rewrites the row, without its idempotency keys: only a sequence of calls shows it."""

    def retitle(self, conversations: Conversations, conversation_id: str, title: str) -> None:
        super().retitle(conversations, conversation_id, title)
        if conversation_id in conversations:
            conversations[conversation_id].keys.clear()
