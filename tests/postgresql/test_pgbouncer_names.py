"""Behind PgBouncer no process ever runs a statement of another one."""

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from corail.storage.postgresql import PostgreSQLStorage
from corail.storage.postgresql._connect import CorailConnection
from tests.postgresql.observing import Observer, exact
from tests.postgresql.pgbouncer import PgBouncer
from tests.postgresql.pooled_pods import AGENTS, KEPT, Plan, Report, kept

pytestmark = pytest.mark.anyio

STARTS = 50
AT_ONCE = 4
SERVER_CONNECTIONS = 3


async def run_pods(url: str, schema: str, starts: int, *, own_names: bool) -> list[Report]:
    plan: Plan = {
        "url": url,
        "schema": schema,
        "starts": starts,
        "at_once": AT_ONCE,
        "own_names": own_names,
        "deadline": 20 if own_names else 1,
    }
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, str(Path(__file__).with_name("pooled_pods.py")), json.dumps(plan)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


async def keep_some(storage: PostgreSQLStorage) -> None:
    await asyncio.gather(*(storage.append_message(kept(n), "user", kept(n)) for n in range(KEPT)))


async def how_many_kept(storage: PostgreSQLStorage) -> int:
    found = await asyncio.gather(*(storage.get_messages(kept(n)) for n in range(KEPT)))
    return sum(messages == [{"role": "user", "content": kept(n)}] for n, messages in enumerate(found))


@pytest.mark.faults(
    area="pgbouncer",
    done=f"{STARTS} starts of pods that read, write and delete on {SERVER_CONNECTIONS} server connections, "
    "transaction mode",
    expected="0 errors, 0 acknowledged appends lost or doubled, nothing deleted that was not to be",
)
async def test_fifty_starts_of_pods_on_few_server_connections(
    storage: PostgreSQLStorage, url: str, schema: str, observer: Observer, measured: Callable[[str], None]
) -> None:
    await keep_some(storage)
    with PgBouncer(url, pool_size=SERVER_CONNECTIONS) as bouncer:
        reports = await run_pods(bouncer.url, schema, STARTS, own_names=True)
    assert len(reports) == STARTS
    acknowledged = Counter(content for report in reports for content in report["acknowledged"])
    shared = [await storage.get_messages(f"shared-{n}") for n in range(AGENTS)]
    stored = Counter(message["content"] for messages in shared for message in messages)
    lost, doubled = acknowledged - stored, stored - acknowledged
    errors = [error for report in reports for error in report["errors"]]
    left = [row["id"] for row in await storage.list_conversations() if row["id"].startswith("gone-")]
    held = await how_many_kept(storage)
    measured(
        f"{len(errors)} errors; {lost.total()} lost and {doubled.total()} doubled of {acknowledged.total()}; "
        f"{held} of {KEPT} bystanders there"
    )
    assert not errors
    assert (held, left) == (KEPT, [])
    assert stored == acknowledged
    assert await exact(observer)
    # Every process says at most once that it goes on without names.
    assert max(report["warnings"] for report in reports) == 1


async def test_starts_of_pods_behind_a_pooler_that_keeps_names(
    storage: PostgreSQLStorage, url: str, schema: str, observer: Observer
) -> None:
    await keep_some(storage)
    with PgBouncer(url, pool_size=SERVER_CONNECTIONS, keeps_names=True) as bouncer:
        reports = await run_pods(bouncer.url, schema, STARTS, own_names=True)
    acknowledged = Counter(content for report in reports for content in report["acknowledged"])
    shared = [await storage.get_messages(f"shared-{n}") for n in range(AGENTS)]
    assert [error for report in reports for error in report["errors"]] == []
    assert Counter(message["content"] for messages in shared for message in messages) == acknowledged
    assert await how_many_kept(storage) == KEPT
    assert await exact(observer)
    assert max(report["warnings"] for report in reports) == 0


@pytest.mark.faults(
    area="pgbouncer",
    done="a control: pods with statement names that repeat in every process, as asyncpg's do",
    expected="errors or losses, or the test above could not fail",
)
async def test_the_same_pods_with_names_that_repeat_do_harm(
    storage: PostgreSQLStorage, url: str, schema: str, measured: Callable[[str], None]
) -> None:
    await keep_some(storage)
    with PgBouncer(url, pool_size=SERVER_CONNECTIONS) as bouncer:
        reports = await run_pods(bouncer.url, schema, 8, own_names=False)
    errors = sum(len(report["errors"]) for report in reports)
    held = await how_many_kept(storage)
    measured(f"{errors} errors in 8 pods, {KEPT - held} of {KEPT} bystanders lost")
    assert errors > 0 or held < KEPT


@pytest.mark.parametrize("ours", [False, True], ids=["asyncpg's names", "our names"])
async def test_a_read_runs_the_deletion_of_another_process_only_under_asyncpgs_names(
    url: str, observer: Observer, schema: str, monkeypatch: pytest.MonkeyPatch, *, ours: bool
) -> None:
    await observer.execute(f"CREATE SCHEMA {schema}")
    await observer.execute("CREATE TABLE things AS VALUES ('mine'), ('theirs')")
    look = f"SELECT column1 FROM {schema}.things WHERE column1 = $1"  # noqa: S608 - our own name
    remove = f"DELETE FROM {schema}.things WHERE column1 = $1"  # noqa: S608 - likewise

    def new_process() -> None:
        # asyncpg counts its names from 1 in every process.
        monkeypatch.setattr("asyncpg.connection._uid", 0)

    with PgBouncer(url, pool_size=2) as bouncer:
        kind = CorailConnection if ours else asyncpg.Connection
        reader, blocker, deleter = [await asyncpg.connect(bouncer.url, connection_class=kind) for _ in "123"]
        new_process()
        assert await reader.fetchval(look, "mine") == "mine"
        # The reader's statement is on the server connection that is busy from here on; the other is new.
        await blocker.execute("BEGIN")
        new_process()
        await deleter.execute(remove, "theirs")
        if ours:
            with pytest.raises(asyncpg.InvalidSQLStatementNameError):
                await reader.fetchval(look, "mine")
        else:
            assert await reader.fetchval(look, "mine") is None
        await blocker.execute("COMMIT")
        for connection in (reader, blocker, deleter):
            await connection.close()
    assert await observer.fetchval("SELECT array_agg(column1) FROM things") == (["mine"] if ours else None)
