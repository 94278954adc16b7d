"""The one place where exceptions of asyncpg and the network become errors of this library.

``from_connecting`` and ``from_statement`` say what a failure means for the statement (did it take
effect, is repeating it of any use) and build the ``StorageError`` for the caller. A driver's exception
is never part of a message; it is chained as the cause, except where its own text repeats content (C-31).
"""

import enum
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg

from corail.storage.errors import (
    InvalidInputError,
    StorageConfigurationError,
    StorageError,
    StorageSchemaError,
    StorageTimeoutError,
    StorageUnavailableError,
)


class Effect(enum.Enum):
    """What a failure says about the statement that met it."""

    NONE = "it did not take effect, and repeating it may work"
    UNKNOWN = "it may or may not have taken effect"
    REFUSED = "it did not take effect, and repeating it changes nothing"


@dataclass(frozen=True, slots=True)
class Failure:
    """A failure, judged and translated."""

    effect: Effect
    error: StorageError
    sqlstate: str | None = None
    server_answered: bool = False
    """Whether a PostgreSQL server is there: starting up, full or unwilling, but there."""


def from_connecting(error: BaseException, where: str, settings: Sequence[str] = ()) -> Failure:
    """Judge a failure to get a connection: no statement was sent, whatever it was.

    Args:
        error: what asyncpg or the network raised; re-raised when it is neither's.
        where: hosts and database, without credentials.
        settings: names of the URL's parameters that were handed to the server.

    """
    none, refused = Effect.NONE, Effect.REFUSED
    hosts = where.rpartition("/")[0]
    # Order matters: timeouts, name resolution and certificate errors are all OSError too.
    if isinstance(error, asyncpg.PostgresError):
        return _connect_refused(error, error.sqlstate or "", where, settings)
    if isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        text = (
            f"No server of {where} has the role that target_session_attrs asks for. Is a failover going on? "
            "Otherwise correct the hosts or target_session_attrs in the database URL."
        )
        return _failure(none, StorageUnavailableError(text), error, answered=True)
    if isinstance(error, ssl.SSLError):
        text = (
            f"The TLS connection to {where} cannot be trusted or set up ({type(error).__name__}). Check "
            "sslmode, sslrootcert and the host name in the database URL against the server's certificate."
        )
        return _failure(refused, StorageConfigurationError(text), error)
    if isinstance(error, TimeoutError):
        text = f"No connection to {where} in time. Check that the server is up and reachable."
        return _failure(none, StorageTimeoutError(text), error)
    if isinstance(error, ValueError):
        # ClientConfigurationError and what asyncpg lets through of bad TLS files and modes.
        text = (
            f"The database URL for {where} asks for something that cannot be: check sslmode, "
            "target_session_attrs and the files it names."
        )
        return _failure(refused, StorageConfigurationError(text), error)
    if isinstance(error, FileNotFoundError | IsADirectoryError | PermissionError) and "/" not in hosts:
        text = (
            f"A file that the database URL for {where} names cannot be read. Check sslrootcert, sslcert, "
            "sslkey and passfile."
        )
        return _failure(refused, StorageConfigurationError(text), error)
    if isinstance(error, ConnectionError) and "SSL" in str(error):
        text = f"{where} refuses TLS, which sslmode asks for. Enable it there, or change sslmode in the URL."
        return _failure(refused, StorageConfigurationError(text), error)
    if isinstance(error, OSError):
        text = (
            f"Cannot reach {where}: {_network_reason(error)}. Check host and port in the database URL, and "
            "that the server is running."
        )
        return _failure(none, StorageUnavailableError(text), error)
    if isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError):
        text = f"The connection to {where} broke while it was being made. Is there a PostgreSQL server?"
        return _failure(none, StorageUnavailableError(text), error)
    raise error


def no_connection_free(where: str, size: int) -> Failure:
    """Return the failure of a call for which none of its loop's connections became free."""
    text = (
        f"All {size} connections to {where} of this event loop were in use. Is a call stuck, or the database "
        "slow? Otherwise raise pool_size (CORAIL_DB_POOL_SIZE)."
    )
    return Failure(Effect.NONE, StorageTimeoutError(text), server_answered=True)


