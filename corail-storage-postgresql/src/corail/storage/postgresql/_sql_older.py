"""The statements for tables of an earlier release, and what makes those tables fit; nothing executes here.

Beside ``_sql``, not in it: these use the sequence of the old numbers and a table of their own, and run
on PostgreSQL alone. What differs from ``_sql``, everywhere:

- a conversation whose ``last_id`` is NULL is numbered by the old sequence, and its messages are counted;
- the earlier release left columns nullable, so what is read is coalesced;
- a message without a uid is the earlier release's and holds its text verbatim; it is escaped here as
  ``_text`` would have done, so that whoever reads needs to know only one form.

Each works before, during and after the upgrade, except for the appends: ``message_uids`` goes with its
last step, and 42P01 sends the storage to look at the tables again.
"""

# ruff: noqa: S608 - the constants are built from each other, never from a value

from dataclasses import replace
from typing import Final

from corail.storage.postgresql import _sql
from corail.storage.postgresql._sql import Statements, filled


def escaped(column: str) -> str:
    """Return SQL for what ``_text.escape`` makes of a column; NUL and surrogates are never in one."""
    return f"replace(replace({column}, chr(1), chr(1) || chr(2)), chr(55295), chr(55295) || chr(2))"


def _verbatim(column: str) -> str:
    return f"CASE WHEN m.uid IS NULL THEN {escaped(f'm.{column}')} ELSE m.{column} END AS {column}"


ROLE: Final = _verbatim("role")
CONTENT: Final = _verbatim("content")

# Sorted, so that nextval() runs after every row is locked and in the order of each share.
APPEND: Final = """
WITH conv AS (
  INSERT INTO {conversations} AS c (id, message_count, created_at, updated_at)
  SELECT t.id, t.n, clock_timestamp(), clock_timestamp()
  FROM unnest($1::text[], $2::bigint[]) AS t(id, n),
       (SELECT set_config('lock_timeout', $8, true) OFFSET 0) AS cfg(v)
  WHERE cfg.v IS NOT NULL
  ORDER BY t.id COLLATE "C"
  ON CONFLICT (id) DO UPDATE SET
    -- NULL stays NULL; message_count means something only where last_id does.
    last_id = c.last_id + EXCLUDED.message_count,
    message_count = c.message_count + EXCLUDED.message_count,
    updated_at = EXCLUDED.updated_at
  RETURNING c.id, c.last_id
),
uids AS (
  -- Makes every uid unique before the index does.
  INSERT INTO {message_uids} (conversation_id, uid)
  SELECT m.cid, m.uid FROM unnest($3::text[], $5::uuid[]) AS m(cid, uid) JOIN conv ON conv.id = m.cid
)
INSERT INTO {messages} (conversation_id, id, uid, role, content, created_at)
SELECT m.cid, COALESCE(conv.last_id - m.back, nextval({sequence})), m.uid, m.role, m.content,
  clock_timestamp()
FROM unnest($3::text[], $4::bigint[], $5::uuid[], $6::text[], $7::text[])
  AS m(cid, back, uid, role, content)
JOIN conv ON conv.id = m.cid
ORDER BY m.cid COLLATE "C", m.back DESC
"""

APPEND_ONE: Final = """
WITH cfg AS MATERIALIZED (
  SELECT set_config('lock_timeout', $5, true) AS v
),
conv AS (
  INSERT INTO {conversations} AS c (id, message_count, created_at, updated_at)
  SELECT $1::text, 1, clock_timestamp(), clock_timestamp() FROM cfg WHERE cfg.v IS NOT NULL
  ON CONFLICT (id) DO UPDATE SET
    last_id = c.last_id + 1,
    message_count = c.message_count + 1,
    updated_at = EXCLUDED.updated_at
  RETURNING c.id, c.last_id
),
uids AS (
  INSERT INTO {message_uids} (conversation_id, uid) SELECT conv.id, $2::uuid FROM conv
)
INSERT INTO {messages} (conversation_id, id, uid, role, content, created_at)
SELECT conv.id, COALESCE(conv.last_id, nextval({sequence})), $2::uuid, $3::text, $4::text, clock_timestamp()
FROM conv
"""

