# SPDX-License-Identifier: Apache-2.0
"""`vhost-vsock`: sockets to the host. Row 6 of the track record: the device is off until the guest starts it."""

from __future__ import annotations

from typing import ClassVar, Final

from migmatrix.emulator.devices.virtio.device import VirtIODevice, backend
from migmatrix.emulator.devices.virtio.transport import VirtIOPCI, variants
from migmatrix.emulator.errors import DeviceError
from migmatrix.emulator.properties import BOOL, ON_OFF_AUTO, STRING, UINT32, UINT64, Property

__all__ = ["Vsock"]

_HOST_CID: Final = 2


class Vsock(VirtIODevice):
    """Sockets to the host, whose features are the kernel's; here the kernel has them all."""

    type_name = "vhost-vsock-device"
    virtio_id = 19
    properties: ClassVar[tuple[Property, ...]] = (
        Property("guest-cid", UINT64, 0),
        Property("vhostfd", STRING, None),
        Property("seqpacket", ON_OFF_AUTO, "auto", since="6.1.50"),
    )
    vmstate = backend("virtio-vhost_vsock", 0)

    def check(self) -> None:
        """Addresses up to 2 are taken: by the hypervisor, loopback and the host."""
        cid = self.props["guest-cid"]
        if cid <= _HOST_CID:
            raise DeviceError(f"guest-cid property must be greater than {_HOST_CID}")
        if cid >> 32:
            raise DeviceError("guest-cid property must be a 32-bit number")

    def queue_sizes(self) -> tuple[int, ...]:
        """Receive, transmit, events."""
        return (128, 128, 64)

    def config_bytes(self) -> bytes:
        """The guest's address."""
        return bytes(8)

    def offered(self) -> int:
        """Seqpacket came with 6.1 as a feature of the kernel; the property to say no, later."""
        wanted = self.props.get("seqpacket", "auto") != "off" and self.proxy.trait("seqpacket-known")
        return super().offered() | int(wanted) << 1

    def starts_disabled(self) -> bool:
        """It waits for the guest to make it a bus master."""
        return not self.proxy.legacy


class VsockPCI(VirtIOPCI):
    """Modern only since 5.1; one vector is enough."""

    type_name = "vhost-vsock-pci-base"
    abstract = True
    backend_type = "vhost-vsock-device"
    legacy_number = 0
    properties: ClassVar[tuple[Property, ...]] = (Property("vectors", UINT32, 3),)
    traits: ClassVar[tuple[Property, ...]] = (
        Property("seqpacket-known", BOOL, False, changes=(("6.0.50", True),)),
    )


(VhostVsockPci,) = variants(VsockPCI, "vhost-vsock-pci", legacy=False)
