"""Hostile texts, ids and metadata: fixed lists of what has hurt, and hypothesis strategies around them."""

from typing import Any, Final

from hypothesis import strategies as st

from corail.storage.capabilities import ANY_TEXT
from corail.storage.port import StoragePort

# Held by every sane store: pairs that a normalisation, a collation, a trim or a key pattern confuses.
CONFUSABLE: Final = (
    *("a", "A", "a ", " a", "a\n", "a\t", "a\r\n", "a\x0b", "a\xa0", "a\u3000", "a\u200b", "\ufeffa"),
    *("\u00e9", "e\u0301", "E\u0301", "\u1ebf", "\u00ea\u0301", "\u03ac", "\u1f71", "\uac00", "\u1100\u1161"),
    *("ss", "\xdf", "\u1e9e", "fi", "\ufb01", "K", "k", "\u212a", "i", "\u0131", "\u0130", "i\u0307"),
    *("1", "\uff11", "\xb9", "01", "1.0", "1e0", "None", "null", "", "undefined", "a\xad"),
    *("a/b", "a%2Fb", "a:b", "a::b", "..", "../a", "a*", "a?", "[a]", "{a}", "a_", "a%", "a.b", "a,b"),
    *("'", "''", '"', "`", "\\", "\\\\", "'; DROP TABLE messages; --", "$1", "%s", "{0}", "${a}", "#a", "@a"),
    *("\x01", "\x01\x01", "\x01\x02", "\x7f", "\x1b[31m", "\x85", "\u2028", "\u202eabc", "\ufffd", "\ufffe"),
    *(
        "\ud7ff",
        "\ud7ff\x02",
        "\ud7ff\x80",
        "\ue000",
        "\uffff",
        "\U0001f600",
        "\U0010ffff",
        "\U0001f468\u200d",
    ),
    *("\\x00", "\\u0000"),
)

# Held with any_text; others may refuse them, never alter them.
UNSTORABLE: Final = (
    *("\x00", "a\x00", "\x00a", "\x00\x00", "\x00\x01"),
    *("\ud800", "\udfff", "\ud83d\ude00", "\ude00\ud83d", "a\udc80", "\ud7ff\ud800", "\ud7ff\udc00\x00"),
)

TEXTS: Final = (
    *CONFUSABLE,
    *(" ", "\n", "\r", "\r\n", "line\nline\r\nline\rline", "  two  spaces  ", "\ttab", "end\n\n"),
    *('{"json": [1, 2]}', "\\n", "\\\\u0041", "<a href='x'>&amp;</a>", "a\u0315\u0300\u0344", "\u05d0\u202b"),
    *("".join(map(chr, range(1, 32))), "".join(map(chr, range(127, 160)))),
    *("\u0e01" * 3_000, "\U0001f600" * 2_000),
)

ROLES: Final = (
    *("user", "User", "USER", " user", "user ", "assistant", "tool"),
    *("r\u00f4le", "ro\u0302le", "\U0001f600", "x" * 64),
)


def plain(storage: StoragePort) -> tuple[str, ...]:
    """Return short hostile texts that this storage must hold."""
    if ANY_TEXT in storage.capabilities:
        return (*CONFUSABLE, *UNSTORABLE)
    return tuple(text for text in CONFUSABLE if text.isascii())


def texts(storage: StoragePort) -> st.SearchStrategy[str]:
    """Return a strategy of texts this storage must hold."""
    if ANY_TEXT in storage.capabilities:
        # exclude_categories=() lets lone surrogates in.
        letters = st.characters(exclude_categories=())
        pieces = st.sampled_from([*CONFUSABLE, *UNSTORABLE])
    else:
        letters = st.characters(min_codepoint=32, max_codepoint=126)
        pieces = st.sampled_from(plain(storage))
    return st.lists(st.one_of(letters, pieces), max_size=8).map("".join)


def metadata(storage: StoragePort) -> st.SearchStrategy[dict[str, Any]]:
    """Return a strategy of metadata that the contract allows (C-03)."""
    text = texts(storage)
    scalar = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(-(2**53), 2**53, exclude_min=True, exclude_max=True),
        text,
    )
    value = st.recursive(
        scalar,
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(text, inner, max_size=3)),
        max_leaves=8,
    )
    return st.dictionaries(text, value, max_size=4)


def nested(levels: int) -> dict[str, Any]:
    """Return an object with so many levels, itself the first."""
    value: dict[str, Any] = {}
    for _ in range(levels - 1):
        value = {"deeper": value}
    return value
