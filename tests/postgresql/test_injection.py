"""What callers and operators pass in reaches SQL as a value or a quoted name, or not at all."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from corail.storage.errors import StorageConfigurationError, StorageError
from corail.storage.postgresql import PostgreSQLStorage, _sql, schema_sql
from tests.postgresql.addresses import with_parameters
from tests.postgresql.observing import Observer

pytestmark = pytest.mark.anyio

HOSTILE = (
    "'; DROP TABLE canary; --",
    '"; DROP TABLE canary; --',
    "$1; DROP TABLE canary",
    "$$; DROP TABLE canary; $$",
    "\\'; DROP TABLE canary; --",
    "c'); DROP TABLE canary; --",
    "{messages}",
    "%s' OR '1'='1",
    "\x00'; DROP TABLE canary; --",
    "\ud800'; DROP TABLE canary; --",
)
NAMES = st.text(st.sampled_from("\"';-$\\{}%. \t\nDROPabä\U0001f600\x00\ud800"), min_size=0, max_size=70)


@pytest.fixture
async def canary(observer: Observer, schema: str) -> str:
    """A table that is gone when a statement of somebody else's ran."""
    await observer.execute(f"CREATE SCHEMA {schema}; CREATE TABLE canary ()")
    return f"{schema}.canary"


async def test_ids_texts_keys_and_metadata_are_values(
    storage: PostgreSQLStorage, observer: Observer, canary: str
) -> None:
    for text in HOSTILE:
        await storage.create_conversation(text, {text: [text, {text: text}]})
        await storage.append_message(text, text, text)
        messages = [{"role": text, "content": text}, {"role": "user", "content": text}]
        for _ in range(2):
            await storage.append_messages(text, messages, idempotency_key=text)
        await storage.update_title(text, text)
        row = await storage.get_conversation(text)
        assert row is not None
        assert (row["id"], row["title"], row["message_count"]) == (text, text, 3)
        assert row.get("metadata") == {text: [text, {text: text}]}
        assert await storage.get_messages(text) == [{"role": text, "content": text}, *messages]
    assert len((await storage.page_conversations(limit=100))["items"]) == len(HOSTILE)
    for text in HOSTILE[1:]:
        await storage.delete_conversation(text)
    assert [row["id"] for row in await storage.list_conversations()] == [HOSTILE[0]]
    assert await observer.fetchval("SELECT to_regclass($1) IS NOT NULL", canary)


@pytest.mark.parametrize("cursor", HOSTILE)
async def test_a_cursor_that_is_not_ours_is_refused(storage: PostgreSQLStorage, cursor: str) -> None:
    for call in (storage.page_conversations(after=cursor), storage.page_messages("c", after=cursor)):
        with pytest.raises(StorageError):
            await call


@given(name=NAMES)
@example("")
@example("x" * 64)
@example("ä" * 32)
@example('"; DROP TABLE canary; --')
@example("a\x00b")
@example("\ud800")
def test_a_schema_name_is_quoted_or_refused(name: str) -> None:
    possible = 1 <= len(name.encode("utf-8", "replace")) <= 63 and not set("\x00\ud800") & set(name)
    if not possible:
        for refused in (lambda: PostgreSQLStorage("postgresql://h/d", schema=name), lambda: schema_sql(name)):
            with pytest.raises(StorageConfigurationError, match="CORAIL_DB_SCHEMA"):
                refused()
        return
    PostgreSQLStorage("postgresql://h/d", schema=name)
    quoted = '"' + name.replace('"', '""') + '"'
    plain = _sql.statements("plain")
    for field, statement in ((field, getattr(plain, field)) for field in plain.__slots__):
        # Nothing of the statement changes but the name, which stands in quotes.
        assert getattr(_sql.statements(name), field) == statement.replace('"plain"', quoted)
    assert schema_sql(name) == schema_sql("plain").replace('"plain"', quoted)


@pytest.mark.parametrize("value", [*HOSTILE[:8], "1; drop", "10 OR 1=1", "1e3", "-1", "0", "٣", "10.0"])
def test_an_option_that_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    names = ("pool_size", "connect_timeout", "acquire_timeout", "command_timeout", "deadline")
    for name in (*names, "close_timeout", "max_content_bytes", "auto_create"):
        options: dict[str, Any] = {name: value}
        with pytest.raises(TypeError, match=name):
            PostgreSQLStorage("postgresql://h/d", **options)
    monkeypatch.setenv("CORAIL_DB_POOL_SIZE", value)
    with pytest.raises(StorageConfigurationError, match="CORAIL_DB_POOL_SIZE") as caught:
        PostgreSQLStorage("postgresql://h/d")
    assert "DROP" not in str(caught.value)
    monkeypatch.delenv("CORAIL_DB_POOL_SIZE")
    for name in ("connect_timeout", "command_timeout", "statement_cache_size"):
        try:
            float(value)
        except ValueError:
            with pytest.raises(StorageConfigurationError, match=name):
                PostgreSQLStorage(with_parameters("postgresql://h/d", **{name: value}))


@given(value=st.sampled_from(HOSTILE[:8]) | st.text("\"';-$\\{}%. =DROPabä", max_size=50))
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_parameters_of_the_url_reach_the_server_as_values(
    url: str, schema: str, observer: Observer, value: str
) -> None:
    name = f"canary_{schema}"
    await observer.execute(f"CREATE TABLE IF NOT EXISTS public.{name} ()")
    hostile = value.replace("canary", f"public.{name}")
    given_url = with_parameters(url.partition("?")[0], application_name=hostile, search_path=hostile)
    async with PostgreSQLStorage(given_url, schema=schema, deadline=2) as storage:
        # A search_path that is none is refused by the server.
        with suppress(StorageConfigurationError):
            await storage.append_message("c", "user", "x")
    assert await observer.fetchval("SELECT to_regclass($1) IS NOT NULL", f"public.{name}")


@pytest.mark.parametrize("variable", [True, False])
async def test_a_hostile_schema_is_that_schema_and_nothing_else(
    observer: Observer,
    canary: str,
    url: str,
    schema: str,
    monkeypatch: pytest.MonkeyPatch,
    open_storage: Callable[..., PostgreSQLStorage],
    *,
    variable: bool,
) -> None:
    name = f'{schema}"; DROP TABLE canary; --'[-63:]
    if variable:
        monkeypatch.setenv("CORAIL_DB_SCHEMA", name)
    storage = open_storage(url, schema=None if variable else name)
    await storage.append_message("c", "user", "x")
    assert await observer.fetchval("SELECT count(*) FROM pg_namespace WHERE nspname = $1", name) == 1
    assert await observer.fetchval("SELECT to_regclass($1) IS NOT NULL", canary)
