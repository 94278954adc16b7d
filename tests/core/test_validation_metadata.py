"""Metadata: what is held comes back equal, what is not is refused with the path of the offending value."""

import json
import math
from collections import OrderedDict
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from corail.storage.errors import InvalidInputError
from corail.storage.validation import MAX_METADATA_BYTES, check_metadata

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

WORDS = "the patient's own words"
KEYS = st.text(st.characters(), max_size=8)
SCALARS: st.SearchStrategy[Json] = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(-(2.0**53), 2.0**53, exclude_min=True, exclude_max=True)
    | st.text(st.characters(), max_size=8)
)


def inside(values: st.SearchStrategy[Json]) -> st.SearchStrategy[Json]:
    lists: st.SearchStrategy[Json] = st.lists(values, max_size=4).map(list[Json])
    dicts: st.SearchStrategy[Json] = st.dictionaries(KEYS, values, max_size=4).map(dict[str, Json])
    return lists | dicts


VALUES: st.SearchStrategy[Json] = st.recursive(SCALARS, inside, max_leaves=12)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=4)

OFFENDING: list[object] = [
    (),
    ("a", "tuple"),
    {1, 2},
    b"bytes",
    object(),
    datetime(2026, 1, 1, tzinfo=UTC),
    Decimal(1),
    1j,
    2**63,
    -(2**63) - 1,
    math.nan,
    math.inf,
    -math.inf,
    2.0**53,
    -(2.0**53),
    1e300,
    MappingProxyType({}),
    {1: "a key that is no str"},
    {None: 1},
]


def same(left: object, right: object) -> bool:
    """Whether two values are equal, types and the sign of zero included."""
    return repr(left) == repr(right)


@given(OBJECTS)
@example({})
@example({"": {"\x00": ["\ud800", "é", "é"]}})
@example({"zero": -0.0, "true": True, "one": 1, "float": 1.0})
@example({"least": -(2**63), "most": 2**63 - 1, "float": math.nextafter(2.0**53, 0)})
def test_json_objects_come_back_equal(metadata: dict[str, Json]) -> None:
    assert same(check_metadata(metadata), metadata)


@given(OBJECTS)
@example({"\ud83d\ude00": "two lone surrogates, which JSON with \\u escapes would make one character"})
def test_what_is_held_survives_a_json_round_trip(metadata: dict[str, Json]) -> None:
    checked = check_metadata(metadata)
    assert same(json.loads(json.dumps(checked, ensure_ascii=False)), checked)


@given(OBJECTS)
def test_the_copy_shares_nothing_that_can_change(metadata: dict[str, Json]) -> None:
    def containers(value: object) -> set[int]:
        found: set[int] = set()
        pending = [value]
        while pending:
            item: Any = pending.pop()
            if isinstance(item, dict | list):
                found.add(id(item))  # pyright: ignore[reportUnknownArgumentType]
                pending.extend(item.values() if isinstance(item, dict) else item)  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]
        return found

    assert containers(check_metadata(metadata)).isdisjoint(containers(metadata))


@st.composite
def spoiled(draw: st.DrawFn) -> tuple[dict[str, Any], str]:
    """An object with one offending value somewhere in it, and the path of that value."""
    offending = draw(st.sampled_from(OFFENDING))
    path = ""
    value: object = offending
    for _ in range(draw(st.integers(0, 5))):
        if draw(st.booleans()):
            before = draw(st.lists(SCALARS, max_size=3))
            path = f"[{len(before)}]{path}"
            value = [*before, value]
        else:
            key = draw(KEYS)
            path = f"[{key!a}]{path}"
            value = {**draw(st.dictionaries(KEYS, SCALARS, max_size=2)), key: value}
    key = draw(KEYS)
    return {key: value}, f"metadata[{key!a}]{path}"


