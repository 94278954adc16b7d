"""docs/upgrading.md does what it says: its SQL and its commands, in their order, and the way back."""

import os
import shlex
import subprocess
import sys

import asyncpg
import pytest

from corail.storage.postgresql import PostgreSQLStorage
from tests.docs.documents import blocks


@pytest.mark.anyio
async def test_the_upgrade_goes_as_documented_and_back_again(database_url: str) -> None:
    sql = [block.text for block in blocks("sql") if block.document.name == "upgrading.md"]
    (console,) = [block.text for block in blocks("console") if block.document.name == "upgrading.md"]
    make, watch, back, drop_index = sql
    dry_run, upgrade, finish = [line[2:] for line in console.splitlines() if line.startswith("$ python")]
    owner = await asyncpg.connect(database_url, timeout=30)

    def run(command: str) -> str:
        program, *arguments = shlex.split(command)
        assert program == "python"
        environment = {**os.environ, "CORAIL_DATABASE_URL": database_url}
        done = subprocess.run(
            [sys.executable, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return done.stderr

    async def append_old() -> None:
        await owner.execute("INSERT INTO conversations (id) VALUES ('c') ON CONFLICT DO NOTHING")
        await owner.execute(
            "INSERT INTO messages (conversation_id, role, content) VALUES ('c', 'user', 'old')"
        )

    async def use() -> int:
        async with PostgreSQLStorage(database_url) as storage:
            await storage.append_message("c", "user", "new")
            (row,) = await storage.list_conversations()
            return int(row["message_count"])

    await owner.execute(make)
    await append_old()
    assert await use() == 2
    assert "Nothing was done" in run(dry_run)
    assert "run this again with --finish" in run(upgrade)
    for statement in watch.split(";\n"):
        await owner.fetch(statement)
    await append_old()
    await owner.execute(back)
    await append_old()
    assert await owner.fetchval("SELECT count(*) FROM messages") == 4
    assert await use() == 5
    assert "as this release makes them" in run(finish)
    await owner.execute(drop_index)
    assert await use() == 6
    await owner.close()
