"""Can the database serve now? One cheap question that never writes, for readiness probes."""

from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any, Final

from corail.storage.errors import StorageClosedError, StorageError
from corail.storage.postgresql import _sql
from corail.storage.postgresql._database import Access, Database
from corail.storage.postgresql._older import UPGRADE
from corail.storage.postgresql._sql_tables import SCHEMA_VERSION
from corail.storage.rows import CheckReport

# A readiness probe asks again anyway, and its own limit is a few seconds.
_SECONDS: Final = 2.0


async def report(database: Database, ignored: Sequence[str]) -> CheckReport:
    """Return the state of the database as ``StoragePort.check`` promises it.

    Args:
        database: which one.
        ignored: parameters of its URL that asyncpg cannot honour.

    """
    started = perf_counter()
    state: CheckReport = {
        "ok": False,
        "latency": 0.0,
        "versions": {"schema": str(SCHEMA_VERSION)},
        "role": None,
        "writable": None,
        "problem": None,
        "warnings": [
            f"{parameter} in the database URL is not honoured: asyncpg cannot." for parameter in ignored
        ],
    }
    try:
        found = await database.run(_look, within=_SECONDS)
    except StorageClosedError:
        raise
    except StorageError as error:
        state["problem"] = str(error)
    else:
        state["versions"]["server"] = found["version"]
        state["role"] = "standby" if found["standby"] else "primary"
        state["writable"] = state["ok"] = not found["read_only"]
        if found["read_only"]:
            state["problem"] = f"{database.where} is read-only. Point the database URL at the primary."
        state["warnings"] += _advice(found["isolation"], older=database.older)
    pool = database.pool_use()
    if pool is not None:
        state["pool"] = pool
    state["latency"] = perf_counter() - started
    return state


def _advice(isolation: str, *, older: bool) -> list[str]:
    advice: list[str] = []
    if isolation != "read committed":
        advice.append(
            f"default_transaction_isolation is {isolation!r}: concurrent appends to one conversation will "
            "be repeated often. Use 'read committed' for this role."
        )
    if older:
        advice.append(
            "The tables were made by an earlier release. They work as they are; "
            f"{UPGRADE} --dry-run shows what makes them faster."
        )
    return advice


async def _look(access: Access) -> Mapping[str, Any]:
    row = await access.connection.fetchrow(_sql.CHECK, timeout=min(access.seconds, _SECONDS))
    return {} if row is None else dict(row)
