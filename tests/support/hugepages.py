# SPDX-License-Identifier: Apache-2.0
"""Huge pages for a test: reserved for its time, given back after it; the test is skipped where the kernel has none."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from filelock import FileLock
from needs import missing

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["as_they_are", "huge_pages"]

_POOLS: Final = Path("/sys/kernel/mm/hugepages")


@contextmanager
def as_they_are() -> Iterator[None]:
    """No other test, in no other process either, reserves any or gives some back meanwhile."""
    with FileLock(Path(tempfile.gettempdir()) / "migmatrix-huge-pages.lock"):
        yield


@contextmanager
def huge_pages(size: int, page_size: int) -> Iterator[None]:
    """`size` bytes in free pages of `page_size` bytes, on top of those that the host has in use."""
    with as_they_are():
        yield from _reserved(size, page_size)


def _reserved(size: int, page_size: int) -> Iterator[None]:
    pool = _POOLS / f"hugepages-{page_size >> 10}kB"
    wanted = size // page_size
    if not pool.is_dir():
        missing(f"a kernel with pages of {page_size >> 10} kB")
    before = int((pool / "nr_hugepages").read_text())
    try:
        try:
            (pool / "nr_hugepages").write_text(str(before + wanted))
        except OSError as error:
            missing(f"the right to reserve huge pages: {error}")
        free = int((pool / "free_hugepages").read_text())
        if free < wanted:
            missing(f"{wanted} free pages of {page_size >> 10} kB, the host has {free}")
        yield
    finally:
        if int((pool / "nr_hugepages").read_text()) != before:
            (pool / "nr_hugepages").write_text(str(before))
