"""The statements of the upgrade of older tables; nothing here executes anything.

PostgreSQL alone, as in ``_sql_older``. What each step is for stands in ``_upgrade``.
"""

# ruff: noqa: S608 - the constants are built from each other, never from a value

from typing import Final

from corail.storage.postgresql._sql_older import escaped
from corail.storage.postgresql._sql_tables import COMMENT, SCHEMA_VERSION

# Of the session, and so not through a pooler; freed by the server when the process dies.
TRY_LOCK: Final = "SELECT pg_try_advisory_lock($1)"
HOLDER: Final = """
SELECT pid FROM pg_catalog.pg_locks
WHERE locktype = 'advisory' AND granted AND objsubid = 1
  AND classid::bigint = ($1::bigint >> 32) & 4294967295 AND objid::bigint = $1::bigint & 4294967295
"""
UNLIMITED: Final = (
    "SELECT set_config('statement_timeout', '0', false), set_config('lock_timeout', '0', false)"
)
BACKEND: Final = "SELECT pg_backend_pid()"

# By name: every index and constraint of an upgrade has one of its own.
INDEX_STATE: Final = """
SELECT i.indisvalid FROM pg_catalog.pg_index AS i WHERE i.indexrelid = to_regclass($1)
"""
CONSTRAINT_STATE: Final = """
SELECT c.convalidated FROM pg_catalog.pg_constraint AS c WHERE c.conrelid = to_regclass($1) AND c.conname = $2
"""
PRIMARY_KEY: Final = """
SELECT c.conname::text AS name, array_agg(a.attname::text ORDER BY k.position) AS columns
FROM pg_catalog.pg_constraint AS c
CROSS JOIN LATERAL unnest(c.conkey) WITH ORDINALITY AS k(attnum, position)
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum = k.attnum
WHERE c.conrelid = to_regclass($1) AND c.contype = 'p'
GROUP BY c.conname
"""
ID_TYPE: Final = """
SELECT format_type(atttypid, NULL) FROM pg_catalog.pg_attribute
WHERE attrelid = to_regclass($1) AND attname = 'id'
"""
REQUIRED: Final = """
SELECT attnotnull FROM pg_catalog.pg_attribute WHERE attrelid = to_regclass($1) AND attname = 'last_id'
"""
VERSION: Final = "SELECT obj_description(to_regclass($1), 'pg_class')"
DROP_INDEX: Final = "DROP INDEX CONCURRENTLY IF EXISTS {schema}.{index}"

INDEX_IDS: Final = """
CREATE UNIQUE INDEX CONCURRENTLY messages_conversation_id_id_key ON {messages} (conversation_id, id)
"""
INDEX_UIDS: Final = """
CREATE UNIQUE INDEX CONCURRENTLY messages_conversation_id_uid_key ON {messages} (conversation_id, uid)
"""
INDEX_LIST: Final = """
CREATE INDEX CONCURRENTLY idx_conversations_created_at ON {conversations} (created_at, id COLLATE "C")
"""
# Finds what is still to number without looking at the rest; goes when nothing is.
INDEX_UNNUMBERED: Final = """
CREATE INDEX CONCURRENTLY idx_conversations_unnumbered ON {conversations} (id COLLATE "C")
WHERE last_id IS NULL
"""

SWAP_PRIMARY_KEY: Final = """
ALTER TABLE {messages}
  DROP CONSTRAINT {constraint},
  ADD CONSTRAINT messages_pkey PRIMARY KEY USING INDEX messages_conversation_id_id_key
"""

# NOT VALID: old rows stay as they are; only what is written from now on needs a uid.
REFUSE_OLD_WRITERS: Final = """
ALTER TABLE {messages} ADD CONSTRAINT messages_written_by_this_release CHECK (uid IS NOT NULL) NOT VALID
"""

UNNUMBERED: Final = """
SELECT id FROM {conversations}
WHERE last_id IS NULL AND ($1::text IS NULL OR id COLLATE "C" > $1)
ORDER BY id COLLATE "C"
LIMIT $2
"""
# Two statements, the second seeing what the lock waited for; a count in the statement that takes the
# lock came out one short.
LOCK_CONVERSATIONS: Final = """
SELECT id FROM {conversations} WHERE id = ANY($1::text[]) ORDER BY id COLLATE "C" FOR NO KEY UPDATE
"""
NUMBER: Final = """
UPDATE {conversations} AS c SET
  last_id = n.last,
  message_count = n.rows,
  title = COALESCE(c.title, ''),
  metadata = COALESCE(c.metadata, '{{}}'),
  created_at = COALESCE(c.created_at, 'epoch'),
  updated_at = COALESCE(c.updated_at, c.created_at, 'epoch')
FROM unnest($1::text[]) AS w(id)
CROSS JOIN LATERAL (
  SELECT COALESCE(max(m.id), 0)::bigint AS last, count(*) AS rows
  FROM {messages} AS m WHERE m.conversation_id = w.id
) AS n
WHERE c.id = w.id AND c.last_id IS NULL
RETURNING c.id, c.last_id
"""

