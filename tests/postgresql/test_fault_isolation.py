"""A database whose default isolation is REPEATABLE READ: appends collide, are repeated, and all arrive."""

import asyncio
from collections.abc import AsyncIterator, Callable
from time import monotonic

import asyncpg
import pytest

from corail.storage.postgresql import PostgreSQLStorage
from tests.postgresql.observing import Observer, eventually, exact

pytestmark = pytest.mark.anyio

REPLICAS = 4
WRITERS = 4
APPENDS = 60

UNDONE = "SELECT xact_rollback FROM pg_stat_database WHERE datname = current_database()"


@pytest.fixture
async def strict_url(database_url: str, isolation: str) -> str:
    connection = await asyncpg.connect(database_url)
    name = await connection.fetchval("SELECT current_database()")
    await connection.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = '{isolation}'")
    await connection.close()
    return database_url


@pytest.fixture
async def onlooker(strict_url: str) -> AsyncIterator[Observer]:
    connection = await asyncpg.connect(strict_url)
    yield connection
    await connection.close()


@pytest.mark.parametrize(
    "isolation",
    [
        pytest.param(
            isolation,
            marks=pytest.mark.faults(
                area="faults",
                done=f"{REPLICAS} replicas share 2 conversations, default isolation {isolation}",
                expected="collisions (40001), but 0 errors, every append once, in its writer's order",
            ),
        )
        for isolation in ("repeatable read", "serializable")
    ],
)
async def test_replicas_collide_and_no_caller_notices(
    strict_url: str, onlooker: Observer, measured: Callable[[str], None]
) -> None:
    storages = [PostgreSQLStorage(strict_url, pool_size=4) for _ in range(REPLICAS)]
    await storages[0].create_conversation("c0")
    longest = 0.0

    async def write(storage: PostgreSQLStorage, writer: str, conversation_id: str) -> None:
        nonlocal longest
        for number in range(APPENDS):
            began = monotonic()
            await storage.append_message(conversation_id, writer, str(number))
            longest = max(longest, monotonic() - began)

    async with asyncio.TaskGroup() as tasks:
        for replica, storage in enumerate(storages):
            for writer in range(WRITERS):
                tasks.create_task(write(storage, f"{replica}/{writer}", f"c{writer % 2}"))
    for conversation in range(2):
        messages = await storages[0].get_messages(f"c{conversation}")
        assert len(messages) == REPLICAS * WRITERS * APPENDS // 2
        for name in {message["role"] for message in messages}:
            own = [message["content"] for message in messages if message["role"] == name]
            assert own == [str(number) for number in range(APPENDS)]
    assert await exact(onlooker)
    assert "default_transaction_isolation" in (await storages[0].check())["warnings"][0]
    for storage in storages:
        await storage.aclose()
    collisions = 0

    async def counted() -> bool:
        nonlocal collisions
        await onlooker.execute("SELECT pg_stat_clear_snapshot()")
        collisions = int(await onlooker.fetchval(UNDONE))
        return collisions > 0

    # A test in which nothing collided would prove nothing.
    assert await eventually(counted)
    measured(
        f"0 errors, {REPLICAS * WRITERS * APPENDS} appends stored once and in order, "
        f"{collisions} collisions, longest append {longest:.2f} s"
    )
