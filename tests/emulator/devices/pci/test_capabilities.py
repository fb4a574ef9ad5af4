# SPDX-License-Identifier: Apache-2.0
"""Each capability: where its registers are, what they hold, and which bits are the guest's.

1. Layouts are compared with those that `vmstate.view.pci` reads by (PCI 3.0, PCI Express Base 5.0), which know no builder.
2. Masks are tried as a guest does it (`pci_guest`): it writes ones everywhere, then zeros, and looks at what changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from pci_guest import guest_writes, writable

from migmatrix.emulator.devices.pci import capabilities as caps
from migmatrix.emulator.devices.pci.check import Rule, refusal
from migmatrix.emulator.devices.pci.config import BRIDGE, CONVENTIONAL, EXPRESS, ConfigSpace
from migmatrix.vmstate.view.pci import Capability
from migmatrix.vmstate.view.pci import ConfigSpace as Described

if TYPE_CHECKING:
    from collections.abc import Callable


def read_by_layout(space: ConfigSpace, at: int) -> Capability:
    """The capability at an offset, found by walking the list as a guest does."""
    described = Described(bytes(space.data))
    found = [c for c in described.capabilities if c.offset == at]
    assert not described.problems
    return found[0]


# -- layouts ------------------------------------------------------------------------------------

# what builds it, the name of its layout, the bytes that it takes
LAYOUTS: Final[dict[str, tuple[Callable[[ConfigSpace], int], str, int]]] = {
    "pm": (lambda s: caps.power_management(s, 3), "Power Management", 8),
    "pm-placed": (lambda s: caps.power_management(s, 3, 0xC8), "Power Management", 8),
    "msi-32": (lambda s: caps.msi(s, 1, wide=False, maskable=False), "MSI", 10),
    "msi-64": (lambda s: caps.msi(s, 1, wide=True, maskable=False), "MSI", 14),
    "msi-32-mask": (lambda s: caps.msi(s, 1, wide=False, maskable=True), "MSI", 20),
    "msi-64-mask": (lambda s: caps.msi(s, 1, wide=True, maskable=True), "MSI", 24),
    "msix": (lambda s: caps.msix(s, 4, (1, 0), (1, 0x800)), "MSI-X", 12),
    "express-1": (lambda s: caps.express(s, caps.Port.ENDPOINT, version=1), "PCI Express", 0x14),
    "express-2": (lambda s: caps.express(s, caps.Port.ENDPOINT), "PCI Express", 0x3C),
    "subsystem": (lambda s: caps.subsystem(s, 0x1B36, 7, 0x40), "Bridge Subsystem", 8),
    "slot-id": (lambda s: caps.slot_id(s, 9), "Slot ID", 4),
    "shpc": (caps.hotplug_controller, "SHPC", 8),
    "sata": (lambda s: caps.sata(s, 0xA8), "SATA", 8),
    "vendor": (lambda s: caps.vendor(s, bytes(13)), "Vendor Specific", 16),
    "aer": (caps.error_reporting, "AER", 0x48),
    "serial": (lambda s: caps.serial_number(s, 1, 0x148), "Device Serial Number", 12),
    "acs": (lambda s: caps.access_control(s, 0x148), "ACS", 8),
    "ats": (lambda s: caps.address_translation(s, 0x148, aligned=True), "ATS", 8),
}
# what a layout names beyond what the capability has: registers of later versions of it
SHORTER: Final = {"acs": 12, "express-1": 0x24, "sata": 8}
EXTENDED: Final = ("aer", "serial", "acs", "ats")


def built(name: str) -> tuple[ConfigSpace, int]:
    """An Express function with one capability; an extended one placed further up is led to by an empty first."""
    space = ConfigSpace(EXPRESS, BRIDGE)
    if name in ("serial", "acs", "ats"):
        caps.error_reporting(space, 0x100)
    at = LAYOUTS[name][0](space)
    return space, at


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_guest_finds_it_by_its_layout(name: str) -> None:
    space, at = built(name)
    found = read_by_layout(space, at)
    assert found.name == LAYOUTS[name][1]
    assert found.length == SHORTER.get(name, LAYOUTS[name][2])
    assert found.extended == (name in EXTENDED)


@pytest.mark.parametrize("name", LAYOUTS)
def test_its_bytes_are_compared_and_no_others(name: str) -> None:
    """A loader looks at all of the capability, but for the bits that hardware changes by itself."""
    space, at = built(name)
    plain = ConfigSpace(EXPRESS, BRIDGE)
    if name in ("serial", "acs", "ats"):
        caps.error_reporting(plain, 0x100)
    changed = [n for n in range(0x40, EXPRESS) if space.cmask[n] != plain.cmask[n]]
    assert changed == [*range(at, at + LAYOUTS[name][2])]
    weak = {n - at: space.cmask[n] for n in changed if space.cmask[n] != 0xFF}
    assert weak == ({0x13: 0xDF} if name.startswith("express") else {})


@pytest.mark.parametrize("name", LAYOUTS)
def test_its_head_is_read_only(name: str) -> None:
    space, at = built(name)
    size = 4 if name in EXTENDED else 2
    assert writable(space, at, size) == 0


@pytest.mark.parametrize("name", LAYOUTS)
def test_no_bit_is_both_written_and_cleared(name: str) -> None:
    space, _ = built(name)
    assert not [n for n in range(0x40, EXPRESS) if space.wmask[n] & space.w1cmask[n] & space.cmask[n]]


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_changed_read_only_byte_is_refused_by_either_rule(name: str) -> None:
    space, at = built(name)
    for offset in range(at, at + LAYOUTS[name][2]):
        if space.wmask[offset] | space.w1cmask[offset] or space.cmask[offset] != 0xFF:
            continue
        incoming = bytearray(space.data)
        incoming[offset] ^= 0x01
        for rule in Rule:
            assert f"i=0x{offset:x} " in refusal(space, bytes(incoming), rule)


@pytest.mark.parametrize("name", LAYOUTS)
def test_what_a_guest_wrote_is_taken_by_the_masked_rule(name: str) -> None:
    """Any write that a guest can do, to any word, leaves a space that QEMU's own rule takes."""
    space, at = built(name)
    source, _ = built(name)
    for offset in range(at, at + LAYOUTS[name][2], 2):
        guest_writes(source, offset, 2, 0xA5C3)
    assert not refusal(space, bytes(source.data), Rule.MASKED)


