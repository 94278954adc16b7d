"""What goes wrong with a server, and that the error says what to do without a password or content in it."""

# pyright: reportPrivateUsage=false

import asyncio
import re
import socket
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from traceback import format_exception

import pytest

from corail.storage.errors import (
    StorageConfigurationError,
    StorageError,
    StorageTimeoutError,
    StorageUnavailableError,
)
from corail.storage.redis import RedisStorage
from tests.redis.conftest import MakeStorage, StartNode
from tests.redis.servers import Cluster, Node, free_port

pytestmark = pytest.mark.anyio

CONTENT = "confidential content"
README = Path(__file__).parents[2] / "examples" / "corail-storage-redis" / "README.md"


async def error_of(storage: RedisStorage) -> StorageError:
    """Return the error of an append, after looking for secrets in all that is shown of it."""
    async with storage:
        with pytest.raises(StorageError) as caught:
            await storage.append_message("chat", "user", CONTENT)
    shown = "".join(format_exception(caught.value))
    assert CONTENT not in shown
    assert "secret" not in shown
    return caught.value


@pytest.mark.parametrize("scheme", ["redis", "redis+cluster"])
async def test_no_server_is_told_at_once(make: MakeStorage, scheme: str) -> None:
    error = await error_of(make(f"{scheme}://somebody:secret@127.0.0.1:{free_port()}"))
    assert isinstance(error, StorageUnavailableError)
    assert "connection refused" in str(error)


async def test_no_socket_is_told_at_once(make: MakeStorage) -> None:
    error = await error_of(make("unix:///nowhere/redis.sock"))
    assert isinstance(error, StorageUnavailableError)
    assert "no such socket" in str(error)


@pytest.mark.parametrize("scheme", ["redis", "redis+cluster"])
async def test_a_host_that_does_not_exist_is_told_at_once(make: MakeStorage, scheme: str) -> None:
    error = await error_of(make(f"{scheme}://:secret@nowhere.invalid"))
    assert isinstance(error, StorageUnavailableError)
    assert "host name is unknown" in str(error)


