"""A server that cannot serve: for each reason a bounded, typed error, and recovery once it can again."""

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from time import monotonic

import pytest

from corail.storage.errors import (
    AppendOutcomeUnknownError,
    StorageError,
    StorageTimeoutError,
)
from corail.storage.postgresql import PostgreSQLStorage
from corail.storage.postgresql.embedded import EmbeddedPostgres
from tests.postgresql.addresses import password_of, with_parameters, with_user
from tests.postgresql.observing import Observer, eventually, exact

pytestmark = pytest.mark.anyio

CONTENT = "the zqsecret text "
BOUND = 3.0
"""Seconds until an error, with every timeout at one second."""
ONE_SECOND = {"deadline": 1.0, "command_timeout": 1.0, "acquire_timeout": 1.0, "connect_timeout": 1.0}


async def refusals(
    url: str, calls: dict[str, Callable[[], Awaitable[object]]]
) -> tuple[dict[str, StorageError], float]:
    """Make the calls at the same time; return the error of each, and after how many seconds the last came."""
    started = monotonic()
    results = await asyncio.gather(*(call() for call in calls.values()), return_exceptions=True)
    took = monotonic() - started
    errors: dict[str, StorageError] = {}
    for name, result in zip(calls, results, strict=True):
        assert isinstance(result, StorageError), (name, result)
        errors[name] = result
        seen = "".join(traceback.format_exception(result))
        assert "zqsecret" not in seen
        assert password_of(url) not in seen
    return errors, took


@pytest.mark.faults(
    area="faults",
    done="the role has a connection limit of 3 and the pool a size of 10; 64 appends and 64 reads at once",
    expected="0 failures: what cannot connect waits for what is connected",
)
async def test_a_pool_larger_than_the_server_allows(
    open_storage: Callable[..., PostgreSQLStorage],
    observer: Observer,
    url: str,
    role: str,
    schema: str,
    measured: Callable[[str], None],
) -> None:
    await open_storage().create_conversation("c0")
    await observer.execute(f"ALTER ROLE {role} CONNECTION LIMIT 3")
    await observer.execute(f"GRANT USAGE ON SCHEMA {schema} TO {role}")
    await observer.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role}")
    storage = open_storage(with_user(url, role, role), pool_size=10)
    results = await asyncio.gather(
        *(storage.append_message(f"c{n}", "user", str(n)) for n in range(64)),
        *(storage.get_messages(f"c{n}") for n in range(64)),
        return_exceptions=True,
    )
    failed = [result for result in results if isinstance(result, BaseException)]
    measured(f"{len(failed)} of {len(results)} calls failed")
    assert not failed
    assert await observer.fetchval("SELECT count(*) FROM messages") == 64
    assert await exact(observer)


@pytest.mark.faults(
    area="faults",
    done="transaction_timeout of 200 ms ends the wait for a row that somebody holds, beside 8 others",
    expected="the held conversation: typed error within 3 s; 0 of the neighbours' appends fail",
)
async def test_a_transaction_timeout_of_the_role(
    open_storage: Callable[..., PostgreSQLStorage],
    observer: Observer,
    url: str,
    measured: Callable[[str], None],
) -> None:
    if await observer.fetchval("SELECT current_setting('transaction_timeout', true)") is None:
        pytest.skip("transaction_timeout is new in PostgreSQL 17")
    storage = open_storage(with_parameters(url, transaction_timeout="200"), **ONE_SECOND)
    await storage.create_conversation("held")
    async with observer.transaction():
        await observer.execute("SELECT FROM conversations WHERE id = 'held' FOR UPDATE")
        held = asyncio.create_task(
            refusals(url, {"held": lambda: storage.append_message("held", "user", CONTENT)})
        )
        neighbours = await asyncio.gather(
            *(storage.append_message(f"free{n}", "user", str(n)) for n in range(8)), return_exceptions=True
        )
        errors, took = await held
    failed = [result for result in neighbours if result is not None]
    measured(f"{len(failed)} neighbours failed, {type(errors['held']).__name__} after {took:.1f} s")
    assert not failed
    # The server ends the connection with the transaction, which asyncpg reports as a lost one.
    assert isinstance(errors["held"], StorageTimeoutError | AppendOutcomeUnknownError)
    assert took < BOUND
    await storage.append_message("held", "user", "after")
    assert [row["content"] for row in await storage.get_messages("held")] == ["after"]
    assert await exact(observer)


@pytest.mark.faults(
    area="faults",
    done="3 x restart of the server (57P01, 57P03) under 8 writers",
    expected="0 appends fail, 0 lost, 0 doubled, counters equal to rows",
)
async def test_restarts_under_writers(
    open_storage: Callable[..., PostgreSQLStorage],
    embedded_server: EmbeddedPostgres,
    measured: Callable[[str], None],
) -> None:
    storage = open_storage(deadline=30)
    await storage.create_conversation("c0")
    acknowledged: list[str] = []
    writing = True

    async def write(writer: int) -> None:
        number = 0
        while writing:
            await storage.append_message(f"c{writer % 3}", "user", f"{writer}/{number}")
            acknowledged.append(f"{writer}/{number}")
            number += 1

    async def restart() -> None:
        nonlocal writing
        for round_ in range(4):
            wanted = len(acknowledged) + 200

            async def more(wanted: int = wanted) -> bool:
                return len(acknowledged) >= wanted

            assert await eventually(more)
            if round_ < 3:
                await asyncio.to_thread(embedded_server.restart)
        writing = False

    await asyncio.gather(*(write(writer) for writer in range(8)), restart())
    stored: list[str] = []
    counted = {row["id"]: row["message_count"] for row in await storage.list_conversations()}
    for conversation in range(3):
        contents = [row["content"] for row in await storage.get_messages(f"c{conversation}")]
        assert counted[f"c{conversation}"] == len(contents)
        stored += contents
    lost, doubled = len(set(acknowledged) - set(stored)), len(stored) - len(set(stored))
    measured(f"{lost} lost, {doubled} doubled of {len(acknowledged)} acknowledged, 0 failed")
    assert sorted(stored) == sorted(acknowledged)
