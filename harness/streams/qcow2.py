# SPDX-License-Identifier: Apache-2.0
"""Takes the state of a guest out of a qcow2 image, where `savevm` puts it: a migration stream behind the disk's end.

A snapshot has an L1 table of its own, whose entries for what lies behind the disk lead to the state. Nothing that an
image says is believed: tables have to be in the file, and a state takes no more bytes than the file has.

Source: QEMU ``docs/interop/qcow2.rst``.
"""

from __future__ import annotations

import struct
import tempfile
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Final, NamedTuple

from migmatrix.harness.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Snapshot", "choose", "snapshots", "state"]

_HEADER: Final = ">4sIQIIQIIQQIIQQ"  # of versions 2 and 3, up to the incompatible features
_ENTRY: Final = ">QIHHIIQII"  # of the snapshot table, without extra data, id and name
_EXTRA: Final = ">QQ"  # size of the state and of the disk
_SHOWN: Final = 5  # names of snapshots
_CLUSTER_BITS: Final = range(9, 22)
_MOST_ENTRIES: Final = 1 << 22  # of an L1 table: 32 MiB
_PLACE: Final = 0x00FFFFFFFFFFFE00  # bits of an entry
_PACKED: Final = 1 << 62
_ZERO: Final = 1
_DATA_FILE: Final = 1 << 2  # incompatible features
_SUBCLUSTERS: Final = 1 << 4
_PARTS: Final = 32  # subclusters of a cluster


class Snapshot(NamedTuple):
    """One entry of the table: sizes of state and disk in bytes (0: no state), place and length of the L1 table."""

    name: str
    number: str
    size: int
    disk: int
    table: int
    entries: int


class _Image(NamedTuple):
    """What the header says; `start` is where the image begins in its file."""

    file: IO[bytes]
    start: int
    cluster_bits: int
    disk: int
    encrypted: bool
    features: int

    @property
    def cluster(self) -> int:
        """Bytes."""
        return 1 << self.cluster_bits

    @property
    def entry(self) -> int:
        """Bytes of an entry of an L2 table."""
        return 16 if self.features & _SUBCLUSTERS else 8

    def read(self, at: int, size: int) -> bytes:
        """Bytes of the image, fewer at the end of the file."""
        self.file.seek(min(self.start + at, _PACKED))
        return self.file.read(size)

    def whole(self, at: int, size: int) -> bytes:
        """As many bytes; ValueError when the file ends before."""
        found = self.read(at, size)
        if len(found) < size:
            raise ValueError("the image ends early")
        return found


def snapshots(file: IO[bytes], start: int) -> list[Snapshot]:
    """Those in the snapshot table of the image at `start`; the table ends where the file does."""
    image = _image(file, start)
    return [] if image is None else list(_snapshots(image))


def _image(file: IO[bytes], start: int) -> _Image | None:
    file.seek(start)
    raw = file.read(struct.calcsize(_HEADER))
    if len(raw) < struct.calcsize(_HEADER):
        return None
    _, version, _, _, bits, disk, encryption, *_, features = struct.unpack(_HEADER, raw)
    return _Image(file, start, bits, disk, bool(encryption), features if version > 2 else 0)  # noqa: PLR2004


