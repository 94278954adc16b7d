"""Objects share a store by its name; options are checked, and closing ends one object only."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest

from corail.storage import capabilities
from corail.storage.errors import InvalidInputError, StorageClosedError, StorageConfigurationError
from corail.storage.factory import StorageFactory
from corail.storage.memory import MemoryStorage
from corail.storage.port import StoragePort

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def _no_variable(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction] - pytest uses it
    monkeypatch.delenv("CORAIL_MEMORY_STORE", raising=False)


@pytest.fixture
def name() -> str:
    # Named stores live as long as the process, so no two tests may share one.
    return f"store {uuid4()}"


async def test_objects_of_one_name_share_and_others_do_not(name: str) -> None:
    await MemoryStorage(store=name).append_message("c", "user", "x")
    assert await MemoryStorage(store=name).get_messages("c") == [{"role": "user", "content": "x"}]
    assert not await MemoryStorage(store=name + "!").conversation_exists("c")
    assert not await MemoryStorage().conversation_exists("c")


async def test_objects_without_a_name_are_apart() -> None:
    one, other = MemoryStorage(), MemoryStorage()
    await one.create_conversation("c")
    assert not await other.conversation_exists("c")


async def test_the_variable_names_the_store(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORAIL_MEMORY_STORE", f"  {name} ")
    one, other = StorageFactory.create("memory"), MemoryStorage()
    await one.create_conversation("c")
    assert await other.conversation_exists("c")
    assert await MemoryStorage(store=name).conversation_exists("c")
    assert not await MemoryStorage(store=name + "!").conversation_exists("c")
    assert not await MemoryStorage(store="").conversation_exists("c")


@pytest.mark.parametrize("value", ["", "  ", "\t\n"])
async def test_a_blank_name_is_none(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORAIL_MEMORY_STORE", value)
    await MemoryStorage().create_conversation("c")
    await MemoryStorage(store=value).create_conversation("c")
    assert not await MemoryStorage().conversation_exists("c")
    assert not await MemoryStorage(store=value).conversation_exists("c")


def test_two_bounds_for_one_store_are_refused_with_both(name: str) -> None:
    MemoryStorage(store=name, max_conversations=10)
    MemoryStorage(store=name, max_conversations=10)
    with pytest.raises(StorageConfigurationError, match=r"max_conversations=10; 20 was given"):
        MemoryStorage(store=name, max_conversations=20)
    assert repr(MemoryStorage(store=name)) == f"MemoryStorage(store={name!r}, max_conversations=10)"


def test_a_store_without_a_bound_gets_none_later(name: str) -> None:
    MemoryStorage(store=name)
    with pytest.raises(StorageConfigurationError, match=r"max_conversations=None; 20 was given"):
        MemoryStorage(store=name, max_conversations=20)


async def test_an_object_that_joins_keeps_to_the_bound(name: str) -> None:
    MemoryStorage(store=name, max_conversations=1)
    joined = MemoryStorage(store=name)
    await joined.create_conversation("a")
    await joined.create_conversation("b")
    assert not await joined.conversation_exists("a")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"store": 1}, TypeError),
        ({"store": b"x"}, TypeError),
        ({"max_conversations": "5"}, TypeError),
        ({"max_conversations": True}, TypeError),
        ({"max_conversations": 2.0}, TypeError),
        ({"max_conversations": 0}, StorageConfigurationError),
        ({"max_conversations": -1}, StorageConfigurationError),
        ({"max_content_bytes": None}, TypeError),
        ({"max_content_bytes": 0}, StorageConfigurationError),
        ({"unknown": 1}, TypeError),
    ],
)
def test_a_wrong_option_is_refused_by_name(options: dict[str, Any], error: type[Exception]) -> None:
    (option,) = options
    with pytest.raises(error, match=option):
        MemoryStorage(**options)


def test_a_refused_option_makes_no_store(name: str) -> None:
    with pytest.raises(StorageConfigurationError):
        MemoryStorage(store=name, max_content_bytes=0)
    MemoryStorage(store=name, max_conversations=5)


def test_the_repr_is_short() -> None:
    assert repr(MemoryStorage()) == "MemoryStorage(store=None, max_conversations=None)"
    assert repr(MemoryStorage(max_conversations=5)) == "MemoryStorage(store=None, max_conversations=5)"


def test_everything_but_persistence_is_promised() -> None:
    assert MemoryStorage.capabilities == capabilities.ALL - {capabilities.PERSISTENT}


def test_every_method_of_the_port_is_its_own() -> None:
    inherited = {"__aenter__", "__aexit__"}
    methods = {method for method, value in vars(StoragePort).items() if callable(value)} - inherited
    assert methods <= set(vars(MemoryStorage))


async def test_check_reports_a_store_that_serves() -> None:
    report = await MemoryStorage().check()
    assert report["latency"] >= 0
    assert report == {
        "ok": True,
        "latency": report["latency"],
        "versions": {},
        "role": None,
        "writable": True,
        "problem": None,
        "warnings": [],
    }


CALLS: dict[str, Callable[[MemoryStorage], Awaitable[Any]]] = {
    "get_messages": lambda storage: storage.get_messages("c"),
    "append_message": lambda storage: storage.append_message("c", "user", "x"),
    "create_conversation": lambda storage: storage.create_conversation("c"),
    "conversation_exists": lambda storage: storage.conversation_exists("c"),
    "list_conversations": lambda storage: storage.list_conversations(),
    "update_title": lambda storage: storage.update_title("c", "t"),
    "delete_conversation": lambda storage: storage.delete_conversation("c"),
    "append_messages": lambda storage: storage.append_messages("c", []),
    "get_recent_messages": lambda storage: storage.get_recent_messages("c", 0),
    "get_conversation": lambda storage: storage.get_conversation("c"),
    "page_conversations": lambda storage: storage.page_conversations(),
    "page_messages": lambda storage: storage.page_messages("c"),
    "check": lambda storage: storage.check(),
}


@pytest.mark.parametrize("call", CALLS)
async def test_a_closed_object_refuses_every_call(call: str) -> None:
    storage = MemoryStorage()
    await storage.aclose()
    await storage.aclose()
    with pytest.raises(StorageClosedError, match="create a new one"):
        await CALLS[call](storage)


async def test_a_named_store_outlives_its_objects(name: str) -> None:
    async with MemoryStorage(store=name) as storage:
        await storage.append_message("c", "user", "x")
        other = MemoryStorage(store=name)
    with pytest.raises(StorageClosedError):
        await storage.get_messages("c")
    assert len(await other.get_messages("c")) == 1
    assert len(await MemoryStorage(store=name).get_messages("c")) == 1


@pytest.mark.parametrize("impossible", ["", "x" * 256])
async def test_an_impossible_id_reads_as_unknown(impossible: str) -> None:
    storage = MemoryStorage()
    assert await storage.get_messages(impossible) == []
    assert await storage.get_recent_messages(impossible, 5) == []
    assert not await storage.conversation_exists(impossible)
    assert await storage.get_conversation(impossible) is None
    await storage.update_title(impossible, "t")
    await storage.delete_conversation(impossible)
    with pytest.raises(InvalidInputError):
        await storage.append_message(impossible, "user", "x")


@pytest.mark.parametrize("unknown", ["c", ""])
async def test_the_title_of_an_unknown_conversation_is_still_checked(unknown: str) -> None:
    storage = MemoryStorage()
    wrong: Any = 5
    with pytest.raises(TypeError, match="title"):
        await storage.update_title(unknown, wrong)
    with pytest.raises(InvalidInputError, match="title"):
        await storage.update_title(unknown, "x" * (16 * 1024 * 1024 + 1))
    assert await storage.list_conversations() == []
