# SPDX-License-Identifier: Apache-2.0
"""`virtio-scsi`: a SCSI controller without disks, whose request queues follow the processors since 5.2."""

from __future__ import annotations

from typing import ClassVar, Final

from migmatrix.emulator.devices.virtio.device import VirtIODevice, backend
from migmatrix.emulator.devices.virtio.ring import MAX_QUEUES
from migmatrix.emulator.devices.virtio.transport import VirtIOPCI, variants
from migmatrix.emulator.errors import DeviceError
from migmatrix.emulator.properties import BOOL, LINK, UINT32, Property

__all__ = ["SCSI"]

_AUTO_QUEUES: Final = 0xFFFFFFFF
_OTHERS: Final = 2  # control and events
_SMALLEST: Final = 2  # a ring must be larger


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

    def settle(self) -> None:
        """The number of queues is known from now on."""
        self.props["num_queues"] = self.queues

    def check(self) -> None:
        """One request queue at least, control and event queue still within the transport's."""
        if not 0 < self.queues <= MAX_QUEUES - _OTHERS:
            limit = f"must be a positive integer less than {MAX_QUEUES - _OTHERS}."
            raise DeviceError(f"Invalid number of queues (= {self.queues}), {limit}")
        size = self.props["virtqueue_size"]
        if size <= _SMALLEST:
            raise DeviceError(f"invalid virtqueue_size property (= {size}), must be > {_SMALLEST}")

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


VirtioScsiPci, VirtioScsiPciTransitional, VirtioScsiPciNonTransitional = variants(SCSIPCI, "virtio-scsi-pci")
