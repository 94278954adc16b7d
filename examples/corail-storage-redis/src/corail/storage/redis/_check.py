"""What ``check()`` finds out about a server: role, version, and the settings that lose data.

Reads INFO and CONFIG of every primary; writes nothing.
"""

from collections.abc import Sequence
from typing import Any, Final

from corail.storage.errors import StorageError
from corail.storage.rows import CheckReport
from redis.exceptions import RedisError

from corail.storage.redis._server import Access

LAYOUT_VERSION: Final = "1"

_SECTIONS: Final = ("server", "replication", "persistence", "memory")


async def look(access: Access) -> tuple[list[dict[str, Any]], list[dict[str, str]] | None]:
    """Return INFO of every primary, and the settings of each, or None where reading them is not allowed."""
    infos = await access.infos(*_SECTIONS)
    try:
        settings = await access.settings("appendfsync")
    except RedisError:
        # Hosted servers forbid CONFIG, or do not know it. A lost connection is noticed by the next call.
        return infos, None
    return infos, settings


def report_on(
    where: str, infos: Sequence[dict[str, Any]], settings: Sequence[dict[str, str]] | None
) -> CheckReport:
    """Return the report, its latency still to be filled in."""
    problems = [problem for info in infos if (problem := _problem(info))]
    replica = any(_is_replica(info) for info in infos)
    return {
        "ok": not problems,
        "latency": 0.0,
        "versions": {
            "server": ", ".join(sorted({_version(info) for info in infos})),
            "schema": LAYOUT_VERSION,
        },
        "role": "standby" if replica else "primary",
        "writable": not problems,
        "problem": f"{where} {problems[0]}." if problems else None,
        "warnings": _warnings(infos, settings),
    }


def failed(error: StorageError) -> CheckReport:
    """Return the report on a server that could not be asked."""
    return {
        "ok": False,
        "latency": 0.0,
        "versions": {"schema": LAYOUT_VERSION},
        "role": None,
        "writable": None,
        "problem": str(error),
        "warnings": [],
    }


def _problem(info: dict[str, Any]) -> str | None:
    if _is_replica(info):
        return "is a replica. Point the Redis URL at the primary"
    if info.get("loading") == 1:
        return "is loading its data. Wait until it is ready"
    if info.get("aof_enabled") == 1 and info.get("aof_last_write_status", "ok") != "ok":
        return "cannot write its append-only file. Free space on its disk, or look at its log"
    limit = _number(info.get("maxmemory"))
    if 0 < limit <= _number(info.get("used_memory")) and info.get("maxmemory_policy") == "noeviction":
        return "has no memory left (maxmemory). Give it more, or delete conversations"
    return None


def _warnings(infos: Sequence[dict[str, Any]], settings: Sequence[dict[str, str]] | None) -> list[str]:
    found: list[str] = []
    if any(info.get("aof_enabled") == 0 for info in infos):
        found.append(
            "appendonly is off: a crash of the server loses every message since its last snapshot. Set "
            "'appendonly yes'."
        )
    elif settings is None:
        found.append(
            "appendfsync is unknown, the server does not show its settings: ask who runs it what a power cut "
            "may lose."
        )
    else:
        modes = {setting.get("appendfsync", "unknown") for setting in settings} - {"always"}
        found.extend(
            f"appendfsync is {mode!r}: a power cut loses acknowledged messages of the last moments. Set "
            "'appendfsync always' where none may be lost."
            for mode in sorted(modes)
        )
    policies = {
        str(info.get("maxmemory_policy", "noeviction")) for info in infos if _number(info.get("maxmemory"))
    }
    found.extend(
        f"maxmemory-policy is {policy!r}: when memory is short, conversations disappear, or parts of them. "
        "Set 'noeviction'."
        for policy in sorted(policies - {"noeviction"})
    )
    return found


def _is_replica(info: dict[str, Any]) -> bool:
    return info.get("role") in {"slave", "replica"}


def _version(info: dict[str, Any]) -> str:
    valkey = info.get("valkey_version")
    return f"Valkey {valkey}" if valkey else f"Redis {info.get('redis_version', 'of unknown version')}"


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
