"""Every error of the server or the network, however rare, says what to do next and repeats nothing."""

import re

import asyncpg
import pytest

from corail.storage.errors import StorageError
from corail.storage.postgresql._failures import from_connecting, from_statement

WHERE = "PostgreSQL at db-1:5432/app"
SECRET = "zqsecret"  # noqa: S105 - of no account
NEXT_STEP = re.compile(r"\?|Check|Free|raise|Point|GRANT|again|log says|Lower|Correct|CREATE|remove")
STATEMENTS = (
    "08006 22021 23514 25006 25P03 26000 3F000 40001 40P01 42501 42P01 53100 53200 53300 53400 54000 55P03 "
    "57014 57P01 57P02 57P05 58030 XX000 XX001 ZZ001"
)
CONNECTIONS = "08004 08006 08P01 22023 28000 28P01 3D000 42501 42704 53300 57P03 XX000"
NETWORK = [
    ConnectionResetError(SECRET),
    ConnectionRefusedError(SECRET),
    TimeoutError(SECRET),
    asyncpg.InterfaceError(SECRET),
    asyncpg.InternalClientError(SECRET),
]


def server_error(state: str) -> asyncpg.PostgresError:
    error: asyncpg.PostgresError = asyncpg.PostgresError.new({"C": state, "M": SECRET, "S": "ERROR"})
    return error


def check(error: StorageError) -> None:
    text = str(error)
    assert NEXT_STEP.search(text.replace(WHERE, "")), text
    assert "db-1:5432/app" in text
    assert SECRET not in text


@pytest.mark.parametrize("state", STATEMENTS.split())
def test_a_refused_statement_says_what_to_do(state: str) -> None:
    error = from_statement(server_error(state), WHERE).error
    check(error)
    assert state in str(error) or state in {"25006", "42501", "55P03", "57014"}


@pytest.mark.parametrize("state", CONNECTIONS.split())
def test_a_refused_connection_says_what_to_do(state: str) -> None:
    check(from_connecting(server_error(state), WHERE, ["work_mem"]).error)


@pytest.mark.parametrize("error", NETWORK, ids=lambda error: type(error).__name__)
def test_a_failing_network_says_what_to_do(error: Exception) -> None:
    check(from_statement(error, WHERE).error)
    check(from_connecting(error, WHERE).error)
