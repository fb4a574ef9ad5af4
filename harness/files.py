# SPDX-License-Identifier: Apache-2.0
"""Files that appear whole or not at all; the one way in which the harness writes a file that others read."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PUBLIC", "replacing", "write_whole"]

_PRIVATE = 0o600  # what mkstemp gives; streams hold a guest's memory
PUBLIC = 0o644  # of files for people and web servers


@contextmanager
def replacing(path: Path, mode: int = _PRIVATE) -> Iterator[Path]:
    """An empty file beside `path`, which takes its place when the block ends well, and is removed otherwise.

    A reader sees the old file or the new one, never a part. OSError when the directory cannot be written.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    os.close(handle)
    new = Path(name)
    try:
        yield new
        if mode != _PRIVATE:
            new.chmod(mode)
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def write_whole(path: Path, data: bytes, mode: int = _PRIVATE, *, durable: bool = False) -> None:
    """Write `data` to `path` as `replacing` does; `durable` also outlives a crash of the host."""
    with replacing(path, mode) as new, new.open("wb") as file:
        file.write(data)
        if durable:
            file.flush()
            os.fsync(file.fileno())
