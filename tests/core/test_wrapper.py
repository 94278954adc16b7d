"""``StorageWrapper``: every call and every capability goes to what it wraps, unchanged."""

import inspect
from typing import Any

import pytest

from corail.storage import capabilities
from corail.storage.memory import MemoryStorage
from corail.storage.port import StoragePort
from corail.storage.wrapper import StorageWrapper
from tests.core.six_methods import SixMethods

METHODS = sorted(
    name
    for name, value in vars(StoragePort).items()
    if inspect.iscoroutinefunction(value) and not name.startswith("__")
)

CALLS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "get_messages": (("c",), {}),
    "append_message": (("c", "user", "hello"), {}),
    "create_conversation": (("c", {"a": 1}), {}),
    "conversation_exists": (("c",), {}),
    "list_conversations": ((), {}),
    "update_title": (("c", "Title"), {}),
    "delete_conversation": (("c",), {}),
    "append_messages": (("c", [{"role": "user", "content": "a"}]), {"idempotency_key": "k"}),
    "get_recent_messages": (("c", 3), {}),
    "get_conversation": (("c",), {}),
    "page_conversations": ((), {"limit": 3, "after": "x"}),
    "page_messages": (("c",), {"limit": 3, "after": "x"}),
    "check": ((), {}),
    "aclose": ((), {}),
}

pytestmark = pytest.mark.anyio


class Recording(SixMethods):
    """Remembers the last call, and answers with it."""

    last: object = None

    def __getattribute__(self, name: str) -> Any:
        if name not in METHODS:
            return super().__getattribute__(name)

        async def record(*args: Any, **kwargs: Any) -> object:
            self.last = (name, args, kwargs)
            return self.last

        return record


def test_every_method_of_the_port_is_passed_on() -> None:
    assert set(METHODS) == set(CALLS)
    assert [name for name in METHODS if name not in vars(StorageWrapper)] == []


@pytest.mark.parametrize("name", METHODS)
async def test_a_call_reaches_what_is_wrapped_as_it_is(name: str) -> None:
    args, kwargs = CALLS[name]
    inner = Recording()
    answer = await getattr(StorageWrapper(inner), name)(*args, **kwargs)
    assert inner.last == (name, args, kwargs)
    returns = inspect.signature(getattr(StoragePort, name)).return_annotation
    assert answer is (None if returns is None else inner.last)


@pytest.mark.parametrize("name", METHODS)
def test_a_signature_is_that_of_the_port(name: str) -> None:
    wrapped = inspect.signature(getattr(StorageWrapper, name))
    assert str(wrapped) == str(inspect.signature(getattr(StoragePort, name)))


async def test_closing_the_wrapper_closes_what_it_wraps() -> None:
    inner = MemoryStorage()
    async with StorageWrapper(inner):
        pass
    with pytest.raises(RuntimeError):
        await inner.get_messages("c")


def test_promises_are_those_of_what_is_wrapped() -> None:
    assert StorageWrapper(SixMethods()).capabilities == frozenset()
    storage = SixMethods()
    storage.capabilities = frozenset({capabilities.DELETE})
    assert StorageWrapper(storage).capabilities == {"delete"}
    assert SixMethods().capabilities == frozenset()


def test_capabilities_are_named_as_they_are_spelled() -> None:
    constants = {
        name: value for name, value in vars(capabilities).items() if name.isupper() and name != "ALL"
    }
    assert {name.lower() for name in constants} == set(constants.values()) == capabilities.ALL
    assert set(capabilities.__all__) == {*constants, "ALL"}
