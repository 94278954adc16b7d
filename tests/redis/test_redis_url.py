"""What may be written into ``CORAIL_REDIS_URL`` and the other settings, and what is refused."""

# ruff: noqa: S106 - none of these is anybody's password

import socket
from typing import Any, Final

import pytest

from corail.storage.errors import StorageConfigurationError
from corail.storage.factory import StorageFactory
from corail.storage.redis import RedisStorage
from corail.storage.redis._url import Endpoint, parse
from tests.redis.servers import Node

TLS: Final[dict[str, str | bool]] = {"ssl_cert_reqs": "required", "ssl_check_hostname": True}


def tcp(*hosts: tuple[str, int], **rest: Any) -> Endpoint:
    options: dict[str, Any] = {"db": 0, "cluster": None, "tls": None, **rest}
    return Endpoint(hosts, None, **options)


def unix(path: str, **rest: Any) -> Endpoint:
    options: dict[str, Any] = {"db": 0, "cluster": False, "tls": None, **rest}
    return Endpoint((), path, **options)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://host", tcp(("host", 6379))),
        ("REDIS://host:1/2", tcp(("host", 1), db=2)),
        (" redis://host?db=3 ", tcp(("host", 6379), db=3)),
        ("redis://:pa%2Fss@host", tcp(("host", 6379), password="pa/ss")),
        ("redis://me:p%40:ss@host/1", tcp(("host", 6379), db=1, username="me", password="p@:ss")),
        ("redis://[::1]:7/0", tcp(("::1", 7))),
        ("redis://[::1]", tcp(("::1", 6379))),
        ("redis://host?cluster=false", tcp(("host", 6379), cluster=False)),
        ("redis://host?cluster=true", tcp(("host", 6379), cluster=True)),
        ("redis://a,b:2", tcp(("a", 6379), ("b", 2), cluster=True)),
        ("redis+cluster://a:1,[::1]:2", tcp(("a", 1), ("::1", 2), cluster=True)),
        ("rediss://host", tcp(("host", 6379), tls=TLS)),
        (
            "rediss+cluster://u:p@a,b",
            tcp(("a", 6379), ("b", 6379), cluster=True, tls=TLS, username="u", password="p"),
        ),
        (
            "rediss://host?ssl_cert_reqs=none",
            tcp(("host", 6379), tls={"ssl_cert_reqs": "none", "ssl_check_hostname": False}),
        ),
        (
            "rediss://host?ssl_ca_certs=/ca.pem&ssl_check_hostname=no",
            tcp(("host", 6379), tls={**TLS, "ssl_ca_certs": "/ca.pem", "ssl_check_hostname": False}),
        ),
        ("unix:///run/redis.sock", unix("/run/redis.sock")),
        (
            "unix://me:secret@/run/my%20redis?db=4",
            unix("/run/my redis", db=4, username="me", password="secret"),
        ),
        ("unix:///run/redis?password=secret", unix("/run/redis", password="secret")),
    ],
)
def test_a_url_is_understood(url: str, expected: Endpoint) -> None:
    assert parse(url, None) == expected


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", "No Redis URL"),
        ("   ", "No Redis URL"),
        ("secret", "no scheme"),
        ("http://secret", "no scheme"),
        ("redis:secret", "no scheme"),
        ("redis://", "host without a name"),
        ("redis://user:secret@", "host without a name"),
        ("redis://user:sec/ret@host", "not a number"),
        ("redis://user:12/secret@host", "database that is not a number"),
        ("redis://user:12#secret@host", "percent-encode it as %23"),
        ("redis://user:12?secret@host", "parse"),
        ("redis://user:12?secret@host=1", "unknown parameter after"),
        ("redis://host:secret", "not a number"),
        ("redis://host:0", "1 to 65535"),
        ("redis://host:65536", "1 to 65535"),
        ("redis://::1", "IPv6"),
        ("redis://host/secret", "database that is not a number"),
        ("redis://host?socket_timeout=5", "'socket_timeout' after"),
        ("redis://host?cluster=secret", "true or false"),
        ("redis://a,b?cluster=false", "several hosts"),
        ("redis+cluster://a?cluster=false", "contradicts itself"),
        ("redis+cluster://a/1", "only number 0"),
        ("redis://a?cluster=1&db=1", "only number 0"),
        ("rediss://a?ssl_cert_reqs=secret", "required, optional or none"),
        ("unix://", "names no socket"),
        ("unix:///run/redis?cluster=true", "a cluster does not have"),
        ("redis://[secret", "IPv6"),
        ("redis://user:sec\nret@host", "line break"),
    ],
)
def test_a_wrong_url_is_refused_without_repeating_it(url: str, problem: str) -> None:
    with pytest.raises(StorageConfigurationError, match=problem) as caught:
        RedisStorage(url)
    shown = f"{caught.value}{caught.value.__cause__}"
    assert "secret" not in shown
    assert "ret@" not in shown
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_arguments_and_url_must_agree_about_the_cluster() -> None:
    assert parse("redis://host?cluster=true", cluster=True).cluster is True
    assert parse("redis://host", cluster=False).cluster is False
    with pytest.raises(StorageConfigurationError, match="contradicts"):
        RedisStorage("redis+cluster://host", cluster=False)
    with pytest.raises(StorageConfigurationError, match="contradicts"):
        RedisStorage("redis://host?cluster=false", cluster=True)
    with pytest.raises(StorageConfigurationError, match="several hosts"):
        RedisStorage("redis://a,b", cluster=False)


