# SPDX-License-Identifier: Apache-2.0
"""`virtio-gpu`: a display. 9.0 sent more of each scanout and asked no property: row 3 of the track record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from migmatrix.emulator.devices.state import Part, made
from migmatrix.emulator.devices.virtio.device import VirtIODevice
from migmatrix.emulator.devices.virtio.stream import virtio_field
from migmatrix.emulator.devices.virtio.transport import VirtIOPCI, variants
from migmatrix.emulator.errors import DeviceError
from migmatrix.emulator.properties import BOOL, UINT8, UINT32, Property
from migmatrix.vmstate.device.description import HookError, Info, Slot, VMState
from migmatrix.vmstate.device.fields import custom, int32, struct, uint32, uint32_equal

if TYPE_CHECKING:
    from migmatrix.vmstate.device.protocols import Reading, Writing

__all__ = ["GPU"]

_MOST_OUTPUTS: Final = 16
_FRAME: Final = ("format", "bytes_pp", "width", "height", "stride", "offset")
_CURSOR: Final = ("resource_id", "hot_x", "hot_y", "pos_x", "pos_y")


def _framed(scanout: Any, _version: int) -> bool:
    return bool(scanout.framed)


_SCANOUT: Final = VMState(
    "virtio-gpu-one-scanout",
    (
        *map(uint32, ("resource_id", "width", "height")),
        *map(int32, ("x", "y")),
        *(uint32(f"cursor.{name}") for name in _CURSOR),
        *(uint32(f"fb.{name}", test=_framed) for name in _FRAME),
    ),
    version_id=1,
    minimum_version_id=1,
)
_SCANOUTS: Final = VMState(
    "virtio-gpu-scanouts",
    (int32("enable"), uint32_equal("max_outputs"), struct("scanout", _SCANOUT, count="max_outputs")),
    version_id=1,
)


def _put(writing: Writing, _value: Any, slot: Slot) -> None:
    writing.number(0, 4)  # no resource, which ends the list
    writing.save(_SCANOUTS, slot.holder)


def _get(reading: Reading, _old: Any, slot: Slot) -> Any:
    if reading.number(4):
        raise HookError("resources are not modelled", 22)
    reading.load(_SCANOUTS, slot.holder, _SCANOUTS.version_id)
    return slot.holder


class GPU(VirtIODevice):
    """The display. A frame buffer's shape belongs to a scanout since 9.0."""

    type_name = "virtio-gpu-device"
    virtio_id = 16
    bits: ClassVar[dict[str, int]] = {"edid": 1}
    properties: ClassVar[tuple[Property, ...]] = (
        Property("max_outputs", UINT32, 1),
        Property("edid", BOOL, False, changes=(("4.1", True),), since="4.0"),
        Property("x-scanout-vmstate-version", UINT8, 2, since="9.0.50"),
    )
    vmstate = VMState(
        "virtio-gpu",
        (virtio_field(), custom("virtio-gpu", Info("virtio-gpu", _get, _put), attr="")),
        version_id=1,
        minimum_version_id=1,
    )

    def realize(self) -> None:
        """One scanout per output."""
        self.enable, self.max_outputs = 0, int(self.props["max_outputs"])
        self.scanout = [self._made() for _ in range(self.max_outputs)]
        super().realize()

    def _made(self) -> Part:
        scanout = made(_SCANOUT)
        default = 2 if self.proxy.trait("frames-sent") else 1
        scanout.framed = self.props.get("x-scanout-vmstate-version", default) > 1
        return scanout

    def check(self) -> None:
        """Sixteen outputs at most."""
        if self.props["max_outputs"] > _MOST_OUTPUTS:
            raise DeviceError(f"invalid max_outputs > {_MOST_OUTPUTS}")

    def queue_sizes(self) -> tuple[int, ...]:
        """Control, cursor."""
        return (64, 16)

    def config_bytes(self) -> bytes:
        """One word more since 11.1."""
        return bytes(int(self.proxy.trait("config-size")))


class GPUPCI(VirtIOPCI):
    """Three vectors, modern only."""

    type_name = "virtio-gpu-pci-base"
    abstract = True
    backend_type = "virtio-gpu-device"
    class_code = 0x0380
    properties: ClassVar[tuple[Property, ...]] = (Property("vectors", UINT32, 3),)
    traits: ClassVar[tuple[Property, ...]] = (
        Property("frames-sent", BOOL, False, changes=(("8.2.50", True),)),
        Property("config-size", UINT32, 16, changes=(("11.1", 20),)),
    )


(VirtioGpuPci,) = variants(GPUPCI, "virtio-gpu-pci", legacy=False)
