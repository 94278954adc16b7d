"""What keeps a storage from its database: the right class, quickly, with the remedy and no password."""

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator, Callable
from time import monotonic

import asyncpg
import pytest

from corail.storage.errors import (
    StorageConfigurationError,
    StorageError,
    StorageTimeoutError,
    StorageUnavailableError,
)
from corail.storage.postgresql import PostgreSQLStorage
from tests.postgresql.addresses import (
    closed_port,
    password_of,
    with_database,
    with_host,
    with_parameters,
    with_user,
)
from tests.postgresql.fault_proxy import FaultProxy
from tests.postgresql.observing import Observer

pytestmark = pytest.mark.anyio

QUICK = 8.0
"""Seconds within which a first use that cannot work has to say so, name resolution included."""
SECRET = "zq$sesame 31337"  # noqa: S105 - of no account


@pytest.fixture
def seen(caplog: pytest.LogCaptureFixture) -> Callable[[BaseException], str]:
    """Everything anybody could see of an error: texts, reprs, tracebacks with causes, logs."""
    caplog.set_level(logging.DEBUG)

    def show(error: BaseException) -> str:
        parts = [*traceback.format_exception(error), caplog.text]
        link: BaseException | None = error
        while link is not None:
            parts += [str(link), repr(link), repr(link.args), repr(vars(link))]
            # Followed by some loggers even where it is suppressed.
            link = link.__cause__ or link.__context__
        return "\n".join(parts)

    return show


async def refusal(storage: PostgreSQLStorage) -> StorageError:
    """Use the storage for the first time, in every way; return the error, the same each time."""
    calls: list[Callable[[], object]] = [
        storage.list_conversations,
        lambda: storage.append_message("c", "user", "x"),
        lambda: storage.get_messages("c"),
        lambda: storage.update_title("c", "x"),
    ]
    errors: list[StorageError] = []
    for call in calls:
        started = monotonic()
        with pytest.raises(StorageError) as caught:
            await call()  # type: ignore[misc]
        assert monotonic() - started < QUICK
        errors.append(caught.value)
    assert {(type(error), str(error)) for error in errors} == {(type(errors[0]), str(errors[0]))}
    report = await storage.check()
    assert (report["ok"], report["writable"], report["problem"]) == (False, None, str(errors[0]))
    return errors[1]


async def test_a_wrong_password(
    open_storage: Callable[..., PostgreSQLStorage],
    url: str,
    role: str,
    seen: Callable[[BaseException], str],
) -> None:
    error = await refusal(open_storage(with_user(url, role, SECRET)))
    assert type(error) is StorageConfigurationError
    assert "user name or password" in str(error)
    assert "percent-encoded" in str(error)
    assert SECRET not in seen(error)
    assert "sesame" not in seen(error)


async def test_an_unknown_role(
    open_storage: Callable[..., PostgreSQLStorage], url: str, seen: Callable[[BaseException], str]
) -> None:
    error = await refusal(open_storage(with_user(url, "nobody_of_that_name", SECRET)))
    assert type(error) is StorageConfigurationError
    assert "sesame" not in seen(error)


async def test_an_unknown_host(
    open_storage: Callable[..., PostgreSQLStorage], url: str, seen: Callable[[BaseException], str]
) -> None:
    error = await refusal(open_storage(with_host(with_user(url, "agent", SECRET), "nowhere.invalid", 5432)))
    # A resolver that does not answer is told apart from one that answers "unknown".
    assert type(error) in {StorageUnavailableError, StorageTimeoutError}
    assert "nowhere.invalid:5432" in str(error)
    assert "sesame" not in seen(error)


async def test_a_missing_database(
    open_storage: Callable[..., PostgreSQLStorage], url: str, seen: Callable[[BaseException], str]
) -> None:
    error = await refusal(open_storage(with_database(url, "no_such_database")))
    assert type(error) is StorageConfigurationError
    assert "no_such_database does not exist. CREATE DATABASE it" in str(error)
    assert password_of(url) not in seen(error)


