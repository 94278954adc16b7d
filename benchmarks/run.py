"""Ours against raw asyncpg, in one interleaved run; ``make bench`` runs it.

::

    .venv/bin/python -m benchmarks.run                # everything, about 3 minutes
    .venv/bin/python -m benchmarks.run --quick        # all of it, small: to see that it works
    .venv/bin/python -m benchmarks.run --only W2 W4   # some of it

Only a complete run writes to ``results/``; partial ones go to ``results/partial/``.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from rich.console import Console

from benchmarks import crash, figures, memory, report, startup
from benchmarks.chart import Bar, Group, draw
from benchmarks.comparing import Comparison, ComparisonResult, Lane
from benchmarks.comparing import run as run_comparisons
from benchmarks.console import Steps
from benchmarks.contenders import Contender, ContenderError
from benchmarks.plan import FULL, QUICK, Scale, comparisons
from benchmarks.server import NotDurableError, durable_server
from benchmarks.targets import TARGETS, judge
from benchmarks.texts import path_of_dataset

RESULTS: Final = Path(__file__).resolve().parent / "results"
_OTHERS: Final = ("W7", "W8")
_KILLS: Final = 5
_LOAD: Final = 3_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; return the exit code."""
    options = parser().parse_args(arguments)
    scale = QUICK if options.quick else FULL
    chosen = [one for one in comparisons(scale) if _is_wanted(one.code, options.only)]
    others = [one for one in _OTHERS if _is_wanted(one, options.only)]
    chosen = [_with(one, options.contender) for one in chosen]
    complete = not (options.quick or options.only or options.contender or options.no_crash_check)
    console = Console()
    _announce(console, scale, [*(one.code for one in chosen), *others], complete=complete)
    try:
        run = _run(console, scale, chosen, others, crash_check=not options.no_crash_check)
        run["complete"] = complete
    except (NotDurableError, ContenderError, crash.CrashError) as error:
        console.print(f"[red]No figures:[/red] {error}", highlight=False)
        return 1
    folder = options.output or (RESULTS if complete else RESULTS / "partial")
    _publish(console, run, folder)
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    arguments = argparse.ArgumentParser(description="Corail storage against raw asyncpg, interleaved.")
    arguments.add_argument(
        "--quick", action="store_true", help="small sizes: to see that it works (half a minute)"
    )
    arguments.add_argument("--only", nargs="+", metavar="WORK", help="W2, W4@8, W5, W7 ...: only these")
    arguments.add_argument(
        "--contender", metavar="MODULE:CLASS", help="measure an adapter of your own beside ours"
    )
    arguments.add_argument("--output", type=Path, metavar="FOLDER", help="where results go")
    arguments.add_argument(
        "--no-crash-check", action="store_true", help="skip it; the figures are not for publication"
    )
    return arguments


def _is_wanted(code: str, only: Sequence[str] | None) -> bool:
    return not only or any(code == one or code.partition("@")[0].partition(" ")[0] == one for one in only)


def _with(comparison: Comparison, adapter: str | None) -> Comparison:
    """Give a comparison a third lane, which does the same as ours."""
    if adapter is None:
        return comparison
    contender = Contender("third", adapter.partition(":")[2], adapter)
    ours = comparison.lanes[0]
    return comparison._replace(
        lanes=[*comparison.lanes, Lane(contender, ours.kind, ours.options, contender.name)]
    )


def _announce(console: Console, scale: Scale, works: Sequence[str], *, complete: bool) -> None:
    console.print(
        f"[bold]Corail storage against raw asyncpg[/bold], on a private PostgreSQL with durability on.\n"
        f"First a server is killed {_KILLS} times under load: nothing may be lost. Then {scale.repetitions} "
        f"repetitions, ours and raw in turn, of {', '.join(works) or 'nothing'}.\n"
        + ("About 3 minutes. Leave the machine alone meanwhile." if complete else "A partial run."),
        highlight=False,
    )


