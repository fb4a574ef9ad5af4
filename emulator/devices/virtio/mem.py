# SPDX-License-Identifier: Apache-2.0
"""`virtio-mem`: with ``x-early-migration`` (8.1), what must be known before RAM goes out in a section before RAM.

A negative control of the track record: the property came with its compat entry, so nothing broke.
"""

from __future__ import annotations

import errno
from typing import Any, ClassVar, Final

from migmatrix.emulator.devices.state import Part
from migmatrix.emulator.devices.virtio.device import VirtIODevice, backend
from migmatrix.emulator.devices.virtio.transport import VirtIOPCI, variants
from migmatrix.emulator.errors import DeviceError
from migmatrix.emulator.properties import BOOL, LINK, ON_OFF_AUTO, SIZE, UINT32, UINT64, Property
from migmatrix.vmstate.device.description import HookError, MigrationPriority, VMState
from migmatrix.vmstate.device.fields import bitmap, uint32, uint64, with_tmp

__all__ = ["Mem"]

_NODES: Final = 1  # feature: a device says which NUMA node it is of
_BLOCK: Final = 2 << 20  # bytes per bit
_CHECKED: Final = (
    ("addr", "memaddr"),
    ("region_size", "size"),
    ("block_size", "block-size"),
    ("node", "node"),
)


def _sanity(mem: Mem) -> Part:
    """The values that must be this side's."""
    return Part(
        mem=mem, addr=mem.memaddr, region_size=mem.region_size, block_size=_BLOCK, node=mem.props["node"]
    )


def _check_sanity(sent: Part, _version: int) -> None:
    ours = vars(_sanity(sent.mem))
    for name, prop in _CHECKED:
        read, local = getattr(sent, name), ours[name]
        if read != local:
            shown = (f"{read}", f"{local}") if name == "node" else (f"0x{read:x}", f"0x{local:x}")
            raise HookError(f"Property '{prop}' changed from {shown[0]} to {shown[1]}", errno.EINVAL)


_SANITY: Final = VMState(
    "virtio-mem-device/sanity-checks",
    (uint64("addr"), uint64("region_size"), uint64("block_size"), uint32("node")),
    post_load=_check_sanity,
)


def _now(mem: Any, _version: int) -> bool:
    """Whether these fields are sent with the device, not before RAM."""
    return not mem.early


_LATE: Final = VMState(
    "virtio-mem-device",
    (
        with_tmp(_SANITY, _sanity, test=_now),
        uint64("usable_region_size"),
        uint64("size", test=_now),
        uint64("requested_size"),
        bitmap("bitmap", "blocks", test=_now),
    ),
    version_id=1,
    minimum_version_id=1,
)
_EARLY: Final = VMState(
    "virtio-mem-device-early",
    (with_tmp(_SANITY, _sanity), uint64("size"), bitmap("bitmap", "blocks")),
    version_id=1,
    minimum_version_id=1,
    early_setup=True,
    since="8.0",
)


class Mem(VirtIODevice):
    """Memory that grows by blocks; nothing of it is plugged yet."""

    type_name = "virtio-mem"
    since = "5.1"
    virtio_id = 24
    own: ClassVar[VMState | None] = _LATE
    properties: ClassVar[tuple[Property, ...]] = (
        Property("memdev", LINK, None),
        Property("node", UINT32, 0),
        Property("memaddr", UINT64, 0x100000000),
        Property("requested-size", SIZE, 0),
        Property("unplugged-inaccessible", ON_OFF_AUTO, "auto", since="7.0", changes=(("8.1", "on"),)),
        Property("prealloc", BOOL, False, since="7.0"),
        Property("x-early-migration", BOOL, True, since="8.0"),
        Property("dynamic-memslots", BOOL, False, since="9.0"),
    )
    vmstate = backend("virtio-mem", 1, priority=MigrationPriority.VIRTIO_MEM)

    def init(self) -> None:
        """Nothing is plugged."""
        self.size = self.usable_region_size = self.requested_size = self.bitmap = 0

    @property
    def early(self) -> bool:
        """Whether size and bitmap go before RAM."""
        return bool(self.props.get("x-early-migration", False))

    def realize(self) -> None:
        """Take the backend's memory; DeviceError without one."""
        if not self.props["memdev"]:
            raise DeviceError("'memdev' property must be set")
        if self.props.get("unplugged-inaccessible") == "auto":
            self.props["unplugged-inaccessible"] = "off"  # what x86 makes of it for anonymous memory
        self.memaddr = self.props["memaddr"]
        self.region_size = self._backend_size()
        self.blocks = self.region_size // _BLOCK
        super().realize()
        if self.early:
            self.register(_EARLY)

    def _backend_size(self) -> int:
        """Take the memory of the `-object` that `memdev` names, a RAM block of that name; DeviceError."""
        name = self.props["memdev"]
        found = [dict(b.props) for b in self.machine.options.of("object") if b.id == name]
        if not found:
            raise DeviceError(f"Device '{name}' not found")
        size: int = SIZE.parse(str(found[0].get("size", "0")))
        if name not in self.machine.ram_blocks:
            self.machine.add_ram(name, size)
        return size

    def offered(self) -> int:
        """Nodes always; whether unplugged memory may be read, and suspending, where the release knows them."""
        bits = _NODES | (self.props.get("unplugged-inaccessible") == "on") << 1
        return super().offered() | bits | bool(self.proxy.trait("persistent-suspend")) << 2

    def queue_sizes(self) -> tuple[int, ...]:
        """Requests."""
        return (128,)

    def config_bytes(self) -> bytes:
        """Zero until the guest reads it."""
        return bytes(56)


class MemPCI(VirtIOPCI):
    """Modern only; interrupts of its own since 10.0."""

    type_name = "virtio-mem-pci-base"
    abstract = True
    since = "5.1"
    backend_type = "virtio-mem"
    class_code = 0x00FF
    traits: ClassVar[tuple[Property, ...]] = (
        Property("vectors-default", UINT32, 0, changes=(("9.2.50", 2),)),
        # not in 7.2.22, in 10.0.13
        Property("persistent-suspend", BOOL, False, changes=(("9.2", True),)),
    )


(VirtioMemPci,) = variants(MemPCI, "virtio-mem-pci", legacy=False)
