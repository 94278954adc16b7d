"""Which database URLs are understood, how, and which are refused with what to do."""

from itertools import product
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corail.storage.errors import StorageConfigurationError
from corail.storage.postgresql import PostgreSQLStorage
from corail.storage.postgresql._dsn import known_parameters, parse


@pytest.mark.parametrize(
    "scheme",
    ["postgresql", "postgres", "postgresql+asyncpg", "postgres+asyncpg", "PostgreSQL", "POSTGRESQL+ASYNCPG"],
)
def test_every_scheme_in_use_is_understood(scheme: str) -> None:
    dsn = parse(f"{scheme}://agent:sesame@db.example:5433/chats")
    assert (dsn.hosts, dsn.user, dsn.password, dsn.database) == (
        (("db.example", 5433),),
        "agent",
        "sesame",
        "chats",
    )


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        ("h", [("h", 5432)]),
        ("h:1", [("h", 1)]),
        ("h:65535", [("h", 65535)]),
        ("h:", [("h", 5432)]),
        ("a,b", [("a", 5432), ("b", 5432)]),
        ("a:1,b:2,c", [("a", 1), ("b", 2), ("c", 5432)]),
        ("127.0.0.1:6432", [("127.0.0.1", 6432)]),
        ("[::1]", [("::1", 5432)]),
        ("[2001:db8::1]:6432,[::2]", [("2001:db8::1", 6432), ("::2", 5432)]),
        ("a:1,[::1]:2,b", [("a", 1), ("::1", 2), ("b", 5432)]),
        ("[fe80::1%25eth0]:1", [("fe80::1%eth0", 1)]),
        ("%2Fvar%2Frun%2Fpostgresql", [("/var/run/postgresql", 5432)]),
        ("UPPER.example", [("UPPER.example", 5432)]),
        ("my-db_1.svc.cluster.local.", [("my-db_1.svc.cluster.local.", 5432)]),
    ],
)
def test_hosts_ports_addresses_and_sockets(hosts: str, expected: list[tuple[str, int]]) -> None:
    assert list(parse(f"postgresql://u:p@{hosts}/d").hosts) == expected
    assert list(parse(f"postgresql://{hosts}/d").hosts) == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("host=h", [("h", 5432)]),
        ("host=h&port=1", [("h", 1)]),
        ("host=a,b&port=1", [("a", 1), ("b", 1)]),
        ("host=a,b&port=1,2", [("a", 1), ("b", 2)]),
        ("host=/var/run/postgresql", [("/var/run/postgresql", 5432)]),
        ("host=/var/run/postgresql&port=6432", [("/var/run/postgresql", 6432)]),
        ("host=%2Ftmp,db", [("/tmp", 5432), ("db", 5432)]),  # noqa: S108 - parsed, not opened
        ("host=[::1]:7", [("::1", 7)]),
    ],
)
def test_hosts_may_stand_in_the_query(query: str, expected: list[tuple[str, int]]) -> None:
    assert list(parse(f"postgresql:///d?{query}").hosts) == expected
    assert list(parse(f"postgresql://u:p@/d?{query}").hosts) == expected


def test_credentials_and_names_are_percent_decoded() -> None:
    dsn = parse("postgresql://us%40er:p%40%3A%2F%3F%23%25%20%C3%A4@h/my%2Fdata%20base")
    assert (dsn.user, dsn.password, dsn.database) == ("us@er", "p@:/?#% ä", "my/data base")


def test_reserved_characters_that_mislead_nobody_may_stand_for_themselves() -> None:
    dsn = parse("postgresql://u:a@b:c+d=e&f,g!h$i@h/d")
    assert (dsn.user, dsn.password, dsn.hosts) == ("u", "a@b:c+d=e&f,g!h$i", (("h", 5432),))
    # What urllib.parse refuses, and libpq does not.
    for password in ("a[b", "a]b", "a℀b"):
        assert parse(f"postgresql://u:{password}@h/d").password == password


@given(user=st.text(min_size=1), password=st.text(min_size=1), database=st.text(min_size=1))
def test_anything_percent_encoded_comes_out_as_it_went_in(user: str, password: str, database: str) -> None:

    dsn = parse(
        f"postgresql://{quote(user, safe='')}:{quote(password, safe='')}@h/{quote(database, safe='')}"
    )
    assert (dsn.user, dsn.password, dsn.database) == (user, password, database)


def test_names_may_stand_in_the_query() -> None:
    dsn = parse("postgresql://h?user=u&password=p%40&dbname=d")
    assert (dsn.user, dsn.password, dsn.database) == ("u", "p@", "d")
    assert parse("postgresql://u@h").database is None
    assert parse("postgresql://u@h/").database is None


