"""Every SQL statement of the storage's calls, as named constants; nothing here executes anything.

Those that look for the tables and make them are in ``_sql_tables``.

``{conversations}`` and ``{messages}`` stand for qualified, quoted names, since ``search_path`` cannot
be relied on behind a pooler. The statements stay inside what PostgreSQL, Citus, YugabyteDB and
CockroachDB share: no sequence, trigger, temporary table, session setting or session lock, and each
table is written once per statement.
"""

from dataclasses import dataclass, fields
from typing import Final

INSTANT: Final = """'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"'"""
"""``{instant}`` in a statement: the format of a time in UTC as the port returns it (C-13)."""

APPEND: Final = """
WITH conv AS (
  INSERT INTO {conversations} AS c (id, last_id, message_count)
  SELECT t.id, t.n, t.n
  FROM unnest($1::text[], $2::bigint[]) AS t(id, n),
       -- Bounds the wait for a row lock, for this statement only and in the same round trip.
       (SELECT set_config('lock_timeout', $8, true) OFFSET 0) AS cfg(v)
  WHERE cfg.v IS NOT NULL
  -- One lock order for every writer: with two, 92 of 227 batches deadlocked.
  ORDER BY t.id COLLATE "C"
  ON CONFLICT (id) DO UPDATE SET
    last_id = c.last_id + EXCLUDED.last_id,
    message_count = c.message_count + EXCLUDED.message_count,
    -- The default of the column: Citus refuses a function call here.
    updated_at = EXCLUDED.updated_at
  RETURNING c.id, c.last_id
)
INSERT INTO {messages} (conversation_id, id, uid, role, content)
-- Numbers are taken under the row lock, so no reader ever sees a gap that fills later (C-21).
SELECT m.cid, conv.last_id - m.back, m.uid, m.role, m.content
FROM unnest($3::text[], $4::bigint[], $5::uuid[], $6::text[], $7::text[])
  AS m(cid, back, uid, role, content)
JOIN conv ON conv.id = m.cid
"""

# The same for a batch of one message, without arrays: 260 us where the other takes 320.
APPEND_ONE: Final = """
WITH cfg AS MATERIALIZED (
  SELECT set_config('lock_timeout', $5, true) AS v
),
conv AS (
  INSERT INTO {conversations} AS c (id, last_id, message_count)
  SELECT $1::text, 1, 1 FROM cfg WHERE cfg.v IS NOT NULL
  ON CONFLICT (id) DO UPDATE SET
    last_id = c.last_id + 1,
    message_count = c.message_count + 1,
    updated_at = EXCLUDED.updated_at
  RETURNING c.id, c.last_id
)
INSERT INTO {messages} (conversation_id, id, uid, role, content)
SELECT conv.id, conv.last_id, $2::uuid, $3::text, $4::text FROM conv
"""

FIND_ANY: Final = """
SELECT m.conversation_id
FROM unnest($1::text[], $2::uuid[]) AS w(cid, uid)
JOIN {messages} AS m ON m.conversation_id = w.cid AND m.uid = w.uid
LIMIT 1
"""

FIND_KEYED: Final = """
SELECT uid, role, content
FROM {messages}
WHERE conversation_id = $1 AND uid = ANY($2::uuid[])
"""

# A duplicate found by a retry is acknowledged only after this has committed: it waits for a
# synchronous standby as the append itself should have.
BARRIER: Final = """
UPDATE {conversations} SET updated_at = now() WHERE id = $1
"""

MESSAGES: Final = """
SELECT role, content
FROM {messages}
WHERE conversation_id = $1
ORDER BY id
"""

# Whole conversations, many at once, two arrays each: half the processor time of a row per message.
# Not those that are too long (IS NOT TRUE: or of a length not known) or hold too large a message to
# share a query; octet_length reads no content to tell.
MANY_MESSAGES: Final = """
SELECT c.id, m.roles, m.contents, m.large OR (c.message_count <= 128) IS NOT TRUE AS large
FROM {conversations} AS c
LEFT JOIN LATERAL (
  SELECT
    -- Ordered here: the order of a subquery is nobody's promise.
    array_agg(o.role ORDER BY o.number) AS roles,
    array_agg(o.content ORDER BY o.number) AS contents,
    bool_or(o.content IS NULL) AS large
  FROM (
    SELECT id AS number, role, CASE WHEN octet_length(content) <= 16384 THEN content END AS content
    FROM {messages}
    WHERE conversation_id = c.id AND c.message_count <= 128
  ) AS o
) AS m ON true
WHERE c.id = ANY($1::text[])
"""

RECENT: Final = """
SELECT role, content
FROM (
  SELECT id, role, content
  FROM {messages}
  WHERE conversation_id = $1
  ORDER BY id DESC
  LIMIT $2
) AS tail
ORDER BY id
"""

