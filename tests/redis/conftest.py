"""One server and one cluster for the session, and a storage with a prefix of its own for each test."""

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from corail.storage.redis import RedisStorage
from tests.redis.servers import Cluster, Node, remove, temporary_folder

MakeStorage = Callable[..., RedisStorage]
StartNode = Callable[..., Node]
StartCluster = Callable[..., Cluster]


@pytest.fixture(scope="session")
def node() -> Iterator[Node]:
    """A single server; tests that stop it use one of their own."""
    folder = temporary_folder()
    with Node(folder, unixsocket=str(folder / "socket")) as server:
        yield server
    remove(folder)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A cluster of three primaries; tests that change it use one of their own."""
    folder = temporary_folder()
    with Cluster(folder) as servers:
        yield servers
    remove(folder)


@pytest.fixture(params=["single", "cluster"])
def url(request: pytest.FixtureRequest) -> str:
    """The URL of the server and of the cluster, in turn."""
    servers: Node | Cluster = request.getfixturevalue("node" if request.param == "single" else "cluster")
    return servers.url


@pytest.fixture
def prefix() -> str:
    """A prefix that no other test uses."""
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def make(prefix: str) -> MakeStorage:
    """Make storages with this test's prefix, quick to give up unless told otherwise."""

    def storage(url: str, **options: Any) -> RedisStorage:
        chosen: dict[str, Any] = {"prefix": prefix, "deadline": 15.0, **options}
        return RedisStorage(url, **chosen)

    return storage


@pytest.fixture
def start_node() -> Iterator[StartNode]:
    """Start a server of the test's own, with any settings."""
    folder = temporary_folder()
    started: list[Node] = []

    def start(**settings: str) -> Node:
        started.append(Node(folder / str(len(started)), **settings))
        return started[-1].start()

    yield start
    for server in started:
        server.kill()
    remove(folder)


@pytest.fixture
def start_cluster() -> Iterator[StartCluster]:
    """Start a cluster of the test's own."""
    folder = temporary_folder()
    started: list[Cluster] = []

    def start(**options: Any) -> Cluster:
        started.append(Cluster(folder / str(len(started)), **options))
        return started[-1].start()

    yield start
    for servers in started:
        servers.kill()
    remove(folder)
