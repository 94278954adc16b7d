"""The source of a complete backend, for tests that install one."""

_SOURCE = """
from corail.storage.port import StoragePort


class {name}(StoragePort):
    def __init__(self, **options):
        self.options = options

    async def get_messages(self, conversation_id):
        return []

    async def append_message(self, conversation_id, role, content): ...

    async def create_conversation(self, conversation_id, metadata=None): ...

    async def conversation_exists(self, conversation_id):
        return False

    async def list_conversations(self):
        return []

    async def update_title(self, conversation_id, title): ...
"""


def complete_backend(name: str) -> str:
    """Return a module with one complete backend, the class ``name``."""
    return _SOURCE.format(name=name)
