# SPDX-License-Identifier: Apache-2.0
"""What a virtio PCI device sends: transport, common registers, queues, the device's own part, subsections.

1. Order and sizes are those of QEMU 5.2 to 11.1, read off their streams: PCI part, MSI-X, status, features (low
   half), device config, queues up to the first of size 0, the device's part, then `COMMON`.
2. All is one opaque field for the VM description, so `COMMON` moves its tables in one go.
3. A feature that the host does not have fails the load.
4. A table of all queues is read at once; where the stream ends inside it, the error names the queue's own field.
"""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from migmatrix.emulator.devices.pci.state import MSIX_STATE, PCI_DEVICE
from migmatrix.emulator.devices.virtio.ring import MAX_QUEUES, NO_VECTOR
from migmatrix.vmstate.device.description import Field, HookError, Info, Slot, VMState
from migmatrix.vmstate.device.errors import Frame, Kind, VMStateError
from migmatrix.vmstate.device.fields import boolean, custom, uint32, uint64

if TYPE_CHECKING:
    from migmatrix.emulator.devices.virtio.device import VirtIODevice
    from migmatrix.vmstate.device.protocols import Reading, Writing

__all__ = ["VIRTIO", "virtio_field"]

_QUEUE: Final = 28  # bytes of a queue's modern registers
_PACKED_QUEUE: Final = 10
_PAIR: Final = struct.Struct(">QQ")
_VERSION_1: Final = 32
_PACKED: Final = 34


class _Tables:
    """The tables of `COMMON`: made when saving, spread over the rings after loading."""

    __slots__ = ("device", "dfselect", "gfselect", "guest", "modern", "packed", "pairs", "sizes")

    def __init__(self, device: VirtIODevice) -> None:
        rings = device.rings
        pad = MAX_QUEUES - len(rings)
        self.device = device
        self.dfselect = self.gfselect = 0
        self.guest = [device.guest_features & 0xFFFFFFFF, device.guest_features >> 32]
        self.pairs = b"".join(_PAIR.pack(ring.avail, ring.used) for ring in rings) + bytes(_PAIR.size * pad)
        self.sizes = b"".join(ring.most.to_bytes(4) for ring in rings) + bytes(4 * pad)
        self.modern = b"".join(ring.modern() for ring in rings) + bytes(_QUEUE * pad)
        self.packed = bytes(_PACKED_QUEUE * MAX_QUEUES)

    def resized(self) -> bool:
        return any(ring.size != ring.most for ring in self.device.rings)


def _offers(bit: int) -> Any:
    return lambda tables: bool(tables.device.host_features >> bit & 1)


def _wide(tables: _Tables) -> bool:
    return bool(tables.device.host_features >> 32)


def _spread_pairs(tables: _Tables, _version: int) -> None:
    for number, ring in enumerate(tables.device.rings):
        ring.avail, ring.used = _PAIR.unpack_from(tables.pairs, _PAIR.size * number)


def _spread_sizes(tables: _Tables, _version: int) -> None:
    for number, ring in enumerate(tables.device.rings):
        ring.most = int.from_bytes(tables.sizes[4 * number : 4 * number + 4])


def _spread_modern(tables: _Tables, _version: int) -> None:
    for number, ring in enumerate(tables.device.rings):
        ring.set_modern(tables.modern[_QUEUE * number : _QUEUE * (number + 1)])


class _Row(NamedTuple):
    """One queue in a table: the description that QEMU has for it, and its fields with their sizes."""

    vmsd: str
    fields: tuple[tuple[str, int], ...]

    @property
    def size(self) -> int:
        return sum(size for _, size in self.fields)

    def frame(self, read: int) -> Frame | None:
        """Where a stream of `read` bytes ends: QEMU looks for subsections after a row, and misses them outside of it."""
        place = read % self.size
        if read and not place:
            return None
        for name, size in self.fields:
            if place < size:
                return Frame("field", self.vmsd, name)
            place -= size
        raise AssertionError(place)


