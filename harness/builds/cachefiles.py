# SPDX-License-Identifier: Apache-2.0
"""Files and directories of the build cache: written whole or not at all, locks, and plain errors."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from migmatrix.harness.errors import StoreError, UserError
from migmatrix.harness.files import write_whole

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["locked", "new_directory", "write_atomically"]


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file of the cache so that a reader sees all of it or none; its directory is made."""
    with _writable(path.parent):
        write_whole(path, data)


@contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """An empty directory that becomes `path` when the block ends well, and is removed otherwise."""
    with _writable(path.parent):
        made = Path(tempfile.mkdtemp(dir=path.parent, prefix=".new-"))
        try:
            yield made
            made.chmod(0o755)
            made.rename(path)
        except BaseException:
            shutil.rmtree(made)
            raise


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path` against other threads and processes; waits as long as it takes."""
    with _writable(path.parent):
        lock = FileLock(path, thread_local=False)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _writable(directory: Path) -> Iterator[None]:
    """Make the directory; UserError when it cannot be written to, StoreError when the disk cannot."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        yield
    except (PermissionError, FileExistsError, NotADirectoryError) as err:
        raise UserError(f"cannot write to the build cache {str(directory)!r}: {err.strerror}") from err
    except OSError as err:
        raise StoreError(f"cannot write to the build cache {str(directory)!r}: {err.strerror}") from err
