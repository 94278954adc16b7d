"""A small disk that only one thread and the processes it starts can see, and that goes with them.

Linux and the right to mount. The thread enters a mount namespace of its own, so nothing is ever
mounted on the machine itself, however the test ends.
"""

import ctypes
import errno
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_CLONE_NEWNS: Final = 0x20000
_MS_REC_PRIVATE: Final = 0x4000 | 0x40000
_FILLER: Final = "filler"


class NoSmallDiskError(OSError):
    """This process may not mount."""


class SmallDisk:
    """A file system in memory of a few megabytes.

    Args:
        path: an empty folder to mount it on.
        megabytes: its size.

    """

    def __init__(self, path: Path, megabytes: int) -> None:
        self.path = path
        self._thread = ThreadPoolExecutor(1)
        try:
            self.run(_mount, path, megabytes)
        except BaseException:
            self._thread.shutdown()
            raise

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function where the disk can be seen."""
        return self._thread.submit(function, *args, **kwargs).result()

    def fill(self) -> None:
        """Leave not a byte free."""
        self.run(_fill, self.path / _FILLER)

    def free(self) -> None:
        """Make room again."""
        self.run((self.path / _FILLER).unlink)

    def close(self) -> None:
        """Let go of the disk; it is gone with the last process that sees it."""
        self._thread.shutdown()


def _mount(path: Path, megabytes: int) -> None:
    if sys.platform != "linux":
        raise NoSmallDiskError(f"mount namespaces are Linux's, and this is {sys.platform}")
    libc = ctypes.CDLL(None, use_errno=True)
    for call, *arguments in (
        # Of this thread alone; without making everything private, the mount would reach the others.
        (libc.unshare, _CLONE_NEWNS),
        (libc.mount, None, b"/", None, _MS_REC_PRIVATE, None),
        (libc.mount, b"tmpfs", bytes(path), b"tmpfs", 0, f"size={megabytes}m,mode=0777".encode()),
    ):
        if call(*arguments) != 0:
            raise NoSmallDiskError(
                ctypes.get_errno(), f"this user may not mount: {os.strerror(ctypes.get_errno())}"
            )


def _fill(filler: Path) -> None:
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            try:
                while True:
                    file.write(bytes(size))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
