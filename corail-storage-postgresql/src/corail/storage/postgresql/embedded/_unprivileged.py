"""Become a user that PostgreSQL accepts: not root, and one whose name is known; for the launcher only.

Standard library only. No user is added and no folder is opened to others: a process in a user
namespace of its own has another number there, while outside, for the file system, it stays who it was.
"""

import contextlib
import ctypes
import os
import pwd
import shutil
from pathlib import Path

PR_SET_DUMPABLE, CLONE_NEWUSER = 4, 0x10000000
BARRED, NO_BINARIES, NO_HOME = 1, 2, 4

User = tuple[int, int]
"""The numbers of a user and a group, as seen from outside any namespace made here."""
ROOT: User = (0, 0)

libc = ctypes.CDLL(None, use_errno=True)


def acceptable() -> bool:
    """Return whether this process can run PostgreSQL as it is."""
    return os.geteuid() != 0 and has_name(os.geteuid())


def settle(home: Path, bindir: Path) -> Path:
    """Make this process a user that can run PostgreSQL in ``home``; return where it finds the programs.

    For root: the owner of the folder where that is another user; else root in a user namespace; else,
    where those are barred and the folder holds no data yet, ``nobody``, to whom the folder is given.
    ``PermissionError`` with the remedy when none of them will do.
    """
    if os.geteuid() != 0:
        # A number without a name, as some container platforms choose: initdb alone minds.
        user = (os.geteuid(), os.getegid())
        if attempt(user, home, bindir) == 0:
            become(user)
        elif not (home / "pgdata").exists():
            raise PermissionError(
                f"PostgreSQL makes no data directory for a user without a name, user {user[0]} has none, and "
                f"this system lets it make no user namespace. Add user {user[0]} to /etc/passwd, or run this "
                "program as a user with a name."
            )
        return bindir
    owner = home.stat()
    user = ROOT if owner.st_uid == 0 else (owner.st_uid, owner.st_gid)
    obstacles = attempt(user, home, bindir)
    if obstacles & BARRED and user == ROOT and not (home / "pgdata").exists():
        user = nobody()
        with contextlib.suppress(OSError):
            os.chown(home, *user)
        obstacles = attempt(user, home, bindir)
    if obstacles & (BARRED | NO_HOME):
        raise PermissionError(explain(user, home, obstacles))
    if obstacles & NO_BINARIES:
        bindir = copy(bindir, home, user)
    become(user)
    return bindir


def attempt(user: User, home: Path, bindir: Path) -> int:
    """Return what keeps ``user`` from running the server, found out in a child: there is no way back."""
    child = os.fork()
    if child == 0:
        obstacles = BARRED
        try:
            become(user)
            obstacles = 0 if os.access(bindir / "postgres", os.R_OK | os.X_OK) else NO_BINARIES
            obstacles |= 0 if os.access(home, os.R_OK | os.W_OK | os.X_OK) else NO_HOME
        finally:
            os._exit(obstacles)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def become(user: User) -> None:
    """Turn this process into ``user``, in a namespace if it needs one; ``OSError`` where that is barred."""
    uid, gid = user
    if uid != os.geteuid():
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
        # A change of user hides /proc/self from its new owner, who is about to write there.
        libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
    if not acceptable():
        enter_namespace(uid, os.getegid())


def enter_namespace(uid: int, gid: int) -> None:
    """Enter a user namespace in which this process is ``nobody``, by name, and alone."""
    inside = nobody()
    if libc.unshare(CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "user namespaces are barred")
    # The kernel takes a group map from an unprivileged process only after "deny".
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{inside[0]} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{inside[1]} {gid} 1")


def nobody() -> User:
    """Return the user that owns nothing, or any other with a name; ``OSError`` where there is only root."""
    users = {entry.pw_name: (entry.pw_uid, entry.pw_gid) for entry in pwd.getpwall() if entry.pw_uid}
    if not users:
        raise OSError("the system knows no user but root")
    return users.get("nobody") or next(iter(users.values()))


def has_name(uid: int) -> bool:
    """Return whether the system knows a name for a user's number."""
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def copy(bindir: Path, home: Path, user: User) -> Path:
    """Copy programs that ``user`` cannot reach, as in a private home directory, into ``home``."""
    bindir = bindir.resolve()
    package = bindir.parents[1]
    copied = home / "programs"
    shutil.rmtree(copied, ignore_errors=True)
    for part in (*(bindir.parent / name for name in (bindir.name, "lib", "share")), libraries_of(package)):
        if part.is_dir():
            shutil.copytree(part, copied / part.relative_to(package.parent), symlinks=True)
    for path in (copied, *copied.rglob("*")):
        os.chown(path, *user, follow_symlinks=False)
    return copied / bindir.relative_to(package.parent)


def libraries_of(package: Path) -> Path:
    """Return where a repaired wheel keeps shared libraries: its programs look for them by relative path."""
    return package.with_name(f"{package.name}.libs")


def explain(user: User, home: Path, obstacles: int) -> str:
    """Return why PostgreSQL cannot run here, and what would change that."""
    if obstacles & BARRED:
        why = f"this system lets root neither make a user namespace nor use {home} as another user"
    elif user == ROOT:
        why = f"root without its privileges, which is how it is run, cannot reach {home}"
    else:
        why = f"user {user[0]}, as whom it is run, cannot reach {home}"
    return (
        f"PostgreSQL refuses to run as root, and {why}. Run this program as an ordinary user, or name a "
        "data_dir (or TMPDIR, for temporary servers) that every user can reach."
    )