def from_statement(error: BaseException, where: str) -> Failure:
    """Judge a failure of a statement that was sent, or may have been."""
    if isinstance(error.__cause__, asyncpg.PostgresError) and str(error.__cause__).startswith(_NEVER_SENT_ON):
        text = (
            f"PgBouncer had no server connection for {where} in time (query_wait_timeout). Nothing was "
            "changed. Is the server down, or slow? Otherwise raise default_pool_size of PgBouncer."
        )
        return _failure(Effect.NONE, StorageTimeoutError(text), error, answered=True)
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        return _statement_refused(_tellable(error, state), state, where)
    if isinstance(error, TimeoutError):
        text = f"{where} did not answer in time. Is it overloaded, or the network to it gone?"
        return _failure(Effect.UNKNOWN, StorageTimeoutError(text), error)
    # InternalClientError is how asyncpg now and then reports a connection lost in mid-protocol.
    if isinstance(error, OSError | asyncpg.InterfaceError | asyncpg.InternalClientError):
        text = f"The connection to {where} was lost. Did the server restart, or the network fail?"
        return _failure(Effect.UNKNOWN, StorageUnavailableError(text), error)
    raise error


# PgBouncer's words for: the statement waited there and was never sent on. asyncpg makes them the cause.
_NEVER_SENT_ON: Final = ("query_wait_timeout", "server login has been failing")
# PgBouncer says everything with 08P01, what it passes on from its server too; these would not pass.
_POOLER_REFUSALS: Final = {
    "unsupported startup parameter": "42704",
    "authentication failed": "28P01",
    "no such user": "28P01",
    'role "': "28P01",
    "no such database": "3D000",
    "does not exist": "3D000",
}


def _connect_refused(error: BaseException, state: str, where: str, settings: Sequence[str]) -> Failure:
    if state == "08P01":
        text = str(error)
        state = next((known for part, known in _POOLER_REFUSALS.items() if part in text), state)
    if state in {"28P01", "28000"}:
        text = (
            f"{where} rejects the user name or password. Correct them in the database URL; reserved "
            "characters in a password must be percent-encoded."
        )
    elif state == "3D000":
        text = f"The database {where} does not exist. CREATE DATABASE it, or correct the database URL."
    elif state in {"42704", "22023"}:
        text = (
            f"{where} refuses a parameter of the database URL ({state}). It was handed "
            f"{', '.join(settings)} as settings: remove what is none of PostgreSQL's. Behind PgBouncer only "
            "application_name is allowed."
        )
    elif state == "42501":
        text = f"The user of the database URL may not connect to {where}. GRANT CONNECT ON DATABASE to it."
    elif state == "08P01":
        text = (
            f"The pooler at {where} takes no connection now. Is its server down? Otherwise raise "
            "max_client_conn of PgBouncer, or lower pool_size or the number of replicas."
        )
        return _failure(Effect.NONE, StorageUnavailableError(text), error, state, answered=True)
    elif state.startswith("08"):
        text = (
            f"Cannot reach {where}: what accepts connections there closes them at once. Is it a proxy "
            "without a server behind it?"
        )
        return _failure(Effect.NONE, StorageUnavailableError(text), error, state)
    elif state.startswith("53"):
        text = (
            f"{where} has no connection left ({state}). Lower pool_size or the number of replicas, raise "
            "the server's max_connections, or put PgBouncer in front."
        )
        return _failure(Effect.NONE, StorageUnavailableError(text), error, state, answered=True)
    else:
        text = (
            f"{where} is not accepting connections ({state}): it is starting, stopping or recovering. Try "
            "again in a moment; if it stays so, its log says why."
        )
        return _failure(Effect.NONE, StorageUnavailableError(text), error, state, answered=True)
    return _failure(Effect.REFUSED, StorageConfigurationError(text), error, state, answered=True)


_REPEATS_DATA = ("22", "23", "54")
# The session went away around the statement, perhaps while its commit waited for a standby.
_SEVERED = ("08", "57P01", "57P02", "57P03", "57P05", "25P03", "25P04")
NOT_PREPARED = frozenset({"08P01", "26000", "42P05"})
"""A pooler has put a prepared statement and its use on different server connections; not executed."""
# Not executed and worth repeating: victims of serialisation and deadlock, a full server, and the above.
_REPEATABLE = NOT_PREPARED | {"40001", "40P01", "53300"}
TABLES_CHANGED = frozenset({"3F000", "42P01", "42703", "42804", "42883"})
TABLES_UPGRADED = frozenset({"42P01", "42703", "23502", "23514"})
"""What the statements for older tables meet when the last step of an upgrade was taken meanwhile."""