def test_surrounding_space_of_a_variable_or_secret_file_does_not_count() -> None:
    assert parse("  postgresql://u:p@h/d\n") == parse("postgresql://u:p@h/d")


@pytest.mark.parametrize(
    ("query", "sslmode"),
    [
        ("sslmode=verify-full", "verify-full"),
        ("ssl=require", "require"),
        ("ssl=verify-ca", "verify-ca"),
        ("ssl=true", "require"),
        ("ssl=True", "require"),
        ("ssl=1", "require"),
        ("ssl=false", "disable"),
        ("ssl=0", "disable"),
        ("sslmode=verify-full&ssl=true", "verify-full"),
        ("", None),
    ],
)
def test_ssl_is_another_word_for_sslmode(query: str, sslmode: str | None) -> None:
    dsn = parse(f"postgresql://h/d?{query}")
    assert dsn.parameters.get("sslmode") == sslmode
    assert "ssl" not in dsn.server_settings


LIBPQ_ONLY = (
    "channel_binding=require&keepalives=1&keepalives_idle=30&keepalives_interval=10&keepalives_count=3"
    "&gssencmode=disable&tcp_user_timeout=1000&sslcompression=0&sslsni=1&load_balance_hosts=random"
    "&client_encoding=utf8&connection_limit=5&pool_timeout=10&pgbouncer=true&async_fallback=true"
    "&requirepeer=postgres&require_auth=scram-sha-256&sslcertmode=allow&gssdelegation=0&prepare_threshold=0"
)


def test_parameters_without_a_meaning_here_are_dropped_not_sent_to_the_server() -> None:
    dsn = parse(f"postgresql://h/d?{LIBPQ_ONLY}&sslmode=require&target_session_attrs=read-write")
    assert dsn.server_settings == {"application_name": "corail-storage"}
    assert dsn.parameters == {"sslmode": "require"}
    assert dsn.target_session_attrs == "read-write"


@pytest.mark.anyio
async def test_a_url_of_a_hosted_provider_connects(url: str, schema: str) -> None:
    dsn = f"{url}&{LIBPQ_ONLY}&connect_timeout=10&sslmode=prefer&target_session_attrs=read-write"
    async with PostgreSQLStorage(dsn, schema=schema) as storage:
        await storage.append_message("c", "user", "hello")
        assert await storage.conversation_exists("c")


def test_settings_of_the_server_are_passed_on() -> None:
    dsn = parse("postgresql://h/d?application_name=pod-7&search_path=corail&options=-c%20geqo%3Doff")
    assert dsn.server_settings == {
        "application_name": "pod-7",
        "search_path": "corail",
        "options": "-c geqo=off",
    }
    fallback = parse("postgresql://h/d?fallback_application_name=agent")
    assert fallback.server_settings == {"application_name": "agent"}


def test_every_parameter_that_is_not_passed_on_is_known_to_the_documentation() -> None:
    known = set(known_parameters())
    assert {"sslmode", "ssl", "host", "connect_timeout", "channel_binding", "pgbouncer"} <= known
    query = "&".join(f"{name}=1" for name in known - {"host", "port", "target_session_attrs"})
    assert set(parse(f"postgresql://h/d?{query}").server_settings) == {"application_name"}


def test_times_are_read_and_zero_means_the_default() -> None:
    dsn = parse("postgresql://h/d?connect_timeout=3&command_timeout=2.5")
    assert (dsn.connect_timeout, dsn.command_timeout) == (3.0, 2.5)
    dsn = parse("postgresql://h/d?connect_timeout=0")
    assert (dsn.connect_timeout, dsn.command_timeout) == (None, None)


@pytest.mark.parametrize("name", ["connect_timeout", "command_timeout"])
@pytest.mark.parametrize("text", ["soon", "-1", "nan", "inf", "1e9"])
def test_a_time_that_is_none_is_refused_by_name(name: str, text: str) -> None:
    with pytest.raises(StorageConfigurationError, match=name):
        parse(f"postgresql://h/d?{name}={text}")


@pytest.mark.parametrize(
    ("query", "size"),
    [
        ("statement_cache_size=0", 0),
        ("statement_cache_size=50", 50),
        ("prepared_statement_cache_size=7", 7),
        ("pgbouncer=true", 0),
        ("pgbouncer=true&statement_cache_size=50", 0),
        ("pgbouncer=false", None),
        ("", None),
    ],
)
def test_the_statement_cache_can_be_chosen_in_the_url(query: str, size: int | None) -> None:
    assert parse(f"postgresql://h/d?{query}").statement_cache_size == size


