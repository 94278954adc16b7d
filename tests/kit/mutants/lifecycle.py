"""Broken backends that connect too early, live on after their end, or die with their process too soon."""

import socket
from collections.abc import Sequence

from corail.storage.capabilities import ALL
from corail.storage.rows import CheckReport, ConversationRow
from corail.storage.validation import CheckedMessage
from tests.kit.durable import DurableStorage
from tests.kit.mutants.catalogue import caught_by
from tests.kit.reference import Conversation, Conversations, ReferenceStorage, Store


@caught_by("C-30")
class ConnectsAtOnce(ReferenceStorage):
    """The constructor connects."""

    def __init__(self, store: Store | None = None) -> None:
        super().__init__(store)
        with socket.socket() as connection:
            connection.settimeout(0)
            # Nobody listens there; that it was tried is what counts.
            connection.connect_ex(("127.0.0.1", 9))


@caught_by("aclose")
class WorksWhenClosed(ReferenceStorage):
    """Closing does nothing."""

    async def aclose(self) -> None:
        return


@caught_by("aclose")
class CheckWorksWhenClosed(ReferenceStorage):
    """A closed storage says that it is well."""

    async def check(self) -> CheckReport:
        closed, self.closed = self.closed, False
        try:
            return await super().check()
        finally:
            self.closed = closed


@caught_by("aclose")
class SecondCloseFails(ReferenceStorage):
    """Closing twice raises."""

    async def aclose(self) -> None:
        if self.closed:
            raise RuntimeError("pool is closed")
        await super().aclose()


@caught_by("aclose")
class ClosesTheStore(ReferenceStorage):
    """Closing one object empties the store that others use."""

    async def aclose(self) -> None:
        await super().aclose()
        with self.store.locked() as conversations:
            conversations.clear()


@caught_by("aclose")
class DropsWhatWaits(ReferenceStorage):
    """Appends that wait when it is closed are acknowledged and dropped."""

    async def append(self, conversation_id: str, batch: Sequence[CheckedMessage], key: str | None) -> None:
        await self.pause()
        if not self.closed:
            await super().append(conversation_id, batch, key)


@caught_by("C-32")
class LosesAcknowledgedOnKill(DurableStorage):
    """Every fourth message reaches the file only with the next one."""

    held: tuple[str, Sequence[CheckedMessage], str | None] | None = None
    appended = 0

    async def append(self, conversation_id: str, batch: Sequence[CheckedMessage], key: str | None) -> None:
        held, self.held = self.held, None
        if held is not None:
            await super().append(*held)
        self.appended += 1
        if self.appended % 4 == 0:
            self.held = (conversation_id, batch, key)
        else:
            await super().append(conversation_id, batch, key)


@caught_by("C-32")
class DiesWithItsProcess(ReferenceStorage):
    """It claims to be persistent and keeps everything in memory."""

    capabilities = ALL


@caught_by("C-32")
class TornByKill(DurableStorage):
    """A batch is stored message by message, and a kill falls in between."""

    async def append(self, conversation_id: str, batch: Sequence[CheckedMessage], key: str | None) -> None:
        for number, message in enumerate(batch):
            await super().append(conversation_id, [message], None if key is None else f"{key} {number}")
            await self.pause()


@caught_by("guard")
class PersistentWithoutReopen(DurableStorage):
    """It claims to be persistent and gives the kit no way to see."""

    reopens = False


@caught_by("C-32")
class TitleInMemory(DurableStorage):
    """Titles are remembered by the object, and gone with it."""

    def __init__(self, store: Store | None = None) -> None:
        super().__init__(store)
        self._titles: dict[str, str] = {}

    def retitle(self, conversations: Conversations, conversation_id: str, title: str) -> None:
        if conversation_id in conversations:
            self._titles[conversation_id] = title

    def row(self, conversation_id: str, known: Conversation) -> ConversationRow:
        return {**super().row(conversation_id, known), "title": self._titles.get(conversation_id, "")}
