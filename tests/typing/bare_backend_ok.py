"""The published signatures, with their bare ``dict``, and the port fit each other both ways.

Strict checkers dislike a bare ``dict`` itself, which is switched off for this file alone: anything
they say about overriding or assigning still counts. Checked by ``make types``, never run.
"""
# mypy: disable-error-code="type-arg"
# pyright: reportMissingTypeArgument=false, reportUnknownParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

from typing import Protocol

from corail.storage.port import StoragePort


class BareBackend(StoragePort):
    """A backend written against the published interface, before there were any others."""

    async def get_messages(self, conversation_id: str) -> list[dict[str, str]]:
        return []

    async def append_message(self, conversation_id: str, role: str, content: str) -> None:
        """Keep nothing."""

    async def create_conversation(self, conversation_id: str, metadata: dict | None = None) -> None:
        """Keep nothing."""

    async def conversation_exists(self, conversation_id: str) -> bool:
        return False

    async def list_conversations(self) -> list[dict]:
        return []

    async def update_title(self, conversation_id: str, title: str) -> None:
        """Keep nothing."""


class PublishedPort(Protocol):
    """What a caller of the earlier releases wrote down as its type."""

    async def get_messages(self, conversation_id: str) -> list[dict[str, str]]:
        """As published."""
        ...

    async def append_message(self, conversation_id: str, role: str, content: str) -> None:
        """As published."""
        ...

    async def create_conversation(self, conversation_id: str, metadata: dict | None = None) -> None:
        """As published."""
        ...

    async def conversation_exists(self, conversation_id: str) -> bool:
        """As published."""
        ...

    async def list_conversations(self) -> list[dict]:
        """As published."""
        ...

    async def update_title(self, conversation_id: str, title: str) -> None:
        """As published."""
        ...


def a_bare_backend_is_a_port() -> StoragePort:
    return BareBackend()


def every_port_is_the_published_one(port: StoragePort) -> PublishedPort:
    return port


async def rows_of_one_are_rows_of_the_other(port: StoragePort, published: PublishedPort) -> None:
    rows: list[dict] = await port.list_conversations()
    rows = await published.list_conversations()
    await port.create_conversation("c", rows[0])
    await published.create_conversation("c", rows[0])
