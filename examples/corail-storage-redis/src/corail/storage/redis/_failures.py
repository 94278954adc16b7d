"""The one place where exceptions of redis-py and the network become errors of this library.

``judge`` says what a failure means for the command (did it take effect, is repeating it of any use)
and builds the ``StorageError`` for the caller. A driver's exception is never part of a message; it
is chained as the cause, except where its own text may repeat arguments, so content (C-31).
"""

import enum
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from corail.storage.errors import (
    StorageConfigurationError,
    StorageError,
    StorageSchemaError,
    StorageTimeoutError,
    StorageUnavailableError,
)
from redis import exceptions as driver


class Effect(enum.Enum):
    """What a failure says about the command that met it."""

    NONE = "it did not take effect, and repeating it may work"
    UNKNOWN = "it may or may not have taken effect"
    REFUSED = "it did not take effect, and repeating it changes nothing"


@dataclass(frozen=True, slots=True)
class Failure:
    """A failure, judged and translated."""

    effect: Effect
    error: StorageError
    code: str = ""
    """The first word of the server's answer; empty where it did not answer."""


# A server waits for more where TLS and plain text meet.
_MUTE: Final = ", and does it speak TLS just where the Redis URL says rediss"


class NoConnectionLeftError(Exception):
    """All connections of this event loop stayed in use for as long as one may wait."""


def judge(error: BaseException, where: str, *, sent: bool) -> Failure:
    """Judge a failure of redis-py or the network.

    Args:
        error: what was raised; raised again when it is not theirs.
        where: the server, without credentials.
        sent: whether the command may have left this process.

    """
    if isinstance(error, NoConnectionLeftError):
        text = f"All connections to {where} are in use. Raise pool_size, or call less at once."
        return _failure(Effect.NONE, StorageTimeoutError(text), None)
    if isinstance(error, driver.RedisClusterException | driver.ClusterError):
        return _of_cluster(error, where)
    if isinstance(error, driver.AuthenticationError | driver.AuthenticationWrongNumberOfArgsError):
        text = (
            f"{where} rejects the user name or password. Correct them in the Redis URL; reserved characters "
            "in a password must be percent-encoded."
        )
        return _failure(Effect.REFUSED, StorageConfigurationError(text), error, "WRONGPASS")
    if isinstance(error, driver.ResponseError | driver.BusyLoadingError):
        return _answered(error, where)
    if isinstance(error, driver.ConnectionError | OSError) and not isinstance(error, TimeoutError):
        return _unreachable(error, where, sent=sent)
    if isinstance(error, driver.TimeoutError | TimeoutError):
        connecting = not sent or _said(error, "connecting to")
        mute = _MUTE if connecting else ""
        text = f"{where} did not answer in time. Is it up, reachable and not overloaded{mute}?"
        return _failure(Effect.NONE if connecting else Effect.UNKNOWN, StorageTimeoutError(text), error)
    # A connection that another task closes takes its stream object away from under redis-py, and an
    # answer that is none makes it fail in odd ways; its text may be part of that answer.
    if isinstance(error, driver.InvalidResponse | AttributeError | ValueError):
        text = f"The connection to {where} broke in the middle of an answer. Is it a Redis server?"
        return _failure(Effect.UNKNOWN if sent else Effect.NONE, StorageUnavailableError(text), None)
    raise error


def _unreachable(error: BaseException, where: str, *, sent: bool) -> Failure:
    if isinstance(error, driver.MaxConnectionsError) or _said(error, "max number of clients"):
        text = (
            f"{where} has no connection left. Lower pool_size or the number of replicas, or raise maxclients "
            "on the server."
        )
        return _failure(Effect.NONE, StorageUnavailableError(text), error, "ERR")
    chain = list(_chain(error))
    if any(isinstance(link, ssl.SSLError) for link in chain):
        text = (
            f"The TLS connection to {where} cannot be trusted or set up. Check the ssl_ parameters and the "
            "host name in the Redis URL against the server's certificate, and that it speaks TLS at all."
        )
        return _failure(Effect.REFUSED, StorageConfigurationError(text), error)
    if not sent or _said(error, "connecting to"):
        text = (
            f"Cannot reach {where}: {_reason(chain)}. Check host and port in the Redis URL, and that the "
            "server is running."
        )
        return _failure(Effect.NONE, StorageUnavailableError(text), error)
    return _failure(Effect.UNKNOWN, StorageUnavailableError(f"The connection to {where} was lost."), error)


