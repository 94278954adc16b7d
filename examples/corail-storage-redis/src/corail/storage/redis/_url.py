"""The forms of ``CORAIL_REDIS_URL``, parsed into an ``Endpoint``.

Messages name the part that is wrong and never its value: a mistyped URL can put a piece of the
password anywhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, unquote

from corail.storage.errors import StorageConfigurationError

VARIABLE: Final = "CORAIL_REDIS_URL"

_PORT: Final = 6379
_FORMS: Final = (
    "redis://user:password@host:6379/0, rediss:// for TLS, unix:///path/to/socket, or "
    "redis+cluster://host1:6379,host2:6379 (rediss+cluster:// for TLS)"
)
_SCHEMES: Final = frozenset({"redis", "rediss", "unix", "redis+cluster", "rediss+cluster"})
_TLS_TEXT: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_ALLOWED: Final = (*_TLS_TEXT, "cluster", "db", "password", "ssl_cert_reqs", "ssl_check_hostname", "username")
_FLAGS: Final = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to connect, and how."""

    hosts: tuple[tuple[str, int], ...]
    """One, or the start nodes of a cluster; none for a Unix socket."""
    path: str | None
    """The Unix socket."""
    db: int
    cluster: bool | None
    """None to ask the server."""
    tls: Mapping[str, str | bool] | None
    """Parameters of the TLS connection; None without TLS."""
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    def describe(self) -> str:
        """Return where this is, without credentials."""
        if self.path is not None:
            return f"{self.path}/{self.db}"
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        return hosts if self.cluster else f"{hosts}/{self.db}"


def parse(url: str | None, cluster: bool | None) -> Endpoint:  # noqa: FBT001 - passed on from the constructor
    """Return the endpoint a URL names.

    Args:
        url: one of the forms; None or blank is an error, never a silent localhost.
        cluster: what the constructor was told; None for what the URL says, or else the server.

    """
    text = (url or "").strip()
    if not text:
        raise StorageConfigurationError(f"No Redis URL. Set {VARIABLE} or pass url=: {_FORMS}.")
    scheme, separator, rest = text.partition("://")
    if not separator or scheme.lower() not in _SCHEMES:
        raise _wrong(f"has no scheme that is known; use {_FORMS}")
    if "#" in rest:
        raise _wrong("has a '#'; percent-encode it as %23")
    if any(character < " " for character in rest):
        raise _wrong("has a line break or another control character")
    # Not urlsplit: newer Pythons refuse an IPv6 address in a list of hosts.
    before, _, query = rest.partition("?")
    netloc, slash, after = before.partition("/")
    try:
        options = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    except ValueError:
        raise _wrong("cannot be parsed; percent-encode reserved characters in the password") from None
    for name in options:
        if name not in _ALLOWED:
            shown = f" {name!r}" if name.replace("_", "").isalpha() else ""
            raise _wrong(f"has an unknown parameter{shown} after '?'; allowed are {', '.join(_ALLOWED)}")
    asked = _asked(scheme.lower(), options, cluster)
    userinfo, _, place = netloc.rpartition("@")
    user, _, secret = userinfo.partition(":")
    username = unquote(user) or options.get("username") or None
    password = unquote(secret) or options.get("password") or None
    if scheme.lower() == "unix":
        path = unquote(place + slash + after)
        if not path or asked:
            raise _wrong("names no socket" if not path else "is a Unix socket, which a cluster does not have")
        db = _database(options.get("db", ""))
        return Endpoint((), path, db, cluster=False, tls=None, username=username, password=password)
    hosts = tuple(_host(item) for item in place.split(","))
    db = _database(after.strip("/") or options.get("db", ""))
    if len(hosts) > 1 and not asked:
        if asked is False:
            raise _wrong("names several hosts, which only a cluster has")
        asked = True
    if asked and db:
        raise _wrong("names a database; a cluster has only number 0")
    tls = _tls(options) if scheme.lower().startswith("rediss") else None
    return Endpoint(hosts, None, db, asked, tls, username, password)


def _asked(scheme: str, options: Mapping[str, str], cluster: bool | None) -> bool | None:  # noqa: FBT001
    said = _flag("cluster", options["cluster"]) if "cluster" in options else None
    if scheme.endswith("+cluster"):
        if said is False:
            raise _wrong("contradicts itself about the cluster")
        said = True
    if cluster is None or said is None or cluster is said:
        return said if cluster is None else cluster
    raise StorageConfigurationError(
        f"cluster={cluster} contradicts the Redis URL ({VARIABLE}); drop one of them."
    )


def _host(text: str) -> tuple[str, int]:
    name, _, port = text.rpartition(":") if text.rpartition(":")[2].isdigit() else (text, "", "")
    if name.startswith("[") and name.endswith("]"):
        name = name[1:-1]
    elif ":" in name or "[" in name:
        raise _wrong("has a port that is not a number, or an IPv6 address without its brackets")
    if not name or (port and not 1 <= int(port) <= 65535):
        raise _wrong("has a host without a name, or a port that is not 1 to 65535")
    return unquote(name), int(port) if port else _PORT


def _database(text: str) -> int:
    if not text:
        return 0
    if not (text.isascii() and text.isdigit()):
        raise _wrong("has a database that is not a number; a '/' in the password is written %2F")
    return int(text)


def _tls(options: Mapping[str, str]) -> dict[str, str | bool]:
    tls: dict[str, str | bool] = {name: options[name] for name in _TLS_TEXT if options.get(name)}
    required = options.get("ssl_cert_reqs", "required").lower()
    if required not in {"required", "optional", "none"}:
        raise _wrong("has an ssl_cert_reqs other than required, optional or none")
    tls["ssl_cert_reqs"] = required
    named = options.get("ssl_check_hostname", "false" if required == "none" else "true")
    tls["ssl_check_hostname"] = _flag("ssl_check_hostname", named)
    return tls


def _flag(name: str, text: str) -> bool:
    flag = _FLAGS.get(text.lower())
    if flag is None:
        raise _wrong(f"has a {name} other than true or false")
    return flag


def _wrong(what: str) -> StorageConfigurationError:
    return StorageConfigurationError(f"The Redis URL (url= or {VARIABLE}) {what}.")
