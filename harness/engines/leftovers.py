# SPDX-License-Identifier: Apache-2.0
"""What killed runs left: workspaces, and the processes, containers and networks that belong to them.

1. Whatever the process engine starts inherits `MARK`, whose value is the workspace of the run. Its content is no secret
   and no proof; it names what this user's own harness started, and only processes of this user are looked at.
2. `end_marked` is called for workspaces that the caller has locked: those of dead runs, and its own at its end.
3. Only a workspace whose lock is free is removed, after all that belongs to it; what cannot be removed is told, and
   tried again by the next run.
4. A process is signalled through a descriptor that was opened before its mark was read, so that no other process that
   got its number is hit.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from migmatrix.harness.engines.workspace import abandoned, remove
from migmatrix.harness.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["MARK", "clean_up", "end_marked", "marked"]

MARK: Final = "MIGMATRIX_RUN"

_PROCESSES = Path("/proc")
_PATIENCE: Final = 10.0  # seconds; a process that SIGKILL does not end by then is stuck in the kernel
_GONE = (FileNotFoundError, ProcessLookupError, PermissionError)


def clean_up(log: Callable[[str], None]) -> None:
    """Remove what killed runs of this user left; a line for each run."""
    for root in abandoned():
        try:
            end_marked(root)
            _remove_contained(root)
            remove(root)
        except (EngineError, OSError) as err:
            log(f"cannot remove what the killed run {root.name} left, the next run tries again: {err}")
        else:
            log(f"removed what the killed run {root.name} left")


def _remove_contained(root: Path) -> None:
    if not any(root.glob("c[0-9]*")):  # directories of containers
        return
    from migmatrix.harness.builds.client import new_client  # noqa: PLC0415 - slow to import, seldom needed
    from migmatrix.harness.engines.docker import LABEL, remove_left  # noqa: PLC0415

    try:
        client = new_client()
    except EngineError:  # none answers: what it still holds goes when a run has it open again
        return
    remove_left(client, f"{LABEL}={root.name}")


def marked(root: Path) -> Iterator[int]:
    """Process ids of this user that carry the mark of the workspace `root`."""
    mark = f"{MARK}={root}".encode()
    for entry in _PROCESSES.iterdir():
        if entry.name.isdigit() and _carries(entry, mark):
            yield int(entry.name)


def _carries(process: Path, mark: bytes) -> bool:
    with contextlib.suppress(*_GONE):  # it ended, or is another user's
        if process.stat().st_uid == os.getuid():
            return mark in (process / "environ").read_bytes().split(b"\0")
    return False


def end_marked(root: Path) -> int:
    """Kill what carries the mark of `root`, and what that starts meanwhile; how many there were. TimeoutError."""
    deadline = time.monotonic() + _PATIENCE
    ended = 0
    while found := list(marked(root)):
        ended += sum(_ended(pid, root, deadline) for pid in found)
        if time.monotonic() > deadline:
            raise TimeoutError(f"processes {found} of run {root.name} do not end")
    return ended


def _ended(pid: int, root: Path, deadline: float) -> bool:
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if not _carries(_PROCESSES / str(pid), f"{MARK}={root}".encode()):
            return False
        signal.pidfd_send_signal(process, signal.SIGKILL)
        ready, _, _ = select.select([process], [], [], max(0.0, deadline - time.monotonic()))
        return bool(ready)
    except ProcessLookupError:
        return True
    finally:
        os.close(process)
