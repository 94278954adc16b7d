"""The tables as the earlier release made them, and what it sent; nothing of the library here."""

from tests.postgresql.observing import Observer

CONVERSATIONS = """
CREATE TABLE {s}.conversations (
  id text primary key, title text default '', metadata jsonb default '{{}}',
  created_at timestamptz default now())
"""
MESSAGES = """
CREATE TABLE {s}.messages (
  id serial primary key, conversation_id text not null references {s}.conversations(id) on delete cascade,
  role text not null, content text not null, created_at timestamptz default now())
"""
INDEX = "CREATE INDEX idx_messages_conversation_id ON {s}.messages (conversation_id)"


async def make_older(connection: Observer, schema: str) -> None:
    """Make the tables of the earlier release, empty."""
    for command in ("CREATE SCHEMA IF NOT EXISTS {s}", CONVERSATIONS, MESSAGES, INDEX):
        await connection.execute(command.format(s=schema))


async def append_old(connection: Observer, schema: str, conversation_id: str, content: str) -> None:
    """Append as the earlier release did."""
    await connection.execute(
        f"INSERT INTO {schema}.conversations (id) VALUES ($1) ON CONFLICT DO NOTHING",  # noqa: S608
        conversation_id,
    )
    await connection.execute(
        f"INSERT INTO {schema}.messages (conversation_id, role, content) VALUES ($1, 'user', $2)",  # noqa: S608
        conversation_id,
        content,
    )