async def test_a_server_that_is_down(
    open_storage: Callable[..., PostgreSQLStorage], url: str, seen: Callable[[BaseException], str]
) -> None:
    port = closed_port()
    error = await refusal(open_storage(with_host(with_user(url, "agent", SECRET), "127.0.0.1", port)))
    assert type(error) is StorageUnavailableError
    assert f"127.0.0.1:{port}" in str(error)
    assert "connection refused" in str(error)
    assert "sesame" not in seen(error)


async def test_every_host_of_several_down(
    open_storage: Callable[..., PostgreSQLStorage], seen: Callable[[BaseException], str]
) -> None:
    first, second = closed_port(), closed_port()
    error = await refusal(
        open_storage(f"postgresql://agent:zqsesame@127.0.0.1:{first},localhost:{second}/db?sslmode=disable")
    )
    assert type(error) is StorageUnavailableError
    assert f"127.0.0.1:{first},localhost:{second}" in str(error)
    assert "sesame" not in seen(error)


async def test_a_missing_socket(
    open_storage: Callable[..., PostgreSQLStorage], seen: Callable[[BaseException], str]
) -> None:
    error = await refusal(open_storage("postgresql://agent:zqsesame@/db?host=/no/such/folder"))
    assert type(error) is StorageUnavailableError
    assert "/no/such/folder" in str(error)
    assert "no such socket" in str(error)
    assert "sesame" not in seen(error)


async def test_a_server_that_never_answers(
    open_storage: Callable[..., PostgreSQLStorage], proxy: FaultProxy, seen: Callable[[BaseException], str]
) -> None:
    proxy.black_hole()
    error = await refusal(open_storage(with_parameters(proxy.url, connect_timeout="0.2")))
    assert type(error) is StorageTimeoutError
    assert "in time" in str(error)
    assert password_of(proxy.url) not in seen(error)
    await proxy.heal()
    await open_storage(proxy.url).append_message("c", "user", "x")


