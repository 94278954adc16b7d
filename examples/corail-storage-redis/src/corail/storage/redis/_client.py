"""redis-py in one event loop: a client for one server, and one for a cluster, behind the same few calls.

Both are told to repeat nothing on their own: how often a command is sent is decided in ``_server``,
which knows the deadline and what a lost reply means. Reads go to primaries only. No failure is judged
here.
"""

import asyncio
import contextlib
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError

from corail.storage.redis._failures import NoConnectionLeftError
from corail.storage.redis._settings import Limits
from corail.storage.redis._url import Endpoint

Argument = str | bytes | int
Command = Sequence[Argument]
Sending = Callable[[], None]

# How many connections there are is bounded by waiting for one; redis-py's pool would fail instead.
_NO_BOUND: Final = 2**31


class _Driver(Protocol):
    """What redis-py's two clients have in common, as far as it is used."""

    async def execute_command(self, *args: Any, **options: Any) -> Any: ...

    async def aclose(self) -> None: ...


class Client(ABC):
    """Commands to a server or a cluster, over at most ``pool_size`` connections of the running loop.

    ``seconds`` is always how long the call may take, a new connection included; ``sending`` is called
    when the command may be about to leave this process.
    """

    _driver: _Driver

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._places = asyncio.Semaphore(limits.pool_size)
        self._closed = False

    async def command(self, command: Command, seconds: float, sending: Sending) -> Any:
        """Send one command and return the answer."""
        await self._take_place(seconds)
        try:
            sending()
            async with asyncio.timeout(seconds):
                return await self._driver.execute_command(*command)
        finally:
            self._places.release()

    @abstractmethod
    async def many(self, commands: Sequence[Command], seconds: float, sending: Sending) -> list[Any]:
        """Send commands that only read and return their answers; an exception is an answer too."""

    @abstractmethod
    async def meet(self) -> None:
        """Get a first answer from the server."""

    @abstractmethod
    async def infos(self, *sections: str) -> list[dict[str, Any]]:
        """Return INFO of every primary."""

    @abstractmethod
    async def settings(self, *names: str) -> list[dict[str, str]]:
        """Return CONFIG GET of every primary."""

    async def drop_idle(self) -> None:
        """Close connections that nobody uses: what broke one has probably broken them all."""
        return

    async def aclose(self, within: float) -> None:
        """Wait at most ``within`` seconds for commands under way, then close every connection."""
        taken = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                while taken < self._limits.pool_size:
                    await self._places.acquire()
                    taken += 1
        # Whatever goes wrong on the way, the sockets are closed.
        with contextlib.suppress(Exception):
            await self._driver.aclose()
        # Whoever still waits for a place is told at once.
        self._closed = True
        for _ in range(taken):
            self._places.release()

    def cut(self, *, for_good: bool) -> None:
        """Close the connections without the loop they belong to.

        Args:
            for_good: the loop is closed. Otherwise it may run again, and still watches the sockets:
                then they are only shut down, which is enough for the server.

        """
        for connection in self._connections():
            # Private to redis-py and asyncio, whose own ways need the loop. Where one of these is not
            # there, the garbage collector closes the sockets, and says so.
            with contextlib.suppress(Exception):
                transport = connection._writer.transport  # noqa: SLF001
                raw: socket.socket = transport.get_extra_info("socket")
                raw.shutdown(socket.SHUT_RDWR)
                if for_good:
                    with contextlib.suppress(RuntimeError):
                        transport.abort()
                    transport._call_connection_lost(None)  # noqa: SLF001
                    connection._reader = connection._writer = None  # noqa: SLF001

    @abstractmethod
    def _connections(self) -> Iterable[Any]: ...

    async def _take_place(self, seconds: float) -> None:
        if self._places.locked():
            try:
                async with asyncio.timeout(min(seconds, self._limits.acquire_timeout)):
                    await self._places.acquire()
            except TimeoutError:
                raise NoConnectionLeftError from None
        else:
            # Does not wait.
            await self._places.acquire()
        if self._closed:
            self._places.release()
            raise NoConnectionLeftError