def _of_cluster(error: BaseException, where: str) -> Failure:
    # Redirections and topology only: no command was carried out. The client's own text repeats the
    # command, and what it could not reach is the cause of what it raises.
    for link in _chain(error):
        if isinstance(link, driver.AuthenticationError):
            return judge(link, where, sent=False)
        if isinstance(link, driver.NoPermissionError):
            return _answered(link, where)
        if _said(link, "Cluster mode is not enabled"):
            text = f"{where} is not a cluster. Use redis:// in the Redis URL, without cluster=true."
            return _failure(Effect.REFUSED, StorageConfigurationError(text), None, "ERR")
        if isinstance(link, driver.ConnectionError | driver.TimeoutError | OSError):
            return judge(link, where, sent=False)
    text = f"{where} is not whole: some of its slots are being moved, or have no primary. Try again."
    return _failure(Effect.NONE, StorageUnavailableError(text), None, "CLUSTERDOWN")


_CODES: Final[Mapping[type[BaseException], str]] = {
    driver.BusyLoadingError: "LOADING",
    driver.ReadOnlyError: "READONLY",
    driver.OutOfMemoryError: "OOM",
    driver.NoPermissionError: "NOPERM",
    driver.ClusterDownError: "CLUSTERDOWN",
    driver.MasterDownError: "MASTERDOWN",
    driver.TryAgainError: "TRYAGAIN",
    driver.MovedError: "MOVED",
    driver.AskError: "MOVED",
}
# Before Redis 7 the code of a command that failed in a script stands at the end of other text.
_WITHIN: Final = re.compile(r"^(?:Error running script .*: -?)?([A-Z]{3,})\b")

# Nothing was done, and it may soon be possible.
_PASSING: Final = {
    "LOADING": "is loading its data. Wait until it is ready",
    "READONLY": "is a replica, or was just demoted. Point the Redis URL at the primary",
    "NOREPLICAS": "has too few replicas in reach (min-replicas-to-write)",
    "CLUSTERDOWN": "is a cluster that is not whole: some of its slots have no primary",
    "MASTERDOWN": "is a replica without a primary",
    "TRYAGAIN": "is moving the slot of this conversation to another node",
    "BUSY": "is busy with somebody's script",
}
# Nothing was done, and repeating it at once is of no use.
_UNWILLING: Final = {
    "OOM": "has no memory left (maxmemory). Give it more, or delete conversations",
    "MISCONF": "cannot write to its disk. Free space there, or look at its log",
}


def _answered(error: BaseException, where: str) -> Failure:
    found = _WITHIN.match(str(error))
    code = _CODES.get(type(error)) or (found[1] if found else "ERR")
    if code in _PASSING:
        text = f"{where} {_PASSING[code]}. Nothing was changed; try again."
        return _failure(Effect.NONE, StorageUnavailableError(text), error, code)
    if code in _UNWILLING:
        text = f"{where} {_UNWILLING[code]}. Nothing was changed."
        return _failure(Effect.REFUSED, StorageUnavailableError(text), error, code)
    if code == "NOPERM":
        text = (
            f"The user of the Redis URL may not do this on {where}. The ACL rule it needs is in the README "
            "of corail-storage-redis."
        )
        return _failure(Effect.REFUSED, StorageConfigurationError(text), None, code)
    if code == "MOVED":
        text = f"{where} is a node of a cluster. Use redis+cluster:// in the Redis URL, or cluster=True."
        return _failure(Effect.REFUSED, StorageConfigurationError(text), None, code)
    if code == "WRONGTYPE":
        text = f"In {where} a key under the prefix holds something else. Choose another prefix."
        return _failure(Effect.REFUSED, StorageSchemaError(text), None, code)
    # "unknown command ... with args beginning with" repeats the arguments: not even the cause (C-31).
    error_type = StorageError(f"{where} refused the command ({code}). Nothing was changed.")
    return _failure(Effect.REFUSED, error_type, None, code)


def _reason(chain: list[BaseException]) -> str:
    # Never the error's own text: a mistyped URL can put a piece of the password where the host belongs.
    if any(isinstance(link, socket.gaierror) for link in chain):
        return "the host name is unknown"
    if any(isinstance(link, FileNotFoundError) for link in chain):
        return "there is no such socket or file"
    if any(isinstance(link, ConnectionRefusedError) for link in chain):
        return "connection refused"
    return "the connection cannot be made"


def _said(error: BaseException, words: str) -> bool:
    return words in str(error)


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    seen: set[int] = set()
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def _failure(
    effect: Effect, translated: StorageError, cause: BaseException | None, code: str = ""
) -> Failure:
    translated.__cause__ = cause
    return Failure(effect, translated, code)
