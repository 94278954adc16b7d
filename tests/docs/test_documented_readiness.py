"""The readiness example of docs/operations.md beside a server that dies and comes back, and its probe."""

import asyncio
import importlib.util
import inspect
import re
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from corail.storage.postgresql import PostgreSQLStorage
from corail.storage.postgresql.embedded import EmbeddedPostgres
from tests.docs.documents import blocks

ServeReadiness = Callable[..., Awaitable[asyncio.Server]]


@pytest.fixture
def serve_readiness(tmp_path: Path) -> ServeReadiness:
    (block,) = [block for block in blocks("python") if block.name == "readiness.py"]
    (tmp_path / "readiness.py").write_text(block.text, "utf-8")
    spec = importlib.util.spec_from_file_location("documented_readiness", tmp_path / "readiness.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    function: ServeReadiness = module.serve_readiness
    return function


def asked(port: int) -> tuple[int, str]:
    """Ask as a kubelet does."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.mark.anyio
async def test_it_says_no_while_the_server_is_away(
    database_url: str, embedded_server: EmbeddedPostgres, serve_readiness: ServeReadiness
) -> None:
    async with PostgreSQLStorage(database_url, close_timeout=1) as storage:
        server = await serve_readiness(storage, port=0, host="127.0.0.1")
        port = server.sockets[0].getsockname()[1]
        assert await asyncio.to_thread(asked, port) == (200, "ready")
        embedded_server.kill()
        try:
            status, problem = await asyncio.to_thread(asked, port)
        finally:
            embedded_server.start()
        assert status == 503
        assert "PostgreSQL at" in problem
        assert await asyncio.to_thread(asked, port) == (200, "ready")
        server.close()


def test_the_probe_asks_where_the_example_answers_and_waits_for_the_answer(
    serve_readiness: ServeReadiness,
) -> None:
    (probe,) = [block.text for block in blocks("yaml") if "readinessProbe" in block.text]
    told = {name: int(value) for name, value in re.findall(r"^\s+(\w+): (\d+)$", probe, re.MULTILINE)}
    assert told["port"] == inspect.signature(serve_readiness).parameters["port"].default
    # check() gives up after 2 s.
    assert 2 < told["timeoutSeconds"] < told["periodSeconds"]


def test_every_yaml_example_is_tested_here() -> None:
    assert [block.document.name for block in blocks("yaml")] == ["operations.md"]