_MODERN_ROW: Final = _Row(
    "virtio_pci/modern_queue_state",
    (("num", 2), ("unused", 1), ("enabled", 1), ("desc", 8), ("avail", 8), ("used", 8)),
)
_PAIR_ROW: Final = _Row("virtqueue_state", (("vring.avail", 8), ("vring.used", 8)))
_SIZE_ROW: Final = _Row("ringsize_state", (("vring.num_default", 4),))
_PACKED_ROW: Final = _Row(
    "packed_virtqueue_state",
    (
        ("last_avail_idx", 2), ("last_avail_wrap_counter", 1), ("used_idx", 2), ("used_wrap_counter", 1),
        ("inuse", 4),
    ),
)  # fmt: skip


def _table(name: str, attr: str, row: _Row) -> Field:
    def get(reading: Reading, _old: Any, slot: Slot) -> Any:
        try:
            return reading.take(slot.size)
        except VMStateError as error:
            error.frames.extend(filter(None, (row.frame(error.facts["read"]),)))
            raise

    def put(writing: Writing, value: Any, _slot: Slot) -> None:
        writing.put(value)

    return custom(name, Info(row.vmsd, get, put), row.size * MAX_QUEUES, attr=attr)


def _sub(name: str, needed: Any, *fields: Field, **more: Any) -> VMState:
    return VMState(f"virtio/{name}", fields, version_id=1, minimum_version_id=1, needed=needed, **more)


_MODERN: Final = VMState(
    "virtio_pci",
    version_id=1,
    minimum_version_id=1,
    subsections=(
        VMState(
            "virtio_pci/modern_state",
            (
                uint32("dfselect"),
                uint32("gfselect"),
                uint32("guest_features", attr="guest", count=2),
                _table("vqs", "modern", _MODERN_ROW),
            ),
            version_id=1,
            minimum_version_id=1,
            needed=lambda tables: tables.device.proxy.modern,
            post_load=_spread_modern,
        ),
    ),
)


def _get_extra(reading: Reading, old: Any, _slot: Slot) -> Any:
    reading.load(_MODERN, old, 1)
    return old


def _put_extra(writing: Writing, value: Any, _slot: Slot) -> None:
    writing.save(_MODERN, value)


COMMON: Final = VMState(
    "virtio",
    version_id=1,
    minimum_version_id=1,
    subsections=(
        _sub("64bit_features", _wide, uint64("guest_features", attr="device.guest_features")),
        _sub("virtqueues", _offers(_VERSION_1), _table("vq", "pairs", _PAIR_ROW), post_load=_spread_pairs),
        _sub("ringsize", _Tables.resized, _table("vq", "sizes", _SIZE_ROW), post_load=_spread_sizes),
        _sub("broken", lambda tables: tables.device.broken, boolean("broken", attr="device.broken")),
        _sub(
            "extra_state",
            lambda tables: tables.device.proxy.trait("migrate-extra"),
            custom("extra_state", Info("virtqueue_extra_state", _get_extra, _put_extra), attr=""),
        ),
        _sub(
            "started",
            lambda tables: tables.device.started,
            boolean("started", attr="device.started"),
            since="4.0.50",
        ),
        _sub("packed_virtqueues", _offers(_PACKED), _table("vq", "packed", _PACKED_ROW), since="4.1.50"),
        _sub(
            "disabled",
            lambda tables: tables.device.disabled,
            boolean("disabled", attr="device.disabled"),
            since="4.2.50",
        ),
    ),
)


def _put(writing: Writing, _value: Any, slot: Slot) -> None:
    device: VirtIODevice = slot.holder
    proxy = device.proxy
    writing.save(PCI_DEVICE, proxy)
    if proxy.vectors:
        MSIX_STATE.put(writing, proxy, Slot(slot.field, proxy, 0))
        writing.number(proxy.config_vector, 2)
    writing.put(
        struct.pack(">BBHI", device.status, device.isr, device.queue_sel, device.guest_features & 0xFFFFFFFF)
    )
    writing.number(len(device.config), 4)
    writing.put(bytes(device.config))
    _put_rings(writing, device)
    device.put_own(writing)
    writing.save(device.resolved(COMMON), _Tables(device))


