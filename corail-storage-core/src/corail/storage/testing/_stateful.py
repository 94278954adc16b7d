# ruff: noqa: S101 - contract tests are built on assert
"""A hypothesis state machine that compares a storage with a plain dict, call by call.

Every run has conversations of its own; what hypothesis draws never depends on their ids.
"""

from functools import partial
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from corail.storage.capabilities import ANY_TEXT, DELETE, DETAILS, IDEMPOTENT_APPEND
from corail.storage.errors import InvalidInputError
from corail.storage.port import StoragePort
from corail.storage.testing._base import ContractBase
from corail.storage.testing._clauses import clause
from corail.storage.testing._concurrency import Call, error_of
from corail.storage.testing._examples import in_engine, on_loop, repeatable
from corail.storage.testing._reading import (
    among,
    fresh,
    message,
    rows_of,
    walk_conversations,
    walk_messages,
)
from corail.storage.testing._strategies import TEXTS, UNSTORABLE

T = TypeVar("T")

# Two conversations a run: with more, sequences that meet in one of them become rare.
_SAFE_ENDINGS = (("a", "A"), ("a ", "a*"))
_HOSTILE_ENDINGS = (("\u00e9", "e\u0301"), ("\x00", "\ud800"))
_SAFE_TEXTS = [text for text in TEXTS if text.isascii() and text.isprintable()]

_WHICH = st.integers(0, 1)
_NUMBER = st.integers(0, 39)
_BATCH = st.lists(st.tuples(st.sampled_from(["user", "assistant"]), _NUMBER), min_size=1, max_size=3)


class Expected:
    """A conversation of the model."""

    def __init__(self, metadata: dict[str, Any]) -> None:
        self.metadata = metadata
        self.title = ""
        self.messages: list[dict[str, str]] = []
        self.keys: dict[str, list[dict[str, str]]] = {}


class Model(ContractBase):
    """The state machine, as a test."""

    @clause(allowance=None)
    async def test_model_agrees_with_the_storage(self, storage: StoragePort) -> None:
        """Random calls leave the storage and a plain dict in the same state.

        Fix: run the calls in the failure by hand; it is the shortest sequence that goes wrong. The
        message names the clause.
        """
        patience = self.patience

        class Run(Machine):
            def __init__(self) -> None:
                super().__init__(storage, patience)

        settings = repeatable(self.model_examples, self.model_steps)
        await in_engine(partial(run_state_machine_as_test, Run, settings=settings))


# Named functions: older hypothesis parses the source of lambdas at every step, for a second each run.
def _takes_keys(machine: "Machine") -> bool:
    return IDEMPOTENT_APPEND in machine.storage.capabilities


def _can_delete(machine: "Machine") -> bool:
    return DELETE in machine.storage.capabilities


