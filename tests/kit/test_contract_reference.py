"""Correct backends of every strength pass the kit, with no skips but those they declare."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from corail.storage.capabilities import ANY_TEXT
from corail.storage.errors import InvalidInputError
from corail.storage.port import StoragePort
from corail.storage.testing import StorageContract
from corail.storage.testing._reading import is_list, is_object
from corail.storage.wrapper import StorageWrapper
from tests.kit.durable import VARIABLE, DurableStorage, open_durable
from tests.kit.reference import ReferenceStorage, Store

_STORE = Store()


def open_reference() -> ReferenceStorage:
    return ReferenceStorage(_STORE)


class TestReference(StorageContract):
    reopen = staticmethod(open_reference)

    @pytest.fixture(params=["asyncio", "trio"])
    def anyio_backend(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @pytest.fixture
    async def storage(self) -> AsyncIterator[StoragePort]:
        async with open_reference() as storage:
            yield storage


class TestDurableReference(StorageContract):
    reopen = "tests.kit.durable:open_durable"

    @pytest.fixture
    async def storage(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[DurableStorage]:
        monkeypatch.setenv(VARIABLE, str(tmp_path / "conversations.sqlite"))
        async with open_durable() as storage:
            yield storage


class TestWrappedReference(StorageContract):
    @pytest.fixture
    async def storage(self) -> AsyncIterator[StoragePort]:
        async with StorageWrapper(ReferenceStorage()) as storage:
            yield storage


class SixMethods(StoragePort):
    """What the port asks for, and not a method more."""

    def __init__(self) -> None:
        self._inner = ReferenceStorage()

    async def get_messages(self, conversation_id: str) -> list[dict[str, str]]:
        return await self._inner.get_messages(conversation_id)

    async def append_message(self, conversation_id: str, role: str, content: str) -> None:
        await self._inner.append_message(conversation_id, role, content)

    async def create_conversation(self, conversation_id: str, metadata: dict[str, Any] | None = None) -> None:
        await self._inner.create_conversation(conversation_id, metadata)

    async def conversation_exists(self, conversation_id: str) -> bool:
        return await self._inner.conversation_exists(conversation_id)

    async def list_conversations(self) -> list[dict[str, Any]]:
        keys = ("id", "title", "created_at", "message_count")
        return [{key: row[key] for key in keys} for row in await self._inner.list_conversations()]

    async def update_title(self, conversation_id: str, title: str) -> None:
        await self._inner.update_title(conversation_id, title)


class TestSixMethods(StorageContract):
    @pytest.fixture
    async def storage(self) -> SixMethods:
        return SixMethods()


class PlainText(ReferenceStorage):
    """Refuses what most databases cannot hold, as it may without ``any_text``."""

    capabilities = ReferenceStorage.capabilities - {ANY_TEXT}

    def stored_text(self, text: str) -> str:
        if "\x00" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
            raise InvalidInputError("text holds a NUL or a lone surrogate, which this storage cannot hold.")
        return text

    def stored_id(self, conversation_id: str) -> str:
        return self.stored_text(conversation_id)

    def stored_role(self, role: str) -> str:
        return self.stored_text(role)

    def lookup(self, conversation_id: str) -> str:
        try:
            return super().lookup(conversation_id)
        except InvalidInputError:
            return ""

    async def create(self, conversation_id: str, metadata: dict[str, Any]) -> None:
        self.stored_text(_all_text(metadata))
        await super().create(conversation_id, metadata)


def _all_text(value: object) -> str:
    if is_object(value):
        return "".join(_all_text(part) for pair in value.items() for part in pair)
    if is_list(value):
        return "".join(map(_all_text, value))
    return value if isinstance(value, str) else ""


class TestPlainText(StorageContract):
    @pytest.fixture
    async def storage(self) -> PlainText:
        return PlainText()
