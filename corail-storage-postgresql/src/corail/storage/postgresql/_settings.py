"""Where the settings of a storage come from: arguments first, then the URL, then the environment."""

import os
from typing import Final

import asyncpg

from corail.storage.errors import StorageConfigurationError
from corail.storage.postgresql._dsn import VARIABLE, Dsn, parse
from corail.storage.postgresql._limits import Limits
from corail.storage.postgresql._schema import checked_schema
from corail.storage.postgresql._types import Pool
from corail.storage.validation import MAX_BATCH_BYTES

SCHEMA_VARIABLE: Final = "CORAIL_DB_SCHEMA"
POOL_VARIABLE: Final = "CORAIL_DB_POOL_SIZE"

_POOL_SIZE: Final = 10
_CONNECT: Final = 5.0
_COMMAND: Final = 15.0
_CACHED_STATEMENTS: Final = 100
_MAX_POOL: Final = 1000


def database_url(dsn: str | None) -> Dsn:
    """Return the parsed URL of the argument, or of ``CORAIL_DATABASE_URL``."""
    if dsn is not None and not isinstance(dsn, str):  # pyright: ignore[reportUnnecessaryIsInstance] - untyped callers
        raise TypeError(f"dsn must be a str, not {type(dsn).__name__}")
    return parse(dsn if dsn is not None else os.environ.get(VARIABLE))


def schema_name(schema: str | None) -> str | None:
    """Return the schema of the argument or of ``CORAIL_DB_SCHEMA``; None to follow ``search_path``."""
    if schema is not None:
        return checked_schema(schema)
    value = os.environ.get(SCHEMA_VARIABLE, "").strip()
    return checked_schema(value) if value else None


def limits(
    dsn: Dsn | None,
    *,
    pool_size: int | None,
    connect_timeout: float | None,
    acquire_timeout: float,
    command_timeout: float | None,
    deadline: float,
    close_timeout: float,
) -> Limits:
    """Return the checked limits; what is None comes from the URL, the environment, or a default."""
    size = _pool_size(pool_size)
    cached = None if dsn is None else dsn.statement_cache_size
    return Limits(
        pool_size=size,
        connect_timeout=_seconds(
            "connect_timeout", connect_timeout, None if dsn is None else dsn.connect_timeout, _CONNECT
        ),
        acquire_timeout=_seconds("acquire_timeout", acquire_timeout),
        command_timeout=_seconds(
            "command_timeout", command_timeout, None if dsn is None else dsn.command_timeout, _COMMAND
        ),
        deadline=_seconds("deadline", deadline),
        close_timeout=_seconds("close_timeout", close_timeout),
        statement_cache_size=_CACHED_STATEMENTS if cached is None else cached,
    )


def _pool_size(argument: int | None) -> int:
    if argument is None:
        text = os.environ.get(POOL_VARIABLE, "").strip()
        if not text:
            return _POOL_SIZE
        size = int(text) if text.isascii() and text.isdigit() and len(text) <= 4 else 0
    elif isinstance(argument, bool) or not isinstance(argument, int):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"pool_size must be an int, not {type(argument).__name__}")
    else:
        size = argument
    if not 1 <= size <= _MAX_POOL:
        raise StorageConfigurationError(
            f"pool_size ({POOL_VARIABLE}) must be 1 to {_MAX_POOL} connections for each event loop."
        )
    return size


def _seconds(name: str, *candidates: float | None) -> float:
    value = next((candidate for candidate in candidates if candidate is not None), None)
    if isinstance(value, bool) or not isinstance(value, int | float):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"{name} must be a number of seconds, not {type(value).__name__}")
    # Also refuses NaN, which compares false to everything.
    if not 0 < value < float("inf"):
        raise StorageConfigurationError(
            f"{name} must be a number of seconds above 0; nothing waits for ever."
        )
    return float(value)


def given_pool(pool: Pool | None) -> Pool:
    """Return the checked pool of the caller's."""
    if not isinstance(pool, asyncpg.Pool):
        raise TypeError(f"pool must be an asyncpg.Pool, not {type(pool).__name__}")
    return pool


def switch(name: str, value: bool) -> bool:  # noqa: FBT001 - it is the value that is checked
    """Return the checked value of an option that is on or off; "false" would be taken for True."""
    if not isinstance(value, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"{name} must be True or False, not {type(value).__name__}")
    return value


def content_limit(value: int) -> int:
    """Return the checked bytes of UTF-8 that one message may have."""
    if isinstance(value, bool) or not isinstance(value, int):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"max_content_bytes must be an int, not {type(value).__name__}")
    if not 1 <= value <= MAX_BATCH_BYTES:
        raise StorageConfigurationError(f"max_content_bytes must be 1 to {MAX_BATCH_BYTES}.")
    return value
