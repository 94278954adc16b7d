"""Several hosts in one URL: a dead one costs its own connect timeout, the last good one is tried first."""

import asyncio
from collections.abc import Callable
from time import monotonic
from urllib.parse import urlsplit

import pytest

from corail.storage.errors import StorageTimeoutError
from corail.storage.postgresql import PostgreSQLStorage
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


async def test_when_every_host_hangs_the_first_use_takes_the_sum_of_their_timeouts(
    open_storage: Callable[..., PostgreSQLStorage], proxy: FaultProxy
) -> None:
    proxy.black_hole()
    storage = open_storage(several(proxy.url, address(proxy), address(proxy)), connect_timeout=0.3)
    started = monotonic()
    with pytest.raises(StorageTimeoutError):
        await storage.list_conversations()
    assert 0.8 < monotonic() - started < 3