# -- values and bits of the guest -------------------------------------------------------------------


@pytest.mark.parametrize("vectors", [1, 2, 4, 8, 16, 32])
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("maskable", [False, True])
def test_msi(vectors: int, wide: bool, maskable: bool) -> None:
    """Multiple Message Capable holds the logarithm; Mask Bits has a bit for each vector."""
    space = ConfigSpace()
    at = caps.msi(space, vectors, wide=wide, maskable=maskable)
    control = space.read(at + 2, 2)
    assert 1 << (control >> 1 & 7) == vectors
    assert (bool(control & 0x80), bool(control & 0x100)) == (wide, maskable)
    assert not control & 1, "off after reset"
    assert writable(space, at + 2, 2) == 0x71, "enable, and how many are in use"
    assert writable(space, at + 4, 4) == 0xFFFFFFFC
    data = at + (12 if wide else 8)
    if wide:
        assert writable(space, at + 8, 4) == 0xFFFFFFFF
    assert writable(space, data, 2) == 0xFFFF
    if maskable:
        assert writable(space, data + 4, 4) == (1 << vectors) - 1
        assert writable(space, data + 8, 4) == 0, "what is pending is the device's"


@pytest.mark.parametrize("vectors", [1, 2, 3, 17, 64, 1024, 2048])
@pytest.mark.parametrize(("bar", "table", "pending"), [(0, 0, 0x800), (1, 0, 0x8000), (4, 0x3000, 0x3800)])
def test_msix(vectors: int, bar: int, table: int, pending: int) -> None:
    """Table Size is one less; the low three bits of both offsets are the base register."""
    space = ConfigSpace()
    at = caps.msix(space, vectors, (bar, table), (bar, pending))
    assert space.read(at + 2, 2) & 0x7FF == vectors - 1
    assert (space.read(at + 4, 4) & 7, space.read(at + 4, 4) & ~7) == (bar, table)
    assert (space.read(at + 8, 4) & 7, space.read(at + 8, 4) & ~7) == (bar, pending)
    assert writable(space, at + 2, 2) == 0xC000, "enable, and mask of the whole function"
    assert writable(space, at + 4, 8) == 0


