"""PgBouncer in the ordinary run of things: nothing is seen of it but one warning and few connections."""

import asyncio
import logging
from collections.abc import Callable

import pytest

from corail.storage.postgresql import PostgreSQLStorage
from tests.postgresql.addresses import with_parameters
from tests.postgresql.loops import in_new_loop
from tests.postgresql.observing import Observer, connections, exact
from tests.postgresql.pgbouncer import PgBouncer

pytestmark = pytest.mark.anyio

STORAGES = 6
AGENTS = 10
SERVER_CONNECTIONS = 3
UNNAMED = "unnamed"


async def do_everything(storage: PostgreSQLStorage, agent: str) -> None:
    """Use every operation of the port on conversations of the agent's own and one of all."""
    mine = f"{agent}-mine"
    await storage.create_conversation(mine, {"agent": agent})
    for number in range(3):
        await storage.append_message(mine, "user", str(number))
        await storage.append_message("everybody's", "user", f"{agent}/{number}")
    turn = [{"role": "user", "content": "3"}, {"role": "assistant", "content": "4"}]
    for _ in range(2):
        await storage.append_messages(mine, turn, idempotency_key="turn")
    assert [message["content"] for message in await storage.get_messages(mine)] == list("01234")
    assert [message["content"] for message in await storage.get_recent_messages(mine, 2)] == ["3", "4"]
    page = await storage.page_messages(mine, limit=4)
    rest = await storage.page_messages(mine, after=page["next"])
    assert [item["content"] for item in rest["items"]] == ["4"]
    await storage.update_title(mine, agent)
    row = await storage.get_conversation(mine)
    assert row is not None
    assert (row["title"], row["message_count"], row.get("metadata")) == (agent, 5, {"agent": agent})
    first = await storage.page_conversations(limit=1)
    assert (await storage.page_conversations(limit=1, after=first["next"]))["items"] != first["items"]
    assert mine in {row["id"] for row in await storage.list_conversations()}
    assert (await storage.check())["ok"]
    await storage.delete_conversation(mine)
    assert not await storage.conversation_exists(mine)


def announcements(caplog: pytest.LogCaptureFixture) -> int:
    return sum(UNNAMED in record.getMessage() for record in caplog.records)


async def test_storages_and_agents_see_no_error_on_few_server_connections(
    open_storage: Callable[..., PostgreSQLStorage],
    url: str,
    observer: Observer,
    application_name: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    most = 0
    with PgBouncer(url, pool_size=SERVER_CONNECTIONS) as bouncer:
        storages = [open_storage(bouncer.url) for _ in range(STORAGES)]
        work = asyncio.gather(
            *(
                do_everything(storage, f"{number}-{agent}")
                for number, storage in enumerate(storages)
                for agent in range(AGENTS)
            )
        )
        while not work.done():
            most = max(most, await connections(observer, application_name))
            await asyncio.wait([work], timeout=0.02)
        work.result()
    stored = await open_storage().get_messages("everybody's")
    assert len({message["content"] for message in stored}) == len(stored) == STORAGES * AGENTS * 3
    assert await exact(observer)
    assert 1 <= most <= SERVER_CONNECTIONS
    assert announcements(caplog) == STORAGES


async def test_a_storage_announces_once_for_all_its_loops(
    open_storage: Callable[..., PostgreSQLStorage], url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with PgBouncer(url, pool_size=SERVER_CONNECTIONS) as bouncer:
        storage = open_storage(bouncer.url)

        async def work() -> None:
            here = id(asyncio.get_running_loop())
            await asyncio.gather(*(do_everything(storage, f"{here}-{agent}") for agent in range(5)))

        await asyncio.gather(*(in_new_loop(work) for _ in range(4)))
    assert announcements(caplog) == 1


@pytest.mark.parametrize("parameters", [{"statement_cache_size": "0"}, {"pgbouncer": "true"}])
async def test_whoever_says_so_beforehand_hears_nothing(
    open_storage: Callable[..., PostgreSQLStorage],
    url: str,
    caplog: pytest.LogCaptureFixture,
    parameters: dict[str, str],
) -> None:
    with PgBouncer(url, pool_size=SERVER_CONNECTIONS) as bouncer:
        storage = open_storage(with_parameters(bouncer.url, **parameters))
        await asyncio.gather(*(do_everything(storage, str(agent)) for agent in range(AGENTS)))
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_without_a_pooler_there_is_nothing_to_announce(
    open_storage: Callable[..., PostgreSQLStorage], caplog: pytest.LogCaptureFixture
) -> None:
    storage = open_storage()
    await asyncio.gather(*(do_everything(storage, str(agent)) for agent in range(AGENTS)))
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_pooler_that_keeps_names_is_not_noticed(
    open_storage: Callable[..., PostgreSQLStorage],
    url: str,
    observer: Observer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with PgBouncer(url, pool_size=SERVER_CONNECTIONS, keeps_names=True) as bouncer:
        storages = [open_storage(bouncer.url) for _ in range(STORAGES)]
        await asyncio.gather(
            *(
                do_everything(storage, f"{number}-{agent}")
                for number, storage in enumerate(storages)
                for agent in range(AGENTS)
            )
        )
    assert await exact(observer)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_session_pooling_keeps_the_names(
    open_storage: Callable[..., PostgreSQLStorage], url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with PgBouncer(url, pool_mode="session", pool_size=20) as bouncer:
        storages = [open_storage(bouncer.url, pool_size=5) for _ in range(3)]
        await asyncio.gather(
            *(
                do_everything(storage, f"{number}-{agent}")
                for number, storage in enumerate(storages)
                for agent in range(AGENTS)
            )
        )
        for storage in storages:
            await storage.aclose()
    assert announcements(caplog) == 0


async def test_many_replicas_open_a_new_schema_at_once(
    open_storage: Callable[..., PostgreSQLStorage], url: str, observer: Observer
) -> None:
    with PgBouncer(url, pool_size=SERVER_CONNECTIONS) as bouncer:
        storages = [open_storage(bouncer.url) for _ in range(20)]
        await asyncio.gather(
            *(storage.append_message("c", "user", str(number)) for number, storage in enumerate(storages))
        )
        assert len(await storages[0].get_messages("c")) == 20
    assert await exact(observer)
