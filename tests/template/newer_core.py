"""A core that does not exist yet: one more method on the port, and one more test in the contract kit."""

import shutil
from pathlib import Path
from typing import Final

from tests.template.authoring import CORE

VERSION: Final = "99.0.0"
NEW_TEST: Final = "test_c13_conversations_are_counted"

_METHOD: Final = '''
    async def count_conversations(self) -> int:
        """Return how many conversations there are."""
        return len(await self.list_conversations())
'''
_FAMILY: Final = f'''"""What contract 1.1 adds."""

from corail.storage.port import StoragePort
from corail.storage.testing._base import ContractBase
from corail.storage.testing._clauses import clause
from corail.storage.testing._reading import fresh


class Later(ContractBase):
    @clause(since=(1, 1))
    async def {NEW_TEST}(self, storage: StoragePort) -> None:
        """A conversation that was created is counted."""
        before = await storage.count_conversations()
        await storage.create_conversation(fresh("c13"))
        assert await storage.count_conversations() == before + 1
'''


def write_newer_core(folder: Path) -> Path:
    """Write the sources of that core, made from those of this one, and return their folder."""
    shutil.copytree(CORE, folder, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    storage = folder / "src" / "corail" / "storage"
    _replace(folder / "pyproject.toml", 'version = "0.1.0"', f'version = "{VERSION}"')
    with (storage / "port.py").open("a", encoding="utf-8") as port:
        port.write(_METHOD)
    kit = storage / "testing"
    (kit / "_later.py").write_text(_FAMILY, "utf-8")
    _replace(kit / "_clauses.py", "CONTRACT: Final = (1, 0)", "CONTRACT: Final = (1, 1)")
    _replace(
        kit / "_contract.py",
        "\n\nclass StorageContract(\n",
        "\nfrom corail.storage.testing._later import Later\n\n\nclass StorageContract(\n    Later,\n",
    )
    return folder


def _replace(file: Path, old: str, new: str) -> None:
    text = file.read_text("utf-8")
    assert text.count(old) == 1, f"{file.name} is no longer what this is written for"
    file.write_text(text.replace(old, new), "utf-8")
