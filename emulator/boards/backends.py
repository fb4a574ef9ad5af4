# SPDX-License-Identifier: Apache-2.0
"""Guest memory from a backend of the user's: `-object memory-backend-ram,id=ram0,size=64M -machine memory-backend=ram0`.

The block has the backend's name. `memory-backend-file` is the file's content, with `share=on` also for others, as for the
other side of a migration with `x-ignore-shared`. `memory-backend-memfd`, unless `share=off`, and `memory-backend-shm` are
files without a name, for processes that are given their descriptors (`emulator.vhostuser`). Other memory is private and
anonymous: nobody could reach it, and a stream does not show the difference.

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

_FILE: Final = "memory-backend-file"
_MEMFD: Final = "memory-backend-memfd"
_SHM: Final = "memory-backend-shm"
_KINDS: Final = ("memory-backend-ram", _MEMFD, _FILE, _SHM)
_SHARED: Final = (_MEMFD, _SHM)  # unless somebody says otherwise
_SORTS: Final = ("in usual pages", "in huge pages")
_FAULTS: Final = ("tmpfs", "hugetlbfs")  # file systems of which somebody can be told to wait for a page
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
    if found.kind == _SHM and props.get("share", "on") not in ON_WORDS:
        raise FatalError("can't create shm backend with `share=off`")
    if found.kind not in _KINDS or (shared and (found.kind == "memory-backend-ram" or page_size)):
        raise FatalError(
            f"{found.where}: the emulator shares no memory of {found.kind} {_SORTS[bool(page_size)]}"
        )
    return f"/objects/{name}" if _canonical(machine, found.kind, props) else name, page_size


def _page_size(kind: str, props: dict[str, str], size: int) -> int:
    """The size of huge pages, 0 for usual ones; FatalError for a size that does not fit."""
    if kind == _FILE:
        return _in_file(props.get("mem-path", ""), size)
    return _in_memfd(props, size) if kind == _MEMFD else 0


def _in_file(path: str, size: int) -> int:
    page_size = huge_pages(path, _mounts())
    if size < page_size:
        raise FatalError(f"memory size {size:#x} must be equal to or larger than page size {page_size:#x}")
    return page_size


def _mounts() -> str:
    with open("/proc/self/mounts") as mounts:  # noqa: PTH123 - pathlib is not for the start
        return mounts.read()


def huge_pages(path: str, mounts: str) -> int:
    """The page size of the hugetlbfs that `path` is on by a table of mounts, 0 when it is on none."""
    _, kind, options = _mount(path, mounts)
    if kind != "hugetlbfs":
        return 0
    given = [word[9:] for word in options.split(",") if word.startswith("pagesize=")]
    return read_size("pagesize", given[0]) if given else _HUGE


def _mount(path: str, mounts: str) -> tuple[str, str, str]:
    """Place, kind and options of the file system that `path` is on."""
    path, found = os.path.realpath(path), ("", "", "")
    for line in mounts.splitlines():
        _, place, kind, options, *_ = line.split()
        inside = path == place or path.startswith(place.rstrip("/") + "/")
        if inside and len(place) >= len(found[0]):  # of two on one place the later hides the earlier
            found = place, kind, options
    return found


def map_file(machine: Machine, name: str, block: RamBlock) -> None:
    """Make the block's content that of the backend's file, if it has one; FatalError."""
    found = next(b for b in machine.options.of("object") if b.id == name)
    props = dict(found.props)
    if found.kind in _SHARED and block.page_size == PAGE_SIZE:
        if props.get("share", "on") in ON_WORDS:
            _map_nameless(found.kind, block)
        return
    path = props.get("mem-path", "")
    block.no_faults = found.kind == _FILE and _mount(path, _mounts())[1] not in _FAULTS
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


def _map_nameless(kind: str, block: RamBlock) -> None:
    fd = os.memfd_create(kind, os.MFD_CLOEXEC)
    try:
        os.ftruncate(fd, len(block.data))
        block.map_file(fd, shared=True)
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
