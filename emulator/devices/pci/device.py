# SPDX-License-Identifier: Apache-2.0
"""`PCIDevice`, from which all PCI devices derive: identity, config space, base registers, option ROM, MSI-X.

    class Widget(PCIDevice):
        type_name = "widget"
        identity = Identity(0x1234, 0x0001, 0x0880)
        bars = ((0, MEM, 0x1000),)
        vmstate = VMState("widget", (parent("parent_obj"), uint32("level")), version_id=1, minimum_version_id=1)

1. `realize` builds the config space from the class's data, then calls `configure` for capabilities.
2. A *trait* is what a property decides, in releases that have not, or not yet, that property: data with life-times.
3. What a guest has done to a device is the property `x-guest`, since no guest code runs here.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, ClassVar, Final

from migmatrix.emulator.device import Device
from migmatrix.emulator.devices.pci.bus import PCIBus
from migmatrix.emulator.devices.pci.capabilities import msix
from migmatrix.emulator.devices.pci.check import Rule
from migmatrix.emulator.devices.pci.config import CONVENTIONAL, EXPRESS, ConfigSpace
from migmatrix.emulator.errors import DeviceError
from migmatrix.emulator.firmware import fill_option_rom
from migmatrix.emulator.properties import BOOL, INT32, PCI_DEVFN, STRING, UINT32, Property, enumeration
from migmatrix.vmstate.record import Record

if TYPE_CHECKING:
    from migmatrix.emulator.machine import Machine
    from migmatrix.emulator.memory import RamBlock

__all__ = ["GUESTS", "Identity", "PCIDevice"]

RULE: Final = enumeration("ConfigCheck", *Rule)
GUESTS: Final = enumeration("GuestState", "none", "firmware", "driver")
_DEFAULT_ROM: Final = 0xFFFFFFFF
_SUBSYSTEM: Final = (0x1AF4, 0x1100)
_PAGE: Final = 4096
_PACKAGED: Final = ("efi-", "pxe-", "vgabios")  # names of distributions' files, which this host need not have
_MASKED: Final = bytes(12) + b"\1\0\0\0"  # an MSI-X table entry after reset


def _file_size(path: str) -> int:
    """Bytes of the ROM in `path`; DeviceError."""
    if not os.path.isfile(path):  # noqa: PTH113 - pathlib is not for the start
        raise DeviceError(f'failed to find romfile "{path}"')
    size = os.path.getsize(path)  # noqa: PTH202 - as above
    if not size:
        raise DeviceError(f'romfile "{path}" is empty')
    return size


class Identity(Record):
    """The registers that say what a device is. `class_code` has base and sub class, `interface` the third byte."""

    vendor: int
    device: int
    class_code: int
    revision: int = 0
    interface: int = 0
    header: int = 0
    pin: int = 0
    status: int = 0
    command: int = 0
    subsystem: tuple[int, int] = _SUBSYSTEM


class PCIDevice(Device):
    """Base of PCI devices. `rom` is the size of the option ROM that its package has, 0 for none."""

    type_name = "pci-device"
    abstract = True
    bus = "PCI"
    identity: ClassVar[Identity] = Identity(0, 0, 0)
    bars: ClassVar[tuple[tuple[int, int, int], ...]] = ()
    rom: ClassVar[int] = 0
    pcie: ClassVar[bool] = False
    multifunction: ClassVar[bool] = False  # a chipset's function, which says so whatever the property says
    traits: ClassVar[tuple[Property, ...]] = (
        Property("x-pcie-err-unc-mask", BOOL, False, changes=(("7.2.50", True),)),
        Property("x-pcie-ext-tag", BOOL, False),
        # ports and bridges showed an active link in 5.2, and do no more in 7.2; the bit is not compared
        Property("link-shown-active", BOOL, True, changes=(("6.1", False),)),
    )
    properties: ClassVar[tuple[Property, ...]] = (
        Property("addr", PCI_DEVFN, -1, help="Slot and optional function number, example: 06.0 or 06"),
        Property("romfile", STRING, None),
        Property("romsize", UINT32, _DEFAULT_ROM, since="6.0"),
        Property("rombar", UINT32, 1, until="10.0"),
        Property("rombar", INT32, -1, since="10.0"),
        Property("multifunction", BOOL, False, help="on/off"),
        Property("x-pcie-lnksta-dllla", BOOL, True, since="2.12"),
        Property("x-pcie-extcap-init", BOOL, True, since="2.12", until="11.1"),  # in 10.0.13, not in 11.1.3
        Property("failover_pair_id", STRING, None, since="4.2"),
        Property("acpi-index", UINT32, 0, since="6.0"),
        Property("x-pcie-err-unc-mask", BOOL, True, since="8.0.1"),
        Property("x-pcie-ext-tag", BOOL, True, since="9.2"),
        Property(
            "x-config-check",
            RULE,
            Rule.MASKED.value,
            help="emulator only: see migmatrix.emulator.devices.pci.check",
        ),
        Property(
            "x-guest", GUESTS, "none", help="emulator only: what the guest has set up: none, firmware, driver"
        ),
        Property("x-rom-size", UINT32, _DEFAULT_ROM, help="emulator only: size of the packaged option ROM"),
    )

    def __init__(self, machine: Machine, id: str = "") -> None:  # noqa: A002 - QEMU's word
        self.space = ConfigSpace()
        self.irq_state = [0] * 4
        self.saved_version = 2  # of the PCI part, which sends its own version
        self.msix_table, self.msix_pending = bytearray(), bytearray()
        self.aer_logged, self.aer_log_max, self.aer_log = 0, 8, list[Any]()
        super().__init__(machine, id)

    def trait(self, name: str) -> Any:
        """The property's value, or what this release does without the property."""
        if name in self.props:
            return self.props[name]
        found = [t for base in type(self).__mro__ for t in base.__dict__.get("traits", ()) if t.name == name]
        return found[0].default_in(self.machine.release.name)

    # -- what derived classes fill in ------------------------------------------------------------

    def configure(self, space: ConfigSpace) -> None:
        """Add capabilities, in the order in which the device does: it shows in the list."""

    def base_registers(self) -> tuple[tuple[int, int, int], ...]:
        """(number, kind, size) of each base register."""
        return self.bars

    def described(self) -> Identity:
        """The identity, where properties change it."""
        return self.identity

    # -- what follows from that ------------------------------------------------------------------

    @property
    def express(self) -> bool:
        """Whether the config space is PCI Express's."""
        return self.pcie

    @property
    def pci_bus(self) -> PCIBus:
        """The bus that it sits on."""
        assert isinstance(self.parent_bus, PCIBus)  # noqa: S101 - `bus` is PCI
        return self.parent_bus

    @property
    def config_rule(self) -> Rule:
        """How an incoming config space is compared."""
        return Rule(self.props["x-config-check"])

    @property
    def drives_pin(self) -> bool:
        """Whether loading it ends with the level of its interrupt line."""
        return False

    @property
    def vectors(self) -> int:
        """MSI-X vectors, 0 without MSI-X."""
        return len(self.msix_table) // 16

    @property
    def guest(self) -> str:
        """What the guest has set up before the first save: nothing on a side that is about to load."""
        return str(self.props["x-guest"]) if self.machine.options.incoming is None else "none"

    def realize(self) -> None:
        """Build the config space and the ROM's memory; then what the guest did to it, if it did."""
        self.build_config()
        self._add_rom()
        if self.guest != "none":
            self.guest_acts()
        super().realize()

    def build_config(self) -> None:
        """The config space as after power-on."""
        self.space = self._space()
        for number, kind, size in self.base_registers():
            self.space.bar(number, kind, size)
        self.configure(self.space)

    def _space(self) -> ConfigSpace:
        what = self.described()
        header = what.header | 0x80 * (self.multifunction or self.props["multifunction"])
        space = ConfigSpace(EXPRESS if self.express else CONVENTIONAL, what.header)
        registers = (
            (0x00, 2, what.vendor), (0x02, 2, what.device), (0x04, 2, what.command), (0x06, 2, what.status),
            (0x08, 1, what.revision), (0x09, 1, what.interface), (0x0A, 2, what.class_code), (0x0E, 1, header),
            (0x3D, 1, what.pin),
        )  # fmt: skip
        for offset, size, value in registers:
            space.write(offset, size, value)
        if not what.header:
            space.write(0x2C, 4, what.subsystem[1] << 16 | what.subsystem[0])
        return space

    def add_msix(
        self,
        space: ConfigSpace,
        vectors: int,
        table: tuple[int, int],
        pending: tuple[int, int],
        offset: int = 0,
    ) -> None:
        """MSI-X with its table; see `capabilities.msix`."""
        msix(space, vectors, table, pending, offset)
        self.msix_table = bytearray(_MASKED * vectors)
        self.msix_pending = bytearray((vectors + 7) // 8)

    def _add_rom(self) -> None:
        size = self._rom_size()
        if not size:
            return
        self.space.bar(6, 0, size)
        name = self.vmstate.name if self.vmstate is not None else self.type_name
        fill_option_rom(self.add_block(f"{name}.rom", size), self._rom_file())

    def _rom_size(self) -> int:
        packaged = self.props["x-rom-size"]
        size = self.rom if packaged == _DEFAULT_ROM else packaged
        padded = self.props.get("romsize", _DEFAULT_ROM)
        if padded != _DEFAULT_ROM and padded & (padded - 1):
            raise DeviceError(f"ROM size {padded} is not a power of two")
        if self.props["romfile"] == "" and "romfile" in self.explicit:
            return 0
        if given := self._rom_file():
            size = _file_size(given)
            if size > padded:
                raise DeviceError(f'romfile "{given}" ({size} bytes) is too large for ROM size {padded}')
        size = padded if size and padded != _DEFAULT_ROM else size
        return 1 << (max(size, _PAGE) - 1).bit_length() if size else 0

    def _rom_file(self) -> str:
        """The file of the user's, "" when it is one of a distribution's."""
        given = str(self.props["romfile"] or "")
        return "" if given.rpartition("/")[2].startswith(_PACKAGED) else given

    def add_block(self, name: str, size: int) -> RamBlock:
        """Memory of the device that is migrated as a RAM block of its own."""
        return self.machine.add_ram(f"{self.path}/{name}", size)

    def guest_acts(self) -> None:
        """Do what a guest's firmware does: give each base register an address, memory from 4 GiB - 64 MiB on.

        The address is an odd multiple of the size, so that a loader whose register is larger sees it.
        """
        for number, (_kind, size) in self.space.bars.items():
            if number < 6:  # noqa: PLR2004 - the ROM stays off
                self.space.base(number, (0xC000 if size < _PAGE else 0xFC000000) | size)
        self.space.write(0x04, 2, self.space.read(0x04, 2) | 0x7)