def _run(
    console: Console, scale: Scale, chosen: Sequence[Comparison], others: Sequence[str], *, crash_check: bool
) -> dict[str, Any]:
    started = perf_counter()
    run: dict[str, Any] = {
        "machine": report.machine(),
        "scale": scale._asdict(),
        "crash": None,
        "memory": None,
        "startup": None,
        "versions": {},
    }
    lanes = sum(len(one.lanes) for one in chosen)
    total = scale.repetitions * lanes + _KILLS * crash_check
    total += ("W7" in others) + (2 + len(scale.distributions)) * ("W8" in others)
    results: list[ComparisonResult] = []
    with Steps(console, total) as steps:
        if crash_check:
            # Before any figure, and the figures are not taken without it.
            run["crash"] = crash.require(_KILLS, _LOAD, steps.step)
            steps.say(report.crash_line(run["crash"]).strip())
        with durable_server() as server:
            run["server"] = dict(server.settings)
            for result in run_comparisons(
                server,
                chosen,
                texts=path_of_dataset(),
                repetitions=scale.repetitions,
                seconds=scale.seconds,
                progress=steps.step,
                versions=run["versions"],
            ):
                results.append(result)
                steps.say(f"{result['code']:9} {figures.ratio(result['ratio']):>6}  {result['title']}")
            server.check()
        measured = figures.of_comparisons(results)
        if "W7" in others:
            steps.step("W7")
            run["memory"] = sizes = memory.footprints()
            measured.update(figures.of_memory(sizes))
        if "W8" in others:
            run["startup"] = startup.measure(scale.starts, scale.distributions, steps.step)
            measured.update(figures.of_startup(run["startup"]))
    run["comparisons"], run["figures"] = results, measured
    run["seconds"] = perf_counter() - started
    return run


def _publish(console: Console, run: dict[str, Any], folder: Path) -> None:
    results: list[ComparisonResult] = run["comparisons"]
    verdicts = [one for one in judge(TARGETS, run["figures"]) if one.measured is not None]
    run["verdicts"] = [
        {"key": one.target.key, "measured": one.measured, "target": one.target.wanted(), "verdict": one.text}
        for one in verdicts
    ]
    text = f"{report.conditions(run)}\n{report.crash_line(run['crash'])}\n"
    tables: list[tuple[str, report.Row, list[report.Row]]] = [
        ("Ours against raw asyncpg", report.WORK, report.work_rows(results)),
        (
            "Single operations: latency, and processor time in the client",
            report.LATENCY,
            report.latency_rows(results),
        ),
        ("Start", report.STARTUP, report.startup_rows(run["startup"]) if run["startup"] else []),
        ("Targets (of the full sizes)", report.TARGETS, report.target_rows(verdicts)),
    ]
    for title, heading, rows in tables:
        if rows:
            report.show(console, title, heading, rows)
            text += report.markdown(heading, rows) + "\n"
    paths = report.write(folder, "bench", run, text, _chart(run))
    console.print(
        f"{run['seconds']:.0f} s. Written: {', '.join(path.name for path in paths)}", highlight=False
    )


def _chart(run: dict[str, Any]) -> str:
    wanted = {one.key: one.value for one in TARGETS}
    bars = [
        Bar(
            result["title"],
            result["ratio"],
            f"{figures.rate(result['lanes'][0]['rate'])} : {figures.rate(result['lanes'][1]['rate'])}",
            ours=True,
            target=wanted.get(result["code"]),
        )
        for result in run["comparisons"]
        if result["code"] != "W3tail"  # a bound on time, against ourselves
    ]
    host = run["machine"]
    return draw(
        "Corail storage against raw asyncpg: operations per second",
        f"PostgreSQL {run['server']['server_version']}, durability on, {host['cores']} cores, medians of "
        f"{run['scale']['repetitions']} interleaved runs; 16 writers: by row-locked appends",
        [Group("", bars)],
        axis="← slower · raw asyncpg = 1 · faster →",
        column="ours : raw",
        marks="target",
    )


if __name__ == "__main__":
    sys.exit(main())