@pytest.mark.parametrize("value", [0x0003, 0x0022, 0xC822])
def test_power_management(value: int) -> None:
    space = ConfigSpace()
    at = caps.power_management(space, value)
    assert space.read(at + 2, 2) == value
    assert space.read(at + 4, 2) & 3 == 0, "D0 after reset"
    assert writable(space, at + 2, 2) == 0
    assert writable(space, at + 4, 2) == 0x8103


_EXPRESS = (
    # words of `express`; then by (offset, size): value; then by (offset, size): bits of the guest
    ({"kind": caps.Port.ENDPOINT}, {(2, 2): 0x0002, (4, 4): 0x8000}, {(8, 2): 0, (0x10, 2): 0, (0x28, 2): 0x8000}),
    ({"kind": caps.Port.INTEGRATED}, {(2, 2): 0x0092}, {(8, 2): 0}),
    ({"kind": caps.Port.ROOT, "forwards": True}, {(2, 2): 0x0042, (0x24, 4): 0x300020},
     {(0x10, 2): 0xC3, (0x28, 2): 0x8020}),
    ({"kind": caps.Port.TO_PCI, "forwards": True}, {(2, 2): 0x0072}, {(0x10, 2): 0xC3}),
    ({"kind": caps.Port.ENDPOINT, "flr": True}, {(4, 4): 0x10008000}, {(8, 2): 0x8000}),
    ({"kind": caps.Port.ENDPOINT, "tags": True}, {(4, 4): 0x8020}, {(8, 2): 0}),
    ({"kind": caps.Port.ENDPOINT, "reports": True}, {(4, 4): 0x8000}, {(8, 2): 0xF}),
    ({"kind": caps.Port.ENDPOINT, "reports": True, "flr": True, "tags": True}, {(4, 4): 0x10008020}, {(8, 2): 0x800F}),
    ({"kind": caps.Port.ENDPOINT, "version": 1}, {(2, 2): 0x0001, (0x0C, 4): 0x411, (0x12, 2): 0x11}, {(8, 2): 0}),
)  # fmt: skip


@pytest.mark.parametrize(("words", "values", "guests"), _EXPRESS)
def test_express(
    words: dict[str, int], values: dict[tuple[int, int], int], guests: dict[tuple[int, int], int]
) -> None:
    given: dict[str, bool | int] = dict(words)
    space = ConfigSpace(EXPRESS)
    at = caps.express(space, int(given.pop("kind")), **given)  # type: ignore[arg-type]  # a table of keywords
    assert {key: space.read(at + key[0], key[1]) for key in values} == values
    assert {key: writable(space, at + key[0], key[1]) for key in guests} == guests


@pytest.mark.parametrize(("reports", "cleared"), [(False, 0x0F), (True, 0x00)])
def test_error_bits_of_the_device_status_are_cleared_by_ones(reports: bool, cleared: int) -> None:
    space = ConfigSpace(EXPRESS)
    at = caps.express(space, caps.Port.ENDPOINT, reports=reports)
    space.write(at + 0x0A, 2, 0x000F)
    assert guest_writes(space, at + 0x0A, 2, 0x000F) == cleared


@pytest.mark.parametrize("active", [False, True])
def test_whether_the_link_is_active_is_not_compared(active: bool) -> None:
    """Ports of 5.2 said so and those of 7.2 do not; streams went both ways."""
    here, there = ConfigSpace(EXPRESS), ConfigSpace(EXPRESS)
    at = caps.express(here, caps.Port.ROOT, link=caps.Link(active=active))
    caps.express(there, caps.Port.ROOT, link=caps.Link(active=not active))
    assert bool(here.read(at + 0x12, 2) & 0x2000) == active
    assert not refusal(here, bytes(there.data), Rule.STRICT)