@given(spoiled())
def test_the_path_of_an_offending_value_is_named(case: tuple[dict[str, Any], str]) -> None:
    metadata, path = case
    with pytest.raises(InvalidInputError) as caught:
        check_metadata(metadata)
    message = str(caught.value)
    assert message.startswith(path)
    assert message[len(path) :].startswith((" is ", " has a key of type "))


@pytest.mark.parametrize("value", [(WORDS,), {WORDS}, WORDS.encode(), {"inner": (WORDS,)}, [{WORDS}]])
def test_a_refusal_does_not_repeat_the_value(value: object) -> None:
    with pytest.raises(InvalidInputError) as caught:
        check_metadata({"note": WORDS, "tags": value})
    assert WORDS not in str(caught.value)
    assert str(caught.value).startswith("metadata['tags']")


def test_a_long_key_is_shortened_in_the_path() -> None:
    with pytest.raises(InvalidInputError) as caught:
        check_metadata({"k" * 100_000: ()})
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "value", [1, "text", [], (), [("a", 1)], True, MappingProxyType({"a": 1}), json.dumps({"a": 1})]
)
def test_what_is_no_dict_is_a_type_error(value: object) -> None:
    with pytest.raises(TypeError, match=f"metadata must be a dict or None, not {type(value).__name__}"):
        check_metadata(value)


def test_none_stays_none() -> None:
    assert check_metadata(None) is None


class Level(IntEnum):
    HIGH = 3


class Plan(StrEnum):
    FREE = "free"


def test_subclasses_become_the_plain_values_they_equal() -> None:
    inner: OrderedDict[str, Any] = OrderedDict(a=1)
    metadata: OrderedDict[str, Any] = OrderedDict({Plan.FREE: Level.HIGH, "plan": Plan.FREE, "more": inner})
    checked = check_metadata(metadata)
    assert same(checked, {"free": 3, "plan": "free", "more": {"a": 1}})


def nested(levels: int, kind: type[list[Any]] | type[dict[str, Any]]) -> dict[str, Any]:
    value: Any = 1
    for _ in range(levels - 1):
        value = [value] if kind is list else {"k": value}
    return {"k": value}


@pytest.mark.parametrize("kind", [list, dict])
def test_a_hundred_levels_fit_and_no_more(kind: type[list[Any]] | type[dict[str, Any]]) -> None:
    assert check_metadata(nested(100, kind)) == nested(100, kind)
    with pytest.raises(InvalidInputError, match="nested deeper than the 100 levels"):
        check_metadata(nested(101, kind))


@pytest.mark.parametrize("kind", [list, dict])
def test_hostile_depth_is_refused_not_a_recursion_error(kind: type[list[Any]] | type[dict[str, Any]]) -> None:
    with pytest.raises(InvalidInputError, match="nested deeper"):
        check_metadata(nested(50_000, kind))


def test_an_object_inside_itself_is_refused() -> None:
    loop: dict[str, Any] = {}
    loop["self"] = [loop]
    with pytest.raises(InvalidInputError, match="nested deeper"):
        check_metadata(loop)


@pytest.mark.parametrize("character", ["a", "é", "\ud800", "\U0001f600"])
def test_the_size_is_that_of_compact_json_in_utf8(character: str) -> None:
    room = MAX_METADATA_BYTES - len('{"k":""}')
    size = len(character.encode("utf-8", "surrogatepass"))
    fitting = {"k": character * (room // size) + "a" * (room % size)}
    assert check_metadata(fitting) == fitting
    with pytest.raises(InvalidInputError, match=f"metadata takes {MAX_METADATA_BYTES + 1} bytes as JSON"):
        check_metadata({"k": fitting["k"] + "a"})


@given(st.dictionaries(KEYS, st.sampled_from(OFFENDING), min_size=1, max_size=1), OBJECTS)
def test_nothing_but_the_two_errors_of_the_contract_is_raised(
    spoilt: Mapping[str, object], metadata: dict[str, Json]
) -> None:
    assume(not set(spoilt) & set(metadata))
    with pytest.raises(InvalidInputError):
        check_metadata({**metadata, **spoilt})
