"""What a new backend may be called, and the names that follow from it; touches no file."""

import keyword
import re
import sys
from typing import Final, NamedTuple

from corail.storage.factory import (
    _REGISTRY,  # pyright: ignore[reportPrivateUsage] - what core has already given a meaning
)

LONGEST: Final = 30
"""Long enough for any product, and the template's lines stay within their limit."""
RULE: Final = (
    "lower-case letters and digits, words joined by single dashes, a letter first, at most "
    f"{LONGEST} characters"
)

_NAME: Final = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
# Distributions corail-storage-NAME of this project that are no backend, or that core does not know.
_OURS: Final = frozenset({"core", "testing", "redis"})


class RefusedError(Exception):
    """Nothing was written; the message says why, and what would do."""


class Names(NamedTuple):
    """Everything that a backend's name decides."""

    name: str
    """What ``CORAIL_STORAGE`` selects."""
    distribution: str
    package: str
    class_name: str
    variable: str
    """The environment variable with the path."""


def names_of(name: str) -> Names:
    """Return the names that follow from ``name``; raise ``RefusedError`` if it will not do."""
    if len(name) > LONGEST or not _NAME.fullmatch(name):
        raise RefusedError(f"{_shown(name)} cannot name a backend. Use {RULE}. {_suggestion(name)}")
    identifier = name.replace("-", "_")
    if name.startswith("corail"):
        raise RefusedError(
            f"{name!r} is reserved: the name of the distribution begins with corail-storage- anyway. "
            f"{_suggestion(name)}"
        )
    if name in _OURS or name in _REGISTRY:
        raise RefusedError(
            f"{name!r} is reserved: corail-storage-{name} belongs to the Corail project, and two backends of "
            f"one name are an error. Add what makes yours another, as in: my-{name}"
        )
    if keyword.iskeyword(identifier) or identifier in sys.stdlib_module_names:
        what = "a keyword" if keyword.iskeyword(identifier) else "a module of the standard library"
        raise RefusedError(
            f"{name!r} is reserved: it is {what} of Python, and readers would take it for that. "
            f"Add a word, as in: {name}-file"
        )
    return Names(
        name=name,
        distribution=f"corail-storage-{name}",
        package=f"corail_storage_{identifier}",
        class_name="".join(word.capitalize() for word in name.split("-")) + "Storage",
        variable=f"CORAIL_{identifier.upper()}_PATH",
    )


def _shown(name: str) -> str:
    return ascii(name if len(name) <= LONGEST else f"{name[:LONGEST]}...")


def _suggestion(name: str) -> str:
    """Return an example, made of what was given where that is possible."""
    words = re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower())
    # A common slip: the name of the distribution, or of its package.
    candidate = "-".join(words[2:] if words[:2] == ["corail", "storage"] else words)
    try:
        usable = name.isascii() and candidate != name and bool(names_of(candidate))
    except RefusedError:
        usable = False
    return f"As in: {candidate if usable else 'my-notes'}"
