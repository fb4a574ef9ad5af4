# SPDX-License-Identifier: Apache-2.0
"""Slots, functions and buses: who gets which address, what is refused, and how places show in the names of sections.

Texts of refusals were compared with real QEMU's by `test_refusals`; here it is every way to come to them, on the command line
and, where devices may be added later, on a machine that stands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from real_devices import small_machine

from migmatrix.emulator.devices.pci.bus import PCIBUS, PCIBus
from migmatrix.emulator.devices.pci.device import PCIDevice
from migmatrix.emulator.errors import DeviceError, FatalError
from migmatrix.emulator.options.records import DeviceOption
from migmatrix.vmstate.device.errors import VMStateError
from migmatrix.vmstate.device.source import BytesSource

if TYPE_CHECKING:
    from migmatrix.emulator.machine import Machine

RELEASE = "10.0"
NIC = "e1000,romfile="
PORT = "pcie-root-port,id={0},chassis={1},slot={1}"


def q35(*devices: str, release: str = RELEASE, board: str = "pc-q35") -> Machine:
    """A machine with these devices."""
    words = [word for device in devices for word in ("-device", device)]
    return small_machine(release, f"{board}-{release}", *words)


def pc(*devices: str) -> Machine:
    """The same on the older board."""
    return q35(*devices, board="pc-i440fx")


def places(made: Machine, name: str) -> list[str]:
    """Where the sections of a name are: ``00:05.1``, behind a bridge ``00:01.0:03.0``."""
    ends = (entry.idstr.removeprefix("0000:") for entry in made.registry)
    return [end.removesuffix(f"/{name}") for end in ends if end.endswith(f"/{name}")]


def function(made: Machine, id_: str) -> PCIDevice:
    """A PCI device by id."""
    found = made.find(id_)
    assert isinstance(found, PCIDevice)
    return found


def plug(made: Machine, driver: str, bus: str = "", addr: str = "", id_: str = "", **props: str) -> Any:
    """What `device_add` does."""
    return made.add(DeviceOption(driver, props=tuple(props.items()), bus=bus, addr=addr, id=id_))


# -- addresses -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (("", ""), ["00:01.0", "00:02.0"]),
        ((",addr=1", ""), ["00:01.0", "00:02.0"]),
        ((",addr=2", "", "", ""), ["00:02.0", "00:01.0", "00:03.0", "00:04.0"]),
        ((",addr=1e", ""), ["00:1e.0", "00:01.0"]),
        ((",addr=0x4",), ["00:04.0"]),
        ((",addr=04.0",), ["00:04.0"]),
        ((",addr=3.7,multifunction=on", ""), ["00:03.7", "00:01.0"]),
        ((",addr=0x4.0x0",), ["00:04.0"]),
    ],
)
def test_addresses(given: tuple[str, ...], found: list[str]) -> None:
    """Hexadecimal with and without its prefix; without an address, the first slot whose function 0 is free."""
    assert places(q35(*(f"{NIC}{words}" for words in given)), "e1000") == found


def test_a_free_slot_is_checked_like_a_given_one() -> None:
    """QEMU takes slot 1, whose function 0 is free, and then finds that it would hide function 3."""
    with pytest.raises(FatalError, match=r"PCI: 1.0 indicates single function, but 1.3 is already populated"):
        q35(f"{NIC},addr=1.3", NIC)


@pytest.mark.parametrize("board", ["pc-q35", "pc-i440fx"])
def test_the_first_free_slot_is_behind_the_chipsets(board: str) -> None:
    """Slot 0 is the host bridge; the older board has its ISA bridge at 1."""
    found = places(q35(NIC, NIC, board=board), "e1000")
    assert found == (["00:01.0", "00:02.0"] if board == "pc-q35" else ["00:02.0", "00:03.0"])


@pytest.mark.parametrize(("number", "board"), [(30, "pc-q35"), (30, "pc-i440fx")])
def test_a_bus_has_32_slots(number: int, board: str) -> None:
    """Host bridge and ISA bridge have one each."""
    full = [NIC] * number
    assert len(places(q35(*full, board=board), "e1000")) == number
    with pytest.raises(FatalError, match=r"no slot/function available for e1000, all in use or reserved"):
        q35(*full, NIC, board=board)


def test_a_full_bus_takes_what_shares_a_slot() -> None:
    full = [f"{NIC},multifunction=on", *[NIC] * 29]
    assert places(q35(*full, f"{NIC},addr=1.1"), "e1000")[-1] == "00:01.1"


# -- functions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("functions", [(1,), (1, 2), (7,), (7, 3, 5), tuple(range(1, 8))])
def test_functions_of_a_slot(functions: tuple[int, ...]) -> None:
    """Whatever their order, once function 0 says that there are more."""
    made = q35(f"{NIC},addr=5.0,multifunction=on", *(f"{NIC},addr=5.{n}" for n in functions))
    assert sorted(places(made, "e1000")) == sorted(f"00:05.{n}" for n in (0, *functions))


@pytest.mark.parametrize("functions", [(1,), (7, 3)])
def test_function_0_may_come_last(functions: tuple[int, ...]) -> None:
    others = [f"{NIC},addr=5.{n}" for n in functions]
    assert "00:05.0" in places(q35(*others, f"{NIC},addr=5.0,multifunction=on"), "e1000")
    with pytest.raises(
        FatalError, match=rf"PCI: 5.0 indicates single function, but 5.{min(functions)} is already"
    ):
        q35(*others, f"{NIC},addr=5.0")


@pytest.mark.parametrize("function_", range(1, 8))
def test_a_single_function_has_no_neighbours(function_: int) -> None:
    with pytest.raises(
        FatalError, match=rf"single function device can't be populated in function 5.{function_}"
    ):
        q35(f"{NIC},addr=5", f"{NIC},addr=5.{function_}")


@pytest.mark.parametrize(("multifunction", "header"), [("on", 0x80), ("off", 0)])
def test_the_header_says_whether_there_are_more(multifunction: str, header: int) -> None:
    made = q35(
        f"{NIC},id=n,multifunction={multifunction}", f"{PORT.format('p', 1)},multifunction={multifunction}"
    )
    assert (function(made, "n").space.data[0x0E], function(made, "p").space.data[0x0E]) == (
        header,
        header | 1,
    )


@pytest.mark.parametrize(("release", "named"), [("5.2", False), ("6.0", True), ("10.0", True)])
def test_the_owner_of_an_address_is_named_since_6_0(release: str, named: bool) -> None:
    with pytest.raises(FatalError) as refused:
        q35(f"{NIC},addr=5,id=a", f"{NIC},addr=5", release=release)
    assert str(refused.value).endswith("in use by e1000,id=a" if named else "in use by e1000")


# -- behind bridges -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("devices", "name", "found"),
    [
        ((PORT.format("p", 1), f"{NIC},bus=p"), "e1000", "00:01.0:00.0"),
        ((f"{PORT.format('p', 1)},addr=4.2", "e1000e,romfile=,bus=p"), "e1000e", "00:04.2:00.0"),
        ((PORT.format("p", 1), "virtio-rng-pci,bus=p"), "virtio-rng", "00:01.0:00.0"),
        (("pci-bridge,id=b,chassis_nr=1", f"{NIC},bus=b"), "e1000", "00:01.0:01.0"),
        (("pci-bridge,id=b,chassis_nr=1", f"{NIC},bus=b,addr=1f"), "e1000", "00:01.0:1f.0"),
        (("pci-bridge,id=b,chassis_nr=1", "pci-bridge,id=c,bus=b,addr=2,chassis_nr=2", f"{NIC},bus=c,addr=3.0"),
         "e1000", "00:01.0:02.0:03.0"),
        ((PORT.format("p", 1), "pcie-pci-bridge,id=b,bus=p", f"{NIC},bus=b"), "e1000", "00:01.0:00.0:01.0"),
        ((PORT.format("p", 1), "pcie-pci-bridge,id=b,bus=p", "pci-bridge,id=c,bus=b,chassis_nr=3",
          "virtio-rng-pci,bus=c"), "virtio-rng", "00:01.0:00.0:01.0:01.0"),
        (("ioh3420,id=p,chassis=1,slot=1", f"{NIC},bus=p"), "e1000", "00:01.0:00.0"),
    ],
)  # fmt: skip
def test_a_name_is_the_path(devices: tuple[str, ...], name: str, found: str) -> None:
    """Each bridge by its slot and function, never by a bus number, which the guest chooses."""
    assert places(q35(*devices), name) == [found]


def test_a_port_without_an_id_is_called_by_its_type() -> None:
    made = q35("pcie-root-port,chassis=1,slot=1", f"{NIC},bus=pcie-root-port")
    assert places(made, "e1000") == ["00:01.0:00.0"]


def test_ports_of_one_chassis_have_slots_of_their_own() -> None:
    made = q35(*(f"pcie-root-port,id=p{n},chassis=1,slot={n}" for n in range(4)))
    assert [function(made, f"p{n}").space.read(0x54 + 0x14, 4) >> 19 for n in range(4)] == [0, 1, 2, 3]
    with pytest.raises(FatalError, match="Can't add chassis slot, error -16"):
        q35("pcie-root-port,id=a,chassis=1,slot=2", "ioh3420,id=b,chassis=1,slot=2")


def test_every_bridge_sends_its_bus_behind_itself() -> None:
    """Counted, as all sections of one name: the root's is the first."""
    made = q35(*(PORT.format(f"p{n}", n) for n in (1, 2)), "pci-bridge,id=b,chassis_nr=1")
    assert [e.instance_id for e in made.registry if e.idstr == "PCIBUS"] == [0, 1, 2, 3]
    lines = [len(e.state.irq_count) for e in made.registry if e.idstr == "PCIBUS"]
    assert lines[1:] == [0, 0, 0], "a bridge hands interrupts on, it does not count them"
    assert lines[0] > 0


