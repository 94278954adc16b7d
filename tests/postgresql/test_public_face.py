"""What a user sees before the first call: construction, options, the factory, the repr."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest

from corail.storage import capabilities
from corail.storage.errors import InvalidInputError, StorageClosedError, StorageConfigurationError
from corail.storage.factory import StorageFactory
from corail.storage.port import StoragePort
from corail.storage.postgresql import PostgreSQLStorage, __all__
from tests.postgresql.addresses import closed_port, with_parameters

NOWHERE = "postgresql://agent:sesame@nowhere.invalid/db"
HELLO = {"role": "user", "content": "hello"}


def test_the_package_shows_two_names() -> None:
    assert sorted(__all__) == ["PostgreSQLStorage", "schema_sql"]
    assert issubclass(PostgreSQLStorage, StoragePort)


@pytest.mark.anyio
async def test_without_arguments_the_environment_decides(
    monkeypatch: pytest.MonkeyPatch, url: str, schema: str
) -> None:
    monkeypatch.setenv("CORAIL_DATABASE_URL", url)
    monkeypatch.setenv("CORAIL_DB_SCHEMA", schema)
    monkeypatch.setenv("CORAIL_DB_POOL_SIZE", "3")
    async with PostgreSQLStorage() as storage:
        await storage.append_message("c", "user", "hello")
        assert (await storage.check()).get("pool", {}).get("limit") == 3
    async with PostgreSQLStorage(url, schema=schema) as other:
        assert await other.get_messages("c") == [HELLO]


@pytest.mark.anyio
async def test_the_factory_makes_one_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, url: str, schema: str
) -> None:
    monkeypatch.setenv("CORAIL_STORAGE", "postgresql")
    monkeypatch.setenv("CORAIL_DATABASE_URL", url)
    assert "postgresql" in StorageFactory.available()
    for storage in (
        StorageFactory.create(schema=schema),
        StorageFactory.create("postgresql", dsn=url, schema=schema),
    ):
        assert isinstance(storage, PostgreSQLStorage)
        async with storage:
            await storage.append_message("c", "user", "hello")
            assert await storage.conversation_exists("c")


@pytest.mark.anyio
async def test_the_scheme_of_sqlalchemy_works_too(url: str, schema: str) -> None:
    for scheme in ("postgres", "postgresql+asyncpg", "POSTGRESQL"):
        async with PostgreSQLStorage(f"{scheme}://{url.partition('://')[2]}", schema=schema) as storage:
            await storage.append_message("c", "user", scheme)
            assert await storage.conversation_exists("c")


def test_constructing_opens_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("constructing touched the network")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(asyncio, "get_running_loop", refuse)
    monkeypatch.setattr(asyncpg, "connect", refuse)
    monkeypatch.setattr(asyncpg, "create_pool", refuse)
    PostgreSQLStorage(NOWHERE)
    StorageFactory.create("postgresql", dsn=NOWHERE)


def test_the_repr_says_where_and_nothing_secret() -> None:
    storage = PostgreSQLStorage(
        "postgresql://agent:sesame@a.example:5433,b.example/chats?sslpassword=sesame2", schema="tenant"
    )
    assert repr(storage) == (
        "<PostgreSQLStorage PostgreSQL at a.example:5433,b.example:5432/chats, schema='tenant'>"
    )


def test_every_promise_is_made() -> None:
    assert PostgreSQLStorage(NOWHERE).capabilities == capabilities.ALL


@pytest.mark.anyio
async def test_with_a_given_pool_all_but_many_loops_are_promised(url: str) -> None:
    async with asyncpg.create_pool(url, min_size=0) as pool:
        storage = PostgreSQLStorage(pool=pool)
        assert storage.capabilities == capabilities.ALL - {capabilities.MULTI_LOOP}
        assert "given pool" in repr(storage)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"dsn": b"postgresql://h/d"}, "dsn"),
        ({"dsn": 5}, "dsn"),
        ({"schema": 5}, "schema"),
        ({"schema": b"s"}, "schema"),
        ({"pool_size": "5"}, "pool_size"),
        ({"pool_size": 5.0}, "pool_size"),
        ({"pool_size": True}, "pool_size"),
        ({"connect_timeout": "5"}, "connect_timeout"),
        ({"acquire_timeout": "5"}, "acquire_timeout"),
        ({"command_timeout": True}, "command_timeout"),
        ({"deadline": "soon"}, "deadline"),
        ({"deadline": None}, "deadline"),
        ({"close_timeout": []}, "close_timeout"),
        ({"max_content_bytes": "1"}, "max_content_bytes"),
        ({"max_content_bytes": 1.5}, "max_content_bytes"),
        ({"auto_create": "false"}, "auto_create"),
        ({"auto_create": None}, "auto_create"),
        ({"dsn": None, "pool": "postgresql://h/d"}, "pool"),
        ({"dsn": None, "pool": object()}, "pool"),
    ],
)
def test_an_option_of_the_wrong_type_is_a_type_error_that_names_it(
    options: dict[str, Any], named: str
) -> None:
    every: dict[str, Any] = {"dsn": NOWHERE, **options}
    with pytest.raises(TypeError, match=named):
        PostgreSQLStorage(**every)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"pool_size": 0}, "pool_size"),
        ({"pool_size": 1001}, "pool_size"),
        ({"connect_timeout": 0}, "connect_timeout"),
        ({"acquire_timeout": -1}, "acquire_timeout"),
        ({"command_timeout": float("nan")}, "command_timeout"),
        ({"deadline": float("inf")}, "deadline"),
        ({"close_timeout": 0.0}, "close_timeout"),
        ({"max_content_bytes": 0}, "max_content_bytes"),
        ({"max_content_bytes": 2**40}, "max_content_bytes"),
        ({"schema": ""}, "schema"),
        ({"schema": "ä" * 32}, "schema"),
        ({"schema": "a\x00b"}, "schema"),
        ({"schema": "\ud800"}, "schema"),
    ],
)
def test_an_option_out_of_range_is_a_configuration_error_that_names_it(
    options: dict[str, Any], named: str
) -> None:
    with pytest.raises(StorageConfigurationError, match=named):
        PostgreSQLStorage(NOWHERE, **options)


@pytest.mark.parametrize("text", ["0", "-1", "1001", "many", "5.0", "²", "9" * 5000])
def test_a_pool_size_that_is_none_in_the_environment_is_refused(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("CORAIL_DB_POOL_SIZE", text)
    with pytest.raises(StorageConfigurationError, match="CORAIL_DB_POOL_SIZE"):
        PostgreSQLStorage(NOWHERE)


@pytest.mark.anyio
async def test_a_pool_and_a_url_together_are_refused(url: str) -> None:
    async with asyncpg.create_pool(url, min_size=0) as pool:
        with pytest.raises(StorageConfigurationError, match="either"):
            PostgreSQLStorage(url, pool=pool)


WRONG: list[tuple[Callable[[PostgreSQLStorage], Any], type[Exception]]] = [
    (lambda s: s.get_messages(5), TypeError),  # type: ignore[arg-type]
    (lambda s: s.append_message("c", "user", b"x"), TypeError),  # type: ignore[arg-type]
    (lambda s: s.append_message("", "user", "x"), InvalidInputError),
    (lambda s: s.append_message("x" * 256, "user", "x"), InvalidInputError),
    (lambda s: s.append_message("c", "", "x"), InvalidInputError),
    (lambda s: s.append_message("c", "r" * 65, "x"), InvalidInputError),
    (lambda s: s.append_message("c", "user", "x" * (16 * 2**20 + 1)), InvalidInputError),
    (lambda s: s.append_messages("c", [{"role": "user"}]), InvalidInputError),
    (
        lambda s: s.append_messages("c", [HELLO], idempotency_key=""),
        InvalidInputError,
    ),
    (lambda s: s.append_messages("c", "text"), TypeError),  # type: ignore[arg-type]
    (lambda s: s.create_conversation("c", {"x": float("nan")}), InvalidInputError),
    (lambda s: s.create_conversation("c", []), TypeError),  # type: ignore[arg-type]
    (lambda s: s.update_title("c", None), TypeError),  # type: ignore[arg-type]
    (lambda s: s.get_recent_messages("c", -1), InvalidInputError),
    (lambda s: s.get_recent_messages("c", "1"), TypeError),  # type: ignore[arg-type]
    (lambda s: s.page_messages("c", limit=0), InvalidInputError),
    (lambda s: s.page_messages("c", limit=1001), InvalidInputError),
    (lambda s: s.page_messages("c", after="x"), InvalidInputError),
    (lambda s: s.page_messages("c", after="-1"), InvalidInputError),
    (lambda s: s.page_messages("c", after="²"), InvalidInputError),
    (lambda s: s.page_messages("c", after="9" * 19), InvalidInputError),
    (lambda s: s.page_messages("c", after="1" * 5000), InvalidInputError),
    (lambda s: s.page_messages("", after="x"), InvalidInputError),
    (lambda s: s.page_conversations(after="x"), InvalidInputError),
    (lambda s: s.page_conversations(after="MDAwMS0wMS0wMVQwMDowMDowMCsyMzo1OQph"), InvalidInputError),
    (lambda s: s.page_conversations(after=5), TypeError),  # type: ignore[arg-type]
    (lambda s: s.delete_conversation(None), TypeError),  # type: ignore[arg-type]
    (lambda s: s.conversation_exists(b"c"), TypeError),  # type: ignore[arg-type]
    (lambda s: s.get_conversation(1), TypeError),  # type: ignore[arg-type]
]


@pytest.mark.anyio
@pytest.mark.parametrize("index", range(len(WRONG)))
async def test_wrong_arguments_are_refused_before_any_connection(index: int) -> None:
    call, error = WRONG[index]
    dsn = with_parameters(f"postgresql://agent:sesame@127.0.0.1:{closed_port()}/db", connect_timeout="1")
    storage = PostgreSQLStorage(dsn)
    with pytest.raises(error) as caught:
        await call(storage)
    assert "xxxx" not in str(caught.value)
    await storage.aclose()


@pytest.mark.anyio
async def test_looking_up_what_cannot_exist_connects_to_nothing() -> None:
    storage = PostgreSQLStorage(f"postgresql://agent:sesame@127.0.0.1:{closed_port()}/db")
    for impossible in ("", "x" * 256):
        assert await storage.get_messages(impossible) == []
        assert await storage.get_recent_messages(impossible, 5) == []
        assert await storage.page_messages(impossible) == {"items": [], "next": None}
        assert not await storage.conversation_exists(impossible)
        assert await storage.get_conversation(impossible) is None
        await storage.update_title(impossible, "x")
        await storage.delete_conversation(impossible)
    await storage.append_messages("c", [])
    await storage.aclose()


CALLS: dict[str, Callable[[PostgreSQLStorage], Any]] = {
    "get_messages": lambda s: s.get_messages("c"),
    "get_messages of an impossible id": lambda s: s.get_messages(""),
    "get_recent_messages": lambda s: s.get_recent_messages("c", 1),
    "get_recent_messages, none": lambda s: s.get_recent_messages("c", 0),
    "append_message": lambda s: s.append_message("c", "user", "x"),
    "append_messages": lambda s: s.append_messages("c", [HELLO], idempotency_key="k"),
    "append_messages, none": lambda s: s.append_messages("c", []),
    "create_conversation": lambda s: s.create_conversation("c"),
    "conversation_exists": lambda s: s.conversation_exists("c"),
    "conversation_exists of an impossible id": lambda s: s.conversation_exists(""),
    "get_conversation": lambda s: s.get_conversation("c"),
    "list_conversations": lambda s: s.list_conversations(),
    "page_conversations": lambda s: s.page_conversations(),
    "page_messages": lambda s: s.page_messages("c"),
    "page_messages of an impossible id": lambda s: s.page_messages(""),
    "update_title": lambda s: s.update_title("c", "t"),
    "update_title of an impossible id": lambda s: s.update_title("", "t"),
    "delete_conversation": lambda s: s.delete_conversation("c"),
    "delete_conversation of an impossible id": lambda s: s.delete_conversation(""),
    "check": lambda s: s.check(),
}


@pytest.mark.anyio
@pytest.mark.parametrize("name", sorted(CALLS))
@pytest.mark.parametrize("used", [True, False], ids=["used before", "never used"])
async def test_after_closing_every_call_says_so(storage: PostgreSQLStorage, name: str, *, used: bool) -> None:
    if used:
        await storage.append_message("c", "user", "x")
    await storage.aclose()
    await storage.aclose()
    with pytest.raises(StorageClosedError, match="closed"):
        await CALLS[name](storage)


@pytest.mark.anyio
async def test_a_given_pool_is_refused_after_closing_too(url: str, schema: str) -> None:
    async with asyncpg.create_pool(url, min_size=0) as pool:
        storage = PostgreSQLStorage(pool=pool, schema=schema)
        await storage.append_message("c", "user", "x")
        await storage.aclose()
        for name, call in CALLS.items():
            with pytest.raises(StorageClosedError):
                await call(storage)
            assert name
