# SPDX-License-Identifier: Apache-2.0
"""Open a stream file: read a small one, map a large one and give the memory of what was read back to the system.

So memory stays small whatever the file's size. A file that becomes shorter meanwhile ends in one line. What is packed
or comes out of a pipe goes to a temporary file, and so does the state in a snapshot of a qcow2 image. A stream may begin
at an offset, or behind the header of a libvirt save image. What knows of such files (`harness.streams.forms`, `qcow2`,
`unpack`) is imported with them only, as that takes longer than reading a small stream.
"""

from __future__ import annotations

import errno
import mmap
import os
import stat
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import IO, TYPE_CHECKING, Final

from migmatrix.harness.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

    _Found = tuple[AbstractContextManager[IO[bytes]], int, str]  # what is inside, where, and in what it was

__all__ = ["Source", "byte_count", "open_stream"]

_MAGIC: Final = b"QEVM"
_QCOW2: Final = b"QFI\xfb"
_SMALL: Final = 1 << 23  # bytes: reading them takes no longer than mapping
_UNITS: Final = "kmgt"


class Source:
    """A file in memory or mapped, from `start` on. `data` is the buffer, `release` gives memory of a range back to the system.

    `inside` says in what the stream was found, "" for a file that is a stream.
    """

    def __init__(self, file: IO[bytes], start: int = 0, inside: str = "", *, mapped: bool = True) -> None:
        self._file, self.start, self.inside = file.fileno(), start, inside
        self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if mapped else None
        file.seek(0)
        self.data = memoryview(file.read() if self._map is None else self._map)[start:]

    def release(self, start: int, end: int) -> None:
        """Give back the memory of the bytes from `start` to `end`; they can be read again."""
        if self._map is None:
            return
        first, last = start + self.start, end + self.start
        first = (
            first // mmap.PAGESIZE * mmap.PAGESIZE
        )  # outwards: records of a page and 8 bytes hold no whole page
        last = min(-(-last // mmap.PAGESIZE) * mmap.PAGESIZE, len(self._map))
        if last > first:
            self._map.madvise(mmap.MADV_DONTNEED, first, last - first)

    def read(self, start: int, into: memoryview) -> None:
        """Fill `into` from offset `start`; OSError when the file has become shorter."""
        if os.preadv(self._file, (into,), self.start + start) != len(into):
            raise OSError(errno.EIO, "it became shorter while it was read")


@contextmanager
def open_stream(path: str, offset: int = 0, *, main: bool = True) -> Iterator[Source]:
    """Map the file at `path` from `offset` on; UserError when it cannot be read, is empty, or is known for no stream.

    ``-`` is standard input, ``FILE,offset=N`` has the offset as QEMU's ``file:`` has it, ``FILE,snapshot=NAME`` is one of a
    qcow2 image. Without `main` it is another channel, of which only its reader knows whether it is one.
    """
    with ExitStack() as stack:
        try:
            source = _source(stack, *_at(path, offset), main=main)
        except OSError as error:
            raise UserError(f"cannot read {path!r}: {error.strerror or error}") from error
        try:
            yield source
        except OSError as error:
            raise UserError(f"cannot read {path!r}: {error.strerror or error}") from error


def _at(path: str, offset: int) -> tuple[str, int, str | None]:
    """The file, where its stream begins, and the snapshot that is wanted."""
    snapshot = None
    if ",snapshot=" in path and not os.path.lexists(path):
        path, _, snapshot = path.partition(",snapshot=")
    name, found, number = path.rpartition(",offset=")
    if not found or os.path.lexists(path):
        return path, offset, snapshot
    return name, offset + byte_count(number), snapshot


def byte_count(text: str) -> int:
    """A number of bytes: decimal or hexadecimal, or with K, M, G, T for powers of 1024; UserError for another word."""
    unit = _UNITS.find(text[-1:].lower()) + 1 if text else 0
    try:
        number = int(text[:-1] if unit else text, 0) << 10 * unit
    except ValueError:
        number = -1
    if number < 0:
        raise UserError(f"{text!r} is no number of bytes, as 4096, 0x1000 or 4K")
    return number


def _source(stack: ExitStack, path: str, start: int, snapshot: str | None, *, main: bool) -> Source:
    """What `path` holds, peeled until it is a stream or something that is not known."""
    file, inside = stack.enter_context(_opened(path)), ""
    while True:
        file.seek(start)
        head = file.read(4)
        if not head:
            raise UserError(f"{path!r} ends before offset {start:#x}" if start else f"{path!r} is empty")
        if head == _QCOW2 and main:
            found: _Found | None = _state(file, path, start, snapshot)
            snapshot = None
        else:
            found = None if head == _MAGIC else _peeled(file, path, start, main=main)
        if found is None and snapshot is not None:
            raise UserError(f"{path!r} is no qcow2 image, so that it has no snapshot {snapshot!r}")
        if found is None:
            return _held(stack, path, file, start, inside)
        opened, start, what = found
        file = stack.enter_context(opened)
        inside = f"{inside}, {what}".removeprefix(", ")


def _state(file: IO[bytes], path: str, start: int, wanted: str | None) -> _Found:
    """The state in a snapshot of a qcow2 image."""
    from migmatrix.harness.streams import qcow2  # noqa: PLC0415 - see the docstring

    snapshot = qcow2.choose(qcow2.snapshots(file, start), path, wanted)
    return qcow2.state(file, path, start, snapshot), 0, f"snapshot {snapshot.name!r} of a qcow2 image"


def _held(stack: ExitStack, path: str, file: IO[bytes], start: int, inside: str) -> Source:
    """The file itself, and a guard for the time that it is mapped."""
    mapped = os.fstat(file.fileno()).st_size > _SMALL
    if mapped:
        from migmatrix.harness.streams.guard import guarded  # noqa: PLC0415 - see the docstring

        stack.enter_context(guarded(path))
    return Source(file, start, inside, mapped=mapped)


def _peeled(file: IO[bytes], path: str, start: int, *, main: bool) -> _Found | None:
    """What is inside of a packed file or a save image, where, and in what it was; None for any other file."""
    from migmatrix.harness.streams import forms  # noqa: PLC0415 - see the docstring

    file.seek(start)
    head = file.read(forms.HEAD)
    image = forms.save_image(head)
    if image is not None:
        return nullcontext(file), start + image.length, f"libvirt save image of {image.domain!r}"
    packing = forms.packing(head)
    if packing is not None:
        from migmatrix.harness.streams.unpack import unpacked  # noqa: PLC0415 - see the docstring

        file.seek(start)
        return unpacked(file, path, packing), 0, packing
    what = forms.encrypted(head) or (forms.foreign(head) if main else None)
    if what is not None:
        raise UserError(f"{path!r} is {what}")
    return None


@contextmanager
def _opened(path: str) -> Iterator[IO[bytes]]:
    """The file, or a temporary copy of what comes out of a pipe."""
    name: str | int = 0 if path == "-" else path
    with open(name, "rb", closefd=path != "-") as file:
        mode = os.fstat(file.fileno()).st_mode
        if stat.S_ISREG(mode):
            yield file
        elif stat.S_ISCHR(mode):
            raise UserError(f"{path!r} is a character device, no file or pipe")
        else:
            from migmatrix.harness.streams.unpack import copied  # noqa: PLC0415 - see the docstring

            with copied(file) as plain:
                yield plain
