"""The one error of the embedded server; nothing else."""

from corail.storage.errors import StorageError


class EmbeddedPostgresError(StorageError):
    """A private PostgreSQL server cannot be found, made, started or reached by this process.

    The message ends with the last lines of the server's log where there are any.
    """
