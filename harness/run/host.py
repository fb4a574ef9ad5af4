# SPDX-License-Identifier: Apache-2.0
"""What modes need of this host and it has not: known before anything runs, so that their cells are left out by name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from migmatrix.harness.hops.furnish import memory_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from migmatrix.harness.model import Mode

__all__ = ["host_lacks"]

# Of 2 MiB, which is what a mode's memory is made of; the kernel's Documentation/admin-guide/mm/hugetlbpage.rst.
_FREE: Final = Path("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages")
_PAGE: Final = 2 << 20
_SIDES: Final = 2


def host_lacks(
    modes: Iterable[Mode], machines: Iterable[Sequence[str]], free_pages: Path = _FREE
) -> dict[str, str]:
    """Mode name to the reason why it cannot be tried here with the largest of these machines, told by their arguments.

    An engine on another host is not asked.
    """
    huge = [mode.name for mode in modes if mode.memory == "hugepages"]
    if not huge:
        return {}
    free, needed = _free(free_pages), _SIDES * max(map(memory_of, machines)) // _PAGE
    reason = (
        f"the host has {free} free huge pages of 2 MiB, a migration needs {needed} (sysctl vm.nr_hugepages)"
    )
    return {} if free >= needed else dict.fromkeys(huge, reason)


def _free(pages: Path) -> int:
    try:
        return int(pages.read_text())
    except (OSError, ValueError):  # a kernel without them
        return 0
