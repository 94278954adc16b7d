"""Broken backends that alter what they are given: ids, texts, roles, metadata, arguments."""

import json
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

from corail.storage.errors import InvalidInputError, StorageError
from corail.storage.rows import ConversationPage, ConversationRow
from corail.storage.validation import check_conversation_id
from tests.kit.mutants.catalogue import caught_by
from tests.kit.reference import ReferenceStorage


@caught_by("C-01")
class IdsNormalised(ReferenceStorage):
    """Ids are normalised to NFC."""

    def stored_id(self, conversation_id: str) -> str:
        return unicodedata.normalize("NFC", conversation_id)


@caught_by("C-01")
class IdsStripped(ReferenceStorage):
    """White space around an id is removed."""

    def stored_id(self, conversation_id: str) -> str:
        return conversation_id.strip()


@caught_by("C-01")
class IdsCaseFolded(ReferenceStorage):
    """Ids are compared without case, as some collations do."""

    def stored_id(self, conversation_id: str) -> str:
        return conversation_id.lower()


@caught_by("C-01")
class IdsCut(ReferenceStorage):
    """Ids are cut to 64 characters, as a narrow column does."""

    def stored_id(self, conversation_id: str) -> str:
        return conversation_id[:64]


@caught_by("C-01")
class LongIdsNotRefused(ReferenceStorage):
    """Ids above 255 characters are cut instead of refused."""

    async def append_message(self, conversation_id: str, role: str, content: str) -> None:
        await super().append_message(conversation_id[:255], role, content)


@caught_by("C-02")
class NulDropped(ReferenceStorage):
    """NUL is removed from content, so that PostgreSQL takes it."""

    def stored_text(self, text: str) -> str:
        return text.replace("\x00", "")


@caught_by("C-02")
class SurrogatesReplaced(ReferenceStorage):
    """Lone surrogates become question marks."""

    def stored_text(self, text: str) -> str:
        return text.encode("utf-8", "replace").decode()


@caught_by("C-02")
class SurrogatesJoined(ReferenceStorage):
    """Two lone surrogates come back as one emoji, as from JSON."""

    def stored_text(self, text: str) -> str:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


@caught_by("C-02")
class EscapeNotEscaped(ReferenceStorage):
    """NUL is stored as its visible escape, which the reading side turns back wherever it stands."""

    def stored_text(self, text: str) -> str:
        return text.replace("\\u0000", "\x00")


@caught_by("C-02")
class NewlinesTranslated(ReferenceStorage):
    """Line ends become newlines, as in a file opened as text."""

    def stored_text(self, text: str) -> str:
        return text.replace("\r\n", "\n").replace("\r", "\n")


@caught_by("C-02")
class ContentCut(ReferenceStorage):
    """Content above 64 KiB is cut without a word."""

    def stored_text(self, text: str) -> str:
        return text[: 64 * 1024]


@caught_by("C-02")
class RoleFolded(ReferenceStorage):
    """Roles are lower-cased."""

    def stored_role(self, role: str) -> str:
        return role.lower()


@caught_by("C-02")
class UnknownRolesMapped(ReferenceStorage):
    """Roles outside the usual four become "user"."""

    def stored_role(self, role: str) -> str:
        return role if role in {"system", "user", "assistant", "tool"} else "user"


@caught_by("C-03")
class MetadataDropped(ReferenceStorage):
    """Metadata is checked and forgotten."""

    async def create(self, conversation_id: str, metadata: dict[str, Any]) -> None:
        metadata.clear()
        await super().create(conversation_id, metadata)


@caught_by("C-03")
class MetadataThroughFloats(ReferenceStorage):
    """Integers become floats, and large ones lose their last digits."""

    async def create(self, conversation_id: str, metadata: dict[str, Any]) -> None:
        await super().create(conversation_id, json.loads(json.dumps(metadata), parse_int=float))


@caught_by("C-03")
class MetadataNotChecked(ReferenceStorage):
    """What is no JSON is dropped instead of refused."""

    async def create_conversation(self, conversation_id: str, metadata: dict[str, Any] | None = None) -> None:
        try:
            await super().create_conversation(conversation_id, metadata)
        except InvalidInputError:
            await super().create_conversation(conversation_id)


@caught_by("C-04")
class SwallowedError(ReferenceStorage):
    """An append that is refused returns as if it had stored the message."""

    async def append_messages(
        self,
        conversation_id: str,
        messages: Iterable[Mapping[str, str]],
        *,
        idempotency_key: str | None = None,
    ) -> None:
        try:
            await super().append_messages(conversation_id, messages, idempotency_key=idempotency_key)
        except StorageError:
            return


