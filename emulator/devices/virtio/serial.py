# SPDX-License-Identifier: Apache-2.0
"""`virtio-serial`: a console and ports, none of them open. The number of ports decides what it sends."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, ClassVar, Final

from migmatrix.emulator.devices.virtio.device import VirtIODevice, backend
from migmatrix.emulator.devices.virtio.ring import MAX_QUEUES
from migmatrix.emulator.devices.virtio.transport import VirtIOPCI, variants
from migmatrix.emulator.errors import DeviceError
from migmatrix.emulator.properties import BOOL, UINT32, Property

if TYPE_CHECKING:
    from migmatrix.vmstate.device.protocols import Reading, Writing

__all__ = ["Serial"]

_EMERGENCY_WRITE: Final = 2  # the bit of the feature


class Serial(VirtIODevice):
    """Consoles and ports: two queues each."""

    type_name = "virtio-serial-device"
    virtio_id = 3
    always = 1 << 1  # several ports
    properties: ClassVar[tuple[Property, ...]] = (
        Property("max_ports", UINT32, 31),
        Property("emergency-write", BOOL, True, since="2.8", until="11.1"),
    )
    vmstate = backend("virtio-console", 3)

    def check(self) -> None:
        """Each port takes two of the transport's queues, control two more."""
        ports = self.props["max_ports"]
        if not ports:
            raise DeviceError("Maximum number of serial ports not specified")
        if ports > MAX_QUEUES // 2 - 1:
            raise DeviceError(f"maximum ports supported: {MAX_QUEUES // 2 - 1}")

    def offered(self) -> int:
        """Emergency writes outlived their property."""
        wanted = self.props.get("emergency-write", self.proxy.trait("emergency-write"))
        return super().offered() | bool(wanted) << _EMERGENCY_WRITE

    def queue_sizes(self) -> tuple[int, ...]:
        """The first port, control, then the others."""
        return (128, 128, 32, 32) + (128, 128) * (int(self.props["max_ports"]) - 1)

    def config_bytes(self) -> bytes:
        """Size, ports, emergency write."""
        return bytes(12)

    def put_own(self, writing: Writing) -> None:
        """Columns and rows of old streams, then a bitmap of ports, of which none is active."""
        writing.put(struct.pack(">HHI", 0, 0, int(self.props["max_ports"])))
        writing.put(self._bitmap())
        writing.number(0, 4)

    def get_own(self, reading: Reading) -> None:
        """The bitmap must be this side's, which also tells its length: the number of ports is not looked at."""
        reading.take(8)
        ours = self._bitmap()
        if reading.take(len(ours)) != ours:
            raise self.refused(reading, "other ports are there", quiet=True)
        if reading.number(4):
            raise self.refused(reading, "ports are active", quiet=True)

    def _bitmap(self) -> bytes:
        """Port 0, which a console may take, is all that there is."""
        return struct.pack(">I", 1) + bytes(4 * ((int(self.props["max_ports"]) - 1) // 32))


class SerialPCI(VirtIOPCI):
    """Two vectors."""

    type_name = "virtio-serial-pci-base"
    abstract = True
    backend_type = "virtio-serial-device"
    legacy_number = 3
    class_code = 0x0780
    properties: ClassVar[tuple[Property, ...]] = (Property("vectors", UINT32, 2),)
    traits: ClassVar[tuple[Property, ...]] = (
        # a property from 2.8 to 11.0; what was always so is always so without it
        Property("emergency-write", BOOL, False, changes=(("2.8", True),)),
    )


VirtioSerialPci, VirtioSerialPciTransitional, VirtioSerialPciNonTransitional = variants(
    SerialPCI, "virtio-serial-pci"
)