class Machine(RuleBasedStateMachine):
    """Calls on two conversations whose ids are easily confused."""

    def __init__(self, storage: StoragePort, patience: float) -> None:
        super().__init__()
        self.storage = storage
        self.patience = patience
        any_text = ANY_TEXT in storage.capabilities
        self.endings = _HOSTILE_ENDINGS if any_text else _SAFE_ENDINGS
        self.ids: list[str] = []
        self.texts = [*TEXTS, *UNSTORABLE] if any_text else _SAFE_TEXTS
        self.model: dict[str, Expected] = {}

    def teardown(self) -> None:
        """Delete what the run made: making a failure smaller takes hundreds of runs on the same store."""
        if _can_delete(self):
            for conversation in self.model:
                self.call(partial(self.storage.delete_conversation, conversation))

    def call(self, call: Call[T]) -> T:
        """Run a call on the loop of the test."""
        return on_loop(call, self.patience)

    def _messages(self, batch: list[tuple[str, int]]) -> list[dict[str, str]]:
        return [message(self._text(text), role) for role, text in batch]

    def _text(self, number: int) -> str:
        # Spread, so that the first and the last kinds of hostile text both come up.
        return self.texts[(number * 37) % len(self.texts)]

    def _there(self, conversation: str) -> Expected:
        return self.model.setdefault(conversation, Expected({}))

    @initialize(pair=st.integers(0, 1))
    def name(self, pair: int) -> None:
        prefix = fresh("model")
        self.ids = [prefix + ending for ending in self.endings[pair]]

    @rule(which=_WHICH, number=st.integers(0, 2))
    def create(self, which: int, number: int) -> None:
        conversation = self.ids[which]
        metadata = {"number": number} if number else None
        self.call(partial(self.storage.create_conversation, conversation, metadata))
        self.model.setdefault(conversation, Expected(metadata or {}))

    @rule(which=_WHICH, text=_NUMBER)
    def append(self, which: int, text: int) -> None:
        conversation = self.ids[which]
        self.call(partial(self.storage.append_message, conversation, "user", self._text(text)))
        self._there(conversation).messages.append(message(self._text(text)))

    @rule(which=_WHICH, batch=_BATCH)
    def append_batch(self, which: int, batch: list[tuple[str, int]]) -> None:
        conversation = self.ids[which]
        self.call(partial(self.storage.append_messages, conversation, self._messages(batch)))
        self._there(conversation).messages += self._messages(batch)

    @precondition(_takes_keys)
    @rule(which=_WHICH, batch=_BATCH, key=st.sampled_from(["k", "K"]), again=st.booleans())
    def append_keyed(self, which: int, batch: list[tuple[str, int]], key: str, *, again: bool) -> None:
        conversation = self.ids[which]
        known = self.model.get(conversation)
        stored = None if known is None else known.keys.get(key)
        messages = stored if again and stored is not None else self._messages(batch)
        keyed = partial(self.storage.append_messages, conversation, messages, idempotency_key=key)
        error = self.call(partial(error_of, keyed))
        if stored is None:
            assert error is None, f"append_messages (idempotent_append): a new key gave {error!r}"
            self._there(conversation).messages += messages
            self._there(conversation).keys[key] = messages
        elif stored == messages:
            assert error is None, f"append_messages (idempotent_append): a repeat gave {error!r}"
        else:
            assert isinstance(error, InvalidInputError), (
                f"append_messages (idempotent_append): other messages under a used key gave {error!r}"
            )

    @rule(which=_WHICH, text=_NUMBER)
    def update_title(self, which: int, text: int) -> None:
        conversation = self.ids[which]
        self.call(partial(self.storage.update_title, conversation, self._text(text)))
        if conversation in self.model:
            self.model[conversation].title = self._text(text)

    @precondition(_can_delete)
    @rule(which=_WHICH)
    def delete(self, which: int) -> None:
        self.call(partial(self.storage.delete_conversation, self.ids[which]))
        self.model.pop(self.ids[which], None)

    @rule(which=_WHICH, limit=st.integers(1, 5))
    def read_in_parts(self, which: int, limit: int) -> None:
        conversation = self.ids[which]
        known = self.model.get(conversation)
        expected = [] if known is None else known.messages
        recent = self.call(partial(self.storage.get_recent_messages, conversation, limit))
        assert recent == expected[-limit:], "get_recent_messages: not the tail"
        items = self.call(partial(walk_messages, self.storage, conversation, limit))
        assert [message(item["content"], item["role"]) for item in items] == expected, (
            "page_messages: the pages are not the messages"
        )

    @rule(limit=st.integers(1, 3))
    def list_and_page(self, limit: int) -> None:
        listed = [row["id"] for row in self.call(partial(rows_of, self.storage, self.ids))]
        assert sorted(listed) == sorted(self.model), "C-13: the list shows other conversations"
        rows = self.call(partial(walk_conversations, self.storage, self.model, limit))
        assert sorted(among(rows, self.ids)) == sorted(self.model), (
            "page_conversations: the pages show other conversations"
        )

    @invariant()
    def agrees(self) -> None:
        self.call(self._agrees)

    async def _agrees(self) -> None:
        for conversation in self.ids:
            known = self.model.get(conversation)
            exists = await self.storage.conversation_exists(conversation)
            assert exists is (known is not None), "C-11: conversation_exists differs from the model"
            found = await self.storage.get_messages(conversation)
            assert found == ([] if known is None else known.messages), (
                "C-12: get_messages differs from the model"
            )
            if known is None:
                continue
            row = await self.storage.get_conversation(conversation)
            assert row is not None, "get_conversation: no row of an existing conversation"
            assert row["title"] == known.title, "C-14: the title differs from the model"
            assert row["message_count"] == len(known.messages), "C-13: message_count differs from the model"
            if DETAILS in self.storage.capabilities:
                assert row.get("metadata") == known.metadata, "C-10: the metadata differs from the model"
