"""A thousand cancelled appends: clean connections, nothing doubled under a key, neighbours unharmed."""

import asyncio
import random
from collections.abc import Callable

import pytest

from corail.storage.postgresql import PostgreSQLStorage
from tests.postgresql.addresses import with_parameters
from tests.postgresql.observing import Observer, connections, exact
from tests.postgresql.test_append_cancellation import cancel_at_some_moment, duration, idle

pytestmark = pytest.mark.anyio

CANCELS = 1000
CANCELLERS = 4
NEIGHBOURS = 4


@pytest.mark.faults(
    area="cancellation",
    done="1,000 appends cancelled at random moments beside 4 writers nobody cancels, all repeated by key",
    expected="0 lost, 0 doubled, 0 neighbours failed, no connection in a transaction, counters equal to rows",
)
async def test_a_thousand_cancelled_appends(
    open_storage: Callable[..., PostgreSQLStorage],
    url: str,
    observer: Observer,
    application_name: str,
    measured: Callable[[str], None],
) -> None:
    # asyncpg leaves a future unread when it is cancelled while it asks for TLS, and asyncio reports it.
    storage = open_storage(with_parameters(url, sslmode="disable"), pool_size=4)
    await storage.create_conversation("c0")
    chance = random.Random(21)  # noqa: S311 - the same moments every time
    typical = await duration(lambda: storage.append_message("other", "user", "x"))
    acknowledged: set[str] = set()
    cancelling = CANCELLERS
    kept: list[str] = []

    async def cancel(canceller: int) -> None:
        nonlocal cancelling
        for number in range(CANCELS // CANCELLERS):
            name = f"{canceller}-{number}"
            call = asyncio.create_task(
                storage.append_messages(
                    f"c{canceller % 2}", [{"role": "user", "content": name}], idempotency_key=name
                )
                if number % 2
                else storage.append_message(f"c{canceller % 2}", "user", name)
            )
            if await cancel_at_some_moment(call, chance, typical):
                acknowledged.add(name)
        cancelling -= 1

    async def keep(writer: int) -> None:
        number = 0
        while cancelling:
            name = f"kept {writer}/{number}"
            await storage.append_message(f"c{writer % 2}", "user", name)
            kept.append(name)
            number += 1

    await asyncio.gather(
        *(cancel(canceller) for canceller in range(CANCELLERS)),
        *(keep(writer) for writer in range(NEIGHBOURS)),
    )
    assert await idle(observer, application_name)
    in_transaction = await connections(observer, application_name, "state LIKE 'idle in transaction%'")
    before: list[str] = []
    for conversation in range(2):
        before += [row["content"] for row in await storage.get_messages(f"c{conversation}")]
    cancelled_and_stored = {name for name in before if not name.startswith("kept")} - acknowledged
    # Both happened, or the moments were badly chosen.
    assert 0 < len(acknowledged) + len(cancelled_and_stored) < CANCELS
    for canceller in range(CANCELLERS):
        for number in range(1, CANCELS // CANCELLERS, 2):
            name = f"{canceller}-{number}"
            await storage.append_messages(
                f"c{canceller % 2}", [{"role": "user", "content": name}], idempotency_key=name
            )
    stored: list[str] = []
    for conversation in range(2):
        contents = [row["content"] for row in await storage.get_messages(f"c{conversation}")]
        stored += contents
        for writer in range(conversation, NEIGHBOURS, 2):
            theirs = [name for name in contents if name.startswith(f"kept {writer}/")]
            assert theirs == [f"kept {writer}/{number}" for number in range(len(theirs))]
    lost = len((acknowledged | set(kept)) - set(stored))
    doubled = len(stored) - len(set(stored))
    measured(
        f"{lost} lost, {doubled} doubled; {len(acknowledged)} had been acknowledged, "
        f"{len(cancelled_and_stored)} were stored although cancelled; {len(kept)} of neighbours, "
        f"{in_transaction} connections in a transaction"
    )
    assert (lost, doubled, in_transaction) == (0, 0, 0)
    assert await exact(observer)
    assert await connections(observer, application_name) <= 4
