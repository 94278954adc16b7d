# ruff: noqa: S101 - contract tests are built on assert
"""C-03: metadata is a JSON object that comes back equal, or is refused with the path of what is wrong."""

from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from corail.storage.capabilities import ANY_TEXT, DETAILS
from corail.storage.errors import InvalidInputError
from corail.storage.port import StoragePort
from corail.storage.testing._base import ContractBase
from corail.storage.testing._clauses import clause
from corail.storage.testing._concurrency import error_of
from corail.storage.testing._examples import for_examples
from corail.storage.testing._reading import fresh, row_of, same_json
from corail.storage.testing._strategies import UNSTORABLE, metadata, nested, plain

_NUMBERS: Final[dict[str, Any]] = {
    "int64": [2**63 - 1, -(2**63), 2**53 + 1, 0, -1],
    "floats": [0.1, -0.5, 1e-300, 5e-324, 1.5, 2.0**53 - 1, 3.141592653589793],
    "booleans": [True, False, 1, 0, None],
    "empty": [{}, [], "", [[]], {"": {}}],
}

# With the parts of the path that the message must name.
_REFUSED: Final[tuple[tuple[Any, tuple[str, ...]], ...]] = (
    ({"outer": [0, {"inner": float("nan")}]}, ("outer", "1", "inner")),
    ({"outer": float("inf")}, ("outer",)),
    ({"outer": [-float("inf")]}, ("outer", "0")),
    ({"outer": 2**63}, ("outer",)),
    ({"outer": -(2**63) - 1}, ("outer",)),
    ({"outer": 2.0**53}, ("outer",)),
    ({"outer": {"inner": {1, 2}}}, ("outer", "inner")),
    ({"outer": (1, 2)}, ("outer",)),
    ({"outer": b"bytes"}, ("outer",)),
    ({"outer": datetime(2026, 1, 1, tzinfo=UTC)}, ("outer",)),
    ({"outer": {1: "a key that is no str"}}, ("outer",)),
    ({"outer": object()}, ("outer",)),
)


class Metadata(ContractBase):
    """What ``create_conversation`` takes beside the id."""

    @clause(DETAILS)
    async def test_c03_metadata_comes_back_equal(self, storage: StoragePort) -> None:
        """Numbers, nesting, empty values and hostile keys survive, in lists, rows and pages.

        Fix: escape keys and values before ``json.dumps``; keep int64, floats and booleans apart.
        """
        hostile = dict.fromkeys(plain(storage), "key") | {"values": list(plain(storage))}
        large = {"large": "x" * 200_000}
        for given in ({}, _NUMBERS, hostile, nested(100), large):
            conversation = fresh("c03")
            await storage.create_conversation(conversation, given)
            row = await storage.get_conversation(conversation)
            assert row is not None
            assert "metadata" in row, "get_conversation has no metadata, which 'details' promises"
            assert same_json(row["metadata"], given), f"{row['metadata']!a:.500} is not {given!a:.500}"
            listed = await row_of(storage, conversation)
            assert same_json(listed["metadata"], given), "list_conversations shows other metadata"

    @clause(DETAILS)
    async def test_c03_no_metadata_is_an_empty_object(self, storage: StoragePort) -> None:
        """Without metadata, and after an append made the conversation, the row has ``{}``.

        Fix: store an empty object, or show one.
        """
        created, appended = fresh("c03"), fresh("c03")
        await storage.create_conversation(created)
        await storage.append_message(appended, "user", "text")
        for conversation in (created, appended):
            assert (await row_of(storage, conversation))["metadata"] == {}

    @clause(DETAILS, allowance=None)
    async def test_c03_any_metadata_comes_back_equal(self, storage: StoragePort) -> None:
        """Objects that hypothesis made up come back equal.

        Fix: look at the example in the failure; it is the smallest that goes wrong.
        """

        async def check(given: dict[str, Any]) -> None:
            conversation = fresh("c03")
            await storage.create_conversation(conversation, given)
            row = await storage.get_conversation(conversation)
            assert row is not None
            assert same_json(row.get("metadata"), given), f"{row.get('metadata')!a} is not {given!a}"

        await for_examples(metadata(storage), check, self.text_examples, self.patience)

    @clause()
    async def test_c03_other_metadata_is_refused_with_its_path(self, storage: StoragePort) -> None:
        """What is no JSON, or not the same afterwards, is refused; the message says where it is.

        Fix: call ``check_metadata`` before any I/O, also where metadata is not kept.
        """
        deep, large = nested(101), {"outer": "x" * (256 * 1024)}
        cycle: dict[str, Any] = {}
        cycle["outer"] = cycle
        for given, path in (*_REFUSED, (deep, ("deeper",)), (cycle, ("outer",)), (large, ())):
            conversation = fresh("c03")
            error = await error_of(partial(storage.create_conversation, conversation, given))
            assert isinstance(error, InvalidInputError), (
                f"took {path or 'too large an object'}: {error!r:.300}"
            )
            for part in path:
                assert part in str(error), f"the message does not name {part!r}, a part of the path"
            assert not await storage.conversation_exists(conversation), "refused, yet a conversation is left"

    @clause()
    async def test_c03_metadata_that_is_no_object_is_a_type_error(self, storage: StoragePort) -> None:
        """A list, a text or pairs instead of a dict raise ``TypeError``.

        Fix: call ``check_metadata``.
        """
        wrong: tuple[Any, ...] = ([], "text", 7, True, (("key", "value"),))
        for given in wrong:
            conversation = fresh("c03")
            error = await error_of(partial(storage.create_conversation, conversation, given))
            assert isinstance(error, TypeError), f"took {given!r} as metadata: {error!r}"
            assert not await storage.conversation_exists(conversation), "refused, yet a conversation is left"

    @clause()
    async def test_c03_hostile_metadata_is_held_or_refused(self, storage: StoragePort) -> None:
        """Without ``any_text`` NUL and surrogates may be refused; they are never altered.

        Fix: escape them, or raise ``InvalidInputError``.
        """
        for text in UNSTORABLE:
            for given in ({"key": text}, {text: "value"}):
                conversation = fresh("c03")
                error = await error_of(partial(storage.create_conversation, conversation, given))
                if error is not None:
                    assert isinstance(error, InvalidInputError), f"{text!a} gave a {type(error).__name__}"
                    assert ANY_TEXT not in storage.capabilities, f"{text!a} was refused in spite of any_text"
                elif DETAILS in storage.capabilities:
                    assert ascii((await row_of(storage, conversation))["metadata"]) == ascii(given)
