"""Older tables behind PgBouncer in transaction mode: used as any, upgraded past it."""

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from corail.storage.errors import StorageSchemaError
from corail.storage.postgresql import PostgreSQLStorage
from corail.storage.postgresql.upgrade import upgrade
from tests.postgresql.addresses import closed_port, with_host
from tests.postgresql.observing import Observer, eventually
from tests.postgresql.older import append_old, make_older

pytestmark = pytest.mark.anyio

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@pytest.fixture
def pooled_url(url: str) -> Iterator[str]:
    """The URL of the database by way of a pooler with three server connections."""
    if PROGRAM is None:
        pytest.skip("needs pgbouncer")
    server, port = urlsplit(url), closed_port()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        users, settings = folder / "users", folder / "settings"
        users.write_text(f'"{server.username}" "{server.password}"\n')
        settings.write_text(
            f"[databases]\n* = host={server.hostname} port={server.port}\n[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = plain\n"
            f"auth_file = {users}\npool_mode = transaction\ndefault_pool_size = 3\n"
        )
        as_somebody = ["-u", "nobody"] if os.geteuid() == 0 else []
        folder.chmod(0o755)
        process = subprocess.Popen(
            [PROGRAM, *as_somebody, str(settings)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            yield with_host(url, "127.0.0.1", port)
        finally:
            process.terminate()
            process.wait()


async def listens(url: str) -> bool:
    """Wait until somebody accepts connections there."""
    server = urlsplit(url)

    async def accepts() -> bool:
        try:
            _, writer = await asyncio.open_connection(server.hostname, server.port)
        except OSError:
            return False
        writer.close()
        return True

    return await eventually(accepts)


async def test_older_tables_are_used_through_a_pooler_and_upgraded_past_it(
    open_storage: Callable[..., PostgreSQLStorage],
    observer: Observer,
    url: str,
    pooled_url: str,
    schema: str,
) -> None:
    assert await listens(pooled_url)
    await make_older(observer, schema)
    await append_old(observer, schema, "c0", "old")
    # Unnamed statements from the start: older poolers keep no others.
    storages = [open_storage(f"{pooled_url}&statement_cache_size=0") for _ in range(4)]

    async def write(writer: int) -> None:
        for number in range(40):
            await storages[writer].append_message(f"c{number % 5}", "user", f"{writer}/{number}")

    await asyncio.gather(*(write(writer) for writer in range(4)))
    with pytest.raises(StorageSchemaError, match=r"pooler.*server's own address"):
        await upgrade(pooled_url, schema=schema, finish=True)
    writing = [asyncio.create_task(write(writer)) for writer in range(4)]
    assert await upgrade(url, schema=schema, finish=True)
    await asyncio.gather(*writing)
    rows = await storages[0].list_conversations()
    assert sum(row["message_count"] for row in rows) == 2 * 4 * 40 + 1
    assert await observer.fetchval("SELECT count(*) FROM messages") == 2 * 4 * 40 + 1
