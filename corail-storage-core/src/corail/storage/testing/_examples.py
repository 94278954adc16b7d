"""Hypothesis around coroutines: the engine runs in a thread, every call on the one loop of the test.

Examples are the same in every run: a contract that fails on Tuesdays only is of no use to an author.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import anyio
import anyio.from_thread
import anyio.to_thread
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy

T = TypeVar("T")


def repeatable(examples: int, steps: int = 1) -> settings:
    """Return hypothesis settings without a clock, a database or chance."""
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        derandomize=True,
        database=None,
        deadline=None,
        print_blob=False,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )


async def for_examples(
    strategy: SearchStrategy[T], check: Callable[[T], Awaitable[None]], examples: int, patience: float
) -> None:
    """Await ``check`` with values of the strategy; the smallest that fails ends up in the failure."""

    @repeatable(examples)
    @given(strategy)
    def run(value: T) -> None:
        on_loop(partial(check, value), patience)

    await in_engine(run)


async def in_engine(run: Callable[[], None]) -> None:
    """Run a hypothesis test in a thread that may call back with ``on_loop``."""

    def engine() -> None:
        try:
            run()
        except _HangError as hang:
            raise AssertionError(str(hang)) from hang

    await anyio.to_thread.run_sync(engine, abandon_on_cancel=True)


def on_loop(call: Callable[[], Awaitable[T]], patience: float) -> T:
    """Run a call on the loop of the test, from the engine's thread."""
    answers = anyio.from_thread.run(_answers, call, patience)
    if not answers:
        raise _HangError(
            f"no end of a call after {patience:g} s: {call}. What led to it was not made smaller."
        )
    return answers[0]


class _HangError(BaseException):
    """Not an ``Exception``: hypothesis would repeat the example, and wait as long each time."""


async def _answers(call: Callable[[], Awaitable[T]], patience: float) -> list[T]:
    with anyio.move_on_after(patience):
        return [await call()]
    return []
