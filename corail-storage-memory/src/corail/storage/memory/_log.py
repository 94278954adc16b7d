"""The messages of one conversation, in about the size of their text.

One ``bytearray`` of UTF-8 and three arrays of numbers stand for a dict and a string per message. A
log is not thread-safe, the store's lock guards it; an excerpt is detached and decoded without the
lock. Nothing here may know of conversations, locks or the port.
"""

from array import array
from collections.abc import Iterable
from itertools import accumulate, pairwise
from typing import Final, NamedTuple

_ENCODING: Final = "utf-8"
_ERRORS: Final = "surrogatepass"  # a lone surrogate is text like any other (C-02)


class Batch(NamedTuple):
    """Messages ready to be added: encoded before the store's lock is taken."""

    roles: list[str]
    sizes: list[int]
    text: bytearray


class Excerpt(NamedTuple):
    """A run of messages copied out of a log, still encoded."""

    first: int
    """Messages in the log before the run."""
    total: int
    """Messages in the log."""
    text: bytearray
    bounds: "array[int]"
    """Where each message begins, then where the last ends, counted in the text of the whole log."""
    codes: "array[int]"
    """The role of each message, as its place in ``names``."""
    names: list[str]
    offsets: "array[int]"
    """When each message was added, in microseconds after ``since``."""
    since: int

    def roles(self) -> list[str]:
        """Return the role of each message."""
        return [self.names[code] for code in self.codes]

    def contents(self) -> list[str]:
        """Return the content of each message."""
        text, base = self.text, self.bounds[0]
        # Each message is decoded by itself: surrogates at the edges of two must not meet.
        return [
            text[start - base : end - base].decode(_ENCODING, _ERRORS) for start, end in pairwise(self.bounds)
        ]

    def times(self) -> list[int]:
        """Return when each message was added, in microseconds since the epoch."""
        return [self.since + offset for offset in self.offsets]

    def holds(self, batch: Batch) -> bool:
        """Return whether the run is exactly these messages."""
        ends = [self.bounds[0] + end for end in accumulate(batch.sizes)]
        return self.text == batch.text and list(self.bounds[1:]) == ends and self.roles() == batch.roles


class MessageLog:
    """Messages in order, to be added to and copied out of, never changed.

    Args:
        since: microseconds since the epoch, not after any message.

    """

    __slots__ = ("_bounds", "_codes", "_names", "_offsets", "_since", "_text")

    def __init__(self, since: int) -> None:
        self._since = since
        self._text = bytearray()
        # Each grows wider when it must: at 64 KiB of text, the 257th role, and after 71 minutes.
        self._bounds: array[int] = array("H", [0])
        self._codes: array[int] = array("B")
        self._offsets: array[int] = array("I")
        self._names: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._bounds) - 1

    def extend(self, batch: Batch, at: int) -> None:
        """Add at least one message at microsecond ``at``: all of the batch, or nothing if this raises."""
        count, size = len(self), self._bounds[-1]
        names = self._names
        codes = [names.setdefault(role, len(names)) for role in batch.roles]
        ends = [size + end for end in accumulate(batch.sizes)]
        self._codes = _wide_enough(self._codes, max(codes))
        self._bounds = _wide_enough(self._bounds, ends[-1])
        self._offsets = _wide_enough(self._offsets, at - self._since)
        # To the end, not at the end: a call that was interrupted here (MemoryError) may have left a tail.
        self._text[size:] = batch.text
        self._codes[count:] = array(self._codes.typecode, codes)
        self._offsets[count:] = array(self._offsets.typecode, [at - self._since]) * len(ends)
        # Last, and in one step: the bounds alone say how many messages there are.
        self._bounds[count + 1 :] = array(self._bounds.typecode, ends)

    def excerpt(self, which: slice) -> Excerpt:
        """Copy out a run of neighbouring messages, chosen as in a list."""
        total = len(self)
        first, end, _ = which.indices(total)
        end = max(first, end)
        bounds = self._bounds[first : end + 1]
        return Excerpt(
            first=first,
            total=total,
            text=self._text[bounds[0] : bounds[-1]],
            bounds=bounds,
            codes=self._codes[first:end],
            names=list(self._names),
            offsets=self._offsets[first:end],
            since=self._since,
        )


def encode(messages: Iterable[tuple[str, str]]) -> Batch:
    """Return pairs of role and content as a batch."""
    roles: list[str] = []
    parts: list[bytes] = []
    for role, content in messages:
        roles.append(role)
        parts.append(content.encode(_ENCODING, _ERRORS))
    return Batch(roles, [len(part) for part in parts], bytearray().join(parts))


def _wide_enough(numbers: "array[int]", largest: int) -> "array[int]":
    if largest < 1 << 8 * numbers.itemsize:
        return numbers
    wider = next(code for code in "HIQ" if largest < 1 << 8 * array(code).itemsize)
    return array(wider, numbers)
