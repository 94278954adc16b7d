"""The metadata rule (C-03): a JSON object that every backend can hold and give back equal.

Public through ``corail.storage.validation``. The walk stops at the depth limit, so hostile nesting
(a dict inside itself included) ends in an error, and builds a detached copy of exact built-in types.
"""

from typing import Any, Final, TypeGuard

from corail.storage.errors import InvalidInputError

MAX_METADATA_DEPTH: Final = 100
"""Levels of nesting, the outermost object being the first."""
MAX_METADATA_BYTES: Final = 256 * 1024
"""Bytes of compact JSON in UTF-8."""

_INT64: Final = 2**63
_EXACT_FLOAT: Final = 2.0**53
_SHOWN_KEY: Final = 40


def check_metadata(value: object) -> dict[str, Any] | None:
    """Return a detached copy of a conversation's metadata; None stays None (C-03).

    A ``dict`` with str keys holding None, bool, str, int64, finite floats of magnitude below 2**53,
    lists and dicts of the same, at most 100 levels deep and 256 KiB as compact JSON. Anything else
    raises ``InvalidInputError`` with the path of the offending value, as in ``metadata["a"][3]``.
    Raises ``TypeError`` when it is not a ``dict`` at all.
    """
    if value is None:
        return None
    if not _is_dict(value):
        raise TypeError(f"metadata must be a dict or None, not {type(value).__name__}")
    copy = _object(value, "metadata", 1)
    _check_size(copy)
    return copy


def _object(source: dict[object, object], path: str, depth: int) -> dict[str, Any]:
    _check_depth(path, depth)
    copy: dict[str, Any] = {}
    for key, value in source.items():
        if not isinstance(key, str):
            raise InvalidInputError(
                f"{path} has a key of type {type(key).__name__}; JSON objects have str keys only."
            )
        plain = str.__str__(key)
        copy[plain] = _value(value, f"{path}[{_shown(plain)}]", depth)
    return copy


def _value(value: object, path: str, depth: int) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return _int(int(value), path)
    if isinstance(value, float):
        return _float(float(value), path)
    if _is_dict(value):
        return _object(value, path, depth + 1)
    if _is_list(value):
        _check_depth(path, depth + 1)
        return [_value(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(value)]
    raise InvalidInputError(
        f"{path} is a {type(value).__name__}; metadata holds None, bool, int, float, str, list and dict "
        "only. Convert it first (a datetime to ISO 8601 text, a tuple or set to a list)."
    )


def _int(number: int, path: str) -> int:
    if not -_INT64 <= number < _INT64:
        raise InvalidInputError(f"{path} is an integer outside int64; store it as text.")
    return number


def _float(number: float, path: str) -> float:
    # Written as "not below", so that NaN, which compares false to everything, is refused too.
    if not abs(number) < _EXACT_FLOAT:
        raise InvalidInputError(f"{path} is a float that is not finite or not below 2**53; store it as text.")
    return number


def _check_depth(path: str, depth: int) -> None:
    if depth > MAX_METADATA_DEPTH:
        raise InvalidInputError(
            f"{path[:200]}... is nested deeper than the {MAX_METADATA_DEPTH} levels metadata may have."
        )


def _check_size(copy: dict[str, Any]) -> None:
    if not copy:
        return
    # Imported here: backends that are never given metadata do not pay for it.
    import json

    text = json.dumps(copy, ensure_ascii=False, separators=(",", ":"))
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_METADATA_BYTES:
        raise InvalidInputError(
            f"metadata takes {size} bytes as JSON; at most {MAX_METADATA_BYTES} are allowed. "
            "Keep large values elsewhere and store a reference."
        )


def _shown(key: str) -> str:
    return ascii(key if len(key) <= _SHOWN_KEY else key[: _SHOWN_KEY - 3] + "...")


def _is_dict(value: object) -> TypeGuard[dict[object, object]]:
    return isinstance(value, dict)


def _is_list(value: object) -> TypeGuard[list[object]]:
    return isinstance(value, list)
