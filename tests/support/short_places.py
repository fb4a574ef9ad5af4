# SPDX-License-Identifier: Apache-2.0
"""Directories with short paths, for sockets, whose paths may have 107 characters."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["short_place"]


@contextmanager
def short_place(prefix: str, mode: int = 0o700) -> Iterator[Path]:
    """A directory that is removed at the end, while a thread may still take its socket out of it.

    `TemporaryDirectory` passes over a file that is gone already, `shutil.rmtree` does not.
    """
    with TemporaryDirectory(prefix=f"{prefix}-", dir="/tmp") as name:
        place = Path(name)
        place.chmod(mode)
        yield place