@pytest.fixture
def silent() -> Iterator[int]:
    """A port where connections are accepted and nothing is ever answered."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


@pytest.mark.parametrize("scheme", ["redis", "redis+cluster"])
async def test_a_server_that_says_nothing_is_given_up(make: MakeStorage, silent: int, scheme: str) -> None:
    error = await error_of(make(f"{scheme}://127.0.0.1:{silent}", connect_timeout=0.1))
    assert isinstance(error, StorageTimeoutError)


@pytest.fixture
def guarded(start_node: StartNode) -> Node:
    """A server that asks for a password."""
    return start_node(requirepass="right")


@pytest.mark.parametrize("user", ["", ":secret@", "somebody:secret@"])
async def test_a_wrong_password_is_told_at_once(guarded: Node, make: MakeStorage, user: str) -> None:
    error = await error_of(make(f"redis://{user}127.0.0.1:{guarded.port}"))
    assert isinstance(error, StorageConfigurationError)
    assert "rejects the user name or password" in str(error)
    async with make(f"redis://:right@127.0.0.1:{guarded.port}") as storage:
        await storage.append_message("chat", "user", "text")
        guarded.command("CONFIG SET", "requirepass", "changed")
        guarded.settings["requirepass"] = "changed"
        guarded.command("CLIENT KILL", "TYPE", "normal", "SKIPME", "yes")
        with pytest.raises(StorageConfigurationError, match="rejects"):
            await storage.get_messages("chat")
        with pytest.raises(StorageConfigurationError, match="rejects"):
            await storage.append_message("chat", "user", "text")


async def test_a_wrong_password_of_a_cluster_is_told_at_once(guarded: Node, make: MakeStorage) -> None:
    error = await error_of(make(f"redis+cluster://:secret@127.0.0.1:{guarded.port}"))
    assert isinstance(error, StorageConfigurationError)
    assert "rejects the user name or password" in str(error)


@pytest.mark.parametrize("scheme", ["rediss", "rediss+cluster"])
async def test_tls_to_a_server_without_it_is_told(node: Node, make: MakeStorage, scheme: str) -> None:
    # The server waits for the end of a line that never comes.
    error = await error_of(make(f"{scheme}://127.0.0.1:{node.port}", connect_timeout=0.2))
    assert isinstance(error, StorageTimeoutError)
    assert "does it speak TLS" in str(error)


@pytest.mark.parametrize("scheme", ["rediss", "rediss+cluster"])
async def test_a_certificate_that_is_none_is_told_at_once(make: MakeStorage, scheme: str) -> None:
    async with _answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        error = await error_of(make(f"{scheme}://127.0.0.1:{port}"))
    assert isinstance(error, StorageConfigurationError)
    assert "TLS connection" in str(error)


async def test_a_file_of_tls_that_is_missing_is_told(node: Node, make: MakeStorage) -> None:
    error = await error_of(make(f"rediss://127.0.0.1:{node.port}?ssl_ca_certs=/nowhere/ca.pem"))
    assert isinstance(error, StorageError)
    assert "no such socket or file" in str(error)


async def test_a_replica_refuses_writes_and_serves_reads(
    start_node: StartNode, node: Node, make: MakeStorage
) -> None:
    async with make(node.url) as storage:
        await storage.append_message("chat", "user", "text")
    replica = start_node(replicaof=f"127.0.0.1 {node.port}")
    async with make(replica.url, deadline=0.3) as reader:
        report = await reader.check()
        assert (report["ok"], report["role"], report["writable"]) == (False, "standby", False)
        assert "Point the Redis URL at the primary" in str(report["problem"])
        with pytest.raises(StorageUnavailableError, match="is a replica"):
            await reader.append_message("chat", "user", "more")
        # Read where the first storage wrote; a read must not fail for what it may not tidy up.
        await reader.list_conversations()
        await reader.get_messages("chat")


def readme_rights() -> tuple[list[str], list[str]]:
    """Return the rights that the README asks for, and those it asks for in a cluster as well."""
    text = README.read_text("utf-8")
    (block,) = re.findall(r"```text\n(\+.*?)```", text, re.DOTALL)
    (sentence,) = re.findall(r"for a cluster also (.*?); with", text)
    return block.split(), re.findall(r"`(\+[^`]+)`", sentence)


async def test_the_rights_that_the_readme_asks_for_are_enough(
    url: str, request: pytest.FixtureRequest, make: MakeStorage, prefix: str
) -> None:
    servers: Node | Cluster = request.getfixturevalue("cluster" if "+cluster" in url else "node")
    alone, clustered = readme_rights()
    rights = [*alone, *clustered] if isinstance(servers, Cluster) else alone
    nodes = servers.nodes if isinstance(servers, Cluster) else [servers]
    for node in nodes:
        node.command("ACL SETUSER", "agent", "reset", "on", ">right", f"~{prefix}:*", *rights)
    named = url.replace("://", "://agent:right@")
    async with make(named, ttl=60) as storage:
        await use_everything(storage)
        report = await storage.check()
        assert report["ok"] is True
        assert any("appendfsync is unknown" in warning for warning in report["warnings"])
    async with make(named) as storage:
        await use_everything(storage)
    for node in nodes:
        node.command("ACL SETUSER", "agent", "-lrange")
    async with make(named) as storage:
        await storage.append_message("chat", "user", "text")
        with pytest.raises(StorageConfigurationError, match="ACL rule"):
            await storage.get_messages("chat")
    for node in nodes:
        node.command("ACL SETUSER", "agent", "-eval", "-evalsha")
    assert isinstance(await error_of(make(named)), StorageConfigurationError)
    for node in nodes:
        node.command("ACL DELUSER", "agent")


async def use_everything(storage: RedisStorage) -> None:
    for number in range(8):
        await storage.create_conversation(f"chat {number}", {"key": "value"})
        await storage.append_message(f"chat {number}", "user", "text")
        batch = [{"role": "user", "content": "more"}]
        await storage.append_messages(f"chat {number}", batch, idempotency_key="key")
        await storage.update_title(f"chat {number}", "title")
        assert len(await storage.get_messages(f"chat {number}")) == 2
        assert len((await storage.page_messages(f"chat {number}"))["items"]) == 2
        assert await storage.get_conversation(f"chat {number}") is not None
        assert await storage.conversation_exists(f"chat {number}")
    assert len(await storage.list_conversations()) == 8
    assert len((await storage.page_conversations())["items"]) == 8
    for number in range(8):
        await storage.delete_conversation(f"chat {number}")


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", b"$-5\r\n", b"*2\r\n+OK\r\n"])
async def test_a_server_that_is_no_redis_is_told(make: MakeStorage, answer: bytes) -> None:
    async with _answering(answer) as port:
        error = await error_of(make(f"redis://127.0.0.1:{port}", connect_timeout=0.5))
    assert isinstance(error, StorageUnavailableError)


async def test_a_pool_that_is_used_up_is_waited_for_within_a_bound(node: Node, make: MakeStorage) -> None:
    async with make(node.url, pool_size=2, acquire_timeout=0.05, deadline=0.2) as storage:
        await storage.append_message("chat", "user", "text")
        client = await storage._server._clients.get()
        for _ in range(2):
            await client._take_place(1)
        with pytest.raises(StorageTimeoutError, match="pool_size"):
            await storage.append_message("chat", "user", "more")
        for _ in range(2):
            client._places.release()
        await asyncio.gather(*(storage.append_message("chat", "user", "more") for _ in range(50)))
        assert len(await storage.get_messages("chat")) == 51
        assert len(list(client._connections())) == 2


@asynccontextmanager
async def _answering(answer: bytes) -> AsyncGenerator[int]:
    """Listen on a port, and give the same answer to whatever comes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
