"""Write ``constraints.txt``: the versions a fresh environment gets today; ``make pins`` runs it.

Resolved on the oldest supported Python, whose versions the newer ones can install too (checked on
those this machine has). The file holds names and versions only: never a URL, an index or a path.
"""

import re
import sys
import tempfile
from pathlib import Path
from typing import Final

import interpreters
import setup

_PIN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9][A-Za-z0-9.!+_-]*")

_HEADER: Final = """\
# What `make setup` installs, made by `make pins` on Python {version}: the dev group of pyproject.toml and
# the extras of every distribution, resolved in a fresh environment. Names and versions only.
"""


def main() -> int:
    """Resolve, check and write; return the exit code."""
    found = interpreters.find()
    if not found or found[0].version[:2] != interpreters.OLDEST:
        wanted = ".".join(map(str, interpreters.OLDEST))
        print(f"pins: needs Python {wanted}, the oldest supported, to resolve on", file=sys.stderr)
        return 1
    oldest, *newer = found
    try:
        with tempfile.TemporaryDirectory() as folder:
            text = _HEADER.format(version=oldest.minor) + _resolve(oldest, Path(folder) / "resolve")
            refuse_addresses(text)
            candidate = Path(folder) / "constraints.txt"
            candidate.write_text(text, "utf-8")
            for interpreter in newer:
                _try(interpreter, Path(folder) / interpreter.minor, candidate)
    except (setup.StepError, setup.VenvError, ValueError) as error:
        print(f"pins: nothing was written: {error}", file=sys.stderr)
        return 1
    setup.CONSTRAINTS.write_text(text, "utf-8")
    print(f"pins: wrote {setup.CONSTRAINTS.name}, {text.count('==')} versions")
    return 0


def pins(frozen: str) -> str:
    """Return the ``name==version`` lines of a ``pip freeze``, sorted.

    Drops direct references (``name @ address``) and comments; raises ``ValueError`` for anything
    else that is not a plain pin.
    """
    kept: list[str] = []
    for line in map(str.strip, frozen.splitlines()):
        if not line or line.startswith("#") or "@" in line or "://" in line:
            continue
        if _PIN.fullmatch(line) is None:
            raise ValueError(f"pip freeze said something that is not a pin: {line!r}")
        kept.append(line)
    return "".join(f"{line}\n" for line in sorted(kept, key=str.lower))


def refuse_addresses(text: str) -> None:
    """Raise ``ValueError`` if an address would get into the file."""
    for line in text.splitlines():
        if "://" in line:
            raise ValueError("a line holds an address")


def _resolve(interpreter: interpreters.Interpreter, venv: Path) -> str:
    setup.step(f"an empty environment, Python {interpreter.minor}", _make(interpreter, venv))
    pip = [str(setup.python_of(venv)), "-m", "pip"]
    for what, arguments in setup.install_steps(constrained=False):
        setup.step(f"{what}, newest versions", [*pip, "install", *arguments])
    return pins(setup.run([*pip, "freeze", "--exclude-editable"]))


def _try(interpreter: interpreters.Interpreter, venv: Path, constraints: Path) -> None:
    setup.step(f"an empty environment, Python {interpreter.minor}", _make(interpreter, venv))
    pip = [str(setup.python_of(venv)), "-m", "pip"]
    (_, build), (_, everything) = setup.install_steps(constrained=False)
    pinned = ["-c", str(constraints)]
    setup.step("the build backend, pinned", [*pip, "install", *pinned, *build])
    setup.step("whether the rest can be installed", [*pip, "install", "--dry-run", *pinned, *everything])


def _make(interpreter: interpreters.Interpreter, venv: Path) -> list[str]:
    return [str(interpreter.path), "-m", "venv", str(venv)]


if __name__ == "__main__":
    sys.exit(main())
