# SPDX-License-Identifier: Apache-2.0
"""The place of a run directory: who may write there, and what makes way for what is written."""

from __future__ import annotations

import fcntl
import itertools
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from migmatrix.harness.errors import UserError
from migmatrix.harness.files import is_plain

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["anew", "discard", "unused", "writing"]


@contextmanager
def writing(directory: Path) -> Iterator[None]:
    """Be the one process that writes to a run directory; UserError when another is. Its end, by any means, ends this."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as err:
        raise UserError(f"another run is writing to {str(directory)!r}; choose another --out") from err
    finally:
        os.close(handle)


def discard(path: Path) -> None:
    """Remove a database with the two files that sqlite keeps beside it."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def unused(path: Path) -> Path:
    """The first name that is not taken: `path`, `path.2`, ..."""
    names = (path if n == 1 else path.with_name(f"{path.name}.{n}") for n in itertools.count(1))
    return next(name for name in names if not os.path.lexists(name))


def anew(path: Path) -> TextIO:
    """Open an empty file to write to; a link or a FIFO in its place is removed, as it would lead elsewhere or nowhere."""
    if not is_plain(path):
        path.unlink(missing_ok=True)
    return path.open("w")
