"""Virtio devices without much state of their own: rng, balloon, scsi, serial, vhost-vsock."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, ClassVar, Final

from migmatrix.emulator.devices.virtio.device import VirtIODevice, backend
from migmatrix.emulator.devices.virtio.transport import VirtIOPCI, variants
from migmatrix.emulator.properties import BOOL, LINK, ON_OFF_AUTO, STRING, UINT32, UINT64, Property
from migmatrix.vmstate.device.description import VMState
from migmatrix.vmstate.device.fields import uint32

if TYPE_CHECKING:
    from collections.abc import Callable

    from migmatrix.vmstate.device.protocols import Reading, Writing

__all__ = ["RNG", "SCSI", "Balloon", "Serial", "Vsock"]

_AUTO_QUEUES: Final = 0xFFFFFFFF


class RNG(VirtIODevice):
    """Entropy: one queue, no config."""

    type_name = "virtio-rng-device"
    virtio_id = 4
    properties: ClassVar[tuple[Property, ...]] = (
        Property("rng", LINK, None),
        Property("max-bytes", UINT64, 1 << 63),
        Property("period", UINT32, 1 << 16),
    )
    vmstate = backend("virtio-rng", 1)

    def queue_sizes(self) -> tuple[int, ...]:
        """Requests."""
        return (8,)


class RNGPCI(VirtIOPCI):
    """7.2 gave it interrupts of its own, and told only one of its three names that old machines have none."""

    type_name = "virtio-rng-pci-base"
    abstract = True
    backend_type = "virtio-rng-device"
    legacy_number = 5
    traits: ClassVar[tuple[Property, ...]] = (
        Property("vectors-default", UINT32, 0, changes=(("7.1.50", 2),)),
    )


def _has(bit: int) -> Callable[[Any], bool]:
    return lambda device: bool(device.guest_features >> bit & 1)


class Balloon(VirtIODevice):
    """Memory balloon. The length of its config changed twice: see row 9 of the track record."""

    type_name = "virtio-balloon-device"
    virtio_id = 5
    bits: ClassVar[dict[str, int]] = {
        "deflate-on-oom": 2, "free-page-hint": 3, "page-poison": 4, "free-page-reporting": 5,
    }  # fmt: skip
    always = 1 << 1  # statistics
    properties: ClassVar[tuple[Property, ...]] = (
        Property("deflate-on-oom", BOOL, False),
        Property("free-page-hint", BOOL, False, since="4.0"),
        Property("page-poison", BOOL, True, since="5.1"),
        Property("free-page-reporting", BOOL, False, since="5.1"),
        Property("qemu-4-0-config-size", BOOL, False, since="4.0.90"),
    )
    own: ClassVar[VMState | None] = VMState(
        "virtio-balloon-device",
        (uint32("num_pages"), uint32("actual")),
        version_id=1,
        minimum_version_id=1,
        subsections=(
            VMState(
                "virtio-balloon-device/free-page-report",
                (uint32("free_page_report_cmd_id"), uint32("free_page_report_status")),
                version_id=1,
                minimum_version_id=1,
                needed=_has(3),
                since="4.0",
            ),
            VMState(
                "virtio-balloon-device/page-poison-val",
                (uint32("poison_val"),),
                version_id=1,
                minimum_version_id=1,
                needed=_has(4),
                since="5.1",
            ),
        ),
    )
    vmstate = backend("virtio-balloon", 1)

    def init(self) -> None:
        """Nothing is taken from the guest."""
        self.num_pages = self.actual = self.free_page_report_cmd_id = self.free_page_report_status = 0
        self.poison_val = 0

    def queue_sizes(self) -> tuple[int, ...]:
        """Inflate, deflate, statistics, and one per feature."""
        return (
            128,
            128,
            128,
            128 * self.props.get("free-page-hint", False),
            32 * self.props.get("free-page-reporting", False),
        )

    def config_bytes(self) -> bytes:
        """All fields, or those up to the last that a feature needs."""
        whole = "qemu-4-0-config-size" in self.props and self.props["qemu-4-0-config-size"]
        if whole or self.proxy.trait("whole-config") or self.props.get("page-poison"):
            return bytes(16 if self.proxy.trait("long-config") else 8)
        return bytes(12 if self.props.get("free-page-hint") else 8)


class BalloonPCI(VirtIOPCI):
    """The config was 8 bytes until 3.1, 16 in 4.0, and since 4.1 what its features need."""

    type_name = "virtio-balloon-pci-base"
    abstract = True
    backend_type = "virtio-balloon-device"
    legacy_number = 2
    traits: ClassVar[tuple[Property, ...]] = (
        Property("vectors-default", UINT32, 0, changes=(("9.2.50", 2),)),
        Property("long-config", BOOL, False, changes=(("3.1.50", True),)),
        Property("whole-config", BOOL, True, changes=(("4.0.90", False),)),
    )


class SCSI(VirtIODevice):
    """A SCSI controller: control and event queue, and request queues as it has processors."""

    type_name = "virtio-scsi-device"
    virtio_id = 8
    bits: ClassVar[dict[str, int]] = {"hotplug": 1, "param_change": 2}
    properties: ClassVar[tuple[Property, ...]] = (
        Property("num_queues", UINT32, 1, changes=(("5.1.50", _AUTO_QUEUES),)),
        Property("virtqueue_size", UINT32, 128, changes=(("4.2.50", 256),)),
        Property("seg_max_adjust", BOOL, True, since="5.0"),
        Property("hotplug", BOOL, True),
        Property("param_change", BOOL, True),
        Property("iothread", LINK, None),
    )
    vmstate = backend("virtio-scsi", 1)

    @property
    def queues(self) -> int:
        """Request queues."""
        given = int(self.props["num_queues"])
        return self.machine.smp.cpus if given == _AUTO_QUEUES else given

    def queue_sizes(self) -> tuple[int, ...]:
        """Control, events, requests."""
        return (int(self.props["virtqueue_size"]),) * (2 + self.queues)

    def config_bytes(self) -> bytes:
        """Zero until the guest reads it."""
        return bytes(36)


class SCSIPCI(VirtIOPCI):
    """A vector per queue and one for the config."""

    type_name = "virtio-scsi-pci-base"
    abstract = True
    backend_type = "virtio-scsi-device"
    legacy_number = 4
    class_code = 0x0100

    def default_vectors(self) -> int:
        """Follows the queues."""
        assert isinstance(self.backend, SCSI)  # noqa: S101 - `backend_type` says so
        return self.backend.queues + 3


class Serial(VirtIODevice):
    """Consoles and ports: two queues each."""

    type_name = "virtio-serial-device"
    virtio_id = 3
    bits: ClassVar[dict[str, int]] = {"emergency-write": 2}
    always = 1 << 1  # several ports
    properties: ClassVar[tuple[Property, ...]] = (
        Property("max_ports", UINT32, 31),
        Property("emergency-write", BOOL, True, since="2.8"),
    )
    vmstate = backend("virtio-console", 3)

    def queue_sizes(self) -> tuple[int, ...]:
        """The first port, control, then the others."""
        return (128, 128, 32, 32) + (128, 128) * (int(self.props["max_ports"]) - 1)

    def config_bytes(self) -> bytes:
        """Size, ports, emergency write."""
        return bytes(12)

    def put_own(self, writing: Writing) -> None:
        """Columns and rows of old streams, then a bitmap of ports, of which none is active."""
        ports = int(self.props["max_ports"])
        writing.put(struct.pack(">HHI", 0, 0, ports))
        writing.put(struct.pack(">I", 1) + bytes(4 * ((ports - 1) // 32)))
        writing.number(0, 4)

    def get_own(self, reading: Reading) -> None:
        """The bitmap must be of as many words as this side's."""
        reading.take(8)
        reading.take(4 * ((int(self.props["max_ports"]) + 31) // 32))
        reading.take(4)


class SerialPCI(VirtIOPCI):
    """Two vectors."""

    type_name = "virtio-serial-pci-base"
    abstract = True
    backend_type = "virtio-serial-device"
    legacy_number = 3
    class_code = 0x0780
    traits: ClassVar[tuple[Property, ...]] = (Property("vectors-default", UINT32, 2),)


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


VirtioRngPci, VirtioRngPciTransitional, VirtioRngPciNonTransitional = variants(RNGPCI, "virtio-rng-pci")
VirtioBalloonPci, VirtioBalloonPciTransitional, VirtioBalloonPciNonTransitional = variants(
    BalloonPCI, "virtio-balloon-pci"
)
VirtioScsiPci, VirtioScsiPciTransitional, VirtioScsiPciNonTransitional = variants(SCSIPCI, "virtio-scsi-pci")
VirtioSerialPci, VirtioSerialPciTransitional, VirtioSerialPciNonTransitional = variants(
    SerialPCI, "virtio-serial-pci"
)
(VhostVsockPci,) = variants(VsockPCI, "vhost-vsock-pci", legacy=False)
