"""Content and titles: any text up to a size in UTF-8, never altered, never repeated in a refusal."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from corail.storage.errors import InvalidInputError
from corail.storage.validation import (
    MAX_CONTENT_BYTES,
    CheckedMessage,
    check_content,
    check_message,
    check_messages,
    check_title,
    utf8_size,
)

TEXT = st.text(st.characters())
WORDS = "the patient's own words"


@given(TEXT)
@example("")
@example("\x00\ud800\udfff\U0010ffff\r\n\u2028")
def test_any_text_is_taken_as_it_is(text: str) -> None:
    assert check_content(text) == text
    assert check_title(text) == text


@given(TEXT)
@example("\ud83d\ude00")  # two lone surrogates, not one character
def test_a_size_is_that_of_utf8_with_three_bytes_for_a_lone_surrogate(text: str) -> None:
    assert utf8_size(text) == sum(
        1 if c < "\x80" else 2 if c < "\u0800" else 3 if c < "\U00010000" else 4 for c in text
    )


@given(TEXT, st.integers(0, 40))
def test_the_limit_is_exact(text: str, most: int) -> None:
    for check in (check_content, check_title):
        if utf8_size(text) <= most:
            assert check(text, max_bytes=most) == text
        else:
            with pytest.raises(InvalidInputError, match=f"at most {most} are allowed, and text is never"):
                check(text, max_bytes=most)


@pytest.mark.parametrize("character", ["a", "é", "€", "\U0001f600", "\ud800"])
def test_sixteen_mebibytes_fit_and_no_more(character: str) -> None:
    fitting = character * (MAX_CONTENT_BYTES // utf8_size(character))
    assert check_content(fitting) == fitting
    with pytest.raises(InvalidInputError, match=r"^content takes at least"):
        check_content(fitting + character)


@given(st.text(st.characters(), min_size=8, max_size=60))
def test_a_refusal_does_not_repeat_the_text(text: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        check_content(text, max_bytes=4)
    assert str(caught.value) == (
        f"content takes at least {len(text)} bytes of UTF-8; at most 4 are allowed, and text is never "
        "truncated. Split it, or keep it elsewhere and store a reference."
    )


@pytest.mark.parametrize("value", [None, b"bytes", 1, ["text"]])
def test_what_is_no_text_is_a_type_error(value: object) -> None:
    with pytest.raises(TypeError, match=f"content must be a str, not {type(value).__name__}"):
        check_content(value)
    with pytest.raises(TypeError, match=f"title must be a str, not {type(value).__name__}"):
        check_title(value)


MESSAGE = st.fixed_dictionaries({"role": st.text(st.characters(), min_size=1, max_size=64), "content": TEXT})


@given(st.lists(MESSAGE))
def test_a_batch_comes_back_as_it_was(messages: list[dict[str, str]]) -> None:
    assert check_messages(messages) == [
        CheckedMessage(message["role"], message["content"], utf8_size(message["content"]))
        for message in messages
    ]


@given(MESSAGE)
def test_one_message_is_checked_as_in_a_batch(message: dict[str, str]) -> None:
    assert [check_message(message["role"], message["content"])] == check_messages([message])


def test_the_parts_of_one_message_are_named() -> None:
    with pytest.raises(InvalidInputError, match=r"^role has 0 characters"):
        check_message("", WORDS)
    with pytest.raises(InvalidInputError, match=r"^content takes at least"):
        check_message("user", WORDS, max_bytes=3)
    with pytest.raises(TypeError, match=r"^content must be a str, not NoneType$"):
        check_message("user", None)


def test_a_batch_may_be_any_iterable_and_is_read_once() -> None:
    def generate() -> Iterator[dict[str, str]]:
        yield {"role": "user", "content": "a"}
        yield {"content": "b", "role": "assistant"}

    assert [(m.role, m.content) for m in check_messages(generate())] == [("user", "a"), ("assistant", "b")]
    assert check_messages(()) == []


class Pair(NamedTuple):
    role: str
    content: str


@pytest.mark.parametrize("messages", [None, 1, "text", b"bytes", {"role": "user", "content": "a"}, object()])
def test_what_is_no_batch_is_a_type_error(messages: object) -> None:
    with pytest.raises(
        TypeError, match=rf"messages must be an iterable of mappings .* not {type(messages).__name__}"
    ):
        check_messages(messages)


@pytest.mark.parametrize("item", [None, "text", ("user", "a"), ["role", "content"], Pair("user", "a")])
def test_an_item_that_is_no_mapping_is_named_by_its_place(item: object) -> None:
    fine = {"role": "user", "content": "a"}
    with pytest.raises(TypeError, match=rf"^messages\[1\] must be a mapping .* not {type(item).__name__}$"):
        check_messages([fine, item])


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ({}, "lacks 'role' and 'content'"),
        ({"role": "user"}, "lacks 'content'"),
        ({"content": WORDS}, "lacks 'role'"),
        ({"role": "user", "text": WORDS}, "lacks 'content'"),
        ({"role": "user", "content": WORDS, "name": WORDS}, "has further keys"),
        ({"role": "user", "content": WORDS, WORDS: 1}, "has further keys"),
        ({"role": "", "content": WORDS}, "['role'] has 0 characters"),
        ({"role": "r" * 65, "content": WORDS}, "['role'] has 65 characters"),
    ],
)
def test_a_wrong_item_is_named_by_its_place_and_not_repeated(item: Mapping[str, object], said: str) -> None:
    fine = {"role": "user", "content": WORDS}
    with pytest.raises(InvalidInputError) as caught:
        check_messages([fine, fine, item])
    assert str(caught.value).startswith(f"messages[2]{'' if said.startswith('[') else ' '}{said}")
    assert WORDS not in str(caught.value)


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ({"role": 1, "content": WORDS}, r"messages\[0\]\['role'\] must be a str, not int"),
        ({"role": "user", "content": None}, r"messages\[0\]\['content'\] must be a str, not NoneType"),
        (
            {"role": "user", "content": WORDS.encode()},
            r"messages\[0\]\['content'\] must be a str, not bytes",
        ),
    ],
)
def test_a_wrong_type_in_an_item_is_named_by_its_place(item: Mapping[str, object], said: str) -> None:
    with pytest.raises(TypeError, match=f"^{said}$"):
        check_messages([item])


def test_one_content_and_all_together_have_limits_of_their_own() -> None:
    item = {"role": "user", "content": "é" * 10}
    assert len(check_messages([item] * 5, max_bytes=20, max_batch_bytes=100)) == 5
    with pytest.raises(InvalidInputError, match=r"^messages\[0\]\['content'\] takes at least 20 bytes"):
        check_messages([item], max_bytes=19)
    with pytest.raises(
        InvalidInputError, match=r"^messages take 120 bytes .* at most 100\. Append them in several"
    ):
        check_messages([item] * 6, max_bytes=20, max_batch_bytes=100)


def test_what_was_checked_is_detached_from_what_was_given() -> None:
    item = {"role": "user", "content": "before"}
    checked = check_messages([item])
    item["content"] = "after"
    assert checked[0].content == "before"