def _put_rings(writing: Writing, device: VirtIODevice) -> None:
    writing.number(len(device.rings), 4)
    for ring in device.rings:
        writing.put(struct.pack(">IQH", ring.size, ring.desc, ring.last_avail))
        if device.proxy.vectors:
            writing.number(ring.vector, 2)


def _get(reading: Reading, _old: Any, slot: Slot) -> Any:
    device: VirtIODevice = slot.holder
    proxy = device.proxy
    reading.load(PCI_DEVICE, proxy, PCI_DEVICE.version_id)
    if proxy.vectors:
        MSIX_STATE.get(reading, proxy, Slot(slot.field, proxy, 0))
        proxy.config_vector = reading.number(2)
    device.status, device.isr, device.queue_sel = reading.number(1), reading.number(1), reading.number(2)
    if device.queue_sel >= MAX_QUEUES:
        raise _refused(reading, "")
    device.guest_features = reading.number(4)
    incoming = reading.take(reading.number(4))
    device.config[:] = (incoming + bytes(device.config)[len(incoming) :])[: len(device.config)]
    _get_rings(reading, device)
    device.get_own(reading)
    device.broken = device.started = device.disabled = False  # what a stream without their subsections means
    reading.load(device.resolved(COMMON), _Tables(device), COMMON.version_id)
    _check_features(device)
    _check_rings(reading, device)
    return device


def _check_rings(reading: Reading, device: VirtIODevice) -> None:
    """Compare the indices with those in guest memory, which is there already; the texts are QEMU's."""
    if device.guest_features >> _PACKED & 1:
        return
    for number, ring in enumerate(device.rings):
        found = ring.indices(device.machine.main_ram)
        if not ring.desc or found is None:
            continue
        head, used = found
        size, last = f"VQ {number} size 0x{ring.size:x}", ring.last_avail
        if (ahead := (head - last) & 0xFFFF) > ring.size:
            device.broken = bool(device.guest_features >> _VERSION_1 & 1)
            text = f"Guest index 0x{head:x} inconsistent with Host index 0x{last:x}: delta 0x{ahead:x}"
            device.machine.migration.say(f"{size} {text}")
        if (last - used) & 0xFFFF > ring.size:
            raise _refused(reading, f"{size} < last_avail_idx 0x{last:x} - used_idx 0x{used:x}")


def _get_rings(reading: Reading, device: VirtIODevice) -> None:
    count = reading.number(4)
    if count > MAX_QUEUES:
        raise _refused(reading, f"Invalid number of virtqueues: 0x{count:x}")
    for number in range(count):
        size, desc, last = reading.number(4), reading.number(8), reading.number(2)
        ring = device.take_ring(reading, number, (size, desc, last))
        ring.vector = reading.number(2) if device.proxy.vectors else 0
        if device.proxy.vectors and NO_VECTOR != ring.vector >= device.proxy.vectors:
            raise reading.error(Kind.CUSTOM, "a vector that is there", f"read {ring.vector}", message="")


def _refused(reading: Reading, message: str) -> Exception:
    return reading.error(
        Kind.CUSTOM, "a device like the source's", message, message=message, errno=errno.EPERM
    )


def _check_features(device: VirtIODevice) -> None:
    """The message is QEMU's: what the guest uses, then what this side has."""
    if device.guest_features & ~device.host_features:
        text = (
            f"Features 0x{device.guest_features:x} unsupported. Allowed features: 0x{device.host_features:x}"
        )
        raise HookError(text, errno.EPERM)


VIRTIO: Final = Info("virtio", _get, _put)


def virtio_field() -> Field:
    """The one field of each virtio device's description."""
    return custom("virtio", VIRTIO, attr="")
