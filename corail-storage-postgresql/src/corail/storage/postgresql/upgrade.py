"""``python -m corail.storage.postgresql.upgrade``: brings tables of an earlier release up to date.

Owns the command line, the connection and the lock that keeps two of these apart; the steps stand in
``_upgrade``.
"""

import argparse
import asyncio
import sys
from collections.abc import Callable, Sequence
from typing import Final

import asyncpg

from corail.storage.errors import StorageError, StorageSchemaError, StorageTimeoutError
from corail.storage.postgresql import _schema, _settings, _sql_upgrade
from corail.storage.postgresql._connect import Connector
from corail.storage.postgresql._failures import from_connecting, from_statement
from corail.storage.postgresql._locking import TablesBusyError, lock_key
from corail.storage.postgresql._types import DriverConnection
from corail.storage.postgresql._upgrade import Upgrade

__all__ = ["main", "upgrade"]

_CONNECT_SECONDS: Final = 10.0
# Building an index takes as long as it takes.
_STATEMENT_SECONDS: Final = 7 * 24 * 3600.0


async def upgrade(
    dsn: str | None = None,
    *,
    schema: str | None = None,
    finish: bool = False,
    dry_run: bool = False,
    progress: Callable[[str], None] | None = None,
) -> bool:
    """Upgrade tables of an earlier release in place; return whether they are now as this release makes them.

    Without ``finish`` it takes the steps that run beside the earlier release; with it also those after
    which that release can no longer write. Interrupted, it can be run again.

    Args:
        dsn: as for ``PostgreSQLStorage``; to the server itself, as the tables' owner.
        schema: as for ``PostgreSQLStorage``.
        finish: shut the earlier release out and finish.
        dry_run: change nothing, only tell the steps with their SQL.
        progress: is told, a line at a time.

    Raises ``StorageSchemaError`` where there is nothing to upgrade or a pooler in between,
    ``StorageTimeoutError`` where the tables are never free.

    """
    tell = progress if progress is not None else _ignore
    target = _settings.database_url(dsn)
    where = f"PostgreSQL at {target.describe()}"
    connector = Connector(
        target,
        connect_timeout=_CONNECT_SECONDS,
        command_timeout=_STATEMENT_SECONDS,
        statement_cache_size=0,
    )
    try:
        connection = await connector()
    except Exception as error:
        raise from_connecting(error, where).error from error
    try:
        return await _upgrade(connection, _settings.schema_name(schema), tell, finish=finish, dry_run=dry_run)
    except TablesBusyError as error:
        raise StorageTimeoutError(
            f"Somebody held the tables of {where} all the time. See pg_stat_activity for the oldest "
            "transaction, end it or wait for it, and run this again: it goes on where it stopped."
        ) from error.__cause__
    except asyncpg.InsufficientPrivilegeError as error:
        raise StorageSchemaError(
            f"The user of the database URL may not alter the tables of {where}. Run this as their owner."
        ) from error
    except asyncpg.DependentObjectsStillExistError as error:
        raise StorageSchemaError(
            f"In {where} something of yours depends on the primary key of messages (a foreign key, perhaps). "
            "Drop it, and run this again: it goes on where it stopped."
        ) from error
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise from_statement(error, where).error from error
    finally:
        connection.terminate()


async def _upgrade(
    connection: DriverConnection,
    schema: str | None,
    tell: Callable[[str], None],
    *,
    finish: bool,
    dry_run: bool,
) -> bool:
    if connection.get_server_pid() != await connection.fetchval(_sql_upgrade.BACKEND):
        raise StorageSchemaError(
            "There is a pooler (PgBouncer?) between this and the server, which cannot hold the lock that "
            "keeps two upgrades apart. Give CORAIL_DATABASE_URL the server's own address for this command."
        )
    place = await _schema.locate(connection, schema)
    steps = Upgrade(connection, place, lambda text: tell(f"    {text}")).steps()
    if not dry_run:
        await _be_alone(connection, place)
        await connection.execute(_sql_upgrade.UNLIMITED)
    for number, step in enumerate(steps, 1):
        label = f"[{number}/{len(steps)}] {step.title}"
        if await step.done():
            tell(f"{label}: done before")
        elif dry_run:
            tell(f"{label}{' (with --finish)' if step.finish else ''}")
            for command in step.sql:
                tell(f"{command};")
        elif step.finish and not finish:
            tell(f"{label}: left for --finish")
        else:
            tell(f"{label} ...")
            await step.run()
            tell(f"{label}: done")
    return await steps[-1].done()


async def _be_alone(connection: DriverConnection, schema: str) -> None:
    key = lock_key(schema, " upgrade")
    if not await connection.fetchval(_sql_upgrade.TRY_LOCK, key):
        holder = await connection.fetchval(_sql_upgrade.HOLDER, key)
        raise StorageSchemaError(
            f"Another upgrade of schema {schema} is running (server process {holder}; see pg_stat_activity). "
            "Wait for it, and run this again: it goes on where that one stopped."
        )


def _ignore(_: str) -> None:
    """Tell nobody."""


def _print(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m corail.storage.postgresql.upgrade",
        description="Bring tables of an earlier release up to date, in place and beside running agents. "
        "Reads CORAIL_DATABASE_URL and CORAIL_DB_SCHEMA. Interrupted, it can be run again.",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the steps and their SQL, do nothing")
    parser.add_argument(
        "--finish",
        action="store_true",
        help="also take the last steps, after which old releases cannot write",
    )
    options = parser.parse_args(arguments)
    try:
        finished = asyncio.run(upgrade(finish=options.finish, dry_run=options.dry_run, progress=_print))
    except StorageError as error:
        _print(str(error))
        return 1
    if options.dry_run:
        _print("Nothing was done.")
    elif finished:
        _print("The tables are as this release makes them.")
    else:
        _print("Both releases can go on. When the earlier one is gone, run this again with --finish.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