# Where the old sequence has ended: of these conversations, those whose own numbers have not begun or
# end soon. New ones are made first, so that there is a row to lock.
MAKE_ROOM: Final = """
INSERT INTO {conversations} (id, last_id, message_count, created_at, updated_at)
SELECT id, 0, 0, clock_timestamp(), clock_timestamp() FROM unnest($1::text[]) AS t(id) ORDER BY id COLLATE "C"
ON CONFLICT (id) DO NOTHING
"""
WITHOUT_ROOM: Final = """
SELECT id FROM {conversations} WHERE id = ANY($1::text[]) AND (last_id IS NULL OR last_id > $2)
"""

# From 1 on, by way of negative numbers, or one would meet another's old one. A row that changes is
# made ours, since the earlier release's may no longer be written.
RENUMBER_ASIDE: Final = f"""
UPDATE {{messages}} AS m SET
  id = -n.id,
  uid = COALESCE(m.uid, gen_random_uuid()),
  role = CASE WHEN m.uid IS NULL THEN {escaped("m.role")} ELSE m.role END,
  content = CASE WHEN m.uid IS NULL THEN {escaped("m.content")} ELSE m.content END,
  created_at = COALESCE(m.created_at, 'epoch')
FROM (
  SELECT t.id AS old, row_number() OVER (ORDER BY t.id) AS id
  FROM {{messages}} AS t WHERE t.conversation_id = $1
) AS n
WHERE m.conversation_id = $1 AND m.id = n.old
"""
RENUMBER_BACK: Final = """
UPDATE {messages} SET id = -id WHERE conversation_id = $1
"""
RENUMBERED: Final = """
UPDATE {conversations} AS c SET
  last_id = n.rows,
  message_count = n.rows,
  updated_at = COALESCE(c.updated_at, c.created_at, 'epoch')
FROM (SELECT count(*) AS rows FROM {messages} WHERE conversation_id = $1) AS n
WHERE c.id = $1
"""

# Rows that the statements of this release would read otherwise: those whose text holds a character of
# the escape, or without a time. They are escaped and made ours.
TO_ADOPT: Final = """
SELECT conversation_id, id::bigint AS id FROM {messages}
WHERE (conversation_id, id) > ($1::text, $2::bigint)
  AND uid IS NULL
  AND (created_at IS NULL OR strpos(content, chr(1)) > 0 OR strpos(content, chr(55295)) > 0
       OR strpos(role, chr(1)) > 0 OR strpos(role, chr(55295)) > 0)
ORDER BY conversation_id, id
LIMIT $3
"""
ADOPT: Final = f"""
UPDATE {{messages}} AS m SET
  uid = gen_random_uuid(),
  role = {escaped("m.role")},
  content = {escaped("m.content")},
  created_at = COALESCE(m.created_at, 'epoch')
FROM unnest($1::text[], $2::bigint[]) AS w(cid, id)
WHERE m.conversation_id = w.cid AND m.id = w.id AND m.uid IS NULL
"""

# The one moment at which storages change over: with message_uids gone they look at the tables again
# and find the version.
LOCK_TABLE: Final = "LOCK TABLE {conversations} IN ACCESS EXCLUSIVE MODE"
CHANGE_OVER: Final = (
    """
ALTER TABLE {conversations}
  ALTER last_id SET DEFAULT 0,
  ALTER message_count SET DEFAULT 0,
  ALTER updated_at SET DEFAULT clock_timestamp(),
  ADD CONSTRAINT conversations_complete CHECK (
    last_id IS NOT NULL AND message_count IS NOT NULL AND updated_at IS NOT NULL
    AND title IS NOT NULL AND metadata IS NOT NULL AND created_at IS NOT NULL
  ) NOT VALID
""",
    "DROP INDEX IF EXISTS {schema}.idx_conversations_unnumbered",
    "DROP TABLE IF EXISTS {message_uids}",
    f"COMMENT ON TABLE {{conversations}} IS '{COMMENT}{SCHEMA_VERSION}'",
)

COMPLETE: Final = """
UPDATE {conversations} SET
  title = COALESCE(title, ''),
  metadata = COALESCE(metadata, '{{}}'),
  created_at = COALESCE(created_at, 'epoch')
WHERE title IS NULL OR metadata IS NULL OR created_at IS NULL
"""
VALIDATE: Final = "ALTER TABLE {conversations} VALIDATE CONSTRAINT conversations_complete"
# Instant, since the valid constraint says the same; it goes in a command of its own, or it would not count.
REQUIRE: Final = (
    """
ALTER TABLE {conversations}
  ALTER last_id SET NOT NULL,
  ALTER message_count SET NOT NULL,
  ALTER updated_at SET NOT NULL,
  ALTER title SET NOT NULL,
  ALTER metadata SET NOT NULL,
  ALTER created_at SET NOT NULL
""",
    "ALTER TABLE {conversations} DROP CONSTRAINT conversations_complete",
)
