"""A control: every line below an ``expect`` is wrong, and the type checkers named there have to say so.

``scripts/check_types.py`` fails when one of them misses a line, calls it something else, or complains
about any other. So a configuration that silently checks nothing, or the installed copies instead of
the sources, cannot pass. Left out of the ordinary runs; never imported.
"""

from typing import Any

from corail.storage.errors import AppendOutcomeUnknownError
from corail.storage.factory import StorageFactory, register_storage
from corail.storage.memory import MemoryStorage
from corail.storage.port import StoragePort
from corail.storage.postgresql import PostgreSQLStorage
from corail.storage.wrapper import StorageWrapper

# Only the copy of the sources that the control makes has these, one per distribution.
from corail.storage.errors import CONTROL as CORE_CONTROL  # isort: skip
from corail.storage.memory import CONTROL as MEMORY_CONTROL  # isort: skip
from corail.storage.postgresql import CONTROL as POSTGRESQL_CONTROL  # isort: skip
from corail.storage.redis import CONTROL as REDIS_CONTROL  # isort: skip

# expect: mypy=assignment pyright=reportAssignmentType
core: str = CORE_CONTROL
# expect: mypy=assignment pyright=reportAssignmentType
memory: str = MEMORY_CONTROL
# expect: mypy=assignment pyright=reportAssignmentType
postgresql: str = POSTGRESQL_CONTROL
# expect: mypy=assignment pyright=reportAssignmentType
redis: str = REDIS_CONTROL


# expect: mypy=no-untyped-def pyright=reportMissingParameterType
def untyped(value):
    """Have no types, which only the strict modes mind."""


class BrokenStorage(StoragePort):
    """Breaks every published signature in its own way."""

    # expect: mypy=assignment pyright=reportAssignmentType
    capabilities = ["delete"]

    # expect: mypy=override pyright=reportIncompatibleMethodOverride
    async def get_messages(self, conversation_id: str) -> list[str]:
        return [conversation_id]

    # expect: mypy=override pyright=reportIncompatibleMethodOverride
    async def append_message(self, conversation_id: str, role: str) -> None:
        """Lack a parameter."""

    # expect: mypy=override pyright=reportIncompatibleMethodOverride
    async def create_conversation(self, conversation_id: str, metadata: dict[str, Any]) -> None:
        """Require what callers may leave out."""

    # expect: mypy=override pyright=reportIncompatibleMethodOverride
    def conversation_exists(self, conversation_id: str) -> bool:
        return bool(conversation_id)

    # expect: mypy=override pyright=reportIncompatibleMethodOverride
    async def list_conversations(self) -> dict[str, Any]:
        return {}

    # expect: mypy=override pyright=reportIncompatibleMethodOverride
    async def update_title(self, conversation_id: int, title: str) -> None:
        """Take ids of another type."""


class HalfStorage(StoragePort):
    """Lacks five methods."""

    async def get_messages(self, conversation_id: str) -> list[dict[str, str]]:
        return []


class RenamingWrapper(StorageWrapper):
    """Renames a parameter that callers may pass by name."""

    # expect: pyright=reportIncompatibleMethodOverride
    async def get_recent_messages(self, conversation_id: str, count: int) -> list[dict[str, str]]:
        return await self.inner.get_recent_messages(conversation_id, count)


async def misuse(storage: StoragePort) -> None:
    """Use the public face wrongly."""
    # expect: mypy=abstract pyright=reportAbstractUsage
    HalfStorage()
    # expect: mypy=arg-type pyright=reportArgumentType
    register_storage("redis", "corail.storage.redis", 7)
    # expect: mypy=arg-type pyright=reportArgumentType
    StorageFactory.create(7)
    # expect: mypy=call-arg pyright=reportCallIssue
    AppendOutcomeUnknownError("which one?")
    # expect: mypy=arg-type pyright=reportArgumentType
    MemoryStorage(max_conversations="ten")
    # expect: mypy=arg-type pyright=reportArgumentType
    PostgreSQLStorage(dsn=5432)
    # expect: mypy=list-item pyright=reportArgumentType
    await storage.append_messages("c", ["hello"])
    # expect: mypy=attr-defined pyright=reportAttributeAccessIssue
    storage.get_messages("c").append({})
    row = await storage.get_conversation("c")
    # expect: mypy=index pyright=reportOptionalSubscript
    title: str = row["title"]
    page = await storage.page_messages("c")
    # expect: mypy=typeddict-item pyright=reportGeneralTypeIssues
    items: object = page["item"]
    assert title
    assert items
