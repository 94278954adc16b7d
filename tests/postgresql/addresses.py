"""Database URLs taken apart and put together; pure text, no connection is made here."""

import socket
from urllib.parse import quote, urlencode, urlsplit


def with_parameters(url: str, **parameters: str) -> str:
    """Return the URL with further query parameters."""
    parts = urlsplit(url)
    query = "&".join(filter(None, (parts.query, urlencode(parameters))))
    return parts._replace(query=query).geturl()


def with_user(url: str, user: str, password: str) -> str:
    """Return the URL for another role."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{quote(user, safe='')}:{quote(password, safe='')}@{host}").geturl()


def with_host(url: str, host: str, port: int) -> str:
    """Return the URL for another server."""
    parts = urlsplit(url)
    return parts._replace(netloc=f"{parts.netloc.rpartition('@')[0]}@{host}:{port}").geturl()


def with_database(url: str, database: str) -> str:
    """Return the URL for another database of the same server."""
    return urlsplit(url)._replace(path=f"/{quote(database, safe='')}").geturl()


def password_of(url: str) -> str:
    """Return the password in a URL, as it stands there."""
    return urlsplit(url).password or ""


def closed_port() -> int:
    """Return a port of this machine on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number