def test_no_password_is_shown() -> None:
    storage = RedisStorage("redis://somebody:secret@host:1/2", prefix="agent")
    assert repr(storage) == "<RedisStorage Redis at host:1/2, prefix='agent'>"
    assert "secret" not in repr(parse("redis://somebody:secret@host:1/2", None))
    cluster = RedisStorage("redis+cluster://:secret@a:1,[::1]:2")
    assert repr(cluster) == "<RedisStorage Redis Cluster at a:1,[::1]:2, prefix='corail'>"


def test_the_environment_is_read_where_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CORAIL_REDIS_URL", raising=False)
    with pytest.raises(StorageConfigurationError, match="CORAIL_REDIS_URL"):
        StorageFactory.create("redis")
    monkeypatch.setenv("CORAIL_REDIS_URL", "redis://elsewhere:7/1")
    monkeypatch.setenv("CORAIL_REDIS_PREFIX", " agents ")
    monkeypatch.setenv("CORAIL_REDIS_TTL", "1.5")
    storage = StorageFactory.create("redis")
    assert isinstance(storage, RedisStorage)
    assert repr(storage) == "<RedisStorage Redis at elsewhere:7/1, prefix='agents'>"
    assert storage._ttl == 1500  # pyright: ignore[reportPrivateUsage]
    said = RedisStorage("redis://host", prefix="own", ttl=0)
    assert repr(said) == "<RedisStorage Redis at host:6379/0, prefix='own'>"
    assert said._ttl == 0  # pyright: ignore[reportPrivateUsage]
    for wrong in ("soon", "-1", "nan", "inf"):
        monkeypatch.setenv("CORAIL_REDIS_TTL", wrong)
        with pytest.raises(StorageConfigurationError, match="CORAIL_REDIS_TTL"):
            RedisStorage("redis://host")


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [
        ("url", 1, TypeError),
        ("prefix", 1, TypeError),
        ("ttl", "1", TypeError),
        ("ttl", True, TypeError),
        ("ttl", -1, StorageConfigurationError),
        ("ttl", 0.0001, StorageConfigurationError),
        ("ttl", float("nan"), StorageConfigurationError),
        ("cluster", "yes", TypeError),
        ("pool_size", 0, StorageConfigurationError),
        ("pool_size", True, TypeError),
        ("max_content_bytes", 0, StorageConfigurationError),
        ("max_content_bytes", "1", TypeError),
        ("deadline", 0, StorageConfigurationError),
        # The key of an append is kept for ten minutes: a longer deadline could outlast it.
        ("deadline", 301, StorageConfigurationError),
        ("command_timeout", float("inf"), StorageConfigurationError),
        ("command_timeout", "1", TypeError),
        ("unknown", 1, TypeError),
    ],
)
def test_a_wrong_option_is_refused_at_once(option: str, value: object, error: type[Exception]) -> None:
    options: dict[str, Any] = {"url": "redis://host", option: value}
    with pytest.raises(error):
        StorageFactory.create("redis", **options)


@pytest.mark.anyio
async def test_a_unix_socket_works(node: Node, prefix: str) -> None:
    path = node.settings["unixsocket"]
    with socket.socket(socket.AF_UNIX) as probe:
        probe.connect(path)
    async with RedisStorage(f"unix://{path}?db=0", prefix=prefix) as storage:
        await storage.append_message("chat", "user", "text")
        assert await storage.get_messages("chat") == [{"role": "user", "content": "text"}]
        assert repr(storage) == f"<RedisStorage Redis at {path}/0, prefix='{prefix}'>"


@pytest.mark.anyio
async def test_databases_and_prefixes_keep_applications_apart(node: Node, prefix: str) -> None:
    places = [(0, prefix), (1, prefix), (0, f"{prefix}-2"), (0, f"{prefix}:"), (0, f"{prefix} é\ud800")]
    storages = [RedisStorage(f"redis://127.0.0.1:{node.port}/{db}", prefix=one) for db, one in places]
    for number, storage in enumerate(storages):
        await storage.append_message("chat", "user", str(number))
    for number, storage in enumerate(storages):
        assert await storage.get_messages("chat") == [{"role": "user", "content": str(number)}]
        assert len(await storage.list_conversations()) == 1
        await storage.aclose()
