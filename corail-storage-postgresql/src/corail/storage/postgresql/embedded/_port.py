"""Choose a TCP port on 127.0.0.1."""

import secrets
import socket
from typing import Final

from corail.storage.postgresql.embedded._errors import EmbeddedPostgresError

HOST: Final = "127.0.0.1"
_FIRST: Final = 20_000
_COUNT: Final = 12_000
_ATTEMPTS: Final = 100


def free_port() -> int:
    """Return a port that nobody listens on now; another process may still take it first.

    Below 32768, where Linux begins to number outgoing connections: a client that keeps trying to
    reach a killed server on a port of that range can connect to itself, and the restarted server
    can find its port taken by any outgoing connection.
    """
    for _ in range(_ATTEMPTS):
        port = _FIRST + secrets.randbelow(_COUNT)
        with socket.socket() as probe:
            # As PostgreSQL does: a connection that is still in TIME_WAIT does not hold the port.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise EmbeddedPostgresError(
        f"No free port was found between {_FIRST} and {_FIRST + _COUNT}; name one with port=."
    )
