# SPDX-License-Identifier: Apache-2.0
"""`VirtIODevice`: a virtio device whatever carries it: features, queues, device config, status.

    class RNG(VirtIODevice):
        type_name = "virtio-rng-device"
        vmstate = backend("virtio-rng", 1)

1. A feature bit is offered when its property says so and the host has it (`x-host-features`).
2. With ``x-guest=driver`` on the transport, a guest's driver has accepted everything that drivers accept.
3. The section is the device's, under the path of the transport, which is sent inside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from migmatrix.emulator.device import Device
from migmatrix.emulator.devices.virtio.ring import Ring
from migmatrix.emulator.devices.virtio.stream import virtio_field
from migmatrix.emulator.properties import BOOL, UINT64, Property
from migmatrix.vmstate.device.description import VMState
from migmatrix.vmstate.device.errors import Kind

if TYPE_CHECKING:
    from migmatrix.emulator.devices.virtio.transport import VirtIOPCI
    from migmatrix.emulator.machine import Machine
    from migmatrix.vmstate.device.protocols import Reading, Writing

__all__ = ["VirtIODevice", "backend"]

_VERSION_1: Final = 1 << 32
_IGNORED: Final = 1 << 24 | 1 << 27 | 1 << 30  # offered, but Linux does not accept them
_ALL: Final = (1 << 64) - 1
_DRIVER_OK: Final = 0x0F  # acknowledged, driver, features, running
_BAD_FEATURE: Final = 1 << 30  # always offered; a driver that accepts it is broken
_QUEUE_MEMORY: Final = 0x100000


def backend(name: str, version: int, **more: Any) -> VMState:
    """The description of a device: just the one opaque field."""
    return VMState(name, (virtio_field(),), version_id=version, minimum_version_id=version, **more)


class VirtIODevice(Device):
    """Base of the devices behind a transport. `virtio_id` is Virtio 1.2's, `bits` the feature bit of a property."""

    type_name = "virtio-device"
    abstract = True
    bus = "virtio-bus"
    virtio_id: ClassVar[int] = 0
    bits: ClassVar[dict[str, int]] = {}
    always: ClassVar[int] = 0  # features that no property switches
    own: ClassVar[VMState | None] = None  # the device's own part of the stream
    properties: ClassVar[tuple[Property, ...]] = (
        Property("indirect_desc", BOOL, True),
        Property("event_idx", BOOL, True),
        Property("notify_on_empty", BOOL, True),
        Property("any_layout", BOOL, True),
        Property("iommu_platform", BOOL, False),
        Property("packed", BOOL, False, since="4.2"),
        Property("queue_reset", BOOL, True, since="7.2"),
        Property("in_order", BOOL, False, since="9.2"),
        Property("use-started", BOOL, True, since="4.1"),
        Property("use-disabled-flag", BOOL, True, since="5.0"),
        Property("x-disable-legacy-check", BOOL, False, since="5.1"),
        Property(
            "x-host-features", UINT64, _ALL, help="emulator only: feature bits that this host can offer"
        ),
    )
    _common: ClassVar[dict[str, int]] = {
        "notify_on_empty": 24, "any_layout": 27, "indirect_desc": 28, "event_idx": 29, "iommu_platform": 33,
        "packed": 34, "in_order": 35, "queue_reset": 40,
    }  # fmt: skip

    def __init__(self, machine: Machine, id: str = "") -> None:  # noqa: A002 - QEMU's word
        self.rings: list[Ring] = []
        self.config = bytearray()
        self.status = self.isr = self.queue_sel = self.guest_features = self.host_features = 0
        self.broken = self.started = self.disabled = False
        super().__init__(machine, id)

    @property
    def proxy(self) -> VirtIOPCI:
        """The transport."""
        from migmatrix.emulator.devices.virtio.transport import VirtIOPCI  # noqa: PLC0415 - the two know each other

        assert isinstance(self.parent, VirtIOPCI)  # noqa: S101 - made by it
        return self.parent

    @property
    def path(self) -> str:
        """The transport's path, whose name the section bears."""
        return self.proxy.path

    # -- what derived classes fill in ------------------------------------------------------------

    def queue_sizes(self) -> tuple[int, ...]:
        """Size of each queue, 0 for one that stays unused."""
        return ()

    def config_bytes(self) -> bytes:
        """The device config as the guest finds it."""
        return b""

    def put_own(self, writing: Writing) -> None:
        """Send the device's own part."""
        if self.own is not None:
            writing.save(self.resolved(self.own), self)

    def get_own(self, reading: Reading) -> None:
        """Load the device's own part."""
        if self.own is not None:
            own = self.resolved(self.own)
            reading.load(own, self, own.version_id)

    # -- what follows from that ------------------------------------------------------------------

    def resolved(self, vmsd: VMState) -> VMState:
        """A description as this machine's release has it."""
        from migmatrix.vmstate.device.lifetime import resolve  # noqa: PLC0415 - cached there

        return resolve(vmsd, self.machine.release.name)

    def offered(self) -> int:
        """Features by property, before the host and the transport have a say."""
        bits = {**self._common, **self.bits}
        chosen = sum(1 << bit for name, bit in bits.items() if self.props.get(name))
        return chosen | self.always

    def settle(self) -> None:
        """Replace properties that were left open by what was chosen."""

    def check(self) -> None:
        """Refuse properties that do not go together; DeviceError in QEMU's words."""

    def prepare(self) -> None:
        """Features, config and queues as after reset; the transport calls it before it builds its config space."""
        self.check()
        kept = self.offered() | _VERSION_1 | _BAD_FEATURE
        kept &= self.props["x-host-features"] & ~self.withheld()
        self.host_features = kept & (_ALL if self.proxy.modern else ~(_VERSION_1 | 1 << 33))
        self.config = bytearray(self.config_bytes())
        self.rings = [Ring(size) for size in self.queue_sizes() if size]
        self.disabled = bool(self.props.get("use-disabled-flag")) and self.starts_disabled()

    def withheld(self) -> int:
        """Features that this device does not offer although a property says so."""
        return 0

    def starts_disabled(self) -> bool:
        """Whether the device is off until the guest lets it be bus master (see row 6 of the track record)."""
        return False

    def driver_acts(self) -> None:
        """Do what a guest's driver does at start: accept features, set up queues, run."""
        self.guest_features = self.host_features & ~_IGNORED
        self.status = _DRIVER_OK
        self.started = bool(self.props.get("use-started", True))
        self.disabled = False
        for number, ring in enumerate(self.rings):
            ring.place(_QUEUE_MEMORY + 0x10000 * number, min(number + 1, max(self.proxy.vectors - 1, 0)))

    def take_ring(self, reading: Reading, number: int, values: tuple[int, int, int]) -> Ring:
        """What a stream says of a queue: size, address, index."""
        size, desc, last = values
        if number >= len(self.rings):
            self.rings.append(Ring(0))
        ring = self.rings[number]
        if self.proxy.checks_rings and size > ring.most:
            message = f"VQ {number} vring.num {size} exceeds allocated max {ring.most}"
            raise reading.error(Kind.CUSTOM, f"at most {ring.most}", f"read {size}", message=message)
        if not desc and last:
            message = f"VQ {number} address 0x0 inconsistent with Host index 0x{last:x}"
            raise reading.error(Kind.CUSTOM, "an address", "read 0", message=message, errno=1)
        ring.most = size  # unless a subsection says otherwise: QEMU sends that only where the two differ
        ring.size, ring.desc, ring.last_avail = size, desc, last
        return ring

    def refused(self, reading: Reading, why: str, *, quiet: bool = False) -> Exception:
        """An error for something in a stream that this device does not take; `quiet` where QEMU prints nothing."""
        message = "" if quiet else why
        return reading.error(Kind.CUSTOM, f"a {self.type_name!r} without that", why, message=message)
