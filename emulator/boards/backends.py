# SPDX-License-Identifier: Apache-2.0
"""Guest memory from a backend of the user's: `-object memory-backend-ram,id=ram0,size=64M -machine memory-backend=ram0`.

The block has the backend's name. The memory itself is private and anonymous, whatever the backend's kind: a stream does
not show the difference, and what would (a file's content, memory shared with another process) is refused.

`memory-backend-memfd,hugetlb=on,hugetlbsize=2M` has huge pages. They are a figure of the block that a postcopy goes by;
the host needs none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from migmatrix.emulator.errors import FatalError
from migmatrix.emulator.options.keyvalue import size as read_size
from migmatrix.emulator.properties import ON_WORDS
from migmatrix.emulator.texts import text

if TYPE_CHECKING:
    from migmatrix.emulator.machine import Machine

__all__ = ["memory_backend"]

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
    if found.kind not in _PRIVATE or props.get("share") in ON_WORDS:
        raise FatalError(f"{found.where}: the emulator has no memory in files, and none that is shared")
    block = f"/objects/{name}" if _canonical(machine, found.kind, props) else name
    return block, _page_size(props, size) if found.kind == "memory-backend-memfd" else 0


def _page_size(props: dict[str, str], size: int) -> int:
    """What `hugetlb` and `hugetlbsize` make of a memfd; the kernel's words for a size that does not fit."""
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
