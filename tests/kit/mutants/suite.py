"""The kit on every mutant: run by ``mutants_table.py``, not collected with the other tests."""

import os
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Final

import pytest

from corail.storage.port import StoragePort
from corail.storage.testing import StorageContract
from tests.kit.durable import VARIABLE, DurableStorage, FileStore
from tests.kit.mutants import batches, concurrency, conversations, interruption, lifecycle, paging, texts
from tests.kit.mutants.catalogue import MUTANTS, Mutant
from tests.kit.reference import Store

FAMILIES: Final = (batches, concurrency, conversations, interruption, lifecycle, paging, texts)

_STORES: Final[dict[str, Store]] = {}


def open_mutant(name: str) -> StoragePort:
    """Make a new object on the store of a mutant."""
    kind = MUTANTS[name].storage
    if issubclass(kind, DurableStorage):
        return kind(FileStore(Path(os.environ[VARIABLE])))
    return kind(_STORES.setdefault(name, Store()))


# By name, so that a writer process finds its mutant: "...suite:reopen.LostUpdate".
reopen = SimpleNamespace(**{name: partial(open_mutant, name) for name in MUTANTS})


def contract_for(mutant: Mutant) -> type[StorageContract]:
    """Return the kit for one mutant; less patient where no process has to start."""

    class TestMutant(StorageContract):
        reopen = f"{__name__}:reopen.{mutant.name}" if mutant.reopens else None
        patience = 20.0 if mutant.durable or mutant.clause == "model" else 0.5

        @pytest.fixture
        async def storage(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StoragePort:
            monkeypatch.setenv(VARIABLE, str(tmp_path / "conversations.sqlite"))
            return open_mutant(mutant.name)

    TestMutant.__name__ = TestMutant.__qualname__ = f"Test{mutant.name}"
    return TestMutant


globals().update({f"Test{mutant.name}": contract_for(mutant) for mutant in MUTANTS.values()})
