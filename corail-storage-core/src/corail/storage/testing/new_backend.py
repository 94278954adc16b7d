"""The command that begins a backend: ``python -m corail.storage.testing.new_backend NAME DIR``.

Owns the command line. The rules for names stand in ``_template.names``, the files in ``_template.files``.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from corail.storage.testing._template.names import LONGEST, RefusedError, names_of
from corail.storage.testing._template.writing import check_folder, write

__all__ = ["main"]

_DESCRIPTION: Final = f"""\
Write a new backend for Corail storage into DIR: the distribution corail-storage-NAME with the package
corail_storage_NAME, which keeps conversations in SQLite and passes the contract kit as it is. Put your
own database in its place, step by step.

  NAME  what CORAIL_STORAGE selects: lower-case letters and digits, words joined by single dashes, a
        letter first, at most {LONGEST} characters. In Python names dashes become underscores:
        "my-notes" gives corail_storage_my_notes:MyNotesStorage.
  DIR   the folder of the distribution. It is made, with its parents; one that exists has to be empty,
        but may hold .git.
"""
_EXAMPLE: Final = (
    "example: python -m corail.storage.testing.new_backend notes corail-storage-notes\n\n"
    "docs/backends.md of Corail storage explains the contract and how to publish."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write a backend and say what comes next; return 0.

    A bad or reserved name, a folder that is not empty and one that cannot be written are refused
    before anything is written: the reason goes to standard error, ``SystemExit`` has code 2.
    """
    parser = argparse.ArgumentParser(
        prog="python -m corail.storage.testing.new_backend",
        description=_DESCRIPTION,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", help="name of the backend, as in: notes")
    parser.add_argument("folder", metavar="DIR", help="folder to write it into, as in: corail-storage-notes")
    given = parser.parse_args(arguments)
    try:
        names = names_of(given.name)
        folder = Path(given.folder)
        check_folder(folder)
        written = write(names, folder)
    except RefusedError as error:
        parser.error(str(error))
    sys.stdout.write(
        f"{names.distribution}: {written} files in {folder}, with {names.package}:{names.class_name}. "
        "It works as it is:\n\n"
        f"  cd {shlex.quote(given.folder)}\n"
        "  make test\n"
        "  make lint\n\n"
        f"Then read src/{names.package}/_storage.py and put your database in the place of SQLite.\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
