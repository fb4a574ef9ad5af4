# SPDX-License-Identifier: Apache-2.0
"""PCI config space to named registers: "AER capability (0x100) Uncorrectable Error Mask, byte 2".

`ConfigSpace` walks the capability lists in the bytes themselves; it ends a list that loops, points into the
header or leaves the space, and notes that in `problems`. Values are little-endian, as in the space. Layouts:
`vmstate.view.pciregs`.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Final

from migmatrix.vmstate.record import Record
from migmatrix.vmstate.view.pciregs import (
    BRIDGE,
    CAPABILITIES,
    COMMON,
    ENDPOINT,
    EXTENDED,
    VIRTIO_TYPES,
    Row,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Capability", "ConfigSpace", "Register", "describe_offset"]

_STANDARD: Final = 0x100  # bytes of the standard space
_FIRST: Final = 0x40  # capabilities lie behind the header
_LIST: Final = 0x10  # Status: has a capability list
_BRIDGE: Final = 1  # Header Type of a PCI-to-PCI bridge
_MSI, _VENDOR, _EXPRESS = 0x05, 0x09, 0x10
_VIRTIO_VENDOR: Final = 0x1AF4


class Capability(Record):
    """A capability at `offset`; `length` is where its known registers end, in bytes."""

    id: int
    name: str
    offset: int
    extended: bool
    rows: tuple[Row, ...]
    version: int = 0

    @property
    def length(self) -> int:
        """Bytes up to the end of the last known register."""
        return max(offset + size for offset, size, _ in self.rows)


class Register(Record):
    """A named register: absolute `offset` and `size` in bytes; `capability` is None in the header."""

    offset: int
    size: int
    name: str
    value: int
    capability: Capability | None = None

    @property
    def label(self) -> str:
        """``AER capability (0x100) Uncorrectable Error Mask``, or just the name in the header."""
        if self.capability is None:
            return self.name
        return f"{self.capability.name} capability ({self.capability.offset:#x}) {self.name}"


class ConfigSpace:
    """The registers of one function; `raw` is 256 or 4096 bytes (it reads other lengths as far as they go)."""

    def __init__(self, raw: bytes | memoryview) -> None:
        self.raw = bytes(raw)
        self.problems: list[str] = []

    def read(self, offset: int, size: int) -> int:
        """Little-endian value; bytes beyond the end count as zero."""
        return int.from_bytes(self.raw[offset : offset + size], "little")

    @cached_property
    def capabilities(self) -> tuple[Capability, ...]:
        """Standard ones in list order, then extended ones."""
        return (*self._standard(), *self._extended())

    @cached_property
    def registers(self) -> tuple[Register, ...]:
        """All named registers by offset."""
        kind = BRIDGE if self.read(0x0E, 1) & 0x7F == _BRIDGE else ENDPOINT
        found = [self._register(row, 0, None) for row in (*COMMON, *kind)]
        starts = sorted(c.offset for c in self.capabilities)
        for capability in self.capabilities:
            base = capability.offset
            end = next((start for start in starts if start > base), len(self.raw))
            rows = (row for row in capability.rows if base + row[0] < end)
            found.extend(self._register(row, base, capability) for row in rows)
        return tuple(sorted((r for r in found if r.offset < len(self.raw)), key=lambda r: r.offset))

    def describe(self, offset: int) -> str:
        """What the byte at `offset` belongs to, with the byte's number in registers of more than one."""
        for register in self.registers:
            inside = offset - register.offset
            if 0 <= inside < register.size:
                return register.label if register.size == 1 else f"{register.label}, byte {inside}"
        return self._between(offset)

    def _between(self, offset: int) -> str:
        near = [c for c in self.capabilities if c.offset <= offset]
        same = [c for c in near if c.extended == (offset >= _STANDARD)]
        if not same:
            return f"config space {offset:#x}"
        last = max(same, key=lambda c: c.offset)
        return f"config space {offset:#x}, {offset - last.offset:#x} after the start of {last.name} capability ({last.offset:#x})"

    def _register(self, row: Row, base: int, capability: Capability | None) -> Register:
        offset, size, name = row
        return Register(base + offset, size, name, self.read(base + offset, size), capability)

    # -- the lists -----------------------------------------------------------------------------

    def _standard(self) -> Iterator[Capability]:
        if not self.read(0x06, 2) & _LIST:
            return
        seen: set[int] = set()
        offset = self.read(0x34, 1) & ~3
        while offset:
            if offset in seen or not _FIRST <= offset < min(_STANDARD, len(self.raw)):
                self.problems.append(f"capability list leads to {offset:#x}")
                return
            seen.add(offset)
            number = self.read(offset, 1)
            yield self._capability(number, offset)
            offset = self.read(offset + 1, 1) & ~3

    def _capability(self, number: int, offset: int) -> Capability:
        name, rows = CAPABILITIES.get(number, (f"unknown {number:#x}", CAPABILITIES[0x08][1][:2]))
        if number == _MSI:
            rows = (*rows, *_msi_rows(self.read(offset + 2, 2)))
        elif number == _VENDOR:
            name, rows = self._vendor(name, rows, offset)
        elif number == _EXPRESS and self.read(offset + 2, 2) & 0xF < 2:  # noqa: PLR2004 - version 1
            rows = tuple(row for row in rows if row[0] < 0x24)  # noqa: PLR2004 - where version 2 goes on
        return Capability(number, name, offset, extended=False, rows=rows)

    def _vendor(self, name: str, rows: tuple[Row, ...], offset: int) -> tuple[str, tuple[Row, ...]]:
        length = self.read(offset + 2, 1)
        if self.read(0, 2) != _VIRTIO_VENDOR or length < 16:  # noqa: PLR2004 - size of a virtio capability
            rest: tuple[Row, ...] = ((3, length - 3, "Vendor Data"),) if length > 3 else ()  # noqa: PLR2004
            return name, (*rows, *rest)
        kind = self.read(offset + 3, 1)
        return f"Virtio {VIRTIO_TYPES.get(kind, f'type {kind}')}", (*rows, *_virtio_rows(kind, length))

    def _extended(self) -> Iterator[Capability]:
        if len(self.raw) <= _STANDARD:
            return
        seen: set[int] = set()
        offset = _STANDARD
        while offset and self.read(offset, 4) not in {0, 0xFFFFFFFF}:
            if offset in seen or not _STANDARD <= offset <= len(self.raw) - 4:
                self.problems.append(f"extended capability list leads to {offset:#x}")
                return
            seen.add(offset)
            head = self.read(offset, 4)
            yield self._extended_capability(head, offset)
            offset = head >> 20 & ~3

    def _extended_capability(self, head: int, offset: int) -> Capability:
        number = head & 0xFFFF
        name, rows = EXTENDED.get(number, (f"unknown {number:#06x}", EXTENDED[0x0B][1][:1]))
        version = head >> 16 & 0xF
        return Capability(number, name, offset, extended=True, rows=rows, version=version)


