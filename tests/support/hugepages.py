# SPDX-License-Identifier: Apache-2.0
"""Huge pages for a test: reserved for its time, given back after it; the test is skipped where the kernel has none."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from needs import missing

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["huge_pages"]

_POOLS: Final = Path("/sys/kernel/mm/hugepages")


@contextmanager
def huge_pages(size: int, page_size: int) -> Iterator[None]:
    """`size` bytes in free pages of `page_size` bytes, on top of those that the host has in use."""
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
