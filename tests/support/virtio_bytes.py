# SPDX-License-Identifier: Apache-2.0
"""A virtio device of a small machine, and the pieces of what it sends.

Offsets are found by the lengths that the section itself states; nothing of the emulator's writer is used to read.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

from real_devices import small_machine

from migmatrix.emulator.devices.virtio.transport import VirtIOPCI
from migmatrix.vmstate.check.virtio import read_virtio_pci
from migmatrix.vmstate.view.pci import ConfigSpace

if TYPE_CHECKING:
    from migmatrix.emulator.machine import Machine

__all__ = ["DRIVER", "KINDS", "MODERN", "PORT", "Sent", "made", "proxy", "section", "sent"]

DRIVER: Final = ",x-guest=driver"
Q35: Final = "pc-q35-{0}"
PORT: Final = ("-device", "pcie-root-port,id=p,chassis=1,slot=1")
MEMORY: Final = ("-object", "memory-backend-ram,id=m0,size=64M")
NEEDS: Final = {
    "virtio-mem-pci": ",memdev=m0",
    "vhost-vsock-pci": ",guest-cid=3",
    "virtio-net-pci": ",romfile=",
}
# type: section, Virtio 1.2 id, id of before 1.0
KINDS: Final = {
    "virtio-net-pci": ("virtio-net", 1, 0x1000),
    "virtio-blk-pci": ("virtio-blk", 2, 0x1001),
    "virtio-balloon-pci": ("virtio-balloon", 5, 0x1002),
    "virtio-serial-pci": ("virtio-console", 3, 0x1003),
    "virtio-scsi-pci": ("virtio-scsi", 8, 0x1004),
    "virtio-rng-pci": ("virtio-rng", 4, 0x1005),
    "vhost-vsock-pci": ("virtio-vhost_vsock", 19, 0),
    "virtio-gpu-pci": ("virtio-gpu", 16, 0),
    "virtio-mem-pci": ("virtio-mem", 24, 0),
}


def made(kind: str, words: str = "", *more: str, release: str = "10.0") -> Machine:
    """A machine with the device, id ``d``."""
    base = kind.removesuffix("-transitional").removesuffix("-non")
    device = f"{kind},id=d{NEEDS.get(base, '')}{words}"
    return small_machine(release, Q35.format(release), *MEMORY, *more, "-device", device)


def proxy(machine: Machine) -> VirtIOPCI:
    """The device's PCI function."""
    found = machine.find("d")
    assert isinstance(found, VirtIOPCI)
    return found


def section(machine: Machine, kind: str) -> Any:
    """The device's entry in the registry."""
    name = KINDS[kind.removesuffix("-transitional").removesuffix("-non")][0]
    return next(entry for entry in machine.registry if entry.idstr.endswith(f"/{name}"))


class Sent:
    """The pieces of a device's bytes: `vectors` is the MSI-X table, `rings` (size, address, index, vector)."""

    def __init__(self, data: bytes) -> None:
        read = read_virtio_pci(data)
        assert read is not None
        self.data = data
        self.space = ConfigSpace(read.config)
        msix = next((c for c in self.space.capabilities if c.name == "MSI-X"), None)
        count = 0 if msix is None else (self.space.read(msix.offset + 2, 2) & 0x7FF) + 1
        at = read.features_offset
        table = at - 4 - (2 if count else 0) - count * 16 - (count + 7) // 8
        self.vectors = data[table : table + 16 * count]
        self.config_vector = int.from_bytes(data[at - 6 : at - 4], "big") if count else None
        self.status, self.isr, self.queue_sel, self.features, length = struct.unpack_from(
            ">BBHII", data, at - 4
        )
        self.config = data[at + 8 : at + 8 + length]
        self._rings(at + 8 + length, bool(count))

    def _rings(self, at: int, msix: bool) -> None:
        (number,) = struct.unpack_from(">I", self.data, at)
        form = ">IQHH" if msix else ">IQH"
        size = struct.calcsize(form)
        self.rings = [struct.unpack_from(form, self.data, at + 4 + n * size) for n in range(number)]
        self.rest = self.data[at + 4 + number * size :]

    @property
    def subsections(self) -> list[str]:
        """Names of all subsections of the common part, in order; `extra_state` holds one of its own."""
        found = []
        for name in (*COMMON, MODERN):
            mark = b"\x05" + bytes([len(name)]) + name.encode() + (1).to_bytes(4, "big")
            at = self.rest.find(mark)
            found += [(at, name)] if at >= 0 else []
        return [name.removeprefix("virtio/") for _, name in sorted(found)]


COMMON: Final = [
    f"virtio/{name}"
    for name in ("64bit_features", "virtqueues", "ringsize", "broken", "extra_state", "started", "packed_virtqueues",
                 "disabled")
]  # fmt: skip
MODERN: Final = "virtio_pci/modern_state"


def sent(machine: Machine, kind: str) -> Sent:
    """What the device sends."""
    return Sent(section(machine, kind).save().data)
