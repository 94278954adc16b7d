"""From a database URL to what asyncpg is given: hosts, credentials and parameters, and no surprises.

Pure parsing: no I/O, no asyncpg. Accepts what deployments really carry (several hosts, SQLAlchemy's
scheme, the parameters hosted providers add) and refuses what asyncpg would quietly turn into a
connection to localhost. No message repeats the URL: it holds a password.
"""

import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, unquote

from corail.storage.errors import StorageConfigurationError

VARIABLE: Final = "CORAIL_DATABASE_URL"

_SCHEMES: Final = frozenset({"postgresql", "postgres", "postgresql+asyncpg", "postgres+asyncpg"})
_EXAMPLE: Final = "postgresql://user:password@host:5432/database"

_UNDERSTOOD_BY_ASYNCPG: Final = frozenset(
    {
        "gsslib",
        "krbsrvname",
        "passfile",
        "ssl_max_protocol_version",
        "ssl_min_protocol_version",
        "sslcert",
        "sslcrl",
        "sslkey",
        "sslmode",
        "sslnegotiation",
        "sslpassword",
        "sslrootcert",
    }
)
# Parameters of libpq, SQLAlchemy and Prisma without a meaning here. asyncpg would send them to the
# server as settings, which refuses the connection (42704).
_DROPPED: Final = frozenset(
    {
        "async_fallback",
        "channel_binding",
        "client_encoding",
        "connection_limit",
        "gssdelegation",
        "gssencmode",
        "keepalives",
        "keepalives_count",
        "keepalives_idle",
        "keepalives_interval",
        "load_balance_hosts",
        "pool_timeout",
        "prepare_threshold",
        "requirepeer",
        "require_auth",
        "sslcertmode",
        "sslcompression",
        "sslsni",
        "tcp_user_timeout",
    }
)
_SSL_ALIASES: Final[dict[str, str]] = {"true": "require", "1": "require", "false": "disable", "0": "disable"}
_MAX_PORT: Final = 65535
_DEFAULT_PORT: Final = 5432

Host = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Dsn:
    """A parsed database URL; its repr shows no password."""

    hosts: tuple[Host, ...]
    """Names, addresses or socket folders, each with its port, in the order to try them."""
    user: str | None
    password: str | None = field(repr=False)
    database: str | None
    parameters: Mapping[str, str] = field(repr=False)
    """TLS and authentication parameters that asyncpg understands in a URL."""
    server_settings: Mapping[str, str]
    target_session_attrs: str | None
    connect_timeout: float | None
    command_timeout: float | None
    statement_cache_size: int | None
    ignored: tuple[str, ...]
    """Parameters that ask for more security than asyncpg can give."""

    def describe(self) -> str:
        """Return where this leads, for messages: hosts and database, no credentials."""
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        return f"{hosts}/{self.database or self.user or ''}"


def parse(url: str | None) -> Dsn:
    """Parse a database URL; raises ``StorageConfigurationError`` for anything that is not one."""
    text = (url or "").strip()
    if not text:
        raise StorageConfigurationError(
            f"No database URL: set {VARIABLE}={_EXAMPLE} or pass dsn=. There is no default server."
        )
    scheme, separator, rest = text.partition("://")
    if not separator or scheme.lower() not in _SCHEMES:
        shown = f"; it starts with {scheme[:20]!r}" if separator and scheme.isalnum() else ""
        raise StorageConfigurationError(
            f"The database URL must start with postgresql:// (or postgres://, postgresql+asyncpg://){shown}. "
            f"Write it as {_EXAMPLE}."
        )
    if "#" in rest:
        raise _unreadable("it contains a '#'")
    # Pasted with a line's end in the middle: what follows would be taken for a part of the password or host.
    if any(character < " " for character in rest):
        raise _unreadable("it contains a line break or another control character")
    # Not urlsplit: newer Pythons refuse an IPv6 address in a list of hosts, and its errors may repeat the
    # password.
    before, _, query = rest.partition("?")
    netloc, _, path = before.partition("/")
    # A '/' or '?' in the password ended the host part too early: a piece of it would pass for a host.
    if "@" in path or "@" in query:
        raise _unreadable("an '@' follows the host")
    return _assemble(netloc, path, dict(parse_qsl(query, keep_blank_values=False)))


