# ruff: noqa: S101 - contract tests are built on assert
"""C-04 and the refusals of C-31: wrong arguments fail before anything is stored, and quote no content."""

import traceback
from collections.abc import Iterator
from enum import StrEnum
from functools import partial
from typing import Any, Final
from uuid import uuid4

from corail.storage.capabilities import DELETE, IDEMPOTENT_APPEND
from corail.storage.errors import InvalidInputError, StorageError
from corail.storage.port import StoragePort
from corail.storage.testing._base import ContractBase
from corail.storage.testing._clauses import clause
from corail.storage.testing._concurrency import Call, error_of
from corail.storage.testing._reading import contents, fresh, message
from corail.storage.testing._strategies import UNSTORABLE

_NOT_A_STR: Final[tuple[Any, ...]] = (7, 1.5, b"bytes", ["text"], {"text"}, object())
_NOT_AN_INT: Final[tuple[Any, ...]] = ("5", 1.5, None, True, [1])
_NOT_MESSAGES: Final[tuple[Any, ...]] = (
    *(None, 7, "text", b"bytes", {"role": "user", "content": "text"}),
    *([7], ["text"], [["role", "content"]], [None]),
    *(
        [{"role": 7, "content": "text"}],
        [{"role": "user", "content": None}],
        [{"role": "user", "content": b""}],
    ),
)
_NOT_A_CURSOR: Final = (
    "",
    "no cursor",
    "-1",
    "\x00",
    "\ud800",
    "=" * 8,
    "9" * 60,
    "9" * 5000,
    "\u0661",
    "\xb2",
)


class _Role(StrEnum):
    USER = "user"


class Arguments(ContractBase):
    """Wrong types, wrong values, and what the errors say."""

    @clause()
    async def test_c04_wrong_types_raise_type_error(self, storage: StoragePort) -> None:
        """Every parameter of every method refuses other types with ``TypeError``, and stores nothing.

        Fix: call the functions of ``corail.storage.validation`` first thing in each method.
        """
        known = fresh("c04")
        for what, call in _wrong_types(storage, known):
            error = await error_of(call)
            assert isinstance(error, TypeError), f"{what} gave {error!r:.300}"
        assert not await storage.conversation_exists(known), "a call with wrong types stored something"

    @clause()
    async def test_c04_wrong_numbers_and_cursors_are_refused(self, storage: StoragePort) -> None:
        """Limits out of range and texts that are no cursor raise ``InvalidInputError``.

        Fix: call ``check_limit``, ``check_page_limit``, ``decode_cursor`` and ``check_message_cursor``.
        """
        known = fresh("c04")
        await storage.append_message(known, "user", "text")
        refused: list[tuple[str, Call[object]]] = [
            ("limit=-1", partial(storage.get_recent_messages, known, -1)),
            *((f"limit={n}", partial(storage.page_conversations, limit=n)) for n in (0, -1, 1001)),
            *((f"limit={n}", partial(storage.page_messages, known, limit=n)) for n in (0, -1, 1001)),
            *((f"after={c!a:.12}", partial(storage.page_conversations, after=c)) for c in _NOT_A_CURSOR),
            *((f"after={c!a:.12}", partial(storage.page_messages, known, after=c)) for c in _NOT_A_CURSOR),
        ]
        for what, call in refused:
            error = await error_of(call)
            assert isinstance(error, InvalidInputError), f"{call!r:.200} with {what} gave {error!r:.300}"

    @clause()
    async def test_c04_a_bad_message_stores_none_of_the_batch(self, storage: StoragePort) -> None:
        """All messages of a batch are checked before the first is stored, with or without atomicity.

        Fix: call ``check_messages`` on the whole batch before any I/O.
        """
        conversation = fresh("c04")
        bad: tuple[Any, ...] = (
            {"role": "user"},
            {"content": "text"},
            {},
            {"role": "user", "content": "text", "name": "further key"},
            {"role": "", "content": "text"},
            {"role": "x" * 65, "content": "text"},
        )
        for last in bad:
            error = await error_of(partial(storage.append_messages, conversation, [message("good"), last]))
            assert isinstance(error, InvalidInputError), f"took a batch with {last!r}: {error!r}"
            assert await contents(storage, conversation) == [], "the messages before a bad one were stored"
            assert not await storage.conversation_exists(conversation), "a refused batch left a conversation"

    @clause()
    async def test_c04_subclasses_of_str_are_text(self, storage: StoragePort) -> None:
        """A ``StrEnum`` member or another ``str`` is stored as the text it equals.

        Fix: take what the checks return, not what was passed.
        """
        conversation = fresh("c04")
        await storage.append_message(conversation, _Role.USER, "text")
        await storage.append_messages(conversation, [{"role": _Role.USER, "content": _Role.USER}])
        assert await storage.get_messages(conversation) == [message("text"), message("user")]

    @clause()
    async def test_c31_refusals_do_not_repeat_content(self, storage: StoragePort) -> None:
        """Errors over arguments are ``StorageError`` or ``TypeError`` and hold no message text anywhere.

        Fix: name the parameter, its length and the limit; raise ``from None`` where the cause quotes it.
        """
        secret = f"secret-{uuid4().hex}"
        for call in _calls_with_secret(storage, secret):
            error = await error_of(call)
            if error is None:
                continue
            assert isinstance(error, (StorageError, TypeError)), f"{type(error).__name__} is no StorageError"
            shown = "".join(_texts_of(error))
            assert secret not in shown, f"the {type(error).__name__}, or its cause, repeats the content"

    @clause()
    async def test_c31_looking_up_hostile_ids_never_fails(self, storage: StoragePort) -> None:
        """An id the store cannot hold is unknown to it; no driver's error surfaces.

        Fix: answer before the driver is asked, or escape the id as for a write.
        """
        for text in UNSTORABLE:
            conversation = fresh("c31") + text
            lookups: list[Call[object]] = [
                partial(storage.get_messages, conversation),
                partial(storage.get_recent_messages, conversation, 5),
                partial(storage.conversation_exists, conversation),
                partial(storage.get_conversation, conversation),
                partial(storage.page_messages, conversation),
                partial(storage.update_title, conversation, "title"),
            ]
            for look_up in lookups:
                error = await error_of(look_up)
                assert error is None, f"looking up {conversation!a} gave {error!r:.300}"