def _msi_rows(control: int) -> tuple[Row, ...]:
    """Registers behind the address: they move with 64-bit addresses, and masking adds two."""
    wide = 4 if control & 0x80 else 0
    upper: tuple[Row, ...] = ((8, 4, "Message Upper Address"),) if wide else ()
    mask: tuple[Row, ...] = ()
    if control & 0x100:
        mask = ((0x0C + wide, 4, "Mask Bits"), (0x10 + wide, 4, "Pending Bits"))
    return (*upper, (8 + wide, 2, "Message Data"), *mask)


def _virtio_rows(kind: int, length: int) -> tuple[Row, ...]:
    rows: tuple[Row, ...] = (
        (3, 1, "Type"),
        (4, 1, "BAR"),
        (5, 1, "ID"),
        (6, 2, "Padding"),
        (8, 4, "Offset"),
        (12, 4, "Length"),
    )
    if length < 20:  # noqa: PLR2004 - one more word
        return rows
    extra = {2: "Notify Offset Multiplier", 5: "PCI Configuration Data"}
    return (*rows, (16, 4, extra.get(kind, "Extra")))


def describe_offset(raw: bytes | memoryview, offset: int) -> str:
    """Name the register at `offset` of a config space; see `ConfigSpace.describe`."""
    return ConfigSpace(raw).describe(offset)
