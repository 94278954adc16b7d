"""The SQL that looks for the tables and makes them, as named constants; nothing here executes anything.

Within the same limits as ``_sql``, so that other engines can run it.
"""

from typing import Final

from corail.storage.postgresql._sql import filled

SCHEMA_VERSION: Final = 1
COMMENT: Final = "corail-storage schema "
"""Start of the comment on ``conversations`` that records the version; comments need no grant to read."""

SESSION: Final = """
SELECT
  current_schemas(false)::text[] AS schemas,
  current_user::text AS role,
  -- Another one than at login where a pooler stands between.
  pg_backend_pid() AS backend,
  current_setting('server_encoding') AS encoding
"""

# pg_catalog, not information_schema: that shows only tables the role has been granted. Of every kind
# and with any columns or none: a sequence, index or type of that name is in the way of a table, too.
PROBE: Final = """
SELECT
  n.nspname::text AS schema,
  c.relname::text AS name,
  c.relkind::text AS kind,
  obj_description(c.oid, 'pg_class') AS comment,
  array_agg(a.attname::text ORDER BY a.attnum) AS columns,
  array_agg(format_type(a.atttypid, NULL) ORDER BY a.attnum) AS types,
  -- Not boolean[], whose type asyncpg would have to ask for first.
  array_agg(a.attname::text) FILTER (WHERE a.attnotnull) AS required
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE n.nspname = ANY($1::text[])
  AND c.relname IN ('conversations', 'messages')
GROUP BY n.nspname, c.relname, c.relkind, c.oid
"""

# Of the transaction, so that it works behind PgBouncer; the key is ours and the schema's.
LOCK: Final = "SELECT pg_advisory_xact_lock($1)"
LOCK_TIMEOUT: Final = "SELECT set_config('lock_timeout', $1, true)"

SCHEMA_EXISTS: Final = "SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1)"
CREATE_SCHEMA: Final = "CREATE SCHEMA IF NOT EXISTS {schema}"

# fillfactor leaves room for the counters to change in place (HOT); no index covers a column that
# an append changes.
CREATE_CONVERSATIONS: Final = """
CREATE TABLE IF NOT EXISTS {conversations} (
  id text COLLATE "C" PRIMARY KEY,
  title text NOT NULL DEFAULT '',
  metadata jsonb NOT NULL DEFAULT '{{}}',
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  last_id bigint NOT NULL DEFAULT 0,
  message_count bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 80)
"""

CREATE_MESSAGES: Final = """
CREATE TABLE IF NOT EXISTS {messages} (
  conversation_id text COLLATE "C" NOT NULL REFERENCES {conversations} (id) ON DELETE CASCADE,
  id bigint NOT NULL,
  uid uuid NOT NULL,
  role text NOT NULL,
  content text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (conversation_id, id),
  UNIQUE (conversation_id, uid)
)
"""

CREATE_INDEX: Final = """
CREATE INDEX IF NOT EXISTS idx_conversations_created_at ON {conversations} (created_at, id COLLATE "C")
"""

RECORD_VERSION: Final = f"""
COMMENT ON TABLE {{conversations}} IS '{COMMENT}{SCHEMA_VERSION}'
"""


def definition(schema: str, *, create_schema: bool) -> list[str]:
    """Return the statements that make the tables, in order, one command each."""
    commands = [CREATE_CONVERSATIONS, CREATE_MESSAGES, CREATE_INDEX, RECORD_VERSION]
    return [filled(command, schema) for command in ([CREATE_SCHEMA] if create_schema else []) + commands]
