# SPDX-License-Identifier: Apache-2.0
"""Internal snapshots of a qcow2 image: list, save, load, delete. Nothing here knows a machine or reads a disk's content.

1. A snapshot is a copy of the active L1 table; VM state is mapped behind the end of the disk, in the snapshot's copy only.
2. What was there is never overwritten, but for the `COPIED` hints of the active tables, until the header is:
   one write of it makes the change. Reference counts are counted anew each time, so that none can be wrong by one.
3. An image with a feature that would need more is refused by name; nothing is guessed.

Source: the qcow2 specification (QEMU's docs/interop/qcow2).
"""

from __future__ import annotations

import os
import struct
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Image", "Qcow2Error", "Snapshot", "StateReader", "StateWriter"]

_HEADER: Final = struct.Struct(">4sIQIIQIIQQIIQ")
_FEATURES: Final = struct.Struct(">QQQI")
_ENTRY: Final = struct.Struct(">QIHHIIQII")  # of the snapshot table: without extra data and names
_EXTRA: Final = struct.Struct(">QQQ")
_TABLES: Final = struct.Struct(">IQQIIQ")  # header from the size of L1 on: what a change writes
_TABLES_AT: Final = 36
_COPIED: Final = 1 << 63
_COMPRESSED: Final = 1 << 62
_OFFSET: Final = 0x00FFFFFFFFFFFE00
_KNOWN: Final = 1 << 3  # incompatible features: another compression; the header says no more of it
_V3: Final = 3
_NO_ICOUNT: Final = (1 << 64) - 1
_NOT: Final = "Image is not in qcow2 format"
_ORDER: Final = 4  # 16-bit reference counts


class Qcow2Error(Exception):
    """An image that cannot be used."""


class Snapshot(NamedTuple):
    """One entry of the snapshot table. `date` and `clock` are in nanoseconds, `state` and `disk` in bytes."""

    id: str
    name: str
    date: int
    clock: int
    state: int
    disk: int
    l1_offset: int = 0
    l1_size: int = 0
    icount: int = _NO_ICOUNT

    def pack(self) -> bytes:
        """The entry, padded."""
        name, number = self.name.encode(), self.id.encode()
        head = _ENTRY.pack(
            self.l1_offset, self.l1_size, len(number), len(name), self.date // 10**9, self.date % 10**9,
            self.clock, self.state & 0xFFFFFFFF, _EXTRA.size,
        )  # fmt: skip
        raw = head + _EXTRA.pack(self.state, self.disk, self.icount) + number + name
        return raw + bytes(-len(raw) % 8)


