# SPDX-License-Identifier: Apache-2.0
"""`virtio-blk`, and `vhost-user-blk` as far as migration sees it: queues by processor, config size by features.

The document's first story is here: ``num-queues`` was 1 until 5.1; 5.2 takes the number of processors, and its table for
5.1 puts the 1 back. Row 28 too: when the config grew for discard, so did a base register.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from migmatrix.emulator.devices.virtio.device import VirtIODevice, backend
from migmatrix.emulator.devices.virtio.ring import MAX_QUEUE_SIZE
from migmatrix.emulator.devices.virtio.transport import VirtIOPCI, variants
from migmatrix.emulator.errors import DeviceError
from migmatrix.emulator.properties import BOOL, LINK, STRING, UINT16, UINT32, Property

if TYPE_CHECKING:
    from migmatrix.emulator.devices.virtio.vhostuser import OtherProcess
    from migmatrix.vmstate.device.protocols import Reading, Writing

__all__ = ["Blk", "VhostUserBlk"]

_AUTO: Final = 0xFFFF
_SMALLEST: Final = 2  # a ring must be larger
_MQ: Final = 12
_SHORT, _WHOLE = 36, 60  # without, with discard and write-zeroes
_TRIMMED: Final = 57


class Disk(VirtIODevice):
    """What both disks share; no type of QEMU's, so that no compat entry of one reaches the other."""

    abstract = True
    virtio_id = 2
    bits: ClassVar[dict[str, int]] = {"config-wce": 11, "discard": 13, "write-zeroes": 14}
    always = 1 << 2 | 1 << 4 | 1 << 6 | 1 << 9 | 1 << 10  # seg_max, geometry, blk_size, flush, topology
    properties: ClassVar[tuple[Property, ...]] = (
        Property("num-queues", UINT16, 1, changes=(("5.1.50", _AUTO),)),
        Property("discard", BOOL, True, since="3.1.50"),
        Property("write-zeroes", BOOL, True, since="3.1.50"),
        Property("config-wce", BOOL, True),
    )

    @property
    def queues(self) -> int:
        """Request queues; an unset number is that of the processors at start."""
        given = int(self.props["num-queues"])
        return self.machine.smp.cpus if given == _AUTO else given

    def settle(self) -> None:
        """The number of queues is known from now on."""
        self.props["num-queues"] = self.queues

    def queue_sizes(self) -> tuple[int, ...]:
        """Requests."""
        return (int(self.props["queue-size"]),) * self.queues

    def offered(self) -> int:
        """Several queues are a feature."""
        return super().offered() | (self.queues > 1) << _MQ

    def config_bytes(self) -> bytes:
        """As long as its features need, where the release looks at them."""
        if self.proxy.trait("whole-config"):
            return bytes(self.proxy.trait("config-size"))
        wanted = self.props.get("discard") or self.props.get("write-zeroes")
        return bytes(_TRIMMED if wanted else _SHORT)


class Blk(Disk):
    """A disk of this process."""

    type_name = "virtio-blk-device"
    properties: ClassVar[tuple[Property, ...]] = (
        Property("drive", STRING, None),
        Property("queue-size", UINT16, 128, changes=(("4.2.50", 256),)),
        Property("seg-max-adjust", BOOL, True, since="5.0"),
        Property("x-enable-wce-if-config-wce", BOOL, True, since="5.0"),
        Property("report-discard-granularity", BOOL, True, since="6.0"),
        Property("serial", STRING, None),
        Property("iothread", LINK, None),
    )
    vmstate = backend("virtio-blk", 2)

    def check(self) -> None:
        """Queues that a driver can use. QEMU also wants a drive; here a disk may be without, as no request is made."""
        size = self.props["queue-size"]
        if not self.queues:
            raise DeviceError("num-queues property must be larger than 0")
        if size <= _SMALLEST:
            raise DeviceError(f"invalid queue-size property ({size}), must be > {_SMALLEST}")
        if size & (size - 1) or size > MAX_QUEUE_SIZE:
            raise DeviceError(
                f"invalid queue-size property ({size}), must be a power of 2 (max {MAX_QUEUE_SIZE})"
            )

    def put_own(self, writing: Writing) -> None:
        """No request is under way."""
        writing.number(0, 1)

    def get_own(self, reading: Reading) -> None:
        """Requests under way are not modelled."""
        if reading.number(1):
            raise self.refused(reading, "a request is under way")


class VhostUserBlk(Disk):
    """A disk of another process, which has the requests. Where its chardev is no socket, only its config is modelled."""

    type_name = "vhost-user-blk"
    properties: ClassVar[tuple[Property, ...]] = (
        Property("chardev", STRING, None),
        Property("queue-size", UINT32, 128),
    )
    vmstate = backend("vhost-user-blk", 1)
    process: OtherProcess | None = None

    def prepare(self) -> None:
        """Get to know the other process first: it knows features and config."""
        chardev = self.machine.chardevs.get(str(self.props["chardev"]))
        if self.process is None and chardev is not None and chardev.descriptor >= 0:
            from migmatrix.emulator.devices.virtio.vhostuser import OtherProcess  # noqa: PLC0415 - few machines have one

            self.process = OtherProcess(self, chardev.descriptor, len(super().config_bytes()))
        super().prepare()

    def unrealize(self) -> None:
        """The other process has nothing to do any more."""
        if self.process is not None:
            self.process.close()
            self.process = None
        super().unrealize()

    def config_bytes(self) -> bytes:
        """As the other process has it."""
        return super().config_bytes() if self.process is None else self.process.config

    def withheld(self) -> int:
        """Features that the other process has not."""
        return 0 if self.process is None else self.process.lacks


class DiskPCI(VirtIOPCI):
    """A vector per queue and one for the config."""

    abstract = True
    legacy_number = 1
    class_code = 0x0100

    def default_vectors(self) -> int:
        """Follow the queues."""
        assert isinstance(self.backend, Disk)  # noqa: S101 - `backend_type` says so
        return self.backend.queues + 1


class BlkPCI(DiskPCI):
    """The config grew for discard in development of 4.0, which then made it as long as its features need."""

    type_name = "virtio-blk-pci-base"
    abstract = True
    backend_type = "virtio-blk-device"
    traits: ClassVar[tuple[Property, ...]] = (
        Property("config-size", UINT32, _SHORT, changes=(("3.1.50", _WHOLE),)),
        Property("whole-config", BOOL, True, changes=(("3.1.90", False),)),
    )


class VhostUserBlkPCI(DiskPCI):
    """Its config had discard's fields from 4.0 on whatever its features, until 7.2."""

    type_name = "vhost-user-blk-pci-base"
    abstract = True
    backend_type = "vhost-user-blk"
    traits: ClassVar[tuple[Property, ...]] = (
        Property("config-size", UINT32, _SHORT, changes=(("3.1.50", _WHOLE),)),
        Property("whole-config", BOOL, True, changes=(("7.1.50", False),)),
    )


VirtioBlkPci, VirtioBlkPciTransitional, VirtioBlkPciNonTransitional = variants(BlkPCI, "virtio-blk-pci")
VhostUserBlkPci, VhostUserBlkPciTransitional, VhostUserBlkPciNonTransitional = variants(
    VhostUserBlkPCI, "vhost-user-blk-pci"
)