def _tellable(error: asyncpg.PostgresError, state: str) -> BaseException | None:
    """Return the error as a cause, or None where its text may repeat content (C-31)."""
    # A DETAIL repeats the row, and what a function of the administrator's raises can be anything.
    context = getattr(error, "context", None)
    return None if state.startswith(_REPEATS_DATA) or context is not None else error


def _statement_refused(cause: BaseException | None, state: str, where: str) -> Failure:
    if state.startswith(_SEVERED) and state not in NOT_PREPARED:
        text = f"The connection to {where} was lost ({state}). Was the server, or this session, stopped?"
        return _failure(Effect.UNKNOWN, StorageUnavailableError(text), cause, state)
    if state == "25006":
        text = (
            f"{where} is read-only: a standby, or a demoted primary. Point the database URL at the primary."
        )
        return _failure(Effect.NONE, StorageUnavailableError(text), cause, state, answered=True)
    if state == "55P03":
        text = f"In {where} another transaction holds the conversation. Nothing was changed; try again."
        return _failure(Effect.NONE, StorageTimeoutError(text), cause, state, answered=True)
    if state in _REPEATABLE:
        text = f"{where} could not run the statement now ({state}). Nothing was changed; try again."
        return _failure(Effect.NONE, StorageUnavailableError(text), cause, state, answered=True)
    return _failure(Effect.REFUSED, _final(state, where), cause, state, answered=True)


def _final(state: str, where: str) -> StorageError:
    if state == "57014":
        text = (
            f"{where} cancelled the statement (statement_timeout, or an administrator). Nothing was changed. "
            "Is it overloaded, or a table locked? Otherwise raise statement_timeout for this user."
        )
        return StorageTimeoutError(text)
    if state == "42501":
        text = (
            f"The user of the database URL lacks rights on the tables in {where}. As their owner: GRANT "
            "USAGE ON SCHEMA and GRANT SELECT, INSERT, UPDATE, DELETE ON conversations, messages to it."
        )
        return StorageConfigurationError(text)
    if state in TABLES_CHANGED:
        text = (
            f"The tables in {where} are gone or have changed ({state}). Were they dropped, or is another "
            "release at work? They are looked at again on the next call."
        )
        return StorageSchemaError(text)
    if state == "53100":
        text = (
            f"The disk of {where} is full (53100). Nothing was changed. Free or add space there, then repeat."
        )
        return StorageUnavailableError(text)
    if state.startswith("53"):
        text = (
            f"{where} is out of memory or at another limit of its own ({state}). Nothing was changed. Lower "
            "the load on it or raise its limits, then repeat."
        )
        return StorageUnavailableError(text)
    if state.startswith(_REPEATS_DATA):
        return InvalidInputError(
            f"{where} refused the data ({state}). Nothing was stored. A constraint, trigger or index that "
            "somebody added may be the reason; the server's log says which."
        )
    return StorageError(f"{where} refused the statement ({state}). Nothing was changed. Its log says why.")


def undecided(error: StorageError) -> StorageError:
    """Return the error for a change that may have been made before the reply to it was lost."""
    lost = StorageUnavailableError(
        f"{error} The change may or may not have been made; repeating it is harmless."
    )
    lost.__cause__ = error.__cause__
    return lost


def _network_reason(error: OSError) -> str:
    # Never the error's own text: a mistyped URL can put a piece of the password where the host belongs.
    if isinstance(error, socket.gaierror):
        return "the host name is unknown"
    if isinstance(error, FileNotFoundError):
        return "there is no such socket"
    # asyncio folds the failures of several addresses into a plain OSError.
    if isinstance(error, ConnectionRefusedError) or "Connect call failed" in str(error):
        return "connection refused"
    return type(error).__name__


def _failure(
    effect: Effect,
    translated: StorageError,
    cause: BaseException | None,
    state: str | None = None,
    *,
    answered: bool = False,
) -> Failure:
    translated.__cause__ = cause
    return Failure(effect, translated, state, answered)
