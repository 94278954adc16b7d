"""The statements stay inside what PostgreSQL, Citus, YugabyteDB and CockroachDB share.

Exempt are those of ``_sql_older`` and ``_sql_upgrade``: the tables of the earlier release number their
messages by a sequence, which ties them to PostgreSQL; the other engines never held such tables.
"""

import re

import pytest

from corail.storage.postgresql import _sql, _sql_tables

STATEMENTS = {
    name: text
    for name, text in (vars(_sql) | vars(_sql_tables)).items()
    if name.isupper() and isinstance(text, str) and name not in {"COMMENT"}
}
CATALOGUE = {"PROBE"}
"""Reads the catalogues, where our tables are names in quotes."""

# What is refused: how it is recognised, and an example that shows that it is.
FORBIDDEN = {
    "sequence": (r"\b(big|small)?serial\d?\b|\bsequence\b|\b(next|set|curr)val\b", "id BIGSERIAL"),
    "identity column": (r"\bgenerated\b", "id bigint GENERATED ALWAYS AS IDENTITY"),
    "uuid made by the server": (r"\bgen_random_uuid\b|\buuid_generate\w*\b|\buuidv[47]\b", "uuidv7()"),
    "trigger": (r"\btrigger\b", "CREATE TRIGGER t"),
    "function": (r"\bcreate\s+(or\s+replace\s+)?(function|procedure)\b|\bdo\s+\$", "DO $$"),
    "notification": (r"\blisten\b|\bnotify\b|\bpg_notify\b", "LISTEN c"),
    "temporary table": (r"\btemp(orary)?\b|\bunlogged\b", "CREATE TEMP TABLE t"),
    "session setting": (r"^\s*set\b|\bset\s+(session|local)\b|set_config\([^)]*false\)", "SET work_mem = 1"),
    "session lock": (r"\bpg_(try_)?advisory_(lock|unlock)\w*\b", "SELECT pg_advisory_lock(1)"),
    "domain or enum": (r"\bcreate\s+(domain|type)\b", "CREATE TYPE t"),
    "every column, whatever it is": (r"select\s+\*|\w\.\*|returning\s+\*", "SELECT * FROM t"),
}


def code(text: str) -> str:
    return re.sub(r"--.*", "", text).lower()


def commands() -> list[str]:
    return sorted(STATEMENTS)


def test_the_statements_are_found() -> None:
    assert {"APPEND", "DELETE", "CREATE_MESSAGES", "PROBE"} <= set(commands())
    assert len(commands()) > 20


@pytest.mark.parametrize("name", commands())
@pytest.mark.parametrize("what", sorted(FORBIDDEN))
def test_a_statement_uses_nothing_that_the_engines_do_not_share(name: str, what: str) -> None:
    pattern, example = FORBIDDEN[what]
    assert re.search(pattern, code(example))
    assert not re.search(pattern, code(STATEMENTS[name]))


@pytest.mark.parametrize("name", commands())
def test_no_update_calls_a_volatile_function(name: str) -> None:
    for update in re.findall(r"\bupdate\b.*", code(STATEMENTS[name]), re.DOTALL):
        assert "clock_timestamp" not in update
        assert "random" not in update


@pytest.mark.parametrize("name", sorted(set(commands()) - CATALOGUE))
def test_our_tables_are_always_qualified(name: str) -> None:
    without_placeholders = re.sub(r"\{\w+\}", "", code(STATEMENTS[name]))
    assert not re.search(r"\b(conversations|messages)\b", without_placeholders)


@pytest.mark.parametrize("name", commands())
def test_each_table_is_written_at_most_once_per_statement(name: str) -> None:
    writes = re.findall(
        r"\b(?:insert\s+into|update|delete\s+from|merge\s+into)\s+(\{\w+\})", code(STATEMENTS[name])
    )
    assert len(writes) == len(set(writes))


@pytest.mark.parametrize("name", [name for name in commands() if "{conversations}" in STATEMENTS[name]])
def test_conversations_are_ordered_and_locked_by_their_id_in_one_collation(name: str) -> None:
    text = code(STATEMENTS[name])
    for order in re.findall(r"order\s+by\s+([^)]*?)(?:limit|on\s+conflict|\)|$)", text, re.DOTALL):
        for term in order.split(","):
            if re.match(r"(\w+\.)?id\b", term.strip()):
                assert 'collate "c"' in term
    for keyset in re.findall(r"\(([^()]*\bid\b[^()]*)\)\s*[<>]", text):
        assert 'collate "c"' in keyset


def test_the_tables_we_make_sort_ids_by_code_point() -> None:
    assert 'id text collate "c" primary key' in code(_sql_tables.CREATE_CONVERSATIONS)
    assert 'conversation_id text collate "c" not null' in code(_sql_tables.CREATE_MESSAGES)


def test_keys_of_messages_begin_with_the_conversation() -> None:
    keys = re.findall(r"(?:primary key|unique)\s*\(([^)]*)\)", code(_sql_tables.CREATE_MESSAGES))
    assert keys == ["conversation_id, id", "conversation_id, uid"]


def test_the_append_bounds_its_wait_for_a_lock_in_the_same_statement() -> None:
    assert "set_config('lock_timeout', $8, true)" in code(_sql.APPEND)


@pytest.mark.parametrize("schema", ["s", 'a"b', "{messages}", "{0}", "%s", "$1", "a b", "ä'ß", "--", "\\"])
def test_a_schema_name_is_quoted_whatever_it_contains(schema: str) -> None:
    quoted = '"' + schema.replace('"', '""') + '"'
    filled = _sql.statements(schema)
    assert f"INSERT INTO {quoted}.conversations AS c" in filled.append
    assert f"INSERT INTO {quoted}.messages" in filled.append
    assert all(quoted in command for command in _sql_tables.definition(schema, create_schema=True))
