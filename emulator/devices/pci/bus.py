# SPDX-License-Identifier: Apache-2.0
"""PCI buses: slots and functions, and the path of a device through the bridges above it.

A devfn is slot * 8 + function. Without an address a device gets the first slot whose function 0 is free, as in QEMU,
which does not mind a second slot behind a PCI Express port either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from migmatrix.emulator.bus import Bus
from migmatrix.emulator.errors import DeviceError
from migmatrix.emulator.properties import Form
from migmatrix.vmstate.device.description import VMState
from migmatrix.vmstate.device.fields import int32, int32_equal
from migmatrix.vmstate.device.lifetime import lives

if TYPE_CHECKING:
    from migmatrix.emulator.device import Device

__all__ = ["PCIBUS", "PCIBus", "PCIEBus"]

_SLOTS: Final = 32
_FUNCTIONS: Final = 8
_NAMED_SINCE: Final = "6.0"  # the id of who has an address is told: not in 5.2.0, in 7.2.22

PCIBUS: Final = VMState(
    "PCIBUS",
    (int32_equal("nirq", attr="lines"), int32("irq_count", count="lines")),
    version_id=1,
    minimum_version_id=1,
)


def _multifunction(device: Device) -> bool:
    """Whether a device says that its slot has more functions than it."""
    return bool(getattr(device, "multifunction", False) or device.props.get("multifunction"))


class PCIBus(Bus):
    """A conventional bus. `lines` is the number of interrupt lines that it leads to, `first` its first slot."""

    kind: ClassVar[str] = "PCI"

    def __init__(
        self, name: str, parent: Device | None = None, *, lines: int = 0, slots: range = range(_SLOTS)
    ) -> None:
        super().__init__(name, parent)
        self.lines = lines
        self.irq_count = [0] * lines
        self.slots = slots
        self.at: dict[int, Device] = {}

    @property
    def root(self) -> bool:
        """Whether no bridge is above it."""
        return self.parent is None or self.parent.parent_bus is None

    @property
    def express(self) -> bool:
        """Whether it is a PCI Express link."""
        return self.type == "PCIE"

    def plug(self, device: Device, addr: str = "") -> None:
        """Take a device at `addr` (hexadecimal, ``3.1``) or at the address in its properties; DeviceError."""
        if addr:
            device.set("addr", addr, Form.TEXT)
        devfn = device.props.get("addr", -1)
        device.props["addr"] = at = self._free(device) if devfn < 0 else self._check(device, devfn)
        self._check_functions(device, *divmod(at, _FUNCTIONS))
        self.at[device.props["addr"]] = device
        device.parent_bus = self
        self.devices.append(device)

    def unplug(self, device: Device) -> None:
        """Let a device go; its address is free again."""
        del self.at[device.props["addr"]]
        super().unplug(device)

    def _free(self, device: Device) -> int:
        for slot in self.slots:
            if slot * _FUNCTIONS not in self.at:
                return slot * _FUNCTIONS
        raise DeviceError(f"PCI: no slot/function available for {device.type_name}, all in use or reserved")

    def _check(self, device: Device, devfn: int) -> int:
        slot, function = divmod(devfn, _FUNCTIONS)
        other = self.at.get(devfn)
        if other is not None:
            named = (
                f",id={other.id or '(null)'}" if lives(_NAMED_SINCE, "", device.machine.release.name) else ""
            )
            raise DeviceError(
                f"PCI: slot {slot} function {function} not available for {device.type_name}, "
                f"in use by {other.type_name}{named}"
            )
        if slot not in self.slots:
            raise DeviceError(
                f"PCI: slot {slot} function {function} not available for {device.type_name}, reserved"
            )
        self._check_visible(device, slot)
        return devfn

    def _check_visible(self, device: Device, slot: int) -> None:
        """A guest looks at a slot when function 0 comes, so the others must be there; a link has but one slot to look at."""
        link = self.express and not self.root
        first = self.at.get(0 if link else slot * _FUNCTIONS)
        if device.machine.ready and first is not None:
            raise DeviceError(
                f"PCI: slot {0 if link else slot} function 0 already occupied by {first.type_name}, "
                f"new func {device.type_name} cannot be exposed to guest."
            )

    def _check_functions(self, device: Device, slot: int, function: int) -> None:
        """A slot has several functions only if its function 0 says so; the chipset's are what they are."""
        first = self.at.get(slot * _FUNCTIONS)
        if function and first is not None and not _multifunction(first):
            raise DeviceError(
                f"PCI: single function device can't be populated in function {slot:x}.{function}"
            )
        if function or _multifunction(device):
            return
        taken = [f for f in range(1, _FUNCTIONS) if slot * _FUNCTIONS + f in self.at]
        if taken:
            raise DeviceError(
                f"PCI: {slot:x}.0 indicates single function, but {slot:x}.{taken[0]} is already populated."
            )

    def path_of(self, device: Device) -> str:
        """``0000:00`` and then slot and function of each bridge and of the device."""
        above = "0000:00" if self.root or self.parent is None else self.parent.path
        devfn = device.props["addr"]
        return f"{above}:{devfn >> 3:02x}.{devfn & 7:x}"


class PCIEBus(PCIBus):
    """A PCI Express bus, which takes conventional devices too."""

    kind: ClassVar[str] = "PCIE"
    kinds: ClassVar[tuple[str, ...]] = ("PCI",)