@caught_by("C-04")
class TypesCoerced(ReferenceStorage):
    """Content of any type is stored as its str()."""

    async def append_message(self, conversation_id: str, role: str, content: str) -> None:
        await super().append_message(conversation_id, role, str(content))


@caught_by("C-04")
class GoodPartOfBadBatchStored(ReferenceStorage):
    """A batch is checked and stored message by message."""

    async def append_messages(
        self,
        conversation_id: str,
        messages: Iterable[Mapping[str, str]],
        *,
        idempotency_key: str | None = None,
    ) -> None:
        if idempotency_key is not None:
            await super().append_messages(conversation_id, messages, idempotency_key=idempotency_key)
            return
        for message in messages:
            await super().append_messages(conversation_id, [message])


@caught_by("C-04")
class FurtherKeysIgnored(ReferenceStorage):
    """Keys of a message other than role and content are dropped in silence."""

    async def append_messages(
        self,
        conversation_id: str,
        messages: Iterable[Mapping[str, str]],
        *,
        idempotency_key: str | None = None,
    ) -> None:
        known = [
            {key: message[key] for key in ("role", "content") if key in message}
            if isinstance(message, dict)
            else message
            for message in messages
        ]
        await super().append_messages(conversation_id, known, idempotency_key=idempotency_key)


class DriverError(Exception):
    """What a driver raises: it quotes the parameters."""


@caught_by("C-31")
class DriverErrorEscapes(ReferenceStorage):
    """A message that is refused raises the driver's own error, which quotes it."""

    async def append_message(self, conversation_id: str, role: str, content: str) -> None:
        if len(role) > 64:
            raise DriverError(f"value too long for type character varying(64); parameters: {role}, {content}")
        await super().append_message(conversation_id, role, content)


@caught_by("C-31")
class ContentInMessage(ReferenceStorage):
    """The error of a refused message quotes its content."""

    async def append_message(self, conversation_id: str, role: str, content: str) -> None:
        try:
            await super().append_message(conversation_id, role, content)
        except InvalidInputError as error:
            raise InvalidInputError(f"{error} The message was {content!r}.") from None


@caught_by("C-31")
class ContentInCause(ReferenceStorage):
    """The error of a refused message has a cause that quotes its content."""

    async def append_message(self, conversation_id: str, role: str, content: str) -> None:
        try:
            await super().append_message(conversation_id, role, content)
        except InvalidInputError as error:
            raise InvalidInputError(str(error)) from DriverError(f"parameters: {content}")


@caught_by("C-31")
class HostileLookupFails(ReferenceStorage):
    """Looking up an id with a NUL raises the driver's error."""

    async def get_messages(self, conversation_id: str) -> list[dict[str, str]]:
        if "\x00" in self.lookup(conversation_id):
            raise DriverError("invalid byte sequence for encoding UTF8: 0x00")
        return await super().get_messages(conversation_id)


@caught_by("C-01")
class ImpossibleIdsRefused(ReferenceStorage):
    """Looking up an id that cannot exist is an error instead of finding nothing."""

    def lookup(self, conversation_id: str) -> str:
        return self.stored_id(check_conversation_id(conversation_id))


@caught_by("C-02")
class EmptyContentDropped(ReferenceStorage):
    """Messages without text are not stored."""

    async def append_message(self, conversation_id: str, role: str, content: str) -> None:
        if content != "":
            await super().append_message(conversation_id, role, content)


@caught_by("C-03")
class MetadataOfPairs(ReferenceStorage):
    """What dict() accepts is accepted as metadata."""

    async def create_conversation(self, conversation_id: str, metadata: dict[str, Any] | None = None) -> None:
        await super().create_conversation(conversation_id, dict(metadata or {}))


@caught_by("C-04")
class LimitsClamped(ReferenceStorage):
    """A limit out of range becomes the nearest that is in range."""

    async def page_conversations(self, *, limit: int = 50, after: str | None = None) -> ConversationPage:
        return await super().page_conversations(limit=max(1, min(limit, 1000)), after=after)


@caught_by("C-04")
class BadCursorIsFirstPage(ReferenceStorage):
    """What is no cursor begins again at the first page."""

    def rows_after(self, cursor: str | None) -> list[ConversationRow]:
        try:
            return super().rows_after(cursor)
        except InvalidInputError:
            return self.rows()
