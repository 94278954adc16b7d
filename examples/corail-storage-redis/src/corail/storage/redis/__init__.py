"""Conversation storage on Redis, Valkey and Redis Cluster; importing it connects to nothing."""

from corail.storage.redis._storage import RedisStorage

__all__ = ["RedisStorage"]
