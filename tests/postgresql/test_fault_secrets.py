"""Every failure we can provoke, with asyncio and all loggers at their most talkative: no secret is told."""

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from corail.storage.errors import StorageError
from corail.storage.postgresql import PostgreSQLStorage
from tests.postgresql.addresses import closed_port, password_of, with_database, with_host, with_user
from tests.postgresql.fault_proxy import Fate, FaultProxy
from tests.postgresql.observing import Observer

pytestmark = pytest.mark.anyio

PASSWORD = "zqsesame"  # noqa: S105 - looked for in what is told
CONTENT = "zqcontent"
METADATA = {"zqkey": "zqvalue"}
SECRETS = (PASSWORD, CONTENT, *METADATA, *METADATA.values())
LIMITS: dict[str, Any] = {
    "deadline": 0.25,
    "connect_timeout": 0.25,
    "command_timeout": 0.25,
    "acquire_timeout": 0.25,
    "close_timeout": 0.25,
}

CALLS: dict[str, Callable[[PostgreSQLStorage], Awaitable[object]]] = {
    "append": lambda storage: storage.append_message("c", "user", CONTENT),
    "batch": lambda storage: storage.append_messages(
        "c", [{"role": "user", "content": CONTENT}] * 3, idempotency_key="key"
    ),
    "create": lambda storage: storage.create_conversation("new", METADATA),
    "title": lambda storage: storage.update_title("c", CONTENT),
    "read": lambda storage: storage.get_messages("c"),
    "recent": lambda storage: storage.get_recent_messages("c", 1),
    "list": lambda storage: storage.list_conversations(),
    "check": lambda storage: storage.check(),
}

SERVER_SIDE = {
    "checks": """
        ALTER TABLE messages ADD CHECK (content NOT LIKE '%zq%') NOT VALID;
        ALTER TABLE conversations ADD CHECK (title NOT LIKE '%zq%') NOT VALID;
        ALTER TABLE conversations ADD CHECK (metadata::text NOT LIKE '%zq%') NOT VALID
    """,
    "triggers": """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
          RAISE WARNING 'saw %', NEW;
          RAISE EXCEPTION 'not %', NEW USING ERRCODE = 'ZZ001', DETAIL = NEW::text, HINT = NEW::text;
        END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION refuse();
        CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON conversations FOR EACH ROW EXECUTE FUNCTION refuse()
    """,
    "changed columns": """
        ALTER TABLE messages ALTER content TYPE int USING 0;
        ALTER TABLE conversations ALTER title DROP DEFAULT, ALTER title TYPE int USING 0;
        ALTER TABLE conversations ALTER metadata DROP DEFAULT, ALTER metadata TYPE int USING 0
    """,
    "no columns": "ALTER TABLE messages DROP COLUMN content; ALTER TABLE conversations DROP COLUMN metadata",
    "no tables": "DROP TABLE messages, conversations",
}


@pytest.fixture
def talkative(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    caplog.set_level("DEBUG")
    yield caplog
    caplog.clear()


def told(error: BaseException) -> Iterator[str]:
    """Yield every text of an error and of what it came from, and how a logger would show it."""
    yield "".join(traceback.format_exception(error))
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield f"{each} {each!r} {each.args!r} {vars(each)!r} {getattr(each, '__notes__', '')}"
        waiting += [each.__cause__, each.__context__]


async def provoke(storage: PostgreSQLStorage) -> list[str]:
    """Make every call; return all that can be seen of the failures and of the object."""
    texts = [repr(storage), str(storage)]
    for call in CALLS.values():
        try:
            result = await call(storage)
        except StorageError as error:
            texts += told(error)
        else:
            # What was stored is the caller's own; the report of check() is told to others.
            texts += [repr(result)] if call is CALLS["check"] else []
    return texts


@pytest.mark.faults(
    area="secrets",
    done="14 ways to fail x 8 calls, all loggers and asyncio in debug mode, every text searched",
    expected="no piece of a password, message, title or metadata",
)
async def test_no_failure_tells_a_secret(
    observer: Observer,
    url: str,
    schema: str,
    role: str,
    proxy: FaultProxy,
    talkative: pytest.LogCaptureFixture,
    measured: Callable[[str], None],
) -> None:
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 0.05
    async with PostgreSQLStorage(url, schema=schema) as first:
        await first.create_conversation("c")
    await observer.execute(f"ALTER ROLE {role} PASSWORD '{PASSWORD}'")
    await observer.execute(f"GRANT ALL ON SCHEMA {schema} TO {role}")
    await observer.execute(f"GRANT ALL ON conversations, messages TO {role}")
    known = with_user(url, role, PASSWORD)
    texts: list[str] = []

    async def fail(dsn: str, **options: Any) -> None:
        storage = PostgreSQLStorage(dsn, schema=schema, **{**LIMITS, **options})
        texts.extend(await provoke(storage))
        await storage.aclose()
        texts.extend(await provoke(storage))

    await fail(with_user(url, role, PASSWORD + "-but-wrong"))
    await fail(with_user(url, "nobody", PASSWORD))
    await fail(with_database(known, "missing"))
    await fail(with_host(known, "127.0.0.1", closed_port()))
    await fail(with_host(known, "host.invalid", 5432))
    through = with_user(proxy.url, role, PASSWORD)
    for fate in (Fate.CUT_BEFORE, Fate.CUT_AFTER, Fate.HANG):
        proxy.once(schema, fate, times=1000)
        await fail(through)
        await proxy.heal()
    async with observer.transaction():
        await observer.execute("LOCK TABLE messages, conversations IN ACCESS EXCLUSIVE MODE")
        await fail(known, pool_size=1)
    for damage in SERVER_SIDE.values():
        # In the middle of a storage's life, and from its first connection on.
        storage = PostgreSQLStorage(known, schema=schema, **LIMITS)
        await storage.check()
        await observer.execute(damage)
        texts += await provoke(storage)
        await storage.aclose()
        await fail(known)
        await observer.execute(f"DROP SCHEMA {schema} CASCADE")
        async with PostgreSQLStorage(url, schema=schema) as again:
            await again.create_conversation("c")
        await observer.execute(f"GRANT ALL ON SCHEMA {schema} TO {role}")
        await observer.execute(f"GRANT ALL ON conversations, messages TO {role}")
    logged = talkative.text.splitlines()
    leaks = [text for text in (*texts, *logged) if any(secret in text for secret in SECRETS)]
    measured(f"{len(leaks)} of {len(texts)} texts and {len(logged)} log lines hold a piece of one")
    assert leaks == []
    assert len(texts) > 300
    assert password_of(url) not in "".join((*texts, *logged))
