"""Where the settings of a storage come from: arguments first, then the environment, then defaults."""

import os
from dataclasses import dataclass
from typing import Final

from corail.storage.errors import StorageConfigurationError
from corail.storage.validation import MAX_BATCH_BYTES

from corail.storage.redis._url import VARIABLE, Endpoint, parse

PREFIX_VARIABLE: Final = "CORAIL_REDIS_PREFIX"
TTL_VARIABLE: Final = "CORAIL_REDIS_TTL"

_PREFIX: Final = "corail"
_MAX_PREFIX: Final = 64
_MAX_POOL: Final = 1000
_MAX_TTL: Final = 10 * 366 * 86400.0
# Well within the ten minutes for which the key of an append is remembered.
_MAX_DEADLINE: Final = 300.0


@dataclass(frozen=True, slots=True)
class Limits:
    """How long and how much; all times in seconds."""

    pool_size: int
    connect_timeout: float
    acquire_timeout: float
    """For a connection while all are in use."""
    command_timeout: float
    deadline: float
    """For one call with all its repetitions."""
    close_timeout: float


def endpoint(url: str | None, cluster: bool | None) -> Endpoint:  # noqa: FBT001 - passed on from the constructor
    """Return where the argument, or ``CORAIL_REDIS_URL``, points."""
    if url is not None and not isinstance(url, str):  # pyright: ignore[reportUnnecessaryIsInstance] - untyped callers
        raise TypeError(f"url must be a str, not {type(url).__name__}")
    if cluster is not None and not isinstance(cluster, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"cluster must be True, False or None, not {type(cluster).__name__}")
    return parse(url if url is not None else os.environ.get(VARIABLE), cluster)


def prefix(value: str | None) -> str:
    """Return the checked prefix of the argument, ``CORAIL_REDIS_PREFIX`` or the default."""
    if value is not None and not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"prefix must be a str, not {type(value).__name__}")
    text = value if value is not None else os.environ.get(PREFIX_VARIABLE, "").strip() or _PREFIX
    # A brace would end or begin the hash tag, and the keys of a conversation would lie apart.
    if not 1 <= len(text) <= _MAX_PREFIX or "{" in text or "}" in text:
        raise StorageConfigurationError(
            f"prefix ({PREFIX_VARIABLE}) must have 1 to {_MAX_PREFIX} characters and no braces."
        )
    return text


def ttl(value: float | None) -> int:
    """Return milliseconds to live from the argument or ``CORAIL_REDIS_TTL`` (seconds); 0 for ever."""
    if value is None:
        text = os.environ.get(TTL_VARIABLE, "").strip()
        try:
            seconds = float(text or 0)
        except ValueError:
            seconds = -1.0
    elif isinstance(value, bool) or not isinstance(value, int | float):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"ttl must be a number of seconds or None, not {type(value).__name__}")
    else:
        seconds = float(value)
    # Written so that NaN, which compares false to everything, is refused too.
    if seconds != 0 and not 0.001 <= seconds <= _MAX_TTL:
        raise StorageConfigurationError(
            f"ttl ({TTL_VARIABLE}) must be 0.001 seconds to ten years, or 0 to keep conversations for ever."
        )
    return round(seconds * 1000)


def limits(
    *,
    pool_size: int,
    connect_timeout: float,
    acquire_timeout: float,
    command_timeout: float,
    deadline: float,
    close_timeout: float,
) -> Limits:
    """Return the checked limits."""
    if isinstance(pool_size, bool) or not isinstance(pool_size, int):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"pool_size must be an int, not {type(pool_size).__name__}")
    if not 1 <= pool_size <= _MAX_POOL:
        raise StorageConfigurationError(
            f"pool_size must be 1 to {_MAX_POOL} connections for each event loop."
        )
    return Limits(
        pool_size=pool_size,
        connect_timeout=_seconds("connect_timeout", connect_timeout),
        acquire_timeout=_seconds("acquire_timeout", acquire_timeout),
        command_timeout=_seconds("command_timeout", command_timeout),
        deadline=_seconds("deadline", deadline, _MAX_DEADLINE),
        close_timeout=_seconds("close_timeout", close_timeout),
    )


def content_limit(value: int) -> int:
    """Return the checked bytes of UTF-8 that one message or title may have."""
    if isinstance(value, bool) or not isinstance(value, int):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"max_content_bytes must be an int, not {type(value).__name__}")
    if not 1 <= value <= MAX_BATCH_BYTES:
        raise StorageConfigurationError(f"max_content_bytes must be 1 to {MAX_BATCH_BYTES}.")
    return value


def _seconds(name: str, value: float, most: float = 86400.0) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"{name} must be a number of seconds, not {type(value).__name__}")
    if not 0 < value <= most:
        raise StorageConfigurationError(f"{name} must be above 0 and at most {most:g} seconds.")
    return float(value)