@pytest.mark.parametrize(("speeds", "target"), [(0, 0), (0x1E, 4), (0x06, 2)])
def test_links_say_how_fast_they_may_be(speeds: int, target: int) -> None:
    space = ConfigSpace(EXPRESS)
    at = caps.express(space, caps.Port.ROOT, link=caps.Link(0x00300604, speeds, target))
    assert (space.read(at + 0x0C, 4), space.read(at + 0x2C, 4), space.read(at + 0x30, 2)) == (
        0x300604,
        speeds,
        target,
    )


@pytest.mark.parametrize("number", [0, 1, 5, 0x1FFF])
def test_slots(number: int) -> None:
    space = ConfigSpace(EXPRESS, BRIDGE)
    at = caps.express(space, caps.Port.ROOT, reports=True, forwards=True)
    caps.slot(space, at, number, presence_checked=False)
    assert space.read(at + 2, 2) & 0x100, "a slot is implemented"
    assert space.read(at + 0x14, 4) >> 19 == number
    assert space.read(at + 0x14, 4) & 0x40, "hot-plug capable"
    assert writable(space, at + 0x14, 4) == 0
    assert writable(space, at + 0x18, 2) == 0x17FF
    assert writable(space, at + 0x1C, 2) == 0x0007, "which errors the root port tells"
    space.write(at + 0x1A, 2, 0x0059)
    assert guest_writes(space, at + 0x1A, 2, 0xFFFF) == 0x0040, "that something is plugged stays"


@pytest.mark.parametrize(("checked", "refused"), [(True, True), (False, False)])
def test_presence_is_compared_until_it_is_not(checked: bool, refused: bool) -> None:
    """QEMU stopped to compare the bit in 8.1: until then a port with a device refused a stream of one without."""
    full, empty = ConfigSpace(EXPRESS, BRIDGE), ConfigSpace(EXPRESS, BRIDGE)
    for space in (full, empty):
        at = caps.express(space, caps.Port.ROOT)
        caps.slot(space, at, 1, presence_checked=checked)
    full.write(at + 0x1A, 2, 0x40)
    assert bool(refusal(full, bytes(empty.data), Rule.MASKED)) == refused
    assert bool(refusal(empty, bytes(full.data), Rule.MASKED)) == refused


def test_identity_of_a_bridge_and_its_slots() -> None:
    space = ConfigSpace(CONVENTIONAL, BRIDGE)
    at = caps.subsystem(space, 0x8086, 0x1234, 0x40)
    slots = caps.slot_id(space, 0x2A)
    assert (space.read(at + 4, 2), space.read(at + 6, 2)) == (0x8086, 0x1234)
    assert (space.read(slots + 2, 1), space.read(slots + 3, 1)) == (0x20, 0x2A)
    assert (writable(space, slots + 2, 1), writable(space, slots + 3, 1)) == (0, 0xFF)


def test_the_hotplug_controller_is_reached_by_a_window() -> None:
    space = ConfigSpace(CONVENTIONAL, BRIDGE)
    at = caps.hotplug_controller(space, 0x40)
    assert (writable(space, at + 2, 1), writable(space, at + 3, 1), writable(space, at + 4, 4)) == (
        0xFF,
        0,
        0xFFFFFFFF,
    )


@pytest.mark.parametrize("size", [1, 13, 17])
@pytest.mark.parametrize("guests", [(), ((4, 1), (8, 4))])
def test_vendor_capabilities_say_their_length(size: int, guests: tuple[tuple[int, int], ...]) -> None:
    space = ConfigSpace()
    body = bytes(range(1, size + 1))
    at = caps.vendor(space, body, guests=guests)
    assert space.read(at + 2, 1) == size + 3
    assert bytes(space.data[at + 3 : at + 3 + size]) == body
    within = {at + offset + n for offset, length in guests for n in range(length) if offset + n < size + 3}
    assert {n for n in range(at, at + size + 3) if space.wmask[n]} == within


# -- errors ------------------------------------------------------------------------------------------

UNCORRECTABLE: Final = 0x03FFF030
CORRECTABLE: Final = 0x0000F1C1


