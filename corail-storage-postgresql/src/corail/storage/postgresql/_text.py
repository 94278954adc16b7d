"""Reversible escaping of the text PostgreSQL cannot hold: U+0000 and lone surrogates.

Storing "everything verbatim except what cannot be stored" is impossible, because every valid string
already stands for itself; so the escape characters have an escape of their own:

=============  ==========================================
U+0000         U+0001 U+0001
U+0001         U+0001 U+0002
U+D7FF         U+D7FF U+0002
surrogate s    U+D7FF, then ``chr(0x80 + s - 0xD800)``
=============  ==========================================

Injective, and the order under ``COLLATE "C"`` is Python's order of the original text. It at most
doubles the characters, so every limit is checked before escaping.
"""

import re
from collections.abc import Callable
from typing import Any, Final, TypeAlias

_JSON: TypeAlias = "dict[str, _JSON] | list[_JSON] | str | int | float | bool | None"

_SPECIAL: Final = re.compile("[\x00\x01\ud7ff-\udfff]")
_ESCAPED: Final = re.compile("\x01([\x01\x02])|\ud7ff([\x02\x80-\u087f])", re.DOTALL)

_SURROGATES: Final = 0xD800
_SHIFT: Final = 0x80


def escape(text: str) -> str:
    """Return ``text`` as PostgreSQL can hold it."""
    # Almost all text needs nothing: isascii is a flag and the two searches are memchr.
    if text.isascii():
        if "\x00" not in text and "\x01" not in text:
            return text
    elif _SPECIAL.search(text) is None:
        return text
    return _SPECIAL.sub(_escape_one, text)


def unescape(text: str) -> str:
    """Return the text that ``escape`` was given."""
    if "\x01" not in text and (text.isascii() or "\ud7ff" not in text):
        return text
    return _ESCAPED.sub(_unescape_one, text)


def escape_metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    """Return metadata with every string escaped, keys included.

    Before ``json.dumps``, not after: it would write two lone surrogates as the pair that stands for
    one character, and make two keys into one.
    """
    return {escape(key): _map_strings(value, escape) for key, value in metadata.items()}


def unescape_metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    """Return the metadata that ``escape_metadata`` was given."""
    return {unescape(key): _map_strings(value, unescape) for key, value in metadata.items()}


def _map_strings(value: _JSON, change: Callable[[str], str]) -> _JSON:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {change(key): _map_strings(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [_map_strings(element, change) for element in value]
    return value


def _escape_one(match: re.Match[str]) -> str:
    character = match.group()
    if character == "\x00":
        return "\x01\x01"
    if character == "\x01":
        return "\x01\x02"
    if character == "\ud7ff":
        return "\ud7ff\x02"
    return "\ud7ff" + chr(_SHIFT + ord(character) - _SURROGATES)


def _unescape_one(match: re.Match[str]) -> str:
    low, high = match.groups()
    if low is not None:
        return "\x00" if low == "\x01" else "\x01"
    return "\ud7ff" if high == "\x02" else chr(_SURROGATES + ord(high) - _SHIFT)
