"""Parameters of the database URL that a server or this machine cannot honour are told by name."""

from pathlib import Path

import pytest

from corail.storage.errors import StorageConfigurationError
from corail.storage.postgresql import PostgreSQLStorage

pytestmark = pytest.mark.anyio


async def test_a_missing_certificate_file_is_not_called_a_network_fault(
    database_url: str, tmp_path: Path
) -> None:
    url = f"{database_url}?sslmode=verify-full&sslrootcert={tmp_path / 'missing.pem'}"
    async with PostgreSQLStorage(url) as storage:
        with pytest.raises(StorageConfigurationError, match="sslrootcert"):
            await storage.conversation_exists("c")


async def test_the_certificates_of_the_system_are_found(database_url: str) -> None:
    async with PostgreSQLStorage(f"{database_url}?sslmode=prefer&sslrootcert=system") as storage:
        assert not await storage.conversation_exists("c")


async def test_a_parameter_the_server_does_not_know_is_named(database_url: str) -> None:
    async with PostgreSQLStorage(f"{database_url}?no_such_setting=1") as storage:
        with pytest.raises(StorageConfigurationError, match="no_such_setting"):
            await storage.conversation_exists("c")


@pytest.mark.parametrize("parameter", ["channel_binding=require", "require_auth=scram-sha-256"])
async def test_security_that_cannot_be_given_is_warned_of(database_url: str, parameter: str) -> None:
    async with PostgreSQLStorage(f"{database_url}?{parameter}") as storage:
        report = await storage.check()
    assert report["ok"]
    assert [parameter.partition("=")[0] in warning for warning in report["warnings"]] == [True]
