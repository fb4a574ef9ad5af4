# SPDX-License-Identifier: Apache-2.0
"""The PCI transport of virtio: one proxy per device, under three names.

``virtio-net-pci`` decides by its slot whether it is also a legacy device; ``-transitional`` is both, ``-non-transitional``
only modern. All derive from ``virtio-net-pci-base``, which is what a compat entry must name to reach the three.

1. The proxy is the PCI function; it owns the device (`backend`) and forwards to it the properties it does not have.
2. The legacy base register is as large as the device config makes it; modern registers are in base register 4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from migmatrix.emulator.devices.pci import capabilities as caps
from migmatrix.emulator.devices.pci.config import IO, MEM, MEM64, PREFETCH, ConfigSpace
from migmatrix.emulator.devices.pci.device import Identity, PCIDevice
from migmatrix.emulator.devices.virtio.device import VirtIODevice
from migmatrix.emulator.errors import DeviceError
from migmatrix.emulator.properties import BOOL, ON_OFF_AUTO, UINT32, Property

if TYPE_CHECKING:
    from migmatrix.emulator.device import Device

__all__ = ["VirtIOPCI", "variants"]

_UNSPECIFIED: Final = 0xFFFFFFFF
_NO_VECTOR: Final = 0xFFFF
_LEGACY_ID: Final = 0x1000
_MODERN_ID: Final = 0x1040
_VENDOR: Final = 0x1AF4
_REGION: Final = 20  # bytes of legacy registers before the device config, 24 with MSI-X
_MODERN_BAR: Final = 4
# type, length of the capability, place in the base register: common, interrupt status, device config, notify
_WINDOWS: Final = ((1, 16, 0x0000), (3, 16, 0x1000), (4, 16, 0x2000), (2, 20, 0x3000))


class VirtIOPCI(PCIDevice):
    """Base of the proxies. `backend` is the device's type, `legacy_id` the number of the old device id."""

    type_name = "virtio-pci"
    abstract = True
    legacy_number: ClassVar[int] = 0
    class_code: ClassVar[int] = 0x00FF
    properties: ClassVar[tuple[Property, ...]] = (
        Property("disable-legacy", ON_OFF_AUTO, "auto"),
        Property("disable-modern", BOOL, False),
        Property("vectors", UINT32, _UNSPECIFIED),
        # the six until 11.1: in 10.0.13, gone in 11.1.3 with the machine types that set them
        Property("migrate-extra", BOOL, True, since="2.5", until="11.1"),
        Property("modern-pio-notify", BOOL, False),
        Property("x-disable-pcie", BOOL, False, until="11.1"),
        Property("page-per-vq", BOOL, False),
        Property("x-ignore-backend-features", BOOL, False, since="2.7.93", until="11.1"),
        Property("ats", BOOL, False),
        Property("aer", BOOL, False, since="6.0"),
        Property("x-ats-page-aligned", BOOL, True, since="5.2.91"),
        Property("x-pcie-deverr-init", BOOL, True, since="2.9", until="11.1"),
        Property("x-pcie-lnkctl-init", BOOL, True, since="2.9", until="11.1"),
        Property("x-pcie-pm-init", BOOL, True, since="2.9", until="11.1"),
        Property("x-pcie-flr-init", BOOL, True, since="4.2"),
    )
    traits: ClassVar[tuple[Property, ...]] = (
        Property("x-ats-page-aligned", BOOL, False, changes=(("5.1.50", True),)),
        Property("migrate-extra", BOOL, False, changes=(("2.5", True),)),
        Property("x-disable-pcie", BOOL, False),
        Property("x-pcie-pm-init", BOOL, False, changes=(("2.9", True),)),
        Property("x-pcie-flr-init", BOOL, False),
        # until 2.8 a backend without VERSION_1 was offered as a modern device all the same
        Property("x-ignore-backend-features", BOOL, True, changes=(("2.7.50", False),)),
        Property("vectors-default", UINT32, 0),
        # 11.1 is the first release seen to check ring sizes
        Property("checks-rings", BOOL, False, changes=(("11.1", True),)),
    )

    def init(self) -> None:
        """Make the device."""
        made = self.machine.new(self.backend_type)
        assert isinstance(made, VirtIODevice)  # noqa: S101 - `backend_type` names one
        self.backend = made
        self.config_vector = _NO_VECTOR
        self.add_child(made, "virtio-backend")

    def find_property(self, name: str) -> tuple[Device, Property] | None:
        """The proxy's, or the device's."""
        return super().find_property(name) or self.backend.find_property(name)

    # -- modes -----------------------------------------------------------------------------------

    @property
    def express(self) -> bool:
        """A modern device in a PCI Express slot is an express device."""
        return (
            self.modern_wanted
            and not self.trait("x-disable-pcie")
            and self.pci_bus.express
            and not self.pci_bus.root
        )

    @property
    def legacy(self) -> bool:
        """Whether it has the registers of before Virtio 1.0."""
        choice = self.props["disable-legacy"]
        if not self.legacy_number:
            return False
        return choice == "off" or (choice == "auto" and not (self.pci_bus.express and not self.pci_bus.root))

    @property
    def modern_wanted(self) -> bool:
        """Whether it may have the registers of Virtio 1.0."""
        return not self.props["disable-modern"]

    @property
    def modern(self) -> bool:
        """Whether it has them: the backend must know VERSION_1, unless that is ignored."""
        knows = bool(self.backend.props["x-host-features"] >> 32 & 1)
        return self.modern_wanted and (knows or bool(self.trait("x-ignore-backend-features")))

    @property
    def drives_pin(self) -> bool:
        """All virtio devices do."""
        return True

    @property
    def checks_rings(self) -> bool:
        """Whether loading refuses a ring that is larger than this side's."""
        return bool(self.trait("checks-rings"))

    @property
    def wanted_vectors(self) -> int:
        """MSI-X vectors: the property, or what the device needs."""
        given = int(self.props["vectors"])
        return self.default_vectors() if given == _UNSPECIFIED else given

    def default_vectors(self) -> int:
        """Vectors where nobody says how many."""
        return int(self.trait("vectors-default"))

    # -- the PCI function ------------------------------------------------------------------------

    def described(self) -> Identity:
        """Old or new device id."""
        number = self.backend.virtio_id
        if self.legacy:
            return Identity(
                _VENDOR,
                _LEGACY_ID + (self.legacy_number & 0xFF),
                self.class_code,
                pin=1,
                subsystem=(_VENDOR, number),
            )
        return Identity(_VENDOR, _MODERN_ID + number, self.class_code, revision=1, pin=1)

    def base_registers(self) -> tuple[tuple[int, int, int], ...]:
        """Legacy registers, MSI-X, modern registers."""
        bars: list[tuple[int, int, int]] = []
        if self.legacy:
            size = _REGION + 4 * bool(self.wanted_vectors) + len(self.backend.config)
            bars.append((0, IO, 1 << (size - 1).bit_length()))
        if self.wanted_vectors:
            bars.append((1, MEM, 0x1000))
        if self.modern:
            bars.append((_MODERN_BAR, MEM64 | PREFETCH, 0x4000))
        return tuple(bars)

    def build_config(self) -> None:
        """The device comes first: its config decides about the size of a base register."""
        self.backend.prepare()
        super().build_config()

    def configure(self, space: ConfigSpace) -> None:
        """Express, power management, the windows of Virtio 1.0, MSI-X; then extended ones."""
        if self.express:
            self._express(space)
        if self.modern:
            self._windows(space)
        if self.wanted_vectors:
            self.add_msix(space, self.wanted_vectors, (1, 0), (1, 0x800))

    def _express(self, space: ConfigSpace) -> None:
        caps.express(
            space,
            caps.Port.ENDPOINT,
            link=caps.Link(active=self.trait("link-shown-active")),
            flr=self.trait("x-pcie-flr-init"),
            tags=self.trait("x-pcie-ext-tag"),
        )
        at = caps.power_management(space, 0x0003)
        if not self.trait("x-pcie-pm-init"):
            space.wmask[at + 4 : at + 6] = bytes(2)
        last = 0x100
        if self.props.get("aer"):
            caps.error_reporting(space, last, masks=self.trait("x-pcie-err-unc-mask"))
            last += 0x48
        if self.props["ats"]:
            caps.address_translation(space, last, aligned=self.trait("x-ats-page-aligned"))

    def _windows(self, space: ConfigSpace) -> None:
        for kind, length, offset in _WINDOWS:
            words = [kind, _MODERN_BAR, 0, 0, 0]
            body = bytes(words) + offset.to_bytes(4, "little") + (0x1000).to_bytes(4, "little")
            caps.vendor(space, body + (4).to_bytes(4, "little") * (length > 16))  # noqa: PLR2004 - notify's own word
        caps.vendor(space, bytes([5]) + bytes(16), guests=((4, 1), (8, 12)))

    def realize(self) -> None:
        """The function, then the device, whose section carries both; DeviceError."""
        self._settle()
        super().realize()
        self.backend.realize()
        if self.guest == "driver":
            self.backend.driver_acts()

    def _settle(self) -> None:
        """Replace what was left open by what was chosen: `qom-get` then says so. DeviceError for no mode at all."""
        self.props["disable-legacy"] = "off" if self.legacy else "on"
        if not self.legacy and not self.modern_wanted:
            raise DeviceError("device cannot work as neither modern nor legacy mode is enabled")
        self.props["vectors"] = self.wanted_vectors
        self.backend.settle()

    def reset(self) -> None:
        """No vector is chosen."""
        if self.guest == "none":
            self.config_vector = _NO_VECTOR


def variants(base: type[VirtIOPCI], name: str, *, legacy: bool = True) -> tuple[type[VirtIOPCI], ...]:
    """The types that users name: generic, and, where the device has a legacy form, the two others."""
    generic = _variant(base, name)
    if not legacy:
        return (generic,)
    return (
        generic,
        _variant(base, f"{name}-transitional", "off"),
        _variant(base, f"{name}-non-transitional", "on"),
    )


def _variant(base: type[VirtIOPCI], name: str, disable_legacy: str = "") -> type[VirtIOPCI]:
    body: dict[str, Any] = {"type_name": name, "__module__": base.__module__, "abstract": False}
    if disable_legacy:
        body["properties"] = (Property("disable-legacy", ON_OFF_AUTO, disable_legacy),)
    return type(_class_name(name), (base,), body)


def _class_name(type_name: str) -> str:
    """``virtio-net-pci-transitional`` is `VirtioNetPciTransitional`: the name the module must give it."""
    return "".join(word.capitalize() for word in type_name.split("-"))
