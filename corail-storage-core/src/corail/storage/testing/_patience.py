"""Bounds that turn a hang into a failure with the clause's name; nothing here measures speed."""

import inspect
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import Final

import anyio

_GRACE: Final = 1.1
"""How much longer than the bound the event loop has to deliver the cancellation."""
_LOOK: Final = 0.05
"""Seconds between looks at the main thread once that is over."""


@contextmanager
def bounded(seconds: float | None, label: str) -> Generator[None]:
    """Fail if the calls inside have no end after ``seconds``, even where they block the event loop.

    What is left is a call that the loop can cancel and that goes on all the same; pytest-timeout ends it.
    With None the calls have bounds of their own.
    """
    __tracebackhide__ = True
    if seconds is None:
        yield
        return
    with _watched(seconds * _GRACE, label), anyio.move_on_after(seconds) as scope:
        yield
    if scope.cancelled_caught:
        raise AssertionError(
            f"no end after {seconds:g} s: a deadlock, a wake-up that got lost, or a lock or connection kept "
            "by a call that was cancelled. If the store is merely slow, raise 'patience' on the class."
        )


@contextmanager
def _watched(seconds: float, label: str) -> Generator[None]:
    # A lock of threading that is held across an await blocks the whole loop, and no timeout of the
    # loop can fire. Only a signal reaches a main thread that waits for such a lock.
    main = threading.main_thread()
    if threading.current_thread() is not main or main.ident is None or not hasattr(signal, "pthread_kill"):
        yield
        return
    over = threading.Event()
    before: tuple[FrameType, int] | None = None

    def look(_signal: int, frame: FrameType | None) -> None:
        nonlocal before
        here = None if frame is None or over.is_set() or not _in_coroutine(frame) else (frame, frame.f_lasti)
        # Twice at the same instruction of a coroutine: it waits. An exception anywhere else could
        # break the loop itself.
        blocked, before = here is not None and here == before, here
        if blocked:
            before = None
            raise AssertionError(
                f"{label}: the event loop was blocked for {seconds:g} s. Does a call hold a lock of "
                "threading across an await, or wait for a thread?"
            )

    def watch(ident: int) -> None:
        wait = seconds
        while not over.wait(wait):
            signal.pthread_kill(ident, signal.SIGUSR2)
            wait = _LOOK

    previous = signal.signal(signal.SIGUSR2, look)
    watcher = threading.Thread(target=watch, args=(main.ident,), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        # Joined, so that no signal comes late: its default action would end the process.
        watcher.join()
        signal.signal(signal.SIGUSR2, signal.SIG_DFL if previous is None else previous)


def _in_coroutine(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_flags & inspect.CO_COROUTINE:
            return True
        frame = frame.f_back
    return False