def _wrong_types(storage: StoragePort, known: str) -> Iterator[tuple[str, Call[object]]]:
    unstored: Any = object()
    not_ids: tuple[Any, ...] = (*_NOT_A_STR, None)
    for bad in not_ids:
        shown = type(bad).__name__
        yield f"get_messages({shown})", partial(storage.get_messages, bad)
        yield f"get_recent_messages({shown})", partial(storage.get_recent_messages, bad, 5)
        yield f"conversation_exists({shown})", partial(storage.conversation_exists, bad)
        yield f"get_conversation({shown})", partial(storage.get_conversation, bad)
        yield f"page_messages({shown})", partial(storage.page_messages, bad)
        yield f"create_conversation({shown})", partial(storage.create_conversation, bad)
        yield f"append_message({shown})", partial(storage.append_message, bad, "user", "text")
        yield f"append_message(role={shown})", partial(storage.append_message, known, bad, "text")
        yield f"append_message(content={shown})", partial(storage.append_message, known, "user", bad)
        yield f"append_messages({shown})", partial(storage.append_messages, bad, [message("text")])
        yield f"update_title({shown})", partial(storage.update_title, bad, "title")
        yield f"update_title(title={shown})", partial(storage.update_title, known, bad)
        if DELETE in storage.capabilities:
            yield f"delete_conversation({shown})", partial(storage.delete_conversation, bad)
    for bad in _NOT_A_STR:
        shown = type(bad).__name__
        yield f"page_conversations(after={shown})", partial(storage.page_conversations, after=bad)
        yield f"page_messages(after={shown})", partial(storage.page_messages, known, after=bad)
        keyed = partial(storage.append_messages, known, [message("text")], idempotency_key=bad)
        yield f"append_messages(idempotency_key={shown})", keyed
    for bad in _NOT_AN_INT:
        yield f"get_recent_messages(limit={bad!r})", partial(storage.get_recent_messages, known, bad)
        yield f"page_conversations(limit={bad!r})", partial(storage.page_conversations, limit=bad)
        yield f"page_messages(limit={bad!r})", partial(storage.page_messages, known, limit=bad)
    for bad in (*_NOT_MESSAGES, unstored):
        yield f"append_messages(messages={bad!r:.40})", partial(storage.append_messages, known, bad)


def _calls_with_secret(storage: StoragePort, secret: str) -> Iterator[Call[object]]:
    known = fresh("c31")
    wrong: tuple[Any, ...] = (secret.encode(), [secret], {secret: secret})
    for bad in wrong:
        yield partial(storage.append_message, known, "user", bad)
        yield partial(storage.append_messages, known, [{"role": "user", "content": bad}])
        yield partial(storage.update_title, known, bad)
    yield partial(storage.append_message, "", "user", secret)
    yield partial(storage.append_message, known, "x" * 65, secret)
    yield partial(storage.append_message, known, "", secret)
    yield partial(storage.append_messages, known, [message(secret, "x" * 65)])
    yield partial(
        storage.append_messages, known, [message(secret), {"role": "user", "content": secret, "x": secret}]
    )
    yield partial(storage.append_messages, known, [{"content": secret}])
    not_messages: Any = secret
    yield partial(storage.append_messages, known, not_messages)
    yield partial(storage.append_messages, known, [message(secret)], idempotency_key="")
    yield partial(storage.append_messages, known, [message(secret)], idempotency_key="x" * 256)
    yield partial(storage.create_conversation, known, {"key": [secret, {secret}]})
    yield partial(storage.create_conversation, known, {"key": [secret, float("nan")]})
    for text in UNSTORABLE:
        yield partial(storage.append_message, known, "user", secret + text)
        yield partial(storage.append_messages, known, [message(text + secret)])
        yield partial(storage.append_message, known, text, secret)
        yield partial(storage.append_message, known + text, "user", secret)
    if IDEMPOTENT_APPEND in storage.capabilities:
        for text in (secret, secret + secret):
            yield partial(storage.append_messages, known, [message(text)], idempotency_key="used twice")


def _texts_of(error: BaseException) -> Iterator[str]:
    # What a log would hold: the whole chain with its notes, without the source lines of this file.
    yield from traceback.TracebackException.from_exception(error, lookup_lines=False).format()
    yield repr(error)
