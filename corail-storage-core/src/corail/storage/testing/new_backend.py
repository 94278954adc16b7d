"""The command that begins a backend: ``python -m corail.storage.testing.new_backend NAME DIR``.

Owns the command line. The rules for names stand in ``_template.names``, the files in ``_template.files``.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from corail.storage.testing._template.names import RULE, RefusedError, names_of
from corail.storage.testing._template.writing import check_folder, write

__all__ = ["main"]

_PROGRAM: Final = "python -m corail.storage.testing.new_backend"
_DESCRIPTION: Final = """\
Write a new backend for Corail storage: the distribution corail-storage-NAME, with a
package of its own that keeps conversations in SQLite and passes the contract kit as it
is. Put your own database in its place, step by step.
"""
_NAME: Final = (
    f"what CORAIL_STORAGE is to select: {RULE}. In Python the dashes become underscores: my-notes gives "
    "corail_storage_my_notes:MyNotesStorage"
)
_FOLDER: Final = (
    "folder of the distribution; it is made, with its parents, and one that exists has to be empty, .git "
    "aside"
)
_EXAMPLE: Final = f"""\
example:
  {_PROGRAM} notes corail-storage-notes

The contract, and how to publish: docs/backends.md of Corail storage.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Write a backend and say what comes next; return 0.

    A bad or reserved name, a folder that is not empty and one that cannot be written are refused
    before anything is written: the reason goes to standard error, ``SystemExit`` has code 2.
    """
    parser = argparse.ArgumentParser(
        prog=_PROGRAM,
        description=_DESCRIPTION,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", help=_NAME)
    parser.add_argument("folder", metavar="DIR", help=_FOLDER)
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