PAGE_MESSAGES: Final = """
SELECT id, role, content, to_char(created_at AT TIME ZONE 'UTC', {instant}) AS created
FROM {messages}
-- A column that came from an earlier release is an integer, which the parameter need not be.
WHERE conversation_id = $1 AND id > $2::bigint
ORDER BY id
LIMIT $3
"""

# By way of text: a given pool may have a codec for jsonb, which would encode it once more.
CREATE: Final = """
INSERT INTO {conversations} (id, metadata) VALUES ($1, $2::text::jsonb) ON CONFLICT (id) DO NOTHING
"""

EXISTS: Final = """
SELECT EXISTS (SELECT 1 FROM {conversations} WHERE id = $1)
"""

MANY_EXIST: Final = """
SELECT id FROM {conversations} WHERE id = ANY($1::text[])
"""

# metadata as text: without a codec asyncpg returns jsonb as text anyway, and CockroachDB wants the cast.
# Times as text: in Python, making 10,000 datetimes and formatting them took two thirds of a list of 5,000.
# Not under their own names, by which ORDER BY would sort the text.
LIST: Final = """
SELECT
  id,
  title,
  metadata::text AS metadata,
  to_char(created_at AT TIME ZONE 'UTC', {instant}) AS created,
  to_char(updated_at AT TIME ZONE 'UTC', {instant}) AS updated,
  message_count
FROM {conversations}
ORDER BY created_at DESC, id COLLATE "C" DESC
"""

ROW: Final = """
SELECT
  id,
  title,
  metadata::text AS metadata,
  to_char(created_at AT TIME ZONE 'UTC', {instant}) AS created,
  to_char(updated_at AT TIME ZONE 'UTC', {instant}) AS updated,
  message_count
FROM {conversations}
WHERE id = $1
"""

FIRST_PAGE: Final = """
SELECT
  id,
  title,
  metadata::text AS metadata,
  to_char(created_at AT TIME ZONE 'UTC', {instant}) AS created,
  to_char(updated_at AT TIME ZONE 'UTC', {instant}) AS updated,
  message_count
FROM {conversations}
ORDER BY created_at DESC, id COLLATE "C" DESC
LIMIT $1
"""

NEXT_PAGE: Final = """
SELECT
  id,
  title,
  metadata::text AS metadata,
  to_char(created_at AT TIME ZONE 'UTC', {instant}) AS created,
  to_char(updated_at AT TIME ZONE 'UTC', {instant}) AS updated,
  message_count
FROM {conversations}
WHERE (created_at, id COLLATE "C") < ($2, $3)
ORDER BY created_at DESC, id COLLATE "C" DESC
LIMIT $1
"""

# now(), not clock_timestamp(): Citus refuses volatile functions in an UPDATE.
TITLE: Final = """
UPDATE {conversations} SET title = $2, updated_at = now() WHERE id = $1
"""

CREATED_AT: Final = """
SELECT created_at FROM {conversations} WHERE id = $1
"""

# Only the conversation that was there when the call began: repeated after a lost reply, it cannot
# remove one that was created again in the meantime, and so no acknowledged append (C-32).
DELETE: Final = """
DELETE FROM {conversations} WHERE id = $1 AND created_at = $2
"""

CHECK: Final = """
SELECT
  current_setting('server_version') AS version,
  pg_is_in_recovery() AS standby,
  current_setting('transaction_read_only') = 'on' AS read_only,
  current_setting('default_transaction_isolation') AS isolation
"""

# Asked, not read from what the server reported at login: a pooler repeats what it once heard.
HOST_ROLE: Final = """
SELECT pg_is_in_recovery() AS standby, current_setting('transaction_read_only') = 'on' AS read_only
"""


@dataclass(frozen=True, slots=True)
class Statements:
    """The statements with the names of one schema filled in."""

    append: str
    append_one: str
    find_any: str
    find_keyed: str
    barrier: str
    messages: str
    many_messages: str
    recent: str
    page_messages: str
    create: str
    exists: str
    many_exist: str
    list: str
    row: str
    first_page: str
    next_page: str
    title: str
    created_at: str
    delete: str


def quoted(identifier: str) -> str:
    """Return an identifier as it can stand in SQL, whatever it contains."""
    return '"' + identifier.replace('"', '""') + '"'


def statements(schema: str) -> Statements:
    """Return the statements for the tables in ``schema``."""
    return Statements(
        **{item.name: filled(globals()[item.name.upper()], schema) for item in fields(Statements)}
    )


def filled(command: str, schema: str, **names: str) -> str:
    """Return a statement with the names of one schema, and further ones, filled in."""
    return command.strip().format(
        schema=quoted(schema),
        conversations=f"{quoted(schema)}.conversations",
        messages=f"{quoted(schema)}.messages",
        instant=INSTANT,
        message_uids=f"{quoted(schema)}.message_uids",
        **names,
    )
