# SPDX-License-Identifier: Apache-2.0
"""Guest memory from a backend of the user's: `-object memory-backend-ram,id=ram0,size=64M -machine memory-backend=ram0`.

The block has the backend's name. The memory itself is private and anonymous, whatever the backend's kind: a stream does
not show the difference, and what would (a file's content, memory shared with another process) is refused.

`memory-backend-memfd,hugetlb=on,hugetlbsize=2M` has huge pages, and so has `memory-backend-file,mem-path=DIR` where DIR
is on a hugetlbfs. They are a figure of the block that a postcopy goes by; nothing is taken of the host's.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from migmatrix.emulator.errors import FatalError
from migmatrix.emulator.options.keyvalue import size as read_size
from migmatrix.emulator.properties import ON_WORDS
from migmatrix.emulator.texts import text

if TYPE_CHECKING:
    from migmatrix.emulator.machine import Machine

__all__ = ["huge_pages", "memory_backend"]

_PRIVATE: Final = ("memory-backend-ram", "memory-backend-memfd")
_HUGE: Final = 2 << 20  # the kernel's usual huge page
_CANONICAL: Final = "x-use-canonical-path-for-ramblock-id"


def memory_backend(machine: Machine, name: str, size: int) -> tuple[str, int]:
    """The name of the RAM block of the backend `name`, and the size of its pages, 0 for usual ones.

    FatalError when there is none, or not of `size` bytes.
    """
    found = next((b for b in machine.options.of("object") if b.id == name), None)
    if found is None or not found.kind.startswith("memory-backend-"):
        raise FatalError(f"Memory backend '{name}' not found")
    props = dict(found.props)
    if read_size("size", props.get("size", "0")) != size:
        raise FatalError(text(machine.release.name, "memory-backend-size"))
    page_size = _page_size(found.kind, props, size)
    if not (found.kind in _PRIVATE or page_size) or props.get("share") in ON_WORDS:
        raise FatalError(f"{found.where}: the emulator has no memory in files, and none that is shared")
    return f"/objects/{name}" if _canonical(machine, found.kind, props) else name, page_size


def _page_size(kind: str, props: dict[str, str], size: int) -> int:
    """The size of huge pages, 0 for usual ones; FatalError for a size that does not fit."""
    if kind == "memory-backend-file":
        return _in_file(props.get("mem-path", ""), size)
    return _in_memfd(props, size) if kind == "memory-backend-memfd" else 0


def _in_file(path: str, size: int) -> int:
    with open("/proc/self/mounts") as mounts:  # noqa: PTH123 - pathlib is not for the start
        page_size = huge_pages(path, mounts.read())
    if size < page_size:
        raise FatalError(f"memory size {size:#x} must be equal to or larger than page size {page_size:#x}")
    return page_size


def huge_pages(path: str, mounts: str) -> int:
    """The page size of the hugetlbfs that `path` is on by a table of mounts, 0 when it is on none."""
    path, found = os.path.realpath(path), ("", "", "")
    for line in mounts.splitlines():
        _, place, kind, options, *_ = line.split()
        inside = path == place or path.startswith(place.rstrip("/") + "/")
        if inside and len(place) >= len(found[0]):  # of two on one place the later hides the earlier
            found = place, kind, options
    if found[1] != "hugetlbfs":
        return 0
    given = [word[9:] for word in found[2].split(",") if word.startswith("pagesize=")]
    return read_size("pagesize", given[0]) if given else _HUGE


def _in_memfd(props: dict[str, str], size: int) -> int:
    """What `hugetlb` and `hugetlbsize` say; the kernel's words for a size that does not fit."""
    if props.get("hugetlb") not in ON_WORDS:
        return 0
    page_size = read_size("hugetlbsize", props.get("hugetlbsize", "0")) or _HUGE
    if page_size & (page_size - 1):
        raise FatalError("Hugepage size must be a power of 2")
    if size % page_size:
        raise FatalError(f"failed to resize memfd to {size}: Invalid argument")
    return page_size


def _canonical(machine: Machine, kind: str, props: dict[str, str]) -> bool:
    """Whether the block is named by the backend's path: as given, else as the machine type's tables say."""
    tables = [e.value for e in machine.compat if e.device == kind and e.property == _CANONICAL]
    return props.get(_CANONICAL, tables[-1] if tables else "off") in ON_WORDS
