"""Ours, raw asyncpg and the stores of other agent libraries, in turn; ``make bench-peers`` runs it.

::

    .venv/bin/python -m benchmarks.peers                      # everything; the first time installs them
    .venv/bin/python -m benchmarks.peers --quick --only agno  # small, one of them
    .venv/bin/python -m benchmarks.peers --renew              # install and pin the newest versions

Every peer has an environment of its own (``.venvs/``), a process and a database of its own, and its own
defaults. Only a complete run writes to ``results/``; partial ones go to ``results/partial/``.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from rich.console import Console

from benchmarks import crash, figures, report
from benchmarks.chart import Bar, Group, draw
from benchmarks.comparing import ComparisonResult
from benchmarks.comparing import run as run_comparisons
from benchmarks.console import Steps
from benchmarks.contenders import OURS, RAW, Contender, ContenderError
from benchmarks.environments import PEERS, InstallError, contender
from benchmarks.plan import PEERS_FULL, QUICK, Scale, among
from benchmarks.run import RESULTS
from benchmarks.server import NotDurableError, durable_server
from benchmarks.targets import PEER_TARGETS, judge
from benchmarks.texts import path_of_dataset

_KILLS: Final = 5
_LOAD: Final = 3_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; return the exit code."""
    options = parser().parse_args(arguments)
    scale = QUICK if options.quick else PEERS_FULL
    complete = not (options.quick or options.only or options.no_crash_check)
    console = Console()
    console.print(
        "[bold]Corail storage, raw asyncpg and other agent libraries' stores[/bold], on a private PostgreSQL "
        f"with durability on; {scale.repetitions} repetitions in turn. About 3 minutes, 3 more when their "
        "environments are made for the first time. Leave the machine alone meanwhile.",
        highlight=False,
    )
    try:
        run = _run(console, scale, options)
        run["complete"] = complete
    except (NotDurableError, ContenderError, InstallError, crash.CrashError) as error:
        console.print(f"[red]No figures:[/red] {error}", highlight=False)
        return 1
    _publish(console, run, options.output or (RESULTS if complete else RESULTS / "partial"))
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    arguments = argparse.ArgumentParser(description="Corail storage beside other agent libraries' stores.")
    keys = [peer.key for peer in PEERS]
    arguments.add_argument("--quick", action="store_true", help="small sizes: to see that it works")
    arguments.add_argument("--only", nargs="+", choices=keys, metavar="PEER", help=f"of {', '.join(keys)}")
    arguments.add_argument("--renew", action="store_true", help="install the newest versions and pin them")
    arguments.add_argument("--output", type=Path, metavar="FOLDER", help="where results go")
    arguments.add_argument(
        "--no-crash-check", action="store_true", help="skip it; the figures are not for publication"
    )
    return arguments


def _run(console: Console, scale: Scale, options: argparse.Namespace) -> dict[str, Any]:
    started = perf_counter()
    contenders: list[Contender] = [OURS, RAW]
    chosen = [peer for peer in PEERS if not options.only or peer.key in options.only]
    contenders.extend(contender(peer, console.print, renew=options.renew) for peer in chosen)
    run: dict[str, Any] = {
        "machine": report.machine(),
        "scale": scale._asdict(),
        "crash": None,
        "versions": {},
    }
    works = among(contenders, scale)
    results: list[ComparisonResult] = []
    total = scale.repetitions * sum(len(one.lanes) for one in works)
    with Steps(console, total + (0 if options.no_crash_check else _KILLS)) as steps:
        if not options.no_crash_check:
            run["crash"] = crash.require(_KILLS, _LOAD, steps.step)
            steps.say(report.crash_line(run["crash"]).strip())
        with durable_server() as server:
            run["server"] = dict(server.settings)
            for result in run_comparisons(
                server,
                works,
                texts=path_of_dataset(),
                repetitions=scale.repetitions,
                seconds=scale.seconds,
                progress=steps.step,
                versions=run["versions"],
            ):
                results.append(result)
                rates = (f"{lane['label']} {figures.rate(lane['rate'])}" for lane in result["lanes"])
                steps.say(f"{result['code']:6} {', '.join(rates)}")
            server.check()
    run["comparisons"], run["figures"] = results, figures.of_peers(results)
    run["seconds"] = perf_counter() - started
    return run


def _publish(console: Console, run: dict[str, Any], folder: Path) -> None:
    results: list[ComparisonResult] = run["comparisons"]
    verdicts = judge(PEER_TARGETS, run["figures"])
    run["verdicts"] = [
        {"key": one.target.key, "measured": one.measured, "target": one.target.wanted(), "verdict": one.text}
        for one in verdicts
    ]
    heading, rows = report.peer_rows(results)
    targets = report.target_rows(verdicts)
    report.show(console, "Operations per second (ratio to raw asyncpg)", heading, rows)
    notes = report.peer_notes(results)
    for note in notes:
        console.print(note, highlight=False)
    report.show(console, "Targets", report.TARGETS, targets)
    text = (
        f"{report.conditions(run)}\n{report.crash_line(run['crash'])}\n{report.markdown(heading, rows)}\n"
        + "".join(f"{note}\n" for note in notes)
        + f"\n{report.markdown(report.TARGETS, targets)}"
    )
    paths = report.write(folder, "peers", run, text, _chart(run))
    console.print(
        f"{run['seconds']:.0f} s. Written: {', '.join(path.name for path in paths)}", highlight=False
    )


def _chart(run: dict[str, Any]) -> str:
    groups: list[Group] = []
    for result in run["comparisons"]:
        raw = next(lane["rate"] for lane in result["lanes"] if lane["contender"] == "raw")
        lanes = sorted(result["lanes"], key=lambda lane: -(lane["rate"] or 0))
        bars = [
            Bar(
                lane["label"] + ("*" if lane["notes"] else ""),
                lane["rate"] / raw if lane["rate"] and raw else None,
                figures.rate(lane["rate"]),
                ours=lane["contender"] == "ours",
                strong=lane["contender"] == "ours",
            )
            for lane in lanes
        ]
        groups.append(Group(result["title"].capitalize(), bars))
    host = run["machine"]
    return draw(
        "Agents' conversations in PostgreSQL: operations per second",
        f"PostgreSQL {run['server']['server_version']}, durability on, {host['cores']} cores, medians of "
        f"{run['scale']['repetitions']} interleaved runs. * no existence check, the turn goes without",
        groups,
        axis="← slower · raw asyncpg = 1 · faster →",
    )


if __name__ == "__main__":
    sys.exit(main())
