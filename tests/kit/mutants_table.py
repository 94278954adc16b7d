"""Run the kit on every mutant and print which tests caught it.

``python tests/kit/mutants_table.py`` runs, for each mutant, the tests of the clause that has to catch it;
``--all`` runs the whole kit, ``--json FILE`` writes what failed instead of printing it. Exits with 1 if a
mutant survives.
"""

import argparse
import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
SUITE: Final = ROOT / "tests" / "kit" / "mutants" / "suite.py"

Failures = dict[str, dict[str, str]]
"""First line of each failure by test, by mutant."""


class Recorder:
    """A pytest plugin: keeps the tests of each mutant's clause, and remembers what failed."""

    def __init__(self, *, everything: bool) -> None:
        self._everything = everything
        self.failures: Failures = {}
        self.clauses: dict[str, str] = {}
        self.faults: dict[str, str] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        # Imported here: pytest must be there first, and has put the suite's package on its map by now.
        from corail.storage.testing._clauses import clause_of
        from tests.kit.mutants.catalogue import MUTANTS

        for mutant in MUTANTS.values():
            self.failures[mutant.name] = {}
            self.clauses[mutant.name] = mutant.clause
            self.faults[mutant.name] = mutant.fault
        if self._everything:
            return
        items[:] = [item for item in items if clause_of(item.name) == self.clauses[_mutant(item.nodeid)]]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            message = str(getattr(crash, "message", report.longreprtext)).removeprefix("AssertionError: ")
            test = report.nodeid.rpartition("::")[2]
            self.failures[_mutant(report.nodeid)][test] = message.partition("\n")[0]


def run(*, everything: bool = False) -> Recorder:
    """Run the suite in this process, silently."""
    recorder = Recorder(everything=everything)
    arguments = [
        str(SUITE),
        "--rootdir",
        str(ROOT),
        "-c",
        str(ROOT / "pyproject.toml"),
        "-p",
        "no:cacheprovider",
        "--tb=short",
    ]
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        code = pytest.main([*arguments, "-q"], plugins=[recorder])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise SystemExit(output.getvalue())
    return recorder


def survivors(recorder: Recorder) -> list[str]:
    """Return the mutants that no test of their clause failed for."""
    return [name for name, clause in recorder.clauses.items() if not _caught(recorder.failures[name], clause)]


def main() -> int:
    """Run, print or write, and say whether every mutant was caught."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--all", action="store_true", help="run the whole kit on every mutant")
    parser.add_argument("--json", type=Path, help="write the failures to this file")
    options = parser.parse_args()
    recorder = run(everything=options.all)
    if options.json:
        options.json.write_text(json.dumps(recorder.failures))
    else:
        _print(recorder)
    return 1 if survivors(recorder) else 0


def _caught(failures: dict[str, str], clause: str) -> bool:
    return bool(_catches(failures, clause))


def _catches(failures: dict[str, str], clause: str) -> list[str]:
    # The state machine names the clause it found broken, so its failures begin with another one.
    return [
        test
        for test, text in failures.items()
        if text.startswith(clause) or (clause == "model" and test.startswith("test_model_"))
    ]


def _print(recorder: Recorder) -> None:
    rows = [("mutant", "clause expected", "tests that failed")]
    for name, clause in recorder.clauses.items():
        failed = recorder.failures[name]
        caught = _catches(failed, clause)
        others = len(failed) - len(caught)
        shown = ", ".join(caught) or "NONE: it survives"
        rows.append((name, clause, shown + (f" (and {others} of other clauses)" if others else "")))
    first, second = (max(len(row[column]) for row in rows) for column in (0, 1))
    for name, clause, tests in rows:
        sys.stdout.write(f"{name:{first}} | {clause:{second}} | {tests}\n")
    sys.stdout.write(f"\n{len(recorder.clauses)} mutants, {len(survivors(recorder))} survive.\n")


def _mutant(nodeid: str) -> str:
    return nodeid.split("::")[1].removeprefix("Test")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main())
