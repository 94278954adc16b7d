"""Run the test suite on every supported Python of this machine; ``make test-all`` runs it.

Each gets an environment of its own, ``.venv-3.12`` and so on, made by ``setup.py``. Ends non-zero if
the suite failed on any; a Python that cannot make an environment is skipped, and said so.
"""

import subprocess
import sys
from time import perf_counter
from typing import NamedTuple

import interpreters
import setup


class Outcome(NamedTuple):
    """How it went on one Python."""

    version: str
    passed: bool | None
    """None when it was skipped."""
    seconds: float
    note: str


def main(arguments: list[str]) -> int:
    """Run the suite everywhere, handing ``arguments`` to pytest; return the exit code."""
    outcomes: list[Outcome] = []
    for interpreter in interpreters.find():
        version = ".".join(map(str, interpreter.version))
        print(f"\n== Python {version} ({interpreter.path})", flush=True)
        started = perf_counter()
        passed, note = _run(interpreter, arguments)
        outcomes.append(Outcome(version, passed, perf_counter() - started, note))
    print(f"\n{'Python':<10}{'result':<10}{'seconds':>8}  note")
    for outcome in outcomes:
        result = {True: "passed", False: "FAILED", None: "skipped"}[outcome.passed]
        print(f"{outcome.version:<10}{result:<10}{outcome.seconds:>8.1f}  {outcome.note}")
    tried = [outcome.passed for outcome in outcomes if outcome.passed is not None]
    if not tried:
        print("No supported Python could make an environment.", file=sys.stderr)
    return 0 if tried and all(tried) else 1


def _run(interpreter: interpreters.Interpreter, arguments: list[str]) -> tuple[bool | None, str]:
    venv = setup.ROOT / f".venv-{interpreter.minor}"
    script = str(setup.ROOT / "scripts" / "setup.py")
    made = subprocess.run([str(interpreter.path), script, "--venv", str(venv)], check=False)
    if made.returncode == setup.CANNOT_MAKE_VENV:
        return None, "cannot make an environment: see above"
    if made.returncode != 0:
        return False, "setup failed: see above"
    suite = [str(setup.python_of(venv)), "-m", "pytest", "-m", "not faults", "-n", "2", "--dist", "loadfile"]
    code = subprocess.run([*suite, *arguments], check=False, cwd=setup.ROOT).returncode
    return code == 0, "" if code == 0 else f"pytest ended with {code}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