@pytest.mark.parametrize("text", ["-1", "many", "1.5", "9" * 5000])
def test_a_statement_cache_size_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(StorageConfigurationError, match="statement_cache_size"):
        parse(f"postgresql://h/d?statement_cache_size={text}")


@pytest.mark.parametrize("missing", [None, "", "   ", "\n"])
def test_a_missing_or_blank_url_names_the_variable_and_an_example(missing: str | None) -> None:
    with pytest.raises(StorageConfigurationError, match="CORAIL_DATABASE_URL=postgresql://user") as caught:
        parse(missing)
    assert "There is no default server" in str(caught.value)


@pytest.mark.parametrize("blank", [None, "", "  \t"])
def test_an_unset_or_blank_variable_is_never_localhost(
    monkeypatch: pytest.MonkeyPatch, blank: str | None
) -> None:
    for name in ("PGHOST", "PGDATABASE", "PGUSER"):
        monkeypatch.setenv(name, "localhost")
    if blank is not None:
        monkeypatch.setenv("CORAIL_DATABASE_URL", blank)
    with pytest.raises(StorageConfigurationError, match="CORAIL_DATABASE_URL"):
        PostgreSQLStorage()


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u:sesame@h/d",
        "postgresql:u:sesame@h/d",
        "postgresql:/u:sesame@h/d",
        "u:sesame@h/d",
        "sesame",
        "host=h password=sesame",
        "https://h/sesame",
        "postgresql+psycopg2://u:sesame@h/d",
        "://u:sesame@h/d",
        "sesame word://u@h/d",
    ],
)
def test_another_scheme_is_refused_with_the_right_ones(url: str) -> None:
    with pytest.raises(StorageConfigurationError, match="must start with postgresql://") as caught:
        parse(url)
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("postgresql:///d", "names no host"),
        ("postgresql://", "names no host"),
        ("postgresql://u:sesame@/d", "names no host"),
        ("postgresql://u:sesame@,/d", "names no host"),
        ("postgresql://u:sesame@a,,b/d", "host name is empty"),
        ("postgresql://u:sesame@a,/d", "host name is empty"),
        ("postgresql://u:sesame@:5432/d", "host name is empty"),
        ("postgresql://u:sesame@h:0/d", "port"),
        ("postgresql://u:sesame@h:65536/d", "port"),
        ("postgresql://u:sesame@h:x/d", "port"),
        ("postgresql://u:sesame@h:-1/d", "port"),
        ("postgresql://u:sesame@h:1.5/d", "port"),
        ("postgresql://u:sesame@h:²/d", "port"),
        ("postgresql://u:sesame@h:" + "1" * 5000 + "/d", "port"),
        ("postgresql://u:sesame@h1:1:2/d", "port"),
        ("postgresql://u:sesame@::1/d", "host name is empty"),
        ("postgresql://u:sesame@[::1/d", "closed"),
        ("postgresql://u:sesame@[::1]x/d", "closed"),
        ("postgresql://u:sesame@h/d#x", "'#'"),
        ("postgresql://u:sesame#x@h/d", "'#'"),
        ("postgresql://u:#sesame@h/d", "'#'"),
        ("postgresql://u:ses/ame@h/d", "'@'|port"),
        ("postgresql://u:12/sesame@h/d", "'@'"),
        ("postgresql://u:/sesame@h/d", "'@'"),
        ("postgresql://u:12?sesame@h/d", "'@'"),
        ("postgresql://u:?sesame=x@h/d", "'@'"),
        ("postgresql://u:x@12/sesame@h/d", "'@'"),
        ("postgresql://u:ses\name@h/d", "line break|control"),
        ("postgresql://u:ses\tame@h/d", "line break|control"),
        ("postgresql://u:sesame@h /d", "malformed"),
        ("postgresql:///d?host=a,b,c&port=1,2", "different number of ports"),
    ],
)
def test_a_url_that_cannot_be_meant_is_refused_with_the_reason(url: str, why: str) -> None:
    with pytest.raises(StorageConfigurationError, match=why) as caught:
        parse(url)
    text = str(caught.value)
    assert "postgresql://user:password@host" in text
    assert not [piece for piece in ("sesame", "ses", "ame@", "12") if piece in text.replace("names", "")]
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_the_description_names_hosts_and_database_only() -> None:
    dsn = parse("postgresql://agent:sesame@a:1,[::1]:2/chats?sslpassword=sesame&password=sesame")
    assert dsn.describe() == "a:1,[::1]:2/chats"
    assert "sesame" not in repr(dsn)
    for user, database in product(["", "u:sesame@"], ["", "/d"]):
        assert "sesame" not in parse(f"postgresql://{user}h{database}").describe()
