"""The folder of one embedded server: whose it is, its password, its log and its state on disk.

Starts no process. Inside: ``pgdata/`` (the cluster), ``password`` (mode 0600), ``server.log`` and the
log of the session before it, ``server.log.1``.
"""

import contextlib
import os
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import Final

from corail.storage.postgresql.embedded._errors import EmbeddedPostgresError

_EARLY: Final = frozenset({"server.log", "server.log.1", "password.unfinished"})
"""What a first start leaves that was killed before it wrote down the password."""
_TAIL_LINES: Final = 15
_STATUS_ROW: Final = 7  # of postmaster.pid, since PostgreSQL 10


class Folder:
    """One folder on disk, temporary or the user's to keep."""

    def __init__(self, path: Path, *, temporary: bool) -> None:
        self.path = path
        self.temporary = temporary
        self.pgdata = path / "pgdata"
        self.unfinished = path / "pgdata.unfinished"
        self.log = path / "server.log"
        self._password = path / "password"

    @classmethod
    def open(cls, kept: Path | None) -> "Folder":
        """Return a new temporary folder, or ``kept``, made if missing and refused if it is not ours."""
        if kept is None:
            return cls(Path(tempfile.mkdtemp(prefix="corail-postgres-")), temporary=True)
        path = kept.expanduser().absolute()
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = sorted(entry.name for entry in path.iterdir())
        except OSError as error:
            raise EmbeddedPostgresError(f"{path} cannot be used as a data_dir: {error}.") from error
        if "password" not in found and not _EARLY.issuperset(found):
            raise EmbeddedPostgresError(
                f"{path} is not empty and was not made by EmbeddedPostgres (it holds "
                f"{', '.join(found[:3])}{', ...' if len(found) > 3 else ''}); nothing in it was touched. "
                "Name an empty or a new folder as data_dir."
            )
        return cls(path, temporary=False)

    def check_version(self, programs: str, bindir: Path) -> None:
        """Refuse a cluster of another major version than ``programs``."""
        made = (self.pgdata / "PG_VERSION").read_text().strip()
        if made != programs:
            raise EmbeddedPostgresError(
                f"{self.path} was made by PostgreSQL {made}, but the programs in {bindir} are version "
                f"{programs}. Name the folder of version {made} with bindir=, upgrade with pg_upgrade, or "
                "name another data_dir."
            )

    def password(self, new: str | None = None) -> str:
        """Return the password of ``postgres``, written down once: ``new``, or a random one."""
        with contextlib.suppress(FileNotFoundError):
            return self._password.read_text()
        password = new or secrets.token_urlsafe(24)
        unfinished = self._password.with_name("password.unfinished")
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            if os.geteuid() == 0:
                owner = self.path.stat()
                os.fchown(descriptor, owner.st_uid, owner.st_gid)  # root may be a guest in this folder
            file.write(password)
            if not self.temporary:
                file.flush()
                os.fsync(descriptor)  # without it the cluster that outlives us could not be opened
        unfinished.rename(self._password)
        return password

    def remove_unfinished(self) -> None:
        """Remove what an interrupted start left; only under the launcher's lock."""
        shutil.rmtree(self.unfinished, ignore_errors=True)

    def finish(self) -> None:
        """Move the cluster that was just made to its place, in one step and for good."""
        self.unfinished.rename(self.pgdata)
        if not self.temporary:
            descriptor = os.open(self.path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def served_by(self, postmaster: int) -> bool:
        """Return whether that postmaster, not one killed before it, holds the cluster."""
        return self._postmaster_rows()[:1] == [str(postmaster)]

    def accepts_connections(self, postmaster: int) -> bool:
        """Return whether that postmaster has said that it is ready."""
        rows = self._postmaster_rows()
        return rows[:1] == [str(postmaster)] and [row.strip() for row in rows[_STATUS_ROW:]] == ["ready"]

    def log_size(self) -> int:
        """Return the size of the log in bytes."""
        return self.log.stat().st_size if self.log.exists() else 0

    def log_tail(self, start: int = 0) -> str:
        """Return the last lines of the log from byte ``start`` on; empty when there is none."""
        try:
            with self.log.open("rb") as file:
                file.seek(start)
                return "\n".join(file.read().decode(errors="replace").splitlines()[-_TAIL_LINES:])
        except OSError:
            return ""

    def remove(self) -> None:
        """Remove a temporary folder, should the launcher not have."""
        if self.temporary:
            shutil.rmtree(self.path, ignore_errors=True)

    def _postmaster_rows(self) -> list[str]:
        try:
            return (self.pgdata / "postmaster.pid").read_text().splitlines()
        except OSError:
            return []
