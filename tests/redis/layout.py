"""Looks at, and changes, what a storage keeps on its server, behind its back."""

# pyright: reportPrivateUsage=false

from collections.abc import Sequence
from typing import Any

from corail.storage.redis import RedisStorage
from corail.storage.redis._layout import Conversation, encode
from corail.storage.redis._server import Access


async def send(storage: RedisStorage, *command: str | bytes | int) -> Any:
    """Send one command to the server that has its key."""

    async def run(access: Access) -> Any:
        return await access.command(*command)

    return await storage._server.run(run)


def keys_of(storage: RedisStorage, conversation_id: str) -> Conversation:
    """Return the keys of a conversation."""
    return storage._layout.conversation(conversation_id)


async def give_one_created_at(storage: RedisStorage, conversation_ids: Sequence[str]) -> None:
    """Make the conversations as old as the first one, to the microsecond."""
    stamp: bytes = await send(storage, "HGET", keys_of(storage, conversation_ids[0]).meta, "created")
    for conversation_id in conversation_ids:
        keys = keys_of(storage, conversation_id)
        old: bytes = await send(storage, "HGET", keys.meta, "created")
        await send(storage, "ZREM", keys.listing, old + encode(conversation_id))
        await send(storage, "HSET", keys.meta, "created", stamp)
        await send(storage, "ZADD", keys.listing, 0, stamp + encode(conversation_id))