@pytest.mark.parametrize("root", [False, True])
@pytest.mark.parametrize("masks", [False, True])
def test_error_reporting(root: bool, masks: bool) -> None:
    """With and without the register of the AER case, on endpoints and root ports."""
    space = ConfigSpace(EXPRESS)
    at = caps.error_reporting(space, 0x100, root=root, masks=masks)
    assert space.read(at, 4) == 0x00020001
    assert space.read(at + 0x08, 4) == (0x02400000 if masks else 0)
    assert writable(space, at + 0x08, 4) == (UNCORRECTABLE if masks else 0)
    assert space.read(at + 0x0C, 4) == 0x00462030
    assert writable(space, at + 0x0C, 4) == UNCORRECTABLE
    assert space.read(at + 0x14, 4) == 0xE000
    assert writable(space, at + 0x14, 4) == CORRECTABLE
    assert space.read(at + 0x18, 4) == (0x2A0 if root else 0xA0)
    assert writable(space, at + 0x2C, 4) == (7 if root else 0), "a root port tells of errors by interrupts"


@pytest.mark.parametrize(("register", "bits"), [(0x04, UNCORRECTABLE), (0x10, CORRECTABLE), (0x30, 0x7F)])
def test_errors_that_happened_are_cleared_by_ones(register: int, bits: int) -> None:
    space = ConfigSpace(EXPRESS)
    at = caps.error_reporting(space, 0x100, root=True, masks=True)
    space.write(at + register, 4, bits)
    assert guest_writes(space, at + register, 4, 0) == bits
    assert guest_writes(space, at + register, 4, bits & -bits) == bits & (bits - 1)
    assert guest_writes(space, at + register, 4, 0xFFFFFFFF) == 0


@pytest.mark.parametrize(("aligned", "value"), [(True, 0x20), (False, 0)])
def test_address_translation(aligned: bool, value: int) -> None:
    space = ConfigSpace(EXPRESS)
    at = caps.address_translation(space, 0x100, aligned=aligned)
    assert (space.read(at + 4, 2), writable(space, at + 4, 2), writable(space, at + 6, 2)) == (
        value,
        0,
        0x8000,
    )


def test_access_control_can_be_switched_on_where_it_is_able_to() -> None:
    space = ConfigSpace(EXPRESS)
    at = caps.access_control(space, 0x100)
    assert writable(space, at + 6, 2) == space.read(at + 4, 2)


@pytest.mark.parametrize("number", [0, 1, 0x5254_00FF_FF12_3456, 2**64 - 1])
def test_serial_numbers_are_read_only(number: int) -> None:
    space = ConfigSpace(EXPRESS)
    at = caps.serial_number(space, number, 0x100)
    assert (space.read(at + 4, 8), writable(space, at + 4, 8)) == (number, 0)


# -- lists -------------------------------------------------------------------------------------------


def test_the_last_capability_is_the_first_of_the_list() -> None:
    space = ConfigSpace()
    assert not space.read(0x06, 2) & 0x10, "no list without capabilities"
    places = [
        caps.power_management(space, 3),
        caps.msi(space, 1, wide=True, maskable=False),
        caps.slot_id(space, 1),
    ]
    assert space.read(0x06, 2) & 0x10
    assert [c.offset for c in Described(bytes(space.data)).capabilities] == places[::-1]


def test_free_places_begin_at_multiples_of_four() -> None:
    space = ConfigSpace()
    places = [caps.vendor(space, bytes(n)) for n in (1, 2, 3, 13, 14)]
    assert places == [0x40, 0x44, 0x4C, 0x54, 0x64]


def test_a_placed_capability_moves_the_free_place_behind_it() -> None:
    space = ConfigSpace()
    caps.power_management(space, 3, 0xC8)
    assert caps.slot_id(space, 1) == 0xD0
    caps.power_management(space, 3, 0x50)
    assert caps.slot_id(space, 1) == 0xD4


def test_extended_capabilities_form_a_list_of_their_own() -> None:
    space = ConfigSpace(EXPRESS)
    caps.error_reporting(space)
    caps.serial_number(space, 7, 0x148)
    caps.access_control(space, 0x200)
    found = [(c.name, c.offset, c.version) for c in Described(bytes(space.data)).capabilities]
    assert found == [("AER", 0x100, 2), ("Device Serial Number", 0x148, 1), ("ACS", 0x200, 1)]
    assert not space.read(0x06, 2) & 0x10, "which the status register does not tell"