class SingleClient(Client):
    """Commands to one server."""

    def __init__(self, endpoint: Endpoint, limits: Limits) -> None:
        super().__init__(limits)
        host, port = endpoint.hosts[0] if endpoint.hosts else ("", 0)
        self._redis = Redis(
            host=host,
            port=port,
            unix_socket_path=endpoint.path,
            db=endpoint.db,
            # redis-py would make a task for each command it sends; the whole command is bounded above.
            socket_timeout=None,
            **_common(endpoint, limits),
        )
        self._driver = self._redis

    async def many(self, commands: Sequence[Command], seconds: float, sending: Sending) -> list[Any]:
        """Send all in one round trip."""
        await self._take_place(seconds)
        try:
            sending()
            pipeline: Any = self._redis.pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command)
            async with asyncio.timeout(seconds):
                return list(await pipeline.execute(raise_on_error=False))
        finally:
            self._places.release()

    async def meet(self) -> None:
        """Get a first answer."""
        await self._driver.execute_command("PING")

    async def infos(self, *sections: str) -> list[dict[str, Any]]:
        """Return INFO."""
        return [_merged([await self._driver.execute_command("INFO", section) for section in sections])]

    async def settings(self, *names: str) -> list[dict[str, str]]:
        """Return CONFIG GET."""
        return [_merged([await self._driver.execute_command("CONFIG GET", name) for name in names])]

    async def drop_idle(self) -> None:
        """Close connections that nobody uses."""
        with contextlib.suppress(Exception):
            await self._redis.connection_pool.disconnect(inuse_connections=False)

    def _connections(self) -> Iterable[Any]:
        pool: Any = self._redis.connection_pool
        return [*getattr(pool, "_available_connections", ()), *getattr(pool, "_in_use_connections", ())]


class ClusterClient(Client):
    """Commands to whichever primary has the slot; redirections are followed."""

    def __init__(self, endpoint: Endpoint, limits: Limits) -> None:
        super().__init__(limits)
        self._cluster = RedisCluster(
            startup_nodes=[ClusterNode(host, port) for host, port in endpoint.hosts],
            # Only what times out in redis-py itself makes it look for the slot's new primary, so a
            # little before the time that is given above.
            socket_timeout=limits.command_timeout * 0.9,
            # Otherwise every fifth redirection closes all connections, those in use included.
            reinitialize_steps=0,
            **_common(endpoint, limits),
        )
        self._driver = self._cluster

    async def many(self, commands: Sequence[Command], seconds: float, sending: Sending) -> list[Any]:
        """Send all side by side."""
        # Not redis-py's pipeline: that looks for no new primary when one of its nodes is gone.
        calls = [self.command(command, seconds, sending) for command in commands]
        return list(await asyncio.gather(*calls, return_exceptions=True))

    async def meet(self) -> None:
        """Learn which node has which slots."""
        await self._cluster.initialize()

    async def infos(self, *sections: str) -> list[dict[str, Any]]:
        """Return INFO of every primary."""
        return [await self._each("INFO", sections, node) for node in self._cluster.get_primaries()]

    async def settings(self, *names: str) -> list[dict[str, str]]:
        """Return CONFIG GET of every primary."""
        return [await self._each("CONFIG GET", names, node) for node in self._cluster.get_primaries()]

    async def aclose(self, within: float) -> None:
        """Close every connection to every node."""
        await super().aclose(within)
        # After a failure, and until the next command, redis-py takes itself for closed.
        for nodes in ("nodes_cache", "startup_nodes"):
            with contextlib.suppress(Exception):
                await self._cluster.nodes_manager.aclose(nodes)

    def cut(self, *, for_good: bool) -> None:
        """Close the connections to every node without their loop."""
        super().cut(for_good=for_good)
        if for_good:
            # Or redis-py would warn that nobody has closed it.
            self._cluster._initialize = True  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]

    async def _each(self, command: str, arguments: Iterable[str], node: ClusterNode) -> dict[str, Any]:
        execute = self._driver.execute_command
        return _merged([await execute(command, argument, target_nodes=node) for argument in arguments])

    def _connections(self) -> Iterable[Any]:
        manager = self._cluster.nodes_manager
        nodes: list[Any] = [*manager.nodes_cache.values(), *manager.startup_nodes.values()]
        return [connection for node in nodes for connection in getattr(node, "_connections", ())]


async def connect(endpoint: Endpoint, limits: Limits) -> Client:
    """Return a client that has had an answer; unless it is known, the server says if it is of a cluster."""
    if endpoint.cluster:
        return await _met(ClusterClient(endpoint, limits))
    single = await _met(SingleClient(endpoint, limits))
    if endpoint.cluster is False:
        return single
    try:
        (info,) = await single.infos("cluster")
    except NoPermissionError:
        # Then the first command is redirected, and the error for that says what to do.
        return single
    except BaseException:
        await single.aclose(0)
        raise
    if info.get("cluster_enabled") != 1:
        return single
    await single.aclose(0)
    return await _met(ClusterClient(endpoint, limits))


async def _met(client: Client) -> Client:
    try:
        await client.meet()
    except BaseException:
        await client.aclose(0)
        raise
    return client


def _common(endpoint: Endpoint, limits: Limits) -> dict[str, Any]:
    return {
        "username": endpoint.username,
        "password": endpoint.password,
        "protocol": 2,
        "socket_connect_timeout": limits.connect_timeout,
        "max_connections": _NO_BOUND,
        "retry": Retry(NoBackoff(), 0),
        **({} if endpoint.tls is None else {"ssl": True, **endpoint.tls}),
    }


def _merged(answers: Iterable[Mapping[Any, Any]]) -> dict[str, Any]:
    return {_text(name): _text(value) for answer in answers for name, value in answer.items()}


def _text(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
