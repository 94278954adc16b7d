"""No piece of a password is ever shown, however unfortunate the password."""

import traceback
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from corail.storage.errors import StorageConfigurationError
from corail.storage.postgresql import PostgreSQLStorage
from corail.storage.postgresql._dsn import parse

# Words that would be noticed, one of them a valid port, between everything that means something in a URL.
WORDS = ("zqsesame", "31337")
SEPARATORS = st.text("@:/?#[]%&=,;+ \\\"'\t\n\x00äé\U0001f600{}$", max_size=3)
PASSWORDS = st.lists(st.tuples(SEPARATORS, st.sampled_from(WORDS), SEPARATORS), min_size=1, max_size=3).map(
    lambda parts: "".join("".join(part) for part in parts)
)
SHAPES = st.sampled_from(
    [
        "postgresql://agent:{}@db.example:5432/chats",
        "postgresql://agent:{}@db.example/chats?sslmode=require",
        "postgresql://agent:{}@a.example,b.example:5433/chats",
        "postgresql://:{}@db.example",
        "postgresql://agent:{}@/chats?host=/var/run",
        "postgresql+asyncpg://agent:{}@[::1]:5432/chats",
        "mysql://agent:{}@db.example/chats",
        "postgresql:agent:{}@db.example/chats",
    ]
)


def shown(url: str) -> str:
    """Return everything that can be seen of a storage with this URL, or of the refusal of it."""
    try:
        dsn = parse(url)
        return f"{PostgreSQLStorage(url)!r} {dsn!r} {dsn.describe()}"
    except StorageConfigurationError as error:
        lines = traceback.format_exception(error)
        # The frames show this file's source, not values.
        return " ".join([str(error), repr(error), *lines])


@given(shape=SHAPES, password=PASSWORDS)
@example("postgresql://agent:{}@db.example:5432/chats", "31337/zqsesame")
@example("postgresql://agent:{}@db.example:5432/chats", "31337?zqsesame")
@example("postgresql://agent:{}@db.example:5432/chats", "@31337?x=zqsesame")
@example("postgresql://agent:{}@db.example:5432/chats", "[zqsesame")
@example("postgresql://agent:{}@db.example:5432/chats", "/zqsesame")
def test_no_word_of_a_password_shows_when_it_was_pasted_as_it_is(shape: str, password: str) -> None:
    text = shown(shape.replace("{}", password))
    assert not [word for word in WORDS if word in text]


@given(shape=SHAPES, password=PASSWORDS)
def test_no_word_of_a_password_shows_when_it_was_encoded(shape: str, password: str) -> None:
    text = shown(shape.replace("{}", quote(password, safe="")))
    assert not [word for word in WORDS if word in text]


@given(password=PASSWORDS)
def test_no_word_of_a_password_in_the_query_shows(password: str) -> None:
    encoded = quote(password, safe="")
    for name in ("password", "sslpassword"):
        text = shown(f"postgresql://agent@db.example/chats?{name}={encoded}")
        assert not [word for word in WORDS if word in text]


@given(password=PASSWORDS)
def test_a_password_as_it_is_arrives_whole_or_is_refused(password: str) -> None:
    # Accepted as something else it would be tried against the wrong host, or fail in a riddle.
    try:
        dsn = parse(f"postgresql://agent:{password}@db.example:5432/chats")
    except StorageConfigurationError:
        return
    if "%" not in password:
        assert dsn.password == password
    assert (dsn.hosts, dsn.user, dsn.database) == ((("db.example", 5432),), "agent", "chats")


@pytest.mark.parametrize("variable", [True, False], ids=["in the variable", "as the argument"])
def test_the_url_itself_is_never_repeated(monkeypatch: pytest.MonkeyPatch, *, variable: bool) -> None:
    url = "postgresql://agent:zqsesame@db.example:x/chats"
    if variable:
        monkeypatch.setenv("CORAIL_DATABASE_URL", url)
    with pytest.raises(StorageConfigurationError) as caught:
        PostgreSQLStorage(None if variable else url)
    text = "".join(traceback.format_exception(caught.value))
    assert "zqsesame" not in text
    assert "db.example" not in text