def _assemble(netloc: str, path: str, query: dict[str, str]) -> Dsn:
    userinfo, _, hostlist = netloc.rpartition("@")
    user, _, password = userinfo.partition(":")
    ports = query.pop("port", "")
    listed = unquote_hosts(hostlist) or query.pop("host", "").split(",")
    query.pop("host", None)
    statement_cache_size = _statement_cache_size(query)
    settings = {key: value for key, value in query.items() if key not in _CONSUMED}
    settings.setdefault("application_name", query.get("fallback_application_name", "corail-storage"))
    parameters = {key: value for key, value in query.items() if key in _UNDERSTOOD_BY_ASYNCPG}
    if "sslrootcert" in parameters:
        parameters["sslrootcert"] = _root_certificates(parameters["sslrootcert"])
    if "ssl" in query:
        # What SQLAlchemy's asyncpg dialect calls sslmode.
        parameters.setdefault("sslmode", _SSL_ALIASES.get(query["ssl"].lower(), query["ssl"]))
    return Dsn(
        hosts=_hosts(listed, ports),
        user=unquote(user) or query.get("user"),
        password=unquote(password) or query.get("password"),
        database=unquote(path) or query.get("dbname") or query.get("database"),
        parameters=parameters,
        server_settings=settings,
        target_session_attrs=query.get("target_session_attrs"),
        connect_timeout=_seconds(query, "connect_timeout"),
        command_timeout=_seconds(query, "command_timeout"),
        statement_cache_size=statement_cache_size,
        ignored=tuple(key for key in ("channel_binding", "require_auth") if _asks_for(query, key)),
    )


def _asks_for(query: Mapping[str, str], key: str) -> bool:
    return query.get(key, "disable").lower() not in {"disable", "prefer"}


def _root_certificates(value: str) -> str:
    # What libpq calls "system" asyncpg takes for a file of that name.
    if value.lower() != "system":
        return value
    paths = ssl.get_default_verify_paths()
    found = paths.cafile or paths.openssl_cafile
    if not Path(found).is_file():
        raise StorageConfigurationError(
            "sslrootcert=system: this Python knows no file of the system's certificates. Name one instead."
        )
    return found


_CONSUMED: Final = (
    _UNDERSTOOD_BY_ASYNCPG
    | _DROPPED
    | {"ssl", "user", "password", "dbname", "database", "target_session_attrs", "fallback_application_name"}
    | {
        "connect_timeout",
        "command_timeout",
        "statement_cache_size",
        "prepared_statement_cache_size",
        "pgbouncer",
    }
)


def unquote_hosts(hostlist: str) -> list[str]:
    """Split the host part of a URL; a socket folder is percent-encoded there."""
    return [unquote(host) for host in hostlist.split(",")] if hostlist else []


def _hosts(listed: list[str], ports: str) -> tuple[Host, ...]:
    if not any(listed):
        raise StorageConfigurationError(
            f"The database URL names no host. Write it as {_EXAMPLE}, or "
            "postgresql:///database?host=/folder for a Unix socket; localhost is never assumed."
        )
    extra = ports.split(",") if ports else []
    if len(extra) > 1 and len(extra) != len(listed):
        raise _unreadable("it names a different number of ports than hosts")
    defaults = extra if len(extra) == len(listed) else extra * len(listed)
    return tuple(_host(host, defaults[index] if defaults else "") for index, host in enumerate(listed))


def _host(text: str, default_port: str) -> Host:
    if text.startswith("/"):
        return text, _port(default_port)
    if text.startswith("["):
        name, bracket, port = text[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            raise _unreadable("an IPv6 address is not closed with ']'")
        return _name(name), _port(port[1:] or default_port)
    name, _, port = text.partition(":")
    return _name(name), _port(port or default_port)


def _name(name: str) -> str:
    if not name or any(character in name for character in "@/?# "):
        raise _unreadable("a host name is empty or malformed")
    return name


def _port(text: str) -> int:
    if not text:
        return _DEFAULT_PORT
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= _MAX_PORT):
        raise _unreadable(f"a port is not a number from 1 to {_MAX_PORT}")
    return int(text)


def _seconds(query: Mapping[str, str], key: str) -> float | None:
    if key not in query:
        return None
    try:
        seconds = float(query[key])
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 1_000_000:
        raise StorageConfigurationError(f"The database URL's {key} must be a number of seconds, 0 or more.")
    # 0 means "for ever" to libpq; nothing here waits for ever, so it means the default.
    return seconds or None


def _statement_cache_size(query: Mapping[str, str]) -> int | None:
    if query.get("pgbouncer", "").lower() in {"true", "1"}:
        return 0
    for key in ("statement_cache_size", "prepared_statement_cache_size"):
        if key in query:
            text = query[key]
            if not (text.isascii() and text.isdigit() and len(text) <= 6):
                raise StorageConfigurationError(
                    f"The database URL's {key} must be a whole number from 0 to 999999."
                )
            return int(text)
    return None


def _unreadable(why: str) -> StorageConfigurationError:
    return StorageConfigurationError(
        f"The database URL cannot be read: {why}. Write it as {_EXAMPLE}; in user and password "
        "percent-encode reserved characters (@ as %40, # as %23, / as %2F, : as %3A, ? as %3F)."
    )


def known_parameters() -> Iterable[str]:
    """Return every query parameter that is not forwarded to the server, sorted; for the docs' test."""
    return sorted(_CONSUMED | {"host", "port"})
