# SPDX-License-Identifier: Apache-2.0
"""The temporary directory of one run, and the clean-up of what killed runs left behind.

A workspace is `<tmp>/migmatrix-<uid>/<run id>/` with `streams/` (uncompressed streams in use), `link/`
(sockets and FIFOs between emulators) and one directory per sandbox. The process that owns it holds a lock
on `owner`; a workspace whose lock is free belongs to a dead run and may be removed, with the processes, containers
and networks that carry its name. Containers and networks also carry the base directory's own name, `base_name`, so
that those that came to be after their workspace was removed are found too. Nothing else is ever removed.

Rule: `owner` is made, locked for the first time and unlinked under the lock of the base directory only. Else a
sweep in another process could make it again in a directory that its run is about to remove.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from migmatrix.harness.beneath import Beneath
from migmatrix.harness.errors import StoreError, UserError
from migmatrix.harness.files import is_text, write_whole

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import TracebackType
    from typing import Self

__all__ = ["ROOT_ID", "SANDBOX_ID", "Workspace", "abandoned", "alive", "base_name", "remove"]

# The user that emulators run as when the harness is root: Debian's and Docker's "nobody".
SANDBOX_ID = 65534
# Of those that need a device node of root's.
ROOT_ID = 0

# A UNIX socket's path holds 107 bytes; "<sandbox>/<job>/qmp" needs about 40 of them.
_LONGEST_BASE = 60

_OWNER = "owner"
_NAME = "name"


def _base() -> Path:
    return Path(tempfile.gettempdir()) / f"migmatrix-{os.getuid()}"


def _base_lock() -> FileLock:
    return FileLock(_base() / "lock")


def base_name() -> str:
    """A random name of the base directory: whose workspaces they are, whatever hosts and harnesses share an engine."""
    file = _base() / _NAME
    with _base_lock():
        if not file.is_file():
            write_whole(file, secrets.token_hex(16).encode())
        return file.read_text()


class Workspace:
    """A run's own temporary directory, removed on exit."""

    def __init__(self) -> None:
        self.run_id = secrets.token_hex(4)
        self.root = _base() / self.run_id
        self._lock = FileLock(self.root / _OWNER, blocking=False)

    @property
    def streams(self) -> Path:
        """Uncompressed streams, one file per leg key."""
        return self.root / "streams"

    @property
    def link(self) -> Path:
        """Sockets and FIFOs between emulators of this run."""
        return self.root / "link"

    def directory(self, name: str) -> Path:
        """A new directory below the workspace; what is in it may be given to emulators, itself not."""
        path = self.root / name
        path.mkdir()
        path.chmod(0o755)  # whatever the umask says: emulators of another user go through it
        return path

    def __enter__(self) -> Self:
        if len(str(_base())) > _LONGEST_BASE:
            raise UserError(f"temporary directory {tempfile.gettempdir()!r} is too long for UNIX sockets")
        if not is_text(_base()):
            raise UserError(f"temporary directory {tempfile.gettempdir()!r} is not UTF-8")
        try:
            _base().mkdir(mode=0o711, exist_ok=True)
            if _base().stat().st_uid != os.getuid():
                raise UserError(f"{str(_base())!r} belongs to another user")
            with _base_lock():  # nobody may take an unlocked new workspace for an abandoned one
                self.root.mkdir(mode=0o711)
                self._lock.acquire()
            self.streams.mkdir(mode=0o700)
            self.link.mkdir()
            # Emulators of two users may meet here. They are told a name that only they know, and can list none.
            self.link.chmod(0o1733)
        except OSError as err:
            raise StoreError(f"cannot make a workspace: {err}") from err
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        remove(self.root)
        self._lock.release()


def remove(root: Path) -> None:
    """Remove a workspace whose `owner` this process has locked; `owner` comes last, so a sweep finds what is left.

    Emulators may have left anything in it; the engines that ran them have ended.
    """
    base, workspace = Beneath.open(root.parent), Beneath.open(root)
    try:
        for entry in root.iterdir():
            if entry.name != _OWNER:
                workspace.remove(entry.name)
        with _base_lock():
            base.remove(root.name)
    finally:
        workspace.close()
        base.close()


def abandoned() -> Generator[Path, None, None]:
    """Workspaces of runs that are dead, all locked until the caller is through."""
    dead = [(root, lock) for root, lock in _all() if lock is not None]
    try:
        for root, _ in dead:
            yield root
    finally:
        for _, lock in dead:
            lock.release()


def alive() -> set[str]:
    """Run ids of the workspaces that a process owns."""
    found = _all()
    for _, lock in found:
        if lock is not None:
            lock.release()
    return {root.name for root, lock in found if lock is None}


def _all() -> list[tuple[Path, FileLock | None]]:
    """All workspaces, with the held locks of those that no process owns."""
    if not _base().is_dir():
        return []
    found: list[tuple[Path, FileLock | None]] = []
    with _base_lock():
        for root in sorted(p for p in _base().iterdir() if p.is_dir()):
            lock = FileLock(root / _OWNER, blocking=False)
            try:
                lock.acquire()
            except Timeout:
                found.append((root, None))
            else:
                found.append((root, lock))
    return found
