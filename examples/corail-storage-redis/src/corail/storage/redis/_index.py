"""The list of conversations, merged from the 64 shards of the index, newest first.

A member stands for a conversation until it is seen that the conversation is gone: its row is looked
up by the member's own ``created``, and what does not match leaves the index there and then.
"""

from collections.abc import Sequence
from typing import Final

from corail.storage.rows import ConversationRow

from corail.storage.redis._layout import STAMP_DIGITS, Layout, Shard, shard_of
from corail.storage.redis._rows import conversation
from corail.storage.redis._scripts import ROWS
from corail.storage.redis._server import Access, Call

# Each script holds up its node while it runs: 200 rows take about half a millisecond.
_ROWS_AT_ONCE: Final = 200
_SCRIPTS_AT_ONCE: Final = 64
_LEAST: Final = 8


async def everything(access: Access, layout: Layout) -> list[ConversationRow]:
    """Return the row of every conversation."""
    parts: list[list[bytes]] = await access.reads(
        [("ZRANGE", shard.listing, 0, -1) for shard in layout.shards]
    )
    return await _rows(access, layout, sorted((member for part in parts for member in part), reverse=True))


async def page(
    access: Access, layout: Layout, limit: int, after: bytes | None
) -> tuple[list[ConversationRow], bool]:
    """Return up to ``limit`` rows that come after a member, and whether there are more."""
    walk = _Walk(layout, limit, after)
    rows: list[ConversationRow] = []
    while len(rows) <= limit:
        members = await walk.take(access, limit + 1 - len(rows))
        if not members:
            break
        rows += await _rows(access, layout, members)
    return rows[:limit], len(rows) > limit


class _Walk:
    """A merge of the shards that reads little more of each than it needs."""

    def __init__(self, layout: Layout, limit: int, after: bytes | None) -> None:
        # 64 shards share a page: each has far less than an eighth of it.
        self._step = max(_LEAST, limit // 8)
        start = b"+" if after is None else b"(" + after
        # Shards that may have more, with the place to read on from: below the last member read.
        self._open: dict[Shard, bytes] = dict.fromkeys(layout.shards, start)
        self._read: list[bytes] = []

    async def take(self, access: Access, count: int) -> list[bytes]:
        """Return the next members, ``count`` of them or all there are."""
        while True:
            # A member is next only if no shard can still have a greater one.
            floor = max(self._open.values(), default=b"")
            known = sum(b"(" + member >= floor for member in self._read)
            if known >= count or not self._open:
                taken, self._read = self._read[:count], self._read[count:]
                return taken
            await self._read_on(access, [shard for shard, start in self._open.items() if start == floor])

    async def _read_on(self, access: Access, shards: Sequence[Shard]) -> None:
        found: list[list[bytes]] = await access.reads(
            [
                # Not ZRANGE ... BYLEX REV, which Redis knows only from 6.2 on.
                ("ZREVRANGEBYLEX", shard.listing, self._open[shard], "-", "LIMIT", 0, self._step)
                for shard in shards
            ]
        )
        for shard, members in zip(shards, found, strict=True):
            if len(members) < self._step:
                del self._open[shard]
            else:
                self._open[shard] = b"(" + members[-1]
            self._read += members
        self._read.sort(reverse=True)


async def _rows(access: Access, layout: Layout, members: Sequence[bytes]) -> list[ConversationRow]:
    rows: list[ConversationRow] = []
    groups = _groups(members)
    found: dict[bytes, ConversationRow] = {}
    for start in range(0, len(groups), _SCRIPTS_AT_ONCE):
        some = groups[start : start + _SCRIPTS_AT_ONCE]
        answers = await access.read_scripts(ROWS, [_call(layout, group) for group in some])
        for group, answer in zip(some, answers, strict=True):
            for member, fields in zip(group, answer, strict=True):
                row = None if fields is None else conversation(member[STAMP_DIGITS:], fields)
                if row is not None:
                    found[member] = row
    rows += [found[member] for member in members if member in found]
    return rows


def _groups(members: Sequence[bytes]) -> list[list[bytes]]:
    by_shard: dict[int, list[bytes]] = {}
    for member in members:
        by_shard.setdefault(shard_of(member[STAMP_DIGITS:]), []).append(member)
    return [
        part[start : start + _ROWS_AT_ONCE]
        for part in by_shard.values()
        for start in range(0, len(part), _ROWS_AT_ONCE)
    ]


def _call(layout: Layout, members: Sequence[bytes]) -> Call:
    shard = layout.shards[shard_of(members[0][STAMP_DIGITS:])]
    return (shard.listing, shard.expiry, *(layout.meta(member) for member in members)), members
