"""The network swallows everything: calls end in bounded time, and go on when it comes back."""

import asyncio
from collections.abc import Callable

import pytest

from corail.storage.postgresql import PostgreSQLStorage
from tests.postgresql.addresses import password_of
from tests.postgresql.fault_proxy import FaultProxy
from tests.postgresql.observing import Observer
from tests.postgresql.outcomes import QUICK, Ledger

pytestmark = pytest.mark.anyio


@pytest.mark.faults(
    area="faults",
    done="every connection freezes, new ones too, for two rounds of reads and appends; timeouts 1 s",
    expected="errors within 3 s, 0 lost, 0 doubled, 0 half-stored, working within 1 s after healing",
)
async def test_a_black_hole(
    open_storage: Callable[..., PostgreSQLStorage],
    proxy: FaultProxy,
    observer: Observer,
    measured: Callable[[str], None],
) -> None:
    ledger = Ledger(open_storage(proxy.url, **QUICK), password_of(proxy.url))
    assert await ledger.round()
    proxy.black_hole()
    for _ in range(2):
        assert await ledger.round() == 0
    # Some calls are under way when the network returns.
    caught = asyncio.create_task(ledger.round())
    await asyncio.sleep(0)
    await proxy.heal()
    recovered = await ledger.recover()
    await caught
    await ledger.conclude(observer, recovered, measured)
    # What was under way when the connections froze is unknown, what came later was never sent.
    assert ledger.unknown
    assert ledger.refused


@pytest.mark.faults(
    area="faults",
    done="every established connection goes silent for good, new ones work (a firewall that forgot them)",
    expected="no error, 0 lost, 0 doubled, 0 half-stored, calls within 3 s, afterwards at once",
)
async def test_established_connections_that_went_silent(
    open_storage: Callable[..., PostgreSQLStorage],
    proxy: FaultProxy,
    observer: Observer,
    measured: Callable[[str], None],
) -> None:
    # Time for a second attempt on a busy machine: the first one is lost with its connection.
    storage = open_storage(proxy.url, **(QUICK | {"deadline": 2.0}))
    ledger = Ledger(storage, password_of(proxy.url))
    assert await ledger.round()
    proxy.forget()
    assert await ledger.round()
    recovered = await ledger.recover()
    await ledger.conclude(observer, recovered, measured)
    assert ledger.errors == []