def _snapshots(image: _Image) -> Iterator[Snapshot]:
    count, at = struct.unpack(">IQ", image.read(60, 12))
    size = struct.calcsize(_ENTRY)
    for _ in range(count):
        raw = image.read(at, size)
        if len(raw) < size:
            return
        table, entries, id_size, name_size, _, _, _, small, extra = struct.unpack(_ENTRY, raw)
        more = image.read(at + size, min(extra, 16)).ljust(16, b"\0")
        large, disk = struct.unpack(_EXTRA, more)
        number, name = (
            image.read(at + size + extra, id_size),
            image.read(at + size + extra + id_size, name_size),
        )
        yield Snapshot(
            name.decode(errors="replace"),
            number.decode(errors="replace"),
            large or small,
            disk or image.disk,
            table,
            entries,
        )
        at += -(-(size + extra + id_size + name_size) // 8) * 8


def choose(found: list[Snapshot], path: str, wanted: str | None) -> Snapshot:
    """The one of this name or id, or the only one that has a state; UserError when that is none or not clear."""
    held = f"{path!r} is a qcow2 image {_named(found)}"
    if wanted is not None:
        named = [s for s in found if s.name == wanted] or [s for s in found if s.number == wanted]
        if not named:
            raise UserError(f"{held}, none {wanted!r}")
        if not named[0].size:
            raise UserError(
                f"snapshot {wanted!r} of {path!r} is of the disk only: it has no migration stream"
            )
        return named[0]
    stated = [s for s in found if s.size]
    if len(stated) > 1:
        raise UserError(f"{held}: choose one, as '{path},snapshot={stated[0].name}'")
    if not stated:
        raise UserError(f"{held}, no migration stream" + (": they are of the disk only" if found else ""))
    return stated[0]


def _named(found: list[Snapshot]) -> str:
    if not found:
        return "without snapshots"
    names = ", ".join(repr(s.name) for s in found[:_SHOWN])
    return f"with the snapshots {names}" + (", ..." if len(found) > _SHOWN else "")


@contextmanager
def state(file: IO[bytes], path: str, start: int, snapshot: Snapshot) -> Iterator[IO[bytes]]:
    """A temporary file with the state; UserError for an image that is damaged, encrypted, or has its data elsewhere."""
    with tempfile.TemporaryFile() as plain:
        try:
            _copy(_readable(_image(file, start), snapshot), snapshot, plain)
        except ValueError as error:
            raise UserError(f"cannot read snapshot {snapshot.name!r} of {path!r}: {error}") from error
        plain.flush()
        yield plain


def _readable(image: _Image | None, snapshot: Snapshot) -> _Image:
    """The image; ValueError with what keeps it from being read."""
    if image is None or image.cluster_bits not in _CLUSTER_BITS or snapshot.entries > _MOST_ENTRIES:
        raise ValueError("the header or the snapshot table is damaged")
    if image.encrypted or image.features & _DATA_FILE:
        raise ValueError("the image is encrypted" if image.encrypted else "its data is in another file")
    return image


def _copy(image: _Image, snapshot: Snapshot, plain: IO[bytes]) -> None:
    left = image.file.seek(0, 2)
    for offset, place, size in _pieces(image, snapshot):
        wanted = min(size, snapshot.size - offset)
        left -= wanted
        if left < 0:
            raise ValueError("clusters are used more than once")
        plain.seek(offset)
        plain.write(image.whole(place, wanted))
    plain.truncate(snapshot.size)


def _pieces(image: _Image, snapshot: Snapshot) -> Iterator[tuple[int, int, int]]:
    """Offset in the state, place in the image and bytes of what is there; the rest is zero."""
    covered = image.cluster // image.entry * image.cluster  # bytes of one L2 table
    first = -(-snapshot.disk // covered)
    count = -(-snapshot.size // covered)
    if first + count > snapshot.entries:
        raise ValueError("its table ends before its state")
    table = image.whole(snapshot.table + 8 * first, 8 * count)
    for number, (entry,) in enumerate(struct.iter_unpack(">Q", table)):
        if entry & _PLACE:
            start = number * covered
            for offset, place, size in _clusters(image, entry & _PLACE):
                if start + offset < snapshot.size:
                    yield start + offset, place, size


def _clusters(image: _Image, place: int) -> Iterator[tuple[int, int, int]]:
    """Of an L2 table: offset, place and bytes of what is stored."""
    table = image.whole(place, image.cluster)
    for number in range(image.cluster // image.entry):
        entry = int.from_bytes(table[number * image.entry :][:8])
        if entry & _PACKED:
            raise ValueError("its state has compressed clusters, which QEMU does not write")
        if image.features & _SUBCLUSTERS:
            there = int.from_bytes(table[number * 16 + 12 :][:4])
            parts: Iterable[int] = (part for part in range(_PARTS) if there >> part & 1)
            size = image.cluster // _PARTS
        else:
            parts, size = range(bool(entry & _PLACE) and not entry & _ZERO), image.cluster
        for part in parts:
            yield number * image.cluster + part * size, (entry & _PLACE) + part * size, size