# By the primary key of message_uids: messages have no index on the uid yet.
FIND_ANY: Final = """
SELECT m.conversation_id
FROM unnest($1::text[], $2::uuid[]) AS w(cid, uid)
JOIN {message_uids} AS m ON m.conversation_id = w.cid AND m.uid = w.uid
LIMIT 1
"""

MESSAGES: Final = f"""
SELECT {ROLE}, {CONTENT}
FROM {{messages}} AS m
WHERE m.conversation_id = $1
ORDER BY m.id
"""

# Their number is not recorded: 129 of them, in any order, tell as much.
MANY_MESSAGES: Final = f"""
SELECT c.id, m.roles, m.contents, m.large
FROM {{conversations}} AS c
LEFT JOIN LATERAL (
  SELECT
    array_agg(o.role ORDER BY o.number) AS roles,
    array_agg(o.content ORDER BY o.number) AS contents,
    bool_or(o.content IS NULL) OR count(*) > 128 AS large
  FROM (
    SELECT m.number, {ROLE}, {CONTENT}
    FROM (
      SELECT
        id AS number,
        uid,
        role,
        CASE WHEN octet_length(content) <= 16384 THEN content END AS content
      FROM {{messages}}
      WHERE conversation_id = c.id
      LIMIT 129
    ) AS m
  ) AS o
) AS m ON true
WHERE c.id = ANY($1::text[])
"""

RECENT: Final = f"""
SELECT {ROLE}, {CONTENT}
FROM (
  SELECT m.id, m.uid, m.role, m.content
  FROM {{messages}} AS m
  WHERE m.conversation_id = $1
  ORDER BY m.id DESC
  LIMIT $2
) AS m
ORDER BY m.id
"""

PAGE_MESSAGES: Final = f"""
SELECT
  m.id,
  {ROLE},
  {CONTENT},
  to_char(COALESCE(m.created_at, 'epoch') AT TIME ZONE 'UTC', {{instant}}) AS created
FROM {{messages}} AS m
WHERE m.conversation_id = $1 AND m.id > $2::bigint
ORDER BY m.id
LIMIT $3
"""

CREATE: Final = """
INSERT INTO {conversations} (id, metadata, created_at, updated_at)
VALUES ($1, $2::text::jsonb, clock_timestamp(), clock_timestamp())
ON CONFLICT (id) DO NOTHING
"""

# Of the rows that are shown only: the whole list counts every message, a page those of its own.
ROW_COLUMNS: Final = """
SELECT
  c.id,
  COALESCE(c.title, '') AS title,
  COALESCE(c.metadata, '{{}}')::text AS metadata,
  to_char(COALESCE(c.created_at, 'epoch') AT TIME ZONE 'UTC', {instant}) AS created,
  to_char(COALESCE(c.updated_at, c.created_at, 'epoch') AT TIME ZONE 'UTC', {instant}) AS updated,
  CASE WHEN c.last_id IS NOT NULL THEN c.message_count
    ELSE (SELECT count(*) FROM {messages} AS m WHERE m.conversation_id = c.id) END AS message_count
"""

LIST: Final = f"""
{ROW_COLUMNS.strip()}
FROM {{conversations}} AS c
ORDER BY COALESCE(c.created_at, 'epoch') DESC, c.id COLLATE "C" DESC
"""

ROW: Final = f"""
{ROW_COLUMNS.strip()}
FROM {{conversations}} AS c
WHERE c.id = $1
"""

FIRST_PAGE: Final = f"""
{ROW_COLUMNS.strip()}
FROM (
  SELECT id, title, metadata, created_at, updated_at, last_id, message_count
  FROM {{conversations}}
  ORDER BY COALESCE(created_at, 'epoch') DESC, id COLLATE "C" DESC
  LIMIT $1
) AS c
ORDER BY COALESCE(c.created_at, 'epoch') DESC, c.id COLLATE "C" DESC
"""