@pytest.mark.parametrize(("local", "incoming"), [(8, 4), (4, 8), (0, 1)])
def test_a_bus_of_other_lines_is_refused(local: int, incoming: int) -> None:
    made = pc()
    here, there = PCIBus("here", lines=local), PCIBus("there", lines=incoming)
    data = made.registry.register(PCIBUS, there).save().data
    with pytest.raises(VMStateError, match="nirq"):
        made.registry.register(PCIBUS, here).load(BytesSource(data), 1)


# -- devices that come later ------------------------------------------------------------------------


def test_a_device_comes_and_goes() -> None:
    made = q35(PORT.format("p", 1))
    added = plug(made, "virtio-rng-pci", bus="p", id_="r")
    assert places(made, "virtio-rng") == ["00:01.0:00.0"]
    made.remove(added)
    assert (places(made, "virtio-rng"), made.find("r")) == ([], None)
    assert plug(made, "e1000", bus="p").props["addr"] == 0, "the place is free again"


def test_a_slot_shows_what_is_plugged() -> None:
    """Slot status bit 6, and power that is on, as after the guest's firmware switched it on."""
    made = small_machine(RELEASE, f"pc-q35-{RELEASE}", "-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off",
                         "-device", PORT.format("p", 1), "-device", PORT.format("q", 2), "-device", f"{NIC},bus=q")  # fmt: skip
    status = 0x54 + 0x1A
    shown = [bool(function(made, name).space.read(status, 2) & 0x40) for name in ("p", "q")]
    assert shown == [False, True]
    plug(made, "virtio-rng-pci", bus="p")
    assert function(made, "p").space.read(status, 2) & 0x40


