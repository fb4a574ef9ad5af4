# SPDX-License-Identifier: Apache-2.0
"""Guest memory from a backend of the user's: `-object memory-backend-ram,id=ram0,size=64M -machine memory-backend=ram0`.

The block has the backend's name. `memory-backend-file` is the file's content, with `share=on` also for others, as for the
other side of a migration with `x-ignore-shared`. Other memory is private and anonymous, whatever the backend's kind:
nobody could reach it, and a stream does not show the difference.

`memory-backend-memfd,hugetlb=on,hugetlbsize=2M` has huge pages, and so has `memory-backend-file,mem-path=DIR` where DIR
is on a hugetlbfs. They are a figure of the block that a postcopy goes by; nothing is taken of the host's.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from migmatrix.emulator.errors import FatalError
from migmatrix.emulator.memory import PAGE_SIZE
from migmatrix.emulator.options.keyvalue import size as read_size
from migmatrix.emulator.properties import ON_WORDS
from migmatrix.emulator.texts import text

if TYPE_CHECKING:
    from migmatrix.emulator.machine import Machine
    from migmatrix.emulator.memory import RamBlock

__all__ = ["huge_pages", "map_file", "memory_backend"]

_KINDS: Final = ("memory-backend-ram", "memory-backend-memfd", "memory-backend-file")
_FILE: Final = "memory-backend-file"
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
    shared = props.get("share") in ON_WORDS
    if found.kind not in _KINDS or (shared and (found.kind != _FILE or page_size)):
        raise FatalError(f"{found.where}: the emulator shares no memory but that of memory-backend-file")
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


def map_file(machine: Machine, name: str, block: RamBlock) -> None:
    """Make the block's content that of the backend's file, if it has one; FatalError."""
    found = next(b for b in machine.options.of("object") if b.id == name)
    props = dict(found.props)
    path = props.get("mem-path", "")
    if found.kind != _FILE or block.page_size != PAGE_SIZE or os.path.isdir(path):  # noqa: PTH112 - as above
        return  # huge pages are a figure, see above; QEMU makes a file in a directory that nobody else finds
    unknown = [
        key
        for key in ("offset", "readonly", "pmem", "rom")
        if props.get(key, "off") not in ("off", "0", "auto")
    ]
    if unknown:
        raise FatalError(f"{found.where}: the emulator has no memory-backend-file with {unknown[0]}")
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        words = f"can't open backing store {path} for guest RAM: {error.strerror}"
        raise FatalError(words) from error
    try:
        _fit(fd, block.max_size)
        block.map_file(fd, shared=props.get("share") in ON_WORDS)
    finally:
        os.close(fd)


def _fit(fd: int, size: int) -> None:
    """A new file gets the size; one that is too small is refused."""
    there = os.fstat(fd).st_size
    if not there:
        os.ftruncate(fd, size)
    elif there < size:
        raise FatalError(f"backing store size {there:#x} does not match 'size' option {size:#x}")


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