NEXT_PAGE: Final = f"""
{ROW_COLUMNS.strip()}
FROM (
  SELECT id, title, metadata, created_at, updated_at, last_id, message_count
  FROM {{conversations}}
  WHERE (COALESCE(created_at, 'epoch'), id COLLATE "C") < ($2, $3)
  ORDER BY COALESCE(created_at, 'epoch') DESC, id COLLATE "C" DESC
  LIMIT $1
) AS c
ORDER BY COALESCE(c.created_at, 'epoch') DESC, c.id COLLATE "C" DESC
"""

CREATED_AT: Final = """
SELECT COALESCE(created_at, 'epoch') FROM {conversations} WHERE id = $1
"""

DELETE: Final = """
DELETE FROM {conversations} WHERE id = $1 AND COALESCE(created_at, 'epoch') = $2
"""

# How far the instant steps have come, and what the role lacks for the table that only we use.
STATE: Final = """
SELECT
  pg_get_serial_sequence($2, 'id') AS sequence,
  (SELECT count(*) FROM pg_catalog.pg_attribute AS a
   WHERE a.attrelid = to_regclass($1) AND a.attname IN ('last_id', 'message_count', 'updated_at')
     AND NOT a.attisdropped) = 3 AS has_counters,
  EXISTS (SELECT 1 FROM pg_catalog.pg_attribute AS a
   WHERE a.attrelid = to_regclass($2) AND a.attname = 'uid' AND NOT a.attisdropped) AS has_uid,
  to_regclass($3) IS NOT NULL AS has_uids,
  has_table_privilege($2, 'INSERT') AND NOT COALESCE(
    has_table_privilege(to_regclass($3), 'INSERT') AND has_table_privilege(to_regclass($3), 'SELECT'), true
  ) AS lacks_rights
"""

# As the earlier release makes it: it may have been interrupted between its two tables.
CREATE_OLD_MESSAGES: Final = """
CREATE TABLE IF NOT EXISTS {messages} (
  id serial PRIMARY KEY,
  conversation_id text NOT NULL REFERENCES {conversations} (id) ON DELETE CASCADE,
  role text NOT NULL,
  content text NOT NULL,
  created_at timestamptz DEFAULT now()
)
"""
CREATE_OLD_INDEX: Final = """
CREATE INDEX IF NOT EXISTS idx_messages_conversation_id ON {messages} (conversation_id)
"""

# The instant steps: no default, so that no row is rewritten and NULL tells a row of the earlier release.
ADD_COUNTERS: Final = """
ALTER TABLE {conversations}
  ADD COLUMN IF NOT EXISTS last_id bigint,
  ADD COLUMN IF NOT EXISTS message_count bigint,
  ADD COLUMN IF NOT EXISTS updated_at timestamptz
"""
ADD_UID: Final = """
ALTER TABLE {messages} ADD COLUMN IF NOT EXISTS uid uuid
"""
CREATE_UIDS: Final = """
CREATE TABLE IF NOT EXISTS {message_uids} (
  conversation_id text NOT NULL REFERENCES {conversations} (id) ON DELETE CASCADE,
  uid uuid NOT NULL,
  PRIMARY KEY (conversation_id, uid)
)
"""

# Whoever may write messages may write their uids.
WRITERS: Final = """
SELECT DISTINCT CASE WHEN acl.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(acl.grantee)) END
FROM pg_catalog.pg_class AS c, aclexplode(c.relacl) AS acl
WHERE c.oid = to_regclass($1) AND acl.privilege_type = 'INSERT' AND acl.grantee <> c.relowner
"""
GRANT: Final = "GRANT SELECT, INSERT ON {message_uids} TO {role}"


def statements(schema: str, sequence: str) -> Statements:
    """Return the statements for older tables in ``schema``.

    Args:
        schema: their schema.
        sequence: the sequence of the old numbers, as ``pg_get_serial_sequence`` names it.

    """
    literal = "'" + sequence.replace("'", "''") + "'::regclass"
    own = {
        name: filled(globals()[name.upper()], schema, sequence=literal)
        for name in Statements.__dataclass_fields__
        if name.upper() in globals()
    }
    return replace(_sql.statements(schema), **own)
