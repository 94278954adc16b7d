"""Several hosts in one URL: a dead one costs its own connect timeout, the last good one is tried first."""

import asyncio
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager
from time import monotonic
from urllib.parse import urlsplit

import asyncpg
import pytest

from corail.storage.errors import StorageTimeoutError
from corail.storage.postgresql import PostgreSQLStorage
from corail.storage.postgresql.embedded import EmbeddedPostgres
from tests.postgresql import replication
from tests.postgresql.addresses import closed_port, with_parameters
from tests.postgresql.fault_proxy import FaultProxy

pytestmark = pytest.mark.anyio


def several(url: str, *first: str) -> str:
    """Return the URL with other hosts before its own."""
    parts = urlsplit(url)
    credentials, _, host = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{credentials}@{','.join([*first, host])}").geturl()


def address(proxy: FaultProxy) -> str:
    return urlsplit(proxy.url).netloc.rpartition("@")[2]


@contextmanager
def deaf_host() -> Generator[str, None, None]:
    """Give the address of a host whose packets get no answer, as if there were no machine any more."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        # A full queue: the kernel drops every further SYN.
        listening.listen(0)
        name, port = listening.getsockname()
        waiting: list[socket.socket] = []
        try:
            while True:
                waiting.append(socket.socket())
                waiting[-1].settimeout(0.3)
                waiting[-1].connect((name, port))
        except TimeoutError:
            yield f"{name}:{port}"
        finally:
            for each in waiting:
                each.close()


async def test_a_host_that_answers_no_packet_costs_its_own_timeout_once(
    open_storage: Callable[..., PostgreSQLStorage], url: str
) -> None:
    with deaf_host() as deaf:
        storage = open_storage(several(url, deaf), connect_timeout=0.5, deadline=10)
        started = monotonic()
        await storage.append_message("c", "user", "x")
        assert 0.4 < monotonic() - started < 3
        started = monotonic()
        await asyncio.gather(*(storage.get_recent_messages("c", 1) for _ in range(10)))
        assert monotonic() - started < 0.5


async def test_a_host_that_hangs_costs_its_own_timeout_once(
    open_storage: Callable[..., PostgreSQLStorage], proxy: FaultProxy, url: str
) -> None:
    proxy.black_hole()
    dsn = with_parameters(several(url, address(proxy)), sslmode="disable")
    storage = open_storage(dsn, connect_timeout=0.5, deadline=10)
    started = monotonic()
    await storage.append_message("c", "user", "x")
    assert 0.4 < monotonic() - started < 3
    # Further connections go to the host that was good.
    started = monotonic()
    await asyncio.gather(*(storage.get_recent_messages("c", 1) for _ in range(10)))
    assert monotonic() - started < 0.5


async def test_a_host_that_refuses_or_is_unknown_costs_nothing(
    open_storage: Callable[..., PostgreSQLStorage], url: str
) -> None:
    storage = open_storage(several(url, f"127.0.0.1:{closed_port()}"), connect_timeout=5)
    started = monotonic()
    await storage.append_message("c", "user", "x")
    assert monotonic() - started < 2


async def test_when_the_good_host_goes_the_others_are_tried_again(
    open_storage: Callable[..., PostgreSQLStorage], proxy: FaultProxy, url: str
) -> None:
    storage = open_storage(several(url, address(proxy)) + "&sslmode=disable")
    await storage.append_message("c", "user", "x")
    assert proxy.executed
    await proxy.refuse()
    await storage.append_message("c", "user", "y")
    seen = len(proxy.executed)
    await proxy.heal()
    await storage.append_message("c", "user", "z")
    assert len(proxy.executed) == seen
    assert len(await storage.get_messages("c")) == 3


async def test_a_host_with_no_connection_left_does_not_hide_the_next(
    open_storage: Callable[..., PostgreSQLStorage], embedded_server: EmbeddedPostgres, url: str
) -> None:
    settings = {"max_connections": "4", "superuser_reserved_connections": "3"}
    with EmbeddedPostgres(bindir=embedded_server.bindir, settings=settings) as full:
        taken = [await asyncpg.connect(full.url) for _ in range(4)]
        storage = open_storage(several(url, f"127.0.0.1:{full.port}"), deadline=2)
        await storage.append_message("c", "user", "x")
        for connection in taken:
            await connection.close()


async def test_a_host_that_is_read_only_is_left_even_if_any_will_do(
    embedded_server: EmbeddedPostgres,
) -> None:
    async with replication.pair(embedded_server.bindir) as servers:
        dsn = several(servers.primary.url, f"127.0.0.1:{servers.standby.port}")
        async with PostgreSQLStorage(dsn, auto_create=False, deadline=3) as storage:
            async with PostgreSQLStorage(servers.primary.url) as maker:
                await maker.append_message("c", "user", "x")
            await servers.caught_up()
            assert await storage.get_messages("c")
            assert (await storage.check())["role"] == "standby"
            await storage.append_message("c", "user", "y")
            assert (await storage.check())["role"] == "primary"


async def test_probes_alone_find_the_host_after_one_that_hangs(
    open_storage: Callable[..., PostgreSQLStorage], proxy: FaultProxy, url: str
) -> None:
    here = urlsplit(url).netloc.rpartition("@")[2]
    dsn = replication.several(with_parameters(url, sslmode="disable"), address(proxy), here)
    storage = open_storage(dsn)
    assert (await storage.check())["ok"]
    proxy.black_hole()
    # The connection that was open, the connection that is to replace it, and the next host: each probe gives
    # up long before the connect timeout.
    reports = [await storage.check() for _ in range(3)]
    assert [report["ok"] for report in reports] == [False, False, True]


async def test_when_every_host_hangs_the_first_use_takes_the_sum_of_their_timeouts(
    open_storage: Callable[..., PostgreSQLStorage], proxy: FaultProxy
) -> None:
    proxy.black_hole()
    storage = open_storage(several(proxy.url, address(proxy), address(proxy)), connect_timeout=0.3)
    started = monotonic()
    with pytest.raises(StorageTimeoutError):
        await storage.list_conversations()
    assert 0.8 < monotonic() - started < 3
