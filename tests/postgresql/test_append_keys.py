"""Idempotency keys: the same turn under its key is stored once, anything else under it is refused."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corail.storage.errors import InvalidInputError
from corail.storage.postgresql import PostgreSQLStorage
from corail.storage.postgresql._batch import uid
from tests.postgresql.observing import Observer, exact

pytestmark = pytest.mark.anyio

TURN = [{"role": "user", "content": "ask"}, {"role": "assistant", "content": "answer"}]
OTHERS = {
    "fewer": TURN[:1],
    "more": [*TURN, {"role": "user", "content": "more"}],
    "another content": [TURN[0], {"role": "assistant", "content": "other"}],
    "another role": [TURN[0], {"role": "tool", "content": "answer"}],
    "another order": TURN[::-1],
    "nearly equal text": [{"role": "user", "content": "ask\x00"}, TURN[1]],
}


@pytest.mark.parametrize("other", sorted(OTHERS))
@pytest.mark.parametrize("far", [True, False], ids=["another replica", "the same object"])
async def test_other_messages_under_a_used_key_are_refused(
    open_storage: Callable[..., PostgreSQLStorage], observer: Observer, other: str, *, far: bool
) -> None:
    storage = open_storage()
    await storage.append_messages("c", TURN, idempotency_key="k")
    with pytest.raises(InvalidInputError, match="already used in this conversation") as caught:
        await (open_storage() if far else storage).append_messages("c", OTHERS[other], idempotency_key="k")
    assert "ask" not in str(caught.value)
    await storage.append_messages("c", TURN, idempotency_key="k")
    assert await storage.get_messages("c") == TURN
    assert await exact(observer)


async def test_a_key_belongs_to_its_conversation_and_goes_with_it(
    storage: PostgreSQLStorage, observer: Observer
) -> None:
    for conversation_id in ("a", "b"):
        await storage.append_messages(conversation_id, TURN, idempotency_key="k")
    await storage.delete_conversation("a")
    await storage.append_messages("a", TURN[:1], idempotency_key="k")
    assert await storage.get_messages("a") == TURN[:1]
    assert await storage.get_messages("b") == TURN
    assert await exact(observer)


async def test_an_empty_turn_uses_up_no_key(storage: PostgreSQLStorage) -> None:
    await storage.append_messages("c", [], idempotency_key="k")
    assert not await storage.conversation_exists("c")
    await storage.append_messages("c", TURN, idempotency_key="k")
    assert await storage.get_messages("c") == TURN


async def test_keys_may_be_any_text(storage: PostgreSQLStorage) -> None:
    keys = ["", "\x00", "\ud800", "'; --", "k", "K", "k ", "é", "e\u0301", "x" * 255]
    for key in keys[1:] * 2:
        await storage.append_messages("c", [{"role": "user", "content": key}], idempotency_key=key)
    assert [message["content"] for message in await storage.get_messages("c")] == keys[1:]


async def test_the_same_key_at_the_same_time_from_several_storages_stores_once(
    open_storage: Callable[..., PostgreSQLStorage], observer: Observer
) -> None:
    storages = [open_storage() for _ in range(4)]
    for number in range(15):
        await asyncio.gather(
            *(
                storage.append_messages("c", TURN, idempotency_key=f"k{number}")
                for storage in storages
                for _ in range(2)
            )
        )
    assert await storages[0].get_messages("c") == TURN * 15
    assert await exact(observer)


async def test_of_different_turns_under_one_key_at_the_same_time_one_is_stored(
    open_storage: Callable[..., PostgreSQLStorage], observer: Observer
) -> None:
    storages = [open_storage() for _ in range(4)]
    turns = [[{"role": "user", "content": str(n)}] * (n + 1) for n in range(4)]
    results = await asyncio.gather(
        *(
            storage.append_messages("c", turn, idempotency_key="k")
            for storage, turn in zip(storages, turns, strict=True)
        ),
        return_exceptions=True,
    )
    refused = [result for result in results if result is not None]
    assert len(refused) == 3
    assert all(isinstance(error, InvalidInputError) for error in refused)
    stored = await storages[0].get_messages("c")
    assert stored == turns[results.index(None)]
    assert await exact(observer)


WRITER = """
import asyncio, sys
from corail.storage.postgresql import PostgreSQLStorage

async def main():
    async with PostgreSQLStorage(sys.argv[1], schema=sys.argv[2]) as storage:
        await storage.conversation_exists("c")
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        for number in range(20):
            turn = [{"role": "user", "content": f"{number}/{part}"} for part in range(3)]
            await storage.append_messages("c", turn, idempotency_key=f"key {number}")

asyncio.run(main())
"""


@pytest.fixture
def writers(url: str, schema: str) -> Iterator[list["subprocess.Popen[str]"]]:
    started = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, url, schema],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    yield started
    for process in started:
        process.kill()
        process.communicate()


async def test_the_same_keys_from_four_processes_store_once(
    storage: PostgreSQLStorage, observer: Observer, writers: list["subprocess.Popen[str]"]
) -> None:
    for process in writers:
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == "ready\n"
    outputs = await asyncio.gather(*(asyncio.to_thread(each.communicate, "\n", 60) for each in writers))
    assert [error for _, error in outputs] == [""] * 4
    assert [process.returncode for process in writers] == [0] * 4
    assert [message["content"] for message in await storage.get_messages("c")] == [
        f"{number}/{part}" for number in range(20) for part in range(3)
    ]
    assert await exact(observer)


def test_the_uid_of_a_key_never_changes() -> None:
    # Stored data depends on it: a release with another one would store every repeat again.
    assert uid("key", 0) == UUID("a6788176-5437-874e-afe0-e96011543f68")
    assert uid("key", 1) == UUID("72255c4f-f5c3-8282-a6cb-36b448b612a0")
    assert uid("\ud800", 0) == UUID("697352c3-6339-8ce6-8e87-bec2dffb0c79")


@given(
    st.lists(st.tuples(st.text(st.characters(categories=None), max_size=5), st.integers(0, 20)), unique=True)
)
def test_different_keys_and_positions_have_different_uids(pairs: list[tuple[str, int]]) -> None:
    assert len({uid(key, position) for key, position in pairs}) == len(pairs)
    assert all((uid(*pair).version, uid(*pair).variant) == (8, "specified in RFC 4122") for pair in pairs)