@pytest.mark.parametrize(
    ("driver", "words", "message"),
    [
        ("e1000", {"bus": "nosuch"}, "Bus 'nosuch' not found"),
        ("e1000", {"bus": "isa.0"}, "Device 'e1000' can't go on ISA bus"),
        ("e1000", {"addr": "2"}, "in use by pci-bridge,id=b"),
        ("e1000", {"addr": "20"}, "e1000.addr"),
        ("e1000", {"addr": "5.8"}, "e1000.addr"),
        ("e1000", {"id_": "b"}, "Duplicate device ID 'b'"),
        ("e1000", {"bus": "b", "nosuch": "1"}, "Property 'e1000.nosuch' not found"),
        ("mch", {}, "'driver' expects a pluggable device type|device type"),
        ("pci-device", {}, "non-abstract device type|is abstract"),
        ("e9000", {}, "'e9000' is not a valid device model name"),
    ],
)
def test_what_cannot_be_added_later(driver: str, words: dict[str, str], message: str) -> None:
    """The machine is afterwards as it was."""
    made = pc("pci-bridge,id=b,chassis_nr=1,addr=2")
    before = [(entry.idstr, entry.instance_id) for entry in made.registry]
    with pytest.raises(DeviceError, match=message):
        plug(made, driver, **words)
    assert [(entry.idstr, entry.instance_id) for entry in made.registry] == before


def test_a_device_that_fails_to_start_leaves_its_slot() -> None:
    made = pc()  # whose first bus takes devices later
    with pytest.raises(DeviceError, match="Bridge chassis not specified"):
        plug(made, "pci-bridge", addr="7")
    assert plug(made, "e1000", addr="7").path == "0000:00:07.0"


def test_function_0_comes_last() -> None:
    """The guest looks for functions when 0 is plugged; QEMU refuses those that it would not see."""
    made = pc()
    for number in (1, 2, 0):
        plug(made, "e1000", addr=f"9.{number}", multifunction="on", romfile="")
    assert places(made, "e1000") == ["00:09.1", "00:09.2", "00:09.0"]
    with pytest.raises(
        DeviceError, match=r"PCI: slot 9 function 0 already occupied by e1000, new func e1000 cannot"
    ):
        plug(made, "e1000", addr="9.3", multifunction="on", romfile="")


def test_a_link_has_one_slot_to_look_at() -> None:
    made = q35(PORT.format("p", 1), f"{NIC},bus=p,multifunction=on", f"{NIC},bus=p,addr=3")
    for addr in ("0.1", "1", "1f.7"):
        with pytest.raises(
            DeviceError, match="slot 0 function 0 already occupied by e1000, new func virtio-rng-pci"
        ):
            plug(made, "virtio-rng-pci", bus="p", addr=addr)
