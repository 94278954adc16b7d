"""Ids, roles and keys: what may be written, what may be looked up, and what the refusal says."""

from collections.abc import Callable
from enum import StrEnum

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from corail.storage.errors import InvalidInputError
from corail.storage.validation import (
    check_conversation_id,
    check_cursor,
    check_idempotency_key,
    check_limit,
    check_page_limit,
    check_role,
    lookup_id,
)

Check = Callable[[object], str | None]

# Every code point, lone surrogates included.
CHARACTERS = st.characters()
BOUNDED: list[tuple[Check, str, int]] = [
    (check_conversation_id, "conversation_id", 255),
    (check_role, "role", 64),
    (check_idempotency_key, "idempotency_key", 255),
]


class Role(StrEnum):
    USER = "user"


class Shouting(str):
    """A str that lies about itself."""

    __slots__ = ()

    def __str__(self) -> str:
        return "LOUD"

    def __len__(self) -> int:
        return 1


@given(st.text(CHARACTERS, min_size=1, max_size=64))
@example("\x00")
@example("\ud800")
@example("e\u0301")
@example("\u202eevil")
@example(" ")
@example("\U0001f600" * 64)
def test_any_text_within_the_limit_is_taken_as_it_is(text: str) -> None:
    for check, _, _ in BOUNDED:
        assert check(text) == text
    assert lookup_id(text) == text


@pytest.mark.parametrize(("check", "name", "most"), BOUNDED)
@pytest.mark.parametrize("character", ["a", "é", "\U0001f600", "\ud800"])
def test_the_limit_counts_characters_not_bytes(check: Check, name: str, most: int, character: str) -> None:
    assert check(character * most) == character * most
    with pytest.raises(
        InvalidInputError, match=f"^{name} has {most + 1} characters; 1 to {most} are allowed"
    ):
        check(character * (most + 1))


@pytest.mark.parametrize(("check", "name", "most"), BOUNDED)
def test_the_empty_string_is_refused(check: Check, name: str, most: int) -> None:
    with pytest.raises(InvalidInputError, match=f"^{name} has 0 characters; 1 to {most}"):
        check("")


@pytest.mark.parametrize(("check", "name", "most"), BOUNDED)
@pytest.mark.parametrize("value", [1, b"id", ["id"], object(), True, 1.5])
def test_another_type_is_a_type_error(check: Check, name: str, most: int, value: object) -> None:
    del most
    with pytest.raises(TypeError, match=f"^{name} must be a str, not {type(value).__name__}$"):
        check(value)


@pytest.mark.parametrize("check", [check_conversation_id, check_role])
def test_none_is_a_type_error_where_a_value_is_needed(check: Check) -> None:
    with pytest.raises(TypeError, match="not NoneType"):
        check(None)


def test_no_idempotency_key_stays_none() -> None:
    assert check_idempotency_key(None) is None


@given(st.text(CHARACTERS, min_size=256, max_size=400))
def test_a_refusal_does_not_repeat_the_value(text: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        check_conversation_id(text)
    assert str(caught.value) == f"conversation_id has {len(text)} characters; 1 to 255 are allowed."


def test_looking_up_an_id_that_cannot_exist_is_no_error() -> None:
    assert lookup_id("") is None
    assert lookup_id("x" * 256) is None
    assert lookup_id("x" * 255) == "x" * 255
    with pytest.raises(TypeError):
        lookup_id(None)


@pytest.mark.parametrize(
    "check", [check_conversation_id, check_role, check_idempotency_key, lookup_id, check_cursor]
)
def test_subclasses_of_str_become_the_plain_text_they_equal(check: Check) -> None:
    for value, plain in ((Role.USER, "user"), (Shouting("quiet"), "quiet")):
        checked = check(value)
        assert type(checked) is str
        assert checked == plain


@pytest.mark.parametrize(
    ("limit", "allowed"), [(-1, False), (0, False), (1, True), (1000, True), (1001, False)]
)
def test_one_page_holds_one_to_a_thousand(limit: int, *, allowed: bool) -> None:
    if allowed:
        assert check_page_limit(limit) == limit
        return
    with pytest.raises(InvalidInputError, match=f"limit is {limit}; one page holds 1 to 1000 items"):
        check_page_limit(limit)


def test_the_number_of_recent_messages_may_be_any_but_negative() -> None:
    assert check_limit(0) == 0
    assert check_limit(10**9) == 10**9
    with pytest.raises(InvalidInputError, match="limit is -1; it must be 0 or more"):
        check_limit(-1)


@pytest.mark.parametrize("check", [check_limit, check_page_limit])
@pytest.mark.parametrize("value", [True, 1.0, "1", None])
def test_a_limit_that_is_no_int_is_a_type_error(check: Callable[[object], int], value: object) -> None:
    with pytest.raises(TypeError, match=f"limit must be an int, not {type(value).__name__}"):
        check(value)


def test_a_cursor_is_text_or_none() -> None:
    assert check_cursor(None) is None
    assert check_cursor("") == ""
    with pytest.raises(TypeError, match="after must be a str, not int"):
        check_cursor(3)