class Image:
    """An open image; `close` it. Qcow2Error, OSError."""

    def __init__(self, path: str, *, writable: bool = False) -> None:
        self.fd = os.open(path, (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC)
        try:
            self._read_header()
        except (Qcow2Error, struct.error) as error:
            os.close(self.fd)
            raise Qcow2Error(str(error) if isinstance(error, Qcow2Error) else _NOT) from error

    def close(self) -> None:
        """Close the file."""
        os.close(self.fd)

    def _read_header(self) -> None:
        raw = os.pread(self.fd, 104, 0)
        (
            magic, version, _, _, bits, self.size, crypt, l1_size, l1_offset,
            self._counts_at, self._counts_clusters, number, self._snapshots_at,
        ) = _HEADER.unpack_from(raw)  # fmt: skip
        if magic != b"QFI\xfb" or version not in (2, _V3) or not 9 <= bits <= 21:  # noqa: PLR2004 - 512 bytes to 2 MiB
            raise Qcow2Error(_NOT)
        needs, _, clears, order = _FEATURES.unpack_from(raw, 72) if version == _V3 else (0, 0, 0, _ORDER)
        if crypt or needs & ~_KNOWN or clears or order != _ORDER:
            raise Qcow2Error(
                "encryption, bitmaps, data files and the like are not supported by this emulator"
            )
        self.bits: int = bits
        self.cluster = 1 << self.bits
        self.entries = self.cluster // 8  # of an L2 table
        self.state_index = -(-self.size // (self.cluster * self.entries))  # of L1, where VM state begins
        self.l1_offset, self.l1 = l1_offset, self._words(l1_offset, l1_size)
        self.snapshots = list(self._snapshots(number))
        self._used = self._old_clusters()
        self._next = 1

    def _words(self, offset: int, count: int) -> list[int]:
        raw = os.pread(self.fd, 8 * count, offset)
        return list(struct.unpack(f">{count}Q", raw.ljust(8 * count, b"\0")))

    def _snapshots(self, number: int) -> Iterator[Snapshot]:
        at = self._snapshots_at
        for _ in range(number):
            l1, size, ids, names, sec, nsec, clock, state, extra = _ENTRY.unpack(
                os.pread(self.fd, _ENTRY.size, at)
            )
            tail = os.pread(self.fd, extra + ids + names, at + _ENTRY.size)
            more = _EXTRA.unpack(tail[:extra][: _EXTRA.size].ljust(_EXTRA.size, b"\xff"))
            state = more[0] if extra >= 8 else state  # noqa: PLR2004 - the long form of the size
            disk = more[1] if extra >= 16 else self.size  # noqa: PLR2004 - with the disk's size
            text = tail[extra:].decode("utf-8", "surrogateescape")
            yield Snapshot(text[:ids], text[ids:], sec * 10**9 + nsec, clock, state, disk, l1, size, more[2])
            at += -(-(_ENTRY.size + len(tail)) // 8) * 8
        self._snapshots_end = at

    # --- clusters ---------------------------------------------------------------------------------------------

    def _span(self, offset: int, size: int) -> range:
        return range(offset >> self.bits, -(-(offset + size) // self.cluster))

    def _old_clusters(self) -> set[int]:
        used = set(self._count(self.l1, self.snapshots))
        used.update(self._span(self.l1_offset, 8 * len(self.l1)))
        used.update(self._span(self._snapshots_at, self._snapshots_end - self._snapshots_at))
        used.update(self._span(self._counts_at, self._counts_clusters * self.cluster))
        blocks = self._words(self._counts_at, self._counts_clusters * self.entries)
        used.update(block >> self.bits for block in blocks if block)
        return used

    def _count(self, active: list[int], snapshots: Iterable[Snapshot]) -> Counter[int]:
        """References to the header's cluster, to L2 tables and what they map, and to the L1 tables of snapshots."""
        counts, tables = Counter([0]), Counter(entry & _OFFSET for entry in active)
        for taken in snapshots:
            counts.update(self._span(taken.l1_offset, 8 * taken.l1_size))
            tables.update(entry & _OFFSET for entry in self._words(taken.l1_offset, taken.l1_size))
        del tables[0]
        for table, times in tables.items():
            counts[table >> self.bits] += times
            for entry in filter(None, self._words(table, self.entries)):
                for cluster in self._mapped(entry):
                    counts[cluster] += times
        return counts

    def _mapped(self, entry: int) -> range:
        """Clusters that an entry of an L2 table refers to: one, or those of compressed data."""
        if not entry & _COMPRESSED:
            offset = entry & _OFFSET
            return self._span(offset, 1) if offset else range(0)
        shift = 62 - (self.bits - 8)
        offset = entry & ((1 << shift) - 1)
        sectors = (entry & (_COMPRESSED - 1)) >> shift
        return self._span(offset, (sectors + 1) * 512 - offset % 512)

    def allocate(self, count: int = 1) -> int:
        """Offset of `count` clusters in a row that nothing used before this change."""
        first = self._next
        while taken := next((n for n in range(first, first + count) if n in self._used), 0):
            first = taken + 1
        self._used.update(range(first, first + count))
        self._next = first + 1 if count > 1 else first
        return first << self.bits

    def store(self, data: bytes) -> int:
        """Write to new clusters in a row; where they are."""
        size = -(-len(data) // self.cluster)
        at = self.allocate(size)
        os.pwrite(self.fd, data.ljust(size * self.cluster, b"\0"), at)
        return at

    # --- changes ----------------------------------------------------------------------------------------------

    def find(self, name: str) -> Snapshot | None:
        """The snapshot of this name."""
        return next((taken for taken in self.snapshots if taken.name == name), None)

    def save(self, name: str, date: int, clock: int, state: StateWriter | None = None) -> None:
        """Take a snapshot, instead of one of this name."""
        disk = [entry & ~_COPIED for entry in self.l1[: self.state_index]]
        copy = disk + [0] * (self.state_index - len(disk)) + (state.tables() if state else [])
        numbers = [int(taken.id) for taken in self.snapshots if taken.id.isdecimal()]
        new = Snapshot(
            str(max(numbers, default=0) + 1), name, date, clock, state.size if state else 0, self.size,
            self.store(struct.pack(f">{len(copy)}Q", *copy)), len(copy),
        )  # fmt: skip
        self._commit(self.l1, [taken for taken in self.snapshots if taken.name != name] + [new])

    def delete(self, name: str) -> None:
        """Forget a snapshot."""
        self._commit(self.l1, [taken for taken in self.snapshots if taken.name != name])

    def revert(self, taken: Snapshot) -> None:
        """Make the disk what it was; Qcow2Error when it had another size."""
        if taken.disk != self.size:
            raise Qcow2Error("the image had another size when the snapshot was taken")
        was = self._words(taken.l1_offset, taken.l1_size)[: self.state_index]
        self._commit(was + [0] * (len(self.l1) - len(was)), self.snapshots)

    def _commit(self, active: list[int], snapshots: list[Snapshot]) -> None:
        counts = self._count(active, snapshots)
        l1 = [self._hinted(entry & _OFFSET, counts) for entry in active]
        l1_at = self.store(struct.pack(f">{len(l1)}Q", *l1))
        table = b"".join(taken.pack() for taken in snapshots)
        table_at = self.store(table) if table else 0
        counts.update(self._span(l1_at, 8 * len(l1)))
        counts.update(self._span(table_at, len(table)))
        where, clusters = self._store_counts(counts)
        os.fsync(self.fd)
        os.pwrite(
            self.fd, _TABLES.pack(len(l1), l1_at, where, clusters, len(snapshots), table_at), _TABLES_AT
        )

    def _hinted(self, table: int, counts: Counter[int]) -> int:
        """The entry of an L2 table in the active L1; its own entries say too which clusters have no other user."""
        if not table:
            return 0
        before = self._words(table, self.entries)
        after = [
            entry if entry & _COMPRESSED or not entry & _OFFSET
            else entry & ~_COPIED | _COPIED * (counts[(entry & _OFFSET) >> self.bits] == 1)
            for entry in before
        ]  # fmt: skip
        if after != before:
            os.pwrite(self.fd, struct.pack(f">{self.entries}Q", *after), table)
        return table | (_COPIED if counts[table >> self.bits] == 1 else 0)

    def _store_counts(self, counts: Counter[int]) -> tuple[int, int]:
        """Write reference counts, those of what they take included; where their table is, and its clusters."""
        each = self.cluster // 2
        blocks: list[int] = []
        clusters = at = 0
        while len(blocks) * each <= max(counts) or len(blocks) > clusters * self.entries:
            if len(blocks) >= clusters * self.entries:
                for cluster in self._span(at, clusters * self.cluster):
                    counts.pop(cluster, None)
                clusters = clusters * 2 or 1
                at = self.allocate(clusters)
                counts.update(self._span(at, clusters * self.cluster))
            blocks.append(self.allocate())
            counts[blocks[-1] >> self.bits] = 1
        for number, block in enumerate(blocks):
            values = (counts.get(n, 0) for n in range(number * each, (number + 1) * each))
            os.pwrite(self.fd, struct.pack(f">{each}H", *values), block)
        padded = blocks + [0] * (clusters * self.entries - len(blocks))
        os.pwrite(self.fd, struct.pack(f">{len(padded)}Q", *padded), at)
        return at, clusters

    def state_clusters(self, taken: Snapshot) -> Iterator[int]:
        """Offsets of the VM state's clusters, 0 for one of zeros."""
        for table in self._words(taken.l1_offset, taken.l1_size)[self.state_index :]:
            yield from (entry & _OFFSET for entry in self._words(table & _OFFSET, self.entries))


class StateWriter:
    """VM state on its way into an image: a channel to write to. Nothing refers to it before `Image.save`."""

    def __init__(self, image: Image) -> None:
        self._image = image
        self._clusters: list[int] = []
        self._rest = bytearray()
        self.size = 0

    def write(self, data: bytes | memoryview) -> None:
        """Append."""
        self._rest += data
        self.size += len(data)
        size = self._image.cluster
        whole = len(self._rest) // size * size
        for at in range(0, whole, size):
            self._clusters.append(self._image.store(bytes(self._rest[at : at + size])))
        del self._rest[:whole]

    def tables(self) -> list[int]:
        """Write what remains, and the L2 tables; the entries of L1."""
        if self._rest:
            self._clusters.append(self._image.store(bytes(self._rest)))
            self._rest.clear()
        each = self._image.entries
        parts = [self._clusters[at : at + each] for at in range(0, len(self._clusters), each)]
        return [self._image.store(struct.pack(f">{len(part)}Q", *part)) for part in parts]


class StateReader:
    """The VM state of a snapshot as a channel to read from."""

    def __init__(self, image: Image, taken: Snapshot) -> None:
        self._image = image
        self._clusters = image.state_clusters(taken)
        self._left = taken.state
        self._rest = memoryview(b"")

    def read_into(self, view: memoryview) -> int:
        """Fill a part of `view`; 0 at the end."""
        if not self._rest and self._left:
            size = min(self._image.cluster, self._left)
            at = next(self._clusters, 0)
            self._rest = memoryview(os.pread(self._image.fd, size, at) if at else bytes(size))
            self._left -= size
        count = min(len(view), len(self._rest))
        view[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count
