"""``EmbeddedStandby``: a streaming copy of an embedded server, for trying out failover."""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from corail.storage.postgresql.embedded._errors import EmbeddedPostgresError
from corail.storage.postgresql.embedded._folder import Folder
from corail.storage.postgresql.embedded._port import HOST
from corail.storage.postgresql.embedded._server import EmbeddedPostgres
from corail.storage.postgresql.embedded._supervisor import Supervisor


class EmbeddedStandby(EmbeddedPostgres):
    """A hot standby of ``primary``, which must run when the standby is first started.

    The first start copies the primary (``pg_basebackup``), then streams from it; until ``promote``
    the server is read-only. Password, programs and settings are the primary's. Nothing fences the
    old primary after a promotion: two servers then take writes.

    Args:
        primary: the server to copy.
        data_dir: as for ``EmbeddedPostgres``.
        name: under which the primary knows it, as in ``synchronous_standby_names``; an identifier.
        port: as for ``EmbeddedPostgres``.
        settings: added to, and going before, those of the primary.

    """

    def __init__(
        self,
        primary: EmbeddedPostgres,
        data_dir: Path | str | None = None,
        *,
        name: str = "standby",
        port: int | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        if not name.isidentifier():
            raise EmbeddedPostgresError(f"{name!r} is no name for a standby: use letters, digits and _.")
        # PostgreSQL refuses a standby with fewer connections than its primary, among other settings.
        super().__init__(
            data_dir, port=port, settings={**primary.settings, **(settings or {})}, bindir=primary.bindir
        )
        self._primary = primary
        self._name = name

    def promote(self, *, timeout: float = 60.0) -> None:
        """Make this server a primary of its own, and return once it takes writes."""
        with self._owned():
            if self._supervisor is None:
                raise self._not_started()
            pgdata = str(self._opened().pgdata)
            command = ["pg_ctl", "promote", "-D", pgdata, "--wait", "--timeout", f"{timeout:.0f}"]
            code, output = self._supervisor.ask("run", str(timeout + 5), "", *command)
        if code != "0":
            raise EmbeddedPostgresError(f"The standby on port {self.port} was not promoted:\n{output}")

    def _make_cluster(self, supervisor: Supervisor, folder: Folder, timeout: float) -> None:
        password = folder.password(urlsplit(self._primary.url).password)
        source = f"host={HOST} port={self._primary.port} user=postgres application_name={self._name}"
        command = ["pg_basebackup", "-D", str(folder.unfinished), "-d", source]
        command += ["--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast"]
        if folder.temporary:
            command.append("--no-sync")
        code, output = supervisor.ask("run", str(timeout), "", f"PGPASSWORD={password}", *command)
        if code != "0":
            raise EmbeddedPostgresError(f"pg_basebackup could not copy port {self._primary.port}:\n{output}")
        folder.finish()