@pytest.fixture
async def rude() -> AsyncIterator[int]:
    """The port of something that accepts connections and closes them at once, as a proxy without backends."""
    closers: set[asyncio.Task[None]] = set()

    async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        task = asyncio.current_task()
        if task is not None:
            closers.add(task)

    server = await asyncio.start_server(close, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


@pytest.mark.parametrize("sslmode", ["disable", "prefer"])
async def test_something_that_accepts_and_closes_is_told_as_quickly(
    open_storage: Callable[..., PostgreSQLStorage],
    rude: int,
    sslmode: str,
    seen: Callable[[BaseException], str],
) -> None:
    error = await refusal(open_storage(f"postgresql://agent:zqsesame@127.0.0.1:{rude}/db?sslmode={sslmode}"))
    assert type(error) is StorageUnavailableError
    assert "sesame" not in seen(error)


async def test_behind_something_that_accepts_and_closes_the_next_host_is_tried(
    open_storage: Callable[..., PostgreSQLStorage], url: str, rude: int
) -> None:
    host, _, port = url.partition("@")[2].partition("/")[0].partition(":")
    several = url.replace(f"@{host}:{port}", f"@127.0.0.1:{rude},{host}:{port}")
    for sslmode in ("disable", "prefer"):
        await open_storage(with_parameters(several, sslmode=sslmode)).append_message("c", "user", "x")


async def test_tls_that_the_server_does_not_speak(
    open_storage: Callable[..., PostgreSQLStorage],
    observer: Observer,
    url: str,
    seen: Callable[[BaseException], str],
) -> None:
    if await observer.fetchval("SHOW ssl") == "on":
        pytest.skip("this server speaks TLS")
    error = await refusal(open_storage(with_parameters(url, sslmode="require")))
    assert type(error) is StorageConfigurationError
    assert "refuses TLS" in str(error)
    assert password_of(url) not in seen(error)


@pytest.mark.parametrize(
    "query",
    [
        {"sslmode": "verify-full", "sslrootcert": "/no/such/file"},
        {"sslmode": "whatever"},
        {"target_session_attrs": "whatever"},
        {"sslmode": "require", "ssl_min_protocol_version": "whatever"},
    ],
)
async def test_what_asyncpg_cannot_do_is_a_setting_to_correct(
    open_storage: Callable[..., PostgreSQLStorage],
    url: str,
    query: dict[str, str],
    seen: Callable[[BaseException], str],
) -> None:
    error = await refusal(open_storage(with_parameters(url, **query)))
    assert type(error) is StorageConfigurationError
    assert password_of(url) not in seen(error)


async def test_an_unknown_parameter_is_named(
    open_storage: Callable[..., PostgreSQLStorage], url: str, seen: Callable[[BaseException], str]
) -> None:
    error = await refusal(open_storage(with_parameters(url, no_such_setting="1")))
    assert type(error) is StorageConfigurationError
    assert "no_such_setting" in str(error)
    assert password_of(url) not in seen(error)


async def test_no_server_has_the_wanted_role(
    open_storage: Callable[..., PostgreSQLStorage], url: str, seen: Callable[[BaseException], str]
) -> None:
    storage = open_storage(with_parameters(url, target_session_attrs="standby"), deadline=0.5)
    with pytest.raises(StorageUnavailableError, match="target_session_attrs") as caught:
        await storage.list_conversations()
    assert password_of(url) not in seen(caught.value)


async def test_an_attempt_that_the_deadline_cuts_short_does_not_hide_why_the_others_failed(
    open_storage: Callable[..., PostgreSQLStorage], proxy: FaultProxy
) -> None:
    made = 0

    def hang_later() -> None:
        nonlocal made
        made += 1
        if made == 2:
            proxy.black_hole()

    proxy.on_connection = hang_later
    for call in ("read", "append"):
        made = 0
        await proxy.heal()
        storage = open_storage(with_parameters(proxy.url, target_session_attrs="standby"), deadline=0.4)
        with pytest.raises(StorageUnavailableError, match="target_session_attrs"):
            await (storage.get_messages("c") if call == "read" else storage.append_message("c", "user", "x"))
        assert made >= 2


async def test_too_many_connections_are_waited_for_and_recovered_from(
    open_storage: Callable[..., PostgreSQLStorage],
    observer: Observer,
    url: str,
    role: str,
    schema: str,
    seen: Callable[[BaseException], str],
) -> None:
    await open_storage().create_conversation("c")
    await observer.execute(f"ALTER ROLE {role} CONNECTION LIMIT 1")
    await observer.execute(f"GRANT USAGE ON SCHEMA {schema} TO {role}")
    await observer.execute(f"GRANT SELECT ON conversations, messages TO {role}")
    holder = await asyncpg.connect(with_user(url, role, role))
    storage = open_storage(with_user(url, role, role), deadline=0.4)
    for _ in range(2):
        started = monotonic()
        with pytest.raises(
            StorageUnavailableError, match=r"no connection left \(53300\).*pool_size"
        ) as caught:
            await storage.list_conversations()
        assert monotonic() - started < 3
        assert password_of(url) not in seen(caught.value)
    report = await storage.check()
    assert not report["ok"]
    await holder.close()
    patient = open_storage(with_user(url, role, role), deadline=10)
    assert len(await patient.list_conversations()) == 1


async def test_a_full_server_is_waited_for(
    open_storage: Callable[..., PostgreSQLStorage], observer: Observer, url: str, role: str, schema: str
) -> None:
    await open_storage().create_conversation("c")
    await observer.execute(f"ALTER ROLE {role} CONNECTION LIMIT 1")
    await observer.execute(f"GRANT USAGE ON SCHEMA {schema} TO {role}")
    await observer.execute(f"GRANT SELECT ON conversations TO {role}")
    holder = await asyncpg.connect(with_user(url, role, role))
    waiting = asyncio.create_task(open_storage(with_user(url, role, role)).list_conversations())
    refused = "SELECT count(*) FROM pg_stat_activity WHERE usename = $1"
    assert await observer.fetchval(refused, role) == 1
    await holder.close()
    assert len(await waiting) == 1
