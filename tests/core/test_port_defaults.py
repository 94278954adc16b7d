"""What a backend with only the six published methods gets from the port."""

from typing import Any

import pytest

from corail.storage import capabilities
from corail.storage.errors import (
    InvalidInputError,
    StorageClosedError,
    StorageError,
    StorageUnavailableError,
    UnsupportedOperationError,
)
from corail.storage.port import StoragePort
from corail.storage.rows import ConversationRow
from tests.core.six_methods import SixMethods

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """The port knows no event loop: each test runs under both."""
    return str(request.param)


async def test_it_loads_and_runs_as_it_is() -> None:
    async with SixMethods() as storage:
        assert storage.capabilities == frozenset()
        await storage.append_message("c", "user", "hello")
        assert await storage.get_messages("c") == [{"role": "user", "content": "hello"}]


def test_no_promise_is_made_that_nobody_keeps() -> None:
    assert StoragePort.capabilities == frozenset()
    assert not SixMethods().capabilities & capabilities.ALL


async def test_closing_does_nothing_and_may_be_repeated() -> None:
    storage = SixMethods()
    await storage.aclose()
    async with storage:
        pass
    await storage.aclose()
    assert await storage.conversation_exists("c") is False


async def test_an_exception_inside_async_with_passes() -> None:
    with pytest.raises(ZeroDivisionError):
        async with SixMethods():
            raise ZeroDivisionError


async def test_deleting_is_refused_before_anything_happens() -> None:
    storage = SixMethods()
    await storage.append_message("c", "user", "hello")
    with pytest.raises(UnsupportedOperationError, match=r"SixMethods cannot delete .* capability 'delete'"):
        await storage.delete_conversation("c")
    assert await storage.conversation_exists("c")


async def test_a_batch_is_appended_in_order() -> None:
    storage = SixMethods()
    batch = [{"role": "user", "content": str(n)} for n in range(5)]
    await storage.append_messages("c", iter(batch))
    assert await storage.get_messages("c") == batch


async def test_an_empty_batch_does_not_even_create_the_conversation() -> None:
    storage = SixMethods()
    await storage.append_messages("c", [])
    assert not await storage.conversation_exists("c")


async def test_a_batch_is_checked_whole_before_anything_is_stored() -> None:
    storage = SixMethods()
    batch = [{"role": "user", "content": "fine"}, {"role": "user", "text": "not fine"}]
    with pytest.raises(InvalidInputError, match=r"messages\[1\]"):
        await storage.append_messages("c", batch)
    assert not await storage.conversation_exists("c")


async def test_an_idempotency_key_is_refused_because_nothing_would_honour_it() -> None:
    storage = SixMethods()
    with pytest.raises(UnsupportedOperationError, match="SixMethods does not take an idempotency_key"):
        await storage.append_messages("c", [{"role": "user", "content": "a"}], idempotency_key="key")
    assert not await storage.conversation_exists("c")


@pytest.mark.parametrize("key", ["", "k" * 256])
async def test_an_impossible_key_is_wrong_rather_than_unsupported(key: str) -> None:
    with pytest.raises(InvalidInputError, match="idempotency_key has"):
        await SixMethods().append_messages("c", [{"role": "user", "content": "a"}], idempotency_key=key)


@pytest.mark.parametrize(
    ("limit", "expected"), [(0, []), (1, ["4"]), (3, ["2", "3", "4"]), (5, None), (99, None)]
)
async def test_recent_messages_are_the_last_ones_in_order(limit: int, expected: list[str] | None) -> None:
    storage = SixMethods()
    await storage.append_messages("c", [{"role": "user", "content": str(n)} for n in range(5)])
    recent = await storage.get_recent_messages("c", limit)
    assert [m["content"] for m in recent] == (list("01234") if expected is None else expected)


async def test_recent_messages_of_an_unknown_conversation_are_none() -> None:
    assert await SixMethods().get_recent_messages("unknown", 5) == []
    with pytest.raises(InvalidInputError):
        await SixMethods().get_recent_messages("unknown", -1)
    with pytest.raises(TypeError):
        await SixMethods().get_recent_messages("unknown", 1.5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def test_a_conversation_is_found_with_the_columns_of_the_contract_only() -> None:
    storage = SixMethods()
    await storage.create_conversation("c", {"tenant": "t"})
    await storage.update_title("c", "Title")
    expected: ConversationRow = {
        "id": "c",
        "title": "Title",
        "created_at": "2026-01-01T00:00:01+00:00",
        "message_count": 0,
    }
    assert await storage.get_conversation("c") == expected


@pytest.mark.parametrize("conversation_id", ["unknown", "", "x" * 256])
async def test_no_conversation_is_none(conversation_id: str) -> None:
    storage = SixMethods()
    await storage.create_conversation("c")
    assert await storage.get_conversation(conversation_id) is None


async def test_a_backend_with_details_has_them_passed_on() -> None:
    class Detailed(SixMethods):
        async def list_conversations(self) -> list[dict[str, Any]]:
            return [
                {**row, "updated_at": "2026-01-02T00:00:00+00:00", "metadata": {"a": 1}}
                for row in await super().list_conversations()
            ]

    storage = Detailed()
    await storage.create_conversation("c")
    row = await storage.get_conversation("c")
    assert row is not None
    assert row.get("metadata") == {"a": 1}
    assert row.get("updated_at") == "2026-01-02T00:00:00+00:00"
    assert (await storage.page_conversations())["items"] == [row]


async def test_a_check_looks_and_reports() -> None:
    report = await SixMethods().check()
    assert report["latency"] >= 0
    assert {**report, "latency": 0.0} == {
        "ok": True,
        "latency": 0.0,
        "versions": {},
        "role": None,
        "writable": None,
        "problem": None,
        "warnings": [],
    }


async def test_a_check_reports_what_is_wrong_instead_of_raising() -> None:
    class Unreachable(SixMethods):
        async def conversation_exists(self, conversation_id: str) -> bool:
            raise StorageUnavailableError(f"the server is gone, looking for {conversation_id}")

    report = await Unreachable().check()
    assert report["ok"] is False
    assert (report["problem"] or "").startswith("the server is gone, looking for ")


@pytest.mark.parametrize("error", [StorageClosedError("closed"), ZeroDivisionError("a bug")])
async def test_a_check_hides_neither_a_closed_storage_nor_a_bug(error: Exception) -> None:
    class Failing(SixMethods):
        async def conversation_exists(self, conversation_id: str) -> bool:
            del conversation_id
            raise error

    with pytest.raises(type(error)) as caught:
        await Failing().check()
    assert caught.value is error


async def test_a_check_writes_nothing() -> None:
    storage = SixMethods()
    await storage.check()
    assert await storage.list_conversations() == []


def test_a_class_that_lacks_a_method_cannot_be_built() -> None:
    class Five(SixMethods):
        update_title = StoragePort.update_title

    with pytest.raises(TypeError, match="update_title"):
        Five()


def test_the_port_has_no_state_and_no_constructor_of_its_own() -> None:
    assert "__init__" not in vars(StoragePort)
    assert "__dict__" not in vars(StoragePort)
    assert issubclass(UnsupportedOperationError, StorageError)
