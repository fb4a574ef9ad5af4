# SPDX-License-Identifier: Apache-2.0
"""How a PCI function's state goes over the wire: config space, interrupt pins, MSI-X table.

Layouts as QEMU 5.2 to 11.1 send them (seen in their streams): the config space raw, four words for the levels of the
pins, MSI-X as 16 bytes a vector and then one pending bit each.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, Final

from migmatrix.emulator.devices.pci.check import refusal
from migmatrix.emulator.devices.pci.config import CONVENTIONAL, EXPRESS
from migmatrix.emulator.texts import signed
from migmatrix.vmstate.device.description import Field, HookError, Info, Slot, VMState
from migmatrix.vmstate.device.fields import custom, int32_le, struct, uint16, uint16_equal, uint32

if TYPE_CHECKING:
    from migmatrix.emulator.devices.pci.device import PCIDevice
    from migmatrix.vmstate.device.protocols import Reading, Writing

__all__ = ["AER_LOG", "MSIX", "PCI_DEVICE", "parent"]

_PINS: Final = 4
_PIN: Final = 0x3D


def _get_config(reading: Reading, _old: Any, slot: Slot) -> Any:
    device: PCIDevice = slot.holder
    incoming = reading.take(slot.size)
    refused = refusal(device.space, incoming, device.config_rule)
    if refused:
        raise HookError(refused, errno.EINVAL)
    device.space.data[:] = incoming
    _check_pin(device)
    return device


def _check_pin(device: PCIDevice) -> None:
    """A device that drives its line while it loads needs a pin to do so; QEMU ends by an assertion there."""
    pin = device.space.read(_PIN, 1)
    if device.drives_pin and not 0 < pin <= _PINS:
        raise HookError(f"pci_irq_handler: {pin} is no interrupt pin", errno.EINVAL)


def _put_config(writing: Writing, _value: Any, slot: Slot) -> None:
    writing.put(bytes(slot.holder.space.data))


def _get_pins(reading: Reading, _old: Any, slot: Slot) -> Any:
    slot.holder.irq_state = [_level(reading.number(4)) for _ in range(_PINS)]
    return slot.holder


def _level(word: int) -> int:
    if word > 1:
        raise HookError(f"irq state {signed(word)}: must be 0 or 1.", errno.EINVAL)
    return word


def _put_pins(writing: Writing, _value: Any, slot: Slot) -> None:
    for level in slot.holder.irq_state:
        writing.number(level, 4)


def _get_msix(reading: Reading, _old: Any, slot: Slot) -> Any:
    device: PCIDevice = slot.holder
    device.msix_table[:] = reading.take(len(device.msix_table))
    device.msix_pending[:] = reading.take(len(device.msix_pending))
    return device


def _put_msix(writing: Writing, _value: Any, slot: Slot) -> None:
    writing.put(bytes(slot.holder.msix_table))
    writing.put(bytes(slot.holder.msix_pending))


CONFIG: Final = Info("pci config", _get_config, _put_config)
PINS: Final = Info("pci irq state", _get_pins, _put_pins)
MSIX_STATE: Final = Info("msix state", _get_msix, _put_msix)


def _is_conventional(device: PCIDevice, _version: int) -> bool:
    return not device.express


def _is_express(device: PCIDevice, _version: int) -> bool:
    return device.express


PCI_DEVICE: Final = VMState(
    "PCIDevice",
    (
        int32_le("version_id", attr="saved_version"),
        custom("config", CONFIG, CONVENTIONAL, attr="", test=_is_conventional),
        custom("config", CONFIG, EXPRESS, attr="", test=_is_express),
        custom("irq_state", PINS, 4 * _PINS, attr="", version=2),
    ),
    version_id=2,
    minimum_version_id=1,
)
MSIX: Final = VMState("msix", (custom("msix", MSIX_STATE, attr=""),))
_AER_ERROR: Final = VMState(
    "PCIE_AER_ERROR",
    (
        uint32("status"),
        uint16("source_id"),
        uint16("flags"),
        uint32("header", count=4),
        uint32("prefix", count=4),
    ),
    version_id=1,
    minimum_version_id=1,
)
AER_LOG: Final = VMState(
    "PCIE_AER_ERROR_LOG",
    (
        uint16("log_num", attr="aer_logged"),
        uint16_equal("log_max", attr="aer_log_max"),
        struct("log", _AER_ERROR, attr="aer_log", count="aer_logged", alloc=True, new=dict),
    ),
    version_id=1,
    minimum_version_id=1,
)


def parent(name: str) -> Field:
    """The field of a device's own description that holds the PCI part; the parts live on one object."""
    return struct(name, PCI_DEVICE, attr="")
