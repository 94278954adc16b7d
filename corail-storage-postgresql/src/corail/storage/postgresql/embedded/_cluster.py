"""Make a new cluster with ``initdb``; it appears complete or not at all."""

from typing import Final

from corail.storage.postgresql.embedded._errors import EmbeddedPostgresError
from corail.storage.postgresql.embedded._folder import Folder
from corail.storage.postgresql.embedded._supervisor import Supervisor

# One order of text, code point by code point, on every machine; older macOS knows only the second.
_LOCALES: Final = ("C.UTF-8", "C")


def initialise(supervisor: Supervisor, folder: Folder, *, timeout: float) -> None:
    """Make the cluster of ``folder``: UTF-8, superuser ``postgres``, the folder's password for TCP."""
    password = folder.password()
    output = ""
    for locale in _LOCALES:
        command = [
            "initdb",
            "-D",
            str(folder.unfinished),
            "-U",
            "postgres",
            "-E",
            "UTF8",
            f"--locale={locale}",
        ]
        command += ["-A", "scram-sha-256", "--pwfile=/dev/stdin"]
        if folder.temporary:
            command.append("--no-sync")  # saves 0.2 s; files that outlive this session must reach the disk
        code, output = supervisor.ask("run", str(timeout), password + "\n", *command)
        if code == "0":
            folder.finish()
            return
        if "locale" not in output:
            break
    raise EmbeddedPostgresError(f"initdb could not make a cluster in {folder.path}:\n{output}")
