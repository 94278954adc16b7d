"""Conversation storage on PostgreSQL; importing it loads asyncpg and connects to nothing."""

from corail.storage.postgresql._schema import schema_sql
from corail.storage.postgresql._storage import PostgreSQLStorage

__all__ = ["PostgreSQLStorage", "schema_sql"]
