"""How users write against the library: clean under the strict modes of mypy and pyright.

Checked by ``make types``, never run. Bare ``dict`` annotations are in ``bare_backend_ok.py``.
"""

from collections.abc import Generator
from typing import Any, assert_type

from corail.storage import capabilities
from corail.storage.errors import AppendOutcomeUnknownError, StorageError
from corail.storage.factory import StorageDescription, StorageFactory, register_storage
from corail.storage.hooks import hookimpl
from corail.storage.memory import MemoryStorage
from corail.storage.port import StoragePort
from corail.storage.postgresql import PostgreSQLStorage
from corail.storage.rows import CheckReport, ConversationRow, MessageItem
from corail.storage.validation import check_content, check_conversation_id, check_metadata
from corail.storage.wrapper import StorageWrapper


async def an_agent_developer() -> None:
    """Create, use and close a storage without naming a backend."""
    async with StorageFactory.create() as storage:
        assert_type(storage, StoragePort)
        await storage.create_conversation("c", {"tenant": "t", "tags": ["a", 1, None]})
        await storage.append_message("c", "user", "hello")
        await storage.append_messages(
            "c",
            [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
            idempotency_key="k",
        )
        assert_type(await storage.get_messages("c"), list[dict[str, str]])
        assert_type(await storage.get_recent_messages("c", 10), list[dict[str, str]])
        assert_type(await storage.conversation_exists("c"), bool)
        assert_type(await storage.list_conversations(), list[dict[str, Any]])
        assert_type(await storage.check(), CheckReport)


async def rows_have_types(storage: StoragePort) -> str | None:
    """Read rows by key; what only some backends give is asked for first."""
    row = await storage.get_conversation("c")
    if row is None:
        return None
    assert_type(row, ConversationRow)
    assert_type(row["title"], str)
    assert_type(row["message_count"], int)
    if "metadata" in row:
        assert_type(row["metadata"], dict[str, Any])
    page = await storage.page_messages("c", limit=10, after=None)
    for item in page["items"]:
        assert_type(item, MessageItem)
        assert_type(item.get("id"), str | None)
    return page["next"]


async def a_lost_reply(storage: StoragePort) -> None:
    """Repeat an append safely, by the key that the error carries."""
    try:
        await storage.append_message("c", "user", "hello")
    except AppendOutcomeUnknownError as error:
        assert_type(error.idempotency_key, str)
        again = [{"role": "user", "content": "hello"}]
        await storage.append_messages("c", again, idempotency_key=error.idempotency_key)
    except StorageError as error:
        raise SystemExit(str(error)) from error


class ConfiguredStorage(StoragePort):
    """Six methods, and capabilities that configuration decides."""

    def __init__(self, *, durable: bool) -> None:
        self.capabilities = frozenset({capabilities.PERSISTENT} if durable else ())

    async def get_messages(self, conversation_id: str) -> list[dict[str, str]]:
        return []

    async def append_message(self, conversation_id: str, role: str, content: str) -> None:
        assert_type(check_conversation_id(conversation_id), str)
        assert_type(check_content(content), str)

    async def create_conversation(self, conversation_id: str, metadata: dict[str, Any] | None = None) -> None:
        assert_type(check_metadata(metadata), dict[str, Any] | None)

    async def conversation_exists(self, conversation_id: str) -> bool:
        return False

    async def list_conversations(self) -> list[dict[str, Any]]:
        return []

    async def update_title(self, conversation_id: str, title: str) -> None:
        """Keep no titles."""


class ClassLevelStorage(ConfiguredStorage):
    """Declares its capabilities once, for all objects."""

    capabilities = frozenset({capabilities.DELETE, capabilities.CLOSE})


def an_operator() -> list[StorageDescription]:
    """Choose, wrap and list."""
    register_storage("configured", "my_agents.storage", "ConfiguredStorage")
    storage = StorageFactory.create("configured", wrap=[StorageWrapper], hooks=["audit"], durable=True)
    assert_type(storage, StoragePort)
    assert_type(storage.capabilities, frozenset[str])
    assert_type(StorageFactory.available(), list[str])
    return StorageFactory.describe()


def first_party_backends() -> list[StoragePort]:
    """Build the backends directly, too."""
    return [MemoryStorage(), PostgreSQLStorage(), ConfiguredStorage(durable=False)]


class AuditHook:
    """A hook plugin."""

    @hookimpl(wrapper=True)
    def corail_storage_create(self, name: str) -> Generator[None, StoragePort, StoragePort]:
        """Wrap what was created."""
        storage = yield
        assert_type(name, str)
        return StorageWrapper(storage)
